"""A linear reward on frozen features, fitted to pairs with any loss of ``training.losses``.

The penalised loss of a linear reward has one minimum, so another start says nothing. What a seed
changes is the sample: each question gets a weight drawn from a Poisson distribution of mean 1, as
in the bootstrap, by the hash of seed and question. So the arms of a seed see the same questions
with the same weights, and the spread over seeds is that of another sample of questions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from schemas.ids import MASK_63, hash63
from training.ablation.features import Matrix
from training.errors import ConfigError
from training.losses.settings import LossConfig
from training.validation.metrics import Floats, correctness

RIDGES: Final = (1e-2, 1e-1, 1.0, 10.0, 100.0)
"""Penalties that are tried, per unit of weight, on standardised features."""
INNER_PARTS: Final = 3
"""Each third of the questions is held out in turn to choose the penalty."""
STEPS: Final = 60
"""Of L-BFGS."""
ROUNDS: Final = 5
"""Of a loss with a state, which takes over what the fit so far says after each of them."""

Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class HeadPairs:
    """P pairs of an arm; arrays [P]."""

    chosen: Index
    """Row of the features."""
    rejected: Index
    question: npt.NDArray[Any]
    """Name of the thread."""
    split: npt.NDArray[Any]
    site: Index
    weight: Floats
    """1 / (pairs of the prompt), as in training."""
    confidence: Floats
    margin: Floats
    chosen_length: Floats
    rejected_length: Floats

    def __len__(self) -> int:
        return len(self.chosen)

    def take(self, where: npt.NDArray[Any]) -> "HeadPairs":
        """The pairs at some places."""
        return HeadPairs(*(getattr(self, name)[where] for name in self.__dataclass_fields__))


def draw_weights(questions: Sequence[str], seed: int) -> Floats:
    """Weight of each question under a seed: Poisson of mean 1, by hash, whatever else is there."""
    return np.array([_poisson(hash63(f"{seed}:{name}") / (MASK_63 + 1)) for name in questions])


def _poisson(position: float) -> float:
    """Quantile of Poisson(1)."""
    count, term = 0, math.exp(-1.0)
    below = term
    while position >= below and count < 20:
        count += 1
        term /= count
        below += term
    return float(count)


def fit_head(
    matrix: Matrix,
    pairs: HeadPairs,
    loss: LossConfig,
    ridge: float,
    start: Floats | None = None,
) -> Floats:
    """Weights [F] of a linear reward: Σ weight·loss / Σ weight + ridge/2·|standardised w|².

    Fitted in float64 by L-BFGS, from ``start`` or zero, so equal input gives equal weights on one
    machine. Features are divided by their deviation over the pairs' responses. Raises ConfigError
    for a loss that there is not.
    """
    import torch

    from training.losses.base import Labels
    from training.losses.objective import make_objective

    if not len(pairs) or not pairs.weight.sum():
        return np.zeros(matrix.shape[1])
    left = matrix[pairs.chosen].astype(np.float64)
    right = matrix[pairs.rejected].astype(np.float64)
    scale = np.sqrt(np.concatenate([left, right]).var(axis=0))
    scale = np.where(scale > 1e-8, scale, np.inf)
    # A reward has no natural zero: the mean response gets 0, for losses that look at rewards.
    middle = (left.mean(0) + right.mean(0)) / 2
    # Without `centring` a loss sees differences alone, so one product with the weights will do.
    both = bool(loss.centring)
    chosen = torch.from_numpy((left - (middle if both else right)) / scale)
    rejected = torch.from_numpy((right - middle) / scale) if both else None
    none = torch.zeros(len(pairs), dtype=torch.float64)
    objective = make_objective(loss, int(pairs.site.max()) + 1).double()
    labels = Labels(
        weight=torch.from_numpy(pairs.weight),
        confidence=torch.from_numpy(pairs.confidence),
        margin=torch.from_numpy(pairs.margin),
        site=torch.from_numpy(pairs.site),
        chosen_length=torch.from_numpy(pairs.chosen_length),
        rejected_length=torch.from_numpy(pairs.rejected_length),
    )
    share = labels.weight / labels.weight.sum()
    moves = np.isfinite(scale)
    begin = np.zeros(matrix.shape[1])
    if start is not None:
        begin[moves] = start[moves] * scale[moves]
    weights = torch.from_numpy(begin).requires_grad_()
    parameters = [weights, *objective.parameters()]
    optimiser = torch.optim.LBFGS(
        parameters, max_iter=STEPS, tolerance_change=1e-7, line_search_fn="strong_wolfe"
    )

    def value() -> Any:
        other = none if rejected is None else rejected @ weights
        per_pair = objective(chosen @ weights, other, labels)
        return (share * per_pair).sum() + ridge / 2 * (weights * weights).sum()

    def closure() -> Any:
        optimiser.zero_grad()
        found = value()
        found.backward()
        return found

    for _ in range(ROUNDS if objective.state_dict() else 1):
        objective.eval()
        optimiser.step(closure)
        objective.train()
        with torch.no_grad():
            value()
        objective.end_step()
    found: Floats = weights.detach().numpy() / scale
    if not np.isfinite(found).all():
        raise ConfigError(f"the loss {loss.name} gives weights that are no finite numbers")
    return found


def choose_ridge(matrix: Matrix, pairs: HeadPairs, loss: LossConfig, seed: int = 0) -> float:
    """The penalty with which held-out questions of the arm's own labels are told best.

    Each third of the questions is held out in turn, by hash; accuracy decides, and at a tie the
    larger penalty. No suite is looked at.
    """
    parts = [hash63(f"inner:{seed}:{name}") % INNER_PARTS for name in pairs.question]
    part = np.array(parts, dtype=np.int64)
    right = dict.fromkeys(RIDGES, 0.0)
    for number in range(INNER_PARTS):
        train, held = pairs.take(part != number), pairs.take(part == number)
        head: Floats | None = None
        for ridge in reversed(RIDGES):  # each begins where the one before ended
            head = fit_head(matrix, train, loss, ridge, head)
            difference = matrix[held.chosen] @ head - matrix[held.rejected] @ head
            right[ridge] += float(correctness(difference) @ held.weight)
    return max(RIDGES, key=lambda ridge: (round(right[ridge], 6), ridge))


def reweighted(pairs: HeadPairs, seed: int) -> HeadPairs:
    """The pairs as a seed draws them; those of weight 0 are left out."""
    names, place = np.unique(pairs.question, return_inverse=True)
    weight = pairs.weight * draw_weights(names.tolist(), seed)[place]
    return replace(pairs, weight=weight).take(weight > 0)


def tossed(pairs: HeadPairs, seed: int) -> HeadPairs:
    """The pairs with chosen and rejected swapped where a coin says so, by hash of seed and pair.

    One toss for all seeds would be off by luck, and no interval over questions or seeds would show
    it.
    """
    swap = np.array(
        [
            bool(hash63(f"toss:{seed}:{name}:{number}") >> 62 & 1)
            for number, name in enumerate(pairs.question)
        ]
    )
    return replace(
        pairs,
        chosen=np.where(swap, pairs.rejected, pairs.chosen),
        rejected=np.where(swap, pairs.chosen, pairs.rejected),
        chosen_length=np.where(swap, pairs.rejected_length, pairs.chosen_length),
        rejected_length=np.where(swap, pairs.chosen_length, pairs.rejected_length),
    )
