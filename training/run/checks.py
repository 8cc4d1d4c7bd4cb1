"""Whether a run still makes sense: finite rewards, and weights that changed."""

from training.errors import DivergedError, NothingLearnedError
from training.run.state import TrainingRun
from training.validation.baselines import ValidationReport


def check_rewards(report: ValidationReport | None, when: str, *, whole: bool = True) -> None:
    """Raise DivergedError where rewards of validation pairs are no finite numbers.

    ``whole``: any pair is one too many, as before the first step and after the last one; else the
    run may still recover, unless all are.
    """
    if report is None or not report.figures.non_finite:
        return
    broken, pairs = report.figures.non_finite, report.figures.accuracy.pairs
    if whole or broken >= pairs:
        raise DivergedError(
            f"{when} the rewards of {broken:,} of {pairs:,} validation pairs are no finite numbers"
        )


def check_learned(run: TrainingRun) -> None:
    """Raise NothingLearnedError for a run that ends with the weights it began with."""
    if run.totals.updates:
        return
    counts = run.totals.counts
    told = (
        (
            run.guard.skipped,
            "steps skipped: gradients no finite numbers, or spikes",
            "smaller optim.lr",
        ),
        (
            counts["below_min_confidence"],
            "pairs below data.min_confidence",
            "lower data.min_confidence",
        ),
        (
            counts["above_max_margin"],
            "pairs above data.max_margin",
            "larger data.max_margin",
        ),
        (
            counts["identical_when_cut"],
            "pairs the same when cut to data.max_length",
            "larger data.max_length",
        ),
    )
    found = [(f"{count:,} {what}", change) for count, what, change in told if count]
    why = ", ".join(what for what, _ in found) or "every gradient was zero"
    change = " and a ".join(change for _, change in found) or "model that is not spoiled"
    raise NothingLearnedError(
        f"nothing was learned: none of {run.step:,} steps changed a weight ({why}), so no model is "
        f"written; start again with a {change}"
    )
