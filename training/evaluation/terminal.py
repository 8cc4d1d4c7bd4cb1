"""The table on the terminal."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from schemas.noise_ceiling import NoiseCeiling
from training.evaluation.markdown import has_ceiling, percent, signed, vote_interval_lines
from training.evaluation.results import Results

SHOWN_FIGURES = 12
"""Of each suite; results.md has all."""
LONGEST_NAME = 16


def summary(results: Results) -> Group:
    """Return groups, suites with their baselines, other models, and warnings; ties one half."""
    result = results.result
    groups = Table(box=None, pad_edge=False, header_style="bold")
    of_groups = any(group.noise_ceiling is not None for group in result.groups)
    ceiling = ["ceiling"] if of_groups else []
    for name in ("group", "model", "95 %", *ceiling, "longer", "style", "chance"):
        groups.add_column(name, justify="left" if name == "group" else "right")
    for group in result.groups:
        values = [percent(group.baselines[name].value) for name in ("longer", "style", "chance")]
        span = f"[{percent(group.low)}, {percent(group.high)}]"
        highest = group.noise_ceiling
        shown_highest = "–" if highest is None else percent(highest.value)
        beside = [*([shown_highest] if of_groups else []), *values]
        groups.add_row(Text(group.group), percent(group.value), Text(span), *beside)
    parts: list[Table | Text] = [Text(f"read with {result.reads}"), Text(), groups]
    for suite in result.suites:
        baselines = tuple(suite.headline.baselines)
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column(Text(suite.title))
        # Beside the baselines ties count one half; the published rule only where it says otherwise.
        shown = suite.figures[:SHOWN_FIGURES]
        has_ties = any(percent(one.value) != percent(one.half) for one in shown)
        published = ["as published"] if has_ties else []
        others_of = [comparison.result.model for comparison in results.compared]
        ceiling = ["ceiling"] if has_ceiling(suite) else []
        for name in ("n", "model", "95 %", *ceiling, *baselines, *published, *others_of):
            table.add_column(Text(_short(name)), justify="right", no_wrap=True)
        for figure in shown:
            others = []
            for comparison in results.compared:
                there = next(s for s in comparison.result.suites if s.name == suite.name)
                same = next((f for f in there.figures if f.name == figure.name), None)
                others.append("–" if same is None else percent(same.half))
            own = figure.with_ties_half
            table.add_row(
                Text(figure.name),
                f"{figure.count:,}",
                percent(own.value),
                Text(f"[{percent(own.low)}, {percent(own.high)}]"),
                *([_highest(figure.noise_ceiling)] if ceiling else []),
                *(percent(figure.baselines[name].value) for name in baselines),
                *([percent(figure.value)] if has_ties else []),
                *others,
            )
        parts += [Text(), table]
        if len(suite.figures) > SHOWN_FIGURES:
            parts.append(
                Text(f"and {len(suite.figures) - SHOWN_FIGURES} more in results.md", style="dim")
            )
        parts += [Text(one, style="dim") for one in vote_interval_lines(suite) if one]
        if suite.style is not None:
            style = suite.style
            parts.append(
                Text(
                    f"under style control {percent(style.controlled.value)}, without style "
                    f"{percent(style.without_style.value)}; φ(predicted, longer) "
                    f"{signed(style.model_phi)}, φ(preferred, longer) "
                    f"{signed(style.label_phi)}",
                    style="dim",
                )
            )
    parts += [Text(f"\nwarning: {one}", style="yellow") for one in results.warnings]
    return Group(*parts)


def _highest(ceiling: NoiseCeiling | None) -> str:
    if ceiling is None or ceiling.accuracy is None:
        return "–"
    return percent(ceiling.accuracy)


def _short(name: str) -> str:
    """The end of a path, which tells models apart."""
    return name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"
