"""Whether every sequence classifier of transformers scores alike in every layout.

    python -m benchmarks.architectures             # all; writes docs/architectures.json
    python -m benchmarks.architectures mistral     # some; their rows are replaced

Each architecture is built tiny with random weights, as it comes and with a window of attention
shorter than the texts. Its rewards in each layout are compared with those of transformers alone,
one sequence at a time; a layout that the trainer refuses at the start is noted with the reason.
"""

import copy
import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as CLASSIFIERS,
)
from transformers.utils import logging

from training.config import DataConfig, ModelConfig
from training.data.collate import Layout, micro_batches
from training.data.prompt_groups import PairOfGroup, PromptGroup
from training.errors import ConfigError, TemplateError
from training.model.layout_check import check_layout
from training.model.reward_model import LoadedModel, wrap_model

TABLE = Path(__file__).parents[1] / "docs" / "architectures.json"
LAYOUTS: tuple[Layout, ...] = ("shared", "packed", "padded")
VOCABULARY, LONGEST, WINDOW = 260, 96, 16
TOLERANCE = 1e-3
"""Largest difference that is equal, in units of how much the rewards differ among themselves."""
MOST_WEIGHTS = 30_000_000
TINY: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embedding_size"), 32),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "d_ff", "hidden_dim", "n_inner"), 48),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 4),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), 512),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token"), 2),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 16),
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 48),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank"), 16),
    **dict.fromkeys(("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "qk_head_dim"), 8),
    **dict.fromkeys(("pad_token_id",), 0),
    **dict.fromkeys(("bos_token_id", "cls_token_id"), 2),
    **dict.fromkeys(("eos_token_id", "sep_token_id", "eos_index"), 3),
    "vocab_size": VOCABULARY,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rotary_dim": 4,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": VOCABULARY,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "mamba_d_state": 8,
    "mamba_dt_rank": 8,
    "relative_attention": False,
    "position_biased_input": True,
}
"""Settings that make a model small, by the names that configs have for them."""


OF_KIND: dict[str, dict[str, Any]] = {
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "layoutlmv3": {"coordinate_size": 5, "shape_size": 6, "visual_embed": False},
    "luke": {"entity_vocab_size": VOCABULARY, "entity_emb_size": 32},
    "esmc": {"num_key_value_heads": 4},
    **{
        kind: {"num_key_value_heads": 4, "qk_head_dim": 16, "head_dim": 8}
        for kind in ("axk1", "axk2", "deepseek_v2", "deepseek_v3", "minicpm3")
    },
}
"""More of them, of one model type."""


def tokenizer() -> Any:
    words = ["[PAD]", "[UNK]", "[CLS]", "<|endoftext|>", *sorted(ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({word: place for place, word in enumerate(words)}, []))
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="<|endoftext|>", eos_token="<|endoftext|>",
    )  # fmt: skip


def tiny_config(kind: str, **more: Any) -> Any:
    """A small config of a model type."""
    made = CONFIG_MAPPING[kind]
    plain = made()
    text = plain.get_text_config()
    there = set(text.to_dict()) | set(text.attribute_map)
    small = {
        name: value
        for name, value in {**TINY, **OF_KIND.get(kind, {}), **more}.items()
        if name in there
    }
    if text is plain:
        return made(**small, num_labels=1)
    parts = {}
    for name in plain.sub_configs:
        part = getattr(plain, name, None)
        if part is not None:
            known = set(part.to_dict()) | set(part.attribute_map)
            wanted = {**TINY, **(more if part is text else {})}
            parts[name] = {key: value for key, value in wanted.items() if key in known}
    return made(**parts, num_labels=1)


def build(config: Any) -> Any:
    """The classifier with weights so large that every token matters."""
    with torch.device("meta"):
        whole = AutoModelForSequenceClassification.from_config(copy.deepcopy(config))
    weights = sum(one.numel() for one in whole.parameters())
    if weights > MOST_WEIGHTS:
        raise ValueError(f"{weights / 1e6:,.0f} M weights with these settings")
    torch.manual_seed(0)
    hf = AutoModelForSequenceClassification.from_config(config).float().eval()
    with torch.no_grad():
        for parameter in hf.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(0, 0.05 if config.model_type == "mobilebert" else 0.25)
        for module in hf.modules():  # as they are in trained models
            if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
                module.weight[module.padding_idx].zero_()
    return hf


def groups() -> list[PromptGroup]:
    """A long and a short prompt, responses longer and shorter than the window."""
    random = np.random.default_rng(0)
    found = []
    for prompt, lengths in ((40, (44, 9)), (6, (30, 3))):
        ids = [random.integers(5, VOCABULARY, size) for size in (prompt, *lengths)]
        responses = tuple(np.append(one, 3).astype(np.int32) for one in ids[1:])
        pair = PairOfGroup(0, 1, 0, 1.0, 1.0, 1.0, "")
        begin = np.append([2], ids[0]).astype(np.int32)
        found.append(PromptGroup(begin, responses, (pair,)))
    return found


@torch.no_grad()
def alone(hf: Any) -> torch.Tensor:
    """Rewards by transformers, a sequence at a time."""
    # A cache, which some make where none is wanted, has no place for their recurrent states.
    extra = {} if getattr(hf.config, "use_cache", None) is None else {"use_cache": False}
    rows = [np.concatenate([one.prompt, text]) for one in groups() for text in one.responses]
    found = []
    for row in rows:
        ids = torch.from_numpy(row.astype(np.int64))[None]
        found.append(hf(input_ids=ids, attention_mask=torch.ones_like(ids), **extra).logits[0, 0])
    return torch.stack(found).float()


@torch.no_grad()
def in_layout(loaded: LoadedModel, layout: Layout) -> torch.Tensor:
    """The same by ours."""
    batches = micro_batches(groups(), layout, tokens=4096, pad_id=0, sites={})
    found = {}
    for batch in batches:
        rewards = loaded.model(batch)
        ids = batch.input_ids.flatten()
        for chosen, rejected in zip(batch.chosen, batch.rejected, strict=True):
            found[int(ids[batch.first[chosen]])] = (rewards[chosen], rewards[rejected])
    order = [int(one.responses[0][0]) for one in groups()]
    return torch.stack([reward for key in order for reward in found[key]]).float()


def try_layout(config: Any, expected: torch.Tensor, layout: Layout) -> str:
    """'equal', 'refused: …' or 'differs: …'."""
    try:
        loaded = wrap_model(
            build(copy.deepcopy(config)),
            tokenizer(),
            None,
            ModelConfig(layout=layout),
            DataConfig(max_length=LONGEST),
            new_head_seed=None,
            name="tiny",
        )
        loaded.model.eval()
        check_layout(loaded, layout, torch.device("cpu"))
    except (ConfigError, TemplateError) as error:
        return f"refused: {str(error).partition('; set model.layout')[0]}"
    except Exception as error:
        return f"fails: {type(error).__name__}: {textwrap.shorten(str(error), 120)}"
    found = in_layout(loaded, layout)
    difference = float((found - expected).abs().max() / expected.std().clamp(min=1e-6))
    return "equal" if difference < TOLERANCE else f"differs: by {difference:.1e}"


def windows(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Variants of a model type: as it comes, and with a window in each way that its config has."""
    yield "as it comes", {}
    plain = CONFIG_MAPPING[kind]().get_text_config()
    names = set(plain.to_dict())
    if "sliding_window" in names:
        more: dict[str, Any] = {
            "sliding_window": WINDOW,
            "use_sliding_window": True,
            "max_window_layers": 0,
        }
        yield "window", more
        if "layer_types" in names:
            yield (
                "alternating",
                {**more, "layer_types": ["sliding_attention", "full_attention"] * 2},
            )
    for name in ("window_size", "local_attention", "attention_chunk_size", "keep_window_size"):
        if name in names:
            yield name, {name: WINDOW}


def rows_of(kind: str) -> list[dict[str, str]]:
    """What is found of a model type, a row for each variant."""
    found = []
    base = None
    for variant, settings in windows(kind):
        row = {"model": kind, "variant": variant}
        try:
            config = tiny_config(kind, **settings)
            config.pad_token_id = config.get_text_config().pad_token_id = 0
            if getattr(config, "is_encoder_decoder", False):
                raise ValueError("encoder-decoder models are not supported")
            expected = alone(build(copy.deepcopy(config)))
            if not bool(torch.isfinite(expected).all()):
                raise ValueError("its random weights make rewards that are not finite")
            base = expected if base is None else base
            if variant != "as it comes" and torch.equal(base, expected):
                continue  # the setting does nothing here
            for layout in LAYOUTS:
                row[layout] = try_layout(config, expected, layout)
        except Exception as error:  # whatever a strange config runs into
            lines = str(error).strip().splitlines() or [type(error).__name__]
            row["not built"] = textwrap.shorten(f"{lines[0]}", 160)
        found.append(row)
    return found


def main(kinds: list[str]) -> None:
    """Try model types; all: write the table."""
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    rows = []
    for kind in kinds or sorted(CLASSIFIERS):
        for row in rows_of(kind):
            rows.append(row)
            print(json.dumps(row), flush=True)
    if kinds and TABLE.exists():  # the others stay as they are
        before = json.loads(TABLE.read_text(encoding="utf-8"))["rows"]
        rows += [row for row in before if row["model"] not in kinds]
        rows.sort(key=lambda row: row["model"])
    if rows:
        content = {"transformers": transformers.__version__, "rows": rows}
        TABLE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
