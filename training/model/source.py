"""Where a model is loaded from, and what its files hold before transformers reads them.

A model is made by someone else. Its folder may name Python code, and its weights may be a pickle,
which runs what it likes when it is read. Both are refused here unless the user asked for them, and
so is, in one sentence each, what cannot become a reward model.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from schemas.hub_names import is_path
from schemas.small_files import SmallFileError, decode_json, fault_of, read_small
from training.errors import ConfigError
from training.model.checksums import CHECKSUMS_NAME, find_damage

CONFIG_NAME = "config.json"
TOKENIZER_CONFIG_NAME = "tokenizer_config.json"
WEIGHTS_NAME = "model.safetensors"
PICKLE_NAME = "pytorch_model.bin"
ADAPTER_CONFIG_NAME = "adapter_config.json"
ADAPTER_WEIGHTS_NAME = "adapter_model.safetensors"

_TOKENIZERS = ("tokenizer.json", "vocab.*", "*.model", "*.tiktoken", "tekken.json", "*.spm")
"""Files of which a tokenizer needs one."""
_SMALL_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.spm")
_HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")


@dataclass(frozen=True)
class ModelSource:
    """A model as the user names it, and what its files may do."""

    name: str
    """Folder, or name on the Hub."""
    revision: str | None = None
    """Tag, branch or commit on the Hub; None: the newest."""
    trust_remote_code: bool = False
    """Run the Python code that comes with the model."""
    allow_pickle: bool = False
    """Read weights from a pickle where there are no safetensors."""
    option: str = "--model"
    """Of the command line, where the user named it."""

    @classmethod
    def of(
        cls,
        name: str,
        *,
        revision: str | None = None,
        trust_remote_code: bool = False,
        allow_pickle: bool = False,
        option: str = "--model",
    ) -> "ModelSource":
        """The model that ``name`` names: a folder, or on the Hub a NAME or NAME@REVISION.

        Raises ConfigError for a revision of a folder, or for two.
        """
        if revision is not None:
            if Path(name).exists() or "@" in name:
                raise ConfigError(
                    f"--revision {revision}: is of a model on the Hub, given without one, not of "
                    f"{name}"
                )
        elif not Path(name).exists() and "@" in name:
            name, _, revision = name.partition("@")
        return cls(name, revision, trust_remote_code, allow_pickle, option)

    def error(self, fault: str) -> ConfigError:
        """An error about this model."""
        return ConfigError(f"{self.option} {self.name}: {fault}")


@dataclass(frozen=True)
class LocatedModel:
    """A model whose files lie on this machine and were looked at."""

    source: ModelSource
    folder: Path
    commit: str | None
    """On the Hub; None for a folder."""
    config: Mapping[str, Any]
    """``config.json`` as it is written; of an adapter, that of its base."""
    tokenizer_config: Mapping[str, Any]
    base: "LocatedModel | None" = None
    """Of a LoRA adapter, the model that it belongs to; None for a whole model."""
    adapter_config: Mapping[str, Any] | None = None
    """``adapter_config.json`` of a LoRA adapter."""


def locate_model(
    source: ModelSource, *, verify: bool = True, tokenizer_only: bool = False
) -> LocatedModel:
    """Find a model and look at its small files; its weights stay on the Hub.

    Args:
        source: what the user named.
        verify: compare a folder of ours with its checksums; False where that was just done.
        tokenizer_only: take a folder that holds no more than a tokenizer, too.

    Raises ConfigError, which names the folder, the fault and the way out.
    """
    path = Path(source.name)
    if path.is_dir():
        return _look_at(source, path, None, verify=verify, tokenizer_only=tokenizer_only)
    if path.exists() or path.is_symlink():
        raise source.error("is not a folder; name the folder in which config.json lies")
    if is_path(source.name) or not _HUB_NAME.fullmatch(source.name):
        raise source.error(f"no such folder{_nearest(path)}")
    folder = _fetch(source, _SMALL_FILES, source.revision)
    return _look_at(source, folder, folder.name, verify=verify, tokenizer_only=tokenizer_only)


def _nearest(path: Path) -> str:
    """Name a folder beside a missing one that may be meant; '' where there is none."""
    if path.parts[:1] == ("~",):
        return "; write your home folder out, the shell does not put it in here"
    try:
        beside = [one.name for one in path.parent.iterdir() if one.is_dir()]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, beside, 1)
    return f"; did you mean {path.parent / near[0]}?" if near else ""


def _fetch(source: ModelSource, patterns: tuple[str, ...], revision: str | None) -> Path:
    """Download files of a model on the Hub; returns their folder, named after the commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(
            snapshot_download(
                source.name,
                revision=revision,
                allow_patterns=list(patterns),
                ignore_patterns=["*/*"],
            )
        )
    except GatedRepoError:
        why = "its owner has to grant you access on the Hub; then log in with `hf auth login`"
    except RepositoryNotFoundError:
        why = "no such folder, and no such model on the Hub (or it is private: `hf auth login`)"
    except RevisionNotFoundError:
        why = f"has no revision {revision} on the Hub"
    except LocalEntryNotFoundError:
        why = "no such folder, and the Hub cannot be reached"
    except Exception as error:  # the client's transport has had several names
        lines = str(error).strip().splitlines() or [type(error).__name__]
        why = f"no such folder, and the Hub does not give it: {lines[0]}"
    raise source.error(why)


