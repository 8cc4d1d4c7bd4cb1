"""Say, every few seconds, how far files are read, where that is done before the pipeline runs."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Final

FIRST_REPORT_SECONDS: Final = 2.0
REPORT_SECONDS: Final = 10.0


class ReportTimer:
    """When to ``say`` something, for all threads and kinds of work together; None: never."""

    def __init__(
        self, say: Callable[[str], None] | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock = clock
        self._say = say
        self._lock = threading.Lock()
        self._next = clock() + FIRST_REPORT_SECONDS

    def report(self, text: Callable[[], str]) -> None:
        """Say ``text()`` if it is time to."""
        if self._say is None:
            return
        now = self.clock()
        with self._lock:
            if now < self._next:
                return
            self._next = now + REPORT_SECONDS
        self._say(text())


class FileProgress:
    """How far a kind of work on files is; its methods may be called from any thread."""

    def __init__(self, verb: str, timer: ReportTimer) -> None:
        self._verb = verb
        self._timer = timer
        self._lock = threading.Lock()
        self._expected: dict[Path, int] = {}
        self._read: dict[Path, int] = defaultdict(int)
        self._active: dict[Path, None] = {}
        self._ended: set[Path] = set()
        self._since = 0.0
        self._busy = 0.0
        """Seconds in which a file was active, before ``_since``."""

    def expect(self, path: Path, size: int) -> None:
        """Say that a file of ``size`` bytes is to be read."""
        with self._lock:
            self._expected[path] = size

    def begin(self, path: Path) -> None:
        """Say that it is read now."""
        with self._lock:
            self._expected.setdefault(path, 0)
            if not self._active:
                self._since = self._timer.clock()
            self._active[path] = None

    def end(self, path: Path) -> None:
        """Say that it is read, or given up; nothing of it is to come."""
        with self._lock:
            self._ended.add(path)
            if self._active.pop(path, self) is None and not self._active:
                self._busy += self._timer.clock() - self._since

    def count(self, path: Path, size: int) -> None:
        """Count ``size`` bytes of it as read (negative: in vain, they come again); may report."""
        with self._lock:
            self._read[path] += size
        self._timer.report(self._text)

    def _text(self) -> str:
        with self._lock:
            expected = sum(self._expected.values())
            done = sum(
                size if path in self._ended else min(self._read[path], size)
                for path, size in self._expected.items()
            )
            names = [path.name for path in self._active]
            running = self._timer.clock() - self._since if self._active else 0.0
            speed = sum(self._read.values()) / max(self._busy + running, 1e-9)
        others = len(names) - 1
        what = "".join(names[:1]) + (f" and {others} more" if others > 0 else "")
        share = f"{100 * done / expected:.0f} % of {_size(expected)}, " if expected else ""
        return f"{self._verb} {what}: {share}{_size(speed)}/s"


def _size(size: float) -> str:
    return f"{size / 1e9:,.3g} GB" if size >= 1e9 else f"{size / 1e6:,.3g} MB"


class HashingProgress(FileProgress):
    """How far local files are hashed; :meth:`hashed` is what `schemas.checksums` tells it to."""

    def __init__(self, timer: ReportTimer) -> None:
        super().__init__("hashing", timer)

    def hashed(self, path: str, size: int) -> None:
        """Count ``size`` bytes; a file begins with its first and ends with the last expected."""
        key = Path(path)
        if key not in self._active and key not in self._ended:
            self.begin(key)
        self.count(key, size)
        if self._read[key] >= self._expected.get(key, 0):
            self.end(key)
