"""How many tokens the pairs of a dataset are, by a sample of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.data.collate import Layout, MicroBatch, micro_batches
from training.data.dataset import PairDataset
from training.data.prompt_groups import PromptGroup, group_pairs, prompt_runs
from training.data.sampler import shuffled
from training.data.tokenizer import PairTokenizer

ROW_GROUPS = 8
"""Row groups that are looked into, spread over the split."""
PROMPTS = 128
"""Prompts of each that are read as tokens."""
T_975 = {1: 12.7, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36}
"""97.5 % quantiles of Student's t, by degrees of freedom."""


@dataclass(frozen=True)
class TokenSample:
    """What the backbone reads of a pair, on average over sampled prompts."""

    pairs: int
    """That were sampled."""
    tokens: float
    """Tokens a pair, padding not counted."""
    low: float
    high: float
    """95 % interval of the mean; equal to it where every prompt was read."""
    computed: float
    """Tokens a pair, padding counted."""
    visible: float
    """(query, key) pairs of attention, a pair of responses."""
    keys: float
    """Keys over tokens, of the shared layout."""
    at_limit: float
    """Share of the sequences that are as long as they may be: cut, or just so long."""


def sample_tokens(
    dataset: PairDataset, tokens: PairTokenizer, layout: Layout, *, micro_batch_tokens: int
) -> TokenSample:
    """Read a sample of a split as the trainer would.

    The row groups are the units of the interval where there are four or more, else the prompts.
    """
    numbers = shuffled(len(dataset.rows), "plan")[:ROW_GROUPS]
    groups: list[list[PromptGroup]] = []
    sequences = at_limit = read = 0
    for number in numbers:
        rows = dataset.read(number)
        runs = prompt_runs(rows)
        chosen = [runs[place] for place in sorted(shuffled(len(runs), f"plan/{number}")[:PROMPTS])]
        read += sum(map(len, chosen))
        found = group_pairs(rows, chosen, tokens)
        groups.append(found.groups)
        at_limit += found.at_limit
        sequences += sum(len(group.responses) for group in found.groups)
    everything = [group for part in groups for group in part]
    batches = micro_batches(
        everything, layout, tokens=micro_batch_tokens, pad_id=tokens.pad_id, sites={}
    )
    pairs = sum(len(batch.chosen) for batch in batches)
    if not pairs:
        raise ValueError("no pair in the sample")
    mean = sum(batch.tokens for batch in batches) / pairs
    units = groups if len(groups) >= 4 else [[group] for group in everything]
    error = _standard_error(units, layout) * math.sqrt(max(0.0, 1 - read / sum(dataset.rows)))
    reach = T_975.get(len(units) - 1, 1.96) * error
    return TokenSample(
        pairs=pairs,
        tokens=mean,
        low=mean - reach,
        high=mean + reach,
        computed=sum(batch.input_ids.numel() for batch in batches) / pairs,
        visible=sum(map(_visible, batches)) / pairs,
        keys=_keys(batches),
        at_limit=at_limit / max(sequences, 1),
    )


def tokens_of(group: PromptGroup, layout: Layout) -> int:
    """Tokens of a prompt and its responses in a layout, padding not counted."""
    if layout == "shared":
        return group.shared_tokens
    if layout == "packed":
        return group.packed_tokens
    return sum(
        2 * len(group.prompt) + len(group.responses[p.chosen]) + len(group.responses[p.rejected])
        for p in group.pairs
    )


def _standard_error(units: Sequence[Sequence[PromptGroup]], layout: Layout) -> float:
    """Of the ratio tokens / pairs over units, by linearisation (Cochran 1977, 6.4)."""
    tokens = np.array([sum(tokens_of(group, layout) for group in unit) for unit in units])
    pairs = np.array([sum(len(group.pairs) for group in unit) for unit in units])
    if len(units) < 2:
        return math.inf
    residual = tokens - tokens.sum() / pairs.sum() * pairs
    return float(np.sqrt(len(units) / (len(units) - 1) * (residual**2).sum()) / pairs.sum())


def _visible(batch: MicroBatch) -> float:
    if batch.segments is not None:
        return sum(
            (q1 - q0) * (k1 - k0) - (q1 - q0) * (q1 - q0 - 1) / 2
            for q0, q1, k0, k1 in batch.segments.spans
        )
    assert batch.attention_mask is not None
    lengths = batch.attention_mask.sum(1).double()
    return float((lengths * (lengths + 1) / 2).sum())


def _keys(batches: Sequence[MicroBatch]) -> float:
    keys = sum(
        batch.segments.key_index.numel()
        for batch in batches
        if batch.segments is not None and batch.segments.key_index is not None
    )
    return keys / sum(batch.input_ids.numel() for batch in batches)
