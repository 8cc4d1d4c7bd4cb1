"""The terminal that the commands of training write to, and the one progress they show there."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_WIDTH = 110
"""Columns where the output is not a terminal: a file has no width, and tables need this much."""
SLOW_S = 2.0
"""From which on something is named that is being done, where there is no terminal."""
PLAIN_INTERVAL_S = 10.0
"""Between two lines of progress where there is no terminal."""


def make_console(stream: TextIO | None = None, *, quiet: bool = False) -> Console:
    """A console on ``stream``, stderr by default."""
    console = Console(file=stream or sys.stderr, highlight=False, quiet=quiet)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


@contextmanager
def working(console: Console, what: str) -> Iterator[None]:
    """Show what is being done inside: a spinner on a terminal, else a line if it takes a while."""
    if console.is_terminal:
        with console.status(what):
            yield
        return
    line = Timer(SLOW_S, console.print, (what,), {"soft_wrap": True, "markup": False})
    line.daemon = True
    line.start()
    try:
        yield
    finally:
        line.cancel()


class ProgressDisplay:
    """How far something is: a bar on a terminal, else a line at the start, every ten seconds and
    at the end.

    Args:
        console: where it is shown.
        label: what is counted, before the numbers.
        unit: of the count, after the numbers.
        transient: take the bar away when it is done.
    """

    def __init__(
        self, console: Console, label: str, *, unit: str = "", transient: bool = False
    ) -> None:
        self._console = console
        self._label = label
        self._unit = f" {unit}" if unit else ""
        self._transient = transient
        self._bar: Progress | None = None
        self._total = self._first = 0
        self._began = self._last = time.monotonic()

    def begin(self, total: int, done: int = 0) -> None:
        """``total`` are to be done, ``done`` of them by an earlier attempt."""
        self._total, self._first = total, done
        self._began = time.monotonic()
        self._last = self._began - PLAIN_INTERVAL_S
        if total and self._console.is_terminal and not self._console.quiet:
            self._bar = Progress(
                TextColumn(
                    f"{self._label} {{task.fields[whole]:,}}/{{task.total:,.0f}}{self._unit}"
                ),
                BarColumn(bar_width=20),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._console,
                transient=self._transient,
            )
            self._task = self._bar.add_task("", total=total, completed=done, whole=done)
            self._bar.start()

    def update(self, done: float, text: str = "") -> None:
        """``done`` of all are done, the last in part; ``text`` says more of the last of them."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=text, whole=int(done))
            return
        now = time.monotonic()
        if now - self._last < PLAIN_INTERVAL_S and done != self._total:
            return
        self._last = now
        left = ""
        if done > self._first:
            rate = (done - self._first) / (now - self._began)
            left = f"  {_clock((self._total - done) / max(rate, 1e-9))} left"
        text = f"  {text}" if text else ""
        self.say(f"{self._label} {int(done):,}/{self._total:,}{self._unit}{text}{left}")

    def end(self) -> None:
        """Stop the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def say(self, text: str) -> None:
        """Print a line above the progress."""
        self._console.print(text, soft_wrap=True, markup=False)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
