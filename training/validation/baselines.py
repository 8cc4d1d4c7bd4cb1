"""What a reward model has to beat: scorers that read no text, and intervals over prompts.

On forum votes the longer and the earlier response win so often that a bare accuracy says little.
"""

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.noise_ceiling import NoiseCeiling
from training.validation.bootstrap import Interval, interval, resamplings
from training.validation.ceiling import ceilings
from training.validation.logistic import FOLDS, cross_fitted, folds
from training.validation.metrics import (
    Figure,
    FigureSums,
    Floats,
    ScoredPairs,
    ValidationFigures,
    accuracies,
    correctness,
    figure,
    figures,
    sum_up,
)


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """A scorer that reads no text, on the same pairs as the model."""

    name: str
    accuracy: Figure
    interval: Interval
    groups: dict[str, Figure]
    """Accuracy by group, as in :func:`training.validation.metrics.pair_groups`."""
    ahead: Interval
    """Of (accuracy of the model − accuracy of this), both on the same resampled prompts."""


class ValidationReport(msgspec.Struct, frozen=True, kw_only=True):
    """A validation with what it has to be read against."""

    figures: ValidationFigures
    interval: Interval
    """Of the model's accuracy."""
    baselines: tuple[Baseline, ...]
    prompts: int
    ceilings: dict[str, NoiseCeiling] = {}
    """Noise ceiling by group, as in ``groups``, 'all' among them; where it is known."""


def report(pairs: ScoredPairs, *, seed: int = 0, n: int = 1000) -> ValidationReport:
    """Score the pairs and the baselines, with 95 % bootstrap intervals over prompts.

    The same pairs in another order give the same report but for rounding. Raises ValueError
    where there are no pairs.
    """
    pairs = pairs.select(pairs.weight > 0)
    if not len(pairs.weight):
        raise ValueError("no validation pairs: nothing to report")
    scorers = {
        "longer": longer(pairs),
        "earlier": earlier(pairs),
        "longer + earlier": longer_and_earlier(pairs, seed=seed),
    }
    correct = np.stack(
        [correctness(pairs.chosen - pairs.rejected), *map(correctness, scorers.values())]
    )
    draws = resampled_accuracy(correct, pairs.weight, pairs.prompt, n=n, seed=seed)
    baselines = []
    for place, name in enumerate(scorers, start=1):
        summed = accuracies(pairs, correct[place])
        baselines.append(
            Baseline(
                name=name,
                accuracy=figure(summed, "all"),
                interval=interval(draws[place]),
                groups=_by_group(summed),
                ahead=interval(draws[0] - draws[place]),
            )
        )
    return ValidationReport(
        figures=figures(sum_up(pairs)),
        interval=interval(draws[0]),
        baselines=tuple(baselines),
        prompts=len(np.unique(pairs.prompt)),
        ceilings=ceilings(pairs),
    )


def longer(pairs: ScoredPairs) -> Floats:
    """Score [P] of "the longer response wins": difference of log lengths,
    in words and punctuation marks (:func:`~training.validation.length.response_length`)."""
    return np.log1p(pairs.chosen_length) - np.log1p(pairs.rejected_length)


def earlier(pairs: ScoredPairs) -> Floats:
    """Score [P] of "the earlier response wins": 1, −1, or 0 where a time is unknown or equal."""
    known = (pairs.chosen_created_at != 0) & (pairs.rejected_created_at != 0)
    gap = np.where(known, pairs.rejected_created_at - pairs.chosen_created_at, 0)
    return np.sign(gap).astype(np.float64)


def longer_and_earlier(pairs: ScoredPairs, *, seed: int = 0) -> Floats:
    """Score [P] of both together, each prompt scored by a fit on the other prompts.

    Logistic regression without intercept, by pair weight, on [difference of log lengths,
    who was earlier]; without an intercept, swapping the responses swaps the answer. Prompts are
    divided into five folds, so no pair is scored by a fit that has seen its prompt. With a single
    prompt nothing can be fitted: all scores are 0.
    """
    features = np.stack([longer(pairs), earlier(pairs)], axis=1)
    fold = folds(pairs.prompt, seed)
    coefficients = cross_fitted(features, pairs.weight, pairs.prompt, seed)
    scores = np.zeros(len(features))
    for held_out in range(FOLDS):
        there = fold == held_out
        scores[there] = features[there] @ coefficients[held_out]
    return scores


def resampled_accuracy(
    correct: Floats,
    weight: Floats,
    prompt: npt.NDArray[np.generic],
    *,
    n: int = 1000,
    seed: int = 0,
) -> Floats:
    """Accuracy [K, n] of K scorers on n resamplings of the prompts, the same for all K.

    ``correct`` is [K, P]. Pairs of one prompt share responses, so prompts are drawn, not pairs.
    """
    _, place = np.unique(prompt, return_inverse=True)
    size = int(place.max()) + 1
    whole = np.bincount(place, weights=weight, minlength=size)
    right = np.stack([np.bincount(place, weights=weight * one, minlength=size) for one in correct])
    draws = [right @ times / (whole @ times) for times in resamplings(size, n, seed)]
    return np.stack(draws, axis=1)


def _by_group(summed: FigureSums) -> dict[str, Figure]:
    return {name: figure(summed, name) for name in summed}
