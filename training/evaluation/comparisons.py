"""All comparisons of a suite as arrays, what every analysis beyond the published figure uses."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from training.evaluation.figures import Units
from training.evaluation.items import Item, Scores
from training.validation.metrics import Floats


class Comparisons(NamedTuple):
    """P pairs, the preferred response first; arrays [P]."""

    item: npt.NDArray[np.int64]
    """Position of the item."""
    better: npt.NDArray[np.int64]
    """Position of the response in the item."""
    worse: npt.NDArray[np.int64]
    weight: Floats
    """An item's comparisons weigh 1 together, so that one with many does not count for more."""
    unit: Units
    margin: Floats
    """nan: unknown."""
    confidence: Floats


def comparisons(items: Sequence[Item], units: Units) -> Comparisons:
    """List the comparisons of items."""
    rows = [
        (place, label, label.weight / total)
        for place, item in enumerate(items)
        if (labels := item.comparisons()) and (total := sum(label.weight for label in labels))
        for label in labels
    ]
    place = np.array([row[0] for row in rows], dtype=np.int64)
    return Comparisons(
        item=place,
        better=np.array([label.better for _, label, _ in rows], dtype=np.int64),
        worse=np.array([label.worse for _, label, _ in rows], dtype=np.int64),
        weight=np.array([weight for _, _, weight in rows], dtype=np.float64),
        unit=units[place] if len(rows) else np.zeros(0, dtype=np.int64),
        margin=np.array([label.margin for _, label, _ in rows], dtype=np.float64),
        confidence=np.array([label.confidence for _, label, _ in rows], dtype=np.float64),
    )


def units_of(items: Sequence[Item]) -> Units:
    """Number the prompts of items, in the order in which they come."""
    numbers: dict[str, int] = {}
    return np.array(
        [numbers.setdefault(item.drawn, len(numbers)) for item in items], dtype=np.int64
    )


def differences(table: Comparisons, scores: Scores) -> Floats:
    """[P]: score of the preferred response minus that of the other."""
    return np.array(
        [
            scores[item][better] - scores[item][worse]
            for item, better, worse in zip(table.item, table.better, table.worse, strict=True)
        ],
        dtype=np.float64,
    )


def sides(table: Comparisons, values: Sequence[npt.NDArray[np.float64]]) -> tuple[Floats, Floats]:
    """Values [R] or [R, F] of responses as two arrays [P] or [P, F]: preferred, other."""
    better = [values[item][place] for item, place in zip(table.item, table.better, strict=True)]
    worse = [values[item][place] for item, place in zip(table.item, table.worse, strict=True)]
    return np.array(better, dtype=np.float64), np.array(worse, dtype=np.float64)
