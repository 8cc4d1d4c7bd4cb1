"""Train the cells of a grid, one subprocess each; finished cells are kept."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

from training.config import load_config, setting_value
from training.errors import ConfigError, ScalingError
from training.run.folder import SUMMARY_NAME
from training.scaling.runs import read_run


class Cell(NamedTuple):
    """One run of a grid."""

    name: str
    """Folder below RUNS, and what the user sees."""
    model: str
    settings: tuple[str, ...]
    """'section.name=value', those of the grid last."""


class Grid(NamedTuple):
    """Which runs to train, and how."""

    launch: tuple[str, ...]
    """Command of the trainer; gets --dataset, --model, --output, --config and --set."""
    dataset: str
    config: str | None
    output: Path
    cells: tuple[Cell, ...]

    def folder(self, cell: Cell) -> Path:
        """Run folder of a cell."""
        return self.output / "runs" / cell.name

    def command(self, cell: Cell) -> list[str]:
        """Command line that trains a cell."""
        parts = [*self.launch, "--dataset", self.dataset, "--model", cell.model]
        parts += ["--output", str(self.folder(cell))]
        parts += ["--config", self.config] if self.config else []
        return parts + [part for setting in cell.settings for part in ("--set", setting)]


def make_grid(
    *,
    launch: Sequence[str],
    dataset: str,
    models: Sequence[str],
    axes: Sequence[str],
    settings: Sequence[str],
    config: str | None,
    output: Path,
) -> Grid:
    """Cross models with axes 'section.name=a,b,c'; raises ScalingError for what cannot be run."""
    choices = []
    for axis in axes:
        key, equals, values = axis.partition("=")
        split = [value.strip() for value in values.split(",")]
        if not equals or not all(split):
            raise ScalingError(f"--grid {axis}: write it as section.name=value,value,...")
        if len(set(split)) < len(split):
            raise ScalingError(f"--grid {axis}: a value is named twice")
        choices.append([f"{key.strip()}={value}" for value in split])
    if len(set(models)) < len(models):
        raise ScalingError(f"--models {','.join(models)}: a model is named twice")
    cells = tuple(
        Cell("/".join((_slug(model), *map(_slug, chosen))), model, (*settings, *chosen))
        for model, *chosen in product(models, *choices)
    )
    try:
        for cell in cells:
            load_config(config, cell.settings)
    except ConfigError as error:
        raise ScalingError(str(error)) from None
    return Grid(tuple(launch), dataset, config, output, cells)


def train_grid(grid: Grid, say: Callable[[str], None]) -> list[Cell]:
    """Train every cell that is not finished, in order; returns the cells that are not after it.

    A failed cell does not stop the others. Raises ScalingError if a finished cell has other
    settings than the grid asks for.
    """
    for cell in grid.cells:
        if (grid.folder(cell) / SUMMARY_NAME).exists():
            _check_settings(grid.folder(cell), cell)
    unfinished = []
    for number, cell in enumerate(grid.cells, start=1):
        head = f"[{number}/{len(grid.cells)}] {cell.name}"
        if (grid.folder(cell) / SUMMARY_NAME).exists():
            say(f"{head}: finished before, loss {read_run(grid.folder(cell)).loss:.4f}")
            continue
        say(f"{head}: training")
        log = grid.output / "logs" / f"{cell.name.replace('/', '--')}.log"
        started = time.monotonic()
        code = _train(grid.command(cell), log)
        took = f"{time.monotonic() - started:.0f} s"
        if code == 0 and (grid.folder(cell) / SUMMARY_NAME).exists():
            say(f"{head}: done in {took}, loss {read_run(grid.folder(cell)).loss:.4f}")
            continue
        unfinished.append(cell)
        what = f"failed with exit code {code}" if code else f"stopped without a {SUMMARY_NAME}"
        say(f"{head}: {what} after {took}; continuing with the others. Log: {log}\n{_tail(log)}")
    return unfinished


def _train(command: Sequence[str], log: Path) -> int:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        try:
            done = subprocess.run(  # noqa: S603 - the command is the user's own
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except OSError as error:
            raise ScalingError(f"{command[0]}: {error.strerror}; see --launch") from None
    return done.returncode


def _check_settings(folder: Path, cell: Cell) -> None:
    trained = read_run(folder).settings
    for setting in cell.settings:
        key, _, text = setting.partition("=")
        value = setting_value(text)
        by_itself = value in (None, "auto")  # which run.json has resolved
        if key in trained and not by_itself and trained[key] != value:
            raise ScalingError(
                f"{folder} was trained with {key}={json.dumps(trained[key])}, but {setting} is "
                "asked for now; choose another --output, or delete that run"
            )


def _slug(text: str) -> str:
    return re.sub(r"[^\w.=-]+", "--", text).strip("-.") or "model"


def _tail(log: Path, lines: int = 5) -> str:
    last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    return "\n".join(f"    {line}" for line in last)
