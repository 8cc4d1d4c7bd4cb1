"""Settings that nobody gave, by the data, the model and the memory that there is.

What the data and the model decide is the same on every machine, and so are the batches. Layout and
size of a micro-batch may depend on the machine: they change no number but its rounding, and a run
that is resumed keeps them.
"""

import os
from typing import Any, NamedTuple

import msgspec
import torch

from training.config import TrainConfig
from training.model.choose_layout import settle_layout
from training.model.pretrained import read_config
from training.model.reward_model import LoadedModel, RewardModel
from training.model.source import ModelSource, locate_model
from training.parallel.distributed import DistributedContext
from training.planning.activations import BackboneCount, UncountableError, count_backbone
from training.planning.batch_size import batch_pairs_for
from training.planning.memory import (
    WeightMemory,
    check_weights_fit,
    choose_micro_batch,
    free_memory,
    weight_memory,
)

UNCOUNTED_TOKENS = 2048
DECODER_LR = 3e-6
"""WorldPM's, at all of its sizes (A.3)."""
ENCODER_LR = 2e-5
"""Devlin et al. 2019, A.3: the smallest of three for fine-tuning BERT."""

LORA_FACTOR = 10
"""Schulman et al. 2025, "LoRA Without Regret": the best rate is about ten times that of training
all weights, at every rank and size they tried."""


class Choice(NamedTuple):
    """A setting that was chosen, and why."""

    name: str
    value: Any
    reason: str


def learning_rate_for(model: RewardModel, *, adapted: bool = False) -> float:
    """The peak learning rate of a kind of backbone; ``adapted``: of LoRA's matrices upon it."""
    lr = ENCODER_LR if model.is_encoder else DECODER_LR
    return LORA_FACTOR * lr if adapted else lr


def check_memory(
    source: ModelSource, config: TrainConfig, dtype: torch.dtype, context: DistributedContext
) -> None:
    """Count a backbone by its configuration, before it is loaded; it has to fit.

    Raises MemoryShortageError for one that does not, and ConfigError for a model that cannot be
    trained.
    """
    located = locate_model(source, verify=False)
    if located.source.trust_remote_code:  # its code decides what it is made of
        return
    try:
        count = count_backbone(read_config(located), "padded", dtype)
    except UncountableError:
        return
    check_weights_fit(
        source.name,
        count,
        _weights(count, config, dtype, context),
        context.device.type,
        free=free_memory(context.device, local_processes()),
    )


def resolve(
    config: TrainConfig,
    loaded: LoadedModel,
    dtype: torch.dtype,
    context: DistributedContext,
    *,
    pairs: int,
    place: torch.device | None = None,
    computes: torch.dtype = torch.float32,
) -> tuple[TrainConfig, list[Choice]]:
    """Settle every setting that is null or ``auto``; every rank must call.

    Args:
        loaded: in memory, or divided by fsdp; its layout is settled, too.
        dtype: in which the run computes.
        pairs: of an epoch.
        place: where the model is now; None: on the device of this rank.
        computes: in which it computes now.

    Returns the configuration without null or ``auto`` among them, and what was chosen. Raises
    ConfigError for a layout that the backbone does not allow.
    """
    settle_layout(loaded, config.model, place or context.device, computes)
    model, chosen = loaded.model, []
    tokens, batch, lr = config.model.micro_batch_tokens, config.data.batch_pairs, config.optim.lr
    if config.model.layout == "auto":
        chosen.append(Choice("model.layout", model.layout, model.layout_reason))
    if config.data.max_length is None:
        reason = "what the model can read, at most 2,048"
        chosen.append(Choice("data.max_length", loaded.tokens.max_length, reason))
    if batch is None:
        batch = batch_pairs_for(pairs)
        chosen.append(Choice("data.batch_pairs", batch, f"by the {pairs:,} pairs of an epoch"))
    if tokens is None:
        tokens, reason = _micro_batch(config, loaded, dtype, context)
        chosen.append(Choice("model.micro_batch_tokens", tokens, reason))
    if lr is None:
        lr = learning_rate_for(model, adapted=loaded.adapter is not None)
        reason = "usual for an encoder" if model.is_encoder else "WorldPM's, at all of its sizes"
        if loaded.adapter is not None:
            reason += f", times {LORA_FACTOR} for LoRA"
        chosen.append(Choice("optim.lr", lr, reason))
    replace = msgspec.structs.replace
    found = replace(
        config,
        data=replace(config.data, batch_pairs=batch, max_length=loaded.tokens.max_length),
        model=replace(config.model, layout=model.layout, micro_batch_tokens=tokens),
        optim=replace(config.optim, lr=lr),
    )
    return found, chosen


def local_processes() -> int:
    """Processes of the run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def _micro_batch(
    config: TrainConfig, loaded: LoadedModel, dtype: torch.dtype, context: DistributedContext
) -> tuple[int, str]:
    """The same on every rank: what fits on all of them."""
    try:
        count = count_backbone(loaded.model.hf.config, loaded.model.layout, dtype)
    except UncountableError:
        return UNCOUNTED_TOKENS, "few, as what this backbone keeps in memory cannot be counted"
    size = choose_micro_batch(
        count.divided(context.context_degree),
        _weights(count, config, dtype, context),
        context.device.type,
        free=free_memory(context.device, local_processes()),
        present=_present(loaded.model, context.device),
        checkpointing=config.model.activation_checkpointing,
        offloaded=config.model.activation_offload and context.device.type == "cuda",
    )
    return -int(context.max(-size.tokens)), size.reason


def _present(model: RewardModel, device: torch.device) -> int:
    """Bytes of the model that lie on a device: with fsdp this rank's part of it."""
    found = 0
    for parameter in model.parameters():
        local: Any = parameter.to_local() if hasattr(parameter, "to_local") else parameter
        if local.device.type == device.type:
            found += local.untyped_storage().nbytes()
    return found


def _weights(
    count: BackboneCount, config: TrainConfig, dtype: torch.dtype, context: DistributedContext
) -> WeightMemory:
    return weight_memory(
        count,
        dtype,
        devices=context.count,
        parallel=config.run.parallel,
        shard_degree=config.run.shard_degree,
        # On a CPU there is no other memory to which anything could be moved.
        cpu_offload=config.run.cpu_offload and context.device.type != "cpu",
        trained=trained_weights(count, config),
        four_bits=config.lora.base_precision == "nf4",
        averaged=config.optim.ema_decay is not None,
        starts_whole=config.lora.dora,
    )


def trained_weights(count: BackboneCount, config: TrainConfig) -> int | None:
    """LoRA's matrices and the head; None where all weights are trained."""
    if config.lora.rank is None:
        return None
    return count.adapter_parameters(config.lora) + count.head_parameters
