"""Figures of scored validation pairs, kept as sums that add up over batches and ranks.

Every figure is a mean by pair weight over a group of pairs. :func:`sum_up` gives its numerator and
denominator, :func:`merge` adds them, :func:`figures` divides once at the end; means of means would
count the pairs of a short batch for more. With weights of 1 / (pairs of the prompt) each prompt
counts once. A tie counts as half correct, so a model of constant rewards has an accuracy of 0.5.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]

MARGIN_BUCKETS = (
    ("margin <1", 0.0, 1.0),
    ("margin 1–2", 1.0, 3.0),
    ("margin 3–5", 3.0, 6.0),
    ("margin 6–10", 6.0, 11.0),
    ("margin 11+", 11.0, np.inf),
)
"""(name, low, high): low ≤ margin < high. The buckets of WorldPM (arXiv 2505.10527, table 5), with
fractional margins where their whole part is, and one below for those that have none."""

BINS = 10
"""Bins of the reliability rows, each 0.05 wide, from 0.5 to 1."""


class ScoredPairs(NamedTuple):
    """P pairs with their rewards; arrays of shape [P]. Pairs of weight 0 are padding."""

    prompt: npt.NDArray[Any]
    """Id of the prompt, str."""
    site: npt.NDArray[Any]
    """Name of the site, str (or any label)."""
    chosen: Floats
    """Reward of the chosen response."""
    rejected: Floats
    """Reward of the rejected response."""
    weight: Floats
    """Pair weight."""
    confidence: Floats
    """Probability, from the votes, that the label is right."""
    margin: Floats
    """Difference of the scores in votes."""
    chosen_length: npt.NDArray[np.int64]
    """Words and punctuation marks of the chosen response, see
    :func:`training.validation.length.response_length`."""
    rejected_length: npt.NDArray[np.int64]
    """Words and punctuation marks of the rejected response."""
    chosen_created_at: npt.NDArray[np.int64]
    """Milliseconds since 1970; 0: unknown."""
    rejected_created_at: npt.NDArray[np.int64]
    """Milliseconds since 1970; 0: unknown."""

    def select(self, which: Mask) -> "ScoredPairs":
        """Return the pairs under a mask [P]."""
        return ScoredPairs._make(column[which] for column in self)


class Sums(NamedTuple):
    """Numerator and denominator of one figure, and how many pairs are in it."""

    total: float
    weight: float
    pairs: int


FigureSums: TypeAlias = dict[str, Sums]
"""Name of the figure -> its sums."""


class Figure(msgspec.Struct, frozen=True):
    """A mean by pair weight, and the pairs behind it."""

    value: float | None
    """None where there are no pairs."""
    pairs: int


class Bin(msgspec.Struct, frozen=True):
    """One row of a reliability diagram."""

    low: float
    high: float
    predicted: float | None
    """Mean probability that the model gives to the response it prefers."""
    observed: float | None
    """Share of pairs where that response is the chosen one."""
    share: float
    """Share of the pair weight in this bin."""
    pairs: int


class ValidationFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a validation says; all means by pair weight."""

    loss: Figure
    """Bradley–Terry loss, whatever loss is trained with, so that runs can be compared."""
    soft_loss: Figure
    """Cross-entropy between the votes' confidence and the model."""
    accuracy: Figure
    chosen_longer: Figure
    """Accuracy on pairs whose chosen response is longer: high from the start on."""
    chosen_shorter: Figure
    """Accuracy on the others: what a model learns beyond length."""
    same_length: Figure
    by_margin: dict[str, Figure]
    """Accuracy by votes of margin; empty buckets are excluded."""
    by_site: dict[str, Figure]
    """Accuracy by site, in the order of their names."""
    ece: float | None
    """Expected calibration error: mean over bins of |predicted − observed|, by weight."""
    reliability: tuple[Bin, ...]
    reward_mean: float | None
    """Over chosen and rejected responses; drifts freely under a loss of differences."""
    reward_std: float | None
    reward_margin: Figure
    """Mean of chosen − rejected."""
    confidence: Figure
    """Mean of the votes' confidence: how sure the labels are themselves."""
    non_finite: int
    """Pairs whose rewards are not finite numbers; they count as wrong."""


