"""What a run tells: metrics.jsonl, TensorBoard, and a line on the terminal."""

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from training.console import make_console

METRICS_NAME = "metrics.jsonl"
PLAIN_INTERVAL_S = 10.0


class RunLog:
    """Writes what happens in a run; one rank has it.

    Args:
        folder: the run folder.
        steps: steps of the run.
        first_step: where the run goes on; later lines of an earlier attempt are dropped.
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
        self._steps = steps
        self._first = first_step
        self._last_plain = 0.0
        self._bar: Progress | None = None
        if self.console.is_terminal and not quiet:
            self._bar = Progress(
                TextColumn("step {task.completed:,.0f}/{task.total:,.0f}"),
                BarColumn(bar_width=20),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self._task = self._bar.add_task("", total=steps, completed=first_step)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        self._begin = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
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

    def progress(self, step: int, text: str) -> None:
        """Show where the run is; ``step`` counts the steps that are done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=text)
            return
        now = time.monotonic()
        if now - self._last_plain < PLAIN_INTERVAL_S and step not in (self._first + 1, self._steps):
            return
        self._last_plain = now
        done = step - self._first
        left = (now - self._begin) / done * (self._steps - step)
        self.say(f"step {step:,}/{self._steps:,}  {text}  {_minutes(left)} left")

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
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found = json.loads(line)
            if found["step"] < step or (found["step"] == step and found["kind"] == "train"):
                kept.append(line + "\n")
        except (ValueError, KeyError):
            continue  # the line that a kill cut off
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text("".join(kept), encoding="utf-8")
    partial.replace(path)


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
