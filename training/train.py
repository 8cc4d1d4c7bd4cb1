"""Pretrains a reward model on the pairs of a dataset version: the loop, top to bottom.

``forumprefs train`` on one device; on several GPUs
``torchrun --nproc-per-node 8 -m training.train`` with the same arguments. The objective is that
of WorldPM (arXiv 2505.10527): Bradley–Terry on a scalar read at the last token, one epoch,
constant learning rate after a warm-up.
"""

import json
import math
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import msgspec
import torch

from schemas.exit_codes import ExitCode
from training.data.loader import RankBatch
from training.errors import DivergedError, NothingLearnedError
from training.losses.base import weighted_sum
from training.optimizer import learning_rate
from training.parallel.distributed import start_distributed, stop_distributed
from training.run.folder import SUMMARY_NAME
from training.run.interrupt import Interrupt
from training.run.lock import RunLock
from training.run.log import RunLog
from training.run.options import TrainOptions
from training.run.saving import finalize, save, save_average
from training.run.setup import set_up
from training.run.state import TrainingRun
from training.throughput import peak_flops
from training.tracking.trackers import open_trackers
from training.validation.baselines import ValidationReport
from training.validation.display import line, summary
from training.validation.validator import Validator, as_numbers
from training.weight_average import averaged, update_average

FEW_STEPS = 20
"""Below this a run says that its batches are too large."""


def train(options: TrainOptions) -> int:
    """Train to the end, to ``run.max_steps``, or until a signal; return the exit code.

    FINISHED, or INTERRUPTED after SIGINT. Raises ConfigError, TemplateError or
    TrainingDatasetError for what the user can mend, DivergedError when training blows up, and
    NothingLearnedError.
    """
    context = start_distributed(
        options.device,
        options.config.run.context_parallel_degree,
        timeout_minutes=options.config.run.timeout_minutes,
    )
    lock = RunLock()
    try:
        run = set_up(options, context, lock=lock)
        with Interrupt() as interrupt:
            try:
                return run_loop(run, interrupt)
            except DivergedError as error:
                error.suspect_step = run.taken_step
                run.writer.wait()  # it may be the one to go on from
                raise
    except RuntimeError as error:
        if (lost := context.connection_lost(error)) is None:
            raise
        raise lost from error
    finally:
        lock.release()
        stop_distributed()


def run_loop(run: TrainingRun, interrupt: Interrupt) -> int:
    """Take the steps that remain, validate and save now and then, and write the model."""
    config = run.config.run
    validator = Validator(run.options.dataset, run.loaded, run.config, run.context)
    with ExitStack() as stack:
        log = stack.enter_context(_open_log(run)) if run.context.is_first else None
        if log is not None:
            log.say(_introduction(run))
        if run.step < run.last_step:  # else it is done, and validated below
            report = _validate(run, validator, log, interrupt)
            check_rewards(report, f"before step {run.step + 1:,}")
        window = LogWindow(run)
        loss = 0.0
        for batch in run.loader.batches(run.step, run.last_step):
            sums = train_step(run, batch, stop=interrupt.is_set)
            if sums is None:
                break
            window.add(sums)
            run.writer.check()
            loss = sums.loss
            last = run.step == run.last_step
            if run.step % config.log_every == 0 or last:
                figures = window.figures()
                if log is not None:
                    log.write("train", run.step, figures)
                    log.progress(run.step, describe(figures))
                window = LogWindow(run)
            if config.eval_every and run.step % config.eval_every == 0 and not last:
                with window.paused():
                    report = _validate(run, validator, log, interrupt)
                    check_rewards(report, f"after step {run.step:,}", whole=False)
            if config.save_every and run.step % config.save_every == 0 and not last:
                with window.paused():
                    save(run)
        if run.step and run.saved_step != run.step:
            save(run)
        run.writer.wait()
        if run.step < run.last_step:
            return _stopped(run, interrupt, log)
        check_learned(run)
        report = _validate(run, validator, log, interrupt, whole=True)
        if run.context.any(interrupt.is_set()):
            return _stopped(run, interrupt, log)
        check_rewards(report, f"after step {run.step:,}")
        if report is None and not math.isfinite(loss):
            raise DivergedError(f"the loss of step {run.step:,} is no finite number")
        average = None
        if run.config.optim.ema_decay is not None:
            with averaged(run.optimizer, run.weights):
                average = _validate(run, validator, log, interrupt, kind="validation_ema")
                save_average(run)
        model = finalize(run, as_numbers(report), as_numbers(average))
        if log is not None:
            log.finish(json.loads((run.options.output / SUMMARY_NAME).read_bytes()))
            log.say(f"{model} is ready for AutoModelForSequenceClassification.from_pretrained")
        return ExitCode.FINISHED


def _stopped(run: TrainingRun, interrupt: Interrupt, log: RunLog | None) -> int:
    """Say where a run was stopped by a signal; the exit code."""
    if log is not None:
        log.say(
            f"stopped by a signal after step {run.step:,}; --resume continues there"
            if run.step
            else "stopped by a signal before the first step was done; --resume begins anew"
        )
    stopped_by_user = run.context.any(interrupt.signal == signal.SIGINT)
    return ExitCode.INTERRUPTED if stopped_by_user else ExitCode.FINISHED


