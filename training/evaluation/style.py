"""How much of a preference is length and Markdown, in the labels and in the model.

Features and normalisation after Chatbot Arena's style control and WorldPM (arXiv 2505.10527,
section 3.3): for each response its length, headers, list items and bold spans, the Markdown
counted outside code blocks; for a pair, (L₁ − L₂)/(L₁ + L₂) of the lengths and
(D₁ − D₂)/(D₁ + D₂ + 1) of the densities D = count/(L + 1), each divided by its root mean square.
The mean is not taken off: without it, swapping the two responses only changes the signs, which is
what lets the regression do without an intercept.

Two things are unlike the public scripts. Length keeps its column when it is the only control (there
it is cut away together with the model columns that stand before it), and two empty answers have a
difference of 0 instead of 0/0. And nothing is reported on the pairs that it was fitted on: every
pair is scored by a fit on the prompts of the other folds.
"""

import re
from collections.abc import Sequence

import msgspec
import numpy as np

from training.evaluation.comparisons import Comparisons, sides
from training.evaluation.figures import Leaf, Units, estimate
from training.evaluation.items import Item
from training.validation.bootstrap import FEW_UNITS, Estimate, interval
from training.validation.length import response_length
from training.validation.logistic import FOLDS, RIDGE, cross_fitted, fit, folds
from training.validation.metrics import Floats, Mask, correctness

FEATURES = ("length", "headers", "lists", "bold")
RESAMPLES = 200
"""Of the fitted weights; each is a fit."""

_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_HEADER = re.compile(r"^#{1,6}\s", re.MULTILINE)
_LIST = re.compile(r"^\s*(?:\d+[.)]|[-*+])\s", re.MULTILINE)
_BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")


class StyleWeights(msgspec.Struct, frozen=True):
    """Coefficients of the style features, in standard units, with 95 % intervals over prompts."""

    length: Estimate
    headers: Estimate
    lists: Estimate
    bold: Estimate


class Style(msgspec.Struct, frozen=True, kw_only=True):
    """What style explains; accuracies count ties one half."""

    pairs: int
    prompts: int
    accuracy: Estimate
    """Of the model alone."""
    style_only: Estimate
    """Of style alone, cross-fitted to the labels."""
    controlled: Estimate
    """Of α·d + γ·z, d the model's difference and z the style, cross-fitted: WorldPM's accuracy
    under style control. The labels' own taste in style is given to the model for free."""
    without_style: Estimate
    """Of d − δ·z, with δ the cross-fitted least-squares weights of style in d: what the model
    still gets right when everything that style explains in its scores is taken out."""
    label_weights: StyleWeights
    """γ of the labels: logistic regression of who is preferred on style."""
    model_weights: StyleWeights
    """γ of the model: the same regression of whom it prefers."""
    model_weight: Estimate
    """α, in standard units. At 0 or below, the model's scores are of no use beside style, or are
    read upside down, and ``controlled`` says nothing for the model."""
    left_weights: StyleWeights
    """γ in α·d + γ·z: the labels' taste in style that the model does not share."""
    label_phi: Estimate | None
    """φ(preferred, longer) over pairs of different lengths; None: all are of one length."""
    model_phi: Estimate | None
    """φ(predicted, longer)."""
    few: bool
    """Fewer than 50 prompts: the intervals are too narrow to be taken at their word."""


def counts_of(text: str) -> Floats:
    """[4]: length, headers, list items, bold spans."""
    plain = _CODE.sub("", text)
    return np.array(
        [
            response_length(text),
            len(_HEADER.findall(plain)),
            len(_LIST.findall(plain)),
            len(_BOLD.findall(plain)),
        ],
        dtype=np.float64,
    )


def counted(items: Sequence[Item]) -> list[Floats]:
    """For each item [R, 4]."""
    return [np.stack([counts_of(text) for text in item.responses]) for item in items]


def style_differences(better: Floats, worse: Floats) -> Floats:
    """[P, 4] from counts [P, 4] of the two sides; odd in its arguments, within −1 and 1."""
    length = better[:, :1] + worse[:, :1]
    ratio = np.divide(
        better[:, :1] - worse[:, :1], length, out=np.zeros_like(length), where=length > 0
    )
    high, low = (side[:, 1:] / (side[:, :1] + 1) for side in (better, worse))
    return np.concatenate([ratio, (high - low) / (high + low + 1)], axis=1)


def scale_of(features: Floats, weight: Floats) -> Floats:
    """[F] root mean squares; 1 where a feature is 0 everywhere."""
    square = weight @ features**2 / weight.sum()
    return np.where(square > 0, np.sqrt(square), 1.0)


