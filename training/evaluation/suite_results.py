"""From scores to what is reported of a suite; baselines are worked out once for all models."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from schemas.noise_ceiling import NoiseCeiling
from training.errors import SuiteError
from training.evaluation.baseline_scorers import CHANCE, baseline_scores
from training.evaluation.comparisons import Comparisons, comparisons, differences, sides, units_of
from training.evaluation.figures import (
    Leaf,
    Node,
    Units,
    count,
    draw,
    resampled,
    value,
)
from training.evaluation.items import GROUPS, Item, Scores
from training.evaluation.results import (
    BaselineFigure,
    Calibration,
    Curve,
    FigureResult,
    GroupResult,
    Human,
    ModelDifference,
    SuiteResult,
)
from training.evaluation.scoring_rules import expected_best, human_agreement, sizes
from training.evaluation.style import analyse, counted
from training.evaluation.suites.registry import BY_NAME, LoadedSuite
from training.validation.bootstrap import Estimate, interval
from training.validation.ceiling import best_agreement, ceilings, weighted_ceiling
from training.validation.logistic import FOLDS, cross_fitted, folds
from training.validation.metrics import (
    Figure,
    Floats,
    Mask,
    ScoredPairs,
    correctness,
    figures,
    sum_up,
)

CONFIDENCES = (
    ("<0.6", 0.0, 0.6),
    ("0.6–0.75", 0.6, 0.75),
    ("0.75–0.9", 0.75, 0.9),
    ("0.9+", 0.9, np.inf),
)
"""Buckets of the votes' own confidence: (name, low, high), low ≤ confidence < high."""
GROUP_BASELINES = ("longer", "style", CHANCE)


@dataclass(frozen=True)
class PreparedSuite:
    """A suite with all that does not depend on a model."""

    loaded: LoadedSuite
    units: Units
    table: Comparisons
    counts: list[Floats]
    times: Floats
    """[n, prompts]: the bootstrap's draws."""
    baselines: dict[str, Scores]
    seed: int

    @property
    def name(self) -> str:
        """Of the suite."""
        return self.loaded.suite.name

    @property
    def items(self) -> tuple[Item, ...]:
        """Of the suite."""
        return self.loaded.items

    @cached_property
    def baseline_nodes(self) -> dict[str, dict[str, Node]]:
        """Figures of each baseline by name, ties one half."""
        rule = self.loaded.suite.rule
        return {
            baseline: {node.name: node for node in rule(self.items, scores, self.units, True)}
            for baseline, scores in self.baselines.items()
        }

    def headline(self, scores: Scores) -> float:
        """The figure that the suite is known by, as published."""
        return value(self.loaded.suite.rule(self.items, finite(scores), self.units, False)[0])


def prepare(loaded: LoadedSuite, *, n: int, seed: int) -> PreparedSuite:
    """Work out baselines and draws. Raises SuiteError where no item has a preference."""
    items = loaded.items
    units = units_of(items)
    table = comparisons(items, units)
    if not len(table.item):
        raise SuiteError(f"{loaded.suite.name}={loaded.location}: no row has a preference")
    counts = counted(items)
    return PreparedSuite(
        loaded=loaded,
        units=units,
        table=table,
        counts=counts,
        # Suites have other prompts, so their draws must not be those of another one.
        times=draw(int(units.max()) + 1, n, seed, stream=list(BY_NAME).index(loaded.suite.name)),
        baselines=baseline_scores(items, table, counts, seed=seed),
        seed=seed,
    )


def suite_result(
    suite: PreparedSuite, scores: Scores, warnings: Sequence[str] = (), cut: int = 0
) -> SuiteResult:
    """Everything about a model's scores on a suite; ``cut`` responses were not read whole."""
    scores = finite(scores)
    table, times = suite.table, suite.times
    d = differences(table, scores)
    nodes = suite.loaded.suite.rule(suite.items, scores, suite.units, False)
    halves = suite.loaded.suite.rule(suite.items, scores, suite.units, True)
    found = tuple(
        _figure(suite, node, half) for node, half in zip(nodes, halves, strict=True) if count(node)
    )
    human = human_agreement(suite.items, scores)
    pairs = _scored_pairs(suite, scores, d)
    breakdown = _breakdown(suite, pairs, d)
    return SuiteResult(
        name=suite.name,
        title=suite.loaded.suite.title,
        citation=suite.loaded.suite.citation,
        source=suite.loaded.location,
        sha256=suite.loaded.sha256,
        items=len(suite.items),
        prompts=times.shape[1],
        comparisons=len(d),
        ties=int((d == 0).sum()),
        non_finite=int(sum((~np.isfinite(one)).sum() for one in scores)),
        cut=cut,
        figures=found,
        breakdown={name: figure for name, (figure, _) in breakdown.items()},
        noise_ceilings={
            name: ceiling for name, (_, ceiling) in breakdown.items() if ceiling is not None
        },
        style=analyse(suite.items, table, d, times, seed=suite.seed, counts=suite.counts),
        calibration=_calibration(suite, pairs, d),
        human=Human(agreement=human[0], model=human[1], votes=human[2]) if human else None,
        curve=_curve(suite, scores),
        warnings=tuple(warnings),
    )


