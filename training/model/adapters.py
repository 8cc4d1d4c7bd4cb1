"""LoRA adapters: low-rank matrices beside frozen linear layers, and the reward head, by peft.

peft puts its layers into the model and names what a folder holds; which layers those are, how they
begin, and that the head is trained, saved and found again is decided here. Low-rank adaptation: Hu
et al. 2021 (arXiv 2106.09685); with a base of 4 bits: Dettmers et al. 2023 (arXiv 2305.14314).

A folder with an adapter holds ``adapter_config.json`` and ``adapter_model.safetensors`` as peft
writes them, the head in the latter as one of its ``modules_to_save``, and ``adapter_base.json``:
the base by name and fingerprint, so that an adapter never scores on weights that have changed.
"""

import math
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import torch
from torch import Tensor, nn

from schemas.fields import doc
from schemas.small_files import SmallFileError, decode_json, fault_of, read_small
from training.config import LoraConfig
from training.durable_files import write_file
from training.errors import ConfigError
from training.model.checksums import fingerprint_of_files
from training.model.four_bits import dequantise_linear_layers, quantise_linear_layers
from training.model.source import (
    ADAPTER_CONFIG_NAME,
    ADAPTER_WEIGHTS_NAME,
    LocatedModel,
    ModelSource,
)
from training.model.stored_weights import (
    NotReadableInPartsError,
    StoredWeights,
    parameters_on_meta,
)

BASE_NAME = "adapter_base.json"
_NAME = "default"
"""peft's name for the one adapter of a model."""
_PREFIX = "base_model.model."
"""Before every name in the files of peft: the path to the model in its own wrapper."""

BasePrecision = Literal["full", "nf4"]


class AdapterBase(msgspec.Struct, frozen=True, kw_only=True):
    """``adapter_base.json``: the model that an adapter belongs to."""

    name: Annotated[str, doc("its folder, or its name on the Hub")]
    commit: Annotated[str | None, doc("on the Hub; null for a folder")] = None
    fingerprint: Annotated[
        str | None, doc("sha256 over the config and the weights of a folder; null with a commit")
    ] = None
    precision: Annotated[
        BasePrecision, doc("nf4: the linear layers of its blocks had 4 bits in training")
    ] = "full"


@dataclass(frozen=True)
class Adapter:
    """The adapter of a model in memory."""

    peft_config: Any
    """LoraConfig of peft, as it was put into the model."""
    base: AdapterBase | None
    """None for the adapter of another program that tells no more than a name."""
    kept_modules: tuple[str, ...]
    """Modules that are trained whole: the head, and what the base lacks beside it."""

    @property
    def rank(self) -> int:
        """Rank of its matrices."""
        return int(self.peft_config.r)


def add_adapter(
    hf: Any,
    blocks: nn.Module,
    kept_modules: tuple[str, ...],
    located: LocatedModel,
    config: LoraConfig,
    *,
    seed: int,
    stored: StoredWeights | None = None,
) -> Adapter:
    """Put a new adapter into a sequence classifier, which computes what it did before.

    The base is frozen. A begins uniform within ±1 / √(inputs), as in peft, drawn by name order
    from a generator of its own, so that any number of processes begins with the same; B is zero.

    Args:
        hf: the classifier in fp32 on the CPU, its head drawn already; with ``stored`` on the meta
            device, where what is frozen and not of 4 bits stays.
        blocks: whose linear layers get matrices.
        kept_modules: names of modules that are trained whole.
        located: where the base lies.
        stored: where its weights lie.

    Raises ConfigError for layers that are not there, and where peft is not installed.
    """
    peft = import_peft()
    assert config.rank is not None
    target_modules = _target_modules(hf, blocks, config.target_modules)
    precision: BasePrecision = "nf4" if config.base_precision == "nf4" else "full"
    if precision == "nf4":
        quantise_linear_layers(hf, blocks, None if stored is None else stored.read)
    base = AdapterBase(
        name=located.source.name if located.commit else str(located.folder.resolve()),
        commit=located.commit,
        fingerprint=None if located.commit else fingerprint_of_base(located),
        precision=precision,
    )
    peft_config = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha if config.alpha is not None else 2 * config.rank,
        lora_dropout=config.dropout,
        target_modules=target_modules,
        use_rslora=config.rslora,
        use_dora=config.dora,
        task_type="SEQ_CLS",
        base_model_name_or_path=base.name,
        revision=base.commit,
        init_lora_weights=True,
    )
    _inject(hf, peft_config, kept_modules)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in hf.named_parameters():
        if ".lora_A." in name:
            nn.init.kaiming_uniform_(parameter.data, a=math.sqrt(5), generator=generator)
    return Adapter(peft_config, base, kept_modules)


