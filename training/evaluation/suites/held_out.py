"""The held-out split of a dataset of this project: one item a prompt, with all its answers."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from training.data.dataset import PairDataset, PairRows, tags_of
from training.errors import SuiteError, TrainingDatasetError
from training.evaluation.figures import Leaf, Node, Units
from training.evaluation.items import Item, Label, Scores, conversation
from training.evaluation.scoring_rules import (
    beats,
    by_subset,
    pair_leaf,
    take,
)
from training.evaluation.suites.suite import Suite
from training.validation.metrics import Floats


def read_split(location: str, split: str, suite: str) -> Iterator[Item]:
    """Threads of a split, in the order of the dataset.

    Each pair weighs 1 / (pairs of the prompt), as in training. The order of the answers is that
    in which the pairs name them, so it says nothing free of the label. Raises SuiteError.
    """
    try:
        dataset = PairDataset(location, split, tags=True)
        for number in range(len(dataset.rows)):
            yield from _threads(dataset.read(number), suite)
    except TrainingDatasetError as error:
        raise SuiteError(str(error)) from None


def _threads(rows: PairRows, suite: str) -> Iterator[Item]:
    prompts: dict[tuple[str, str], list[int]] = {}
    for row, key in enumerate(rows.prompts):
        prompts.setdefault(key, []).append(row)
    for (thread, prompt), places in prompts.items():
        texts: dict[str, int] = {}
        times: dict[int, int] = {}
        labels = []
        for row in places:
            ends = []
            for side in ("chosen", "rejected"):
                column: list[Any] = getattr(rows, side)
                index = texts.setdefault(column[row], len(texts))
                times[index] = int(getattr(rows, f"{side}_created_at")[row])
                ends.append(index)
            labels.append(
                Label(
                    ends[0],
                    ends[1],
                    weight=1.0 / len(places),
                    margin=float(rows.vote_margin[row]),
                    confidence=float(rows.confidence[row]),
                )
            )
        losers = {label.worse for label in labels}
        yield Item(
            suite=suite,
            id=thread,
            subset=rows.site[places[0]],
            group="held-out",
            kind="thread",
            messages=conversation(prompt),
            responses=tuple(texts),
            worth=tuple(0.0 if index in losers else 1.0 for index in range(len(texts))),
            labels=tuple(labels),
            unit=thread,
            times=tuple(times[index] for index in range(len(texts))),
            site=rows.site[places[0]],
            tags=tuple(tags_of(rows, places[0])),
        )


def score_threads(items: Sequence[Item], scores: Scores, units: Units, half: bool) -> list[Node]:
    """Accuracy over pairs, each thread weighing the same, and how whole threads are ranked."""
    about = "pairs weigh 1 / (pairs of the prompt), as in training"
    found: list[Node] = [pair_leaf("accuracy", items, scores, units, half, about)]
    many = [place for place, item in enumerate(items) if len(item.responses) > 2]
    if many:
        threads = take(many, items, scores, units)
        best, whole = [], []
        for item, given in zip(threads[0], threads[1], strict=True):
            top = given == given.max()
            unbeaten = np.array(item.worth) > 0
            best.append(float((top & unbeaten).sum()) / float(top.sum()) if top.any() else 0.0)
            whole.append(
                float(all(given[label.better] > given[label.worse] for label in item.comparisons()))
            )
        ones = np.ones(len(many))
        found += [
            Leaf(
                "best answer of a thread",
                np.array(best),
                ones,
                threads[2],
                "threads of three answers or more whose highest-scored answer lost no pair",
            ),
            Leaf(
                "whole thread in order",
                np.array(whole),
                ones,
                threads[2],
                "threads of three answers or more with every pair right",
            ),
            Leaf(
                "order within a thread",
                np.array(
                    [_mean_hit(a, b, half) for a, b in zip(threads[0], threads[1], strict=True)]
                ),
                ones,
                threads[2],
                "pairs right in such a thread, mean over threads ((τ + 1) / 2)",
            ),
        ]
    parts = by_subset(items)
    if len(parts) > 1:
        found += [
            pair_leaf(name, *take(where, items, scores, units), half) for name, where in parts
        ]
    return found


def _mean_hit(item: Item, scores: Floats, half: bool) -> float:
    labels = item.comparisons()
    better = scores[[label.better for label in labels]]
    worse = scores[[label.worse for label in labels]]
    return float(beats(better, worse, half=half).mean())


HELD_OUT: Final = Suite(
    name="held-out",
    title="held-out votes",
    citation="the `test` split of a dataset of this project",
    rule=score_threads,
    read=None,
    columns="a dataset folder, or org/name@version",
    size="",
    split="test",
)


VALIDATION: Final = Suite(
    name="validation",
    title="validation votes",
    citation="the `validation` split, on which training validates",
    rule=score_threads,
    read=None,
    columns="a dataset folder, or org/name@version",
    size="",
    split="validation",
)
