"""The contract of a reader: one function from a file to rows.

A new kind of forum is one module with such a function and a
:class:`transforms.readers.source.FileSource`, listed in :mod:`transforms.readers.registry`;
docs/adding_a_forum.md goes through it step by step.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, NamedTuple, Self

import msgspec

from schemas.audit import Reason, Rejected, Stage
from schemas.fields import doc
from schemas.metadata import PostMetadata
from schemas.post import Post

UNKNOWN_LICENSE = "NOASSERTION"
"""SPDX's word for a licence that nobody has stated."""

COMPRESSED: Final = (".zst", ".bz2", ".xz", ".gz", ".parquet")
COMPRESSION: Final = 7
"""Uncompressed bytes per byte of a compressed dump of Reddit, roughly."""


class ForumFile(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """One input file of a source: one worker reads it, or cuts it into blocks that all parse."""

    kind: Annotated[str, doc("kind of forum, a key of transforms.readers.registry.SOURCES")]
    site: Annotated[str, doc("host name where the source has many hosts, else ''")]
    path: Annotated[str, doc("path or URL that Beam's filesystems can open")]
    size: Annotated[int, doc("bytes")]

    @property
    def name(self) -> str:
        """File name without its folder: what rejects call it."""
        return self.path.replace("\\", "/").rsplit("/", 1)[-1]

    @property
    def paths(self) -> tuple[str, ...]:
        """The file itself; see :class:`transforms.readers.source.SourceInput`."""
        return (self.path,)

    @property
    def bytes_to_read(self) -> int:
        """Size as it is."""
        return self.size

    @property
    def bytes_to_hold(self) -> int:
        """About how much its rows take uncompressed."""
        return self.size * (COMPRESSION if self.name.lower().endswith(COMPRESSED) else 1)

    def moved(self, place: Callable[[str], str]) -> Self:
        """The same file, where ``place`` says it is now."""
        return msgspec.structs.replace(self, path=place(self.path))

    def texts_only(self) -> Self:
        """The whole file: its texts are between everything else."""
        return self


class SamePrompt(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The source says that two threads ask the same: they go into one split."""

    thread_id: Annotated[str, doc("one thread")]
    other_thread_id: Annotated[str, doc("the other; it may be missing from the input")]


class ThreadMetadata(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Metadata of a post, with the thread in which to find it."""

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
    include_meta: bool = False
    """Whether to read sites that discuss another site, where a vote means agreement."""

    def license_of(self, file: ForumFile) -> str:
        """Licence the user states for texts of this file, or :data:`UNKNOWN_LICENSE`."""
        return self.licenses.get(file.site) or self.licenses.get(file.kind) or UNKNOWN_LICENSE


@dataclass(frozen=True)
class Unpacking:
    """How archives are unpacked; changes no output byte."""

    threads: int = 1
    """Processors that may be busy with it."""
    say: Callable[[str], None] | None = None
    """Is told, every few seconds, how far it is; from any thread."""


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
