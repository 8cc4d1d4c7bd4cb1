"""What a loss is, and what every loss may use.

In all formulas d = r_chosen − r_rejected, p = sigmoid(d) is the probability that the model gives
the label, l₊ = softplus(−d) = −log p its loss, and l₋ = softplus(d) = −log(1 − p) that of the
opposite label. A loss takes (rewards of the chosen [P], of the rejected [P], labels of P pairs)
and returns [P], unweighted; everything is computed in fp32 (fp64 stays fp64) and is finite for
|d| ≤ 1e4.

The step's loss is ``weighted_sum(loss, labels.weight)`` over all micro-batches and ranks, divided
by the pair weight of the whole step. Dividing each micro-batch by its own weight instead would
count pairs in short micro-batches for more.
"""

from __future__ import annotations  # annotations name torch, which must not be loaded for them

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, runtime_checkable

from training.losses.settings import LossConfig

if TYPE_CHECKING:
    from torch import Tensor


class Labels(NamedTuple):
    """What is known of P pairs beside their rewards; tensors of shape [P]."""

    weight: Tensor
    """fp32: 1 / (pairs of the prompt), or 1; 0 for padding."""
    confidence: Tensor
    """fp32, 0 to 1: probability that the chosen response is really better, from the votes."""
    margin: Tensor
    """fp32, > 0: difference of the scores, in votes."""
    site: Tensor
    """int64: index of the site, less than the number of sites."""
    chosen_length: Tensor
    """fp32, ≥ 0: words and marks of the uncut response; 0 unless the loss ``needs_lengths``."""
    rejected_length: Tensor
    """fp32, ≥ 0."""


PairLoss: TypeAlias = "Callable[[Tensor, Tensor, Labels], Tensor]"
"""(rewards of the chosen [P], of the rejected [P], labels) -> loss [P]."""


@runtime_checkable
class StatefulLoss(Protocol):
    """A loss that learns something of its own: a torch module with these methods."""

    def end_step(self, all_reduce: Callable[[Tensor], object] | None = None) -> None:
        """Take over what the step's pairs say; ``all_reduce`` sums a tensor over ranks in place."""

    def drop_step(self) -> None:
        """Discard the step's pairs, when the optimizer step is skipped."""


@runtime_checkable
class NoisyLoss(Protocol):
    """A loss with a share of flipped labels of each site: a torch module with this method."""

    def set_flip_rates(self, rates: Tensor) -> None:
        """Go by these shares [sites], each from 0 to below one half."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A loss that ``loss.name`` can choose, with all that is said and asked of it anywhere."""

    name: str
    """Value of ``loss.name``."""
    summary: str
    """A phrase for ``--help``."""
    formula: str
    source: str
    needs: str = "–"
    """What it needs of the data, in words."""
    known_failure: str
    settings: tuple[str, ...] = ()
    """Settings ``loss.…`` that it reads, beside those of every loss."""
    default_noise: float | str | None = None
    """What ``loss.label_noise`` is where nobody gave it; None: the loss does not read it. Where it
    is not one number, the function is a :class:`NoisyLoss`."""
    needs_sites: bool = False
    """Whether it tells sites apart; else all pairs have site 0."""
    needs_lengths: bool = False
    """Whether it reads the responses' lengths; else all are 0."""
    can_be_smoothed: bool = True
    """Whether ``loss.label_smoothing`` may be used; not with a loss that models wrong labels."""
    make: Callable[[LossConfig, int], PairLoss]
    """(settings, number of sites) -> the function, or a module that is a StatefulLoss, too."""


def difference(chosen: Tensor, rejected: Tensor) -> Tensor:
    """d = r_chosen − r_rejected [P], in at least fp32: near 10, bf16 rounds to steps of 0.06."""
    return in_fp32(chosen) - in_fp32(rejected)


def in_fp32(rewards: Tensor) -> Tensor:
    """The rewards in fp32; fp64 stays fp64."""
    import torch

    return rewards.to(torch.promote_types(rewards.dtype, torch.float32))


def log_sigmoid(x: Tensor) -> Tensor:
    """log sigmoid(x) = −softplus(−x), finite for large |x|."""
    from torch.nn.functional import logsigmoid

    return logsigmoid(x)


def cross_entropy(d: Tensor, target: Tensor) -> Tensor:
    """t·l₊ + (1 − t)·l₋ [P], with t = target."""
    return -target * log_sigmoid(d) - (1 - target) * log_sigmoid(-d)


def weighted_sum(loss: Tensor, weight: Tensor) -> Tensor:
    """Σ weight·loss, a scalar; divide it by the pair weight of the whole step. 0 for no pairs."""
    return (loss * weight).sum()
