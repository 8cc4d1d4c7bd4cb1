"""MLflow: the run in an experiment, told by the client's own environment variables.

``MLFLOW_TRACKING_URI`` and ``MLFLOW_EXPERIMENT_NAME`` mean what its documentation says; without an
experiment it is "forumprefs".
"""

import os
import time
from collections.abc import Mapping
from typing import Any

from training.tracking.trackers import TrackerStart

PARAMETERS_AT_ONCE = 100
"""The most that a server takes in one request."""
LONGEST_VALUE = 500
"""Characters of a parameter that every server takes."""
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
"""Unless told otherwise: a server that is gone would hold up each step for minutes."""


class MlflowRun:
    """A :class:`~training.tracking.trackers.Tracker` that is a run of MLflow."""

    def __init__(self, start: TrackerStart) -> None:
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client: Any = MlflowClient()
        if start.run_id is not None:
            self.run_id = start.run_id
            self._client.update_run(self.run_id, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "forumprefs"
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self._client.create_experiment(name)
        self.run_id = self._client.create_run(number, run_name=start.folder.name).info.run_id
        parameters = [Param(key, str(value)[:LONGEST_VALUE]) for key, value in _flat(start.config)]
        for place in range(0, len(parameters), PARAMETERS_AT_ONCE):
            part = parameters[place : place + PARAMETERS_AT_ONCE]
            self._client.log_batch(self.run_id, params=part)

    def log(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Log figures of a step."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(f"{kind}/{name}", one, now, step) for name, one in values.items()]
        self._client.log_batch(self.run_id, metrics=metrics)

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """Add the summary as ``summary.json`` and end the run."""
        if summary is not None:
            self._client.log_dict(self.run_id, dict(summary), "summary.json")
        self._client.set_terminated(self.run_id, "FINISHED" if summary is not None else "KILLED")


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in table.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append((prefix + name, value))
    return found
