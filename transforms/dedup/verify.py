"""Which posts of a candidate group are duplicates, and what that does to their threads."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.audit import Duplicate, DuplicateRule, Reason, Rejected, Stage
from schemas.fields import doc
from schemas.post import Post, Thread
from transforms.core import register, reject_post, reject_unpaired, remaining
from transforms.dedup.similarity import jaccard_to, similar_components

SHINGLE_TYPE: Final = np.dtype("<u4")
"""How shingle hashes are written in a Candidate."""


class DuplicateMatch(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """`removed_id` is a duplicate of `kept_id`."""

    removed_id: Annotated[str, doc("post to remove")]
    removed_thread_id: Annotated[str, doc("its thread")]
    kept_id: Annotated[str, doc("post that stays in its place, of the same kind")]
    kept_thread_id: Annotated[str, doc("its thread")]
    is_prompt: Annotated[bool, doc("both are prompts; False: both are responses")]
    similarity: Annotated[float, doc("exact Jaccard similarity of the two, 0 to 1")]
    rule: Annotated[DuplicateRule, doc("how they are linked")]


class Candidate(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """What is needed of a post to compare it with the other posts of its group."""

    root: Annotated[int, doc("the group: smallest node of the component, 63 bits")]
    id: Annotated[str, doc("post id")]
    thread_id: Annotated[str, doc("thread of the post")]
    is_prompt: Annotated[bool, doc("prompt or response")]
    score: Annotated[int, doc("score as the source reports it")]
    accepted: Annotated[bool, doc("response accepted by the prompt's author")]
    created_at: Annotated[int, doc("ms since epoch, UTC")]
    content: Annotated[bytes, doc("content hash of the normalised text, 16 bytes")]
    shingles: Annotated[bytes, doc("sorted shingle hashes, little-endian uint32")]
    prompt_removed: Annotated[bool, doc("response to a prompt that is a duplicate")] = False


register(DuplicateMatch, Candidate)


def rank(candidate: Candidate) -> tuple[bool, int, bool, int, str, str, bytes]:
    """Order in which posts are kept: the first of a set of duplicates stays.

    Responses whose prompt is removed come last, since they leave with it; then the higher
    score, the accepted, the older, the smaller id.
    """
    return (
        candidate.prompt_removed,
        -candidate.score,
        not candidate.accepted,
        candidate.created_at,
        candidate.id,
        candidate.thread_id,
        candidate.content,  # decides only between two posts with one id
    )


def verify_group(candidates: Iterable[Candidate], threshold: float) -> list[DuplicateMatch]:
    """Return a match for every post of the group that duplicates a better one.

    Posts of one kind are linked when their content hashes are equal or the Jaccard similarity
    of their shingles is at least ``threshold``; of each connected component the first in
    :func:`rank` is kept. The result does not depend on the order of ``candidates``. A repeated
    id counts once.
    """
    posts: dict[tuple[str, str], Candidate] = {}
    for post in sorted(candidates, key=rank):
        posts.setdefault((post.thread_id, post.id), post)
    matches = []
    for is_prompt in (True, False):
        matches += _verify_kind([p for p in posts.values() if p.is_prompt == is_prompt], threshold)
    return matches


def _verify_kind(posts: list[Candidate], threshold: float) -> list[DuplicateMatch]:
    sets = {post.shingles: _shingles(post) for post in posts if post.shingles}
    labels = similar_components(list(sets.values()), threshold).tolist()
    component = dict(zip(sets, labels, strict=True))
    links = [(post.content, component.get(post.shingles)) for post in posts]
    removed: dict[int, list[int]] = {}
    for place, kept in enumerate(_first_linked(links)):
        if kept != place:
            removed.setdefault(kept, []).append(place)
    matches = {}
    for kept, places in removed.items():
        shingles = [_shingles(posts[place]) for place in places]
        similarities = jaccard_to(_shingles(posts[kept]), shingles).tolist()
        for place, similarity in zip(places, similarities, strict=True):
            matches[place] = _match(posts[place], posts[kept], similarity, threshold)
    return [matches[place] for place in sorted(matches)]


def _first_linked(links: list[tuple[bytes, int | None]]) -> list[int]:
    """For each place the first place that it is linked to by equal members of the pairs."""
    parents = list(range(len(links)))

    def root(place: int) -> int:
        while parents[place] != place:
            parents[place] = parents[parents[place]]
            place = parents[place]
        return place

    seen: dict[bytes | int, int] = {}
    for place, link in enumerate(links):
        for member in link:
            if member is not None:
                first, second = sorted((root(seen.setdefault(member, place)), root(place)))
                parents[second] = first
    return [root(place) for place in range(len(links))]


def _shingles(post: Candidate) -> npt.NDArray[np.uint32]:
    return np.frombuffer(post.shingles, SHINGLE_TYPE).astype(np.uint32, copy=False)


def _match(
    removed: Candidate, kept: Candidate, similarity: float, threshold: float
) -> DuplicateMatch:
    if removed.content == kept.content:
        similarity, rule = 1.0, DuplicateRule.EXACT
    else:
        rule = DuplicateRule.NEAR if similarity >= threshold else DuplicateRule.NEAR_CHAIN
    return DuplicateMatch(
        removed_id=removed.id,
        removed_thread_id=removed.thread_id,
        kept_id=kept.id,
        kept_thread_id=kept.thread_id,
        is_prompt=removed.is_prompt,
        similarity=similarity,
        rule=rule,
    )


class DedupOutcome(NamedTuple):
    """A thread after deduplication (None: nothing of it is left) and the posts it lost there."""

    thread: Thread | None
    rejected: list[Rejected]
    duplicates: list[Duplicate]


def apply_matches(thread: Thread, removed: Mapping[str, DuplicateMatch]) -> DedupOutcome:
    """Remove the posts in ``removed`` (id -> DuplicateMatch), and what can no longer pair.

    A removed post takes the responses to it along (``prompt_duplicate``), and responses that are
    left with none to compare them with go too (``too_few_responses``), so every post of the
    thread is in the returned thread, rejects or duplicates, exactly once.
    """
    duplicates = [
        Duplicate(
            removed_id=post.id,
            kept_id=match.kept_id,
            similarity=match.similarity,
            rule=match.rule,
        )
        for post in (thread.prompt, *thread.responses)
        if (match := removed.get(post.id)) is not None
    ]
    rest = remaining(thread, removed)
    rejected = [
        reject_post(post, Stage.DEDUP, Reason.PROMPT_DUPLICATE, _instead_of(post, thread, removed))
        for post in rest.cut_off
    ]
    rejected += reject_unpaired(rest.unpaired, Stage.DEDUP)
    return DedupOutcome(rest.thread, rejected, duplicates)


def _instead_of(post: Post, thread: Thread, removed: Mapping[str, DuplicateMatch]) -> str:
    """The kept post in whose stead the prompt went, or the response that a reply was cut from."""
    parent = post.parent_id or thread.id
    return removed[parent].kept_id if parent in removed else parent
