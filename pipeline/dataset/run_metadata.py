"""What a run leaves beside its dataset folder for the report: timings and a sample of threads.

None of it belongs to the dataset: the timings differ from run to run, and the sample holds posts
that the dataset excludes. So it stays on this machine, in ``.NAME.run`` beside ``NAME``.
"""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from schemas.post import Thread
from schemas.small_files import decode_json, open_regular, read_small

TIMINGS_NAME = "timings.notes"
"""JSON; not named so, because a folder of dumps beside it may be read for its .json files."""

MAX_SAMPLE_BYTES = 320 << 20
"""2,000 threads of at most 128 KiB, and some room."""

REPORT_MARK = '<meta name="generator" content="forumprefs report">'
"""Stands in the first bytes of each report: how ours are told from a file of the user."""


class StepTime(msgspec.Struct, frozen=True, kw_only=True):
    """When a step was seen at work, in seconds since the run began."""

    step: str
    began: float
    ended: float


class _Timings(msgspec.Struct, frozen=True):
    manifest_sha256: str
    steps: tuple[StepTime, ...]


class RunMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the run that made a dataset; empty where it ran elsewhere."""

    steps: tuple[StepTime, ...] = ()
    threads: tuple[Thread, ...] = ()


class Stopwatch:
    """Times the parts of a run by the clock."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.steps: list[StepTime] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        began = time.monotonic() - self._began
        yield
        ended = time.monotonic() - self._began
        self.steps.append(StepTime(step=name, began=began, ended=ended))

    def seen(self, name: str, began: float, ended: float) -> None:
        """Add a step that was watched: ``began`` and ``ended`` as time.monotonic() gave them."""
        self.steps.append(StepTime(step=name, began=began - self._began, ended=ended - self._began))


def run_metadata_folder(dataset: Path) -> Path:
    """Return where the metadata of the run that made a dataset folder lies."""
    dataset = dataset.absolute()
    return dataset.with_name(f".{dataset.name}.run")


def report_path(dataset: Path) -> Path:
    """Return where the report of a dataset folder lies unless another place is named."""
    dataset = dataset.absolute()
    return dataset.with_name(f"{dataset.name}.html")


def is_report(path: Path) -> bool:
    """Whether a file is a report that we made."""
    with open_regular(path) as file:
        return REPORT_MARK.encode() in file.read(4_096)


def delete_run_metadata(dataset: Path) -> None:
    """Delete metadata and report of a dataset that is gone: they may hold what must be removed."""
    shutil.rmtree(run_metadata_folder(dataset), ignore_errors=True)
    page = report_path(dataset)
    with suppress(OSError):
        if is_report(page):
            page.unlink()


def save_run_metadata(
    dataset: Path, digest: str, steps: list[StepTime], sample: bytes | None
) -> None:
    """Replace the metadata of a dataset whose manifest has this sha256; raises OSError."""
    from transforms.threads.sample_file import SAMPLE_NAME

    folder = run_metadata_folder(dataset)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    content = {"manifest_sha256": digest, "steps": [msgspec.to_builtins(step) for step in steps]}
    (folder / TIMINGS_NAME).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if sample is not None:
        (folder / SAMPLE_NAME).write_bytes(sample)


def load_run_metadata(dataset: Path, digest: str) -> RunMetadata:
    """Read the metadata of a dataset; empty where there is none, or it is of another run."""
    from transforms.threads.sample_file import SAMPLE_NAME, decode_sample

    folder = run_metadata_folder(dataset)
    try:
        content = decode_json(read_small(folder / TIMINGS_NAME), _Timings)
        if content.manifest_sha256 != digest:
            return RunMetadata()
        path = folder / SAMPLE_NAME
        threads = decode_sample(read_small(path, MAX_SAMPLE_BYTES)) if path.is_file() else []
    except (OSError, ValueError, RecursionError):  # a DecodeError is a ValueError
        return RunMetadata()
    return RunMetadata(steps=content.steps, threads=tuple(threads))
