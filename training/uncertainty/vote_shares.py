"""The share of votes that a pair's response gets, and an interval for it.

Of two responses with a and b votes (scores below zero count as none), the observed share of the
first is a / (a + b). The model's reward difference d, with variance v, predicts for each voter the
probability P = sigmoid(c·D), D normal (d, v); so the observed share of n = a + b votes has

    mean      E[P]
    variance  Var[P] + E[P(1 − P)] · (1/n + (1 − 1/n)·ρ)

The first term is what the model does not know, 1/n is the draw of n voters, and ρ says how much
alike voters of one pair vote (beta-binomial; Williams 1982, Applied Statistics 31(2)). c and ρ are
fitted to validation pairs by the Dawid–Sebastiani score (Gneiting and Raftery 2007, section 4.1),
which takes a mean and a variance. The interval is mean ± q · standard deviation, within [0, 1]; q
is the quantile of |share − mean| / standard deviation over validation threads that makes it hold
nine tenths of the shares (split conformal: Lei et al. 2018, arXiv 1604.04173, section 5.2), each
thread weighing the same (Lee, Barber and Willett 2023, arXiv 2306.06342).
"""

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from schemas.fields import doc
from training.validation.metrics import Floats

Integers: TypeAlias = npt.NDArray[np.int64]

LEVEL = 0.9
"""Share of the observed values that an interval is to hold."""
FOLDS = 5
"""Groups of threads; what a thread is held against was fitted to the others."""
_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(15)
_NODE_WEIGHTS = _NODE_WEIGHTS / _NODE_WEIGHTS.sum()
MAX_DIFFERENCE = 30.0
"""c·d beyond this is a certain vote."""


class VotedPairs(NamedTuple):
    """P pairs with votes and what the model says of them; arrays [P]."""

    thread: Integers
    """Number of the thread; pairs of one share a prompt and responses."""
    difference: Floats
    """d = r_chosen − r_rejected."""
    variance: Floats
    """v, of d."""
    share: Floats
    """Of the votes, that of the chosen response: 0 to 1."""
    votes: Floats
    """n, of both; > 0."""

    def take(self, where: Integers) -> "VotedPairs":
        """Some of them, in an order."""
        return VotedPairs(
            self.thread[where],
            self.difference[where],
            self.variance[where],
            self.share[where],
            self.votes[where],
        )


class ShareModel(msgspec.Struct, frozen=True, kw_only=True):
    """What turns a difference of rewards into an interval for a share of votes."""

    scale: Annotated[float, doc("c: what a reward counts for in votes")]
    dispersion: Annotated[float, doc("ρ, 0 to 1: how much alike voters of a pair vote")]
    quantile: Annotated[float, doc("q: half the interval, in standard deviations")]
    level: Annotated[float, doc("share of observed values that the interval is to hold")] = LEVEL
    threads: Annotated[int, doc("validation threads that it was fitted to")]
    pairs: Annotated[int, doc("pairs of them")]


def scores_are_votes(recipe: Mapping[str, Any]) -> bool:
    """Whether the scores of a dataset's pairs are numbers of votes, by the recipe in its manifest.

    Those of ``--votes log2`` are logarithms, those of ``debiased`` log-odds.
    """
    return recipe.get("votes") not in ("log2", "debiased")


def vote_shares(chosen_score: Floats, rejected_score: Floats) -> tuple[Floats, Floats]:
    """The chosen response's share of the votes, and the votes, both [P].

    A score below zero counts as no votes. The share is nan where neither response has a vote.
    """
    chosen, rejected = np.maximum(chosen_score, 0.0), np.maximum(rejected_score, 0.0)
    votes = chosen + rejected
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(votes > 0, chosen / votes, np.nan), votes


