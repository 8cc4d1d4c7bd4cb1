"""Rows of a table in JSON Lines, a JSON list or Parquet, as plain dicts, one at a time."""

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.audit import Reason, Rejected
from schemas.post import DAY_MS
from transforms.core.counters import count
from transforms.readers.base import ForumFile, reject
from transforms.readers.formats.compressed import COMPRESSED_SUFFIXES, BrokenFile, CompressedFile
from transforms.readers.formats.filesystem import open_input
from transforms.readers.formats.json_faults import Fault, UndecodableError
from transforms.readers.formats.json_lines import decode_lines, read_document
from transforms.readers.formats.json_values import decode_value
from transforms.readers.formats.values import Milliseconds, shown

Row = dict[str, Any]
"""One row; Arrow timestamps and dates are Milliseconds."""

TABLE_SUFFIXES: Final = (
    *(form + end for form in (".jsonl", ".ndjson", ".json") for end in ("", *COMPRESSED_SUFFIXES)),
    ".parquet",
)
"""Ends of the names of files that :func:`read_table` reads."""

BATCH_ROWS: Final = 256
"""Rows of Parquet that are in memory as Python objects at a time."""

_PARQUET: Final = b"PAR1"
_PER_MS: Final = {"ms": 1, "us": 1_000, "ns": 1_000_000}
"""Parquet has no other units."""
_LINE = msgspec.json.Decoder(Row)
_LIST = msgspec.json.Decoder(list[Any])
_ARROW_ERRORS = (pa.ArrowException, OSError, ValueError, OverflowError, TypeError, KeyError)


def read_table(
    file: ForumFile, wanted: Callable[[str], bool] | None = None
) -> Iterator[tuple[int, Row] | Rejected]:
    """Yield (number from 1, row) of each line, list item or Parquet row of ``file``.

    Parquet is read by row groups, and only columns whose names are ``wanted``. A row that cannot
    be read is one Rejected; so is, as ``record='file'``, a file that cannot be read at all
    (``unreadable_file``) or not to its end (``truncated_file``). Raises OSError when the disk or
    the network fails.
    """
    with open_input(file.path) as stream:
        is_parquet = stream.read(len(_PARQUET)) == _PARQUET
    if is_parquet:
        yield from _read_parquet(file, wanted)
    elif file.name.lower().endswith(".parquet"):
        detail = "it is not Parquet: it does not begin with PAR1"
        yield reject(file, Reason.UNREADABLE_FILE, detail, record="file")
    elif _is_list(file):
        yield from _read_list(file)
    else:
        yield from decode_lines(file, _LINE)


def _is_list(file: ForumFile) -> bool:
    try:
        head = next(CompressedFile(file.path).chunks(), b"")
    except BrokenFile:
        return False  # decode_lines says what is wrong with it
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")


def _read_list(file: ForumFile) -> Iterator[tuple[int, Row] | Rejected]:
    document = read_document(file)
    if isinstance(document, Rejected):
        yield document
        return
    try:
        items = _items_of(document)
    except UndecodableError as error:
        detail = f"it is not a JSON list: {error.problem.detail}"
        yield reject(file, Reason.UNREADABLE_FILE, detail, record="file")
        return
    for number, item in enumerate(items, start=1):
        if isinstance(item, dict):
            yield number, item
        else:
            yield reject(file, Reason.BAD_VALUE, f"{shown(item)}: must be an object", line=number)


def _items_of(document: bytes) -> list[Any]:
    """The items of a JSON list; raises UndecodableError."""
    try:
        return decode_value(document, _LIST, repair=False)
    except UndecodableError as error:
        if error.problem.fault is Fault.TOO_DEEP:
            raise
        try:
            # It takes halves of surrogate pairs, NaN and numbers out of range: the fields that
            # hold them will be refused, and not the file.
            found = json.loads(document)
        except ValueError:
            raise error from None
        return found if isinstance(found, list) else [found]


