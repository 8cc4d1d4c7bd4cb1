"""Cut files into blocks of whole lines: one worker decompresses a file, many parse its lines."""

from collections.abc import Iterator
from typing import Annotated, NamedTuple

import msgspec

from schemas.audit import Reason, Rejected
from schemas.fields import doc
from transforms.core.blobs import Blob
from transforms.readers.base import ForumFile, reject
from transforms.readers.formats.compressed import BrokenFile, CompressedFile
from transforms.readers.formats.json_values import breaks_off

MAX_LINE_BYTES = 16 << 20

BLOCK_BYTES = 1 << 20
"""Content of a block, about: a worker parses it in 10 ms, and Beam's 10 us for it are nothing."""

_END = b"\n"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff", *(b for c in b"{[" for b in (bytes((c, 0)), bytes((0, c)))))
"""How JSON in UTF-16 begins, with a byte order mark or without."""
_CODEC = "lz4"
"""A third less processor time than zstd's level 1 for compressing, a third of it for undoing. The
blocks of Reddit's JSON take a fifth of it, and live only as long as the step behind them."""


class LongLine(NamedTuple):
    """A line that is longer than allowed, and was not kept."""

    size: int
    """Bytes, with its newline."""


class LineBlock(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Whole lines of a file, or what is wrong with it at their place."""

    lines_before: Annotated[int, doc("lines of the file before these")]
    size: Annotated[int, doc("bytes of the lines")] = 0
    blob: Annotated[Blob, doc("LZ4 frame of the lines; only a file's last may lack its end")] = (
        Blob(b"")
    )
    rejected: Annotated[Rejected | None, doc("a line too long to keep, or the file itself")] = None

    @classmethod
    def of(cls, lines_before: int, content: bytes) -> "LineBlock":
        """Compress lines."""
        import pyarrow as pa  # where lines are read

        blob = pa.compress(content, codec=_CODEC, asbytes=True)
        return cls(lines_before, len(content), Blob(blob))

    def content(self) -> bytes:
        """The lines as they are in the file."""
        if not self.size:
            return b""
        import pyarrow as pa  # where lines are read

        content: bytes = pa.decompress(self.blob.load(), self.size, codec=_CODEC, asbytes=True)
        return content


def cut_lines(
    file: ForumFile, *, block_bytes: int = BLOCK_BYTES, max_line_bytes: int = MAX_LINE_BYTES
) -> Iterator[LineBlock]:
    """Yield the lines of ``file`` in blocks of about ``block_bytes``, and one block at least.

    A line that is longer is a block by itself, up to ``max_line_bytes`` (ROW_TOO_LARGE). A file
    that cannot be read to its end gives a last block that says why. Raises OSError only if the
    disk or network fails.
    """
    number = 0
    last = _END
    broken = None
    first = True
    try:
        for content in whole_lines(utf8_chunks(file, block_bytes), max_line_bytes):
            first = False
            if isinstance(content, LongLine):
                number += 1
                last = _END
                rejected = too_large(file, content.size, number, max_line_bytes)
                yield LineBlock(number - 1, rejected=rejected)
                continue
            yield LineBlock.of(number, content)
            number += content.count(_END)
            last = last_line(content)
            number += last != _END
    except BrokenFile as error:
        broken = error
    end = end_of_lines(file, number, last, broken)
    if first or end is not None:
        yield LineBlock(number, rejected=end)


def utf8_chunks(file: ForumFile, chunk_bytes: int | None = None) -> Iterator[bytes]:
    """Yield the content of a file; raises BrokenFile at once when it is in another encoding."""
    content = CompressedFile(file.path)
    chunks = content.chunks() if chunk_bytes is None else content.chunks(chunk_bytes)
    head = next(chunks, b"")
    if head.startswith(_UTF_16):
        detail = "it is UTF-16, not UTF-8: convert it (iconv -f UTF-16 -t UTF-8)"
        raise BrokenFile(Reason.UNREADABLE_FILE, detail)
    yield head
    yield from chunks


def whole_lines(chunks: Iterator[bytes], limit: int) -> Iterator[bytes | LongLine]:
    """Cut ``chunks`` behind their last newline; a line that outgrows ``limit`` is not kept.

    Only the last block may lack its newline. Raises BrokenFile after all before the break.
    """
    parts: list[bytes] = []
    size = 0
    broken = None
    try:
        for chunk in chunks:
            end = chunk.rfind(_END) + 1
            if end and size > limit:
                first = chunk.index(_END)
                yield LongLine(size + first + 1)
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
        yield LongLine(size)
    elif size:
        yield b"".join(parts)
    if broken is not None:
        raise broken


def last_line(content: bytes) -> bytes:
    """What stands behind the last newline of ``content``; a newline where nothing does."""
    return content[content.rfind(_END) + 1 :] or _END


def end_of_lines(
    file: ForumFile, lines: int, last: bytes, broken: BrokenFile | None
) -> Rejected | None:
    """Say what is wrong with the end of a file of ``lines`` lines, or None.

    ``last``: its last line, with its newline or without; ``broken``: why no more could be read.
    """
    whole = last.endswith(_END)
    if broken is not None:
        return reject_broken(file, broken, f"after {lines - (not whole)} lines")
    if not whole and breaks_off(last):
        detail = f"its last line breaks off, after {lines - 1} lines"
        return reject(file, Reason.TRUNCATED_FILE, detail, record="file")
    return None


def reject_broken(file: ForumFile, error: BrokenFile, place: str) -> Rejected:
    """Make the reject of a file that cannot be read, or only up to a place."""
    after = f", {place}" if error.reason is Reason.TRUNCATED_FILE else ""
    return reject(file, error.reason, error.detail + after, record="file")


def too_large(file: ForumFile, size: int, line: int, limit: int) -> Rejected:
    """Make the reject of a line of ``size`` bytes where ``limit`` are allowed."""
    detail = f"{size} bytes, {limit} allowed"
    return reject(file, Reason.ROW_TOO_LARGE, detail, line=line)
