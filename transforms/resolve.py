"""Duplicates leave their threads, and what stays gets its split."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np

from schemas.audit import Duplicate, Rejected
from schemas.ids import hash63
from schemas.post import Thread
from transforms.blocks import unpack
from transforms.coders import register
from transforms.counters import count
from transforms.dedup import Verdict, apply_verdicts
from transforms.pair_threads import SplitThread
from transforms.split import split_of

register(Duplicate, Rejected)


@dataclass
class ResolveDuplicates(beam.PTransform):
    """Remove duplicates from their threads and assign splits.

    Input: ``{"threads": (partition, ThreadBlock), "verdicts": (partition, Verdict), "clusters":
    (partition, packed (thread hash, root) int64 rows)}``. Output: ``threads`` (SplitThread),
    ``duplicates`` and ``rejected``.
    """

    shares: Mapping[str, int]
    seed: int

    def expand(self, inputs: dict[str, beam.PCollection]) -> Any:
        return (
            inputs
            | "Join threads and verdicts" >> beam.CoGroupByKey()
            | "Resolve"
            >> beam.ParDo(_Resolve(dict(self.shares), self.seed)).with_outputs(
                "rejected", "duplicates", main="threads"
            )
        )


class _Resolve(beam.DoFn):
    def __init__(self, shares: dict[str, int], seed: int) -> None:
        self._shares = shares
        self._seed = seed

    def process(self, element: tuple[int, dict[str, Iterable[Any]]]) -> Iterator[Any]:
        _, joined = element
        removed: dict[str, dict[str, Verdict]] = defaultdict(dict)
        for verdict in joined["verdicts"]:
            removed[verdict.removed_thread_id][verdict.removed_id] = verdict
        roots = _read_clusters(joined["clusters"])
        seen = kept = 0
        for block in joined["threads"]:
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


def _read_clusters(blobs: Iterable[bytes]) -> dict[int, int]:
    roots: dict[int, int] = {}
    for blob in blobs:
        threads, found = np.frombuffer(blob, np.int64).reshape(-1, 2).T.tolist()
        roots.update(zip(threads, found, strict=True))
    return roots
