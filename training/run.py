"""A run: what it is made of, how it is set up, and the files it writes."""

import json
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch

from training.checkpoint import (
    TrainerState,
    checkpoints,
    load_optimizer_file,
    load_trainer_state,
    save_checkpoint,
)
from training.config import TrainConfig
from training.data.dataset import PairDataset
from training.data.loader import DataLoader
from training.data.sampler import BatchSampler
from training.distributed import DistributedContext
from training.errors import ConfigError, TrainingDatasetError
from training.losses.objective import Objective, make_objective
from training.losses.registry import loss_named
from training.model.reward_model import LoadedModel, check_layout, load_model, save_model
from training.model.sharding import MasterWeights
from training.optimizer import StepGuard, load_optimizer_state, make_optimizer, optimizer_state
from training.run_folder import CHECKPOINTS_NAME, MODEL_NAME, RUN_NAME, SUMMARY_NAME
from training.throughput import FlopCount

FREE_SETTINGS = {
    "data.verify",
    "model.layout",
    "model.precision",
    "model.micro_batch_tokens",
    "model.activation_checkpointing",
    "model.compile",
    "run.max_steps",
    "run.eval_every",
    "run.eval_pairs",
    "run.save_every",
    "run.keep_checkpoints",
    "run.log_every",
    "run.parallel",
    "run.tensorboard",
}
"""Settings that may change when a run is resumed: none decides which pairs a step sees."""


@dataclass(frozen=True)
class TrainOptions:
    """What ``forumprefs train`` was told."""

    dataset: str
    model: str
    output: Path
    config: TrainConfig
    on_existing: Literal["refuse", "resume", "overwrite"] = "refuse"
    device: str = "auto"
    quiet: bool = False


@dataclass
class Totals:
    """What a run has seen so far, over all ranks."""

    pairs: int = 0
    tokens: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    """Pairs excluded and sequences cut, by reason."""


@dataclass
class TrainingRun:
    """Everything the loop needs."""

    options: TrainOptions
    context: DistributedContext
    dataset: PairDataset
    sampler: BatchSampler
    loaded: LoadedModel
    dtype: torch.dtype
    weights: MasterWeights
    optimizer: torch.optim.AdamW
    objective: Objective
    guard: StepGuard
    loader: DataLoader
    flops: FlopCount
    step: int = 0
    """Steps that were taken."""
    totals: Totals = field(default_factory=Totals)
    saved_step: int = -1
    """Step of the newest checkpoint."""

    @property
    def config(self) -> TrainConfig:
        """The resolved configuration."""
        return self.options.config

    @property
    def last_step(self) -> int:
        """Steps of this run; the schedule is always that of all steps."""
        return min(self.sampler.steps, self.config.run.max_steps or self.sampler.steps)


def set_up(
    options: TrainOptions, context: DistributedContext, loaded: LoadedModel | None = None
) -> TrainingRun:
    """Open the dataset, load the model, and restore the newest checkpoint of a run to resume.

    ``loaded``: a model to use instead of ``options.model``; for benchmarks.

    Raises ConfigError, TemplateError or TrainingDatasetError for what the user can mend.
    """
    config = options.config
    checkpoint = _check_output(options, context)
    dataset = PairDataset(options.dataset, "train")
    if not dataset.rows:
        raise TrainingDatasetError(f"{options.dataset}: has no training pairs")
    if config.data.verify and context.is_first:
        dataset.verify()
    sites = dataset.sites() if loss_named(config.loss.name).needs_sites else ()
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
            str(checkpoint) if checkpoint else options.model,
            config.model,
            config.data,
            seed=config.run.seed,
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
            rank=context.rank,
            ranks=context.count,
        ),
        flops=flops,
    )
    if checkpoint:
        _restore(run, checkpoint)
    if context.is_first:
        if not checkpoint and options.on_existing == "overwrite":
            shutil.rmtree(options.output, ignore_errors=True)  # now that the new run can begin
        options.output.mkdir(parents=True, exist_ok=True)
        _write_json(options.output / RUN_NAME, _description(options))
    context.barrier()
    return run


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The backbone's dtype: bf16 on a GPU unless told otherwise."""
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32


