"""What archives that are unpacked at the same time share: threads, room on the disk, progress.

Threads and not processes: all that takes time (decoders, checksums, files) is in C and lets other
threads run meanwhile.
"""

import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, Self

FIRST_REPORT_SECONDS: Final = 2.0
REPORT_SECONDS: Final = 10.0

_GROUPS_PER_THREAD: Final = 2
"""One that is decoded, and one that waits: for a thread, for its turn, or to be written."""


class WorkFolderError(OSError):
    """This machine cannot unpack the tables, for lack of room, say: no fault of the archive."""


class UnpackStoppedError(WorkFolderError):
    """Another archive has ended the run, or the user has: this one is not unpacked further."""


class UnpackPool:
    """Threads for ``threads`` processors, which stop when the ``with`` block is left."""

    def __init__(
        self,
        threads: int = 1,
        say: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.threads = threads
        self.archives = ThreadPoolExecutor(threads, "unpack")
        """Each of its threads has one archive, whose blocks may go to :attr:`decoders`."""
        self.decoders = ThreadPoolExecutor(threads, "decode")
        """What they run never waits for other threads."""
        self.writers = ThreadPoolExecutor(threads, "write")
        """Of its own, so that what is decoded need not wait for what is not."""
        self.slots = threading.BoundedSemaphore(_GROUPS_PER_THREAD * threads)
        """One for each group of blocks that is in memory, whichever archive it is of."""
        self._say = say
        self._clock = clock
        self._lock = threading.Lock()
        self._stopped: str | None = None
        self._started = clock()
        self._next_report = self._started + FIRST_REPORT_SECONDS
        self._claimed: dict[Path, int] = defaultdict(int)
        self._packed: dict[Path, int] = {}
        self._read: dict[Path, int] = defaultdict(int)
        self._active: dict[Path, None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.stop("unpacking was stopped")
        for executor in (self.archives, self.decoders, self.writers):
            executor.shutdown(cancel_futures=error is not None)

    def stop(self, why: str) -> None:
        """Make all archives end at their next read or write; the first reason counts."""
        with self._lock:
            self._stopped = self._stopped or why

    def check(self) -> None:
        """Raise UnpackStoppedError, with the reason, when there is no use in going on."""
        if self._stopped is not None:
            raise UnpackStoppedError(self._stopped)

    def expect(self, archive: Path, size: int) -> None:
        """Say that ``archive``, of ``size`` bytes, is to be unpacked."""
        with self._lock:
            self._packed[archive] = size

    def begin(self, archive: Path) -> None:
        """Say that unpacking ``archive`` begins."""
        self.check()
        with self._lock:
            self._packed.setdefault(archive, 0)
            self._active[archive] = None

    def end(self, archive: Path) -> None:
        """Say that ``archive`` is unpacked or given up; its room is free again."""
        with self._lock:
            self._active.pop(archive, None)
            self._claimed.pop(archive, None)
            self._read[archive] = self._packed.get(archive, 0)

    def claim(self, archive: Path, folder: Path, needed: int) -> int | None:
        """Reserve ``needed`` bytes in ``folder``, or return how many are free where too few are.

        What others have reserved and not written yet is not free. Raises OSError.
        """
        with self._lock:
            free = shutil.disk_usage(folder).free - sum(self._claimed.values())
            if needed > free:
                return max(free, 0)
            self._claimed[archive] += needed
        return None

    def has_read(self, archive: Path, size: int) -> None:
        """Count ``size`` bytes of ``archive`` as read; may report progress."""
        self.check()
        with self._lock:
            self._read[archive] += size
        self._report()

    def has_written(self, archive: Path, size: int) -> None:
        """Count ``size`` bytes of its tables as written: they are no longer only reserved."""
        self.check()
        with self._lock:
            if archive in self._claimed:
                self._claimed[archive] = max(0, self._claimed[archive] - size)

    def _report(self) -> None:
        if self._say is None:
            return
        now = self._clock()
        with self._lock:
            if now < self._next_report:
                return
            self._next_report = now + REPORT_SECONDS
            text = self._progress(now - self._started)
        self._say(text)

    def _progress(self, seconds: float) -> str:
        packed = sum(self._packed.values())
        read = sum(min(self._read[path], size) for path, size in self._packed.items())
        names = [path.name for path in self._active]
        others = len(names) - 1
        what = "".join(names[:1]) + (f" and {others} more" if others > 0 else "")
        speed = sum(self._read.values()) / max(seconds, 1e-9)
        share = f"{100 * read / packed:.0f} % of {_size(packed)}, " if packed else ""
        return f"unpacking {what}: {share}{_size(speed)}/s"


def _size(size: float) -> str:
    return f"{size / 1e9:,.3g} GB" if size >= 1e9 else f"{size / 1e6:,.3g} MB"
