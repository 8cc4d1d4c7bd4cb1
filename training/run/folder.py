"""Names of what a run folder holds."""

from typing import Final

RUN_NAME: Final = "run.json"
"""What the run was started with; a folder with it is a run folder."""
SUMMARY_NAME: Final = "summary.json"
"""Written last: a folder with it is a finished run."""
METRICS_NAME: Final = "metrics.jsonl"
MODEL_NAME: Final = "model"
"""Folder of the trained model."""
CHECKPOINTS_NAME: Final = "checkpoints"
"""Folder of folders, one a checkpoint."""
LOCK_NAME: Final = ".lock"
"""Locked by the process that trains in the folder; empty."""
CURVES_NAMES: Final = ("curves.png", "curves.svg")
"""The picture of a finished run."""
