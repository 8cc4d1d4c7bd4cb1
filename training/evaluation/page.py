"""``index.html``: the results as one file that needs no network."""

import base64
from html import escape

from training.evaluation import plots
from training.evaluation.markdown import (
    CEILING_NOTE,
    ceiling_span,
    has_ceiling,
    percent,
    share,
    signed,
)
from training.evaluation.results import ModelResult, Results, SuiteResult
from training.validation.bootstrap import Estimate

_CSS = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222;
overflow-wrap:anywhere}
h1{font-size:1.6rem}h2{font-size:1.25rem;margin-top:2.2rem;border-bottom:1px solid #ddd}
table{border-collapse:collapse;font-size:.88rem;margin:.6rem 0}
td,th{padding:.16rem .6rem;text-align:right;border-bottom:1px solid #eee;white-space:nowrap}
td:first-child,th:first-child{text-align:left}img{max-width:100%}
.warning{background:#fff4d6;border-left:4px solid #e0a800;padding:.4rem .8rem;margin:.4rem 0}
.note{color:#666;font-size:.88rem}.wide{overflow-x:auto}
@media(max-width:40rem){.wide img{max-width:none}}
"""


def as_page(results: Results) -> str:
    """Return the whole page; every text in it is escaped."""
    result = results.result
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width'>",
        "<meta http-equiv='Content-Security-Policy' "
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">",
        f"<title>Evaluation of {escape(result.model)}</title><style>{_CSS}</style></head><body>",
        f"<h1>Evaluation of {escape(result.model)}</h1>",
        f"<p class='note'>Read with {escape(result.reads)}. Intervals: 95 % over "
        f"{results.bootstrap:,} resamplings of the prompts. Baselines read no text; they and the "
        "model beside them have ties at one half.</p>",
        *(f"<p class='warning'>{escape(one)}</p>" for one in results.warnings),
        "<h2>Groups</h2>",
        _groups(result),
        "<h2>Suites</h2>",
        _picture(plots.headlines(results), "headline of each suite with baselines"),
        *(_suite(suite) for suite in result.suites),
        *(_compared(results) if results.compared else ()),
        *(_checkpoints(results) if len(results.checkpoints) > 1 else ()),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _groups(result: ModelResult) -> str:
    known = any(group.noise_ceiling is not None for group in result.groups)
    more = ["noise ceiling"] if known else []
    rows = [["group", "suites", "model", *more, "longer", "style", "chance"]]
    for group in result.groups:
        rows.append(
            [
                group.group,
                ", ".join(group.suites),
                _span(Estimate(group.value, group.low, group.high)),
                *(["–" if group.noise_ceiling is None else _span(group.noise_ceiling)] * known),
                *(percent(group.baselines[name].value) for name in ("longer", "style", "chance")),
            ]
        )
    return _table(rows)


def _suite(suite: SuiteResult) -> str:
    baselines = list(suite.headline.baselines)
    known = has_ceiling(suite)
    more = ["noise ceiling"] if known else []
    rows = [["", "n", "as published", "model, ties ½", *more, *baselines]]
    for one in suite.figures:
        rows.append(
            [
                one.name,
                f"{one.count:,}",
                percent(one.value),
                _span(one.with_ties_half),
                *([ceiling_span(one.noise_ceiling)] if known else []),
                *(percent(one.baselines[name].value) for name in baselines),
            ]
        )
    citation = escape(suite.citation.replace("`", ""))
    parts = [
        f"<h2>{escape(suite.title)}</h2><p class='note'>{citation} · "
        f"{suite.comparisons:,} comparisons · {suite.prompts:,} prompts · "
        f"{escape(suite.source)}</p>",
        _picture(plots.subsets(suite), f"figures of {suite.title}"),
        _table(rows),
        *([f"<p class='note'>{escape(CEILING_NOTE)}</p>"] if known else []),
    ]
    if suite.human is not None:
        parts.append(
            "<p>Of what two people agree on, a third one picks "
            f"{percent(suite.human.agreement)} %, the model {percent(suite.human.model)} % "
            f"({suite.human.votes:,} votes).</p>"
        )
    breakdown = [["accuracy, ties ½", "n", "%", *more]]
    for name, figure in suite.breakdown.items():
        if figure.value is not None:
            highest = [ceiling_span(suite.noise_ceilings.get(name))] if known else []
            breakdown.append([name, f"{figure.pairs:,}", percent(figure.value), *highest])
    if len(breakdown) > 1:
        parts.append(_table(breakdown))
    if suite.style is not None:
        style = suite.style
        parts += [
            "<h3>Style</h3>",
            f"<p>Accuracy {_span(style.accuracy)}, under style control "
            f"{_span(style.controlled)} (the model weighs "
            f"{signed(style.model_weight)}), with style taken out of the model's scores "
            f"{_span(style.without_style)}, style alone {_span(style.style_only)}. "
            f"φ(predicted, longer) {signed(style.model_phi)}, φ(preferred, longer) "
            f"{signed(style.label_phi)}.</p>",
            _picture(plots.style_weights(suite), "style weights of labels and model"),
        ]
    found = suite.calibration
    shown = "–" if found.ece is None else f"{found.ece:.3f}"
    after = (
        ""
        if found.ece_with_temperature is None
        else (f", {found.ece_with_temperature:.3f} with a temperature fitted on other prompts")
    )
    parts += [
        f"<h3>Calibration</h3><p>Expected calibration error {shown}{after}.</p>",
        _picture(plots.calibration(suite), "reliability"),
    ]
    if suite.curve is not None:
        parts += ["<h3>Best of k</h3>", _picture(plots.best_of_k(suite), "best of k")]
    return "\n".join(parts)


def _compared(results: Results) -> list[str]:
    parts = ["<h2>Beside other models</h2>"]
    for comparison in results.compared:
        rows = [["suite", "figure", "difference"]]
        for one in comparison.differences:
            rows.append([one.suite, one.figure, _span(one.difference, sign=True)])
        parts += [
            f"<h3>{escape(comparison.result.model)} − {escape(results.result.model)}</h3>",
            f"<p class='note'>Read with {escape(comparison.result.reads)}. Paired by prompt.</p>",
            _table(rows),
        ]
    return parts


def _checkpoints(results: Results) -> list[str]:
    rows = [["suite", "last", "mean of the last", "noise", "noise of means", "signal / noise"]]
    for one in results.stability:
        ratio = "–" if one.ratio is None else f"{one.ratio:.1f}"
        rows.append(
            [
                one.suite,
                percent(one.last),
                percent(one.mean),
                share(one.noise),
                share(one.noise_of_means),
                ratio,
            ]
        )
    return [
        "<h2>Over training</h2>",
        _picture(plots.over_training(results.checkpoints), "headlines over checkpoints"),
        _table(rows),
    ]


def _picture(svg: str, alt: str) -> str:
    data = base64.b64encode(svg.encode()).decode()
    image = f"<img alt='{escape(alt, quote=True)}' src='data:image/svg+xml;base64,{data}'>"
    return f"<div class='wide'>{image}</div>"


def _table(rows: list[list[str]]) -> str:
    head, *body = rows
    lines = ["".join(f"<th>{escape(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in body]
    return f"<div class='wide'><table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table></div>"


def _span(found: Estimate, *, sign: bool = False) -> str:
    form = "+.1f" if sign else ".1f"
    value, low, high = (100 * one for one in (found.value, found.low, found.high))
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"
