"""Shows how far scoring is: a bar on a terminal, else a line every ten seconds."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_INTERVAL_S = 10.0


class ScoreProgress:
    """Progress of one model on one suite."""

    def __init__(self, console: Console, what: str) -> None:
        self._console = console
        self._what = what
        self._bar: Progress | None = None
        self._total = self._done = 0
        self._began = self._last = time.monotonic()

    def begin(self, total: int, known: int) -> None:
        """``total`` responses are to be scored, ``known`` are from an earlier run."""
        self._total = total
        if known:
            self.say(f"{self._what}: {known:,} responses were scored before")
        if total and self._console.is_terminal and not self._console.quiet:
            self._bar = Progress(
                TextColumn(f"{self._what}  {{task.completed:,.0f}}/{{task.total:,.0f}} responses"),
                BarColumn(bar_width=20),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=total)
            self._bar.start()

    def advance(self, count: int) -> None:
        """``count`` more are done."""
        self._done += count
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)
            return
        now = time.monotonic()
        if now - self._last >= PLAIN_INTERVAL_S or self._done == self._total:
            self._last = now
            rate = self._done / max(now - self._began, 1e-9)
            self.say(f"{self._what}: {self._done:,}/{self._total:,} responses, {rate:,.1f}/s")

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, soft_wrap=True, markup=False)
