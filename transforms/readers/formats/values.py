"""Values of rows that people wrote, checked and normalised: one function per kind of value.

Each takes what JSON or Parquet gave, never None, and returns the value a Post holds. What cannot
be used raises ValueError, whose text says what would have been right. Readers take all of them from
here; those of numbers and times are in modules of their own.
"""

import math
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from transforms.readers.formats.numbers import EXACT, LostDigitsError, integer
from transforms.readers.formats.numbers import MAX_COUNT as MAX_COUNT
from transforms.readers.formats.numbers import natural as natural
from transforms.readers.formats.numbers import number as number
from transforms.readers.formats.numbers import whole as whole
from transforms.readers.formats.times import Milliseconds as Milliseconds
from transforms.readers.formats.times import time_ms as time_ms

Row = dict[str, Any]
"""One row; Arrow timestamps and dates are Milliseconds."""

MAX_ID_CHARS: Final = 200
MAX_ID_DIGITS: Final = 39
"""Of an integer: 128 bits."""

_WHOLE_TEXT = re.compile(r"(-?[0-9]{1,16})\.0+")
_LICENSE = re.compile(r"\(*[A-Za-z0-9.+:-]+\)*(?: (?:AND|OR|WITH) \(*[A-Za-z0-9.+:-]+\)*)*")
_SITE = re.compile(r"[^\s:#\\/]+(?:/[^\s:#\\]+)?")
_NO_LICENSE = ("none", "unknown", "null", "n/a", "na", "all rights reserved", "proprietary")


@dataclass(frozen=True)
class OtherValue:
    """A value of a kind that JSON does not have and no field takes, such as a duration."""

    name: str
    """What a message calls it, with its article."""


def text(value: object) -> str:
    """A string that can be written as UTF-8; its bytes too, as old Parquet files hold texts."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise ValueError("must be text, and is not UTF-8") from None
    if not isinstance(value, str):
        raise ValueError("must be text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("holds half of a surrogate pair, which is not a character") from None
    return value


def key(value: object) -> str:
    """An id: text, an integer (7.0 or a decimal too, as tables have it) as text, or a UUID.

    Text that is an integer with `.0` behind it is that integer.
    """
    if isinstance(value, uuid.UUID):
        return str(value)
    if not isinstance(value, str | bytes):
        return _key_of_number(value)
    name = text(value)
    if not name or name != name.strip():
        raise ValueError("must not be empty, nor begin or end with a space")
    if len(name) > MAX_ID_CHARS or not name.isprintable() or "#" in name:
        raise ValueError(f"must be at most {MAX_ID_CHARS} visible characters, without '#'")
    whole = _WHOLE_TEXT.fullmatch(name)
    return str(int(whole[1])) if whole and abs(int(whole[1])) < EXACT else name


def _key_of_number(value: object) -> str:
    try:
        found = integer(value)
    except LostDigitsError:
        raise
    except ValueError:
        raise ValueError("must be text or an integer") from None
    if abs(found) >= 10**MAX_ID_DIGITS:
        raise ValueError(f"must be text or an integer of at most {MAX_ID_DIGITS} digits")
    return str(found)


def site(value: object) -> str:
    """A host name, perhaps with a community."""
    name = text(value)
    if not (_SITE.fullmatch(name) and name.isprintable() and len(name) <= MAX_ID_CHARS):
        raise ValueError(
            "must be a host name such as 'forum.example.com' or 'example.com/cooking', without "
            "'https://', ':', '#' and spaces"
        )
    return name


def url(value: object) -> str:
    """A link, or nothing."""
    link = text(value)
    if link and not link.startswith(("https://", "http://")):
        raise ValueError("must begin with https:// or http://")
    return link


def flag(value: object) -> bool:
    """A truth value; 0 and 1 too, as databases export them, and what tables make of both."""
    if type(value) in (bool, int, float, Decimal) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise ValueError("must be true or false")


def license_id(value: object) -> str:
    """An SPDX id or expression, or 'NOASSERTION'; known ids are not looked up."""
    name = text(value)
    if not name or name.lower() in _NO_LICENSE:
        raise ValueError("must be an SPDX id such as 'CC-BY-4.0', or 'NOASSERTION' if unknown")
    if not _LICENSE.fullmatch(name) or len(name) > MAX_ID_CHARS:
        guess = re.sub(r"[\s_]+", "-", name.strip())
        hint = f"; perhaps {guess!r}" if _LICENSE.fullmatch(guess) and len(guess) < 30 else ""
        raise ValueError(f"must be an SPDX id such as 'CC-BY-4.0'{hint}, or 'NOASSERTION'")
    return name


def texts(value: object) -> tuple[str, ...]:
    """A list of strings."""
    return tuple(text(item) for item in sequence(value))


def sequence(value: object) -> Sequence[object]:
    """A list of anything."""
    if not isinstance(value, list | tuple):
        raise ValueError("must be a list")
    return value


def shown(value: object) -> str:
    """A value as a message shows it: short, on one line."""
    match value:
        case None:
            return "null"
        case dict():
            return "an object"
        case list() | tuple():
            return f"a list of {len(value)}"
        case OtherValue():
            return value.name
        case Milliseconds():
            return "a time"
        case bool():
            return "true" if value else "false"
        case int() if abs(value) >= 1 << 64:
            return "an integer of more than 64 bits"
        case float() if not math.isfinite(value):
            return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
        case str():
            return repr(value if len(value) <= 60 else value[:57] + "…")
        case bytes():
            return f"{len(value)} bytes"
        case Decimal() | uuid.UUID():
            return str(value)[:60]
    return repr(value)[:60]
