"""Takedown lists: which posts and authors must not be in the dataset, in whatever form."""

import codecs
import csv
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from pipeline.errors import UsageError
from schemas.small_files import SmallFileError, decode_text, fault_of, read_small
from transforms.threads.links import (
    INVISIBLE,
    UnclearLinkError,
    names_of_link,
    normal_host,
    normal_name,
)
from transforms.threads.takedown import TakedownIndex

FORMS: Final = (
    "understood are: SITE:ID of a post or a thread, SITE:uID of an author, a pair's id, a link to "
    "a post, an answer, a comment or a profile, t1_ID and t3_ID, @NAME@HOST; several in a line "
    "with spaces or commas between them, those with spaces in quotes; notes after #; or CSV with "
    "a header such as url,reason"
)

MAX_LIST_BYTES: Final = 256 << 20
"""Some millions of entries."""
SHOWN_FAULTS: Final = 20

_ID: Final = re.compile(r"^([^\s:/]+)((?:/[^\s:]+)?):(?!//)(\S(?:.*\S)?)$")
_PAIR: Final = re.compile(r"^([^\s:/]+(?:/[^\s:]+)?):[^>]*/([^>/]+)>([^>/]+)$")
_REDDIT_NAME: Final = re.compile(r"^t[13]_[0-9a-z]{1,13}$", re.A | re.I)
_REDDIT_PATH: Final = re.compile(r"^/?(?:r/[^/\s]+/(?:comments|s)/|u(?:ser)?/[^/\s])\S*$", re.I)
_BARE_LINK: Final = re.compile(r"^(?:[\w-]+\.)+[^\W\d_][\w-]*\.?(?::\d+)?/\S", re.I)
_WITH_PORT: Final = re.compile(r"^[\w.-]+:\d{2,5}/\S")
_FEDERATED: Final = re.compile(r"^@[^\s@/]+@[^\s@/]+\.[^\s@/]+$")

_BULLET: Final = re.compile(r"^(?:[-*+•‣·–—>]|\d{1,6}[.)]|\[[ xX]?\])(?:\s+|$)")
_NOTE: Final = re.compile(r"(?:^|\s)#.*$|^//\s.*$|^//$|\s//\s.*$|^;\s.*$")
_TOKEN: Final = re.compile(
    r"""
      !?\[[^\]]*\]\(\s*<?(?P<link>[^\s<>]+?)>?(?:\s+["'(][^)]*)?\s*\)  # [words](link)
    | <(?P<angle>[^<>|]+)(?:\|[^<>]*)?>                             # <link>, <link|words>
    | "(?P<double>[^"]*)" | “(?P<curly>[^”]*)” | «(?P<guillemet>[^»]*)» | `(?P<tick>[^`]*)`
    | (?<!\w)'(?P<single>[^']*)'(?!\w) | ‘(?P<low>[^’]*)’
    | (?P<bare>[^\s"“«<]+)
    """,
    re.X,
)
_NEXT: Final = re.compile(
    r"[,;|]+(?=$|[\"'“«`<@]|(?:https?:)?//|t[13]_|[\w.-]+(?:/[\w.-]+)?:\S|(?:[\w-]+\.)+[\w-]+/)",
    re.I,
)
"""Where another entry begins after a mark; others belong to a link."""
_BRACKETS: Final = "[](){},;|"

_COLUMNS: Final = frozenset(
    f"{thing}{ending}"
    for thing in (
        *("account", "answer", "author", "chosen", "comment", "entry", "link", "pair", "permalink"),
        *("post", "profile", "prompt", "question", "rejected", "response", "thread", "topic"),
        *("uri", "url", "user"),
    )
    for ending in ("", "s", "_id", "_ids", "_url", "_link", "_uri", "_permalink")
) | {"id", "ids"}
"""Columns of a CSV that name what is to go; others hold dates, reasons and the like."""


@dataclass(frozen=True)
class TakedownEntry:
    """One thing that a list names."""

    line: int
    """From 1."""
    text: str
    """As it was written."""
    names: frozenset[str]
    """What it may mean, as `transforms.threads.takedown.names_of_post` has it."""


@dataclass(frozen=True)
class TakedownList:
    """A list that was read; the empty one takes nothing out."""

    path: str = ""
    entries: tuple[TakedownEntry, ...] = ()

    @cached_property
    def index(self) -> TakedownIndex:
        """Numbers of the entries (from 0) by what they name."""
        by_name: dict[str, list[int]] = defaultdict(list)
        for number, entry in enumerate(self.entries):
            for name in sorted(entry.names):
                by_name[name].append(number)
        return {name: tuple(numbers) for name, numbers in by_name.items()}


def read_takedown(path: Path) -> TakedownList:
    """Read a list of ids and links, in lines, lists or the columns of a CSV.

    Raises UsageError naming each line with something that is not understood, and for a file that
    is no text.
    """
    try:
        content = read_small(path, MAX_LIST_BYTES)
    except (OSError, SmallFileError) as error:
        raise UsageError(f"--takedown {path}: {fault_of(error)}") from None
    entries: list[TakedownEntry] = []
    faults: list[str] = []
    for line, token in _tokens(_decoded(content, path), faults):
        names = parse_entry(token)
        if names:
            entries.append(TakedownEntry(line, token, frozenset(names)))
        else:
            faults.append(f"line {line}: {token!r:.100} {_why_not(token)}")
    if faults:
        more = [f"and {len(faults) - SHOWN_FAULTS:,} more"] if len(faults) > SHOWN_FAULTS else []
        lines = [f"--takedown {path}:", *faults[:SHOWN_FAULTS], *more]
        raise UsageError("\n  ".join([*lines, FORMS]))
    return TakedownList(str(path), tuple(entries))


