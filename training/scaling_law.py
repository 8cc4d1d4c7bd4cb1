"""Fits of a loss to sizes: L = E + A·N^-α + B·D^-β, or one of its terms, with intervals.

The method is that of Hoffmann et al. 2022 (arXiv 2203.15556, section 3.3 and appendix D.3): Huber
loss between the logarithms of predicted and measured loss, minimised by L-BFGS from a grid of
starts. The starts stand for shares of the loss instead of raw constants, and sizes are centred, so
that the same grid serves losses and sizes of any scale. The objective is a sum, in units of the
Huber threshold: Besiroglu et al. 2024 (arXiv 2404.10102) found that a mean made the minimiser stop
early, and show how to bootstrap the runs.
"""

from collections.abc import Sequence
from itertools import product

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

Floats = npt.NDArray[np.float64]

DELTA = 1e-3
"""Threshold of the Huber loss in log loss: residuals above 0.1 % count linearly."""
STEEPEST = 3.0
"""Largest exponent that is tried; one that ends here is not known."""
FLATTEST = 0.01
"""An exponent whose interval reaches below this is not known to differ from 0."""
FAINTEST = 1e-4
"""Smallest E, as a share of the smallest loss; one that ends here cannot be told from 0."""
SYMBOLS = {"parameters": ("A", "alpha"), "pairs": ("B", "beta")}
"""Axis -> names of its factor and exponent."""

_START_EXPONENTS = (0.1, 0.3, 0.7, 1.5)
_START_FLOORS = (0.02, 0.4, 0.8, 0.95)


class Estimate(msgspec.Struct, frozen=True):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


class Law(msgspec.Struct, frozen=True, kw_only=True):
    """A fitted law with its bootstrap."""

    axes: tuple[str, ...]
    """What varies: 'parameters', 'pairs', or both."""
    coefficients: dict[str, Estimate]
    """E, and of each axis a factor and an exponent; see SYMBOLS."""
    theta: Floats
    """Best fit: log E, log factors at the centre, exponents."""
    draws: Floats
    """[bootstraps, like theta]."""
    centre: Floats
    """Mean log size of each axis."""
    residuals: Floats
    """log measured − log predicted, of the fitted runs, widened for the numbers fitted."""
    typical_error: float
    """Mean |log error| of a run predicted from the others."""
    constant_error: float
    """The same where the median of the others is the prediction."""

    def predict(self, sizes: Floats) -> Floats:
        """Loss [n] at sizes [n, axes]."""
        return np.exp(_log_loss(self.theta, np.log(sizes) - self.centre)[0])

    def band(self, sizes: Floats) -> tuple[Floats, Floats]:
        """95 % interval [n], [n] of the mean loss at sizes [n, axes]."""
        return _quantiles(self._curves(sizes))

    def interval(self, sizes: Floats, *, seed: int = 0) -> tuple[Floats, Floats]:
        """95 % interval [n], [n] in which one new run at sizes [n, axes] should lie.

        The uncertainty of the curve and the scatter of single runs round it.
        """
        rng = np.random.default_rng(seed)
        curves = self._curves(sizes)
        scatter = rng.choice(self.residuals, (32, *curves.shape))
        return _quantiles((np.log(curves) + scatter).reshape(-1, curves.shape[1]), exponent=True)

    def _curves(self, sizes: Floats) -> Floats:
        logs = np.log(sizes) - self.centre
        return np.exp(np.stack([_log_loss(theta, logs)[0] for theta in self.draws]))


