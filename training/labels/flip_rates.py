"""The share of flipped labels of each site, from predictions for pairs that were not fitted.

A predictor that is fitted to noisy labels and asked about other pairs gives differences d that
order the pairs, but shrunken ones. With a scale s that undoes this and the share ε_k of flips of
site k, a label is what the predictor says with probability

    P(label) = ε_k + (1 − 2ε_k)·sigmoid(s·d)

Both are found by maximum likelihood. Doubtful pairs say nothing of ε, which is seen where the
predictor is sure: however large d is, a share ε of labels says the opposite, while a smaller s
alone would have them agree more and more. This is the model of RE-PO (arXiv 2509.24159, there for
annotators), whose EM iterates towards the same maximum; it proves that EM finds ε where sigmoid(d)
is calibrated, which the training fit is not, and s stands for here.
"""

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.fields import doc
from training.validation.bootstrap import Interval, interval, resamplings
from training.validation.metrics import Floats

MOST: Final = 0.49
"""Largest share of flips: at one half labels say nothing."""
SCALES: Final = np.exp(np.linspace(-3, 4, 71))
"""Of which the most likely one is taken, times the inverse spread of the differences."""
BINS: Final = 200
"""Of equally many pairs of a site, by their difference, which count as one."""
RATES: Final = 99
"""At which the profile of the likelihood is looked at."""
LIKELIHOOD_DROP: Final = 1.92
"""Half the 95 % quantile of χ² with one degree of freedom."""
HALVINGS: Final = 26
WIDE: Final = 0.3
"""An interval over so much of 0 to 0.5 does not tell."""


class FlipRate(msgspec.Struct, frozen=True, kw_only=True):
    """The share of flipped labels of a site."""

    value: Annotated[float, doc("0 to 0.49")]
    low: Annotated[float | None, doc("95 % interval over clusters of questions; null: none")] = None
    high: float | None = None
    pairs: Annotated[int, doc("behind it; 0: it was given")] = 0
    from_votes: Annotated[
        bool, doc("the interval is wide, so it is 1 − mean confidence instead, within the interval")
    ] = False

    @property
    def is_wide(self) -> bool:
        """Whether the pairs do not tell it."""
        return self.low is not None and self.high is not None and self.high - self.low > WIDE


def flip_rates(
    differences: Floats,
    site: npt.NDArray[np.int64],
    cluster: npt.NDArray[np.int64],
    sites: int,
    *,
    draws: int = 100,
    seed: int = 0,
) -> list[FlipRate]:
    """Estimate the share of flips of each site.

    Args:
        differences: [P], chosen minus rejected, by a predictor that was not fitted to the pair's
            cluster.
        site: [P], number of the site, below ``sites``.
        cluster: [P], equal for pairs that are not independent.
        draws: resamplings of the clusters behind each interval. The predictor is held as it is.

    One scale is shared by all sites. A site without pairs gets the rate of all pairs together. An
    interval holds both what resampling gives and every rate that is about as likely as the best
    one (profile likelihood): where the differences tell little, a small scale without flips
    explains the labels as well as a large one with many, and resampling would not show it.
    """
    table = _Table(differences, site, cluster, sites)
    found = table.most_likely(np.ones(table.clusters))
    drawn = np.stack(
        [table.most_likely(times) for times in resamplings(table.clusters, draws, seed)]
    )
    rates = []
    for number in range(sites + 1):
        pairs = int((site == number).sum()) if number < sites else len(site)
        value = float(found[number])
        if not pairs:
            rates.append(FlipRate(value=value))
            continue
        span, likely = interval(drawn[:, number]), table.as_likely(number)
        low, high = min(value, span.low, likely.low), max(value, span.high, likely.high)
        rates.append(FlipRate(value=value, low=low, high=high, pairs=pairs))
    every = msgspec.structs.replace(rates[-1], pairs=0)
    return [rate if rate.pairs else every for rate in rates[:-1]]


