"""The interface of a tracker, and all those of a run together."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from schemas.small_files import SmallFileError, decode_json, read_small
from training.durable_files import write_file

IDS_NAME = "trackers.json"
"""In the run folder: the id that each service gave the run, so that a resumed run goes on in it."""
MAX_FAILURES = 3
"""Failures in a row after which a tracker is left alone; each may take a network's time-out."""


class Tracker(Protocol):
    """A service that shows runs."""

    def log(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Take figures of a step; ``kind`` ("train", "validation") and name make their name."""

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """End; ``summary``: that of a finished run, None for one that was stopped."""


@dataclass(frozen=True)
class TrackerStart:
    """What a tracker is told when it begins."""

    folder: Path
    """The run folder."""
    config: Mapping[str, Any]
    """The resolved settings, tables of values, with dataset and model."""
    first_step: int
    """Where the run begins, or goes on."""
    run_id: str | None
    """That the service gave the run before it was resumed; None for a new one."""


class Trackers:
    """All trackers of a run; on one process. None of them can end it.

    Args:
        trackers: by name.
        warn: says a sentence to the user.
    """

    def __init__(self, trackers: Mapping[str, Tracker], warn: Callable[[str], None]) -> None:
        self._trackers = dict(trackers)
        self._warn = warn
        self._failures = dict.fromkeys(self._trackers, 0)
        self._told: set[str] = set()

    def log(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Hand on the numbers among the values, those of nested tables as ``outer/inner``."""
        numbers = dict(flat(values))
        for name, tracker in list(self._trackers.items()):
            self._attempt(name, functools.partial(tracker.log, kind, step, numbers))

    def finish(self, summary: Mapping[str, Any] | None = None) -> None:
        """End all of them; a second call does nothing."""
        for name, tracker in list(self._trackers.items()):
            self._attempt(name, functools.partial(tracker.finish, summary))
        self._trackers.clear()

    def _attempt(self, name: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # every client has errors of its own
            self._failures[name] += 1
            if name not in self._told:
                self._told.add(name)
                self._warn(_failure(name, error))
            if self._failures[name] >= MAX_FAILURES:
                self._trackers.pop(name, None)
        else:
            self._failures[name] = 0


def open_trackers(
    names: Sequence[str],
    folder: Path,
    config: Mapping[str, Any],
    *,
    first_step: int,
    warn: Callable[[str], None],
) -> Trackers:
    """Begin the trackers of a run, or go on in them; one that cannot is told of and left out."""
    ids = _read_ids(folder)
    found: dict[str, Tracker] = {}
    for name in dict.fromkeys(names):
        start = TrackerStart(folder, config, first_step, ids.get(name))
        try:
            found[name], run_id = _OPEN[name](start)
            if run_id is not None and run_id != ids.get(name):
                ids[name] = run_id
                write_file(folder / IDS_NAME, _encoded(ids))
        except Exception as error:  # as above; an import may fail in any way, too
            warn(_failure(name, error))
    return Trackers(found, warn)


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """Numbers of nested tables as ``outer/inner``."""
    found: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((prefix + name, float(value)))
    return found


def _failure(name: str, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        extra = {"wandb": "wandb", "mlflow": "mlflow"}.get(name, "train")
        why = f"{error.name} is not installed; pip install 'forumprefs[{extra}]'"
    else:
        lines = str(error).strip().splitlines()
        why = f"{lines[0][:200] if lines else type(error).__name__}"
    return f"tracker {name}: {why} (the run goes on; metrics.jsonl has all figures)"


def _read_ids(folder: Path) -> dict[str, str]:
    try:
        return decode_json(read_small(folder / IDS_NAME), dict[str, str])
    except (OSError, SmallFileError):
        return {}  # then the services begin a new run


def _encoded(ids: dict[str, str]) -> bytes:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(ids)) + b"\n"


def _tensorboard(start: TrackerStart) -> tuple[Tracker, None]:
    from training.tracking.event_files import EventFiles

    return EventFiles(start), None


def _wandb(start: TrackerStart) -> tuple[Tracker, str]:
    from training.tracking.weights_and_biases import WeightsAndBiases

    tracker = WeightsAndBiases(start)
    return tracker, tracker.run_id


def _mlflow(start: TrackerStart) -> tuple[Tracker, str]:
    from training.tracking.mlflow_runs import MlflowRun

    tracker = MlflowRun(start)
    return tracker, tracker.run_id


_OPEN: dict[str, Callable[[TrackerStart], tuple[Tracker, str | None]]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}
