"""Unpack the tables of one StackExchange archive (.7z or .zip) without trusting it."""

import errno
import logging
import shutil
import stat
import zipfile
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import py7zr
from py7zr.io import Py7zIO, WriterFactory

from transforms.readers.formats.filesystem import cause_of
from transforms.readers.stackexchange.archive_kinds import (
    ARCHIVE_SUFFIXES,
    DAMAGED,
    ENCRYPTED,
    UnpackError,
    archive_kind,
    check_zip_member,
    not_read,
)

__all__ = ["TABLES", "UnpackError", "UnpackLimits", "WorkFolderError", "printable"]
__all__ += ["table_of", "unpack_tables"]

TABLES = ("Posts", "Votes", "Users", "PostLinks", "PostHistory")
"""The tables that are read, of the eight in a dump."""

COPY_BYTES = 1 << 20

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class UnpackLimits:
    """What an archive may claim and do before it is refused."""

    max_unpacked_bytes: int = 1 << 40
    """All members of one archive. The largest real table, Stack Overflow's history, has 0.2 TB."""
    max_ratio: float = 250
    """Unpacked over packed. Real archives have 5 to 30, a bomb has 1,000 and more."""


class WorkFolderError(OSError):
    """This machine cannot unpack the tables, for lack of room, say: no fault of the archive."""


class _Member(NamedTuple):
    name: str
    size: int


def table_of(name: str) -> str | None:
    """Return the table that a file name such as ``Posts.xml`` stands for, or None."""
    stem, dot, suffix = name.rpartition(".")
    if not dot or suffix.lower() != "xml":
        return None
    return next((table for table in TABLES if table.lower() == stem.lower()), None)


def unpack_tables(
    archive: Path,
    folder: Path,
    tables: Collection[str] = TABLES,
    limits: UnpackLimits | None = None,
) -> dict[str, Path]:
    """Write the ``tables`` that ``archive`` holds as ``folder/<table>.xml``; return their paths.

    Nothing else is written, and the names inside the archive are only compared, never used
    as paths. Sizes are checked against ``limits`` and the free disk before, and while writing.
    Raises UnpackError when the archive cannot be used, and WorkFolderError when ``folder`` cannot
    or when the memory does not suffice; then no file is left behind.
    """
    limits = limits or UnpackLimits()
    with _writing(archive, folder):
        folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, Path] = {}
    try:
        unpack = _unpack_zip if archive_kind(archive) == "zip" else _unpack_7z
        unpack(archive, folder, tables, limits, written)
    except BaseException as error:
        for path in written.values():
            with suppress(OSError):  # the first error counts
                path.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, WorkFolderError):
            raise UnpackError(f"it cannot be read: {cause_of(error)}") from error
        raise
    return written


def printable(text: str) -> str:
    """Escape control characters, which could steer the terminal that shows a message."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


@contextmanager
def _writing(archive: Path, folder: Path) -> Iterator[None]:
    """Turn an OSError while files are written into WorkFolderError."""
    try:
        yield
    except OSError as error:
        raise WorkFolderError(
            f"{archive} cannot be unpacked to {folder}: {cause_of(error)}; make room there, "
            "check its permissions or choose another work folder"
        ) from error


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Turn what the archive readers raise into UnpackError, lack of memory into WorkFolderError."""
    try:
        yield
    except (UnpackError, WorkFolderError):
        raise
    except MemoryError as error:
        raise WorkFolderError(f"{archive} takes more memory to unpack than there is") from error
    except py7zr.PasswordRequired as error:
        raise UnpackError(ENCRYPTED) from error
    except (py7zr.UnsupportedCompressionMethodError, NotImplementedError) as error:
        raise UnpackError(not_read()) from error
    # Damaged headers make the archive readers raise nearly anything.
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # a seek to where no file can be is the archive's fault, all else the disk's
        _log.info("an archive cannot be read: %s", printable(str(error)))
        raise UnpackError(DAMAGED) from error


def _unpack_7z(
    archive: Path,
    folder: Path,
    tables: Collection[str],
    limits: UnpackLimits,
    written: dict[str, Path],
) -> None:
    # An open file instead of a path keeps py7zr from one thread per block of the archive.
    with archive.open("rb") as stream:
        with _reading(archive):
            opened = py7zr.SevenZipFile(stream)
            infos = opened.list()
        wanted = _choose(
            [_Member(info.filename, info.uncompressed) for info in infos if info.is_file], tables
        )
        _check_sizes(archive, folder, sum(info.uncompressed for info in infos), wanted, limits)
        writers = _TableWriters(archive, wanted, folder, limits, written)
        try:
            if wanted:
                with _reading(archive):
                    targets = [member.name for member in wanted.values()]
                    opened.extract(targets=targets, factory=writers)
        finally:
            writers.close()
    missing = sorted(set(wanted) - set(written))
    if missing:
        raise UnpackError(f"{', '.join(missing)} in it cannot be unpacked: {DAMAGED}")


