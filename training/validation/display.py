"""How a validation is shown: one line while training, a table and plain sentences after it."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from schemas.noise_ceiling import NoiseCeiling
from training.validation.baselines import Baseline, ValidationReport
from training.validation.bootstrap import FEW_UNITS, Interval
from training.validation.metrics import Figure

SHOWN_SITES = 8
"""Sites with most pairs that are shown; metrics.jsonl has all."""


def line(report: ValidationReport) -> str:
    """Return one line: loss, accuracies and the baselines beside them."""
    found = report.figures
    parts = [
        f"validation loss {_number(found.loss, 4)}",
        f"accuracy {_number(found.accuracy)} {_span(report.interval)}{_of_at_most(report)}",
        f"chosen longer {_number(found.chosen_longer)}, shorter {_number(found.chosen_shorter)}",
        *(f"{one.name} {_number(one.accuracy)}" for one in report.baselines),
    ]
    if found.non_finite:
        parts.append(f"{found.non_finite:,} pairs without finite rewards")
    return " · ".join(parts)


def conclusions(report: ValidationReport) -> list[str]:
    """Say in sentences how the model stands against each baseline, and what limits that."""
    sentences = [_conclusion(report, baseline) for baseline in report.baselines]
    if (ceiling := report.ceilings.get("all")) is not None:
        sentences.append(_ceiling_sentence(report, ceiling))
    if report.prompts < FEW_UNITS:
        sentences.append(
            f"Only {report.prompts:,} prompts: intervals over so few are too narrow; "
            "conclude nothing from them."
        )
    if report.figures.non_finite:
        sentences.append(
            f"{report.figures.non_finite:,} pairs have rewards that are not finite numbers; they "
            "count as wrong. The model has diverged: lower optim.lr or set optim.clip."
        )
    return sentences


def table(report: ValidationReport) -> Table:
    """Return accuracies by group, the model beside the baselines."""
    found = report.figures
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("accuracy on")
    ceilings = report.ceilings
    heads = ["pairs", "model", *(["ceiling"] if ceilings else [])]
    for name in (*heads, *(baseline.name for baseline in report.baselines)):
        shown.add_column(name, justify="right")
    rows = {
        "all": found.accuracy,
        "chosen longer": found.chosen_longer,
        "chosen shorter": found.chosen_shorter,
        "same length": found.same_length,
        **{f"margin {name}": one for name, one in found.by_margin.items()},
    }
    sites = sorted(found.by_site.items(), key=lambda entry: (-entry[1].pairs, entry[0]))
    if len(sites) > 1:
        rows |= {f"site {name}": one for name, one in sites[:SHOWN_SITES]}
    for name, model in rows.items():
        if not model.pairs:
            continue
        others = (baseline.groups.get(name, Figure(None, 0)) for baseline in report.baselines)
        highest = [_plain(_accuracy_of(ceilings.get(name)))] if ceilings else []
        cells = (f"{model.pairs:,}", _number(model), *highest, *map(_number, others))
        shown.add_row(Text(name), *cells)
        if name == "all":
            spans = (_span(one.interval) for one in report.baselines)
            highest = [""] if ceilings else []  # it is in the sentence, and the table is wide
            own = (_span(report.interval), *highest)
            shown.add_row(Text("  95 %", style="dim"), "", *own, *spans)
    if len(sites) > SHOWN_SITES:
        shown.add_row(Text(f"and {len(sites) - SHOWN_SITES:,} more sites", style="dim"))
    return shown


def summary(report: ValidationReport) -> Group:
    """Return the table, the other figures in a line, and the sentences."""
    found = report.figures
    rest = (
        f"loss {_number(found.loss, 4)}, calibration error {_plain(found.ece)}, "
        f"rewards {_plain(found.reward_mean, 2)} ± {_plain(found.reward_std, 2)}, "
        f"mean difference {_number(found.reward_margin, 2)}"
    )
    sentences = (Text(sentence) for sentence in conclusions(report))
    return Group(table(report), Text(), Text(rest), Text(), *sentences)


def _conclusion(report: ValidationReport, baseline: Baseline) -> str:
    name, ahead = f'"{baseline.name}"', baseline.ahead
    if ahead.low > 0:
        stand = f"The model beats {name}"
    elif ahead.high < 0:
        stand = f"The model is worse than {name}"
    else:
        stand = f"The model does not beat {name}"
    model, other = report.figures.accuracy.value, baseline.accuracy.value
    assert model is not None
    assert other is not None
    difference = f"{model - other:+.3f} {_span(ahead, sign=True)}"
    return f"{stand}: {model:.3f} against {other:.3f}, difference {difference}."


def _of_at_most(report: ValidationReport) -> str:
    """The noise ceiling in a line; nothing where it is not known."""
    highest = _accuracy_of(report.ceilings.get("all"))
    return "" if highest is None else f" of at most {highest:.3f} by the votes' noise"


def _ceiling_sentence(report: ValidationReport, ceiling: NoiseCeiling) -> str:
    span = _span_of(ceiling)
    highest = f"{ceiling.accuracy:.3f}{f' {span}' if span else ''}"
    if ceiling.high is not None and report.interval.low > ceiling.high:
        return (
            f"The model is above the noise ceiling of these labels, {highest}: the confidences are "
            "too low, or the texts tell what else decides votes."
        )
    return (
        f"If the confidences of these labels are right, a model that does not see the votes agrees "
        f"with {highest} of them at most: the noise ceiling."
    )


def _accuracy_of(ceiling: NoiseCeiling | None) -> float | None:
    return None if ceiling is None else ceiling.accuracy


def _span_of(ceiling: NoiseCeiling) -> str:
    if ceiling.low is None or ceiling.high is None:
        return ""
    return _span(Interval(ceiling.low, ceiling.high))


def _number(figure: Figure, digits: int = 3) -> str:
    return _plain(figure.value, digits)


def _plain(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _span(interval: Interval, *, sign: bool = False) -> str:
    form = "+.3f" if sign else ".3f"
    return f"[{interval.low:{form}}, {interval.high:{form}}]"
