"""What a link to a post or a profile names, in whichever of its forms somebody has copied it.

Forums have many addresses for one post: with and without the title, of their mobile pages, of an
answer below its question, with the number of whoever shared it. :func:`names_of_link` gives the
ids that our readers make, so that all these come to the same.
"""

import contextlib
import re
import unicodedata
from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote

_LINK: Final = re.compile(r"^(?:https?:)?//([^/\s?#]+)(/[^\s?#]*)?(\?[^\s#]*)?(#\S*)?$", re.I)
_ARCHIVED: Final = re.compile(r"^https?://web\.archive\.org/web/[^/]+/(https?:/.*)$", re.I)
INVISIBLE: Final = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
"""Characters that nobody sees, and that come along when a name or a link is copied."""
_ENDINGS: Final = re.compile(r"\.(?:json|rss|compact|html?)$", re.I)
_NUMBER: Final = re.compile(r"-?\d{1,19}", re.A)
_REDDIT_ID: Final = re.compile(r"[0-9a-z]{1,13}", re.A | re.I)
_COMMENT_ANCHOR: Final = re.compile(r"comment\d+_(\d+)", re.A)
_ANSWER_ANCHOR: Final = re.compile(r"(?:answer-)?(\d+)", re.A)
_LEMMY_ANCHOR: Final = re.compile(r"comment[-_](\d+)", re.A)
_OLD_META: Final = re.compile(r"meta\.([a-z0-9-]+)\.stackexchange\.com")

_STACKEXCHANGE: Final = re.compile(
    r"(?:^|\.)(?:stackexchange\.com|stackoverflow\.com|superuser\.com|serverfault\.com|"
    r"askubuntu\.com|mathoverflow\.net|stackapps\.com)$"
)
_PAGES_OF_A_USER: Final = frozenset({"about", "comments", "overview", "posts", "submitted"})

REDDIT: Final = "reddit.com"

_OPEN_IT: Final = "open it and give the address that it leads to"


class UnclearLinkError(ValueError):
    """A link that names neither a post nor an account; the message says why, and what would."""


class _Address(NamedTuple):
    """A link in its parts: everything but the host as it is written, percent-signs undone."""

    host: str
    path: str
    query: str
    anchor: str

    @property
    def parts(self) -> list[str]:
        """Names between the slashes of the path."""
        return [part for part in self.path.split("/") if part]


def normal_name(name: str) -> str:
    """Return an id or a link without what tells no two of them apart: case, Unicode's forms."""
    visible = INVISIBLE.sub("", name).strip()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", visible).casefold())


def normal_host(host: str) -> str:
    """Return a host's name as our ids have it: lower case, without www and the usual ports."""
    name = normal_name(host).rpartition("@")[2]
    name = re.sub(r":(?:80|443)$", "", name).rstrip(".").removeprefix("www.")
    if not name.isascii():
        with contextlib.suppress(UnicodeError):  # no name that a network knows stays as it is
            name = name.encode("idna").decode("ascii")
    if name.endswith(f".{REDDIT}"):
        return REDDIT
    old_meta = _OLD_META.fullmatch(name)
    return f"{old_meta[1]}.meta.stackexchange.com" if old_meta else name


def names_of_link(link: str) -> set[str]:
    """Return the ids, names and links by which a post or an account that is linked may be known.

    All are :func:`normal_name`; empty for what is no link. Raises UnclearLinkError for a link to
    something else.
    """
    address = _parse(link)
    if address is None:
        return set()
    names = {_key(address, address.query, address.anchor)}
    if address.anchor:
        names.add(_key(address, "", address.anchor))
    else:
        names.add(_key(address, "", ""))
    known = set(_names_at(address))
    return names | {normal_name(name) for name in known}


def hint_for(link: str) -> str:
    """Say what to do about a link that may be a short one, of which no dump tells; '' if not."""
    address = _parse(link)
    if address is None or not re.match(r"/(?:p|posts|s)/\d+$", address.path, re.A):
        return ""
    return f"if it is a short link, {_OPEN_IT}"


def _parse(link: str) -> _Address | None:
    text = INVISIBLE.sub("", link).strip()
    archived = _ARCHIVED.match(text)
    if archived is not None:
        text = re.sub(r"^(https?:)/+", r"\1//", archived[1])
    match = _LINK.match(text)
    if match is None:
        return None
    path, query, anchor = (unquote(part or "") for part in match.groups()[1:])
    return _Address(normal_host(match[1]), path.rstrip("/"), query, anchor)


def _key(address: _Address, query: str, anchor: str) -> str:
    return normal_name(f"//{address.host}{address.path}{query}{anchor}")


