"""Collect rows per partition and turn them into blocks of useful size."""

from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

from transforms.core.blocks import BLOCK_BYTES, Block, pack

BUFFER_BYTES = 64 << 20
"""All partitions together are flushed at this size, so a worker's memory stays bounded."""

B = TypeVar("B", bound=Block)


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
