"""Blocks: many rows in one compressed element, the unit of every fat shuffle.

A local runner keeps each shuffled element in memory at about 400 bytes plus five times its
payload, and spends about 10 us on it. Packing rows of one partition into zstd-compressed
MessagePack makes both small, whatever the rows are.
"""

import threading
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Generic, TypeVar

import msgspec
import zstandard

from schemas.fields import doc
from schemas.ids import hash63
from schemas.metadata import PostMetadata
from schemas.post import Post, Thread
from transforms.core.blobs import Blob
from transforms.core.coders import register

BLOCK_BYTES = 512 * 1024
"""Rows are packed when their encoded size reaches this, so no element grows large."""

BUFFER_BYTES = 64 << 20
"""All partitions together are flushed at this size, so a worker's memory stays bounded."""

HASH_BITS = 63

_encoder = msgspec.msgpack.Encoder()


class Block(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`rows` MessagePack values, concatenated and compressed."""

    rows: Annotated[int, doc("number of rows")]
    blob: Annotated[Blob, doc("zstd frame of a MessagePack array of rows")]


class PostBlock(Block, frozen=True, array_like=True, gc=False):
    """Posts as their reader made them; all of one partition."""


class MetadataBlock(Block, frozen=True, array_like=True, gc=False):
    """PostMetadata rows; all of one partition."""


class ThreadBlock(Block, frozen=True, array_like=True, gc=False):
    """Whole threads; all of one partition."""


register(PostBlock, MetadataBlock, ThreadBlock)

_decoders: dict[type[Block], Any] = {
    PostBlock: msgspec.msgpack.Decoder(list[Post]),
    MetadataBlock: msgspec.msgpack.Decoder(list[PostMetadata]),
    ThreadBlock: msgspec.msgpack.Decoder(list[Thread]),
}


class _LastPacked(threading.local):
    """The block this thread packed last: a step fused behind the packing gets its rows back."""

    block: Block | None = None
    rows: Sequence[Any] = ()


_last_packed = _LastPacked()

B = TypeVar("B", bound=Block)


def pack(block: type[B], rows: Sequence[msgspec.Struct]) -> B:
    """Compress rows into one block; equal rows in equal order give equal bytes."""
    packed = block(len(rows), Blob(compress(_encoder.encode(rows))))
    _last_packed.block, _last_packed.rows = packed, rows
    return packed


def unpack(block: Block) -> list[Any]:
    """Return the rows of a block, typed by the block's class."""
    if block is _last_packed.block:
        return list(_last_packed.rows)
    rows: list[Any] = _decoders[type(block)].decode(decompress(block.blob.load()))
    return rows


class BlockBuffer(Generic[B]):
    """Rows waiting to become blocks; ``add`` and ``flush`` yield (partition, block)."""

    def __init__(self, block: type[B], buffer_bytes: int = BUFFER_BYTES) -> None:
        self._block = block
        self._buffer_bytes = buffer_bytes
        self._rows: dict[int, list[msgspec.Struct]] = {}
        self._sizes: dict[int, int] = {}
        self._total = 0

    def add(self, partition: int, row: msgspec.Struct, size: int) -> Iterator[tuple[int, B]]:
        """Add one row of about ``size`` bytes; yield what is full."""
        rows = self._rows.get(partition)
        if rows is None:
            rows = self._rows[partition] = []
            self._sizes[partition] = 0
        rows.append(row)
        self._sizes[partition] += size
        self._total += size
        if self._sizes[partition] >= BLOCK_BYTES:
            yield self._take(partition)
        elif self._total >= self._buffer_bytes:
            yield from self.flush()

    def flush(self) -> Iterator[tuple[int, B]]:
        """Yield everything that waits, by partition."""
        for partition in sorted(self._rows):
            yield self._take(partition)

    def _take(self, partition: int) -> tuple[int, B]:
        self._total -= self._sizes.pop(partition)
        return partition, pack(self._block, self._rows.pop(partition))


class _Zstd(threading.local):
    """Contexts are costly to make (about 14 us) and must not be shared by threads."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=1)
        self.decompressor = zstandard.ZstdDecompressor()


_zstd = _Zstd()


def compress(data: bytes) -> bytes:
    """zstd level 1: about 400 MB/s, and forum text halves or better."""
    return _zstd.compressor.compress(data)


def decompress(blob: bytes) -> bytes:
    """Undo :func:`compress`."""
    return _zstd.decompressor.decompress(blob)


def partition_of(position: int, partitions: int) -> int:
    """Map a 63-bit hash to one of ``partitions`` equal, contiguous hash ranges.

    Partitions only spread work. Their number never changes an output byte.
    """
    return (position * partitions) >> HASH_BITS


def thread_partition(thread_id: str, partitions: int) -> int:
    """Partition of a thread and of everything that is joined to it."""
    return partition_of(hash63(thread_id), partitions)
