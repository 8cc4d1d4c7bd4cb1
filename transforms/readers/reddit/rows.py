"""Comments and submissions of Reddit dumps, as they were written in each year since 2005.

Sources: the monthly schemas at https://github.com/ArthurHeitmann/arctic_shift (``schemas``) and
its ``file_content_explanations.md``.
"""

import functools
import re
from typing import Any, Final
from urllib.parse import quote

import msgspec

from schemas.audit import Reason
from schemas.post import RemovedAs
from transforms.readers.formats.numbers import number, whole
from transforms.readers.formats.times import count_ms, time_ms

HOST = "reddit.com"
SITE_URL = "https://www.reddit.com"

Number = int | float | str | None
"""Times were numbers until 2007, strings until 2015 (and in some months both), then numbers."""


Id = int | float | str | None
"""Ids of other records are text to base 36, and numbers to base 10 in answers of Pushshift's API;
floats where a table had empty cells."""

ABSENT = msgspec.Raw()


class Meta(msgspec.Struct, gc=False):
    """What Arctic Shift adds from 2023-11 on, when it fetched everything again after 36 hours."""

    is_edited: bool | None = None
    note: str | None = None
    removal_type: str | None = None
    retrieved_2nd_on: Number = None
    was_deleted_later: bool | None = None
    was_initially_deleted: bool | None = None


class Record(msgspec.Struct, gc=False):
    """One line of a dump: the fields that are used, of comments and submissions alike.

    In the order of the alphabet, as in newer dumps: fields are found fastest in their order.
    """

    meta: Meta | None = msgspec.field(name="_meta", default=None)
    author: str | None = None
    body: str | None = None
    children: msgspec.Raw = ABSENT  # of a listing
    created_utc: Number = None
    crosspost_parent: str | None = None
    crosspost_parent_list: msgspec.Raw = ABSENT
    data: msgspec.Raw = ABSENT  # of an answer of an API
    distinguished: str | None = None
    edited: bool | int | float | str | None = None
    hide_score: bool | None = None
    id: str | None = None
    is_self: bool | None = None
    kind: Any = None  # of a part of a listing
    link_flair_text: str | None = None
    link_id: Id = None
    over_18: bool | None = None
    parent_id: Id = ""  # null is something else than absent
    permalink: str | None = None
    promoted: bool | None = None
    removed_by_category: str | None = None
    replies: msgspec.Raw = ABSENT
    retrieved_on: Number = None
    retrieved_utc: Number = None
    score: int | float | None = None
    score_hidden: bool | None = None
    selftext: str | None = None
    stickied: bool | None = None
    subreddit: str | None = None
    title: str | None = None
    url: str | None = None

    @property
    def is_comment(self) -> bool:
        """Whether it is a comment; anything else is a submission, if it has a title."""
        return self.link_id is not None or (self.body is not None and self.title is None)


class Unusable(Exception):  # noqa: N818 (a record that is of no use, not an error of the program)
    """A record that becomes no Post."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


_MAX_SECONDS = 7_258_118_400
"""The year 2200."""
_INT64 = 1 << 63
_MAX_ID = 20
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
SHOWN = 40
_COMMUNITY = re.compile(r"[A-Za-z0-9_.:+-]{1,64}")
_NO_AUTHOR = frozenset({"", "[deleted]", "[removed]"})
STAFF = frozenset({"moderator", "admin", "special"})

_DELETED = RemovedAs.DELETED
_REMOVED = RemovedAs.REMOVED
_SENTINELS = {
    "[deleted]": _DELETED,
    "[deleted by user]": _DELETED,
    "[removed]": _REMOVED,
    "[removed by reddit]": _REMOVED,
    "[ removed by reddit ]": _REMOVED,
    "[ removed by reddit in response to a copyright notice. ]": _REMOVED,
}
"""What Reddit shows in the place of a text or title, in lower case."""
_MAX_SENTINEL = max(len(sentinel) for sentinel in _SENTINELS)
_BY_AUTHOR = frozenset({"deleted", "author"})
"""Values of ``removed_by_category`` and ``removal_type`` that mean the author did it."""

_BOTS = frozenset(
    {
        "AutoModerator",
        "autotldr",
        "autowikibot",
        "haikubot-1911",
        "imguralbumbot",
        "sneakpeekbot",
        "TotesMessenger",
        "TweetPoster",
    }
)
"""Programs that wrote many comments and whose names do not follow the rule of :func:`is_bot`."""


def is_bot(name: str) -> bool:
    """Tell whether a name is clearly a program's.

    It ends in ``-bot`` or ``_bot`` in any case, or in ``Bot`` after a small letter or a digit, or
    is one of a few well-known ones. ``Talbot`` and ``robot`` do not count: no person should be
    lost for a name.
    """
    if name[-2:] not in ("ot", "OT", "oT", "Ot"):
        return name in _BOTS
    before, end = name[-4:-3], name[-3:]
    return (
        (before in ("-", "_") and end.lower() == "bot")
        or (end == "Bot" and (before.islower() or before.isdigit()))
        or name in _BOTS
    )


def unescape(text: str) -> str:
    """Undo, once, the three entities that Reddit's API writes into every text."""
    if "&" not in text:
        return text
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def to_ms(seconds: Number) -> int | None:
    """Milliseconds of a time in any form that tools write; None if it is none before 2200."""
    if type(seconds) is int and 0 < seconds < _MAX_SECONDS:
        return seconds * 1000
    try:
        if isinstance(seconds, str) and not seconds.replace(".", "", 1).isdigit():
            return time_ms(seconds)
        return count_ms(number(seconds)) if seconds else None
    except ValueError:
        return None


