"""How many worker processes a local run has when nobody says."""

import os
from pathlib import Path
from typing import Final, NamedTuple

WORTH_IT_BYTES: Final = 64_000_000
"""Input, uncompressed, from which several workers pay: about 30,000 posts.

Starting them takes some seconds of processor time, as much as the work of a few megabytes.
"""

WORKER_MEMORY: Final = 1_000_000_000
"""Bytes that one worker may take, and the launching process as well (docs/design.md)."""

_CGROUP = Path("/sys/fs/cgroup")


class WorkerCount(NamedTuple):
    """How many workers, and why, for people to read."""

    workers: int
    reason: str


def choose_workers(input_bytes: int, *, cores: int, memory: int) -> WorkerCount:
    """Choose as many workers as there are cores where the input is worth it and memory allows.

    ``input_bytes``: uncompressed; ``memory``: bytes that the run may take.
    """
    if input_bytes < WORTH_IT_BYTES:
        return WorkerCount(1, "the input is small")
    fitting = max(1, memory // WORKER_MEMORY - 1)
    if fitting < cores:
        return WorkerCount(fitting, f"{memory / 1e9:.1f} GB of memory are enough for no more")
    return WorkerCount(cores, "one for each core")


def usable_cores() -> int:
    """Return how many cores this process may use."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    quota, _, period = _limit("cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def usable_memory() -> int:
    """Return how many bytes of memory there are for this process, whoever else uses them."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _limit("memory.max")
    return min(memory, int(limit)) if limit.isdigit() else memory


def _limit(name: str) -> str:
    """Read a limit that a container sets; empty where there is none."""
    try:
        return (_CGROUP / name).read_text(encoding="ascii").strip()
    except (OSError, UnicodeError):
        return ""
