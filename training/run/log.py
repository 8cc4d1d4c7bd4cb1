"""What a run records and shows: metrics.jsonl, TensorBoard, and the terminal."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from schemas.small_files import decode_lenient_json, open_regular
from training.console import ProgressDisplay, make_console
from training.run.folder import METRICS_NAME


class RunLog:
    """Writes what happens in a run; one rank has it.

    Args:
        folder: the run folder.
        steps: steps of the run.
        first_step: where the run continues; later lines of an earlier attempt are dropped.
        tensorboard: also write event files.
        quiet: nothing on the terminal.
    """

    def __init__(
        self,
        folder: Path,
        *,
        steps: int,
        first_step: int,
        tensorboard: bool,
        quiet: bool,
        stream: TextIO | None = None,
    ) -> None:
        self._path = folder / METRICS_NAME
        _keep_until(self._path, first_step)
        self._file = self._path.open("a", encoding="utf-8")
        self._tensorboard: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._tensorboard = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step)
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
        if self._tensorboard is not None:
            self._tensorboard.close()

    def write(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl and its numbers to TensorBoard."""
        self._file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        self._file.flush()
        if self._tensorboard is not None:
            for name, value in flat(values):
                self._tensorboard.add_scalar(f"{kind}/{name}", value, step)

    def progress(self, step: float, text: str) -> None:
        """Show where the run is; ``step`` counts the steps that are done, parts of one as well."""
        self._progress.update(step, text)

    def say(self, what: Any) -> None:
        """Print a line or a table above the progress."""
        self.console.print(what, soft_wrap=isinstance(what, str))


def flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """Numbers of nested dicts as ``outer/inner``."""
    found: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((prefix + name, float(value)))
    return found


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
