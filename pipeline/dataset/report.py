"""The figures of a run, for people: ``report.json`` and the funnel in the terminal."""

from collections import Counter
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from pipeline.console.text import printable
from schemas.audit import Reason
from schemas.manifest import POSTS_REPAIRED, Manifest
from transforms.writers.stats import (
    LENGTH_EDGES,
    MARGIN_EDGES,
    SIMILARITY_EDGES,
    bin_labels,
    noise_ceilings,
)

REPORT_VERSION = "1.2.0"


SHOWN_BENCHMARKS = 5


def make_report(manifest: Manifest, stats: Counter[str]) -> dict[str, Any]:
    """Build ``report.json``: the funnel and the distributions over pairs and duplicates."""
    accounting = manifest.accounting
    pairs = stats["pairs"]
    return {
        "report_version": REPORT_VERSION,
        "posts": {
            "read": accounting.posts_read,
            "kept": accounting.posts_kept,
            "duplicates": accounting.duplicates,
            "rejected": accounting.rejected,
        },
        "funnel": [
            {
                "stage": stage.stage,
                "entered": stage.entered,
                "left": stage.left,
                "duplicates": stage.duplicates,
                "rejected": stage.rejected,
            }
            for stage in accounting.stages
        ],
        "pairs": {"total": pairs, **accounting.pairs},
        "threads": {"total": sum(accounting.threads.values()), **accounting.threads},
        "pairs_by_source": _by_value(stats, "source"),
        "pairs_by_site": _by_value(stats, "site"),
        "pairs_by_language": _by_value(stats, "language"),
        "texts_by_license": _by_value(stats, "license"),
        "multi_turn_pairs": stats["multi_turn"],
        "margin": _histogram(stats, "margin", MARGIN_EDGES),
        "confidence": {
            f"{k / 10:.1f}–{(k + 1) / 10:.1f}": stats[f"confidence:{k / 10}"] for k in range(10)
        },
        "noise_ceiling": noise_ceilings(stats),
        "characters": {
            name: _histogram(stats, f"{name}_chars", LENGTH_EDGES)
            for name in ("prompt", "chosen", "rejected")
        },
        "mean_characters": {
            name: round(stats[f"{name}_chars_total"] / pairs, 1) if pairs else None
            for name in ("prompt", "chosen", "rejected")
        },
        "bias": {
            "earlier_wins": stats["earlier_wins"],
            "later_wins": stats["later_wins"],
            "longer_wins": stats["longer_wins"],
            "shorter_wins": stats["shorter_wins"],
            "chosen_is_accepted": stats["chosen_is_accepted"],
            "rejected_is_accepted": stats["rejected_is_accepted"],
        },
        "vote_model": None
        if manifest.vote_model is None
        else msgspec.to_builtins(manifest.vote_model),
        "window_votes": {name: stats[f"window:{name}"] for name in ("agrees", "disagrees", "tied")},
        "duplicates_by_rule": _by_value(stats, "duplicate"),
        "duplicate_similarity": {
            str(edge): stats[f"similarity:{edge}"] for edge in SIMILARITY_EDGES
        },
        "other_records": accounting.other_records,
    }


def _by_value(stats: Counter[str], figure: str) -> dict[str, int]:
    found = {
        key.removeprefix(f"{figure}:"): amount
        for key, amount in stats.items()
        if key.startswith(f"{figure}:")
    }
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _histogram(stats: Counter[str], figure: str, edges: tuple[int, ...]) -> dict[str, int]:
    return {
        label: stats[f"{figure}:{edge}"]
        for edge, label in zip(edges, bin_labels(edges), strict=True)
    }


def percentage(part: int, *others: int) -> str:
    """Percentage of ``part`` in the sum, or an en dash when there is nothing."""
    total = part + sum(others)
    return f"{100 * part / total:.1f} %" if total else "–"


