"""What one of several processes reads and gets; tests/test_divided_reading.py starts it.

    torchrun … -m tests.read_as_ranks DATASET DAMAGED OUTPUT

Writes for each division of the processes what this one read and which rows it got, as JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch.distributed as dist

from training.data.dataset import PairDataset, PairRows
from training.data.divided_windows import DividedWindows
from training.data.exchange import RankExchange
from training.data.sampler import BatchSampler
from training.errors import TrainingDatasetError

BATCH_ROWS, WINDOW, EPOCHS, RESUMED_AT = 13, 5, 2, 6
DIVISIONS = ((4, 1), (2, 2), (1, 4))
"""Ranks, and copies of each: as many processes."""


def sampler_of(dataset: PairDataset) -> BatchSampler:
    return BatchSampler(dataset.rows, BATCH_ROWS, WINDOW, seed=3, epochs=EPOCHS)


class Counted(PairDataset):
    """Notes the row groups that are read."""

    def __init__(self, location: str) -> None:
        super().__init__(location, "train")
        self.read_groups: list[int] = []

    def read(self, number: int) -> PairRows:
        self.read_groups.append(number)
        return super().read(number)


def row_of(rows: PairRows, row: int) -> list[Any]:
    """All columns of a row, as JSON has them."""
    values = [getattr(rows, name)[row] for name in PairRows.__dataclass_fields__]
    return [value.item() if hasattr(value, "item") else value for value in values]


def main() -> None:
    dataset, damaged, output = sys.argv[1:]
    dist.init_process_group("gloo")
    process = dist.get_rank()
    found: dict[str, Any] = {}
    for ranks, copies in DIVISIONS:
        exchange = RankExchange(process // copies, ranks, copies=copies)
        for name, first in (("whole", 0), ("resumed", RESUMED_AT)):
            read = Counted(dataset)
            windows = DividedWindows(read, exchange)
            sampler = sampler_of(read)
            steps: list[list[Any]] = []
            for step in range(first, sampler.steps):
                rows, runs = windows.part(sampler, step)
                steps.append([[row, row_of(rows, row)] for run in runs for row in run])
            found[f"{name} {ranks} {copies}"] = {
                "rank": exchange.rank,
                "read": read.read_groups,
                "steps": steps,
            }
    exchange = RankExchange(process, dist.get_world_size())
    wrong = PairDataset(damaged, "train")
    windows = DividedWindows(wrong, exchange)
    try:
        for step in range(sampler_of(wrong).steps):
            windows.part(sampler_of(wrong), step)
    except TrainingDatasetError as error:
        found["damaged"] = str(error)
    Path(output, f"{process}.json").write_text(json.dumps(found), encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
