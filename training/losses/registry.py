"""The losses by name."""

import difflib
from collections.abc import Mapping
from typing import Final

from training.errors import ConfigError
from training.losses.base import Loss
from training.losses.lcpo import ESTIMATED_NOISE
from training.losses.length import LENGTH
from training.losses.pointwise import BRADLEY_TERRY, MARGIN, ROBUST, SCALED, SOFT
from training.losses.settings import LossConfig

LOSSES: Final[dict[str, Loss]] = {
    loss.name: loss
    for loss in (BRADLEY_TERRY, SOFT, MARGIN, SCALED, ROBUST, ESTIMATED_NOISE, LENGTH)
}
"""In the order of the documentation; the first is the default."""


def loss_named(name: str) -> Loss:
    """The loss that ``loss.name`` chooses; raises ConfigError that names the nearest one."""
    if name not in LOSSES:
        near = difflib.get_close_matches(name, LOSSES, 1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"no loss.name {name}; there are {', '.join(LOSSES)}{hint}")
    return LOSSES[name]


def noise_of(config: LossConfig) -> float | Mapping[str, float] | str | None:
    """The share of flipped labels, or where it comes from; None for a loss that reads none."""
    default = loss_named(config.name).default_noise
    return default if default is None or config.label_noise is None else config.label_noise


def tells_sites_apart(config: LossConfig) -> bool:
    """Whether the loss has to know of each pair which site it is of."""
    noise = noise_of(config)
    return loss_named(config.name).needs_sites or isinstance(noise, str | Mapping)


def check_loss(config: LossConfig) -> None:
    """Raise ConfigError for settings that the chosen loss cannot be used with."""
    loss = loss_named(config.name)
    if config.label_smoothing and not loss.can_be_smoothed:
        raise ConfigError(
            f"loss.label_smoothing = {config.label_smoothing} with loss.name = {loss.name}: "
            f"{loss.name} has its own model of wrong labels, which smoothing would undo; "
            "set it to 0"
        )


def loss_name_help() -> str:
    """The losses with a phrase for each, for ``--help`` and docs/training_settings.md."""
    phrases = "; ".join(f"{loss.name}: {loss.summary}" for loss in LOSSES.values())
    return f"{' | '.join(LOSSES)}. {phrases}"
