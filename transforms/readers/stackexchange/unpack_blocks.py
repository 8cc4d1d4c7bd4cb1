"""Unpack what a 7z archive has packed by bzip2, several blocks at the same time.

A 7z archive holds streams (7-Zip says folders, or solid blocks), each of which is the data of some
of its members one after another, packed. https://py7zr.readthedocs.io/en/stable/archive_format.html
"""

import itertools
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from typing import Any, BinaryIO, Final, NamedTuple

import py7zr

from transforms.readers.stackexchange.bzip2_blocks import (
    BlockGroup,
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


class PackedStream(NamedTuple):
    """A stream in an archive."""

    start: int
    """Its first byte in the archive."""
    size: int
    """Packed."""
    members: tuple[StreamMember, ...]


class StreamPart(NamedTuple):
    """A member that is to be written."""

    start: int
    end: int
    crc32: int | None
    write_at: Callable[[int, memoryview], None]
    """Writes bytes at an offset in the member, from any thread."""


def bzip2_streams(opened: py7zr.SevenZipFile) -> Iterator[PackedStream]:
    """Yield each stream of an ``opened`` 7z that is packed by bzip2 alone.

    Damaged headers raise nearly anything.
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
        yield PackedStream(start, size, tuple(members))


def unpack_blocks(
    stream: PackedStream,
    archive: BinaryIO,
    parts: Sequence[StreamPart],
    pool: UnpackPool,
    arrived: Callable[[int, int], None],
) -> None:
    """Decode a ``stream`` that is packed by bzip2 up to the last of ``parts``, and write these.

    ``archive`` is the file that it is in. ``arrived`` is told how many bytes went in and came out,
    in order, before they are written. Raises NotIndependentError where the stream has to be decoded
    from its start, in a way that can say what is wrong with it, OSError when it cannot be read, and
    whatever ``arrived`` and ``write_at`` raise.
    """
    last = max(part.end for part in parts)
    crcs = [0] * len(parts)
    position = 0
    # Each group in ``decoding`` has a slot. Who waits for a slot has none there, so no two archives
    # wait for each other: the slots are where threads decode and write, which wait for nobody.
    decoding: deque[tuple[int, Future[bytes]]] = deque()
    writing: deque[Future[None]] = deque()

    def read(offset: int, length: int) -> bytes:
        archive.seek(stream.start + offset)
        return archive.read(min(length, stream.size - offset))

    def take() -> None:
        nonlocal position
        packed, decoded = decoding[0]
        data = memoryview(decoded.result())
        arrived(packed, len(data))
        pieces = []
        for index, part in enumerate(parts):
            start, end = max(part.start, position), min(part.end, position + len(data))
            if start < end:
                piece = data[start - position : end - position]
                crcs[index] = zlib.crc32(piece, crcs[index])
                pieces.append((part, start - part.start, piece))
        position += len(data)
        written = pool.writers.submit(_write, pieces)
        decoding.popleft()
        written.add_done_callback(lambda _: pool.slots.release())
        writing.append(written)
        while writing and writing[0].done():
            writing.popleft().result()

    try:
        for group in cut_blocks(read, stream.size):
            while position < last and not pool.slots.acquire(blocking=not decoding):
                take()
            if position >= last:
                break
            decoding.append((group.bits // 8, _start_decoding(group, pool)))
        while decoding and position < last:
            take()
        for written in writing:
            written.result()
    finally:
        futures: list[Future[Any]] = [*(future for _, future in decoding), *writing]
        # The files must not be closed under a thread that writes.
        wait([future for future in futures if not future.cancel()])
        for _ in decoding:
            pool.slots.release()
    if position < last:
        raise NotIndependentError("the stream is shorter than its members")
    for part, crc in zip(parts, crcs, strict=True):
        if part.crc32 is not None and part.crc32 != crc:
            raise NotIndependentError("a checksum differs")


def _start_decoding(group: BlockGroup, pool: UnpackPool) -> Future[bytes]:
    """Have ``group``, for which there is a slot, decoded; frees that where this cannot be."""
    try:
        return pool.decoders.submit(decode_blocks, group)
    except BaseException:
        pool.slots.release()
        raise


def _write(pieces: Iterable[tuple[StreamPart, int, memoryview]]) -> None:
    for part, offset, piece in pieces:
        part.write_at(offset, piece)
