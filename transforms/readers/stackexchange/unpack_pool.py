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

from transforms.readers.formats.progress import FileProgress, HashingProgress, ReportTimer

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
        timer = ReportTimer(say, clock)
        self.hashing = HashingProgress(timer)
        self._unpacking = FileProgress("unpacking", timer)
        self._lock = threading.Lock()
        self._stopped: str | None = None
        self._claimed: dict[Path, int] = defaultdict(int)

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
        """Say that ``archive``, of ``size`` bytes, is to be hashed and unpacked."""
        self.hashing.expect(archive, size)
        self._unpacking.expect(archive, size)

    def begin(self, archive: Path) -> None:
        """Say that unpacking ``archive`` begins."""
        self.check()
        self._unpacking.begin(archive)

    def end(self, archive: Path) -> None:
        """Say that ``archive`` is unpacked or given up; its room is free again."""
        self._unpacking.end(archive)
        with self._lock:
            self._claimed.pop(archive, None)

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

    def has_hashed(self, path: str, size: int) -> None:
        """Count ``size`` bytes of a file as hashed; may report progress."""
        self.check()
        self.hashing.hashed(path, size)

    def has_read(self, archive: Path, size: int) -> None:
        """Count ``size`` bytes of ``archive`` as read; may report progress.

        Negative: as read in vain, since they are read again.
        """
        self.check()
        self._unpacking.count(archive, size)

    def has_written(self, archive: Path, size: int) -> None:
        """Count ``size`` bytes of its tables as written: they are no longer only reserved."""
        self.check()
        with self._lock:
            if archive in self._claimed:
                self._claimed[archive] = max(0, self._claimed[archive] - size)
