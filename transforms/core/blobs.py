"""Blobs: the bytes of a block, which go through a shuffle of the local runner by reference.

Beam's local runner sends every shuffled byte through its parent process, and through it once more
wherever a step only passes elements on. In a run on one machine all processes see the same disk.
So what is large is written once, by the worker that made it, and what goes through the runner is
where it is: a file, an offset and a size. A step that only passes a block on never reads it.

Other runners know no such folder: there the bytes are in the element, as ever.

Each run has a folder of its own. A worker process learns its name from a variable, and a worker
that is a thread of a process with several runs from who gives it work.
"""

import contextlib
import errno
import itertools
import os
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any, Final, NamedTuple

import msgspec

SHUFFLE_DIR_VARIABLE: Final = "FORUMPREFS_SHUFFLE_DIR"
"""Environment variable that names the folder for a worker's shuffled blobs; not set: none."""

INLINE_BYTES: Final = 4096
"""Blobs of up to this size stay in the element: a file would cost as much."""

SUFFIX: Final = ".blobs"

_EXTENSION: Final = 1
"""Type of MessagePack extension that a reference is."""

_MAGIC: Final = b"\xc1fp-blob\xc1\xff"
"""Begins a reference. 0xc1 begins nothing in MessagePack and no character in UTF-8."""

_PLACE: Final = Struct("<IIQQ")

_REFERENCE: Final = re.compile(re.escape(_MAGIC) + rb"(?=(.{%d}))" % _PLACE.size, re.DOTALL)
"""Looks ahead, so that a chance find of the magic hides no reference behind it."""


class _Thread(threading.local):
    """What one thread works on."""

    folder: str | None = None


_thread = _Thread()


@contextlib.contextmanager
def shuffling_in(folder: str | None) -> Iterator[None]:
    """Let this thread, and no other, shuffle large blobs in a folder (None: in none of its own)."""
    before = _thread.folder
    _thread.folder = folder
    try:
        yield
    finally:
        _thread.folder = before


def shuffle_dir() -> str | None:
    """Return the folder for the shuffled blobs of the run that this thread works for, if any."""
    return _thread.folder or os.environ.get(SHUFFLE_DIR_VARIABLE) or None


class BlobPlace(NamedTuple):
    """Where a shuffled blob is."""

    process: int
    """Id of the process that wrote the file."""
    serial: int
    """Number of the file among those of the process."""
    offset: int
    """In bytes."""
    size: int
    """In bytes."""

    @property
    def file(self) -> str:
        """Name of the file in the shuffle folder."""
        return f"{self.process}-{self.serial}{SUFFIX}"


class Blob:
    """Bytes that are here, or in a file of the shuffle. Blobs of equal bytes are equal."""

    __slots__ = ("_data", "_place")

    def __init__(self, data: bytes) -> None:
        self._data: bytes | None = data
        self._place: BlobPlace | None = None

    @classmethod
    def at(cls, place: BlobPlace) -> "Blob":
        """Return the blob that was written at a place."""
        blob = cls.__new__(cls)
        blob._data, blob._place = None, place
        return blob

    def load(self) -> bytes:
        """Return the bytes; raises OSError where their file is gone or too short."""
        if self._data is not None:
            return self._data
        assert self._place is not None
        return _read(self._place)

    def __len__(self) -> int:
        if self._data is not None:
            return len(self._data)
        assert self._place is not None
        return self._place.size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Blob) and (other is self or other.load() == self.load())

    def __hash__(self) -> int:
        return hash(self.load())

    def __repr__(self) -> str:
        return f"Blob({len(self)} bytes{'' if self._place is None else f' at {self._place}'})"

    def __reduce__(self) -> tuple[type["Blob"], tuple[bytes]]:
        """Pickle the bytes: nobody would know that a pickle needs a file."""
        return Blob, (self.load(),)


def encode_blob(blob: Any, kind: str = "") -> Any:
    """Return what stands for a blob in MessagePack: its bytes, or where it is written.

    An ``enc_hook`` of msgspec. ``kind``: of the element that it is in; each kind has files of its
    own, because what is used at different times must not be in one file. The blob remembers its
    place: it is written once, however many consumers it has. Raises OSError where there is no
    space.
    """
    if not isinstance(blob, Blob):
        raise NotImplementedError(f"{type(blob).__name__} is no type of a shuffled element")
    data = blob._data
    if data is not None:
        folder = shuffle_dir()
        if folder is None or len(data) <= INLINE_BYTES:
            return data
        # A step of an earlier stage may have written it, too, into a file that is gone.
        if not _files.hold(blob._place, folder):
            blob._place = _files.write(data, folder, kind)
    assert blob._place is not None
    return msgspec.msgpack.Ext(_EXTENSION, _MAGIC + _PLACE.pack(*blob._place))


