"""Cut a byte range of an XML table into segments: a row's start and all up to the next one.

A raw ``<`` is illegal inside an attribute, so finding the starts of rows needs no parser and
no state, and rows may be wrapped over lines.
"""

import bisect
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

from schemas.audit import Reason
from transforms.readers.formats.filesystem import snippet

ROW_START = re.compile(rb"<row(?=[\s/>])")
_START_BYTES = len(b"<row ")
_START_TAG = rb"""<row(?:\s+[^\s=<>"'/]+\s*=\s*(?:"[^"]*"|'[^']*'))*+\s*"""
START_TAG = re.compile(_START_TAG)
"""The start of a row up to the end of its attributes."""
WHOLE_ROW = re.compile(_START_TAG + rb"(?:/>|>\s*</row\s*>)")
"""A whole row; a value may hold ``>``."""
_COMMENT = rb"<!--(?:[^-]++|-(?!->))*+-->"
_INSTRUCTION = rb"<\?(?:[^?]++|\?(?!>))*+\?>"
_QUOTED = rb'"[^"]*+"|\'[^\']*+\''
_DECLARED = rb"\[(?:" + rb"|".join((_COMMENT, _QUOTED, rb"[^\]\"'<]++", rb"<(?!!--)")) + rb")*+\]"
_DOCTYPE = rb"<!DOCTYPE(?=\s)(?:" + rb"|".join((_QUOTED, _DECLARED, rb"[^\[\]<>\"']++")) + rb")*+>"
_CDATA = rb"<!\[CDATA\[(?:[^\]]++|\](?!\]>))*+\]\]>"
_NO_ELEMENT = rb"|".join((rb"\s++|\xef\xbb\xbf", _COMMENT, _INSTRUCTION, _DOCTYPE, _CDATA))
PROLOG = re.compile(rb"(?:" + _NO_ELEMENT + rb")*+", re.IGNORECASE)
"""What may stand before the root tag: declaration, comments, instructions, a DOCTYPE, space."""
_BETWEEN_ROWS = re.compile(
    rb"(?:"
    + _NO_ELEMENT
    + rb"|</?(?:posts|votes|users|postlinks|posthistory|comments|tags|badges)(?=[\s/>])[^<>]*+>)*+",
    re.IGNORECASE,
)


class BadRow(NamedTuple):
    """A stretch of the file that gave no row."""

    offset: int
    reason: Reason
    detail: str


class RowBlock(NamedTuple):
    """Whole segments in a row: the i-th is ``data[starts[i]:starts[i + 1]]``, see ``ends``."""

    offset: int
    """Of ``data`` in the file."""
    data: bytes
    starts: list[int]

    def segments(self) -> Iterator[tuple[int, bytes]]:
        """Yield (offset in the file, bytes) of each segment."""
        for start, end in itertools.pairwise([*self.starts, len(self.data)]):
            yield self.offset + start, self.data[start:end]


class Segments:
    """Cut the chunks of a range, fed in order, into blocks of segments."""

    def __init__(self, start: int, end: int, max_row_bytes: int) -> None:
        self.finished = start >= end
        self._end = end
        self._limit = max_row_bytes
        self._buffer = b""
        self._offset = start
        # What the buffer holds. Bytes before the first row of a later range belong to the
        # range before it, and so are "other".
        self._holds = "gap" if start == 0 else "other"

    def feed(self, chunk: bytes, bad: list[BadRow]) -> Iterator[RowBlock]:
        """Yield the segments that ``chunk`` completes; b"" is the end of the file."""
        searched = max(len(self._buffer) - _START_BYTES + 1, int(self._holds == "row"))
        data = self._buffer + chunk
        starts = [match.start() for match in ROW_START.finditer(data, searched)]
        if starts and self._holds == "gap":
            bad.extend(check_gap(self._offset, data[: starts[0]]))
        if self._holds == "row":
            starts.insert(0, 0)
        if starts and self._offset + starts[-1] >= self._end:
            starts = starts[: bisect.bisect_left(starts, self._end - self._offset) + 1]
            self.finished = True
        elif not chunk:
            if self._holds == "gap" and not starts:
                bad.extend(check_gap(self._offset, data))
            starts.append(len(data))
            self.finished = True
        if len(starts) > 1:
            yield RowBlock(self._offset, data[: starts[-1]], starts[:-1])
        if starts and not self.finished:
            self._holds = "row"
            self._keep(data, starts[-1])
        else:
            self._keep(data, 0)
        if not self.finished:
            yield from self._bound(bad)

    def _bound(self, bad: list[BadRow]) -> Iterator[RowBlock]:
        """Keep the buffer small, whatever the file holds."""
        if self._holds == "row" and len(self._buffer) > self._limit:
            row = WHOLE_ROW.match(self._buffer)
            if row is None:
                yield RowBlock(self._offset, self._buffer, [0])  # found to be too large
                self._holds = "other"
            else:
                yield RowBlock(self._offset, row[0], [0])
                self._holds = "gap"
                self._keep(self._buffer, row.end())
        if self._holds == "gap" and len(self._buffer) > self._limit:
            self._keep(self._buffer, len(self._buffer) - len(self._buffer.lstrip()))
            if len(self._buffer) > self._limit:
                bad.extend(check_gap(self._offset, self._buffer))
                self._holds = "other"
        if self._holds == "other":
            self._keep(self._buffer, max(0, len(self._buffer) - _START_BYTES + 1))
            self.finished = self._offset >= self._end

    def _keep(self, data: bytes, start: int) -> None:
        self._buffer = data[start:]
        self._offset += start


def check_gap(offset: int, data: bytes) -> list[BadRow]:
    """Return a bad row if ``data`` holds more than space, root tags, comments and declarations."""
    match = _BETWEEN_ROWS.match(data)
    end = match.end() if match else 0
    if end == len(data):
        return []
    detail = f"text between rows: {snippet(data[end:])}"
    return [BadRow(offset + end, Reason.MALFORMED_ROW, detail)]
