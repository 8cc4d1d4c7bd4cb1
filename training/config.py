"""What a run is made of: one frozen struct per concern, from TOML or JSON and ``--set``.

A field's description is its help text (``forumprefs train --help``) and its row in
docs/training.md. The resolved configuration is written into the run folder and every checkpoint.
"""

import difflib
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
    prompt_weights: Annotated[
        Literal["prompt", "pair"],
        doc(
            "prompt: each pair weighs 1 / (pairs of its prompt), so that long threads do not "
            "dominate; pair: each pair weighs 1"
        ),
    ] = "prompt"
    min_confidence: Annotated[
        float, doc("exclude pairs whose `confidence` is below this", ge=0, le=1)
    ] = 0.0
    max_pairs: Annotated[
        AtLeastOne | None, doc("train on the first N pairs of the shuffled order; null: all")
    ] = None
    verify: Annotated[
        bool, doc("compare every shard with the manifest's sha256 before the first step")
    ] = True


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the backbone is computed."""

    layout: Annotated[
        Literal["auto", "shared", "packed", "padded"],
        doc(
            "shared: a prompt once, its responses after it; packed: each distinct (prompt, "
            "response) once, without padding; padded: two padded rows per pair, as most trainers do"
            ". All give the same scores. auto: shared where the backbone allows it, else padded, "
            "as for every encoder"
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
        bool,
        doc(
            "recompute activations in the backward pass: about a third more work, much less memory"
        ),
    ] = False
    compile: Annotated[
        bool | None,
        doc("torch.compile of every block; costs half a minute at the start; null: on a GPU"),
    ] = None
    head_init_std: Annotated[
        float | None, doc("standard deviation of a new head's weights; null: 1 / (hidden size + 1)")
    ] = None


class OptimConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """AdamW and its schedule; defaults of WorldPM (arXiv 2505.10527, A.3)."""

    lr: Annotated[
        Annotated[float, msgspec.Meta(gt=0)] | None,
        doc(
            "peak learning rate; null: 3e-6, WorldPM's at all its sizes, and 2e-5 for an encoder "
            "(Devlin et al. 2019, A.3)"
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
    log_every: Annotated[int, doc("steps between lines of metrics.jsonl", ge=1)] = 1
    parallel: Annotated[
        Literal["ddp", "fsdp"],
        doc("several GPUs: ddp copies the model to each, fsdp divides it (FSDP2)"),
    ] = "ddp"
    tensorboard: Annotated[bool, doc("also write TensorBoard event files")] = True


class TrainConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides a run's numbers."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
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
    """Read a TOML or JSON file (None: ``base``) and lay ``key=value`` settings over it.

    Keys are dotted (``optim.lr=3e-6``); values are JSON, or else plain strings. ``base``: tables
    of settings that hold where the file says nothing. Raises ConfigError, which names the key
    and the nearest one that exists.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            content = read_small(path, MAX_CONFIG_BYTES, pipes=True)
            is_json = path.endswith(".json")
            values = decode_json(content, dict[str, Any]) if is_json else decode_toml(content)
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
        _check_key(section, name)
        values.setdefault(section, {})[name] = setting_value(value.strip())
    return convert(values)


def convert(values: Mapping[str, Any]) -> TrainConfig:
    """Check a mapping of sections; raises ConfigError that names the key."""
    for section, table in values.items():
        for name in table if isinstance(table, dict) else ():
            _check_key(section, name)
    try:
        found = msgspec.convert(values, TrainConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"configuration: {error}") from None
    check_loss(found.loss)
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
