"""Weights straight from a model's files into the shards of FSDP: each rank reads its own rows."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from training.errors import ConfigError
from training.model.pretrained import not_finite
from training.model.reward_model import RewardModel
from training.model.stored_weights import StoredWeights


def give_memory(model: nn.Module, device: torch.device, weights_device: torch.device) -> None:
    """Give parameters that are on the meta device memory for their shards, and keep the buffers.

    Args:
        device: of the buffers.
        weights_device: of the parameters: the same, or the CPU when they are offloaded.
    """
    buffers = [
        (module, name, buffer.to(device, copy=True))
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    model.to_empty(device=weights_device)
    for module, name, buffer in buffers:
        setattr(module, name, buffer)


@torch.no_grad()
def read_shards(model: RewardModel, stored: StoredWeights) -> int:
    """Read this rank's rows of every weight, in the dtype that it has; every rank must call.

    Returns the bytes of the files that were read. Weights that no file has, those of a new head,
    stay as they are. Raises ConfigError, on all ranks where it holds on one.
    """
    read = 0
    fault: ConfigError | None = None
    try:
        with ExitStack() as files:
            read = _read_all(model, stored, files)
    except ConfigError as error:
        fault = error
    except Exception as error:  # a disk that went away, or safetensors' own error
        fault = stored.source.error(f"its weights cannot be read: {error}")
    faults: list[ConfigError | None] = [fault]
    if dist.is_initialized():
        faults = [None] * dist.get_world_size()
        dist.all_gather_object(faults, fault)
    if found := next(filter(None, faults), None):
        raise found
    return read


def _read_all(model: RewardModel, stored: StoredWeights, files: ExitStack) -> int:
    from safetensors import safe_open

    read = 0
    opened: dict[Path, Any] = {}
    tensors = [*model.hf.named_parameters(), *model.hf.named_buffers()]
    for name, tensor in tensors:
        if name not in stored.places:
            continue
        path, key = stored.places[name]
        if path not in opened:
            opened[path] = files.enter_context(safe_open(path, framework="pt"))
        begin, end = rows_of_shard(tensor)
        local = tensor.to_local() if hasattr(tensor, "to_local") else tensor
        if not local.numel() and tensor.dim():
            continue  # more ranks than rows
        if tensor.dim():
            part = opened[path].get_slice(key)[begin:end]
        else:
            part = opened[path].get_tensor(key)
        read += part.numel() * part.element_size()
        local.copy_(part)
        if local.is_floating_point():
            low, high = local.aminmax()
            if not bool(torch.isfinite(low) & torch.isfinite(high)):
                raise not_finite(stored.source, name)
    return read


def rows_of_shard(tensor: Any) -> tuple[int, int]:
    """First row of a tensor that this rank holds, and the one after its last.

    FSDP divides the first dimension as ``torch.chunk`` does; what is not divided is held whole.
    """
    rows = tensor.shape[0] if tensor.dim() else 1
    if not hasattr(tensor, "device_mesh"):
        return 0, rows
    begin, end = 0, rows
    for dimension, placement in enumerate(tensor.placements):
        if placement.is_replicate():
            continue
        assert placement.is_shard(0), f"divided as {placement}"
        size = -(-(end - begin) // tensor.device_mesh.size(dimension))
        start = begin + size * tensor.device_mesh.get_local_rank(dimension)
        begin, end = min(start, end), min(start + size, end)
    return begin, end
