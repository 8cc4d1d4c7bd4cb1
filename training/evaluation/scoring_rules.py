"""What the scoring rules of the suites are made of, and the plain accuracy over pairs.

A rule turns scores into the figures of a suite, the headline first, and stands beside its suite in
``suites/``. ``half`` says what a tie of scores counts: False as published, True one half (1/k among
k that tie for the best). A model whose rewards collapse into ties gets nothing from the first and
chance from the second, which is why both are shown.
"""

from collections.abc import Callable, Sequence
from math import comb

import numpy as np

from training.evaluation.figures import Leaf, Node, Units
from training.evaluation.items import Item, Scores
from training.validation.metrics import Floats

Rule = Callable[[Sequence[Item], Scores, Units, bool], list[Node]]
"""(items, scores, unit of each item, half) → figures."""


def beats(high: Floats, low: Floats, *, half: bool) -> Floats:
    """1 where the first is greater; a tie is 0, or 0.5 with ``half``; not-a-numbers lose."""
    return np.where(high > low, 1.0, np.where((high == low) & half, 0.5, 0.0))


def pair_leaf(
    name: str, items: Sequence[Item], scores: Scores, units: Units, half: bool, about: str = ""
) -> Leaf:
    """Accuracy over the comparisons of items; each item weighs what its labels weigh."""
    correct, weight, unit, confidence = [], [], [], []
    for item, given, number in zip(items, scores, units, strict=True):
        for label in item.comparisons():
            high, low = given[label.better], given[label.worse]
            correct.append(1.0 if high > low else 0.5 if half and high == low else 0.0)
            weight.append(label.weight)
            unit.append(number)
            confidence.append(label.confidence)
    return Leaf(
        name,
        np.array(correct),
        np.array(weight),
        np.array(unit, dtype=np.int64),
        about,
        np.array(confidence, dtype=np.float64),
    )


def best_leaf(
    name: str, items: Sequence[Item], scores: Scores, units: Units, half: bool, about: str = ""
) -> Leaf:
    """Share of items whose best response beats all others; with ``half`` 1/k among k that tie."""
    correct = np.array(
        [_best(item, given, half) for item, given in zip(items, scores, strict=True)]
    )
    return Leaf(name, correct, np.ones(len(correct)), units, about)


def _best(item: Item, scores: Floats, half: bool) -> float:
    best = int(np.argmax(item.worth))
    others = np.delete(scores, best)
    if not np.all(scores[best] >= others):
        return 0.0
    tied = int((others == scores[best]).sum())
    return 1.0 / (1 + tied) if half or not tied else 0.0


def pair_accuracy(items: Sequence[Item], scores: Scores, units: Units, half: bool) -> list[Node]:
    """Accuracy over all pairs with a preference, then by subset."""
    about = "share of pairs whose preferred response scores higher; pairs without one are excluded"
    found: list[Node] = [pair_leaf("accuracy", items, scores, units, half, about)]
    parts = by_subset(items)
    if len(parts) > 1:
        found += [
            pair_leaf(name, *take(where, items, scores, units), half) for name, where in parts
        ]
    return found


def sizes(largest: int) -> list[int]:
    """1, 2, 4, … and the largest."""
    powers = [1 << bit for bit in range(largest.bit_length()) if 1 << bit < largest]
    return [*powers, largest]


def expected_best(worth: Floats, scores: Floats) -> Floats:
    """[N]: expected worth of the highest-scored of k answers drawn without replacement, k = 1…N.

    Answers of equal score share their places; one without a finite score is never preferred to
    one with. With answers in order of their score, the i-th
    smallest (from 0) is the best of k in C(i, k−1) of C(N, k) subsets.
    """
    size = len(worth)
    scores = np.where(np.isfinite(scores), scores, -np.inf)
    order = np.argsort(scores, kind="stable")
    ranked, given = worth[order].astype(np.float64), scores[order]
    for level in np.unique(given):
        same = given == level
        ranked[same] = ranked[same].mean()
    return np.array(
        [
            sum(comb(place, k - 1) * ranked[place] for place in range(size)) / comb(size, k)
            for k in range(1, size + 1)
        ]
    )


def human_agreement(items: Sequence[Item], scores: Scores) -> tuple[float, float, int] | None:
    """How often a person, and the model, pick the side on which two (other) people agree.

    Leave-one-out over annotators, ties of any of the three excluded, so that both are asked about
    the same: shares, ties of scores one half, and the number of votes. None where no item has
    annotators.
    """
    right, model, votes = 0, 0.0, 0
    for item, given in zip(items, scores, strict=True):
        first, other = given[:2]
        picked = 0.5 if first == other else float(first > other)
        for place, vote in enumerate(item.annotators):
            others = {*item.annotators[:place], *item.annotators[place + 1 :]}
            if vote and len(others) == 1 and 0 not in others:
                votes += 1
                right += vote in others
                wanted = picked if 1 in others else 1 - picked
                model += wanted if np.isfinite(given).all() else 0.0
    return (right / votes, model / votes, votes) if votes else None


def by_subset(items: Sequence[Item]) -> list[tuple[str, list[int]]]:
    """Positions of the items of each subset, by name."""
    found: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        found.setdefault(item.subset, []).append(place)
    return sorted(found.items())


def take(
    where: Sequence[int], items: Sequence[Item], scores: Scores, units: Units
) -> tuple[list[Item], Scores, Units]:
    """The items at some positions, with their scores and units."""
    return (
        [items[place] for place in where],
        [scores[place] for place in where],
        units[list(where)],
    )