def print_funnel(manifest: Manifest, report: dict[str, Any], console: Console) -> None:
    """Print where the posts went, and what came out."""
    accounting = manifest.accounting
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage")
    table.add_column("posts in", justify="right")
    table.add_column("out", justify="right")
    table.add_column("dropped (reason)")
    for stage in accounting.stages:
        gone = [f"{reason} {count:,}" for reason, count in stage.rejected.items()]
        if stage.duplicates:
            gone.insert(0, f"duplicates {stage.duplicates:,}")
        table.add_row(stage.stage, f"{stage.entered:,}", f"{stage.left:,}", ", ".join(gone) or "–")
    console.print(table)
    pairs = ", ".join(f"{split} {count:,}" for split, count in accounting.pairs.items())
    console.print(
        f"\n{accounting.posts_read:,} posts read = {accounting.posts_kept:,} kept + "
        f"{accounting.duplicates:,} duplicates + {accounting.rejected:,} rejected"
    )
    bias = report["bias"]
    console.print(
        f"{report['pairs']['total']:,} pairs ({pairs or 'none'}) from "
        f"{report['threads']['total']:,} threads; "
        f"the earlier response wins {percentage(bias['earlier_wins'], bias['later_wins'])}, "
        f"the longer {percentage(bias['longer_wins'], bias['shorter_wins'])}"
    )


def dataset_warnings(manifest: Manifest) -> list[str]:
    """Lines about inputs that were not used, only in part, or repaired."""
    lines = []
    broken = 0
    for key, amount in manifest.accounting.other_records.items():
        if key == POSTS_REPAIRED:
            posts = "post was" if amount == 1 else "posts were"
            lines.append(
                f"{amount:,} {posts} repaired: characters that XML forbids were dropped, and "
                "characters written in two halves joined"
            )
        if key.startswith("rejected:"):
            _, record, _, reason = key.split(":")
            if record != "file":
                lines.append(f"rejected: {amount:,} {record} records, {reason}")
            elif reason == Reason.TRUNCATED_FILE:
                files = "file breaks" if amount == 1 else "files break"
                lines.append(
                    f"{amount:,} input {files} off; what came before is used "
                    "(the rejected table, reason truncated_file, names each)"
                )
            else:
                broken += amount
    # Files that were excluded from the start are named below; these failed when they were read.
    broken -= sum(not item.used for item in manifest.inputs)
    if broken > 0:
        files, them = ("file", "it") if broken == 1 else ("files", "them")
        lines.append(f"{broken:,} input {files} cannot be used; the rejected table names {them}")
    lines += decontamination(manifest)
    for item in manifest.inputs:
        if item.note:
            what = "note" if item.used else "not used"
            name = f"{item.site}/{item.name}" if item.site else item.name
            lines.append(f"{what}: {printable(name)}: {printable(item.note)}")
    if manifest.not_publishable_because:
        names = [reason.partition(":")[0] for reason in manifest.not_publishable_because]
        lines.append(
            f"not to be published: no licence is known for texts of {printable(', '.join(names))}; "
            "see --ids-only and --license"
        )
    return lines


def undated_labels(manifest: Manifest, report: dict[str, Any]) -> list[str]:
    """Say for how many pairs ``--votes debiased`` had no dates to correct by; nothing for none."""
    total = report["pairs"]["total"]
    undated = total - sum(report["window_votes"].values())
    if manifest.recipe.get("votes") != "debiased" or not undated:
        return []
    return [
        f"{undated:,} of {total:,} pairs have no dated votes: --votes debiased corrects nothing "
        "there, and their labels are those of plain counts (docs/vote_model.md, Without dates)"
    ]


def decontamination(manifest: Manifest) -> list[str]:
    """Say what ``--decontaminate`` compared and found; nothing where it was not asked for."""
    names = [printable(item.name) for item in manifest.inputs if item.kind == "decontaminate"]
    if not names:
        return []
    posts = sum(stage.rejected.get(Reason.CONTAMINATED, 0) for stage in manifest.accounting.stages)
    shown = ", ".join(names[:SHOWN_BENCHMARKS])
    if len(names) > SHOWN_BENCHMARKS:
        shown += f" and {len(names) - SHOWN_BENCHMARKS} more"
    return [
        f"compared with the texts of {shown}: {posts:,} posts share text with them, and their "
        "threads were excluded"
        if posts
        else f"compared with the texts of {shown}: no post shares text with them"
    ]
