"""Which rows the page shows: all of a small table, a stratified random part of a large one."""

import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa

from pipeline.dataset.folder import DatasetFolder
from schemas.ids import hash63

Row = dict[str, Any]


def choose(
    folder: DatasetFolder,
    table: str,
    columns: Sequence[str],
    stratum: Callable[[Row], tuple[Any, ...]],
    size: int,
) -> list[int]:
    """Return the numbers of at most ``size`` rows, in the order in which to show them.

    Within a stratum rows come in the order of a hash of their values, which is as good as random
    and the same each time; strata take turns, so that a rare one is seen and any first part of
    the result is a stratified sample, too. ``columns`` are what the strata and the hash read.
    """
    strata: dict[tuple[Any, ...], list[tuple[int, int]]] = {}
    number = 0
    for batch in folder.read_columns(table, columns):
        for row in batch.to_pylist():
            place = -hash63("report/" + "/".join(str(row[name]) for name in columns))
            heap = strata.setdefault(stratum(row), [])
            if len(heap) < size:
                heapq.heappush(heap, (place, number))
            elif place > heap[0][0]:
                heapq.heapreplace(heap, (place, number))
            number += 1
    turns = [
        (turn, name, number)
        for name, heap in strata.items()
        for turn, (_, number) in enumerate(sorted(heap, reverse=True))
    ]
    turns.sort(key=lambda entry: (entry[0], str(entry[1]), entry[2]))
    return [number for _, _, number in turns[:size]]


def read_rows(
    folder: DatasetFolder, table: str, columns: Sequence[str], numbers: Iterable[int]
) -> dict[int, Row]:
    """Return {number: row} of the rows with these numbers."""
    wanted = sorted(numbers)
    found: dict[int, Row] = {}
    first = place = 0
    if not wanted:
        return found
    for batch in folder.read_columns(table, columns, batch_rows=2_048):
        end = first + batch.num_rows
        here = []
        while place < len(wanted) and wanted[place] < end:
            here.append(wanted[place])
            place += 1
        if here:
            rows = batch.take(pa.array([number - first for number in here])).to_pylist()
            found.update(zip(here, rows, strict=True))
        first = end
        if place == len(wanted):
            break
    return found
