"""Points with intervals, a line each, as SVG that the page holds."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from schemas.ablation import Span

WIDTH, LABEL, LINE = 470, 150, 22
INK, FOUND, GREY = "#1f4e79", "#bf616a", "#999"


class Row(NamedTuple):
    """One line."""

    name: str
    value: Span
    strong: bool = False
    """Drawn in the colour of what was found."""


def dots(rows: Sequence[Row], lines: Sequence[tuple[str, float]], axis: str) -> str:
    """Draw rows in percent, with upright lines at some values, each with its name."""
    ends = [end for row in rows for end in (row.value.low, row.value.high)]
    ends += [value for _, value in lines]
    low, high = 100 * min(ends), 100 * max(ends)
    step = _step(high - low)
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    high = max(high, low + step)
    bottom = LINE * len(rows) + 24

    def x(percent: float) -> float:
        return LABEL + (WIDTH - LABEL - 20) * (percent - low) / (high - low)

    parts = []
    for number in range(round((high - low) / step) + 1):
        tick = low + number * step
        parts.append(_upright(x(tick), 18, bottom, "#e5e5e5"))
        parts.append(_text(x(tick), bottom + 14, f"{tick:g}", "middle", "#666"))
    for place, (name, value) in enumerate(lines):
        parts.append(_upright(x(100 * value), 18, bottom, GREY, dashed=True))
        parts.append(_text(x(100 * value), 8 + 9 * (place % 2), name, "middle", "#666", 9))
    for place, row in enumerate(rows):
        y = 30 + LINE * place
        colour = FOUND if row.strong else INK
        ends_of = [x(100 * end) for end in (row.value.low, row.value.high)]
        said = f"{row.name}: {100 * row.value.value:.1f}"
        said += f" [{100 * row.value.low:.1f}, {100 * row.value.high:.1f}]"
        parts.append(_text(0, y + 4, row.name, "start", "#222", 12))
        parts.append(
            f"<g><title>{escape(said)}</title><line x1='{ends_of[0]:.1f}' x2='{ends_of[1]:.1f}' "
            f"y1='{y}' y2='{y}' stroke='{colour}' stroke-width='2' opacity='.6'/>"
            f"<circle cx='{x(100 * row.value.value):.1f}' cy='{y}' r='4.5' fill='{colour}'/></g>"
        )
    parts.append(_text(LABEL + (WIDTH - LABEL) / 2, bottom + 30, axis, "middle", "#222", 11))
    return (
        f"<svg viewBox='0 0 {WIDTH} {bottom + 36}' width='{WIDTH}' role='img' "
        f"aria-label='{escape(axis, quote=True)}' font-family='system-ui,sans-serif'>"
        f"{''.join(parts)}</svg>"
    )


def _step(span: float) -> float:
    """A round distance between ticks, about five of them."""
    raw = max(span, 1e-6) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    return power * next(factor for factor in (1, 2, 5, 10) if factor * power >= raw)


def _upright(x: float, top: float, bottom: float, colour: str, *, dashed: bool = False) -> str:
    dash = " stroke-dasharray='3 3'" if dashed else ""
    return f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{top}' y2='{bottom}' stroke='{colour}'{dash}/>"


def _text(x: float, y: float, text: str, anchor: str, colour: str, size: int = 10) -> str:
    return (
        f"<text x='{x:.1f}' y='{y}' text-anchor='{anchor}' font-size='{size}' fill='{colour}'>"
        f"{escape(text)}</text>"
    )