def _names_at(address: _Address) -> Sequence[str]:
    host, parts, anchor = address.host, address.parts, address.anchor.removeprefix("#")
    if host == REDDIT:
        return _on_reddit(parts)
    if host == "redd.it":
        return _reddit_post(parts[:1])
    if host.endswith(".redd.it"):
        raise UnclearLinkError("is a picture or a film; give the link of the post that shows it")
    if host == "stackexchange.com":
        raise UnclearLinkError(
            "is about the whole network, where accounts have other numbers than at its sites; "
            "give the profile at each site"
        )
    if host.startswith("chat.stack"):
        raise UnclearLinkError("is in a chat, which no dump holds")
    if not parts and not address.query:
        raise UnclearLinkError("names a whole site; give a post or a profile")
    if not parts:
        return ()
    kind, rest = parts[0].casefold(), [_ENDINGS.sub("", part) for part in parts[1:]]
    if kind in ("questions", "q", "a", "posts"):
        return _on_stackexchange(host, kind, rest, anchor)
    if kind.startswith("@"):
        return () if rest else _account(host, [kind], kind)
    if kind in ("users", "u", "user", "profile"):
        return _account(host, rest, kind)
    if kind in ("t", "n", "raw") and rest:
        return _on_discourse(host, rest)
    if kind in ("post", "comment") and rest and _NUMBER.fullmatch(rest[0]):
        return _on_lemmy(host, kind, rest, anchor)
    return ()


def _on_stackexchange(host: str, kind: str, rest: Sequence[str], anchor: str) -> Sequence[str]:
    """A question, an answer to it, or the one of them that a comment is on."""
    if not rest or not _NUMBER.fullmatch(rest[0]):
        if not _STACKEXCHANGE.search(host):
            return ()  # of another forum, which has addresses of its own
        raise UnclearLinkError("names no single post; give the link of a question or an answer")
    comment = _COMMENT_ANCHOR.fullmatch(anchor)
    if comment is not None:
        return (f"{host}:{comment[1]}",)
    post = rest[0]
    if kind == "questions":
        answer = _ANSWER_ANCHOR.fullmatch(anchor)
        if len(rest) > 2 and _NUMBER.fullmatch(rest[2]):
            post = rest[2]
        elif answer is not None:
            post = answer[1]
    return (f"{host}:{post}",)


def _account(host: str, rest: Sequence[str], kind: str) -> Sequence[str]:
    if not rest or (kind == "users" and rest[0].casefold() in ("current", "login", "signup")):
        raise UnclearLinkError("names no account; give the link of a profile")
    name, _, home = rest[0].removeprefix("@").partition("@")
    names = [f"@{name}@{normal_host(home) if home else host}"]
    if kind != "u" and _NUMBER.fullmatch(name):
        names.append(f"{host}:u{name}")
    return names


def _on_discourse(host: str, rest: Sequence[str]) -> Sequence[str]:
    """``/t/SLUG/TOPIC/POST``, without the slug or without the number of the post."""
    numbers = rest if _NUMBER.fullmatch(rest[0]) else rest[1:]
    if not numbers or not _NUMBER.fullmatch(numbers[0]):
        return ()
    post = numbers[1] if len(numbers) > 1 and _NUMBER.fullmatch(numbers[1]) else "1"
    return (f"{host}:{numbers[0]}.{post}",)


def _on_lemmy(host: str, kind: str, rest: Sequence[str], anchor: str) -> Sequence[str]:
    comment = _LEMMY_ANCHOR.fullmatch(anchor)
    if kind == "comment":
        return (f"{host}:c{rest[0]}",)
    if len(rest) > 1 and _NUMBER.fullmatch(rest[1]):
        return (f"{host}:c{rest[1]}",)
    return (f"{host}:c{comment[1]}" if comment else f"{host}:p{rest[0]}",)


def _on_reddit(parts: Sequence[str]) -> Sequence[str]:
    parts = [_ENDINGS.sub("", part) for part in parts]
    kind = parts[0].casefold() if parts else ""
    rest = parts
    if kind in ("u", "user"):
        if len(parts) < 2:
            raise UnclearLinkError("names no account; give the link of a profile")
        name, _, home = parts[1].partition("@")
        if home:
            return (f"@{name}@{normal_host(home)}",)
        if len(parts) == 2 or (len(parts) == 3 and parts[2].casefold() in _PAGES_OF_A_USER):
            return (f"{REDDIT}:u{name}", f"@{name}@{REDDIT}")
        rest = parts[2:]
    elif kind == "r":
        rest = parts[2:]
    word = rest[0].casefold() if rest else ""
    if word == "s":
        raise UnclearLinkError(f"is made for sharing and does not tell the post; {_OPEN_IT}")
    if word in ("comments", "gallery", "tb", "duplicates", "video", "poll"):
        return _reddit_post(rest[1:])
    raise UnclearLinkError("names no single post; give the link of a post, a comment or a user")


def _reddit_post(rest: Sequence[str]) -> Sequence[str]:
    """``POST/TITLE/COMMENT`` or ``POST/comment/COMMENT``."""
    if rest and _REDDIT_ID.fullmatch(rest[0]):
        if len(rest) > 2 and _REDDIT_ID.fullmatch(rest[2]):
            return (f"{REDDIT}:t1_{rest[2]}",)
        return (f"{REDDIT}:t3_{rest[0]}",)
    raise UnclearLinkError("names no single post; give the link of a post, a comment or a user")
