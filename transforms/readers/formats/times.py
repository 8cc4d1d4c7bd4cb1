"""Points in time as files have them: the one parser for all readers.

Text is ISO 8601; a number counts seconds, or thousandths, millionths or billionths of one, since
1970, and how large it is says which.
"""

import datetime
import functools
import math
import re
from decimal import Decimal
from typing import Final, NamedTuple

from schemas.post import DAY_MS

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_EPOCH_DAY: Final = _EPOCH.toordinal()
_MILLISECOND: Final = datetime.timedelta(milliseconds=1)
END_MS: Final = (datetime.date(2200, 1, 1).toordinal() - _EPOCH_DAY) * DAY_MS
"""First ms that is no time: the years are 1970 to 2199."""


class Unit(NamedTuple):
    """A unit that times are counted in."""

    name: str
    low: int
    """Smallest number that is taken for one in this unit; that of the unit before is below it."""
    end: int
    """First number that is not: the year 2200."""
    per_ms: int
    """Of the unit in a millisecond; 0 for the second, of which there is less than one."""


UNITS: Final = (
    Unit("seconds", 0, END_MS // 1000, 0),
    Unit("milliseconds", 10**11, END_MS, 1),
    Unit("microseconds", 10**14, END_MS * 1000, 1000),
    Unit("nanoseconds", 10**17, END_MS * 10**6, 10**6),
)
"""From 1973-03-03 on for all but seconds. What is between two ranges is refused."""

WANTED: Final = (
    "must be ISO 8601 such as '2024-05-31T18:30:00Z' or '2024-05-31', or seconds, milliseconds, "
    "microseconds or nanoseconds since 1970"
)
_YEARS: Final = "must be in the years 1970 to 2199"

_ISO: Final = re.compile(
    r"(?:(?P<date>\d{4}-\d\d-\d\d|\d{4}/\d\d/\d\d|\d{8})|(?P<week>\d{4}-?W\d\d(?:-?\d)?))"
    r"(?:(?:[Tt]|[ ]+)(?P<hour>\d\d)(?::?(?P<minute>\d\d)(?::?(?P<second>\d\d)"
    r"(?:[.,](?P<fraction>\d{1,18}))?)?)?"
    r"[ ]*(?:[Zz]|UTC|GMT|(?P<sign>[+-])(?P<zone>\d\d(?::?\d\d){0,2})(?:[ ]UTC)?)?)?",
    re.ASCII,
)
_COMMON: Final = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d:\d\d(?:\.\d{3}(?:\d{3})?)?(?:Z|[+-]\d\d:\d\d)?)?", re.ASCII
)
"""What nearly all files have, and what Python reads the same in every version."""
_NUMBER: Final = re.compile(r"[+-]?\d{1,30}(?:\.\d{0,30})?(?:[eE][+-]?\d{1,2})?", re.ASCII)
_FIRST_DATE: Final = 1970_01_01
_LAST_DATE: Final = 2199_12_31


class Milliseconds(int):
    """A time that came with its unit, as Parquet timestamps do: ms since 1970-01-01 UTC."""


