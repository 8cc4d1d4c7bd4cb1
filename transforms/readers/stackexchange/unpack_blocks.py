"""Unpack what a 7z archive has packed by bzip2, several blocks at the same time.

A 7z archive holds streams (7-Zip says folders, or solid blocks), each of which is the data of some
of its members one after another, packed. https://py7zr.readthedocs.io/en/stable/archive_format.html
"""

import itertools
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, NamedTuple

import py7zr

from transforms.readers.stackexchange.bzip2_blocks import (
    NotIndependentError,
    cut_blocks,
    decode_blocks,
)
from transforms.readers.stackexchange.unpack_pool import UnpackPool

_BZIP2: Final = [b"\x04\x02\x02"]
"""What 7z calls it, where nothing else is done to the data."""


class StreamMember(NamedTuple):
    """A file in an archive: bytes [start, end) of what its stream unpacks to."""

    name: str
    start: int
    end: int
    crc32: int | None
    """None: not known."""


@dataclass(frozen=True)
class PackedStream:
    """A stream in an archive."""

    archive: BinaryIO
    start: int
    """Its first byte in the archive."""
    size: int
    """Packed."""
    members: tuple[StreamMember, ...]

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of the stream as it is packed; raises OSError."""
        self.archive.seek(self.start + offset)
        return self.archive.read(min(length, self.size - offset))


class StreamPart(NamedTuple):
    """A member that is to be written."""

    start: int
    end: int
    crc32: int | None
    write_at: Callable[[int, memoryview], None]
    """Writes bytes at an offset in the member, from any thread."""


def bzip2_streams(opened: py7zr.SevenZipFile, archive: BinaryIO) -> Iterator[PackedStream]:
    """Yield each stream of an ``opened`` 7z that is packed by bzip2 alone.

    ``archive`` is its file. Damaged headers raise nearly anything.
    """
    streams = getattr(opened.header, "main_streams", None)
    if streams is None or streams.packinfo.numstreams != streams.unpackinfo.numfolders:
        return
    sizes = streams.packinfo.packsizes
    starts = itertools.accumulate(sizes, initial=opened.worker.src_start)
    for folder, start, size in zip(streams.unpackinfo.folders, starts, sizes, strict=False):
        if [coder["method"] for coder in folder.coders] != _BZIP2:
            continue
        members = []
        end = 0
        for file in opened.files:
            if file.folder is folder and not file.emptystream:
                begin, end = end, end + file.uncompressed
                if file.is_file:
                    members.append(StreamMember(file.filename, begin, end, file.crc32))
        yield PackedStream(archive, start, size, tuple(members))


def unpack_blocks(
    stream: PackedStream,
    parts: Sequence[StreamPart],
    pool: UnpackPool,
    arrived: Callable[[int], None],
) -> None:
    """Decode ``stream``, which is packed by bzip2, up to the last of ``parts``, and write these.

    ``arrived`` is told how many bytes came out, in order, before they are written. Raises
    NotIndependentError where the stream has to be decoded from its start, in a way that can say
    what is wrong with it, OSError when it cannot be read, and whatever ``arrived`` and ``write_at``
    raise.
    """
    window = pool.threads + 2  # enough that no thread waits; what is held is bounded
    last = max(part.end for part in parts)
    crcs = [0] * len(parts)
    position = 0
    decoding: deque[Future[bytes]] = deque()
    writing: deque[Future[None]] = deque()

    def take() -> None:
        nonlocal position
        data = memoryview(decoding.popleft().result())
        arrived(len(data))
        for index, part in enumerate(parts):
            start, end = max(part.start, position), min(part.end, position + len(data))
            if start < end:
                piece = data[start - position : end - position]
                crcs[index] = zlib.crc32(piece, crcs[index])
                writing.append(pool.decoders.submit(part.write_at, start - part.start, piece))
        position += len(data)
        while len(writing) > window:
            writing.popleft().result()

    try:
        for group in cut_blocks(stream.read, stream.size):
            decoding.append(pool.decoders.submit(decode_blocks, group))
            if len(decoding) >= window:
                take()
            if position >= last:
                break
        while decoding and position < last:
            take()
        for written in writing:
            written.result()
    finally:
        futures: list[Future[Any]] = [*decoding, *writing]
        # The files must not be closed under a thread that writes.
        wait([future for future in futures if not future.cancel()])
    if position < last:
        raise NotIndependentError("the stream is shorter than its members")
    for part, crc in zip(parts, crcs, strict=True):
        if part.crc32 is not None and part.crc32 != crc:
            raise NotIndependentError("a checksum differs")
