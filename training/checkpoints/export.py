"""A model folder from checkpoints: of one, or with the mean of the weights of several."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from training.checkpoints.checkpoint import (
    OPTIMIZER_NAME,
    TRAINER_NAME,
    checkpoints,
    find_checkpoint_damage,
    load_trainer_state,
)
from training.config import DataConfig, ModelConfig
from training.durable_files import partial_of, publish_folder
from training.errors import ConfigError
from training.heads.training_heads import HEADS_NAME
from training.model.checksums import CHECKSUMS_NAME, write_checksums
from training.model.merging import load_merged, refuse_existing, write_model
from training.model.reward_model import LoadedModel, load_model
from training.model.save import save_model
from training.model.shards import has_shards
from training.model.source import ModelSource

_NOT_OF_A_MODEL = (TRAINER_NAME, OPTIMIZER_NAME, HEADS_NAME, CHECKSUMS_NAME)


def newest_whole_checkpoints(folder: Path, count: int) -> list[Path]:
    """The newest ``count`` checkpoints that are not damaged, newest first.

    Raises ConfigError where there are fewer.
    """
    found: list[Path] = []
    damaged: list[str] = []
    for path in reversed(checkpoints(folder)):
        if len(found) == count:
            break
        damage = find_checkpoint_damage(path)
        if damage is None:
            found.append(path)
        else:
            damaged.append(f"{path.name}: {damage}")
    if len(found) < count:
        told = f" ({'; '.join(damaged)})" if damaged else ""
        more = "; a run keeps run.keep_checkpoints of them" if count > 1 else ""
        raise ConfigError(f"{folder} holds {len(found)} whole checkpoints, not {count}{told}{more}")
    return found


def export_model(sources: Sequence[ModelSource], output: Path) -> None:
    """Write a folder that transformers loads, from one checkpoint or the mean of several.

    Args:
        sources: checkpoints of one run in either form, newest first: tokenizer, template and
            buffers are the first one's. An adapter is merged into its base. That they are whole is
            not looked at here.
        output: a folder that does not exist yet; it appears when it is complete.

    Raises ConfigError.
    """
    refuse_existing(output)
    newest = load_merged(sources[0], verify=False)
    weights: Mapping[str, Tensor] = newest.model.hf.state_dict()
    if len(sources) > 1:
        rest = (load_merged(source, verify=False) for source in sources[1:])
        weights = mean_weights(weights, (loaded.model.hf.state_dict() for loaded in rest))
    write_model(output, newest, weights)


def write_model_of(checkpoint: Path, target: Path, *, trust_remote_code: bool = False) -> None:
    """Write a checkpoint's model folder in place of ``target``; on one process.

    Raises ConfigError where the checkpoint is missing or damaged.
    """
    damage = find_checkpoint_damage(checkpoint) if checkpoint.is_dir() else "it is missing"
    if damage is not None:
        raise ConfigError(f"{checkpoint} is damaged: {damage}")
    partial = partial_of(target)
    shutil.rmtree(partial, ignore_errors=True)
    if has_shards(checkpoint):
        save_model(partial, _load(checkpoint, trust_remote_code))
    else:  # it is a model folder with more in it
        shutil.copytree(checkpoint, partial, ignore=shutil.ignore_patterns(*_NOT_OF_A_MODEL))
    write_checksums(partial)
    publish_folder(partial, target)


def mean_weights(
    first: Mapping[str, Tensor], others: Iterable[Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """Mean of each weight, added up in fp64; integers are those of ``first``.

    Source: checkpoint averaging as in Vaswani et al. 2017 (arXiv 1706.03762, 6.1). Raises
    ConfigError where names or shapes differ.
    """
    sums = {name: value.double() for name, value in first.items() if value.is_floating_point()}
    count = 1
    for other in others:
        for name, total in sums.items():
            if name not in other or other[name].shape != total.shape:
                raise ConfigError(f"the checkpoints are of different models: {name} differs")
            total.add_(other[name])
        count += 1
    return {
        name: (sums[name].div_(count)).float() if name in sums else value
        for name, value in first.items()
    }


def _load(checkpoint: Path, trust_remote_code: bool) -> LoadedModel:
    """The model as it was trained: an adapter stays one."""
    source = ModelSource(
        str(checkpoint), trust_remote_code=trust_remote_code, option="run.keep_best"
    )
    data = load_trainer_state(checkpoint).config.get("data", {})
    length = data.get("max_length", DataConfig().max_length)
    with torch.no_grad():
        return load_model(
            source,
            ModelConfig(layout="padded"),
            DataConfig(max_length=length),
            seed=0,
            verify=False,
        )
