"""What a run writes: its description, checkpoints, the model and the summary."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

from schemas.small_files import SmallFileError, decode_json, read_small
from training.checkpoints.checkpoint import TrainerState, remove_partial, save_checkpoint
from training.checkpoints.sharded import copy_of_shards, save_sharded_checkpoint, together
from training.durable_files import partial_of, publish_folder, remove_partial_of, write_file
from training.errors import ConfigError, DivergedError
from training.model.checksums import write_checksums
from training.model.four_bits import parameter_count
from training.model.layout_check import rewards_are_finite
from training.model.merging import merge_adapter
from training.model.reward_model import LoadedModel
from training.model.save import save_model
from training.model.source import ModelSource
from training.optimizer import optimizer_state, optimizer_tensors
from training.planning.defaults import Choice
from training.run.best import write_best_model
from training.run.folder import (
    CHECKPOINTS_NAME,
    EMA_NAME,
    LOCK_NAME,
    MERGED_NAME,
    MODEL_NAME,
    RUN_NAME,
    SUMMARY_NAME,
)
from training.run.lock import RunLock
from training.run.options import TrainOptions
from training.run.state import TrainingRun


def begin(
    options: TrainOptions, loaded: LoadedModel, lock: RunLock, chosen: Sequence[Choice] = ()
) -> None:
    """Make the run folder this run's own, now that it can begin; on the first rank.

    ``chosen``: settings that nobody gave, which a run that is resumed has from its beginning.
    """
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
    reasons = [f"{choice.name}={choice.value}: {choice.reason}" for choice in chosen]
    if options.on_existing == "resume":
        reasons = [*_chosen_before(output / RUN_NAME), *reasons]
    _write_json(output / RUN_NAME, _description(options, loaded, reasons))


def _chosen_before(path: Path) -> list[str]:
    try:
        found = decode_json(read_small(path), dict[str, Any]).get("chosen")
    except (OSError, SmallFileError):
        return []
    return found if isinstance(found, list) else []


def _description(
    options: TrainOptions, loaded: LoadedModel, chosen: Sequence[str]
) -> dict[str, Any]:
    return {
        "dataset": options.dataset,
        "model_path": options.model,
        "model_revision": options.revision,
        "model_commit": loaded.commit or options.commit,
        "trust_remote_code": options.trust_remote_code,
        "allow_pickle": options.allow_pickle,
        "chosen": list(chosen),
        **msgspec.to_builtins(options.config),
    }


def _write_json(path: Path, content: Any) -> None:
    write_file(path, (json.dumps(content, indent=2) + "\n").encode())


def save(run: TrainingRun) -> None:
    """Write a checkpoint, from a copy while training goes on; every rank must call.

    One that is being written is waited for first. Raises DivergedError instead where weights or
    rewards are no finite numbers: it is of no use, and TrainingDatasetError where a shard that it
    was trained on turned out not to be the manifest's.
    """
    run.writer.wait()
    if run.verification is not None:
        read = run.dataset.shards_of(run.sampler.row_groups_read(run.first_step, run.step))
        run.verification.finish(run.context.gather, set(read))
    if not rewards_are_finite(run.loaded, run.context.device):
        raise DivergedError(
            f"after step {run.step:,} the rewards are no finite numbers, so no checkpoint is "
            "written"
        )
    state = TrainerState(
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
        best=run.best,
    )
    # An adapter is small, and of its base nothing is written.
    in_shards = run.weights.is_sharded and run.loaded.adapter is None
    heads = None if run.heads is None else run.heads.copy_of_state()
    run.writer.start(_sharded(run, state, heads) if in_shards else _whole(run, state, heads))
    run.saved_step = run.step


def _whole(
    run: TrainingRun, state: TrainerState, heads: dict[str, torch.Tensor] | None
) -> Callable[[], object]:
    """Copy everything to the first rank; what writes it there."""
    context, folder = run.context, run.options.output / CHECKPOINTS_NAME
    weights = run.weights.state(keep=context.is_first)
    _refuse_broken(run, weights)
    states = optimizer_state(run.optimizer, run.weights, keep=context.is_first)
    keep = run.config.run.keep_checkpoints

    def write() -> None:
        if context.is_first:
            save_checkpoint(folder, run.loaded, weights, states, state, heads=heads, keep=keep)

    return lambda: together(write, context, folder)


def _sharded(
    run: TrainingRun, state: TrainerState, heads: dict[str, torch.Tensor] | None
) -> Callable[[], object]:
    """Copy each rank's part to its CPU; what writes it."""
    copy = copy_of_shards(run.weights.tensors(), optimizer_tensors(run.optimizer, run.weights))
    _refuse_broken(run, copy)
    folder, keep = run.options.output / CHECKPOINTS_NAME, run.config.run.keep_checkpoints
    return lambda: save_sharded_checkpoint(
        folder, run.loaded, copy, state, run.context, heads=heads, keep=keep
    )


