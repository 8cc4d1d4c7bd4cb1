"""What a run records and shows: metrics.jsonl, trackers, and the terminal."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from schemas.small_files import decode_lenient_json, open_regular
from training.console import ProgressDisplay, make_console
from training.run.folder import METRICS_NAME
from training.tracking.trackers import Trackers


class RunLog:
    """Writes what happens in a run; one rank has it.

    Args:
        folder: the run folder.
        steps: steps of the run.
        first_step: where the run continues; later lines of an earlier attempt are dropped.
        trackers: that get the same figures; closed with the log.
        quiet: nothing on the terminal.
    """

    def __init__(
        self,
        folder: Path,
        *,
        steps: int,
        first_step: int,
        trackers: Trackers,
        quiet: bool,
        stream: TextIO | None = None,
    ) -> None:
        self._path = folder / METRICS_NAME
        _keep_until(self._path, first_step)
        self._file = self._path.open("a", encoding="utf-8")
        self._trackers = trackers
        self.console = make_console(stream, quiet=quiet)
        self._progress = ProgressDisplay(self.console, "step")
        self._steps, self._first_step = steps, first_step

    def __enter__(self) -> Self:
        self._progress.begin(self._steps, self._first_step)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.end()
        self._file.close()
        self._trackers.finish()

    def write(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl and its numbers to the trackers."""
        self._file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        self._file.flush()
        self._trackers.log(kind, step, values)

    def finish(self, summary: dict[str, Any]) -> None:
        """Tell the trackers that the run is finished, and what came of it."""
        self._trackers.finish(summary)

    def progress(self, step: float, text: str) -> None:
        """Show where the run is; ``step`` counts the steps that are done, parts of one as well."""
        self._progress.update(step, text)

    def say(self, what: Any) -> None:
        """Print a line or a table above the progress."""
        self.console.print(what, soft_wrap=isinstance(what, str))


def _keep_until(path: Path, step: int) -> None:
    """Drop lines that an interrupted attempt wrote and this one writes again.

    Those after the step, and the validation at the step itself, with which a resumed run begins.
    """
    if not path.exists():
        return
    kept = []
    with open_regular(path) as file:
        for line in file:
            try:
                found = decode_lenient_json(line)
                if found["step"] < step or (found["step"] == step and found["kind"] == "train"):
                    kept.append(line.rstrip(b"\n") + b"\n")
            except (ValueError, KeyError, TypeError):
                continue  # the line that a kill cut off
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(b"".join(kept))
    partial.replace(path)
