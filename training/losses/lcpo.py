"""The loss `lcpo`; its module of torch is in ``site_trust.py``, which waits until it is made."""

from typing import Final

from training.losses.base import Loss, PairLoss
from training.losses.settings import LossConfig


def _make(config: LossConfig, sites: int) -> PairLoss:
    from training.losses.site_trust import LCPO

    return LCPO(sites, config.lcpo_decay)


ESTIMATED_NOISE: Final = Loss(
    name="lcpo",
    summary="estimates the label noise per site (experimental)",
    formula="w·l₊ + (1 − w)·l₋, w = ηp / (ηp + (1 − η)(1 − p)), η per site",
    source="LCPO, later RE-PO (arXiv 2509.24159)",
    needs="a calibrated model",
    known_failure="experimental: with a new model (p = ½) every η is a fixed point, and by the "
    "time p is sharp a large model has fitted the noise",
    settings=("lcpo_decay",),
    needs_sites=True,
    can_be_smoothed=False,
    make=_make,
)
