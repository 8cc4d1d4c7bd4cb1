"""The held-out split of a dataset of this project: one item a prompt, with all its answers."""

from collections.abc import Iterator
from typing import Any

from training.data.dataset import DatasetError, PairDataset, PairRows
from training.evaluation.items import Item, Label, conversation
from training.evaluation.suites.rows import SuiteError


def read_split(location: str, split: str, suite: str) -> Iterator[Item]:
    """Threads of a split, in the order of the dataset.

    Each pair weighs 1 / (pairs of the prompt), as in training. The order of the answers is that
    in which the pairs name them, so it says nothing free of the label. Raises SuiteError.
    """
    try:
        dataset = PairDataset(location, split)
        for number in range(len(dataset.rows)):
            yield from _threads(dataset.read(number), suite)
    except DatasetError as error:
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
                    margin=float(rows.margin[row]),
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
        )
