"""Which keys each token may attend to, where many sequences lie end to end.

A *segment* is a run of query tokens with the keys it may see. In the packed layout a sequence is
a segment and its keys are its own tokens. In the shared layout a prompt is a segment, and so is
each response, whose keys are the prompt's tokens and then its own: keys are gathered, so every
response sees the prompt although that was encoded once. In both, query i of a segment with q
queries and k keys sees the first k − q + i + 1 keys: the causal mask aligned at its end.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor


class AttentionSegments(NamedTuple):
    """n segments over T query tokens and K gathered keys."""

    query_starts: Tensor
    """int32 [n + 1]: where each segment's queries begin; the last entry is T."""
    key_starts: Tensor
    """int32 [n + 1]: where each segment's keys begin among the gathered ones; the last is K."""
    key_index: Tensor | None
    """int64 [K]: token of each gathered key; None: the tokens themselves, K = T."""
    longest: int
    """No segment has more queries or keys; rounded up, so that compiled code is reused."""
    spans: tuple[tuple[int, int, int, int], ...]
    """(query begin, end, key begin, end) of each segment, for the loop on a CPU."""
    group: Any = None
    """Process group over which keys and values are gathered before ``key_index``; None: they are
    all here."""

    def to(self, device: torch.device) -> "AttentionSegments":
        """Copy to a device."""
        return self._replace(
            query_starts=self.query_starts.to(device, non_blocking=True),
            key_starts=self.key_starts.to(device, non_blocking=True),
            key_index=None
            if self.key_index is None
            else self.key_index.to(device, non_blocking=True),
        )


def round_up(length: int) -> int:
    """The next power of two, at least 128: few different ones, so that compiled code is reused."""
    return max(128, 1 << (length - 1).bit_length())