def record_id(record: Record) -> str | None:
    """Id of the post that a record becomes, as far as it has one."""
    if record.id is None or not is_id(record.id):
        return None
    return f"{HOST}:{'t1_' if record.is_comment else 't3_'}{record.id}"


def reply_id(record: Record) -> str | None:
    """Id of the post that a reply to a comment becomes; None if it is anything else."""
    id, parent = record.id, record.parent_id
    if record.link_id is None or id is None or not is_id(id):
        return None
    if not isinstance(parent, str) or parent[:3] != "t1_":
        try:
            if parent_of(record, submission_of(record)) is None:
                return None
        except Unusable:
            return None
    return f"{HOST}:t1_{id}"


def submission_of(record: Record) -> str:
    """Id, with its prefix, of the submission that a comment is below; raises Unusable."""
    link = record.link_id
    if link is None:
        raise Unusable(Reason.MISSING_FIELD, "no link_id")
    found = _with_prefix(link, "t3_")
    if found is None:
        raise Unusable(Reason.BAD_VALUE, f"link_id: {str(link)[:SHOWN]!r} is not a submission")
    return found


def parent_of(record: Record, submission: str) -> str | None:
    """Id, with its prefix, of the comment that a comment answers; None: it answers the submission.

    A parent that is null means the submission, one that is absent may be anything. Raises Unusable.
    """
    parent = record.parent_id
    if parent is None or parent == submission or parent == submission[3:]:
        return None
    if parent == "":
        raise Unusable(Reason.MISSING_FIELD, "no parent_id")
    found = _with_prefix(parent, "t1_")
    if found is None:
        shown = str(parent)[:SHOWN]
        detail = f"parent_id: {shown!r} is not a comment and not the link_id"
        raise Unusable(Reason.BAD_VALUE, detail)
    # Ids of comments are far above those of submissions: an equal number is no chance.
    is_submission = not isinstance(parent, str) and found[3:] == submission[3:]
    return None if is_submission else found


def _with_prefix(id: int | float | str, prefix: str) -> str | None:
    """Id as dumps write it; None for what is none, or one of another kind."""
    if isinstance(id, str):
        if id.startswith(prefix):
            return id if is_id(id[3:]) else None
        # Digits alone could be a number to either base.
        return prefix + id if is_id(id) and not id.isdigit() else None
    if not 0 < id < _INT64 or id != int(id):
        return None
    digits = ""
    rest = int(id)
    while rest:
        rest, digit = divmod(rest, 36)
        digits = _DIGITS[digit] + digits
    return prefix + digits


def is_id(text: str) -> bool:
    """Tell whether a text can be an id: a short number to base 36."""
    return text.isalnum() and text.isascii() and len(text) < _MAX_ID


def required_id(record: Record) -> str:
    """Id without its prefix; raises Unusable."""
    if record.id is None:
        raise Unusable(Reason.MISSING_FIELD, "no id")
    if not is_id(record.id):
        raise Unusable(Reason.BAD_VALUE, f"id: {record.id[:SHOWN]!r}")
    return record.id


