"""The length head; its module of torch is in ``length_module.py``, which waits until it is made."""

from typing import Final

from training.heads.base import ExtraHead, Head
from training.losses.settings import LossConfig


def _make(hidden_size: int, config: LossConfig, seed: int) -> ExtraHead:
    from training.heads.length_module import LengthHead

    return LengthHead(
        hidden_size,
        correlation=config.length_correlation,
        orthogonality=config.head_orthogonality,
        seed=seed,
    )


LENGTH: Final = Head(
    name="length",
    summary="takes up what goes with length, so that the reward need not",
    reads="the reward token's hidden state",
    loss_term="`length_correlation`·(ρ² of the reward head − ρ of the length head) + "
    "`head_orthogonality`·cos² of the two weights, ρ the correlation with x, the log of the "
    "lengths' ratio",
    saved="`heads.safetensors` in checkpoints; not in the model",
    source="Chen et al. 2024, ODIN (arXiv 2402.07319, 3.2)",
    known_failure="where longer answers really are better, that is taken out, too",
    settings=("length_correlation", "head_orthogonality"),
    needs_lengths=True,
    make=_make,
)
