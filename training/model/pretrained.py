"""The only place that has transformers read a model's files, and its errors as sentences.

``trust_remote_code`` is always said: where it is not, transformers asks on the terminal, and a "y"
that was meant for something else runs a stranger's code.
"""

import textwrap
from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from training.errors import ConfigError
from training.memory_errors import what_ran_out
from training.model.adapters import Adapter, read_adapter
from training.model.blocks import blocks_of
from training.model.shards import WEIGHTS_PREFIX, fill_from_shards, has_shards
from training.model.source import (
    LocatedModel,
    ModelSource,
    code_error,
    fetch_weights,
    locate_model,
    place_of_tokenizer,
    weight_files,
)
from training.model.stored_weights import (
    NotReadableInPartsError,
    StoredWeights,
    find_weights,
    parameters_on_meta,
)

_HEADS = ("score.", "classifier.", "pre_classifier.", "pooler.")
"""Beginnings, at some depth, of the names of weights that a model without a trained head lacks."""
_LANGUAGE_HEADS = {"lm_head", "embed_out", "output_layer", "cls"}
"""Modules that make logits over the vocabulary, by the names that transformers gives them."""


def read_config(located: LocatedModel) -> Any:
    """The config of a model of texts that can become a sequence classifier.

    Raises ConfigError for one of another kind, or one that needs code of its own.
    """
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    return _read_config(
        located,
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
        "AutoModelForSequenceClassification",
        "classifier",
        "transformers has no sequence classifier of the kind {}; name a causal language model or "
        "an encoder of texts",
    )


