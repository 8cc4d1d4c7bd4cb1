"""Pretrains a reward model on the pairs of a dataset version: the loop, top to bottom.

``forumprefs train`` on one device; on several GPUs
``torchrun --nproc-per-node 8 -m training.train`` with the same arguments. The objective is that
of WorldPM (arXiv 2505.10527): Bradley–Terry on a scalar read at the last token, one epoch,
constant learning rate after a warm-up.
"""

import math
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from types import FrameType
from typing import Any

import torch

from schemas.exit_codes import ExitCode
from training.config import known
from training.console import make_console, working
from training.data.collate import MicroBatch
from training.data.loader import RankBatch
from training.errors import DivergedError, NothingLearnedError
from training.losses.base import weighted_sum
from training.memory_errors import memory_errors
from training.optimizer import learning_rate
from training.parallel.distributed import start_distributed, stop_distributed
from training.run.introduction import TimeEstimate, introduction
from training.run.lock import RunLock
from training.run.log import RunLog
from training.run.options import TrainOptions
from training.run.progress import StepProgress
from training.run.saving import finalize, save
from training.run.setup import set_up
from training.run.state import TrainingRun
from training.throughput import peak_flops
from training.validation.baselines import ValidationReport
from training.validation.display import line, summary
from training.validation.validator import Validator, as_numbers


def train(options: TrainOptions) -> int:
    """Train to the end, to ``run.max_steps``, or until a signal; return the exit code.

    FINISHED, or INTERRUPTED after SIGINT. Raises ConfigError, TemplateError or
    TrainingDatasetError for what the user can mend, DivergedError when training blows up, and
    NothingLearnedError.
    """
    context = start_distributed(options.device)
    lock = RunLock()
    console = make_console(quiet=options.quiet or not context.is_first)
    run: TrainingRun | None = None
    try:
        with memory_errors(lambda: memory_remedy(run)):
            run = set_up(options, context, lock=lock, say=partial(working, console))
            with Interrupt() as interrupt:
                try:
                    return run_loop(run, interrupt)
                except DivergedError as error:
                    error.suspect_step = run.taken_step
                    raise
    finally:
        lock.release()
        stop_distributed()


def memory_remedy(run: TrainingRun | None) -> str:
    """What helps a run that ran out of memory; None: before its first step."""
    if run is None:
        return "Take a smaller model; forumprefs train --dry-run says what takes how much."
    config, ways = run.config, []
    tokens = known(config.model.micro_batch_tokens)
    if tokens >= 32:
        ways.append(f"--set model.micro_batch_tokens={tokens // 2}")
    if not config.model.activation_checkpointing:
        ways.append("--set model.activation_checkpointing=true")
    if not ways:
        return "Take a smaller model, or a smaller data.max_length."
    return f"Try {', or '.join(ways)}; the numbers stay the same."


def run_loop(run: TrainingRun, interrupt: "Interrupt") -> int:
    """Take the steps that remain, validate and save now and then, and write the model."""
    config = run.config.run
    validator = Validator(run.options.dataset, run.loaded, run.config, run.context)
    with ExitStack() as stack:
        log = stack.enter_context(_open_log(run)) if run.context.is_first else None
        if log is not None:
            log.say(introduction(run))
        progress = StepProgress(log, run.context.count)
        batches = run.loader.batches(run.step, run.last_step)
        first = next(batches, None)
        if first is not None:
            estimate = estimate_time(run, first, validator.tokens)
            if log is not None:
                log.say(str(estimate))
        report = _validate(run, validator, log, progress)
        check_rewards(report, f"before step {run.step + 1:,}")
        window = LogWindow(run)
        loss = 0.0
        for batch in chain(() if first is None else (first,), batches):
            progress.begin(run.step)
            sums = train_step(run, batch, stop=interrupt.signal != 0, seen=progress.micro_batch)
            window.add(sums)
            loss = sums.loss
            last = run.step == run.last_step
            if run.step % config.log_every == 0 or last:
                figures = window.figures()
                if log is not None:
                    log.write("train", run.step, figures)
                progress.step_done(run.step, describe(figures))
                window = LogWindow(run)
            if sums.stop:
                break
            if config.eval_every and run.step % config.eval_every == 0 and not last:
                with window.paused():
                    report = _validate(run, validator, log, progress)
                    check_rewards(report, f"after step {run.step:,}", whole=False)
            if config.save_every and run.step % config.save_every == 0 and not last:
                with window.paused():
                    save(run)
        if run.saved_step != run.step:
            save(run)
        if run.step < run.last_step:
            if log is not None:
                log.say(f"stopped by a signal after step {run.step:,}; --resume continues there")
            stopped_by_user = interrupt.signal == signal.SIGINT
            return ExitCode.INTERRUPTED if stopped_by_user else ExitCode.FINISHED
        check_learned(run)
        report = _validate(run, validator, log, progress, whole=True)
        check_rewards(report, f"after step {run.step:,}")
        if report is None and not math.isfinite(loss):
            raise DivergedError(f"the loss of step {run.step:,} is no finite number")
        model = finalize(run, as_numbers(report))
        if log is not None:
            log.say(f"{model} is ready for AutoModelForSequenceClassification.from_pretrained")
            log.say(_picture(run))
        return ExitCode.FINISHED


