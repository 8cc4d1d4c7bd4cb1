"""Adds an adapter to the weights of its base: a folder that transformers loads without peft."""

import shutil
from dataclasses import replace
from pathlib import Path

from training.config import DataConfig, ModelConfig
from training.data.template import load_template
from training.durable_files import partial_of, publish_folder
from training.errors import ConfigError
from training.model.adapters import merge
from training.model.checksums import write_checksums
from training.model.pretrained import read_config
from training.model.reward_model import load_located, save_model
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
    if output.exists():
        raise ConfigError(f"--output {output} exists already; name another folder, or remove it")
    located = locate_model(source)
    if located.base is None:
        raise source.error("is no LoRA adapter; there is nothing to merge")
    if load_template(located.folder) is None:
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
    merge(loaded.model.hf)  # plain again, so that it is saved as such
    partial = partial_of(output)
    shutil.rmtree(partial, ignore_errors=True)
    save_model(partial, replace(loaded, adapter=None))
    write_checksums(partial)
    publish_folder(partial, output)
