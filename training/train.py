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
from functools import partial
from itertools import chain
from typing import Any

import msgspec
import torch

from schemas.exit_codes import ExitCode
from schemas.small_files import decode_json, read_small
from training.config import known
from training.console import make_console, working
from training.data.collate import MicroBatch
from training.data.loader import RankBatch
from training.errors import DivergedError
from training.losses.base import weighted_sum
from training.memory_errors import memory_errors
from training.optimizer import learning_rate
from training.parallel.distributed import (
    DistributedContext,
    start_distributed,
    stop_distributed,
)
from training.parallel.gpu_queue import GpuQueue
from training.parallel.sharding import full_tensor
from training.run.best import check_comparable, describe_best, is_due, judge
from training.run.checks import check_learned, check_rewards
from training.run.figures import LogWindow, StepSums, describe
from training.run.folder import SUMMARY_NAME
from training.run.interrupt import Interrupt
from training.run.introduction import TimeEstimate, introduction
from training.run.lock import RunLock
from training.run.log import RunLog
from training.run.options import TrainOptions
from training.run.progress import StepProgress
from training.run.saving import finalize, save, save_average
from training.run.setup import set_up
from training.run.state import TrainingRun
from training.tracking.trackers import open_trackers
from training.validation.baselines import ValidationReport
from training.validation.display import line, summary
from training.validation.validator import Validator, as_numbers
from training.weight_average import averaged, update_average


def train(options: TrainOptions) -> int:
    """Train to the end, to ``run.max_steps``, or until a signal; return the exit code.

    FINISHED, or INTERRUPTED after SIGINT. Raises ConfigError, TemplateError or
    TrainingDatasetError for what the user can mend, DivergedError when training blows up,
    NothingLearnedError, MemoryShortageError and ConnectionLostError.
    """
    lock = RunLock()
    context: DistributedContext | None = None
    run: TrainingRun | None = None
    try:
        context = start_distributed(
            options.device,
            options.config.run.context_parallel_degree,
            timeout_minutes=options.config.run.timeout_minutes,
        )
        console = make_console(quiet=options.quiet or not context.is_first)
        with memory_errors(lambda: memory_remedy(run)):
            run = set_up(options, context, lock=lock, say=partial(working, console))
            with Interrupt() as interrupt:
                try:
                    return run_loop(run, interrupt)
                except DivergedError as error:
                    error.suspect_step = run.taken_step
                    run.writer.wait()  # it may be the one to go on from
                    raise
    except RuntimeError as error:
        if context is None or (lost := context.connection_lost(error)) is None:
            raise
        raise lost from error
    finally:
        if run is not None and run.verification is not None:
            run.verification.stop()
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


