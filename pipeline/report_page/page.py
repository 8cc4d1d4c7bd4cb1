"""The page itself: figures as HTML, rows as JSON, script and style allowed by their hashes."""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from pipeline.console.text import printable
from pipeline.dataset.run_metadata import REPORT_MARK, StepTime
from pipeline.report_page import charts
from pipeline.report_page.figures import DuplicateCluster, ReportFigures, VoteBias
from pipeline.report_page.intervals import Proportion
from pipeline.report_page.rows import as_json
from pipeline.report_page.votes import calibration_error
from schemas.audit import REASON_DOCS, Reason
from schemas.manifest import Manifest
from schemas.pair import SPLITS

Report = Mapping[str, Any]

INTERVALS = (
    "Intervals: 95 %, Wilson at the effective number of pairs, because pairs of one thread are "
    "not independent."
)


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
    """Return the whole page; every text in it is escaped or sanitised."""
    script, style = _asset("script.js"), _asset("style.css")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    title = escape(printable(name))
    sections = (
        _tiles(manifest, report, figures),
        _funnel(manifest),
        _bias(figures, modes, sampled),
        _confidence(report, figures, calibration, sampled),
        _shape(report),
        _origin(report),
        _duplicates(report, figures, rows),
        _splits(manifest, figures),
        _licenses(figures),
        _times(steps),
        _recipe(manifest),
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="referrer" content="no-referrer">
{REPORT_MARK}
<title>{title}: preference pairs</title><style>{style}</style></head><body>
<header><h1>{title} <small>preference pairs by forumprefs</small></h1>
<nav aria-label="views"><button id="to-figures" aria-pressed="true">Figures</button>
<button id="to-browse" aria-pressed="false">Browse rows</button>
<button id="theme" aria-label="light or dark">◐</button></nav></header>
<main id="figures">{"".join(sections)}</main>
<main id="browse" hidden>{_BROWSER}</main>
<script type="application/json" id="rows">{as_json(rows)}</script>
<script>{script}</script>
<noscript><p class="warning">The browser of rows needs JavaScript.</p></noscript>
</body></html>
"""


def _asset(name: str) -> str:
    return (files("pipeline.report_page") / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _tiles(manifest: Manifest, report: Report, figures: ReportFigures) -> str:
    accounting = manifest.accounting
    labelled = figures.bias[0]
    parts = [
        (f"{report['pairs']['total']:,}", "pairs"),
        (f"{report['threads']['total']:,}", "threads with a pair"),
        (f"{accounting.posts_read:,}", "posts read"),
        (_percent_of(accounting.posts_kept, accounting.posts_read), "of them are in a pair"),
        (_percent(labelled.earlier.value), "of pairs: the earlier response wins"),
        (_percent(labelled.longer.value), "of pairs: the longer response wins"),
        (
            "–" if figures.confidence is None else f"{figures.confidence:.2f}",
            "mean confidence of the labels",
        ),
    ]
    tiles = "".join(f"<div class='tile'><b>{a}</b><span>{b}</span></div>" for a, b in parts)
    warnings = "".join(
        f"<p class='warning'>Not to be published: {escape(printable(reason))}</p>"
        for reason in manifest.not_publishable_because
    )
    found = [leak for leak in figures.overlaps if leak.in_two_splits]
    if found:
        said = "; ".join(f"{leak.what}: {leak.in_two_splits:,}" for leak in found)
        warnings += f"<p class='warning'>Splits leak, found in two of them: {said}.</p>"
    return f"<div class='tiles'>{tiles}</div>{warnings}"


def _funnel(manifest: Manifest) -> str:
    accounting = manifest.accounting
    most = max(accounting.posts_read, 1)
    body = []
    for stage in accounting.stages:
        gone = dict(sorted(stage.rejected.items(), key=lambda item: -item[1]))
        if stage.duplicates:
            gone = {"duplicates": stage.duplicates, **gone}
        why = " ".join(
            f"<span title='{escape(_reason_text(reason), quote=True)}'>{escape(reason)} "
            f"<b>{count:,}</b></span>"
            for reason, count in gone.items()
        )
        body.append(
            f"<tr><th scope='row'>{escape(stage.stage)}</th><td class='n'>{stage.entered:,}</td>"
            f"<td class='n'>{stage.left:,}</td><td class='bar'><svg viewBox='0 0 100 10' "
            "preserveAspectRatio='none' aria-hidden='true'><rect class='fill' height='10' "
            f"width='{100 * stage.left / most:.2f}'/></svg></td>"
            f"<td class='why'>{why or '–'}</td></tr>"
        )
    notes = "".join(
        f"<tr><td>{escape(key)}</td><td class='n'>{count:,}</td></tr>"
        for key, count in accounting.other_records.items()
    )
    others = (
        f"<details><summary>Other records</summary><div class='wide'><table>{notes}</table></div>"
        "</details>"
        if notes
        else ""
    )
    return (
        "<h2>Where the posts went</h2><div class='wide'><table class='bars funnel'><thead><tr>"
        "<th>stage</th><th class='n'>posts in</th><th class='n'>out</th><th></th>"
        f"<th>what left, and why</th></tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        f"<p class='note'>{accounting.posts_read:,} posts read = {accounting.posts_kept:,} kept + "
        f"{accounting.duplicates:,} duplicates + {accounting.rejected:,} rejected. Duplicates and "
        f"rejects can be browsed with their reasons.</p>{others}"
    )


def _reason_text(reason: str) -> str:
    known = {item.value for item in Reason}
    return REASON_DOCS[Reason(reason)] if reason in known else "says the same as another post"


def _bias(figures: ReportFigures, modes: Sequence[VoteBias], sampled: int) -> str:
    parts = [
        "<h2>Who wins</h2><div class='grid'>",
        f"<div><h3>The earlier response wins</h3>{_shares(figures.bias, 'earlier')}</div>",
        f"<div><h3>The longer response wins</h3>{_shares(figures.bias, 'longer')}</div>",
    ]
    if modes:
        parts += [
            "<div><h3>The earlier one, by vote mode</h3>",
            _shares(modes, "earlier"),
            "</div><div><h3>The longer one, by vote mode</h3>",
            _shares(modes, "longer"),
            "</div>",
        ]
    parts.append("</div>")
    text = f"{INTERVALS} Above, the pairs of this dataset."
    if modes:
        text += (
            f" By vote mode: every two responses to the same post in a random sample of "
            f"{sampled:,} threads as they were read, before filters and limits, ties left out. "
            "later_wins takes only pairs whose later response leads."
        )
    else:
        text += " Each vote mode apart needs the sample of threads that curate keeps beside DIR."
    return "".join([*parts, f"<p class='note'>{text}</p>"])


def _shares(rows: Iterable[VoteBias], side: str) -> str:
    names = {"same pairs, votes since both existed": "votes since both"}
    shown = [
        (names.get(row.votes, row.votes.replace("as labelled", "label")), getattr(row, side))
        for row in rows
    ]
    return charts.shares(shown)


def _confidence(
    report: Report,
    figures: ReportFigures,
    calibration: Sequence[tuple[float, Proportion]],
    sampled: int,
) -> str:
    histogram = {name.split("–")[0]: count for name, count in report["confidence"].items()}
    parts = [
        "<h2>Confidence</h2><div class='grid'><div><h3>Pairs by confidence</h3>",
        charts.columns(histogram, "confidence, from"),
        "<p class='note'>The probability, from the votes alone, that later votes put the chosen "
        "response ahead. Below 0.5 the votes point against the label. Its mean is the share of "
        "labels that later votes would confirm, if it is right.</p></div><div>",
        "<h3>Is it right?</h3>",
    ]
    if calibration:
        total = sum(one.total for _, one in calibration)
        parts += [
            charts.reliability(calibration),
            f"<p class='note'>{total:,} cases from a random sample of {sampled:,} threads: votes "
            "up to five cut dates per site predict who leads in the votes after them. Mean error "
            f"{calibration_error(calibration):.3f} (ECE, five bins). All responses of the "
            "sample are compared, not only the pairs of this dataset; later voters saw the "
            "earlier votes, so this checks how settled the crowd is, not quality.</p>",
        ]
    elif figures.agreement:
        body = "".join(
            f"<tr><td>{name}</td><td class='n'>{said:.3f}</td><td class='n'>{_interval(one)}</td>"
            f"<td class='n'>{one.total:,}</td></tr>"
            for name, said, one in figures.agreement
        )
        parts += [
            "<table><thead><tr><th>confidence</th><th class='n'>mean</th>"
            f"<th class='n'>window votes agree, %</th><th class='n'>pairs</th></tr></thead>"
            f"<tbody>{body}</tbody></table>",
            "<p class='note'>No check on votes held out: that needs the dates of single votes, "
            "which only the run had. These are votes cast since both responses existed, of which "
            "confidence is made, too: agreement shows consistency, not calibration.</p>",
        ]
    else:
        parts.append(
            "<p class='note'>Votes of this dataset have no dates, so none can be held out to check "
            "confidence. How it did where votes are dated: docs/labels.md.</p>"
        )
    return "".join([*parts, "</div></div>"])


def _shape(report: Report) -> str:
    lengths = report["characters"]
    return "".join(
        [
            "<h2>Votes and lengths</h2><div class='grid'>",
            f"<div><h3>Margin of votes</h3>{charts.columns(report['margin'], 'margin')}</div>",
            *(
                f"<div><h3>Length of the {text}{' response' if text != 'prompt' else ''}</h3>"
                f"{charts.columns(_compact(lengths[text]), 'characters, from')}</div>"
                for text in ("prompt", "chosen", "rejected")
            ),
            "</div>",
        ]
    )


def _compact(counts: Mapping[str, int]) -> dict[str, int]:
    """Histogram labels short enough to stand below a column."""
    short = {}
    for name, count in counts.items():
        low = int(name.split("–")[0].rstrip("+"))
        label = f"{low // 1000}k" if low >= 1000 else str(low)
        short[label] = count
    return short


def _origin(report: Report) -> str:
    return (
        "<h2>Where from</h2><div class='grid'>"
        f"<div><h3>Sites</h3>{charts.bars(_clean(report['pairs_by_site']), 'pairs')}</div>"
        f"<div><h3>Languages of prompts</h3>"
        f"{charts.bars(_clean(report['pairs_by_language']), 'pairs')}</div>"
        f"<div><h3>Kinds of forum</h3>{charts.bars(report['pairs_by_source'], 'pairs')}</div></div>"
    )


def _clean(counts: Mapping[str, int]) -> dict[str, int]:
    return {printable(name): count for name, count in counts.items()}


def _duplicates(report: Report, figures: ReportFigures, rows: Mapping[str, Any]) -> str:
    if not figures.clusters:
        return "<h2>Duplicates</h2><p class='note'>No post was removed as a duplicate.</p>"
    titles = {row["kept"]: row["title"] for row in rows["duplicates"]}
    body = "".join(_cluster_row(cluster, titles) for cluster in figures.clusters)
    return (
        "<h2>Duplicates</h2><div class='grid'>"
        f"<div><h3>How recognised</h3>{charts.bars(report['duplicates_by_rule'], 'posts')}</div>"
        f"<div><h3>Sizes of clusters</h3>{charts.bars(figures.cluster_sizes, 'clusters')}</div>"
        "</div><h3>Largest clusters</h3><div class='wide'><table><thead><tr><th>kept</th>"
        "<th class='n'>removed</th><th>for example</th></tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _cluster_row(cluster: DuplicateCluster, titles: Mapping[str, str]) -> str:
    examples = ", ".join(
        f"<code class='id'>{escape(printable(name))}</code> {similarity:.2f} {escape(rule)}"
        for name, similarity, rule in cluster.examples
    )
    title = titles.get(cluster.kept, "")
    shown = f"<br><bdi>{escape(title)}</bdi>" if title else ""
    return (
        f"<tr><td><code class='id'>{escape(printable(cluster.kept))}</code>{shown}</td>"
        f"<td class='n'>{cluster.members:,}</td><td>{examples}</td></tr>"
    )


def _splits(manifest: Manifest, figures: ReportFigures) -> str:
    pairs, threads = manifest.accounting.pairs, manifest.accounting.threads
    total = max(sum(pairs.values()), 1)
    body = "".join(
        f"<tr><td>{split}</td><td class='n'>{pairs.get(split, 0):,}</td>"
        f"<td class='n'>{100 * pairs.get(split, 0) / total:.1f} %</td>"
        f"<td class='n'>{threads.get(split, 0):,}</td></tr>"
        for split in SPLITS
    )
    checks = "".join(
        f"<tr><td>{leak.what}</td><td class='n'>{leak.distinct:,}</td>"
        + (
            "<td class='ok'>none ✓</td></tr>"
            if not leak.in_two_splits
            else f"<td class='fault'>{leak.in_two_splits:,}</td></tr>"
        )
        for leak in figures.overlaps
    )
    return (
        "<h2>Splits</h2><div class='grid'><div><table><thead><tr><th>split</th><th class='n'>pairs"
        "</th><th class='n'>share</th><th class='n'>threads</th></tr></thead>"
        f"<tbody>{body}</tbody></table></div><div><table><thead><tr><th>leak check</th>"
        f"<th class='n'>distinct</th><th>in two splits</th></tr></thead><tbody>{checks}</tbody>"
        "</table></div></div><p class='note'>Counted anew over all rows. Threads whose questions "
        "are near-duplicates, or linked as such, are put in one split.</p>"
    )


def _licenses(figures: ReportFigures) -> str:
    texts = ("prompt", "chosen", "rejected", "context")
    body = "".join(
        f"<tr><td>{escape(printable(name))}</td>"
        + "".join(f"<td class='n'>{counts[text]:,}</td>" for text in texts)
        + "</tr>"
        for name, counts in figures.licenses.items()
    )
    head = "".join(f"<th class='n'>{text}</th>" for text in texts)
    return (
        "<h2>Licences</h2><div class='wide'><table><thead><tr><th>licence of the text</th>"
        f"{head}</tr></thead><tbody>{body}</tbody></table></div><p class='note'>By row: a text in "
        "several pairs counts in each. NOASSERTION: none is known.</p>"
    )


def _times(steps: Sequence[StepTime]) -> str:
    if not steps:
        return (
            "<h2>Time</h2><p class='note'>Not known: timings stay on the machine where curate ran, "
            "and other runners than the local one keep their own.</p>"
        )
    end = max(step.ended for step in steps) or 1.0
    body = "".join(
        f"<tr><th scope='row'>{escape(step.step)}</th><td class='bar'><svg viewBox='0 0 100 10' "
        "preserveAspectRatio='none' aria-hidden='true'><rect class='fill' height='10' "
        f"x='{100 * step.began / end:.2f}' "
        f"width='{max(100 * (step.ended - step.began) / end, 0.6):.2f}'/></svg></td>"
        f"<td class='n'>{step.began:.1f}–{step.ended:.1f} s</td></tr>"
        for step in sorted(steps, key=lambda step: (step.began, step.ended))
    )
    return (
        f"<h2>Time</h2><table class='bars'><tbody>{body}</tbody></table><p class='note'>When each "
        "stage was first and last seen to move, since the run began, to about half a second. "
        "Stages overlap: rows flow through several at once.</p>"
    )


def _recipe(manifest: Manifest) -> str:
    body = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(printable(str(value)))}</td></tr>"
        for name, value in manifest.recipe.items()
    )
    inputs = "".join(
        f"<tr><td>{escape(printable(item.site))}</td><td>{escape(printable(item.name))}</td>"
        f"<td class='n'>{item.bytes:,}</td><td>{'used' if item.used else 'not used'} "
        f"{escape(printable(item.note))}</td></tr>"
        for item in manifest.inputs
    )
    versions = ", ".join(f"{name} {found}" for name, found in manifest.versions.items())
    return (
        "<h2>Made from</h2><div class='wide'><table><thead><tr><th>site</th><th>file</th>"
        f"<th class='n'>bytes</th><th></th></tr></thead><tbody>{inputs}</tbody></table></div>"
        f"<details><summary>Recipe</summary><div class='wide'><table>{body}</table></div></details>"
        f"<p class='note'>{escape(versions)}</p>"
    )


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _percent_of(part: int, total: int) -> str:
    return _percent(part / total if total else None)


def _interval(one: Proportion) -> str:
    if one.value is None:
        return "–"
    return f"{100 * one.value:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]"


def _range(name: str, label: str, step: str) -> str:
    return (
        f"<label id='f-{name}'>{label}<span class='range'>"
        f"<input type='number' step='{step}' id='{name}-min' aria-label='{label}, least' "
        f"placeholder='least'>–<input type='number' step='{step}' id='{name}-max' "
        f"aria-label='{label}, most' placeholder='most'></span></label>"
    )


def _select(name: str, label: str) -> str:
    return f"<label>{label}<select id='f-{name}'><option value=''>all</option></select></label>"


_BROWSER = f"""
<div class="tabs" role="tablist" aria-label="tables">
<button role="tab" id="tab-pairs" aria-selected="true">Pairs</button>
<button role="tab" id="tab-duplicates" aria-selected="false">Duplicates</button>
<button role="tab" id="tab-rejected" aria-selected="false">Rejected</button></div>
<form class="filters" id="filters">
<label class="search">search<input type="search" id="search"
placeholder="words, ids, authors" autocomplete="off"></label>
{_select("site", "site")}{_select("language", "language")}{_select("split", "split")}
{_select("rule", "rule")}{_select("reason", "reason")}
{_range("margin", "margin", "any")}{_range("confidence", "confidence", "any")}
{_range("similarity", "similarity", "any")}
<label>length difference<span class="range"><select id="f-longer"><option value="">any</option>
<option value="chosen">chosen is longer</option>
<option value="rejected">rejected is longer</option>
</select><input type="number" min="0" id="longer-by"
aria-label="by at least so many characters" placeholder="by ≥"></span></label>
<label>order<select id="sort"><option value="">as sampled</option>
<option value="margin" data-tables="pairs">largest margin</option>
<option value="sure" data-tables="pairs">most confident</option>
<option value="unsure" data-tables="pairs">least confident</option>
<option value="longer" data-tables="pairs">chosen longest by</option>
<option value="shorter" data-tables="pairs">chosen shortest by</option>
<option value="alike" data-tables="duplicates">most alike</option></select></label>
<button type="button" id="clear">Clear</button></form>
<p class="note"><span id="found" role="status"></span> <span class="keys">
<kbd>j</kbd> <kbd>k</kbd> next, previous · <kbd>/</kbd> search · <kbd>1</kbd> <kbd>2</kbd>
<kbd>3</kbd> tables · <kbd>f</kbd> figures · <kbd>b</kbd> rows</span></p>
<div class="split"><ul id="list" role="listbox" aria-label="rows found" tabindex="0"></ul>
<div id="detail"><div class="bar-top"><button id="prev">← Previous</button>
<button id="next">Next →</button><code class="id" id="which"></code></div>
<div id="row"></div></div></div>
"""
