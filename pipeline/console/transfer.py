"""Progress of an upload or a download: a bar on a terminal, plain lines elsewhere."""

import sys
import threading
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from pipeline.console.text import printable

PLAIN_INTERVAL_S = 10.0


class TransferProgress(AbstractContextManager["TransferProgress"]):
    """Shows bytes, shards and the time that is left, or nothing if ``quiet``.

    May be called from several threads.
    """

    def __init__(self, what: str, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._what = what
        self._quiet = quiet
        self._stream = stream or sys.stderr
        self._lock = threading.Lock()
        self._total_bytes = self._total_shards = self._bytes = self._shards = 0
        self._began = self._last_plain = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def say(self, text: str) -> None:
        """Show a line of its own."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(printable(text), markup=False, highlight=False)
        else:
            print(printable(text), file=self._stream, flush=True)

    def begin(self, total_bytes: int, shards: int) -> None:
        """Begin to count from nothing; with ``shards`` 0 only bytes are counted."""
        self._stop()
        self._total_bytes, self._total_shards = total_bytes, shards
        self._bytes = self._shards = 0
        self._began = self._last_plain = time.monotonic()
        if not self._quiet and self._stream.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=16),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                console=Console(file=self._stream),
            )
            self._task = self._bar.add_task(self._describe(), total=max(total_bytes, 1))
            self._bar.start()
        else:
            where = f" in {shards:,} shards" if shards else ""
            self.say(f"{self._what}: {readable_size(total_bytes)}{where}")

    def advance(self, moved_bytes: int, shards: int) -> None:
        """Count bytes, and shards that are complete."""
        with self._lock:
            self._bytes += moved_bytes
            self._shards += shards
            if self._bar is not None and self._task is not None:
                self._bar.update(self._task, completed=self._bytes, description=self._describe())
                return
            now = time.monotonic()
            if now - self._last_plain < PLAIN_INTERVAL_S:
                return
            self._last_plain = now
            rate = self._bytes / max(now - self._began, 1e-9)
            left = max(self._total_bytes - self._bytes, 0) / rate if rate else 0.0
            self.say(
                f"[{now - self._began:5.0f} s] {self._describe()}, {readable_size(self._bytes)} of "
                f"{readable_size(self._total_bytes)}, {left:,.0f} s left"
            )

    def _describe(self) -> str:
        if not self._total_shards:
            return self._what
        return f"{self._what} {self._shards:,} of {self._total_shards:,} shards"


def readable_size(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size:,} bytes"
