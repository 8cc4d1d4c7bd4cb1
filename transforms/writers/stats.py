"""Counters over output rows that add up over shards: the material of report and card."""

import functools
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.audit import Duplicate, Rejected
from schemas.noise_ceiling import CeilingSums, ceiling_sums
from schemas.pair import SPLITS
from schemas.post import WITHOUT_LICENSE

MARGIN_EDGES = (0, 1, 2, 3, 6, 11, 26, 101)
"""Lower edges of the margin histogram; the last bin is open."""

LENGTH_EDGES = (0, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000)
"""Lower edges of the length histograms, characters; the last bin is open."""

SIMILARITY_EDGES = (0.0, 0.5, 0.8, 0.85, 0.9, 0.95, 1.0)
"""Lower edges of the histogram of duplicates' similarity."""

CEILING_SUMS = ("pairs", "certain", "millionths")
"""Sums that the noise ceiling of a split follows from, as ``ceiling:SPLIT:SUM``."""

UNLICENSED = "unlicensed"
"""Figure that counts, by ``SOURCE SITE``, the pairs with a text that may not be published."""


def pair_stats(table: pa.Table) -> Counter[str]:
    """Count pairs by source, site, language, licence, margin, confidence, lengths and biases.

    Keys are ``<figure>:<value>``. Confidence is in ten bins of equal width named by their
    lower edge.
    """
    stats: Counter[str] = Counter(pairs=table.num_rows)
    for column, figure in (("source", "source"), ("site", "site"), ("language", "language")):
        stats.update(_value_counts(table[column], figure))
    for column in ("prompt_license", "chosen_license", "rejected_license"):
        stats.update(_value_counts(table[column], "license"))
    stats.update(_value_counts(pc.list_flatten(table["context_licenses"]), "license"))
    stats.update(_unlicensed(table))
    turns = pc.list_value_length(table["context_ids"])
    stats["multi_turn"] = pc.sum(pc.greater(turns, 0)).as_py() or 0
    stats.update(_histogram(table["vote_margin"].to_numpy(), MARGIN_EDGES, "margin"))
    tenths = np.minimum((table["confidence"].to_numpy() * 10).astype(np.int64), 9)
    stats.update({f"confidence:{k / 10}": int(n) for k, n in enumerate(np.bincount(tenths)) if n})
    for split in pc.unique(table["split"]).to_pylist():
        sums = ceiling_sums(table.filter(pc.equal(table["split"], split))["confidence"].to_numpy())
        stats.update({f"ceiling:{split}:{name}": getattr(sums, name) for name in CEILING_SUMS})
    lengths = {
        column: pc.utf8_length(table[column]).to_numpy()
        for column in ("prompt", "chosen", "rejected")
    }
    for column, values in lengths.items():
        stats.update(_histogram(values, LENGTH_EDGES, f"{column}_chars"))
        stats[f"{column}_chars_total"] = int(values.sum())
    stats["longer_wins"] = int((lengths["chosen"] > lengths["rejected"]).sum())
    stats["shorter_wins"] = int((lengths["chosen"] < lengths["rejected"]).sum())
    chosen_at = table["chosen_created_at"].cast(pa.int64()).to_numpy()
    rejected_at = table["rejected_created_at"].cast(pa.int64()).to_numpy()
    stats["earlier_wins"] = int((chosen_at < rejected_at).sum())
    stats["later_wins"] = int((chosen_at > rejected_at).sum())
    stats["chosen_is_accepted"] = pc.sum(table["chosen_is_accepted"]).as_py() or 0
    stats["rejected_is_accepted"] = pc.sum(table["rejected_is_accepted"]).as_py() or 0
    windows = table.select(["window_chosen_score", "window_rejected_score"]).drop_null()
    difference = windows[0].to_numpy() - windows[1].to_numpy()
    stats["window:agrees"] = int((difference > 0).sum())
    stats["window:disagrees"] = int((difference < 0).sum())
    stats["window:tied"] = int((difference == 0).sum())
    return +stats


def noise_ceilings(stats: Counter[str]) -> dict[str, float | None]:
    """Return the noise ceiling of every split that has pairs, from the sums of :func:`pair_stats`.

    Without its error: pairs of a thread can be in two parts that are counted apart.
    """
    return {
        split: CeilingSums(**{name: stats[f"ceiling:{split}:{name}"] for name in CEILING_SUMS})
        .ceiling()
        .accuracy
        for split in SPLITS
        if stats[f"ceiling:{split}:pairs"]
    }


def duplicate_stats(rows: Iterable[Duplicate]) -> Counter[str]:
    """Count duplicates by rule and similarity."""
    rows = list(rows)
    stats = Counter(f"duplicate:{row.rule.value}" for row in rows)
    similarity = np.array([row.similarity for row in rows])
    stats.update(_histogram(similarity, SIMILARITY_EDGES, "similarity"))
    return stats


def rejected_stats(rows: Iterable[Rejected]) -> Counter[str]:
    """Count rejects by kind of record, stage and reason."""
    return Counter(f"rejected:{row.record}:{row.stage.value}:{row.reason.value}" for row in rows)


def _unlicensed(table: pa.Table) -> Counter[str]:
    """Count the pairs with a text whose licence does not allow to publish it."""
    without = pa.array(WITHOUT_LICENSE)
    masks = [
        pc.is_in(table[column], value_set=without)
        for column in ("prompt_license", "chosen_license", "rejected_license")
    ]
    # A row is named once for each licence of its context, so that the lists need no loop.
    contexts = table["context_licenses"].combine_chunks()
    named = pc.list_parent_indices(contexts)
    bad = pc.filter(named, pc.is_in(pc.list_flatten(contexts), value_set=without))
    rows = pa.array(np.arange(table.num_rows, dtype=np.int64))
    found = table.filter(functools.reduce(pc.or_, [*masks, pc.is_in(rows, value_set=bad)]))
    names = zip(found["source"].to_pylist(), found["site"].to_pylist(), strict=True)
    return Counter(f"{UNLICENSED}:{source} {site}" for source, site in names)


def _value_counts(column: pa.ChunkedArray, figure: str) -> dict[str, int]:
    counts = pc.value_counts(column).to_pylist()
    return {f"{figure}:{item['values']}": item["counts"] for item in counts}


def _histogram(
    values: Any, edges: tuple[int, ...] | tuple[float, ...], figure: str
) -> dict[str, int]:
    counts, _ = np.histogram(values, bins=[*edges, np.inf])
    return {f"{figure}:{edge}": int(n) for edge, n in zip(edges, counts, strict=True) if n}


def bin_labels(edges: tuple[int, ...]) -> list[str]:
    """Readable names of histogram bins, e.g. ``3–5`` and ``101+``."""
    labels = [f"{low}–{high - 1}" if high - low > 1 else f"{low}" for low, high in pairwise(edges)]
    return [*labels, f"{edges[-1]}+"]
