"""The folder that a run makes: one writer at a time, and whole or not there at all.

Everything is made in a folder beside it, which takes its name at the very end. A run that was
killed leaves hidden folders beside the output and in its work folder, which the next run of that
output removes.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from pipeline.errors import BusyError
from schemas.disk import sync

_TIME = re.compile("[0-9a-f]{16}")


@contextlib.contextmanager
def locked(output: Path) -> Iterator[None]:
    """Keep a second run off the same output; raises BusyError where one is at work."""
    path = output.with_name(f".{output.name}.lock")
    while True:
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BusyError(f"{output}: another run is writing it") from None
            if not _is_at(file, path):
                continue  # its owner removed it after we had opened it: who comes next has another
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is_at(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def folder_of_run(output: Path, kind: str, parent: str | Path | None = None) -> Iterator[Path]:
    """Yield a new folder ``.NAME.KIND-…`` beside ``output`` or in ``parent``, and remove it.

    Its name is of this run alone: a worker that outlives its run, on a cluster say, must not
    write into the next one's. Its mode is that of other new folders and not tempfile's 0700,
    because a cluster's workers may be another user's.
    """
    # The clock is in the name of the folder only, which no output holds.
    name = f"{_prefix(output, kind)}{time.time_ns():016x}"
    folder = Path(parent or output.parent).resolve() / name
    folder.mkdir()
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Tells the folder of a run at work from what is left of one; not all filesystems can.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _is_left(folder: Path) -> bool:
    """Whether no run holds a folder; an output of the same path may be another machine's."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # another user's, say
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _prefix(output: Path, kind: str) -> str:
    """How the names of an output's folders begin: one work folder may serve many outputs."""
    path = str(output.resolve())
    return f".{output.name}.{kind}-{hashlib.sha256(path.encode()).hexdigest()[:8]}-"


def remove_strays(staging: Path, wanted: set[str]) -> None:
    """Remove what workers left behind that were killed while they wrote; others did it again."""
    for path in sorted(staging.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError):  # not empty
                path.rmdir()
        elif path.relative_to(staging).as_posix() not in wanted:
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Have a folder and all that is in it on the disk, so that a loss of power takes none of it.

    Raises OSError where the disk cannot take it: better now than after the folder has its name.
    """
    for path, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync(Path(path, name))
        sync(Path(path))


def replace_folder(staging: Path, output: Path) -> None:
    """Put the finished folder in place; an old one goes only when the new one is there.

    What is in it is on the disk before it gets its name, and the name before the old one goes: a
    name may be on the disk first otherwise, and after a loss of power lead to empty files.
    """
    sync_folder(staging)
    old = output.with_name(f".{output.name}.old")
    if output.exists():
        output.rename(old)
    try:
        staging.rename(output)
    except BaseException:
        if old.exists():
            old.rename(output)
        raise
    sync(output.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover(output: Path, work_dir: str | Path | None = None) -> None:
    """Put back a dataset that a killed run had moved aside, and remove what it left.

    The caller holds the output's lock. ``work_dir``: where else runs of this output work.
    """
    old = output.with_name(f".{output.name}.old")
    if old.exists() and output.is_dir() and not any(output.iterdir()):
        output.rmdir()
    if old.exists() and not output.exists():
        old.rename(output)
    shutil.rmtree(old, ignore_errors=True)
    ours = re.compile("|".join(re.escape(_prefix(output, kind)) for kind in ("work", "partial")))
    for folder in {output.parent, Path(work_dir or output.parent)}:
        for path in folder.iterdir() if folder.is_dir() else ():
            found = ours.match(path.name)
            if found and _TIME.fullmatch(path.name, found.end()) and _is_left(path):
                shutil.rmtree(path, ignore_errors=True)
