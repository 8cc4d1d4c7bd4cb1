"""Deterministic sharded Parquet: the same rows give the same files, on every runner.

Beam's own WriteToParquet deals rows out by arrival, writes neither page index nor
content-defined chunks, and can leave empty files.
"""

import itertools
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import apache_beam as beam
import msgspec
import pyarrow as pa
from apache_beam.io.filesystems import FileSystems

from schemas.arrow import DUPLICATE_SCHEMA, PAIR_IDS_SCHEMA, PAIR_SCHEMA, REJECTED_SCHEMA
from schemas.checksums import FileStamp, sha256_of_file
from schemas.fields import doc
from schemas.manifest import Shard
from transforms.core import Blob, count, register, show_progress, thread_chars
from transforms.pairing import PairedThread, pair_rows
from transforms.writers.shards import (
    PlanShards,
    ShardKey,
    SinkBlock,
    make_block,
    route_block,
    row_bytes,
    shard_path,
    table_of,
)
from transforms.writers.sort_rows import RUN_BYTES, sorted_rows
from transforms.writers.stats import duplicate_stats, pair_stats, rejected_stats
from transforms.writers.tables import (
    ROW_GROUP_BYTES,
    ROW_GROUP_ROWS,
    parquet_writer,
    to_table,
)

COUNTED_ROWS = 256
"""Rows that are counted at once, because a call of numpy costs more than a row."""


class ShardReport(msgspec.Struct, frozen=True, kw_only=True):
    """A finished shard and the additive statistics of its rows."""

    shard: Annotated[Shard, doc("the file")]
    stats: Annotated[dict[str, int], doc("counters that add up over shards")]
    stamp: Annotated[
        FileStamp | None, doc("of the file where its writer left it; null: not on this machine")
    ] = None

    @classmethod
    def of(cls, folder: str, shard: Shard, stats: Mapping[str, int]) -> "ShardReport":
        """Report a shard that was written under ``folder`` this instant."""
        stamp = None if "://" in folder else FileStamp.of(Path(folder, shard.path).stat())
        return cls(shard=shard, stats=dict(stats), stamp=stamp)


register(ShardReport)


def row_groups(
    table: str, rows: Iterable[Any], *, conversational: bool = False
) -> Iterator[pa.Table]:
    """Turn sorted rows into Arrow tables of one row group each; a thread is never divided."""
    schema = _schema(table)
    batch: list[Any] = []
    size = 0
    for row in rows:
        if isinstance(row, PairedThread):
            batch += pair_rows(row, conversational=conversational)
        else:
            batch.append(row)
        size += row_bytes(row)
        if len(batch) >= ROW_GROUP_ROWS or size >= ROW_GROUP_BYTES:
            yield to_table(batch, schema)
            batch, size = [], 0
    if batch:
        yield to_table(batch, schema)


def _schema(table: str) -> pa.Schema:
    if table.startswith("data/"):
        return PAIR_SCHEMA
    return DUPLICATE_SCHEMA if table.startswith("duplicates/") else REJECTED_SCHEMA


def without_texts(table: pa.Table) -> pa.Table:
    """Return the columns of a dataset of ids and labels."""
    return table.select(PAIR_IDS_SCHEMA.names).replace_schema_metadata(PAIR_IDS_SCHEMA.metadata)


def write_shard(
    folder: str,
    key: ShardKey,
    blobs: Iterable[Blob],
    *,
    ids_only: bool = False,
    conversational: bool = False,
    run_bytes: int = RUN_BYTES,
) -> ShardReport:
    """Write one shard under ``folder`` (any Beam filesystem): whole, or not there at all.

    Its bytes depend on the rows and the two options alone. With ``ids_only`` a data shard has
    the same rows in the same row groups, but no texts, and the statistics are those of the
    texts. Memory: a run of ``run_bytes`` (see sort_rows.py) and two row groups, whatever the
    shard's size, beside ``blobs`` where the runner holds all of them.
    """
    is_data = key.table.startswith("data/")
    stats: Counter[str] = Counter()

    def tables() -> Iterator[pa.Table]:
        rows = sorted_rows(key.table, blobs, _scratch(folder), run_bytes=run_bytes)
        counted = _counted(key.table, rows, stats)
        for table in row_groups(key.table, counted, conversational=conversational):
            if is_data:
                stats.update(pair_stats(table))
            yield without_texts(table) if is_data and ids_only else table

    schema = PAIR_IDS_SCHEMA if is_data and ids_only else _schema(key.table)
    shard = write_parquet(folder, shard_path(key), schema, tables())
    return ShardReport.of(folder, shard, stats)


def _counted(table: str, rows: Iterable[Any], stats: Counter[str]) -> Iterator[Any]:
    """Yield rows as they come and add what is counted of them to ``stats``."""
    batches = iter(rows)
    while batch := list(itertools.islice(batches, COUNTED_ROWS)):
        if table.startswith("duplicates/"):
            stats.update(duplicate_stats(batch))
        elif table.startswith("rejected/"):
            stats.update(rejected_stats(batch))
        else:
            stats["threads"] += len(batch)
            stats["posts"] += sum(1 + len(row.thread.responses) for row in batch)
        yield from batch