def community_of(record: Record) -> str:
    """Name of the subreddit as given; raises Unusable."""
    name = record.subreddit
    if name is None:
        raise Unusable(Reason.MISSING_FIELD, "no subreddit")
    if not _is_community(name):
        raise Unusable(Reason.BAD_VALUE, f"subreddit: {name[:SHOWN]!r}")
    return name


@functools.lru_cache(maxsize=1 << 16)
def _is_community(name: str) -> bool:
    return _COMMUNITY.fullmatch(name) is not None


def created_at_of(record: Record) -> int:
    """When it was posted, in ms; raises Unusable."""
    created_at = to_ms(record.created_utc)
    if created_at is None:
        if record.created_utc is None:
            raise Unusable(Reason.MISSING_FIELD, "no created_utc")
        raise Unusable(Reason.BAD_VALUE, f"created_utc: {str(record.created_utc)[:SHOWN]}")
    return created_at


def score_of(record: Record) -> int:
    """Its score, a 64-bit integer; raises Unusable."""
    score = record.score
    if type(score) is int and -_INT64 <= score < _INT64:
        return score
    if score is None:
        raise Unusable(Reason.MISSING_FIELD, "no score")
    try:
        return whole(score)
    except ValueError as error:
        raise Unusable(Reason.BAD_VALUE, f"score: {str(score)[:SHOWN]}: {error}") from None


def score_seen_at_of(record: Record) -> int | None:
    """When the score was read: at the second fetch, unless there was only one."""
    meta = record.meta
    if meta is not None and meta.note != "no_2nd_retrieval":
        second = to_ms(meta.retrieved_2nd_on)
        if second is not None:
            return second
    return to_ms(record.retrieved_on) or to_ms(record.retrieved_utc)


def edited_at_of(record: Record) -> int | None:
    """When it was edited last. An edit whose time is not known counts as made when posting.

    The earliest dumps only say that there was one, and an edit between the two fetches of newer
    dumps is not in ``edited``.
    """
    edited = record.edited
    if edited is not None and edited is not False:
        edited_at = None if edited is True else to_ms(edited)
        return edited_at or to_ms(record.created_utc)
    if record.meta is not None and record.meta.is_edited:
        return to_ms(record.created_utc)
    return None


def removal_of(record: Record, text: str) -> RemovedAs | None:
    """Tell why the text is gone, or is not to be used though it is there."""
    by = record.removed_by_category
    meta = record.meta
    if meta is not None:
        if meta.was_deleted_later:
            by = meta.removal_type or "deleted"
        elif meta.was_initially_deleted:
            by = None  # it was restored, and so is its text
    if by is not None:
        return _DELETED if by in _BY_AUTHOR else _REMOVED
    return sentinel_of(text)


def sentinel_of(text: str) -> RemovedAs | None:
    """Tell what became of a text or title in whose place Reddit shows that it is gone."""
    if text[:1] != "[" or len(text) > _MAX_SENTINEL:
        return None
    return _SENTINELS.get(text.lower())


class _Original(msgspec.Struct, gc=False):
    """What is used of the submission that a crosspost repeats."""

    is_self: Any = None
    over_18: Any = None
    removed_by_category: Any = None
    selftext: Any = None


_ORIGINALS: Final = msgspec.json.Decoder(list[_Original])


def crossposted_text(record: Record) -> str:
    """Text of the submission that a crosspost repeats, as given; '' if there is none to use."""
    original = _original(record)
    text = original.selftext
    if not isinstance(text, str) or original.removed_by_category is not None:
        return ""
    return "" if sentinel_of(text) is not None else text


def is_nsfw(record: Record) -> bool:
    """Whether a submission is marked as not safe for work, or repeats one that is."""
    return bool(record.over_18) or _original(record).over_18 is True


def _original(record: Record) -> _Original:
    if record.crosspost_parent_list is ABSENT:
        return _Original()
    try:
        originals = _ORIGINALS.decode(record.crosspost_parent_list)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Original()
    return originals[0] if originals else _Original()


def url_of(permalink: str | None) -> str | None:
    """Link to a post by the path that the dump gives, if it gives one."""
    if permalink is not None and permalink.startswith(("/r/", "/user/", "/u/")):
        return SITE_URL + permalink
    return None


def author_of(record: Record) -> str:
    """Name of the author; '' if the account is gone or was never given."""
    name = record.author
    return "" if name is None or name in _NO_AUTHOR else name


def author_url_of(name: str) -> str:
    """Link to the profile of an account."""
    plain = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return f"{SITE_URL}/user/{name if plain else quote(name, safe='')}"
