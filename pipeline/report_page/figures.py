"""What the report says of all rows: read in one pass over the shards, a few columns kept."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.leaks import text_key
from pipeline.report_page.intervals import Proportion, proportion
from schemas.ids import hash63
from schemas.noise_ceiling import NoiseCeiling, ceiling_sums
from schemas.pair import SPLITS

Vector = NDArray[Any]

LARGEST_CLUSTERS = 12


@dataclass(frozen=True)
class VoteBias:
    """How often the earlier and the longer response win where some votes decide."""

    votes: str
    """Whose order it is."""
    earlier: Proportion
    """Of pairs whose responses differ in date and whose votes are not tied."""
    longer: Proportion


@dataclass(frozen=True)
class SplitOverlap:
    """How many distinct threads or texts are in more than one split; 0 is what is promised.

    Texts are equal where `pipeline.dataset.leaks.text_key` is.
    """

    what: str
    distinct: int
    in_two_splits: int


@dataclass(frozen=True)
class DuplicateCluster:
    """A post that is kept, and those that say the same."""

    kept: str
    members: int
    examples: tuple[tuple[str, float, str], ...]
    """(removed id, similarity, rule), most alike first."""


@dataclass(frozen=True)
class ReportFigures:
    """All that is computed from the rows themselves."""

    bias: tuple[VoteBias, ...]
    overlaps: tuple[SplitOverlap, ...]
    agreement: tuple[tuple[str, float, Proportion], ...]
    """(bin of confidence, mean confidence, share whose window votes agree with the label)."""
    confidence: float | None
    """Mean over all pairs."""
    ceilings: dict[str, NoiseCeiling]
    """By split; only those that have pairs."""
    licenses: dict[str, dict[str, int]]
    """{licence: {'prompt': n, 'chosen': n, 'rejected': n, 'context': n}}"""
    clusters: tuple[DuplicateCluster, ...]
    cluster_sizes: dict[str, int]
    reasons: dict[tuple[str, str], int] = field(default_factory=dict)
    """(stage, reason) -> post rows of the rejected table."""


def read_figures(folder: DatasetFolder, votes: str) -> ReportFigures:
    """Read a dataset folder; ``votes`` is the recipe's vote mode. Raises DatasetError.

    Memory: about 150 bytes a pair.
    """
    pairs = _Pairs()
    has_texts = not folder.manifest.ids_only
    columns = [*_COLUMNS, *(("prompt", "chosen", "rejected") if has_texts else ())]
    for batch in folder.read_columns("data", columns, batch_rows=4_096):
        pairs.add(batch, has_texts)
    clusters, sizes = _clusters(folder)
    return ReportFigures(
        bias=pairs.bias(votes),
        overlaps=pairs.overlaps(has_texts),
        agreement=pairs.agreement(),
        confidence=pairs.mean_confidence(),
        ceilings=pairs.ceilings(),
        licenses=pairs.licenses(),
        clusters=clusters,
        cluster_sizes=sizes,
        reasons=_reasons(folder),
    )


_COLUMNS = (
    *("thread_id", "split", "prompt_id", "chosen_id", "rejected_id", "confidence"),
    *("chosen_created_at", "rejected_created_at", "window_chosen_score", "window_rejected_score"),
    *("prompt_license", "chosen_license", "rejected_license", "context_licenses"),
)


class _Pairs:
    """Columns of all pairs, as numbers."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Vector]] = {}
        self._licenses: dict[str, Counter[str]] = {}

    def add(self, batch: pa.RecordBatch, has_texts: bool) -> None:
        add = self._add
        for name in ("thread_id", "prompt_id", "chosen_id", "rejected_id"):
            add(name, _hashes(batch[name]))
        add("split", np.array([SPLITS.index(split) for split in batch["split"].to_pylist()]))
        add("confidence", batch["confidence"].to_numpy(zero_copy_only=False))
        dates = [
            batch[f"{side}_created_at"].cast(pa.int64()).to_numpy(zero_copy_only=False)
            for side in ("chosen", "rejected")
        ]
        # 0 is how a source without dates is written down.
        add("earlier", np.where((dates[0] == 0) | (dates[1] == 0), 0, np.sign(dates[1] - dates[0])))
        window = pc.subtract(batch["window_chosen_score"], batch["window_rejected_score"])
        add("window", window.cast(pa.float64()).to_numpy(zero_copy_only=False))
        if has_texts:
            for name in ("prompt", "chosen", "rejected"):
                add(f"{name}_text", _text_keys(batch[name]))
            lengths = [
                pc.utf8_length(batch[side]).to_numpy(zero_copy_only=False).astype(np.int64)
                for side in ("chosen", "rejected")
            ]
            add("longer", np.sign(lengths[0] - lengths[1]))
        for name in ("prompt", "chosen", "rejected"):
            self._count(name, batch[f"{name}_license"])
        self._count("context", pc.list_flatten(batch["context_licenses"]))

    def _add(self, name: str, values: Vector) -> None:
        self._parts.setdefault(name, []).append(values)

    def _count(self, name: str, column: pa.Array) -> None:
        found = self._licenses.setdefault(name, Counter())
        for item in pc.value_counts(column).to_pylist():
            found[item["values"]] += item["counts"]

    def _all(self, name: str) -> Vector:
        parts = self._parts.get(name)
        return np.concatenate(parts) if parts else np.zeros(0)

    def bias(self, votes: str) -> tuple[VoteBias, ...]:
        threads, earlier, longer = self._all("thread_id"), self._all("earlier"), self._all("longer")
        if not len(longer):
            longer = np.zeros(len(threads))
        window = self._all("window")
        rows = []
        orders = [(f"as labelled ({votes})", np.ones(len(threads)))]
        if np.isfinite(window).any():
            orders.append(("same pairs, votes since both existed", np.nan_to_num(np.sign(window))))
        for name, order in orders:
            found = []
            for side in (earlier, longer):
                keep = (side != 0) & (order != 0)
                found.append(proportion((side * order)[keep] > 0, threads[keep]))
            rows.append(VoteBias(name, *found))
        return tuple(rows)

    def overlaps(self, has_texts: bool) -> tuple[SplitOverlap, ...]:
        split = self._all("split")
        checks = [
            ("threads", ["thread_id"]),
            ("responses, by id", ["chosen_id", "rejected_id"]),
        ]
        if has_texts:
            checks += [
                ("prompts, by text", ["prompt_text"]),
                ("responses, by text", ["chosen_text", "rejected_text"]),
            ]
        rows = []
        for what, names in checks:
            values = np.concatenate([self._all(name) for name in names])
            splits = np.concatenate([split] * len(names))
            distinct = np.unique(np.stack([values, splits]).astype(np.int64), axis=1)
            _, times = np.unique(distinct[0], return_counts=True)
            rows.append(SplitOverlap(what, len(times), int((times > 1).sum())))
        return tuple(rows)

    def agreement(self) -> tuple[tuple[str, float, Proportion], ...]:
        window, said, threads = self._all("window"), self._all("confidence"), self._all("thread_id")
        decided = np.isfinite(window) & (window != 0)
        rows = []
        for low in (0.0, 0.5, 0.6, 0.7, 0.8, 0.9):
            high = 0.5 if low == 0.0 else low + 0.1
            keep = decided & (said >= low) & ((said < high - 1e-9) | (low == 0.9))
            if keep.any():
                name = f"{low:.1f}–{high:.1f}"
                rows.append(
                    (name, float(said[keep].mean()), proportion(window[keep] > 0, threads[keep]))
                )
        return tuple(rows)

    def mean_confidence(self) -> float | None:
        found = self._all("confidence")
        return float(found.mean()) if len(found) else None

    def ceilings(self) -> dict[str, NoiseCeiling]:
        said, threads, split = self._all("confidence"), self._all("thread_id"), self._all("split")
        return {
            SPLITS[place]: ceiling_sums(said[split == place], threads[split == place]).ceiling()
            for place in np.unique(split).tolist()
        }

    def licenses(self) -> dict[str, dict[str, int]]:
        names: Counter[str] = sum(self._licenses.values(), Counter())
        return {
            name: {text: counts[name] for text, counts in self._licenses.items()}
            for name, _ in names.most_common()
        }


