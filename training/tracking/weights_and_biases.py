"""Weights & Biases: the run under a project, told by the client's own environment variables.

``WANDB_PROJECT``, ``WANDB_ENTITY``, ``WANDB_MODE=offline`` and ``WANDB_API_KEY`` mean what its
documentation says; without a project it is "forumprefs".
"""

import os
from collections.abc import Mapping
from typing import Any

from training.tracking.trackers import TrackerStart

PATIENCE = {"init_timeout": 90.0, "login_timeout": 60.0, "finish_timeout": 120.0}
"""Seconds, unless its environment variables say others: by itself the client waits without end for
somebody who logs in at the terminal, and at the end of a run for a server that is gone."""


def _patience(wandb: Any) -> dict[str, float]:
    known = wandb.Settings.model_fields  # older clients have no finish_timeout
    return {
        name: seconds
        for name, seconds in PATIENCE.items()
        if name in known and f"WANDB_{name.upper()}" not in os.environ
    }


class WeightsAndBiases:
    """A :class:`~training.tracking.trackers.Tracker` that is a run of wandb."""

    def __init__(self, start: TrackerStart) -> None:
        import wandb

        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "forumprefs",
            name=os.environ.get("WANDB_NAME") or start.folder.name,
            dir=str(start.folder),
            config=dict(start.config),
            id=start.run_id,
            resume="allow",
            settings=wandb.Settings(console="off", silent=True, **_patience(wandb)),
        )
        self.run_id: str = self._run.id
        # Its own counter only ever grows, and a resumed run goes back to its checkpoint.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Log figures over our own steps."""
        self._run.log({"step": step, **{f"{kind}/{name}": one for name, one in values.items()}})

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """Add the summary and end the run; one without a summary may be resumed."""
        if summary is not None:
            self._run.summary.update({"result": dict(summary)})
        self._run.finish(exit_code=0)
