"""What ``forumprefs train --dry-run`` prints of a plan."""

from rich.console import Console
from rich.table import Table

from training.config import TrainConfig
from training.planning.hardware import GPUS_OF_A_MACHINE, Hardware, gpus_by_name
from training.planning.memory import FP32, gigabytes
from training.planning.plan import LOWEST_MFU, MFU, Plan, hsdp_degree

_RECOMPUTE: dict[bool | str, str] = {False: "no", "selective": "selective", True: "yes"}


def show_plan(plan: Plan, console: Console) -> None:
    """Print a plan."""

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False)

    count, sample, hardware = plan.count, plan.sample, plan.hardware
    adapted = plan.config.lora.rank is not None
    trained = f" ({plan.trained / 1e6:,.1f}M trained: LoRA and the head)" if adapted else ""
    say(
        f"{plan.model}: {count.parameters / 1e6:,.1f}M weights{trained}, "
        f"{len(count.blocks)} blocks, {plan.layout} layout, at most {plan.max_length:,} tokens; "
        f"on {hardware}"
    )
    exact = " (all were read)" if sample.low == sample.high else ""
    say(
        f"{sample.tokens:,.0f} tokens a pair [{sample.low:,.0f}, {sample.high:,.0f}], "
        f"{sample.computed:,.0f} with padding, by {sample.pairs:,} pairs{exact}; "
        f"{sample.at_limit:.1%} of the responses reach the limit"
    )
    say(
        f"{plan.pairs:,} pairs in {plan.steps:,} steps of up to {plan.batch_pairs:,}, "
        f"learning rate {plan.learning_rate:g}: {plan.pairs * sample.tokens / 1e6:,.1f}M tokens "
        f"[{plan.pairs * sample.low / 1e6:,.1f}M, {plan.pairs * sample.high / 1e6:,.1f}M], "
        f"{plan.flops:.2e} FLOP\n"
    )
    console.print(_table(plan))
    degree = hsdp_degree(plan.config, hardware)
    is_hsdp = any(way.name == f"hsdp {degree}" for way in plan.divisions)
    say(
        "\nOf each device; tokens: of a micro-batch. recompute: model.activation_checkpointing=true"
        + (f". hsdp {degree}: run.shard_degree={degree}, the others are copies" * is_hsdp)
    )
    for note in _not_counted(plan.config, hardware):
        say(note)
    for recomputes in (False, True):
        if (hours := plan.hours(recomputes=recomputes)) is not None:
            how = "with activations recomputed" if recomputes else "time"
            say(f"{how}: {_hours(hours[0])} to {_hours(hours[1])}")
    if hardware.gpu is not None and hardware.peak is None:
        say(
            f"time: the peak of {hardware.gpu} is not known here; --gpu plans for one of "
            f"{', '.join(gpus_by_name())}"
        )
    elif hardware.gpu is None:
        say("time: a run says it before it starts, by a micro-batch that it times")
    else:
        say(
            f"from {MFU[plan.layout]:.0%} of the peak, which we measured on one H100, down to "
            f"{LOWEST_MFU:.0%}, the least that torchtitan reports for 8 to 128 of them"
        )
    say("\n".join(_disk_and_host(plan)))


def _not_counted(config: TrainConfig, hardware: Hardware) -> list[str]:
    """What was asked for and changes memory or time in a way that the plan does not compute."""
    found = []
    on_gpu = hardware.gpu is not None
    if config.lora.rank is not None and config.lora.dora:
        found.append(
            "lora.dora: at the start each process has the base whole in fp32, in the host's memory "
            "and then on its device (counted in what fits)"
        )
    if config.model.activation_checkpointing == "selective" and on_gpu:
        found.append("selective: its time lies between the two")
    if config.model.activation_offload and on_gpu:
        found.append("model.activation_offload: the copies to the host are not in the time")
    if config.run.context_parallel_degree > 1:
        found.append(
            f"run.context_parallel_degree={config.run.context_parallel_degree}: a micro-batch is "
            f"that of {config.run.context_parallel_degree} devices, activations are those of one; "
            "the exchange of keys and values is not in the time"
        )
    if config.run.cpu_offload and on_gpu:
        found.append(
            "run.cpu_offload: of fsdp, what is divided lies in the host's memory; its optimizer's "
            "time there is not counted"
        )
    return found


def _disk_and_host(plan: Plan) -> list[str]:
    config, trained = plan.config, plan.trained
    first = plan.divisions[0].weights
    models = 2 if config.optim.ema_decay is not None else 1
    kept = config.run.keep_checkpoints
    disk = (kept + 1) * first.saving + models * FP32 * trained
    merged = ""
    if config.lora.save_merged:
        disk += FP32 * plan.count.parameters
        merged = ", model-merged"
    average = ", its average" if models == 2 else ""
    lines = [
        f"disk: {gigabytes(first.saving)} a checkpoint, {gigabytes(disk)} in all ({kept} kept, one "
        f"being written, the model{average}{merged})",
    ]
    parts = [f"{gigabytes(first.saving)} on the first machine"]
    ranks = min(GPUS_OF_A_MACHINE, plan.hardware.count)
    for way in plan.divisions:
        if way.weights.saving < first.saving and way.recomputes is False:
            size = gigabytes(ranks * way.weights.saving)
            parts.append(f"{way.name} {size} on each machine of {ranks}")
    lines.append(f"host memory while a checkpoint is written: {'; '.join(parts)}")
    if len(parts) > 1:
        lines.append(
            f"host memory when the finished model is written: {gigabytes(FP32 * trained)} on the "
            "first machine"
        )
    if config.run.cpu_offload and plan.hardware.gpu is not None and plan.hardware.count > 1:
        # Weights, gradients and AdamW's state, of the host while training goes on.
        per_weight = FP32 + first.saving / trained
        for way in plan.divisions:
            if way.weights.gradients == 0 and way.recomputes is False:
                share = way.weights.saving / first.saving
                lines.append(
                    f"host memory in training: {way.name} "
                    f"{gigabytes(ranks * share * per_weight * trained)} on each machine of {ranks}"
                )
    if any(way.on_host for way in plan.divisions):
        sizes = (
            f"{way.name}, {_RECOMPUTE[way.recomputes]} {gigabytes(ranks * way.on_host)}"
            for way in plan.divisions
        )
        lines.append(
            f"host memory of offloaded activations, on each machine of {ranks} (with recompute): "
            f"{'; '.join(sizes)}"
        )
    return lines


def _table(plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    names = ("recompute", "weights", "copies", "gradients", "AdamW", "buffers", "tokens")
    table.add_column("", no_wrap=True)
    for name in (*names, "activations", "total", "fits"):
        table.add_column(name, justify="right", no_wrap=True)
    for way in plan.divisions:
        weights = way.weights
        parts = (weights.weights, weights.copies, weights.gradients, weights.optimizer)
        table.add_row(
            way.name,
            _RECOMPUTE[way.recomputes],
            *map(gigabytes, (*parts, weights.exchange)),
            f"{way.micro_batch.tokens:,}",
            gigabytes(way.activations),
            gigabytes(weights.total + way.activations),
            "yes" if way.fits else "no",
        )
    return table


def _hours(hours: float) -> str:
    if hours < 1:
        return f"{max(hours * 60, 1):,.0f} min"
    return f"{hours:,.1f} hours" if hours < 100 else f"{hours / 24:,.1f} days"
