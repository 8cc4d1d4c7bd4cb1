"""The processes of a run: one without torchrun, else one per GPU."""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from training.errors import ConfigError, ConnectionLostError


@dataclass(frozen=True)
class DistributedContext:
    """This process among those of the run, and how they exchange values."""

    rank: int
    count: int
    device: torch.device
    control_group: Any = None
    """Of the CPUs (gloo), for what the processes agree on while GPUs compute; None for one."""
    save_group: Any = None
    """The same for the thread that writes checkpoints: it must not meet the loop's exchanges."""

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
        self.largest(0)

    def max(self, value: float) -> float:
        """Largest value of all ranks."""
        if self.count == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return float(tensor)

    def any(self, said: bool) -> bool:
        """Whether any rank says so; between the CPUs, so that no GPU waits."""
        return self.largest(int(said)) > 0

    def largest(self, value: int) -> int:
        """Largest number of all ranks; between the CPUs."""
        if self.count == 1:
            return value
        tensor = torch.tensor(value)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=self.control_group)
        return int(tensor)

    def sum_in_place(self, tensor: Tensor) -> None:
        """Add up a tensor of all ranks."""
        if self.count > 1:
            dist.all_reduce(tensor)

    def gather(self, value: Any, *, group: Any = None) -> list[Any]:
        """Every rank's value, in order, on every rank; small things only."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, value, group=group or self.control_group)
        return found

    def connection_lost(self, error: RuntimeError) -> ConnectionLostError | None:
        """What to tell where an exchange with the other processes failed; None for other errors."""
        text = str(error).splitlines()[0] if str(error) else ""
        # gloo raises plain RuntimeErrors, which begin with the place in its source.
        if self.count == 1 or not (isinstance(error, dist.DistError) or "gloo/" in text):
            return None
        return ConnectionLostError(
            f"process {self.rank} of {self.count} can no longer reach the others: one of them "
            "ended, as its own message says, or did not answer within run.timeout_minutes "
            f"({text.rpartition('] ')[2][:200]})"
        )


def start_distributed(device: str, timeout_minutes: float = 60.0) -> DistributedContext:
    """Join the other processes when torchrun started this one.

    Args:
        device: 'auto', 'cpu' or 'cuda'.
        timeout_minutes: how long a process waits for the others, whatever they do: download a
            model, hash a dataset, validate, write a checkpoint. NCCL's own default is ten.
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
    if "RANK" not in os.environ:
        return DistributedContext(rank, count, place)
    timeout = timedelta(minutes=timeout_minutes)
    if not dist.is_initialized():
        backend = "nccl" if device == "cuda" else "gloo"
        dist.init_process_group(backend, device_id=None, timeout=timeout)
    control, save = (dist.new_group(backend="gloo", timeout=timeout) for _ in range(2))
    return DistributedContext(rank, count, place, control_group=control, save_group=save)


def stop_distributed() -> None:
    """Leave the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()
