"""What is kept of the forward pass for the backward pass: recomputed, or in the host's memory."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import (
    CheckpointPolicy,
    SelectiveCheckpointContext,
    checkpoint,
    create_selective_checkpoint_contexts,
)

import training.model.attention  # noqa: F401  # it makes known the operator of varlen, where there is one

SMALLEST_OFFLOADED = 1 << 16
"""Elements; of smaller tensors the copy takes longer than it saves."""

MATRIX_PRODUCTS = {torch.ops.aten.mm.default, torch.ops.aten.addmm.default}
"""Of which selective checkpointing keeps every second one's output."""
_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
}
if hasattr(torch.ops.torch_attn, "_varlen_attn"):
    _ATTENTION.add(torch.ops.torch_attn._varlen_attn.default)


def checkpoint_selectively(blocks: Iterable[nn.Module]) -> None:
    """Keep the outputs of attention and of every second matrix product; recompute the rest.

    These take most of the time, and norms and activation functions most of the memory. The choice
    is that of torchtitan (``selective``, option ``op``).
    """
    for block in blocks:
        block.forward = partial(
            checkpoint, block.forward, use_reentrant=False, context_fn=_selective_contexts
        )


def _selective_contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    matmuls = {False: 0, True: 0}  # of the forward pass, and of its repetition

    def policy(
        context: SelectiveCheckpointContext, operator: Any, *_: Any, **__: Any
    ) -> CheckpointPolicy:
        keep = operator in _ATTENTION
        if operator in MATRIX_PRODUCTS:
            matmuls[context.is_recompute] += 1
            keep = matmuls[context.is_recompute] % 2 == 1
        return CheckpointPolicy.MUST_SAVE if keep else CheckpointPolicy.PREFER_RECOMPUTE

    contexts: tuple[Any, Any] = create_selective_checkpoint_contexts(policy)
    return contexts


def to_host(tensor: Tensor) -> Tensor:
    """A copy in pinned memory of the host, made while the GPU goes on; a CPU's tensor as it is."""
    if tensor.device.type == "cpu":
        return tensor
    copied = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=True)
    return copied.copy_(tensor, non_blocking=True)


class ActivationOffload(saved_tensors_hooks):
    """Inside, what the backward pass needs waits in the host's memory; weights stay.

    The same bytes come back, so no number changes.
    """

    def __init__(self, away: Callable[[Tensor], Tensor] = to_host) -> None:
        def pack(tensor: Tensor) -> Any:
            if tensor.numel() < SMALLEST_OFFLOADED or _is_weight(tensor):
                return tensor
            return tensor.device, away(tensor)

        def unpack(packed: Any) -> Tensor:
            if isinstance(packed, Tensor):
                return packed
            device, copied = packed
            back: Tensor = copied.to(device, non_blocking=True)
            return back

        super().__init__(pack, unpack)


def _is_weight(tensor: Tensor) -> bool:
    """Whether it is a parameter, or one transposed."""
    return isinstance(tensor, nn.Parameter) or isinstance(tensor._base, nn.Parameter)
