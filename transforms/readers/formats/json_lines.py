"""Read JSON from plain or compressed files: one value a line, or one document.

Nothing in a file stops the reading of what is well in it: each line that gives no value is said
to be so, and why.
"""

import io
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

import msgspec

from schemas.audit import Reason, Rejected
from transforms.readers.base import ForumFile, reject
from transforms.readers.formats.compressed import BrokenFile
from transforms.readers.formats.json_faults import (
    Fault,
    JsonProblem,
    UndecodableError,
    is_too_deep,
)
from transforms.readers.formats.json_values import decode_value
from transforms.readers.formats.line_blocks import (
    MAX_LINE_BYTES,
    LineBlock,
    LongLine,
    end_of_lines,
    last_line,
    reject_broken,
    too_large,
    utf8_chunks,
    whole_lines,
)

T = TypeVar("T")

MAX_DOCUMENT_BYTES = 256 << 20

Identify = Callable[[bytes], str | None]
"""Says which record an undecodable line is, or None."""

_BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"
_REFUSED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode_lines(
    file: ForumFile,
    decoder: msgspec.json.Decoder[T],
    *,
    identify: Identify | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Iterator[tuple[int, T] | Rejected]:
    """Yield (line number from 1, value) of every line of ``file`` that is not blank.

    A line that gives no value is Rejected: MALFORMED_ROW (not JSON, or not UTF-8), MISSING_FIELD
    (absent, or null where the type of ``decoder`` allows none), BAD_VALUE (another type) or
    ROW_TOO_LARGE. Its id is what ``identify`` makes of it, else its file and line. A file that
    breaks off gives all before the break and one Rejected ``record='file'``. An escaped lone
    surrogate, which JSON allows and UTF-8 does not, becomes U+FFFD. Raises OSError only if the
    disk or network fails.
    """
    number = 0
    last = b"\n"
    broken = None
    try:
        for content in whole_lines(utf8_chunks(file), max_line_bytes):
            if isinstance(content, LongLine):
                number += 1
                last = b"\n"
                yield too_large(file, content.size, number, max_line_bytes)
                continue
            last = last_line(content)
            number = yield from _decode(file, content, number, decoder, identify, max_line_bytes)
    except BrokenFile as error:
        broken = error
    end = end_of_lines(file, number, last, broken)
    if end is not None:
        yield end


def decode_block(
    file: ForumFile,
    block: LineBlock,
    decoder: msgspec.json.Decoder[T],
    *,
    identify: Identify | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Iterator[tuple[int, T] | Rejected]:
    """Yield what :func:`decode_lines` does of the lines that are in ``block`` of ``file``.

    All blocks of :func:`cut_lines` together give what the whole file does.
    """
    if block.rejected is not None:
        yield block.rejected
    yield from _decode(file, block.content(), block.lines_before, decoder, identify, max_line_bytes)


def _decode(
    file: ForumFile,
    content: bytes,
    number: int,
    decoder: msgspec.json.Decoder[T],
    identify: Identify | None,
    max_line_bytes: int,
) -> Generator[tuple[int, T] | Rejected, None, int]:
    """Yield the values of whole lines behind line ``number``; returns the number of the last."""
    decode = decoder.decode
    for line in io.BytesIO(content):
        number += 1
        if len(line) > max_line_bytes:
            yield too_large(file, len(line), number, max_line_bytes)
            continue
        if not is_too_deep(line):
            try:
                value = decode(line)
            except _REFUSED:
                pass
            else:
                yield number, value
                continue
        item = _decode_with_care(file, line, number, decoder, identify)
        if item is not None:
            yield item
    return number


def read_document(file: ForumFile, max_bytes: int = MAX_DOCUMENT_BYTES) -> bytes | Rejected:
    """Return the whole content of a file that holds one JSON document, without a BOM.

    A larger one (ROW_TOO_LARGE) and one that breaks off is Rejected with ``record='file'``.
    Raises OSError only if the disk or network fails.
    """
    parts: list[bytes] = []
    size = 0
    try:
        for chunk in utf8_chunks(file):
            size += len(chunk)
            if size > max_bytes:
                detail = f"more than {max_bytes} bytes, too much for one document"
                return reject(file, Reason.ROW_TOO_LARGE, detail, record="file")
            parts.append(chunk)
    except BrokenFile as error:
        return reject_broken(file, error, f"after {size} bytes")
    return b"".join(parts).removeprefix(_BOM)


def _decode_with_care(
    file: ForumFile,
    line: bytes,
    number: int,
    decoder: msgspec.json.Decoder[T],
    identify: Identify | None,
) -> tuple[int, T] | Rejected | None:
    """Return the value of a line that could not be decoded as it is, if it has one after all."""
    data = line.removeprefix(_BOM).strip(_SPACE)
    if not data:
        return None
    try:
        return number, decode_value(data, decoder)
    except UndecodableError as error:
        problem = error.problem
    id = None
    if problem.fault is Fault.TYPE and identify is not None:
        id = identify(data)
    return reject(file, problem.reason, problem.detail, id=id, line=number)


def reject_document(file: ForumFile, problem: JsonProblem) -> Rejected:
    """Make the reject of a file that should hold one JSON document, and does not."""
    reason = Reason.UNREADABLE_FILE
    detail = problem.detail
    if problem.fault is Fault.TRUNCATED:
        reason = Reason.TRUNCATED_FILE
    elif problem.fault is Fault.TRAILING:
        detail += "; a file of lines must be called .jsonl"
    return reject(file, reason, detail, record="file")
