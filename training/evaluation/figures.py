"""Figures as means over units and blends of them, so that every one gets the same bootstrap.

A :class:`Leaf` is a weighted mean over comparisons; a :class:`Blend` is a weighted sum of other
figures, such as the mean over sections. Both are resampled over whole prompts: the same draws for
every figure and every scorer, so that differences are paired.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from training.validation.bootstrap import Estimate, interval, resamplings
from training.validation.metrics import Floats

Units: TypeAlias = npt.NDArray[np.int64]


class Leaf(NamedTuple):
    """A mean by weight over M comparisons."""

    name: str
    correct: Floats
    """[M], 1 where right, 0 where wrong, between for a tie."""
    weight: Floats
    """[M]"""
    unit: Units
    """[M]: number of the prompt, for the bootstrap."""
    about: str = ""
    confidence: Floats | None = None
    """[M], that each label is right; None: what is counted is no label of a pair."""


class Blend(NamedTuple):
    """A sum of figures by weight, divided by ``over`` (None: by the sum of the weights)."""

    name: str
    parts: "tuple[tuple[float, Leaf | Blend], ...]"
    over: float | None = None
    about: str = ""


Node: TypeAlias = Leaf | Blend


def mean(name: str, parts: Sequence[Node], about: str = "") -> Blend:
    """The plain mean of figures."""
    return Blend(name, tuple((1.0, part) for part in parts), about=about)


def value(node: Node) -> float:
    """The figure itself; nan where nothing is in it."""
    if isinstance(node, Leaf):
        whole = float(node.weight.sum())
        return float(node.correct @ node.weight) / whole if whole else float("nan")
    over = sum(weight for weight, _ in node.parts) if node.over is None else node.over
    return sum(weight * value(part) for weight, part in node.parts) / over


def count(node: Node) -> int:
    """Number of comparisons in it."""
    if isinstance(node, Leaf):
        return len(node.correct)
    return sum(count(part) for _, part in node.parts)


def draw(units: int, n: int, seed: int, stream: int = 0) -> Floats:
    """[n, units]: how often each prompt comes in each of n resamplings."""
    return np.stack(list(resamplings(units, n, seed, stream)))


def resampled(node: Node, times: Floats) -> Floats:
    """[n] values of a figure on the resamplings; nan where one holds none of its prompts."""
    if isinstance(node, Blend):
        over = sum(weight for weight, _ in node.parts) if node.over is None else node.over
        total = np.zeros(len(times))
        for weight, part in node.parts:
            total = total + weight * resampled(part, times)
        return total / over
    size = times.shape[1]
    right = np.bincount(node.unit, weights=node.correct * node.weight, minlength=size)
    whole = np.bincount(node.unit, weights=node.weight, minlength=size)
    with np.errstate(invalid="ignore", divide="ignore"):
        quotient: Floats = (times @ right) / (times @ whole)
    return quotient


def estimate(node: Node, times: Floats) -> Estimate:
    """A figure with its interval."""
    span = interval(resampled(node, times))
    return Estimate(value(node), span.low, span.high)
