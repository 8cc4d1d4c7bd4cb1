"""TensorBoard: event files in ``tensorboard/`` of the run folder."""

from collections.abc import Mapping
from typing import Any

from training.tracking.trackers import TrackerStart


class EventFiles:
    """A :class:`~training.tracking.trackers.Tracker` that writes event files."""

    def __init__(self, start: TrackerStart) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Steps that an interrupted attempt wrote, and this one writes again, are hidden: those
        # after the step of the checkpoint, or all.
        hidden = start.first_step + 1 if start.first_step else 0
        folder = str(start.folder / "tensorboard")
        self._writer: Any = SummaryWriter(folder, purge_step=hidden)

    def log(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Write scalars."""
        for name, value in values.items():
            self._writer.add_scalar(f"{kind}/{name}", value, step)

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """Close the files; what is in ``summary`` they have."""
        self._writer.close()
