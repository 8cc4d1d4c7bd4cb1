"""The figures of a dataset card, all of them from the manifest and the report."""

import html
import re
from typing import Any

from pipeline.dataset.report import percentage
from schemas.manifest import Manifest
from schemas.pair import SPLITS

TEXTS = ("prompt", "chosen", "rejected")

CEILING_NOTE = (
    "Labels that few votes decided are wrong now and then. The noise ceiling is the share of them "
    "that a perfect model agrees with, if their `confidence` is right: read an accuracy beside it.",
    "",
)


def figures_section(manifest: Manifest, report: dict[str, Any]) -> str:
    """Return the section of figures: shares, lengths, and pairs by what they differ in."""
    bias, window = report["bias"], report["window_votes"]
    earlier = percentage(bias["earlier_wins"], bias["later_wins"])
    longer = percentage(bias["longer_wins"], bias["shorter_wins"])
    lines = [
        "## Figures",
        "",
        "| figure | value |",
        "|---|---|",
        f"| the earlier response is chosen | {earlier} |",
        f"| the longer response is chosen | {longer} |",
        f"| votes cast after both existed agree / disagree / are tied | {window['agrees']:,} / "
        f"{window['disagrees']:,} / {window['tied']:,} |",
        "| mean characters of prompt / chosen / rejected | "
        + " / ".join(str(report["mean_characters"][k]) for k in ("prompt", "chosen", "rejected"))
        + " |",
        "",
        *_splits(manifest, report),
        *_lengths(report),
    ]
    for title, key in (
        ("Pairs by site", "pairs_by_site"),
        ("Pairs by language", "pairs_by_language"),
        ("Pairs by margin", "margin"),
        ("Pairs by confidence", "confidence"),
    ):
        rows = [(value, count) for value, count in report[key].items() if count]
        lines += [f"### {title}", "", "| value | pairs |", "|---|---:|"]
        lines += [f"| {markdown_text(value)} | {count:,} |" for value, count in rows[:50]]
        if len(rows) > 50:
            lines.append(f"| {len(rows) - 50} more | {sum(count for _, count in rows[50:]):,} |")
        lines.append("")
    return "\n".join(lines)


def _splits(manifest: Manifest, report: dict[str, Any]) -> list[str]:
    pairs, threads = manifest.accounting.pairs, manifest.accounting.threads
    ceilings = report.get("noise_ceiling", {})  # none in the reports of older releases
    rows = [
        f"| {split} | {pairs[split]:,} | {threads.get(split, 0):,} "
        f"| {_share(ceilings.get(split))} |"
        for split in SPLITS
        if pairs.get(split)
    ]
    header = ["| split | pairs | threads | noise ceiling |", "|---|---:|---:|---:|"]
    return ["### Splits", "", *header, *rows, "", *(CEILING_NOTE if ceilings else ())]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _lengths(report: dict[str, Any]) -> list[str]:
    """Histogram of the lengths, in characters of Markdown."""
    found = report["characters"]
    rows = [
        f"| {label} | " + " | ".join(f"{found[text][label]:,}" for text in TEXTS) + " |"
        for label in found["prompt"]
        if any(found[text][label] for text in TEXTS)
    ]
    header = f"| characters | {' | '.join(TEXTS)} |"
    return ["### Lengths", "", header, "|---|" + "---:|" * len(TEXTS), *rows, ""]


def markdown_text(value: Any) -> str:
    """Escape text from outside for a Markdown table cell."""
    escaped = html.escape(" ".join(str(value).splitlines()), quote=False)
    return re.sub(r"([\\`*_{}\[\]|])", r"\\\1", escaped)
