"""Which checkpoint a run goes on from, and everything back where it was."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import torch

from schemas.small_files import decode_json
from training.checkpoints.checkpoint import (
    checkpoints,
    find_checkpoint_damage,
    has_checksums,
    load_optimizer_file,
    load_trainer_state,
    newest_whole,
    step_of,
)
from training.errors import ConfigError
from training.memory_errors import what_ran_out
from training.model.shards import (
    OPTIMIZER_PREFIX,
    fill_from_shards,
    has_shards,
    shapes_of_shards,
)
from training.optimizer import load_optimizer_state, zero_optimizer_state
from training.parallel.distributed import DistributedContext
from training.run.folder import CHECKPOINTS_NAME, LOCK_NAME, RUN_NAME
from training.run.lock import RunLock
from training.run.options import TrainOptions
from training.run.state import Totals, TrainingRun

FREE_SETTINGS = {
    "data.verify",
    "model.layout",
    "model.precision",
    "model.micro_batch_tokens",
    "model.activation_checkpointing",
    "model.activation_offload",
    "model.compile",
    "run.max_steps",
    "run.eval_every",
    "run.eval_pairs",
    "run.save_every",
    "run.keep_checkpoints",
    "run.log_every",
    "run.parallel",
    "run.shard_degree",
    "run.cpu_offload",
    "run.context_parallel_degree",
    "run.async_checkpoints",
    "run.timeout_minutes",
    "run.tensorboard",  # in checkpoints of earlier releases
    "run.trackers",
}
"""Settings that may change when a run is resumed: none decides which pairs a step sees, or what is
computed of them. Other layouts and numbers of ranks add the same terms in another order."""


def find_checkpoint(
    options: TrainOptions, context: DistributedContext, lock: RunLock
) -> Path | None:
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

    def damage_of(checkpoint: Path) -> str | None:
        """What all processes together find, each in its share of the files."""
        mine = find_checkpoint_damage(checkpoint, context.rank, context.count)
        return next(filter(None, context.gather(mine)), None)

    chosen, damaged = newest_whole(folder, damage_of)
    if context.is_first:
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
    return chosen


def restore(run: TrainingRun, checkpoint: Path) -> None:
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
    free = FREE_SETTINGS - ({"run.eval_pairs"} if run.config.run.keep_best else set())
    now = decode_json(msgspec.json.encode(run.config), dict[str, Any])  # as it is read back
    for section, table in state.config.items():
        for name, value in table.items():
            key = f"{section}.{name}"
            if key not in free and now[section].get(name) != value:
                raise ConfigError(
                    f"{run.options.output} was started with {key}={value}, now it is "
                    f"{now[section].get(name)}; resume with the old value or start a new run"
                )
    try:
        if has_shards(checkpoint):
            _fill_optimizer(run, checkpoint)
        else:
            load_optimizer_state(run.optimizer, run.weights, load_optimizer_file(checkpoint))
        run.objective.load_state_dict(
            {key: torch.tensor(value) for key, value in state.loss.items()}, strict=False
        )
        run.guard.load_state_dict(state.guard)
        if run.heads is not None:
            run.heads.load(checkpoint)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        if what_ran_out(error):  # of which the checkpoint is innocent
            raise
        raise ConfigError(
            f"{checkpoint}: its optimizer state or trainer.json does not belong to the weights "
            f"beside it ({error}); remove that folder to resume from the one before"
        ) from None
    run.step = run.first_step = run.saved_step = state.step
    run.taken_step = state.step - run.guard.in_a_row
    run.best = state.best
    # Earlier releases did not count them; those that the guard skipped are known.
    updates = state.updates if state.updates is not None else state.step - run.guard.skipped
    run.totals = Totals(state.pairs, state.tokens, updates, Counter(state.counts))


def _fill_optimizer(run: TrainingRun, checkpoint: Path) -> None:
    """Read AdamW's state from shards, on each rank what it needs; raises ValueError."""
    there = {
        name.removeprefix(OPTIMIZER_PREFIX)
        for name in shapes_of_shards(checkpoint)
        if name.startswith(OPTIMIZER_PREFIX)
    }
    tensors = zero_optimizer_state(run.optimizer, run.weights, there)
    if strange := sorted(there - tensors.keys()):
        raise ValueError(f"{strange[0]} is of no weight of this model")
    fill_from_shards(checkpoint, {OPTIMIZER_PREFIX + name: t for name, t in tensors.items()})
    for name, tensor in tensors.items():
        local = tensor.to_local() if hasattr(tensor, "to_local") else tensor
        if not bool(local.isfinite().all()):
            raise ValueError(f"{name} holds values that are not finite numbers")
