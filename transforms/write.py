"""Deterministic sharded Parquet: the same rows give the same files, on every runner.

Rows are ordered by a stable hash of their thread, so shards are hash ranges: all pairs of a
thread, and therefore of a response, lie together, and concatenating the shards gives the same
order however many there are. Beam's own WriteToParquet deals rows out by arrival, writes
neither page index nor content-defined chunks, and can leave empty files.
"""

import bisect
import hashlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import apache_beam as beam
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystems import FileSystems

from schemas.audit import DUPLICATE_SCHEMA, REJECTED_SCHEMA, Duplicate, Rejected
from schemas.fields import doc
from schemas.ids import hash63
from schemas.manifest import Shard
from schemas.pair import PAIR_SCHEMA, SPLITS
from transforms.blocks import HASH_BITS, compress, decompress
from transforms.coders import register
from transforms.counters import count
from transforms.pair_threads import PairedThread, pair_rows
from transforms.stats import duplicate_stats, pair_stats, rejected_stats
from transforms.threads import thread_chars

BUCKET_BITS = 12
"""Shard borders lie on 1/4096 of the hash space: up to 4096 shards per split."""

DEFAULT_SHARD_BYTES = 512 * 1024 * 1024
ROW_GROUP_ROWS = 4096
ROW_GROUP_BYTES = 32 * 1024 * 1024
ROW_OVERHEAD_BYTES = 400
"""What a row of the audit tables takes in the writer's memory beside its strings."""

PAIR_OVERHEAD_BYTES = 600
"""What a pair's ids, links and numbers take beside its three texts."""