def _check_output(options: TrainOptions, context: DistributedContext) -> Path | None:
    """Return the checkpoint to resume from; None for a new run.

    Raises ConfigError where something is there that must not be overwritten.
    """
    output = options.output
    for name, given in (("--dataset", options.dataset), ("--model", options.model)):
        place = Path(given)
        if options.on_existing != "resume" and place.exists():
            inside = output.resolve(), place.resolve()
            if inside[0] in (inside[1], *inside[1].parents) or inside[1] in inside[0].parents:
                raise ConfigError(f"--output {output} and {name} {given} contain one another")
    if output.exists() and not output.is_dir():
        raise ConfigError(f"--output {output} is a file")
    if output.exists() and any(output.iterdir()) and not (output / RUN_NAME).is_file():
        raise ConfigError(f"{output} is not a run folder; nothing in it is touched")
    if options.on_existing == "resume":
        found = checkpoints(output / CHECKPOINTS_NAME)
        steps = context.gather(found[-1].name if found else "")
        if len(set(steps)) > 1:
            raise ConfigError(
                f"{output}: the processes see different checkpoints; it must lie on a disk that "
                "all of them share"
            )
        return found[-1] if found else None
    if (output / RUN_NAME).is_file() and options.on_existing == "refuse":
        raise ConfigError(
            f"{output} holds a run already: --resume continues it, --overwrite starts again"
        )
    return None


def _description(options: TrainOptions) -> dict[str, Any]:
    return {
        "dataset": options.dataset,
        "model_path": options.model,
        **msgspec.to_builtins(options.config),
    }


def _write_json(path: Path, content: Any) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def _restore(run: TrainingRun, checkpoint: Path) -> None:
    """Put optimizer, guard, loss and counts where they were; the sampler needs only the step."""
    state = load_trainer_state(checkpoint)
    if state.manifest_sha256 != run.dataset.manifest_sha256:
        raise ConfigError(
            f"{run.options.output} was trained on another version of the dataset than "
            f"{run.options.dataset} (manifest sha256 {state.manifest_sha256[:12]}…); name that "
            "one, or start a new run from its model"
        )
    now = msgspec.to_builtins(run.config)
    for section, table in state.config.items():
        for name, value in table.items():
            key = f"{section}.{name}"
            if key not in FREE_SETTINGS and now[section].get(name) != value:
                raise ConfigError(
                    f"{run.options.output} was started with {key}={value}, now it is "
                    f"{now[section].get(name)}; resume with the old value or start a new run"
                )
    load_optimizer_state(run.optimizer, run.weights, load_optimizer_file(checkpoint))
    run.objective.load_state_dict(
        {key: torch.tensor(value) for key, value in state.loss.items()}, strict=False
    )
    run.guard.load_state_dict(state.guard)
    run.step = run.saved_step = state.step
    run.totals = Totals(state.pairs, state.tokens, Counter(state.counts))


def save(run: TrainingRun) -> None:
    """Write a checkpoint; every rank must call."""
    first = run.context.is_first
    weights = run.weights.state(keep=first)
    states = optimizer_state(run.optimizer, run.weights, keep=first)
    if first:
        save_checkpoint(
            run.options.output / CHECKPOINTS_NAME,
            run.loaded,
            weights,
            states,
            TrainerState(
                step=run.step,
                pairs=run.totals.pairs,
                tokens=run.totals.tokens,
                counts=dict(run.totals.counts),
                guard=run.guard.state_dict(),
                loss={key: value.tolist() for key, value in run.objective.state_dict().items()},
                manifest_sha256=run.dataset.manifest_sha256,
                config=msgspec.to_builtins(run.config),
            ),
            keep=run.config.run.keep_checkpoints,
        )
    run.saved_step = run.step
    run.context.barrier()  # no rank continues, or exits, before it is written


def finalize(run: TrainingRun, validation: dict[str, Any]) -> Path:
    """Write the model folder and ``summary.json``; every rank must call."""
    weights = run.weights.state(keep=run.context.is_first)
    target = run.options.output / MODEL_NAME
    if run.context.is_first:
        partial = target.with_name(f".{MODEL_NAME}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        save_model(partial, run.loaded, weights)
        shutil.rmtree(target, ignore_errors=True)
        partial.replace(target)
        _write_json(
            run.options.output / SUMMARY_NAME,
            {
                "model": {
                    "name": run.options.model,
                    "parameters": sum(master.numel() for master in run.weights.masters.values()),
                    "backbone_parameters": run.flops.block_parameters,
                },
                "dataset": {
                    "location": run.options.dataset,
                    "manifest_sha256": run.dataset.manifest_sha256,
                },
                "pairs": _distinct_pairs(run),
                "pairs_seen": run.totals.pairs,
                "tokens": run.totals.tokens,
                "steps": run.step,
                "excluded": dict(run.totals.counts),
                "skipped_steps": run.guard.skipped,
                "validation": validation,
                "config": msgspec.to_builtins(run.config),
            },
        )
    run.context.barrier()
    return target


def _distinct_pairs(run: TrainingRun) -> int:
    """Pairs that were seen at least once; later epochs see the same ones again."""
    epoch = run.sampler.steps_per_epoch
    return run.totals.pairs if run.step <= epoch else round(run.totals.pairs * epoch / run.step)