class _Table:
    """Pairs in bins of a site: within one the probabilities are taken to be equal."""

    def __init__(
        self,
        differences: Floats,
        site: npt.NDArray[np.int64],
        cluster: npt.NDArray[np.int64],
        sites: int,
    ) -> None:
        spread = float(np.sqrt(np.mean(differences**2))) or 1.0
        self.sites = sites
        names, place = np.unique(cluster, return_inverse=True)
        self.clusters = len(names)
        bin_of = np.zeros(len(differences), dtype=np.int64)
        first = 0
        self.spans = []
        for number in range(sites):
            here = np.flatnonzero(site == number)
            order = here[np.argsort(differences[here], kind="stable")]
            bins = min(BINS, len(order))
            if bins:
                bin_of[order] = first + np.arange(len(order)) * bins // len(order)
            self.spans.append(slice(first, first + bins))
            first += bins
        count = np.bincount(bin_of, minlength=first)
        middle = np.bincount(bin_of, weights=differences, minlength=first) / count
        with np.errstate(over="ignore"):
            self.agrees = 1 / (1 + np.exp(-SCALES[:, None] / spread * middle))
        """[scales, bins]: sigmoid(s·d)."""
        self.place, self.bin_of = place, bin_of

    def most_likely(self, times: Floats) -> Floats:
        """[sites + 1]: the rate of each site and of all, each cluster counted so many times."""
        weight: Floats = np.bincount(
            self.bin_of, weights=times[self.place], minlength=self.agrees.shape[1]
        ).astype(np.float64)
        rates = np.zeros((self.sites + 1, len(SCALES)))
        likely = np.zeros(len(SCALES))
        for number, span in enumerate(self.spans):
            rates[number] = _rate(self.agrees[:, span], weight[span])
            likely += _log_likelihood(self.agrees[:, span], weight[span], rates[number])
        rates[-1] = _rate(self.agrees, weight)
        found: Floats = rates[:, int(np.argmax(likely))]
        return found

    def as_likely(self, number: int) -> Interval:
        """Rates of a site, or of all, that no scale makes much less likely than the best one."""
        weight = np.bincount(self.bin_of, minlength=self.agrees.shape[1]).astype(np.float64)
        spans = self.spans if number < self.sites else [slice(None)]
        number = min(number, len(spans) - 1)
        others = np.zeros(len(SCALES))
        for place, span in enumerate(spans):
            if place != number:
                agrees = self.agrees[:, span]
                others += _log_likelihood(agrees, weight[span], _rate(agrees, weight[span]))
        agrees, of_site = self.agrees[:, spans[number]], weight[spans[number]]
        rates = np.linspace(0, MOST, RATES)
        likely = np.array(
            [
                (others + _log_likelihood(agrees, of_site, np.full(len(SCALES), rate))).max()
                for rate in rates
            ]
        )
        inside = rates[likely >= likely.max() - LIKELIHOOD_DROP]
        return Interval(float(inside[0]), float(inside[-1]))


def _rate(agrees: Floats, weight: Floats) -> Floats:
    """[scales]: the ε of the highest likelihood, which is concave in ε, by halving."""
    low, high = np.zeros(len(agrees)), np.full(len(agrees), MOST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        slope = (1 - 2 * agrees) / np.maximum(_probability(agrees, middle), 1e-300)
        rising = slope @ weight > 0
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    # Halving never reaches the ends, where the maximum often is.
    at_zero = ((1 - 2 * agrees) / np.maximum(agrees, 1e-300)) @ weight <= 0
    return np.where(at_zero, 0.0, (low + high) / 2)


def _log_likelihood(agrees: Floats, weight: Floats, rate: Floats) -> Floats:
    found: Floats = np.log(np.maximum(_probability(agrees, rate), 1e-300)) @ weight
    return found


def _probability(agrees: Floats, rate: Floats) -> Floats:
    found: Floats = rate[:, None] + (1 - 2 * rate[:, None]) * agrees
    return found


def doubtful(rates: Sequence[FlipRate]) -> int:
    """How many of the rates the pairs do not tell."""
    return sum(rate.is_wide for rate in rates)
