"""Read a file as it was before it was compressed, with a bound on the memory that takes.

What a file is compressed with is told by its first bytes; its name only says what is wrong
where the two do not agree.
"""

import bz2
import itertools
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import zstandard

from schemas.audit import Reason
from transforms.core.counters import count
from transforms.readers.formats.filesystem import open_input, snippet

READ_BYTES = 1 << 20
"""Compressed bytes per read, and per step of the progress line."""
SLICE_BYTES = 4 << 10
"""Compressed bytes per call of a decompressor. None of the formats makes more than 128 MiB of
them, even in a file that was made to fill the memory; real texts give 20 to 60 KiB."""
CHUNK_BYTES = 64 << 10
MAX_WINDOW_LOG = 31
MAX_WINDOW_BYTES = 1 << MAX_WINDOW_LOG
"""Reddit's dumps are compressed with zstd's largest window, ``--long=31``. A reader must hold as
much of the text as the window is long: up to 2 GiB, less for a file that holds less."""

_BOM = b"\xef\xbb\xbf"
_DAMAGE = (zstandard.ZstdError, zlib.error, lzma.LZMAError, OSError, EOFError, ValueError)
"""What decompressors raise; bz2 takes OSError for damaged data."""


class BrokenFile(Exception):  # noqa: N818 (it is the file that is broken, not the program)
    """The rest of a file cannot be read, because of what is in it."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class _Member(Protocol):
    """A decompressor of one member, stream or frame: a file may hold many in a row."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


_OpenMember = Callable[[], _Member]


@dataclass(frozen=True)
class Compression:
    """A way to compress a file."""

    name: str
    suffix: str
    magics: tuple[bytes, ...]
    """First bytes of a file, one of these."""
    start: Callable[[], _OpenMember]
    """Called once per file."""


def _start_zstd() -> _OpenMember:
    # One for all frames, so that its window is allocated once.
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    return decompressor.decompressobj


_COMPRESSIONS = (
    Compression(
        "zstd",
        ".zst",
        # The second: frames to skip, with which parallel compressors begin a file.
        (b"\x28\xb5\x2f\xfd", *(bytes([first]) + b"\x2a\x4d\x18" for first in range(0x50, 0x60))),
        _start_zstd,
    ),
    Compression("gzip", ".gz", (b"\x1f\x8b",), lambda: lambda: zlib.decompressobj(wbits=31)),
    Compression("bzip2", ".bz2", (b"BZh",), lambda: bz2.BZ2Decompressor),
    Compression(
        "xz",
        ".xz",
        (b"\xfd7zXZ\0",),
        lambda: lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_WINDOW_BYTES),
    ),
)
COMPRESSED_SUFFIXES = tuple(compression.suffix for compression in _COMPRESSIONS)

_TAR = (b"ustar\0", b"ustar  \0")
_TAR_AT = 257

