"""What a run writes: its description, checkpoints, the model and the summary."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

from schemas.small_files import SmallFileError, decode_json, read_small
from training.checkpoints.checkpoint import TrainerState, remove_partial, save_checkpoint
from training.durable_files import partial_of, publish_folder, remove_partial_of, write_file
from training.errors import ConfigError, DivergedError
from training.model.checksums import write_checksums
from training.model.reward_model import LoadedModel, rewards_are_finite, save_model
from training.optimizer import optimizer_state
from training.planning.defaults import Choice
from training.run.folder import (
    CHECKPOINTS_NAME,
    LOCK_NAME,
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
