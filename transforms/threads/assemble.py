"""Posts and the metadata about them become threads."""

import math
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import apache_beam as beam
import msgspec

from schemas.audit import Reason, Rejected, Stage
from schemas.counts import RecordCount
from schemas.metadata import PostMetadata
from schemas.post import Post, Thread
from transforms.core.blocks import MetadataBlock, PostBlock, unpack
from transforms.core.coders import register
from transforms.core.counters import count, show_progress
from transforms.core.join import JoinByKey
from transforms.core.outcomes import Rejection, ThreadOutcome, drop_posts
from transforms.core.steps import StepResult, outputs_of
from transforms.threads.takedown import (
    PostKey,
    TakedownIndex,
    count_found,
    count_unread,
    named_posts,
)

register(Thread, Rejected, RecordCount)

_encode = msgspec.msgpack.Encoder().encode


def metadata_by_id(metadata: Iterable[PostMetadata]) -> dict[str, list[PostMetadata]]:
    """Group metadata by the post they are about."""
    by_id: dict[str, list[PostMetadata]] = {}
    for entry in metadata:
        by_id.setdefault(entry.id, []).append(entry)
    return by_id


def complete_post(post: Post, metadata: Sequence[PostMetadata], *, accepted: bool) -> Post:
    """Return ``post`` with the metadata about it and its acceptance filled in.

    Votes and flags of several metadata add up, and stated preferences unite. A name in them is the
    author's current one, and goes before the name in the post. Where two disagree on
    a field that holds only one value, the smaller wins, so their order does not matter. Vote
    days are taken only when the source dates its votes at all (``post.up_days`` is not None),
    and a closing only when the post says that it is closed now.
    """
    changes: dict[str, Any] = {"accepted": True} if accepted else {}
    ups: list[int] = []
    downs: list[int] = []
    flags = 0
    preferred: set[str] = set(post.preferred_to or ())
    for entry in metadata:
        if entry.thread_id not in (None, post.thread_id):
            continue  # about a copy in another thread, which may be in any partition
        ups += entry.up_days
        downs += entry.down_days
        flags += entry.flags
        if entry.author:  # a post may hold the name that its author had when it was written
            changes["author"] = min(entry.author, changes.get("author", entry.author))
        if accepted and entry.accepted_day is not None:
            day = entry.accepted_day
            changes["accepted_day"] = min(day, changes.get("accepted_day", day))
        if entry.preferred_to is not None:
            preferred.update(entry.preferred_to)
            changes["preferred_to"] = ()
        if entry.closed_as is not None and post.closed_as is not None:
            changes["closed_as"] = min(entry.closed_as, changes.get("closed_as", entry.closed_as))
    if post.up_days is not None and (ups or downs):
        changes["up_days"] = tuple(sorted(ups))
        changes["down_days"] = tuple(sorted(downs))
    if flags:
        changes["flags"] = flags
    if preferred:
        changes["preferred_to"] = tuple(sorted(preferred))
    return msgspec.structs.replace(post, **changes) if changes else post


