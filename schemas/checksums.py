"""Whether bytes are those that a manifest names, and whether a file is what it was."""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Executor, ThreadPoolExecutor, wait
from pathlib import Path
from typing import BinaryIO, NamedTuple

from schemas.manifest import MANIFEST_NAME, Shard
from schemas.small_files import open_regular

READ_BYTES = 1 << 20

HASHING_THREADS = min(8, os.cpu_count() or 1)
"""Files that are hashed at a time: hashlib lets other threads run, and most disks give no more."""


def sha256_of(file: BinaryIO, progress: Callable[[int], None] | None = None) -> str:
    """Hex digest of what is left in a file; ``progress`` hears the bytes of each read."""
    digest = hashlib.sha256()
    while chunk := file.read(READ_BYTES):
        digest.update(chunk)
        if progress is not None:
            progress(len(chunk))
    return digest.hexdigest()


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """Hex digest of a local file."""
    with open_regular(path) as file:
        return sha256_of(file)


FRESH_NS = 2_000_000_000
"""Age under which a file may be written again without a sign of it: times of files are coarse."""


class FileStamp(NamedTuple):
    """What changes with a file's content, and is cheaper to look at."""

    size: int
    modified_ns: int
    changed_ns: int
    """When content or attributes changed, which no program can set back."""
    device: int
    inode: int

    @classmethod
    def of(cls, found: os.stat_result) -> "FileStamp":
        """Stamp of a file that was looked at."""
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_dev, found.st_ino)


class Fingerprint(NamedTuple):
    """A local file as it was when it was read to its end."""

    size: int
    """Bytes that were hashed."""
    sha256: str
    stamp: FileStamp
    """From before it was read."""
    fresh: bool
    """Whether it had just been written, so that its stamp alone says too little."""


def fingerprint(
    path: str | os.PathLike[str], progress: Callable[[int], None] | None = None
) -> Fingerprint:
    """Hash a local file; ``progress`` is as in :func:`sha256_of`. Raises OSError."""
    with open_regular(path) as file:
        stamp = FileStamp.of(os.fstat(file.fileno()))
        fresh = abs(time.time_ns() - max(stamp.modified_ns, stamp.changed_ns)) < FRESH_NS
        digest = sha256_of(file, progress)
        return Fingerprint(file.tell(), digest, stamp, fresh)


def fingerprints(
    paths: Iterable[str],
    progress: Callable[[str, int], None] | None = None,
    threads: Executor | None = None,
) -> dict[str, Fingerprint]:
    """Hash local files, several at a time; by path, in the order given.

    ``progress`` hears the path and the bytes of each read, from any thread; what it raises ends
    all. ``threads``: those of the caller, which must not run in one of them; None: its own.
    Raises OSError for the first of the files, in that order, that cannot be read.
    """
    paths = list(paths)
    if threads is None and min(len(paths), HASHING_THREADS) > 1:
        with ThreadPoolExecutor(HASHING_THREADS, "hashing") as own:
            return fingerprints(paths, progress, own)
    stopped = threading.Event()

    def hash_one(path: str) -> Fingerprint:
        def heard(size: int) -> None:
            if stopped.is_set():
                raise CancelledError
            if progress is not None:
                progress(path, size)

        return fingerprint(path, heard)

    if threads is None:
        return {path: hash_one(path) for path in paths}
    hashing = [threads.submit(hash_one, path) for path in paths]
    try:
        return {path: one.result() for path, one in zip(paths, hashing, strict=True)}
    except BaseException:  # the user's Ctrl-C, too: nobody waits for the others any more
        stopped.set()
        wait([one for one in hashing if not one.cancel()])
        raise


def change_since(path: str | os.PathLike[str], before: Fingerprint) -> str | None:
    """Say how a file differs from what was read of it; None where its content is the same.

    It is read again only where its stamp is another, or had been fresh: touched, moved back or
    copied over with the same bytes it has not changed. Raises OSError where it cannot be read.
    """
    try:
        stamp = FileStamp.of(Path(path).stat())
        if stamp == before.stamp and not before.fresh:
            return None
        now = before if stamp.size != before.size else fingerprint(path)
    except (FileNotFoundError, NotADirectoryError):
        return "is gone"
    if stamp.size != before.size:
        return f"had {before.size:,} bytes, and has {stamp.size:,}"
    return None if now.sha256 == before.sha256 else "has other content of the same size"


def size_fault(shard: Shard, size: int | None) -> str | None:
    """Say what is wrong with a shard by its size alone (bytes; None: there is no such file)."""
    if size is None:
        return f"{shard.path}: is missing"
    if size != shard.bytes:
        return (
            f"{shard.path}: has {size:,} bytes, {MANIFEST_NAME} says {shard.bytes:,}: it was cut "
            "off or overwritten"
        )
    return None


def digest_fault(shard: Shard, sha256: str) -> str | None:
    """Say that a shard's bytes are others than those of the manifest; None where they are equal."""
    if sha256 != shard.sha256:
        return (
            f"{shard.path}: was altered: its sha256 is {sha256}, {MANIFEST_NAME} says "
            f"{shard.sha256}"
        )
    return None


def shard_fault(folder: str | os.PathLike[str], shard: Shard) -> str | None:
    """Say what is wrong with a shard in a local dataset folder; None where it is whole."""
    path = Path(folder, shard.path)
    if path.exists() and not path.is_file():
        return f"{shard.path}: is not a regular file"
    fault = size_fault(shard, path.stat().st_size if path.is_file() else None)
    return fault or digest_fault(shard, sha256_of_file(path))
