"""A work folder that workers on other machines can reach, such as ``gs://bucket/tmp``.

The inputs go there, workers write shards there, and the launcher fetches the result, compares
every checksum and finishes the dataset folder on its own disk. So "whole or absent" is kept by one
rename there, on every filesystem; what a run leaves in the work folder is removed.
"""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipeline.console.transfer import TransferProgress
from pipeline.curate.inputs import Inputs
from pipeline.errors import UsageError
from transforms.readers.formats.filesystem import is_remote
from transforms.writers.counts import RESULT_NAME, RunResult

CHUNK_BYTES = 1 << 20


@contextlib.contextmanager
def remote_folder(work_dir: str | None, name: str) -> Iterator[str | None]:
    """Yield a folder of this run's own in a remote ``work_dir``, or None for a local one.

    Raises UsageError when nothing can be written there.
    """
    if work_dir is None or not is_remote(work_dir):
        yield None
        return
    # Unlike an id drawn at random the time says which leftovers are old; no output holds it.
    folder = FileSystems.join(work_dir, f"forumprefs-{name}-{time.time_ns():x}")
    try:
        _write(FileSystems.join(folder, "started"), b"")
    except Exception as error:  # each filesystem has its own kinds
        raise UsageError(f"--work-dir {work_dir}: cannot be written: {error}") from None
    try:
        yield folder
    finally:
        try:
            FileSystems.delete([f"{folder}/"])  # without the slash stores look for an object
        except (BeamIOError, OSError) as error:
            print(f"warning: {folder} could not be removed: {error}", file=sys.stderr)


def upload_inputs(inputs: Inputs, folder: str, *, quiet: bool = True) -> Inputs:
    """Copy local inputs below ``folder``; what is remote already stays where it is.

    Files keep their names, which rejected rows are called by.
    """
    number = 0
    paths = [path for item in inputs.each for path in item.paths]
    total = sum(Path(path).stat().st_size for path in paths if not is_remote(path))

    with TransferProgress(f"copying inputs to {folder}", quiet=quiet) as progress:
        progress.begin(total, 0)

        def place(path: str) -> str:
            nonlocal number
            if is_remote(path):
                return path
            number += 1
            target: str = FileSystems.join(folder, "inputs", f"{number:05d}", Path(path).name)
            # As it is: Beam would compress by the name.
            with (
                Path(path).open("rb") as source,
                FileSystems.create(target, compression_type=CompressionTypes.UNCOMPRESSED) as sink,
            ):
                copy(source, sink, progress)
            return target

        moved = {
            kind: tuple(item.moved(place) for item in items)
            for kind, items in inputs.to_read.items()
        }
    return dataclasses.replace(inputs, to_read=moved)


def fetch_result(folder: str, staging: Path, *, quiet: bool = True) -> None:
    """Copy the run's result and its shards from ``folder`` into the local ``staging``."""
    fetch(FileSystems.join(folder, RESULT_NAME), staging / RESULT_NAME)
    result = msgspec.json.decode((staging / RESULT_NAME).read_bytes(), type=RunResult)
    shards = [report.shard for report in result.shards]
    with TransferProgress(f"fetching the dataset from {folder}", quiet=quiet) as progress:
        progress.begin(sum(shard.bytes for shard in shards), len(shards))
        for shard in shards:
            fetch(FileSystems.join(folder, *shard.path.split("/")), staging / shard.path, progress)
            progress.advance(0, 1)


def fetch(source: str, target: Path, progress: TransferProgress | None = None) -> None:
    """Copy one file of any filesystem to this machine."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        FileSystems.open(source, compression_type=CompressionTypes.UNCOMPRESSED) as stream,
        target.open("wb") as sink,
    ):
        copy(stream, sink, progress)


def copy(source: BinaryIO, sink: BinaryIO, progress: TransferProgress | None = None) -> None:
    """Copy a stream to its end, and show how far that is."""
    while chunk := source.read(CHUNK_BYTES):
        sink.write(chunk)
        if progress is not None:
            progress.advance(len(chunk), 0)


def _write(path: str, content: bytes) -> None:
    with FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as sink:
        sink.write(content)
