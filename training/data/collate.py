"""Groups of responses laid out as tensors, in one of three layouts that give the same scores.

A worked example: prompt ``P P`` with the responses ``a a a`` and ``b``::

    shared  P P a a a b           9 keys for a and b together; the prompt is encoded once
    packed  P P a a a P P b       each sequence by itself, no padding
    padded  P P a a a             a row each, filled up to the longest
            P P b . .

In all of them a response that several pairs of a micro-batch name is there once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from training.data.padded_rows import padded_chunks
from training.data.prompt_groups import PromptGroup, split_group
from training.data.segments import AttentionSegments, round_up
from training.data.tokenizer import Ids
from training.losses.base import Labels

Layout = Literal["shared", "packed", "padded"]


@dataclass(frozen=True)
class MicroBatch:
    """What goes through the backbone at once: S sequences, P pairs of them."""

    input_ids: Tensor
    """int64 [1, T], or [rows, longest] when padded."""
    position_ids: Tensor
    """int64, the shape of ``input_ids``; a response continues where its prompt ends."""
    attention_mask: Tensor | None
    """int64 [rows, longest], 0 on padding; None unless padded."""
    segments: AttentionSegments | None
    """None when padded."""
    last: Tensor
    """int64 [S]: the reward token of each sequence, as an index into the flattened ids."""
    first: Tensor
    """int64 [S]: the first token of each response; the others follow it up to ``last``."""
    prompt_end: Tensor
    """int64 [S]: the last token of each sequence's prompt, which the response follows."""
    chosen: Tensor
    """int64 [P]: the sequence that each pair's chosen response is."""
    rejected: Tensor
    """int64 [P]."""
    labels: Labels
    rows: Tensor
    """int64 [P]: number of each pair in its batch."""
    tokens: int
    """Tokens that are not padding."""

    def to(self, device: torch.device) -> "MicroBatch":
        """Copy to a device."""
        if device.type == "cpu":
            return self
        moved: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Labels):
                moved[item.name] = Labels(*(t.to(device, non_blocking=True) for t in value))
            elif isinstance(value, Tensor | AttentionSegments):
                moved[item.name] = (
                    value.to(device, non_blocking=True)
                    if isinstance(value, Tensor)
                    else value.to(device)
                )
            else:
                moved[item.name] = value
        return MicroBatch(**moved)

    def without_weight(self) -> "MicroBatch":
        """A copy that adds nothing to any gradient: fills up ranks that have fewer of them."""
        labels = self.labels._replace(weight=torch.zeros_like(self.labels.weight))
        return MicroBatch(
            **{f.name: getattr(self, f.name) for f in fields(self)} | {"labels": labels}
        )


def micro_batches(
    groups: Sequence[PromptGroup],
    layout: Layout,
    *,
    tokens: int,
    pad_id: int,
    sites: Mapping[str, int],
) -> list[MicroBatch]:
    """Lay groups out in micro-batches of at most ``tokens`` tokens (padding counts).

    A single group over the limit is cut into ones that fit; a single pair over it gets a
    micro-batch of its own. Deterministic. ``sites`` numbers the forums; others are 0.
    """
    if layout == "padded":
        return [_padded(chunk, pad_id, sites) for chunk in padded_chunks(groups, tokens)]
    units = [part for group in groups for part in split_group(group, tokens)]
    size = {
        "shared": lambda group: group.shared_tokens,
        "packed": lambda group: group.packed_tokens,
    }[layout]
    if layout == "packed":
        units = [part for unit in units for part in _split_packed(unit, tokens)]
    return [
        _packed(bin_, sites, shared=layout == "shared")
        for bin_ in first_fit([(size(unit), unit) for unit in units], tokens)
    ]


