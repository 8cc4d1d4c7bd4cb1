"""Rows of StackExchange tables as plain values: one function per table, no Beam.

Field names and codes: "Database schema documentation for the public data dump",
meta.stackexchange.com/q/2677. An absent attribute is NULL.
"""

import datetime
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.audit import Reason, Rejected, Stage
from schemas.post import DAY_MS, ClosedAs, Post
from transforms.readers.formats.times import time_ms

SOURCE: Final = "stackexchange"

MAX_ID: Final = (1 << 39) - 1
MAX_SCORE: Final = (1 << 31) - 1
_EARLIEST_MS = int(datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC).timestamp()) * 1000
_LATEST_MS = int(datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC).timestamp()) * 1000

_QUESTION, _ANSWER = 1, 2
_OTHER_POST_TYPES = {
    3: "orphaned tag wiki",
    4: "tag wiki excerpt",
    5: "tag wiki",
    6: "moderator nomination",
    7: "wiki placeholder",
    8: "privilege wiki",
}

_CC_BY_SA_3_MS = int(datetime.datetime(2011, 4, 8, tzinfo=datetime.UTC).timestamp()) * 1000
_CC_BY_SA_4_MS = int(datetime.datetime(2018, 5, 2, tzinfo=datetime.UTC).timestamp()) * 1000


class EventKind:
    """Kinds of dated events on a post, as small ints for packing."""

    UPVOTE: Final = 1
    DOWNVOTE: Final = 2
    ACCEPTANCE: Final = 3
    FLAG: Final = 4
    CLOSING: Final = 16
    """CLOSING + i: closed as CLOSED_AS[i]."""


CLOSED_AS: Final = tuple(ClosedAs)

_VOTE_KINDS = {
    "1": EventKind.ACCEPTANCE,
    "2": EventKind.UPVOTE,
    "3": EventKind.DOWNVOTE,
    "4": EventKind.FLAG,  # offensive
    "12": EventKind.FLAG,  # spam
}
_PLAIN_VOTE_KINDS = {code.encode(): kind for code, kind in _VOTE_KINDS.items()}
_CLOSING_HISTORY_TYPE = "10"
_DUPLICATE_LINK_TYPE = 3
_CLOSE_REASONS = {
    "1": ClosedAs.DUPLICATE,  # until 2013
    "2": ClosedAs.OFF_TOPIC,
    "3": ClosedAs.OPINION,  # "not constructive"
    "4": ClosedAs.UNCLEAR,  # "not a real question"
    "7": ClosedAs.TOO_LOCALIZED,
    "10": ClosedAs.UNKNOWN,  # "general reference"
    "20": ClosedAs.SPAM,  # "noise or pointless"
    "101": ClosedAs.DUPLICATE,  # since 2013
    "102": ClosedAs.OFF_TOPIC,
    "103": ClosedAs.UNCLEAR,
    "104": ClosedAs.TOO_BROAD,
    "105": ClosedAs.OPINION,
}


class Event(NamedTuple):
    """Something dated that happened to a post."""

    post_id: int
    kind: int
    at_ms: int


