"""Checkpoints: whole or absent, the newest few kept, of use to any number of ranks.

``checkpoints/step-00001200/`` is a model folder of transformers with two files beside it:
``optimizer.safetensors`` (AdamW's state by parameter name) and ``trainer.json``.
"""

import os
import re
import shutil
from pathlib import Path
from typing import Annotated, Any

import msgspec
from safetensors.torch import load_file, save_file
from torch import Tensor

from schemas.fields import doc
from schemas.small_files import SmallFileError, decode_json, fault_of, read_small
from training.errors import ConfigError
from training.model.reward_model import LoadedModel, save_model

TRAINER_NAME = "trainer.json"
OPTIMIZER_NAME = "optimizer.safetensors"
TRAINER_VERSION = 1

_STEP = re.compile(r"step-(\d{8,})")


class TrainerState(msgspec.Struct, frozen=True, kw_only=True):
    """``trainer.json``: where a run stands. Batches follow from it, so no data is replayed."""

    version: Annotated[int, doc("layout of this file")] = TRAINER_VERSION
    step: Annotated[int, doc("steps that were taken")]
    pairs: Annotated[int, doc("pairs seen")]
    tokens: Annotated[int, doc("tokens encoded")]
    counts: Annotated[dict[str, int], doc("pairs excluded, by reason")]
    guard: Annotated[dict[str, Any], doc("state of the guard")]
    loss: Annotated[dict[str, Any], doc("state of the loss")]
    manifest_sha256: Annotated[str, doc("of the dataset")]
    config: Annotated[dict[str, Any], doc("the resolved configuration")]


def save_checkpoint(
    folder: Path,
    loaded: LoadedModel,
    weights: dict[str, Tensor],
    optimizer: dict[str, Tensor],
    state: TrainerState,
    *,
    keep: int,
) -> Path:
    """Write ``folder/step-…``; it appears under its name when it is complete.

    Call on one rank. Older checkpoints than the newest ``keep`` are removed afterwards.
    """
    target = folder / f"step-{state.step:08d}"
    partial = folder / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_model(partial, loaded, weights)
    save_file(optimizer, partial / OPTIMIZER_NAME)
    (partial / TRAINER_NAME).write_bytes(msgspec.json.format(msgspec.json.encode(state)) + b"\n")
    for path in partial.iterdir():
        _sync(path)
    _sync(partial)
    if target.exists():
        shutil.rmtree(target)
    partial.replace(target)
    _sync(folder)
    for old in checkpoints(folder)[:-keep]:
        doomed = old.with_name(f".{old.name}.partial")  # half removed, it must not count
        old.replace(doomed)
        shutil.rmtree(doomed)
    return target


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _STEP.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name.partition("-")[2]))


def load_trainer_state(checkpoint: Path) -> TrainerState:
    """Read ``trainer.json``; raises ConfigError when it is of another release."""
    path = checkpoint / TRAINER_NAME
    try:
        state = decode_json(read_small(path), TrainerState)
    except (OSError, SmallFileError) as error:
        raise ConfigError(f"{path}: {fault_of(error)}") from None
    if state.version != TRAINER_VERSION:
        raise ConfigError(
            f"{path}: version {state.version}, but this release reads {TRAINER_VERSION}"
        )
    return state


def load_optimizer_file(checkpoint: Path) -> dict[str, Tensor]:
    """Read AdamW's state."""
    state: dict[str, Tensor] = load_file(checkpoint / OPTIMIZER_NAME)
    return state


def _sync(path: Path) -> None:
    """Have a file or a folder's entries reach the disk before a rename makes them count."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