def _unpack_zip(
    archive: Path,
    folder: Path,
    tables: Collection[str],
    limits: UnpackLimits,
    written: dict[str, Path],
) -> None:
    with _reading(archive):
        opened = zipfile.ZipFile(archive)
    with opened:
        infos = opened.infolist()
        files = [info for info in infos if not _is_folder(info) and not _is_link(info)]
        wanted = _choose([_Member(info.filename, info.file_size) for info in files], tables)
        _check_sizes(archive, folder, sum(info.file_size for info in infos), wanted, limits)
        guard = _Guard(archive, limits)
        for table, member in wanted.items():
            check_zip_member(opened.getinfo(member.name))
            written[table] = folder / f"{table}.xml"
            with (
                _reading(archive),
                opened.open(member.name) as source,
                closing(_TableWriter(archive, written[table], guard)) as target,
            ):
                while data := source.read(COPY_BYTES):
                    target.write(data)


def _is_folder(info: zipfile.ZipInfo) -> bool:
    # Not is_dir(), which fails on an empty name in some versions of Python.
    return info.filename.endswith("/")


def _is_link(info: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(info.external_attr >> 16)


def _choose(members: Collection[_Member], tables: Collection[str]) -> dict[str, _Member]:
    """Return the member of each table; members with unsafe paths are passed over."""
    chosen: dict[str, _Member] = {}
    for member in members:
        path = PurePosixPath(member.name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in member.name:
            _log.warning("unsafe name in archive, not read: %r", member.name)
            continue
        table = table_of(path.name)
        if table not in tables or table is None:
            continue
        if table in chosen:
            raise UnpackError(
                f"it holds {table}.xml twice ({chosen[table].name!r}, {member.name!r}); one "
                "archive is one site, so unpack it and give each site's folder"
            )
        chosen[table] = member
    if not chosen:
        _refuse_nested(members)
    return chosen


def _refuse_nested(members: Collection[_Member]) -> None:
    """Raise UnpackError for an archive that holds archives instead of tables."""
    inner = next((m.name for m in members if m.name.lower().endswith(ARCHIVE_SUFFIXES)), None)
    if inner is not None:
        raise UnpackError(
            f"it holds no table but an archive, {inner!r}; unpack it and give what is in it"
        )


def _check_sizes(
    archive: Path,
    folder: Path,
    total: int,
    wanted: dict[str, _Member],
    limits: UnpackLimits,
) -> None:
    """Compare what the archive's header says with the limits and the free disk."""
    _check_limits(archive, total, limits)
    needed = sum(member.size for member in wanted.values())
    with _writing(archive, folder):
        free = shutil.disk_usage(folder).free
    if needed > free:
        raise WorkFolderError(
            f"{archive} needs {_gb(needed)} unpacked and {folder} has {_gb(free)} free; make "
            "room or choose another work folder"
        )
    _log.info("unpacking %s: %s to %s", archive, _gb(needed), folder)


def _check_limits(archive: Path, total: int, limits: UnpackLimits) -> None:
    if total > limits.max_unpacked_bytes:
        raise UnpackError(
            f"unpacked it has {_gb(total)}, more than the limit of "
            f"{_gb(limits.max_unpacked_bytes)}; if you trust it, unpack it yourself and give "
            "the folder"
        )
    packed = archive.stat().st_size
    if total > limits.max_ratio * max(packed, 1):
        raise UnpackError(
            f"it unpacks to {total / max(packed, 1):,.0f} times its size, real archives to less "
            f"than {limits.max_ratio:,.0f}; if you trust it, unpack it yourself and give the folder"
        )


def _gb(size: int) -> str:
    return f"{size / 1e9:,.3g} GB"


class _Guard:
    """Check the limits again while bytes arrive: a header may lie."""

    def __init__(self, archive: Path, limits: UnpackLimits) -> None:
        self._archive = archive
        self._limits = limits
        self._total = 0

    def count(self, size: int) -> None:
        self._total += size
        _check_limits(self._archive, self._total, self._limits)


class _TableWriters(WriterFactory):
    """Give py7zr a file of our naming for each table it unpacks."""

    def __init__(
        self,
        archive: Path,
        wanted: dict[str, _Member],
        folder: Path,
        limits: UnpackLimits,
        written: dict[str, Path],
    ) -> None:
        self._archive = archive
        self._tables = {_base_name(member.name): table for table, member in wanted.items()}
        self._folder = folder
        self._guard = _Guard(archive, limits)
        self._written = written
        self._open: list[_TableWriter] = []

    def create(self, filename: str) -> Py7zIO:
        table = self._tables[_base_name(filename)]
        self._written[table] = self._folder / f"{table}.xml"
        writer = _TableWriter(self._archive, self._written[table], self._guard)
        self._open.append(writer)
        return writer

    def close(self) -> None:
        """Close what a failure left open."""
        for writer in self._open:
            writer.close()


def _base_name(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).name.lower()


class _TableWriter(Py7zIO):
    def __init__(self, archive: Path, path: Path, guard: _Guard) -> None:
        self._archive = archive
        self._folder = path.parent
        with self._writing():
            self._stream: IO[bytes] = path.open("wb")
        self._guard = guard
        self._size = 0

    def write(self, data: bytes | bytearray) -> int:
        self._guard.count(len(data))
        self._size += len(data)
        with self._writing():
            return self._stream.write(data)

    def read(self, size: int | None = None) -> bytes:
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0

    def flush(self) -> None:
        with self._writing():
            self._stream.flush()

    def size(self) -> int:
        return self._size

    def close(self) -> None:
        with self._writing():
            self._stream.close()

    def _writing(self) -> AbstractContextManager[None]:
        return _writing(self._archive, self._folder)