def _read_parquet(
    file: ForumFile, wanted: Callable[[str], bool] | None
) -> Iterator[tuple[int, Row] | Rejected]:
    number = 0
    with open_input(file.path) as stream:
        try:
            parquet = pq.ParquetFile(stream)
            names = parquet.schema_arrow.names
        except Exception as error:
            _check_is_damage(error)
            detail = "it is not whole Parquet: its description cannot be read"
            yield reject(file, Reason.UNREADABLE_FILE, detail, record="file")
            return
        columns = None if wanted is None else [name for name in names if wanted(name)]
        groups = parquet.metadata.num_row_groups
        for group in range(groups):
            count(CompressedFile, "in-bytes", _group_bytes(parquet.metadata.row_group(group)))
            try:
                for batch in parquet.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns):
                    for row in _batch_rows(batch):
                        number += 1
                        if not isinstance(row, Exception):
                            yield number, row
                            continue
                        _check_is_damage(row)
                        detail = "it holds a value that cannot be read"
                        yield reject(file, Reason.MALFORMED_ROW, detail, line=number)
            except (pa.ArrowException, OSError) as error:
                _check_is_damage(error)
                place = f"row group {group + 1} of {groups}, after {number} rows"
                detail = f"{place}: its data are damaged"
                yield reject(file, Reason.TRUNCATED_FILE, detail, record="file")
                return


def _check_is_damage(error: Exception) -> None:
    """Raise an error of the disk or the network again: the content is not to blame for it."""
    if not isinstance(error, _ARROW_ERRORS) or getattr(error, "errno", None) is not None:
        raise error


def _group_bytes(group: pq.RowGroupMetaData) -> int:
    sizes = (group.column(index).total_compressed_size for index in range(group.num_columns))
    return sum(size for size in sizes if size > 0)


def _batch_rows(batch: pa.RecordBatch) -> Iterator[Row | Exception]:
    """Yield the rows of a batch, or what kept a row from being read."""
    try:
        yield from _plain_rows(batch)
    except _ARROW_ERRORS as error:
        if batch.num_rows == 1:
            yield error
            return
        for index in range(batch.num_rows):
            yield from _batch_rows(batch.slice(index, 1))


def _plain_rows(batch: pa.RecordBatch) -> list[Row]:
    names = batch.schema.names
    columns = [_plain(column) for column in batch.columns]
    return [
        {name: column[index] for name, column in zip(names, columns, strict=True)}
        for index in range(batch.num_rows)
    ]


def _plain(array: pa.Array) -> list[Any]:
    """The values of an array as Python objects; times of any unit become Milliseconds."""
    kind = array.type
    if pa.types.is_timestamp(kind):
        per_ms = _PER_MS[kind.unit]
        return [
            None if value is None else Milliseconds(value // per_ms)
            for value in array.cast(pa.int64()).to_pylist()
        ]
    if pa.types.is_date32(kind):
        return [
            None if value is None else Milliseconds(value * DAY_MS)
            for value in array.cast(pa.int32()).to_pylist()
        ]
    if pa.types.is_date64(kind):
        days = array.cast(pa.int64()).to_pylist()
        return [None if value is None else Milliseconds(value) for value in days]
    if pa.types.is_struct(kind):
        fields = [_plain(field) for field in array.flatten()]
        names = [field.name for field in kind]
        return [
            dict(zip(names, (field[index] for field in fields), strict=True)) if valid else None
            for index, valid in enumerate(array.is_valid().to_pylist())
        ]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _plain_lists(array)
    if pa.types.is_dictionary(kind):
        return _plain(array.dictionary_decode())
    plain: list[Any] = array.to_pylist()
    return plain


def _plain_lists(array: pa.Array) -> list[Any]:
    values = _plain(array.flatten())
    lists: list[Any] = []
    start = 0
    for length in array.value_lengths().to_pylist():
        lists.append(None if length is None else values[start : start + length])
        start += length or 0
    return lists
