"""Weights straight from a model's files to where they compute: with FSDP each rank's own rows."""

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from training.errors import ConfigError
from training.model.pretrained import not_finite
from training.model.reward_model import RewardModel
from training.model.shards import WEIGHTS_PREFIX, fill_from_shards
from training.model.stored_weights import StoredWeights


def give_memory(model: nn.Module, device: torch.device, weights_device: torch.device) -> None:
    """Give parameters that are on the meta device memory, and bring the others and the buffers.

    Args:
        device: of the buffers.
        weights_device: of the parameters: the same, or the CPU when they are offloaded.
    """
    buffers = [
        (module, name, buffer.to(device, copy=True))
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    # As to_empty does it, but what is in memory already, of an adapter, keeps its values.
    model._apply(
        lambda one: (
            torch.empty_like(one, device=weights_device) if one.is_meta else one.to(weights_device)
        )
    )
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
    tensors: dict[str, Any] = {
        **dict(model.hf.named_parameters()),
        **dict(model.hf.named_buffers()),
    }
    try:
        if stored.shards is not None:
            held = model.hf.state_dict()
            fill_from_shards(stored.shards, {WEIGHTS_PREFIX + name: t for name, t in held.items()})
            read += sum(_local(t).numel() * t.element_size() for t in held.values())
            if broken := next((name for name, t in held.items() if not _is_finite(t)), None):
                fault = not_finite(stored.source, broken)
        for path, names in _by_file(stored).items():
            read += _read_file(path, {key: tensors[name] for name, key in names.items()})
            if broken := next((name for name in names if not _is_finite(tensors[name])), None):
                fault = fault or not_finite(stored.source, broken)
    except Exception as error:  # a disk that went away, or safetensors' own error
        fault = stored.source.error(f"its weights cannot be read: {error}")
    faults: list[ConfigError | None] = [fault]
    if dist.is_initialized():
        faults = [None] * dist.get_world_size()
        dist.all_gather_object(faults, fault)
    if found := next(filter(None, faults), None):
        raise found
    return read


def _by_file(stored: StoredWeights) -> dict[Path, dict[str, str]]:
    """Names in the model, and in the file, of the tensors of each file."""
    found: dict[Path, dict[str, str]] = {}
    for name, (path, key) in stored.places.items():
        found.setdefault(path, {})[name] = key
    return found


def _read_file(path: Path, tensors: dict[str, Any]) -> int:
    """Read this rank's rows of tensors by their names in a file; bytes of it."""
    from safetensors import safe_open

    read = 0
    with safe_open(path, framework="pt") as file:  # mapped: only what is copied is read
        for key, tensor in tensors.items():
            begin, end = rows_of_shard(tensor)
            if begin == end:
                continue  # more ranks than rows
            part = file.get_slice(key)[begin:end] if tensor.dim() else file.get_tensor(key)
            _local(tensor).copy_(part)
            read += part.numel() * part.element_size()
    return read


def _is_finite(tensor: Any) -> bool:
    local = _local(tensor)
    if not local.is_floating_point() or not local.numel():
        return True
    low, high = local.aminmax()
    return bool(torch.isfinite(low) & torch.isfinite(high))


def _local(tensor: Any) -> Tensor:
    """What this rank holds of a tensor."""
    local: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return local


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