def _scratch(folder: str) -> str | None:
    """Make and return the folder for unfinished files; None: the system's.

    The system's folder for temporary files may be memory, so it serves only those whose output
    is not on this machine.
    """
    if "://" in folder:
        return None
    Path(folder).mkdir(parents=True, exist_ok=True)
    return folder


def write_parquet(folder: str, path: str, schema: pa.Schema, tables: Iterable[pa.Table]) -> Shard:
    """Write tables as one Parquet file ``folder/path``, a row group for each.

    The file is made under a temporary name on this machine and moved when it is complete. Arrow
    encodes a row group in a thread of its own while the next one is made; so two are held.
    """
    rows = 0
    with tempfile.TemporaryDirectory(prefix=".shard-", dir=_scratch(folder)) as temporary:
        local = Path(temporary) / "shard.parquet"
        with (
            parquet_writer(local, schema) as writer,
            ThreadPoolExecutor(1, thread_name_prefix="parquet") as encoder,
        ):
            encoding: Future[None] | None = None
            for table in tables:
                rows += table.num_rows
                if encoding is not None:
                    encoding.result()
                encoding = encoder.submit(writer.write_table, table, row_group_size=table.num_rows)
            if encoding is not None:
                encoding.result()
        table_name, _, name = path.partition("/")
        shard = Shard(
            path=path,
            table=table_name,
            split=name.partition("-")[0] if table_name == "data" else None,
            rows=rows,
            bytes=local.stat().st_size,
            sha256=sha256_of_file(local),
        )
        move_into_place(local, folder, path)
    return shard


def move_into_place(local: Path, folder: str, path: str) -> None:
    """Move a finished local file to ``folder/path``; readers see all of it or none."""
    target = FileSystems.join(folder, *path.split("/"))
    if "://" not in target:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        partial = Path(f"{target}.{os.getpid()}.partial")
        shutil.move(local, partial)
        partial.replace(target)
        return
    with local.open("rb") as source, FileSystems.create(target) as sink:
        shutil.copyfileobj(source, sink, 1 << 20)


@dataclass
class WriteTables(beam.PTransform):
    """PairedThread, Duplicate and Rejected rows → Parquet shards → ShardReport.

    Fields: ``folder`` to write under; ``shard_bytes``, the target size of a shard's
    uncompressed rows; ``ids_only``, to exclude the texts from the data shards;
    ``conversational``, to fill the columns in turns.
    """

    folder: str
    shard_bytes: int
    ids_only: bool = False
    conversational: bool = False

    def expand(self, rows: tuple[beam.PCollection[Any], ...]) -> beam.PCollection[ShardReport]:
        show_progress(WriteTables, "out-rows", "rows written", "write")
        blocks = (
            tuple(
                table
                | f"Pack table {index}" >> beam.ParDo(_PackRows()).with_output_types(SinkBlock)
                for index, table in enumerate(rows)
            )
            | "Collect blocks" >> beam.Flatten()
        )
        plan = blocks | "Plan shards" >> beam.CombineGlobally(PlanShards(self.shard_bytes))
        write = _WriteShard(self.folder, self.ids_only, self.conversational)
        return (
            blocks
            | "Route blocks"
            >> beam.FlatMap(route_block, plan=beam.pvalue.AsSingleton(plan)).with_output_types(
                tuple[ShardKey, Blob]
            )
            | "Group by shard" >> beam.GroupByKey()
            | "Write shards" >> beam.ParDo(write).with_output_types(ShardReport)
        )


class _PackRows(beam.DoFn):
    BUFFER_ROWS = 4096
    BUFFER_BYTES = 4 * 1024 * 1024

    def start_bundle(self) -> None:
        self._buffers: dict[str, list[Any]] = {}
        self._rows = self._bytes = 0

    def process(self, row: Any) -> Iterator[SinkBlock]:
        self._buffers.setdefault(table_of(row), []).append(row)
        self._rows += 1
        if isinstance(row, PairedThread):
            self._bytes += thread_chars(row.thread)
        if self._rows >= self.BUFFER_ROWS or self._bytes >= self.BUFFER_BYTES:
            yield from self._flush()

    def finish_bundle(self) -> Iterator[Any]:
        for block in self._flush():
            yield beam.transforms.window.GlobalWindows.windowed_value_at_end_of_window(block)

    def _flush(self) -> list[SinkBlock]:
        count(WriteTables, "in-rows", self._rows)
        blocks = [make_block(table, rows) for table, rows in sorted(self._buffers.items())]
        self._buffers = {}
        self._rows = self._bytes = 0
        return blocks


class _WriteShard(beam.DoFn):
    def __init__(self, folder: str, ids_only: bool, conversational: bool) -> None:
        self._folder = folder
        self._ids_only = ids_only
        self._conversational = conversational

    def process(self, element: tuple[ShardKey, Iterable[Blob]]) -> Iterator[ShardReport]:
        key, blobs = element
        report = write_shard(
            self._folder,
            key,
            blobs,
            ids_only=self._ids_only,
            conversational=self._conversational,
        )
        count(WriteTables, "out-shards")
        count(WriteTables, "out-rows", report.shard.rows)
        yield report
