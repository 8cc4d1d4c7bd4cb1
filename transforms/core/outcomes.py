"""What a step does to a thread when it refuses some of its posts."""

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple

import msgspec

from schemas.audit import Reason, Rejected, Stage
from schemas.post import Post, Thread

MIN_RESPONSES = 2
"""A pair needs two responses."""


class Rejection(NamedTuple):
    """Why one post is refused."""

    reason: Reason
    detail: str = ""


class ThreadOutcome(NamedTuple):
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
    unpaired: list[Post]
    """Posts without a second response to compare with, the prompt of an ended thread included."""


def remaining(thread: Thread, gone: Container[str]) -> Remainder:
    """Take the posts whose ids are in ``gone`` out of a thread, and all that loses its purpose.

    Responses to the same post are compared with each other. So a response stays if there is
    another one to the same post, or if replies below it stay, whose conversation it is part of.
    Every post that is not in ``gone`` is in the returned thread, cut off or unpaired, exactly once.
    """
    rest = [post for post in thread.responses if post.id not in gone]
    if thread.prompt.id in gone:
        return Remainder(None, rest, [])
    cut_off: list[Post] = []
    unpaired: list[Post] = []
    if all(post.parent_id is None for post in rest):
        if len(rest) < MIN_RESPONSES:
            return Remainder(None, [], [thread.prompt, *rest])
    else:
        reachable, useful = _reachable_and_useful(rest)
        cut_off = [post for post in rest if post.id not in reachable]
        unpaired = [post for post in rest if post.id in reachable and post.id not in useful]
        rest = [post for post in rest if post.id in useful]
        if not rest:
            return Remainder(None, cut_off, [thread.prompt, *unpaired])
    if len(rest) == len(thread.responses):
        return Remainder(thread, cut_off, unpaired)
    return Remainder(msgspec.structs.replace(thread, responses=tuple(rest)), cut_off, unpaired)


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


def drop_posts(thread: Thread, refused: Mapping[str, Rejection], stage: Stage) -> ThreadOutcome:
    """Remove the posts in ``refused`` (id -> Rejection), and what can no longer pair.

    A refused post takes the responses to it along (``prompt_rejected``), and responses that
    are left with none to compare them with go too (``too_few_responses``), so every post of the
    thread is either in the returned thread or in the returned rejects, exactly once.
    """
    rejected = [
        Rejected(id=post.id, stage=stage, reason=rejection.reason, detail=rejection.detail)
        for post in (thread.prompt, *thread.responses)
        if (rejection := refused.get(post.id)) is not None
    ]
    rest = remaining(thread, refused)
    rejected += [
        reject_post(post, stage, Reason.PROMPT_REJECTED, post.parent_id or thread.id)
        for post in rest.cut_off
    ]
    rejected += reject_unpaired(rest.unpaired, stage)
    return ThreadOutcome(rest.thread, rejected)


def reject_unpaired(unpaired: Sequence[Post], stage: Stage) -> list[Rejected]:
    """Make the rejects of posts that were left without a second response to compare with."""
    left = sum(not post.is_prompt for post in unpaired)
    return [reject_post(post, stage, Reason.TOO_FEW_RESPONSES, f"{left} left") for post in unpaired]


def reject_post(post: Post, stage: Stage, reason: Reason, detail: str = "") -> Rejected:
    """Make the reject of a post."""
    return Rejected(id=post.id, stage=stage, reason=reason, detail=detail)
