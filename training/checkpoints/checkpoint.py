"""Checkpoints: whole or absent, the newest few kept, of use to any number of ranks.

``checkpoints/step-00001200/`` is a model folder of transformers with three files beside it:
``optimizer.safetensors`` (AdamW's state by parameter name), ``trainer.json`` and
``checksums.json``, by which a flipped bit is noticed. Those of fsdp are in ``sharded``.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from schemas.fields import doc
from schemas.small_files import SmallFileError, decode_json, fault_of, read_small
from training.durable_files import partial_of, publish_folder, remove_folder
from training.errors import ConfigError
from training.heads.training_heads import HEADS_NAME
from training.model.checksums import CHECKSUMS_NAME, find_damage, write_checksums
from training.model.reward_model import LoadedModel
from training.model.save import save_model
from training.model.shards import SHARDS_NAME, has_shards

TRAINER_NAME = "trainer.json"
OPTIMIZER_NAME = "optimizer.safetensors"
TRAINER_VERSION = 2
"""Since 2 a checkpoint has checksums; 1 is read, too."""

_STEP = re.compile(r"step-(\d{8,})")
_PARTIAL = re.compile(r"\.step-\d{8,}(\.before)?\.partial")


class BestValidation(msgspec.Struct, frozen=True, kw_only=True):
    """The validation of the lowest loss so far, with ``run.keep_best``."""

    step: Annotated[int, doc("steps that were taken before it")]
    loss: Annotated[float, doc("Bradley–Terry loss on the validation pairs")]
    validation: Annotated[dict[str, Any], doc("its figures, as in metrics.jsonl")]


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
    model: Annotated[str, doc("that the run began with; '': not known")] = ""
    updates: Annotated[int | None, doc("steps that changed the weights; null: not known")] = None
    config: Annotated[dict[str, Any], doc("the resolved configuration")]
    best: Annotated[
        BestValidation | None, doc("whose checkpoint is kept; null: none, or not run.keep_best")
    ] = None


def save_checkpoint(
    folder: Path,
    loaded: LoadedModel,
    weights: dict[str, Tensor],
    optimizer: dict[str, Tensor],
    state: TrainerState,
    *,
    heads: dict[str, Tensor] | None = None,
    keep: int,
) -> Path:
    """Write ``folder/step-…``; it appears under its name when it is complete.

    ``heads``: the state of the heads beside the reward head, for ``heads.safetensors``.

    Call on one rank. Older checkpoints than the newest ``keep``, but for the best one, are removed
    afterwards.
    """
    target = folder / f"step-{state.step:08d}"
    partial = partial_of(target)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        save_model(partial, loaded, weights)
        save_file(optimizer, partial / OPTIMIZER_NAME)
        if heads is not None:
            save_file(heads, partial / HEADS_NAME)
    except SafetensorError as error:  # a full disk, for one
        shutil.rmtree(partial, ignore_errors=True)
        raise OSError(f"{target} cannot be written: {error}") from None
    write_trainer_state(partial, state)
    write_checksums(partial)
    publish_checkpoint(partial, target, keep=keep, best=state.best)
    return target


def write_trainer_state(checkpoint: Path, state: TrainerState) -> None:
    """Write ``trainer.json``."""
    content = msgspec.json.format(msgspec.json.encode(state)) + b"\n"
    (checkpoint / TRAINER_NAME).write_bytes(content)


def publish_checkpoint(
    partial: Path, target: Path, *, keep: int, best: BestValidation | None = None
) -> None:
    """Give a finished checkpoint its name, and remove older ones than the newest ``keep``.

    That of ``best`` stays.
    """
    publish_folder(partial, target)
    # One of a later step is a damaged one that this run goes round: it is none of the kept.
    behind = [path for path in checkpoints(target.parent) if step_of(path) <= step_of(target)]
    for old in behind[:-keep]:
        if best is None or step_of(old) != best.step:
            remove_folder(old)


def remove_partial(folder: Path) -> None:
    """Remove what a killed run has half written; only for the process that holds the run folder."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if _PARTIAL.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint's name tells."""
    return int(checkpoint.name.partition("-")[2])


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _STEP.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=step_of)