def read_language_config(located: LocatedModel) -> Any:
    """The config of a causal language model; raises ConfigError as :func:`read_config` does."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    if located.base is not None:
        raise located.source.error(
            "is a LoRA adapter; merge it into its base model first (merge_and_unload of peft, then "
            "save_pretrained) and name that folder"
        )
    classes = located.config.get("architectures")
    named = [str(one) for one in classes] if isinstance(classes, list) else []
    if classifier := next((one for one in named if one.endswith("Classification")), None):
        raise located.source.error(
            f"is a reward model ({classifier}), which gives no probabilities; name a causal "
            "language model, or score it with --kind reward"
        )
    return _read_config(
        located,
        MODEL_FOR_CAUSAL_LM_MAPPING,
        "AutoModelForCausalLM",
        "language model",
        "transformers has no causal language model of the kind {}; name one",
    )


def _read_config(
    located: LocatedModel, kinds: Container[type], auto_class: str, what: str, unknown: str
) -> Any:
    from transformers import AutoConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    located = located.base or located
    source, trusted = located.source, located.source.trust_remote_code
    kind = located.config.get("model_type")
    auto_map = located.config.get("auto_map")
    own = auto_map if isinstance(auto_map, dict) else {}
    if not isinstance(kind, str):
        raise source.error("config.json names no model_type; name a model folder of transformers")
    if kind not in CONFIG_MAPPING:
        if "AutoConfig" not in own:
            raise source.error(
                f"config.json has the model_type {kind!r}, which transformers does not know"
            )
        if not trusted:
            raise code_error(located, f"its configuration ({kind})")
    with _said(source, "config.json cannot be used"):
        config = AutoConfig.from_pretrained(_place(located), **_flags(located))
    if not trusted and hasattr(config, "auto_map"):
        del config.auto_map  # it names code, which nothing below may come upon
    if getattr(config, "is_encoder_decoder", False):
        raise source.error("encoder-decoder models are not supported")
    if type(config) not in kinds and not (trusted and auto_class in own):
        if auto_class in own:
            raise code_error(located, f"its {what} ({kind})")
        raise source.error(unknown.format(kind))
    return config


def read_tokenizer(located: LocatedModel, config: Any = None) -> Any:
    """The tokenizer of a model; raises ConfigError where it cannot be read.

    ``config``: of the model, where :func:`read_config` has read it.
    """
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    located = place_of_tokenizer(located)
    source = located.source
    file = located.folder / "tokenizer.json"
    if file.is_file():
        try:
            Tokenizer.from_file(str(file))
        except Exception:  # the library has no error of its own
            raise source.error(
                "tokenizer.json is damaged: it is not a tokenizer; copy or fetch it again"
            ) from None
    try:
        with _said(source, "its tokenizer cannot be read"):
            return AutoTokenizer.from_pretrained(_place(located), config=config, **_flags(located))
    except ConfigError:
        if located.tokenizer_config.get("auto_map") and not source.trust_remote_code:
            raise code_error(located, "its tokenizer") from None
        raise


class Classifier(NamedTuple):
    """A sequence classifier as its files give it."""

    hf: Any
    missing: set[str]
    """Names of weights that the files lack."""
    adapter: Adapter | None = None
    """LoRA matrices that are part of it."""


def read_classifier(
    located: LocatedModel,
    config: Any,
    *,
    dtype: torch.dtype,
    quantised: bool = False,
    dequantise: bool = False,
) -> Classifier:
    """A sequence classifier with one label; of an adapter, with its base.

    Args:
        config: what :func:`read_config` gave.
        dtype: of the weights in memory.
        quantised: take weights of few bits, too, which can score and not learn.
        dequantise: have an adapter's base of 4 bits in full precision, after it was rounded.

    Only weights of a head may be lacking. Raises ConfigError.
    """
    from transformers import AutoModelForSequenceClassification

    if located.base is not None:
        fetch_weights(located)
        hf, missing, _ = read_classifier(located.base, config, dtype=dtype, quantised=quantised)
        adapter, brought = read_adapter(located, hf, blocks_of(hf), dequantise=dequantise)
        return Classifier(hf, missing - brought, adapter)
    source = located.source
    if not quantised:
        _refuse_quantised(located)
    config.num_labels = 1
    if has_shards(located.folder):
        return Classifier(_read_shards(located, config, dtype), set())
    hf, info = _read_weights(located, AutoModelForSequenceClassification, config, dtype)
    _check_shapes(source, info["mismatched_keys"])
    missing = set(info["missing_keys"])
    _check_missing(source, {name for name in missing if not is_of_head(name)})
    _check_finite(source, hf, missing)
    return Classifier(hf, missing)


class EmptyClassifier(NamedTuple):
    """A sequence classifier with parameters on the meta device."""

    hf: Any
    stored: StoredWeights
    """Where its weights lie, but those of an adapter, which are in memory."""
    adapter: Adapter | None = None
    """LoRA matrices that are part of it."""


def empty_classifier(located: LocatedModel, config: Any, *, dtype: torch.dtype) -> EmptyClassifier:
    """The same without its weights; those of an adapter are read, and of 4 bits those of its base.

    Raises ConfigError, or NotReadableInPartsError for a model that only :func:`read_classifier`
    can read.
    """
    from transformers import AutoModelForSequenceClassification

    if located.base is not None:
        fetch_weights(located)
        hf, stored, _ = empty_classifier(located.base, config, dtype=dtype)
        if stored.shards is not None:
            raise NotReadableInPartsError("its base is a checkpoint in shards")
        before = hf.state_dict(keep_vars=True)
        adapter, _ = read_adapter(located, hf, blocks_of(hf), stored=stored)
        return EmptyClassifier(hf, stored.renamed(hf, before), adapter)
    source = located.source
    _refuse_quantised(located)
    if source.trust_remote_code:
        raise NotReadableInPartsError("code of its own may read its files in its own way")
    in_shards = has_shards(located.folder)
    if not in_shards:
        fetch_weights(located)
        if not weight_files(located):
            raise NotReadableInPartsError("they are a pickle")
    config.num_labels = 1
    with _said(source, "config.json cannot be used"), parameters_on_meta():
        hf = AutoModelForSequenceClassification.from_config(
            config, dtype=dtype, trust_remote_code=False
        )
    hf.eval()  # as from_pretrained leaves it
    if in_shards:
        stored = StoredWeights(source, {}, frozenset(), (), shards=located.folder)
        return EmptyClassifier(hf, stored)
    stored = find_weights(located, hf)
    _check_shapes(source, stored.mismatched)
    _check_missing(source, {name for name in stored.missing if not is_of_head(name)})
    return EmptyClassifier(hf, stored)


def _refuse_quantised(located: LocatedModel) -> None:
    if (found := located.config.get("quantization_config")) is not None:
        method = found.get("quant_method") if isinstance(found, dict) else None
        raise located.source.error(
            f"is quantised ({method or 'quantization_config'}), and such weights do not learn; "
            "name the model that it was made from"
        )


def _read_shards(located: LocatedModel, config: Any, dtype: torch.dtype) -> Any:
    """A sequence classifier whose weights are those of a checkpoint in shards."""
    from transformers import AutoModelForSequenceClassification

    with _said(located.source, "its model cannot be made"):
        hf = AutoModelForSequenceClassification.from_config(
            config, dtype=dtype, trust_remote_code=located.source.trust_remote_code
        )
    fill_from_shards(
        located.folder, {WEIGHTS_PREFIX + name: value for name, value in hf.state_dict().items()}
    )
    _check_finite(located.source, hf, set())
    return hf


def read_language_model(located: LocatedModel, config: Any, *, dtype: torch.dtype) -> Any:
    """A causal language model, also one of few bits; raises ConfigError.

    Args:
        config: what :func:`read_language_config` gave.
        dtype: of the weights in memory.
    """
    from transformers import AutoModelForCausalLM

    source = located.source
    hf, info = _read_weights(located, AutoModelForCausalLM, config, dtype)
    head = [name for name in info["missing_keys"] if _is_of_language_head(name)]
    if head or any(is_of_head(name) for name in info["unexpected_keys"]):
        raise source.error(
            "has no language-model head"
            + (f" ({head[0]})" if head else "")
            + "; name the causal language model that it was made from"
        )
    _check_shapes(source, info["mismatched_keys"])
    _check_missing(source, set(info["missing_keys"]))
    _check_finite(source, hf, set())
    return hf


def _is_of_language_head(name: str) -> bool:
    return any(part in _LANGUAGE_HEADS for part in name.split("."))


def _read_weights(
    located: LocatedModel, auto_class: Any, config: Any, dtype: torch.dtype
) -> tuple[Any, Any]:
    """A model and what transformers says of its weights."""
    fetch_weights(located)
    with _said(located.source, "its weights cannot be loaded"):
        hf, info = auto_class.from_pretrained(
            _place(located),
            config=config,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told by the caller
            use_safetensors=None if located.source.allow_pickle else True,
            weights_only=True,
            **_flags(located),
        )
    return hf, info


def _check_missing(source: ModelSource, missing: set[str]) -> None:
    if missing:
        lost = sorted(missing)
        more = " …" if lost[3:] else ""
        raise source.error(
            f"lacks weights that config.json asks for: {', '.join(lost[:3])}{more}; the two do "
            "not belong together"
        )


def read_tokenizer_of(name: str) -> Any:
    """The tokenizer of a folder or of a name on the Hub; no code of its own runs."""
    return read_tokenizer(locate_model(ModelSource.of(name), tokenizer_only=True))


def is_of_head(name: str) -> bool:
    """Whether a weight belongs to the head, which a model that was never a classifier lacks."""
    return any(name.startswith(head) or f".{head}" in name for head in _HEADS)


def _check_shapes(source: ModelSource, mismatched: Any) -> None:
    """``mismatched``: (name, shape in the files, shape by the config) of each."""
    for name, stored, expected in sorted(mismatched, key=lambda entry: str(entry[0])):
        if is_of_head(name) and tuple(stored[1:]) == tuple(expected[1:]):
            raise source.error(
                f"has {stored[0]} labels; a reward model has one. Name the language model or "
                "encoder that it was made from, or give it a new head of one label: python -c "
                '"import transformers as t; t.AutoModelForSequenceClassification.from_pretrained('
                f"'{source.name}', num_labels=1, ignore_mismatched_sizes=True).save_pretrained("
                "'one-label')\", and copy its tokenizer files"
            )
        raise source.error(
            f"{name} has the shape {list(stored)} in the weights and {list(expected)} by "
            "config.json; the two do not belong together"
        )


def _check_finite(source: ModelSource, hf: torch.nn.Module, missing: set[str]) -> None:
    for name, parameter in hf.named_parameters():
        if name in missing or not parameter.is_floating_point() or not parameter.numel():
            continue
        low, high = parameter.detach().float().aminmax()
        if not bool(torch.isfinite(low) & torch.isfinite(high)):
            raise not_finite(source, name)


def not_finite(source: ModelSource, name: str) -> ConfigError:
    """The error for a model with a weight that holds infinities or NaN."""
    return source.error(
        f"holds values that are not finite numbers in {name}: it has diverged or is damaged; name "
        "an earlier checkpoint or fetch it again"
    )


def _place(located: LocatedModel) -> str:
    """What transformers is told: the name on the Hub has meanings that a folder lacks."""
    return str(located.folder) if located.commit is None else located.source.name


def _flags(located: LocatedModel) -> dict[str, Any]:
    flags: dict[str, Any] = {"trust_remote_code": located.source.trust_remote_code}
    if located.commit is not None:
        flags["revision"] = located.commit
    return flags


@contextmanager
def _said(source: ModelSource, what: str) -> Iterator[None]:
    """Turn what transformers raises into a sentence that begins with ``what``."""
    from transformers.utils import logging

    logging.set_verbosity_error()  # its report of a missing head is not for our users
    logging.disable_progress_bar()
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # whatever a setting of a strange type runs into
        if what_ran_out(error):  # of which the files are innocent
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        if isinstance(error, ImportError):
            what = f"{what}: it needs a package that is not installed"
        why = " ".join(lines[:2]) or type(error).__name__
        raise source.error(f"{what}: {textwrap.shorten(why, 300)}") from None
