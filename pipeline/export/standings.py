"""The order of the responses to one prompt, put together from their pairs."""

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline.export.thread_pairs import ThreadPair
from schemas.pair import Message


class Response(NamedTuple):
    """A response and how it did."""

    id: str
    text: str
    turns: tuple[Message, ...] | None
    created_at: int
    """Milliseconds since 1970-01-01 UTC; 0: the source does not say."""
    score: float
    tie_group: int
    """0: best; equal for responses of which none is better; no gaps."""
    won: bool
    """Whether a pair chooses it."""
    lost: bool
    """Whether a pair rejects it."""


class Standing(NamedTuple):
    """All responses to one prompt that are in a pair."""

    responses: tuple[Response, ...]
    """Best first, equal ones by id; without the circular ones."""
    circular: tuple[Response, ...]
    """Those in a circle of preferences, by id; their score and tie group mean nothing."""
    by_score: bool
    """Whether the order is that of the scores, rather than of the pairs."""


def standing(pairs: Sequence[ThreadPair], *, by_pairs: bool = False) -> Standing:
    """Order the responses of one conversation's pairs.

    By their scores where each has one, which it has in all pairs. Else, or with ``by_pairs`` (under
    a vote mode whose scores only compare the two of a pair, even where they happen to agree), by
    the pairs: each response is in the first tie group below all that beat it, directly or by way of
    others, and its score counts the tie groups below its own. Either way no pair is contradicted,
    so responses in a circle stand nowhere.
    """
    sides = {side.id: side for pair in pairs for side in (_chosen(pair), _rejected(pair))}
    won = {pair.chosen_id for pair in pairs}
    lost = {pair.rejected_id for pair in pairs}
    ids = sorted(sides)
    scores = None if by_pairs else own_scores(pairs)
    circular: set[str] = set()
    if scores is None:
        place = {name: index for index, name in enumerate(ids)}
        beaten = [(place[pair.chosen_id], place[pair.rejected_id]) for pair in pairs]
        levels, circles = levels_of(len(ids), beaten)
        circular = {ids[index] for index in circles}
        heights = {name: -float(levels[place[name]]) for name in ids}
    else:
        heights = scores
    standing_ids = sorted((name for name in ids if name not in circular), key=heights.__getitem__)
    groups = [list(group) for _, group in itertools.groupby(standing_ids, key=heights.__getitem__)]
    ordered = [
        sides[name]._replace(
            score=heights[name] if scores is not None else float(below),
            tie_group=len(groups) - 1 - below,
            won=name in won,
            lost=name in lost,
        )
        for below, group in enumerate(groups)
        for name in group
    ]
    ordered.sort(key=lambda response: (response.tie_group, response.id))
    return Standing(
        tuple(ordered),
        tuple(sides[name]._replace(won=True, lost=True) for name in ids if name in circular),
        scores is not None,
    )


def _chosen(pair: ThreadPair) -> Response:
    return Response(
        pair.chosen_id, pair.chosen, pair.chosen_turns, pair.chosen_created_at, 0.0, 0, True, False
    )


def _rejected(pair: ThreadPair) -> Response:
    return Response(
        *(pair.rejected_id, pair.rejected, pair.rejected_turns, pair.rejected_created_at),
        *(0.0, 0, False, True),
    )


def own_scores(pairs: Iterable[ThreadPair]) -> dict[str, float] | None:
    """Return the score of each response by id; None where one has two, or they deny a pair."""
    scores: dict[str, float] = {}
    for pair in pairs:
        for name, score in (
            (pair.chosen_id, pair.chosen_score),
            (pair.rejected_id, pair.rejected_score),
        ):
            if scores.setdefault(name, score) != score:
                return None
        if pair.chosen_score <= pair.rejected_score:
            return None
    return scores


def levels_of(count: int, beaten: Iterable[tuple[int, int]]) -> tuple[list[int], frozenset[int]]:
    """Return the level of each of ``count`` players, and which are in a circle.

    ``beaten`` has (winner, loser), indexes below ``count``. Level 0 is that of players whom nobody
    beats; each other one's is one more than the highest level of those above it. Players of one
    circle count as one player.
    """
    below = [0] * count  # bit j of number i: i is above j, directly or by way of others
    for winner, loser in beaten:
        below[winner] |= 1 << loser
    for middle in range(count):  # Warshall's transitive closure
        for player in range(count):
            if below[player] >> middle & 1:
                below[player] |= below[middle]
    circular = frozenset(player for player in range(count) if below[player] >> player & 1)
    above = [
        [i for i in range(count) if below[i] >> player & 1 and not below[player] >> i & 1]
        for player in range(count)
    ]
    levels = [0] * count
    for player in sorted(range(count), key=lambda player: len(above[player])):
        levels[player] = max((levels[i] + 1 for i in above[player]), default=0)
    return levels, circular
