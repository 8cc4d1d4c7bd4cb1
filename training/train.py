"""Pretrains a reward model on the pairs of a dataset version: the loop, top to bottom.

``forumprefs train`` on one device; on several GPUs
``torchrun --nproc-per-node 8 -m training.train`` with the same arguments. The objective is that
of WorldPM (arXiv 2505.10527): Bradley–Terry on a scalar read at the last token, one epoch,
constant learning rate after a warm-up.
"""

import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch

from training.data.loader import Share
from training.distributed import start_ranks, stop_ranks
from training.losses import weighted_sum
from training.optimizer import learning_rate
from training.run import Run, TrainOptions, finish, save, set_up
from training.run_log import RunLog
from training.throughput import peak_flops
from training.validation.display import line, summary
from training.validation.validator import Watch, as_line

FEW_STEPS = 20
"""Below this a run says that its batches are too large."""


def train(options: TrainOptions) -> int:
    """Train to the end, to ``run.max_steps``, or until a signal; return the exit code.

    0, or 130 after SIGINT. Raises ConfigError, TemplateError or DatasetError for what the user
    can mend and DivergedError when training blows up.
    """
    ranks = start_ranks(options.device)
    try:
        run = set_up(options, ranks)
        with Interrupt() as interrupt:
            return run_loop(run, interrupt)
    finally:
        stop_ranks()


def run_loop(run: Run, interrupt: "Interrupt") -> int:
    """Take the steps that are left, look at validation now and then, and save."""
    config, ranks = run.config, run.ranks
    watch = Watch(run.options.dataset, run.loaded, config, ranks)
    with ExitStack() as stack:
        log = stack.enter_context(_open_log(run)) if ranks.is_first else None

        def look(*, whole: bool = False) -> dict[str, Any]:
            report = watch.look()
            figures = as_line(report)
            if log is not None and report is not None:
                log.write("validation", run.step, {"pairs": run.totals.pairs, **figures})
                log.say(summary(report) if whole else line(report))
            return figures

        if log is not None:
            log.say(_introduction(run))
        look()
        window = Window(run)
        for share in run.feed.shares(run.step, run.last_step):
            sums = train_step(run, share, stop=interrupt.signal != 0)
            window.add(sums)
            last = run.step == run.last_step
            if run.step % config.run.log_every == 0 or last:
                figures = window.figures()
                if log is not None:
                    log.write("train", run.step, figures)
                    log.progress(run.step, describe(figures))
                window = Window(run)
            if sums.stop:
                break
            if config.run.eval_every and run.step % config.run.eval_every == 0 and not last:
                with window.paused():
                    look()
            if config.run.save_every and run.step % config.run.save_every == 0 and not last:
                with window.paused():
                    save(run)
        if run.saved_step != run.step:
            save(run)
        if run.step < run.last_step:
            if log is not None:
                log.say(f"stopped by a signal after step {run.step:,}; --resume goes on from there")
            return 130 if interrupt.signal == signal.SIGINT else 0
        validation = look(whole=True)
        model = finish(run, validation)
        if log is not None:
            log.say(f"{model} is ready for AutoModelForSequenceClassification.from_pretrained")
        return 0


@dataclass
class StepSums:
    """What a step comes to, over all ranks."""

    loss: float
    """Sum of weight · loss."""
    right: float
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
    """Ranks that were told to stop."""
    norm: float = 0.0
    lr: float = 0.0


def train_step(run: Run, share: Share, *, stop: bool = False) -> StepSums:
    """One optimizer step on this rank's share of a global batch.

    The loss is divided by the pair weight of the whole step, over all micro-batches and ranks,
    so a pair counts the same wherever it lies.
    """
    ranks, weights = run.ranks, run.weights
    model = run.loaded.model
    total_weight = ranks.sum([share.weight])[0]
    micro = share.micro
    if weights.is_sharded:  # its collectives need as many passes on each rank
        micro = filled_up(micro, int(ranks.largest(len(micro))), run)
    loss_sum = torch.zeros((), device=ranks.device)
    right = torch.zeros((), device=ranks.device)
    flops = 0.0
    for part in micro:
        batch = part.to(ranks.device)
        rewards = model(batch)
        chosen, rejected = rewards[batch.chosen], rewards[batch.rejected]
        loss = weighted_sum(run.objective(chosen, rejected, batch.labels), batch.labels.weight)
        (loss / max(total_weight, 1e-9)).backward()
        loss_sum += loss.detach()
        wins = (torch.sign(chosen - rejected).detach() + 1) / 2
        right += weighted_sum(wins, batch.labels.weight)
        flops += run.flops(part)
    weights.sum_gradients()

    sums = StepSums(
        *ranks.sum(
            [
                float(loss_sum),
                float(right),
                share.weight,
                share.pairs,
                share.sequences,
                share.tokens,
                flops,
                share.identical,
                share.unsure,
                share.at_limit,
                stop,
            ]
        )
    )
    # Every rank sees the same norm and loss, so all take the step or none does.
    sums.norm = float(weights.gradient_norm())
    sums.lr = learning_rate(run.step, run.plan.steps, run.config.optim)
    if total_weight > 0 and run.guard.accepts(sums.norm, sums.loss):
        clip = run.config.optim.clip
        if clip and sums.norm > clip:
            weights.scale_gradients(clip / sums.norm)
        for group in run.optimizer.param_groups:
            group["lr"] = sums.lr * group["scale"]
        run.optimizer.step()
        weights.refresh_copies()
        run.objective.end_step(ranks.sum_in_place)
    else:
        run.objective.drop_step()
    weights.clear_gradients()

    run.step += 1
    run.totals.pairs += int(sums.pairs)
    run.totals.tokens += int(sums.tokens)
    run.totals.counts.update(
        identical_when_cut=int(sums.identical),
        below_min_confidence=int(sums.unsure),
        sequences_at_a_limit=int(sums.at_limit),
    )
    return sums


