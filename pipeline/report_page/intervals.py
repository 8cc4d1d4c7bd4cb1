"""Shares with their uncertainty, for rows that come in groups."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959964


class Proportion(NamedTuple):
    """A proportion with its 95 % interval, each from 0 to 1; None without a row."""

    value: float | None
    low: float
    high: float
    total: int
    """Rows that the share is of."""


def proportion(wins: NDArray[Any], groups: NDArray[Any]) -> Proportion:
    """Return the share of True in ``wins`` with Wilson's 95 % interval.

    Pairs of one thread share responses, so they say less than as many threads would. Wilson's
    interval (1927) is therefore taken at the effective size n* = p(1 − p) / v, where v is the
    linearised variance of a ratio over threads, Σ(wₜ − p nₜ)² / n² · m/(m − 1)
    (Franco et al. 2019, J. Surv. Stat. Methodol. 7(3)); n* is at most n.
    ``groups`` is equal for rows of one thread, shape (n,).
    """
    count = len(wins)
    if not count:
        return Proportion(None, 0.0, 1.0, 0)
    value = float(np.mean(wins))
    _, place = np.unique(groups, return_inverse=True)
    residuals = np.bincount(place, weights=np.asarray(wins, float) - value)
    threads = len(residuals)
    variance = float(np.sum(residuals**2)) / count**2 * threads / max(threads - 1, 1)
    # Where all rows agree there is no spread to see; the threads are what is independent.
    effective = value * (1 - value) / variance if variance > 0 else float(threads)
    return Proportion(value, *wilson(value, min(effective, float(count))), count)


def wilson(value: float, size: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a proportion seen in ``size`` draws."""
    spread = Z_95 * math.sqrt(value * (1 - value) / size + Z_95**2 / (4 * size**2))
    centre = value + Z_95**2 / (2 * size)
    scale = 1 + Z_95**2 / size
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
