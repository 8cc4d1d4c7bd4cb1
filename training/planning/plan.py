"""``forumprefs train --dry-run``: memory and time of a run, before anything is loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.config import TrainConfig
from training.data.collate import Layout
from training.data.dataset import PairDataset
from training.data.template import choose_template, load_template
from training.data.tokenizer import PairTokenizer
from training.errors import ConfigError, TrainingDatasetError
from training.model.limits import longest_sequence
from training.model.pretrained import read_config, read_tokenizer
from training.model.reward_model import MAX_LENGTH
from training.model.source import CONFIG_NAME, LocatedModel, ModelSource, locate_model, read_object
from training.planning.activations import BackboneCount, UncountableError, count_backbone
from training.planning.batch_size import batch_pairs_for
from training.planning.defaults import DECODER_LR, ENCODER_LR, LORA_FACTOR, trained_weights
from training.planning.hardware import GPUS_OF_A_MACHINE, Hardware
from training.planning.memory import (
    HEADROOM,
    MicroBatchSize,
    Parallel,
    WeightMemory,
    activation_memory,
    choose_micro_batch,
    weight_memory,
)
from training.planning.tokens import TokenSample, sample_tokens

MFU = {"shared": 0.468, "packed": 0.498, "padded": 0.151}
"""Measured on one H100 (docs/training.md); padded without torch.compile."""
RECOMPUTING = 0.763
"""MFU with activations recomputed over that without (same table)."""
LOWEST_MFU = 0.33
"""torchtitan's lowest for 8B weights on 8 to 128 H100; none of ours is of more than one GPU."""


@dataclass(frozen=True)
class Division:
    """A way to divide a run over GPUs, activations recomputed or not, and what it takes."""

    name: str
    recomputes: bool | str
    """Or "selective"."""
    weights: WeightMemory
    micro_batch: MicroBatchSize
    activations: float
    """Bytes of a micro-batch."""
    on_host: float
    """Bytes of them that wait in the host's memory instead."""
    fits: bool


@dataclass(frozen=True)
class Plan:
    """What a run takes."""

    model: str
    count: BackboneCount
    layout: Layout
    max_length: int
    learning_rate: float
    hardware: Hardware
    sample: TokenSample
    pairs: int
    batch_pairs: int
    steps: int
    divisions: tuple[Division, ...]
    config: TrainConfig

    @property
    def trained(self) -> int:
        """Weights that are trained."""
        found = trained_weights(self.count, self.config)
        return self.count.parameters if found is None else found

    @property
    def flops(self) -> float:
        """Of all steps, forward and backward; recomputation not counted.

        6 per weight and token, 4 for a frozen one, as ``training.throughput`` counts a run.
        """
        count, sample = self.count, self.sample
        adapter = count.adapter_parameters(self.config.lora)
        weights = sum(count.block_parameters)
        dense = 6.0 * weights if self.config.lora.rank is None else 4.0 * weights + 6.0 * adapter
        per_pair = dense * sample.tokens
        per_pair += 12.0 * count.attention_channels * sample.visible
        return per_pair * self.pairs

    def hours(self, *, recomputes: bool) -> tuple[float, float] | None:
        """From the highest to the lowest utilisation that was measured; None without a peak."""
        if self.hardware.peak is None:
            return None
        peak = self.hardware.peak * self.hardware.count
        factor = RECOMPUTING if recomputes else 1.0
        best = MFU[self.layout] * factor
        worst = min(LOWEST_MFU * factor, best)
        return self.flops / (peak * best) / 3600, self.flops / (peak * worst) / 3600


