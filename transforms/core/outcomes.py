"""What a step does to a thread when it refuses some of its posts."""

from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import msgspec

from schemas.audit import Reason, Rejected, Stage
from schemas.post import Post, Thread
from transforms.core.counters import count

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


class Remainder(NamedTuple):
    """A thread without some of its posts, and what went with them."""

    thread: Thread | None
    """None: nothing is left that could pair."""
    cut_off: list[Post]
    """Responses whose prompt, or the response they reply to, is gone."""
    lonely: list[Post]
    """Posts without a second response to compare with, the prompt of an ended thread included."""


def remaining(thread: Thread, gone: Container[str]) -> Remainder:
    """Take the posts whose ids are in ``gone`` out of a thread, and all that loses its purpose.

    Responses to the same post are compared with each other. So a response stays if there is
    another one to the same post, or if replies below it stay, whose conversation it is part of.
    Every post that is not in ``gone`` is in the returned thread, cut off or lonely, exactly once.
    """
    rest = [post for post in thread.responses if post.id not in gone]
    if thread.prompt.id in gone:
        return Remainder(None, rest, [])
    cut_off: list[Post] = []
    lonely: list[Post] = []
    if all(post.parent_id is None for post in rest):
        if len(rest) < MIN_RESPONSES:
            return Remainder(None, [], [thread.prompt, *rest])
    else:
        reachable, useful = _reachable_and_useful(rest)
        cut_off = [post for post in rest if post.id not in reachable]
        lonely = [post for post in rest if post.id in reachable and post.id not in useful]
        rest = [post for post in rest if post.id in useful]
        if not rest:
            return Remainder(None, cut_off, [thread.prompt, *lonely])
    if len(rest) == len(thread.responses):
        return Remainder(thread, cut_off, lonely)
    return Remainder(msgspec.structs.replace(thread, responses=tuple(rest)), cut_off, lonely)


def _reachable_and_useful(responses: list[Post]) -> tuple[set[str], set[str]]:
    """Ids of the responses under the prompt, and of those with a purpose."""
    replies: dict[str | None, list[Post]] = defaultdict(list)
    for post in responses:
        replies[post.parent_id].append(post)
    in_order = list(replies[None])
    for post in in_order:  # grows while it is read: parents come before their replies
        in_order += replies.get(post.id, ())
    useful: set[str] = set()
    for post in reversed(in_order):
        if len(replies[post.parent_id]) >= MIN_RESPONSES or not useful.isdisjoint(
            reply.id for reply in replies.get(post.id, ())
        ):
            useful.add(post.id)
    return {post.id for post in in_order}, useful


def drop_posts(thread: Thread, refused: Mapping[str, Verdict], stage: Stage) -> Outcome:
    """Remove the posts in ``refused`` (id -> Verdict), and what can no longer pair.

    A refused post takes the responses to it along (``prompt_rejected``), and responses that
    are left with none to compare them with go too (``too_few_responses``), so every post of the
    thread is either in the returned thread or in the returned rejects, exactly once.
    """
    rejected = [
        Rejected(id=post.id, stage=stage, reason=verdict.reason, detail=verdict.detail)
        for post in (thread.prompt, *thread.responses)
        if (verdict := refused.get(post.id)) is not None
    ]
    rest = remaining(thread, refused)
    rejected += [
        reject_post(post, stage, Reason.PROMPT_REJECTED, post.parent_id or thread.id)
        for post in rest.cut_off
    ]
    rejected += reject_lonely(rest.lonely, stage)
    return Outcome(rest.thread, rejected)


def reject_lonely(lonely: Sequence[Post], stage: Stage) -> list[Rejected]:
    """Make the rejects of posts that were left without a second response to compare with."""
    left = sum(not post.is_prompt for post in lonely)
    return [reject_post(post, stage, Reason.TOO_FEW_RESPONSES, f"{left} left") for post in lonely]


def reject_post(post: Post, stage: Stage, reason: Reason, detail: str = "") -> Rejected:
    """Make the reject of a post."""
    return Rejected(id=post.id, stage=stage, reason=reason, detail=detail)


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
