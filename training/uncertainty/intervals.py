"""How good intervals are: what they hold, how wide they are, and the score that weighs both."""

from typing import Annotated

import msgspec
import numpy as np

from schemas.fields import doc
from training.uncertainty.vote_shares import VotedPairs, thread_weights
from training.validation.bootstrap import Estimate, interval, resamplings
from training.validation.metrics import Floats

DRAWS = 2000


class IntervalFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Intervals held against observed shares; means over threads, with 95 % intervals."""

    level: Annotated[float, doc("share of the values that the intervals are to hold")]
    coverage: Annotated[Estimate, doc("share of the values that they hold")]
    width: Annotated[Estimate, doc("their mean width; the whole range is 1")]
    score: Annotated[Estimate, doc("interval score (Gneiting and Raftery 2007); lower is better")]
    detectable: Annotated[
        float, doc("distance from the level that this many threads would show, 4 times in 5")
    ]
    threads: int
    pairs: int


def interval_score(low: Floats, high: Floats, value: Floats, level: float) -> Floats:
    """Width, and 2/α times how far a value lies outside, [P]; α = 1 − level.

    Proper: its mean is lowest for the quantiles α/2 and 1 − α/2 of what is believed (Gneiting and
    Raftery 2007, equation 43), so neither wide nor overconfident intervals win.
    """
    alpha = 1 - level
    outside = np.maximum(low - value, 0.0) + np.maximum(value - high, 0.0)
    return (high - low) + 2 / alpha * outside


def measure_intervals(
    pairs: VotedPairs, low: Floats, high: Floats, level: float, *, seed: int = 0, n: int = DRAWS
) -> IntervalFigures:
    """Hold intervals [P] against the shares; each thread weighs the same, and is drawn whole."""
    held = ((low <= pairs.share) & (pairs.share <= high)).astype(np.float64)
    columns = np.stack(
        [held, high - low, interval_score(low, high, pairs.share, level)]
    ) * thread_weights(pairs.thread)
    _, place = np.unique(pairs.thread, return_inverse=True)
    threads = int(place.max()) + 1
    of_thread = np.stack([np.bincount(place, column, threads) for column in columns])
    draws = np.stack([of_thread @ times / threads for times in resamplings(threads, n, seed)])
    coverage, width, score = (
        Estimate(float(value), span.low, span.high)
        for value, span in zip(
            of_thread.mean(1), [interval(draws[:, row]) for row in range(3)], strict=True
        )
    )
    return IntervalFigures(
        level=level,
        coverage=coverage,
        width=width,
        score=score,
        # Two-sided at 5 %, power 80 %: 1.96 + 0.84 standard errors.
        detectable=2.8 * float(draws[:, 0].std()),
        threads=threads,
        pairs=len(held),
    )
