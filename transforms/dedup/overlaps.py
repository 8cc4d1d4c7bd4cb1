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
import itertools
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import apache_beam as beam
import numpy as np
import numpy.typing as npt

from schemas.ids import hash63
from schemas.post import Post
from transforms.core import HASH_BITS, Blob, count
from transforms.dedup.components import (
    CHUNK_ROWS,
    BucketComponents,
    no_rows,
    pack_rows,
    partitions_of,
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
_ROW_MULTIPLIERS: Final = (
    0x9E3779B97F4A7C15,
    0xD1B54A32D192ED03,
    0xBF58476D1CE4E5B9,
    0x94D049BB133111EB,
)
"""Odd and without a pattern."""


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


class SharedSamples(NamedTuple):
    """Pairs of texts that share a sampled shingle, one for each shingle that they share."""

    texts: Int64Array
    """[n, 2]: (text, thread)."""
    left: Int64Array
    """Place in `texts` of one text of each pair [p]."""
    right: Int64Array
    """Place in `texts` of the other [p]; its thread is larger."""

    def rows(self, pairs: Int64Array) -> Int64Array:
        """Return (both texts, thread, thread) rows [p, 3] of the pairs at these places [p].

        They are most of what a run has on disk at a time, so both texts are in one number.
        """
        left, right = self.texts[self.left[pairs]], self.texts[self.right[pairs]]
        both = left[:, 0] << _TEXT_BITS | right[:, 0]
        return np.stack([both, left[:, 1], right[:, 1]], axis=1)


def shared_samples(rows: Int64Array) -> SharedSamples:
    """Return the pairs of texts that share a sampled shingle of few threads.

    Rows [m, 2] are those of :func:`sample_rows`; all that have one shingle must be among them. At
    most `MAX_THREADS` / 2 pairs a row: of each thread only the smallest text with a shingle counts.
    """
    texts = _smallest_texts(rows)
    shingles = texts[:, 0] >> _TEXT_BITS
    texts[:, 0] &= _TEXT_MASK
    starts = _starts(shingles)
    sizes = np.diff(np.append(starts, len(shingles)))
    places = np.arange(len(shingles)) - np.repeat(starts, sizes)
    places[np.repeat(sizes > MAX_THREADS, sizes)] = 0
    lefts, rights = [], []
    right = np.flatnonzero(places)
    for distance in range(1, MAX_THREADS):
        right = right[places[right] >= distance]
        lefts.append(right - distance)
        rights.append(right)
    return SharedSamples(texts, np.concatenate(lefts), np.concatenate(rights))


def _smallest_texts(rows: Int64Array) -> Int64Array:
    """The smallest row of each shingle and thread, ordered by these two."""
    shingles, threads = rows[:, 0] >> _TEXT_BITS, rows[:, 1]
    # One sort of one number is several times faster than one by two columns: the 32 bits of the
    # shingle, and below them the place of the thread among those that are here.
    thread_places = np.unique(threads, return_inverse=True)[1]
    keys = shingles << _TEXT_BITS | thread_places
    order = np.argsort(keys)
    rows = rows[order]
    starts = _starts(keys[order])
    smallest = rows[starts]
    if len(starts) < len(rows):
        smallest[:, 0] = np.minimum.reduceat(rows[:, 0], starts)
    return smallest


def _starts(values: Int64Array) -> Int64Array:
    """Return where each run of equal values starts."""
    return np.flatnonzero(np.append(True, values[1:] != values[:-1])[: len(values)])


def overlapping(pairs: Int64Array) -> Int64Array:
    """Return the (thread, thread) rows of the pairs [p, 3] that overlap.

    Each pair is there once for each sampled shingle that its texts share, in one order of the two.
    """
    # Most pairs share a phrase and no more. They go before the rows are sorted, by an upper bound
    # on how much they share: that takes a tenth of the time.
    pairs = pairs[_share_enough(pairs, _most_repeats(pairs))]
    if not len(pairs):
        return no_rows()
    distinct, shared = np.unique(pairs, axis=0, return_counts=True)
    return distinct[_share_enough(distinct, shared)][:, 1:]


def _share_enough(pairs: Int64Array, shared: Int64Array) -> npt.NDArray[np.bool_]:
    """Whether pairs that share so many sampled shingles [p] overlap; more never changes a yes."""
    texts = np.stack([pairs[:, 0] >> _TEXT_BITS, pairs[:, 0] & _TEXT_MASK], axis=1)
    sizes = _size_of(texts >> _POST_BITS)
    halvings = _halvings(sizes).max(axis=1)
    estimate = shared << halvings
    share = estimate / sizes.min(axis=1)
    enough = (shared >= MIN_SAMPLED) | (halvings == 0)
    long = (share >= MIN_SHARE) & (estimate >= MIN_SHINGLES)
    overlap: npt.NDArray[np.bool_] = enough & (long | (share >= NEARLY_ALL))
    return overlap


def _most_repeats(rows: Int64Array) -> Int64Array:
    """Upper bound [m] on how often each row [m, k] is there; the exact number for most."""
    # Rows are counted by the upper bits of a hash, with more slots than rows.
    bits = len(rows).bit_length() + 1
    multipliers = np.array(_ROW_MULTIPLIERS[: rows.shape[1]], np.uint64)
    slots = (rows.view(np.uint64) @ multipliers >> np.uint64(64 - bits)).view(np.int64)
    return np.bincount(slots)[slots]


class PairSamples(beam.DoFn):
    """(shard, packed sample rows) -> (shard of the pair, packed pairs of texts that share any)."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions

    def process(self, element: tuple[int, Iterable[Blob]]) -> Iterable[tuple[int, Blob]]:
        shared = shared_samples(np.concatenate([no_rows(), *map(unpack_rows, element[1])]))
        count(type(self), "out-pairs", len(shared.left))
        threads = np.ascontiguousarray(shared.texts[:, 1])
        shards = partitions_of(threads[shared.left] ^ threads[shared.right], self._partitions)
        # numpy sorts numbers of 16 bits or fewer by radix.
        shards = shards.astype(np.min_scalar_type(self._partitions))
        order = np.argsort(shards, kind="stable")
        starts = _starts(shards[order]).tolist()
        for start, end in itertools.pairwise([*starts, len(order)]):
            shard = int(shards[order[start]])
            for first in range(start, end, CHUNK_ROWS):
                for chunk in pack_rows(shared.rows(order[first : min(first + CHUNK_ROWS, end)])):
                    yield shard, chunk


class JoinOverlaps(beam.DoFn):
    """(shard, packed pairs) -> packed (thread, thread) rows of texts that overlap."""

    def process(self, element: tuple[int, Iterable[Blob]]) -> Iterable[Blob]:
        pairs = (unpack_rows(chunk, 3) for chunk in element[1])
        edges = overlapping(np.concatenate([no_rows(3), *pairs]))
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