def correctness(scores: Floats) -> Floats:
    """Return [P]: 1 where the difference chosen − rejected is positive, 0.5 for ties, else 0."""
    return np.where(scores > 0, 1.0, np.where(scores == 0, 0.5, 0.0))


def pair_groups(pairs: ScoredPairs) -> dict[str, Mask]:
    """Name the groups that accuracy is shown for, with the mask [P] of each; may overlap."""
    longer = pairs.chosen_length > pairs.rejected_length
    shorter = pairs.chosen_length < pairs.rejected_length
    found: dict[str, Mask] = {
        "all": np.ones(len(pairs.weight), dtype=np.bool_),
        "chosen longer": longer,
        "chosen shorter": shorter,
        "same length": ~longer & ~shorter,
    }
    for name, low, high in MARGIN_BUCKETS:
        found[name] = (pairs.margin >= low) & (pairs.margin < high)
    for site in np.unique(pairs.site):
        found[f"site {site}"] = pairs.site == site
    return found


def accuracies(pairs: ScoredPairs, correct: Floats) -> FigureSums:
    """Sum up the correctness [P] of any scorer within each group that has pairs."""
    summed = {name: _sums(correct, pairs.weight, mask) for name, mask in pair_groups(pairs).items()}
    return {name: sums for name, sums in summed.items() if sums.pairs or name == "all"}


def sum_up(pairs: ScoredPairs) -> FigureSums:
    """Sum up everything :func:`figures` needs.

    Raises ValueError where the arrays differ in length.
    """
    pairs = _checked(pairs)
    with np.errstate(invalid="ignore", over="ignore"):  # diverged rewards are reported, not raised
        d = pairs.chosen - pairs.rejected
        loss = np.logaddexp(0, -d)
        per_pair = {
            "loss": loss,
            "soft_loss": pairs.confidence * loss + (1 - pairs.confidence) * np.logaddexp(0, d),
            "reward": (pairs.chosen + pairs.rejected) / 2,
            "reward_square": (pairs.chosen**2 + pairs.rejected**2) / 2,
            "reward_margin": d,
            "confidence": pairs.confidence,
            "non_finite": (~np.isfinite(d)).astype(np.float64),
        }
    correct = correctness(d)
    summed = {name: _sums(values, pairs.weight) for name, values in per_pair.items()}
    summed["non_finite"] = Sums(float(per_pair["non_finite"].sum()), 1.0, len(d))
    for name, sums in accuracies(pairs, correct).items():
        summed[f"accuracy/{name}"] = sums
    # The label never says "the second one", so sigmoid(d) can only be held against an outcome once
    # it is turned to the response that the model prefers.
    preferred = 1 / (1 + np.exp(-np.abs(np.nan_to_num(d, nan=0.0))))
    place = np.minimum((preferred - 0.5) * 2 * BINS, BINS - 1).astype(np.int64)
    for bin_ in range(BINS):
        mask = place == bin_
        summed[f"predicted/{bin_}"] = _sums(preferred, pairs.weight, mask)
        summed[f"observed/{bin_}"] = _sums(correct, pairs.weight, mask)
    return summed


def merge(parts: Iterable[Mapping[str, Sums]]) -> FigureSums:
    """Add up the sums of batches or ranks."""
    merged: FigureSums = {}
    for part in parts:
        for name, sums in part.items():
            before = merged.get(name, Sums(0.0, 0.0, 0))
            merged[name] = Sums._make(a + b for a, b in zip(before, sums, strict=True))
    return merged


