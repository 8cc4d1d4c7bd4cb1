"""Decode one JSON value into a typed row; what cannot be decoded is told in our own words."""

from typing import Any, Final, TypeVar, cast, get_origin

import msgspec

from transforms.readers.formats.json_faults import (
    Fault,
    JsonProblem,
    UndecodableError,
    explain,
    find_fault,
    is_too_deep,
    load_untyped,
    without_lone_surrogates,
    without_python_numbers,
)

__all__ = ["Fault", "JsonProblem", "UndecodableError", "decode_value"]

T = TypeVar("T")

_BOM: Final = b"\xef\xbb\xbf"
_UNTYPED: Final = (Any, dict[str, Any], list[Any])
_REFUSED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""All that decoders raise; which of them, and with what words, is theirs."""


def decode_value(
    data: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T], *, repair: bool = True
) -> T:
    """Return the value of ``data``; raises UndecodableError, which says what is wrong with it.

    An escaped lone surrogate, which JSON allows and UTF-8 does not, becomes U+FFFD if ``repair``.
    NaN, which Python writes where there is nothing, is null. Numbers out of range, and Infinity,
    are infinite where the type says nothing of them, and else refused. Values that are nested
    more than ``json_faults.MAX_DEPTH`` deep are refused.
    """
    data = bytes(data)
    if not is_too_deep(data):
        try:
            return decoder.decode(data)
        except _REFUSED:
            pass
        if repair:
            data = without_lone_surrogates(data)
        repaired = without_python_numbers(data.removeprefix(_BOM))
        try:
            return decoder.decode(repaired)
        except _REFUSED:
            pass
    problem = explain(data, decoder.type)
    if problem.fault is Fault.TYPE and decoder.type in _UNTYPED:
        value = load_untyped(data)
        if isinstance(value, get_origin(decoder.type) or object):
            return cast(T, value)
    raise UndecodableError(problem)


def breaks_off(data: bytes) -> bool:
    """Tell whether ``data`` is the beginning of a JSON value, and not all of it."""
    problem = find_fault(data) if data.strip(b" \t\r\n") else None
    return problem is not None and problem.fault is Fault.TRUNCATED
