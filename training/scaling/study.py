"""From runs to fits: which law the runs allow, what speaks against it, and the held-out run."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from training.errors import ScalingError
from training.scaling.law import (
    FLATTEST,
    STEEPEST,
    SYMBOLS,
    Law,
    can_fit,
    fit_law,
)
from training.scaling.runs import ScalingRun
from training.validation.bootstrap import Estimate
from training.validation.metrics import Floats

CHANCE = math.log(2)
"""Bradley–Terry loss of constant rewards."""
DECADE = 10.0
"""Factor that sizes should span."""
CONVINCING = 0.7
"""Error on left-out runs, over that of a constant, from which on a law has nothing to say."""
WITHOUT_EFFECT = frozenset(
    {
        "data.max_pairs",  # what is studied
        "data.verify",
        "model.activation_checkpointing",
        "model.activation_offload",
        "model.compile",
        "model.layout",
        "model.micro_batch_tokens",
        "run.context_parallel_degree",
        "run.cpu_offload",
        "run.eval_every",
        "run.eval_pairs",  # has a sentence of its own
        "run.keep_checkpoints",
        "run.log_every",
        "run.parallel",
        "run.save_every",
        "run.seed",
        "run.shard_degree",
        "run.tensorboard",  # in runs of earlier releases
        "run.trackers",
    }
)
"""Settings that may differ between runs without a word."""

NAMES = {"parameters": "model sizes", "pairs": "data sizes"}
GREEK = {"alpha": "α", "beta": "β"}


class Fit(NamedTuple):
    """A law of some of the runs, and every reason not to believe it."""

    of: str
    fixed: dict[str, int]
    """Axes that do not vary among the runs."""
    runs: list[ScalingRun]
    law: Law
    against: list[str]


NEEDED = (
    "The law of both needs six runs with three sizes of each; the law of one needs four runs that "
    "differ in that one only."
)


class Prediction(NamedTuple):
    """The held-out run, predicted from the others."""

    run: ScalingRun
    predicted: Estimate
    inside: bool


class Study(NamedTuple):
    """Runs and what can be said about them."""

    runs: list[ScalingRun]
    fits: list[Fit]
    held_out: Prediction | None
    against: list[str]
    """Reasons not to believe any fit."""
    notes: list[str]

    @property
    def supported(self) -> bool:
        """Whether the data support every fit."""
        return bool(self.fits) and not self.against and not any(one.against for one in self.fits)


class _RunGroup(NamedTuple):
    of: str
    axes: tuple[str, ...]
    fixed: dict[str, int]
    runs: list[ScalingRun]


def make_study(
    runs: Sequence[ScalingRun], *, hold_out: str | None = None, bootstraps: int = 300, seed: int = 0
) -> Study:
    """Fit the richest law that the runs allow, without one run, and predict that run.

    With three sizes of model and of data: L(N, D). With fewer models: L(D) for each model size
    that has enough runs. With fewer data sizes: L(N). ``hold_out`` is the path of a run,
    'none', or None for the run with the largest N·D, where the others suffice without it.
    Raises ScalingError if no run has that path.
    """
    runs = sorted(runs, key=lambda run: (run.parameters, run.pairs, run.path))
    left_out, notes = _left_out(runs, hold_out)
    rest = [run for run in runs if run is not left_out]
    fits = [_fit(part, bootstraps, seed) for part in _parts(rest)]
    against = _incomparable(runs)
    if not fits:
        against.append(f"Nothing can be fitted: {_count(rest)}. {NEEDED}")
    prediction = None
    if left_out is not None and (fit := _covering(fits, left_out)) is not None:
        prediction = _predict(fit, left_out, seed)
        if not prediction.inside:
            against.append(
                f"The held-out run {left_out.path} was predicted at {_span(prediction.predicted)} "
                f"and came out at {left_out.loss:.4f}: the law does not extrapolate to it."
            )
    return Study(runs, fits, prediction, against, [*notes, *_other_settings(runs)])


def some_law_fits(sizes: Sequence[tuple[int, int]]) -> bool:
    """Whether runs of (parameters, pairs) allow any law, by the rule of :func:`make_study`."""
    table = np.array(sizes, dtype=np.float64)
    if can_fit(table):
        return True
    return any(
        can_fit(table[table[:, other] == size][:, [1 - other]])
        for other in (0, 1)
        for size in np.unique(table[:, other])
    )


def sizes_of(runs: Sequence[ScalingRun], axes: Sequence[str]) -> Floats:
    """Sizes [n, axes] of the runs."""
    return np.array([[getattr(run, axis) for axis in axes] for run in runs], dtype=np.float64)


def human(count: float) -> str:
    """Write a size in three digits: 135M, 1.54B, 3,000."""
    for factor, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if count >= factor:
            digits = f"{count / factor:.3g}"
            return f"{digits}{letter}"
    return f"{count:,.0f}"


def _parts(runs: Sequence[ScalingRun]) -> list[_RunGroup]:
    """Divide the runs into those that one law each can be fitted to."""
    both = ("parameters", "pairs")
    if runs and can_fit(sizes_of(runs, both)):
        return [_RunGroup("all runs", both, {}, list(runs))]
    for axis, other, phrase in (
        ("pairs", "parameters", "models of {} parameters"),
        ("parameters", "pairs", "runs on {} pairs"),
    ):
        parts = []
        for size in sorted({getattr(run, other) for run in runs}):
            some = [run for run in runs if getattr(run, other) == size]
            if can_fit(sizes_of(some, (axis,))):
                parts.append(_RunGroup(phrase.format(human(size)), (axis,), {other: size}, some))
        if parts:
            return parts
    return []


def _left_out(
    runs: Sequence[ScalingRun], hold_out: str | None
) -> tuple[ScalingRun | None, list[str]]:
    if hold_out == "none" or not runs:
        return None, []
    if hold_out is not None:
        named = [run for run in runs if run.path.rstrip("/") == hold_out.rstrip("/")]
        if not named:
            known = ", ".join(run.path for run in runs)
            raise ScalingError(f"--hold-out {hold_out}: no such run; there are {known}")
        return named[0], []
    largest = max(runs, key=lambda run: run.parameters * run.pairs)
    rest = [run for run in runs if run is not largest]
    kept = {(part.axes, tuple(part.fixed.items())) for part in _parts(rest)}
    if kept != {(part.axes, tuple(part.fixed.items())) for part in _parts(runs)} or not kept:
        return None, ["No run was held out: there are too few to fit a law without one."]
    return largest, []


def _covering(fits: Sequence[Fit], run: ScalingRun) -> Fit | None:
    for fit in fits:
        if all(getattr(run, axis) == size for axis, size in fit.fixed.items()):
            return fit
    return None


def _fit(part: _RunGroup, bootstraps: int, seed: int) -> Fit:
    sizes = sizes_of(part.runs, part.axes)
    losses = np.array([run.loss for run in part.runs])
    law = fit_law(part.axes, sizes, losses, bootstraps=bootstraps, seed=seed)
    return Fit(part.of, part.fixed, part.runs, law, _reasons_against(part, law))


def _predict(fit: Fit, run: ScalingRun, seed: int) -> Prediction:
    sizes = sizes_of([run], fit.law.axes)
    (low,), (high,) = fit.law.interval(sizes, seed=seed)
    predicted = Estimate(float(fit.law.predict(sizes)[0]), float(low), float(high))
    return Prediction(run, predicted, bool(low <= run.loss <= high))


def _reasons_against(part: _RunGroup, law: Law) -> list[str]:
    """Say in sentences why the runs do not support the law; empty where they do."""
    found = []
    for axis in part.axes:
        values = sorted({getattr(run, axis) for run in part.runs})
        if len(part.axes) == 1 and len(values) < 4:
            found.append(
                f"Only {len(values)} {NAMES[axis]}: a curve of {len(law.theta)} numbers goes "
                "through any three points, so nothing is left to check its shape with."
            )
        if values[-1] < DECADE * values[0]:
            found.append(
                f"The {NAMES[axis]} span a factor of {values[-1] / values[0]:.1f} "
                f"({human(values[0])} to {human(values[-1])}); below {DECADE:.0f} a power law "
                "looks like any other curve."
            )
        found += _not_falling(part, axis)
    if min(run.loss for run in part.runs) >= CHANCE:
        found.append(
            f"No run is better than chance (a loss of {CHANCE:.3f} = log 2): they have learned "
            "nothing that could scale."
        )
    found += _unknown_coefficients(part, law)
    if law.typical_error > CONVINCING * law.constant_error:
        found.append(
            f"Runs that are held out in turn are predicted no better by the law (typical error "
            f"{law.typical_error:.2%}) than by the median of the others "
            f"({law.constant_error:.2%})."
        )
    return found


def _not_falling(part: _RunGroup, axis: str) -> list[str]:
    """Say where the loss at the largest size is not below that at the smallest, others equal."""
    other = "pairs" if axis == "parameters" else "parameters"
    found = []
    for size in sorted({getattr(run, other) for run in part.runs}):
        losses: dict[int, list[float]] = {}
        for run in part.runs:
            if getattr(run, other) == size:
                losses.setdefault(getattr(run, axis), []).append(run.loss)
        low, high = min(losses), max(losses)
        first, last = float(np.mean(losses[low])), float(np.mean(losses[high]))
        if low < high and last >= first:
            found.append(
                f"The loss does not fall with more {axis}: {first:.4f} at {human(low)}, "
                f"{last:.4f} at {human(high)} ({human(size)} {other})."
            )
    return found


def _unknown_coefficients(part: _RunGroup, law: Law) -> list[str]:
    found = []
    for axis in part.axes:
        _, name = SYMBOLS[axis]
        exponent = law.coefficients[name]
        span = f"{GREEK[name]} lies between {exponent.low:.2f} and {exponent.high:.2f}"
        if exponent.low <= FLATTEST:
            found.append(f"{span}: it cannot be told from 0, that is from no effect of {axis}.")
        elif exponent.high >= 0.99 * STEEPEST:
            found.append(f"{span}, the largest value tried: the runs do not determine it.")
    floor = law.coefficients["E"]
    if floor.low < 0.01 * min(run.loss for run in part.runs):
        found.append(
            f"E lies between {floor.low:.3f} and {floor.high:.3f}: the runs do not reach far "
            "enough to tell a floor of the loss from none, so do not extrapolate far."
        )
    return found


def _incomparable(runs: Sequence[ScalingRun]) -> list[str]:
    found = []
    manifests = {run.manifest for run in runs}
    if len(manifests) > 1:
        found.append(
            f"The runs come from {len(manifests)} different datasets (by their manifests): their "
            "losses are of different validation pairs and cannot be compared."
        )
    if _values(runs, "run.eval_pairs") > 1:
        found.append(
            "The runs differ in run.eval_pairs: their losses are of different validation pairs "
            "and cannot be compared."
        )
    return found


def _other_settings(runs: Sequence[ScalingRun]) -> list[str]:
    names = sorted({name for run in runs for name in run.settings} - WITHOUT_EFFECT)
    differing = [name for name in names if _values(runs, name) > 1]
    if not differing:
        return []
    return [f"The runs also differ in {', '.join(differing)}; the fit knows nothing of that."]


def _values(runs: Sequence[ScalingRun], name: str) -> int:
    return len({repr(run.settings.get(name)) for run in runs})


def _distinct(runs: Sequence[ScalingRun], axis: str) -> int:
    return len({getattr(run, axis) for run in runs})


def _count(runs: Sequence[ScalingRun]) -> str:
    return (
        f"{len(runs)} runs with {_distinct(runs, 'parameters')} model sizes "
        f"and {_distinct(runs, 'pairs')} data sizes"
    )


def _span(estimate: Estimate) -> str:
    return f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"


def formula(coefficients: Mapping[str, Estimate]) -> str:
    """Write a fitted law with its values: 'L = 0.45 + 1.2·D^-0.25'."""
    text = f"L = {coefficients['E'].value:.3g}"
    for axis, letter in (("parameters", "N"), ("pairs", "D")):
        factor, exponent = SYMBOLS[axis]
        if factor in coefficients:
            power = coefficients[exponent].value
            text += f" + {coefficients[factor].value:.3g}·{letter}^-{power:.3g}"
    return text
