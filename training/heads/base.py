"""What a head is."""

from __future__ import annotations  # annotations name torch, which must not be loaded for them

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from training.losses.base import Labels
from training.losses.settings import LossConfig

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter


class ExtraHead(Protocol):
    """A head beside the reward head: a torch module with these, whose state is its buffers."""

    weight: Parameter
    """[1, d] fp32 parameter: its output is ``states @ weight[0]``."""

    def pair_terms(self, reward: Tensor, own: Tensor, labels: Labels) -> Tensor:
        """Its loss terms [P], unweighted, beside the pair loss on the sum of all heads.

        ``reward``, ``own``: differences chosen − rejected [P] of the reward head's outputs and of
        its own. In training mode it also counts the pairs, for :meth:`end_step`.
        """

    def weight_term(self, reward_weight: Tensor) -> Tensor:
        """Its loss term on the weights, a scalar; ``reward_weight`` is [1, d]."""

    def end_step(self, all_reduce: Callable[[Tensor], object] | None = None) -> None:
        """Take over what the step's pairs say; ``all_reduce`` sums a tensor over ranks in place."""

    def drop_step(self) -> None:
        """Discard the step's pairs."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """A linear head with all that is said and asked of it anywhere."""

    name: str
    """In ``model.extra_heads``, but for the reward head, which every model has."""
    summary: str
    """A phrase for ``--help``."""
    reads: str
    loss_term: str
    saved: str
    """Where its weights are."""
    source: str
    known_failure: str
    settings: tuple[str, ...] = ()
    """Settings ``loss.…`` that it reads."""
    needs_lengths: bool = False
    """Whether it reads the responses' lengths."""
    make: Callable[[int, LossConfig, int], ExtraHead] | None = None
    """(hidden size d, settings, seed) -> the module; None: it is the classifier of transformers."""
