"""Which validation of a run was the best, and the model of its step (``run.keep_best``)."""

import math

from training.checkpoints.checkpoint import BestValidation
from training.checkpoints.export import write_model_of
from training.errors import ConfigError
from training.run.folder import CHECKPOINTS_NAME, MODEL_NAME
from training.run.state import TrainingRun
from training.validation.baselines import ValidationReport
from training.validation.validator import as_numbers


def check_comparable(run: TrainingRun, validation_tokens: int) -> None:
    """Raise ConfigError where there is nothing to compare by; every rank must call.

    ``validation_tokens``: of this process.
    """
    if run.config.run.keep_best and not run.context.sum([validation_tokens])[0]:
        raise ConfigError(
            f"run.keep_best: {run.options.dataset} has no validation pairs to compare the model "
            "on; curate with a validation split (--split), or set it to false"
        )


def is_due(run: TrainingRun) -> bool:
    """Whether the validation after the steps so far is one that is compared.

    A resumed run begins with a validation that a run that was not stopped does not make: it counts
    only at a step where that one makes it, too. The model before the first step is not compared.
    """
    every = run.config.run.eval_every
    return bool(run.config.run.keep_best and run.step and every and run.step % every == 0)


def judge(run: TrainingRun, report: ValidationReport | None) -> bool:
    """Compare a validation with the best one so far; whether it is better.

    Of equal losses the earlier one stays. Every rank must call, with the same report.
    """
    loss = None if report is None else report.figures.loss.value
    if loss is None or not math.isfinite(loss):
        return False
    if run.best is not None and loss >= run.best.loss:
        return False
    run.best = BestValidation(step=run.step, loss=loss, validation=as_numbers(report))
    return True


def write_best_model(run: TrainingRun) -> None:
    """Write ``model/`` from the checkpoint of the best validation; on the first rank.

    Raises ConfigError where that checkpoint is damaged.
    """
    assert run.best is not None
    output = run.options.output
    checkpoint = output / CHECKPOINTS_NAME / f"step-{run.best.step:08d}"
    try:
        write_model_of(
            checkpoint, output / MODEL_NAME, trust_remote_code=run.options.trust_remote_code
        )
    except ConfigError as error:
        raise ConfigError(
            f"run.keep_best: {error}; that is where the validation loss was lowest "
            f"({run.best.loss:.4f}). Put it back from a copy and resume, or take another "
            "checkpoint with forumprefs export-model"
        ) from None


def describe_best(run: TrainingRun, last: ValidationReport | None) -> str:
    """Say of which step the model is."""
    assert run.best is not None
    if run.best.step == run.step:
        return f"the validation loss was lowest after the last step: {run.best.loss:.4f}"
    then = None if last is None else last.figures.loss.value
    now = "no finite number" if then is None else f"{then:.4f}"
    return (
        f"model/ is that of step {run.best.step:,}, where the validation loss was lowest: "
        f"{run.best.loss:.4f}, after the last step {now}"
    )