def find_checkpoint_damage(checkpoint: Path, part: int = 0, parts: int = 1) -> str | None:
    """Say which file of a checkpoint is damaged, and how; None where all are as they were written.

    ``part``, ``parts``: of every ``parts``-th file from ``part`` on, where processes share it.

    Of a checkpoint of an earlier release, which has no checksums, only the layout is looked at.
    """
    if (checkpoint / CHECKSUMS_NAME).exists():
        if damage := find_damage(checkpoint, part, parts):
            return damage
        needed = (TRAINER_NAME, SHARDS_NAME if has_shards(checkpoint) else OPTIMIZER_NAME)
        lost = [name for name in needed if not (checkpoint / name).exists()]
        return f"{lost[0]} is missing" if lost else None
    try:
        state = load_trainer_state(checkpoint)
    except ConfigError as error:
        return str(error).removeprefix(f"{checkpoint}/")
    if state.version >= TRAINER_VERSION:
        return f"{CHECKSUMS_NAME} is missing"
    return _damage_of_layout(checkpoint)


def has_checksums(checkpoint: Path) -> bool:
    """Whether every byte of a checkpoint can be verified; those of an earlier release cannot."""
    return (checkpoint / CHECKSUMS_NAME).exists()


def newest_whole(
    folder: Path, damage_of: Callable[[Path], str | None] = find_checkpoint_damage
) -> tuple[Path | None, list[tuple[Path, str]]]:
    """The newest checkpoint that is not damaged, and those above it with what is wrong with each.

    None where there is no checkpoint. ``damage_of``: what looks at one. Raises ConfigError when
    every one is damaged.
    """
    damaged: list[tuple[Path, str]] = []
    for path in reversed(checkpoints(folder)):
        damage = damage_of(path)
        if damage is None:
            return path, damaged
        damaged.append((path, damage))
    if damaged:
        told = "; ".join(f"{path.name}: {damage}" for path, damage in damaged)
        raise ConfigError(
            f"every checkpoint in {folder} is damaged ({told}); put one back from a copy, or start "
            "again with --overwrite"
        )
    return None, []


def last_good(folder: Path, suspect_step: int) -> Path | None:
    """The newest whole checkpoint from before a step; None for none.

    ``suspect_step``: the last step that was taken before training broke. It was computed with the
    weights before it, so those were good; what it made of them may not be.
    """
    for path in reversed(checkpoints(folder)):
        if step_of(path) < suspect_step and find_checkpoint_damage(path) is None:
            return path
    return None


def load_trainer_state(checkpoint: Path) -> TrainerState:
    """Read ``trainer.json``; raises ConfigError when it is damaged or of another release."""
    path = checkpoint / TRAINER_NAME
    try:
        state = decode_json(read_small(path), TrainerState)
    except (OSError, SmallFileError) as error:
        raise ConfigError(f"{path}: {fault_of(error)}") from None
    if not 1 <= state.version <= TRAINER_VERSION:
        raise ConfigError(
            f"{path}: version {state.version}, but this release reads {TRAINER_VERSION}"
        )
    return state


def load_optimizer_file(checkpoint: Path) -> dict[str, Tensor]:
    """Read AdamW's state; raises ConfigError for a damaged file."""
    path = checkpoint / OPTIMIZER_NAME
    try:
        state: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError):
        raise ConfigError(f"{path} is damaged or cut off") from None
    return state


def _damage_of_layout(checkpoint: Path) -> str | None:
    """Whether the files of a checkpoint can be read at all."""
    weights = sorted(path.name for path in checkpoint.glob("model*.safetensors"))
    tensors = (OPTIMIZER_NAME, *(weights or ["model.safetensors"]))
    tables = ("config.json", "tokenizer.json")
    for name in (*tables, *tensors):
        if not (checkpoint / name).is_file():
            return f"{name} is missing or not a file"
    for name in tables:
        try:
            decode_json(read_small(checkpoint / name), max_values=None)
        except (OSError, SmallFileError) as error:
            return f"{name} cannot be read: {fault_of(error)}"
    for name in tensors:
        try:
            with safe_open(checkpoint / name, framework="pt"):
                pass
        except (SafetensorError, OSError, ValueError):
            return f"{name} is damaged or cut off"
    return None
