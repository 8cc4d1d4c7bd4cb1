"""Two datasets read side by side, a range of threads at a time, in flat memory.

Data shards are ordered by the hash of the thread (see :mod:`transforms.writers.shards`), so the
threads of two datasets can be merged without holding either.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from pipeline.dataset.folder import BATCH_ROWS, DatasetFolder
from pipeline.errors import DatasetError
from schemas.ids import hash63
from schemas.pair import SPLITS

_END = np.iinfo(np.int64).max


def matching_threads(
    a: DatasetFolder, b: DatasetFolder, columns: Sequence[str], batch_rows: int = BATCH_ROWS
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Yield the rows of both datasets range by range: a thread is whole, and in one range.

    ``columns`` must hold 'thread_id'. Together the ranges are all rows of all splits. Memory:
    about ``batch_rows`` rows per split and dataset, or one thread's rows where that is more.
    Raises DatasetError for rows that are not in the order of a dataset folder.
    """
    sides = [[_Rows(folder, split, columns, batch_rows) for split in SPLITS] for folder in (a, b)]
    streams = [stream for side in sides for stream in side]
    for stream in streams:
        stream.fill()
    while any(stream.has_more for stream in streams):
        # The last thread of a stream may continue in rows that are not read yet.
        border = min(_END if stream.is_at_end else stream.last - 1 for stream in streams)
        parts = [[stream.take(border) for stream in side] for side in sides]
        left, right = (pa.concat_tables(tables, promote_options="default") for tables in parts)
        if left.num_rows or right.num_rows:
            yield left, right
        for stream in streams:
            if not stream.is_at_end and stream.last - 1 == border:
                stream.fill()


class _Rows:
    """The rows of one split that are read and not yet used, with the places of their threads."""

    def __init__(
        self, folder: DatasetFolder, split: str, columns: Sequence[str], batch_rows: int
    ) -> None:
        self._name = f"{folder.location}/data/{split}"
        self._batches = folder.read_columns("data", columns, split, batch_rows)
        self._table = _empty(folder, columns)
        self._places = np.empty(0, np.int64)
        self.last = -1
        """Place of the last row that was read."""
        self.is_at_end = False

    @property
    def has_more(self) -> bool:
        return len(self._places) > 0 or not self.is_at_end

    def fill(self) -> None:
        """Read one more batch."""
        batch = next(self._batches, None)
        if batch is None:
            self.is_at_end = True
            return
        places = thread_places(batch["thread_id"])
        if len(places) and (places[0] < self.last or (np.diff(places) < 0).any()):
            raise DatasetError(
                self._name, ["its rows are not in the order that forumprefs writes them in"]
            )
        # Shards may say differently whether a column can lack a value.
        self._table = pa.concat_tables(
            [self._table, pa.Table.from_batches([batch])], promote_options="default"
        )
        self._places = np.concatenate([self._places, places])
        if len(places):
            self.last = int(places[-1])

    def take(self, border: int) -> pa.Table:
        """Remove and return the rows whose places are at most ``border``."""
        end = int(np.searchsorted(self._places, border, side="right"))
        taken = self._table.slice(0, end)
        self._table = self._table.slice(end)
        self._places = self._places[end:]
        return taken


def _empty(folder: DatasetFolder, columns: Sequence[str]) -> pa.Table:
    schema = folder.schema("data")
    fields = [pa.field(name, pa.string()) for name in columns]
    if schema is not None:
        fields = [schema.field(name) for name in columns]
    return pa.schema(fields).empty_table()


def thread_places(thread_ids: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return what orders the rows of a dataset: hash63 of each thread's id."""
    encoded = thread_ids.dictionary_encode()
    places = np.array([hash63(name) for name in encoded.dictionary.to_pylist()], np.int64)
    indices: np.ndarray[tuple[int], np.dtype[np.int32]] = encoded.indices.to_numpy()
    return places[indices]
