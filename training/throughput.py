"""Floating-point operations of a run, and how many of them a GPU could do at most."""

from typing import Any

import torch

from training.data.collate import MicroBatch
from training.model.four_bits import parameter_count
from training.model.reward_model import RewardModel

BF16_PEAK_FLOPS = {
    "A100": 312e12,
    "L40S": 362e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "H200": 989e12,
    "GH200": 989e12,
    "B200": 2250e12,
    "4090": 165e12,
}
"""Dense bf16 peak by the makers' data sheets, FLOP/s."""


def peak_flops(device: torch.device) -> float | None:
    """bf16 peak of a known GPU, FLOP/s; None for others and for CPUs."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    for key in sorted(BF16_PEAK_FLOPS, key=len, reverse=True):
        if all(word in name for word in key.split()):
            return BF16_PEAK_FLOPS[key]
    return None


class FlopCount:
    """Floating-point operations that training on a micro-batch needs, recomputation not counted.

    6 per weight of the blocks and token (4 for a frozen one, which needs no gradient), and 12 per
    attention channel and visible (query, key) of each layer (Chowdhery et al. 2022, appendix B);
    padding does not count.
    """

    def __init__(self, model: RewardModel) -> None:
        self.block_parameters = parameter_count(model.blocks)
        self.trained_parameters = sum(
            p.numel() for p in model.blocks.parameters() if p.requires_grad
        )
        config: Any = model.hf.config.get_text_config()
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.attention_channels = config.num_hidden_layers * config.num_attention_heads * head

    def __call__(self, batch: MicroBatch) -> float:
        """FLOPs of a forward and backward pass."""
        if batch.segments is not None:
            visible: float = sum(
                (q1 - q0) * (k1 - k0) - (q1 - q0) * (q1 - q0 - 1) / 2
                for q0, q1, k0, k1 in batch.segments.spans
            )
        else:
            assert batch.attention_mask is not None
            lengths = batch.attention_mask.sum(1).double()
            visible = float((lengths * (lengths + 1) / 2).sum())
        dense = (4.0 * self.block_parameters + 2.0 * self.trained_parameters) * batch.tokens
        return float(dense + 12.0 * self.attention_channels * visible)
