"""Adds an adapter to the weights of its base: a folder that transformers loads without peft."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from training.config import DataConfig, ModelConfig
from training.data.template import load_template
from training.durable_files import partial_of, publish_folder
from training.errors import ConfigError
from training.model.adapters import merge
from training.model.checksums import write_checksums
from training.model.pretrained import read_config
from training.model.reward_model import LoadedModel, load_located
from training.model.save import save_model
from training.model.source import ModelSource, locate_model

_LONGEST = 4096
"""Tokens of a text at most; none is read here, but the template has to find room."""


def merge_adapter(source: ModelSource, output: Path) -> None:
    """Write the model that an adapter of ours and its base are together, all weights in fp32.

    A base of 4 bits is written as those bits say, so that the scores are those of training.

    Args:
        source: the folder of an adapter, or its name on the Hub.
        output: the folder to write; it appears under its name when it is complete.

    Raises ConfigError where ``output`` exists, and for what is no adapter of ours.
    """
    refuse_existing(output)
    if locate_model(source, verify=False).base is None:
        raise source.error(
            "is neither a run folder nor a checkpoint, and no LoRA adapter; there is nothing to "
            "write that it is not already"
        )
    write_model(output, load_merged(source))


def load_merged(source: ModelSource, *, verify: bool = True) -> LoadedModel:
    """Load a model of ours in fp32 on the CPU, an adapter as a part of the weights of its base.

    ``verify``: compare the folder with its checksums. Raises ConfigError, also for an adapter that
    is not ours.
    """
    located = locate_model(source, verify=verify)
    if located.base is not None and load_template(located.folder) is None:
        raise source.error(
            "was not trained by forumprefs, so its tokenizer and head would not be kept as they "
            "are; use merge_and_unload of peft"
        )
    longest = getattr(read_config(located).get_text_config(), "max_position_embeddings", None)
    loaded = load_located(
        located,
        ModelConfig(layout="padded"),
        DataConfig(max_length=min(_LONGEST, int(longest or _LONGEST))),
        seed=0,
        dequantise=True,
    )
    if loaded.adapter is None:
        return loaded
    merge(loaded.model.hf)  # plain again, so that it is saved as such
    return replace(loaded, adapter=None)


def write_model(
    output: Path, loaded: LoadedModel, weights: Mapping[str, Tensor] | None = None
) -> None:
    """Write a model folder with its checksums; it appears under its name when it is complete."""
    partial = partial_of(output)
    shutil.rmtree(partial, ignore_errors=True)
    save_model(partial, loaded, weights)
    write_checksums(partial)
    publish_folder(partial, output)


def refuse_existing(output: Path) -> None:
    """Raise ConfigError where a folder that is to be written is there."""
    if output.exists():
        raise ConfigError(f"--output {output} is there already; name a new folder")
