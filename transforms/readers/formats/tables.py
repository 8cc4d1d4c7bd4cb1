"""Rows of a table in JSON Lines, a JSON list or Parquet, as plain dicts, one at a time."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from schemas.audit import Reason, Rejected
from transforms.readers.base import ForumFile, reject
from transforms.readers.formats.compressed import COMPRESSED_SUFFIXES, BrokenFile, CompressedFile
from transforms.readers.formats.filesystem import open_input
from transforms.readers.formats.json_faults import Fault, UndecodableError, find_fault
from transforms.readers.formats.json_lines import decode_block, decode_lines, read_document
from transforms.readers.formats.json_values import decode_value
from transforms.readers.formats.line_blocks import MAX_LINE_BYTES, LineBlock
from transforms.readers.formats.values import Row, shown

TABLE_SUFFIXES: Final = (
    *(form + end for form in (".jsonl", ".ndjson", ".json") for end in ("", *COMPRESSED_SUFFIXES)),
    ".parquet",
)
"""Ends of the names of files that :func:`read_table` reads."""

PARQUET_MAGIC: Final = b"PAR1"

LINES_TRIED: Final = 20
"""Of the beginning of a file, to tell what it is."""

_OTHER_TABLES: Final = {
    b"ARRO": "an Arrow or Feather file",
    b"FEA1": "a Feather file",
    b"Obj\x01": "an Avro file",
    b"PARE": "Parquet with an encrypted description",
    b"SQLi": "a SQLite database",
    b"\xd0\xcf\x11\xe0": "an Excel file",
}
"""By the first four bytes, which no JSON has."""
_DELIMITED: Final = tuple(
    form + end for form in (".csv", ".tsv") for end in ("", *COMPRESSED_SUFFIXES)
)
"""Their types are guesses, and texts of several lines are quoted in many ways."""

_BOM: Final = b"\xef\xbb\xbf"
_SPACE: Final = b" \t\r\n"
_ROW = msgspec.json.Decoder(Row)
_ANY = msgspec.json.Decoder(Any)


def read_table(
    file: ForumFile, wanted: Callable[[str], bool] | None = None
) -> Iterator[tuple[int, Row] | Rejected]:
    """Yield (number from 1, row) of each line, list item or Parquet row of ``file``.

    What the file is shows in its content: JSON whose lines are no rows by themselves is one
    document, a list of rows or one row. Parquet is read by row groups, and only columns whose
    names are ``wanted``. A row that cannot be read is one Rejected; so is, as ``record='file'``,
    a file that cannot be read at all (``unreadable_file``) or not to its end
    (``truncated_file``). Raises OSError when the disk or the network fails.
    """
    magic = _magic(file)
    other = _other_table(file, magic)
    if magic == PARQUET_MAGIC:
        from transforms.readers.formats.parquet_rows import read_parquet  # loads Arrow

        yield from read_parquet(file, wanted)
    elif other is not None:
        detail = f"it is {other}, which is not read: write it as Parquet or JSON Lines"
        yield reject(file, Reason.UNREADABLE_FILE, detail, record="file")
    elif _is_called_parquet(file):
        detail = "it is not Parquet: it does not begin with PAR1"
        yield reject(file, Reason.UNREADABLE_FILE, detail, record="file")
    elif is_document(_head(file)):
        yield from _read_document(file)
    else:
        yield from decode_lines(file, _ROW)


def is_table_of_lines(file: ForumFile) -> bool:
    """Tell whether a file has one row a line, so that :func:`read_table_block` can read it."""
    magic = _magic(file)
    return (
        magic != PARQUET_MAGIC
        and _other_table(file, magic) is None
        and not _is_called_parquet(file)
        and not is_document(_head(file))
    )


def read_table_block(file: ForumFile, block: LineBlock) -> Iterator[tuple[int, Row] | Rejected]:
    """Yield what :func:`read_table` does of the lines that are in ``block`` of ``file``."""
    return decode_block(file, block, _ROW)


def _magic(file: ForumFile) -> bytes:
    with open_input(file.path) as stream:
        return stream.read(len(PARQUET_MAGIC))


def _other_table(file: ForumFile, magic: bytes) -> str | None:
    """Name the kind of table that a file is, where it is one that is not read."""
    return "CSV" if file.name.lower().endswith(_DELIMITED) else _OTHER_TABLES.get(magic)


def _is_called_parquet(file: ForumFile) -> bool:
    return file.name.lower().endswith(".parquet")


def _head(file: ForumFile) -> bytes:
    """Return the beginning of a file, as long as a line may be at most."""
    parts: list[bytes] = []
    size = 0
    try:
        for chunk in CompressedFile(file.path).chunks():
            parts.append(chunk)
            size += len(chunk)
            if size >= MAX_LINE_BYTES or chunk.count(b"\n") > 1:
                break
    except BrokenFile:
        pass  # who reads all of it says what is wrong
    return b"".join(parts)


def is_document(head: bytes) -> bool:
    """Tell whether a file that begins with ``head`` is one JSON value rather than one a line.

    A list that begins and does not end in its first line, and goes on as JSON in the next ones, is
    a document; so is such an object, and a list that is alone in the file. Where the beginning of
    a list is damaged, lines that are objects by themselves make it a file of lines.
    """
    lines = [line for line in head.removeprefix(_BOM).split(b"\n") if line.strip(_SPACE)]
    first = lines[0].lstrip(_SPACE)[:1] if lines else b""
    if first not in (b"[", b"{"):
        return False
    if len(lines) == 1:
        return first == b"["
    problem = find_fault(lines[0])
    if problem is None:
        return False
    if problem.fault is Fault.TRUNCATED:
        problem = find_fault(b"\n".join(lines[:LINES_TRIED]))
        if problem is None or problem.fault is Fault.TRUNCATED:
            return True
    # Not the last: it may be cut.
    rest = lines[1:-1] or lines[1:]
    objects = [line for line in rest if line.lstrip(_SPACE)[:1] == b"{"][:LINES_TRIED]
    whole = sum(find_fault(line) is None for line in objects)
    return first == b"[" and whole * 2 <= len(objects)


def _read_document(file: ForumFile) -> Iterator[tuple[int, Row] | Rejected]:
    document = read_document(file)
    if isinstance(document, Rejected):
        yield document
        return
    try:
        value = decode_value(document, _ANY)
    except UndecodableError as error:
        detail = f"it is not a JSON list: {error.problem.detail}"
        yield reject(file, Reason.UNREADABLE_FILE, detail, record="file")
        return
    for number, item in enumerate(value if isinstance(value, list) else [value], start=1):
        if isinstance(item, dict):
            yield number, item
        else:
            yield reject(file, Reason.BAD_VALUE, f"{shown(item)}: must be an object", line=number)