def _split_packed(group: PromptGroup, tokens: int) -> Iterator[PromptGroup]:
    if group.packed_tokens <= tokens or len(group.pairs) == 1:
        yield group
        return
    share = max(1, tokens * group.shared_tokens // group.packed_tokens)
    parts = split_group(group, share)
    if len(parts) == 1:
        yield group
        return
    for part in parts:
        yield from _split_packed(part, tokens)


def first_fit(sized: Sequence[tuple[int, PromptGroup]], tokens: int) -> list[list[PromptGroup]]:
    """Pack units into bins of ``tokens``: largest first, each into the first bin with room.

    First-fit decreasing: at most 11/9 of the fewest possible bins and a constant.
    """
    bins: list[list[PromptGroup]] = []
    free: list[int] = []
    for size, unit in sorted(sized, key=lambda item: -item[0]):
        for number, room in enumerate(free):
            if size <= room:
                bins[number].append(unit)
                free[number] -= size
                break
        else:
            bins.append([unit])
            free.append(max(tokens - size, 0))
    return bins


def _packed(groups: Sequence[PromptGroup], sites: Mapping[str, int], *, shared: bool) -> MicroBatch:
    ids: list[Any] = []
    positions: list[Any] = []
    key_index: list[Any] = []
    spans: list[tuple[int, int, int, int]] = []
    last: list[int] = []
    first: list[int] = []
    prompt_end: list[int] = []
    chosen: list[int] = []
    rejected: list[int] = []
    at = keys = 0
    for group in groups:
        base = len(last)
        prompt = len(group.prompt)
        prompt_at = at
        if shared:
            ids.append(group.prompt)
            positions.append(np.arange(prompt))
            key_index.append(np.arange(at, at + prompt))
            spans.append((at, at + prompt, keys, keys + prompt))
            at += prompt
            keys += prompt
        for response in group.responses:
            begin = at
            if not shared:
                ids.append(group.prompt)
                positions.append(np.arange(prompt))
                at += prompt
            first.append(at)
            prompt_end.append((prompt_at + prompt if shared else at) - 1)
            ids.append(response)
            positions.append(np.arange(prompt, prompt + len(response)))
            at += len(response)
            if shared:
                key_index += [np.arange(prompt_at, prompt_at + prompt), np.arange(begin, at)]
            spans.append((begin, at, keys, keys + prompt + len(response)))
            keys += prompt + len(response)
            last.append(at - 1)
        chosen += [base + pair.chosen for pair in group.pairs]
        rejected += [base + pair.rejected for pair in group.pairs]
    longest = max(max(q1 - q0, k1 - k0) for q0, q1, k0, k1 in spans)
    segments = AttentionSegments(
        query_starts=torch.tensor([0, *(span[1] for span in spans)], dtype=torch.int32),
        key_starts=torch.tensor([0, *(span[3] for span in spans)], dtype=torch.int32),
        key_index=torch.from_numpy(np.concatenate(key_index)) if shared else None,
        longest=round_up(longest),
        spans=tuple(spans),
    )
    return MicroBatch(
        input_ids=torch.from_numpy(np.concatenate(ids).astype(np.int64))[None],
        position_ids=torch.from_numpy(np.concatenate(positions).astype(np.int64))[None],
        attention_mask=None,
        segments=segments,
        last=torch.tensor(last),
        first=torch.tensor(first),
        prompt_end=torch.tensor(prompt_end),
        chosen=torch.tensor(chosen),
        rejected=torch.tensor(rejected),
        tokens=at,
        **_pair_tensors(groups, sites),
    )


def _padded(groups: Sequence[PromptGroup], pad_id: int, sites: Mapping[str, int]) -> MicroBatch:
    rows: list[Ids] = []
    prompts: list[int] = []
    chosen: list[int] = []
    rejected: list[int] = []
    for group in groups:
        chosen += [len(rows) + pair.chosen for pair in group.pairs]
        rejected += [len(rows) + pair.rejected for pair in group.pairs]
        rows += [np.concatenate([group.prompt, response]) for response in group.responses]
        prompts += [len(group.prompt)] * len(group.responses)
    begin = torch.arange(len(rows)) * max(map(len, rows))
    lengths = torch.tensor([len(row) for row in rows])
    width = int(lengths.max())
    ids = torch.full((len(rows), width), pad_id, dtype=torch.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.from_numpy(row.astype(np.int64))
    position = torch.arange(width).expand(len(rows), width)
    return MicroBatch(
        input_ids=ids,
        position_ids=position,
        attention_mask=(position < lengths[:, None]).to(torch.int64),
        segments=None,
        last=begin + lengths - 1,
        first=begin + torch.tensor(prompts),
        prompt_end=begin + torch.tensor(prompts) - 1,
        chosen=torch.tensor(chosen),
        rejected=torch.tensor(rejected),
        tokens=int(lengths.sum()),
        **_pair_tensors(groups, sites),
    )


def _pair_tensors(groups: Sequence[PromptGroup], sites: Mapping[str, int]) -> dict[str, Any]:
    pairs = [pair for group in groups for pair in group.pairs]
    return {
        "labels": Labels(
            weight=torch.tensor([pair.weight for pair in pairs], dtype=torch.float32),
            confidence=torch.tensor([pair.confidence for pair in pairs], dtype=torch.float32),
            margin=torch.tensor([pair.margin for pair in pairs], dtype=torch.float32),
            site=torch.tensor([sites.get(pair.site, 0) for pair in pairs]),
            chosen_length=torch.tensor([pair.chosen_length for pair in pairs], dtype=torch.float32),
            rejected_length=torch.tensor(
                [pair.rejected_length for pair in pairs], dtype=torch.float32
            ),
        ),
        "rows": torch.tensor([pair.row for pair in pairs]),
    }
