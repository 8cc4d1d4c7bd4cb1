"""Fits of a loss to sizes: L = E + A·N^-α + B·D^-β, or one of its terms, with intervals.

The objective is that of Hoffmann et al. 2022 (arXiv 2203.15556, section 3.3 and appendix D.3): the
Huber loss between the logarithms of predicted and measured loss, minimised from a grid of starts.
The starts stand for shares of the loss instead of raw constants, and sizes are centred, so that
the same grid serves losses and sizes of any scale. Runs are resampled for the intervals, as
Besiroglu et al. 2024 (arXiv 2404.10102) did when they found the published intervals too narrow.

They minimise by L-BFGS; here all resamples and starts go through Levenberg–Marquardt steps side
by side, which takes a second where one SciPy L-BFGS-B after the other takes minutes. A test holds
the minima against those of L-BFGS-B.
"""

from collections.abc import Sequence
from itertools import islice, product

import msgspec
import numpy as np

from training.validation.bootstrap import Estimate, interval, resamplings
from training.validation.metrics import Floats

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
_STEPS = 120


class Law(msgspec.Struct, frozen=True, kw_only=True, eq=False):
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
        return np.exp(_log_loss(self.draws, logs)[0])


def fit_law(
    axes: Sequence[str], sizes: Floats, losses: Floats, *, bootstraps: int = 300, seed: int = 0
) -> Law:
    """Fit a law to runs of sizes [n, axes] and losses [n].

    Bootstrap resamples draw runs with replacement; one with fewer than three sizes on an axis is
    drawn again, since nothing can be fitted to it. Raises ValueError where :func:`can_fit` is
    False.
    """
    n, k = sizes.shape
    if not can_fit(sizes):
        raise ValueError(f"{n} runs are too few for a law of {1 + 2 * k} numbers")
    logs, target = np.log(sizes), np.log(losses)
    centre = logs.mean(axis=0)
    logs = logs - centre
    starts = _starts(target, k)
    best = minimise(starts, logs, target, np.ones((1, n)))[0]
    starts = np.concatenate([best[None], starts[:: 2**k]])
    usable = (
        times
        for times in resamplings(n, None, seed)
        if all(len(np.unique(column[times > 0])) >= 3 for column in logs.T)
    )
    draws = minimise(starts, logs, target, np.stack(list(islice(usable, bootstraps))))
    residuals = target - _log_loss(best, logs)[0]
    typical, constant = _left_out(starts, logs, target)
    return Law(
        axes=tuple(axes),
        coefficients=_coefficients(axes, best, draws, centre),
        theta=best,
        draws=draws,
        centre=centre,
        residuals=residuals * np.sqrt(n / max(n - (1 + 2 * k), 1)),
        typical_error=typical,
        constant_error=constant,
    )


def can_fit(sizes: Floats) -> bool:
    """Whether runs of sizes [n, axes] leave anything to check a law with.

    It takes three sizes on each axis, and one run more than the law has numbers: through as many
    points as numbers, some curve always goes.
    """
    n, k = sizes.shape
    return n > 1 + 2 * k and all(len(np.unique(column)) >= 3 for column in sizes.T)


def minimise(starts: Floats, logs: Floats, target: Floats, weights: Floats) -> Floats:
    """Best parameters [W, P] for each of the run weights [W, n], over all starts [S, P].

    Levenberg–Marquardt steps with the weights of iteratively reweighted least squares, which
    bound the Huber loss from above; parameters are kept inside their bounds, and those that lean
    against one sit out a step.
    """
    low, high = _bounds(target, logs.shape[1])
    theta = np.clip(np.repeat(starts[None], len(weights), axis=0), low, high)
    theta = theta.reshape(-1, starts.shape[1])
    of_runs = np.repeat(weights, len(starts), axis=0)
    value = _objective(theta, logs, target, of_runs)
    damping = np.full(len(theta), 1e-2)
    active = np.arange(len(theta))
    for _ in range(_STEPS):
        at, runs = theta[active], of_runs[active]
        slope, curvature = _derivatives(at, logs, target, runs)
        stuck = ((at <= low) & (slope > 0)) | ((at >= high) & (slope < 0))
        slope[stuck] = 0
        curvature[stuck] = 0
        curvature.swapaxes(1, 2)[stuck] = 0
        diagonal = np.einsum("bpp->bp", curvature)
        diagonal += damping[active, None] * diagonal + np.where(stuck, 1.0, 1e-9)
        moved = np.clip(at - np.linalg.solve(curvature, slope[..., None])[..., 0], low, high)
        new = _objective(moved, logs, target, runs)
        gain = value[active] - new
        better = gain > 0
        theta[active[better]], value[active[better]] = moved[better], new[better]
        damping[active] = np.where(better, damping[active] / 4, damping[active] * 5)
        done = np.where(better, gain < 1e-9 * (new + 1e-9), damping[active] > 1e9)
        active = active[~done]
        if not len(active):
            break
    by_weight = value.reshape(len(weights), len(starts))
    best: Floats = theta.reshape(len(weights), len(starts), -1)[
        np.arange(len(weights)), by_weight.argmin(axis=1)
    ]
    return best