def moments(pairs: VotedPairs, scale: float, dispersion: float) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the observed shares, [P] each."""
    spread = np.sqrt(pairs.variance)[:, None] * _NODES
    logits = np.clip(scale * (pairs.difference[:, None] + spread), -MAX_DIFFERENCE, MAX_DIFFERENCE)
    p = 1.0 / (1.0 + np.exp(-logits))
    mean = p @ _NODE_WEIGHTS
    unknown = np.maximum((p**2) @ _NODE_WEIGHTS - mean**2, 0.0)
    one = 1.0 / np.maximum(pairs.votes, 1.0)
    variance = unknown + ((p * (1 - p)) @ _NODE_WEIGHTS) * (one + (1 - one) * dispersion)
    return mean, np.sqrt(np.maximum(variance, 1e-12))


def thread_weights(thread: Integers) -> Floats:
    """1 / (pairs of the thread), [P]: each thread weighs the same."""
    _, place, count = np.unique(thread, return_inverse=True, return_counts=True)
    weights: Floats = 1.0 / count[place]
    return weights


def fit_moments(pairs: VotedPairs, near: tuple[float, float] | None = None) -> tuple[float, float]:
    """c and ρ of the lowest mean Dawid–Sebastiani score, searched for from ``near`` on."""
    weight = thread_weights(pairs.thread)
    # Rewards may be tiny or huge: c is searched for in units of their spread.
    unit = 1.0 / max(float(np.sqrt(np.average(pairs.difference**2, weights=weight))), 1e-12)

    def score(parameters: Floats) -> float:
        mean, deviation = moments(pairs, *_from(parameters, unit))
        z = (pairs.share - mean) / deviation
        return float(np.average(z**2 + 2 * np.log(deviation), weights=weight))

    starts = [np.array([-3.0, -1.0]), np.array([-0.5, -1.0])]
    if near is not None:
        starts = [np.array([np.log(near[0] / unit), np.log(near[1] / (1.0 - near[1]))])]
    found = [
        minimize(score, start, method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-6})
        for start in starts
    ]
    return _from(min(found, key=lambda one: float(one.fun)).x, unit)


def _from(parameters: Floats, unit: float) -> tuple[float, float]:
    c, r = np.clip(parameters, -15.0, 15.0)
    return unit * float(np.exp(min(c, 3.0))), float(1.0 / (1.0 + np.exp(-r)))


def fit_shares(pairs: VotedPairs, *, level: float = LEVEL, seed: int = 0) -> ShareModel:
    """Fit to validation pairs; the quantile is that of threads left out of the fit, in folds.

    Raises ValueError where fewer threads have votes than the level needs.
    """
    threads = np.unique(pairs.thread)
    if len(threads) < 2 * FOLDS:
        raise ValueError(f"{len(threads)} threads with votes; {2 * FOLDS} are needed")
    fold = np.random.default_rng(seed).permutation(len(threads)) % FOLDS
    of_pair = fold[np.searchsorted(threads, pairs.thread)]
    scale, dispersion = fit_moments(pairs)
    z = np.empty(len(pairs.share))
    for number in range(FOLDS):
        inside, others = np.flatnonzero(of_pair == number), np.flatnonzero(of_pair != number)
        mean, deviation = moments(
            pairs.take(inside), *fit_moments(pairs.take(others), (scale, dispersion))
        )
        z[inside] = np.abs(pairs.share[inside] - mean) / deviation
    return ShareModel(
        scale=scale,
        dispersion=dispersion,
        quantile=conformal_quantile(z, pairs.thread, level),
        level=level,
        threads=len(threads),
        pairs=len(z),
    )


def conformal_quantile(z: Floats, thread: Integers, level: float) -> float:
    """The smallest q that at least ``level`` of the threads' weight has z ≤ q, [P] values.

    One more thread, the new one, counts as above all: so it holds for finitely many of them.
    """
    weight = thread_weights(thread)
    order = np.argsort(z, kind="stable")
    below = np.cumsum(weight[order]) / (weight.sum() + 1.0)
    place = int(np.searchsorted(below, level - 1e-12))
    return float(z[order[min(place, len(z) - 1)]])


def coverage_error(threads: int, level: float = LEVEL) -> float:
    """How far the coverage of new threads may lie from ``level``: 95 % of calibrations are nearer.

    With n exchangeable threads the coverage of what is yet to come is Beta distributed round the
    level (Vovk 2012, arXiv 1209.2673, Proposition 2a), with a standard deviation of
    √(level · (1 − level) / (n + 2)). Threads of several pairs vary less, so it is at most this.
    """
    return 1.96 * float(np.sqrt(level * (1 - level) / (threads + 2)))


def threads_for(error: float, level: float = LEVEL) -> int:
    """How many threads fix the coverage to ``error``."""
    return int(np.ceil(level * (1 - level) * (1.96 / error) ** 2 - 2))


def share_intervals(pairs: VotedPairs, model: ShareModel) -> tuple[Floats, Floats]:
    """Lower and upper ends of the intervals for the observed shares, [P] each."""
    mean, deviation = moments(pairs, model.scale, model.dispersion)
    half = model.quantile * deviation
    return np.clip(mean - half, 0.0, 1.0), np.clip(mean + half, 0.0, 1.0)
