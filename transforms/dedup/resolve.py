"""Duplicates leave their threads, and what stays gets its split."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import msgspec
import numpy as np

from schemas.audit import Duplicate, Rejected
from schemas.ids import hash63
from schemas.post import Thread
from transforms.core.blocks import ThreadBlock, thread_partition, unpack
from transforms.core.coders import register
from transforms.core.counters import count
from transforms.dedup.find_duplicates import Verdict, apply_verdicts
from transforms.dedup.split import split_of
from transforms.pairing.pair_threads import SplitThread

register(Duplicate, Rejected)


class _ThreadsOrFindings(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One side of the join of threads with what was found about them."""

    threads: ThreadBlock | None = None
    verdict: Verdict | None = None
    clusters: bytes = b""


register(_ThreadsOrFindings)


@dataclass
class ResolveDuplicates(beam.PTransform):
    """Remove duplicates from their threads and assign splits.

    Input: a tuple of (partition, ThreadBlock), Verdict, and (partition, packed (thread hash,
    root) int64 rows). Output: ``threads`` (SplitThread), ``duplicates`` and ``rejected``.
    """

    partitions: int
    shares: Mapping[str, int]
    seed: int

    def expand(self, inputs: tuple[beam.PCollection, beam.PCollection, beam.PCollection]) -> Any:
        threads, verdicts, clusters = inputs
        # Not CoGroupByKey: its tagged values are pickled, and a union of our own is not.
        return (
            (
                threads | "Wrap threads" >> beam.MapTuple(_wrap_threads),
                verdicts | "Wrap verdicts" >> beam.Map(_wrap_verdict, self.partitions),
                clusters | "Wrap clusters" >> beam.MapTuple(_wrap_clusters),
            )
            | "Threads and findings" >> beam.Flatten()
            | "Group by partition" >> beam.GroupByKey()
            | "Resolve"
            >> beam.ParDo(_Resolve(dict(self.shares), self.seed)).with_outputs(
                "rejected", "duplicates", main="threads"
            )
        )


def _wrap_threads(partition: int, block: ThreadBlock) -> tuple[int, _ThreadsOrFindings]:
    return partition, _ThreadsOrFindings(threads=block)


def _wrap_verdict(verdict: Verdict, partitions: int) -> tuple[int, _ThreadsOrFindings]:
    partition = thread_partition(verdict.removed_thread_id, partitions)
    return partition, _ThreadsOrFindings(verdict=verdict)


def _wrap_clusters(partition: int, rows: bytes) -> tuple[int, _ThreadsOrFindings]:
    return partition, _ThreadsOrFindings(clusters=rows)


class _Resolve(beam.DoFn):
    def __init__(self, shares: dict[str, int], seed: int) -> None:
        self._shares = shares
        self._seed = seed

    def process(self, element: tuple[int, Iterable[_ThreadsOrFindings]]) -> Iterator[Any]:
        removed: dict[str, dict[str, Verdict]] = defaultdict(dict)
        roots: dict[int, int] = {}
        blocks = []
        for side in element[1]:
            if side.threads is not None:
                blocks.append(side.threads)
            if side.verdict is not None:
                removed[side.verdict.removed_thread_id][side.verdict.removed_id] = side.verdict
            roots.update(_read_clusters(side.clusters))
        seen = kept = 0
        for block in blocks:
            for thread in unpack(block):
                seen += 1
                verdicts = removed.get(thread.id)
                survivor: Thread | None = thread
                if verdicts:
                    survivor, rejected, duplicates = apply_verdicts(thread, verdicts)
                    for row in rejected:
                        yield beam.pvalue.TaggedOutput("rejected", row)
                    for duplicate in duplicates:
                        yield beam.pvalue.TaggedOutput("duplicates", duplicate)
                if survivor is not None:
                    kept += 1
                    place = hash63(thread.id)
                    split = split_of(roots.get(place, place), self._shares, self._seed)
                    yield SplitThread(thread=survivor, split=split)
        count(ResolveDuplicates, "in-threads", seen)
        count(ResolveDuplicates, "out-threads", kept)


def _read_clusters(rows: bytes) -> Iterable[tuple[int, int]]:
    threads, roots = np.frombuffer(rows, np.int64).reshape(-1, 2).T.tolist()
    return zip(threads, roots, strict=True)
