"""``results.md``: tables fit for a model card."""

from schemas.noise_ceiling import NoiseCeiling
from training.evaluation.results import (
    Comparison,
    ModelResult,
    Results,
    SuiteResult,
)
from training.evaluation.style import FEATURES
from training.validation.bootstrap import Estimate

CEILING_NOTE = (
    "Noise ceiling: the highest accuracy to be expected of a scorer that does not see the votes, "
    "if the labels' confidences are right."
)


def as_markdown(results: Results) -> str:
    """Return the whole file."""
    result = results.result
    parts = [
        "# Evaluation",
        "",
        f"`{_code(result.model)}`, read with {result.reads}. Percentages with 95 % intervals over "
        f"{results.bootstrap:,} resamplings of the prompts. Baselines read no text; they, and the "
        "model beside them, have ties at one half.",
        "",
        *(f"- **Warning.** {_escape(one)}" for one in results.warnings),
        "",
        "## By group",
        "",
        "Mean over suites of their accuracy over comparisons, ties one half.",
        "",
        *_groups(result),
        "",
        "## By suite",
        "",
    ]
    for suite in result.suites:
        parts += [*_suite(suite), ""]
    for comparison in results.compared:
        parts += [*_comparison(result, comparison), ""]
    if results.stability:
        parts += ["## Over checkpoints", "", *_stability(results), ""]
    return "\n".join(parts)


def _groups(result: ModelResult) -> list[str]:
    known = any(group.noise_ceiling is not None for group in result.groups)
    more = ["noise ceiling"] if known else []
    rows = [["group", "suites", "model", *more, "longer", "style", "chance"]]
    for group in result.groups:
        ours = _span(Estimate(group.value, group.low, group.high))
        highest = (
            ["–" if group.noise_ceiling is None else _span(group.noise_ceiling)] if known else []
        )
        others = (percent(group.baselines[name].value) for name in ("longer", "style", "chance"))
        rows.append([group.group, ", ".join(group.suites), ours, *highest, *others])
    return _table(rows)


def _suite(suite: SuiteResult) -> list[str]:
    baselines = list(suite.figures[0].baselines)
    known = has_ceiling(suite)
    more = ["noise ceiling"] if known else []
    rows = [["", "n", "as published", "model, ties ½", *more, *baselines]]
    for figure in suite.figures:
        values = (percent(figure.baselines[name].value) for name in baselines)
        own = _span(figure.with_ties_half)
        highest = [ceiling_span(figure.noise_ceiling)] if known else []
        cells = [figure.name, f"{figure.count:,}", percent(figure.value), own]
        rows.append([*cells, *highest, *values])
    lines = [
        f"### {suite.title} ({suite.citation})",
        "",
        f"{suite.comparisons:,} comparisons, {suite.prompts:,} prompts.",
        "",
        *_table(rows),
        "",
    ]
    lines += [*stand(suite), ""]
    if known:
        lines += [CEILING_NOTE, ""]
    if suite.human is not None:
        lines += [
            f"Of what two people agree on, a third one picks {percent(suite.human.agreement)} %, "
            f"the model {percent(suite.human.model)} % ({suite.human.votes:,} votes).",
            "",
        ]
    lines += vote_interval_lines(suite)
    return lines + _style(suite)


def has_ceiling(suite: SuiteResult) -> bool:
    """Whether the noise of a suite's labels is known."""
    return any(figure.noise_ceiling is not None for figure in suite.figures)


def ceiling_span(ceiling: NoiseCeiling | None) -> str:
    """A noise ceiling in percent with its interval; a dash where it is not known."""
    if ceiling is None or ceiling.accuracy is None:
        return "–"
    if ceiling.low is None or ceiling.high is None:
        return percent(ceiling.accuracy)
    return _span(Estimate(ceiling.accuracy, ceiling.low, ceiling.high))


def vote_interval_lines(suite: SuiteResult) -> list[str]:
    """What the model's intervals hold of the held-out votes; nothing where it has none."""
    found = suite.vote_intervals
    if found is None:
        return []
    return [
        f"Of the shares of votes in {found.pairs:,} pairs of {found.threads:,} threads, the "
        f"model's {found.level:.0%} intervals hold {_span(found.coverage)}; their mean width is "
        f"{found.width.value:.2f}, their interval score {found.score.value:.2f} "
        f"[{found.score.low:.2f}, {found.score.high:.2f}]. So many threads would show a coverage "
        f"that is off by {found.detectable * 100:.1f} points.",
        "",
    ]


