"""What a run is made of: one frozen struct per concern, from TOML, JSON or YAML and ``--set``.

A field's description is its help text (``forumprefs train --help``) and its row in
docs/training.md. The resolved configuration is written into the run folder and every checkpoint.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec

from schemas.fields import doc, field_docs, unwrap_optional
from schemas.small_files import (
    SmallFileError,
    decode_json,
    decode_lenient_json,
    decode_toml,
    fault_of,
    read_small,
)
from training.errors import ConfigError
from training.heads.registry import check_heads, extra_heads_help
from training.losses.registry import check_loss, loss_name_help
from training.losses.settings import LossConfig

MAX_CONFIG_BYTES = 1 << 20
TOLD_ELSEWHERE = (
    "dataset",
    "model_path",
    "model_revision",
    "model_commit",
    "trust_remote_code",
    "allow_pickle",
    "chosen",
)
"""What the run.json of a run holds beside the settings: the command line says it, no file."""

FORMER = frozenset({("run", "tensorboard")})
"""Settings of earlier releases that are understood."""

AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]


class DataConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which pairs, in which order, cut to which length."""

    batch_pairs: Annotated[
        AtLeastOne | None,
        doc(
            "pairs of one optimizer step over all ranks; sizes differ by at most one pair. null: "
            "by the pairs of an epoch, WorldPM's 10,000 from 15 million on and 2,048 below, fewer "
            "where an epoch would have fewer than 48 steps"
        ),
    ] = None
    shuffle_row_groups: Annotated[
        int,
        doc(
            "row groups (about 4,096 pairs each) that are read and shuffled together; more mixes "
            "better and takes more memory",
            ge=1,
        ),
    ] = 16
    max_length: Annotated[
        Annotated[int, msgspec.Meta(ge=16)] | None,
        doc(
            "tokens of prompt and response together, template included; null: as many as the model "
            "can read, at most 2,048"
        ),
    ] = None
    max_prompt_length: Annotated[
        AtLeastOne | None,
        doc(
            "tokens of the prompt, truncated in its middle; the response may use the rest. Depends "
            "on the prompt alone, so that both responses see the same prompt; null: half of "
            "max_length"
        ),
    ] = None
    template: Annotated[
        Literal["auto", "chatml", "plain"],
        doc(
            "text around prompt and response. auto: chatml where the tokenizer has its marks, "
            "else plain; a checkpoint of ours keeps its own"
        ),
    ] = "auto"
    context_line: Annotated[
        Literal["auto", "none", "site", "site_tags"],
        doc(
            'a line before the prompt, e.g. "(From beer.stackexchange.com, tags: hops, ipa)", that '
            "is frozen into the model's template; evaluate and score add it where rows have a "
            "site. auto: as the model has it, none for a new one"
        ),
    ] = "auto"
    prompt_weights: Annotated[
        Literal["prompt", "pair"],
        doc(
            "prompt: each pair weighs 1 / (pairs of its prompt that min_confidence and max_margin "
            "leave), so that long threads do not dominate; pair: each pair weighs 1"
        ),
    ] = "prompt"
    min_confidence: Annotated[
        float, doc("exclude pairs whose `confidence` is below this", ge=0, le=1)
    ] = 0.0
    max_margin: Annotated[
        Annotated[float, msgspec.Meta(gt=0)] | None,
        doc(
            "exclude pairs whose `vote_margin` is above this, in the unit of the dataset's vote "
            "mode (votes, or log-odds under debiased): where many came by, a margin says less of "
            "the response; null: none"
        ),
    ] = None
    propensity_clip: Annotated[
        Annotated[float, msgspec.Meta(gt=0, le=1)] | None,
        doc(
            "weight each pair by 1 / the probability that two such responses are decided, which is "
            "estimated from how far apart they were posted, and taken as at least this, e.g. 0.1; "
            "null: no such weight"
        ),
    ] = None
    max_pairs: Annotated[
        AtLeastOne | None, doc("train on the first N pairs of the shuffled order; null: all")
    ] = None
    verify: Annotated[
        bool,
        doc(
            "compare every shard with the manifest's sha256, each on one rank, while the first "
            "steps are taken; a checkpoint waits for those that it was trained on"
        ),
    ] = True


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the backbone is computed."""

    layout: Annotated[
        Literal["auto", "shared", "packed", "padded"],
        doc(
            "shared: a prompt once, its responses after it; packed: each distinct (prompt, "
            "response) once, without padding; padded: the same in rows that are filled up to the "
            "longest. All give the same scores. auto: shared where the backbone allows it, else "
            "padded, as for every encoder"
        ),
    ] = "auto"
    precision: Annotated[
        Literal["auto", "bf16", "fp32"],
        doc(
            "auto: bf16 on a GPU, fp32 on a CPU. Master weights, head, loss and optimizer are "
            "always fp32"
        ),
    ] = "auto"
    micro_batch_tokens: Annotated[
        Annotated[int, msgspec.Meta(ge=16)] | None,
        doc(
            "tokens that go through the backbone at once on one device; null: by the memory that "
            "is free, at most 16,384 on a GPU and 4,096 on a CPU. A resumed run keeps it"
        ),
    ] = None
    activation_checkpointing: Annotated[
        bool | Literal["selective"],
        doc(
            "recompute activations in the backward pass. true: all but each block's input, about a "
            "third more work; selective: keep those of attention and of every second matrix "
            "product, less work and more memory"
        ),
    ] = False
    activation_offload: Annotated[
        bool,
        doc(
            "activations wait in the host's memory for the backward pass; with "
            "activation_checkpointing=true those are the blocks' inputs alone. On a CPU: nothing"
        ),
    ] = False
    compile: Annotated[
        bool | None,
        doc("torch.compile of every block; costs half a minute at the start; null: on a GPU"),
    ] = None
    head_init_std: Annotated[
        float | None, doc("standard deviation of a new head's weights; null: 1 / (hidden size + 1)")
    ] = None
    extra_heads: Annotated[tuple[str, ...], doc(extra_heads_help())] = ()


class LoraConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Low-rank adapters in place of all weights (LoRA, QLoRA); docs/lora.md."""

    rank: Annotated[
        AtLeastOne | None,
        doc(
            "train low-rank matrices beside the linear layers, and the head, with the rest frozen; "
            "null: train all weights"
        ),
    ] = None
    alpha: Annotated[
        AtLeastOne | None, doc("what the matrices add is scaled by alpha / rank; null: 2 · rank")
    ] = None
    dropout: Annotated[float, doc("of what goes into the matrices", ge=0, lt=1)] = 0.0
    target_modules: Annotated[
        tuple[str, ...] | None,
        doc('names of linear layers, e.g. ["q_proj", "v_proj"]; null: all those of the blocks'),
    ] = None
    rslora: Annotated[bool, doc("scale by alpha / √rank instead (arXiv 2312.03732)")] = False
    dora: Annotated[
        bool, doc("a magnitude of its own for each output (DoRA, arXiv 2402.09353); slower")
    ] = False
    base_precision: Annotated[
        Literal["auto", "nf4"],
        doc(
            "of the frozen weights. auto: as model.precision; nf4: 4 bits (QLoRA), with "
            "bitsandbytes, in one process or with run.parallel=ddp"
        ),
    ] = "auto"
    save_merged: Annotated[
        bool,
        doc(
            "at the end also write model-merged/, all weights in fp32, which needs no peft; "
            "`forumprefs export-model` does it later"
        ),
    ] = False


class OptimConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """AdamW and its schedule; defaults of WorldPM (arXiv 2505.10527, A.3)."""

    lr: Annotated[
        Annotated[float, msgspec.Meta(gt=0)] | None,
        doc(
            "peak learning rate; null: 3e-6, WorldPM's at all its sizes, and 2e-5 for an encoder "
            "(Devlin et al. 2019, A.3), ten times as much with lora.rank"
        ),
    ] = None
    head_lr_scale: Annotated[
        float, doc("learning rate of the head over that of the backbone", gt=0)
    ] = 1.0
    warmup: Annotated[float, doc("share of the steps with a linear rise from 0", ge=0, le=1)] = 0.1
    schedule: Annotated[
        Literal["constant", "cosine"], doc("after the warm-up; cosine falls to a tenth of lr")
    ] = "constant"
    weight_decay: Annotated[float, doc("decoupled; on matrices only", ge=0)] = 0.1
    beta1: Annotated[float, doc("", ge=0, lt=1)] = 0.9
    beta2: Annotated[float, doc("", ge=0, lt=1)] = 0.95
    eps: Annotated[float, doc("", gt=0)] = 1e-8
    clip: Annotated[float, doc("largest norm of the gradient; 0: no clipping", ge=0)] = 1.0
    ema_decay: Annotated[
        Annotated[float, msgspec.Meta(gt=0, lt=1)] | None,
        doc(
            "also keep a running average of the weights, of which a step keeps this share (at most "
            "(1 + n) / (10 + n) at step n), and write it as model-ema/; null: none"
        ),
    ] = None
    spike_factor: Annotated[
        float,
        doc(
            "skip a step whose gradient norm is more than this times the running median "
            "(WorldPM saw a spike at 12.6M pairs); 0: never",
            ge=0,
        ),
    ] = 0.0


class RunConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The course of a run."""

    epochs: Annotated[int, doc("WorldPM trains for one: a second one overfits", ge=1)] = 1
    max_steps: Annotated[AtLeastOne | None, doc("stop after N steps; null: all")] = None
    seed: Annotated[int, doc("of the order of pairs and of the head", ge=0)] = 0
    eval_every: Annotated[int, doc("steps between evaluations; 0: before and after only", ge=0)] = 0
    eval_pairs: Annotated[
        int, doc("validation pairs that are scored, whole prompts, the same each time", ge=0)
    ] = 2000
    save_every: Annotated[int, doc("steps between checkpoints; 0: at the end only", ge=0)] = 100
    keep_checkpoints: Annotated[int, doc("newest checkpoints that are kept", ge=1)] = 2
    keep_best: Annotated[
        bool,
        doc(
            "model/ is not that of the last step but that of the lowest validation loss among the "
            "steps of eval_every and the last one; its checkpoint is kept beside the newest ones"
        ),
    ] = False
    log_every: Annotated[int, doc("steps between lines of metrics.jsonl", ge=1)] = 1
    parallel: Annotated[
        Literal["ddp", "fsdp"],
        doc("several GPUs: ddp copies the model to each, fsdp divides it (FSDP2)"),
    ] = "ddp"
    shard_degree: Annotated[
        AtLeastOne | None,
        doc(
            "of fsdp: GPUs over which the weights are divided, a divisor of their number; groups "
            "of so many hold copies of each other (HSDP), best one node each. null: all"
        ),
    ] = None
    context_parallel_degree: Annotated[
        int,
        doc(
            "GPUs that share each micro-batch, each with a part of its tokens, for texts of many "
            "thousand tokens; a divisor of their number. Needs the layout shared or packed",
            ge=1,
        ),
    ] = 1
    cpu_offload: Annotated[
        bool,
        doc(
            "of fsdp: fp32 weights, gradients and AdamW's state in the host's memory, where the "
            "optimizer works"
        ),
    ] = False
    async_checkpoints: Annotated[
        bool,
        doc(
            "write a checkpoint while training goes on, from a copy in the CPU's memory (12 bytes "
            "a weight; with fsdp of a rank's own shards); one at a time"
        ),
    ] = True
    timeout_minutes: Annotated[
        float,
        doc(
            "how long a process waits for the others, whatever they do: download, hash, validate, "
            "write. torchrun notices at once when one ends; this is for one that hangs",
            gt=0,
        ),
    ] = 60.0
    trackers: Annotated[
        tuple[Literal["tensorboard", "wandb", "mlflow"], ...],
        doc(
            'where the figures are shown, beside metrics.jsonl: ["tensorboard", "wandb", "mlflow"] '
            "or some of them; the last two are told where by their own environment variables"
        ),
    ] = ("tensorboard",)


class TrainConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides a run's numbers."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    lora: LoraConfig = LoraConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    run: RunConfig = RunConfig()


T = TypeVar("T")


def known(value: T | None) -> T:
    """A setting that may be null and that a run has resolved by now; raises ValueError if not."""
    if value is None:
        raise ValueError("a setting is null that the run should have resolved (training.planning)")
    return value


def settled_layout(config: ModelConfig) -> Literal["shared", "packed", "padded"]:
    """The layout of a run, which has settled what ``auto`` is; raises ValueError if not."""
    return known(None if config.layout == "auto" else config.layout)


def load_config(
    path: str | None, settings: Sequence[str] = (), base: Mapping[str, Any] | None = None
) -> TrainConfig:
    """Read a TOML, JSON or YAML file (None: ``base``) and lay ``key=value`` settings over it.

    Keys are dotted (``optim.lr=3e-6``); values are JSON, or else plain strings. ``base``: tables
    of settings that hold where the file says nothing. Raises ConfigError, which names the key
    and the nearest one that exists.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = _decode(path, read_small(path, MAX_CONFIG_BYTES, pipes=True))
        except (OSError, SmallFileError) as error:
            raise ConfigError(f"--config {path}: {fault_of(error)}") from None
        for told_elsewhere in TOLD_ELSEWHERE:
            values.pop(told_elsewhere, None)
    for section, table in values.items():
        if not isinstance(table, dict):
            raise ConfigError(f"--config {path}: {section} is not a table of settings")
    for section, table in (base or {}).items():
        values[section] = {**table, **values.get(section, {})}
    for setting in settings:
        key, equals, value = setting.partition("=")
        section, dot, name = key.strip().partition(".")
        if not (equals and dot):
            raise ConfigError(
                f"--set {setting}: write it as section.name=value, e.g. optim.lr=3e-6"
            )
        if (section, name) not in FORMER:
            _check_key(section, name)
        values.setdefault(section, {})[name] = setting_value(value.strip())
    return convert(values)


