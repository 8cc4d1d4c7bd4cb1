"""What this process may take of the machine: cores and memory, by the limits of its container."""

import os
from collections.abc import Iterator
from pathlib import Path


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
        for limit_file, taken_file in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            if (limit := _read(folder / limit_file)).isdigit():
                limits.append(int(limit) - _kept(folder, taken_file))
    return max(min(limits), 0)


def _kept(folder: Path, taken_file: str) -> int:
    """Bytes that a control group has taken, but what the kernel only keeps of files it read."""
    taken = _read(folder / taken_file)
    if not taken.isdigit():
        return 0
    counts = dict(line.split(maxsplit=1) for line in _read(folder / "memory.stat").splitlines())
    read = counts.get("total_inactive_file", counts.get("inactive_file", "0"))
    return max(int(taken) - int(read), 0)


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
