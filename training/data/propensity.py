"""Weights for pairs that were decided although they were unlikely to be (missing not at random).

Two responses to one prompt become a pair only where the votes decide between them, and not every
two are as likely to be decided: those posted at one time are compared by more votes than those
posted years apart. A pair that was unlikely to be decided stands for the ones that were not, so it
weighs 1 / (probability that it is decided), which is clipped: inverse propensity scoring (Schnabel
et al. 2016, arXiv 1602.05352, with logistic regression for the propensities).

What is corrected is what the features tell. That clear pairs are decided more often than doubtful
ones, whatever their age, is no feature and stays as it is.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

Floats = npt.NDArray[np.float64]
DAY_MS: Final = 86_400_000.0
PROPENSITY_COLUMNS: Final = ("chosen_id", "rejected_id", "prompt_created_at")
"""What :func:`table_features` reads, beside when the responses were posted."""
FEATURES: Final = ("constant", "log days between", "log days after the prompt", "log responses")


class Propensity(msgspec.Struct, frozen=True, kw_only=True):
    """How likely two responses to a prompt are a pair: sigmoid of a linear form in FEATURES."""

    coefficients: tuple[float, ...]
    """In the order of FEATURES."""
    decided: float
    """Share of all candidates that are pairs, by which weights are scaled to about 1."""
    clip: float
    """Least probability that is divided by."""

    def probability(self, features: Floats) -> Floats:
        """[P], from features [P, 4]."""
        at = np.clip(features @ np.array(self.coefficients), -500, 500)
        found: Floats = 1 / (1 + np.exp(-at))
        return found

    def weights(self, features: Floats) -> Floats:
        """[P]: decided / max(probability, clip)."""
        found: Floats = self.decided / np.maximum(self.probability(features), self.clip)
        return found


def features_of(first: Floats, second: Floats, prompt: Floats, responses: Floats) -> Floats:
    """Features [P, 4] of candidates.

    Args:
        first, second: when the two responses were posted, milliseconds since 1970, in any order;
            0: not known, which is taken as at one time with the prompt.
        prompt: when the prompt was.
        responses: to the prompt, that are in a pair.
    """
    known = (first > 0) & (second > 0)
    between = np.where(known, np.abs(first - second), 0.0) / DAY_MS
    after = np.where(known & (prompt > 0), np.maximum(first, second) - prompt, 0.0) / DAY_MS
    columns = (
        np.ones(len(first)),
        np.log1p(between),
        np.log1p(np.maximum(after, 0.0)),
        np.log(np.maximum(responses, 2.0)),
    )
    return np.stack(columns, axis=1)


def table_features(
    table: pa.Table,
    times: Mapping[str, npt.NDArray[np.int64]],
    prompts: Iterable[Sequence[int]],
) -> Floats:
    """Features [P, 4] of the pairs of a row group.

    Args:
        times: when the chosen and the rejected responses were posted, by name of the column.
        prompts: the rows of each prompt.
    """
    responses = np.zeros(table.num_rows)
    sides = [table[name].to_pylist() for name in ("chosen_id", "rejected_id")]
    for members in prompts:
        responses[list(members)] = len({side[row] for side in sides for row in members})
    return features_of(
        times["chosen_created_at"].astype(np.float64),
        times["rejected_created_at"].astype(np.float64),
        table["prompt_created_at"].cast(pa.int64()).to_numpy().astype(np.float64),
        responses,
    )