def make_plan(
    config: TrainConfig,
    dataset: str,
    source: ModelSource,
    hardware: Hardware,
    *,
    pairs: int | None = None,
) -> Plan:
    """Plan a run.

    Args:
        config: its settings.
        dataset: as for a run; a sample of its row groups is read.
        source: of the model, of which no weights are read: a folder may hold ``config.json`` and a
            tokenizer alone.
        hardware: that it is to run on.
        pairs: of an epoch, if it is to be of more or fewer than the dataset has.

    Raises ConfigError, TemplateError or TrainingDatasetError.
    """
    located = _locate(source)
    model_config = read_config(located)
    dtype = hardware.dtype if config.model.precision == "auto" else _dtype(config.model.precision)
    asked = config.model.layout
    try:
        count = count_backbone(model_config, "padded" if asked == "auto" else asked, dtype)
    except UncountableError as error:
        raise source.error(f"cannot be planned, its code looks into tensors ({error})") from None
    layout: Layout = asked if asked != "auto" else "padded" if count.is_encoder else "shared"
    longest = config.data.max_length or min(
        longest_sequence(model_config) or MAX_LENGTH, MAX_LENGTH
    )
    split = PairDataset(dataset, "train")
    if not split.rows:
        raise TrainingDatasetError(f"{dataset}: has no training pairs")
    sample = sample_tokens(
        split,
        _tokens(located, model_config, config, count, longest),
        layout,
        micro_batch_tokens=config.model.micro_batch_tokens or 4096,
    )
    count = count_backbone(model_config, layout, dtype, gathered_keys=sample.keys)
    an_epoch = pairs or min(sum(split.rows), config.data.max_pairs or sum(split.rows))
    batch = config.data.batch_pairs or batch_pairs_for(an_epoch)
    steps = -(-an_epoch // batch) * config.run.epochs
    seen = an_epoch * config.run.epochs
    if config.run.max_steps and config.run.max_steps < steps:
        seen, steps = round(seen * config.run.max_steps / steps), config.run.max_steps
    return Plan(
        model=source.name,
        count=count,
        layout=layout,
        max_length=longest,
        learning_rate=config.optim.lr or _learning_rate(config, count),
        hardware=hardware,
        sample=sample,
        pairs=seen,
        batch_pairs=batch,
        steps=steps,
        divisions=tuple(_divisions(config, count, hardware, dtype)),
        config=config,
    )


def _learning_rate(config: TrainConfig, count: BackboneCount) -> float:
    lr = ENCODER_LR if count.is_encoder else DECODER_LR
    return lr if config.lora.rank is None else LORA_FACTOR * lr


def _divisions(
    config: TrainConfig, count: BackboneCount, hardware: Hardware, dtype: torch.dtype
) -> list[Division]:
    """Every way that there is, and the one that is asked for among them."""
    for setting, asked in (
        ("shard_degree", config.run.shard_degree),
        ("context_parallel_degree", config.run.context_parallel_degree),
    ):
        if hardware.count % (asked or 1):
            raise ConfigError(
                f"run.{setting}={asked} does not divide the {hardware.count} devices of the plan"
            )
    ways: list[tuple[str, Parallel, int | None]] = [("one device", "ddp", None)]
    if hardware.count > 1:
        ways = [("ddp", "ddp", None)]
        if config.lora.base_precision != "nf4":  # which fsdp cannot divide
            ways.append(("fsdp", "fsdp", None))
            degree = hsdp_degree(config, hardware)
            if degree < hardware.count:
                ways.append((f"hsdp {degree}", "fsdp", degree))
    offloaded = config.model.activation_offload and hardware.gpu is not None
    asked = config.model.activation_checkpointing == "selective"
    ways_to_recompute: tuple[bool | str, ...] = (False, *(["selective"] * asked), True)
    count = count.divided(config.run.context_parallel_degree)
    found = []
    for name, parallel, shard_degree in ways:
        weights = weight_memory(
            count,
            dtype,
            devices=hardware.count,
            parallel=parallel,
            shard_degree=shard_degree,
            cpu_offload=config.run.cpu_offload and hardware.gpu is not None,
            trained=trained_weights(count, config),
            four_bits=config.lora.base_precision == "nf4",
            averaged=config.optim.ema_decay is not None,
            starts_whole=config.lora.dora,
        )
        for recomputes in ways_to_recompute:
            size = choose_micro_batch(
                count,
                weights,
                hardware.device,
                free=hardware.memory,
                checkpointing=recomputes,
                offloaded=offloaded,
            )
            if config.model.micro_batch_tokens:
                size = MicroBatchSize(config.model.micro_batch_tokens, "as it was asked for")
            takes = activation_memory(
                count, size.tokens, checkpointing=recomputes, offloaded=offloaded
            )
            fits = weights.total + takes <= hardware.memory * (1 - HEADROOM)
            fits = fits and weights.start <= hardware.memory
            on_host = size.tokens * count.offloaded_per_token(recomputes) if offloaded else 0.0
            found.append(Division(name, recomputes, weights, size, takes, on_host, fits))
    return found


def hsdp_degree(config: TrainConfig, hardware: Hardware) -> int:
    """Devices of a group that holds the weights once: what is asked for, else one machine's."""
    if config.run.shard_degree is not None:
        return config.run.shard_degree
    whole = hardware.count > GPUS_OF_A_MACHINE and hardware.count % GPUS_OF_A_MACHINE == 0
    return GPUS_OF_A_MACHINE if whole else hardware.count


def _dtype(precision: str) -> torch.dtype:
    return torch.bfloat16 if precision == "bf16" else torch.float32


def _locate(source: ModelSource) -> LocatedModel:
    """A model of which there may be no more than its configuration and a tokenizer."""
    folder = Path(source.name)
    if (folder / CONFIG_NAME).is_file():
        config = read_object(source, folder / CONFIG_NAME)
        return LocatedModel(source, folder, None, config, {})
    return locate_model(source, verify=False)


def _tokens(
    located: LocatedModel,
    model_config: Any,
    config: TrainConfig,
    count: BackboneCount,
    longest: int,
) -> PairTokenizer:
    tokenizer = read_tokenizer(located, model_config)
    template = load_template(located.folder) or choose_template(
        tokenizer, config.data.template, encoder=count.is_encoder
    )
    return PairTokenizer(
        tokenizer,
        template,
        max_length=longest,
        max_prompt_length=config.data.max_prompt_length,
    )
