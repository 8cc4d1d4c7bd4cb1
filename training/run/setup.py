"""How a run is set up: the dataset, the model, its weights and optimizer, the loader."""

from dataclasses import replace

import torch

from training.data.dataset import PairDataset
from training.data.loader import DataLoader
from training.data.sampler import BatchSampler
from training.errors import TrainingDatasetError
from training.losses.objective import make_objective
from training.losses.registry import loss_named
from training.model.reward_model import LoadedModel, check_layout, load_model
from training.optimizer import StepGuard, make_optimizer
from training.parallel.distributed import DistributedContext
from training.parallel.sharding import MasterWeights
from training.run.lock import RunLock
from training.run.options import TrainOptions
from training.run.resume import find_checkpoint, restore
from training.run.saving import begin
from training.run.state import TrainingRun
from training.throughput import FlopCount


def set_up(
    options: TrainOptions,
    context: DistributedContext,
    loaded: LoadedModel | None = None,
    *,
    lock: RunLock | None = None,
) -> TrainingRun:
    """Open the dataset, load the model, and restore the newest whole checkpoint of a run to resume.

    Args:
        loaded: a model to use instead of ``options.model``; for benchmarks.
        lock: that of the run folder, taken here; who gives it releases it.

    Raises ConfigError, TemplateError or TrainingDatasetError for what the user can mend.
    """
    config = options.config
    lock = lock or RunLock()
    source = options.source
    checkpoint = find_checkpoint(options, context, lock)
    dataset = PairDataset(options.dataset, "train")
    if not dataset.rows:
        raise TrainingDatasetError(f"{options.dataset}: has no training pairs")
    if config.data.verify and context.is_first:
        dataset.verify()
    loss = loss_named(config.loss.name)
    sites = dataset.sites() if loss.needs_sites else ()
    sampler = BatchSampler(
        rows=dataset.rows,
        batch_rows=config.data.batch_pairs,
        window=config.data.shuffle_row_groups,
        seed=config.run.seed,
        epochs=config.run.epochs,
        max_rows=config.data.max_pairs,
    )

    if loaded is None:
        loaded = load_model(
            replace(source, name=str(checkpoint), revision=None) if checkpoint else source,
            config.model,
            config.data,
            seed=config.run.seed,
            verify=checkpoint is None,  # else that was just done
        )
    model = loaded.model.to(context.device).train()
    check_layout(loaded, config.model.layout, context.device)
    if config.model.activation_checkpointing:
        model.checkpoint_activations()
    dtype = compute_dtype(config.model.precision, context.device)
    # Elsewhere attention is a loop over spans, which compiled code would be compiled again for.
    fast = context.device.type == "cuda" and dtype == torch.bfloat16
    if config.model.compile or (config.model.compile is None and fast):
        for block in model.blocks:
            block.compile(dynamic=True)
    flops = FlopCount(model)  # before fsdp divides the weights
    weights = MasterWeights(model, dtype, config.run.parallel)
    run = TrainingRun(
        options=options,
        context=context,
        dataset=dataset,
        sampler=sampler,
        loaded=loaded,
        dtype=dtype,
        weights=weights,
        optimizer=make_optimizer(weights, config.optim),
        objective=make_objective(config.loss, max(len(sites), 1)).to(context.device),
        guard=StepGuard(config.optim.spike_factor),
        loader=DataLoader(
            dataset,
            sampler,
            loaded.tokens,
            config,
            sites=sites,
            lengths=loss.needs_lengths,
            rank=context.rank,
            ranks=context.count,
        ),
        flops=flops,
    )
    if checkpoint:
        restore(run, checkpoint)
    if context.is_first:
        begin(options, loaded, lock)
    context.barrier()
    return run


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The backbone's dtype: bf16 on a GPU unless told otherwise."""
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32
