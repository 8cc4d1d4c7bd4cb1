"""Which rows go into which shard: borders that depend on the rows alone.

Rows are ordered by a stable hash of their thread, so shards are hash ranges: all pairs of a
thread, and therefore of a response, lie together, and concatenating the shards gives the same
order however many there are.
"""

import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

import apache_beam as beam
import msgspec

from schemas.audit import Duplicate, Rejected
from schemas.fields import doc
from schemas.ids import hash63
from schemas.pair import SPLITS
from transforms.core import HASH_BITS, Blob, compress, decompress, register
from transforms.pairing import PairedThread

BUCKET_BITS = 12
"""Shard borders lie on 1/4096 of the hash space: up to 4096 shards per split."""

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
    blob: Annotated[Blob, doc("zstd frame of a MessagePack array of rows")]


class ShardKey(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Which file a block goes to."""

    table: Annotated[str, doc("as in SinkBlock")]
    index: Annotated[int, doc("0-based")]
    count: Annotated[int, doc("shards of the table")]


register(SinkBlock, ShardKey)

encode = msgspec.msgpack.Encoder().encode
"""Write one row, or a list of them, as MessagePack."""

_row_types: dict[str, type[msgspec.Struct]] = {
    **{f"data/{split}": PairedThread for split in SPLITS},
    "duplicates/duplicates": Duplicate,
    "rejected/rejected": Rejected,
}
_decoders = {table: msgspec.msgpack.Decoder(list[row]) for table, row in _row_types.items()}  # type: ignore[valid-type]


def pack_rows(rows: list[Any]) -> Blob:
    """Compress rows of one table."""
    return Blob(compress(encode(rows)))


def unpack_rows(table: str, blob: Blob) -> tuple[list[Any], int]:
    """Return the rows of a packed blob and their size as MessagePack, in bytes."""
    packed = decompress(blob.load())
    return _decoders[table].decode(packed), len(packed)


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
            PAIR_OVERHEAD_BYTES
            + prompt
            + sum(lengths[index] for index in (d.chosen, d.rejected, *d.context))
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
        blob=pack_rows(rows),
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
) -> Iterator[tuple[ShardKey, Blob]]:
    """Send a block to its shard, reading it only when a shard border cuts through it."""
    starts = plan[block.table]
    first = bisect.bisect_right(starts, block.low) - 1
    if first == bisect.bisect_right(starts, block.high) - 1:
        yield ShardKey(block.table, first, len(starts)), block.blob
        return
    by_shard: dict[int, list[Any]] = {}
    for row in unpack_rows(block.table, block.blob)[0]:
        shard = bisect.bisect_right(starts, bucket_of(place_of(row))) - 1
        by_shard.setdefault(shard, []).append(row)
    for shard, rows in sorted(by_shard.items()):
        yield ShardKey(block.table, shard, len(starts)), pack_rows(rows)


def shard_path(key: ShardKey) -> str:
    """Relative path of a shard, e.g. ``data/train-00000-of-00003.parquet``."""
    return f"{key.table}-{key.index:05d}-of-{key.count:05d}.parquet"


class PlanShards(beam.CombineFn):
    """SinkBlocks → {table: first bucket of each of its shards}."""

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
