"""Values of rows that people wrote, checked and normalised: one function per kind of value.

Each takes what JSON or Parquet gave, never None, and returns the value a Post holds. What cannot
be used raises ValueError, whose text says what would have been right.
"""

import datetime
import functools
import re
from collections.abc import Sequence
from typing import Final

MAX_COUNT: Final = 1 << 62
"""Differences of two of these fit into 64 bits."""
MAX_ID_CHARS: Final = 200

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MILLISECOND = datetime.timedelta(milliseconds=1)
_LATEST_MS = (datetime.datetime(2200, 1, 1, tzinfo=datetime.UTC) - _EPOCH) // _MILLISECOND
_LICENSE = re.compile(r"\(*[A-Za-z0-9.+:-]+\)*(?: (?:AND|OR|WITH) \(*[A-Za-z0-9.+:-]+\)*)*")
_SITE = re.compile(r"[^\s:#\\/]+(?:/[^\s:#\\]+)?")
_NO_LICENSE = ("none", "unknown", "null", "n/a", "na", "all rights reserved", "proprietary")


class Milliseconds(int):
    """A time that came with its unit, as Parquet timestamps do: ms since 1970-01-01 UTC."""


def text(value: object) -> str:
    """A string that can be written as UTF-8."""
    if not isinstance(value, str):
        raise ValueError("must be text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("holds half of a surrogate pair, which is not a character") from None
    return value


def key(value: object) -> str:
    """An id: text, or an integer as text."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 64:
        return str(value)
    if not isinstance(value, str):
        raise ValueError("must be text or an integer")
    if not value or value != value.strip():
        raise ValueError("must not be empty, nor begin or end with a space")
    if len(value) > MAX_ID_CHARS or not value.isprintable() or "#" in value:
        raise ValueError(f"must be at most {MAX_ID_CHARS} visible characters, without '#'")
    return text(value)


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
    """A truth value; 0 and 1 too, as databases export them."""
    if value in (0, 1) and isinstance(value, int):
        return bool(value)
    raise ValueError("must be true or false")


def whole(value: object) -> int:
    """An integer; 3.0 too, as tables with empty cells export it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > MAX_COUNT:
        raise ValueError("must be an integer of at most 62 bits")
    return value


def natural(value: object) -> int:
    """An integer, 0 or more."""
    number = whole(value)
    if number < 0:
        raise ValueError("must be 0 or more")
    return number


def time_ms(value: object) -> int:
    """A point in time of the years 1970 to 2199, as ms since 1970-01-01 UTC.

    Text is ISO 8601, UTC unless it has an offset; a number is in seconds.
    """
    if isinstance(value, Milliseconds):
        at: int = value
    elif isinstance(value, str):
        at = _iso_ms(value)
    elif isinstance(value, int | float) and not isinstance(value, bool) and value == value:
        at = round(value * 1000) if -_LATEST_MS < value < _LATEST_MS else _LATEST_MS
        if at >= _LATEST_MS > value >= 0:
            raise ValueError("must be in seconds since 1970; this looks like milliseconds")
    else:
        raise ValueError("must be ISO 8601 text, or a number of seconds since 1970")
    if not 0 <= at < _LATEST_MS:
        raise ValueError("must be in the years 1970 to 2199")
    return int(at)


@functools.lru_cache(1 << 14)  # dated votes repeat few days many times
def _iso_ms(value: str) -> int:
    try:
        moment = datetime.datetime.fromisoformat(value.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        return (moment - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError):
        raise ValueError(
            "must be ISO 8601 such as '2024-05-31T18:30:00Z' or '2024-05-31', or a number of "
            "seconds without quotes"
        ) from None


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
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return "an integer of more than 64 bits"
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + "…")
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)[:60]