def filled_up(micro: list[Any], count: int, run: Run) -> list[Any]:
    """Add micro-batches without weight until there are ``count``."""
    if len(micro) == count:
        return micro
    spare = micro[0] if micro else run.feed.any_micro_batch()
    return [*micro, *[spare.without_weight()] * (count - len(micro))]


class Window:
    """Steps since the last line of the log."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._began = time.perf_counter()
        self._steps: list[StepSums] = []

    def add(self, sums: StepSums) -> None:
        """Count a step."""
        self._steps.append(sums)

    def paused(self) -> "_Pause":
        """Leave out the time of what runs inside."""
        return _Pause(self)

    def figures(self) -> dict[str, Any]:
        """Figures of the steps: means by pair weight, and speed."""
        seconds = time.perf_counter() - self._began
        run = self._run

        def total(name: str) -> float:
            return float(sum(getattr(step, name) for step in self._steps))

        weight = max(total("weight"), 1e-9)
        found = {
            "pairs": run.totals.pairs,
            "tokens": run.totals.tokens,
            "loss": total("loss") / weight,
            "accuracy": total("right") / weight,
            "lr": self._steps[-1].lr,
            "gradient_norm": self._steps[-1].norm,
            "skipped_steps": run.guard.skipped,
            "pairs_per_second": total("pairs") / seconds,
            "sequences_per_second": total("sequences") / seconds,
            "tokens_per_second": total("tokens") / seconds,
        }
        peak = peak_flops(run.ranks.device)
        if peak is not None:
            found["mfu"] = total("flops") / seconds / peak / run.ranks.count
            found["memory_gb"] = torch.cuda.max_memory_allocated(run.ranks.device) / 1e9
        return found


class _Pause:
    def __init__(self, window: Window) -> None:
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
        print("finishing the step and saving; once more stops at once", file=sys.stderr)

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


def _open_log(run: Run) -> RunLog:
    return RunLog(
        run.options.output,
        steps=run.last_step,
        first_step=run.step,
        tensorboard=run.config.run.tensorboard,
        quiet=run.options.quiet,
    )


def _introduction(run: Run) -> str:
    plan, tokens = run.plan, run.loaded.tokens
    head = "a new head" if run.loaded.head_is_new else "its head"
    begin = f", from step {run.step:,}" if run.step else ""
    if run.options.on_existing == "resume" and not run.step:
        begin = ", from the beginning: there is no checkpoint to resume from"
    few = ""
    if plan.steps < FEW_STEPS:
        few = (
            f"\nOnly {plan.steps} steps: the warm-up and AdamW want more. Lower data.batch_pairs "
            f"(now {plan.batch_rows:,}), or train on more pairs."
        )
    return (
        f"{run.options.model} ({run.flops.block_parameters / 1e6:,.1f}M weights in its blocks, "
        f"{head}), template {run.loaded.template.name}, reward token "
        f"{run.loaded.template.reward_token or 'none'}, at most {tokens.max_length:,} tokens\n"
        f"{plan.rows_per_epoch:,} pairs an epoch, {run.last_step:,} steps of up to "
        f"{plan.batch_rows:,} pairs{begin}; {run.config.model.layout} layout, "
        f"{str(run.dtype).removeprefix('torch.')} on {run.ranks.count} × "
        f"{run.ranks.device.type}{few}"
    )


if __name__ == "__main__":
    from training.commands import main

    sys.exit(main(["train", *sys.argv[1:]]))
