"""A run: what it is made of, how it is set up, and the files it writes."""

import json
import shutil
import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch

from training.checkpoint import (
    TrainerState,
    checkpoints,
    has_checksums,
    load_optimizer_file,
    load_trainer_state,
    newest_whole,
    remove_partial,
    save_checkpoint,
    step_of,
)
from training.config import TrainConfig
from training.data.dataset import PairDataset
from training.data.loader import DataLoader
from training.data.sampler import BatchSampler
from training.distributed import DistributedContext
from training.durable_files import partial_of, publish_folder, remove_partial_of, write_file
from training.errors import ConfigError, DivergedError, TrainingDatasetError
from training.losses.objective import Objective, make_objective
from training.losses.registry import loss_named
from training.model.checksums import write_checksums
from training.model.reward_model import (
    LoadedModel,
    check_layout,
    load_model,
    rewards_are_finite,
    save_model,
)
from training.model.sharding import MasterWeights
from training.model.source import ModelSource
from training.optimizer import StepGuard, load_optimizer_state, make_optimizer, optimizer_state
from training.run_folder import (
    CHECKPOINTS_NAME,
    LOCK_NAME,
    MODEL_NAME,
    RUN_NAME,
    SUMMARY_NAME,
)
from training.run_lock import RunLock
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
    revision: str | None = None
    """Of the model on the Hub; None: the newest, or as the name says."""
    trust_remote_code: bool = False
    allow_pickle: bool = False
    commit: str | None = None
    """That a run to resume had of a model on the Hub: it stays with it."""

    @property
    def source(self) -> ModelSource:
        """Where the model is loaded from; raises ConfigError."""
        found = ModelSource.of(
            self.model,
            revision=self.revision,
            trust_remote_code=self.trust_remote_code,
            allow_pickle=self.allow_pickle,
        )
        return found if self.commit is None else replace(found, revision=self.commit)


@dataclass
class Totals:
    """What a run has seen so far, over all ranks."""

    pairs: int = 0
    tokens: int = 0
    updates: int = 0
    """Steps that changed the weights."""
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
    taken_step: int = 0
    """The last step that was taken and not skipped."""
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
    checkpoint = _check_output(options, context, lock)
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
            rank=context.rank,
            ranks=context.count,
        ),
        flops=flops,
    )
    if checkpoint:
        _restore(run, checkpoint)
    if context.is_first:
        _begin(options, loaded, lock)
    context.barrier()
    return run


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The backbone's dtype: bf16 on a GPU unless told otherwise."""
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32


def _check_output(options: TrainOptions, context: DistributedContext, lock: RunLock) -> Path | None:
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
    is_run = (output / RUN_NAME).is_file()
    if output.exists() and not is_run and {path.name for path in output.iterdir()} - {LOCK_NAME}:
        raise ConfigError(f"{output} is not a run folder; nothing in it is touched")
    if is_run and options.on_existing == "refuse":
        raise ConfigError(
            f"{output} holds a run already: --resume continues it, --overwrite starts again"
        )
    if is_run and context.is_first:
        lock.take(output)
    return _resume_point(output, context) if options.on_existing == "resume" else None


def _resume_point(output: Path, context: DistributedContext) -> Path | None:
    """The newest checkpoint that is not damaged; what was wrong with newer ones is printed."""
    folder = output / CHECKPOINTS_NAME
    seen = context.gather([path.name for path in checkpoints(folder)])
    if any(names != seen[0] for names in seen):
        raise ConfigError(
            f"{output}: the processes see different checkpoints; it must lie on a disk that all "
            "of them share"
        )
    chosen = None
    if context.is_first:
        chosen, damaged = newest_whole(folder)
        for path, damage in damaged:
            print(f"forumprefs train: {path} is damaged: {damage}", file=sys.stderr)
        if damaged and chosen is not None:
            print(
                f"forumprefs train: resuming from the checkpoint before, step {step_of(chosen):,}",
                file=sys.stderr,
            )
        if chosen is not None and not has_checksums(chosen):
            print(
                f"forumprefs train: {chosen} has no checksums, as an earlier release wrote it: a "
                "flipped bit in it would not be noticed",
                file=sys.stderr,
            )
    agreed: Path | None = context.gather(chosen)[0]
    return agreed


