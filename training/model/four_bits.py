"""Frozen linear layers of 4 bits a weight (NF4), by bitsandbytes: the base of QLoRA.

Settings are those of Dettmers et al. 2023 (arXiv 2305.14314): blocks of 64 weights that share a
scale, the scales themselves of 8 bits. Layers compute in the dtype of what comes in.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from training.errors import ConfigError

BLOCK_SIZE = 64
"""Weights that share a scale."""


def quantise_linear_layers(
    hf: Any, blocks: nn.Module, read: Callable[[str], Tensor] | None = None
) -> None:
    """Replace the linear layers of the blocks by ones of 4 bits; the CPU rounds them.

    Always there, so that a base has the same bits whichever device it then computes on.

    Args:
        read: gives a weight by its name, in fp32, where ``hf`` has shapes alone: one at a time, so
            that the base is never whole in memory.

    Raises ConfigError where bitsandbytes is not installed, or cannot do it for this model.
    """
    bitsandbytes = _import()
    for name, linear in _linear_layers(hf, blocks):
        weight = linear.weight.detach() if read is None else read(f"{name}.weight")
        new = bitsandbytes.nn.Linear4bit(
            linear.in_features,
            linear.out_features,
            bias=linear.bias is not None,
            compress_statistics=True,
            quant_type="nf4",
            device="meta",
        )
        new.weight = bitsandbytes.nn.Params4bit(
            weight,
            requires_grad=False,
            blocksize=BLOCK_SIZE,
            compress_statistics=True,
            quant_type="nf4",
            module=new,
        ).to("cpu")
        new.bias = linear.bias
        _replace(hf, name, new)
    hf.is_loaded_in_4bit = True  # by this peft knows them


def dequantise_linear_layers(hf: Any, blocks: nn.Module) -> None:
    """Replace layers of 4 bits by plain ones in fp32 that compute the same."""
    bitsandbytes = _import()
    for name, layer in _named(hf, blocks, bitsandbytes.nn.Linear4bit):
        new = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
        packed = layer.weight
        weight = bitsandbytes.functional.dequantize_4bit(packed.data, packed.quant_state)
        new.weight = nn.Parameter(weight.float())
        new.bias = layer.bias
        _replace(hf, name, new)
    hf.is_loaded_in_4bit = False


def parameter_count(module: nn.Module) -> int:
    """Weights of a module, those of 4 bits counted one by one though a byte holds two."""
    count = 0
    for parameter in module.parameters():
        state = getattr(parameter, "quant_state", None)
        count += parameter.numel() if state is None else state.shape.numel()
    return count


def _linear_layers(hf: Any, blocks: nn.Module) -> list[tuple[str, nn.Linear]]:
    found: list[tuple[str, nn.Linear]] = _named(hf, blocks, nn.Linear)
    if not found:
        raise ConfigError(
            f"the blocks of {type(hf).__name__} have no linear layers that bitsandbytes can "
            "store in 4 bits; set lora.base_precision=auto"
        )
    return found


def _named(hf: Any, blocks: nn.Module, kind: Any) -> list[tuple[str, Any]]:
    inside = {id(module) for module in blocks.modules()}
    return [
        (name, module)
        for name, module in hf.named_modules()
        if id(module) in inside and isinstance(module, kind)
    ]


def _replace(hf: Any, name: str, new: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(hf.get_submodule(parent), own, new)


def _import() -> Any:
    try:
        import bitsandbytes
    except ImportError:
        raise ConfigError(
            "lora.base_precision=nf4 needs bitsandbytes; pip install 'forumprefs[qlora]', or set "
            "lora.base_precision=auto"
        ) from None
    if not torch.cuda.is_available() and not hasattr(bitsandbytes.functional, "quantize_4bit"):
        raise ConfigError("this bitsandbytes computes on a GPU only; install 0.46 or later")
    return bitsandbytes
