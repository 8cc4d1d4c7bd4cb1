"""Encoders with the tokenizer classes that people use, saved by us and scored without us."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from tests.fresh_process import finish, start_python
from tests.preference_data import WORDS
from training.config import DataConfig, ModelConfig
from training.errors import ConfigError
from training.evaluation.items import ChatMessage
from training.evaluation.models import ModelLocation, open_scorer
from training.model.reward_model import load_model
from training.model.save import save_model
from training.validation.score import score_texts

CPU = torch.device("cpu")
PAIRS = [
    ["Why is the crust cold?", "Because the oven is slow."],
    [
        "Why is the crust cold?",
        "Bake it warm, fold it, rest it; then bake it again, slow and warm.",
    ],
    ["Café  water?", "No – flour.\nTwo lines."],
    ["x", "y"],
]
TEXT = [f"{word} {word.title()}s, unbaked ({word})?" for word in WORDS] * 4
TEXT += [text for pair in PAIRS for text in pair]
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 96,
    "initializer_range": 0.3,
    "num_labels": 1,
}


@cache
def word_pieces() -> dict[str, int]:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=special)
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer.get_vocab()


@cache
def byte_pairs(*special: str) -> tuple[dict[str, int], list[tuple[str, str]]]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    found = json.loads(tokenizer.to_str())["model"]
    return found["vocab"], [tuple(merge) for merge in found["merges"]]


@cache
def sentence_pieces(*special: str) -> list[tuple[str, float]]:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=100,
        special_tokens=list(special),
        unk_token="<unk>" if "<unk>" in special else "[UNK]",
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return [tuple(piece) for piece in json.loads(tokenizer.to_str())["model"]["vocab"]]


BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def of_class(name: str) -> Any:
    """A tokenizer of a real class of transformers, with a small vocabulary."""
    made: Mapping[str, Callable[[], Any]] = {
        "Bert": lambda: transformers.BertTokenizer(vocab=word_pieces()),
        "DistilBert": lambda: transformers.DistilBertTokenizer(vocab=word_pieces()),
        "Electra": lambda: transformers.ElectraTokenizer(vocab=word_pieces()),
        "MPNet": lambda: transformers.MPNetTokenizer(
            vocab={
                **word_pieces(),
                **{token: len(word_pieces()) + n for n, token in enumerate(ROBERTA)},
            }
        ),
        "Roberta": lambda: transformers.RobertaTokenizer(*byte_pairs(*ROBERTA)),
        "Deberta": lambda: transformers.DebertaTokenizer(*byte_pairs(*BERT)),
        "ModernBert": lambda: of_bytes(),
        "XLMRoberta": lambda: transformers.XLMRobertaTokenizer(vocab=sentence_pieces(*ROBERTA)),
        "Camembert": lambda: transformers.CamembertTokenizer(vocab=sentence_pieces(*ROBERTA)),
        "DebertaV2": lambda: transformers.DebertaV2Tokenizer(vocab=sentence_pieces(*BERT)),
        "Albert": lambda: transformers.AlbertTokenizer(
            vocab=sentence_pieces("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
        ),
    }
    return made[name]()


def of_bytes() -> Any:
    """As ModernBERT's: no class of its own, all in tokenizer.json."""
    from tokenizers import processors

    vocabulary, merges = byte_pairs(*BERT)
    backend = Tokenizer(models.BPE(vocabulary, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


CLASSES = (
    "Bert", "DistilBert", "Electra", "MPNet", "Roberta", "Deberta", "ModernBert", "XLMRoberta",
    "Camembert", "DebertaV2", "Albert",
)  # fmt: skip


def make_encoder(folder: Path, name: str, *, padding: str = "right") -> Path:
    tokenizer = of_class(name)
    tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = padding
    config = getattr(transformers, f"{name}Config")(
        vocab_size=max(tokenizer.get_vocab().values()) + 1,
        type_vocab_size=2,
        pad_token_id=tokenizer.pad_token_id,
        **SMALL,
    )
    torch.manual_seed(0)
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, list[float], Any]]:
    """For each class our model, our scores, and what transformers alone finds in the saved one."""
    root = tmp_path_factory.mktemp("encoders")
    ours = {}
    for place, name in enumerate(CLASSES):
        base = make_encoder(root / "base" / name, name, padding=("right", "left")[place % 2])
        loaded = load_model(
            str(base), ModelConfig(layout="padded"), DataConfig(max_length=80), seed=0
        )
        loaded.model.eval()
        given = score_texts(loaded, [a for a, _ in PAIRS], [[b] for _, b in PAIRS], device=CPU)
        save_model(root / "saved" / name, loaded)
        ours[name] = (loaded, [one[0] for one in given])
    log = root / "log"
    folders = [str(root / "saved" / name) for name in CLASSES]
    script = str(Path(__file__).parent / "plain_scores.py")
    assert finish(start_python([script, json.dumps(PAIRS), *folders], log)) == 0, log.read_text()
    plain = json.loads(log.read_text().splitlines()[-1])
    return {name: (*ours[name], one) for name, one in zip(CLASSES, plain, strict=True)}