def _begin(options: TrainOptions, loaded: LoadedModel, lock: RunLock) -> None:
    """Make the run folder this run's own, now that it can begin; on the first rank."""
    output = options.output
    output.mkdir(parents=True, exist_ok=True)
    lock.take(output)
    if options.on_existing == "refuse" and (output / RUN_NAME).exists():
        raise ConfigError(f"{output}: another run began in it just now")
    if options.on_existing == "overwrite":
        # run.json last: a folder without it is no run, which --overwrite would leave alone.
        for path in sorted(output.iterdir(), key=lambda path: path.name == RUN_NAME):
            if path.name == LOCK_NAME:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    if lock.is_held:
        remove_partial(output / CHECKPOINTS_NAME)
        remove_partial_of(output / MODEL_NAME)
    _write_json(output / RUN_NAME, _description(options, loaded))


def _description(options: TrainOptions, loaded: LoadedModel) -> dict[str, Any]:
    return {
        "dataset": options.dataset,
        "model_path": options.model,
        "model_revision": options.revision,
        "model_commit": loaded.commit or options.commit,
        "trust_remote_code": options.trust_remote_code,
        "allow_pickle": options.allow_pickle,
        **msgspec.to_builtins(options.config),
    }


def _write_json(path: Path, content: Any) -> None:
    write_file(path, (json.dumps(content, indent=2) + "\n").encode())


def _restore(run: TrainingRun, checkpoint: Path) -> None:
    """Put optimizer, guard, loss and counts where they were; the sampler needs only the step."""
    state = load_trainer_state(checkpoint)
    if state.manifest_sha256 != run.dataset.manifest_sha256:
        raise ConfigError(
            f"{run.options.output} was trained on another version of the dataset than "
            f"{run.options.dataset} (manifest sha256 {state.manifest_sha256[:12]}…); name that "
            "one, or start a new run from its model"
        )
    if state.model and state.model != run.options.model:
        raise ConfigError(
            f"{checkpoint} is of a run that began with --model {state.model}, not with "
            f"{run.options.model}; it does not belong in {run.options.output}"
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
    try:
        load_optimizer_state(run.optimizer, run.weights, load_optimizer_file(checkpoint))
        run.objective.load_state_dict(
            {key: torch.tensor(value) for key, value in state.loss.items()}, strict=False
        )
        run.guard.load_state_dict(state.guard)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"{checkpoint}: optimizer.safetensors or trainer.json does not belong to the weights "
            f"beside it ({error}); remove that folder to resume from the one before"
        ) from None
    run.step = run.saved_step = state.step
    run.taken_step = state.step - run.guard.in_a_row
    # Earlier releases did not count them; those that the guard skipped are known.
    updates = state.updates if state.updates is not None else state.step - run.guard.skipped
    run.totals = Totals(state.pairs, state.tokens, updates, Counter(state.counts))


def save(run: TrainingRun) -> None:
    """Write a checkpoint; every rank must call.

    Raises DivergedError instead where weights or rewards are no finite numbers: it is of no use.
    """
    first = run.context.is_first
    if not rewards_are_finite(run.loaded, run.context.device):
        raise DivergedError(
            f"after step {run.step:,} the rewards are no finite numbers, so no checkpoint is "
            "written"
        )
    weights = run.weights.state(keep=first)
    broken = next((name for name, value in weights.items() if not _is_finite(value)), None)
    if broken is not None:
        raise DivergedError(
            f"after step {run.step:,} the weights {broken} hold values that are not finite "
            "numbers, so no checkpoint is written"
        )
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
                model=run.options.model,
                updates=run.totals.updates,
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
        partial = partial_of(target)
        shutil.rmtree(partial, ignore_errors=True)
        save_model(partial, run.loaded, weights)
        write_checksums(partial)
        publish_folder(partial, target)
        _write_json(
            run.options.output / SUMMARY_NAME,
            {
                "model": {
                    "name": run.options.model,
                    "commit": run.loaded.commit or run.options.commit,
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


def _is_finite(value: torch.Tensor) -> bool:
    if not value.is_floating_point() or not value.numel():
        return True
    low, high = value.aminmax()
    return bool(torch.isfinite(low) & torch.isfinite(high))


def _distinct_pairs(run: TrainingRun) -> int:
    """Pairs that were seen at least once; later epochs see the same ones again."""
    epoch = run.sampler.steps_per_epoch
    return run.totals.pairs if run.step <= epoch else round(run.totals.pairs * epoch / run.step)
