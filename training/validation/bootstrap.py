"""The bootstrap behind every interval: whole units are drawn with replacement, and percentiles.

A unit is what is drawn as a whole, such as a prompt with all its pairs, which share responses, or
a training run. What is compared is computed on the same draws, so that differences are paired.
"""

from collections.abc import Iterator
from itertools import count

import msgspec
import numpy as np

from training.validation.metrics import Floats

FEW_UNITS = 50
"""Below this, intervals are too narrow to be taken at their word."""


class Interval(msgspec.Struct, frozen=True):
    """A 95 % interval."""

    low: float
    high: float


class Estimate(msgspec.Struct, frozen=True):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def resamplings(units: int, n: int | None, seed: int = 0, stream: int = 0) -> Iterator[Floats]:
    """Yield n times (None: without end) how often each unit is drawn, float [units].

    The streams of a seed are independent of each other.
    """
    rng = np.random.default_rng([seed, stream])
    for _ in count() if n is None else range(n):
        yield np.bincount(rng.integers(units, size=units), minlength=units).astype(np.float64)


def interval(draws: Floats) -> Interval:
    """95 % percentile interval of draws [n]; those that are not finite are excluded.

    Not-a-numbers where none is left.
    """
    draws = draws[np.isfinite(draws)]
    if not len(draws):
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(draws, (0.025, 0.975))
    return Interval(float(low), float(high))
