"""Rows of preference sets: what they become, and how their fields are taken."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from schemas.audit import Reason
from schemas.ids import content_hash
from schemas.post import TURN_BREAK, Post
from transforms.readers.base import UNKNOWN_LICENSE, SamePrompt
from transforms.readers.formats import values
from transforms.readers.formats.numbers import MAX_COUNT, number
from transforms.readers.preferences.conversations import SetRowError

T = TypeVar("T")
Row = Mapping[str, Any]
KIND: Final = "pairs"
LINK: Final = re.compile(r"https?://([^/\s:#?]+)(/\S*)?")


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
    tie: bool = False
    """The row says that neither is better; which of them is `better` means nothing."""


class AnswerList(NamedTuple):
    """A row with a prompt, and its responses with their votes or ratings; rows may share one."""

    prompt: Post
    responses: list[Post]
    bad: list[tuple[int, str | None, SetRowError]]
    """Responses that cannot be used: place from 0, id if it has one, what is wrong."""
    column: str = "answers"
    """Which holds the responses, for what is said of bad ones."""


def posts_fields(thread_id: str, site: str, license_id: str, markup: str) -> dict[str, Any]:
    """What all posts of a thread have in common."""
    return {
        "thread_id": thread_id,
        "source": KIND,
        "site": site,
        "markup": markup,
        "license": license_id,
    }


def prompt_post(row: Row, origin: Origin, turns: Sequence[str], native: str | None = None) -> Post:
    """The prompt of a row; without an id of its own it is named by its text."""
    site = site_of(row, origin)
    title, text = text_of(row, "title"), TURN_BREAK.join(turns)
    if native is None:
        native = content_hash(f"{title}\0{text}").hex()
    thread_id = f"{site}:{native}"
    license_id = text_of(row, "license") or origin.license_of(site)
    return Post(
        id=thread_id,
        url=text_of(row, "url"),
        title=title,
        text=text,
        created_at=0,
        score=0,
        **posts_fields(thread_id, site, license_id, "markdown"),
    )


def response_post(
    prompt: Post, text: str, *, native: str | None = None, worth: float = 0, is_rating: bool = True
) -> Post:
    """A response to a prompt; without an id of its own it is named by its text.

    ``worth``: what the set says that it is worth; `is_rating`, or else votes.
    """
    return Post(
        id=f"{prompt.id}#{native or content_hash(text).hex()}",
        url="",
        text=text,
        created_at=0,
        score=round(worth),
        rating=float(worth) if is_rating else None,
        **posts_fields(prompt.id, prompt.site, prompt.license, "markdown"),
    )


def links(row: Row) -> list[str]:
    """The links in the column ``metadata``."""
    found = row.get("metadata")
    return [link for link in found if isinstance(link, str)] if isinstance(found, list) else []


def site_of(row: Row, origin: Origin) -> str:
    """Site that a row names, that of its first link, or that of its file."""
    named = take(row, "site", _site_or_link, "") or next(iter(links(row)), "")
    return _site_or_link(named) if named else origin.site


def _site_or_link(value: object) -> str:
    named = values.text(value)
    link = LINK.match(named)
    return values.site(link[1].lower() if link else named)


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


def rating(value: object) -> float:
    """A number that may have a fraction, and whose whole part is a score."""
    found = number(value)
    if not -MAX_COUNT <= found <= MAX_COUNT:
        raise ValueError("must be a number of at most 62 bits")
    return found + 0.0  # no -0.0


def global_id(value: object) -> str:
    """'<site>:<id>', as this project writes ids."""
    name = values.text(value)
    host, colon, native = name.partition(":")
    if not (host and colon and native) or not name.isprintable():
        raise ValueError("must be an id such as 'forum.example.com:12'")
    return name