class RowError(Exception):
    """A row that cannot be used, and why."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def place(site: str, table: str, offset: int) -> str:
    """Name a row that has no id of its own."""
    return f"{site}/{table}.xml@{offset}"


def parse_post(
    attributes: Mapping[str, str], site: str, has_votes: bool, offset: int = 0
) -> Post | Rejected:
    """Turn a row of Posts.xml into a Post, or say why it is none.

    ``has_votes``: the site's Votes.xml is read too, so the post gets empty vote days (filled
    at assembly) instead of None. ``offset`` names a row without a usable id. An optional
    attribute with a bad value counts as absent. The text stays the HTML of the dump and may
    be empty.
    """
    try:
        return _parse_post(attributes, site, has_votes)
    except RowError as problem:
        try:
            row_id = f"{site}:{_integer(attributes, 'Id')}"
        except RowError:
            row_id = place(site, "Posts", offset)
        return Rejected(id=row_id, stage=Stage.READ, reason=problem.reason, detail=problem.detail)


def _parse_post(attributes: Mapping[str, str], site: str, has_votes: bool) -> Post:
    number = _integer(attributes, "Id")
    post_type = _integer(attributes, "PostTypeId")
    if post_type not in (_QUESTION, _ANSWER):
        name = _OTHER_POST_TYPES.get(post_type, "not known")
        raise RowError(Reason.NOT_A_QUESTION_OR_ANSWER, f"PostTypeId {post_type} ({name})")
    question = post_type == _QUESTION
    thread = number if question else _integer(attributes, "ParentId")
    if thread == number and not question:
        raise RowError(Reason.BAD_VALUE, f"answer {number} is its own parent")
    created_at = _time(attributes, "CreationDate")
    edited_at = _optional(_time, attributes, "LastEditDate")
    owner = parse_owner(attributes)
    accepted = _optional(_integer, attributes, "AcceptedAnswerId") if question else None
    closed = question and _optional(_time, attributes, "ClosedDate") is not None
    votes = () if has_votes else None
    return Post(
        id=f"{site}:{number}",
        thread_id=f"{site}:{thread}",
        source=SOURCE,
        site=site,
        url=f"https://{site}/questions/{number}" if question else f"https://{site}/a/{number}",
        title=attributes.get("Title", "").strip() if question else "",
        text=attributes.get("Body", ""),
        tags=split_tags(attributes.get("Tags", "")) if question else (),
        created_at=created_at,
        edited_at=edited_at,
        score=_integer(attributes, "Score", -MAX_SCORE, MAX_SCORE),
        up_days=votes,
        down_days=votes,
        # Ids below 1 are the site itself ("Community"), which owns posts of nobody: two of
        # them are not by the same author.
        author_id=f"{site}:u{owner}" if owner is not None and owner > 0 else None,
        author=attributes.get("OwnerDisplayName", "").strip(),
        author_url=f"https://{site}/users/{owner}" if owner is not None else None,
        license=spdx_license(attributes.get("ContentLicense", ""), edited_at or created_at),
        closed_as=ClosedAs.UNKNOWN if closed else None,
        accepted_response_id=f"{site}:{accepted}" if accepted is not None else None,
    )


def parse_owner(attributes: Mapping[str, str]) -> int | None:
    """Return the user id of a post's author, below 1 for the site itself, or None."""
    return _optional(_owner_id, attributes, "OwnerUserId")


def parse_vote(attributes: Mapping[str, str]) -> Event | None:
    """Turn a row of Votes.xml into an Event; None for votes that say nothing of quality.

    Raises RowError.
    """
    kind = _VOTE_KINDS.get(_required(attributes, "VoteTypeId"))
    if kind is None:
        _integer(attributes, "VoteTypeId")
        return None
    return Event(_integer(attributes, "PostId"), kind, _day(attributes) * DAY_MS)


_DAY = (
    r"20\d\d-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])"
    r"|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
)
"""A day that there is in every year: not the 29th of February."""

PLAIN_VOTE: Final = re.compile(
    rb'(<row Id="\d{1,18}" PostId="([1-9]\d{0,10})" VoteTypeId="([1-9]\d?)"'
    rb'(?: UserId="-?\d{1,18}")? CreationDate="(' + _DAY.encode() + rb')T00:00:00\.000"'
    rb'(?: BountyAmount="\d{1,18}")? />[ \t\r\n]*(?:</votes>[ \t\r\n]*)?)'
)
"""A row of Votes.xml as Stack Exchange writes it, with nothing in it to reject. Groups: all of it,
and what :func:`plain_votes` takes: post, type and day."""


def plain_votes(
    posts: Sequence[bytes], types: Sequence[bytes], days: Sequence[bytes]
) -> npt.NDArray[np.int64]:
    """Return (post id, EventKind or 0, ms since epoch) [3, n] of rows that `PLAIN_VOTE` matches.

    The same as :func:`parse_vote` makes of each row; the kind is 0 where that gives None.
    """
    kinds = [_PLAIN_VOTE_KINDS.get(code, 0) for code in types]
    return np.array([list(map(int, posts)), kinds, list(map(_plain_day_ms, days))], np.int64)


