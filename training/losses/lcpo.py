"""The loss `lcpo`; its module of torch is in ``site_trust.py``, which waits until it is made."""

from typing import Final

from training.losses.base import Loss, PairLoss
from training.losses.settings import LossConfig


def _make(config: LossConfig, sites: int) -> PairLoss:
    from training.losses.site_trust import LCPO

    return LCPO(sites, config.lcpo_decay)


ESTIMATED_NOISE: Final = Loss(
    name="lcpo",
    summary="softens labels by the share of flips of their site and by what the model says",
    formula="w·l₊ + (1 − w)·l₋, w = ηp / (ηp + (1 − η)(1 − p)), 1 − η = `label_noise` of the site",
    source="LCPO, later RE-PO (arXiv 2509.24159); η from cross-fitted predictions is ours",
    needs="features that tell better responses from worse before the first step, else an η from "
    "elsewhere",
    known_failure="where the features tell little, η has a wide interval. With `lcpo_decay`, as in "
    "the paper: with a new model (p = ½) every η is a fixed point, and by the time p is sharp a "
    "large model has fitted the noise",
    settings=("label_noise", "noise_pairs", "lcpo_decay"),
    default_noise="cross_fitted",
    needs_sites=True,
    can_be_smoothed=False,
    make=_make,
)
