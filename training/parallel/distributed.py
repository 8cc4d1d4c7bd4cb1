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
    context_degree: int = 1
    """Ranks that share each micro-batch: they see the same pairs, and each holds a part of their
    tokens (``run.context_parallel_degree``). They are neighbours: 0 and 1, 2 and 3 for 2."""
    context_group: Any = None
    """Process group of the ranks that share this one's micro-batches; None for a degree of 1."""
    control_group: Any = None
    """Of the CPUs (gloo), for what the processes agree on while GPUs compute; None for one."""
    save_group: Any = None
    """The same for the thread that writes checkpoints: it must not meet the loop's exchanges."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and the terminal."""
        return self.rank == 0

    @property
    def is_distributed(self) -> bool:
        """Whether torchrun started this run, be it with a single process."""
        return dist.is_initialized()

    @property
    def data_ranks(self) -> int:
        """Groups of ranks that see pairs of their own: as many parts as a batch is divided into."""
        return self.count // self.context_degree

    @property
    def data_rank(self) -> int:
        """Number of this rank's part of a batch."""
        return self.rank // self.context_degree

    @property
    def context_rank(self) -> int:
        """Number of this rank among those that share its micro-batches."""
        return self.rank % self.context_degree

    def sum(self, values: list[float]) -> list[float]:
        """Sums over all data ranks, in fp64; ranks that share micro-batches say the same."""
        if self.count == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [float(value) / self.context_degree for value in tensor.tolist()]

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
        """Add up a tensor of floats of all data ranks."""
        if self.count > 1:
            dist.all_reduce(tensor)
            if self.context_degree > 1:
                tensor /= self.context_degree

    def gather(self, value: Any, *, group: Any = None) -> list[Any]:
        """Every rank's value, in order, on every rank; small things only."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, value, group=group or self.control_group)
        return found

    def gather_parts(self, value: Any) -> list[Any]:
        """The same, one value of each data rank."""
        return self.gather(value)[:: self.context_degree]

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


def start_distributed(
    device: str, context_degree: int = 1, *, timeout_minutes: float = 60.0
) -> DistributedContext:
    """Join the other processes when torchrun started this one.

    Args:
        device: 'auto', 'cpu' or 'cuda'.
        context_degree: ranks that share each micro-batch (``run.context_parallel_degree``).
        timeout_minutes: how long a process waits for the others, whatever they do: download a
            model, hash a dataset, validate, write a checkpoint. NCCL's own default is ten.

    Raises ConfigError where the ranks cannot be divided into groups of that size, or the variables
    that torchrun sets are not whole, and ConnectionLostError where the others cannot be reached.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch sees no GPU here")
    rank, count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if count % context_degree:
        raise ConfigError(
            f"run.context_parallel_degree={context_degree} does not divide the {count} processes "
            "of this run; start a multiple of it, or lower it"
        )
    place = torch.device(device)
    if device == "cuda":
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(place)
    if "RANK" not in os.environ:
        return DistributedContext(rank, count, place)
    try:
        return _join(rank, count, place, context_degree, timedelta(minutes=timeout_minutes))
    except ValueError as error:  # a variable that is missing or no number
        raise ConfigError(f"{error}; start several processes with torchrun") from None
    except RuntimeError as error:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConnectionLostError(
            f"process {rank} of {count} cannot reach the others at "
            f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')} "
            f"({text.rpartition('] ')[2][:200]})"
        ) from error


def _join(
    rank: int, count: int, place: torch.device, context_degree: int, timeout: timedelta
) -> DistributedContext:
    """Connect with the other processes, and make the groups that they exchange values in."""
    if not dist.is_initialized():
        # gloo beside nccl: with run.cpu_offload gradients and states are summed on the CPU.
        backend = "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo"
        dist.init_process_group(backend, device_id=None, timeout=timeout)
    # Every rank makes all groups, in the same order.
    control, save = (dist.new_group(backend="gloo", timeout=timeout) for _ in range(2))
    group = None
    if context_degree > 1:
        firsts = range(0, count, context_degree)
        groups = [
            dist.new_group(list(range(at, at + context_degree)), timeout=timeout) for at in firsts
        ]
        group = groups[rank // context_degree]
    return DistributedContext(
        rank,
        count,
        place,
        context_degree=context_degree,
        context_group=group,
        control_group=control,
        save_group=save,
    )


def stop_distributed() -> None:
    """Leave the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()
