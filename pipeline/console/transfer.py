"""Progress of bytes that are sent, fetched, copied or compared."""

import threading
import time
from typing import TextIO

from rich.progress import (
    BarColumn,
    DownloadColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from pipeline.console.display import ProgressDisplay
from pipeline.console.text import readable_size


class TransferProgress(ProgressDisplay):
    """Shows bytes, shards and the time that is left, or nothing if ``quiet``.

    ``what`` names the work, such as ``upload``. May be called from several threads.
    """

    def __init__(self, what: str, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        super().__init__(columns, quiet=quiet, stream=stream)
        self._what = what
        self._counting = threading.Lock()
        self._total_bytes = self._total_shards = self._bytes = self._shards = 0

    def begin(self, total_bytes: int, shards: int) -> None:
        """Begin to count from nothing; with ``shards`` 0 only bytes are counted."""
        self._total_bytes, self._total_shards = total_bytes, shards
        self._bytes = self._shards = 0
        self.start(self._describe(), total_bytes)
        if not self.has_bar:
            where = f" in {shards:,} shards" if shards else ""
            self.say(f"{self._what}: {readable_size(total_bytes)}{where}")

    def advance(self, moved_bytes: int, shards: int) -> None:
        """Count bytes, and shards that are complete."""
        with self._counting:
            self._bytes += moved_bytes
            self._shards += shards
            done = self._bytes
            text = self._describe()
            rate = done / max(time.monotonic() - self.began, 1e-9)
            left = max(self._total_bytes - done, 0) / rate if rate else 0.0
            size = f"{readable_size(done)} of {readable_size(self._total_bytes)}"
            self.show(done, text, plain=f"{text}, {size}, {left:,.0f} s left")

    def _describe(self) -> str:
        if not self._total_shards:
            return self._what
        return f"{self._what} {self._shards:,} of {self._total_shards:,} shards"
