"""Whether anything can be fitted to a grid, said before hours go into its runs."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TypeVar

from schemas.manifest import MANIFEST_NAME, ManifestError, decode_manifest
from schemas.small_files import SmallFileError, read_small
from training.config import TrainConfig, load_config
from training.planning.batch_size import batch_pairs_for
from training.scaling.grid import Grid
from training.scaling.runs import ScalingRun
from training.scaling.study import NEEDED, some_law_fits

_T = TypeVar("_T", bound=Hashable)


def why_no_fit(grid: Grid, others: Sequence[ScalingRun] = ()) -> str | None:
    """Say that no law can be fitted even if all runs of a grid finish; None where one may be.

    Models are taken to be of different sizes, and so are runs that see other pairs by their
    settings; ``data.max_pairs`` beyond the pairs of a dataset that lies here is all of them.

    Args:
        others: finished runs that the fit would have, too.
    """
    rows = _train_rows(grid.dataset)
    configs = [load_config(grid.config, cell.settings) for cell in grid.cells]
    models = [*(cell.model for cell in grid.cells), *(run.parameters for run in others)]
    data = [*(_pairs(config, rows) for config in configs), *(run.pairs for run in others)]
    planned = list(zip(_numbered(models), _numbered(data), strict=True))
    if some_law_fits(planned):
        return None
    return (
        f"nothing can be fitted to this grid, even if every run finishes: {len(planned)} runs of "
        f"{len(set(models))} model sizes and {len(set(data))} data sizes. "
        f"{NEEDED} Ctrl-C stops; finished runs are kept for a larger grid."
    )


def _pairs(config: TrainConfig, rows: int | None) -> Hashable:
    """What decides how many pairs a run sees."""
    most = config.data.max_pairs
    if rows is not None:
        most = min(rows, most or rows)
    if config.run.max_steps is None:
        return (most, config.data.min_confidence, config.data.max_margin)
    batch = config.data.batch_pairs or (batch_pairs_for(most) if most is not None else 1)
    seen = config.run.max_steps * batch
    pairs = seen if most is None else min(most, seen)
    return (pairs, config.data.min_confidence, config.data.max_margin)


def _numbered(values: Sequence[_T]) -> list[int]:
    """A number above 0 for each distinct value."""
    numbers: dict[_T, int] = {}
    return [numbers.setdefault(value, len(numbers) + 1) for value in values]


def _train_rows(dataset: str) -> int | None:
    """Training pairs of a dataset in a folder; None where that cannot be told from here."""
    try:
        manifest = decode_manifest(read_small(Path(dataset) / MANIFEST_NAME))
    except (OSError, SmallFileError, ManifestError):
        return None
    return sum(
        shard.rows for shard in manifest.shards if (shard.table, shard.split) == ("data", "train")
    )