def _validate(
    run: TrainingRun,
    validator: Validator,
    log: RunLog | None,
    interrupt: Interrupt,
    *,
    whole: bool = False,
    kind: str = "validation",
) -> ValidationReport | None:
    """Validate and log it as ``kind``; ``whole``: print the table, not a line."""
    report = validator.validate(interrupt.is_set)
    if log is not None and report is not None:
        log.write(kind, run.step, {"pairs": run.totals.pairs, **as_numbers(report)})
        about = "" if kind == "validation" else "running average of the weights: "
        log.say(summary(report) if whole else f"{about}{line(report)}")
    return report


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
    norm: float = 0.0
    lr: float = 0.0


def train_step(
    run: TrainingRun, batch: RankBatch, *, stop: Callable[[], bool] = lambda: False
) -> StepSums | None:
    """One optimizer step on this rank's part of a global batch; every rank must call.

    The loss is divided by the pair weight of the whole step, over all micro-batches and ranks,
    so a pair counts the same wherever it lies. ``stop`` is asked before each micro-batch: once it
    says so on any rank, the step is abandoned on all, as if it had not begun, and None returned.
    """
    total_weight = run.context.sum([batch.weight])[0]
    if run.config.lora.dropout:  # from the step alone, so that a resumed run draws the same
        place = run.step * run.context.count + run.context.rank
        torch.manual_seed((run.config.run.seed << 32) + place)
    accumulated = _accumulate_gradients(run, batch, total_weight, stop)
    if accumulated is None:
        run.objective.drop_step()
        run.weights.clear_gradients()
        return None
    loss_sum, correct, flops = accumulated
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
    run: TrainingRun, batch: RankBatch, total_weight: float, stop: Callable[[], bool]
) -> tuple[float, float, float] | None:
    """Forward and backward over the micro-batches; sums of weight · loss, of weight · correct
    (½ for equal rewards), and FLOPs, all of this rank; None where it was told to stop."""
    device = run.context.device
    # As many rounds on each rank, for they agree in each whether to go on.
    rounds = run.context.largest(len(batch.micro))
    parts: list[Any] = batch.micro
    if run.weights.is_sharded:  # its collectives need as many passes on each rank
        parts = filled_up(parts, rounds, run)
    loss_sum = torch.zeros((), device=device)
    correct = torch.zeros((), device=device)
    flops = 0.0
    queue = GpuQueue(device)
    for number in range(rounds):
        queue.wait()
        if run.context.any(stop()):
            return None
        if number >= len(parts):
            continue
        part = parts[number]
        micro = part.to(device)
        rewards = run.loaded.model(micro)
        chosen, rejected = rewards[micro.chosen], rewards[micro.rejected]
        loss = weighted_sum(run.objective(chosen, rejected, micro.labels), micro.labels.weight)
        (loss / max(total_weight, 1e-9)).backward()
        loss_sum += loss.detach()
        wins = (torch.sign(chosen - rejected).detach() + 1) / 2
        correct += weighted_sum(wins, micro.labels.weight)
        flops += run.flops(part)
        queue.add()
    return float(loss_sum), float(correct), flops


class GpuQueue:
    """Keeps the CPU at most one micro-batch ahead of a GPU, so that a run stops soon when it is
    told to; on a CPU there is nothing to wait for."""

    def __init__(self, device: torch.device) -> None:
        self._is_gpu = device.type == "cuda"
        self._ends: deque[Any] = deque()

    def add(self) -> None:
        """Mark the end of what was just put into the queue."""
        if self._is_gpu:
            self._ends.append(torch.cuda.Event())
            self._ends[-1].record()

    def wait(self) -> None:
        """Wait until at most one micro-batch is left."""
        while len(self._ends) > 1:
            self._ends.popleft().synchronize()


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
        if run.config.optim.ema_decay is not None:
            update_average(run.optimizer, weights, run.config.optim.ema_decay)
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
        quiet=run.options.quiet,
        trackers=open_trackers(
            run.config.run.trackers,
            run.options.output,
            {
                "dataset": run.options.dataset,
                "model_path": run.options.model,
                **msgspec.to_builtins(run.config),
            },
            first_step=run.step,
            warn=lambda text: print(f"forumprefs train: {text}", file=sys.stderr),
        ),
    )


def _introduction(run: TrainingRun) -> str:
    sampler, tokens = run.sampler, run.loaded.tokens
    head = "a new head" if run.loaded.head_is_new else "its head"
    begin = f", from step {run.step:,}" if run.step else ""
    if run.options.on_existing == "resume" and not run.step:
        begin = ", from the beginning: there is no checkpoint to resume from"
    few = ""
    if sampler.steps < FEW_STEPS:
        few = (
            f"\nOnly {sampler.steps} steps: the warm-up and AdamW need more. Lower "
            f"data.batch_pairs (now {sampler.batch_rows:,}), or train on more pairs."
        )
    return (
        f"{run.options.model} ({run.flops.block_parameters / 1e6:,.1f}M weights in its blocks, "
        f"{head}), template {run.loaded.template.name}, reward token "
        f"{run.loaded.template.reward_token or 'none'}, at most {tokens.max_length:,} tokens\n"
        f"{sampler.rows_per_epoch:,} pairs an epoch, {run.last_step:,} steps of up to "
        f"{sampler.batch_rows:,} pairs{begin}; {run.config.model.layout} layout, "
        f"{str(run.dtype).removeprefix('torch.')} on {run.context.count} × "
        f"{run.context.device.type}{few}"
    )


if __name__ == "__main__":
    from training.commands import main

    sys.exit(main(["train", *sys.argv[1:]]))
