"""The picture of a scaling study: loss against size, fitted curves with their bands."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from training.scaling.study import CHANCE, Fit, Study, formula, human

LABELS = {"pairs": "training pairs", "parameters": "parameters of the model"}
REACH = 3.0
"""How far curves extend beyond the runs."""
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "svg.hashsalt": "forumprefs",  # the same ids, so the same bytes, each time
}


def plot(study: Study, folder: Path) -> list[Path]:
    """Write scaling.png and scaling.svg; returns their paths."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 5.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _draw(axes, study)
        paths = []
        for name, metadata in (
            ("scaling.png", {"Software": None}),
            ("scaling.svg", {"Date": None}),
        ):
            figure.savefig(folder / name, dpi=160, metadata=metadata)
            paths.append(folder / name)
    return paths


def _draw(axes: Axes, study: Study) -> None:
    pairs, parameters = ({getattr(run, axis) for run in study.runs} for axis in LABELS)
    along = "parameters" if len(pairs) < 3 <= len(parameters) else "pairs"
    across = "pairs" if along == "parameters" else "parameters"
    sizes = sorted({getattr(run, across) for run in study.runs})
    colours = {
        size: mpl.colormaps["viridis"](0.85 - 0.85 * (place + 0.5) / len(sizes))
        for place, size in enumerate(sizes)
    }
    ends = [getattr(run, along) for run in study.runs]
    low, high = min(ends) / 1.5, max(ends) * REACH
    for fit in study.fits:
        for size in [fit.fixed[across]] if across in fit.fixed else sizes:
            _curve(axes, fit, along, across, size, colours[size], (low, high))
    held_out = study.held_out.run if study.held_out else None
    for run in study.runs:
        colour = colours[getattr(run, across)]
        if along == "pairs" and len(run.curve) > 1:
            axes.plot(*zip(*run.curve, strict=True), color=colour, lw=0.6, alpha=0.45, zorder=1.5)
        if run is not held_out:
            axes.plot(
                getattr(run, along), run.loss, "o", color=colour, mec="white", ms=7.5, zorder=4
            )
    _held_out(axes, study, along, colours)
    _frame(axes, study, along, (low, high))
    _legend(axes, sizes, across, colours, study)


def _curve(
    axes: Axes,
    fit: Fit,
    along: str,
    across: str,
    size: int,
    colour: Any,
    span: tuple[float, float],
) -> None:
    line = np.geomspace(*span, 120)
    columns = {along: line, across: np.full_like(line, size)}
    sizes = np.stack([columns[axis] for axis in fit.law.axes], axis=1)
    low, high = fit.law.band(sizes)
    axes.fill_between(line, low, high, color=colour, alpha=0.16, lw=0, zorder=1)
    loss = fit.law.predict(sizes)
    seen = line <= max(getattr(run, along) for run in fit.runs)
    axes.plot(line[seen], loss[seen], color=colour, lw=1.8, zorder=2)
    axes.plot(line[~seen], loss[~seen], color=colour, lw=1.4, ls=(0, (4, 3)), zorder=2)


def _held_out(axes: Axes, study: Study, along: str, colours: dict[int, Any]) -> None:
    if study.held_out is None:
        return
    run, predicted, _ = study.held_out
    place = getattr(run, along)
    colour = colours[run.pairs if along == "parameters" else run.parameters]
    below, above = predicted.value - predicted.low, predicted.high - predicted.value
    axes.errorbar(
        [place],
        [predicted.value],
        yerr=[[max(below, 0)], [max(above, 0)]],
        color="0.25",
        lw=1.4,
        capsize=4,
        zorder=5,
    )
    axes.plot(place, run.loss, "*", color=colour, mec="0.1", mew=0.9, ms=15, zorder=6)


def _frame(axes: Axes, study: Study, along: str, span: tuple[float, float]) -> None:
    losses = [run.loss for run in study.runs]
    if study.held_out is not None:
        losses += [study.held_out.predicted.low, study.held_out.predicted.high]
    margin = 0.12 * (max(losses) - min(losses)) or 0.02
    axes.set_ylim(min(losses) - 2 * margin, max(losses) + margin)
    if axes.get_ylim()[0] < CHANCE < axes.get_ylim()[1]:
        axes.axhline(CHANCE, color="0.55", lw=1, ls=":", zorder=1)
        axes.text(span[1], CHANCE, "chance ", color="0.45", fontsize=9, ha="right", va="bottom")
    axes.set_xscale("log")
    axes.set_xlim(*span)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: human(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(color="0.92")
    axes.set_xlabel(LABELS[along])
    axes.set_ylabel("validation loss (Bradley–Terry)")
    if len(study.fits) == 1:
        axes.set_title(in_mathtext(formula(study.fits[0].law.coefficients)), loc="left")
    if not study.supported:
        axes.text(
            0.01,
            0.015,
            "not supported by the data; see scaling.md for the reasons",
            transform=axes.transAxes,
            color="#b00020",
            fontsize=9.5,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 2},
            zorder=7,
        )


def in_mathtext(law: str) -> str:
    """Set a law as matplotlib's mathtext: 4.26e+04·D^-3 as 4.26×10⁴ D⁻³."""
    law = re.sub(r"\^(-?[\d.e+-]+)", r"^{\1}", law)
    law = re.sub(r"e([+-]\d+)", lambda found: rf"\times 10^{{{int(found[1])}}}", law)
    return f"${law.replace('·', ' ')}$"


def _legend(
    axes: Axes, sizes: Sequence[int], across: str, colours: dict[int, Any], study: Study
) -> None:
    handles = [
        Line2D([], [], color=colours[size], marker="o", mec="white", ms=7.5, lw=1.8)
        for size in sizes
    ]
    labels = [f"{human(size)} {across}" for size in sizes]
    if study.held_out is not None:
        handles.append(
            Line2D([], [], color="0.7", marker="*", mec="0.1", mew=0.9, ms=14, ls="none")
        )
        labels.append("held out: measured")
        handles.append(Line2D([], [], color="0.25", marker="|", ms=15, mew=1.4, ls="none"))
        labels.append("held out: predicted, 95 %")
    axes.figure.legend(handles, labels, frameon=False, loc="outside right upper", fontsize=9.5)
