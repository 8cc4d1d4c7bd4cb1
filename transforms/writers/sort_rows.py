"""Rows of one shard in the order in which they are written, in bounded memory.

An external merge sort (Knuth, The Art of Computer Programming 3, section 5.4): rows are sorted by
the run, runs wait in a file without a name, and merging them holds a small part of each.
"""

import heapq
import os
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Any, Final

from schemas.ids import hash63
from transforms.core import Blob
from transforms.pairing import PairedThread
from transforms.writers.shards import encode, pack_rows, place_of, unpack_rows

RUN_BYTES: Final = 32 << 20
"""MessagePack bytes of the rows of one run; as objects they take about three times as much."""

PART_BYTES: Final = 256 << 10
"""MessagePack bytes of a run that merging holds at a time."""


def sorted_rows(
    table: str,
    blobs: Iterable[Blob],
    folder: str | None = None,
    *,
    run_bytes: int = RUN_BYTES,
    part_bytes: int = PART_BYTES,
) -> Iterator[Any]:
    """Yield the rows of packed ``blobs`` of ``table``, sorted by the hash of their place.

    The order depends on the rows alone. Memory: one run, and a part of each other one. Rows of
    more than one run go through a file in ``folder`` (None: the system's for temporary files).
    """
    rows: list[Any] = []
    size = 0
    runs: list[list[tuple[int, int]]] = []
    with tempfile.TemporaryFile(prefix=".sort-", dir=folder) as file:
        for blob in blobs:
            if size >= run_bytes:
                rows.sort(key=_sort_key)
                runs.append(_spill(file, rows, max(1, len(rows) * part_bytes // size)))
                rows, size = [], 0
            more, more_bytes = unpack_rows(table, blob)
            rows += more
            size += more_bytes
        rows.sort(key=_sort_key)
        if not runs:
            yield from rows
            return
        file.flush()
        # Of equal keys, merge takes the earlier run's first, as one sort of all would.
        spilled = [_read(file, table, places) for places in runs]
        yield from heapq.merge(*spilled, rows, key=_sort_key)


def _sort_key(row: Any) -> tuple[int, str, bytes]:
    place = place_of(row)
    return hash63(place), place, b"" if isinstance(row, PairedThread) else encode(row)


def _spill(file: IO[bytes], rows: list[Any], rows_of_part: int) -> list[tuple[int, int]]:
    """Add rows to the file as packed parts; returns where they are: (start, size)."""
    places = []
    for first in range(0, len(rows), rows_of_part):
        blob = pack_rows(rows[first : first + rows_of_part]).load()
        places.append((file.tell(), len(blob)))
        file.write(blob)
    return places


def _read(file: IO[bytes], table: str, places: list[tuple[int, int]]) -> Iterator[Any]:
    for start, size in places:
        rows, _ = unpack_rows(table, Blob(os.pread(file.fileno(), size, start)))
        yield from rows
