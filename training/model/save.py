"""A reward model's way to disk.

A checkpoint is an ordinary folder of transformers: ``AutoModelForSequenceClassification
.from_pretrained(folder)`` in another process gives the same scores.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from training.data.context_line import with_context
from training.data.template import chat_template
from training.errors import TemplateError
from training.model.adapters import save_adapter
from training.model.portable_tokenizer import portable_encoder_tokenizer
from training.model.reward_model import LoadedModel

MAX_FILE_SIZE = "5GB"
PROBES = (("Why?", "So."), ("flour", "water"), ("Is it?\n\nYes.", "- a\n- b"), ("é", "1"))
"""Texts on which a chat template is tried before it is saved."""

PROBE_CONTEXTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("", ()),
    ("a.b", ()),
    ("a.b", ("c", "d-e")),
)
"""Sites and tags with which it is tried where the model has a context line; short, so that none is
cut."""


def save_model(
    folder: Path, loaded: LoadedModel, state: Mapping[str, Tensor] | None = None
) -> None:
    """Write a folder that transformers loads as a sequence classifier with our scores.

    An adapter's holds its matrices and the head, and peft loads it upon its base.

    ``state``: the weights in fp32, by the names of ``loaded.model.hf``; None: those it has.
    """
    hf = loaded.model.hf
    folder.mkdir(parents=True, exist_ok=True)
    if state is None:
        trained = {name for name, parameter in hf.named_parameters() if parameter.requires_grad}
        state = hf.state_dict()
        if loaded.adapter is not None:
            state = {name: tensor for name, tensor in state.items() if name in trained}
    weights = {
        name: tensor.detach().to("cpu", torch.float32 if tensor.is_floating_point() else None)
        for name, tensor in state.items()
    }
    if loaded.adapter is not None:
        save_adapter(folder, hf, loaded.adapter, weights)
    else:
        # transformers writes the weights under the names that other programs know.
        hf.save_pretrained(folder, state_dict=weights, max_shard_size=MAX_FILE_SIZE)
    save_model_files(folder, loaded)


def save_model_files(folder: Path, loaded: LoadedModel) -> None:
    """Write all of a model folder but the weights: config, tokenizer and template."""
    hf = loaded.model.hf
    hf.config.dtype = "float32"  # it noted that of the copies that compute
    hf.config.save_pretrained(folder)
    _check_config(folder, loaded)
    if loaded.model.is_encoder:
        tokenizer = portable_encoder_tokenizer(loaded.tokenizer, loaded.template)
    else:
        tokenizer = loaded.tokenizer
        tokenizer.pad_token = loaded.template.pad_token
        tokenizer.padding_side = "right"  # on the left it would move positions that are counted
        tokenizer.chat_template = chat_template(loaded.template)
        if not _renders_our_ids(loaded):
            tokenizer.chat_template = None  # better none than one that gives other tokens
    tokenizer.save_pretrained(folder)
    loaded.template.save(folder)


def _renders_our_ids(loaded: LoadedModel) -> bool:
    """Whether the chat template of the tokenizer gives the ids of :class:`PairTokenizer`."""
    context = loaded.template.context
    for prompt, response in PROBES:
        messages = [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": response},
        ]
        for site, tags in PROBE_CONTEXTS if context != "none" else (("", ()),):
            told = {"site": site, "tags": list(tags)} if site else {}
            text = loaded.tokenizer.apply_chat_template(messages, tokenize=False, **told)
            ids = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
            whole = with_context(prompt, site, tags, context)
            if ids != loaded.tokens.sequence(whole, response).tolist():
                return False
    return True


def _check_config(folder: Path, loaded: LoadedModel) -> None:
    """Read back what transformers will go by: trap 1 of reward models is a wrong pad id."""
    written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if written.get("pad_token_id") != loaded.tokens.pad_id:
        raise TemplateError(f"{folder}/config.json has lost the pad token id")