def _log_loss(theta: Floats, logs: Floats) -> tuple[Floats, Floats]:
    """Predicted log loss [..., n] of parameters [..., P] at centred log sizes [n, axes], and the
    share of each term in the loss [..., n, 1 + axes]."""
    k = logs.shape[1]
    terms = np.empty((*theta.shape[:-1], len(logs), 1 + k))
    terms[..., 0] = theta[..., :1]
    terms[..., 1:] = theta[..., None, 1 : 1 + k] - theta[..., None, 1 + k :] * logs
    largest = terms.max(axis=-1, keepdims=True)
    shares = np.exp(terms - largest)
    whole = shares.sum(axis=-1, keepdims=True)
    return (largest + np.log(whole))[..., 0], shares / whole


def _objective(theta: Floats, logs: Floats, target: Floats, weights: Floats) -> Floats:
    """Weighted sum of Huber losses, in units of DELTA², for each row of parameters."""
    off = (_log_loss(theta, logs)[0] - target) / DELTA
    inside = np.clip(off, -1, 1)
    summed: Floats = (weights * inside * (off - inside / 2)).sum(axis=-1)
    return summed


def _derivatives(
    theta: Floats, logs: Floats, target: Floats, weights: Floats
) -> tuple[Floats, Floats]:
    """Gradient [B, P] of the objective, and the curvature [B, P, P] of its upper bound."""
    predicted, shares = _log_loss(theta, logs)
    off = (predicted - target) / DELTA
    jacobian = np.concatenate([shares, -shares[..., 1:] * logs], axis=-1) / DELTA
    weighted = (weights / np.maximum(np.abs(off), 1))[..., None] * jacobian
    return np.einsum("bnp,bn->bp", weighted, off), np.einsum("bnp,bnq->bpq", weighted, jacobian)


def _bounds(target: Floats, k: int) -> tuple[Floats, Floats]:
    lowest, highest = target.min(), target.max()
    low = [lowest + np.log(FAINTEST), *[lowest - 12] * k, *[0.0] * k]
    high = [highest, *[highest + 3] * k, *[STEEPEST] * k]
    return np.array(low), np.array(high)


def _starts(target: Floats, k: int) -> Floats:
    middle = float(np.median(target))
    return np.array(
        [
            [middle + np.log(floor), *[middle + np.log((1 - floor) / k)] * k, *exponents]
            for floor in _START_FLOORS
            for exponents in product(_START_EXPONENTS, repeat=k)
        ]
    )


def _left_out(starts: Floats, logs: Floats, target: Floats) -> tuple[float, float]:
    """Mean |log error| of each run predicted from the others: by the law, and by their median."""
    n = len(target)
    predicted, _ = _log_loss(minimise(starts, logs, target, 1 - np.eye(n)), logs)
    law = predicted[np.arange(n), np.arange(n)] - target
    constant = [np.median(np.delete(target, out)) - target[out] for out in range(n)]
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
        span = interval(np.array([one[name] for one in sampled]))
        found[name] = Estimate(value, span.low, span.high)
    return found


def _quantiles(values: Floats, *, exponent: bool = False) -> tuple[Floats, Floats]:
    low, high = np.quantile(values, (0.025, 0.975), axis=0)
    return (np.exp(low), np.exp(high)) if exponent else (low, high)
