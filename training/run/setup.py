"""How a run is set up: the dataset, the model, its weights and optimizer, the loader."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from training.checkpoints.background import BackgroundJob
from training.config import TrainConfig
from training.data.dataset import PairDataset
from training.data.exchange import RankExchange
from training.data.loader import DataLoader, selection_of
from training.data.sampler import BatchSampler
from training.data.verification import ShardVerification
from training.errors import ConfigError, TrainingDatasetError
from training.heads.registry import needs_lengths
from training.heads.training_heads import TrainingHeads, make_heads
from training.labels.propensity_fit import fit_propensity
from training.losses.objective import make_objective
from training.losses.registry import loss_named, tells_sites_apart
from training.model.activations import ActivationOffload
from training.model.context_parallel import ContextParallel, check_context_parallel
from training.model.reward_model import LoadedModel, init_head, load_model
from training.model.stored_weights import NotReadableInPartsError
from training.optimizer import StepGuard, make_optimizer
from training.parallel.distributed import DistributedContext
from training.parallel.sharding import MasterWeights, copy_full
from training.planning.batch_size import batch_pairs_for
from training.planning.defaults import Choice, check_memory, resolve
from training.run.label_noise import estimate_noise, write_noise
from training.run.lock import RunLock
from training.run.options import TrainOptions
from training.run.resume import find_checkpoint, restore
from training.run.saving import begin
from training.run.selected import count_selected
from training.run.state import TrainingRun
from training.throughput import FlopCount

Say = Callable[[str], AbstractContextManager[None]]
"""Shows what is being done inside."""


def set_up(
    options: TrainOptions,
    context: DistributedContext,
    loaded: LoadedModel | None = None,
    *,
    lock: RunLock | None = None,
    say: Say = lambda _: nullcontext(),
) -> TrainingRun:
    """Open the dataset, load the model, and restore the newest whole checkpoint of a run to resume.

    Args:
        loaded: a model to use instead of ``options.model``; for benchmarks.
        lock: that of the run folder, taken here; who gives it releases it.
        say: shows what is being done while it is.

    Raises ConfigError, TemplateError or TrainingDatasetError for what the user can mend, and
    MemoryShortageError.
    """
    config, dtype = options.config, compute_dtype(options.config.model.precision, context.device)
    lock = lock or RunLock()
    checkpoint = find_checkpoint(options, context, lock)
    dataset = PairDataset(options.dataset, "train", selection=selection_of(config.data))
    if not dataset.rows:
        raise TrainingDatasetError(f"{options.dataset}: has no training pairs")
    if config.data.propensity_clip is not None:
        fitted = fit_propensity(dataset, config.data.propensity_clip)
        dataset.propensity = context.gather(fitted)[0]  # one rounding for all ranks
    loss = loss_named(config.loss.name)
    sites: tuple[str, ...] = ()
    if tells_sites_apart(config.loss):
        found = context.gather(dataset.sites(context.rank, context.count))
        sites = tuple(sorted(set().union(*found)))
    pairs = min(sum(dataset.rows), config.data.max_pairs or sum(dataset.rows))
    sampler = BatchSampler(
        rows=dataset.rows,
        batch_rows=config.data.batch_pairs or batch_pairs_for(pairs),
        window=config.data.shuffle_row_groups,
        seed=config.run.seed,
        epochs=config.run.epochs,
        max_rows=config.data.max_pairs,
    )

    _check_division(config, context)
    if loaded is None:
        loaded = _load(options, checkpoint, context, dtype, say)
    dataset.with_tags = loaded.template.context == "site_tags"
    heads = _extra_heads(loaded, config, context)
    flops = FlopCount(loaded.model)  # before fsdp divides the weights
    weights, config, chosen = _place(loaded, config, context, dtype, pairs)
    options = replace(options, config=config)
    run = TrainingRun(
        options=options,
        context=context,
        dataset=dataset,
        sampler=sampler,
        loaded=loaded,
        dtype=dtype,
        weights=weights,
        optimizer=make_optimizer(weights, config.optim),
        heads=None if heads is None else heads.to(context.device),
        objective=make_objective(config.loss, max(len(sites), 1)).to(context.device),
        guard=StepGuard(config.optim.spike_factor),
        loader=DataLoader(
            dataset,
            sampler,
            loaded.tokens,
            config,
            sites=sites,
            lengths=loss.needs_lengths or needs_lengths(config.model.extra_heads),
            rank=context.data_rank,
            ranks=context.data_ranks,
            exchange=_exchange(config, context),
        ),
        flops=flops,
        writer=BackgroundJob(wait=not config.run.async_checkpoints),
        chosen=chosen,
        selected=count_selected(dataset, context),
    )
    if checkpoint:
        restore(run, checkpoint)
    else:
        with say("looking at the labels"):
            estimate_noise(run, sites)
    if context.is_first:
        begin(options, loaded, lock, chosen)
        write_noise(run)
    context.barrier()
    if config.data.verify:  # last: what fails before need not wait for it
        order = dataset.shards_of(
            [*sampler.row_groups_read(run.step, sampler.steps), *range(len(dataset.rows))]
        )
        run.verification = ShardVerification(dataset, context.rank, context.count, order)
    return run


def _check_division(config: TrainConfig, context: DistributedContext) -> None:
    if not (config.run.parallel == "fsdp" and context.is_distributed):
        for name in ("shard_degree", "cpu_offload"):
            if getattr(config.run, name):
                raise ConfigError(f"run.{name} needs run.parallel=fsdp, started by torchrun")


def _extra_heads(
    loaded: LoadedModel, config: TrainConfig, context: DistributedContext
) -> TrainingHeads | None:
    """The heads beside the reward head; raises ConfigError where they have nothing to read."""
    names = config.model.extra_heads
    if names and loaded.model.is_encoder:
        raise ConfigError(
            f"model.extra_heads={list(names)} read the state of the reward token, but "
            f"{type(loaded.model.hf).__name__} is an encoder, which has none; set it to []"
        )
    if names and context.context_degree > 1:
        raise ConfigError(
            f"model.extra_heads={list(names)} cannot be used with run.context_parallel_degree="
            f"{context.context_degree}; set one of them back"
        )
    return make_heads(
        names,
        loaded.model.hf.config.get_text_config().hidden_size,
        config.loss,
        seed=config.run.seed,
        betas=(config.optim.beta1, config.optim.beta2),
        eps=config.optim.eps,
    )


def _load(
    options: TrainOptions,
    checkpoint: Path | None,
    context: DistributedContext,
    dtype: torch.dtype,
    say: Say,
) -> LoadedModel:
    """The model on the CPU; without its weights for fsdp, and for an adapter without its base's,
    where that is possible."""
    config, source = options.config, options.source
    if checkpoint is not None:
        source = replace(source, name=str(checkpoint), revision=None)
    given: dict[str, Any] = {
        "seed": config.run.seed,
        "verify": checkpoint is None,  # else that was just done
        "lora": config.lora,
    }
    check_memory(source, config, dtype, context)
    with say(f"loading {source.name}"):
        is_sharded = config.run.parallel == "fsdp" and context.is_distributed
        # The frozen base of an adapter is read in the dtype that computes.
        if is_sharded or config.lora.rank is not None:
            try:
                return load_model(source, config.model, config.data, in_parts=True, **given)
            except NotReadableInPartsError as why:
                if context.is_first:
                    print(
                        f"forumprefs train: each process reads all weights of {source.name} in "
                        f"fp32, so that the host's memory has them {context.count} times: {why}",
                        file=sys.stderr,
                    )
        return load_model(source, config.model, config.data, **given)


def _place(
    loaded: LoadedModel,
    config: TrainConfig,
    context: DistributedContext,
    dtype: torch.dtype,
    pairs: int,
) -> tuple[MasterWeights, TrainConfig, list[Choice]]:
    """Bring a model to its devices, and settle what nobody chose; every rank must call.

    ``pairs``: of an epoch. Returns the weights, the configuration without null or ``auto`` among
    its settings, and what was chosen.
    """
    model = loaded.model.eval()  # so that the layouts are compared without dropout
    if loaded.stored is None:
        # With the offload, fsdp brings the blocks to the GPU one by one.
        place = torch.device("cpu") if config.run.cpu_offload else context.device
        model.to(place)
        config, chosen = resolve(config, loaded, dtype, context, pairs=pairs, place=place)
    if config.model.activation_checkpointing:
        selective = config.model.activation_checkpointing == "selective"
        model.checkpoint_activations(selective=selective)
    if config.model.activation_offload:
        model.offload = ActivationOffload()
    weights = MasterWeights(
        model,
        dtype,
        config.run.parallel,
        shard_degree=config.run.shard_degree,
        cpu_offload=config.run.cpu_offload,
        stored=loaded.stored,
        device=context.device,
    )
    if loaded.stored is not None:
        if loaded.head_is_new:
            init_head(model, config.model.head_init_std, config.run.seed, copy_full)
        config, chosen = resolve(config, loaded, dtype, context, pairs=pairs, computes=dtype)
    model.train()
    if context.context_degree > 1:
        check_context_parallel(model.hf, config.model.layout)
        model.context = ContextParallel(
            context.context_group, context.context_rank, context.context_degree
        )
    # Elsewhere attention is a loop over spans, which compiled code would be compiled again for.
    fast = context.device.type == "cuda" and dtype == torch.bfloat16
    if config.model.compile or (config.model.compile is None and fast):
        for block in model.blocks:
            block.compile(dynamic=True)
    return weights, config, chosen


def _exchange(config: TrainConfig, context: DistributedContext) -> RankExchange | None:
    """How ranks give each other the rows that they read; None for one that reads all."""
    if context.data_ranks == 1:
        return None
    return RankExchange(
        context.data_rank,
        context.data_ranks,
        copies=context.context_degree,
        timeout=timedelta(minutes=config.run.timeout_minutes),
    )


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The backbone's dtype: bf16 on a GPU unless told otherwise."""
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32