def finite(scores: Scores) -> Scores:
    """Infinite rewards become not-a-numbers: their comparisons count as wrong on either side."""
    return [np.where(np.isfinite(one), one, np.nan) for one in scores]


def _figure(suite: PreparedSuite, node: Node, half: Node) -> FigureResult:
    draws, half_draws = resampled(node, suite.times), resampled(half, suite.times)
    span, half_span = interval(draws), interval(half_draws)
    baselines = {}
    for name, given in suite.baseline_nodes.items():
        baseline = given[node.name]
        other = resampled(baseline, suite.times)
        theirs, ahead = interval(other), interval(half_draws - other)
        baselines[name] = BaselineFigure(
            value=value(baseline),
            low=theirs.low,
            high=theirs.high,
            ahead=Estimate(value(half) - value(baseline), ahead.low, ahead.high),
        )
    return FigureResult(
        name=node.name,
        about=node.about,
        count=count(node),
        value=value(node),
        low=span.low,
        high=span.high,
        half=value(half),
        half_low=half_span.low,
        half_high=half_span.high,
        baselines=baselines,
        noise_ceiling=_ceiling(node),
    )


def _ceiling(node: Node) -> NoiseCeiling | None:
    """Of a mean over labels of pairs; None where it is not known."""
    if not isinstance(node, Leaf) or node.confidence is None:
        return None
    found = weighted_ceiling(node.confidence, node.weight, node.unit)
    return None if found.accuracy is None else found


def _scored_pairs(suite: PreparedSuite, scores: Scores, d: Floats) -> ScoredPairs:
    table = suite.table
    better, worse = sides(table, [one[:, 0] for one in suite.counts])
    high, low = sides(table, scores)
    nothing = np.zeros(len(d), dtype=np.int64)
    return ScoredPairs(
        prompt=table.unit,
        site=np.array([suite.items[place].site for place in table.item], dtype=str),
        chosen=high,
        rejected=low,
        weight=table.weight,
        confidence=table.confidence,
        margin=table.margin,
        chosen_length=better.astype(np.int64),
        rejected_length=worse.astype(np.int64),
        chosen_created_at=nothing,
        rejected_created_at=nothing,
    )


def _breakdown(
    suite: PreparedSuite, pairs: ScoredPairs, d: Floats
) -> dict[str, tuple[Figure, NoiseCeiling | None]]:
    """Accuracy by group, and the noise ceiling of each."""
    found = figures(sum_up(pairs))
    highest = ceilings(pairs)
    rows = {
        "chosen longer": found.chosen_longer,
        "chosen shorter": found.chosen_shorter,
        "same length": found.same_length,
        **{f"margin {name}": one for name, one in found.by_margin.items()},
    }
    if len(found.by_site) > 1:
        rows |= {f"site {name}": one for name, one in found.by_site.items()}
    if (suite.table.confidence < 1).any():
        for name, low, high in CONFIDENCES:
            where = (suite.table.confidence >= low) & (suite.table.confidence < high)
            rows[f"label confidence {name}"] = _accuracy(d, suite.table.weight, where)
            highest[f"label confidence {name}"] = _ceiling_of(pairs, where)
    languages = np.array([suite.items[place].language for place in suite.table.item], dtype=str)
    names = sorted({str(name) for name in languages if name})
    if len(names) > 1:
        for name in names:
            rows[f"language {name}"] = _accuracy(d, suite.table.weight, languages == name)
            highest[f"language {name}"] = _ceiling_of(pairs, languages == name)
    known = {name: one for name, one in highest.items() if one.accuracy is not None}
    return {name: (figure, known.get(name)) for name, figure in rows.items() if figure.pairs}


def _ceiling_of(pairs: ScoredPairs, where: Mask) -> NoiseCeiling:
    return weighted_ceiling(pairs.confidence[where], pairs.weight[where], pairs.prompt[where])


def _accuracy(d: Floats, weight: Floats, where: Mask) -> Figure:
    whole = float(weight[where].sum())
    right = float(correctness(d)[where] @ weight[where])
    return Figure(right / whole if whole else None, int(where.sum()))