_NOT_READ = (
    (b"PK\x03\x04", "it is a zip archive; unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "it is a 7z archive; unpack it"),
    (b"Rar!", "it is a rar archive; unpack it"),
    (b"\x04\x22\x4d\x18", "it is compressed with lz4, which is not read; decompress it"),
    (b"\x5d\x00\x00", "it is compressed with lzma, which is not read; decompress it"),
    (b"LZIP", "it is compressed with lzip, which is not read; decompress it"),
    (b"\x89LZO", "it is compressed with lzop, which is not read; decompress it"),
    (b"\x1f\x9d", "it is compressed with compress, which is not read; decompress it"),
    *(
        (bytes([first]) + b"\xb5\x2f\xfd", "it is zstd of before version 1.0; compress it again")
        for first in range(0x22, 0x28)
    ),
    (b"\xff\xfe", "it is UTF-16; convert it to UTF-8"),
    (b"\xfe\xff", "it is UTF-16; convert it to UTF-8"),
)


@dataclass(frozen=True)
class CompressedFile:
    """A local or remote file: zstd, gzip, bzip2, xz or plain, with any number of members."""

    path: str

    def chunks(self, chunk_bytes: int | None = None) -> Iterator[bytes]:
        """Yield the content in pieces of about ``chunk_bytes`` (default: ``CHUNK_BYTES``).

        Raises BrokenFile after all that came before the damage was yielded (or at once, if the
        content is nothing that can be read), and OSError only if the disk or network fails.
        """
        parts: list[bytes] = []
        held = 0
        broken = None
        first = True
        wanted = CHUNK_BYTES if chunk_bytes is None else chunk_bytes
        try:
            for part in self._parts():
                parts.append(part)
                held += len(part)
                if held >= wanted:
                    content = b"".join(parts)
                    parts.clear()
                    held = 0
                    if first:
                        _refuse_tar(content)
                        first = False
                    yield content
        except BrokenFile as error:
            broken = error
        if parts:
            content = b"".join(parts)
            if first:
                _refuse_tar(content)
            yield content
        if broken is not None:
            raise broken

    def _parts(self) -> Iterator[bytes]:
        raw = self._read()
        head = next(raw, b"")
        compression = recognise(self.path, head)
        data = itertools.chain((head,), raw)
        yield from data if compression is None else _decompress(compression, data)

    def _read(self) -> Iterator[bytes]:
        with open_input(self.path) as stream:
            while data := stream.read(READ_BYTES):
                count(CompressedFile, "in-bytes", len(data))
                yield data


def _refuse_tar(content: bytes) -> None:
    """Raise BrokenFile for a tar archive, whose first bytes are a file's name."""
    if content.startswith(_TAR, _TAR_AT):
        raise BrokenFile(Reason.UNREADABLE_FILE, "it is a tar archive; unpack it")


def recognise(path: str, head: bytes) -> Compression | None:
    """Return what a file is compressed with, None if it is plain; raises BrokenFile."""
    for compression in _COMPRESSIONS:
        if head.startswith(compression.magics):
            return compression
    for magic, problem in _NOT_READ:
        if head.startswith(magic):
            raise BrokenFile(Reason.UNREADABLE_FILE, problem)
    name = path.lower()
    for compression in _COMPRESSIONS:
        if not name.endswith(compression.suffix):
            continue
        if any(magic.startswith(head) for magic in compression.magics):
            detail = f"it has {len(head)} bytes, too few for {compression.name}"
            raise BrokenFile(Reason.TRUNCATED_FILE, detail)
        if not head.removeprefix(_BOM).lstrip().startswith((b"{", b"[")):
            detail = f"it is neither {compression.name} nor JSON, it starts with {snippet(head)}"
            raise BrokenFile(Reason.UNREADABLE_FILE, detail)
    return None


def _decompress(compression: Compression, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the content of all members; raises BrokenFile where it ends or does not go on."""
    open_member = compression.start()
    member: _Member | None = None
    head = b""
    empty = True
    for piece in pieces:
        for start in range(0, len(piece), SLICE_BYTES):
            data = piece[start : start + SLICE_BYTES]
            while data:
                if member is None:
                    data = data.lstrip(b"\0")  # tapes and xz fill up with zeros
                    if not data:
                        break
                    member = open_member()
                    head = data
                try:
                    part = member.decompress(data)
                except _DAMAGE as error:
                    raise _damaged(compression, error, head, empty=empty) from error
                data = b""
                if member.eof:
                    data = member.unused_data
                    member = None
                if part:
                    empty = False
                    yield part
    if member is not None:
        detail = _why_not_a_member(compression, head) or f"its {compression.name} data break off"
        raise BrokenFile(Reason.TRUNCATED_FILE, detail)


def _damaged(compression: Compression, error: Exception, head: bytes, *, empty: bool) -> Exception:
    """Tell damaged data, which are rejected, from a machine without memory, which ends the run.

    zstandard has one class for both. So the memory for the window that the frame beginning with
    ``head`` asks for is tried for.
    """
    if isinstance(error, MemoryError) or not _has_memory(_window_bytes(compression, head)):
        return MemoryError(f"no memory for the {compression.name} window of the file")
    reason = Reason.UNREADABLE_FILE if empty else Reason.TRUNCATED_FILE
    detail = _why_not_a_member(compression, head) or f"its {compression.name} data are damaged"
    return BrokenFile(reason, detail)


def _why_not_a_member(compression: Compression, head: bytes) -> str | None:
    """Say why what begins with ``head`` cannot be read though it need not be damaged, or None."""
    if not any(head[: len(magic)] == magic[: len(head)] for magic in compression.magics):
        return f"behind its {compression.name} data there is something else"
    return _why_not_a_frame(head) if compression.name == "zstd" else None


def _why_not_a_frame(head: bytes) -> str | None:
    """Say what a zstd frame asks for that there is not, by RFC 8878, 3.1.1.1; or None.

    The library refuses to tell the size of a window that is larger than it takes.
    """
    if len(head) < 6:
        return None
    descriptor, window = head[4:6]
    if not descriptor & 0x20 and window >> 3 > MAX_WINDOW_LOG - 10:
        gib = (1 << (window >> 3) + 10) * (8 + (window & 7)) / 8 / (1 << 30)
        return (
            f"its zstd window of {gib:g} GiB is larger than {MAX_WINDOW_BYTES >> 30} GiB; compress "
            f"it again with --long={MAX_WINDOW_LOG} or less"
        )
    try:
        dictionary = zstandard.get_frame_parameters(head).dict_id
    except zstandard.ZstdError:
        return None
    if dictionary:
        return "its zstd data need a dictionary, which is not in the file; decompress it with that"
    return None


def _window_bytes(compression: Compression, head: bytes) -> int:
    """Memory that a member needs for its window; 0 where it is small, unknown or refused anyway."""
    if compression.name != "zstd":
        return 0
    try:
        window = zstandard.get_frame_parameters(head).window_size
    except zstandard.ZstdError:
        return 0
    return window if window <= MAX_WINDOW_BYTES else 0


def _has_memory(size: int) -> bool:
    try:
        bytearray(size)
    except MemoryError:
        return False
    return True