def _look_at(
    source: ModelSource, folder: Path, commit: str | None, *, verify: bool, tokenizer_only: bool
) -> LocatedModel:
    if verify and commit is None and (fault := find_damage(folder)):
        raise source.error(
            f"{fault}; copy or fetch the folder again, or, where you changed it on purpose, remove "
            f"its {CHECKSUMS_NAME}"
        )
    if (folder / ADAPTER_CONFIG_NAME).exists():
        return _look_at_adapter(source, folder, commit)
    has_config = (folder / CONFIG_NAME).exists()
    config = {} if tokenizer_only and not has_config else _config(source, folder)
    tokenizer_config = {}
    if (folder / TOKENIZER_CONFIG_NAME).exists():
        tokenizer_config = read_object(source, folder / TOKENIZER_CONFIG_NAME)
    located = LocatedModel(source, folder, commit, config, tokenizer_config)
    _refuse_code(located)
    if not _look_at_tokenizer(source, folder):
        raise source.error(
            "has no tokenizer (tokenizer.json); copy the one of the model it was made from into it"
        )
    return located


def _look_at_tokenizer(source: ModelSource, folder: Path) -> bool:
    """Whether a folder has a tokenizer; raises ConfigError for one that is damaged."""
    if (folder / "tokenizer.json").exists():
        read_object(source, folder / "tokenizer.json")
        return True
    return any(next(folder.glob(pattern), None) for pattern in _TOKENIZERS)


def _look_at_adapter(source: ModelSource, folder: Path, commit: str | None) -> LocatedModel:
    """A LoRA adapter, and the model that it says it belongs to."""
    table = read_object(source, folder / ADAPTER_CONFIG_NAME)
    merge_first = (
        "merge it into its base model first (merge_and_unload of peft, then save_pretrained) and "
        "name that folder"
    )
    kind, base, revision = (
        table.get(key) for key in ("peft_type", "base_model_name_or_path", "revision")
    )
    if kind not in ("LORA", None):
        raise source.error(f"is an adapter of the kind {kind}, only LoRA is read; {merge_first}")
    if kind is None or not isinstance(base, str) or not base:
        raise source.error(
            f"is a LoRA adapter; {merge_first}, for its {ADAPTER_CONFIG_NAME} does not say which "
            "(base_model_name_or_path)"
        )
    is_folder = Path(base).exists()
    found = replace(
        source,
        name=base,
        revision=revision if isinstance(revision, str) and not is_folder else None,
    )
    try:
        located = locate_model(found)
    except ConfigError as error:
        why = str(error).removeprefix(f"{found.option} {base}: ")
        raise source.error(
            f"is a LoRA adapter of {base}, which cannot be loaded: {why}; put its base there, or "
            f"set base_model_name_or_path in its {ADAPTER_CONFIG_NAME} and remove its "
            f"{CHECKSUMS_NAME}"
        ) from None
    if located.base is not None:
        raise source.error(f"is a LoRA adapter of {base}, which is an adapter, too; {merge_first}")
    tokenizer_config = located.tokenizer_config
    if (folder / TOKENIZER_CONFIG_NAME).exists():
        tokenizer_config = read_object(source, folder / TOKENIZER_CONFIG_NAME)
    adapter = LocatedModel(
        source, folder, commit, located.config, tokenizer_config, located, adapter_config=table
    )
    _refuse_code(adapter)
    _look_at_tokenizer(source, folder)
    return adapter


