"""Exact set similarity: which sets of shingle hashes are at least `threshold` alike.

The similarity join follows Bayardo et al. (WWW 2007) and Xiao et al. (WWW 2008): with the
elements of every set ordered from rare to frequent, two sets can only be similar when short
prefixes of them meet. A comparison of parity bits removes most of the pairs that do (Sandes et
al., arXiv 1711.07295), and the exact overlap decides on the rest.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.csgraph import connected_components

UInt32Array = npt.NDArray[np.uint32]
Int64Array = npt.NDArray[np.int64]
UInt64Array = npt.NDArray[np.uint64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

FEW_SETS: Final = 48
"""Up to here every pair is compared."""

PIVOTS: Final = 16
"""Sets that are compared with all others before the join, to find large components early."""

LARGE_COMPONENT: Final = 256
"""Sets of a component of this size are no longer compared with each other."""

SETS_AT_ONCE: Final = 4096
"""Sets whose elements are looked up in one step."""

PAIRS_AT_ONCE: Final = 1 << 21
"""Bound on the pairs of one step of the join: about 60 MB."""

MAX_ROUNDS: Final = 64
"""The pairs of a step are verified in up to so many rounds, with a look at components between."""

MIN_ROUND_PAIRS: Final = 512
"""Rounds smaller than this cost more than they save."""

MAX_PARITY_WORDS: Final = 64
"""Bound on the width of a set's parity bits: 512 bytes."""

_SLACK: Final = 1e-9
"""Bounds are loosened by this much, so that rounding never drops a pair."""


def jaccard(left: UInt32Array, right: UInt32Array) -> float:
    """Return the Jaccard similarity of two sorted arrays of distinct values; 1 for two empty."""
    if not len(left) and not len(right):
        return 1.0
    shared = len(np.intersect1d(left, right, assume_unique=True))
    return shared / (len(left) + len(right) - shared)


def jaccard_to(one: UInt32Array, others: Sequence[UInt32Array]) -> FloatArray:
    """Return :func:`jaccard` of ``one`` with each of ``others``, [n], in a few passes over all."""
    result = np.empty(len(others), np.float64)
    for start in range(0, len(others), SETS_AT_ONCE):
        some = others[start : start + SETS_AT_ONCE]
        values = np.concatenate(some)
        lengths = np.array([len(other) for other in some], np.int64)
        places = np.searchsorted(one, values)
        found = np.append(one, 0)[places] == values
        found[places == len(one)] = False
        ends = np.cumsum(lengths)
        before = np.append(0, np.cumsum(found))
        shared = before[ends] - before[ends - lengths]
        either = len(one) + lengths - shared
        result[start : start + SETS_AT_ONCE] = np.where(either, shared / np.maximum(either, 1), 1.0)
    return result


def similar_components(sets: Sequence[UInt32Array], threshold: float) -> Int64Array:
    """Return a component label [n] for each set, the smallest index of its component.

    `sets` are non-empty sorted arrays of distinct values. Two of them are neighbours when their
    Jaccard similarity is at least ``threshold``, in (0, 1]. The result is that of comparing all
    pairs. Time is nearly linear when sets are alike or share only frequent elements; the worst
    case is quadratic: many sets that share rare elements, all pairs just below the threshold.
    """
    if len(sets) <= FEW_SETS:
        return _compare_all(sets, threshold)
    return _Join(sets, threshold).labels()


def _compare_all(sets: Sequence[UInt32Array], threshold: float) -> Int64Array:
    labels = np.arange(len(sets))
    members = [frozenset(values.tolist()) for values in sets]
    for right, right_set in enumerate(members):
        for left, left_set in enumerate(members[:right]):
            if labels[left] == labels[right]:
                continue
            shared = len(left_set & right_set)
            if shared / (len(left_set) + len(right_set) - shared) >= threshold:
                first, second = sorted((labels[left], labels[right]))
                labels[labels == second] = first
    return labels