def assemble_threads(
    posts: Iterable[Post],
    metadata: Mapping[str, Sequence[PostMetadata]],
    taken_down: Container[PostKey] = frozenset(),
    reply_depth: int = 1,
) -> Iterator[ThreadOutcome]:
    """Group posts into threads; all posts of a thread must be in ``posts``.

    Yields one outcome per thread and one for each lot of posts that belong to none. Every post
    is in exactly one outcome. Copies of one id in one thread (``repeated_id``) leave the one that
    :func:`latest_copy` chooses, with the rating that :func:`merge_ratings` makes of theirs; copies
    labelled both ways are all ``contradictory_label``. Replies more than ``reply_depth`` responses
    below the prompt are ``too_deep``, and those whose parent is missing are ``orphan_response``.
    Posts in ``taken_down`` (`transforms.threads.takedown.named_posts`) go first, so their count is
    that of what would have been published.
    """
    # By thread and id, because copies in two threads may be in two partitions, where neither
    # could know of the other: what happens must not depend on the number of partitions.
    latest: dict[tuple[str, str], Post] = {}
    copies: dict[tuple[str, str], list[Post]] = {}
    for post in posts:
        key = (post.thread_id, post.id)
        other = latest.setdefault(key, post)
        if other is not post:
            latest[key] = latest_copy(post, other)
            copies.setdefault(key, [other]).append(post)
    repeated: list[Rejected] = []
    for key, same in copies.items():
        is_stated = any(entry.preferred_to is not None for entry in metadata.get(key[1], ()))
        merged = merge_ratings(latest[key], same, is_stated=is_stated)
        if merged is None:
            del latest[key]
            detail = "copies of it are labelled both true and false, or rated both 1 and 0"
            repeated += [_reject(post, Reason.CONTRADICTORY_LABEL, detail) for post in same]
            continue
        detail = "another copy of this id is used"
        repeated += [_reject(merged, Reason.REPEATED_ID, detail)] * (len(same) - 1)
        latest[key] = merged
    if repeated:
        yield ThreadOutcome(None, repeated)

    responses: dict[str, list[Post]] = defaultdict(list)
    for post in latest.values():
        if not post.is_prompt:
            responses[post.thread_id].append(post)
    for post in latest.values():
        if post.is_prompt:
            placed, misplaced = _place_replies(responses.pop(post.id, []), reply_depth)
            if misplaced:
                yield ThreadOutcome(None, misplaced)
            yield _assemble_thread(post, placed, metadata, taken_down)
    orphans = [
        _reject(post, Reason.ORPHAN_RESPONSE, f"no prompt {thread_id}")
        for thread_id, lost in responses.items()
        for post in lost
    ]
    if orphans:
        yield ThreadOutcome(None, orphans)


def _place_replies(responses: list[Post], reply_depth: int) -> tuple[list[Post], list[Rejected]]:
    """Separate the responses that hang together with the prompt from those that do not."""
    if all(post.parent_id is None for post in responses):
        return responses, []
    replies: dict[str | None, list[Post]] = defaultdict(list)
    for post in responses:
        replies[post.parent_id].append(post)
    depth = {post.id: 1 for post in replies[None]}
    in_order = list(replies[None])
    for post in in_order:  # grows while it is read
        for reply in replies.get(post.id, ()):
            depth[reply.id] = depth[post.id] + 1
            in_order.append(reply)
    placed, misplaced = [], []
    for post in responses:
        if post.id not in depth:
            missing = f"no response {post.parent_id} under the prompt"
            misplaced.append(_reject(post, Reason.ORPHAN_RESPONSE, missing))
        elif depth[post.id] > reply_depth:
            deep = f"{depth[post.id]} > {reply_depth}"
            misplaced.append(_reject(post, Reason.TOO_DEEP, deep))
        else:
            placed.append(post)
    return placed, misplaced


def _assemble_thread(
    prompt: Post,
    responses: list[Post],
    metadata: Mapping[str, Sequence[PostMetadata]],
    taken_down: Container[PostKey],
) -> ThreadOutcome:
    responses.sort(key=_age)
    thread = Thread(prompt=prompt, responses=tuple(responses))
    refused = {
        post.id: Rejection(Reason.TAKEDOWN)
        for post in (prompt, *responses)
        if (post.thread_id, post.id) in taken_down
    }
    outcome = drop_posts(thread, refused, Stage.ASSEMBLE)
    if outcome.thread is None:
        return outcome
    accepted = prompt.accepted_response_id
    completed = Thread(
        prompt=complete_post(prompt, metadata.get(prompt.id, ()), accepted=False),
        responses=tuple(
            complete_post(post, metadata.get(post.id, ()), accepted=post.id == accepted)
            for post in outcome.thread.responses
        ),
    )
    return ThreadOutcome(completed, outcome.rejected)


def _age(post: Post) -> tuple[int, str]:
    return post.created_at, post.id


def latest_copy(post: Post, other: Post) -> Post:
    """Choose between two copies of a post, whatever their order.

    A copy whose text is gone comes first: a deletion counts even where an older dump still has
    the text. Then the one whose score was read later, the one edited later, and the one whose
    encoding is larger.
    """
    return max(post, other, key=_recency)