def _refuse_broken(run: TrainingRun, tensors: dict[str, torch.Tensor]) -> None:
    """Raise DivergedError on every rank where a value is no finite number on one."""
    broken = next((name for name, value in tensors.items() if not _is_finite(value)), None)
    told = next(filter(None, run.context.gather(broken)), None)
    if told is not None:
        raise DivergedError(
            f"after step {run.step:,} the weights {told} hold values that are not finite "
            "numbers, so no checkpoint is written"
        )


def save_average(run: TrainingRun) -> None:
    """Write ``model-ema/`` while the average is in the weights' place; every rank must call."""
    _write_model(run, run.options.output / EMA_NAME)


def _write_model(run: TrainingRun, target: Path) -> None:
    weights = run.weights.state(keep=run.context.is_first)
    if run.context.is_first:
        partial = partial_of(target)
        shutil.rmtree(partial, ignore_errors=True)
        save_model(partial, run.loaded, weights)
        write_checksums(partial)
        publish_folder(partial, target)


def finalize(
    run: TrainingRun, validation: dict[str, Any], validation_ema: dict[str, Any] | None = None
) -> Path:
    """Write the model folder and ``summary.json``; every rank must call.

    Raises TrainingDatasetError where a shard turned out not to be the manifest's.
    """
    if run.verification is not None:
        run.verification.finish(run.context.gather)
    target = run.options.output / MODEL_NAME
    of_last = run.best is None or run.best.step == run.step
    if of_last:
        _write_model(run, target)
    if run.context.is_first:
        if not of_last:
            write_best_model(run)
        if run.loaded.adapter is not None and run.config.lora.save_merged:
            merged = run.options.output / MERGED_NAME
            shutil.rmtree(merged, ignore_errors=True)
            merge_adapter(ModelSource(str(target)), merged)
        _write_json(
            run.options.output / SUMMARY_NAME,
            {
                "model": {
                    "name": run.options.model,
                    "commit": run.loaded.commit or run.options.commit,
                    "parameters": parameter_count(run.loaded.model),
                    "trained_parameters": sum(
                        master.numel() for master in run.weights.masters.values()
                    ),
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
                **({"selected": run.selected} if run.selected else {}),
                **_noise(run),
                **_propensity(run),
                "skipped_steps": run.guard.skipped,
                **_validations(run, validation),
                **({"validation_ema": validation_ema} if validation_ema else {}),
                "config": msgspec.to_builtins(run.config),
            },
        )
    run.context.barrier()
    return target


def _propensity(run: TrainingRun) -> dict[str, Any]:
    found = run.dataset.propensity
    return {} if found is None else {"propensity": msgspec.to_builtins(found)}


def _noise(run: TrainingRun) -> dict[str, Any]:
    return {} if run.label_noise is None else {"label_noise": msgspec.to_builtins(run.label_noise)}


def _validations(run: TrainingRun, last: dict[str, Any]) -> dict[str, Any]:
    """Figures of the model that was written; with ``run.keep_best`` also those of the last step."""
    if run.best is None:
        return {"validation": last}
    best = {"step": run.best.step, "loss": run.best.loss}
    return {"validation": run.best.validation, "validation_last": last, "best": best}


def _is_finite(value: torch.Tensor) -> bool:
    value = value.to_local() if hasattr(value, "to_local") else value
    if not value.is_floating_point() or not value.numel():
        return True
    low, high = value.aminmax()
    return bool(torch.isfinite(low) & torch.isfinite(high))


def _distinct_pairs(run: TrainingRun) -> int:
    """Pairs that were seen at least once; later epochs see the same ones again."""
    epoch = run.sampler.steps_per_epoch
    return run.totals.pairs if run.step <= epoch else round(run.totals.pairs * epoch / run.step)
