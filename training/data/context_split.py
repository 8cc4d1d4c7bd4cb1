"""A micro-batch divided among ranks that share it, so that each has as much attention to compute.

The queries of every segment are cut into 2c chunks for c ranks, and rank r takes the chunks r and
2c − 1 − r: of causal attention the first is short and the last long, and each two together cost the
same (as in ring attention with "zigzag" order). Where chunks are of unequal size the ranks take
turns. Keys of all ranks are gathered; which of them a chunk sees is again a segment::

    a prompt of 8 tokens, 2 ranks     0 1 | 2 3 | 4 5 | 6 7
    rank 0                            0 1               6 7
    rank 1                                  2 3   4 5
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.segments import AttentionSegments, round_up

Ints = NDArray[np.int64]


class ContextPart(NamedTuple):
    """What one of the ranks that share a micro-batch holds of its T tokens: L of them, padded so
    that all ranks hold as many."""

    token_index: Tensor
    """int64 [L]: which of the T tokens; 0 for padding."""
    place: Tensor
    """int64 [T]: where each token lies among the L; -1: on another rank."""
    segments: AttentionSegments
    """Over the L queries and the tokens of all ranks, c · L, one rank's after the other's."""


def context_part(segments: AttentionSegments, rank: int, ranks: int) -> ContextPart:
    """This rank's part of a micro-batch; pure, the same division on every rank."""
    tokens = segments.spans[-1][1]
    pieces = _pieces(segments, ranks)
    lengths = [sum(end - begin for begin, end, _, _ in mine) for mine in pieces]
    longest = max(lengths)
    where = np.zeros(tokens, dtype=np.int64)
    """Of each token among those that are gathered."""
    for number, mine in enumerate(pieces):
        at = number * longest
        for begin, end, _, _ in mine:
            where[begin:end] = np.arange(at, at + end - begin)
            at += end - begin
    keys_are: Ints = np.arange(tokens)
    if segments.key_index is not None:
        keys_are = segments.key_index.cpu().numpy()
    index: list[Ints] = [np.arange(begin, end) for begin, end, _, _ in pieces[rank]]
    keys: list[Ints] = [where[keys_are[first:last]] for _, _, first, last in pieces[rank]]
    filling = longest - lengths[rank]
    if filling:  # tokens that see themselves alone, and that nobody sees
        index.append(np.zeros(filling, dtype=np.int64))
        keys.append(rank * longest + np.arange(lengths[rank], longest))
    query_starts = np.cumsum([0, *map(len, index)])
    key_starts = np.cumsum([0, *map(len, keys)])
    local = where - rank * longest
    return ContextPart(
        torch.from_numpy(np.concatenate(index)),
        torch.from_numpy(np.where((local >= 0) & (local < longest), local, -1)),
        AttentionSegments(
            query_starts=torch.from_numpy(query_starts.astype(np.int32)),
            key_starts=torch.from_numpy(key_starts.astype(np.int32)),
            key_index=torch.from_numpy(np.concatenate(keys)),
            longest=max(segments.longest, round_up(filling)),
            spans=tuple(
                (int(q0), int(q1), int(k0), int(k1))
                for q0, q1, k0, k1 in zip(
                    query_starts, query_starts[1:], key_starts, key_starts[1:], strict=False
                )
            ),
        ),
    )


def _pieces(segments: AttentionSegments, ranks: int) -> list[list[tuple[int, int, int, int]]]:
    """(query begin, end, key begin, end) of what each rank takes, in the order of the tokens."""
    found: list[list[tuple[int, int, int, int]]] = [[] for _ in range(ranks)]
    for number, (q0, q1, k0, k1) in enumerate(segments.spans):
        queries, before = q1 - q0, (k1 - k0) - (q1 - q0)
        bounds = [queries * chunk // (2 * ranks) for chunk in range(2 * ranks + 1)]
        for chunk in range(2 * ranks):
            begin, end = bounds[chunk], bounds[chunk + 1]
            if begin == end:
                continue
            mine = found[(min(chunk, 2 * ranks - 1 - chunk) + number) % ranks]
            piece = (q0 + begin, q0 + end, k0, k0 + before + end)
            if mine and mine[-1][1] == piece[0] and begin:  # the two in the middle are neighbours
                piece = (mine.pop()[0], *piece[1:])
            mine.append(piece)
    return found
