"""A running average of the weights over the steps (EMA), a second model to save.

Kept in the optimizer's state beside AdamW's own moments: in fp32, divided over the ranks as they
are, and in every checkpoint with them. Polyak & Juditsky 1992; the rise of the decay as usual in
TensorFlow and diffusers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from training.optimizer import AVERAGE_KEY
from training.parallel.sharding import MasterWeights


@torch.no_grad()
def update_average(optimizer: torch.optim.Optimizer, weights: MasterWeights, decay: float) -> None:
    """Move the average towards the weights, after a step that was taken.

    It begins as the weights after the first step. Later it keeps min(decay, (1 + n) / (10 + n)) of
    itself at step n, so that it is not still the beginning when a short run ends.
    """
    kept: dict[float, tuple[list[Tensor], list[Tensor]]] = {}
    for master in weights.masters.values():
        state = optimizer.state.get(master)
        if not state:
            continue  # no gradient ever reached it, so it is what it was
        if AVERAGE_KEY not in state:
            state[AVERAGE_KEY] = master.detach().clone()
            continue
        number = float(state["step"])
        share = 1 - min(decay, (1 + number) / (10 + number))
        averages, masters = kept.setdefault(share, ([], []))
        averages.append(_local(state[AVERAGE_KEY]))
        masters.append(_local(master.detach()))
    for share, (averages, masters) in kept.items():
        torch._foreach_lerp_(averages, masters, share)


@contextmanager
def averaged(optimizer: torch.optim.Optimizer, weights: MasterWeights) -> Iterator[None]:
    """Have the average in the place of the weights for a while; every rank must enter."""
    _exchange(optimizer, weights)
    try:
        yield
    finally:
        _exchange(optimizer, weights)


@torch.no_grad()
def _exchange(optimizer: torch.optim.Optimizer, weights: MasterWeights) -> None:
    for master in weights.masters.values():
        average = optimizer.state.get(master, {}).get(AVERAGE_KEY)
        if average is not None:
            here, there = _local(master.detach()), _local(average)
            before = here.clone()
            here.copy_(there)
            there.copy_(before)
    weights.refresh_copies()


def _local(tensor: Any) -> Tensor:
    """A rank's own part of a tensor that is divided."""
    found: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return found
