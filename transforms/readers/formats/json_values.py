"""Decode one JSON value into a typed row; what cannot be decoded is told in our own words."""

from typing import Final, TypeVar

import msgspec

from transforms.readers.formats.json_faults import (
    Fault,
    JsonProblem,
    UndecodableError,
    explain,
    find_fault,
    is_too_deep,
    without_lone_surrogates,
)

__all__ = ["Fault", "JsonProblem", "UndecodableError", "decode_value"]

T = TypeVar("T")

_BOM: Final = b"\xef\xbb\xbf"
_REFUSED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""All that decoders raise; which of them, and with what words, is theirs."""


def decode_value(
    data: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T], *, repair: bool = True
) -> T:
    """Return the value of ``data``; raises UndecodableError, which says what is wrong with it.

    An escaped lone surrogate, which JSON allows and UTF-8 does not, becomes U+FFFD if ``repair``.
    Values that are nested more than ``json_faults.MAX_DEPTH`` deep are refused.
    """
    data = bytes(data)
    if not is_too_deep(data):
        try:
            return decoder.decode(data)
        except _REFUSED:
            pass
        repaired = without_lone_surrogates(data.removeprefix(_BOM))
        if repair and repaired != data:
            try:
                return decoder.decode(repaired)
            except _REFUSED:
                pass
    raise UndecodableError(explain(data, decoder.type))


def breaks_off(data: bytes) -> bool:
    """Tell whether ``data`` is the beginning of a JSON value, and not all of it."""
    problem = find_fault(data) if data.strip(b" \t\r\n") else None
    return problem is not None and problem.fault is Fault.TRUNCATED