def figures(summed: Mapping[str, Sums]) -> ValidationFigures:
    """Divide sums into figures."""
    reward, square = figure(summed, "reward").value, figure(summed, "reward_square").value
    std = None
    if reward is not None and square is not None:
        std = float(np.sqrt(np.maximum(square - reward**2, 0)))
    accuracy = "accuracy/"
    margins = [name for name, _, _ in MARGIN_BUCKETS if f"{accuracy}{name}" in summed]
    sites = sorted(name for name in summed if name.startswith(f"{accuracy}site "))
    rows = _reliability(summed)
    return ValidationFigures(
        loss=figure(summed, "loss"),
        soft_loss=figure(summed, "soft_loss"),
        accuracy=figure(summed, "accuracy/all"),
        chosen_longer=figure(summed, "accuracy/chosen longer"),
        chosen_shorter=figure(summed, "accuracy/chosen shorter"),
        same_length=figure(summed, "accuracy/same length"),
        by_margin={
            name.removeprefix("margin "): figure(summed, f"{accuracy}{name}") for name in margins
        },
        by_site={name.removeprefix(f"{accuracy}site "): figure(summed, name) for name in sites},
        ece=_ece(rows),
        reliability=rows,
        reward_mean=reward,
        reward_std=std,
        reward_margin=figure(summed, "reward_margin"),
        confidence=figure(summed, "confidence"),
        non_finite=int(summed["non_finite"].total) if "non_finite" in summed else 0,
    )


def scalars(found: ValidationFigures) -> dict[str, float]:
    """Flatten figures into {name: value} for metrics.jsonl and TensorBoard; no value, no entry."""
    flat: dict[str, float | None] = {
        "loss": found.loss.value,
        "accuracy": found.accuracy.value,
        "accuracy_chosen_longer": found.chosen_longer.value,
        "accuracy_chosen_shorter": found.chosen_shorter.value,
        "soft_loss": found.soft_loss.value,
        "ece": found.ece,
        "reward_mean": found.reward_mean,
        "reward_std": found.reward_std,
        "reward_margin": found.reward_margin.value,
        "confidence": found.confidence.value,
        "non_finite": float(found.non_finite),
        "pairs": float(found.accuracy.pairs),
    }
    flat |= {f"accuracy/margin {name}": one.value for name, one in found.by_margin.items()}
    flat |= {f"accuracy/site {name}": one.value for name, one in found.by_site.items()}
    return {name: value for name, value in flat.items() if value is not None}


def join(parts: Sequence[ScoredPairs]) -> ScoredPairs:
    """Join the pairs of batches or ranks, at least one part."""
    return ScoredPairs._make(np.concatenate(columns) for columns in zip(*parts, strict=True))


def figure(summed: Mapping[str, Sums], name: str) -> Figure:
    """Divide the sums of one figure; a name that is missing has no pairs."""
    total, weight, pairs = summed.get(name, Sums(0.0, 0.0, 0))
    return Figure(total / weight if weight else None, pairs)


def _checked(pairs: ScoredPairs) -> ScoredPairs:
    lengths = {name: len(column) for name, column in pairs._asdict().items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"arrays of pairs differ in length: {lengths}")
    return pairs.select(pairs.weight > 0) if np.any(pairs.weight <= 0) else pairs


def _sums(values: Floats, weight: Floats, mask: Mask | None = None) -> Sums:
    if mask is not None:
        values, weight = values[mask], weight[mask]
    return Sums(float(weight @ values), float(weight.sum()), len(weight))


def _reliability(summed: Mapping[str, Sums]) -> tuple[Bin, ...]:
    none = Sums(0.0, 0.0, 0)
    whole = sum(summed.get(f"observed/{bin_}", none).weight for bin_ in range(BINS))
    rows = []
    for bin_ in range(BINS):
        observed = summed.get(f"observed/{bin_}", none)
        rows.append(
            Bin(
                low=0.5 + bin_ / (2 * BINS),
                high=0.5 + (bin_ + 1) / (2 * BINS),
                predicted=figure(summed, f"predicted/{bin_}").value,
                observed=figure(summed, f"observed/{bin_}").value,
                share=observed.weight / whole if whole else 0.0,
                pairs=observed.pairs,
            )
        )
    return tuple(rows)


def _ece(rows: Sequence[Bin]) -> float | None:
    gaps = [
        row.share * abs(row.predicted - row.observed)
        for row in rows
        if row.predicted is not None and row.observed is not None
    ]
    return sum(gaps) if gaps else None
