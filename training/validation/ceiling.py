"""The noise ceiling of labels, weighted as the accuracy that stands beside it.

:mod:`schemas.noise_ceiling` says what it means and what it assumes; there each pair weighs the
same.
"""

import math

import numpy as np
import numpy.typing as npt

from schemas.noise_ceiling import Z_95, NoiseCeiling
from training.validation.metrics import Floats, Mask, ScoredPairs, pair_groups

UNKNOWN = NoiseCeiling(
    accuracy=None, standard_error=None, low=None, high=None, pairs=0, questions=0
)


def best_agreement(confidence: Floats) -> Floats:
    """max(p, 1 − p) [P]: how often at most a scorer without the votes can agree with each label.

    Not-a-number where p is not known.
    """
    return np.maximum(confidence, 1 - confidence)


def weighted_ceiling(
    confidence: Floats, weight: Floats, question: npt.NDArray[np.generic]
) -> NoiseCeiling:
    """Mean of max(p, 1 − p) by weight, with the standard error of a ratio over questions.

    Args:
        confidence: [P], probability that each label is right; not-a-number: not known.
        weight: [P], as in the accuracy.
        question: [P], equal for pairs that are drawn together.

    With equal weights it is :func:`schemas.noise_ceiling.noise_ceiling`. Nothing is known where
    every confidence is 1: then no votes were counted.
    """
    known = np.isfinite(confidence) & (weight > 0)
    confidence, weight, question = confidence[known], weight[known], question[known]
    if not len(confidence) or np.all(confidence == 1):
        return UNKNOWN
    _, place = np.unique(question, return_inverse=True)
    whole = np.bincount(place, weights=weight)
    right = np.bincount(place, weights=weight * best_agreement(confidence))
    mean = float(right.sum() / whole.sum())
    questions = len(whole)
    error = low = high = None
    if questions > 1:
        spread = float(((right - mean * whole) ** 2).sum()) * questions / (questions - 1)
        error = math.sqrt(spread) / float(whole.sum())
        low, high = max(0.5, mean - Z_95 * error), min(1.0, mean + Z_95 * error)
    return NoiseCeiling(
        accuracy=mean,
        standard_error=error,
        low=low,
        high=high,
        pairs=len(confidence),
        questions=questions,
    )


def ceilings(pairs: ScoredPairs) -> dict[str, NoiseCeiling]:
    """The ceiling of each group that accuracy is shown for, where it is known."""

    def of(mask: Mask) -> NoiseCeiling:
        return weighted_ceiling(pairs.confidence[mask], pairs.weight[mask], pairs.prompt[mask])

    found = {name: of(mask) for name, mask in pair_groups(pairs).items()}
    return {name: one for name, one in found.items() if one.accuracy is not None}
