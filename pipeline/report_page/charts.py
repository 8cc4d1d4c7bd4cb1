"""Plots as small static SVG, coloured by the page's style sheet so that dark mode holds.

Written out here because matplotlib is not part of the core install and paints its own colours.
Every mark has a <title>, which browsers show on hover and screen readers read.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape

from markupsafe import Markup

from pipeline.console.text import printable
from pipeline.report_page.intervals import Proportion

WIDTH = 520
LABEL = 150
LINE = 24


def bars(counts: Mapping[str, int], unit: str, limit: int = 12) -> Markup:
    """Horizontal bars of counts, largest ``limit`` rows in the given order, the rest as one."""
    shown = [(name, count) for name, count in counts.items() if count]
    if len(shown) > limit:
        rest = shown[limit - 1 :]
        more = f"{len(rest)} more"
        shown = [*shown[: limit - 1], (more, sum(count for _, count in rest))]
    if not shown:
        return Markup("<p class='note'>None.</p>")
    total = sum(count for _, count in shown)
    highest = max(count for _, count in shown)
    rows = []
    for name, count in shown:
        size = 100 * count / highest
        part = f"{100 * count / total:.1f} %"
        rows.append(
            f"<tr><th scope='row' dir='auto'>{escape(printable(name))}</th><td class='bar'>"
            f"<svg viewBox='0 0 100 10' preserveAspectRatio='none' aria-hidden='true'>"
            f"<rect class='fill' width='{max(size, 0.6):.2f}' height='10'/></svg></td>"
            f"<td class='n'>{count:,}</td><td class='n dim'>{part}</td></tr>"
        )
    head = f"<tr><th></th><th></th><th class='n'>{escape(unit)}</th><th class='n'>share</th></tr>"
    body = "".join(rows)
    return Markup(f"<table class='bars'><thead>{head}</thead><tbody>{body}</tbody></table>")  # noqa: S704


def columns(counts: Mapping[str, int], axis: str, unit: str = "pairs") -> Markup:
    """Histogram with upright bars and their counts."""
    names = list(counts)
    if not any(counts.values()):
        return Markup("<p class='note'>None.</p>")
    highest = max(counts.values())
    height, base, step = 150, 172, WIDTH / len(names)
    parts = []
    for place, name in enumerate(names):
        size = height * counts[name] / highest
        x = place * step
        parts.append(
            f"<g><title>{escape(name)}: {counts[name]:,} {escape(unit)}</title>"
            f"<rect class='fill' x='{x + 3:.1f}' y='{base - size:.1f}' width='{step - 6:.1f}' "
            f"height='{size:.1f}' rx='2'/>"
            f"<text class='value' x='{x + step / 2:.1f}' y='{base - size - 5:.1f}'>"
            f"{_short(counts[name])}</text>"
            f"<text x='{x + step / 2:.1f}' y='{base + 16}'>{escape(name)}</text></g>"
        )
    parts.append(f"<line class='axis' x1='0' x2='{WIDTH}' y1='{base}' y2='{base}'/>")
    parts.append(f"<text class='name' x='{WIDTH / 2}' y='{base + 36}'>{escape(axis)}</text>")
    return _svg(214, parts, f"histogram of {axis}", "middle")


def shares(rows: Sequence[tuple[str, Proportion]], middle: str = "50 %") -> Markup:
    """Points with 95 % intervals on a percent axis, a line each, with a line at one half."""
    span = WIDTH - LABEL - 60
    parts = []
    bottom = LINE * len(rows) + 8

    def x(value: float) -> float:
        return LABEL + span * value

    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        kind = "middle" if tick == 0.5 else "grid"
        across = f"x1='{x(tick):.1f}' x2='{x(tick):.1f}'"
        parts.append(f"<line class='{kind}' {across} y1='2' y2='{bottom}'/>")
        words = middle if tick == 0.5 else f"{100 * tick:.0f} %"
        parts.append(f"<text class='tick' x='{x(tick):.1f}' y='{bottom + 15}'>{words}</text>")
    for place, (name, one) in enumerate(rows):
        y = LINE * place + 16
        parts.append(f"<text class='label' x='0' y='{y + 4}'>{escape(name)}</text>")
        if one.value is None:
            parts.append(
                f"<text class='label dim' x='{x(0) + 4:.1f}' y='{y + 4}'>no such pair</text>"
            )
            continue
        said = _said(one)
        parts.append(
            f"<g><title>{escape(name)}: {said}</title>"
            f"<line class='span' x1='{x(one.low):.1f}' x2='{x(one.high):.1f}' y1='{y}' y2='{y}'/>"
            f"<circle class='dot' cx='{x(one.value):.1f}' cy='{y}' r='5'/></g>"
            f"<text class='label strong' x='{x(1) + 10:.1f}' y='{y + 4}'>"
            f"{100 * one.value:.1f} %</text>"
        )
    return _svg(bottom + 22, parts, "shares with 95 % intervals")


def reliability(points: Sequence[tuple[float, Proportion]]) -> Markup:
    """Predicted probability against what happened, with the diagonal."""
    left, top, size = 44, 8, 250
    low = 0.4 if all(said >= 0.4 for said, _ in points) else 0.0
    parts = []

    def at(value: float) -> float:
        return size * (value - low) / (1 - low)

    ticks = [low + (1 - low) * k / 4 for k in range(5)]
    under = top + size + 16
    wide = f"x1='{left}' x2='{left + size}'"
    for tick in ticks:
        x, y = left + at(tick), top + size - at(tick)
        parts.append(f"<line class='grid' {wide} y1='{y:.1f}' y2='{y:.1f}'/>")
        parts.append(f"<text class='right' x='{left - 6}' y='{y + 4:.1f}'>{100 * tick:.0f}</text>")
        parts.append(f"<text class='tick' x='{x:.1f}' y='{under}'>{100 * tick:.0f}</text>")
    parts.append(
        f"<line class='middle' x1='{left}' y1='{top + size}' x2='{left + size}' y2='{top}'/>"
    )
    for said, one in points:
        if one.value is None:
            continue
        x = left + at(said)
        lowest, highest = (top + size - at(max(low, v)) for v in (one.low, one.high))
        y = top + size - at(max(low, one.value))
        parts.append(
            f"<g><title>said {100 * said:.1f} %, was {_said(one)}</title>"
            f"<line class='span' x1='{x:.1f}' x2='{x:.1f}' y1='{lowest:.1f}' y2='{highest:.1f}'/>"
            f"<circle class='dot' cx='{x:.1f}' cy='{y:.1f}' r='5'/></g>"
        )
    parts.append(
        f"<text class='tick' x='{left + size / 2}' y='{top + size + 36}'>"
        "confidence at the cut → led in later votes ↑, %</text>"
    )
    return _svg(top + size + 44, parts, "reliability diagram", "square", width=340)


def _said(one: Proportion) -> str:
    value, low, high = (100 * (each or 0.0) for each in one[:3])
    return f"{value:.1f} % [{low:.1f}, {high:.1f}], n = {one.total:,}"


def _short(count: int) -> str:
    if count < 10_000:
        return f"{count:,}" if count else ""
    exponent = min(int(math.log10(count)) // 3, 3)
    return f"{count / 1000**exponent:.3g}{'kMG'[exponent - 1]}"


def _svg(
    height: float, parts: Sequence[str], label: str, kind: str = "", width: int = WIDTH
) -> Markup:
    return Markup(  # noqa: S704
        f"<svg class='plot {kind}' viewBox='0 0 {width} {height:.0f}' role='img' "
        f"aria-label='{escape(label, quote=True)}'>{''.join(parts)}</svg>"
    )
