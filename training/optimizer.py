"""AdamW, its schedule, clipping, and the guard against bad steps."""

import math
import statistics
from collections import deque
from collections.abc import Container
from typing import Any

import torch
from torch import Tensor

from training.config import OptimConfig, known
from training.errors import ConfigError, DivergedError
from training.parallel.sharding import MasterWeights, copy_full, full_tensor

AVERAGE_KEY = "ema"
"""Of the running average of a weight, in its state (training.weight_average)."""
GUARD_WINDOW = 64
"""Gradient norms of which the guard takes the median."""
GUARD_MIN = 16
"""Norms it needs before it judges."""
MAX_SKIPPED = 20
"""Steps skipped in a row after which a run stops."""


def make_optimizer(weights: MasterWeights, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over the masters: decay on matrices, none on norms and biases; the head's own lr."""
    groups: list[dict[str, Any]] = []
    for is_head in (False, True):
        for decays in (True, False):
            members = [
                master
                for name, master in weights.masters.items()
                if (name in weights.head) == is_head and (master.dim() >= 2) == decays
            ]
            if members:
                groups.append(
                    {
                        "params": members,
                        "weight_decay": config.weight_decay if decays else 0.0,
                        "scale": config.head_lr_scale if is_head else 1.0,
                    }
                )
    if not any(master.requires_grad for master in weights.masters.values()):
        raise ConfigError("the model has no weights that can be trained")
    on_gpu = next(iter(weights.masters.values())).is_cuda
    return torch.optim.AdamW(
        groups,
        lr=known(config.lr),
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        fused=on_gpu,
    )


def learning_rate(step: int, steps: int, config: OptimConfig) -> float:
    """Learning rate of a step counted from 0: linear warm-up, then constant or cosine to 0.1 lr.

    WorldPM (A.3): warm-up over a tenth of the steps, then constant.
    """
    warmup, peak = round(config.warmup * steps), known(config.lr)
    if step < warmup:
        return peak * (step + 1) / warmup
    if config.schedule == "constant" or steps <= warmup + 1:
        return peak
    progress = (step - warmup) / (steps - 1 - warmup)
    return peak * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * progress)))


class StepGuard:
    """Says which steps to skip: gradients that are not finite, or far above the usual.

    All ranks see the same norm, so all of them decide alike.
    """

    def __init__(self, spike_factor: float) -> None:
        self.spike_factor = spike_factor
        self.norms: deque[float] = deque(maxlen=GUARD_WINDOW)
        self.skipped = 0
        self._in_a_row = 0

    def accepts(self, norm: float, loss: float) -> bool:
        """Whether to take the step; raises DivergedError after too many bad ones in a row."""
        usual = statistics.median(self.norms) if len(self.norms) >= GUARD_MIN else math.inf
        finite = math.isfinite(norm) and math.isfinite(loss)
        if finite:
            self.norms.append(norm)
        if finite and not (self.spike_factor and norm > self.spike_factor * usual):
            self._in_a_row = 0
            return True
        self.skipped += 1
        self._in_a_row += 1
        if self._in_a_row >= MAX_SKIPPED:
            raise DivergedError(
                f"{MAX_SKIPPED} steps in a row were skipped (gradient norm {norm:.3g}, loss "
                f"{loss:.3g}); a smaller optim.lr or an optim.clip may help"
            )
        return False

    @property
    def in_a_row(self) -> int:
        """Steps that were skipped since the last one that was taken."""
        return self._in_a_row

    def state_dict(self) -> dict[str, Any]:
        """State as JSON."""
        return {"norms": list(self.norms), "skipped": self.skipped, "in_a_row": self._in_a_row}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.norms = deque(state["norms"], maxlen=GUARD_WINDOW)
        self.skipped, self._in_a_row = state["skipped"], state["in_a_row"]


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, weights: MasterWeights
) -> dict[str, Tensor]:
    """AdamW's state by parameter name, as it lies: with fsdp each rank's own part (DTensor)."""
    return {
        f"{key}.{name}": torch.as_tensor(value)
        for name, master in weights.masters.items()
        for key, value in optimizer.state.get(master, {}).items()
    }


def zero_optimizer_state(
    optimizer: torch.optim.Optimizer, weights: MasterWeights, names: Container[str]
) -> dict[str, Tensor]:
    """Make those of AdamW's tensors that ``names`` holds, all zero, to be filled; by name."""
    for name, master in weights.masters.items():
        if f"step.{name}" not in names:
            continue  # no gradient ever reached it
        step = torch.zeros((), device=master.device if master.is_cuda else "cpu")
        optimizer.state[master] = {
            "step": step,
            "exp_avg": torch.zeros_like(master),
            "exp_avg_sq": torch.zeros_like(master),
        }
        if f"{AVERAGE_KEY}.{name}" in names:
            optimizer.state[master][AVERAGE_KEY] = torch.zeros_like(master)
    return optimizer_tensors(optimizer, weights)


def optimizer_state(
    optimizer: torch.optim.Optimizer, weights: MasterWeights, *, keep: bool
) -> dict[str, Tensor]:
    """AdamW's state by parameter name, whole and on the CPU: of use to any number of ranks.

    Every rank must call; without ``keep`` it gets an empty dict.
    """
    found: dict[str, Tensor] = {}
    for name, value in optimizer_tensors(optimizer, weights).items():
        gathered = full_tensor(value, keep=keep)
        if gathered is not None:
            found[name] = gathered
    return found


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, weights: MasterWeights, state: dict[str, Tensor]
) -> None:
    """Take over a state that :func:`optimizer_state` returned.

    Raises ValueError where it is not of these weights.
    """
    known = {
        f"{key}.{name}": master
        for name, master in weights.masters.items()
        for key in ("exp_avg", "exp_avg_sq", AVERAGE_KEY, "step")
    }
    for entry_name, value in state.items():
        if entry_name not in known:
            raise ValueError(f"{entry_name} is of no weight of this model")
        expected = () if entry_name.startswith("step.") else tuple(known[entry_name].shape)
        if tuple(value.shape) != expected:
            raise ValueError(f"{entry_name} has the shape {list(value.shape)}")
        if not bool(value.isfinite().all()):
            raise ValueError(f"{entry_name} holds values that are not finite numbers")
    for name, master in weights.masters.items():
        entry = optimizer.state[master]
        for key in ("exp_avg", "exp_avg_sq", AVERAGE_KEY):
            if f"{key}.{name}" in state:
                entry[key] = torch.zeros_like(master)
                copy_full(entry[key], state[f"{key}.{name}"])
        if f"step.{name}" in state:
            step = state[f"step.{name}"]
            entry["step"] = step.to(master.device) if master.is_cuda else step.clone()
