"""Numbers as files have them: the one parser for all readers.

A whole number that passed through a table with empty cells is a `7.0`, one that passed through a
spreadsheet a text, and one out of a database a decimal. Each is the number that it was.
"""

import math
import re
from decimal import Decimal
from typing import Final

MAX_COUNT: Final = 1 << 62
"""Differences of two of these fit into 64 bits."""
EXACT: Final = 1 << 53
"""Floating-point numbers below have no fraction that was lost, and no digit."""

_INTEGER: Final = re.compile(r"[+-]?\d{1,40}", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?\d{1,40}(?:\.\d{0,40})?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_WHOLE: Final = "must be an integer"
_LOST: Final = (
    "must be an integer that has all its digits: as a floating-point number, one of 2^53 or more "
    "has lost some; export it as an integer or as text"
)


class LostDigitsError(ValueError):
    """A floating-point number that is too large to be surely the integer that was meant."""


def integer(value: object) -> int:
    """Return a whole number of any size: an integer, 7.0, a decimal, or one of these as text.

    Raises ValueError for a fraction, for what is no number, and for a floating-point number of
    2^53 or more, which may be another one than was meant.
    """
    if isinstance(value, str):
        text = value.strip()
        if _INTEGER.fullmatch(text):
            return int(text)
        if not _NUMBER.fullmatch(text):
            raise ValueError(_WHOLE)
        value = float(text)  # so it was when it was written
    if type(value) is int:
        return value
    # By the exact type: neither a truth value nor a time is meant as a number.
    if type(value) is not float and type(value) is not Decimal:
        raise ValueError(_WHOLE)
    if not math.isfinite(value) or value != math.floor(value):
        raise ValueError(_WHOLE)
    if isinstance(value, float) and abs(value) >= EXACT:
        raise LostDigitsError(_LOST)
    return int(value)


def whole(value: object) -> int:
    """Return a whole number, as `integer` does, of at most 62 bits."""
    found = integer(value)
    if abs(found) > MAX_COUNT:
        raise ValueError("must be an integer of at most 62 bits")
    return found


def natural(value: object) -> int:
    """Return a whole number of at most 62 bits, 0 or more."""
    found = whole(value)
    if found < 0:
        raise ValueError("must be 0 or more")
    return found


def number(value: object) -> float:
    """Return a number, perhaps with a fraction, or one as text; ValueError if it is none."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if type(value) is int:
        return value
    if type(value) is not float and type(value) is not Decimal:
        raise ValueError("must be a number")
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return float(value)
