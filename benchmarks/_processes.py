"""What the processes of a command hold, for benchmarks that start one."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

INTERVAL_S = 0.05


def tree_rss(pid: int, *, itself: bool = True) -> int:
    """Resident bytes of a process and its descendants, or of the descendants alone."""
    total, pending = 0, [pid]
    while pending:
        current = pending.pop()
        try:
            if itself or current != pid:
                total += int(Path(f"/proc/{current}/statm").read_text().split()[1]) * 4096
            for task in Path(f"/proc/{current}/task").iterdir():
                pending += map(int, (task / "children").read_text().split())
        except (OSError, IndexError):
            continue
    return total


@dataclass
class Peak:
    """The largest memory that was seen."""

    bytes: int = 0


@contextmanager
def watched(pid: int) -> Iterator[Peak]:
    """Look at the memory of a process and its descendants 20 times a second."""
    peak, ended = Peak(), threading.Event()

    def watch() -> None:
        while not ended.wait(INTERVAL_S):
            peak.bytes = max(peak.bytes, tree_rss(pid))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()
