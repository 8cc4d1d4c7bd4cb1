"""Connected components of large graphs: packed rows, local stars, one streaming union-find.

Nodes and bucket keys are 63-bit hashes. Rows of two of them travel as blobs (little-endian
int64, row after row) in chunks of at most 1 MB, because a runner's cost is per element. The
root of a component is its smallest node, so results depend neither on the order nor on the
batching of the input.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import apache_beam as beam
import numpy as np
import numpy.typing as npt
from apache_beam.transforms.window import GlobalWindows
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from transforms.core import HASH_BITS, Blob, count

Int64Array = npt.NDArray[np.int64]

CHUNK_ROWS: Final = 1 << 16
"""Rows of a packed chunk at most: 1 MB."""

PENDING_ROWS: Final = 1 << 18
"""Rows collected before they are contracted, at least."""

_ROW: Final = np.dtype("<i8")


def pack_rows(rows: Int64Array) -> Iterator[Blob]:
    """Yield rows [n, 2] or [n, 3] as chunks of at most 1 or 1.5 MB."""
    for start in range(0, len(rows), CHUNK_ROWS):
        yield Blob(rows[start : start + CHUNK_ROWS].astype(_ROW).tobytes())


def unpack_rows(chunk: Blob, columns: int = 2) -> Int64Array:
    """Return the rows [n, columns] of a chunk."""
    return np.frombuffer(chunk.load(), _ROW).astype(np.int64, copy=False).reshape(-1, columns)


def no_rows(columns: int = 2) -> Int64Array:
    """Return an empty row array [0, columns]."""
    return np.empty((0, columns), np.int64)


def partitions_of(positions: Int64Array, partitions: int) -> Int64Array:
    """Return `blocks.partition_of` of each 63-bit position."""
    starts = [-((-index << HASH_BITS) // partitions) for index in range(1, partitions)]
    return np.searchsorted(np.array(starts, np.int64), positions, side="right").astype(np.int64)


def route_rows(rows: Int64Array, targets: Int64Array) -> Iterator[tuple[int, Blob]]:
    """Yield the rows as packed (target, chunk) elements, one for each target that has rows."""
    if not len(rows):
        return
    order = np.argsort(targets, kind="stable")
    targets, rows = targets[order], rows[order]
    starts = np.flatnonzero(np.append(True, targets[1:] != targets[:-1]))
    for start, end in zip(starts, np.append(starts[1:], len(rows)), strict=True):
        for chunk in pack_rows(rows[start:end]):
            yield int(targets[start]), chunk


class Stars(NamedTuple):
    """A spanning star of each bucket: `edges` lead to the centre, which stands for the bucket."""

    edges: Int64Array
    """[m, 2]: (id, smallest id of the same bucket), ids that differ from it only."""
    centres: Int64Array
    """[k, 2]: (key, smallest id), one row for each distinct key, sorted by key."""


def stars(keys: Int64Array, ids: Int64Array) -> Stars:
    """Replace each bucket, the ids [n] with equal keys [n], by a star around its smallest id.

    A bucket of m ids becomes m - 1 edges instead of m * (m - 1) / 2. Buckets may be split over
    several calls: a star of their centres, found in the same way, joins the parts.
    """
    if not len(keys):
        return Stars(no_rows(), no_rows())
    order = np.argsort(keys)
    keys, ids = keys[order], ids[order]
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    minima = np.minimum.reduceat(ids, starts)
    sizes = np.diff(np.append(starts, len(ids)))
    edges = np.stack([ids, np.repeat(minima, sizes)], axis=1)
    return Stars(edges[edges[:, 0] != edges[:, 1]], np.stack([keys[starts], minima], axis=1))


def contract(edges: Int64Array) -> Int64Array:
    """Return the star forest (node, root) of a graph's edges [m, 2], without the roots' own rows.

    The root is the smallest node of its component; rows are sorted by node.
    """
    if not len(edges):
        return no_rows()
    nodes, places = np.unique(edges, return_inverse=True)
    places = places.reshape(-1, 2)
    ones = np.ones(len(edges), np.int32)
    graph = sparse.coo_array((ones, (places[:, 0], places[:, 1])), shape=(len(nodes), len(nodes)))
    number, labels = connected_components(graph.tocsr(), directed=False)
    # Nodes ascend, and of repeated places the last assignment stays: written backwards, that is
    # the smallest node of each label.
    smallest = np.empty(number, np.int64)
    smallest[labels[::-1]] = nodes[::-1]
    roots = smallest[labels]
    joined = roots != nodes
    return np.stack([nodes[joined], roots[joined]], axis=1)


class Forest:
    """Union-find over a stream of edges, contracted whenever as much is pending as is held.

    Memory is about 200 bytes for each node of a component with two or more nodes; time is
    proportional to the edges, times the logarithm of their number.
    """

    def __init__(self, pending_rows: int = PENDING_ROWS) -> None:
        self._pending_limit = pending_rows
        self._stars = no_rows()
        self._pending: list[Int64Array] = []
        self._pending_rows = 0

    def add(self, edges: Int64Array) -> None:
        """Join the two nodes of each of the edges [m, 2]."""
        self._pending.append(edges)
        self._pending_rows += len(edges)
        if self._pending_rows > max(self._pending_limit, len(self._stars)):
            self.stars()

    def stars(self) -> Int64Array:
        """Return (node, root) rows as :func:`contract` does."""
        if self._pending:
            self._stars = contract(np.concatenate([self._stars, *self._pending]))
            self._pending, self._pending_rows = [], 0
        return self._stars

    def components(self) -> Int64Array:
        """Return (node, root) for every node of a component of two or more, roots included."""
        rows = self.stars()
        roots = np.unique(rows[:, 1])
        rows = np.concatenate([rows, np.stack([roots, roots], axis=1)])
        return rows[np.argsort(rows[:, 0])]


class ContractEdges(beam.DoFn):
    """Packed edges -> fewer packed edges with the same components, per bundle."""

    def start_bundle(self) -> None:
        self._forest = Forest()
        self._rows = 0

    def process(self, element: Blob) -> Iterable[Blob]:
        edges = unpack_rows(element)
        count(type(self), "in-edges", len(edges))
        self._forest.add(edges)
        self._rows += len(edges)
        if self._rows >= PENDING_ROWS:
            yield from self._flush()

    def finish_bundle(self) -> Iterable[Any]:
        for chunk in self._flush():
            yield GlobalWindows.windowed_value_at_end_of_window(chunk)

    def _flush(self) -> Iterator[Blob]:
        rows = self._forest.stars()
        self.start_bundle()
        count(type(self), "out-edges", len(rows))
        yield from pack_rows(rows)


class JoinComponents(beam.DoFn):
    """(key, packed edges) -> packed (node, root) of the whole graph."""

    def process(self, element: tuple[int, Iterable[Blob]]) -> Iterable[Blob]:
        forest = Forest()
        for chunk in element[1]:
            forest.add(unpack_rows(chunk))
        rows = forest.components()
        count(type(self), "out-nodes", len(rows))
        yield from pack_rows(rows)


@dataclasses.dataclass
class ConnectedComponents(beam.PTransform):
    """Packed edges (a, b) -> packed (node, root) of every node that has a neighbour.

    The last step is one worker's, over contracted edges: 15 s and 0.9 GB were measured for 10
    million edges between 5 million nodes.
    """

    def expand(self, edges: beam.PCollection[Blob]) -> beam.PCollection[Blob]:
        return (
            edges
            | "Contract edges" >> beam.ParDo(ContractEdges())
            | "Key all alike" >> beam.Map(_key_alike)
            | "Group all" >> beam.GroupByKey()
            | "Join components" >> beam.ParDo(JoinComponents())
        )


class StarBuckets(beam.DoFn):
    """Packed (key, id) rows -> (shard, packed (key, smallest id)), and edges on a side output.

    What a batch knows of a bucket leaves it as one row, so a bucket that half of all texts
    share costs no more shuffle than any other.
    """

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions

    def start_bundle(self) -> None:
        self._chunks: list[Int64Array] = []
        self._rows = 0

    def process(self, element: Blob) -> Iterable[Any]:
        rows = unpack_rows(element)
        count(type(self), "in-rows", len(rows))
        self._chunks.append(rows)
        self._rows += len(rows)
        if self._rows >= PENDING_ROWS:
            yield from self._flush()

    def finish_bundle(self) -> Iterable[Any]:
        at_end = GlobalWindows.windowed_value_at_end_of_window
        for output in self._flush():
            if isinstance(output, beam.pvalue.TaggedOutput):
                yield beam.pvalue.TaggedOutput(output.tag, at_end(output.value))
            else:
                yield at_end(output)

    def _flush(self) -> Iterator[Any]:
        rows = np.concatenate([no_rows(), *self._chunks])
        self.start_bundle()
        edges, centres = stars(rows[:, 0], rows[:, 1])
        count(type(self), "out-rows", len(centres))
        for chunk in pack_rows(contract(edges)):
            yield beam.pvalue.TaggedOutput("edges", chunk)
        yield from route_rows(centres, partitions_of(centres[:, 0], self._partitions))


class JoinBuckets(beam.DoFn):
    """(shard, packed (key, id) rows) -> packed edges that join the ids of equal keys."""

    def process(self, element: tuple[int, Iterable[Blob]]) -> Iterable[Blob]:
        forest = Forest()
        pending = [no_rows()]
        rows, limit = 0, PENDING_ROWS
        for chunk in element[1]:
            pending.append(unpack_rows(chunk))
            rows += len(pending[-1])
            if rows > limit:
                pending = [self._star(pending, forest)]
                rows = len(pending[0])
                limit = max(PENDING_ROWS, 2 * rows)
        self._star(pending, forest)
        edges = forest.stars()
        count(type(self), "out-edges", len(edges))
        yield from pack_rows(edges)

    @staticmethod
    def _star(pending: list[Int64Array], forest: Forest) -> Int64Array:
        rows = np.concatenate(pending)
        edges, centres = stars(rows[:, 0], rows[:, 1])
        forest.add(edges)
        return centres


@dataclasses.dataclass
class BucketComponents(beam.PTransform):
    """Packed (key, id) rows -> packed (node, root): ids that share a key, however indirectly.

    Keys are 63-bit hashes: their upper bits choose one of ``partitions`` shards. A good number
    makes shards of about 64 MB, at 16 bytes a row.
    """

    partitions: int

    def expand(self, rows: beam.PCollection[Blob]) -> beam.PCollection[Blob]:
        star_buckets = beam.ParDo(StarBuckets(self.partitions)).with_output_types(
            tuple[int, Blob], edges=Blob
        )
        starred = rows | "Star buckets" >> star_buckets.with_outputs("edges", main="rows")
        joined = (
            starred.rows
            | "Group buckets" >> beam.GroupByKey()
            | "Join buckets" >> beam.ParDo(JoinBuckets())
        )
        edges = (starred.edges, joined) | "All edges" >> beam.Flatten()
        return edges | "Find components" >> ConnectedComponents()


def _key_alike(chunk: Blob) -> tuple[int, Blob]:
    return 0, chunk
