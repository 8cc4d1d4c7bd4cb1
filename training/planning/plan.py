"""``forumprefs train --dry-run``: memory, time and disk of a run, before anything is loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from schemas.machine import usable_memory
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
from training.planning.memory import (
    FP32,
    HEADROOM,
    MicroBatchSize,
    Parallel,
    WeightMemory,
    activation_memory,
    choose_micro_batch,
    gigabytes,
    weight_memory,
)
from training.planning.tokens import TokenSample, sample_tokens
from training.throughput import BF16_PEAK_FLOPS

GPU_MEMORY = {
    "A100": 80e9,
    "A100 40GB": 40e9,
    "L40S": 48e9,
    "H100": 80e9,
    "H200": 141e9,
    "B200": 180e9,
    "4090": 24e9,
}
"""Bytes by the makers' data sheets."""
MFU = {"shared": 0.468, "packed": 0.498, "padded": 0.151}
"""Measured on one H100 (docs/training.md); padded without torch.compile."""
RECOMPUTING = 0.763
"""MFU with activations recomputed over that without (same table)."""
LOWEST_MFU = 0.33
"""torchtitan's lowest for 8B weights on 8 to 128 H100; none of ours is of more than one GPU."""
GPUS_OF_A_MACHINE = 8


@dataclass(frozen=True)
class Hardware:
    """What a plan is for: GPUs of a kind, or this machine's CPU."""

    count: int
    gpu: str | None
    memory: float
    """Bytes of each."""

    @property
    def device(self) -> str:
        """Its torch device."""
        return "cpu" if self.gpu is None else "cuda"

    @property
    def dtype(self) -> torch.dtype:
        """In which the backbone computes there."""
        return torch.float32 if self.gpu is None else torch.bfloat16

    def __str__(self) -> str:
        name = self.gpu or "CPU of this machine"
        return f"{self.count} × {name}, {gigabytes(self.memory)}{' free' * (self.gpu is None)}"


@dataclass(frozen=True)
class Division:
    """A way to divide a run over GPUs, activations recomputed or not, and what it takes."""

    name: str
    recomputes: bool
    weights: WeightMemory
    micro_batch: MicroBatchSize
    activations: float
    """Bytes of a micro-batch."""
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
        """From the highest to the lowest utilisation that was measured; None for a CPU."""
        gpu = self.hardware.gpu
        if gpu is None:
            return None
        peak = BF16_PEAK_FLOPS[gpu.split()[0]] * self.hardware.count
        factor = RECOMPUTING if recomputes else 1.0
        best = MFU[self.layout] * factor
        worst = min(LOWEST_MFU * factor, best)
        return self.flops / (peak * best) / 3600, self.flops / (peak * worst) / 3600


def find_hardware(gpus: int | None, gpu: str | None) -> Hardware:
    """What ``--gpus`` and ``--gpu`` name, else what this machine has; raises ConfigError."""
    if gpu is None and torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory
        found = torch.cuda.get_device_name(0)
        known = [name for name in GPU_MEMORY if all(word in found for word in name.split())]
        return Hardware(gpus or torch.cuda.device_count(), (known or ["H100"])[-1], memory)
    if gpu is None and gpus is None:
        return Hardware(1, None, usable_memory())
    by_name = {name.lower().replace(" ", "-"): name for name in GPU_MEMORY}
    name = by_name.get((gpu or "h100").lower())
    if name is None:
        raise ConfigError(f"--gpu {gpu}: unknown; known are {', '.join(by_name)}")
    return Hardware(gpus or 1, name, GPU_MEMORY[name])


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
            degree = _hsdp_degree(config, hardware)
            if degree < hardware.count:
                ways.append((f"hsdp {degree}", "fsdp", degree))
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
        )
        for recomputes in (False, True):
            size = choose_micro_batch(
                count, weights, hardware.device, free=hardware.memory, checkpointing=recomputes
            )
            if config.model.micro_batch_tokens:
                size = MicroBatchSize(config.model.micro_batch_tokens, "as it was asked for")
            takes = activation_memory(count, size.tokens, checkpointing=recomputes)
            fits = weights.total + takes <= hardware.memory * (1 - HEADROOM)
            fits = fits and weights.start <= hardware.memory
            found.append(Division(name, recomputes, weights, size, takes, fits))
    return found


def _hsdp_degree(config: TrainConfig, hardware: Hardware) -> int:
    """Devices of a group that holds the weights once: what is asked for, else one machine's."""
    if config.run.shard_degree is not None:
        return config.run.shard_degree
    whole = hardware.count > GPUS_OF_A_MACHINE and hardware.count % GPUS_OF_A_MACHINE == 0
    return GPUS_OF_A_MACHINE if whole else hardware.count