def run_loop(run: TrainingRun, interrupt: Interrupt) -> int:
    """Take the steps that remain, validate and save now and then, and write the model."""
    config = run.config.run
    validator = Validator(run.options.dataset, run.loaded, run.config, run.context)
    check_comparable(run, validator.tokens)
    with ExitStack() as stack:
        log = stack.enter_context(_open_log(run)) if run.context.is_first else None
        progress = StepProgress(log, run.context.count)
        validate = partial(_validate, run, validator, log, interrupt, progress)
        if log is not None:
            log.say(introduction(run))
        batches = run.loader.batches(run.step, run.last_step)
        first = next(batches, None)
        if first is not None:  # else the run is done, and validated below
            estimate = estimate_time(run, first, validator.tokens)
            if log is not None and estimate is not None:
                log.say(str(estimate))
            report = validate()
            check_rewards(report, f"before step {run.step + 1:,}")
            if is_due(run):  # a run that was stopped before it could
                judge(run, report)
        window = LogWindow(run)
        loss = 0.0
        for batch in chain(() if first is None else (first,), batches):
            progress.begin(run.step)
            sums = train_step(run, batch, stop=interrupt.is_set, seen=progress.micro_batch)
            if sums is None:
                break
            window.add(sums)
            # All ranks at the same step: one that went on would wait for those that ended.
            if run.context.any(run.writer.has_failed()):
                run.writer.wait()
            loss = sums.loss
            last = run.step == run.last_step
            if run.step % config.log_every == 0 or last:
                figures = window.figures()
                if log is not None:
                    log.write("train", run.step, figures)
                progress.step_done(run.step, describe(figures))
                window = LogWindow(run)
            if config.eval_every and run.step % config.eval_every == 0 and not last:
                with window.paused():
                    report = validate()
                    check_rewards(report, f"after step {run.step:,}", whole=False)
                    if is_due(run) and judge(run, report):
                        save(run)
            due = config.save_every and run.step % config.save_every == 0 and not last
            if due and run.saved_step != run.step:
                with window.paused():
                    save(run)
        if run.step and run.saved_step != run.step:
            save(run)
        run.writer.wait()
        if run.step < run.last_step:
            return _stopped(run, interrupt, log)
        check_learned(run)
        report = validate(whole=True)
        if run.context.any(interrupt.is_set()):
            return _stopped(run, interrupt, log)
        check_rewards(report, f"after step {run.step:,}")
        if report is None and not math.isfinite(loss):
            raise DivergedError(f"the loss of step {run.step:,} is no finite number")
        if config.keep_best:
            judge(run, report)
            if log is not None and run.best is not None:
                log.say(describe_best(run, report))
        average = None
        if run.config.optim.ema_decay is not None:
            with averaged(run.optimizer, run.weights):
                average = validate(kind="validation_ema")
                if run.context.any(interrupt.is_set()):
                    return _stopped(run, interrupt, log)
                save_average(run)
        model = finalize(run, as_numbers(report), as_numbers(average))
        if log is not None:
            log.finish(decode_json(read_small(run.options.output / SUMMARY_NAME), dict[str, Any]))
            log.say(f"{model} is ready for AutoModelForSequenceClassification.from_pretrained")
            log.say(_picture(run))
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
    progress: StepProgress,
    *,
    whole: bool = False,
    kind: str = "validation",
) -> ValidationReport | None:
    """Validate and log it as ``kind``; ``whole``: print the table, not a line."""
    report = validator.validate(interrupt.is_set, partial(progress.validation, run.step))
    if log is not None and report is not None:
        log.write(kind, run.step, {"pairs": run.totals.pairs, **as_numbers(report)})
        about = "" if kind == "validation" else "running average of the weights: "
        log.say(summary(report) if whole else f"{about}{line(report)}")
    return report


def _picture(run: TrainingRun) -> str:
    """Draw the run, where there is matplotlib; says where it is."""
    try:
        from training.run.curves import draw_curves
    except ModuleNotFoundError as error:
        return f"no picture of the run: {error.name} is not installed"
    return f"its curves: {draw_curves(run.options.output)[0]}"


