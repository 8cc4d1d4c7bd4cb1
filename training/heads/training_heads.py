"""The heads of a run beside the reward head: their losses, their optimizer steps, their file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.adamw import adamw

from training.errors import ConfigError
from training.heads.base import ExtraHead
from training.heads.registry import EXTRA_HEADS
from training.losses.base import Labels, PairLoss, difference
from training.losses.settings import LossConfig

HEADS_NAME: Final = "heads.safetensors"
"""In a checkpoint: weights, moments and AdamW's state of these heads."""


class TrainingHeads(nn.Module):
    """The heads beside the reward head, each whole on every rank.

    A step is: :meth:`loss` of every micro-batch, ``backward``; :meth:`sum_gradients`; then
    :meth:`end_step`, or :meth:`drop_step` where the step is skipped. They have an AdamW of their
    own with the settings of the run's, and are outside of its gradient norm, so that clipping and
    the guard see the same as without them. ``state_dict()`` is all of the state.
    """

    def __init__(self, heads: dict[str, ExtraHead], *, betas: tuple[float, float], eps: float):
        super().__init__()
        self.betas, self.eps = betas, eps
        self.heads: Any = nn.ModuleDict(heads)  # type: ignore[arg-type]
        for name, head in heads.items():
            self.register_buffer(f"{name}_exp_avg", torch.zeros_like(head.weight))
            self.register_buffer(f"{name}_exp_avg_sq", torch.zeros_like(head.weight))
            self.register_buffer(f"{name}_step", torch.zeros(()))

    def loss(self, pair_loss: PairLoss, rewards: Tensor, states: Tensor, pairs: Any) -> Tensor:
        """Loss [P], unweighted: ``pair_loss`` on the sum of all heads' outputs, and their terms.

        Args:
            rewards: [S] of the sequences of a micro-batch.
            states: [S, d] that the reward head read.
            pairs: has ``chosen`` and ``rejected``, indices [P] of sequences, and ``labels``.
        """
        labels: Labels = pairs.labels
        outputs = [states.float() @ head.weight[0] for head in self.heads.values()]
        total = torch.stack([rewards, *outputs]).sum(0)
        loss = pair_loss(total[pairs.chosen], total[pairs.rejected], labels)
        reward = difference(rewards[pairs.chosen], rewards[pairs.rejected])
        for head, output in zip(self.heads.values(), outputs, strict=True):
            own = difference(output[pairs.chosen], output[pairs.rejected])
            loss = loss + head.pair_terms(reward, own, labels)
        return loss

    def sum_gradients(
        self, all_reduce: Callable[[Tensor], object], reward_weight: Tensor
    ) -> tuple[float, Tensor]:
        """Add up the gradients of all ranks, and add those of the terms on the weights.

        Once a step, on every rank. Returns those terms' value and their gradient with respect to
        ``reward_weight`` [1, d], which is the same on every rank.
        """
        for head in self.heads.values():
            if head.weight.grad is None:
                head.weight.grad = torch.zeros_like(head.weight)
            all_reduce(head.weight.grad)
        reward_weight = reward_weight.detach().float().requires_grad_()
        with torch.enable_grad():
            terms = [head.weight_term(reward_weight) for head in self.heads.values()]
            value = torch.stack(terms).sum()
            value.backward()
        assert reward_weight.grad is not None
        return float(value.detach()), reward_weight.grad

    @torch.no_grad()
    def end_step(self, all_reduce: Callable[[Tensor], object], *, lr: float) -> None:
        """Move the weights, and let the heads take over what the step's pairs say."""
        for name, head in self.heads.items():
            adamw(
                [head.weight],
                [head.weight.grad],
                [getattr(self, f"{name}_exp_avg")],
                [getattr(self, f"{name}_exp_avg_sq")],
                [],
                [getattr(self, f"{name}_step")],
                foreach=False,
                amsgrad=False,
                beta1=self.betas[0],
                beta2=self.betas[1],
                lr=lr,
                weight_decay=0.0,
                eps=self.eps,
                maximize=False,
            )
            head.weight.grad = None
            head.end_step(all_reduce)

    def drop_step(self) -> None:
        """Discard the step's gradients and pairs."""
        for head in self.heads.values():
            head.weight.grad = None
            head.drop_step()

    def save(self, folder: Path) -> None:
        """Write ``heads.safetensors``."""
        save_file(self.copy_of_state(), folder / HEADS_NAME)

    def copy_of_state(self) -> dict[str, Tensor]:
        """All of the state, copied to the CPU."""
        return {
            name: value.detach().to("cpu", copy=True) for name, value in self.state_dict().items()
        }

    def load(self, folder: Path) -> None:
        """Read what :meth:`save` wrote; raises ConfigError for a file of other heads."""
        path = folder / HEADS_NAME
        try:
            self.load_state_dict(load_file(path))
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            raise ConfigError(f"{path} is not of the heads of this run: {error}") from None


def make_heads(
    names: Sequence[str],
    hidden_size: int,
    config: LossConfig,
    *,
    seed: int,
    betas: tuple[float, float],
    eps: float,
) -> TrainingHeads | None:
    """Build the heads that ``model.extra_heads`` names; None for none.

    ``seed``: of the reward head; each other gets the next, so that none begins as another.
    """
    heads: dict[str, ExtraHead] = {}
    for number, name in enumerate(names, 1):
        make = EXTRA_HEADS[name].make
        assert make is not None
        heads[name] = make(hidden_size, config, seed + number)
    return TrainingHeads(heads, betas=betas, eps=eps) if heads else None
