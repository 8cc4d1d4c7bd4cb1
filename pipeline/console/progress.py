"""Progress of a run: bytes read, and the steps that its counters say are at work."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Self, TextIO

from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

from pipeline.console.display import ProgressDisplay
from transforms.core import counters
from transforms.core.counters import ShownCounter


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


class ProgressLine(ProgressDisplay):
    """Shows a run while it goes, from its counters; call :meth:`tick` now and then.

    ``input_bytes``: what there is to read. ``folder``: where worker processes leave their counters.
    """

    def __init__(
        self,
        input_bytes: int,
        *,
        folder: Path | None = None,
        quiet: bool = False,
        stream: TextIO | None = None,
    ) -> None:
        columns = (
            TimeElapsedColumn(),
            BarColumn(bar_width=12),
            TextColumn("{task.description}"),
        )
        super().__init__(columns, quiet=quiet, stream=stream, transient=True)
        self._input_bytes = input_bytes
        self._folder = folder
        self._start = Counter(counters.totals)
        self.spans: dict[str, tuple[float, float]] = {}
        """When each stage was first and last seen to move, by time.monotonic(); stages overlap."""
        self._seen: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self.start("starting", self._input_bytes)
        return self

    def signature(self) -> object:
        """What changes whenever a counter moves."""
        return read_totals(self._folder, self._start)

    def begin_again(self) -> None:
        """Forget what workers have counted, because their work is done over."""
        for path in self._folder.glob("*.json") if self._folder is not None else ():
            path.unlink(missing_ok=True)

    def tick(self, note: str = "") -> None:
        """Look at the counters and show what changed, with what else is known about the run."""
        if self.quiet:
            return
        totals = read_totals(self._folder, self._start)
        self._time_stages(totals)
        text = describe(totals, self._input_bytes, counters.shown_counters())
        if note:
            text = f"{text}, {note}" if bytes_read(totals) else note
        self.show(min(bytes_read(totals), self._input_bytes), text)

    def _time_stages(self, totals: Counter[str]) -> None:
        now = time.monotonic()
        amounts = {"read": bytes_read(totals)}
        for step in counters.shown_counters():
            amounts[step.stage] = amounts.get(step.stage, 0) + totals[step.key]
        for stage, amount in amounts.items():
            if amount > self._seen[stage]:
                began = self.spans.get(stage, (now, now))[0]
                self.spans[stage] = (began, now)
                self._seen[stage] = amount
