"""How progress is shown: one bar on a terminal, plain lines elsewhere, nothing where quiet."""

import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import Progress, ProgressColumn, TaskID

from pipeline.console.text import printable

PLAIN_INTERVAL_S = 10.0
SILENCE_S = 60.0
"""After which a plain line is said again though nothing has changed: the work is alive."""


class ProgressDisplay:
    """Shows how far some work is; call :meth:`show` as often as it moves, from any thread.

    ``stream``: stderr by default, so that stdout stays for results. ``quiet`` shows nothing.
    ``transient``: whether the bar goes when the work is done.
    """

    def __init__(
        self,
        columns: Sequence[ProgressColumn] = (),
        *,
        quiet: bool = False,
        stream: TextIO | None = None,
        transient: bool = False,
    ) -> None:
        self._columns = columns
        self._transient = transient
        self._stream = stream or sys.stderr
        self.quiet = quiet
        self._lock = threading.Lock()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self.began = self._last_plain = time.monotonic()
        self._last_text = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def has_bar(self) -> bool:
        """Whether there is a terminal to draw a bar on."""
        return not self.quiet and self._stream.isatty()

    def start(self, text: str, total: int) -> None:
        """Begin a piece of work of ``total`` units, which ``text`` names."""
        self.stop()
        self.began = self._last_plain = time.monotonic()
        self._last_text = ""
        if self.has_bar:
            self._bar = Progress(
                *self._columns, console=Console(file=self._stream), transient=self._transient
            )
            self._task = self._bar.add_task(text, total=max(total, 1))
            self._bar.start()

    def stop(self) -> None:
        """End what was started."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def show(self, done: int, text: str, *, plain: str = "") -> None:
        """Show that ``done`` units are done, as ``text``; in plain lines ``plain``, if given."""
        if self.quiet:
            return
        with self._lock:
            if self._bar is not None and self._task is not None:
                self._bar.update(self._task, completed=done, description=text)
                return
            now = time.monotonic()
            text = plain or text
            since = now - self._last_plain
            if since >= (SILENCE_S if text == self._last_text else PLAIN_INTERVAL_S):
                self.say(f"[{now - self.began:5.0f} s] {text}")
                self._last_plain, self._last_text = now, text

    def say(self, text: str) -> None:
        """Show a line of its own."""
        if self.quiet:
            return
        if self._bar is not None:
            self._bar.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
        else:
            print(printable(text), file=self._stream, flush=True)
