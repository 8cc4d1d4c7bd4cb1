"""How far the CPU may be ahead of a GPU."""

from collections import deque
from typing import Any

import torch


class GpuQueue:
    """Keeps the CPU at most one micro-batch ahead of a GPU, so that a run stops soon when it is
    told to; on a CPU there is nothing to wait for."""

    def __init__(self, device: torch.device) -> None:
        self._is_gpu = device.type == "cuda"
        self._ends: deque[Any] = deque()

    def add(self) -> None:
        """Mark the end of what was just put into the queue."""
        if self._is_gpu:
            self._ends.append(torch.cuda.Event())
            self._ends[-1].record()

    def wait(self) -> None:
        """Wait until at most one micro-batch is left."""
        while len(self._ends) > 1:
            self._ends.popleft().synchronize()
