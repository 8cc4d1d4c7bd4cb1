"""The picture of a run: loss, accuracy against the baselines, learning rate, gradients, speed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from schemas.small_files import decode_lenient_json, open_regular
from training.run.folder import CURVES_NAMES, METRICS_NAME

STYLE: Any = {
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "svg.hashsalt": "forumprefs",  # the same ids, so the same bytes, each time
    "text.parse_math": False,
}
TRAINING, VALIDATION = "#7f9fbf", "#1f4e79"
BASELINES = {"longer": "#d08770", "earlier": "#8fa876", "longer + earlier": "#b48ead"}
OTHER = "#888888"
CHANCE_LOSS = 0.6931471805599453
SMOOTHED = 20
"""Of so many points on there is a smooth line, too, over a tenth of them."""

Lines = list[dict[str, Any]]


def draw_curves(folder: Path) -> list[Path]:
    """Write curves.png and curves.svg of a run folder by its metrics.jsonl; returns their paths."""
    training, validations = _read(folder / METRICS_NAME)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.5, 8.5), layout="constrained")
        FigureCanvasAgg(figure)
        (loss, accuracy), (rate, norm), (speed, share) = figure.subplots(3, 2, sharex=True)
        _loss(loss, training, validations)
        _accuracy(accuracy, training, validations)
        _one(rate, training, "lr", "learning rate", smooth=False)
        _one(norm, training, "gradient_norm", "gradient norm, before clipping")
        _one(speed, training, "tokens_per_second", "tokens per second", from_zero=True)
        if any("mfu" in line for line in training):
            _one(share, training, "mfu", "share of the GPU's peak (MFU)", from_zero=True)
        else:
            _one(share, training, "pairs_per_second", "pairs per second", from_zero=True)
        for axes in (speed, share):
            axes.set_xlabel("step")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        paths = []
        for name in CURVES_NAMES:
            kept = {"Software": None} if name.endswith("png") else {"Date": None}
            figure.savefig(folder / name, dpi=130, metadata=kept)
            paths.append(folder / name)
    return paths


def _read(path: Path) -> tuple[Lines, Lines]:
    with open_regular(path) as file:
        lines: Lines = [decode_lenient_json(line) for line in file]
    training, validations = (
        [line for line in lines if line["kind"] == kind] for kind in ("train", "validation")
    )
    return training, validations


def _loss(axes: Axes, training: Lines, validations: Lines) -> None:
    _points(axes, training, "loss", "training")
    _validated(axes, validations, "loss", "validation")
    axes.axhline(CHANCE_LOSS, color=OTHER, lw=0.9, ls=":", label="equal rewards")
    axes.set_title("loss of a pair", loc="left")
    axes.legend(frameon=False)


def _accuracy(axes: Axes, training: Lines, validations: Lines) -> None:
    _points(axes, training, "accuracy", "training")
    spans = [
        (line["step"], float(line["accuracy_low"]), float(line["accuracy_high"]))
        for line in validations
        if line.get("accuracy_low") is not None and line.get("accuracy_high") is not None
    ]
    if spans:
        steps, low, high = zip(*spans, strict=True)
        axes.fill_between(steps, low, high, color=VALIDATION, alpha=0.15, lw=0)
    _validated(axes, validations, "accuracy", "validation, 95 %")
    baselines = validations[-1].get("baselines", {}) if validations else {}
    for name, value in baselines.items():
        if value is not None:
            colour = BASELINES.get(name, OTHER)
            axes.axhline(value, color=colour, lw=1.2, ls="--", label=f'"{name}"')
    axes.axhline(0.5, color=OTHER, lw=0.9, ls=":", label="chance")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    axes.set_ylim(0, 1)
    axes.set_title("accuracy, and that of baselines that read no text", loc="left")
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower right")


def _one(
    axes: Axes,
    training: Lines,
    name: str,
    title: str,
    *,
    from_zero: bool = False,
    smooth: bool = True,
) -> None:
    _points(axes, training, name, None, smooth=smooth)
    axes.set_title(title, loc="left")
    if from_zero:
        axes.set_ylim(bottom=0)


def _points(axes: Axes, lines: Lines, name: str, label: str | None, *, smooth: bool = True) -> None:
    found = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
    if not found:
        return
    steps, values = zip(*found, strict=True)
    many = smooth and len(found) >= SMOOTHED
    thin: dict[str, Any] = {"lw": 0.8, "alpha": 0.45} if many else {"lw": 1.3}
    if len(found) < SMOOTHED:
        thin |= {"marker": "o", "ms": 3}
    axes.plot(steps, values, color=TRAINING, label=None if many else label, **thin)
    if many:
        axes.plot(steps, _smooth(values, len(values) // 10), color=TRAINING, lw=1.8, label=label)


def _validated(axes: Axes, validations: Lines, name: str, label: str) -> None:
    found = [(line["step"], line[name]) for line in validations if line.get(name) is not None]
    if found:
        axes.plot(*zip(*found, strict=True), color=VALIDATION, marker="o", ms=5, label=label)


def _smooth(values: Sequence[float], width: int) -> list[float]:
    """Means of each value and its neighbours, ``width`` to either side."""
    parts = (values[max(at - width, 0) : at + width + 1] for at in range(len(values)))
    return [sum(part) / len(part) for part in parts]
