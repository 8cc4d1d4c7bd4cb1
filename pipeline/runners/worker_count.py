"""How many worker processes a local run has when nobody says."""

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