class SinkBlock(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """Rows of one table on their way to a shard."""

    table: Annotated[str, doc("'data/train', …, 'duplicates/duplicates', 'rejected/rejected'")]
    low: Annotated[int, doc("smallest bucket of a row")]
    high: Annotated[int, doc("largest bucket of a row")]
    sizes: Annotated[tuple[tuple[int, int], ...], doc("(bucket, bytes its rows will take)")]
    blob: Annotated[bytes, doc("zstd frame of a MessagePack array of rows")]


class ShardReport(msgspec.Struct, frozen=True, kw_only=True):
    """A finished shard and the additive statistics of its rows."""

    shard: Annotated[Shard, doc("the file")]
    stats: Annotated[dict[str, int], doc("counters that add up over shards")]


class ShardKey(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Which file a block goes to."""

    table: Annotated[str, doc("as in SinkBlock")]
    index: Annotated[int, doc("0-based")]
    count: Annotated[int, doc("shards of the table")]


register(SinkBlock, ShardReport, ShardKey)

_encode = msgspec.msgpack.Encoder().encode
_row_types: dict[str, type[msgspec.Struct]] = {
    **{f"data/{split}": PairedThread for split in SPLITS},
    "duplicates/duplicates": Duplicate,
    "rejected/rejected": Rejected,
}
_decoders = {table: msgspec.msgpack.Decoder(list[row]) for table, row in _row_types.items()}  # type: ignore[valid-type]


def table_of(row: msgspec.Struct) -> str:
    """Name the table that a row belongs to."""
    if isinstance(row, PairedThread):
        return f"data/{row.split}"
    return "duplicates/duplicates" if isinstance(row, Duplicate) else "rejected/rejected"


def place_of(row: Any) -> str:
    """Return the id whose hash places the row: its thread for pairs, else the post."""
    if isinstance(row, PairedThread):
        return row.thread.id
    place: str = row.removed_id if isinstance(row, Duplicate) else row.id
    return place


def bucket_of(place: str) -> int:
    """Bucket in [0, 4096) of an id."""
    return hash63(place) >> (HASH_BITS - BUCKET_BITS)


def row_bytes(row: Any) -> int:
    """Estimate the bytes of a row's output before encoding; decides shard borders only."""
    if isinstance(row, PairedThread):
        prompt = len(row.thread.prompt.text)
        lengths = [len(post.text) for post in row.thread.responses]
        return sum(
            PAIR_OVERHEAD_BYTES + prompt + lengths[d.chosen] + lengths[d.rejected]
            for d in row.decisions
        )
    if isinstance(row, Rejected):
        return ROW_OVERHEAD_BYTES + len(row.id) + len(row.detail)
    return ROW_OVERHEAD_BYTES


def make_block(table: str, rows: list[Any]) -> SinkBlock:
    """Pack rows of one table."""
    sizes: Counter[int] = Counter()
    for row in rows:
        sizes[bucket_of(place_of(row))] += row_bytes(row)
    return SinkBlock(
        table=table,
        low=min(sizes),
        high=max(sizes),
        sizes=tuple(sorted(sizes.items())),
        blob=compress(_encode(rows)),
    )


def plan_shards(sizes: Mapping[int, int], target_bytes: int) -> tuple[int, ...]:
    """Return the first bucket of each shard, so that shards come near ``target_bytes``.

    The cuts depend on the sizes per bucket alone. A cut is only made before a bucket that has
    rows, so no shard is empty. One bucket is never divided: a shard can be larger than the
    target when a single bucket is.
    """
    total = sum(sizes.values())
    wanted = max(1, round(total / target_bytes))
    starts: list[int] = []
    seen = 0
    for bucket, size in sorted(sizes.items()):
        if not starts or seen * wanted >= total * len(starts):
            starts.append(bucket)
        seen += size
    return tuple(starts)


def route_block(
    block: SinkBlock, plan: Mapping[str, tuple[int, ...]]
) -> Iterator[tuple[ShardKey, bytes]]:
    """Send a block to its shard, unpacking it only when a shard border cuts through it."""
    starts = plan[block.table]
    first = bisect.bisect_right(starts, block.low) - 1
    if first == bisect.bisect_right(starts, block.high) - 1:
        yield ShardKey(block.table, first, len(starts)), block.blob
        return
    by_shard: dict[int, list[Any]] = {}
    for row in _decoders[block.table].decode(decompress(block.blob)):
        shard = bisect.bisect_right(starts, bucket_of(place_of(row))) - 1
        by_shard.setdefault(shard, []).append(row)
    for shard, rows in sorted(by_shard.items()):
        yield ShardKey(block.table, shard, len(starts)), compress(_encode(rows))


def shard_path(key: ShardKey) -> str:
    """Relative path of a shard, e.g. ``data/train-00000-of-00003.parquet``."""
    return f"{key.table}-{key.index:05d}-of-{key.count:05d}.parquet"


def _sort_key(row: Any) -> tuple[int, str, bytes]:
    place = place_of(row)
    return hash63(place), place, b"" if isinstance(row, PairedThread) else _encode(row)


def row_groups(table: str, rows: Iterable[Any]) -> Iterator[pa.Table]:
    """Turn sorted rows into Arrow tables of one row group each; a thread is never divided."""
    schema = _schema(table)
    batch: list[Any] = []
    size = 0
    for row in rows:
        batch += pair_rows(row) if isinstance(row, PairedThread) else [row]
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


def to_table(rows: list[Any], schema: pa.Schema) -> pa.Table:
    """Build an Arrow table from structs whose fields are the schema's columns."""
    columns = [
        pa.array([getattr(row, field.name) for row in rows], type=field.type) for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def write_shard(folder: str, key: ShardKey, blobs: Iterable[bytes]) -> ShardReport:
    """Write one shard under ``folder`` (any Beam filesystem): whole, or not there at all.

    The file is made under a temporary name on this machine and moved when it is complete; its
    bytes depend on the rows alone. Memory: the shard's distinct texts plus one row group.
    """
    decoder = _decoders[key.table]
    rows: list[Any] = [row for blob in blobs for row in decoder.decode(decompress(blob))]
    rows.sort(key=_sort_key)
    stats: Counter[str] = Counter()
    written = 0
    path = shard_path(key)
    # Not in the system's folder for temporary files, which may be memory.
    scratch = None if "://" in folder else folder
    if scratch is not None:
        Path(scratch).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".shard-", dir=scratch) as temporary:
        local = Path(temporary) / "shard.parquet"
        with pq.ParquetWriter(
            local,
            _schema(key.table),
            compression="zstd",
            compression_level=3,
            use_content_defined_chunking=True,
            write_page_index=True,
        ) as writer:
            for table in row_groups(key.table, rows):
                writer.write_table(table, row_group_size=table.num_rows)
                written += table.num_rows
                if key.table.startswith("data/"):
                    stats.update(pair_stats(table))
        if key.table.startswith("duplicates/"):
            stats.update(duplicate_stats(rows))
        elif key.table.startswith("rejected/"):
            stats.update(rejected_stats(rows))
        else:
            stats["threads"] = len(rows)
            stats["posts"] = sum(1 + len(row.thread.responses) for row in rows)
        shard = Shard(
            path=path,
            table=key.table.split("/")[0],
            split=key.table.split("/")[1] if key.table.startswith("data/") else None,
            rows=written,
            bytes=local.stat().st_size,
            sha256=sha256_of(local),
        )
        move_into_place(local, folder, path)
    return ShardReport(shard=shard, stats=dict(stats))


def sha256_of(path: Path) -> str:
    """Hex digest of a local file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    uncompressed rows.
    """

    folder: str
    shard_bytes: int = DEFAULT_SHARD_BYTES

    def expand(self, rows: tuple[beam.PCollection, ...]) -> beam.PCollection:
        blocks = (
            tuple(
                table
                | f"Pack table {index}" >> beam.ParDo(_PackRows()).with_output_types(SinkBlock)
                for index, table in enumerate(rows)
            )
            | "Collect blocks" >> beam.Flatten()
        )
        plan = blocks | "Plan shards" >> beam.CombineGlobally(_PlanShards(self.shard_bytes))
        return (
            blocks
            | "Route blocks"
            >> beam.FlatMap(route_block, plan=beam.pvalue.AsSingleton(plan)).with_output_types(
                tuple[ShardKey, bytes]
            )
            | "Group by shard" >> beam.GroupByKey()
            | "Write shards" >> beam.ParDo(_WriteShard(self.folder)).with_output_types(ShardReport)
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


class _PlanShards(beam.CombineFn):
    def __init__(self, target_bytes: int) -> None:
        self._target_bytes = target_bytes

    def create_accumulator(self) -> dict[str, dict[int, int]]:
        return {}

    def add_input(
        self, sizes: dict[str, dict[int, int]], block: SinkBlock
    ) -> dict[str, dict[int, int]]:
        table = sizes.setdefault(block.table, {})
        for bucket, size in block.sizes:
            table[bucket] = table.get(bucket, 0) + size
        return sizes

    def merge_accumulators(
        self, accumulators: Iterable[dict[str, dict[int, int]]]
    ) -> dict[str, dict[int, int]]:
        merged: dict[str, dict[int, int]] = {}
        for accumulator in accumulators:
            for name, sizes in accumulator.items():
                table = merged.setdefault(name, {})
                for bucket, size in sizes.items():
                    table[bucket] = table.get(bucket, 0) + size
        return merged

    def extract_output(self, sizes: dict[str, dict[int, int]]) -> dict[str, tuple[int, ...]]:
        return {name: plan_shards(table, self._target_bytes) for name, table in sizes.items()}


class _WriteShard(beam.DoFn):
    def __init__(self, folder: str) -> None:
        self._folder = folder

    def process(self, element: tuple[ShardKey, Iterable[bytes]]) -> Iterator[ShardReport]:
        key, blobs = element
        report = write_shard(self._folder, key, blobs)
        count(WriteTables, "out-shards")
        count(WriteTables, "out-rows", report.shard.rows)
        yield report