def phi(first_is_longer: Floats, weight: Floats) -> float:
    """φ between "is preferred" and "is longer" over pairs of different lengths.

    ``first_is_longer`` [P] is 1, 0, or 0.5 for a tie, of the preferred response. Each pair counts
    in both orders, for the order means nothing; then both variables are even and φ = 2p − 1.
    """
    return 2 * float(first_is_longer @ weight / weight.sum()) - 1


def analyse(
    items: Sequence[Item],
    table: Comparisons,
    d: Floats,
    times: Floats,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    counts: Sequence[Floats] | None = None,
) -> Style | None:
    """Take style apart from a model's differences ``d`` [P].

    ``times`` [n, units]: the draws of the bootstrap. None with fewer than two prompts.
    """
    prompts = len(np.unique(table.unit))
    if prompts < 2:
        return None
    better, worse = sides(table, counts if counts is not None else counted(items))
    z = style_differences(better, worse)
    finite = np.isfinite(d)
    d = np.where(finite, d, 0.0)  # in the fits; what the model does with them is a miss
    size: Floats = scale_of(d[:, None], table.weight)
    both = np.concatenate([d[:, None] / size, z / scale_of(z, table.weight)], axis=1)
    style = both[:, 1:]
    fold = folds(table.unit, seed)
    with_model = cross_fitted(both, table.weight, table.unit, seed)
    alone = cross_fitted(style, table.weight, table.unit, seed)
    controlled, style_only = np.zeros(len(d)), np.zeros(len(d))
    for number in range(FOLDS):
        here = fold == number
        controlled[here] = both[here] @ with_model[number]
        style_only[here] = style[here] @ alone[number]
    left = without_style(d, z, table.weight, table.unit, seed)

    def accuracy(of: Floats) -> Estimate:
        correct = correctness(of)
        if of is not style_only:
            correct = np.where(finite, correct, 0.0)
        return estimate(Leaf("", correct, table.weight, table.unit), times)

    differ = better[:, 0] != worse[:, 0]
    longer = (better[:, 0] > worse[:, 0]).astype(np.float64)[differ]
    agrees = correctness(d)[differ]
    predicted = agrees * longer + (1 - agrees) * (1 - longer)
    draws = times[:resamples]
    sign: Floats = np.sign(d)
    towards_model = np.where(sign == 0, 0.0, sign)[:, None] * style
    decided = table.weight * (sign != 0)
    alpha, *beyond = _coefficients(both, table.weight, table, draws)
    return Style(
        pairs=len(d),
        prompts=prompts,
        accuracy=accuracy(d),
        style_only=accuracy(style_only),
        controlled=accuracy(controlled),
        without_style=accuracy(left),
        label_weights=_weights(style, table.weight, table, draws),
        model_weights=_weights(towards_model, decided, table, draws),
        model_weight=alpha,
        left_weights=StyleWeights(*beyond),
        label_phi=_phi(longer, table, differ, times),
        model_phi=_phi(predicted, table, differ, times),
        few=prompts < FEW_UNITS,
    )


def without_style(d: Floats, z: Floats, weight: Floats, unit: Units, seed: int = 0) -> Floats:
    """d − δ·z [P] in standard units: differences without what style explains of them.

    ``z`` [P, F] are the differences in style, and δ is fitted on the prompts of the other folds.
    """
    scaled = d / float(scale_of(d[:, None], weight)[0])
    style = z / scale_of(z, weight)
    fold = folds(unit, seed)
    left = np.zeros(len(d))
    for number in range(FOLDS):
        here = fold == number
        delta = _least_squares(style[~here], scaled[~here], weight[~here])
        left[here] = scaled[here] - style[here] @ delta
    return left


def _least_squares(style: Floats, d: Floats, weight: Floats) -> Floats:
    total = weight.sum() or 1.0
    inner = (style * weight[:, None]).T @ style / total + RIDGE * np.eye(style.shape[1])
    return np.asarray(np.linalg.solve(inner, style.T @ (weight * d) / total), dtype=np.float64)


def _phi(longer: Floats, table: Comparisons, differ: Mask, times: Floats) -> Estimate | None:
    if not differ.any():
        return None
    found = estimate(Leaf("", longer, table.weight[differ], table.unit[differ]), times)
    return Estimate(2 * found.value - 1, 2 * found.low - 1, 2 * found.high - 1)


def _weights(features: Floats, weight: Floats, table: Comparisons, draws: Floats) -> StyleWeights:
    return StyleWeights(*_coefficients(features, weight, table, draws))


def _coefficients(
    features: Floats, weight: Floats, table: Comparisons, draws: Floats
) -> list[Estimate]:
    """Fits on all pairs, for description: no accuracy is computed from them."""
    whole = fit(features, weight)
    again = np.stack([fit(features, weight * times[table.unit]) for times in draws])
    spans = [interval(column) for column in again.T]
    return [
        Estimate(float(one), span.low, span.high) for one, span in zip(whole, spans, strict=True)
    ]