def estimate_time(
    run: TrainingRun, batch: RankBatch, validation_tokens: int
) -> TimeEstimate | None:
    """Time a micro-batch of a step, which changes nothing; every rank must call.

    A GPU's first pass is not counted: it compiles. A CPU gets one pass, of a small micro-batch.
    None where there is none.
    """
    on_gpu = run.context.device.type == "cuda"
    by_size = sorted(batch.micro, key=lambda part: part.input_ids.numel())
    try:
        spare = by_size[len(by_size) // 2 if on_gpu else 0] if by_size else None
        part = spare or run.loader.any_micro_batch()
    except ValueError:  # no step has a pair, on any rank: the run will say why
        return None
    part = part.without_weight()
    seconds = 0.0
    for _ in range(2 if on_gpu else 1):
        began = time.perf_counter()
        _forward_backward(run, part, 1.0)
        if on_gpu:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
    _drop_step(run)
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
    stop: Callable[[], bool] = lambda: False,
    seen: Callable[[int, int, int], None] = lambda *_: None,
) -> StepSums | None:
    """One optimizer step on this rank's part of a global batch; every rank must call.

    The loss is divided by the pair weight of the whole step, over all micro-batches and ranks,
    so a pair counts the same wherever it lies.

    Args:
        stop: is asked before each micro-batch: once it says so on any rank, the step is abandoned
            on all, as if it had not begun, and None returned.
        seen: is told after each micro-batch how many are done, of how many, and its tokens.
    """
    total_weight = run.context.sum([batch.weight])[0]
    if run.config.lora.dropout:  # from the step alone, so that a resumed run draws the same
        place = run.step * run.context.count + run.context.rank
        torch.manual_seed((run.config.run.seed << 32) + place)
    accumulated = _accumulate_gradients(run, batch, total_weight, stop, seen)
    if accumulated is None:
        _drop_step(run)
        return None
    loss_sum, correct, flops = accumulated
    run.weights.sum_gradients()
    weight_terms = _finish_heads(run)
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
                batch.too_clear,
                batch.at_limit,
            ]
        )
    )
    sums.loss += weight_terms * sums.weight
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
        above_max_margin=int(sums.too_clear),
        sequences_at_a_limit=int(sums.at_limit),
    )
    return sums


def _accumulate_gradients(
    run: TrainingRun,
    batch: RankBatch,
    total_weight: float,
    stop: Callable[[], bool],
    seen: Callable[[int, int, int], None],
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
        loss, wins = _forward_backward(run, part, total_weight)
        loss_sum += loss
        correct += wins
        flops += run.flops(part)
        queue.add()
        seen(number + 1, len(parts), part.tokens)
    return float(loss_sum), float(correct), flops


def _forward_backward(
    run: TrainingRun, part: MicroBatch, total_weight: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add a micro-batch's gradients; its sums of weight · loss and of weight · correct."""
    micro = part.to(run.context.device)
    if run.heads is None:
        rewards = run.loaded.model(micro)
        losses = run.objective(rewards[micro.chosen], rewards[micro.rejected], micro.labels)
    else:
        rewards, states = run.loaded.model(micro, with_states=True)
        losses = run.heads.loss(run.objective, rewards, states, micro)
    chosen, rejected = rewards[micro.chosen], rewards[micro.rejected]
    loss = weighted_sum(losses, micro.labels.weight)
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
        if run.config.optim.ema_decay is not None:
            update_average(run.optimizer, weights, run.config.optim.ema_decay)
        run.objective.end_step(run.context.sum_in_place)
        if run.heads is not None:
            lr = sums.lr * run.config.optim.head_lr_scale
            run.heads.end_step(run.context.sum_in_place, lr=lr)
        weights.clear_gradients()
    else:
        _drop_step(run)
    return taken


def _finish_heads(run: TrainingRun) -> float:
    """Finish the gradients of the heads beside the reward head, and what they ask of its weight;
    the value of the loss terms on the weights."""
    if run.heads is None:
        return 0.0
    name = run.weights.head_weight
    weight = full_tensor(run.weights.masters[name])
    assert weight is not None
    value, gradient = run.heads.sum_gradients(
        run.context.sum_in_place, weight.to(run.context.device)
    )
    run.weights.add_gradient(name, gradient)
    return value


def _drop_step(run: TrainingRun) -> None:
    """Discard a step's gradients, and what it would have taught losses and heads."""
    run.objective.drop_step()
    if run.heads is not None:
        run.heads.drop_step()
    run.weights.clear_gradients()


def filled_up(micro: list[Any], count: int, run: TrainingRun) -> list[Any]:
    """Add micro-batches without weight until there are ``count``."""
    if len(micro) == count:
        return micro
    spare = micro[0] if micro else run.loader.any_micro_batch()
    return [*micro, *[spare.without_weight()] * (count - len(micro))]


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


if __name__ == "__main__":
    from training.commands import main

    sys.exit(main(["train", *sys.argv[1:]]))