def decode_blob(kind: type, value: Any) -> Blob:
    """Undo :func:`encode_blob`; a ``dec_hook`` of msgspec."""
    if kind is not Blob:
        raise NotImplementedError(f"{kind.__name__} is no type of a shuffled element")
    if isinstance(value, bytes):
        return Blob(value)
    start = len(_MAGIC)
    if not isinstance(value, msgspec.msgpack.Ext) or value.code != _EXTENSION:
        raise ValueError("expected the bytes of a blob or where they are")
    return Blob.at(BlobPlace(*_PLACE.unpack(bytes(value.data)[start:])))


def places_in(elements: bytes) -> Iterator[BlobPlace]:
    """Yield the places of all blobs that encoded elements refer to.

    It finds every one, wherever it is in them; bytes that only look like one are found, too.
    """
    if _MAGIC in elements:
        for found in _REFERENCE.finditer(elements):
            yield BlobPlace(*_PLACE.unpack(found[1]))


def no_space(error: OSError, folder: str) -> OSError:
    """Return the error to raise for one that writing shuffled data has met."""
    if error.errno == errno.ENOSPC:
        advice = f"no space left for shuffled data in {folder}; name another --work-dir"
        return OSError(error.errno, advice)
    return error


_serials = itertools.count()


@dataclass
class _File:
    """A file that is being written."""

    process: int
    serial: int
    size: int = 0

    def path(self, folder: str) -> str:
        return f"{folder}/{BlobPlace(self.process, self.serial, 0, 0).file}"


class _Files(threading.local):
    """The files that a thread writes to.

    A stage of the pipeline has files of its own, one for each kind of element, which can go when
    what they hold has been used. A file is opened for each blob, which costs less than writing it:
    one that is kept open would keep its disk when it is deleted.
    """

    def __init__(self) -> None:
        self._owner: tuple[str, int] | None = None
        self._stage: object = None
        self._files: dict[str, _File] = {}

    def hold(self, place: BlobPlace | None, folder: str) -> bool:
        """Whether a place is in a file that is being written."""
        return (
            place is not None
            and self._is_current(folder)
            and any(place[:2] == (file.process, file.serial) for file in self._files.values())
            and Path(folder, place.file).exists()
        )

    def write(self, data: bytes, folder: str, kind: str) -> BlobPlace:
        """Append a blob to the file of its kind; returns where it is."""
        if not self._is_current(folder):
            self._owner, self._stage, self._files = (folder, os.getpid()), _stage(), {}
        try:
            descriptor = self._open(folder, kind)
            file = self._files[kind]
            try:
                written = 0
                while written < len(data):
                    rest = memoryview(data)[written:]
                    written += os.pwrite(descriptor, rest, file.size + written)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise no_space(error, str(Path(folder).parent)) from error
        place = BlobPlace(file.process, file.serial, file.size, len(data))
        file.size += len(data)
        return place

    def _is_current(self, folder: str) -> bool:
        return self._owner == (folder, os.getpid()) and self._stage is _stage()

    def _open(self, folder: str, kind: str) -> int:
        file = self._files.get(kind)
        if file is not None:
            try:
                return os.open(file.path(folder), os.O_WRONLY)
            except FileNotFoundError:
                pass  # what it held has been used
        while True:
            file = self._files[kind] = _File(os.getpid(), next(_serials))
            try:
                return os.open(file.path(folder), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                continue  # of a process that had the same id


_files = _Files()


def _stage() -> object:
    """Return what stands for the stage of the pipeline that this thread works at."""
    if "apache_beam" not in sys.modules:  # else no pipeline runs here
        return None
    from apache_beam.runners.worker import statesampler

    return statesampler.get_current_tracker()


def _read(place: BlobPlace) -> bytes:
    folder = shuffle_dir()
    if folder is None:
        raise OSError(
            errno.ENOENT,
            "shuffled data are in files of a run, but this thread works for none, and"
            f" ${SHUFFLE_DIR_VARIABLE} is not set in this process",
        )
    path = f"{folder}/{place.file}"
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise OSError(errno.ENOENT, _lost("are gone"), path) from None
    try:
        data = os.pread(file, place.size, place.offset)
    finally:
        os.close(file)
    if len(data) != place.size:
        raise OSError(errno.EIO, _lost("were cut off"), path)
    return data


def _lost(how: str) -> str:
    return f"shuffled data {how}: nobody else may write in the work folder of a run; start it again"
