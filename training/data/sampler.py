"""Which pairs make up which step: a pure function of (row groups, seed, step).

No state is carried from step to step, so resuming is naming a step, and the batches are the
same for any number of GPUs. Row groups of the Parquet shards are put in a seeded order and cut
into windows of a few; in a window the prompts are shuffled. The result is one long stream of
rows, and step s of n takes rows ⌊s·N/n⌋ to ⌊(s+1)·N/n⌋ of the epoch's N. Orders come from a
stable hash, not from a library's random generator, so they outlive its versions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from schemas.ids import hash63


@dataclass(frozen=True)
class WindowSlice:
    """Rows ``begin`` to ``end`` of the shuffled rows of some row groups.

    The row groups are numbers in reading order; ``key`` seeds the shuffle of their prompts. The
    first of them is ``position`` in the epoch's order of row groups.
    """

    row_groups: tuple[int, ...]
    begin: int
    end: int
    key: str
    position: int


@dataclass(frozen=True)
class BatchSampler:
    """Which rows make up which batch of a training run.

    Fields: ``rows``, rows of each row group; ``batch_rows``, the largest batch; ``window``, row
    groups that are shuffled together; ``seed``; ``epochs``; ``max_rows``, train on the first so
    many rows of the order, the same ones in every epoch.
    """

    rows: tuple[int, ...]
    batch_rows: int
    window: int
    seed: int
    epochs: int = 1
    max_rows: int | None = None

    @property
    def rows_per_epoch(self) -> int:
        """Rows of one epoch, N."""
        return min(sum(self.rows), self.max_rows or sum(self.rows))

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one epoch, n = ⌈N / batch_rows⌉; batches differ by at most one row."""
        return -(-self.rows_per_epoch // self.batch_rows)

    @property
    def steps(self) -> int:
        """Steps of the run."""
        return self.steps_per_epoch * self.epochs

    def slices(self, step: int) -> list[WindowSlice]:
        """The rows of a step, in order. ``step`` counts from 0."""
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} of {self.steps}")
        epoch, step = divmod(step, self.steps_per_epoch)
        begin = step * self.rows_per_epoch // self.steps_per_epoch
        end = (step + 1) * self.rows_per_epoch // self.steps_per_epoch
        order, starts = self._epoch(0 if self.max_rows is not None else epoch)
        found = []
        for number in range(len(starts) - 1):
            first, after = int(starts[number]), int(starts[number + 1])
            if first < end and begin < after:
                members = order[number * self.window : (number + 1) * self.window]
                found.append(
                    WindowSlice(
                        row_groups=tuple(members),
                        begin=max(begin - first, 0),
                        end=min(end, after) - first,
                        key=f"{self.seed}/{epoch if self.max_rows is None else 0}/{number}",
                        position=number * self.window,
                    )
                )
        return found

    def row_groups_read(self, first: int, after: int) -> list[int]:
        """Row groups that the steps ``first`` to ``after`` − 1 read, each once, in that order."""
        found: dict[int, None] = {}
        steps, rows = self.steps_per_epoch, self.rows_per_epoch
        for epoch in range(first // steps, -(-after // steps) if first < after else 0):
            order, starts = self._epoch(0 if self.max_rows is not None else epoch)
            begin = max(first - epoch * steps, 0) * rows // steps
            end = min(after - epoch * steps, steps) * rows // steps
            low = int(np.searchsorted(starts, begin, side="right")) - 1
            high = int(np.searchsorted(starts[:-1], end))
            found |= dict.fromkeys(order[low * self.window : high * self.window])
        return list(found)

    @cached_property
    def _epochs(self) -> dict[int, tuple[list[int], npt.NDArray[np.int64]]]:
        return {}

    def _epoch(self, epoch: int) -> tuple[list[int], npt.NDArray[np.int64]]:
        """Row groups in the epoch's order, and the first row of each window in the stream."""
        if epoch not in self._epochs:
            order = shuffled(len(self.rows), f"{self.seed}/{epoch}")
            sizes = [
                sum(self.rows[group] for group in order[at : at + self.window])
                for at in range(0, len(order), self.window)
            ]
            self._epochs[epoch] = order, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return self._epochs[epoch]


def shuffled(count: int, key: str) -> list[int]:
    """Return 0 … count − 1 in an order that depends on ``key`` and ``count`` alone."""
    return sorted(range(count), key=lambda index: (hash63(f"{key}/{index}"), index))


def window_order(prompts: Sequence[object], key: str) -> list[int]:
    """Shuffle the prompts of a window and return its row numbers in the new order.

    ``prompts`` has an entry per row; neighbours with equal entries belong to one prompt and
    stay together, in their order.
    """
    starts = [0] if prompts else []
    starts += [row for row in range(1, len(prompts)) if prompts[row] != prompts[row - 1]]
    ends = [*starts[1:], len(prompts)]
    return [
        row for group in shuffled(len(starts), key) for row in range(starts[group], ends[group])
    ]
