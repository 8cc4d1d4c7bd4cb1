"""Predictions for pairs by linear rewards on fixed features, fitted to other clusters of questions.

The backbone as it is before the first step gives the features, so this costs one forward pass over
the sample, whatever the number of folds, and linear fits on a CPU.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from training.validation.logistic import FOLDS, fit, folds
from training.validation.metrics import Floats

COMPONENTS: Final = (16, 64, 256)
"""Numbers of principal components that are tried."""
RIDGES: Final = (1e-3, 3e-2)
"""Penalties that are tried."""
PAIRS_PER_COMPONENT: Final = 10
"""Fewer pairs than this for a component, and it is not tried."""


def cross_fitted_differences(
    features: Floats, cluster: npt.NDArray[np.int64], *, seed: int = 0
) -> Floats:
    """Difference [P] of linear rewards, each pair's by a fit on the other folds' clusters.

    ``features`` [P, d] are those of the chosen response minus those of the rejected one. The
    principal components are those of all pairs, which do not see which response was chosen: z and
    −z have the same. Their number and the penalty are those with the lowest loss on pairs that were
    not fitted, so that loss, of the best of a few, is a little too low. Raises ValueError for a
    single cluster.
    """
    if len(np.unique(cluster)) < 2:
        raise ValueError("a single question, so there is nothing to predict it from")
    fold = folds(cluster, seed)
    found: list[tuple[float, Floats]] = []
    for parts in _components(features):
        for ridge in RIDGES:
            differences = np.zeros(len(parts))
            for number in range(FOLDS):
                there = fold == number
                if there.any():
                    rest = parts[~there]
                    differences[there] = parts[there] @ fit(rest, np.ones(len(rest)), ridge=ridge)
            found.append((float(np.logaddexp(0, -differences).mean()), differences))
    return min(found, key=lambda one: one[0])[1]


def _components(features: Floats) -> list[Floats]:
    """The pairs in so many principal components, each of variance 1, largest first."""
    scale = float(np.abs(features).max()) or 1.0
    values = features / scale
    square, vectors = np.linalg.eigh(values.T @ values / len(values))
    square, vectors = square[::-1], vectors[:, ::-1]
    useful = int((square > 1e-9 * square[0]).sum()) if square[0] > 0 else 1
    most = max(1, min(useful, len(values) // PAIRS_PER_COMPONENT))
    whole = values @ vectors[:, :most] / np.sqrt(np.maximum(square[:most], 1e-30))
    sizes = sorted({min(size, most) for size in COMPONENTS})
    return [whole[:, :size] for size in sizes]
