"""How many pairs of the training split the settings leave, counted before the first step."""

from collections import Counter
from typing import Final

from training.data.dataset import PairDataset
from training.parallel.distributed import DistributedContext

REASONS: Final = {
    "below_min_confidence": "data.min_confidence",
    "above_max_margin": "data.max_margin",
}
"""Why a pair is excluded, and the setting that excludes it."""


def count_selected(dataset: PairDataset, context: DistributedContext) -> dict[str, int]:
    """Count the split's pairs and those that are excluded, by reason; {} where none can be.

    Reads two small columns of every row group, each rank its part; every rank must call.
    """
    if not dataset.selection.is_active:
        return {}
    found: Counter[str] = Counter()
    names = ("confidence", "vote_margin")
    for table in dataset.light_columns(names, context.rank, context.count):
        found += dataset.selection.count(*(table[name].to_numpy() for name in names))
    total: Counter[str] = Counter()
    for part in context.gather(found):
        total += part
    return {name: total[name] for name in ("pairs", *REASONS)}


def describe_selected(selected: dict[str, int]) -> str:
    """Say how many pairs are left, for the introduction of a run."""
    excluded = {name: selected[name] for name in REASONS}
    told = ", ".join(f"{count:,} by {REASONS[name]}" for name, count in excluded.items() if count)
    left = selected["pairs"] - sum(excluded.values())
    return (
        f"{left:,} of the {selected['pairs']:,} training pairs are used; excluded: {told or 'none'}"
    )
