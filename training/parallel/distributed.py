"""The processes of a run: one without torchrun, else one per GPU."""

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from training.errors import ConfigError


@dataclass(frozen=True)
class DistributedContext:
    """This process among those of the run, and how they exchange values."""

    rank: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and the terminal."""
        return self.rank == 0

    def sum(self, values: list[float]) -> list[float]:
        """Sums over all ranks, in fp64."""
        if self.count == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [float(value) for value in tensor.tolist()]

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        self.sum([0.0])

    def max(self, value: float) -> float:
        """Largest value of all ranks."""
        if self.count == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return float(tensor)

    def sum_in_place(self, tensor: Tensor) -> None:
        """Add up a tensor of all ranks."""
        if self.count > 1:
            dist.all_reduce(tensor)

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, in order, on every rank; small things only."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, value)
        return found


def start_distributed(device: str) -> DistributedContext:
    """Join the other processes when torchrun started this one.

    ``device``: 'auto', 'cpu' or 'cuda'.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch sees no GPU here")
    rank, count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    place = torch.device(device)
    if device == "cuda":
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(place)
    if "RANK" in os.environ and not dist.is_initialized():
        dist.init_process_group("nccl" if device == "cuda" else "gloo", device_id=None)
    return DistributedContext(rank, count, place)


def stop_distributed() -> None:
    """Leave the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()
