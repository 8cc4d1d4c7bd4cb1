"""What a plan is for: GPUs of a kind, or this machine's CPU."""

from dataclasses import dataclass

import torch

from schemas.machine import usable_memory
from training.errors import ConfigError
from training.planning.memory import gigabytes
from training.throughput import BF16_PEAK_FLOPS, peak_flops

GPU_MEMORY = {
    "A100": 80e9,
    "A100 40GB": 40e9,
    "L40S": 48e9,
    "H100": 80e9,
    "H200": 141e9,
    "B200": 180e9,
    "4090": 24e9,
}
"""Bytes by the makers' data sheets."""
GPUS_OF_A_MACHINE = 8


@dataclass(frozen=True)
class Hardware:
    """GPUs of a kind, or a CPU."""

    count: int
    gpu: str | None
    """Its name; None for the CPU."""
    memory: float
    """Bytes of each."""
    peak: float | None = None
    """Dense bf16 FLOP/s of each by the data sheet; None where it is not known."""

    @property
    def device(self) -> str:
        """Its torch device."""
        return "cpu" if self.gpu is None else "cuda"

    @property
    def dtype(self) -> torch.dtype:
        """In which the backbone computes there."""
        return torch.float32 if self.gpu is None else torch.bfloat16

    def __str__(self) -> str:
        name = self.gpu or "CPU of this machine"
        return f"{self.count} × {name}, {gigabytes(self.memory)}{' free' * (self.gpu is None)}"


def find_hardware(gpus: int | None, gpu: str | None) -> Hardware:
    """What ``--gpus`` and ``--gpu`` name, else what this machine has; raises ConfigError."""
    if gpu is None and torch.cuda.is_available():
        device = torch.device("cuda", 0)
        memory = torch.cuda.get_device_properties(device).total_memory
        found = torch.cuda.get_device_name(device)
        return Hardware(gpus or torch.cuda.device_count(), found, memory, peak_flops(device))
    if gpu is None and gpus is None:
        return Hardware(1, None, usable_memory())
    name = gpus_by_name().get((gpu or "h100").lower())
    if name is None:
        raise ConfigError(f"--gpu {gpu}: unknown; known are {', '.join(gpus_by_name())}")
    return Hardware(gpus or 1, name, GPU_MEMORY[name], BF16_PEAK_FLOPS[name.split()[0]])


def gpus_by_name() -> dict[str, str]:
    """Those that ``--gpu`` knows, by what it calls them."""
    return {name.lower().replace(" ", "-"): name for name in GPU_MEMORY}
