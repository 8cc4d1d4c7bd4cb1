"""Duplicates leave their threads, and what stays gets its split."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np

from schemas.audit import Duplicate, Rejected, Stage
from schemas.ids import hash63
from schemas.post import Thread
from transforms.core import (
    Blob,
    JoinByKey,
    StepResult,
    ThreadBlock,
    count,
    register,
    show_progress,
    thread_partition,
    unpack,
)
from transforms.dedup.split import SplitThread, split_of
from transforms.dedup.verify import DuplicateMatch, apply_matches

register(Duplicate, Rejected)


class ThreadsAndFindings(NamedTuple):
    """Threads of a partition, and what was found about them."""

    threads: list[ThreadBlock]
    matches: list[DuplicateMatch]
    """About posts of these threads."""
    clusters: list[Blob]
    """Packed (thread hash, root of its question cluster) rows."""


@dataclass
class ResolveDuplicates(beam.PTransform):
    """Remove duplicates from their threads and assign splits.

    Input: a tuple of (partition, ThreadBlock), DuplicateMatch, and (partition, packed (thread hash,
    root) int64 rows). Keeps SplitThread elements.
    """

    partitions: int
    shares: Mapping[str, int]
    seed: int

    def expand(
        self,
        inputs: tuple[
            beam.PCollection[tuple[int, ThreadBlock]],
            beam.PCollection[DuplicateMatch],
            beam.PCollection[tuple[int, Blob]],
        ],
    ) -> StepResult:
        show_progress(ResolveDuplicates, "out-threads", "threads without duplicates", Stage.DEDUP)
        threads, matches, clusters = inputs
        keyed = matches | "Key matches" >> beam.Map(_key_match, self.partitions)
        resolve = beam.ParDo(_Resolve(dict(self.shares), self.seed))
        outputs = (
            (threads, keyed, clusters)
            | "Threads and findings" >> JoinByKey(ThreadsAndFindings)
            | "Resolve" >> resolve.with_outputs("rejected", "duplicates", main="kept")
        )
        return StepResult(Stage.DEDUP, outputs.kept, outputs.rejected, outputs.duplicates)


def _key_match(match: DuplicateMatch, partitions: int) -> tuple[int, DuplicateMatch]:
    return thread_partition(match.removed_thread_id, partitions), match


class _Resolve(beam.DoFn):
    def __init__(self, shares: dict[str, int], seed: int) -> None:
        self._shares = shares
        self._seed = seed

    def process(self, element: tuple[int, ThreadsAndFindings]) -> Iterator[Any]:
        found = element[1]
        removed: dict[str, dict[str, DuplicateMatch]] = defaultdict(dict)
        for match in found.matches:
            removed[match.removed_thread_id][match.removed_id] = match
        roots: dict[int, int] = {}
        for rows in found.clusters:
            roots.update(_read_clusters(rows))
        seen = kept = 0
        for block in found.threads:
            for thread in unpack(block):
                seen += 1
                matches = removed.get(thread.id)
                survivor: Thread | None = thread
                if matches:
                    survivor, rejected, duplicates = apply_matches(thread, matches)
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


def _read_clusters(rows: Blob) -> Iterable[tuple[int, int]]:
    threads, roots = np.frombuffer(rows.load(), np.int64).reshape(-1, 2).T.tolist()
    return zip(threads, roots, strict=True)