class _Join:
    """Rows are the sets from small to large, columns the elements from rare to frequent."""

    def __init__(self, sets: Sequence[UInt32Array], threshold: float) -> None:
        lengths = np.array([len(values) for values in sets], np.int64)
        self._order = np.argsort(lengths, kind="stable")
        self._sizes = lengths[self._order]
        self._threshold = threshold
        self._labels = np.arange(len(sets))
        self._matrix = _ranked([sets[row] for row in self._order], self._sizes)

    # Made when they are needed: the pivots alone settle a text that was posted everywhere.
    # A set x reaches the threshold with a set y of at most its size only if the first
    # |x| - ceil(t |x|) + 1 elements of x meet the first |y| - ceil(2 t / (1 + t) |y|) + 1 of y.

    @functools.cached_property
    def _probe(self) -> sparse.csr_array:
        return self._prefixes(self._threshold)

    @functools.cached_property
    def _index(self) -> sparse.csr_array:
        return self._prefixes(2 * self._threshold / (1 + self._threshold))

    @functools.cached_property
    def _parities(self) -> UInt64Array:
        return _parity_bits(self._matrix)

    def labels(self) -> Int64Array:
        self._compare_pivots()
        remaining = np.arange(len(self._sizes))
        for label in self._large_components():
            inside = self._labels[remaining] == label
            members, remaining = remaining[inside], remaining[~inside]
            self._compare(members, remaining)
            self._compare(remaining, members)
        self._compare(remaining, remaining)

        rows_of_labels = np.unique(self._labels, return_inverse=True)[1]
        smallest = np.full(len(self._sizes), len(self._sizes))
        np.minimum.at(smallest, rows_of_labels, self._order)
        labels = np.empty(len(self._sizes), np.int64)
        labels[self._order] = smallest[rows_of_labels]
        return labels

    def _prefixes(self, share: float) -> sparse.csr_array:
        """Cut each row to the prefix that must meet another's when ``share`` of it is common."""
        common = np.ceil(self._sizes * share - _SLACK).astype(np.int64)
        lengths = np.clip(self._sizes - common + 1, 1, self._sizes)
        ends = np.cumsum(lengths)
        starts = self._matrix.indptr[:-1]
        places = np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)
        return sparse.csr_array(
            (self._matrix.data[places], self._matrix.indices[places], np.append(0, ends)),
            shape=self._matrix.shape,
        )

    def _compare_pivots(self) -> None:
        """Compare a few sets with all: one of them lies in every component of much weight."""
        waiting = np.ones(len(self._sizes), np.bool_)
        for number in range(PIVOTS):
            rows = np.flatnonzero(waiting)
            if not len(rows):
                return
            pivot = rows[len(rows) * number // PIVOTS]
            column = np.zeros(self._matrix.shape[1], np.int32)
            start, end = self._matrix.indptr[pivot : pivot + 2]
            column[self._matrix.indices[start:end]] = 1
            pivots = np.full(len(self._sizes), pivot)
            everyone = np.arange(len(self._sizes))
            similar = self._is_similar(pivots, everyone, self._matrix @ column)
            self._join(pivots[similar], everyone[similar])
            waiting[similar] = False

    def _large_components(self) -> list[int]:
        labels, counts = np.unique(self._labels, return_counts=True)
        return [int(label) for label in labels[counts >= LARGE_COMPONENT]]

    def _compare(self, probing: Int64Array, indexed: Int64Array) -> None:
        """Compare each probing row with the indexed rows before it."""
        if not len(probing) or not len(indexed):
            return
        index = self._index[indexed].T.tocsr()
        work = self._probe[probing] @ np.diff(index.indptr)
        for chunk in _chunks(work, PAIRS_AT_ONCE):
            product = (self._probe[probing[chunk]] @ index).tocoo()
            right, left = probing[chunk][product.row], indexed[product.col]
            possible = (left < right) & (self._sizes[left] >= self._least_size(right))
            self._verify(right[possible], left[possible])

    def _least_size(self, right: Int64Array) -> FloatArray:
        return self._sizes[right].astype(np.float64) * self._threshold - _SLACK

    def _verify(self, all_right: Int64Array, all_left: Int64Array) -> None:
        """Join the pairs that are similar, passing over those that are connected already."""
        rounds = min(max(len(all_right) // MIN_ROUND_PAIRS, 1), MAX_ROUNDS)
        for first in range(rounds):
            # A stride, not a run: every set should be met early, because most pairs of a set
            # that has found its component need no verification.
            right, left = all_right[first::rounds], all_left[first::rounds]
            apart = self._labels[right] != self._labels[left]
            right, left = right[apart], left[apart]
            possible = self._least_difference(right, left) <= self._most_difference(right, left)
            right, left = right[possible], left[possible]
            common = self._matrix[right].multiply(self._matrix[left]).tocsr()
            similar = self._is_similar(right, left, np.diff(common.indptr))
            self._join(right[similar], left[similar])

    def _least_difference(self, right: Int64Array, left: Int64Array) -> Int64Array:
        """Elements in one of two sets but not in both: at least the bits in which they differ."""
        bits = np.bitwise_count(self._parities[right] ^ self._parities[left])
        total: Int64Array = bits.sum(axis=1, dtype=np.int64)
        return total

    def _most_difference(self, right: Int64Array, left: Int64Array) -> FloatArray:
        share = (1 - self._threshold) / (1 + self._threshold)
        return (self._sizes[right] + self._sizes[left]).astype(np.float64) * share + _SLACK

    def _is_similar(self, right: Int64Array, left: Int64Array, shared: Int64Array) -> BoolArray:
        return shared / (self._sizes[right] + self._sizes[left] - shared) >= self._threshold

    def _join(self, right: Int64Array, left: Int64Array) -> None:
        if not len(right):
            return
        ends = (self._labels[right], self._labels[left])
        shape = (len(self._sizes), len(self._sizes))
        graph = sparse.coo_array((np.ones(len(right), np.int32), ends), shape=shape)
        _, merged = connected_components(graph.tocsr(), directed=False)
        self._labels = merged[self._labels]


def _ranked(sets: Sequence[UInt32Array], sizes: Int64Array) -> sparse.csr_array:
    """Sets x elements, 1 where the set has the element; columns run from rare to frequent."""
    _, places, counts = np.unique(np.concatenate(sets), return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), np.int64)
    rank[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    bounds = np.append(0, np.cumsum(sizes))
    ones = np.ones(len(places), np.int32)
    matrix = sparse.csr_array((ones, rank[places], bounds), shape=(len(sets), len(counts)))
    matrix.sort_indices()
    return matrix


def _parity_bits(matrix: sparse.csr_array) -> UInt64Array:
    """A bit row for each set: element e flips bit e modulo the width, about 5 bits an element.

    Equal elements flip equal bits, so two sets differ in at least as many elements as bits.
    """
    rows, _ = matrix.shape
    words = int(np.clip(5 * matrix.nnz // rows // 64, 1, MAX_PARITY_WORDS))
    parities = np.empty((rows, words), np.uint64)
    height = max(1, PAIRS_AT_ONCE // (64 * words))
    for start in range(0, rows, height):
        part = matrix[start : start + height]
        owners = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))
        places = owners * (64 * words) + part.indices % (64 * words)
        flips = np.bincount(places, minlength=part.shape[0] * 64 * words) & 1
        parities[start : start + height] = np.packbits(
            flips.astype(np.bool_).reshape(part.shape[0], -1), axis=1
        ).view(np.uint64)
    return parities


def _chunks(work: Int64Array, limit: int) -> Iterator[slice]:
    """Cut rows into runs whose summed work is at most ``limit``, or one row."""
    total = np.cumsum(work)
    start = 0
    while start < len(work):
        before = int(total[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(total, before + limit, side="right")))
        yield slice(start, end)
        start = end