def place_of_tokenizer(located: LocatedModel) -> LocatedModel:
    """Where the tokenizer lies: an adapter may leave it with its base."""
    if located.base is not None and not _look_at_tokenizer(located.source, located.folder):
        return located.base
    return located


def _config(source: ModelSource, folder: Path) -> dict[str, Any]:
    if (folder / CONFIG_NAME).exists():
        return read_object(source, folder / CONFIG_NAME)
    if (folder / "model" / CONFIG_NAME).exists():
        raise source.error(f"is not a model; did you mean {folder / 'model'}?")
    if next(folder.glob("*.gguf"), None):
        raise source.error("holds a GGUF file; name the model in safetensors that it was made from")
    raise source.error(f"has no {CONFIG_NAME}; name a model folder of transformers")


def read_object(source: ModelSource, path: Path) -> dict[str, Any]:
    """Read a JSON object of a model; raises ConfigError."""
    try:
        return decode_json(read_small(path), dict[str, Any], max_values=None)
    except OSError as error:
        raise source.error(f"{path.name} cannot be read: {fault_of(error)}") from None
    except SmallFileError as error:
        raise source.error(
            f"{path.name} is damaged: {error}; copy or fetch the model again"
        ) from None


def _refuse_code(located: LocatedModel) -> None:
    """Raise ConfigError where files name code that transformers would fetch or run.

    An ``auto_map`` alone is no reason: many models have one that transformers knows by itself, and
    then its own classes are used. Whether it does is seen when they are loaded.
    """
    source = located.source
    for name, content in (
        (CONFIG_NAME, located.config),
        (TOKENIZER_CONFIG_NAME, located.tokenizer_config),
    ):
        found = content.get("auto_map")
        if found is not None and not _is_auto_map(found):
            raise source.error(f"{name}: auto_map is not a table of class names")
    if not source.trust_remote_code and (kernel := _kernel(located.config)):
        raise source.error(
            f"{CONFIG_NAME} asks for the attention or expert code {kernel!r} of the Hub, which is "
            "not run; remove that entry, or say --trust-remote-code to run it"
        )
    weights = located.config.get("transformers_weights")
    endings = (".safetensors", ".safetensors.index.json")
    if weights is not None and not (_is_plain_name(weights) and weights.endswith(endings)):
        raise source.error(f"{CONFIG_NAME}: transformers_weights does not name safetensors in it")


def _is_auto_map(found: Any) -> bool:
    """A table from a class of transformers to one of the model's, or to two; an old one is two."""
    values = list(found.values()) if isinstance(found, dict) else [found]
    return bool(values) and all(
        isinstance(value, str)
        or (
            isinstance(value, list)
            and len(value) == 2
            and all(one is None or isinstance(one, str) for one in value)
            and any(value)
        )
        for value in values
    )


def code_error(located: LocatedModel, what: str) -> ConfigError:
    """The error for a model that only its own code can load."""
    return located.source.error(
        f"{what} is Python code that comes with the model (auto_map), which is not run; name a "
        "model that transformers knows by itself, or read the code and say --trust-remote-code"
    )


def _kernel(config: Any, depth: int = 0) -> str | None:
    """A repository of compiled code that a config names; None where it names none."""
    if not isinstance(config, dict) or depth > 8:
        return None
    for key, value in config.items():
        if "attn_implementation" in key or "experts_implementation" in key:
            named = value.values() if isinstance(value, dict) else [value]
            for one in named:
                if isinstance(one, str) and "/" in one:
                    return one
        elif found := _kernel(value, depth + 1):
            return found
    return None


