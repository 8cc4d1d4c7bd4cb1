"""Which layout a run takes, once the model is on its device."""

import torch

from training.config import ModelConfig
from training.errors import ConfigError
from training.model.layout_check import check_layout
from training.model.reward_model import LoadedModel


def settle_layout(
    loaded: LoadedModel,
    config: ModelConfig,
    device: torch.device,
    computes: torch.dtype = torch.float32,
) -> None:
    """Check the layout that was asked for, or take ``padded`` where ``auto`` finds no better one.

    ``loaded.model`` says which it is, and why. ``computes``: the dtype in which it computes now.

    Raises ConfigError for a layout that was asked for
    and that the backbone does not allow, and for a backbone whose states are not finite numbers.
    """
    model = loaded.model
    try:
        check_layout(loaded, model.layout, device, computes)
    except ConfigError as error:
        if config.layout != "auto" or model.layout == "padded":
            raise
        check_layout(loaded, "padded", device, computes)
        model.layout_reason = str(error).partition("; set model.layout")[0]
