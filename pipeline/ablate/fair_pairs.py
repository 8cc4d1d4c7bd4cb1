"""Chooses the pairs that arms are judged on: those whose label is fair and settled."""

from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

DAY_MS: Final = 86_400_000


class FairRules(NamedTuple):
    """When a label is good enough to judge by."""

    same_day: bool = True
    """Both responses are of the same UTC day: none had a head start of more than hours."""
    min_votes: int = 6
    """Sum of both window scores at least: votes cast when both were there, up minus down."""
    min_confidence: float = 0.95


def fair_pairs(table: pa.Table, rules: FairRules) -> pa.Table:
    """Return the rows of pairs that the rules let through, in their order.

    With ``min_votes``, rows without dated votes are left out: nothing is known of their window.
    """
    keep = np.ones(table.num_rows, dtype=bool)
    if rules.same_day:
        days = [
            table[f"{side}_created_at"].cast(pa.int64()).to_numpy() // DAY_MS
            for side in ("chosen", "rejected")
        ]
        keep &= days[0] == days[1]
    if rules.min_votes:
        votes = pc.add(table["window_chosen_score"], table["window_rejected_score"])
        keep &= pc.fill_null(votes, -1).to_numpy() >= rules.min_votes
    keep &= table["confidence"].to_numpy() >= rules.min_confidence
    return table.filter(pa.array(keep))