def _hashes(column: pa.Array) -> Vector:
    return np.array([hash63(text) for text in column.to_pylist()], np.int64)


def _text_keys(column: pa.Array) -> Vector:
    """Equal for texts that `pipeline.dataset.leaks` takes for equal."""
    return np.array([text_key(text) for text in column.to_pylist()], np.int64)


def _clusters(folder: DatasetFolder) -> tuple[tuple[DuplicateCluster, ...], dict[str, int]]:
    """The largest clusters of duplicates, and how many there are of each size."""
    members: Counter[str] = Counter()
    for batch in folder.read_columns("duplicates", ["kept_id"]):
        members.update(batch["kept_id"].to_pylist())
    largest = sorted(members, key=lambda kept: (-members[kept], kept))[:LARGEST_CLUSTERS]
    examples: dict[str, list[tuple[str, float, str]]] = {kept: [] for kept in largest}
    columns = ["kept_id", "removed_id", "similarity", "rule"]
    for batch in folder.read_columns("duplicates", columns):
        chosen = batch.filter(pc.is_in(batch["kept_id"], value_set=pa.array(largest, pa.string())))
        for row in chosen.to_pylist():
            examples[row["kept_id"]].append((row["removed_id"], row["similarity"], row["rule"]))
    sizes = Counter(size + 1 for size in members.values())
    return (
        tuple(
            DuplicateCluster(
                kept, members[kept], tuple(sorted(found, key=lambda one: (-one[1], one[0]))[:5])
            )
            for kept, found in examples.items()
        ),
        {f"{size} posts": sizes[size] for size in sorted(sizes)},
    )


def _reasons(folder: DatasetFolder) -> dict[tuple[str, str], int]:
    found: Counter[tuple[str, str]] = Counter()
    for batch in folder.read_columns("rejected", ["record", "stage", "reason"]):
        posts = batch.filter(pc.equal(batch["record"], "post"))
        found.update(zip(posts["stage"].to_pylist(), posts["reason"].to_pylist(), strict=True))
    return dict(found)