def _decode(path: str, content: bytes) -> dict[str, Any]:
    """Read a file by its ending; raises SmallFileError, or ConfigError for one that has no keys."""
    ending = path.lower().rpartition(".")[2]
    if ending == "json":
        return decode_json(content, dict[str, Any])
    if ending not in ("yaml", "yml"):
        return decode_toml(content)
    from schemas.small_yaml import decode_yaml  # loads PyYAML, so not for --help

    found = decode_yaml(content)
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ConfigError(f"--config {path}: is not a table of settings")
    return found


def convert(values: Mapping[str, Any]) -> TrainConfig:
    """Check a mapping of sections; raises ConfigError that names the key."""
    values = _as_today(values)
    for section, table in values.items():
        for name in table if isinstance(table, dict) else ():
            _check_key(section, name)
    try:
        found = msgspec.convert(values, TrainConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"configuration: {error}{_choices(str(error))}") from None
    check_loss(found.loss)
    check_heads(found.model.extra_heads)
    if found.run.keep_best and not (found.run.eval_every and found.run.eval_pairs):
        raise ConfigError(
            "run.keep_best compares validations, of which there are none before the last step: set "
            "run.eval_every (steps between them), and run.eval_pairs above 0"
        )
    return found


def _choices(message: str) -> str:
    """What a setting may be, for msgspec's "Invalid enum value 'x' - at `$.model.layout`"."""
    found = re.fullmatch(r"Invalid enum value .* - at `\$\.(\w+)\.(\w+)`", message, re.DOTALL)
    if found is None:
        return ""
    annotation, _ = field_docs(type(getattr(TrainConfig(), found[1])))[found[2]]
    choices = get_args(unwrap_optional(annotation)[0])
    return f"; it may be {', '.join(map(str, choices))}" if choices else ""


def _as_today(values: Mapping[str, Any]) -> dict[str, Any]:
    """Understand ``run.tensorboard`` of earlier releases, which is one of ``run.trackers`` now."""
    found = dict(values)
    run = found.get("run")
    if isinstance(run, dict) and "tensorboard" in run:
        run = dict(run)
        wanted = run.pop("tensorboard")
        if not isinstance(wanted, bool):
            raise ConfigError('run.tensorboard is now one of run.trackers, e.g. ["tensorboard"]')
        others = [one for one in run.get("trackers", ()) if one != "tensorboard"]
        if "trackers" in run or not wanted:
            run["trackers"] = [*(["tensorboard"] * wanted), *others]
        found["run"] = run
    return found


def setting_value(text: str) -> Any:
    """Read the value of a ``key=value`` setting: JSON, or else a plain string."""
    try:
        return decode_lenient_json(text.encode("utf-8", "replace"))
    except SmallFileError:
        return text


def _check_key(section: str, name: str) -> None:
    known = {f"{s}.{n}" for s, n, _, _ in options()}
    key = f"{section}.{name}"
    if key not in known:
        near = difflib.get_close_matches(key, known, 1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"no setting {key}{hint}")


def options() -> Iterator[tuple[str, str, Any, str]]:
    """Yield (section, name, default, description) of every setting, in order."""
    for section in TrainConfig.__struct_fields__:
        struct = type(getattr(TrainConfig(), section))
        for name, (annotation, meta) in field_docs(struct).items():
            base, _ = unwrap_optional(annotation)
            choices = (
                " | ".join(get_args(base)) if getattr(base, "__origin__", None) is Literal else ""
            )
            text = meta.description or ""
            if (section, name) == ("loss", "name"):
                choices, _, text = loss_name_help().partition(". ")
            yield section, name, getattr(struct(), name), f"{choices}. {text}" if choices else text
