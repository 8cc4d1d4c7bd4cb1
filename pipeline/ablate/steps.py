"""Steps that are done once: each leaves a stamp that says from what, and is done anew only where
that has changed."""

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from os import SEEK_END
from pathlib import Path
from typing import Any

import msgspec

from pipeline.errors import PipelineError
from schemas.disk import sync
from schemas.small_files import SmallFileError, decode_json, open_regular, read_small

TAIL_LINES = 6
TAIL_BYTES = 4096


class _Stamp(msgspec.Struct, frozen=True):
    made_from: str
    result: Any = None


class Steps:
    """The steps of a study in its folder, with how far it is."""

    def __init__(self, folder: Path, total: int, say: Callable[[str], None]) -> None:
        self._folder = folder / "steps"
        self._total = total
        self._say = say
        self._number = 0
        self._times: list[float] = []
        self.done: list[str] = []
        """Names of the steps that were not found finished."""

    def step(self, name: str, made_from: Any, made: Path, make: Callable[[], Any]) -> Any:
        """Do a step unless ``made`` is there and was made from the same; returns its result.

        ``made_from`` is anything that JSON can hold: options, digests of what the step reads.
        """
        self._number += 1
        head = f"[{self._number}/{self._total}] {name}"
        content = msgspec.json.encode(made_from, order="sorted")
        digest = hashlib.sha256(content).hexdigest()
        stamp = self._folder / f"{name.replace('/', '--')}.json"
        known = _read(stamp)
        if known is not None and known.made_from == digest and made.exists():
            self._say(f"{head}: done before")
            return known.result
        why = "" if known is None else " (anew: what it is made from has changed)"
        if known is not None and known.made_from == digest:
            why = f" (anew: {made} is gone)"
        self._say(f"{head}{why}{self._left()}")
        stamp.unlink(missing_ok=True)
        began = time.monotonic()
        result = make()
        self._times.append(time.monotonic() - began)
        self.done.append(name)
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = stamp.with_name(f".{stamp.name}.partial")
        partial.write_bytes(msgspec.json.encode(_Stamp(digest, result)))
        sync(partial)
        partial.replace(stamp)
        return result

    def _left(self) -> str:
        if not self._times:
            return ""
        rest = (self._total - self._number + 1) * sum(self._times) / len(self._times)
        return f", about {rest / 60:.0f} min left" if rest >= 90 else ""


def _read(stamp: Path) -> _Stamp | None:
    try:
        return decode_json(read_small(stamp), _Stamp)
    except (OSError, SmallFileError):
        return None


def run_logged(what: str, command: Sequence[str], log: Path) -> None:
    """Run a command with what it says in ``log``; raises PipelineError with its last lines."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        done = subprocess.run(  # noqa: S603 - our own commands
            command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False
        )
    if done.returncode:
        said = "\n".join(f"    {line}" for line in _last_lines(log))
        raise PipelineError(f"{what} failed with exit code {done.returncode}; {log}:\n{said}")


def run_shown(what: str, command: Sequence[str]) -> None:
    """Run a command that shows its own progress; raises PipelineError where it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)  # noqa: S603
    if done.returncode:
        raise PipelineError(f"{what} failed with exit code {done.returncode}; it says above why")


def ours(*arguments: str) -> list[str]:
    """A command of ``forumprefs`` in a process of its own."""
    return [sys.executable, "-m", "pipeline.cli", *arguments]


def _last_lines(log: Path) -> list[str]:
    with open_regular(log) as file:
        file.seek(max(0, file.seek(0, SEEK_END) - TAIL_BYTES))
        return file.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
