"""Which pairs are padded together, so that few cells are computed for padding or twice.

A micro-batch of the padded layout has a row for each distinct (prompt, response) of its pairs,
all as wide as the longest. Pairs of a prompt share rows where they lie in one micro-batch, but a
long response among them widens the rows of the short ones; so the pairs of a prompt, and then all
of them, are cut where that costs the fewest cells, exactly (by dynamic programming over their
order by length).
"""

from collections.abc import Sequence

from training.data.prompt_groups import PairOfGroup, PromptGroup, subgroup

PASSES_OF_A_BUDGET = 32
"""A pass through the backbone costs about as much as 1/32 of a full micro-batch by itself."""

_Row = tuple[int, int]
"""Number of the group, and of the response in it."""


def padded_chunks(groups: Sequence[PromptGroup], tokens: int) -> list[list[PromptGroup]]:
    """Cut groups into micro-batches of at most ``tokens`` cells, padding included; longest first.

    Each comes as groups that hold what its pairs use. A single pair may be over the limit.
    """
    units: list[tuple[int, int, list[PairOfGroup]]] = []
    for number, group in enumerate(groups):
        pairs = sorted(group.pairs, key=lambda pair: (-_width(group, pair), pair.row))
        widths = [_width(group, pair) for pair in pairs]
        rows = [_rows(number, [pair]) for pair in pairs]
        for part in cheapest_cuts(widths, rows, tokens, pass_cost=0):
            units.append((widths[part.start], number, pairs[part.start : part.stop]))
    units.sort(key=lambda unit: -unit[0])
    chunks = cheapest_cuts(
        [width for width, _, _ in units],
        [_rows(number, pairs) for _, number, pairs in units],
        tokens,
        pass_cost=tokens // PASSES_OF_A_BUDGET,
    )
    found = []
    for chunk in chunks:
        together: dict[int, list[PairOfGroup]] = {}
        for _, number, pairs in units[chunk.start : chunk.stop]:
            together.setdefault(number, []).extend(pairs)
        found.append([subgroup(groups[number], pairs) for number, pairs in together.items()])
    return found


def cheapest_cuts(
    widths: Sequence[int], rows: Sequence[set[_Row]], limit: int, *, pass_cost: int
) -> list[range]:
    """Cut items, widest first, into runs that cost the least together.

    A run costs its first item's width times its distinct rows, at most ``limit`` where it is more
    than one item, and ``pass_cost``.
    """
    count = len(widths)
    cost = [0] * (count + 1)
    end = [0] * count
    for first in reversed(range(count)):
        distinct: set[_Row] = set()
        best = None
        for last in range(first, count):
            distinct |= rows[last]
            cells = widths[first] * len(distinct)
            if cells > limit and last > first:
                break
            total = cells + pass_cost + cost[last + 1]
            if best is None or total <= best:
                best, end[first] = total, last + 1
        assert best is not None
        cost[first] = best
    runs, first = [], 0
    while first < count:
        runs.append(range(first, end[first]))
        first = end[first]
    return runs


def _width(group: PromptGroup, pair: PairOfGroup) -> int:
    responses = group.responses
    return len(group.prompt) + max(len(responses[pair.chosen]), len(responses[pair.rejected]))


def _rows(number: int, pairs: Sequence[PairOfGroup]) -> set[_Row]:
    return {(number, side) for pair in pairs for side in (pair.chosen, pair.rejected)}
