"""What a model has to beat: scorers that do not read the text."""

from collections.abc import Sequence

import numpy as np

from training.evaluation.comparisons import Comparisons, sides
from training.evaluation.items import Item, Scores
from training.evaluation.style import scale_of
from training.validation.logistic import FOLDS, cross_fitted, folds
from training.validation.metrics import Floats

CHANCE = "chance"


def baseline_scores(
    items: Sequence[Item], table: Comparisons, counts: Sequence[Floats], *, seed: int = 0
) -> dict[str, Scores]:
    """Scores of each baseline on items, by its name.

    longer: words and punctuation marks. style: logistic regression on the logarithms of length,
    headers, list items and bold spans, each prompt scored by a fit on the other prompts. chance:
    all equal, to be read with ties at one half. first shown: where the order of the responses was
    not made by the label. earlier, longer + earlier: where the responses have times.
    """
    size = [len(item.responses) for item in items]
    logs = [np.log1p(one) for one in counts]
    found: dict[str, Scores] = {
        "longer": [one[:, 0] for one in counts],
        "style": _fitted(table, logs, seed),
    }
    if any(item.times for item in items):
        known = [np.array(item.times or (0,) * n) for item, n in zip(items, size, strict=True)]
        earlier = [np.where(one > 0, -one, 0).astype(np.float64) for one in known]
        earlier = [one if (one != 0).all() else np.zeros(len(one)) for one in earlier]
        found["earlier"] = earlier
        found["longer + earlier"] = _fitted(
            table,
            [
                np.stack([log[:, 0], _places(one)], axis=1)
                for log, one in zip(logs, earlier, strict=True)
            ],
            seed,
        )
    if any(item.order_is_free for item in items):
        found["first shown"] = [
            -np.arange(n, dtype=np.float64) if item.order_is_free else np.zeros(n)
            for item, n in zip(items, size, strict=True)
        ]
    found[CHANCE] = [np.zeros(n) for n in size]
    return found


def _places(scores: Floats) -> Floats:
    """Ranks [R] from 0 for the lowest, so that hours and years count alike."""
    _, place = np.unique(scores, return_inverse=True)
    return place.astype(np.float64)


def _fitted(table: Comparisons, features: Sequence[Floats], seed: int) -> Scores:
    """Scores by a fit on the prompts of the other folds."""
    if not len(table.item):
        return [np.zeros(len(one)) for one in features]
    better, worse = sides(table, features)
    difference = better - worse
    scale = scale_of(difference, table.weight)
    coefficients = cross_fitted(difference / scale, table.weight, table.unit, seed)
    fold_of = dict(zip(table.item.tolist(), folds(table.unit, seed).tolist(), strict=True))
    return [
        one / scale @ coefficients[fold_of.get(place, place % FOLDS)]
        for place, one in enumerate(features)
    ]
