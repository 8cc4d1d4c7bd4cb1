"""Rows of preference sets: what they become, and how their fields are taken."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from schemas.audit import Reason
from schemas.post import Post
from transforms.readers.base import UNKNOWN_LICENSE, SamePrompt
from transforms.readers.formats import values
from transforms.readers.formats.numbers import MAX_COUNT, number
from transforms.readers.preferences.conversations import SetRowError

T = TypeVar("T")
Row = Mapping[str, Any]
KIND: Final = "pairs"


class Origin(NamedTuple):
    """What is known of rows from elsewhere than the row."""

    site: str
    """Site of rows that name none."""
    licenses: Mapping[str, str]
    """Licence by site; '' is that of all others."""

    def license_of(self, site: str) -> str:
        return self.licenses.get(site) or self.licenses.get("") or UNKNOWN_LICENSE


class StatedPair(NamedTuple):
    """A row that says which of two responses is better."""

    prompt: Post
    better: Post
    worse: Post
    same_prompt: SamePrompt | None = None


class AnswerList(NamedTuple):
    """A row with a prompt and all its scored responses."""

    prompt: Post
    responses: list[Post]
    bad: list[tuple[int, str | None, SetRowError]]
    """Responses that cannot be used: place from 0, id if it has one, what is wrong."""


def posts_fields(thread_id: str, site: str, license_id: str, markup: str) -> dict[str, Any]:
    """What all posts of a thread have in common."""
    return {
        "thread_id": thread_id,
        "source": KIND,
        "site": site,
        "markup": markup,
        "license": license_id,
    }


def stated(prompt: Post, better: Post, worse: Post) -> StatedPair:
    """Return the pair; ValueError when both responses are one."""
    if better.id == worse.id:
        raise ValueError(f"both responses have the id {better.id!r}")
    return StatedPair(prompt, better, worse)


def need(row: Row, name: str, convert: Callable[[object], T]) -> T:
    """Return a converted field; SetRowError when there is none, ValueError when it is wrong."""
    value = row.get(name)
    if value is None:
        raise SetRowError(Reason.MISSING_FIELD, f"{name} is missing, and is needed")
    try:
        return convert(value)
    except ValueError as error:
        raise ValueError(f"{name}: {values.shown(value)}: {error}") from None


def take(row: Row, name: str, convert: Callable[[object], T], default: T) -> T:
    """Return a converted field; the default when it is absent, null or an empty text.

    ValueError when it is wrong.
    """
    value = row.get(name)
    return default if value is None or value == "" else need(row, name, convert)


def text_of(row: Row, name: str) -> str:
    """Return a text without spaces around it, '' when there is none; ValueError when wrong."""
    return take(row, name, values.text, "").strip()


def score(row: Row, name: str) -> int:
    """A score that may have a fraction, rounded: the order of a stated pair is stated."""
    return take(row, name, _rounded, 0)


def _rounded(value: object) -> int:
    found = number(value)
    if not -MAX_COUNT <= found <= MAX_COUNT:
        raise ValueError("must be a number of at most 62 bits")
    return round(found)


def global_id(value: object) -> str:
    """'<site>:<id>', as this project writes ids."""
    name = values.text(value)
    host, colon, native = name.partition(":")
    if not (host and colon and native) or not name.isprintable():
        raise ValueError("must be an id such as 'forum.example.com:12'")
    return name
