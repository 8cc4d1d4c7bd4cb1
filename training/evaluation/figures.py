"""Figures as means over units and blends of them, so that every one gets the same bootstrap.

A :class:`Leaf` is a weighted mean of hits; a :class:`Blend` is a weighted sum of other figures,
such as the mean over sections. Both are resampled over whole prompts: the same draws for every
figure and every scorer, so that differences are paired.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from training.validation.baselines import Interval
from training.validation.metrics import Floats

Units: TypeAlias = npt.NDArray[np.int64]


class Leaf(NamedTuple):
    """A mean of M hits by weight."""

    name: str
    hit: Floats
    """[M], between 0 and 1."""
    weight: Floats
    """[M]"""
    unit: Units
    """[M]: number of the prompt, for the bootstrap."""
    about: str = ""


class Blend(NamedTuple):
    """A sum of figures by weight, divided by ``over`` (None: by the sum of the weights)."""

    name: str
    parts: "tuple[tuple[float, Leaf | Blend], ...]"
    over: float | None = None
    about: str = ""


Node: TypeAlias = Leaf | Blend


class Estimate(msgspec.Struct, frozen=True):
    """A value with its 95 % interval over prompts."""

    value: float
    low: float
    high: float


def mean(name: str, parts: Sequence[Node], about: str = "") -> Blend:
    """The plain mean of figures."""
    return Blend(name, tuple((1.0, part) for part in parts), about=about)


def value(node: Node) -> float:
    """The figure itself; nan where nothing is in it."""
    if isinstance(node, Leaf):
        whole = float(node.weight.sum())
        return float(node.hit @ node.weight) / whole if whole else float("nan")
    over = sum(weight for weight, _ in node.parts) if node.over is None else node.over
    return sum(weight * value(part) for weight, part in node.parts) / over


def count(node: Node) -> int:
    """Number of hits in it."""
    if isinstance(node, Leaf):
        return len(node.hit)
    return sum(count(part) for _, part in node.parts)


def draw(units: int, n: int, seed: int, stream: int = 0) -> Floats:
    """[n, units]: how often each prompt comes in each of n resamplings.

    The streams of a seed are independent of each other.
    """
    rng = np.random.default_rng([seed, stream])
    times = np.empty((n, units), dtype=np.float64)
    for row in times:
        row[:] = np.bincount(rng.integers(units, size=units), minlength=units)
    return times


def resampled(node: Node, times: Floats) -> Floats:
    """[n] values of a figure on the resamplings; nan where one holds none of its prompts."""
    if isinstance(node, Blend):
        over = sum(weight for weight, _ in node.parts) if node.over is None else node.over
        total = np.zeros(len(times))
        for weight, part in node.parts:
            total = total + weight * resampled(part, times)
        return total / over
    size = times.shape[1]
    right = np.bincount(node.unit, weights=node.hit * node.weight, minlength=size)
    whole = np.bincount(node.unit, weights=node.weight, minlength=size)
    with np.errstate(invalid="ignore", divide="ignore"):
        quotient: Floats = (times @ right) / (times @ whole)
    return quotient


def interval(draws: Floats) -> Interval:
    """95 % percentile interval; nan draws are left out."""
    draws = draws[np.isfinite(draws)]
    if not len(draws):
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(draws, (0.025, 0.975))
    return Interval(float(low), float(high))


def estimate(node: Node, times: Floats) -> Estimate:
    """A figure with its interval."""
    span = interval(resampled(node, times))
    return Estimate(value(node), span.low, span.high)