def fit_law(
    axes: Sequence[str], sizes: Floats, losses: Floats, *, bootstraps: int = 300, seed: int = 0
) -> Law:
    """Fit a law to runs of sizes [n, axes] and losses [n].

    Bootstrap resamples draw runs with replacement; one with fewer than three sizes on an axis is
    drawn again, since nothing can be fitted to it. Raises ValueError for fewer than three sizes
    on an axis, or fewer runs than numbers to fit.
    """
    n, k = sizes.shape
    if any(len(np.unique(column)) < 3 for column in sizes.T):
        raise ValueError("a law needs three sizes of each thing that varies")
    if n < 1 + 2 * k:
        raise ValueError(f"a law of {1 + 2 * k} numbers needs as many runs, not {n}")
    logs, target = np.log(sizes), np.log(losses)
    centre = logs.mean(axis=0)
    logs = logs - centre
    weight = np.ones(n)
    ends = sorted(_minimise(start, logs, target, weight) for start in _starts(target, k))
    best = np.array(ends[0][1])
    # Resamples start from the best fit and from one that ended elsewhere, if any did.
    starts = [best, *(np.array(end) for _, end in ends[len(ends) // 2 : len(ends) // 2 + 1])]
    rng = np.random.default_rng(seed)
    draws: list[list[float]] = []
    while len(draws) < bootstraps:
        weight = np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64)
        if all(len(np.unique(column[weight > 0])) >= 3 for column in logs.T):
            draws.append(_refit(starts, logs, target, weight))
    thetas = np.array(draws)
    residuals = target - _log_loss(best, logs)[0]
    typical, constant = _left_out(starts, logs, target)
    return Law(
        axes=tuple(axes),
        coefficients=_coefficients(axes, best, thetas, centre),
        theta=best,
        draws=thetas,
        centre=centre,
        residuals=residuals * np.sqrt(n / max(n - (1 + 2 * k), 1)),
        typical_error=typical,
        constant_error=constant,
    )


def _log_loss(theta: Floats, logs: Floats) -> tuple[Floats, Floats]:
    """Predicted log loss [n] at centred log sizes [n, axes], and each term's share [n, 1 + axes].

    Both from one pass over the exponentials; this is where a fit spends its time.
    """
    k = logs.shape[1]
    terms = np.empty((len(logs), 1 + k))
    terms[:, 0] = theta[0]
    terms[:, 1:] = theta[1 : 1 + k] - theta[1 + k :] * logs
    largest = terms.max(axis=1, keepdims=True)
    shares = np.exp(terms - largest)
    whole = shares.sum(axis=1, keepdims=True)
    return (largest + np.log(whole))[:, 0], shares / whole


def _objective(theta: Floats, logs: Floats, target: Floats, weight: Floats) -> tuple[float, Floats]:
    predicted, shares = _log_loss(theta, logs)
    off = (predicted - target) / DELTA
    inside = np.clip(off, -1, 1)
    by_term = (weight * inside / DELTA)[:, None] * shares
    gradient = np.concatenate([by_term.sum(axis=0), -(by_term[:, 1:] * logs).sum(axis=0)])
    return float(weight @ (inside * (off - inside / 2))), gradient


def _minimise(
    start: Floats, logs: Floats, target: Floats, weight: Floats
) -> tuple[float, list[float]]:
    k = logs.shape[1]
    lowest, highest = target.min(), target.max()
    bounds = [
        (lowest + np.log(FAINTEST), highest),
        *[(lowest - 12, highest + 3)] * k,
        *[(0.0, STEEPEST)] * k,
    ]
    found = minimize(
        _objective,
        start,
        args=(logs, target, weight),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 500, "ftol": 1e-8, "gtol": 1e-6},
    )
    return float(found.fun), [float(x) for x in found.x]


def _refit(starts: Sequence[Floats], logs: Floats, target: Floats, weight: Floats) -> list[float]:
    return min(_minimise(start, logs, target, weight) for start in starts)[1]


def _starts(target: Floats, k: int) -> list[Floats]:
    middle = float(np.median(target))
    return [
        np.array([middle + np.log(floor), *[middle + np.log((1 - floor) / k)] * k, *exponents])
        for floor in _START_FLOORS
        for exponents in product(_START_EXPONENTS, repeat=k)
    ]


def _left_out(starts: Sequence[Floats], logs: Floats, target: Floats) -> tuple[float, float]:
    """Mean |log error| of each run predicted from the others: by the law, and by their median."""
    n = len(target)
    law, constant = np.empty(n), np.empty(n)
    for out in range(n):
        weight = np.ones(n)
        weight[out] = 0
        theta = np.array(_refit(starts, logs, target, weight))
        law[out] = _log_loss(theta, logs[out : out + 1])[0][0] - target[out]
        constant[out] = np.median(np.delete(target, out)) - target[out]
    return float(np.abs(law).mean()), float(np.abs(constant).mean())


def _coefficients(
    axes: Sequence[str], best: Floats, draws: Floats, centre: Floats
) -> dict[str, Estimate]:
    def named(theta: Floats) -> dict[str, float]:
        values = {"E": float(np.exp(theta[0]))}
        for place, axis in enumerate(axes):
            factor, exponent = SYMBOLS[axis]
            slope = theta[1 + len(axes) + place]
            values[factor] = float(np.exp(theta[1 + place] + slope * centre[place]))
            values[exponent] = float(slope)
        return values

    sampled = [named(theta) for theta in draws]
    found = {}
    for name, value in named(best).items():
        low, high = np.quantile([one[name] for one in sampled], (0.025, 0.975))
        found[name] = Estimate(value, float(low), float(high))
    return found


def _quantiles(values: Floats, *, exponent: bool = False) -> tuple[Floats, Floats]:
    low, high = np.quantile(values, (0.025, 0.975), axis=0)
    return (np.exp(low), np.exp(high)) if exponent else (low, high)