def stand(suite: SuiteResult) -> list[str]:
    """A sentence for each baseline: whether the headline beats it."""
    found = []
    for name, baseline in suite.headline.baselines.items():
        ahead = baseline.ahead
        stands = (
            "beats" if ahead.low > 0 else "is worse than" if ahead.high < 0 else "does not beat"
        )
        found.append(
            f"- The model {stands} “{name}”: difference "
            f"{ahead.value * 100:+.1f} [{ahead.low * 100:+.1f}, {ahead.high * 100:+.1f}] points."
        )
    return found


def _style(suite: SuiteResult) -> list[str]:
    style = suite.style
    if style is None:
        return []
    weights = [["", *FEATURES]]
    for name, row in (
        ("labels", style.label_weights),
        ("model", style.model_weights),
        ("labels beyond the model", style.left_weights),
    ):
        weights.append([name, *(_weight(getattr(row, feature)) for feature in FEATURES)])
    return [
        f"Accuracy over comparisons {_span(style.accuracy)}; under style control "
        f"{_span(style.controlled)} (the model weighs "
        f"{_weight(style.model_weight)}); with style taken out of the model's scores "
        f"{_span(style.without_style)}; style alone {_span(style.style_only)}. φ(predicted, "
        f"longer) {signed(style.model_phi)} against φ(preferred, longer) "
        f"{signed(style.label_phi)}. Calibration error {_plain(suite.calibration.ece)}.",
        "",
        "Style weights (log odds per standard unit):",
        "",
        *_table(weights),
    ]


def _comparison(first: ModelResult, comparison: Comparison) -> list[str]:
    values = {
        (suite.name, figure.name): figure
        for suite in comparison.result.suites
        for figure in suite.figures
    }
    first_figures = {
        (suite.name, figure.name): figure for suite in first.suites for figure in suite.figures
    }
    rows = [["suite", "figure", first.model, comparison.result.model, "difference"]]
    for entry in comparison.differences:
        key = (entry.suite, entry.figure)
        if key in first_figures and key in values:
            rows.append(
                [
                    entry.suite,
                    entry.figure,
                    percent(first_figures[key].value),
                    percent(values[key].value),
                    _span(entry.difference, sign=True),
                ]
            )
    return [
        f"## {_escape(comparison.result.model)} beside it",
        "",
        f"Read with {comparison.result.reads}. Differences are paired by prompt.",
        "",
        *_table(rows),
    ]


def _stability(results: Results) -> list[str]:
    rows = [["suite", "last", "mean of the last", "noise", "noise of means", "signal / noise"]]
    for one in results.stability:
        rows.append(
            [
                one.suite,
                percent(one.last),
                percent(one.mean),
                share(one.noise),
                share(one.noise_of_means),
                "–" if one.ratio is None else f"{one.ratio:.1f}",
            ]
        )
    return _table(rows)


def _span(found: Estimate, *, sign: bool = False) -> str:
    form = "+.1f" if sign else ".1f"
    value, low, high = (100 * one for one in (found.value, found.low, found.high))
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def _weight(found: Estimate) -> str:
    return f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def percent(value: float) -> str:
    """A fraction in percent, one digit."""
    return f"{value * 100:.1f}"


def share(value: float | None) -> str:
    """A noise in percent, two digits."""
    return "–" if value is None else f"{value * 100:.2f} %"


def signed(found: Estimate | None) -> str:
    """A value with its sign, two digits."""
    return "–" if found is None else f"{found.value:+.2f}"


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _table(rows: list[list[str]]) -> list[str]:
    head, *body = rows
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *body]
    return [f"| {' | '.join(_escape(cell) for cell in line)} |" for line in lines]


def _escape(text: str) -> str:
    """Keep names of files and subsets from being read as Markdown or HTML."""
    for mark in "\\|<>*_`[]":
        if mark in "[]" or text in ("---", "---:"):
            continue
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())


def _code(text: str) -> str:
    return " ".join(text.replace("`", "'").split())
