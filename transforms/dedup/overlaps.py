"""Threads that share text, found so that no split separates them; no row is removed for it.

Deduplication removes copies that are nearly the same. What is left can still be a copy with other
punctuation, a rewrite of a third of another text, or a quotation with some words changed: enough
for a model to have seen in training what it is tested on. Two posts overlap when a good part of the
shorter one's shingles is in the other. The part is estimated from a sample of shingles that is the
same for all texts (FracMinHash, Irber et al. 2022, bioRxiv 2022.01.11.475838).

Shingles that many threads have are boilerplate and count for nothing: a signature or a template
would chain a forum into one group, and a group is never divided.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Final

import apache_beam as beam
import numpy as np
import numpy.typing as npt

from schemas.ids import hash63
from schemas.post import Post
from transforms.core import HASH_BITS, Blob, count
from transforms.dedup.components import (
    BucketComponents,
    no_rows,
    pack_rows,
    partitions_of,
    route_rows,
    unpack_rows,
)
from transforms.dedup.find_duplicates import post_text
from transforms.dedup.minhash import MinHashRules, WordHashes

Int64Array = npt.NDArray[np.int64]

SHINGLES: Final = MinHashRules(shingle_words=5, min_words=8)
"""Shingles are those of the deduplication, of shorter texts too. What has fewer than eight words
overlaps with nothing, but a prompt with one of the same words."""

MIN_SHARE: Final = 0.4
"""Of the shingles of the shorter text. At a Jaccard similarity of 0.5, texts of one length have two
thirds in common; below that lies what sampling may miss."""

MIN_SHINGLES: Final = 8
"""That two texts have in common, 12 words in a row; fewer when they are `NEARLY_ALL`."""

NEARLY_ALL: Final = 0.8
"""Of the shingles of the shorter text."""

MIN_SAMPLED: Final = 2
"""Of a sample, as many must be in common for an estimate."""

MAX_THREADS: Final = 32
"""A shingle in more threads is boilerplate."""

FULL_SAMPLE: Final = 32
"""Shingles of a text that are all compared. Of longer texts every other one is, or one in four."""

MOST_HALVINGS: Final = 2
"""No text is sampled more thinly: a short quotation in it must be seen."""

# A row is (shingle | size of the text | post, thread): the shingle's hash has the upper 32 bits of
# the 63, so that it chooses the shard.
_POST_BITS: Final = 22
_DIGIT_BITS: Final = 5
_TEXT_BITS: Final = HASH_BITS - 32
_TEXT_MASK: Final = (1 << _TEXT_BITS) - 1


def _size_code(size: int) -> int:
    """A size in 9 bits: its first five binary digits, and how many it has more."""
    more = min(max(size.bit_length() - _DIGIT_BITS, 0), 15)
    return more << _DIGIT_BITS | min(size >> more, (1 << _DIGIT_BITS) - 1)


def _size_of(codes: Int64Array) -> Int64Array:
    return (codes & (1 << _DIGIT_BITS) - 1) << (codes >> _DIGIT_BITS)


def _halvings(sizes: Int64Array) -> Int64Array:
    """Return k [n] for texts with so many shingles [n]: one in 2**k is sampled."""
    steps = FULL_SAMPLE << np.arange(MOST_HALVINGS)
    return np.searchsorted(steps, sizes).astype(np.int64)


def sample_rows(posts: Sequence[Post], hashes: Sequence[WordHashes]) -> Int64Array:
    """Return (shingle and text, thread) rows [m, 2] of the sampled shingles of all posts."""
    counts = np.array([len(text.shingles) for text in hashes], np.int64)
    codes = np.array([_size_code(number) for number in counts.tolist()], np.int64)
    masks = (1 << _halvings(_size_of(codes))) - 1
    names = np.array([hash63(post.id) & (1 << _POST_BITS) - 1 for post in posts], np.int64)
    shingles = np.concatenate([np.empty(0, np.int64), *(text.shingles for text in hashes)])
    owners = np.repeat(np.arange(len(posts)), counts)
    sampled = shingles & masks[owners] == 0
    shingles, owners = shingles[sampled], owners[sampled]
    threads = np.array([hash63(post.thread_id) for post in posts], np.int64)
    texts = codes << _POST_BITS | names
    return np.stack([shingles << _TEXT_BITS | texts[owners], threads[owners]], axis=1)


def same_words(posts: Sequence[Post], hashes: Sequence[WordHashes]) -> Int64Array:
    """Return (key, thread) rows of prompts: equal keys for equal words, whatever else differs.

    A prompt without any word is taken as it stands.
    """
    rows = [
        (text.sequence if text.words else hash63(post_text(post)), hash63(post.thread_id))
        for post, text in zip(posts, hashes, strict=True)
        if post.is_prompt
    ]
    return np.array(rows, np.int64).reshape(-1, 2)


def shared_samples(rows: Int64Array) -> Int64Array:
    """Return the pairs of texts that share a sampled shingle of few threads.

    Rows [m, 2] are those of :func:`sample_rows`; all that have one shingle must be among them. A
    pair is (text, thread, text, thread), [p, 4], once for each shingle. At most `MAX_THREADS` / 2
    pairs a row: of each thread only the smallest text with a shingle counts.
    """
    rows = _repeated(rows)
    rows = rows[np.lexsort((rows[:, 0] & _TEXT_MASK, rows[:, 1], rows[:, 0] >> _TEXT_BITS))]
    shingles, threads = rows[:, 0] >> _TEXT_BITS, rows[:, 1]
    is_first = np.append(True, (shingles[1:] != shingles[:-1]) | (threads[1:] != threads[:-1]))
    rows, shingles = rows[is_first[: len(rows)]], shingles[is_first[: len(rows)]]
    starts = np.flatnonzero(np.append(True, shingles[1:] != shingles[:-1])[: len(rows)])
    sizes = np.diff(np.append(starts, len(rows)))
    places = np.arange(len(rows)) - np.repeat(starts, sizes)
    size_of_row = np.repeat(sizes, sizes)
    rare = (size_of_row > 1) & (size_of_row <= MAX_THREADS)
    texts = np.stack([rows[:, 0] & _TEXT_MASK, rows[:, 1]], axis=1)
    pairs = [np.empty((0, 4), np.int64)]
    for distance in range(1, MAX_THREADS):
        right = np.flatnonzero(rare & (places >= distance))
        if not len(right):
            break
        pairs.append(np.concatenate([texts[right - distance], texts[right]], axis=1))
    return np.concatenate(pairs)


def _repeated(rows: Int64Array) -> Int64Array:
    """Rows whose shingle is there more than once: few of all."""
    rows = rows[np.argsort(rows[:, 0])]
    same = rows[1:, 0] >> _TEXT_BITS == rows[:-1, 0] >> _TEXT_BITS
    return rows[np.append(same, False) | np.append(False, same)] if len(rows) else rows


def overlapping(pairs: Int64Array) -> Int64Array:
    """Return the (thread, thread) rows of the pairs [p, 4] that overlap.

    Each pair is there once for each sampled shingle that its texts share, in one order of the two.
    """
    if not len(pairs):
        return no_rows()
    distinct, shared = np.unique(pairs, axis=0, return_counts=True)
    sizes = _size_of(distinct[:, [0, 2]] >> _POST_BITS)
    halvings = _halvings(sizes).max(axis=1)
    estimate = shared << halvings
    share = estimate / sizes.min(axis=1)
    enough = (shared >= MIN_SAMPLED) | (halvings == 0)
    long = (share >= MIN_SHARE) & (estimate >= MIN_SHINGLES)
    overlaps: Int64Array = distinct[enough & (long | (share >= NEARLY_ALL))][:, [1, 3]]
    return overlaps


class PairSamples(beam.DoFn):
    """(shard, packed sample rows) -> (shard of the pair, packed pairs of texts that share any)."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions

    def process(self, element: tuple[int, Iterable[Blob]]) -> Iterable[tuple[int, Blob]]:
        pairs = shared_samples(np.concatenate([no_rows(), *map(unpack_rows, element[1])]))
        count(type(self), "out-pairs", len(pairs))
        shards = partitions_of(pairs[:, 1] ^ pairs[:, 3], self._partitions)
        order = np.argsort(shards, kind="stable")
        # Two rows of two for each pair: what is packed has rows of two.
        yield from route_rows(pairs[order].reshape(-1, 2), np.repeat(shards[order], 2))


