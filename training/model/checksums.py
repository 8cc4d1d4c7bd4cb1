"""Checksums of a model folder or checkpoint: a flipped bit gives other rewards and no error."""

import hashlib
import stat
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Annotated

import msgspec

from schemas.checksums import sha256_of
from schemas.disk import sync
from schemas.fields import doc
from schemas.small_files import SmallFileError, decode_json, fault_of, read_small
from training.durable_files import write_file

CHECKSUMS_NAME = "checksums.json"
CHECKSUMS_VERSION = 1
THREADS = 4
"""Files that are hashed at a time; a checkpoint of a large model has hundreds of gigabytes."""


class FileChecksum(msgspec.Struct, frozen=True, kw_only=True):
    """What a file was when it was written."""

    bytes: Annotated[int, doc("its size")]
    sha256: Annotated[str, doc("hex digest of its content")]


class FolderChecksums(msgspec.Struct, frozen=True, kw_only=True):
    """``checksums.json``: every other file of the folder."""

    version: Annotated[int, doc("layout of this file")] = CHECKSUMS_VERSION
    files: Annotated[dict[str, FileChecksum], doc("by path in the folder")]


def write_checksums(folder: Path, known: Mapping[str, FileChecksum] | None = None) -> None:
    """Write ``checksums.json`` over every file of a folder, all of which reach the disk.

    ``known``: of files that were hashed, and reached the disk, where they were written.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    paths = [path for path in paths if path != folder / CHECKSUMS_NAME]
    files = checksums_of(
        folder, [path for path in paths if path.relative_to(folder).as_posix() not in (known or {})]
    )
    content = msgspec.json.encode(
        FolderChecksums(files=dict(sorted({**files, **(known or {})}.items())))
    )
    write_file(folder / CHECKSUMS_NAME, msgspec.json.format(content) + b"\n")


def checksums_of(folder: Path, paths: Sequence[Path]) -> dict[str, FileChecksum]:
    """Checksums of files, by their path in the folder, after all of them reached the disk."""
    for path in paths:
        sync(path)
    with ThreadPoolExecutor(THREADS) as pool:
        sums = pool.map(_checksum, paths)
        names = (path.relative_to(folder).as_posix() for path in paths)
        return dict(zip(names, sums, strict=True))


def find_damage(folder: Path, part: int = 0, parts: int = 1) -> str | None:
    """Compare a folder with its checksums: which file differs and how; None when none does.

    ``part``, ``parts``: every ``parts``-th file from ``part`` on, where processes share the work.

    None also for a folder without ``checksums.json``, of which nothing can be said.
    """
    path = folder / CHECKSUMS_NAME
    if not path.exists():
        return None
    try:
        found = decode_json(read_small(path), FolderChecksums)
    except (OSError, SmallFileError) as error:
        return f"{CHECKSUMS_NAME} cannot be read: {fault_of(error)}"
    if found.version != CHECKSUMS_VERSION:
        return f"{CHECKSUMS_NAME} has version {found.version}, this release reads 1"
    if not found.files:
        return f"{CHECKSUMS_NAME} names no file"
    with ThreadPoolExecutor(THREADS) as pool:
        mine = list(found.files.items())[part::parts]
        faults = pool.map(lambda entry: _difference(folder, *entry), mine)
        return next(filter(None, faults), None)


def fingerprint_of_files(folder: Path, patterns: tuple[str, ...]) -> str:
    """sha256 over the names and contents of the files of a folder that match any pattern."""
    paths = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    digest = hashlib.sha256()
    with ThreadPoolExecutor(THREADS) as pool:
        for path, found in zip(paths, pool.map(_checksum, paths), strict=True):
            digest.update(f"{path.name} {found.bytes} {found.sha256}\n".encode())
    return digest.hexdigest()


def _difference(folder: Path, name: str, written: FileChecksum) -> str | None:
    inner = PurePosixPath(name)
    if inner.is_absolute() or ".." in inner.parts:
        return f"{CHECKSUMS_NAME} names {name!r}, which lies outside"
    path = folder / inner
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a device or a pipe could be read for ever
            return f"{name} is not a regular file"
        if status.st_size != written.bytes:
            return f"{name} has {status.st_size:,} bytes, {written.bytes:,} were written"
        if _checksum(path) != written:
            return f"{name} does not hold the bytes that were written"
    except FileNotFoundError:
        return f"{name} is missing"
    except OSError as error:
        return f"{name} cannot be read: {error.strerror}"
    return None


def _checksum(path: Path) -> FileChecksum:
    with path.open("rb") as file:
        digest = sha256_of(file)
        return FileChecksum(bytes=file.tell(), sha256=digest)