def read_adapter(
    located: LocatedModel,
    hf: Any,
    blocks: nn.Module,
    *,
    dequantise: bool = False,
    stored: StoredWeights | None = None,
) -> tuple[Adapter, set[str]]:
    """Put the adapter of a folder into the classifier of its base.

    Args:
        located: of the adapter.
        hf: the base, in memory, or with ``stored`` on the meta device, where what is frozen and
            not of 4 bits stays.
        dequantise: have a base of 4 bits in full precision, after it was rounded to 4.
        stored: where the weights of the base lie.

    Returns it and the names of the weights, by those of the base, that it brought whole. Raises
    ConfigError where the base is not the one it was trained on, or where names or shapes are not
    those of the base.
    """
    source = located.source
    import_peft()
    base = _read_base(located)
    if base is not None and base.precision == "nf4":
        quantise_linear_layers(hf, blocks, None if stored is None else stored.read)
        if dequantise:
            dequantise_linear_layers(hf, blocks)
    peft_config = _peft_config(located)
    tensors = _read_tensors(located)
    whole = {name: value for name, value in tensors.items() if ".lora_" not in name}
    modules = sorted({name.rpartition(".")[0] for name in whole})
    parameters = dict(hf.named_parameters())
    for name, value in whole.items():
        if name not in parameters or parameters[name].shape != value.shape:
            expected = list(parameters[name].shape) if name in parameters else "no such weight"
            raise source.error(
                f"{ADAPTER_WEIGHTS_NAME} has {name} of the shape {list(value.shape)}, its base "
                f"{expected}; adapter and base do not belong together"
            )
    try:
        _inject(hf, peft_config, tuple(modules))
    except ValueError as error:
        raise source.error(f"its matrices do not fit its base: {error}") from None
    from peft import set_peft_model_state_dict

    matrices = {name: value for name, value in tensors.items() if name not in whole}
    try:
        result: Any = set_peft_model_state_dict(hf, matrices, adapter_name=_NAME)
    except (RuntimeError, KeyError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise source.error(
            f"{ADAPTER_WEIGHTS_NAME} does not fit its base: {lines[-1].strip()}"
        ) from None
    lost = sorted(name for name in result.missing_keys if ".lora_" in name)
    if strange := [*result.unexpected_keys, *lost]:
        raise source.error(
            f"{ADAPTER_WEIGHTS_NAME} and {ADAPTER_CONFIG_NAME} do not belong together: "
            f"{strange[0]} is in only one of them"
        )
    with torch.no_grad():
        for name, value in whole.items():
            _in_memory(hf, name).copy_(value)
    for name, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise source.error(f"{ADAPTER_WEIGHTS_NAME}: {name} holds values that are not finite")
    return Adapter(peft_config, base, tuple(modules)), set(whole)


def check_settings(adapter: Adapter, config: LoraConfig, source: ModelSource) -> Adapter:
    """Compare an adapter that is to be trained on with the settings; it keeps its own shape.

    Raises ConfigError for settings that ask for another one.
    """
    found = adapter.peft_config
    if config.rank is None:
        raise source.error(
            f"is a LoRA adapter of rank {adapter.rank}: set lora.rank={adapter.rank} to train it "
            "on, or merge it into its base first to train all weights (forumprefs export-model)"
        )
    precision = "nf4" if config.base_precision == "nf4" else "full"
    kept = adapter.base.precision if adapter.base is not None else "full"
    alpha = found.lora_alpha if config.alpha is None else config.alpha
    targets = found.target_modules if config.target_modules is None else config.target_modules
    for name, asked, has in (
        ("lora.rank", config.rank, adapter.rank),
        ("lora.alpha", alpha, found.lora_alpha),
        ("lora.rslora", config.rslora, bool(found.use_rslora)),
        ("lora.dora", config.dora, bool(found.use_dora)),
        ("lora.base_precision", precision, kept),
        ("lora.target_modules", set(targets), set(found.target_modules)),
    ):
        if asked != has:
            shown = sorted(has) if isinstance(has, set) else has
            raise source.error(
                f"is a LoRA adapter with {name} {shown}, which cannot be changed: leave "
                f"{name} as it is there, or merge the adapter first (forumprefs export-model)"
            )
    return adapter


def save_adapter(folder: Path, hf: Any, adapter: Adapter, state: Mapping[str, Tensor]) -> None:
    """Write the files of an adapter, as peft reads them.

    ``state``: the trained weights in fp32 on the CPU, by the names of ``hf``.
    """
    import_peft()
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    matrices = {name: value for name, value in state.items() if ".lora_" in name}
    whole = {name: value for name, value in state.items() if ".lora_" not in name}
    found = get_peft_model_state_dict(
        hf, state_dict=matrices, adapter_name=_NAME, save_embedding_layers=False
    )
    tensors = {_PREFIX + name: value.contiguous() for name, value in (found | whole).items()}
    save_file(tensors, folder / ADAPTER_WEIGHTS_NAME, metadata={"format": "pt"})
    # With the head among modules_to_save, and set for inference, as peft itself would write it.
    table = adapter.peft_config.to_dict()
    table |= {"modules_to_save": list(adapter.kept_modules), "inference_mode": True}
    ordered = {key: sorted(v) if isinstance(v, set) else v for key, v in sorted(table.items())}
    content = msgspec.json.format(msgspec.json.encode(ordered, enc_hook=str))
    write_file(folder / ADAPTER_CONFIG_NAME, content + b"\n")
    if adapter.base is not None:
        content = msgspec.json.format(msgspec.json.encode(adapter.base))
        write_file(folder / BASE_NAME, content + b"\n")


@torch.no_grad()
def merge(hf: Any) -> None:
    """Add the matrices of an adapter to the weights beside them, in fp32, and take them away."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [(name, one) for name, one in hf.named_modules() if isinstance(one, BaseTunerLayer)]
    for name, layer in layers:
        layer.merge()
        parent, _, own = name.rpartition(".")
        setattr(hf.get_submodule(parent), own, layer.get_base_layer())
    del hf.peft_config
    for parameter in hf.parameters():
        parameter.requires_grad_(True)


def set_dropout(hf: Any, rate: float) -> None:
    """Set the dropout before the matrices of an adapter that is trained on."""
    from peft.tuners.lora import LoraLayer

    for module in hf.modules():
        if isinstance(module, LoraLayer):
            module.lora_dropout[_NAME] = nn.Dropout(rate) if rate else nn.Identity()


def modules_of(names: set[str]) -> set[str]:
    """The modules that weights belong to."""
    return {name.rpartition(".")[0] for name in names}


def fingerprint_of_base(located: LocatedModel) -> str:
    """sha256 over what a folder computes with: its config and its weights."""
    patterns = ["config.json", "model*.safetensors*", "pytorch_model*.bin"]
    if isinstance(named := located.config.get("transformers_weights"), str):
        patterns.append(named)
    return fingerprint_of_files(located.folder, tuple(patterns))


def import_peft() -> Any:
    """The library; raises ConfigError where it is not installed."""
    try:
        import peft
    except ImportError as error:
        raise ConfigError(
            f"LoRA needs the package {error.name or 'peft'}; pip install 'forumprefs[lora]'"
        ) from None
    return peft


def _inject(hf: Any, peft_config: Any, kept_modules: tuple[str, ...]) -> None:
    """Put layers of peft beside linear ones, and freeze all but them and ``kept_modules``.

    The matrices are in memory, also where the layers beside them are not: B is zero.
    """
    from peft import inject_adapter_in_model

    on_meta = any(parameter.is_meta for parameter in hf.parameters())
    if on_meta and peft_config.use_dora:
        raise NotReadableInPartsError("DoRA begins with the norms of whole weights")
    with warnings.catch_warnings(), parameters_on_meta() if on_meta else nullcontext():
        warnings.simplefilter("ignore")  # of transposed layers (GPT-2), which it then sets itself
        # It would wrap what modules_to_save names; ours stay what they are, and are named in the
        # file alone.
        inject_adapter_in_model(
            replace(peft_config, modules_to_save=None, inference_mode=False), hf, _NAME
        )
    for name, parameter in hf.named_parameters():
        if any(name.startswith(f"{module}.") for module in kept_modules):
            parameter.requires_grad_(True)
        if on_meta and ".lora_" in name:
            _in_memory(hf, name).data.zero_()


def _in_memory(hf: Any, name: str) -> nn.Parameter:
    """A parameter, on the CPU if it had no memory."""
    found: nn.Parameter = hf.get_parameter(name)
    if found.is_meta:
        parent, _, own = name.rpartition(".")
        found = nn.Parameter(torch.empty_like(found, device="cpu"), found.requires_grad)
        setattr(hf.get_submodule(parent), own, found)
    return found


def _target_modules(hf: Any, blocks: nn.Module, wanted: tuple[str, ...] | None) -> list[str]:
    """Names by which peft finds the linear layers: their last parts where those are enough."""
    inside = {id(module) for module in blocks.modules()}
    named = {name: module for name, module in hf.named_modules() if _is_linear(module)}
    linear = [name for name, module in named.items() if id(module) in inside]
    last_parts = sorted({name.rpartition(".")[2] for name in linear})
    if wanted is not None:
        for one in wanted:
            if not any(name == one or name.endswith(f".{one}") for name in linear):
                raise ConfigError(
                    f"lora.target_modules: the blocks have no linear layer {one!r}; they have "
                    f"{', '.join(last_parts)}"
                )
        return sorted(wanted)
    if not linear:
        raise ConfigError(
            f"the blocks of {type(hf).__name__} have no linear layers for LoRA; leave lora.rank "
            "at null to train all weights"
        )
    outside = [name for name, module in named.items() if id(module) not in inside]
    if any(name.rpartition(".")[2] in last_parts for name in outside):
        return linear
    return last_parts


def _is_linear(module: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, nn.Linear | Conv1D)


def _read_base(located: LocatedModel) -> AdapterBase | None:
    """What a folder of ours says of its base, compared with the base that was found."""
    source, path = located.source, located.folder / BASE_NAME
    if not path.exists():
        return None
    try:
        base = decode_json(read_small(path), AdapterBase)
    except (OSError, SmallFileError) as error:
        raise source.error(f"{BASE_NAME} cannot be read: {fault_of(error)}") from None
    assert located.base is not None
    if base.fingerprint is None or located.base.commit is not None:
        return base
    if fingerprint_of_base(located.base) != base.fingerprint:
        raise source.error(
            f"its base {located.base.folder} has other weights, or another config.json, than when "
            "the adapter was trained, so its scores would be others; put the base of that time "
            "back, or train again"
        )
    return base


def _peft_config(located: LocatedModel) -> Any:
    """The settings that peft wrote, as it reads them."""
    from peft import PeftConfig

    assert located.adapter_config is not None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of settings that a later peft has
            return PeftConfig.from_peft_type(**located.adapter_config)
    except (TypeError, ValueError, KeyError) as error:
        raise located.source.error(f"{ADAPTER_CONFIG_NAME} cannot be used: {error}") from None


def _read_tensors(located: LocatedModel) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    found: dict[str, Tensor] = load_file(located.folder / ADAPTER_WEIGHTS_NAME)
    return {name.removeprefix(_PREFIX): value.float() for name, value in found.items()}
