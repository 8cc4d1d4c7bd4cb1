"""The only place that has transformers read a model's files, and its errors as sentences.

``trust_remote_code`` is always said: where it is not, transformers asks on the terminal, and a "y"
that was meant for something else runs a stranger's code.
"""

import textwrap
from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from training.errors import ConfigError
from training.memory_errors import what_ran_out
from training.model.source import (
    LocatedModel,
    ModelSource,
    code_error,
    fetch_weights,
    locate_model,
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


def read_classifier(
    located: LocatedModel, config: Any, *, dtype: torch.dtype, quantised: bool = False
) -> tuple[Any, set[str]]:
    """A sequence classifier with one label, and the names of weights that the files lack.

    Args:
        config: what :func:`read_config` gave.
        dtype: of the weights in memory.
        quantised: take weights of few bits, too, which can score and not learn.

    Only weights of a head may be lacking. Raises ConfigError.
    """
    from transformers import AutoModelForSequenceClassification

    source = located.source
    if (found := located.config.get("quantization_config")) is not None and not quantised:
        method = found.get("quant_method") if isinstance(found, dict) else None
        raise source.error(
            f"is quantised ({method or 'quantization_config'}), and such weights do not learn; "
            "name the model that it was made from"
        )
    config.num_labels = 1
    hf, info = _read_weights(located, AutoModelForSequenceClassification, config, dtype)
    _check_shapes(source, info["mismatched_keys"])
    missing = set(info["missing_keys"])
    _check_missing(source, {name for name in missing if not is_of_head(name)})
    _check_finite(source, hf, missing)
    return hf, missing


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
            raise source.error(f"has {stored[0]} labels; a reward model has one")
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
            raise source.error(
                f"holds values that are not finite numbers in {name}: it has diverged or is "
                "damaged; name an earlier checkpoint or fetch it again"
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
