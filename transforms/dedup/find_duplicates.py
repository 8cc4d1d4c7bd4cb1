"""Near-duplicate questions and answers: found by MinHash, verified by exact Jaccard similarity.

MinHash only proposes groups. Within a group, posts are joined when their normalised texts are
equal or the exact similarity of their shingles reaches the threshold, never on an estimate.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import apache_beam as beam
import msgspec
import numpy as np
import numpy.typing as npt

from schemas.ids import content_hash, hash63
from schemas.post import Post, Thread, prompt_text
from transforms.core import Blob, JoinByKey, ThreadBlock, count, thread_partition, unpack
from transforms.dedup.components import (
    BucketComponents,
    no_rows,
    partitions_of,
    route_rows,
    unpack_rows,
)
from transforms.dedup.minhash import (
    MinHashRules,
    WordHashes,
    band_keys,
    exact_keys,
    normalise,
    shingle_hashes,
    signatures,
    word_hashes,
)
from transforms.dedup.verify import (
    SHINGLE_TYPE,
    Candidate,
    DuplicateMatch,
    verify_group,
)

Int64Array = npt.NDArray[np.int64]

_LOW_BITS: Final = 32
_LOW_MASK: Final = (1 << _LOW_BITS) - 1


class ThreadsAndRoots(NamedTuple):
    """Threads of a partition, and the groups of their posts."""

    threads: list[ThreadBlock]
    roots: list[Blob]
    """Packed (node, root) rows."""


class AnswersAndRemovals(NamedTuple):
    """Candidate responses to the prompts of a partition, and the prompts that are removed."""

    answers: list[Candidate]
    removed_threads: list[str]
    """Ids."""


def post_text(post: Post) -> str:
    """Return the normalised text in which a post is compared with others of its kind."""
    return normalise(_own_text(post))


def text_for_words(post: Post) -> str:
    """Return a text of the same words as :func:`post_text`, which is made faster.

    How much white space parts two words makes no difference to them, and normalising changes
    nothing else of ASCII.
    """
    text = _own_text(post)
    return text if text.isascii() else normalise(text)


def _own_text(post: Post) -> str:
    return prompt_text(post) if post.is_prompt else post.text


def post_node(post: Post) -> int:
    """Return the post's node in the graph of shared buckets, 63 bits.

    The upper 31 bits are those of its thread's hash, so that a node finds the partition of its
    thread. Two posts may share a node: then both are candidates, and are told apart by id.
    """
    return hash63(post.thread_id) & ~_LOW_MASK | hash63(post.id) & _LOW_MASK


def bucket_rows(posts: Sequence[Post], rules: MinHashRules) -> Int64Array:
    """Return (bucket key, node) rows: one a band, or one in all for a text without shingles."""
    hashes = word_hashes([text_for_words(post) for post in posts], rules)
    return hashed_bucket_rows(posts, hashes, rules)


def hashed_bucket_rows(
    posts: Sequence[Post], hashes: Sequence[WordHashes], rules: MinHashRules
) -> Int64Array:
    """Return :func:`bucket_rows` of posts whose words are hashed, of shorter ones maybe too.

    Responses that their source itself judges are in no bucket. Two that say the same are two
    judgements where they answer different prompts, and where two answers to one prompt differ in
    a few words, that is what the judgement is about. Prompts are compared as all others are.
    """
    judged = [post.is_judged for post in posts]
    if any(judged):
        hashes = [text for text, out in zip(hashes, judged, strict=True) if not out]
        posts = [post for post, out in zip(posts, judged, strict=True) if not out]
    if not posts:
        return no_rows()
    nodes = np.array([post_node(post) for post in posts], np.int64)
    is_prompt = np.array([post.is_prompt for post in posts], np.bool_)
    # Equal texts have equal shingles and so share all bands: only texts too short for shingles
    # need a key of their own.
    long = np.array([rules.near and text.words >= rules.min_words for text in hashes], np.bool_)
    sets = [text.shingles for text, is_long in zip(hashes, long, strict=True) if is_long]
    bands = band_keys(signatures(sets, rules), is_prompt[long], rules)
    short = [post for post, is_long in zip(posts, long, strict=True) if not is_long]
    exact = exact_keys([post_text(post) for post in short], is_prompt[~long])
    keys = np.concatenate([bands.ravel(), exact])
    owners = np.concatenate([np.repeat(nodes[long], rules.bands), nodes[~long]])
    return np.stack([keys, owners], axis=1)


def route_to_threads(rows: Int64Array, partitions: int) -> Iterator[tuple[int, Blob]]:
    """Yield (node, root) rows packed for the partition of each node's thread.

    A node has the upper bits of its thread's hash only. Where a partition begins among the
    hashes with these bits, the row goes to both sides.
    """
    lowest = partitions_of(rows[:, 0] & ~_LOW_MASK, partitions)
    highest = partitions_of(rows[:, 0] | _LOW_MASK, partitions)
    unsure = lowest != highest
    yield from route_rows(
        np.concatenate([rows, rows[unsure]]), np.concatenate([lowest, highest[unsure]])
    )


def find_candidates(
    threads: Iterable[Thread], roots: Int64Array, rules: MinHashRules
) -> Iterator[Candidate]:
    """Yield the posts whose node is in ``roots``, (node, root) rows sorted by node."""
    posts = [post for thread in threads for post in (thread.prompt, *thread.responses)]
    nodes = np.array([post_node(post) for post in posts], np.int64)
    places = np.minimum(np.searchsorted(roots[:, 0], nodes), len(roots) - 1)
    touched = np.flatnonzero(roots[places, 0] == nodes)
    texts = [post_text(posts[index]) for index in touched]
    sets = shingle_hashes(texts, rules)
    for index, text, hashes in zip(touched, texts, sets, strict=True):
        post = posts[index]
        yield Candidate(
            root=int(roots[places[index], 1]),
            id=post.id,
            thread_id=post.thread_id,
            is_prompt=post.is_prompt,
            score=post.score,
            accepted=post.accepted,
            created_at=post.created_at,
            content=content_hash(text),
            shingles=hashes.astype(SHINGLE_TYPE).tobytes(),
        )


class RouteRoots(beam.DoFn):
    """Packed (node, root) rows -> (partition of the node's thread, packed rows)."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions

    def process(self, element: Blob) -> Iterable[tuple[int, Blob]]:
        return route_to_threads(unpack_rows(element), self._partitions)


class FindCandidates(beam.DoFn):
    """(partition, threads and roots of their posts) -> candidates."""

    def __init__(self, rules: MinHashRules) -> None:
        self._rules = rules

    def process(self, element: tuple[int, ThreadsAndRoots]) -> Iterable[Candidate]:
        blocks, roots = element[1]
        table = np.concatenate([no_rows(), *(unpack_rows(rows) for rows in roots)])
        if not len(table):
            return
        table = table[np.argsort(table[:, 0])]
        for block in blocks:
            candidates = list(find_candidates(unpack(block), table, self._rules))
            count(type(self), "out-candidates", len(candidates))
            yield from candidates


class MarkAnswers(beam.DoFn):
    """(partition, candidate responses and removed threads) -> the responses, marked."""

    def process(self, element: tuple[int, AnswersAndRemovals]) -> Iterable[Candidate]:
        answers, removed_threads = element[1]
        removed = set(removed_threads)
        for answer in answers:
            marked = answer.thread_id in removed
            yield msgspec.structs.replace(answer, prompt_removed=True) if marked else answer


@dataclasses.dataclass
class VerifyGroups(beam.PTransform):
    """Candidates -> matches, group by group."""

    threshold: float

    def expand(self, candidates: beam.PCollection[Candidate]) -> beam.PCollection[DuplicateMatch]:
        return (
            candidates
            | "Key by group" >> beam.Map(_key_by_root)
            | "Group candidates" >> beam.GroupByKey()
            | "Verify group" >> beam.ParDo(_VerifyGroup(self.threshold))
        )


class _VerifyGroup(beam.DoFn):
    def __init__(self, threshold: float) -> None:
        self._threshold = threshold

    def process(self, element: tuple[int, Iterable[Candidate]]) -> Iterable[DuplicateMatch]:
        candidates = list(element[1])
        count(VerifyGroups, "in-candidates", len(candidates))
        matches = verify_group(candidates, self._threshold)
        count(VerifyGroups, "out-matches", len(matches))
        return matches


@dataclasses.dataclass
class FindDuplicates(beam.PTransform):
    """(partition, threads) -> matches, one for each prompt or response that is a duplicate.

    Input: a tuple of the threads and of their bucket rows (:class:`transforms.dedup.HashTexts`).
    Prompts are settled first. Of duplicate responses, one whose thread stays is kept if there
    is any. Its thread may still be lost later when too few of its responses are left.
    """

    rules: MinHashRules
    partitions: int

    def expand(
        self, inputs: tuple[beam.PCollection[tuple[int, ThreadBlock]], beam.PCollection[Blob]]
    ) -> beam.PCollection[DuplicateMatch]:
        threads, buckets = inputs
        roots = (
            buckets
            | "Join buckets" >> BucketComponents(self.partitions)
            | "Route roots" >> beam.ParDo(RouteRoots(self.partitions))
        )
        candidates = (
            (threads, roots)
            | "Threads and roots" >> JoinByKey(ThreadsAndRoots)
            | "Find candidates" >> beam.ParDo(FindCandidates(self.rules))
        )
        prompt_matches = (
            candidates
            | "Take prompts" >> beam.Filter(_is_prompt)
            | "Verify prompts" >> VerifyGroups(self.rules.threshold)
        )
        answers = candidates | "Key answers" >> beam.FlatMap(_key_answer, self.partitions)
        removals = prompt_matches | "Key removals" >> beam.Map(_key_removal, self.partitions)
        answer_matches = (
            (answers, removals)
            | "Answers and removals" >> JoinByKey(AnswersAndRemovals)
            | "Mark answers" >> beam.ParDo(MarkAnswers())
            | "Verify answers" >> VerifyGroups(self.rules.threshold)
        )
        return (prompt_matches, answer_matches) | "All matches" >> beam.Flatten()


def _key_by_root(candidate: Candidate) -> tuple[int, Candidate]:
    return candidate.root, candidate


def _is_prompt(candidate: Candidate) -> bool:
    return candidate.is_prompt


def _key_answer(candidate: Candidate, partitions: int) -> Iterable[tuple[int, Candidate]]:
    if not candidate.is_prompt:
        yield thread_partition(candidate.thread_id, partitions), candidate


def _key_removal(match: DuplicateMatch, partitions: int) -> tuple[int, str]:
    thread_id = match.removed_thread_id
    return thread_partition(thread_id, partitions), thread_id
