"""docs/serving.md is true: its recipes, run on models that our training saved, give our scores."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.preference_data import make_model, make_pairs, write_dataset
from training.commands import main
from training.config import DataConfig, ModelConfig
from training.model.reward_model import load_model
from training.validation.score import score_texts

PAGE = Path(__file__).parents[1] / "docs" / "serving.md"
PROMPT = "Why is my crust pale?"
RESPONSES = ["The oven is too cold.", "Who knows."]


def recipes() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def train(folder: Path, model: Path) -> Path:
    write_dataset(folder / "data", make_pairs(30, "train") + make_pairs(10, "validation"))
    done = main(
        [
            *("train", "--dataset", str(folder / "data"), "--model", str(model)),
            *("--output", str(folder / "run"), "--quiet", "--device", "cpu"),
            *("--set", "run.tensorboard=false", "--set", "data.max_length=128"),
            *("--set", "data.batch_pairs=16", "--set", "optim.lr=0.003"),
            *(("--set", "model.layout=padded") if model.name == "encoder" else ()),
        ]
    )
    assert done == 0
    return folder / "run" / "model"


def our_scores(model: Path) -> list[float]:
    config = ModelConfig(layout="padded")
    loaded = load_model(str(model), config, DataConfig(max_length=128), seed=0)
    loaded.model.eval()
    (found,) = score_texts(loaded, [PROMPT], [RESPONSES], device=torch.device("cpu"))
    return found


def executed(code: list[str], model: Path) -> dict[str, Any]:
    named = "\n".join(code).replace('"runs/beer/model"', repr(str(model)))
    assert named != "\n".join(code)
    names: dict[str, Any] = {}
    exec(named, names)
    return names


def test_a_pipeline_of_transformers_gives_our_scores(tmp_path: Path) -> None:
    model = train(tmp_path, make_model(tmp_path / "causal"))
    chat, _ = recipes()
    found = executed([chat], model)
    scores = our_scores(model)
    assert abs(scores[0] - scores[1]) > 0.01
    assert found["rewards"] == pytest.approx(scores, abs=1e-4)
    # Both of these would change a score that stays between 0 and 1.
    assert found["judge"].model.config.problem_type == "regression"
    assert all(text.endswith("<|im_end|>\n<|endoftext|>") for text in found["texts"])


def make_encoder(folder: Path) -> Path:
    """A random BERT whose tokenizer makes pairs as BERT's does."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*marks, *letters, *(f"##{letter}" for letter in letters), *"?.0123456789"]
    backend = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        unk_token="[UNK]",
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=512,
        initializer_range=0.3,
        num_labels=1,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_a_pipeline_takes_pairs_for_an_encoder(tmp_path: Path) -> None:
    model = train(tmp_path, make_encoder(tmp_path / "encoder"))
    chat, pairs = recipes()
    found = executed([chat.partition("conversations")[0], pairs], model)
    scores = our_scores(model)
    assert abs(scores[0] - scores[1]) > 0.001
    assert found["rewards"] == pytest.approx(scores, abs=1e-5)