def _validate(
    run: TrainingRun,
    validator: Validator,
    log: RunLog | None,
    progress: StepProgress,
    *,
    whole: bool = False,
) -> ValidationReport | None:
    """Validate and log it; ``whole``: print the table, not a line."""
    report = validator.validate(partial(progress.validation, run.step))
    if log is not None and report is not None:
        log.write("validation", run.step, {"pairs": run.totals.pairs, **as_numbers(report)})
        log.say(summary(report) if whole else line(report))
    return report


def _picture(run: TrainingRun) -> str:
    """Draw the run, where there is matplotlib; says where it is."""
    try:
        from training.run.curves import draw_curves
    except ModuleNotFoundError as error:
        return f"no picture of the run: {error.name} is not installed"
    return f"its curves: {draw_curves(run.options.output)[0]}"


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


@dataclass
class StepSums:
    """What a step comes to, over all ranks."""

    loss: float
    """Sum of weight · loss."""
    correct: float
    """Sum of weight · (1 if the chosen has the higher reward, ½ if equal)."""
    weight: float
    pairs: float
    sequences: float
    tokens: float
    flops: float
    identical: float
    unsure: float
    at_limit: float
    stop: float
    """DistributedContext that were told to stop."""
    norm: float = 0.0
    lr: float = 0.0


