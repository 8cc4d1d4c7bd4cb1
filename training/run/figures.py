"""What the steps of a run come to, and the figures of those since the last line of the log."""

import time
from dataclasses import dataclass
from typing import Any

import torch

from training.run.state import TrainingRun
from training.throughput import peak_flops


@dataclass
class StepSums:
    """What a step comes to, over all ranks."""

    loss: float
    """Sum of weight · loss."""
    correct: float
    """Sum of weight · (1 if the chosen has the higher reward, ½ if equal)."""
    weight: float
    pairs: float
    sequences: float
    tokens: float
    flops: float
    identical: float
    unsure: float
    too_clear: float
    at_limit: float
    norm: float = 0.0
    lr: float = 0.0


class LogWindow:
    """Steps since the last line of the log, and their time."""

    def __init__(self, run: TrainingRun) -> None:
        self._run = run
        self._began = time.perf_counter()
        self._steps: list[StepSums] = []

    def add(self, sums: StepSums) -> None:
        """Count a step."""
        self._steps.append(sums)

    def paused(self) -> "_Pause":
        """Exclude the time of what runs inside."""
        return _Pause(self)

    def figures(self) -> dict[str, Any]:
        """Figures of the steps: means by pair weight, and throughput."""
        seconds = time.perf_counter() - self._began
        run = self._run

        def total(name: str) -> float:
            return float(sum(getattr(step, name) for step in self._steps))

        weight = max(total("weight"), 1e-9)
        found = {
            "pairs": run.totals.pairs,
            "tokens": run.totals.tokens,
            "loss": total("loss") / weight,
            "accuracy": total("correct") / weight,
            "lr": self._steps[-1].lr,
            "gradient_norm": self._steps[-1].norm,
            "skipped_steps": run.guard.skipped,
            "pairs_per_second": total("pairs") / seconds,
            "sequences_per_second": total("sequences") / seconds,
            "tokens_per_second": total("tokens") / seconds,
        }
        peak = peak_flops(run.context.device)
        if peak is not None:
            found["mfu"] = total("flops") / seconds / peak / run.context.count
            found["memory_gb"] = torch.cuda.max_memory_allocated(run.context.device) / 1e9
        return found


class _Pause:
    def __init__(self, window: LogWindow) -> None:
        self._window = window

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._window._began += time.perf_counter() - self._began


def describe(figures: dict[str, Any]) -> str:
    """A line of figures for the terminal."""
    parts = [
        f"loss {figures['loss']:.4f}",
        f"accuracy {figures['accuracy']:.1%}",
        f"{figures['pairs_per_second']:,.1f} pairs/s",
        f"{figures['tokens_per_second']:,.0f} tokens/s",
    ]
    if "mfu" in figures:
        parts.append(f"MFU {figures['mfu']:.1%}")
    return "  ".join(parts)
