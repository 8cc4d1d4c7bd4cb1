"""Names at the Hub: a repository, a version, and both together as in ``org/name@v1.2.0``."""

import re
from dataclasses import dataclass
from functools import total_ordering
from urllib.parse import urlsplit

from pipeline.errors import UsageError

_REPO = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*/[A-Za-z0-9_-][A-Za-z0-9._-]*")
_VERSION = re.compile(
    r"(?P<v>v?)(?P<numbers>(0|[1-9]\d{0,8})(\.(0|[1-9]\d{0,8})){0,2})"
    r"(-(?P<pre>[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*))?",
    re.ASCII,
)
LONGEST_NAME = 96
"""Characters of a repository's name without its owner, the Hub's limit."""


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
    """Read a tag as a version; None where it is none."""
    match = _VERSION.fullmatch(tag)
    if match is None:
        return None
    numbers = [int(number) for number in match["numbers"].split(".")]
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    return Version(
        tag, (major, minor, patch), tuple(match["pre"].split(".")) if match["pre"] else ()
    )


def need_version(tag: str) -> Version:
    """Read ``--version``; raises UsageError that says how versions are written."""
    version = parse_version(tag)
    if version is None:
        raise UsageError(
            f"--version {tag}: is no version; write v1.2.0, or v1.2.0-rc.1 for one before it"
        )
    return version


def need_repo(name: str) -> str:
    """Check the name of a repository; raises UsageError that says how it is written."""
    short = name.partition("/")[2]
    fits = _REPO.fullmatch(name) is not None and len(short) <= LONGEST_NAME
    if not fits or "--" in name or ".." in name or name.endswith((".git", ".", "-")):
        raise UsageError(
            f"{name}: is no repository of the Hub; write OWNER/NAME with letters, digits, '-', "
            f"'_' and '.', for example acme/forum-prefs"
        )
    return name


def need_endpoint(endpoint: str | None, name: str = "--endpoint") -> str | None:
    """Check ``--endpoint``; None means the client's own (HF_ENDPOINT, else the public Hub).

    ``name`` is what messages call it.
    """
    if endpoint is None:
        return None
    parts = urlsplit(endpoint)
    if parts.username is not None or parts.password is not None:
        # The address is not repeated: what stands before the @ is a secret.
        raise UsageError(f"{name}: holds credentials; give the token as HF_TOKEN instead")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{name} {endpoint}: is no address like https://hub.example.org")
    return endpoint.rstrip("/")


def split_spec(spec: str) -> tuple[str, str] | None:
    """Split ``OWNER/NAME@REVISION``; None for what is a path or a URL."""
    name, at, revision = spec.partition("@")
    if not at or not revision or re.search(r"\s", revision) or _REPO.fullmatch(name) is None:
        return None
    return need_repo(name), revision
