"""Cut a large file of JSON lines into compressed parts, each of which one worker can read.

A compressed file is read from its beginning, so however large it is, one worker reads it. The
lines stay as they are, byte for byte, and in their order.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, BinaryIO, Self

import msgspec
import zstandard

from schemas.audit import Reason
from schemas.fields import doc
from transforms.readers.formats.compressed import COMPRESSED_SUFFIXES, BrokenFile, CompressedFile
from transforms.readers.formats.filesystem import snippet
from transforms.readers.formats.json_faults import is_too_deep
from transforms.readers.formats.line_blocks import MAX_LINE_BYTES

LEVEL = 3
"""zstd's own default: levels above it save a tenth of the bytes in several times the time."""

_BOM = b"\xef\xbb\xbf"
_COMMUNITY = re.compile(rb'"subreddit"\s*:\s*"([^"\\]*)"')


class PartsJob(msgspec.Struct, frozen=True, kw_only=True):
    """One file to cut."""

    path: Annotated[str, doc("file to read, compressed or plain")]
    folder: Annotated[str, doc("where the parts go")]
    part_bytes: Annotated[int, doc("minimum bytes of a part before compression; the last has less")]
    communities: Annotated[
        tuple[str, ...] | None, doc("names of subreddits, lower case; None: every line")
    ] = None


class PreparedPart(msgspec.Struct, frozen=True, kw_only=True):
    """One part that was written."""

    name: Annotated[str, doc("file name")]
    bytes: Annotated[int, doc("size of the file")]


class PartsResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a file."""

    parts: tuple[PreparedPart, ...] = ()
    content_bytes: Annotated[int, doc("size of what was read, before compression")] = 0
    lines_in: Annotated[int, doc("lines that were read")] = 0
    lines_out: Annotated[int, doc("lines in the parts")] = 0
    lines_unreadable: Annotated[
        int | None,
        doc("lines that name a wanted subreddit and are not JSON, or are too long; null: all kept"),
    ] = None
    problem: Annotated[str, doc("why the file was not used, or not to its end; ''")] = ""


def part_name(file_name: str, index: int) -> str:
    """Return the name of a part: ``RC_2019-10.zst`` → ``RC_2019-10.part-00000.zst``."""
    stem, kind = split_name(file_name)
    return f"{stem}.part-{index:05d}{kind}.zst"


def split_name(file_name: str) -> tuple[str, str]:
    """Divide a name without what it is compressed with: ``a.jsonl.gz`` → ('a', '.jsonl')."""
    path = Path(file_name)
    if path.suffix.lower() in COMPRESSED_SUFFIXES:
        path = path.with_suffix("")
    if path.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        return path.stem, path.suffix
    return path.name, ""


def make_parts(job: PartsJob) -> PartsResult:
    """Write the parts of a file; they get their names when all of them are complete.

    A file that breaks off gives the parts before the break, and a problem. Raises OSError only if
    the disk or network fails; then there are no parts. Memory: one line, and the window that the
    file was compressed with.
    """
    lines = _Lines(job)
    problem = ""
    with _PartWriter(job) as writer:
        try:
            for block in lines.read():
                writer.write(block)
        except BrokenFile as error:
            problem = error.detail
        writer.complete()
    return PartsResult(
        parts=tuple(writer.parts),
        content_bytes=lines.bytes_in,
        lines_in=lines.lines_in,
        lines_out=lines.lines_in if job.communities is None else lines.selected,
        lines_unreadable=None if job.communities is None else lines.unreadable,
        problem=problem,
    )


class _Lines:
    """Reads what goes into the parts, and counts."""

    def __init__(self, job: PartsJob) -> None:
        self._path = job.path
        self._communities = None if job.communities is None else frozenset(job.communities)
        self.bytes_in = self.lines_in = self.selected = self.unreadable = 0

    def read(self) -> Iterator[bytes]:
        """Yield pieces of the content; raises BrokenFile after all before the break."""
        if self._communities is None:
            yield from self._chunks()
            return
        for block in self._whole_lines():
            chosen, unreadable = select_lines(block, self._communities)
            self.unreadable += unreadable
            self.selected += len(chosen)
            if chosen:
                yield b"".join(chosen)

    def _chunks(self) -> Iterator[bytes]:
        last = b"\n"
        broken = None
        try:
            for chunk in CompressedFile(self._path).chunks():
                if not chunk:
                    continue
                if not self.bytes_in:
                    _check_start(chunk)
                self.bytes_in += len(chunk)
                self.lines_in += chunk.count(b"\n")
                last = chunk[-1:]
                yield chunk
        except BrokenFile as error:
            broken = error
        self.lines_in += last != b"\n"
        if broken is not None:
            raise broken

    def _whole_lines(self) -> Iterator[bytes]:
        """Cut the content behind newlines; a line that is too long is passed over."""
        parts: list[bytes] = []
        size = 0
        broken = None
        try:
            for chunk in self._chunks():
                end = chunk.rfind(b"\n") + 1
                if end and size > MAX_LINE_BYTES:
                    self.unreadable += 1
                    yield chunk[chunk.index(b"\n") + 1 : end]
                elif end:
                    yield b"".join((*parts, chunk[:end]))
                if end:
                    parts.clear()
                    size = 0
                size += len(chunk) - end
                if size > MAX_LINE_BYTES:
                    parts.clear()
                else:
                    parts.append(chunk[end:])
        except BrokenFile as error:
            broken = error
        if size > MAX_LINE_BYTES:
            self.unreadable += 1
        elif size:
            yield b"".join(parts)
        if broken is not None:
            raise broken


def _check_start(chunk: bytes) -> None:
    """Refuse what is no JSON object a line: cut apart it would be nothing."""
    first, newline, _ = chunk.removeprefix(_BOM).lstrip().partition(b"\n")
    if not first.startswith(b"{") or (newline and not first.rstrip().endswith(b"}")):
        detail = f"it does not hold one JSON object a line, it starts with {snippet(first)}"
        raise BrokenFile(Reason.UNREADABLE_FILE, detail)


class _Record(msgspec.Struct, gc=False):
    subreddit: object = None


_RECORDS = msgspec.json.Decoder(_Record)


def select_lines(block: bytes, communities: frozenset[str]) -> tuple[list[bytes], int]:
    """Return the lines of a block that are of one of ``communities`` (lower case).

    Only lines that name one as a "subreddit" are decoded, since most of a dump is of others. The
    number is that of lines which do and cannot be decoded.
    """
    chosen = []
    unreadable = 0
    done = 0
    for found in _COMMUNITY.finditer(block):
        if found.start() < done or not _is_wanted(found[1], communities):
            continue
        start = block.rfind(b"\n", done, found.start()) + 1 or done
        done = block.find(b"\n", found.end()) + 1 or len(block)
        line = block[start:done]
        try:
            name = _community_of(line)
        except ValueError:
            unreadable += 1
            continue
        # The name may be that of a crosspost's original, which stands inside the line.
        if isinstance(name, str) and name.lower() in communities:
            chosen.append(line)
    return chosen, unreadable


def _is_wanted(name: bytes, communities: frozenset[str]) -> bool:
    return name.decode("utf-8", "replace").lower() in communities


def _community_of(line: bytes) -> object:
    if len(line) > MAX_LINE_BYTES:
        raise ValueError("too long")
    line = line.removeprefix(_BOM)
    if is_too_deep(line):
        raise ValueError("nested too deep")
    try:
        return _RECORDS.decode(line).subreddit
    except msgspec.DecodeError:
        pass
    record = json.loads(line)  # which takes escaped lone surrogates
    return record.get("subreddit") if isinstance(record, dict) else None


class _PartWriter:
    """Writes bytes to compressed parts, cut behind the first line end at ``part_bytes``."""

    def __init__(self, job: PartsJob) -> None:
        self._job = job
        self._folder = Path(job.folder)
        self._file: BinaryIO | None = None
        self._stream: Any = None
        self._room = 0
        self._written: list[Path] = []
        self.parts: list[PreparedPart] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            if self._file is not None:
                self._file.close()
            self._written += [self._folder / part.name for part in self.parts]
        for path in self._written:  # none is left of a complete file
            path.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """Add bytes, which may end inside a line."""
        while data:
            if self._stream is None:
                self._open()
            end = len(data)
            if end >= self._room:
                end = data.find(b"\n", max(self._room - 1, 0)) + 1
            whole = bool(end) and end >= self._room
            piece = data[:end] if whole else data
            self._stream.write(piece)
            self._room -= len(piece)
            data = data[len(piece) :]
            if whole:
                self._close()

    def complete(self) -> None:
        """Give the parts their names."""
        self._close()
        for index, path in enumerate(self._written):
            name = part_name(Path(self._job.path).name, index)
            self.parts.append(PreparedPart(name=name, bytes=path.stat().st_size))
            path.replace(self._folder / name)

    def _open(self) -> None:
        name = part_name(Path(self._job.path).name, len(self._written))
        path = self._folder / f".{name}.partial"
        self._written.append(path)
        self._file = path.open("wb")
        compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        self._stream = compressor.stream_writer(self._file, closefd=True)
        self._room = self._job.part_bytes

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = self._file = None
