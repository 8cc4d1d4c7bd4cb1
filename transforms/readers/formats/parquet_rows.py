"""Rows of a Parquet file as plain dicts, from files that others wrote and damage that they took.

Of the library's description of a file only what it checks is asked for: the descriptions of
single columns end the process where their parts contradict each other.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.audit import Reason, Rejected
from transforms.core.counters import count
from transforms.readers.base import ForumFile, reject
from transforms.readers.formats.arrow_values import plain_values
from transforms.readers.formats.compressed import CompressedFile
from transforms.readers.formats.filesystem import open_input
from transforms.readers.formats.line_blocks import MAX_LINE_BYTES
from transforms.readers.formats.values import Row

BATCH_ROWS: Final = 256
"""Rows of Parquet that are in memory as Python objects at a time."""

_ARROW_ERRORS = (pa.ArrowException, OSError, ValueError, OverflowError, TypeError, KeyError)


def read_parquet(
    file: ForumFile, wanted: Callable[[str], bool] | None
) -> Iterator[tuple[int, Row] | Rejected]:
    """Yield (number from 1, row) of each row, with the columns whose names are ``wanted``.

    A row that cannot be read is one Rejected, and so is the file, or what is left of it, where it
    is damaged; see :func:`transforms.readers.formats.tables.read_table`.
    """
    number = 0
    with open_input(file.path) as stream:
        try:
            # Times of 12 bytes, as Spark and Impala write them, reach further than 64 bits of ns.
            parquet = pq.ParquetFile(stream, coerce_int96_timestamp_unit="us")
            names = parquet.schema_arrow.names
            groups = parquet.num_row_groups
        except Exception as error:
            _check_is_damage(error)
            detail = "it is not whole Parquet: its description cannot be read"
            yield reject(file, Reason.UNREADABLE_FILE, detail, record="file")
            return
        columns = None if wanted is None else [name for name in names if wanted(name)]
        for group in range(groups):
            try:
                for batch in parquet.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns):
                    for row in _batch_rows(batch):
                        number += 1
                        if isinstance(row, Rejection):
                            yield reject(file, row.reason, row.detail, line=number)
                        else:
                            yield number, row
            except Exception as error:
                _check_is_damage(error)
                place = f"row group {group + 1} of {groups}, after {number} rows"
                kinds = [
                    field.type
                    for field in parquet.schema_arrow
                    if columns is None or field.name in columns
                ]
                detail = f"{place}: {_what_is_wrong(error, kinds)}"
                yield reject(file, Reason.TRUNCATED_FILE, detail, record="file")
                return
            count(CompressedFile, "in-bytes", file.size // groups)


class Rejection(Exception):  # noqa: N818 (what becomes of a row, not an error of the program)
    """Why a row cannot be used."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def _check_is_damage(error: Exception) -> None:
    """Raise an error of the disk or the network again: the content is not to blame for it."""
    if not isinstance(error, _ARROW_ERRORS) or getattr(error, "errno", None) is not None:
        raise error


def _what_is_wrong(error: Exception, kinds: Sequence[pa.DataType]) -> str:
    if isinstance(error, NotImplementedError):
        return (
            "its columns are stored in a way that is not read here; write it again with another "
            "compression and encoding"
        )
    if isinstance(error, MemoryError):
        return "its data are damaged, or need more memory than there is"
    if any(_has_fixed_lists(kind) for kind in kinds):
        return (
            "its data are damaged, or a list of fixed size is null, which is not read here; write "
            "lists of any size"
        )
    return "its data are damaged"


def _has_fixed_lists(kind: pa.DataType) -> bool:
    return pa.types.is_fixed_size_list(kind) or any(
        _has_fixed_lists(kind.field(index).type) for index in range(kind.num_fields)
    )


def _batch_rows(batch: pa.RecordBatch) -> Iterator[Row | Rejection]:
    """Yield the rows of a batch, or what kept a row from being read."""
    if batch.num_rows > 1 and _plain_bytes(batch) > MAX_LINE_BYTES:
        for index in range(batch.num_rows):
            yield from _batch_rows(batch.slice(index, 1))
        return
    size = _plain_bytes(batch)
    if size > MAX_LINE_BYTES:
        detail = f"{size} bytes, {MAX_LINE_BYTES} allowed"
        yield Rejection(Reason.ROW_TOO_LARGE, detail)
        return
    try:
        yield from _plain_rows(batch)
    except _ARROW_ERRORS:
        if batch.num_rows == 1:
            yield Rejection(Reason.MALFORMED_ROW, "it holds a value that cannot be read")
            return
        for index in range(batch.num_rows):
            yield from _batch_rows(batch.slice(index, 1))


def _plain_bytes(batch: pa.RecordBatch) -> int:
    """How much the columns take that a slice does not share with other slices."""
    return sum(column.nbytes for column in batch.columns if not _is_shared(column.type))


def _is_shared(kind: pa.DataType) -> bool:
    types = pa.types
    if types.is_dictionary(kind) or types.is_string_view(kind) or types.is_binary_view(kind):
        return True
    return any(_is_shared(kind.field(index).type) for index in range(kind.num_fields))


def _plain_rows(batch: pa.RecordBatch) -> list[Row]:
    names = batch.schema.names
    columns = [plain_values(column) for column in batch.columns]
    return [
        {name: column[index] for name, column in zip(names, columns, strict=True)}
        for index in range(batch.num_rows)
    ]
