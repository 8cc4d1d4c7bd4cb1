"""How much memory training takes, of weights and of activations, and how much there is."""

from dataclasses import dataclass
from typing import Literal

import torch

from schemas.machine import usable_memory
from training.errors import MemoryShortageError
from training.planning.activations import BackboneCount

FP32 = 4
ADAM = 2 * FP32
"""Bytes of AdamW's two means of a weight."""
BUCKET_BYTES = 2 * (256 << 20)
"""Gradients that ddp sums at once, and their flat copy."""
GATHERED_BLOCKS = 2
"""Blocks whose weights fsdp holds whole: the one that computes and the one that is fetched."""
BACKWARD = 1.5
"""Bytes that the backward pass of a block takes on top, over those that the block kept: gradients
of its intermediate values, and fragments. By one measured run; the others of
``benchmarks/planned_memory.py`` test it."""
FOUR_BITS = 0.52
"""Bytes of a weight in nf4, with the scales of its block (docs/lora.md)."""
HEADROOM = 0.15
"""Share of the free memory that a plan leaves alone: fragments, the data, other programs."""
SMALLEST_TOKENS = 512
LARGEST_TOKENS = {"cuda": 16_384, "cpu": 4096}
"""Tokens of a micro-batch from which on more gain nothing that we could measure."""

Parallel = Literal["ddp", "fsdp"]


@dataclass(frozen=True)
class WeightMemory:
    """Bytes on one device, whatever the batch."""

    weights: float
    """fp32 masters."""
    copies: float
    """In the dtype that computes, where it is another, and what fsdp gathers of other devices."""
    gradients: float
    optimizer: float
    exchange: float
    """Buffers of gradients on their way between devices."""
    saving: float
    """The copy of what a checkpoint holds, in the host's memory while it is written."""

    start: float = 0.0
    """Taken before the base of an adapter is cast and divided."""

    @property
    def total(self) -> float:
        """Of all but the copy that is saved."""
        return self.weights + self.copies + self.gradients + self.optimizer + self.exchange


def weight_memory(
    count: BackboneCount,
    dtype: torch.dtype,
    *,
    devices: int = 1,
    parallel: Parallel = "ddp",
    shard_degree: int | None = None,
    cpu_offload: bool = False,
    trained: int | None = None,
    four_bits: bool = False,
    averaged: bool = False,
    starts_whole: bool = False,
) -> WeightMemory:
    """Memory of weights, gradients and AdamW's state on one of several devices.

    Args:
        count: of the backbone.
        dtype: in which it computes.
        devices, parallel: ddp copies everything to each device, fsdp divides it.
        shard_degree: devices over which fsdp divides, the rest being copies of them (HSDP); None:
            all.
        cpu_offload: what is divided lies in the memory of the host.
        trained: weights that are trained, LoRA's matrices and the head, where those of the base
            are frozen in ``dtype``; None: all.
        four_bits: the frozen weights of the blocks have 4 bits.
        averaged: a running average is kept of what is trained.
        starts_whole: the base of an adapter is in fp32 at first, since it cannot be read in parts.
    """
    size = dtype.itemsize
    learning = count.parameters if trained is None else trained
    frozen = 0.0
    if trained is not None:
        in_blocks = sum(count.block_parameters)
        frozen = size * float(count.parameters - count.head_parameters - in_blocks)
        frozen += in_blocks * (FOUR_BITS if four_bits else size)
    state = ADAM + (FP32 if averaged else 0)
    start = float(FP32 * count.parameters) if starts_whole and not four_bits else 0.0
    half = size != FP32
    if parallel == "ddp" or devices == 1:
        copies = size * (learning - count.head_parameters) if half else 0
        exchange = min(FP32 * learning, BUCKET_BYTES) if devices > 1 else 0
        return WeightMemory(
            weights=FP32 * learning + frozen,
            copies=copies,
            gradients=FP32 * learning,
            optimizer=state * learning,
            exchange=exchange,
            saving=(FP32 + state) * learning,
            start=start,
        )
    shards = min(shard_degree or devices, devices)
    largest = max(count.block_parameters)
    outside = count.parameters - sum(count.block_parameters)
    gathered = size * (GATHERED_BLOCKS * largest + outside)
    kept = 0.0 if cpu_offload else 1 / shards
    return WeightMemory(
        weights=(FP32 * learning + frozen) * kept,
        copies=gathered,
        gradients=FP32 * learning * kept,
        optimizer=state * learning * kept,
        exchange=float(FP32 * max(largest, outside)),
        # An adapter is gathered and saved whole.
        saving=(FP32 + state) * learning / (1 if trained is not None else shards),
        start=0.0 if cpu_offload else start,
    )


