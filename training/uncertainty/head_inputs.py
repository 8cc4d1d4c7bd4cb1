"""What the last linear layer of a reward model reads: the features of a response."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from training.data.collate import MicroBatch
from training.errors import ConfigError
from training.model.reward_model import RewardModel


def last_linear(model: RewardModel) -> nn.Linear:
    """The layer that makes the scalar: the head itself, or the last layer in it.

    Raises ConfigError for a head that does not end in one.
    """
    layers = [layer for layer in model.head.modules() if isinstance(layer, nn.Linear)]
    if not layers or layers[-1].out_features != 1:
        raise ConfigError(
            f"{type(model.hf).__name__}: its head does not end in a linear layer with one output, "
            "so there is no Bayesian last layer of it"
        )
    return layers[-1]


@contextmanager
def head_inputs(model: RewardModel) -> Iterator[Callable[[MicroBatch], tuple[Tensor, Tensor]]]:
    """Give a function that reads micro-batches: (rewards [S], features [S, d]), both fp32.

    One forward pass gives both: the features are caught on their way into the last layer. Raises
    ConfigError where that layer's output is not the reward.
    """
    layer = last_linear(model)
    caught: list[Tensor] = []

    def catch(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        caught.append(inputs[0])

    def read(batch: MicroBatch) -> tuple[Tensor, Tensor]:
        caught.clear()
        rewards = model(batch)
        (features,) = caught
        features = features.float()
        if features.shape != (len(rewards), layer.in_features):
            raise ConfigError(
                f"{type(model.hf).__name__}: its last layer reads {list(features.shape)} for "
                f"{len(rewards)} sequences, so there is no Bayesian last layer of it"
            )
        return rewards, features

    handle = layer.register_forward_pre_hook(catch)
    try:
        yield read
    finally:
        handle.remove()


@torch.no_grad()
def check_last_linear(model: RewardModel, rewards: Tensor, features: Tensor) -> None:
    """Raise ConfigError where rewards [S] are not what the last layer makes of features [S, d]."""
    layer = last_linear(model)
    made = layer(features.to(layer.weight.dtype))[:, 0].float()
    if not torch.allclose(made, rewards, rtol=1e-3, atol=1e-3):
        raise ConfigError(
            f"{type(model.hf).__name__}: something follows its last linear layer, so there is no "
            "Bayesian last layer of it"
        )