def _calibration(suite: PreparedSuite, pairs: ScoredPairs, d: Floats) -> Calibration:
    found = figures(sum_up(pairs))
    table = suite.table
    if suite.times.shape[1] < 2 or not np.isfinite(d).all():
        return Calibration(
            ece=found.ece, ece_with_temperature=None, temperature=None, bins=found.reliability
        )
    spread = float(np.sqrt(np.mean(d**2))) or 1.0
    factors = [
        float(one[0]) / spread
        for one in cross_fitted(d[:, None] / spread, table.weight, table.unit, suite.seed)
    ]
    scaled = d * np.array(factors)[folds(table.unit, suite.seed)]
    shifted = pairs._replace(chosen=scaled, rejected=np.zeros(len(d)))
    middle = float(np.mean(factors[: min(FOLDS, suite.times.shape[1])]))
    return Calibration(
        ece=found.ece,
        ece_with_temperature=figures(sum_up(shifted)).ece,
        temperature=1 / middle if middle > 0 else None,
        bins=found.reliability,
    )


def _curve(suite: PreparedSuite, scores: Scores) -> Curve | None:
    """Best-of-k where items are lists of right and wrong responses."""
    where = [place for place, item in enumerate(suite.items) if item.kind in ("samples", "best")]
    if not where:
        return None
    largest = min(len(suite.items[place].responses) for place in where)
    ks = sizes(largest)

    def along(of: Scores) -> tuple[float, ...]:
        every = [
            expected_best(np.array(suite.items[place].worth), of[place])[:largest]
            for place in where
        ]
        average = np.mean(every, axis=0)
        return tuple(float(average[k - 1]) for k in ks)

    perfect = [np.array(item.worth) for item in suite.items]
    return Curve(
        k=tuple(ks),
        model=along(scores),
        longer=along(suite.baselines["longer"]),
        best=along(perfect),
    )


_Part = tuple[int, PreparedSuite, Mask]
"""Number of a suite, the suite, and which of its comparisons."""


def group_results(
    suites: Sequence[PreparedSuite], scores: Sequence[Scores]
) -> tuple[GroupResult, ...]:
    """Means over suites of their accuracy over comparisons in each group."""
    found = []
    for group in GROUPS:
        there = [
            (place, suite, mask)
            for place, suite in enumerate(suites)
            if (mask := _in_group(suite, group)).any()
        ]
        if not there:
            continue

        def along(of: Sequence[Scores], chosen: Sequence[_Part] = tuple(there)) -> Estimate:
            return _mean_over_suites(
                [
                    (suite, mask, correctness(differences(suite.table, of[place])))
                    for place, suite, mask in chosen
                ]
            )

        mine = along([finite(one) for one in scores])
        found.append(
            GroupResult(
                group=group,
                suites=tuple(suite.name for _, suite, _ in there),
                comparisons=int(sum(mask.sum() for _, _, mask in there)),
                value=mine.value,
                low=mine.low,
                high=mine.high,
                baselines={
                    name: along([suite.baselines[name] for suite in suites])
                    for name in GROUP_BASELINES
                },
                noise_ceiling=_group_ceiling(there),
            )
        )
    return tuple(found)


def _mean_over_suites(parts: Sequence[tuple[PreparedSuite, Mask, Floats]]) -> Estimate:
    """Mean of the suites' means over some comparisons, of a value [P] of each comparison."""
    values, draws = [], []
    for suite, mask, of_pair in parts:
        table = suite.table
        leaf = Leaf("", of_pair[mask], table.weight[mask], table.unit[mask])
        values.append(value(leaf))
        draws.append(resampled(leaf, suite.times))
    span = interval(np.mean(draws, axis=0))
    return Estimate(float(np.mean(values)), span.low, span.high)


def _group_ceiling(parts: Sequence[_Part]) -> Estimate | None:
    """Mean over suites of their noise ceilings; None where one of them is not known."""
    if any(np.all(suite.table.confidence[mask] == 1) for _, suite, mask in parts):
        return None
    return _mean_over_suites(
        [(suite, mask, best_agreement(suite.table.confidence)) for _, suite, mask in parts]
    )


def _in_group(suite: PreparedSuite, group: str) -> Mask:
    return np.array([suite.items[place].group == group for place in suite.table.item], dtype=bool)


def paired_differences(
    suite: PreparedSuite, first: Scores, other: Scores
) -> tuple[ModelDifference, ...]:
    """Other minus first for every figure of a suite, on the same resampled prompts."""
    rule = suite.loaded.suite.rule
    first, other = finite(first), finite(other)
    pairs = zip(
        rule(suite.items, first, suite.units, False),
        rule(suite.items, other, suite.units, False),
        strict=True,
    )
    found = []
    for mine, theirs in pairs:
        if not count(mine):
            continue
        span = interval(resampled(theirs, suite.times) - resampled(mine, suite.times))
        found.append(
            ModelDifference(
                suite=suite.name,
                figure=mine.name,
                difference=Estimate(value(theirs) - value(mine), span.low, span.high),
            )
        )
    return tuple(found)