def show_plan(plan: Plan, console: Console) -> None:
    """Print a plan."""

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False)

    count, sample, hardware = plan.count, plan.sample, plan.hardware
    adapted = plan.config.lora.rank is not None
    trained = f" ({plan.trained / 1e6:,.1f}M trained: LoRA and the head)" if adapted else ""
    say(
        f"{plan.model}: {count.parameters / 1e6:,.1f}M weights{trained}, "
        f"{len(count.blocks)} blocks, {plan.layout} layout, at most {plan.max_length:,} tokens; "
        f"on {hardware}"
    )
    exact = " (all were read)" if sample.low == sample.high else ""
    say(
        f"{sample.tokens:,.0f} tokens a pair [{sample.low:,.0f}, {sample.high:,.0f}], "
        f"{sample.computed:,.0f} with padding, by {sample.pairs:,} pairs{exact}; "
        f"{sample.at_limit:.1%} of the responses reach the limit"
    )
    say(
        f"{plan.pairs:,} pairs in {plan.steps:,} steps of up to {plan.batch_pairs:,}, "
        f"learning rate {plan.learning_rate:g}: {plan.pairs * sample.tokens / 1e6:,.1f}M tokens "
        f"[{plan.pairs * sample.low / 1e6:,.1f}M, {plan.pairs * sample.high / 1e6:,.1f}M], "
        f"{plan.flops:.2e} FLOP\n"
    )
    console.print(_table(plan))
    degree = _hsdp_degree(plan.config, hardware)
    is_hsdp = any(way.name == f"hsdp {degree}" for way in plan.divisions)
    say(
        "\nOf each device; tokens: of a micro-batch. recompute: model.activation_checkpointing=true"
        + (f". hsdp {degree}: run.shard_degree={degree}, the others are copies" * is_hsdp)
    )
    for note in _not_counted(plan.config, hardware):
        say(note)
    for recomputes in (False, True):
        if (hours := plan.hours(recomputes=recomputes)) is not None:
            how = "with activations recomputed" if recomputes else "time"
            say(f"{how}: {_hours(hours[0])} to {_hours(hours[1])}")
    if hardware.gpu is None:
        say("time: a run says it before it starts, by a micro-batch that it times")
    else:
        say(
            f"from {MFU[plan.layout]:.0%} of the peak, which we measured on one H100, down to "
            f"{LOWEST_MFU:.0%}, the least that torchtitan reports for 8 to 128 of them"
        )
    say("\n".join(_disk_and_host(plan)))


def _not_counted(config: TrainConfig, hardware: Hardware) -> list[str]:
    """What was asked for and changes memory or time in a way that the plan does not compute."""
    found = []
    if config.lora.rank is not None:
        found.append(
            "at the start the host has the base in fp32 once a process"
            if config.lora.base_precision == "nf4"
            else "at the start each process has the base whole in fp32, in the host's memory and "
            "then on its device (counted in what fits)"
        )
    if config.model.activation_checkpointing == "selective":
        found.append(
            "model.activation_checkpointing=selective is not counted: memory and time lie between "
            "those without and with recompute"
        )
    if config.model.activation_offload and hardware.gpu is not None:
        found.append("model.activation_offload is not counted: it takes less of the device")
    if config.run.context_parallel_degree > 1:
        found.append(
            f"run.context_parallel_degree={config.run.context_parallel_degree} is not counted: "
            "activations are those of a micro-batch on one device, of which each then has a part, "
            "and the exchange of keys and values takes time"
        )
    if config.run.cpu_offload and hardware.gpu is not None:
        found.append(
            "run.cpu_offload: of fsdp, what is divided lies in the host's memory; its optimizer's "
            "time there is not counted"
        )
    return found


def _disk_and_host(plan: Plan) -> list[str]:
    config, trained = plan.config, plan.trained
    first = plan.divisions[0].weights
    models = 2 if config.optim.ema_decay is not None else 1
    kept = config.run.keep_checkpoints
    disk = (kept + 1) * first.saving + models * FP32 * trained
    merged = ""
    if config.lora.save_merged:
        disk += FP32 * plan.count.parameters
        merged = ", model-merged"
    average = ", its average" if models == 2 else ""
    lines = [
        f"disk: {gigabytes(first.saving)} a checkpoint, {gigabytes(disk)} in all ({kept} kept, one "
        f"being written, the model{average}{merged})",
    ]
    parts = [f"{gigabytes(first.saving)} on the first machine"]
    ranks = min(GPUS_OF_A_MACHINE, plan.hardware.count)
    for way in plan.divisions:
        if way.weights.saving < first.saving and not way.recomputes:
            size = gigabytes(ranks * way.weights.saving)
            parts.append(f"{way.name} {size} on each machine of {ranks}")
    lines.append(f"host memory while a checkpoint is written: {'; '.join(parts)}")
    if len(parts) > 1:
        lines.append(
            f"host memory when the finished model is written: {gigabytes(FP32 * trained)} on the "
            "first machine"
        )
    if config.run.cpu_offload and plan.hardware.gpu is not None and plan.hardware.count > 1:
        # Weights, gradients and AdamW's state, of the host while training goes on.
        per_weight = FP32 + first.saving / trained
        for way in plan.divisions:
            if way.weights.gradients == 0 and not way.recomputes:
                share = way.weights.saving / first.saving
                lines.append(
                    f"host memory in training: {way.name} "
                    f"{gigabytes(ranks * share * per_weight * trained)} on each machine of {ranks}"
                )
    return lines


def _table(plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    names = ("recompute", "weights", "copies", "gradients", "AdamW", "buffers", "tokens")
    table.add_column("", no_wrap=True)
    for name in (*names, "activations", "total", "fits"):
        table.add_column(name, justify="right", no_wrap=True)
    for way in plan.divisions:
        weights = way.weights
        parts = (weights.weights, weights.copies, weights.gradients, weights.optimizer)
        table.add_row(
            way.name,
            "yes" if way.recomputes else "no",
            *map(gigabytes, (*parts, weights.exchange)),
            f"{way.micro_batch.tokens:,}",
            gigabytes(way.activations),
            gigabytes(weights.total + way.activations),
            "yes" if way.fits else "no",
        )
    return table


def _hours(hours: float) -> str:
    if hours < 1:
        return f"{max(hours * 60, 1):,.0f} min"
    return f"{hours:,.1f} hours" if hours < 100 else f"{hours / 24:,.1f} days"


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