def activation_memory(
    count: BackboneCount,
    tokens: int,
    *,
    checkpointing: bool | str = False,
    offloaded: bool = False,
) -> float:
    """Bytes that a micro-batch of so many tokens (padding included) takes at its peak.

    ``offloaded``: what waits for the backward pass does so in the host's memory, not counted.
    """
    kept = count.kept_per_token(checkpointing, offloaded=offloaded)
    return tokens * (kept + BACKWARD * max(count.blocks))


def free_memory(device: torch.device, processes: int = 1) -> int:
    """Bytes that this process may still take on its device, of which it has ``processes``.

    On a GPU what is free or kept by torch without use; on a CPU what is available by the system
    and the limits of the container.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + kept)
    return usable_memory() // processes


@dataclass(frozen=True)
class MicroBatchSize:
    """Tokens of a micro-batch, and why."""

    tokens: int
    reason: str


def choose_micro_batch(
    count: BackboneCount,
    weights: WeightMemory,
    device: str,
    *,
    free: float,
    present: float = 0,
    checkpointing: bool | str = False,
    offloaded: bool = False,
) -> MicroBatchSize:
    """The largest power of two of tokens that fits, up to what pays.

    Args:
        free: bytes that are free now.
        present: bytes of ``weights`` that are taken already.
        checkpointing, offloaded: as for :func:`activation_memory`.
    """
    room = free * (1 - HEADROOM) - (weights.total - present)

    def takes_of(tokens: int) -> float:
        return activation_memory(count, tokens, checkpointing=checkpointing, offloaded=offloaded)

    tokens = LARGEST_TOKENS[device]
    while tokens > SMALLEST_TOKENS and room < takes_of(tokens):
        tokens //= 2
    takes = takes_of(tokens)
    where = "on the GPU" if device == "cuda" else "in memory"
    reason = f"about {gigabytes(takes)} of the {gigabytes(max(room, 0))} that are left {where}"
    if takes > room:
        reason = (
            f"the least; {gigabytes(takes)} of activations may not fit into the "
            f"{gigabytes(max(room, 0))} that are left {where}"
        )
    return MicroBatchSize(tokens, reason)


def check_weights_fit(
    name: str, count: BackboneCount, weights: WeightMemory, device: str, *, free: float
) -> None:
    """Raise MemoryShortageError where training cannot fit, whatever the batch.

    Before anything is loaded: on a CPU the system would end the process without a word.
    """
    on_cpu = device == "cpu"
    saving = weights.saving if on_cpu else 0
    needed = max(weights.total + saving, weights.start)
    if needed <= free:
        return
    where = "this machine" if on_cpu else "the GPU"
    takes = f"{gigabytes(weights.total)} (weights, gradients, AdamW's state)"
    if weights.start > weights.total + saving:
        takes, saving = f"{gigabytes(weights.start)} (all of them in fp32, at the start)", 0.0
    more = f", and {gigabytes(saving)} of copies while a checkpoint is written" if saving else ""
    raise MemoryShortageError(
        f"out of memory before it begins: to train the {count.parameters / 1e9:,.2f} billion "
        f"weights of {name} takes {takes}{more}; {where} has {gigabytes(free)} free\n"
        "Take a smaller model, train an adapter (--set lora.rank=16), or divide the model over "
        "several GPUs (--set run.parallel=fsdp); forumprefs train --dry-run says what fits where."
    )


def gigabytes(size: float) -> str:
    """A size for people to read: '3.2 GB', '12 MB'."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
