"""Where the transformer blocks of a model are."""

from typing import Any

from torch import nn

from training.errors import ConfigError


def blocks_of(hf: Any) -> nn.ModuleList:
    """The first list of modules in the backbone, seen from outside; raises ConfigError."""
    backbone = getattr(hf, hf.base_model_prefix)
    for module in backbone.modules():  # outer modules come first
        if isinstance(module, nn.ModuleList):
            return module
    raise ConfigError(f"{type(hf).__name__} has no list of blocks")