def merge_ratings(latest: Post, copies: Sequence[Post], *, is_stated: bool) -> Post | None:
    """Return the latest of several copies of a post, with the rating that stands for all of them.

    Where ratings differ, it is their mean, for they may be by several judges. Labels, which are
    ratings of 0 and 1 only, have no mean: None. Where the source states an order (``is_stated``),
    a rating is that of one pair, and none stands for all: the order alone counts.
    """
    if latest.removed_as is not None or all(post.rating == latest.rating for post in copies):
        return latest
    # Whole ratings may have been taken for votes, which look like them.
    ratings = sorted(post.score if post.rating is None else post.rating for post in copies)
    if is_stated and ratings[0] != ratings[-1]:
        return msgspec.structs.replace(latest, rating=None, score=0)
    if set(ratings) == {0, 1}:
        return None
    mean = math.fsum(ratings) / len(ratings)
    return msgspec.structs.replace(latest, rating=mean, score=round(mean))


def _recency(post: Post) -> tuple[bool, int, int, bytes]:
    edited = post.edited_at or post.created_at
    return post.removed_as is not None, post.score_seen_at or 0, edited, _encode(post)


def _reject(post: Post, reason: Reason, detail: str) -> Rejected:
    return Rejected(id=post.id, stage=Stage.ASSEMBLE, reason=reason, detail=detail)


class PostsAndMetadata(NamedTuple):
    """What is known of the threads of one partition."""

    posts: list[PostBlock]
    metadata: list[MetadataBlock]


class AssembledThreads(NamedTuple):
    """Threads, and what a takedown list has found among their posts."""

    threads: StepResult
    found: "beam.PCollection[RecordCount]"


@dataclass
class AssembleThreads(beam.PTransform):
    """Join post and metadata blocks of each partition into threads.

    Input: a tuple of (partition, PostBlock) and (partition, MetadataBlock). Keeps Thread elements.
    """

    takedown: TakedownIndex = field(default_factory=dict)
    reply_depth: int = 1

    def expand(
        self,
        inputs: tuple[
            beam.PCollection[tuple[int, PostBlock]], beam.PCollection[tuple[int, MetadataBlock]]
        ],
    ) -> AssembledThreads:
        show_progress(AssembleThreads, "in-posts", "posts assembled", Stage.ASSEMBLE)
        assemble = beam.ParDo(_Assemble(self.takedown, self.reply_depth))
        outputs = (
            inputs
            | "Posts and metadata" >> JoinByKey(PostsAndMetadata)
            | "Assemble" >> assemble.with_outputs("rejected", "found", main="kept")
        )
        threads = StepResult(Stage.ASSEMBLE, outputs.kept, outputs.rejected)
        return AssembledThreads(threads, outputs.found)


class _Assemble(beam.DoFn):
    def __init__(self, takedown: TakedownIndex, reply_depth: int) -> None:
        self._takedown = takedown
        self._reply_depth = reply_depth

    def process(self, element: tuple[int, PostsAndMetadata]) -> Iterator[Any]:
        blocks = element[1]
        posts = [post for block in blocks.posts for post in unpack(block)]
        metadata = metadata_by_id(entry for block in blocks.metadata for entry in unpack(block))
        count(AssembleThreads, "in-posts", len(posts))
        threads = 0
        named = named_posts(posts, self._takedown)
        for outcome in assemble_threads(posts, metadata, named, self._reply_depth):
            threads += outcome.thread is not None
            yield from outputs_of(outcome)
        count(AssembleThreads, "out-threads", threads)
        for found in self._found(posts, metadata, named):
            yield beam.pvalue.TaggedOutput("found", found)

    def _found(
        self,
        posts: Sequence[Post],
        metadata: Mapping[str, Sequence[PostMetadata]],
        named: Mapping[PostKey, frozenset[int]],
    ) -> list[RecordCount]:
        """Assemble the threads of named posts again, with and without these."""
        threads = {thread for thread, _ in named}
        theirs = [post for post in posts if post.thread_id in threads]
        without, within = (
            assemble_threads(theirs, metadata, taken_down, self._reply_depth)
            for taken_down in (frozenset[PostKey](), named)
        )
        return count_found(named, without, within)


@dataclass
class CountUnread(beam.PTransform):
    """Rejected rows of readers → RecordCount of those that a takedown list names by their ids."""

    takedown: TakedownIndex

    def expand(self, rejected: beam.PCollection[Rejected]) -> beam.PCollection[RecordCount]:
        return rejected | "Look up" >> beam.FlatMap(count_unread, self.takedown).with_output_types(
            RecordCount
        )
