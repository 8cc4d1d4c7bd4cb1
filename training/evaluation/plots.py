"""Pictures of an evaluation, each as the text of an SVG."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.evaluation.results import CheckpointPoint, Results, SuiteResult
from training.evaluation.style import FEATURES

STYLE: Any = {
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "svg.hashsalt": "forumprefs",  # the same ids, so the same bytes, each time
    "text.parse_math": False,  # a $ in the name of a subset is a $
}
BASELINE_MARKS = {
    "longer": ("s", "#d08770"),
    "style": ("D", "#b48ead"),
    "earlier": ("^", "#8fa876"),
    "longer + earlier": ("v", "#5e81ac"),
    "first shown": ("P", "#c7a54a"),
    "chance": ("|", "#888888"),
}
INK = "#1f4e79"
OTHERS = ("#bf616a", "#4c8c4a", "#7b5ea7", "#b8860b", "#008b8b")
SHOWN_FIGURES = 24
LEGEND_CHARS = 28


@mpl.rc_context(STYLE)
def headlines(results: Results) -> str:
    """The headline of each suite, models and baselines side by side."""
    suites = results.result.suites
    figure, axes = _new(7.6, 0.9 + (0.42 + 0.16 * len(results.compared)) * len(suites))
    for line, suite in enumerate(suites):
        _line(axes, len(suites) - 1 - line, suite)
        # Below each other, so that equal models do not hide one another.
        step = 0.6 / (1 + len(results.compared))
        for number, comparison in enumerate(results.compared):
            other = next(one for one in comparison.result.suites if one.name == suite.name)
            place = len(suites) - 1 - line - step * (1 + number)
            _dot(axes, place, other, OTHERS[number % len(OTHERS)])
    axes.set_yticks(range(len(suites)), [suite.title for suite in reversed(suites)])
    _percent_axis(axes)
    _legend(axes, results.result.suites, _models(results))
    return _svg(figure)


@mpl.rc_context(STYLE)
def subsets(suite: SuiteResult) -> str:
    """Every figure of a suite with its interval and its baselines, ties one half."""
    shown = suite.figures[:SHOWN_FIGURES]
    figure, axes = _new(7.6, 0.9 + 0.3 * len(shown))
    for line, one in enumerate(reversed(shown)):
        own = one.with_ties_half
        axes.plot([own.low * 100, own.high * 100], [line, line], color=INK, lw=1.6, alpha=0.6)
        axes.plot(own.value * 100, line, "o", color=INK, ms=6, zorder=4)
        for name, baseline in one.baselines.items():
            mark, colour = BASELINE_MARKS[name]
            axes.plot(baseline.value * 100, line, mark, color=colour, ms=5.5, zorder=3)
    axes.set_yticks(range(len(shown)), [one.name for one in reversed(shown)])
    _percent_axis(axes)
    _legend(axes, [suite], {"model": INK})
    return _svg(figure)


@mpl.rc_context(STYLE)
def style_weights(suite: SuiteResult) -> str:
    """γ of the model beside γ of the labels."""
    style = suite.style
    assert style is not None
    figure, axes = _new(7.6, 2.4)
    rows = (
        ("labels", style.label_weights, "#888888", 0.12),
        ("model", style.model_weights, INK, -0.12),
    )
    for name, weights, colour, shift in rows:
        for line, feature in enumerate(reversed(FEATURES)):
            one = getattr(weights, feature)
            axes.plot([one.low, one.high], [line + shift] * 2, color=colour, lw=2, alpha=0.55)
            axes.plot(
                one.value, line + shift, "o", color=colour, ms=6, label=name if line == 0 else None
            )
    axes.axvline(0, color="0.6", lw=1)
    axes.set_yticks(range(len(FEATURES)), list(reversed(FEATURES)))
    axes.set_xlabel("log odds of being preferred, per standard unit")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return _svg(figure)


@mpl.rc_context(STYLE)
def calibration(suite: SuiteResult) -> str:
    """How often the model is right when it is so sure."""
    figure, axes = _new(4.2, 3.2)
    axes.plot([50, 100], [50, 100], color="0.7", lw=1, ls=":")
    bins = [
        (row.predicted * 100, row.observed * 100, row.share)
        for row in suite.calibration.bins
        if row.predicted is not None and row.observed is not None
    ]
    if bins:
        predicted, observed, share = zip(*bins, strict=True)
        axes.plot(predicted, observed, color=INK, lw=1.2, alpha=0.6)
        axes.scatter(predicted, observed, s=[12 + 220 * one for one in share], color=INK, zorder=3)
    axes.set_xlabel("probability that the model gives, %")
    axes.set_ylabel("right, %")
    axes.set_xlim(49, 101)
    axes.set_ylim(0, 101)
    axes.grid(color="0.92")
    return _svg(figure)


@mpl.rc_context(STYLE)
def best_of_k(suite: SuiteResult) -> str:
    """Expected worth of the best of k."""
    curve = suite.curve
    assert curve is not None
    figure, axes = _new(5.2, 3.2)
    for name, values, colour in (
        ("perfect", curve.best, "#888888"),
        ("model", curve.model, INK),
        ("longer", curve.longer, BASELINE_MARKS["longer"][1]),
    ):
        axes.plot(curve.k, [one * 100 for one in values], "o-", color=colour, ms=4, label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(curve.k, [str(k) for k in curve.k])
    axes.minorticks_off()
    axes.set_xlabel("k responses to choose from")
    axes.set_ylabel("chosen one is right, %")
    axes.grid(color="0.92")
    axes.legend(frameon=False)
    return _svg(figure)


@mpl.rc_context(STYLE)
def over_training(points: tuple[CheckpointPoint, ...]) -> str:
    """Headlines over the checkpoints of a run."""
    figure, axes = _new(7.6, 3.4)
    colours = (INK, *OTHERS)
    for number, suite in enumerate(points[-1].values):
        axes.plot(
            [point.pairs for point in points],
            [point.values[suite] * 100 for point in points],
            "o-",
            ms=4,
            color=colours[number % len(colours)],
            label=suite,
        )
    axes.set_xlabel("training pairs")
    axes.set_ylabel("headline, %")
    axes.grid(color="0.92")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return _svg(figure)


def _line(axes: Axes, line: int, suite: SuiteResult) -> None:
    _dot(axes, line, suite, INK)
    for name, baseline in suite.headline.baselines.items():
        mark, colour = BASELINE_MARKS[name]
        axes.plot(baseline.value * 100, line, mark, color=colour, ms=6, zorder=3)


def _dot(axes: Axes, line: float, suite: SuiteResult, colour: str) -> None:
    one = suite.headline.with_ties_half
    axes.plot([one.low * 100, one.high * 100], [line, line], color=colour, lw=2, alpha=0.55)
    axes.plot(one.value * 100, line, "o", color=colour, ms=7, zorder=4)


def _percent_axis(axes: Axes) -> None:
    axes.set_xlim(-1, 102)
    axes.set_xlabel("%")
    axes.grid(color="0.92", axis="x")
    axes.tick_params(axis="y", length=0)
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.3, high + 0.3)


def _models(results: Results) -> dict[str, str]:
    """Colour of each model by the end of its name, which tells them apart."""
    names = [results.result.model, *(one.result.model for one in results.compared)]
    found = {}
    for number, name in enumerate(names):
        colour = INK if number == 0 else OTHERS[(number - 1) % len(OTHERS)]
        shown = name if len(name) <= LEGEND_CHARS else f"…{name[1 - LEGEND_CHARS :]}"
        found[shown if shown not in found else f"{shown} ({number + 1})"] = colour
    return found


def _legend(axes: Axes, suites: Sequence[SuiteResult], models: Mapping[str, str]) -> None:
    baselines = {name for suite in suites for name in suite.headline.baselines}
    for name, colour in models.items():
        axes.plot([], [], "o", color=colour, label=name)
    for name, (mark, colour) in BASELINE_MARKS.items():
        if name in baselines:
            axes.plot([], [], mark, color=colour, label=name)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def _new(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _svg(figure: Figure) -> str:
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return written.getvalue()
