"""The folder that a run makes: one writer at a time, and whole or not there at all.

Everything is made in a folder beside it, which takes its name at the very end. A run that was
killed leaves hidden folders beside the output, which the next run of that output removes.
"""

import contextlib
import fcntl
import glob
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.local import PipelineError


class BusyError(PipelineError):
    """Another run writes the same output; the same command may do later."""


@contextlib.contextmanager
def locked(output: Path) -> Iterator[None]:
    """Keep a second run off the same output; raises BusyError where one is at work."""
    path = output.with_name(f".{output.name}.lock")
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BusyError(f"{output}: another run is writing it") from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_of_run(output: Path, kind: str, parent: str | Path | None = None) -> Iterator[Path]:
    """Yield a new folder ``.NAME.KIND-…`` beside ``output`` or in ``parent``, and remove it.

    Its name is of this run alone: a worker that outlives its run, on a cluster say, must not
    write into the next one's. Others may read it, unlike tempfile's: workers may be theirs.
    """
    # The clock is in the name of the folder only, which no output holds.
    folder = Path(parent or output.parent) / f".{output.name}.{kind}-{time.time_ns():x}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_strays(staging: Path, wanted: set[str]) -> None:
    """Remove what workers left behind that were killed while they wrote; others did it again."""
    for path in sorted(staging.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(staging).as_posix() not in wanted:
            path.unlink()


def replace_folder(staging: Path, output: Path) -> None:
    """Put the finished folder in place; an old one goes only when the new one is there."""
    old = output.with_name(f".{output.name}.old")
    if output.exists():
        output.rename(old)
    try:
        staging.rename(output)
    except BaseException:
        if old.exists():
            old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)


def recover(output: Path) -> None:
    """Put back a dataset that a killed run had moved aside, and remove what it left.

    The caller holds the output's lock.
    """
    old = output.with_name(f".{output.name}.old")
    if old.exists() and not output.exists():
        old.rename(output)
    shutil.rmtree(old, ignore_errors=True)
    for kind in ("work", "partial"):
        for left in output.parent.glob(f".{glob.escape(output.name)}.{kind}-*"):
            shutil.rmtree(left, ignore_errors=True)
