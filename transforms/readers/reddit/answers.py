"""Answers of APIs that hold records of Reddit: lists of them, alone or inside other objects.

Pushshift and Arctic Shift answer with ``{"data": [record, …]}``. Reddit's own API answers with
listings: ``{"kind": "Listing", "data": {"children": [{"kind": "t1", "data": record}, …]}}``, in a
comment the listing of its ``replies``, and for a page a list of two listings.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from transforms.readers.base import ForumFile
from transforms.readers.formats.compressed import BrokenFile, CompressedFile
from transforms.readers.formats.json_faults import Fault, JsonProblem, UndecodableError, find_fault
from transforms.readers.formats.json_values import decode_value
from transforms.readers.reddit.rows import ABSENT, Record

RECORDS: Final = msgspec.json.Decoder(Record | list[msgspec.Raw])
"""Of a line, or of any value inside an answer."""

_SPACE: Final = b" \t\r\n"
_BOM: Final = b"\xef\xbb\xbf"
_NOT_LOADED: Final = "more"
"""Kind of a child that only says that there are comments which the answer leaves out."""


def unfold(answer: Record | list[msgspec.Raw]) -> Iterator[Record | JsonProblem]:
    """Yield the records in a value, itself if it is one, and why others give none.

    In the order of the text. An answer without records gives none.
    """
    stack: list[Iterator[Record | list[msgspec.Raw] | JsonProblem]] = [iter((answer,))]
    while stack:
        found = next(stack[-1], None)
        if found is None:
            stack.pop()
        elif isinstance(found, list):
            stack.append(_decode(found))
        elif isinstance(found, Record) and found.id is None and _holds_others(found):
            if found.kind != _NOT_LOADED:
                stack.append(_decode([_first_present(found)]))
        else:
            yield found
            if isinstance(found, Record) and _is_container(found.replies):
                stack.append(_decode([found.replies]))


def _decode(values: list[msgspec.Raw]) -> Iterator[Record | list[msgspec.Raw] | JsonProblem]:
    for value in values:
        try:
            yield decode_value(value, RECORDS)
        except UndecodableError as error:
            yield error.problem


def _holds_others(record: Record) -> bool:
    return _is_container(record.data) or _is_container(record.children)


def _first_present(record: Record) -> msgspec.Raw:
    return record.data if _is_container(record.data) else record.children


def _is_container(value: msgspec.Raw) -> bool:
    return value is not ABSENT and bytes(value)[:1] in (b"[", b"{")


def is_answer(answer: Record | list[msgspec.Raw]) -> bool:
    """Tell whether a line holds anything else than one record."""
    if isinstance(answer, list):
        return True
    return answer.replies is not ABSENT or (answer.id is None and _holds_others(answer))


def is_one_document(file: ForumFile) -> bool:
    """Tell whether a file is one JSON value over many lines, and not one value a line.

    By its first lines: the first is open, and the next is no record by itself.
    """
    try:
        head = next(CompressedFile(file.path).chunks(), b"")
    except BrokenFile:
        return False  # reading it says why
    lines = [line.strip(_SPACE) for line in head.removeprefix(_BOM).split(b"\n")]
    first, second = (*(line for line in lines if line), b"", b"")[:2]
    if first[:1] == b"[":
        if first == b"[" or not second:
            return True
        return _is_open(first) and (second[:1] != b"{" or find_fault(second) is not None)
    if first[:1] != b"{" or first[-1:] not in (b"{", b"[", b":", b",") or not second:
        return False
    if second[:1] == b"{":  # the first value of a list inside, or the next of a file of lines
        is_part = second == b"{" or second.endswith(b"},")
        return is_part and first[-1:] in (b"[", b":") and _is_open(first)
    return _is_open(first)


def _is_open(line: bytes) -> bool:
    problem = find_fault(line)
    return problem is not None and problem.fault is Fault.TRUNCATED
