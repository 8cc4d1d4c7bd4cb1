"""Numbers and ids in files: the one that was meant, in whatever form, or a refusal."""

import uuid
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.readers.formats.numbers import EXACT, MAX_COUNT, natural, number, whole
from transforms.readers.formats.times import Milliseconds
from transforms.readers.formats.values import OtherValue, flag, key, shown, text


@pytest.mark.parametrize("form", [7, 7.0, Decimal(7), Decimal("7.00"), "7.0", "7", " 7 ", "+7"])
def test_forms_of_one_integer(form: Any) -> None:
    assert whole(form) == natural(form) == number(form) == 7
    if form not in (" 7 ", "+7"):
        assert key(form) == "7"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1e3", 1000),
        (1e3, 1000),
        (-3.0, -3),
        (-0.0, 0),
        (Decimal("1E+3"), 1000),
        (MAX_COUNT, MAX_COUNT),
        (str(-MAX_COUNT), -MAX_COUNT),
        (Decimal(EXACT + 1), EXACT + 1),
        (str(EXACT + 1), EXACT + 1),
        (float(EXACT - 1), EXACT - 1),
    ],
)
def test_whole_numbers(value: Any, expected: int) -> None:
    found = whole(value)
    assert found == expected
    assert type(found) is int


@pytest.mark.parametrize(
    ("value", "told"),
    [
        *((value, "must be an integer") for value in (1.5, "1.5", Decimal("1.5"), True, None)),
        *((value, "must be an integer") for value in ("", "x", "1,000", "1_000", "0x7", "٧", "7a")),
        *((value, "must be an integer") for value in (float("nan"), float("inf"), "NaN", "inf")),
        *((value, "must be an integer") for value in (Decimal("NaN"), Decimal("-Infinity"), [])),
        *((value, "must be an integer") for value in (Milliseconds(5), b"7", "1e999", "--7")),
        *((value, "lost some") for value in (float(EXACT), 1e18, "1e18", "9007199254740992.0")),
        *((value, "62 bits") for value in (MAX_COUNT + 1, -MAX_COUNT - 1, 10**400, "9" * 40)),
        (Decimal(10**37), "62 bits"),
    ],
)
def test_what_is_no_integer(value: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        whole(value)


def test_natural_numbers_are_not_negative() -> None:
    for value in (-1, -1.0, "-1", Decimal(-1)):
        with pytest.raises(ValueError, match="0 or more"):
            natural(value)


@pytest.mark.parametrize("value", [True, None, "x", "", float("nan"), float("inf"), "1e999", []])
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(ValueError, match="number"):
        number(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (19.0, "19"),
        ("19.0", "19"),
        (Decimal("19"), "19"),
        (b"abc", "abc"),
        ("1.10", "1.10"),
        ("v7.0", "v7.0"),
        ("007", "007"),
        (-3, "-3"),
        (2**64 - 1, "18446744073709551615"),
        (Decimal(2**127), str(2**127)),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        ("12345678901234567.0", "12345678901234567.0"),  # perhaps another number
    ],
)
def test_ids(value: Any, expected: str) -> None:
    assert key(value) == expected


@pytest.mark.parametrize(
    ("value", "told"),
    [
        *((value, "text or an integer") for value in (1.5, True, None, [], Milliseconds(5))),
        *((value, "text or an integer") for value in (float("nan"), float("-inf"), Decimal("1.5"))),
        (OtherValue("a duration"), "text or an integer"),
        (1e18, "lost some"),
        (10**39, "39 digits"),
        (b"\xff", "not UTF-8"),
        ("", "must not be empty"),
    ],
)
def test_what_is_no_id(value: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        key(value)


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_an_id_is_one_whatever_a_table_made_of_it(value: int) -> None:
    forms = [value, float(value), str(value), f"{value}.0", Decimal(value), Decimal(f"{value}.00")]
    assert {key(form) for form in forms} == {str(value)}
    assert {whole(form) for form in forms} == {value}


@pytest.mark.parametrize("value", [True, 1, 1.0, Decimal(1), "true", "True", " TRUE "])
def test_truth(value: Any) -> None:
    assert flag(value) is True


@pytest.mark.parametrize("value", [2, "1", "yes", 0.5, None, float("nan"), Milliseconds(1), []])
def test_what_is_no_truth_value(value: Any) -> None:
    with pytest.raises(ValueError, match="true or false"):
        flag(value)


def test_bytes_are_text_if_they_are() -> None:
    assert text("Zürich".encode()) == "Zürich"
    for value in (b"\xff", OtherValue("a duration"), uuid.UUID(int=1), 7):
        with pytest.raises(ValueError, match="must be text"):
            text(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        (1 << 70, "an integer of more than 64 bits"),
        ("x" * 90, repr("x" * 57 + "…")),
        (b"\xff\xfe", "2 bytes"),
        (Decimal("1.50"), "1.50"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (OtherValue("a duration"), "a duration"),
        (Milliseconds(5), "a time"),
        (True, "true"),
        ({"a": 1}, "an object"),
        ([1, 2], "a list of 2"),
    ],
)
def test_how_a_message_shows_a_value(value: Any, expected: str) -> None:
    assert shown(value) == expected