def parse_entry(entry: str) -> set[str]:
    """Return the ids and links that an entry may mean; empty when it is none of these."""
    entry = entry.replace("&amp;", "&").replace("&gt;", ">")
    pair = _PAIR.match(entry)
    if pair is not None:
        # Without either of its responses there is no pair.
        host, slash, community = pair[1].partition("/")
        site = f"{normal_host(host)}{slash}{community}"
        return {normal_name(f"{site}:{native}") for native in (pair[2], pair[3])}
    names = set()
    own = _ID.match(entry)
    if own is not None and not re.match(r"https?$", own[1], re.I):
        names = {normal_name(entry), normal_name(f"{normal_host(own[1])}{own[2]}:{own[3]}")}
    elif _REDDIT_NAME.match(entry):
        names = {normal_name(f"reddit.com:{entry}")}
    elif _FEDERATED.match(entry):
        name, _, host = entry[1:].partition("@")
        names = {normal_name(f"@{name}@{normal_host(host)}")}
    try:
        return names | _linked(entry)
    except UnclearLinkError:
        return names


def _linked(entry: str) -> set[str]:
    if _REDDIT_PATH.match(entry):
        return names_of_link(f"//reddit.com/{entry.lstrip('/')}")
    if _BARE_LINK.match(entry) or _WITH_PORT.match(entry):
        return names_of_link(f"//{entry}")
    return names_of_link(entry)


def _why_not(entry: str) -> str:
    try:
        _linked(entry)
    except UnclearLinkError as error:
        return str(error)
    if re.fullmatch(r"-?\d+", entry):
        return "does not say of which site it is; write SITE:ID"
    return "is neither an id nor a link to a post or a profile"


def _decoded(content: bytes, path: Path) -> str:
    """Decode UTF-8, and UTF-16 where its mark stands before it, as spreadsheets write it."""
    # Signs that nobody sees come along when text is copied.
    marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    try:
        text = content.decode("utf-16") if content.startswith(marks) else decode_text(content)
    except SmallFileError as error:
        raise UsageError(f"--takedown {path}: {error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--takedown {path}: is damaged UTF-16; save it as UTF-8") from None
    if "\0" in text:
        raise UsageError(f"--takedown {path}: is not text in UTF-8; save it as UTF-8")
    return INVISIBLE.sub("", text)


def _tokens(text: str, faults: list[str]) -> Iterator[tuple[int, str]]:
    """Yield what stands in a list, with the numbers of the lines; what names nothing is a fault."""
    lines = re.split(r"\r\n|\r|\n", text)
    header = next((line for line in lines if _NOTE.sub("", line).strip()), "")
    delimiter = next((mark for mark in "\t;,|" if mark in header), ",")
    names = [_column(cell) for cell in next(csv.reader([header], delimiter=delimiter), [])]
    columns = [place for place, name in enumerate(names) if name in _COLUMNS]
    if columns and not any(parse_entry(cell) for cell in header.split(delimiter)):
        yield from _table_tokens(lines, lines.index(header), delimiter, columns, len(names), faults)
        return
    for number, line in enumerate(lines, start=1):
        for token in split_line(line):
            yield number, token


def _column(name: str) -> str:
    return re.sub(r"[^a-z]+", "_", name.strip().casefold()).strip("_")


def _table_tokens(
    lines: Sequence[str],
    start: int,
    delimiter: str,
    columns: Sequence[int],
    width: int,
    faults: list[str],
) -> Iterator[tuple[int, str]]:
    """Yield the cells of some columns, and those that the header, of ``width`` cells, has not."""
    rows = csv.reader((f"{line}\n" for line in lines[start + 1 :]), delimiter=delimiter)
    for row in rows:
        number = start + 1 + rows.line_num
        if not any(cell.strip() for cell in row) or row[0].lstrip().startswith("#"):
            continue
        cells = [
            cell
            for place, cell in enumerate(row)
            if cell.strip() and (place in columns or place >= width)
        ]
        if not cells:
            faults.append(f"line {number}: has nothing in the columns that name what is to go")
        for cell in cells:
            # A cell is several things, or one with its spaces.
            tokens, whole = split_line(cell), cell.strip()
            if not all(map(parse_entry, tokens)) and parse_entry(whole):
                tokens = [whole]
            yield from ((number, token) for token in tokens)


def split_line(line: str) -> list[str]:
    """Return what a line names: without bullets, notes, quotes and what stands between."""
    text = _NOTE.sub("", line.strip()).strip()
    while bullet := _BULLET.match(text):
        text = text[bullet.end() :]
    tokens: list[str] = []
    for match in _TOKEN.finditer(text):
        if match["bare"] is None:
            quoted = next(part for part in match.groups() if part is not None)
            # In quotes spaces are part of an id, but not of a list of links.
            tokens += [quoted.strip()] if _ID.match(quoted.strip()) else quoted.split()
            continue
        for part in _NEXT.split(match["bare"]):
            # Of an id without quotes no mark is a part, while links have them.
            own = _ID.match(part) and not _WITH_PORT.match(part)
            tokens += map(_trimmed, re.split("[,;|]", part) if own else [part])
    return [token for token in tokens if token]


def _trimmed(token: str) -> str:
    """Take off brackets and the punctuation of a sentence, unless they belong to a link."""
    token = token.lstrip(_BRACKETS + "'‘").rstrip(",;|'’”»")
    if "/" in token and not token.endswith("://"):
        token = token.rstrip(".!?:…")
    for opening, closing in ("()", "[]", "{}"):
        while token.endswith(closing) and token.count(closing) > token.count(opening):
            token = token[:-1].rstrip(",;|.")
    return token if token.strip(_BRACKETS + ".-–—:&") else ""
