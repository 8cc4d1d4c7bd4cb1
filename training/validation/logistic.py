"""Logistic regression through the origin, and folds over prompts."""

from typing import Any

import numpy as np
import numpy.typing as npt

from training.validation.metrics import Floats

FOLDS = 5
RIDGE = 1e-3
"""Penalty on the squared coefficients per unit of weight: keeps them finite where a feature
decides every pair."""


def fit(features: Floats, weight: Floats, *, ridge: float = RIDGE, steps: int = 60) -> Floats:
    """Coefficients [F] that minimise Σ weight·softplus(−x·β) / Σ weight + ridge/2·|β|².

    ``features`` [P, F] are differences "preferred minus other", so there is no intercept:
    swapping the two responses swaps the answer. Newton's method with halved steps.
    """
    beta = np.zeros(features.shape[1])
    total = weight.sum()
    if not total:
        return beta
    weight = weight / total

    def loss(at: Floats) -> float:
        return float(weight @ np.logaddexp(0, -(features @ at)) + ridge / 2 * at @ at)

    now = loss(beta)
    for _ in range(steps):
        right = 1 / (1 + np.exp(-np.clip(features @ beta, -500, 500)))
        gradient = ridge * beta - features.T @ (weight * (1 - right))
        curvature = weight * right * (1 - right)
        hessian = (features * curvature[:, None]).T @ features + ridge * np.eye(len(beta))
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while loss(beta - size * step) > now and size > 1e-4:
            size /= 2
        beta = beta - size * step
        before, now = now, loss(beta)
        if before - now < 1e-12:
            break
    return beta


def folds(unit: npt.NDArray[Any], seed: int = 0) -> npt.NDArray[np.int64]:
    """Fold of each pair, int [P]: prompts are divided, so no prompt is in two folds.

    The sorted names are divided, so that the order of the pairs does not matter.
    """
    names, place = np.unique(unit, return_inverse=True)
    fold_of = np.random.default_rng(seed).permutation(len(names)) % FOLDS
    found: npt.NDArray[np.int64] = fold_of[place]
    return found


def cross_fitted(
    features: Floats, weight: Floats, unit: npt.NDArray[Any], seed: int = 0
) -> list[Floats]:
    """Coefficients [F] for each of the folds, fitted on all other folds.

    Zeros where there is nothing else to fit on.
    """
    fold = folds(unit, seed)
    return [fit(features[fold != number], weight[fold != number]) for number in range(FOLDS)]