@pytest.mark.parametrize("name", CLASSES)
def test_a_saved_encoder_scores_alike_without_us(saved: Any, name: str) -> None:
    loaded, ours, plain = saved[name]
    assert len(set(ours)) == len(ours)
    assert np.std(ours) > 1e-3
    for way in ("one by one", "batch", "pipeline"):
        assert plain[way] == pytest.approx(ours, abs=1e-5), way
    assert plain["ids"] == [loaded.tokens.sequence(a, b).tolist() for a, b in PAIRS]
    assert plain["inputs"] == ["attention_mask", "input_ids"]
    assert plain["padding"] == "right"
    own = loaded.tokenizer(PAIRS[0][0])["input_ids"]
    assert plain["alone"] == own


@pytest.mark.parametrize("name", ["Bert", "Roberta", "DebertaV2"])
def test_an_encoder_of_someone_else_is_read_as_its_tokenizer_pairs(
    tmp_path: Path, name: str
) -> None:
    """With segment ids, or two separators, where it was trained with them."""
    folder = make_encoder(tmp_path / name, name)
    scorer = open_scorer(ModelLocation(str(folder), None, None, None), device=CPU, batch_tokens=64)
    given = scorer.score(
        [(ChatMessage("user", prompt),) for prompt, _ in PAIRS], [[text] for _, text in PAIRS]
    )
    auto = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        plain = [
            float(auto(**tokenizer(*pair, return_tensors="pt")).logits[0, 0]) for pair in PAIRS
        ]
    assert [one[0].reward for one in given] == pytest.approx(plain, abs=1e-5)
    assert not any(one[0].cut for one in given)
    (long,) = scorer.score([(ChatMessage("user", "warm " * 200),)], [["cold"]])
    assert long[0].cut


@pytest.mark.parametrize("name", [*CLASSES, "GPT2"])
def test_a_text_of_the_greatest_length_is_read(tmp_path: Path, name: str) -> None:
    """RoBERTa and its kind have fewer positions than their config says: they count from the pad."""
    from transformers import AutoConfig

    from training.model.limits import longest_sequence

    if name == "GPT2":
        transformers.GPT2Config(n_positions=96).save_pretrained(tmp_path / name)
        assert longest_sequence(AutoConfig.from_pretrained(tmp_path / name)) == 96
        return
    folder = make_encoder(tmp_path / name, name)
    longest = longest_sequence(AutoConfig.from_pretrained(folder))
    assert longest is not None
    config = ModelConfig(layout="padded")
    loaded = load_model(str(folder), config, DataConfig(max_length=longest), seed=0)
    ((reward,),) = score_texts(loaded, ["warm " * 90], [["cold " * 90]], device=CPU)
    assert np.isfinite(reward)
    from_pad = name in {"Roberta", "XLMRoberta", "Camembert", "MPNet"}  # whose pad token is 1
    assert longest == 96 - (2 if from_pad else 0)
    with pytest.raises(ConfigError, match=f"at most {longest} tokens"):
        load_model(str(folder), config, DataConfig(max_length=longest + 1), seed=0)
