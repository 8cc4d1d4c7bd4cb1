"""Losses on the rewards of a pair: pure functions, one number per pair, unweighted.

In all formulas d = r_chosen − r_rejected, p = sigmoid(d) is the probability that the model gives
the label, l₊ = softplus(−d) = −log p its loss, and l₋ = softplus(d) = −log(1 − p) that of the
opposite label. A loss takes (rewards of the chosen [P], of the rejected [P], labels of P pairs)
and returns [P]; everything is computed in fp32 (fp64 stays fp64) and is finite for |d| ≤ 1e4.

The step's loss is ``weighted_sum(loss, labels.weight)`` over all micro-batches and ranks, divided
by the pair weight of the whole step. Dividing each micro-batch by its own weight instead would
count pairs in short micro-batches for more.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from training.config import ConfigError, LossConfig


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


PairLoss: TypeAlias = Callable[[Tensor, Tensor, Labels], Tensor]
"""(rewards of the chosen [P], of the rejected [P], labels) -> loss [P]."""


def difference(chosen: Tensor, rejected: Tensor) -> Tensor:
    """d = r_chosen − r_rejected [P], in at least fp32: near 10, bf16 rounds to steps of 0.06."""
    dtype = torch.promote_types(chosen.dtype, torch.float32)
    return chosen.to(dtype) - rejected.to(dtype)


def bradley_terry(chosen: Tensor, rejected: Tensor, labels: Labels) -> Tensor:
    """Bradley–Terry: l₊ = −log sigmoid(d).

    Source: Bradley and Terry 1952; as the loss of a reward model Ouyang et al. 2022
    (arXiv 2203.02155, eq. 1), WorldPM (arXiv 2505.10527, section 3.1.2).
    Known failure: takes every label for certain. From the second epoch on it fits the wrong ones,
    too, and grows overconfident.
    """
    return -logsigmoid(difference(chosen, rejected))


def soft_bradley_terry(chosen: Tensor, rejected: Tensor, labels: Labels) -> Tensor:
    """Bradley–Terry with a probability t as label: t·l₊ + (1 − t)·l₋, t = confidence.

    The cross-entropy between t and p: smallest at d = logit(t), so it is bounded and a model of
    lowest loss is calibrated.

    Source: the cross-entropy of Christiano et al. 2017 (arXiv 1706.03741, section 2.2.3), whose
    labels may be 1/2, with the share that the votes support as label.
    Known failure: as good as the confidences. Where few votes make all of them small, rewards
    hardly spread; a confidence below 1/2 trains against the label (`data.min_confidence`).
    """
    return _cross_entropy(difference(chosen, rejected), labels.confidence)


def margin_bradley_terry(
    chosen: Tensor, rejected: Tensor, labels: Labels, *, scale: float
) -> Tensor:
    """Bradley–Terry with a margin: softplus(−(d − m)), m = scale · log(1 + votes of margin).

    Source: Touvron et al. 2023, Llama 2 (arXiv 2307.09288, section 3.2.2, eq. 2). The logarithm
    is ours: votes are heavy-tailed, their m was one of four ratings.
    Known failure: sigmoid(d) is no longer the probability of the label, so the calibration shown
    is off by design; vote margins also count how many people came by. WorldPM found no use for
    margins (arXiv 2505.10527, table 5).
    """
    return -logsigmoid(difference(chosen, rejected) - _strength(labels, scale))


def scaled_bradley_terry(
    chosen: Tensor, rejected: Tensor, labels: Labels, *, scale: float
) -> Tensor:
    """Bradley–Terry times the strength of the preference: m·l₊, m = scale · log(1 + votes).

    That is a pair weight: a pair of strength m counts as m pairs. The pair weight of the step
    does not contain m, so losses with other scales cannot be compared, and `optim.clip` bites
    later or earlier.

    Source: Wang et al. 2024, HelpSteer2-Preference (arXiv 2410.01257, "Scaled Bradley-Terry"),
    where m is 1, 2 or 3.
    Known failure: busy threads, whose margins are large, dominate again.
    """
    return _strength(labels, scale) * bradley_terry(chosen, rejected, labels)


def robust(chosen: Tensor, rejected: Tensor, labels: Labels, *, noise: float) -> Tensor:
    """rDPO's correction: [(1 − ε)·l₊ − ε·l₋] / (1 − 2ε), with ε = noise, the share of flips.

    Its mean over labels that were flipped at random with probability ε is l₊ of the unflipped
    label: unbiased.

    Source: Ray Chowdhury et al. 2024 (arXiv 2403.00409); the same correction for any
    loss in Natarajan et al. 2013.
    Known failure: **unbounded below**. It falls like −ε·d/(1 − 2ε) as d grows, so rewards of
    pairs that are fitted run away: in a trial on 14.5k pairs the loss on held-out pairs reached
    222 after 12 epochs. One epoch only, with clipping, and with an ε that is known.
    """
    d = difference(chosen, rejected)
    return ((1 - noise) * -logsigmoid(d) + noise * logsigmoid(-d)) / (1 - 2 * noise)


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
    dtype = torch.promote_types(chosen.dtype, torch.float32)
    return (chosen.to(dtype) + rejected.to(dtype)).square()


def weighted_sum(loss: Tensor, weight: Tensor) -> Tensor:
    """Σ weight·loss, a scalar; divide it by the pair weight of the whole step. 0 for no pairs."""
    return (loss * weight).sum()


class LCPO(nn.Module):
    """Estimates how far each site's labels can be trusted, and softens them by it. Experimental.

    With η_k, the share of right labels of site k, the probability that a label is right is
    w = ηp / (ηp + (1 − η)(1 − p)), without gradient, and the loss is w·l₊ + (1 − w)·l₋.
    Once a step η_k ← a·η_k + (1 − a)·(mean of w over the step's pairs of site k, by weight), with
    a = decay; a site without pairs in the step keeps its η. The mean is taken over the whole
    step, so neither micro-batches nor ranks change it.

    Source: Cao et al. 2025 (arXiv 2509.24159v2, "LCPO"; called RE-PO from v3 on), for annotators;
    sites take their place, since dumps do not say who voted.
    Known failure: finds the noise only if p is sharp and calibrated. At p = 1/2 (a new model) w
    equals η, so every η is a fixed point; and by the time p is sharp, a large model has
    fitted the wrong labels. In a trial on 14.5k pairs η stayed at 0.90 to 0.95 for 0, 20 and 40 %
    flipped labels.
    """

    START = 0.9
    """η before the first step."""
    CLOSEST = 1e-4
    """Distance that η keeps from 0 and 1, where it could never leave again."""

    eta: Tensor
    """[sites]; the state."""
    sums: Tensor
    """[2, sites]: Σ weight·w and Σ weight since the last step."""

    def __init__(self, sites: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("eta", torch.full((sites,), self.START))
        self.register_buffer("sums", torch.zeros(2, sites), persistent=False)

    def forward(self, chosen: Tensor, rejected: Tensor, labels: Labels) -> Tensor:
        """Loss [P]; in training mode also counts the pairs for the next update of η."""
        d = difference(chosen, rejected)
        with torch.no_grad():
            right = torch.sigmoid(torch.logit(self.eta[labels.site].to(d.dtype)) + d)
            if self.training:
                # A sum over a mask instead of index_add: the same order, so the same bits, on GPUs.
                of_site = labels.site == torch.arange(len(self.eta), device=d.device)[:, None]
                weight = labels.weight * of_site
                self.sums += torch.stack(((weight * right).sum(1), weight.sum(1)))
        return _cross_entropy(d, right)

    def end_step(self, all_reduce: Callable[[Tensor], object] | None = None) -> None:
        """Update η from the pairs since the last call; `all_reduce` sums a tensor over ranks."""
        if all_reduce is not None:
            all_reduce(self.sums)
        right, weight = self.sums
        seen = weight > 0
        mean = right / torch.where(seen, weight, 1)
        moved = self.decay * self.eta + (1 - self.decay) * mean
        self.eta.copy_(torch.where(seen, moved.clamp(self.CLOSEST, 1 - self.CLOSEST), self.eta))
        self.sums.zero_()

    def drop_step(self) -> None:
        """Forget the pairs since the last call, when the optimizer step is skipped."""
        self.sums.zero_()


class Objective(nn.Module):
    """The loss that a configuration asks for, penalty of `loss.centring` included: a PairLoss.

    ``state_dict()`` is empty but for `lcpo`; save it beside the model in any case. Call
    ``end_step`` after each optimizer step and ``drop_step`` after a skipped one, on every rank;
    both do nothing but for `lcpo`. ``eval()`` keeps validation pairs out of the state.
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
        """Take over what the step's pairs say; `all_reduce` sums a tensor over ranks in place."""
        if isinstance(self.loss, LCPO):
            self.loss.end_step(all_reduce)

    def drop_step(self) -> None:
        """Forget the step's pairs."""
        if isinstance(self.loss, LCPO):
            self.loss.drop_step()


def make_loss(config: LossConfig, sites: int) -> Objective:
    """Build the loss of a configuration for pairs of so many sites.

    Raises ConfigError for `label_smoothing` with a loss that models label noise itself.
    """
    losses: dict[str, PairLoss] = {
        "bt": bradley_terry,
        "soft": soft_bradley_terry,
        "margin": partial(margin_bradley_terry, scale=config.margin_scale),
        "scaled": partial(scaled_bradley_terry, scale=config.margin_scale),
        "robust": partial(robust, noise=config.label_noise),
    }
    loss = LCPO(sites, config.lcpo_decay) if config.name == "lcpo" else losses[config.name]
    if config.label_smoothing:
        if config.name in ("robust", "lcpo"):
            raise ConfigError(
                f"loss.label_smoothing = {config.label_smoothing} with loss.name = {config.name}: "
                f"{config.name} has its own model of wrong labels, which smoothing would undo; "
                "set it to 0"
            )
        loss = smoothed(loss, config.label_smoothing)
    return Objective(loss, config.centring)


def _cross_entropy(d: Tensor, target: Tensor) -> Tensor:
    return -target * logsigmoid(d) - (1 - target) * logsigmoid(-d)


def _strength(labels: Labels, scale: float) -> Tensor:
    return scale * torch.log1p(labels.margin)