class JoinOverlaps(beam.DoFn):
    """(shard, packed pairs) -> packed (thread, thread) rows of texts that overlap."""

    def process(self, element: tuple[int, Iterable[Blob]]) -> Iterable[Blob]:
        rows = np.concatenate([no_rows(), *map(unpack_rows, element[1])])
        edges = overlapping(rows.reshape(-1, 4))
        count(type(self), "out-overlaps", len(edges))
        yield from pack_rows(edges)


@dataclasses.dataclass
class FindOverlaps(beam.PTransform):
    """(samples, prompts) -> packed (thread hash, thread hash) rows of threads that share text.

    Both are from :class:`transforms.dedup.HashTexts`; prompts with equal keys are joined, however
    many they are.
    """

    partitions: int

    def expand(
        self, inputs: tuple[beam.PCollection[tuple[int, Blob]], beam.PCollection[Blob]]
    ) -> beam.PCollection[Blob]:
        samples, prompts = inputs
        overlaps = (
            samples
            | "Group shingles" >> beam.GroupByKey()
            | "Pair samples" >> beam.ParDo(PairSamples(self.partitions))
            | "Group pairs" >> beam.GroupByKey()
            | "Join overlaps" >> beam.ParDo(JoinOverlaps())
        )
        equal = prompts | "Join prompts" >> BucketComponents(self.partitions)
        return (overlaps, equal) | "All overlaps" >> beam.Flatten()