def parse_closing(attributes: Mapping[str, str]) -> Event | None:
    """Turn a row of PostHistory.xml into a closing Event; None for any other history.

    The reason's number is in ``Comment``, in dumps before 2013 in ``CloseReasonId``. Raises
    RowError.
    """
    if _required(attributes, "PostHistoryTypeId") != _CLOSING_HISTORY_TYPE:
        return None
    code = attributes.get("Comment") or attributes.get("CloseReasonId") or ""
    reason = _CLOSE_REASONS.get(code.strip(), ClosedAs.UNKNOWN)
    kind = EventKind.CLOSING + CLOSED_AS.index(reason)
    return Event(_integer(attributes, "PostId"), kind, _time(attributes, "CreationDate"))


def parse_duplicate(attributes: Mapping[str, str]) -> tuple[int, int] | None:
    """Return (duplicate, original) question ids of a row of PostLinks.xml, or None.

    Raises RowError.
    """
    if _integer(attributes, "LinkTypeId") != _DUPLICATE_LINK_TYPE:
        return None
    return _integer(attributes, "PostId"), _integer(attributes, "RelatedPostId")


def parse_user(attributes: Mapping[str, str]) -> tuple[int, str]:
    """Return (id, display name or '') of a row of Users.xml. Raises RowError."""
    return _integer(attributes, "Id", -MAX_ID), attributes.get("DisplayName", "").strip()


def split_tags(tags: str) -> tuple[str, ...]:
    """Split ``<a><b>`` (dumps until 2023) or ``|a|b|`` (since 2024) into tags."""
    separators = "<>" if tags.startswith("<") else "|"
    for separator in separators:
        tags = tags.replace(separator, " ")
    return tuple(tags.split())


def spdx_license(content_license: str, changed_at: int) -> str:
    """Return the SPDX id of a post's licence.

    ``content_license`` is the dump's value ("CC BY-SA 4.0"). Dumps before 2019 have none;
    then the date of the last change (ms since epoch, UTC) decides, as Stack Exchange defines
    it: meta.stackexchange.com/q/347758.
    """
    if content_license.strip():
        return "-".join(content_license.split())
    if changed_at < _CC_BY_SA_3_MS:
        return "CC-BY-SA-2.5"
    return "CC-BY-SA-3.0" if changed_at < _CC_BY_SA_4_MS else "CC-BY-SA-4.0"


def _required(attributes: Mapping[str, str], name: str) -> str:
    value = attributes.get(name)
    if value is None:
        raise RowError(Reason.MISSING_FIELD, name)
    return value


def _integer(attributes: Mapping[str, str], name: str, low: int = 1, high: int = MAX_ID) -> int:
    text = _required(attributes, name)
    try:
        value = int(text)
    except ValueError:
        raise _bad_value(name, text) from None
    # int() also takes "1_0", "+1", " 1" and other digits than ASCII's.
    if not low <= value <= high or str(value) != text:
        raise _bad_value(name, text)
    return value


def _owner_id(attributes: Mapping[str, str], name: str) -> int:
    return _integer(attributes, name, -MAX_ID)


def _optional(
    parse: Callable[[Mapping[str, str], str], int], attributes: Mapping[str, str], name: str
) -> int | None:
    if name not in attributes:
        return None
    try:
        return parse(attributes, name)
    except RowError:
        return None


def _time(attributes: Mapping[str, str], name: str) -> int:
    text = _required(attributes, name)
    try:
        return timestamp_ms(text)
    except ValueError:
        raise _bad_value(name, text) from None


def _day(attributes: Mapping[str, str]) -> int:
    text = _required(attributes, "CreationDate")
    try:
        return _day_number(text)
    except ValueError:
        raise _bad_value("CreationDate", text) from None


def timestamp_ms(text: str) -> int:
    """Return ms since epoch of an ISO 8601 time, UTC unless it says otherwise.

    Raises ValueError, also for times outside the years 2000 to 2099.
    """
    value = time_ms(text)
    if not _EARLIEST_MS <= value < _LATEST_MS:
        raise ValueError(text)
    return value


@functools.lru_cache(maxsize=1 << 14)
def _day_number(text: str) -> int:
    return timestamp_ms(text) // DAY_MS


@functools.lru_cache(maxsize=1 << 14)
def _plain_day_ms(day: bytes) -> int:
    return timestamp_ms(day.decode() + "T00:00:00.000")


def _bad_value(name: str, text: str) -> RowError:
    return RowError(Reason.BAD_VALUE, f"{name}={text[:80]!r}")
