"""Read JSON from plain or compressed files: one value a line, or one document.

Nothing in a file stops the reading of what is well in it: each line that gives no value is said
to be so, and why.
"""

import io
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import msgspec

from schemas.audit import Reason, Rejected
from transforms.readers.base import ForumFile, reject
from transforms.readers.formats.compressed import BrokenFile, CompressedFile
from transforms.readers.formats.json_faults import (
    Fault,
    JsonProblem,
    UndecodableError,
    is_too_deep,
)
from transforms.readers.formats.json_values import breaks_off, decode_value

T = TypeVar("T")

MAX_LINE_BYTES = 16 << 20
MAX_DOCUMENT_BYTES = 256 << 20

Identify = Callable[[bytes], str | None]
"""Says which record an undecodable line is, or None."""

_END = b"\n"
_BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff", *(b for c in b"{[" for b in (bytes((c, 0)), bytes((0, c)))))
"""How JSON in UTF-16 begins, with a byte order mark or without."""
_REFUSED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _LongLine(NamedTuple):
    size: int


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
    line = b"\n"
    decode = decoder.decode
    try:
        for block in _whole_lines(_utf8_chunks(file), max_line_bytes):
            if isinstance(block, _LongLine):
                number += 1
                line = b"\n"
                yield _too_large(file, block.size, number, max_line_bytes)
                continue
            for line in io.BytesIO(block):
                number += 1
                if len(line) > max_line_bytes:
                    yield _too_large(file, len(line), number, max_line_bytes)
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
    except BrokenFile as error:
        yield _broken(file, error, f"after {number - (not line.endswith(_END))} lines")
    else:
        if not line.endswith(_END) and breaks_off(line):
            detail = f"its last line breaks off, after {number - 1} lines"
            yield reject(file, Reason.TRUNCATED_FILE, detail, record="file")


def read_document(file: ForumFile, max_bytes: int = MAX_DOCUMENT_BYTES) -> bytes | Rejected:
    """Return the whole content of a file that holds one JSON document, without a BOM.

    A larger one (ROW_TOO_LARGE) and one that breaks off is Rejected with ``record='file'``.
    Raises OSError only if the disk or network fails.
    """
    parts: list[bytes] = []
    size = 0
    try:
        for chunk in _utf8_chunks(file):
            size += len(chunk)
            if size > max_bytes:
                detail = f"more than {max_bytes} bytes, too much for one document"
                return reject(file, Reason.ROW_TOO_LARGE, detail, record="file")
            parts.append(chunk)
    except BrokenFile as error:
        return _broken(file, error, f"after {size} bytes")
    return b"".join(parts).removeprefix(_BOM)


def _utf8_chunks(file: ForumFile) -> Iterator[bytes]:
    """Yield the content of a file; raises BrokenFile at once when it is in another encoding."""
    chunks = CompressedFile(file.path).chunks()
    head = next(chunks, b"")
    if head.startswith(_UTF_16):
        detail = "it is UTF-16, not UTF-8: convert it (iconv -f UTF-16 -t UTF-8)"
        raise BrokenFile(Reason.UNREADABLE_FILE, detail)
    yield head
    yield from chunks


def _broken(file: ForumFile, error: BrokenFile, place: str) -> Rejected:
    after = f", {place}" if error.reason is Reason.TRUNCATED_FILE else ""
    return reject(file, error.reason, error.detail + after, record="file")


def _whole_lines(chunks: Iterator[bytes], limit: int) -> Iterator[bytes | _LongLine]:
    """Cut ``chunks`` behind their last newline; a line that outgrows ``limit`` is not kept.

    Only the last block may lack its newline. Raises BrokenFile after all before the break.
    """
    parts: list[bytes] = []
    size = 0
    broken = None
    try:
        for chunk in chunks:
            end = chunk.rfind(b"\n") + 1
            if end and size > limit:
                first = chunk.index(b"\n")
                yield _LongLine(size + first + 1)
                if first + 1 < end:
                    yield chunk[first + 1 : end]
            elif end:
                yield b"".join((*parts, chunk[:end]))
            if end:
                parts.clear()
                size = 0
            rest = chunk[end:]
            size += len(rest)
            if size > limit:
                parts.clear()
            else:
                parts.append(rest)
    except BrokenFile as error:
        broken = error
    if size > limit:
        yield _LongLine(size)
    elif size:
        yield b"".join(parts)
    if broken is not None:
        raise broken


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


def _too_large(file: ForumFile, size: int, line: int, limit: int) -> Rejected:
    detail = f"{size} bytes, {limit} allowed"
    return reject(file, Reason.ROW_TOO_LARGE, detail, line=line)


def reject_document(file: ForumFile, problem: JsonProblem) -> Rejected:
    """Make the reject of a file that should hold one JSON document, and does not."""
    reason = Reason.UNREADABLE_FILE
    detail = problem.detail
    if problem.fault is Fault.TRUNCATED:
        reason = Reason.TRUNCATED_FILE
    elif problem.fault is Fault.TRAILING:
        detail += "; a file of lines must be called .jsonl"
    return reject(file, reason, detail, record="file")
