"""Controls: arms that no vote stands behind. Whoever meets their rows must know that they are none.

Both turn a table of pairs into another one of the same columns. What they make is a dataset for
comparing alone: :mod:`pipeline.ablate.made_folder` writes into its manifest what it is, and that it
may not be published.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from schemas.ids import hash63
from schemas.pair import text_hash
from schemas.words import count_words_and_signs

ABOUT: Final = {
    "no_votes": "a control without votes: `chosen` is any answer to the prompt, and `rejected` is "
    "an answer of like length to another question of the site",
    "shuffled_labels": "a control with shuffled labels: a coin, by the hash of the pair, says "
    "which of the two is `chosen`; scores and confidence are of no pair",
}
"""What the manifest says of each."""

OF_A_SIDE: Final = (
    *("turns", "is_accepted", "id", "created_at", "url", "author", "author_url", "license"),
    "",
)
"""Columns of a response, after ``chosen_`` and ``rejected_``; '' is the text itself."""


def coin(seed: int, name: str) -> bool:
    """Heads or tails, by hash: the same on every machine."""
    return bool(hash63(f"{seed}:{name}") >> 62 & 1)


def shuffled_labels(table: pa.Table, seed: int = 0) -> pa.Table:
    """Swap chosen and rejected where a coin says so; a head can learn nothing from it.

    The scores stay where they are, so that the rows are valid: they belong to no response any more.
    """
    heads = [
        coin(seed, f"shuffle {min(pair)} {max(pair)}") ^ (first > second)
        for first, second in _ids(table)
        for pair in [(first, second)]
    ]
    rows = table.num_rows
    swap = np.array(heads, dtype=bool)
    here = np.arange(rows)
    return _with_sides(table, np.where(swap, here + rows, here), np.where(swap, here, here + rows))


def no_votes(table: pa.Table, seed: int = 0) -> pa.Table:
    """Pair an answer of each row with an answer to another question of the same site and split.

    Which of the row's answers is taken is a coin's choice, so the votes say nothing. The other one
    is the answer nearest in words, as many words or a few more or less; each question is another
    one. Rows without such an answer are left out.
    """
    rows = table.num_rows
    answers = _answers(table)
    places = np.zeros(rows, dtype=np.int64)
    others = np.full(rows, -1, dtype=np.int64)
    pools: dict[tuple[str, str], list[tuple[int, str, str, int]]] = {}
    for place, (group, answer) in enumerate(answers):
        pools.setdefault(group, []).append((*answer, place))
    for pool in pools.values():
        unique = {entry[1]: entry for entry in sorted(pool, reverse=True)}
        ordered = sorted(unique.values())
        at = {entry[1]: number for number, entry in enumerate(ordered)}
        for _, name, _, place in pool:
            if place >= rows:
                continue
            row = place
            side = row + rows * coin(seed, f"either {name} {row_name(table, row)}")
            mine = answers[side][1]
            start = at[mine[1]]
            up = coin(seed, f"longer {mine[1]} {row_name(table, row)}")
            places[row] = side
            others[row] = _nearest(ordered, start, mine[2], up)
    kept = np.flatnonzero(others >= 0)
    made = _with_sides(table.take(kept), places[kept], others[kept], sides_of=table)
    return _without_votes(made)


def row_name(table: pa.Table, row: int) -> str:
    """The id of a row's pair."""
    return str(table["pair_id"][row])


def _nearest(
    ordered: list[tuple[int, str, str, int]], start: int, thread: str, longer_first: bool
) -> int:
    """Place of the answer nearest in length that belongs to another thread; -1: there is none."""
    words = ordered[start][0]
    above = next((e for e in ordered[start + 1 :] if e[2] != thread), None)
    below = next((e for e in reversed(ordered[:start]) if e[2] != thread), None)
    found = [entry for entry in (above, below) if entry is not None]
    if not found:
        return -1
    nearest = min(abs(entry[0] - words) for entry in found)
    # At equal distances a coin decides, so that no side is the longer one by rule.
    found = [entry for entry in found if abs(entry[0] - words) == nearest]
    return (found[0] if longer_first else found[-1])[3]


def _ids(table: pa.Table) -> list[tuple[str, str]]:
    return list(zip(table["chosen_id"].to_pylist(), table["rejected_id"].to_pylist(), strict=True))


def _answers(table: pa.Table) -> list[tuple[tuple[str, str], tuple[int, str, str]]]:
    """((site, split), (words, id, thread)) of the 2n answers: first all chosen, then all others."""
    found = []
    for side in ("chosen", "rejected"):
        columns = [
            table[name].to_pylist() for name in ("site", "split", side, f"{side}_id", "thread_id")
        ]
        for site, split, text, name, thread in zip(*columns, strict=True):
            found.append(((site, split), (count_words_and_signs(text), name, thread)))
    return found


def _with_sides(
    table: pa.Table,
    chosen: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    rejected: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    sides_of: pa.Table | None = None,
) -> pa.Table:
    """Rows with other responses: numbers below n are the chosen of a row of ``sides_of``, from n
    on the rejected ones."""
    source = table if sides_of is None else sides_of
    for part in OF_A_SIDE:
        names = [f"{side}_{part}" if part else side for side in ("chosen", "rejected")]
        if names[0] not in table.column_names:
            continue
        both = pa.chunked_array([*source[names[0]].chunks, *source[names[1]].chunks])
        for name, places in zip(names, (chosen, rejected), strict=True):
            number = table.column_names.index(name)
            table = table.set_column(number, table.schema.field(name), both.take(pa.array(places)))
    return _renamed(table)


def _renamed(table: pa.Table) -> pa.Table:
    """Rows with the id and the hash that their texts now have."""
    names = [
        f"{thread}/{chosen.rpartition(':')[2]}>{rejected.rpartition(':')[2]}"
        for thread, (chosen, rejected) in zip(
            table["thread_id"].to_pylist(), _ids(table), strict=True
        )
    ]
    texts = [table[name].to_pylist() for name in ("prompt", "chosen", "rejected")]
    table = _set(table, "pair_id", names)
    return _set(table, "text_hash", [text_hash(*row) for row in zip(*texts, strict=True)])


def _without_votes(table: pa.Table) -> pa.Table:
    rows = table.num_rows
    for name, value in (
        ("chosen_score", 1.0),
        ("rejected_score", 0.0),
        ("vote_margin", 1.0),
        ("confidence", 1.0),
        ("window_chosen_score", None),
        ("window_rejected_score", None),
        ("debiased_margin", None),
        ("debiased_standard_error", None),
    ):
        if name in table.column_names:
            table = _set(table, name, [value] * rows)
    return table


def _set(table: pa.Table, name: str, values: Sequence[object]) -> pa.Table:
    number = table.column_names.index(name)
    field = table.schema.field(name)
    return table.set_column(number, field, pa.array(values, type=field.type))
