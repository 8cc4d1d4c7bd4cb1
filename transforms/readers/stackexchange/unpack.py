"""Unpack the tables of one StackExchange archive (.7z or .zip) without trusting it."""

import errno
import logging
import stat
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import py7zr
from py7zr.io import Py7zIO, WriterFactory

from transforms.readers.formats.filesystem import cause_of
from transforms.readers.stackexchange.archive_kinds import (
    ARCHIVE_SUFFIXES,
    DAMAGED,
    ENCRYPTED,
    UnpackError,
    UnpackLimits,
    archive_kind,
    check_zip_member,
    not_read,
    printable,
)
from transforms.readers.stackexchange.bzip2_blocks import NotIndependentError
from transforms.readers.stackexchange.table_names import TABLES, table_of
from transforms.readers.stackexchange.unpack_blocks import (
    StreamPart,
    bzip2_streams,
    unpack_blocks,
)
from transforms.readers.stackexchange.unpack_job import TableWriter, UnpackJob
from transforms.readers.stackexchange.unpack_pool import UnpackPool, WorkFolderError

COPY_BYTES = 1 << 20

_log = logging.getLogger(__name__)


class _Member(NamedTuple):
    name: str
    size: int


def unpack_tables(
    archive: Path,
    folder: Path,
    tables: Collection[str] = TABLES,
    limits: UnpackLimits | None = None,
    pool: UnpackPool | None = None,
) -> dict[str, Path]:
    """Write the ``tables`` that ``archive`` holds as ``folder/<table>.xml``; return their paths.

    Nothing else is written, and the names inside the archive are only compared, never used
    as paths. Sizes are checked against ``limits`` and the free disk before, and while writing.
    ``pool`` is what archives share that are unpacked at the same time; it stays open.
    Raises UnpackError when the archive cannot be used, and WorkFolderError when ``folder`` cannot
    or when the memory does not suffice; then no file is left behind.
    """
    if pool is None:
        with UnpackPool() as alone:
            return unpack_tables(archive, folder, tables, limits, alone)
    job = UnpackJob(archive, folder, pool)
    with job.writing():
        folder.mkdir(parents=True, exist_ok=True)
    pool.begin(archive)
    try:
        unpack = _unpack_zip if archive_kind(archive) == "zip" else _unpack_7z
        unpack(job, tables, limits or UnpackLimits())
    except BaseException as error:
        for path in job.written.values():
            with suppress(OSError):  # the first error counts
                path.unlink(missing_ok=True)
        if isinstance(error, WorkFolderError):
            pool.stop(str(error))  # others would find no room, either
        elif isinstance(error, OSError):
            raise UnpackError(f"it cannot be read: {cause_of(error)}") from error
        raise
    finally:
        pool.end(archive)
    return job.written


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


def _unpack_7z(job: UnpackJob, tables: Collection[str], limits: UnpackLimits) -> None:
    # An open file instead of a path keeps py7zr from one thread per block of the archive.
    with job.open_archive() as stream:
        with _reading(job.archive):
            opened = py7zr.SevenZipFile(stream)
            infos = opened.list()
        wanted = _choose(
            [_Member(info.filename, info.uncompressed) for info in infos if info.is_file], tables
        )
        _check_sizes(job, sum(info.uncompressed for info in infos), wanted, limits)
        with _reading(job.archive):
            done = _unpack_bzip2(job, opened, wanted, limits)
        targets = [member.name for table, member in wanted.items() if table not in done]
        writers = _TableWriters(job, wanted, limits)
        try:
            if targets:
                with _reading(job.archive):
                    opened.extract(targets=targets, factory=writers)
        finally:
            writers.close()
    missing = sorted(set(wanted) - set(job.written))
    if missing:
        raise UnpackError(f"{', '.join(missing)} in it cannot be unpacked: {DAMAGED}")


def _unpack_bzip2(
    job: UnpackJob,
    opened: py7zr.SevenZipFile,
    wanted: dict[str, _Member],
    limits: UnpackLimits,
) -> set[str]:
    """Write the tables that are packed by bzip2, by blocks; return which these are.

    What cannot be read in this way is left to py7zr, which says what is wrong with it.
    """
    tables = {member.name: table for table, member in wanted.items()}
    done: set[str] = set()
    for packed in bzip2_streams(opened):
        members = [member for member in packed.members if member.name in tables]
        guard = _Guard(job.archive, limits)
        read = Counter[str]()

        def arrived(
            packed_size: int, size: int, guard: _Guard = guard, read: Counter[str] = read
        ) -> None:
            guard.count(size)
            job.pool.has_read(job.archive, packed_size)
            read["bytes"] += packed_size

        with ExitStack() as files, _left_to_py7zr(job, read):
            parts = []
            for member in members:
                file = files.enter_context(closing(job.open_table(tables[member.name], None)))
                parts.append(StreamPart(member.start, member.end, member.crc32, file.write_at))
            if parts:
                # Not the file that counts what is read, which is long before it is decoded.
                archive = files.enter_context(job.archive.open("rb"))
                unpack_blocks(packed, archive, parts, job.pool, arrived)
            done |= {tables[member.name] for member in members}
    return done


@contextmanager
def _left_to_py7zr(job: UnpackJob, read: Counter[str]) -> Iterator[None]:
    """Pass over what cannot be decoded by blocks, of which ``read`` bytes will be read again."""
    try:
        yield
    except NotIndependentError:
        job.pool.has_read(job.archive, -read["bytes"])


def _unpack_zip(job: UnpackJob, tables: Collection[str], limits: UnpackLimits) -> None:
    with job.open_archive() as stream:
        with _reading(job.archive):
            opened = zipfile.ZipFile(stream)
        infos = opened.infolist()
        files = [info for info in infos if not _is_folder(info) and not _is_link(info)]
        wanted = _choose([_Member(info.filename, info.file_size) for info in files], tables)
        _check_sizes(job, sum(info.file_size for info in infos), wanted, limits)
        guard = _Guard(job.archive, limits)
        for table, member in wanted.items():
            check_zip_member(opened.getinfo(member.name))
            with (
                _reading(job.archive),
                opened.open(member.name) as source,
                closing(job.open_table(table, guard.count)) as target,
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
    job: UnpackJob, total: int, wanted: dict[str, _Member], limits: UnpackLimits
) -> None:
    """Compare what the archive's header says with the limits and the free disk."""
    _check_limits(job.archive, total, limits)
    needed = sum(member.size for member in wanted.values())
    with job.writing():
        free = job.pool.claim(job.archive, job.folder, needed)
    if free is not None:
        raise WorkFolderError(
            f"{job.archive} needs {_gb(needed)} unpacked and {job.folder} has {_gb(free)} free; "
            "make room or choose another work folder"
        )
    _log.info("unpacking %s: %s to %s", job.archive, _gb(needed), job.folder)


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

    def __init__(self, job: UnpackJob, wanted: dict[str, _Member], limits: UnpackLimits) -> None:
        self._job = job
        self._tables = {_base_name(member.name): table for table, member in wanted.items()}
        self._guard = _Guard(job.archive, limits)
        self._open: list[TableWriter] = []

    def create(self, filename: str) -> Py7zIO:
        writer = self._job.open_table(self._tables[_base_name(filename)], self._guard.count)
        self._open.append(writer)
        return writer

    def close(self) -> None:
        """Close what a failure left open."""
        for writer in self._open:
            writer.close()


def _base_name(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).name.lower()
