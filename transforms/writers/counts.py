"""Counts for the accounting: elements of the pipeline, so retries cannot count twice."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import apache_beam as beam
import msgspec
from apache_beam.io.filesystems import FileSystems

from schemas.audit import Duplicate, Rejected
from schemas.counts import RecordCount
from schemas.post import Thread
from transforms.core import JoinByKey, register
from transforms.dedup import SplitThread
from transforms.pairing import PairedThread
from transforms.writers.parquet import ShardReport

register(RecordCount)

RESULT_NAME = "result.json"


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a finished pipeline hands to its launcher."""

    counts: tuple[RecordCount, ...]
    shards: tuple[ShardReport, ...]


def counts_of(row: Any) -> Iterable[tuple[str, int]]:
    """Count the posts that one row of the pipeline stands for, by key."""
    if isinstance(row, SplitThread | PairedThread):
        row = row.thread
    if isinstance(row, Thread):
        return (("posts", 1 + len(row.responses)), ("threads", 1))
    if isinstance(row, Rejected):
        return ((f"rejected:{row.record}:{row.stage.value}:{row.reason.value}", 1),)
    if isinstance(row, Duplicate):
        return (("duplicates", 1),)
    raise TypeError(f"nothing to count in {type(row).__name__}")


@dataclass
class CountRows(beam.PTransform):
    """Threads, rejects or duplicates → RecordCount, a few per bundle."""

    stage: str

    def expand(self, rows: beam.PCollection[Any]) -> beam.PCollection[RecordCount]:
        return rows | "Count" >> beam.ParDo(_Count(self.stage)).with_output_types(RecordCount)


class _Count(beam.DoFn):
    def __init__(self, stage: str) -> None:
        self._stage = stage

    def start_bundle(self) -> None:
        self._counts: Counter[str] = Counter()

    def process(self, row: Any) -> None:
        for key, amount in counts_of(row):
            self._counts[key] += amount

    def finish_bundle(self) -> Iterator[Any]:
        for key, amount in sorted(self._counts.items()):
            yield beam.transforms.window.GlobalWindows.windowed_value_at_end_of_window(
                RecordCount(self._stage, key, amount)
            )


class CountsAndReports(NamedTuple):
    """All that is gathered for the result."""

    counts: list[RecordCount]
    reports: list[ShardReport]


@dataclass
class SaveResult(beam.PTransform):
    """Write the sums of all counts and the reports of all shards to ``folder/result.json``."""

    folder: str

    def expand(
        self, inputs: tuple[beam.PCollection[RecordCount], beam.PCollection[ShardReport]]
    ) -> beam.PCollection[None]:
        counts, shards = inputs
        sums = (
            counts
            | "Key counts" >> beam.Map(_key_count).with_output_types(tuple[str, int])
            | "Add up" >> beam.CombinePerKey(sum)
            | "Name sums" >> beam.Map(_name_sum).with_output_types(RecordCount)
        )
        return (
            (
                sums | "Key sums alike" >> beam.WithKeys(0),
                shards | "Key shards alike" >> beam.WithKeys(0),
            )
            | "Sums and reports" >> JoinByKey(CountsAndReports)
            | "Save" >> beam.ParDo(_Save(self.folder))
        )


def _key_count(found: RecordCount) -> tuple[str, int]:
    return f"{found.stage}\t{found.key}", found.count


def _name_sum(item: tuple[str, int]) -> RecordCount:
    stage, key = item[0].split("\t", 1)
    return RecordCount(stage, key, item[1])


class _Save(beam.DoFn):
    def __init__(self, folder: str) -> None:
        self._folder = folder

    def process(self, element: tuple[int, CountsAndReports]) -> None:
        counts, reports = element[1]
        result = RunResult(
            counts=tuple(sorted(counts, key=_count_order)),
            shards=tuple(sorted(reports, key=_shard_order)),
        )
        with FileSystems.create(FileSystems.join(self._folder, RESULT_NAME)) as file:
            file.write(msgspec.json.encode(result))


def _count_order(found: RecordCount) -> tuple[str, str]:
    return found.stage, found.key


def _shard_order(report: ShardReport) -> str:
    return report.shard.path
