"""Live progress of a run: a bar on a terminal, plain lines elsewhere."""

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from transforms.core import counters
from transforms.core.counters import ShownCounter

PLAIN_INTERVAL_S = 10.0
SILENCE_S = 60.0
"""After which a plain line is said again though nothing has changed: the run is alive."""


def read_totals(folder: Path | None, start: Counter[str] | None = None) -> Counter[str]:
    """Add up this process's counters and those that worker processes left in ``folder``.

    ``start``: this process's counters when the run began, which are taken off again.
    """
    totals = Counter(counters.totals)
    if start is not None:
        totals.subtract(start)
    for path in sorted(folder.glob("*.json")) if folder is not None else ():
        try:
            totals.update(json.loads(path.read_text()))
        except (OSError, ValueError):
            continue  # written this instant; the next look sees it
    return totals


def describe(totals: Counter[str], input_bytes: int, steps: Sequence[ShownCounter]) -> str:
    """One line: bytes read of bytes, then the two furthest of the steps that have begun."""
    read = bytes_read(totals)
    parts = [f"read {_megabytes(read)} of {_megabytes(input_bytes)} MB"]
    parts += [f"{totals[step.key]:,} {step.label}" for step in steps if totals[step.key]][-2:]
    return ", ".join(parts)


def bytes_read(totals: Counter[str]) -> int:
    """Input bytes that any reader has gone through."""
    return sum(amount for key, amount in totals.items() if key.endswith("/in-bytes"))


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f}"


class ProgressLine(AbstractContextManager["ProgressLine"]):
    """Shows a run while it goes; call :meth:`tick` now and then.

    ``stream``: stderr by default, so that stdout stays for results. ``quiet`` shows nothing.
    """

    def __init__(
        self,
        input_bytes: int,
        *,
        folder: Path | None = None,
        quiet: bool = False,
        stream: TextIO | None = None,
    ) -> None:
        self._input_bytes = input_bytes
        self._folder = folder
        self._quiet = quiet
        self._stream = stream or sys.stderr
        self._start = Counter(counters.totals)
        self._began = self._last_plain = time.monotonic()
        self._last_text = ""
        self.spans: dict[str, tuple[float, float]] = {}
        """When each stage was first and last seen to move, by time.monotonic(); stages overlap."""
        self._seen: Counter[str] = Counter()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if not self._quiet and self._stream.isatty():
            self._bar = Progress(
                TimeElapsedColumn(),
                BarColumn(bar_width=12),
                TextColumn("{task.description}"),
                console=Console(file=self._stream),
                transient=True,
            )
            self._task = self._bar.add_task("starting", total=max(self._input_bytes, 1))
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def signature(self) -> object:
        """What changes whenever a counter moves."""
        return read_totals(self._folder, self._start)

    def begin_again(self) -> None:
        """Forget what workers have counted, because their work is done over."""
        for path in self._folder.glob("*.json") if self._folder is not None else ():
            path.unlink(missing_ok=True)

    def tick(self, note: str = "") -> None:
        """Look at the counters and show what changed, with what else is known about the run."""
        if self._quiet:
            return
        totals = read_totals(self._folder, self._start)
        self._note(totals)
        text = describe(totals, self._input_bytes, counters.shown_counters())
        if note:
            text = f"{text}, {note}" if bytes_read(totals) else note
        if self._bar is not None and self._task is not None:
            done = min(bytes_read(totals), self._input_bytes)
            self._bar.update(self._task, completed=done, description=text)
            return
        now = time.monotonic()
        since = now - self._last_plain
        if since >= (SILENCE_S if text == self._last_text else PLAIN_INTERVAL_S):
            print(f"[{now - self._began:5.0f} s] {text}", file=self._stream, flush=True)
            self._last_plain, self._last_text = now, text

    def _note(self, totals: Counter[str]) -> None:
        now = time.monotonic()
        amounts = {"read": bytes_read(totals)}
        for step in counters.shown_counters():
            amounts[step.stage] = amounts.get(step.stage, 0) + totals[step.key]
        for stage, amount in amounts.items():
            if amount > self._seen[stage]:
                began = self.spans.get(stage, (now, now))[0]
                self.spans[stage] = (began, now)
                self._seen[stage] = amount
