"""What a training step minimises: the chosen loss with its penalty and, where it has one, state."""

from collections.abc import Callable

from torch import Tensor, nn

from training.losses.base import Labels, NoisyLoss, PairLoss, StatefulLoss, in_fp32
from training.losses.registry import check_loss, loss_named
from training.losses.settings import LossConfig


def smoothed(loss: PairLoss, smoothing: float) -> PairLoss:
    """Label smoothing of any loss without state: (1 − ε)·loss + ε·(loss of the opposite label).

    With Bradley–Terry: (1 − ε)·l₊ + ε·l₋, that is a soft label of 1 − ε; with a soft label t:
    the label t(1 − ε) + (1 − t)ε.

    Source: Szegedy et al. 2015 (arXiv 1512.00567, section 7); for preferences Mitchell 2023,
    "cDPO".
    Known failure: one ε for clear and for doubtful labels, where `soft` has one for each pair.
    It undoes `robust` with the same ε exactly.
    """

    def mixed(chosen: Tensor, rejected: Tensor, labels: Labels) -> Tensor:
        given = loss(chosen, rejected, labels)
        return (1 - smoothing) * given + smoothing * loss(rejected, chosen, labels)

    return mixed


def centring(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Penalty (r_chosen + r_rejected)² [P], which keeps the rewards of a pair round zero.

    A loss of differences leaves a constant per prompt free; this fixes it.

    Source: Eisenstein et al. 2023 (arXiv 2312.09244); TRL suggests a coefficient of 0.01.
    Known failure: pulls the mean of *every* pair to zero, so rewards cannot be compared between
    prompts any more (a prompt with two good responses and one with two bad ones).
    """
    return (in_fp32(chosen) + in_fp32(rejected)).square()


class Objective(nn.Module):
    """The loss that a configuration asks for, penalty of `loss.centring` included: a PairLoss.

    ``state_dict()`` is empty but for a loss with a state; save it beside the model in any case.
    Call ``end_step`` after each optimizer step and ``drop_step`` after a skipped one, on every
    rank; both do nothing for a loss without a state. ``eval()`` keeps validation pairs out of it.
    """

    def __init__(self, loss: PairLoss, centring: float) -> None:
        super().__init__()
        self.loss = loss
        self.centring = centring

    def forward(self, chosen: Tensor, rejected: Tensor, labels: Labels) -> Tensor:
        """Loss [P], unweighted."""
        loss = self.loss(chosen, rejected, labels)
        return loss + self.centring * centring(chosen, rejected) if self.centring else loss

    def end_step(self, all_reduce: Callable[[Tensor], object] | None = None) -> None:
        """Take over what the step's pairs say; ``all_reduce`` sums a tensor over ranks in place."""
        if (stateful := self._stateful()) is not None:
            stateful.end_step(all_reduce)

    def drop_step(self) -> None:
        """Discard the step's pairs."""
        if (stateful := self._stateful()) is not None:
            stateful.drop_step()

    def set_flip_rates(self, rates: Tensor) -> None:
        """Tell the loss the share of flipped labels of each site [sites].

        Raises TypeError for a loss that takes none.
        """
        loss: object = self.loss
        if not isinstance(loss, NoisyLoss):
            raise TypeError(f"{type(loss).__name__} takes no flip rates")
        loss.set_flip_rates(rates)

    def _stateful(self) -> StatefulLoss | None:
        loss: object = self.loss
        return loss if isinstance(loss, StatefulLoss) else None


def make_objective(config: LossConfig, sites: int) -> Objective:
    """Build what a configuration asks for, for pairs of so many sites.

    Raises ConfigError for a loss that there is not, or settings that it cannot be used with.
    """
    check_loss(config)
    loss = loss_named(config.name).make(config, sites)
    if config.label_smoothing:
        loss = smoothed(loss, config.label_smoothing)
    return Objective(loss, config.centring)
