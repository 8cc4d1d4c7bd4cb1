"""The loss `length`; its torch module, in ``length_slope.py``, waits until it is made."""

from typing import Final

from training.losses.base import Loss, PairLoss
from training.losses.settings import LossConfig


def _make(config: LossConfig, sites: int) -> PairLoss:
    from training.losses.length_slope import LengthSlope

    return LengthSlope(config.length_penalty)


LENGTH: Final = Loss(
    name="length",
    summary="a slope on length takes up what length explains, and is dropped",
    formula="softplus(−(d + βx)) + `length_penalty`·ρ², x = log of the lengths' ratio, β "
    "learned, ρ the correlation of d and x",
    source="after ODIN (arXiv 2402.07319), whose length head reads hidden states; β reads the "
    "length itself, as in length-controlled AlpacaEval (arXiv 2404.04475)",
    needs="the responses' lengths, which are those of the uncut texts",
    known_failure="where longer answers really are better, that is taken out, too",
    settings=("length_penalty",),
    needs_lengths=True,
    can_be_smoothed=False,
    make=_make,
)
