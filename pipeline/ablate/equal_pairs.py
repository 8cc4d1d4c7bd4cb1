"""Cuts arms to the same number of pairs and, nearly, of words, so that only the label differs."""

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from schemas.ids import hash63

STEP: Final = 1.15
"""Ratio of the word counts at the ends of a bin."""


class PairSize(NamedTuple):
    """What the cut looks at; neither text nor label."""

    pair: str
    """Names the two responses whatever their order, so that arms keep the same pairs."""
    split: str
    words: int
    """Of prompt and both responses."""


def unordered(thread: str, first: str, second: str) -> str:
    """Name of a pair that says nothing of which response is preferred."""
    low, high = sorted((first, second))
    return f"{thread} {low} {high}"


def equal_pairs(arms: Mapping[str, Sequence[PairSize]], seed: int = 0) -> dict[str, list[int]]:
    """Return the places of the pairs that each arm keeps, in order.

    Pairs fall into bins by split and length, each bin 15 % wide. From a bin every arm keeps as
    many pairs as the arm with the fewest has there: those of the lowest hash of seed and pair, so
    a pair that several arms have tends to be kept by all of them. So all arms have the same number
    of pairs of each split and length, and word counts that differ by a percent or two at most.
    """
    binned: dict[tuple[str, int], dict[str, list[tuple[int, int]]]] = {}
    for arm, sizes in arms.items():
        for place, size in enumerate(sizes):
            length = math.floor(math.log(max(1, size.words)) / math.log(STEP))
            rank = hash63(f"{seed}:{size.pair}")
            by_arm = binned.setdefault((size.split, length), {})
            by_arm.setdefault(arm, []).append((rank, place))
    kept: dict[str, list[int]] = {arm: [] for arm in arms}
    for by_arm in binned.values():
        fewest = min(len(by_arm.get(arm, ())) for arm in arms)
        for arm, ranked in by_arm.items():
            kept[arm] += [place for _, place in sorted(ranked)[:fewest]]
    return {arm: sorted(places) for arm, places in kept.items()}
