"""What a run says before its first step: what it does, on what, how long it will take."""

from dataclasses import dataclass

from training.run.selected import describe_selected
from training.run.state import TrainingRun

FEW_STEPS = 20
"""Below this a run says that its batches are too large."""
FORWARD = 1 / 3
"""Time of a forward pass over that of a forward and a backward one."""


def introduction(run: TrainingRun) -> str:
    """Say what is trained on what, and which settings were chosen, with the reason for each."""
    sampler, tokens, config = run.sampler, run.loaded.tokens, run.config
    head = "a new head" if run.loaded.head_is_new else "its head"
    begin = f", from step {run.step:,}" if run.step else ""
    if run.options.on_existing == "resume" and not run.step:
        begin = ", from the beginning: there is no checkpoint to resume from"
    epochs = f" in each of {config.run.epochs} epochs" if config.run.epochs > 1 else " an epoch"
    lines = [
        f"{run.options.model} ({run.flops.block_parameters / 1e6:,.1f}M weights in its blocks, "
        f"{head}), template {run.loaded.template.name}, reward token "
        f"{run.loaded.template.reward_token or 'none'}, at most {tokens.max_length:,} tokens",
        f"{sampler.rows_per_epoch:,} pairs{epochs}, {run.last_step:,} steps of up to "
        f"{sampler.batch_rows:,} pairs{begin}; {config.model.layout} layout, "
        f"{str(run.dtype).removeprefix('torch.')} on {run.context.count} × "
        f"{run.context.device.type}",
    ]
    if run.selected:
        lines.append(describe_selected(run.selected))
    if (propensity := run.dataset.propensity) is not None:
        lines.append(
            f"pairs are weighted by 1 / the probability that they are decided, at least "
            f"{propensity.clip:g}; of the responses to a prompt {propensity.decided:.1%} of every "
            "two are a pair"
        )
    if run.label_noise is not None:
        lines.append(str(run.label_noise))
    lines += [f"chosen: {choice.name}={choice.value} ({choice.reason})" for choice in run.chosen]
    if sampler.steps < FEW_STEPS:
        lines.append(
            f"Only {sampler.steps} steps: the warm-up and AdamW need more. Lower "
            f"data.batch_pairs (now {sampler.batch_rows:,}), or train on more pairs."
        )
    return "\n".join(lines)


@dataclass(frozen=True)
class TimeEstimate:
    """How long the steps that remain will take, by a micro-batch that was timed."""

    steps: int
    tokens_per_step: float
    tokens_per_second: float
    validation_tokens: float
    """Of all validations that remain."""

    @property
    def seconds(self) -> float:
        """Of the steps and the validations."""
        tokens = self.steps * self.tokens_per_step + FORWARD * self.validation_tokens
        return tokens / self.tokens_per_second

    def __str__(self) -> str:
        return (
            f"about {duration(self.seconds)} to go: {self.steps:,} steps of about "
            f"{self.tokens_per_step:,.0f} tokens at {self.tokens_per_second:,.0f} tokens/s, "
            "validations included"
        )


def duration(seconds: float) -> str:
    """A time for people to read: '40 s', '12 min', '3.5 hours', '4.2 days'."""
    for limit, size, unit, form in (
        (90, 1, "s", ".0f"),
        (90 * 60, 60, "min", ".0f"),
        (36 * 3600, 3600, "hours", ".1f"),
    ):
        if seconds < limit:
            return f"{seconds / size:{form}} {unit}"
    return f"{seconds / 86400:.1f} days"