def estimate_time(run: TrainingRun, batch: RankBatch, validation_tokens: int) -> TimeEstimate:
    """Time a micro-batch of a step, which changes nothing; every rank must call.

    A GPU's first pass is not counted: it compiles. A CPU gets one pass, of a small micro-batch.
    """
    on_gpu = run.context.device.type == "cuda"
    by_size = sorted(batch.micro, key=lambda part: part.input_ids.numel())
    part = by_size[len(by_size) // 2 if on_gpu else 0] if by_size else run.loader.any_micro_batch()
    part = part.without_weight()
    seconds = 0.0
    for _ in range(2 if on_gpu else 1):
        began = time.perf_counter()
        _forward_backward(run, part, 1.0)
        if on_gpu:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
    run.objective.drop_step()
    run.weights.clear_gradients()
    every, steps = run.config.run.eval_every, run.last_step - run.step
    validations = 2 + ((steps - 1) // every if every else 0)
    tokens, rate, validated = run.context.sum(
        [batch.tokens, part.tokens / max(seconds, 1e-9), validation_tokens]
    )
    return TimeEstimate(steps, tokens, rate, validations * validated)


def train_step(
    run: TrainingRun,
    batch: RankBatch,
    *,
    stop: bool = False,
    seen: Callable[[int, int, int], None] = lambda *_: None,
) -> StepSums:
    """One optimizer step on this rank's part of a global batch; every rank must call.

    ``seen`` is told after each micro-batch how many are done, of how many, and its tokens.


    The loss is divided by the pair weight of the whole step, over all micro-batches and ranks,
    so a pair counts the same wherever it lies.
    """
    total_weight = run.context.sum([batch.weight])[0]
    loss_sum, correct, flops = _accumulate_gradients(run, batch, total_weight, seen)
    run.weights.sum_gradients()
    sums = StepSums(
        *run.context.sum(
            [
                loss_sum,
                correct,
                batch.weight,
                batch.pairs,
                batch.sequences,
                batch.tokens,
                flops,
                batch.identical,
                batch.unsure,
                batch.at_limit,
                stop,
            ]
        )
    )
    # Every rank sees the same norm and loss, so all take the step or none does.
    sums.norm = float(run.weights.gradient_norm())
    sums.lr = learning_rate(run.step, run.sampler.steps, run.config.optim)
    taken = _update_weights(run, sums, skip=total_weight <= 0)
    run.step += 1
    if taken:
        run.taken_step = run.step
    # A step without a gradient only lets the weights decay: nothing was learned.
    run.totals.updates += taken and sums.norm > 0
    run.totals.pairs += int(sums.pairs)
    run.totals.tokens += int(sums.tokens)
    run.totals.counts.update(
        identical_when_cut=int(sums.identical),
        below_min_confidence=int(sums.unsure),
        sequences_at_a_limit=int(sums.at_limit),
    )
    return sums


def _accumulate_gradients(
    run: TrainingRun,
    batch: RankBatch,
    total_weight: float,
    seen: Callable[[int, int, int], None],
) -> tuple[float, float, float]:
    """Forward and backward over the micro-batches; sums of weight · loss, of weight · correct
    (½ for equal rewards), and FLOPs, all of this rank."""
    device = run.context.device
    parts = batch.micro
    if run.weights.is_sharded:  # its collectives need as many passes on each rank
        parts = filled_up(parts, int(run.context.max(len(parts))), run)
    loss_sum = torch.zeros((), device=device)
    correct = torch.zeros((), device=device)
    flops = 0.0
    for done, part in enumerate(parts, 1):
        loss, wins = _forward_backward(run, part, total_weight)
        loss_sum += loss
        correct += wins
        flops += run.flops(part)
        seen(done, len(parts), part.tokens)
    return float(loss_sum), float(correct), flops


def _forward_backward(
    run: TrainingRun, part: MicroBatch, total_weight: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add a micro-batch's gradients; its sums of weight · loss and of weight · correct."""
    micro = part.to(run.context.device)
    rewards = run.loaded.model(micro)
    chosen, rejected = rewards[micro.chosen], rewards[micro.rejected]
    loss = weighted_sum(run.objective(chosen, rejected, micro.labels), micro.labels.weight)
    (loss / max(total_weight, 1e-9)).backward()
    wins = (torch.sign(chosen - rejected).detach() + 1) / 2
    return loss.detach(), weighted_sum(wins, micro.labels.weight)


def _update_weights(run: TrainingRun, sums: StepSums, *, skip: bool) -> bool:
    """Clip and step, unless the guard or ``skip`` forbids it; gradients are cleared either way.

    Returns whether the step was taken.
    """
    weights = run.weights
    taken = not skip and run.guard.accepts(sums.norm, sums.loss)
    if taken:
        clip = run.config.optim.clip
        if clip and sums.norm > clip:
            weights.scale_gradients(clip / sums.norm)
        for group in run.optimizer.param_groups:
            group["lr"] = sums.lr * group["scale"]
        run.optimizer.step()
        weights.refresh_copies()
        run.objective.end_step(run.context.sum_in_place)
    else:
        run.objective.drop_step()
    weights.clear_gradients()
    return taken


def filled_up(micro: list[Any], count: int, run: TrainingRun) -> list[Any]:
    """Add micro-batches without weight until there are ``count``."""
    if len(micro) == count:
        return micro
    spare = micro[0] if micro else run.loader.any_micro_batch()
    return [*micro, *[spare.without_weight()] * (count - len(micro))]


class LogWindow:
    """Steps since the last line of the log, and their time."""

    def __init__(self, run: TrainingRun) -> None:
        self._run = run
        self._began = time.perf_counter()
        self._steps: list[StepSums] = []

    def add(self, sums: StepSums) -> None:
        """Count a step."""
        self._steps.append(sums)

    def paused(self) -> "_Pause":
        """Exclude the time of what runs inside."""
        return _Pause(self)

    def figures(self) -> dict[str, Any]:
        """Figures of the steps: means by pair weight, and throughput."""
        seconds = time.perf_counter() - self._began
        run = self._run

        def total(name: str) -> float:
            return float(sum(getattr(step, name) for step in self._steps))

        weight = max(total("weight"), 1e-9)
        found = {
            "pairs": run.totals.pairs,
            "tokens": run.totals.tokens,
            "loss": total("loss") / weight,
            "accuracy": total("correct") / weight,
            "lr": self._steps[-1].lr,
            "gradient_norm": self._steps[-1].norm,
            "skipped_steps": run.guard.skipped,
            "pairs_per_second": total("pairs") / seconds,
            "sequences_per_second": total("sequences") / seconds,
            "tokens_per_second": total("tokens") / seconds,
        }
        peak = peak_flops(run.context.device)
        if peak is not None:
            found["mfu"] = total("flops") / seconds / peak / run.context.count
            found["memory_gb"] = torch.cuda.max_memory_allocated(run.context.device) / 1e9
        return found


class _Pause:
    def __init__(self, window: LogWindow) -> None:
        self._window = window

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._window._began += time.perf_counter() - self._began


class Interrupt:
    """Notes SIGTERM and SIGINT, so that the step that runs is finished and saved."""

    def __init__(self) -> None:
        self.signal = 0

    def __enter__(self) -> "Interrupt":
        self._old = {
            number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.signal:  # whoever says it twice wants it at once
            raise KeyboardInterrupt
        self.signal = number
        print("finishing the step and saving; a second signal stops at once", file=sys.stderr)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)


def describe(figures: dict[str, Any]) -> str:
    """A line of figures for the terminal."""
    parts = [
        f"loss {figures['loss']:.4f}",
        f"accuracy {figures['accuracy']:.1%}",
        f"{figures['pairs_per_second']:,.1f} pairs/s",
        f"{figures['tokens_per_second']:,.0f} tokens/s",
    ]
    if "mfu" in figures:
        parts.append(f"MFU {figures['mfu']:.1%}")
    return "  ".join(parts)


def _open_log(run: TrainingRun) -> RunLog:
    return RunLog(
        run.options.output,
        steps=run.last_step,
        first_step=run.step,
        tensorboard=run.config.run.tensorboard,
        quiet=run.options.quiet,
    )


if __name__ == "__main__":
    from training.commands import main

    sys.exit(main(["train", *sys.argv[1:]]))
