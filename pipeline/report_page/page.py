"""The page itself: templates filled in with the figures, script and style allowed by their hashes.

Every text that a template prints is escaped, and made printable: forum text is hostile. What is
HTML already says so by its type, ``Markup``: plots, our own script and style, and the JSON of rows.
"""

import base64
import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.console.text import printable
from pipeline.dataset.run_metadata import REPORT_MARK, StepTime
from pipeline.report_page import charts
from pipeline.report_page.figures import ReportFigures, VoteBias
from pipeline.report_page.intervals import Proportion
from pipeline.report_page.rows import as_json
from pipeline.report_page.votes import calibration_error
from schemas.audit import REASON_DOCS, Reason
from schemas.manifest import Manifest
from schemas.noise_ceiling import NoiseCeiling
from schemas.pair import SPLITS

Report = Mapping[str, Any]


def make_page(
    name: str,
    manifest: Manifest,
    report: Report,
    figures: ReportFigures,
    rows: Mapping[str, Any],
    *,
    modes: Sequence[VoteBias] = (),
    calibration: Sequence[tuple[float, Proportion]] = (),
    sampled: int = 0,
    steps: Sequence[StepTime] = (),
) -> str:
    """Return the whole page; every text in it is escaped or sanitised.

    ``name`` of the dataset; ``report`` is its report.json; ``rows`` are those of the browser;
    ``modes`` and ``calibration`` come from the ``sampled`` threads that the run kept, ``steps`` are
    its timings.
    """
    environment = _environment()
    return environment.get_template("page.html").render(
        name=name,
        mark=Markup(REPORT_MARK),  # noqa: S704
        script=_asset("script.js"),
        style=_asset("style.css"),
        manifest=manifest,
        report=report,
        figures=figures,
        rows=rows,
        titles={row["kept"]: row["title"] for row in rows["duplicates"]},
        confidence={bin_.split("–")[0]: count for bin_, count in report["confidence"].items()},
        modes=modes,
        calibration=calibration,
        calibration_cases=sum(one.total for _, one in calibration),
        calibration_error=calibration_error(calibration) if calibration else None,
        sampled=sampled,
        steps=steps,
        splits=SPLITS,
    )


@functools.cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("pipeline.report_page"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "ceiling": _ceiling,
        "digest": _digest,
        "interval": _interval,
        "json": lambda rows: Markup(as_json(rows)),  # holds no '<'  # noqa: S704
        "number": lambda count: f"{count:,}",
        "percent": lambda value: "–" if value is None else f"{100 * value:.1f} %",
        "proportions": _proportions,
        "reason_text": _reason_text,
        "short_labels": _short_labels,
    }
    made.globals["charts"] = charts
    return made


def _printable(value: Any) -> Any:
    return printable(value) if type(value) is str else value


def _asset(name: str) -> Markup:
    """A file of ours beside the templates, as it is."""
    loader = PackageLoader("pipeline.report_page", "")
    return Markup(loader.get_source(_environment(), name)[0])  # noqa: S704


def _ceiling(found: NoiseCeiling | None) -> str:
    if found is None or found.accuracy is None:
        return "–"
    ends = "" if found.low is None else f" [{100 * found.low:.1f}, {100 * (found.high or 1):.1f}]"
    return f"{100 * found.accuracy:.1f} %{ends}"


def _digest(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _reason_text(reason: str) -> str:
    return REASON_DOCS[Reason(reason)] if reason in set(Reason) else ""


def _proportions(rows: Iterable[VoteBias], side: str) -> Markup:
    """Plot the earlier or the longer response's share of wins, a line for each order of votes."""
    names = {"same pairs, votes since both existed": "votes since both"}
    return charts.shares(
        [
            (names.get(row.votes, row.votes.replace("as labelled", "label")), getattr(row, side))
            for row in rows
        ]
    )


def _short_labels(counts: Mapping[str, int]) -> dict[str, int]:
    """Histogram labels short enough to stand below a column."""
    short = {}
    for name, count in counts.items():
        low = int(name.split("–")[0].rstrip("+"))
        label = f"{low // 1000}k" if low >= 1000 else str(low)
        short[label] = count
    return short


def _interval(one: Proportion) -> str:
    if one.value is None:
        return "–"
    return f"{100 * one.value:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]"
