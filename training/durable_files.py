"""Files and folders that are whole or absent, also after a power cut.

A rename reaches the disk before the bytes it makes count may do so; hence each is synced first.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from schemas.disk import sync


def sync_tree(folder: Path) -> None:
    """Have everything in a folder reach the disk."""
    for path in sorted(folder.rglob("*")):
        sync(path)
    sync(folder)


def partial_of(path: Path) -> Path:
    """Where a file or folder is written before it gets its name."""
    return path.with_name(f".{path.name}.partial")


def _before(path: Path) -> Path:
    """Where a folder goes when another takes its name."""
    return path.with_name(f".{path.name}.before.partial")


def remove_partial_of(path: Path) -> None:
    """Remove what a killed process has left of a folder that it was writing or replacing."""
    for left in (partial_of(path), _before(path)):
        shutil.rmtree(left, ignore_errors=True)


def write_file(path: Path, content: bytes) -> None:
    """Write a file, which appears under its name when it is whole."""
    with new_file(path) as file:
        file.write(content)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to be written, which appears under its name when it is whole."""
    partial = partial_of(path)
    with partial.open("wb") as file:
        yield file
    sync(partial)
    partial.replace(path)
    sync(path.parent)


def publish_folder(partial: Path, target: Path) -> None:
    """Give a finished folder its name, in place of what had it."""
    sync_tree(partial)
    before = _before(target)
    shutil.rmtree(before, ignore_errors=True)
    if target.exists():
        target.replace(before)  # removing it takes long, a rename does not
    partial.replace(target)
    sync(target.parent)
    shutil.rmtree(before, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder, which loses its name first: half removed, it must not count."""
    doomed = partial_of(folder)
    shutil.rmtree(doomed, ignore_errors=True)
    folder.replace(doomed)
    shutil.rmtree(doomed)
