"""How many worker processes a local run has when nobody says."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

WORTH_IT_BYTES: Final = 64_000_000
"""Input, uncompressed, from which several workers pay: about 30,000 posts.

Starting them takes some seconds of processor time, as much as the work of a few megabytes.
"""

WORKER_MEMORY: Final = 1_000_000_000
"""Bytes that one worker may take, and the launching process as well (docs/design.md)."""

USUAL_UNIT_BYTES: Final = 16 << 20
"""Input of one unit of work for which that was measured."""

UNIT_COPIES: Final = 4
"""How often a worker holds a unit, roughly: as it comes, unpacked, joined and as it goes."""


class WorkerCount(NamedTuple):
    """How many workers, and why, for people to read."""

    workers: int
    reason: str
    worker_memory: int
    """Bytes that each may take."""
    short_of_memory: bool = False
    """Whether memory is the reason."""


def choose_workers(
    input_bytes: int, *, cores: int, memory: int, unit_bytes: int = 0
) -> WorkerCount:
    """Choose as many workers as there are cores where the input is worth it and memory allows.

    ``input_bytes``: uncompressed; ``memory``: bytes that the run may take; ``unit_bytes``: of the
    input, what a worker joins at a time.
    """
    each = WORKER_MEMORY + UNIT_COPIES * max(0, unit_bytes - USUAL_UNIT_BYTES)
    if input_bytes < WORTH_IT_BYTES:
        return WorkerCount(1, "the input is small", each)
    # The launching process holds no units.
    fitting = max(1, (memory - WORKER_MEMORY) // each)
    if fitting < cores:
        reason = f"{memory / 1e9:.1f} GB of memory are enough for no more"
        return WorkerCount(fitting, reason, each, short_of_memory=True)
    return WorkerCount(cores, "one for each core", each)


def usable_cores(root: Path = Path("/")) -> int:
    """Return how many cores this process may use; ``root``: where proc and sys are."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    for folder in _control_groups(root, "cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if not quota:  # version 1 of control groups, where -1 is no limit
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):
            cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def usable_memory(root: Path = Path("/")) -> int:
    """Return how many bytes of memory this process and its children may take now.

    That is what is free or can be freed, and no more than a container or the system's manager of
    services allows. ``root``: where proc and sys are.
    """
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for line in _read(root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            limits.append(int(value.split()[0]) * 1024)
    for folder in _control_groups(root, "memory"):
        for file in ("memory.max", "memory.limit_in_bytes"):
            if (limit := _read(folder / file)).isdigit():
                limits.append(int(limit))
    return min(limits)


def _control_groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders with limits of this process: of its group and of those that hold it.

    Of both versions of control groups, as a machine may have both. In a container a group may have
    a name that is known only outside; then the folder of the container's own group is the topmost.
    """
    mounts = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if not controllers:
            tops = [mounts, mounts / "unified"]
        elif controller in controllers.split(","):
            tops = [mounts / controllers]
            if controllers != controller:
                tops.append(mounts / controller)
        else:
            continue
        group = Path(*(part for part in name.split("/") if part not in ("", ".", "..")))
        for top in tops:
            yield from (top / part for part in (group, *group.parents))


def _read(path: Path) -> str:
    """Read what the kernel says; empty where it says nothing."""
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError):
        return ""
