"""What a step does to a thread when it refuses some of its posts."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import apache_beam as beam
import msgspec

from schemas.audit import Reason, Rejected, Stage
from schemas.post import Post, Thread
from transforms.counters import count

MIN_RESPONSES = 2
"""A pair needs two responses."""


class Verdict(NamedTuple):
    """Why one post is refused."""

    reason: Reason
    detail: str = ""


class Outcome(NamedTuple):
    """A thread after a step (None: nothing of it is left) and the posts it lost there."""

    thread: Thread | None
    rejected: list[Rejected]


def thread_chars(thread: Thread) -> int:
    """Characters of text in a thread, the cheap stand-in for its encoded size."""
    return len(thread.prompt.text) + sum([len(post.text) for post in thread.responses])


def drop_posts(thread: Thread, refused: Mapping[str, Verdict], stage: Stage) -> Outcome:
    """Remove the posts in ``refused`` (id -> Verdict), and the thread if it can no longer pair.

    A refused prompt takes its responses along (``prompt_rejected``), and a thread left with
    fewer than two responses goes as a whole (``too_few_responses``), so every post of the
    thread is either in the returned thread or in the returned rejects, exactly once.
    """
    rejected = [
        Rejected(id=post.id, stage=stage, reason=verdict.reason, detail=verdict.detail)
        for post in (thread.prompt, *thread.responses)
        if (verdict := refused.get(post.id)) is not None
    ]
    rest = tuple(post for post in thread.responses if post.id not in refused)
    if thread.prompt.id in refused:
        rejected += _reject_all(rest, stage, Reason.PROMPT_REJECTED, thread.id)
        return Outcome(None, rejected)
    if len(rest) < MIN_RESPONSES:
        detail = f"{len(rest)} left"
        rejected += _reject_all((thread.prompt, *rest), stage, Reason.TOO_FEW_RESPONSES, detail)
        return Outcome(None, rejected)
    if not rejected:
        return Outcome(thread, rejected)
    return Outcome(msgspec.structs.replace(thread, responses=rest), rejected)


def _reject_all(
    posts: tuple[Post, ...], stage: Stage, reason: Reason, detail: str
) -> list[Rejected]:
    return [Rejected(id=post.id, stage=stage, reason=reason, detail=detail) for post in posts]


class ApplyOutcome(beam.DoFn):
    """Run a Thread → Outcome function: threads on the main output, rejects on ``rejected``."""

    COUNT_EVERY = 256

    def __init__(self, owner: type, function: Callable[[Thread], Outcome]) -> None:
        self._owner = owner
        self._function = function
        self._seen = self._kept = 0

    def process(self, thread: Thread) -> Iterator[Any]:
        outcome = self._function(thread)
        self._seen += 1
        if outcome.thread is not None:
            self._kept += 1
            yield outcome.thread
        for rejected in outcome.rejected:
            yield beam.pvalue.TaggedOutput("rejected", rejected)
        if self._seen == self.COUNT_EVERY:
            self._report()

    def finish_bundle(self) -> None:
        self._report()

    def _report(self) -> None:
        count(self._owner, "in-threads", self._seen)
        count(self._owner, "out-threads", self._kept)
        self._seen = self._kept = 0
