"""Unpack the tables of one StackExchange archive (.7z or .zip) without trusting it."""

import logging
import shutil
import stat
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import py7zr
from py7zr.io import Py7zIO, WriterFactory

TABLES = ("Posts", "Votes", "Users", "PostLinks", "PostHistory")
"""The tables that are read, of the eight in a dump."""

ARCHIVE_SUFFIXES = (".7z", ".zip")
COPY_BYTES = 1 << 20

_ENCRYPTED = "it is encrypted; unpack it yourself and give the folder"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class UnpackLimits:
    """What an archive may claim and do before it is refused."""

    max_unpacked_bytes: int = 1 << 40
    """All members of one archive. The largest real table, Stack Overflow's history, has 0.2 TB."""
    max_ratio: float = 250
    """Unpacked over packed. Real archives have 5 to 30, a bomb has 1,000 and more."""


class UnpackError(Exception):
    """An archive that is not read; the message says why, for the person who gave it."""


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
    Raises UnpackError, and then leaves no file behind.
    """
    limits = limits or UnpackLimits()
    folder.mkdir(parents=True, exist_ok=True)
    unpack = _unpack_zip if archive.suffix.lower() == ".zip" else _unpack_7z
    written: dict[str, Path] = {}
    try:
        unpack(archive, folder, tables, limits, written)
    except BaseException as error:
        for path in written.values():
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            what = error.strerror or str(error)
            raise UnpackError(f"{what} while it was unpacked to {folder}") from error
        raise
    return written


@contextmanager
def _reading_archive() -> Iterator[None]:
    """Turn what the archive readers raise into UnpackError."""
    try:
        yield
    except (UnpackError, OSError):
        raise
    except py7zr.PasswordRequired as error:
        raise UnpackError(_ENCRYPTED) from error
    # Damaged headers make the archive readers raise nearly anything.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise UnpackError(
            f"it is damaged or not an archive ({reason}); download it again"
        ) from error


def _unpack_7z(
    archive: Path,
    folder: Path,
    tables: Collection[str],
    limits: UnpackLimits,
    written: dict[str, Path],
) -> None:
    # An open file instead of a path keeps py7zr from one thread per block of the archive.
    with archive.open("rb") as stream:
        with _reading_archive():
            opened = py7zr.SevenZipFile(stream)
            infos = opened.list()
        wanted = _choose(
            [_Member(info.filename, info.uncompressed) for info in infos if info.is_file], tables
        )
        _check_sizes(archive, folder, sum(info.uncompressed for info in infos), wanted, limits)
        writers = _TableWriters(wanted, folder, _Guard(archive, limits), written)
        try:
            if wanted:
                with _reading_archive():
                    targets = [member.name for member in wanted.values()]
                    opened.extract(targets=targets, factory=writers)
        finally:
            writers.close()
    missing = sorted(set(wanted) - set(written))
    if missing:
        raise UnpackError(f"{', '.join(missing)} could not be unpacked; download it again")


def _unpack_zip(
    archive: Path,
    folder: Path,
    tables: Collection[str],
    limits: UnpackLimits,
    written: dict[str, Path],
) -> None:
    with _reading_archive():
        opened = zipfile.ZipFile(archive)
    with opened:
        infos = opened.infolist()
        files = [info for info in infos if not info.is_dir() and not _is_link(info)]
        wanted = _choose([_Member(info.filename, info.file_size) for info in files], tables)
        _check_sizes(archive, folder, sum(info.file_size for info in infos), wanted, limits)
        guard = _Guard(archive, limits)
        for table, member in wanted.items():
            if opened.getinfo(member.name).flag_bits & 1:
                raise UnpackError(_ENCRYPTED)
            written[table] = folder / f"{table}.xml"
            with (
                _reading_archive(),
                opened.open(member.name) as source,
                written[table].open("wb") as target,
            ):
                while data := source.read(COPY_BYTES):
                    guard.count(len(data))
                    target.write(data)


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
                f"it holds {table}.xml twice ({chosen[table].name}, {member.name}); one archive "
                "is one site, so unpack it and give each site's folder"
            )
        chosen[table] = member
    return chosen


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
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UnpackError(
            f"unpacking needs {_gb(needed)} and {folder} has {_gb(free)} free; make room or "
            "choose another work folder"
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
        wanted: dict[str, _Member],
        folder: Path,
        guard: _Guard,
        written: dict[str, Path],
    ) -> None:
        self._tables = {PurePosixPath(m.name).name.lower(): table for table, m in wanted.items()}
        self._folder = folder
        self._guard = guard
        self._written = written
        self._open: list[_TableWriter] = []

    def create(self, filename: str) -> Py7zIO:
        table = self._tables[PurePosixPath(filename).name.lower()]
        self._written[table] = self._folder / f"{table}.xml"
        writer = _TableWriter(self._written[table], self._guard)
        self._open.append(writer)
        return writer

    def close(self) -> None:
        """Close what a failure left open."""
        for writer in self._open:
            writer.close()


class _TableWriter(Py7zIO):
    def __init__(self, path: Path, guard: _Guard) -> None:
        self._stream: IO[bytes] = path.open("wb")
        self._guard = guard
        self._size = 0

    def write(self, data: bytes | bytearray) -> int:
        self._guard.count(len(data))
        self._size += len(data)
        return self._stream.write(data)

    def read(self, size: int | None = None) -> bytes:
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0

    def flush(self) -> None:
        self._stream.flush()

    def size(self) -> int:
        return self._size

    def close(self) -> None:
        self._stream.close()
