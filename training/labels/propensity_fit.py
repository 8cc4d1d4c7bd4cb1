"""Fits how likely two responses to a prompt are a pair of the dataset."""

from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Any, Final

import numpy as np
import pyarrow as pa

from training.data.dataset import PairDataset
from training.data.propensity import Propensity, features_of
from training.validation.logistic import fit
from training.validation.metrics import Floats

MOST_CANDIDATES: Final = 200_000
"""After which no more row groups are read."""
COLUMNS: Final = (
    "thread_id",
    "context_ids",
    "prompt_created_at",
    "chosen_id",
    "rejected_id",
    "chosen_created_at",
    "rejected_created_at",
)


def fit_propensity(dataset: PairDataset, clip: float) -> Propensity:
    """Fit to the split's first row groups; a pure function of the dataset.

    Candidates are every two of the responses to a prompt that are in some pair; those without any
    are not in the data, so the share of decided candidates is too high.
    """
    features, decided = candidates(dataset.light_columns(COLUMNS))
    coefficients = np.zeros(features.shape[1])
    share = float(decided.mean()) if len(decided) else 1.0
    if 0 < share < 1:
        turned = features * np.where(decided, 1.0, -1.0)[:, None]
        coefficients = fit(turned, np.ones(len(turned)))
    elif share == 1:  # every candidate is a pair: all weigh the same
        coefficients[0] = 40.0
    rounded = tuple(round(float(value), 6) for value in coefficients)
    return Propensity(coefficients=rounded, decided=round(share, 6), clip=clip)


def candidates(tables: Iterable[pa.Table]) -> tuple[Floats, Any]:
    """Features [C, 4] of every two responses to a prompt, and whether they are a pair [C]."""
    rows = [row for found in tables_until(tables) for row in _of_table(found)]
    if not rows:
        return np.zeros((0, 4)), np.zeros(0, dtype=np.bool_)
    columns = np.array(rows, dtype=np.float64)
    return features_of(*columns[:, :4].T), columns[:, 4] > 0


def tables_until(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Tables up to about :data:`MOST_CANDIDATES` rows."""
    seen = 0
    for table in tables:
        yield table
        seen += table.num_rows
        if seen >= MOST_CANDIDATES:
            return


def _of_table(table: pa.Table) -> Iterator[tuple[float, float, float, float, float]]:
    columns = {name: table[name].to_pylist() for name in ("thread_id", "context_ids")}
    columns |= {name: table[name].to_pylist() for name in ("chosen_id", "rejected_id")}
    times = {
        name: table[name].cast(pa.int64()).to_pylist()
        for name in ("prompt_created_at", "chosen_created_at", "rejected_created_at")
    }
    prompts: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for row, (thread, context) in enumerate(
        zip(columns["thread_id"], columns["context_ids"], strict=True)
    ):
        prompts.setdefault((thread, tuple(context or ())), []).append(row)
    for members in prompts.values():
        posted: dict[str, int] = {}
        decided: set[frozenset[str]] = set()
        for row in members:
            sides = columns["chosen_id"][row], columns["rejected_id"][row]
            posted[sides[0]] = times["chosen_created_at"][row]
            posted[sides[1]] = times["rejected_created_at"][row]
            decided.add(frozenset(sides))
        prompt = float(times["prompt_created_at"][members[0]])
        count = float(len(posted))
        for a, b in combinations(posted, 2):
            is_pair = float(frozenset((a, b)) in decided)
            yield float(posted[a]), float(posted[b]), prompt, count, is_pair
