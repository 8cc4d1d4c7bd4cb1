"""What the accuracies of arms are worth: intervals over questions and seeds, paired differences,
Holm's correction, and the difference that could have been found."""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.ablation import ArmDifference, ArmFigures, Span, SuiteFigures
from training.ablation.judge import Judged
from training.evaluation.figures import draw
from training.evaluation.style import without_style
from training.validation.bootstrap import interval
from training.validation.metrics import Floats, correctness

ALPHA: Final = 0.05
POWER: Final = 0.8
DIGITS: Final = 4
"""Of what is written: beyond them is the noise of other libraries' sums."""

Cube = npt.NDArray[np.float64]
"""[S, P]: by seed and comparison."""


class Draws(NamedTuple):
    """The resamplings of a suite, shared by all arms, so that differences are paired."""

    questions: Floats
    """[n, questions]: how often each is drawn."""
    seeds: Floats
    """[n, S]: share of each seed; several seeds are drawn with replacement, too."""


def draws_of(questions: int, seeds: int, n: int, seed: int) -> Draws:
    """Draw n times; with one seed nothing is drawn of seeds."""
    if seeds == 1:
        return Draws(draw(questions, n, seed), np.ones((n, 1)))
    return Draws(draw(questions, n, seed), draw(seeds, n, seed, 1) / seeds)


def suite_figures(
    suite: Judged,
    differences: Mapping[str, Cube],
    reference: str,
    *,
    bootstrap: int,
    seed: int,
) -> SuiteFigures:
    """Measure all arms on a suite.

    ``differences``: by arm, score of the preferred response minus that of the other, [S, P].
    Questions are drawn whole, and weigh what their comparisons weigh together.
    """
    table = suite.table
    questions = int(table.unit.max()) + 1
    seeds = len(next(iter(differences.values())))
    draws = draws_of(questions, seeds, bootstrap, seed)
    everything = np.ones(len(table.item), dtype=bool)
    right = {arm: correctness(d) for arm, d in differences.items()}
    plain = {
        arm: correctness(
            np.stack([without_style(one, suite.style, table.weight, table.unit, seed) for one in d])
        )
        for arm, d in differences.items()
    }

    def along(cube: Cube, where: npt.NDArray[np.bool_]) -> tuple[float, Floats] | None:
        return _resampled(suite, cube, where, draws)

    arms = []
    for arm, cube in right.items():
        value = along(cube, everything)
        assert value is not None
        by_seed = (cube @ table.weight) / table.weight.sum()
        arms.append(
            ArmFigures(
                arm=arm,
                accuracy=_span(*value),
                chosen_longer=_maybe(along(cube, suite.length > 0)),
                chosen_shorter=_maybe(along(cube, suite.length < 0)),
                without_style=_maybe(along(plain[arm], everything)) if questions > 1 else None,
                seed_deviation=round(float(by_seed.std(ddof=1)) if seeds > 1 else 0.0, DIGITS),
            )
        )
    found = [*_compared(suite, "accuracy", right, reference, draws)]
    if questions > 1:
        found += _compared(suite, "without_style", plain, reference, draws)
    longer = along(correctness(suite.length)[None].repeat(seeds, 0), everything)
    assert longer is not None
    return SuiteFigures(
        name=suite.job.name,
        kind=suite.job.kind,
        comparisons=len(table.item),
        questions=questions,
        ceiling=suite.ceiling,
        longer=_span(*longer),
        arms=tuple(arms),
        differences=tuple(found),
    )


def _resampled(
    suite: Judged, cube: Cube, where: npt.NDArray[np.bool_], draws: Draws
) -> tuple[float, Floats] | None:
    """A mean by weight over seeds and comparisons, and its values on the draws [n]."""
    if not where.any():
        return None
    weight = suite.table.weight * where
    size = draws.questions.shape[1]
    whole = np.bincount(suite.table.unit, weights=weight, minlength=size)
    by_question = np.stack(
        [np.bincount(suite.table.unit, weights=one * weight, minlength=size) for one in cube]
    )
    value = float(by_question.sum() / (len(cube) * whole.sum()))
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = ((draws.questions @ by_question.T) * draws.seeds).sum(1)
        drawn = drawn / (draws.questions @ whole)
    return value, drawn


def _compared(
    suite: Judged,
    figure: Literal["accuracy", "without_style"],
    cubes: Mapping[str, Cube],
    reference: str,
    draws: Draws,
) -> list[ArmDifference]:
    """Every other arm minus the reference."""
    everything = np.ones(len(suite.table.item), dtype=bool)
    found = []
    for arm, cube in cubes.items():
        if arm == reference:
            continue
        resampled = _resampled(suite, cube - cubes[reference], everything, draws)
        assert resampled is not None
        value, drawn = resampled
        error = float(np.nanstd(drawn, ddof=1))
        p = 1.0 if error == 0 else 2 * (1 - NormalDist().cdf(abs(value) / error))
        found.append((arm, _span(value, drawn), p, error))
    corrected = holm([p for _, _, p, _ in found])
    level = ALPHA / max(1, len(found))
    factor = NormalDist().inv_cdf(1 - level / 2) + NormalDist().inv_cdf(POWER)
    return [
        ArmDifference(
            arm=arm,
            figure=figure,
            difference=span,
            p=round(p, DIGITS),
            p_holm=round(adjusted, DIGITS),
            detectable=round(factor * error, DIGITS),
        )
        for (arm, span, p, error), adjusted in zip(found, corrected, strict=True)
    ]


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction: adjusted p-values in the order given, at most 1.

    Source: Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure".
    """
    order = sorted(range(len(p)), key=lambda place: p[place])
    adjusted = [0.0] * len(p)
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = highest
    return adjusted


def _span(value: float, drawn: Floats) -> Span:
    found = interval(drawn)
    low, high = (value if math.isnan(end) else end for end in (found.low, found.high))
    return Span(round(value, DIGITS), round(low, DIGITS), round(high, DIGITS))


def _maybe(found: tuple[float, Floats] | None) -> Span | None:
    return None if found is None else _span(*found)
