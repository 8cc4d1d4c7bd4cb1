"""A scaling study in words: scaling.json, scaling.md, and what is printed."""

from collections.abc import Sequence
from typing import Any, Final

from training.scaling.study import CHANCE, GREEK, Fit, Study, formula, human, sizes_of
from training.validation.bootstrap import Estimate

LAW: Final = "L(N, D) = E + A·N^-α + B·D^-β"
SCALING_VERSION: Final = "2.0.0"
"""Semantic version of the layout of ``scaling.json``; files without one are of 1.0.0."""


def as_json(found: Study, *, bootstraps: int, seed: int) -> dict[str, Any]:
    """Return everything in scaling.json."""
    held_out = found.held_out
    return {
        "version": SCALING_VERSION,
        "law": LAW,
        "supported": found.supported,
        "conclusion": conclusion(found),
        "notes": found.notes,
        "fits": [_fit_json(fit) for fit in found.fits],
        "hold_out": held_out
        and {
            "run": held_out.run.path,
            "predicted": _estimate_json(held_out.predicted),
            "measured": held_out.run.loss,
            "inside": held_out.inside,
        },
        "runs": [
            {
                "path": run.path,
                "model": run.model,
                "parameters": run.parameters,
                "pairs": run.pairs,
                "loss": run.loss,
                "accuracy": run.accuracy,
            }
            for run in found.runs
        ],
        "bootstraps": bootstraps,
        "seed": seed,
    }


def _fit_json(fit: Fit) -> dict[str, Any]:
    law = fit.law
    return {
        "of": fit.of,
        "axes": list(law.axes),
        "fixed": fit.fixed,
        "coefficients": {name: _estimate_json(one) for name, one in law.coefficients.items()},
        "runs": len(fit.runs),
        "leave_one_out_error": law.typical_error,
        "constant_error": law.constant_error,
        "supported": not fit.against,
        "against": fit.against,
    }


def _estimate_json(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def conclusion(found: Study) -> list[str]:
    """Say in plain sentences whether to believe the fit, and why not."""
    sentences = []
    if found.supported:
        sentences.append("The data support the fit.")
    elif found.fits:
        sentences.append("The data do not support the fit:")
    sentences += found.against
    for fit in found.fits:
        head = f"{fit.of[0].upper()}{fit.of[1:]}: " if len(found.fits) > 1 else ""
        sentences += [f"{head}{reason}" for reason in fit.against]
    return sentences


def as_text(found: Study) -> list[str]:
    """Return what is printed, line by line."""
    lines = [f"{len(found.runs)} runs"]
    for fit in found.fits:
        lines += ["", f"{fit.of}: {formula(fit.law.coefficients)}"]
        lines += [f"  {name} = {text}" for name, text in _coefficients(fit)]
        lines.append(f"  {_error_sentence(fit)}")
    lines += ["", *_hold_out_sentences(found)]
    lines += conclusion(found)
    if found.supported:
        lines += _what_more_would_give(found)
    return lines + [f"Note: {note}" for note in found.notes]


def as_markdown(found: Study, pictures: Sequence[str]) -> str:
    """Return everything in scaling.md."""
    lines = ["# Scaling", ""]
    head, *reasons = conclusion(found)
    lines += [f"**{head}**", *([""] if reasons else []), *(f"- {reason}" for reason in reasons)]
    if "scaling.png" in pictures:
        lines += ["", "![loss against size, with fitted curves](scaling.png)"]
    for fit in found.fits:
        lines += ["", f"## Fit of {fit.of}", "", f"`{formula(fit.law.coefficients)}`", ""]
        lines += ["| | value [95 % interval] |", "|---|---|"]
        lines += [f"| {name} | {text} |" for name, text in _coefficients(fit)]
        lines += ["", _error_sentence(fit)]
    if found.held_out or found.supported:
        lines += ["", "## Extrapolation", "", *_hold_out_sentences(found)]
        lines += _what_more_would_give(found) if found.supported else []
    lines += ["", "## Runs", "", "| run | model | N | D | loss | accuracy |"]
    lines.append("|---|---|---|---|---|---|")
    for run in found.runs:
        accuracy = "–" if run.accuracy is None else f"{run.accuracy:.3f}"
        held = " (held out)" if found.held_out and run is found.held_out.run else ""
        cells = (f"{run.path}{held}", run.model, f"{run.parameters:,}", f"{run.pairs:,}")
        line = " | ".join(cell.replace("|", "\\|") for cell in cells)
        lines.append(f"| {line} | {run.loss:.4f} | {accuracy} |")
    lines += ["", *(f"Note: {note}" for note in found.notes)]
    return "\n".join(lines).rstrip() + "\n"


def _coefficients(fit: Fit) -> list[tuple[str, str]]:
    rows = []
    for name, one in fit.law.coefficients.items():
        text = f"{one.value:.3g} [{one.low:.3g}, {one.high:.3g}]"
        rows.append((GREEK.get(name, name), text))
    return rows


def _error_sentence(fit: Fit) -> str:
    law = fit.law
    return (
        f"{len(fit.runs)} runs; one predicted from the others is off by {law.typical_error:.2%} "
        f"(the median of the others: {law.constant_error:.2%})."
    )


def _hold_out_sentences(found: Study) -> list[str]:
    if found.held_out is None:
        return []
    run, predicted, inside = found.held_out
    return [
        f"Held out: {run.path} ({human(run.parameters)} parameters, {human(run.pairs)} pairs). "
        f"Predicted {predicted.value:.4f} [{predicted.low:.4f}, {predicted.high:.4f}], measured "
        f"{run.loss:.4f}: {'inside' if inside else 'outside'} the interval."
    ]


def _what_more_would_give(found: Study) -> list[str]:
    """Say what ten times as much of what varies would give, at the largest run of each fit."""
    sentences = []
    for fit in found.fits:
        largest = sizes_of(fit.runs, fit.law.axes).max(axis=0)
        for place, axis in enumerate(fit.law.axes):
            more = largest.copy()
            more[place] *= 10
            (low,), (high,) = fit.law.band(more[None])
            loss = float(fit.law.predict(more[None])[0])
            what = f"{human(more[place])} {axis}"
            others = [
                f"{human(size)} {name}"
                for name, size in zip(fit.law.axes, largest, strict=True)
                if name != axis
            ]
            others += [f"{human(size)} {name}" for name, size in fit.fixed.items()]
            sentences.append(
                f"Ten times as many {axis} ({what}, with {' and '.join(others)}) would give "
                f"{loss:.4f} [{low:.4f}, {high:.4f}], if the law holds that far; chance is "
                f"{CHANCE:.4f}, the floor E {fit.law.coefficients['E'].value:.4f}."
            )
    return sentences
