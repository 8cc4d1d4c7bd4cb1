"""What the processes of a command hold and use, for benchmarks that start one (Linux's /proc)."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

INTERVAL_S = 0.05
LOOKS_FOR_PSS = 20
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Process(NamedTuple):
    """A process; its number alone may be given to another one later."""

    pid: int
    started: int
    """Clock ticks since the machine was started."""


class Use(NamedTuple):
    """What a process has used so far."""

    cpu_s: float
    """User and system, all threads, children not included."""
    name: str
    """What Linux calls the program, such as ``python`` or ``java``."""
    parent: int
    """Process id of the one that started it."""


def descendants(pid: int) -> Iterator[int]:
    """Yield a process and all that descend from it and live."""
    pending = [pid]
    while pending:
        current = pending.pop()
        yield current
        try:
            for task in Path(f"/proc/{current}/task").iterdir():
                pending += map(int, (task / "children").read_text().split())
        except OSError:  # it has ended meanwhile
            continue


def tree_rss(pid: int, *, itself: bool = True) -> int:
    """Resident bytes of a process and its descendants, or of the descendants alone."""
    return sum(_resident(one) for one in descendants(pid) if itself or one != pid)


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0


def tree_pss(pid: int) -> int:
    """Bytes of a process and its descendants, with what several of them share counted once."""
    return sum(_proportional(one) for one in descendants(pid))


def _proportional(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended meanwhile
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def tree_use(pid: int) -> dict[Process, Use]:
    """What a process and each of its descendants have used so far."""
    found = {}
    for one in descendants(pid):
        try:
            stat = Path(f"/proc/{one}/stat").read_text()
        except OSError:
            continue
        # The name stands in brackets and may hold blanks and brackets itself.
        name, _, rest = stat.partition("(")[2].rpartition(")")
        columns = rest.split()
        cpu_s = (int(columns[11]) + int(columns[12])) * _TICK_S
        found[Process(one, int(columns[19]))] = Use(cpu_s, name, int(columns[1]))
    return found


@dataclass
class Watch:
    """What was seen of a command while it ran."""

    bytes: int = 0
    """The largest memory: resident sets of the whole tree, so shared pages count several times."""
    pss_bytes: int = 0
    """The largest memory with shared pages counted once, as forked processes want it; looked at
    once a second, because Linux has to walk through all pages for it."""
    uses: dict[Process, Use] = field(default_factory=dict)
    """What each process had used when it was last seen."""

    @property
    def cpu_s(self) -> float:
        """Processor time of all processes together."""
        return sum(use.cpu_s for use in self.uses.values())

    looks: int = 0

    def look(self, pid: int) -> None:
        """Note what the tree of a process holds and has used."""
        self.bytes = max(self.bytes, tree_rss(pid))
        self.uses |= tree_use(pid)
        if self.looks % LOOKS_FOR_PSS == 0:
            self.pss_bytes = max(self.pss_bytes, tree_pss(pid))
        self.looks += 1


@contextmanager
def watched(pid: int) -> Iterator[Watch]:
    """Look at a process and its descendants 20 times a second."""
    watch, ended = Watch(), threading.Event()

    def look() -> None:
        while not ended.wait(INTERVAL_S):
            watch.look(pid)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield watch
    finally:
        ended.set()
        watcher.join()
