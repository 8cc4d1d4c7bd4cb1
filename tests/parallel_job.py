"""What each rank does in tests of several processes; writes what it found as rank-N.json.

torchrun --nproc-per-node 2 -m tests.parallel_job start MODEL FOLDER SETTING...
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.checkpoints.checkpoint import TrainerState
from training.checkpoints.sharded import copy_of_shards, save_sharded_checkpoint
from training.config import TrainConfig, load_config
from training.data.collate import micro_batches
from training.data.prompt_groups import PairOfGroup, PromptGroup
from training.errors import ConfigError
from training.model.context_parallel import ContextParallel
from training.model.reward_model import init_head, load_model
from training.parallel.distributed import (
    DistributedContext,
    start_distributed,
    stop_distributed,
)
from training.parallel.sharding import MasterWeights, copy_full, full_tensor


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


def save(model: str, config: TrainConfig, context: DistributedContext) -> dict[str, Any]:
    """Write a model as a checkpoint in shards."""
    loaded = load_model(model, config.model, config.data, seed=config.run.seed)
    weights = MasterWeights(loaded.model, torch.float32, "fsdp")
    copy = copy_of_shards(weights.tensors(), {})
    state = TrainerState(
        step=1, pairs=0, tokens=0, counts={}, guard={}, loss={}, manifest_sha256="", config={}
    )
    path = save_sharded_checkpoint(Path(sys.argv[3]), loaded, copy, state, context, keep=1)
    return {"path": str(path)}


def peak_bytes(profile: Any) -> int:
    """Most memory that was allocated at a time while the profile ran, by torch's allocator."""
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


LENGTHS = {
    16_384: (11_001, (3000, 2383)),
    700: (401, (140, 99, 60)),
    90: (40, (1, 17, 32)),
    5: (3, (1, 1)),
}
"""(tokens of the prompt, of its responses), by the tokens of a micro-batch in the layout shared."""


def group_of(tokens: int, seed: int, vocabulary: int) -> PromptGroup:
    """A prompt with responses; the first is the chosen one of every pair."""
    generator = np.random.default_rng(seed)
    prompt, *responses = (
        generator.integers(5, vocabulary, length).astype(np.int32)
        for length in (LENGTHS[tokens][0], *LENGTHS[tokens][1])
    )
    pairs = tuple(
        PairOfGroup(row, 0, row + 1, 1.0 / (row + 1 + seed), 1.0, 1.0, "")
        for row in range(len(responses) - 1)
    )
    return PromptGroup(prompt, tuple(responses), pairs)


def gradients(model: str, config: TrainConfig, context: DistributedContext) -> dict[str, Any]:
    """Loss and gradients of two micro-batches, which the data ranks divide among them."""
    loaded = load_model(model, config.model, config.data, seed=config.run.seed)
    loaded.model.train()
    if config.model.activation_checkpointing:
        selective = config.model.activation_checkpointing == "selective"
        loaded.model.checkpoint_activations(selective=selective)
    weights = MasterWeights(
        loaded.model, torch.float32, config.run.parallel, shard_degree=config.run.shard_degree
    )
    if context.context_degree > 1:
        loaded.model.context = ContextParallel(
            context.context_group, context.context_rank, context.context_degree
        )
    # One prompt that is long, and several short ones.
    long = 16_384 if config.model.micro_batch_tokens >= 16_384 else 700
    batches = [
        batch
        for seed in range(2)
        for batch in micro_batches(
            [
                group_of(tokens, seed, loaded.model.hf.config.vocab_size)
                for tokens in ((long,), (5, 90, 90, 90))[seed]
            ],
            config.model.layout,
            tokens=config.model.micro_batch_tokens,
            pad_id=0,
            sites={},
        )
    ]
    total, rewards = 0.0, []
    for batch in batches[context.data_rank :: context.data_ranks]:
        found = loaded.model(batch)
        rewards.append(found.tolist())
        margin = found[batch.chosen] - found[batch.rejected]
        loss = (functional.softplus(-margin) * batch.labels.weight).sum()
        loss.backward()
        total += loss.item()
    weights.sum_gradients()
    norm = float(weights.gradient_norm())
    if config.run.parallel == "fsdp":
        whole = {name: full_tensor(master.grad) for name, master in weights.masters.items()}
    else:
        whole = {name: master.grad for name, master in weights.masters.items()}
    folder = Path(sys.argv[3])
    torch.save(whole, folder / f"gradients-{context.rank}.pt")
    return {"loss": context.sum([total])[0], "rewards": rewards, "norm": norm}


def main(what: str, model: str, folder: str, *settings: str) -> None:
    torch.set_num_threads(1)
    config = load_config(None, settings)
    context = start_distributed("cpu", config.run.context_parallel_degree)
    try:
        found = {"start": start, "save": save, "gradients": gradients}[what](model, config, context)
    except ConfigError as error:
        found = {"error": str(error)}
    finally:
        stop_distributed()
    Path(folder, f"rank-{context.rank}.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
