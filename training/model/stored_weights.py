"""A model without its weights, and where in its files each of them lies.

With FSDP no process has to hold a whole model: it is built with parameters on the meta device,
divided, and every rank reads its own rows (:mod:`training.parallel.sharded_read`). The frozen base
of an adapter is read so by every process, in the dtype that computes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from training.model.source import LocatedModel, ModelSource, weight_files


class NotReadableInPartsError(Exception):
    """Why the weights of a model have to be read whole; a clause."""


@dataclass(frozen=True)
class StoredWeights:
    """Where the weights of a model lie whose parameters are on the meta device."""

    source: ModelSource
    places: Mapping[str, tuple[Path, str]]
    """Of each parameter and persistent buffer, by its name in the model: file, and name there."""
    missing: frozenset[str]
    """Parameters that no file has."""
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    """(name, shape in the file, shape of the model) where the two differ."""
    shards: Path | None = None
    """A checkpoint in shards, which holds every weight under its own name instead."""

    def read(self, name: str) -> Tensor:
        """Read one weight, whole, in fp32 on the CPU."""
        from safetensors import safe_open

        path, key = self.places[name]
        with safe_open(path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(key)
        return tensor.float()

    def renamed(self, hf: nn.Module, before: Mapping[str, Tensor]) -> "StoredWeights":
        """The same for a model whose modules were moved, and of which a part is in memory by now.

        ``before``: its ``state_dict(keep_vars=True)`` when its names were those of the places.
        """
        former: dict[int, str] = {}
        for name, value in before.items():
            former.setdefault(id(value), name)
        loaded = {id(one) for one in hf.parameters() if not one.is_meta}
        places = {
            name: self.places[former[id(value)]]
            for name, value in hf.state_dict(keep_vars=True).items()
            if former.get(id(value)) in self.places and id(value) not in loaded
        }
        parameters = {name for name, one in hf.named_parameters() if one.is_meta}
        return replace(self, places=places, missing=frozenset(parameters - places.keys()))


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Have modules that are made inside keep shapes of parameters alone; buffers are real.

    Buffers are worked out when a module is made (rotary frequencies) and are in no file.
    """
    register = nn.Module.register_parameter

    def without_memory(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and not parameter.is_meta:
            needs = parameter.requires_grad
            parameter = nn.Parameter(parameter.detach().to("meta"), requires_grad=needs)
        register(module, name, parameter)

    nn.Module.register_parameter = without_memory  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def find_weights(located: LocatedModel, hf: Any) -> StoredWeights:
    """Find every weight of a model in its safetensors files, by the names transformers maps.

    Raises NotReadableInPartsError where a weight is made from several of the files.
    """
    from safetensors import safe_open

    expected = hf.state_dict(keep_vars=True)
    rename = _renaming(hf, expected)
    places: dict[str, tuple[Path, str]] = {}
    mismatched = []
    for path in weight_files(located):
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118  # not a mapping
                name = rename(key)
                if name not in expected:
                    continue  # of another head, as a language model has
                if name in places:
                    raise NotReadableInPartsError(f"{name} is in its files twice")
                places[name] = (path, key)
                shape = tuple(file.get_slice(key).get_shape())
                if shape != tuple(expected[name].shape):
                    mismatched.append((name, shape, tuple(expected[name].shape)))
    _follow_ties(hf, places)
    parameters = {name for name, _ in hf.named_parameters()}
    return StoredWeights(
        located.source, places, frozenset(parameters - places.keys()), tuple(mismatched)
    )


def _renaming(hf: Any, expected: Mapping[str, Any]) -> Any:
    """What gives the name in the model for one in the files, as ``from_pretrained`` finds it."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightRenaming, rename_source_key
    except ImportError:
        raise NotReadableInPartsError("this release of transformers tells no names") from None
    rules = get_model_conversion_mapping(hf)
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if not isinstance(rule, WeightRenaming)]

    def rename(key: str) -> str:
        name, converter = rename_source_key(
            key, renamings, converters, hf.base_model_prefix, dict(expected)
        )
        if converter is not None:
            raise NotReadableInPartsError(f"transformers makes {name} from other weights ({key})")
        return str(name)

    return rename


def _follow_ties(hf: Any, places: dict[str, tuple[Path, str]]) -> None:
    """Give a parameter with several names the place of the one that the files have."""
    first: dict[int, str] = {}
    for name, parameter in hf.named_parameters(remove_duplicate=False):
        kept = first.setdefault(id(parameter), name)
        if kept == name or name not in places:
            continue
        if kept in places:
            raise NotReadableInPartsError(f"{kept} and {name} are one weight and stored twice")
        places[kept] = places.pop(name)