def time_ms(value: object) -> int:
    """Return a point in time of the years 1970 to 2199, as ms since 1970-01-01 UTC.

    Text is ISO 8601, UTC unless it has an offset, with `T` or a space before the time of day; or a
    number as text. Numbers, with or without a fraction, are told apart by their size, which
    leaves no doubt from 1973-03-03 on: below 7,258,118,400 they are seconds, from 10^11
    milliseconds, from 10^14 microseconds, from 10^17 nanoseconds, each up to the year 2199. What
    lies between is refused, and so are whole numbers that are a year (1970 to 2199) or a date
    (19700101 to 21991231) and would be a moment of 1970. What is below a millisecond is cut off.
    Raises ValueError, whose text says what would have been right.
    """
    if isinstance(value, str):
        return _text_ms(value)
    if isinstance(value, Milliseconds):
        return _checked(int(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return _number_ms(value)
    if isinstance(value, float | Decimal) and math.isfinite(value):
        return _number_ms(int(value) if value == int(value) else value)
    raise ValueError(WANTED)


def count_ms(value: float | Decimal) -> int:
    """Return a time that is a number since 1970, in a unit that its size tells, as ms.

    As `time_ms` has it, but any number of seconds is one. Raises ValueError.
    """
    if not value >= 0:  # nor NaN
        raise ValueError(_YEARS)
    for unit in UNITS:
        if unit.low <= value < unit.end:
            if unit.per_ms:
                return int(value) // unit.per_ms
            # By way of the microsecond: 0.29 * 1000 is a little less than 290.
            return round(value * 1_000_000) // 1000
    raise ValueError(
        "must be in the years 1970 to 2199, and is not in seconds, milliseconds, microseconds or "
        "nanoseconds since 1970"
    )


def _checked(at: int) -> int:
    if not 0 <= at < END_MS:
        raise ValueError(_YEARS)
    return at


def _number_ms(value: float | Decimal) -> int:
    if isinstance(value, int):
        if 1970 <= value <= 2199:
            raise ValueError("must be a time, and looks like a year")
        if _FIRST_DATE <= value <= _LAST_DATE and _is_date(value):
            raise ValueError("looks like a date without hyphens: write it as text, '2024-05-31'")
    return count_ms(value)


def _is_date(value: int) -> bool:
    try:
        datetime.date(value // 10_000, value // 100 % 100, value % 100)
    except ValueError:
        return False
    return True


@functools.lru_cache(1 << 14)  # dated votes repeat few days many times
def _text_ms(text: str) -> int:
    text = text.strip()
    if _COMMON.fullmatch(text):
        try:
            moment = datetime.datetime.fromisoformat(text)
        except ValueError:
            pass  # perhaps 24:00:00
        else:
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=datetime.UTC)
            return _checked((moment - _EPOCH) // _MILLISECOND)
    found = _ISO.fullmatch(text)
    if found is not None:
        return _checked(_iso_ms(found))
    if _NUMBER.fullmatch(text):
        number = Decimal(text)
        return _number_ms(int(number) if number == int(number) else number)
    raise ValueError(WANTED)


def _iso_ms(found: re.Match[str]) -> int:
    try:
        day = _day_of(found["date"], found["week"])
    except ValueError:
        raise ValueError(WANTED) from None
    hour, minute, second = (int(found[name] or 0) for name in ("hour", "minute", "second"))
    ms = int((found["fraction"] or "0").ljust(3, "0")[:3])
    # As ISO 8601 has them: 24:00 is the end of the day, and the second 60 is inserted.
    if hour > 24 or minute > 59 or second > 60 or (hour == 24 and minute + second + ms):
        raise ValueError(WANTED)
    offset = 0
    if found["zone"]:
        digits = found["zone"].replace(":", "").ljust(6, "0")
        hours, minutes, seconds = int(digits[:2]), int(digits[2:4]), int(digits[4:])
        if hours > 23 or minutes > 59 or seconds > 59:
            raise ValueError(WANTED)
        offset = (hours * 3600 + minutes * 60 + seconds) * (1 if found["sign"] == "+" else -1)
    return day * DAY_MS + (hour * 3600 + minute * 60 + second - offset) * 1000 + ms


def _day_of(date: str | None, week: str | None) -> int:
    """Days since 1970-01-01; raises ValueError."""
    if date is not None:
        digits = date.replace("-", "").replace("/", "")
        moment = datetime.date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    else:
        digits = (week or "").replace("-", "").replace("W", "")
        moment = datetime.date.fromisocalendar(
            int(digits[:4]), int(digits[4:6]), int(digits[6:] or 1)
        )
    return moment.toordinal() - _EPOCH_DAY
