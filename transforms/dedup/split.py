"""Splits by question cluster: what shares text, or is linked by its forum, stays together."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from types import MappingProxyType
from typing import Annotated, Final

import apache_beam as beam
import msgspec
import numpy as np

from schemas.fields import doc
from schemas.ids import hash63
from schemas.pair import SPLITS
from schemas.post import Thread
from transforms.core import HASH_BITS, Blob, count, register
from transforms.dedup.components import (
    ConnectedComponents,
    pack_rows,
    partitions_of,
    route_rows,
    unpack_rows,
)
from transforms.dedup.verify import DuplicateMatch

DEFAULT_SHARES: Final[Mapping[str, int]] = MappingProxyType(
    {"train": 90, "validation": 5, "test": 5}
)


class SplitThread(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """A thread that survived deduplication."""

    thread: Annotated[Thread, doc("the thread")]
    split: Annotated[str, doc("'train', 'validation' or 'test'")]


register(SplitThread)


def split_of(cluster: int, shares: Mapping[str, int] = DEFAULT_SHARES, seed: int = 0) -> str:
    """Return the split of a question cluster: 'train', 'validation' or 'test'.

    ``cluster`` is the cluster's root, or the hash63 of the thread's id for a question that is in
    none. ``shares`` are relative sizes by split, in clusters. The position of
    hash63("<seed>:<cluster>") in [0, 2**63) decides, cut in the order of `SPLITS`.
    """
    if unknown := sorted(set(shares) - set(SPLITS)):
        raise ValueError(f"unknown splits {unknown}; known are {list(SPLITS)}")
    sizes = [shares.get(split, 0) for split in SPLITS]
    if min(sizes) < 0 or not sum(sizes):
        raise ValueError(f"shares must not be negative, and one must be positive: {dict(shares)}")
    position = hash63(f"{seed}:{cluster}") * sum(sizes) >> HASH_BITS
    ends = accumulate(sizes)
    return next(split for split, end in zip(SPLITS, ends, strict=True) if position < end)


class RouteClusters(beam.DoFn):
    """Packed (thread hash, root) rows -> (partition of the thread, packed rows)."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions

    def process(self, element: Blob) -> Iterable[tuple[int, Blob]]:
        rows = unpack_rows(element)
        count(type(self), "out-threads", len(rows))
        yield from route_rows(rows, partitions_of(rows[:, 0], self._partitions))


@dataclasses.dataclass
class QuestionClusters(beam.PTransform):
    """(matches, links, overlaps) -> (partition, packed (thread hash, root)) of clustered threads.

    Matches are those of :class:`transforms.dedup.FindDuplicates`, of which those on prompts
    count. Links (`transforms.readers.ForumRows.links`) and overlaps
    (:class:`transforms.dedup.FindOverlaps`) are packed pairs of thread hashes (hash63 of the thread
    id). Either thread of a pair may be unknown to the rest of the pipeline: it still connects its
    neighbours. A thread that is in no row is a cluster of its own, its root its own hash.
    """

    partitions: int

    def expand(
        self,
        inputs: tuple[
            beam.PCollection[DuplicateMatch], beam.PCollection[Blob], beam.PCollection[Blob]
        ],
    ) -> beam.PCollection[tuple[int, Blob]]:
        matches, links, overlaps = inputs
        found = matches | "Take prompt pairs" >> beam.FlatMap(prompt_pair)
        return (
            (found, links, overlaps)
            | "All pairs" >> beam.Flatten()
            | "Join questions" >> ConnectedComponents()
            | "Route clusters" >> beam.ParDo(RouteClusters(self.partitions))
        )


def prompt_pair(match: DuplicateMatch) -> Iterator[Blob]:
    """Yield the packed pair of thread hashes that a match on two prompts links."""
    if match.is_prompt:
        ends = [hash63(match.removed_thread_id), hash63(match.kept_thread_id)]
        yield from pack_rows(np.array([ends], np.int64))
