"""Posts and the facts about them become threads."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import msgspec

from schemas.audit import Reason, Rejected, Stage
from schemas.facts import PostFacts
from schemas.post import Post, Thread
from transforms.blocks import FactsBlock, PostBlock, unpack
from transforms.coders import register
from transforms.counters import count
from transforms.threads import Outcome, Verdict, drop_posts

register(Thread, Rejected)

_encode = msgspec.msgpack.Encoder().encode


def merge_facts(facts: Iterable[PostFacts]) -> dict[str, PostFacts]:
    """Merge all facts about each post: votes and flags add up, other fields fill in.

    Where two facts disagree on a field that can hold only one value, the smaller value wins,
    so the result does not depend on their order.
    """
    by_id: dict[str, list[PostFacts]] = defaultdict(list)
    for fact in facts:
        by_id[fact.id].append(fact)
    return {
        post_id: found[0] if len(found) == 1 else _merge(found) for post_id, found in by_id.items()
    }


def _merge(facts: list[PostFacts]) -> PostFacts:
    return PostFacts(
        id=facts[0].id,
        up_days=tuple(day for fact in facts for day in fact.up_days),
        down_days=tuple(day for fact in facts for day in fact.down_days),
        accepted_day=min(
            (f.accepted_day for f in facts if f.accepted_day is not None), default=None
        ),
        flags=sum(fact.flags for fact in facts),
        closed_as=min((f.closed_as for f in facts if f.closed_as is not None), default=None),
        author=min((f.author for f in facts if f.author), default=None),
    )


def complete_post(post: Post, facts: PostFacts | None, *, accepted: bool) -> Post:
    """Return ``post`` with its facts and its acceptance filled in.

    Vote days are taken only when the source dates its votes at all (``post.up_days`` is not
    None), and a closing only when the post says that it is closed now.
    """
    changes: dict[str, Any] = {"accepted": True} if accepted else {}
    if facts is not None:
        if post.up_days is not None:
            changes["up_days"] = tuple(sorted(facts.up_days))
            changes["down_days"] = tuple(sorted(facts.down_days))
        if facts.author and not post.author:
            changes["author"] = facts.author
        if facts.flags:
            changes["flags"] = facts.flags
        if accepted and facts.accepted_day is not None:
            changes["accepted_day"] = facts.accepted_day
        if facts.closed_as is not None and post.closed_as is not None:
            changes["closed_as"] = facts.closed_as
    return msgspec.structs.replace(post, **changes) if changes else post


def assemble_threads(
    posts: Iterable[Post],
    facts: Mapping[str, PostFacts],
    takedown: frozenset[str] = frozenset(),
) -> Iterator[Outcome]:
    """Group posts into threads; all posts of a thread must be in ``posts``.

    Yields one outcome per thread and one for each lot of posts that belong to none. Every post
    is in exactly one outcome. Copies of one id (``repeated_id``) leave the most recently edited
    copy, then the one whose encoding is largest. Posts and authors in ``takedown`` go first, so
    that the count of them is the count of what would have been published.
    """
    latest: dict[str, Post] = {}
    repeated: list[Rejected] = []
    for post in posts:
        other = latest.setdefault(post.id, post)
        if other is not post:
            latest[post.id] = max(post, other, key=_recency)
            repeated.append(_reject(post, Reason.REPEATED_ID, "another copy of this id is used"))
    if repeated:
        yield Outcome(None, repeated)

    responses: dict[str, list[Post]] = defaultdict(list)
    for post in latest.values():
        if not post.is_prompt:
            responses[post.thread_id].append(post)
    for post in latest.values():
        if post.is_prompt:
            yield _assemble_thread(post, responses.pop(post.id, []), facts, takedown)
    orphans = [
        _reject(post, Reason.ORPHAN_RESPONSE, f"no prompt {thread_id}")
        for thread_id, lost in responses.items()
        for post in lost
    ]
    if orphans:
        yield Outcome(None, orphans)


def _assemble_thread(
    prompt: Post, responses: list[Post], facts: Mapping[str, PostFacts], takedown: frozenset[str]
) -> Outcome:
    responses.sort(key=_age)
    thread = Thread(prompt=prompt, responses=tuple(responses))
    refused: dict[str, Verdict] = {}
    if takedown:
        for post in (prompt, *responses):
            if post.id in takedown or post.author_id in takedown:
                refused[post.id] = Verdict(Reason.TAKEDOWN)
    outcome = drop_posts(thread, refused, Stage.ASSEMBLE)
    if outcome.thread is None:
        return outcome
    accepted = prompt.accepted_response_id
    completed = Thread(
        prompt=complete_post(prompt, facts.get(prompt.id), accepted=False),
        responses=tuple(
            complete_post(post, facts.get(post.id), accepted=post.id == accepted)
            for post in outcome.thread.responses
        ),
    )
    return Outcome(completed, outcome.rejected)


def _age(post: Post) -> tuple[int, str]:
    return post.created_at, post.id


def _recency(post: Post) -> tuple[int, bytes]:
    return post.edited_at or post.created_at, _encode(post)


def _reject(post: Post, reason: Reason, detail: str) -> Rejected:
    return Rejected(id=post.id, stage=Stage.ASSEMBLE, reason=reason, detail=detail)


@dataclass
class AssembleThreads(beam.PTransform):
    """Join post and facts blocks of each partition into threads.

    Input: ``{"posts": (partition, PostBlock), "facts": (partition, FactsBlock)}``.
    Output: ``threads`` (Thread elements) and ``rejected``.
    """

    takedown: frozenset[str] = frozenset()

    def expand(self, inputs: dict[str, beam.PCollection]) -> Any:
        return (
            inputs
            | "Join posts and facts" >> beam.CoGroupByKey()
            | "Assemble"
            >> beam.ParDo(_Assemble(self.takedown)).with_outputs("rejected", main="threads")
        )


class _Assemble(beam.DoFn):
    def __init__(self, takedown: frozenset[str]) -> None:
        self._takedown = takedown

    def process(
        self, element: tuple[int, dict[str, Iterable[PostBlock | FactsBlock]]]
    ) -> Iterator[Any]:
        _, blocks = element
        posts = [post for block in blocks["posts"] for post in unpack(block)]
        facts = merge_facts(fact for block in blocks["facts"] for fact in unpack(block))
        count(AssembleThreads, "in-posts", len(posts))
        threads = 0
        for outcome in assemble_threads(posts, facts, self._takedown):
            if outcome.thread is not None:
                threads += 1
                yield outcome.thread
            for rejected in outcome.rejected:
                yield beam.pvalue.TaggedOutput("rejected", rejected)
        count(AssembleThreads, "out-threads", threads)
