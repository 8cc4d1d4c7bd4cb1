"""Names at the Hugging Face Hub: a repository, a version, and both as in ``org/name@v1.2.0``."""

import re
from dataclasses import dataclass
from functools import total_ordering
from pathlib import Path
from typing import Final, NamedTuple

REPO_PATTERN: Final = r"[A-Za-z0-9_-][A-Za-z0-9._-]*/[A-Za-z0-9_-][A-Za-z0-9._-]*"
"""OWNER/NAME, unanchored; :func:`is_repo` knows the finer rules."""

VERSION_PATTERN: Final = (
    r"v?(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){0,2}(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?"
)
"""A tag that is a version, unanchored; without lookaround, so JSON Schema can use it."""

MAX_NAME_LENGTH: Final = 96
"""Characters of a repository's name without its owner, the Hub's limit."""

_REPO = re.compile(REPO_PATTERN)
_VERSION = re.compile(VERSION_PATTERN)
_REVISION = re.compile(r"\S+")


def is_path(name: str) -> bool:
    """Whether someone who writes ``name`` means a file or folder, one that is not there included.

    It begins as only paths do, has more parts than a name at the Hub, or lies in a folder that is
    here. Asking the Hub for such a name takes long and ends in a message about the Hub.
    """
    return (
        name.startswith((".", "/", "~"))
        or "\\" in name
        or name.count("/") > 1
        or name.endswith("/")
        or ("/" in name and Path(name).parent.is_dir())
    )


class HubRevision(NamedTuple):
    """A repository and, where one was given, the tag, branch or commit in it."""

    repo: str
    revision: str | None


@total_ordering
@dataclass(frozen=True, eq=False)
class Version:
    """A version by the rules of semver.org, in the spelling of its tag; `v1` means 1.0.0.

    Versions of other spelling and equal numbers are equal.
    """

    tag: str
    numbers: tuple[int, int, int]
    pre: tuple[str, ...] = ()
    """Identifiers after the hyphen; with any of them it is a version before ``numbers``."""

    def __str__(self) -> str:
        return self.tag

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._order == other._order

    def __lt__(self, other: "Version") -> bool:
        return self._order < other._order

    def __hash__(self) -> int:
        return hash(self._order)

    @property
    def _order(self) -> tuple[tuple[int, int, int], bool, tuple[tuple[bool, int, str], ...]]:
        parts = tuple(
            (False, int(part), "") if part.isdecimal() else (True, 0, part) for part in self.pre
        )
        return self.numbers, not self.pre, parts


def parse_version(tag: str) -> Version | None:
    """Read a tag as a version; None where it is not one."""
    if _VERSION.fullmatch(tag) is None:
        return None
    core, _, pre = tag.removeprefix("v").partition("-")
    major, minor, patch = (*map(int, core.split(".")), 0, 0)[:3]
    return Version(tag, (major, minor, patch), tuple(pre.split(".")) if pre else ())


def is_repo(name: str) -> bool:
    """Whether ``name`` is a valid OWNER/NAME at the Hub."""
    return (
        _REPO.fullmatch(name) is not None
        and len(name.partition("/")[2]) <= MAX_NAME_LENGTH
        and "--" not in name
        and ".." not in name
        and not name.endswith((".git", ".", "-"))
    )


def parse_hub_revision(text: str) -> HubRevision | None:
    """Read ``OWNER/NAME`` or ``OWNER/NAME@REVISION``; None for what is a path or a URL.

    The repository is not checked beyond its characters; see :func:`is_repo`.
    """
    repo, at, revision = text.partition("@")
    if _REPO.fullmatch(repo) is None or (at and _REVISION.fullmatch(revision) is None):
        return None
    return HubRevision(repo, revision or None)


def is_token(text: str) -> bool:
    """Whether a text can be a token: what is sent in a header of HTTP has ASCII letters only."""
    return text.isascii() and text.isprintable() and " " not in text


UNSENDABLE: Final = (
    "the token of the Hub (HF_TOKEN, or what `hf auth login` has kept) holds a character that no "
    "token has; copy it again"
)
"""What is said of another one; never the token itself."""
