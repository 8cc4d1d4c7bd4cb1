"""The contract of a reader: one function from a file to rows, and what is known of its forum.

A new kind of forum is one module with such a function and a :class:`Source`, listed in
:mod:`transforms.readers.registry`; docs/adding_a_forum.md goes through it step by step.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple

import msgspec

from schemas.audit import Reason, Rejected, Stage
from schemas.fields import doc
from schemas.metadata import PostMetadata
from schemas.post import Post

UNKNOWN_LICENSE = "NOASSERTION"
"""SPDX's word for a licence that nobody has stated."""


class ForumFile(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """One input file of a source: the unit of reading, since compressed files cannot be split."""

    kind: Annotated[str, doc("kind of forum, a key of transforms.readers.registry.SOURCES")]
    site: Annotated[str, doc("host name where the source has many hosts, else ''")]
    path: Annotated[str, doc("path or URL that Beam's filesystems can open")]
    size: Annotated[int, doc("bytes")]

    @property
    def name(self) -> str:
        """File name without its folder: what rejects call it."""
        return self.path.replace("\\", "/").rsplit("/", 1)[-1]


class SamePrompt(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The source says that two threads ask the same: they go into one split."""

    thread_id: Annotated[str, doc("one thread")]
    other_thread_id: Annotated[str, doc("the other; it may be missing from the input")]


class ThreadMetadata(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Facts about a post, with the thread in which to find it."""

    thread_id: Annotated[str, doc("thread of the post")]
    metadata: Annotated[PostMetadata, doc("what is known of it")]


@dataclass(frozen=True)
class ReadRules:
    """Options of the recipe that readers need."""

    reply_depth: int = 1
    """Deepest reply that is used; 1: responses to the prompt itself."""
    licenses: Mapping[str, str] = field(default_factory=dict)
    """Licence by site or kind, for sources that do not state one."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Preference sets: our column name → theirs."""

    def license_of(self, file: ForumFile) -> str:
        """Licence the user states for texts of this file, or :data:`UNKNOWN_LICENSE`."""
        return self.licenses.get(file.site) or self.licenses.get(file.kind) or UNKNOWN_LICENSE


class InputProblem(NamedTuple):
    """Something wrong with an input, and what to do about it."""

    path: str
    message: str
    skipped: bool = True
    """False: the input is read in spite of it."""
    reason: Reason = Reason.UNREADABLE_FILE


Item = Post | ThreadMetadata | SamePrompt | Rejected
"""What a reader yields. Every Post, and every Rejected with ``record='post'``, counts as one
post read."""

Reader = Callable[[ForumFile, ReadRules], Iterator[Item]]
"""Reads one file. Never raises for what the file holds: what cannot be used is yielded as
Rejected, a file that breaks off as Rejected with ``record='file'``. Raises OSError only when the
disk or the network fails."""


def _nothing_to_say(name: str) -> str | None:
    return None


@dataclass(frozen=True)
class Source:
    """A kind of forum."""

    kind: str
    """What ``--input KIND=PATH`` calls it."""
    read: Reader
    suffixes: tuple[str, ...]
    """Ends of the names of its files, lower case; other files of a folder are left alone."""
    help: str
    """One line for ``--help``: what PATH is."""
    publishable: bool = False
    """Whether its rows can carry a licence to publish their texts; else only the user's word."""
    has_sites: bool = False
    """Whether the name of the folder of a file is the host name of its forum."""
    dates_votes: bool = False
    """Whether its votes can have dates."""
    refuse: Callable[[str], str | None] = _nothing_to_say
    """Says why a file of this name must not be used, or None."""
    refused_as: Reason = Reason.UNREADABLE_FILE
    """Under which reason such a file is counted."""


def reject(
    file: ForumFile,
    reason: Reason,
    detail: str = "",
    *,
    id: str | None = None,
    line: int | None = None,
    record: str = "post",
) -> Rejected:
    """Make the reject of a record; without an id it is named by its file and line (from 1)."""
    place = file.name if line is None else f"{file.name}:{line}"
    return Rejected(
        id=place if id is None else id,
        stage=Stage.READ,
        reason=reason,
        detail=detail,
        record=record,
    )
