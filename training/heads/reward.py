"""The reward head: the one that every model has, and the one that is used."""

from typing import Final

from training.heads.base import Head

REWARD: Final = Head(
    name="reward",
    summary="the reward",
    reads="the reward token's hidden state; an encoder's classifier reads what it is made for",
    loss_term="the pair loss `loss.name`, with other heads on the sum of all outputs",
    saved="the sequence classifier of every model folder and checkpoint",
    source="Ouyang et al. 2022 (arXiv 2203.02155, 3.5)",
    known_failure="takes up whatever predicts the votes, length for one",
)
