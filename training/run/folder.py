"""Names of what a run folder holds."""

from pathlib import Path
from typing import Final

RUN_NAME: Final = "run.json"
"""What the run was started with; a folder with it is a run folder."""
SUMMARY_NAME: Final = "summary.json"
"""Written last: a folder with it is a finished run."""
LABEL_NOISE_NAME: Final = "label_noise.json"
"""Shares of flipped labels that the loss goes by."""
METRICS_NAME: Final = "metrics.jsonl"
MODEL_NAME: Final = "model"
"""Folder of the trained model."""
MERGED_NAME: Final = "model-merged"
"""Folder of a trained adapter and its base as one model."""
EMA_NAME: Final = "model-ema"
"""Folder of the model whose weights are the running average of those of the steps."""
CHECKPOINTS_NAME: Final = "checkpoints"
"""Folder of folders, one a checkpoint."""
LOCK_NAME: Final = ".lock"
"""Locked by the process that trains in the folder; empty."""
CURVES_NAMES: Final = ("curves.png", "curves.svg")
"""The picture of a finished run."""


def run_folder_of(place: Path) -> Path | None:
    """The run folder that a folder is, or that its model or checkpoint lies in; None: no run."""
    return next(
        (one for one in (place, place.parent, place.parent.parent) if (one / RUN_NAME).is_file()),
        None,
    )


def why_unfinished(place: Path) -> str | None:
    """Say that the run of a model has not finished; None for a finished one, or no run of ours.

    Args:
        place: the run folder, or a model or checkpoint in it.
    """
    run = run_folder_of(place)
    if run is None or (run / SUMMARY_NAME).is_file():
        return None
    which = "" if place == run else f", and this is its {place.relative_to(run)}"
    return (
        f"the run {run} has not finished: it has no {SUMMARY_NAME}{which}; forumprefs train "
        "--resume continues it"
    )
