"""Counts for the accounting: elements of the pipeline, so retries cannot count twice."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import msgspec
from apache_beam.io.filesystems import FileSystems

from schemas.audit import Duplicate, Rejected
from schemas.metadata import Tally
from schemas.post import Thread
from transforms.core.coders import register
from transforms.pairing.pair_threads import PairedThread, SplitThread
from transforms.writers.parquet import ShardReport

register(Tally)

RESULT_NAME = "result.json"


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a finished pipeline hands to its launcher."""

    tallies: tuple[Tally, ...]
    shards: tuple[ShardReport, ...]


def tally_of(row: Any) -> Iterable[tuple[str, int]]:
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
class TallyRows(beam.PTransform):
    """Threads, rejects or duplicates → Tally, a few per bundle."""

    stage: str

    def expand(self, rows: beam.PCollection) -> beam.PCollection:
        return rows | "Tally" >> beam.ParDo(_Tally(self.stage)).with_output_types(Tally)


class _Tally(beam.DoFn):
    def __init__(self, stage: str) -> None:
        self._stage = stage

    def start_bundle(self) -> None:
        self._counts: Counter[str] = Counter()

    def process(self, row: Any) -> None:
        for key, amount in tally_of(row):
            self._counts[key] += amount

    def finish_bundle(self) -> Iterator[Any]:
        for key, amount in sorted(self._counts.items()):
            yield beam.transforms.window.GlobalWindows.windowed_value_at_end_of_window(
                Tally(self._stage, key, amount)
            )


class _SumOrReport(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One of the two: what is gathered for the result."""

    tally: Tally | None = None
    report: ShardReport | None = None


register(_SumOrReport)


@dataclass
class SaveResult(beam.PTransform):
    """Write the sums of all tallies and the reports of all shards to ``folder/result.json``."""

    folder: str

    def expand(self, inputs: tuple[beam.PCollection, beam.PCollection]) -> beam.PCollection:
        tallies, shards = inputs
        sums = (
            tallies
            | "Key tallies" >> beam.Map(_key_tally).with_output_types(tuple[str, int])
            | "Add up" >> beam.CombinePerKey(sum)
            | "Name sums" >> beam.Map(_name_sum).with_output_types(tuple[int, _SumOrReport])
        )
        reports = shards | "Key shards" >> beam.Map(_key_shard).with_output_types(
            tuple[int, _SumOrReport]
        )
        # Beam's CoGroupByKey would pickle each row.
        return (
            (sums, reports)
            | "Sums and reports" >> beam.Flatten()
            | "Collect" >> beam.GroupByKey()
            | "Save" >> beam.ParDo(_Save(self.folder))
        )


def _key_tally(tally: Tally) -> tuple[str, int]:
    return f"{tally.stage}\t{tally.key}", tally.count


def _name_sum(item: tuple[str, int]) -> tuple[int, _SumOrReport]:
    stage, key = item[0].split("\t", 1)
    return 0, _SumOrReport(tally=Tally(stage, key, item[1]))


def _key_shard(report: ShardReport) -> tuple[int, _SumOrReport]:
    return 0, _SumOrReport(report=report)


class _Save(beam.DoFn):
    def __init__(self, folder: str) -> None:
        self._folder = folder

    def process(self, element: tuple[int, Iterable[_SumOrReport]]) -> None:
        rows = list(element[1])
        tallies = [row.tally for row in rows if row.tally is not None]
        shards = [row.report for row in rows if row.report is not None]
        result = RunResult(
            tallies=tuple(sorted(tallies, key=_tally_order)),
            shards=tuple(sorted(shards, key=_shard_order)),
        )
        with FileSystems.create(FileSystems.join(self._folder, RESULT_NAME)) as file:
            file.write(msgspec.json.encode(result))


def _tally_order(tally: Tally) -> tuple[str, str]:
    return tally.stage, tally.key


def _shard_order(report: ShardReport) -> str:
    return report.shard.path
