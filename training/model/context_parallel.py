"""Ranks that share a micro-batch: each computes a part of its tokens, attention over all of them.

Keys and values are gathered in every layer, and their gradients are summed on the rank that made
them; a reward is read on the rank that holds its token, and told to the others. All of these ranks
compute the same loss, and each has the gradient of its own tokens, so that summing gradients over
all ranks counts each token once.
"""

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from training.data.collate import MicroBatch
from training.data.context_split import context_part
from training.errors import ConfigError

# Their names from torch 2.13 on; under the older ones it warns.
_all_gather: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce_scatter: Any = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


class ContextParallel(NamedTuple):
    """How this rank shares micro-batches with others."""

    group: Any
    """Process group of the ranks that share one."""
    rank: int
    """Number of this one among them."""
    ranks: int

    def part(self, batch: MicroBatch) -> tuple[MicroBatch, Tensor]:
        """This rank's part of a micro-batch, and which sequences' reward tokens it holds, bool [S].

        ``last`` of the part is 0 where it does not; what belongs to pairs stays as it is.
        """
        assert batch.segments is not None, "padded rows are not divided"
        found = context_part(batch.segments, self.rank, self.ranks)
        device = batch.input_ids.device
        index, place = found.token_index.to(device), found.place.to(device)
        last = place[batch.last]
        part = MicroBatch(
            input_ids=batch.input_ids[:, index],
            position_ids=batch.position_ids[:, index],
            attention_mask=None,
            segments=found.segments.to(device)._replace(group=self.group),
            last=last.clamp(min=0),
            first=batch.first,
            prompt_end=batch.prompt_end,
            chosen=batch.chosen,
            rejected=batch.rejected,
            labels=batch.labels,
            rows=batch.rows,
            tokens=batch.tokens,
        )
        return part, last >= 0

    def gather_rewards(self, rewards: Tensor, held: Tensor) -> Tensor:
        """Rewards of all sequences, of which this rank has those that are ``held``; all [S]."""
        found: Tensor = _SumOnce.apply(torch.where(held, rewards, 0.0), self.group)
        return found


@torch.compiler.disable  # type: ignore[untyped-decorator]
def gather_tokens(key: Tensor, value: Tensor, group: Any) -> tuple[Tensor, Tensor]:
    """Keys and values of all ranks of a group: [L, heads, d] → [ranks · L, heads, d]."""
    both: Tensor = _GatherTokens.apply(torch.cat((key, value), dim=-1), group)
    keys, values = both.split((key.shape[-1], value.shape[-1]), dim=-1)
    return keys, values


class _GatherTokens(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, mine: Tensor, group: Any) -> Tensor:
        context.group = group
        mine = mine.contiguous()
        found = mine.new_empty(dist.get_world_size(group) * mine.shape[0], *mine.shape[1:])
        _all_gather(found, mine, group=group)
        return found

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ranks = dist.get_world_size(context.group)
        mine = gradient.new_empty(gradient.shape[0] // ranks, *gradient.shape[1:])
        _reduce_scatter(mine, gradient.contiguous(), group=context.group)
        return mine, None


class _SumOnce(torch.autograd.Function):
    """A sum over ranks of which each then computes the same loss: its gradient is not summed."""

    @staticmethod
    def forward(context: Any, mine: Tensor, group: Any) -> Tensor:
        found = mine.clone()
        dist.all_reduce(found, group=group)
        return found

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def check_context_parallel(hf: Any, layout: str) -> None:
    """Raise ConfigError for a model whose micro-batches cannot be divided."""
    if layout == "padded":
        raise ConfigError(
            "run.context_parallel_degree divides sequences that are laid end to end; set "
            "model.layout=shared or packed, or leave it at 1"
        )
    found: dict[str, Any] = getattr(hf.config.get_text_config(), "rope_parameters", None) or {}
    kinds = [found, *(one for one in found.values() if isinstance(one, dict))]
    for kind in (str(one.get("rope_type")) for one in kinds):
        if kind in ("dynamic", "longrope"):
            raise ConfigError(
                f"{type(hf).__name__} chooses its rotary frequencies by the longest text of a "
                f"micro-batch ({kind}), of which each rank would see a part; leave "
                "run.context_parallel_degree at 1"
            )
