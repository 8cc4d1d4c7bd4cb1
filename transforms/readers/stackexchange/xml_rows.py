"""Read the rows of a StackExchange XML table by byte ranges, so one file feeds many workers.

A table is ``<posts>`` (or another root) around ``<row Name="value" … />`` elements. A row
belongs to the range in which its ``<row`` starts. Only rows reach the XML parser, never a
DOCTYPE: entities and external references are not expanded, they make their row malformed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO
from xml.parsers import expat

from schemas.audit import Reason
from transforms.readers.formats.filesystem import snippet
from transforms.readers.stackexchange.xml_segments import (
    PROLOG,
    ROW_START,
    START_TAG,
    WHOLE_ROW,
    BadRow,
    RowBlock,
    Segments,
    check_gap,
)
from transforms.text.html_tokens import join_surrogates

RANGE_BYTES = 32 << 20
CHUNK_BYTES = 128 << 10
"""Small enough that rows are parsed and used within the processor cache."""
MAX_ROW_BYTES = 16 << 20
HEAD_BYTES = 64 << 10
"""The root tag and the first row must start in this many bytes; real files need 100."""

_FIRST_TAG = re.compile(rb"<([A-Za-z_][\w.-]*)")
_XML_SPACE = " \t\r\n"
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]")
"""Control characters, U+FFFE and U+FFFF."""
_STRAY = re.compile(rb"<|&(?!(?:amp|lt|gt|quot|apos|#[0-9]+|#x[0-9a-fA-F]+);)")
_ATTRIBUTE_NAME = re.compile(rb"""\s([^\s=<>"'/]+)\s*=\s*(?:"[^"]*"|'[^']*')""")
_CUT_ATTRIBUTE = re.compile(rb"""[^\s=<>"'/]+(?:\s*(?:=\s*(?:"[^"]*|'[^']*)?)?)?""")
_CHARACTER_REFERENCE = re.compile(rb"&#(?:[xX]([0-9A-Fa-f]+)|([0-9]+));")


@dataclass(slots=True)
class RowBatch:
    """What one chunk of a range held; ``rows[i]`` starts at byte ``offsets[i]`` of the file."""

    rows: list[dict[str, str]] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    matches: list[tuple[bytes, ...]] = field(default_factory=list)
    """Groups of the rows that match the pattern asked for, not parsed."""
    skipped: int = 0
    """Rows without the bytes asked for, not parsed."""
    repaired: int = 0
    """Rows in ``rows`` that lost references to characters XML forbids, or had some to both halves
    of a character, which they have now."""
    size: int = 0
    """Bytes of the range this batch covers; they add up to the range's size."""

    @property
    def seen(self) -> int:
        """Records met: parsed, matched, skipped or bad."""
        return len(self.rows) + len(self.matches) + len(self.bad) + self.skipped


def byte_ranges(size: int, range_bytes: int = RANGE_BYTES) -> list[tuple[int, int]]:
    """Cut ``size`` bytes into [start, end) ranges; an empty file has one empty range."""
    starts = range(0, max(size, 1), range_bytes)
    return [(start, min(start + range_bytes, size)) for start in starts]


def check_table(stream: BinaryIO, root: str, *, rows_required: bool) -> str | None:
    """Return what is wrong with the start of a table file, or None.

    ``root`` is the expected root tag. A file that starts with a row, as a part cut from a
    table does, is accepted.
    """
    head = stream.read(HEAD_BYTES)
    whole = len(head) < HEAD_BYTES
    if head.startswith((b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<", b"\0\0\0<")):
        return "it is UTF-16 or UTF-32; convert it to UTF-8"
    if not head.removeprefix(b"\xef\xbb\xbf").strip():
        return "it is empty"
    prolog = PROLOG.match(head)
    tag = _FIRST_TAG.search(head, 0 if prolog is None else prolog.end())
    if tag is None:
        return f"it holds no XML tag: {snippet(head)}"
    name = tag[1].decode("ascii", "replace")
    if name.lower() not in (root, "row"):
        return f"its first tag is <{name}>, a table starts with <{root}>"
    if ROW_START.search(head) is None and (rows_required or not whole):
        return "it holds no <row>" if whole else f"no <row> starts in its first {HEAD_BYTES} bytes"
    return None


def read_rows(
    stream: BinaryIO,
    start: int,
    end: int,
    *,
    containing: bytes = b"",
    pattern: re.Pattern[bytes] | None = None,
    chunk_bytes: int = CHUNK_BYTES,
    max_row_bytes: int = MAX_ROW_BYTES,
) -> Iterator[RowBatch]:
    """Yield the rows that start in bytes [start, end) of ``stream``, one batch per chunk.

    Rows without the bytes ``containing`` are counted and not parsed. ``pattern`` matches rows that
    need no parser, with the white space after them: its first group is all that it matches, the
    others are what is wanted of the row. Where all rows of a chunk match, their groups are in
    ``matches`` of its batch; where one does not, all are parsed. Bytes between two rows
    that are neither white space, declaration, comment nor root tag are one bad row, which belongs
    to the range of the row before them (or to the first range). No more than
    ``max_row_bytes`` and a chunk are held. Raises OSError if the file ends before ``end``.
    """
    stream.seek(start)
    segments = Segments(start, end, max_row_bytes)
    position = start
    while not segments.finished:
        chunk = stream.read(chunk_bytes)
        batch = RowBatch(size=max(0, min(position + len(chunk), end) - min(position, end)))
        position += len(chunk)
        for block in segments.feed(chunk, batch.bad):
            if pattern is not None and (matches := _match_all(block, pattern)):
                batch.matches.extend(matches)
                continue
            _parse(block, containing, max_row_bytes, batch)
        if batch.size or batch.seen:
            yield batch
    if position < end:
        raise OSError(f"the file ends at byte {position}, {end} expected: it became shorter")


def _match_all(block: RowBlock, pattern: re.Pattern[bytes]) -> list[tuple[bytes, ...]] | None:
    """Return the groups of each row, or None if there is anything but rows that match."""
    start = block.starts[0]
    matches = pattern.findall(block.data, start)
    # Matches do not overlap: together they are as long as the block only if nothing is between.
    covered = sum(len(match[0]) for match in matches) == len(block.data) - start
    return matches if covered and len(matches) == len(block.starts) else None


def _parse(block: RowBlock, containing: bytes, max_row_bytes: int, batch: RowBatch) -> None:
    """Add the rows of ``block`` to ``batch``, by one parser call where all is well."""
    if containing:
        for offset, data in block.segments():
            if containing in data:
                _parse_one(offset, data, max_row_bytes, batch)
            else:
                batch.skipped += 1
        return
    last = block.starts[-1]
    last_row = WHOLE_ROW.match(block.data, last)
    rows = None
    if last_row is not None and len(block.data) <= max_row_bytes:
        rows = _parse_rows(block.data[block.starts[0] : last_row.end()], len(block.starts))
    if rows is None or last_row is None:
        for offset, data in block.segments():
            _parse_one(offset, data, max_row_bytes, batch)
    else:
        batch.rows.extend(rows)
        batch.offsets.extend(block.offset + start for start in block.starts)
        batch.bad.extend(check_gap(block.offset + last_row.end(), block.data[last_row.end() :]))


def _parse_rows(data: bytes, expected: int) -> list[dict[str, str]] | None:
    """Return the attributes of exactly ``expected`` rows, or None if there is anything else."""
    rows: list[dict[str, str]] = []
    tags: list[str] = []
    texts: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "row":
            rows.append(attributes)
        else:
            tags.append(name)

    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.CharacterDataHandler = texts.append
    parser.CommentHandler = tags.append
    parser.ProcessingInstructionHandler = lambda target, _: tags.append(target)
    try:
        parser.Parse(b"<table>" + data + b"</table>", True)
    except expat.ExpatError:
        return None
    clean = tags == ["table"] and not "".join(texts).strip(_XML_SPACE)
    return rows if clean and len(rows) == expected else None


def _parse_one(offset: int, data: bytes, max_row_bytes: int, batch: RowBatch) -> None:
    """Add one segment to ``batch``: its row or what is wrong with it, and what follows it."""
    match = WHOLE_ROW.match(data)
    size = len(data) if match is None else match.end()
    if size > max_row_bytes:
        detail = f"longer than {max_row_bytes} bytes"
        batch.bad.append(BadRow(offset, Reason.ROW_TOO_LARGE, detail))
    elif match is None:
        detail = _why_not(data)
        batch.bad.append(BadRow(offset, Reason.MALFORMED_ROW, detail))
    else:
        _parse_match(offset, match[0], batch)
    if match is not None:
        batch.bad.extend(check_gap(offset + size, data[size:]))


def _parse_match(offset: int, data: bytes, batch: RowBatch) -> None:
    rows = _parse_rows(data, 1)
    if rows is None:
        rows = _parse_rows(_mend_references(data), 1)
        batch.repaired += rows is not None
    if rows is None:
        detail = _why_not(data)
        batch.bad.append(BadRow(offset, Reason.MALFORMED_ROW, detail))
    else:
        batch.rows.extend(rows)
        batch.offsets.append(offset)


def _mend_references(data: bytes) -> bytes:
    """Remove references to characters that XML 1.0 forbids, such as ``&#x1F;``.

    StackExchange's exporter writes control characters of old posts this way. They have no
    place in a text, and without this a post would be lost for one of them. Other exporters write
    an emoji as its two halves in UTF-16, ``&#xD83D;&#xDE00;``: these become the emoji.
    """
    joined = join_surrogates(data.decode("utf-8", "surrogateescape"))
    return _CHARACTER_REFERENCE.sub(
        lambda match: match[0] if _is_xml_character(match) else b"",
        joined.encode("utf-8", "surrogateescape"),
    )


def _is_xml_character(reference: re.Match[bytes]) -> bool:
    digits, base = (reference[1], 16) if reference[1] else (reference[2], 10)
    if len(digits) > 10:
        return False
    code = int(digits, base)
    return (
        code in (0x9, 0xA, 0xD)
        or 0x20 <= code <= 0xD7FF
        or 0xE000 <= code <= 0xFFFD
        or 0x10000 <= code <= 0x10FFFF
    )


def _why_not(data: bytes) -> str:
    """Say what is wrong with a segment that gave no row; places are bytes of it, from 1."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start + 1} of the row"
    if forbidden := _FORBIDDEN.search(data):
        return f"a character that XML forbids at byte {forbidden.start() + 1} of the row"
    tag = START_TAG.match(data)
    assert tag is not None  # a segment begins with one
    rest = data[tag.end() :]
    if not rest.startswith((b"/>", b">")):
        if not rest or _CUT_ATTRIBUTE.fullmatch(rest):
            return "it breaks off"
        return f"not an attribute at byte {tag.end() + 1} of the row"
    if found := _STRAY.search(data, len("<row"), tag.end()):
        what = "'<' in a value" if found[0] == b"<" else "'&' that begins no known character"
        return f"{what} at byte {found.start() + 1} of the row"
    names = _ATTRIBUTE_NAME.findall(tag[0])
    if len(names) > len(set(names)):
        return f"the attribute {_repeated(names)} is there twice"
    if rest.startswith(b">"):
        return "not a plain row: it holds more than attributes, or does not end"
    return "not well-formed XML"


def _repeated(names: list[bytes]) -> str:
    return next(name for index, name in enumerate(names) if name in names[:index]).decode()
