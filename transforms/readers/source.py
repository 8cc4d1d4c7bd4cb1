"""What the rest of the program asks of a kind of forum: one object answers all of it.

Most forums come as files that are read one by one, and are a :class:`FileSource`. A forum whose
records are spread over several tables brings its own :class:`Source`, as
`transforms.readers.stackexchange.source` does.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, Self, TypeVar

from schemas.audit import Reason
from transforms.readers.base import (
    UNKNOWN_LICENSE,
    ForumFile,
    InputProblem,
    Item,
    Reader,
    ReadRules,
    Unpacking,
)
from transforms.readers.formats.filesystem import is_remote
from transforms.readers.formats.progress import HashingProgress, ReportTimer

if TYPE_CHECKING:  # Beam takes a second to load
    import apache_beam as beam

    from schemas.checksums import Fingerprint
    from schemas.manifest import InputFile
    from transforms.readers.formats.line_blocks import LineBlock
    from transforms.readers.forum_rows import ForumRows


class SourceInput(Protocol):
    """One thing to read: a file, or a site of several tables."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The files it is in, as paths or URLs that Beam's filesystems can open."""

    @property
    def bytes_to_read(self) -> int:
        """Bytes that readers go through."""

    @property
    def bytes_to_hold(self) -> int:
        """About how many bytes its rows take uncompressed."""

    def moved(self, place: Callable[[str], str]) -> Self:
        """The same input after each of its files was copied; ``place`` copies it and says where."""

    def texts_only(self) -> Self:
        """What of it is needed for the texts of posts, without what labels are made from."""


InputT = TypeVar("InputT", bound=SourceInput)


@dataclass(frozen=True)
class FoundInputs(Generic[InputT]):
    """What a source made of the paths that were named."""

    inputs: tuple[InputT, ...]
    """To be read."""
    files: tuple["InputFile", ...]
    """Fingerprints of what was given, for the manifest."""
    problems: tuple[InputProblem, ...]
    """What cannot be read, or is not quite right."""
    fingerprints: Mapping[str, "Fingerprint"] = field(default_factory=dict)
    """Of the local files, by path: what they are when the run has read them, too."""


@dataclass(frozen=True, kw_only=True)
class Source(ABC, Generic[InputT]):
    """A kind of forum."""

    kind: str
    """What ``--input KIND=PATH`` calls it."""
    help: str
    """One line on what PATH is."""
    publishable: bool = False
    """Whether its rows can carry a licence to publish their texts; else only the user's word."""
    license_in_rows: bool = False
    """Whether a licence that is missing is to be stated in the rows rather than by the user."""
    card_note: str = ""
    """Paragraph of a dataset card on what the licence of its texts asks of people; Markdown."""
    has_sites: bool = False
    """Whether each input is of a site that is known before it is read."""
    sites_in_rows: bool = False
    """Whether rows name their sites, as ``owner/name``, so that these are known only after."""

    @abstractmethod
    def find(
        self,
        specs: Sequence[str],
        rules: ReadRules,
        work_dir: Path,
        unpacking: Unpacking | None = None,
    ) -> FoundInputs[InputT]:
        """Find and fingerprint what ``specs`` (paths, globs, remote patterns) name.

        What must be unpacked goes below ``work_dir``; ``unpacking`` says how. What cannot be read
        becomes a problem.
        """

    def list_paths(self, specs: Sequence[str]) -> set[str]:
        """Return the local files that ``specs`` name now, to tell what came or went meanwhile."""
        del specs
        return set()

    @abstractmethod
    def read(
        self, inputs: Sequence[InputT], rules: ReadRules, partitions: int, workers: int | None
    ) -> "beam.PTransform[beam.Pipeline, ForumRows]":
        """Return the step that reads ``inputs`` into blocks for ``partitions`` thread partitions.

        Once in a pipeline, with all inputs of this kind. ``workers``: how many there will be, None
        where that is not known; it says how finely the reading is spread, and changes no row.
        """

    @abstractmethod
    def why_undated(self, inputs: Sequence[InputT]) -> str | None:
        """Say which of ``inputs`` have votes without dates, and what to do; None: no votes have."""

    def unlicensed(self, inputs: Sequence[InputT], rules: ReadRules) -> set[str]:
        """Names of sites (or of the kind) that can only give texts without a licence."""
        del inputs, rules
        return set()

    def license_names(self, inputs: Sequence[InputT]) -> set[str]:
        """Names of sites and kinds whose licence the user may state."""
        del inputs
        return set()


