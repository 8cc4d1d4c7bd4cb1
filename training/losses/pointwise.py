"""Losses without a state: pure functions of a pair's rewards and labels."""

from __future__ import annotations  # annotations name torch, which must not be loaded for them

from functools import partial
from typing import TYPE_CHECKING, Final

from training.losses.base import Labels, Loss, PairLoss, cross_entropy, difference, log_sigmoid
from training.losses.settings import LossConfig

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_NOISE: Final = 0.1
"""Share of flips that `robust` takes where ``loss.label_noise`` is null."""


def bradley_terry(chosen: Tensor, rejected: Tensor, labels: Labels) -> Tensor:
    """Bradley–Terry: l₊ = −log sigmoid(d).

    Source: Bradley and Terry 1952; as the loss of a reward model Ouyang et al. 2022
    (arXiv 2203.02155, eq. 1), WorldPM (arXiv 2505.10527, section 3.1.2).
    """
    return -log_sigmoid(difference(chosen, rejected))


BRADLEY_TERRY: Final = Loss(
    name="bt",
    summary="Bradley–Terry",
    formula="l₊",
    source="Bradley and Terry 1952; WorldPM (arXiv 2505.10527, section 3.1.2)",
    known_failure="takes every label for certain: overconfident, and from the second epoch on it "
    "learns the wrong labels, too",
    make=lambda config, sites: bradley_terry,
)


def soft_bradley_terry(chosen: Tensor, rejected: Tensor, labels: Labels) -> Tensor:
    """Bradley–Terry with a probability t as label: t·l₊ + (1 − t)·l₋, t = confidence.

    The cross-entropy between t and p: smallest at d = logit(t), so it is bounded and a model of
    lowest loss is calibrated.

    Source: the cross-entropy of Christiano et al. 2017 (arXiv 1706.03741, section 2.2.3), whose
    labels may be 1/2, with the share that the votes support as label. Where few votes make all
    confidences small, rewards hardly spread.
    """
    return cross_entropy(difference(chosen, rejected), labels.confidence)


SOFT: Final = Loss(
    name="soft",
    summary="the pair's `confidence` as label",
    formula="t·l₊ + (1 − t)·l₋",
    source="cross-entropy as in Christiano et al. 2017 (arXiv 1706.03741, section 2.2.3)",
    needs="`confidence` (t)",
    known_failure="only as good as the confidences; t < 0.5 trains against the label "
    "(`data.min_confidence`)",
    make=lambda config, sites: soft_bradley_terry,
)


def margin_bradley_terry(
    chosen: Tensor, rejected: Tensor, labels: Labels, *, scale: float
) -> Tensor:
    """Bradley–Terry with a margin: softplus(−(d − m)), m = scale · log(1 + vote_margin).

    Source: Touvron et al. 2023, Llama 2 (arXiv 2307.09288, section 3.2.2, eq. 2). The logarithm
    is ours: votes are heavy-tailed, their m was one of four ratings. WorldPM found no use for
    margins (arXiv 2505.10527, table 5).
    """
    shifted = difference(chosen, rejected) - _strength(labels, scale)
    return -log_sigmoid(shifted)


MARGIN: Final = Loss(
    name="margin",
    summary="BT with a margin from the votes",
    formula="softplus(−(d − m)), m = `margin_scale`·log(1 + vote_margin)",
    source="Llama 2 (arXiv 2307.09288, section 3.2.2, eq. 2)",
    needs="`vote_margin`",
    known_failure="p is no longer the probability of the label, so the calibration error is off by "
    "design; margins also count how many people came by",
    settings=("margin_scale",),
    make=lambda config, sites: partial(margin_bradley_terry, scale=config.margin_scale),
)


def scaled_bradley_terry(
    chosen: Tensor, rejected: Tensor, labels: Labels, *, scale: float
) -> Tensor:
    """Bradley–Terry times the strength of the preference: m·l₊, m = scale · log(1 + vote_margin).

    That is a pair weight: a pair of strength m counts as m pairs. The pair weight of the step
    does not contain m, so losses with other scales cannot be compared, and `optim.clip` bites
    later or earlier.

    Source: Wang et al. 2024, HelpSteer2-Preference (arXiv 2410.01257, "Scaled Bradley-Terry"),
    where m is 1, 2 or 3.
    """
    return _strength(labels, scale) * bradley_terry(chosen, rejected, labels)


SCALED: Final = Loss(
    name="scaled",
    summary="BT times a weight from the votes",
    formula="m·l₊",
    source="HelpSteer2-Preference (arXiv 2410.01257)",
    needs="`vote_margin`",
    known_failure="a pair weight: busy threads dominate again; `optim.clip` bites differently",
    settings=("margin_scale",),
    make=lambda config, sites: partial(scaled_bradley_terry, scale=config.margin_scale),
)


def robust_bradley_terry(
    chosen: Tensor, rejected: Tensor, labels: Labels, *, noise: float | Tensor
) -> Tensor:
    """rDPO's correction: [(1 − ε)·l₊ − ε·l₋] / (1 − 2ε), with ε = noise, the share of flips,
    of all labels or of each [P].

    Its mean over labels that were flipped at random with probability ε is l₊ of the unflipped
    label: unbiased.

    Source: Ray Chowdhury et al. 2024 (arXiv 2403.00409); the same correction for any
    loss in Natarajan et al. 2013. It falls like −ε·d/(1 − 2ε) as d grows: in a trial on 14.5k
    pairs the loss on held-out pairs reached 222 after 12 epochs.
    """
    d = difference(chosen, rejected)
    return ((1 - noise) * -log_sigmoid(d) + noise * log_sigmoid(-d)) / (1 - 2 * noise)


def _make_robust(config: LossConfig, sites: int) -> PairLoss:
    noise = DEFAULT_NOISE if config.label_noise is None else config.label_noise
    if isinstance(noise, float):
        return partial(robust_bradley_terry, noise=noise)
    from training.losses.site_trust import SiteRobust

    return SiteRobust(sites)


ROBUST: Final = Loss(
    name="robust",
    summary="unbiased under label_noise",
    formula="[(1 − ε)·l₊ − ε·l₋] / (1 − 2ε), ε = `label_noise`, one or by site",
    source="rDPO (arXiv 2403.00409), Natarajan et al. 2013",
    needs="a share of flips: known, from `confidence`, or estimated",
    known_failure="**unbounded below**: rewards of fitted pairs run away. One epoch, clipped",
    settings=("label_noise", "noise_pairs"),
    default_noise=DEFAULT_NOISE,
    can_be_smoothed=False,
    make=_make_robust,
)


def _strength(labels: Labels, scale: float) -> Tensor:
    return scale * labels.margin.log1p()
