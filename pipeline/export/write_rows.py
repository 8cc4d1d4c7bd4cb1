"""The rows of one export and split as Parquet files: streamed, and of the same bytes each time."""

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.checksums import sha256_of_file
from schemas.exports import ExportShard
from schemas.ids import content_hash
from schemas.pair import Message
from transforms.writers.tables import ROW_GROUP_BYTES, ROW_GROUP_ROWS, parquet_writer, to_table

ROW_OVERHEAD_BYTES = 64
"""What a row's numbers and lengths take beside its texts."""


class SplitWriter:
    """Writes ``folder/EXPORT/SPLIT-00000-of-0000N.parquet``; call :meth:`add`, then :meth:`close`.

    Where row groups and shards end depends on the rows and ``shard_bytes`` alone, and the rows of
    a thread are never divided. Memory: the rows of one row group, twice.
    """

    def __init__(
        self, folder: Path, export: str, split: str, schema: pa.Schema, shard_bytes: int
    ) -> None:
        self.folder = folder
        self._export = export
        self._split = split
        self._schema = schema
        self._shard_bytes = shard_bytes
        self._rows: list[Any] = []
        self._bytes = 0
        """Of the rows that wait."""
        self._written_bytes = 0
        """Of the rows in the open file."""
        self._writer: pq.ParquetWriter | None = None
        self._rows_of_files: list[int] = []

    def add(self, rows: Sequence[Any]) -> None:
        """Add the rows of one thread."""
        self._rows += rows
        self._bytes += sum(map(text_bytes, rows))
        is_full = self._written_bytes + self._bytes >= self._shard_bytes
        if is_full or len(self._rows) >= ROW_GROUP_ROWS or self._bytes >= ROW_GROUP_BYTES:
            self._write_row_group()
        if is_full:
            self._end_file()

    def close(self) -> list[ExportShard]:
        """End the last file, and give all of them their names."""
        self._write_row_group()
        self._end_file()
        count = len(self._rows_of_files)
        return [self._name(index, count, rows) for index, rows in enumerate(self._rows_of_files)]

    def abandon(self) -> None:
        """Close what is open; the files are of no use."""
        if self._writer is not None:
            self._writer.close()

    def _unfinished(self, index: int) -> Path:
        return self.folder / self._export / f".{self._split}-{index:05d}"

    def _write_row_group(self) -> None:
        if not self._rows:
            return
        if self._writer is None:
            path = self._unfinished(len(self._rows_of_files))
            path.parent.mkdir(exist_ok=True)
            self._writer = parquet_writer(path, self._schema)
            self._rows_of_files.append(0)
        table = to_table(self._rows, self._schema)
        self._writer.write_table(table, row_group_size=table.num_rows)
        self._rows_of_files[-1] += table.num_rows
        self._written_bytes += self._bytes
        self._rows, self._bytes = [], 0

    def _end_file(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._written_bytes = 0

    def _name(self, index: int, count: int, rows: int) -> ExportShard:
        name = f"{self._export}/{self._split}-{index:05d}-of-{count:05d}.parquet"
        path = self._unfinished(index).rename(self.folder / name)
        return ExportShard(
            path=name,
            export=self._export,
            split=self._split,
            rows=rows,
            bytes=path.stat().st_size,
            sha256=sha256_of_file(path),
        )


def text_bytes(row: msgspec.Struct) -> int:
    """Estimate the bytes of a row before encoding, from its texts; decides borders only."""
    size = ROW_OVERHEAD_BYTES
    for name in row.__struct_fields__:
        value = getattr(row, name)
        if isinstance(value, str):
            size += len(value)
        elif isinstance(value, tuple):
            for item in value:
                size += len(item.content) if isinstance(item, Message) else 8
                size += len(item) if isinstance(item, str) else 0
    return size


class SeenRows:
    """Remembers rows by their ``key``, in a file in ``folder``: there may be very many.

    Raises OSError where the file cannot be written.
    """

    def __init__(self, key: Callable[[Any], Any], folder: Path) -> None:
        self._key = key
        number, name = tempfile.mkstemp(prefix=".seen-", dir=folder)
        os.close(number)
        self._path = Path(name)
        self._rows = sqlite3.connect(self._path, isolation_level=None)
        self._do("pragma journal_mode = off")
        self._do("pragma synchronous = off")
        self._do("create table rows (hash blob primary key) without rowid")

    def close(self) -> None:
        """Forget them."""
        self._rows.close()
        self._path.unlink(missing_ok=True)

    def _do(self, statement: str, *values: bytes) -> int:
        """Execute a statement; returns how many rows it added."""
        try:
            return self._rows.execute(statement, values).rowcount
        except sqlite3.OperationalError as error:
            raise OSError(f"{self._path}: cannot be written ({error})") from error

    def new(self, rows: Iterable[Any]) -> list[Any]:
        """Return the rows whose key it sees for the first time."""
        return [row for row in rows if self._add(row)]

    def _add(self, row: Any) -> bool:
        digest = content_hash(msgspec.json.encode(self._key(row)).decode())
        return self._do("insert or ignore into rows values (?)", digest) == 1