class LineReader(NamedTuple):
    """How files with one record a line are read by many workers at once."""

    has_lines: "Callable[[ForumFile], bool]"
    """Tells whether a file has one record a line. Raises OSError as a Reader does."""
    read_block: "Callable[[ForumFile, LineBlock, ReadRules], Iterator[Item]]"
    """Reads a block of lines of such a file. All blocks of a file give, in their order, what its
    Reader gives of the whole file; none may know of another."""


def _nothing_to_say(name: str) -> str | None:
    return None


@dataclass(frozen=True, kw_only=True)
class FileSource(Source[ForumFile]):
    """A kind of forum whose files are read one by one, each by one worker or in blocks of lines."""

    read_file: Reader
    suffixes: tuple[str, ...]
    """Ends of the names of its files, lower case; other files of a folder are left alone."""
    lines: LineReader | None = None
    """How large files of lines are read by many workers; None: each file by one."""
    dates_votes: bool = False
    """Whether its votes can have dates."""
    refuse: Callable[[str], str | None] = _nothing_to_say
    """Says why a file of this name must not be used, or None."""
    refused_as: Reason = Reason.UNREADABLE_FILE
    """Under which reason such a file is counted."""

    def list_files(self, specs: Sequence[str], problems: list[InputProblem]) -> list[ForumFile]:
        """Find what ``specs`` name and open none of it; what cannot be used goes to ``problems``.

        `transforms.readers.paths.find_forum_files` says how.
        """
        from transforms.readers.paths import find_forum_files  # loads Beam

        return find_forum_files(self, specs, problems)

    def find(
        self,
        specs: Sequence[str],
        rules: ReadRules,
        work_dir: Path,
        unpacking: Unpacking | None = None,
    ) -> FoundInputs[ForumFile]:
        problems: list[InputProblem] = []
        from schemas.checksums import fingerprints

        files = self.list_files(specs, problems)
        local = [file for file in files if not is_remote(file.path)]
        progress = HashingProgress(ReportTimer(unpacking.say if unpacking else None))
        for file in local:
            progress.expect(Path(file.path), file.size)
        prints = fingerprints((file.path for file in local), progress.hashed)
        given = tuple(_input_file(file, prints.get(file.path)) for file in files)
        return FoundInputs(tuple(files), given, tuple(problems), prints)

    def list_paths(self, specs: Sequence[str]) -> set[str]:
        return {file.path for file in self.list_files(specs, [])}

    def read(
        self, inputs: Sequence[ForumFile], rules: ReadRules, partitions: int, workers: int | None
    ) -> "beam.PTransform[beam.Pipeline, ForumRows]":
        from transforms.readers.read_files import ReadFiles  # loads Beam

        return ReadFiles(self.read_file, self.lines, inputs, rules, partitions, workers)

    def why_undated(self, inputs: Sequence[ForumFile]) -> str | None:
        if self.dates_votes or not inputs:
            return None
        return f"{self.kind} does not have them; choose another mode, or curate it separately"

    def unlicensed(self, inputs: Sequence[ForumFile], rules: ReadRules) -> set[str]:
        if self.publishable:
            return set()
        return {
            file.site or file.kind for file in inputs if rules.license_of(file) == UNKNOWN_LICENSE
        }

    def license_names(self, inputs: Sequence[ForumFile]) -> set[str]:
        return {name for file in inputs for name in (file.site, file.kind) if name}


def _input_file(file: ForumFile, found: "Fingerprint | None") -> "InputFile":
    from schemas.manifest import InputFile

    size, digest = (file.size, "") if found is None else (found.size, found.sha256)
    return InputFile(site=file.site, kind=file.kind, name=file.name, bytes=size, sha256=digest)
