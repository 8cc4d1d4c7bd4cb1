"""Weights and optimizer state in shards, as several processes write them with
``torch.distributed.checkpoint``: each process its own part, all of it safetensors.

The files say which part of a tensor they hold, so any number of processes reads any part of it.
DCP's own format keeps that in ``.metadata``, a pickle, which can run code when it is read; hence
this one (``HuggingFaceStorageWriter``), which has no such file.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from torch import Tensor

from training.errors import ConfigError

SHARDS_NAME: Final = "shards"
"""Folder in a checkpoint."""
WEIGHTS_PREFIX: Final = "model."
OPTIMIZER_PREFIX: Final = "optimizer."


def has_shards(folder: Path) -> bool:
    """Whether a checkpoint holds its weights in shards."""
    return (folder / SHARDS_NAME).is_dir()


def shapes_of_shards(checkpoint: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of a checkpoint, by name; raises ConfigError for damaged files."""
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    try:
        found = _reader(checkpoint).read_metadata().state_dict_metadata
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{checkpoint / SHARDS_NAME} is damaged or cut off: {error}") from None
    return {
        name: tuple(entry.size)
        for name, entry in found.items()
        if isinstance(entry, TensorStorageMetadata)
    }


def fill_from_shards(checkpoint: Path, tensors: Mapping[str, Tensor]) -> None:
    """Copy what a checkpoint holds into tensors, whole ones or a process's part of them (DTensor).

    Each process reads for itself, and of each file only what it needs. Raises ConfigError where a
    tensor is not there, or of another shape.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.state_dict_loader import load

    shapes = shapes_of_shards(checkpoint)
    for name, tensor in tensors.items():
        if name not in shapes:
            raise ConfigError(f"{checkpoint}: lacks {name}; it is of another model")
        if shapes[name] != tuple(tensor.shape):
            raise ConfigError(
                f"{checkpoint}: {name} has the shape {list(shapes[name])}, the model needs "
                f"{list(tensor.shape)}; it is of another model"
            )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        try:
            load({**tensors}, storage_reader=_reader(checkpoint), no_dist=True)
        except CheckpointException as error:  # no Exception: it would pass by every handler
            why = next(iter(error.failures.values()))[0]
            raise ConfigError(f"{checkpoint / SHARDS_NAME} cannot be read: {why}") from None


def _reader(checkpoint: Path) -> Any:
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    return HuggingFaceStorageReader(str(checkpoint / SHARDS_NAME))
