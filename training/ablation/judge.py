"""The suites that arms are judged on, as comparisons, and which heads may judge which of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.ablation import FORUM, SuiteJob
from schemas.noise_ceiling import NoiseCeiling, noise_ceiling
from schemas.pair import SPLITS
from training.ablation.features import Text
from training.errors import SuiteError
from training.evaluation.comparisons import Comparisons, comparisons, units_of
from training.evaluation.items import Item
from training.evaluation.style import counted, style_differences
from training.evaluation.suites.held_out import read_split
from training.evaluation.suites.registry import load_suite
from training.validation.length import response_length
from training.validation.metrics import Floats

ANY_FOLD = ""
"""Of items that are in no dataset: they are judged by heads of all splits."""


@dataclass(frozen=True)
class Judged:
    """A suite with P comparisons."""

    job: SuiteJob
    items: tuple[Item, ...]
    table: Comparisons
    fold: npt.NDArray[np.str_]
    """[P]: split of the question, or ANY_FOLD."""
    style: Floats
    """[P, 4]: differences in length, headers, lists and bold, preferred minus other."""
    length: Floats
    """[P]: words of the preferred response minus those of the other."""
    ceiling: NoiseCeiling | None

    def texts(self) -> Iterator[tuple[Text, Text]]:
        """What is compared: (preferred, other)."""
        for item, better, worse in zip(
            self.table.item, self.table.better, self.table.worse, strict=True
        ):
            one = self.items[item]
            yield Text(one.prompt, one.responses[better]), Text(one.prompt, one.responses[worse])


def load_judged(job: SuiteJob, splits: Sequence[str] = SPLITS) -> Judged:
    """Read a suite; of a dataset folder, the pairs of ``splits``. Raises SuiteError."""
    items: tuple[Item, ...]
    if job.kind == FORUM:
        read = {split: list(read_split(job.location, split, job.name)) for split in splits}
        items = tuple(item for of_split in read.values() for item in of_split)
        folds = [split for split, of_split in read.items() for _ in of_split]
    else:
        items = load_suite(job.kind, job.location, job.limit).items
        folds = [ANY_FOLD] * len(items)
    table = comparisons(items, units_of(items))
    if not len(table.item):
        raise SuiteError(
            f"{job.name}: has no comparison to judge on; loosen its thresholds, or give more "
            "threads"
        )
    counts = counted(items)
    sides = [
        np.stack([counts[item][place] for item, place in zip(table.item, column, strict=True)])
        for column in (table.better, table.worse)
    ]
    lengths = [
        np.array(
            [
                response_length(items[item].responses[place])
                for item, place in zip(table.item, column, strict=True)
            ],
            dtype=np.float64,
        )
        for column in (table.better, table.worse)
    ]
    return Judged(
        job=job,
        items=items,
        table=table,
        fold=np.array([folds[item] for item in table.item], dtype=np.str_),
        style=style_differences(*sides),
        length=lengths[0] - lengths[1],
        ceiling=_ceiling(job, table),
    )


def _ceiling(job: SuiteJob, table: Comparisons) -> NoiseCeiling | None:
    if job.kind != FORUM:
        return None
    found = noise_ceiling(table.confidence.tolist(), table.unit.tolist())
    return found if found.accuracy is not None else None
