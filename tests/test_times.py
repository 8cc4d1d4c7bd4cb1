"""Times in files: one moment however it is written, and nothing else taken for one."""

import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.readers.formats.times import END_MS, UNITS, Milliseconds, time_ms

MOMENT = 1_717_180_200_000  # 2024-05-31 18:30 UTC


@pytest.mark.parametrize(
    "value",
    [
        "2024-05-31T18:30:00Z",
        "2024-05-31t18:30:00z",
        " 2024-05-31T18:30:00 ",
        "2024-05-31 18:30",
        "2024-05-31 18:30:00.000000000",
        "2024-05-31T18:30:00,0Z",
        "2024-05-31 20:30:00+02",
        "2024-05-31T20:30:00+0200",
        "2024-05-31T20:30:00 +02:00",
        "2024-05-31T13:00:00-05:30",
        "2024-05-31 18:30:00 UTC",
        "2024-05-31 18:30:00 GMT",
        "2024-05-31 18:30:00 +0000 UTC",
        "20240531T183000Z",
        "2024/05/31 18:30:00",
        "2024-W22-5T18:30:00",
        MOMENT // 1000,
        MOMENT,
        MOMENT * 1000,
        MOMENT * 10**6,
        MOMENT * 10**6 + 999_999,
        MOMENT / 1000,
        float(MOMENT),
        float(MOMENT) * 1000,
        float(MOMENT) * 10**6,
        "1717180200",
        "1717180200.0",
        "1.7171802e9",
        "1717180200000",
        "1717180200000000",
        Decimal(MOMENT),
        Decimal("1717180200.0"),
        Milliseconds(MOMENT),
    ],
)
def test_forms_of_one_moment(value: Any) -> None:
    assert time_ms(value) == MOMENT


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        ("2024-05-31T18:30:00.1", MOMENT + 100),
        ("2024-05-31T18:30:00.1239", MOMENT + 123),
        ("2024-05-31T18:30:00.123456789Z", MOMENT + 123),
        (1_717_180_200.123, MOMENT + 123),
        ("1717180200.1239", MOMENT + 123),
        (1_717_180_200_123.7, MOMENT + 123),
        (MOMENT * 1000 + 123_999, MOMENT + 123),
        ("2024-05-31", MOMENT - 66_600_000),
        ("20240531", MOMENT - 66_600_000),
        ("2024-05-30T24:00:00", MOMENT - 66_600_000),
        ("2024-05-30T23:59:60Z", MOMENT - 66_600_000),
        (0, 0),
        (0.29, 290),
        ("0", 0),
    ],
)
def test_fractions_and_whole_days(value: Any, ms: int) -> None:
    assert time_ms(value) == ms


@pytest.mark.parametrize(
    ("value", "told"),
    [
        *((value, "ISO 8601") for value in (True, False, None, "", [], {}, b"2024-05-31")),
        *((value, "ISO 8601") for value in (float("nan"), float("inf"), Decimal("NaN"))),
        *((text, "ISO 8601") for text in ("31.5.2024", "05/31/2024", "2024-13-01", "2024-02-30")),
        *((text, "ISO 8601") for text in ("2024-05-31T25:00", "2024-05-31T24:01", "12:00")),
        *((text, "ISO 8601") for text in ("2024-05-31T18:30+25", "Fri, 31 May 2024", "1_717")),
        *((text, "ISO 8601") for text in ("٢٠٢٤-05-31", "2024-05-31T18:30:00Z!", "NaN", "inf")),
        *((value, "1970 to 2199") for value in (-1, -0.5, "-1", "1969-12-31T23:59:59", 10**400)),
        *((value, "1970 to 2199") for value in ("2200-01-01", "0001-01-01", Milliseconds(-1))),
        *((value, "1970 to 2199") for value in (Milliseconds(END_MS), 1e308, "1e99")),
        *((value, "a year") for value in (1970, 2024, 2199, 2024.0, "2024")),
        *((value, "without hyphens") for value in (20240531, 19700101, 21991231.0)),
        *((value, "is not in seconds, milli") for value in (END_MS // 1000, 10**11 - 1)),
        *((value, "is not in seconds, milli") for value in (END_MS, 10**14 - 1, 10**17 - 1)),
        *((value, "is not in seconds, milli") for value in (END_MS * 1000, END_MS * 10**6)),
    ],
)
def test_what_is_no_time(value: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        time_ms(value)


def test_the_ranges_of_units_leave_no_doubt() -> None:
    assert all(above.low >= below.end for below, above in pairwise(UNITS))
    for unit in UNITS[1:]:
        assert time_ms(unit.low) == 10**11
        assert time_ms(unit.end - 1) == END_MS - 1
    assert time_ms(UNITS[0].end - 1) == END_MS - 1000
    assert time_ms(20249999) == 20249999_000  # no date


@given(
    st.datetimes(datetime.datetime(1973, 3, 4), datetime.datetime(2199, 12, 30)),
    st.sampled_from(["T", " "]),
    st.timedeltas(datetime.timedelta(hours=-23), datetime.timedelta(hours=23)),
)
def test_a_moment_is_the_same_in_all_units(
    moment: datetime.datetime, separator: str, offset: datetime.timedelta
) -> None:
    moment = moment.replace(tzinfo=datetime.UTC)
    since = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    us = since // datetime.timedelta(microseconds=1)
    zone = datetime.timezone(datetime.timedelta(minutes=offset // datetime.timedelta(minutes=1)))
    forms = [
        us,
        us * 1000 + 999,
        us // 1000,
        str(us),
        f"{us // 10**6}.{us % 10**6:06}",
        moment.isoformat(separator),
        moment.replace(tzinfo=None).isoformat(separator),
        moment.astimezone(zone).isoformat(separator),
    ]
    assert {time_ms(form) for form in forms} == {us // 1000}
    assert time_ms(us // 10**6) == us // 10**6 * 1000


@given(st.text(max_size=30) | st.from_regex(r"[0-9]{4}-?[0-9W]{2,4}[T0-9:.,+ Z-]{0,20}"))
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    try:
        found = time_ms(text)
    except ValueError:
        return
    assert 0 <= found < END_MS