def fetch_weights(located: LocatedModel) -> None:
    """Have a model's weights on this machine, whole by their headers and in a format that is read.

    Raises ConfigError.
    """
    source, folder = located.source, located.folder
    if located.base is not None:
        if located.commit is not None:
            _fetch(source, (ADAPTER_WEIGHTS_NAME,), located.commit)
        if not (folder / ADAPTER_WEIGHTS_NAME).exists():
            raise source.error(f"has no {ADAPTER_WEIGHTS_NAME}")
        return _check_header(source, folder / ADAPTER_WEIGHTS_NAME)
    if located.commit is not None:
        patterns = ("model*.safetensors", *(["pytorch_model*.bin"] if source.allow_pickle else []))
        _fetch(source, patterns, located.commit)
    if files := weight_files(located):
        for path in files:
            _check_header(source, path)
        return None
    pickles = sorted(
        path.name
        for pattern in ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
        for path in folder.glob(pattern)
    )
    if not pickles:
        hint = ""
        if any(next(folder.glob(pattern), None) for pattern in ("*.h5", "*.msgpack", "*.gguf")):
            hint = "those of another program must be converted first"
        elif located.commit is not None:
            hint = f"at most as a pickle ({PICKLE_NAME}), which --allow-pickle would read"
        raise source.error(f"has no weights in {WEIGHTS_NAME}" + (f"; {hint}" if hint else ""))
    readable = pickles[0].startswith("pytorch_model")
    if not (source.allow_pickle and readable):
        raise source.error(
            f"has its weights as a pickle ({pickles[0]}), which can run code when it is read, so "
            'it is refused. Convert it where that does no harm: python -c "import transformers '
            f"as t; t.{_auto_class(located)}.from_pretrained('{source.name}').save_pretrained("
            "'converted')\", and copy its tokenizer files"
            + ("; or say --allow-pickle" if readable else "")
        )
    index = folder / f"{PICKLE_NAME}.index.json"
    if not (folder / PICKLE_NAME).exists():
        if not index.exists():
            raise source.error(f"has no {PICKLE_NAME}, only {pickles[0]}")
        _shards(source, index)
    return None


def weight_files(located: LocatedModel) -> list[Path]:
    """The safetensors files of a model that :func:`fetch_weights` has looked at; [] for none."""
    named = located.config.get("transformers_weights") or WEIGHTS_NAME
    single = located.folder / named
    index = single if named.endswith(".json") else located.folder / f"{WEIGHTS_NAME}.index.json"
    if single != index and single.exists():
        return [single]
    if not index.exists():
        return []
    return [located.folder / shard for shard in _shards(located.source, index)]


def _auto_class(located: LocatedModel) -> str:
    """The class of transformers that keeps all weights of a model."""
    classes = str(located.config.get("architectures"))
    for ending in ("ForSequenceClassification", "ForCausalLM"):
        if ending in classes:
            return f"AutoModel{ending}"
    return "AutoModel"


def _shards(source: ModelSource, index: Path) -> list[str]:
    """Files that an index names, all of which are there."""
    weights = read_object(source, index).get("weight_map")
    if not isinstance(weights, dict) or not weights:
        raise source.error(f"{index.name} names no weights (weight_map)")
    shards = list(dict.fromkeys(weights.values()))
    if strange := [shard for shard in shards if not _is_plain_name(shard)]:
        raise source.error(f"{index.name} names {strange[0]!r}, which is no file beside it")
    if lost := [shard for shard in shards if not (index.parent / shard).is_file()]:
        raise source.error(
            f"lacks {len(lost)} of {len(shards)} files of weights that {index.name} names: "
            f"{', '.join(sorted(lost)[:3])}; fetch them again"
        )
    return shards


def _is_plain_name(name: Any) -> bool:
    return isinstance(name, str) and PurePosixPath(name).name == name


def _check_header(source: ModelSource, path: Path) -> None:
    """Raise ConfigError for a file of weights that is cut off, or no safetensors at all."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise source.error(f"{path.name} is not a file")
    try:
        with safe_open(path, framework="pt") as file:
            if not file.keys():
                raise source.error(f"{path.name} holds no weights")
    except (SafetensorError, OSError, ValueError, RuntimeError):
        raise source.error(
            f"{path.name} is damaged or cut off ({path.stat().st_size:,} bytes); copy or fetch it "
            "again"
        ) from None
