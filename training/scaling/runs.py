"""Finished training runs, read from their folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from schemas.small_files import (
    SmallFileError,
    decode_json,
    decode_lenient_json,
    fault_of,
    open_regular,
    read_small,
)
from training.errors import ScalingError
from training.run.folder import METRICS_NAME, SUMMARY_NAME


class ScalingRun(msgspec.Struct, frozen=True, kw_only=True):
    """What a finished run says about size and loss."""

    path: str
    model: str
    parameters: int
    pairs: int
    """Distinct training pairs seen."""
    loss: float
    """Validation loss after training (Bradley–Terry)."""
    accuracy: float | None
    manifest: str
    """sha256 of the dataset's manifest."""
    settings: dict[str, Any]
    """'section.name' -> value of the configuration."""
    curve: tuple[tuple[int, float], ...]
    """(pairs seen, validation loss) while training."""


class _Model(msgspec.Struct):
    parameters: int
    name: str


class _Dataset(msgspec.Struct):
    manifest_sha256: str = ""


class _Validation(msgspec.Struct):
    loss: float
    accuracy: float | None = None


class _Summary(msgspec.Struct):
    model: _Model
    pairs: int
    validation: _Validation
    dataset: _Dataset = msgspec.field(default_factory=_Dataset)
    config: dict[str, Any] = {}


def find_runs(paths: Sequence[str]) -> list[ScalingRun]:
    """Read run folders, and all run folders anywhere below other folders, each once, by path.

    Raises ScalingError for a folder without a finished run.
    """
    folders: dict[Path, None] = {}
    for path in paths:
        folder = Path(path)
        if not folder.is_dir():
            raise ScalingError(f"{path}: no such folder; name run folders, or folders of them")
        found = [folder] if (folder / SUMMARY_NAME).exists() else _below(folder)
        if not found:
            raise ScalingError(f"{path}: no finished run in it (none has a {SUMMARY_NAME})")
        folders |= dict.fromkeys(found)
    return [read_run(folder) for folder in folders]


def read_run(folder: Path) -> ScalingRun:
    """Read a finished run. Raises ScalingError that names the file and the field."""
    path = folder / SUMMARY_NAME
    try:
        summary = decode_json(read_small(path), _Summary)
    except (OSError, SmallFileError) as error:
        raise ScalingError(
            f"{path}: {fault_of(error)}; was it written by forumprefs train?"
        ) from None
    sizes = {
        "model.parameters": summary.model.parameters,
        "pairs": summary.pairs,
        "validation.loss": summary.validation.loss,
    }
    for name, value in sizes.items():
        if not value > 0:
            raise ScalingError(f"{path}: {name} is {value}, but a fit needs it above 0")
    return ScalingRun(
        path=str(folder),
        model=summary.model.name,
        parameters=summary.model.parameters,
        pairs=summary.pairs,
        loss=summary.validation.loss,
        accuracy=summary.validation.accuracy,
        manifest=summary.dataset.manifest_sha256,
        settings=flatten(summary.config),
        curve=_curve(folder / METRICS_NAME),
    )


def flatten(config: dict[str, Any]) -> dict[str, Any]:
    """Turn {section: {name: value}} into {'section.name': value}."""
    return {
        f"{section}.{name}": value
        for section, table in config.items()
        if isinstance(table, dict)
        for name, value in table.items()
    }


def _below(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.rglob(SUMMARY_NAME))


def _curve(path: Path) -> tuple[tuple[int, float], ...]:
    """Validations while training; only drawn, so a missing file or a torn line is ignored."""
    points = []
    if path.is_file():
        with open_regular(path) as file:
            for line in file:
                try:
                    entry = decode_lenient_json(line)
                    if entry["kind"] == "validation" and entry["pairs"] > 0:
                        points.append((int(entry["pairs"]), float(entry["loss"])))
                except (ValueError, KeyError, TypeError, OverflowError):
                    continue
    return tuple(points)
