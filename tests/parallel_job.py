"""What each rank does in tests of several processes; writes what it found as rank-N.json.

torchrun --nproc-per-node 2 -m tests.parallel_job start MODEL FOLDER SETTING...
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.config import TrainConfig, load_config
from training.errors import ConfigError
from training.model.reward_model import init_head, load_model
from training.parallel.distributed import (
    DistributedContext,
    start_distributed,
    stop_distributed,
)
from training.parallel.sharding import MasterWeights, copy_full


def digests(state: dict[str, Tensor]) -> dict[str, str]:
    return {
        name: hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
        for name, tensor in state.items()
    }


def start(model: str, config: TrainConfig, context: DistributedContext) -> dict[str, Any]:
    """Read the rank's own part of a model; what it took, and digests of the whole."""
    loaded = load_model(model, config.model, config.data, seed=config.run.seed, in_parts=True)
    assert loaded.stored is not None
    in_memory = sum(p.numel() for p in loaded.model.parameters() if not p.is_meta)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        weights = MasterWeights(
            loaded.model,
            torch.float32,
            "fsdp",
            shard_degree=config.run.shard_degree,
            cpu_offload=config.run.cpu_offload,
            stored=loaded.stored,
            device=context.device,
        )
        if loaded.head_is_new:
            init_head(loaded.model, config.model.head_init_std, config.run.seed, copy_full)
    held = sum(
        master.to_local().numel() * 4  # type: ignore[operator]
        for master in weights.masters.values()
    )
    state = weights.state(keep=True)
    return {
        "in_memory": in_memory,
        "held": held,
        "read": weights.bytes_read,
        "peak": peak_bytes(profile),
        "weights": digests(state),
        "buffers": digests(dict(loaded.model.hf.named_buffers())),
    }


def peak_bytes(profile: Any) -> int:
    """Most memory that was allocated at a time while the profile ran, by torch's allocator."""
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def main(what: str, model: str, folder: str, *settings: str) -> None:
    torch.set_num_threads(1)
    config = load_config(None, settings)
    context = start_distributed("cpu", config.run.context_parallel_degree)
    try:
        found = {"start": start}[what](model, config, context)
    except ConfigError as error:
        found = {"error": str(error)}
    finally:
        stop_distributed()
    Path(folder, f"rank-{context.rank}.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
