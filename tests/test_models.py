"""Backbones of several kinds: what can be trained, what is refused, and what is read back."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.preference_data import make_model, make_pairs, make_tokenizer, write_dataset
from training.commands import main
from training.config import DataConfig, ModelConfig
from training.errors import ConfigError
from training.model.layout_check import check_layout
from training.model.reward_model import LoadedModel, load_model
from training.model.save import save_model
from training.validation.score import score_texts

CPU = torch.device("cpu")
TEXTS = (["Why?", "And?"], [["because", "cold water", "slow bread " * 20], ["so"]])


def make(folder: Path, config: Any, *, tokenizer: Any = None) -> Path:
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    tokenizer = tokenizer or make_tokenizer()
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def load(folder: Path, layout: str = "shared") -> LoadedModel:
    return load_model(
        str(folder),
        ModelConfig(layout=layout, head_init_std=1.0),  # type: ignore[arg-type]
        DataConfig(max_length=128),
        seed=0,
    )


def decoder(kind: str) -> Any:
    import transformers

    small: dict[str, Any] = {
        "vocab_size": len(make_tokenizer()),
        "num_labels": 1,
        "pad_token_id": 0,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 256,
        "initializer_range": 0.15,
    }
    if kind == "GPT2":
        return transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=256, **small)
    if kind in ("Qwen3", "Gemma2", "Gemma3Text"):
        small["head_dim"] = 16  # not hidden_size / heads
    return getattr(transformers, f"{kind}Config")(**small)


@pytest.mark.parametrize("kind", ["Llama", "Mistral", "Qwen3", "GPT2", "Gemma3Text"])
def test_layouts_agree_on_other_backbones(tmp_path: Path, kind: str) -> None:
    folder = make(tmp_path / kind, decoder(kind))
    found = []
    for layout in ("padded", "packed", "shared"):
        loaded = load(folder, layout)
        loaded.model.eval()
        check_layout(loaded, layout, CPU)  # type: ignore[arg-type]
        scores = score_texts(loaded, *TEXTS, device=CPU)
        found.append(torch.tensor([score for row in scores for score in row]))
    assert found[0].std() > 0.05
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found[2], found[0], rtol=1e-3, atol=1e-4)


def test_attention_with_soft_caps_is_refused_and_padded_works(tmp_path: Path) -> None:
    folder = make(tmp_path / "gemma2", decoder("Gemma2"))
    with pytest.raises(ConfigError, match=r"layout=padded"):
        check_layout(load(folder), "shared", CPU)
    assert len(score_texts(load(folder, "padded"), *TEXTS, device=CPU)[0]) == 3


@pytest.mark.parametrize(
    ("kind", "agrees"), [("Mistral", True), ("Qwen2Moe", False), ("Phimoe", False)]
)
def test_a_window_that_attention_is_not_told_of_is_refused(
    tmp_path: Path, kind: str, agrees: bool
) -> None:
    """Texts of up to 128 tokens, a window of 64, and a probe that is shorter than both."""
    config = decoder(kind)
    config.sliding_window, config.use_sliding_window, config.max_window_layers = 64, True, 0
    for name in ("num_experts", "num_local_experts"):
        if hasattr(config, name):
            setattr(config, name, 4)  # small
    if getattr(config, "layer_types", None):
        config.layer_types = ["sliding_attention"] * 2
    loaded = load(make(tmp_path / kind, config))
    if agrees:
        check_layout(loaded, "shared", CPU)
    else:
        with pytest.raises(ConfigError, match=r"layout=padded"):
            check_layout(loaded, "shared", CPU)
    assert loaded.model.hf.config.sliding_window == 64
    check_layout(loaded, "padded", CPU)
    within = load_model(str(tmp_path / kind), ModelConfig(), DataConfig(max_length=64), seed=0)
    check_layout(within, "shared", CPU)  # where no text is longer than the window


def test_a_window_that_was_fixed_when_the_model_was_built_is_seen(tmp_path: Path) -> None:
    """Settings that nothing looks at any more cannot be made shorter: a long text is read."""
    loaded = load(make(tmp_path / "llama", decoder("Llama")))
    # Llama's code knows nothing of it; the short text that is read has 70 characters.
    loaded.model.hf.config.sliding_window = 100
    check_layout(loaded, "shared", CPU)
    block = loaded.model.blocks[0]
    whole = block.forward

    def windowed(hidden: torch.Tensor, *args: Any, **others: Any) -> Any:
        """What is further back than the window is lost, in padded rows alone."""
        if hidden.shape[0] > 1 and hidden.shape[1] > 100:
            hidden = torch.cat([torch.zeros_like(hidden[:, :-100]), hidden[:, -100:]], dim=1)
        return whole(hidden, *args, **others)

    block.forward = windowed  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="other states in the layout 'shared'"):
        check_layout(loaded, "shared", CPU)


def test_an_encoder_that_reads_its_padding_is_refused(tmp_path: Path) -> None:
    from transformers import ConvBertConfig

    from tests.test_encoders import of_class

    tokenizer = of_class("Bert")
    config = ConvBertConfig(
        vocab_size=len(tokenizer), hidden_size=32, embedding_size=32, num_hidden_layers=2,
        num_attention_heads=4, intermediate_size=64, num_labels=1, initializer_range=0.3,
    )  # fmt: skip
    loaded = load(make(tmp_path / "convbert", config, tokenizer=tokenizer), "padded")
    with pytest.raises(ConfigError, match="filled up beside a longer one"):
        check_layout(loaded, "padded", CPU)


@pytest.mark.parametrize("kind", ["Qwen2Moe", "Bloom"])
def test_a_model_that_was_trained_in_padded_rows_is_evaluated_so(tmp_path: Path, kind: str) -> None:
    """A window that lives in the mask, and attention that cannot be replaced."""
    from transformers import AutoModelForSequenceClassification, BloomConfig

    from training.evaluation.items import ChatMessage
    from training.evaluation.models import ModelLocation, open_scorer

    if kind == "Bloom":
        config = BloomConfig(
            hidden_size=32, n_layer=2, n_head=4, vocab_size=len(make_tokenizer()), num_labels=1,
            initializer_range=0.15,
        )  # fmt: skip
    else:
        config = decoder(kind)
        config.num_experts, config.sliding_window, config.use_sliding_window = 4, 16, True
        config.layer_types = ["sliding_attention"] * 2
    loaded = load(make(tmp_path / "base", config), "padded")
    save_model(tmp_path / "saved", loaded)
    scorer = open_scorer(
        ModelLocation(str(tmp_path / "saved"), None, None, None), device=CPU, max_length=128
    )
    prompts, responses = ["cold water " * 20, "And?"], [["slow bread " * 9, "so"], ["it is"]]
    given = scorer.score([(ChatMessage("user", text),) for text in prompts], responses)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").eval()
    for prompt, texts, found in zip(prompts, responses, given, strict=True):
        for text, one in zip(texts, found, strict=True):
            ids = torch.from_numpy(loaded.tokens.sequence(prompt, text)).long()[None]
            with torch.no_grad():
                expected = float(plain(ids, attention_mask=torch.ones_like(ids)).logits[0, 0])
            assert one.reward == pytest.approx(expected, abs=1e-4)


def test_dropout_is_off_under_any_name(tmp_path: Path) -> None:
    import transformers

    config = transformers.GPT2Config(
        n_embd=32, n_layer=1, n_head=2, n_positions=128, vocab_size=len(make_tokenizer()),
        num_labels=1, attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5,
    )  # fmt: skip
    loaded = load(make(tmp_path / "gpt2", config), "padded")
    loaded.model.train()
    first, again = (score_texts(loaded, *TEXTS, device=CPU) for _ in range(2))
    assert first == again


def test_attention_that_is_not_handed_over_is_refused(tmp_path: Path) -> None:
    from transformers import BloomConfig

    config = BloomConfig(
        hidden_size=32, n_layer=1, n_head=2, vocab_size=len(make_tokenizer()), num_labels=1
    )
    folder = make(tmp_path / "bloom", config)
    with pytest.raises(ConfigError, match=r"layout=padded"):
        load(folder)
    assert len(score_texts(load(folder, "padded"), *TEXTS, device=CPU)[0]) == 3


def test_a_backbone_that_mixes_tokens_elsewhere_is_refused(tmp_path: Path) -> None:
    loaded = load(make_model(tmp_path / "model"))
    block = loaded.model.blocks[0]
    whole = block.forward

    def leaking(hidden: torch.Tensor, *args: Any, **others: Any) -> Any:
        return whole(hidden + 0.5 * hidden.roll(1, dims=1), *args, **others)

    block.forward = leaking  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="other states in the layout 'shared'"):
        check_layout(loaded, "shared", CPU)


def bert(tmp_path: Path) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz?"]
    backend = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]",
        unk_token="[UNK]",
    )  # fmt: skip
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=128, num_labels=1,
    )  # fmt: skip
    return make(tmp_path / "bert", config, tokenizer=tokenizer)


def test_an_encoder_is_padded_trained_and_read_back(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = bert(tmp_path)
    with pytest.raises(ConfigError, match=r"layout=padded"):
        load(folder)
    write_dataset(tmp_path / "data", make_pairs(20, "train") + make_pairs(8, "validation"))
    arguments = ["train", "--dataset", str(tmp_path / "data"), "--model", str(folder)]
    arguments += ["--output", str(tmp_path / "run"), "--quiet"]
    for setting in (
        "model.layout=padded",
        "data.max_length=128",
        "data.batch_pairs=8",
        "optim.lr=1e-3",
        "run.tensorboard=false",
        "model.precision=bf16",
    ):
        arguments += ["--set", setting]
    assert main(arguments) == 0
    saved = tmp_path / "run" / "model"
    loaded = load(saved, "padded")
    loaded.model.eval()
    ((ours,),) = score_texts(loaded, ["a b?"], [["c d e"]], device=CPU)
    model = AutoModelForSequenceClassification.from_pretrained(saved).eval()
    tokenizer = AutoTokenizer.from_pretrained(saved)
    ids = tokenizer("[CLS] a b ? [SEP] c d e [SEP]", add_special_tokens=False, return_tensors="pt")
    assert "token_type_ids" not in ids
    with torch.no_grad():
        assert float(model(**ids).logits[0, 0]) == pytest.approx(ours, abs=1e-5)


def test_a_head_of_ours_is_kept_and_a_new_one_is_drawn_by_seed(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    settings = ModelConfig(), DataConfig(max_length=128)
    first, again, other = (load_model(str(folder), *settings, seed=seed) for seed in (0, 0, 1))
    weight = first.model.head.weight
    assert first.head_is_new
    assert torch.equal(weight, again.model.head.weight)
    assert not torch.equal(weight, other.model.head.weight)
    assert float(weight.detach().std()) == pytest.approx(1 / 33, rel=0.5)
    save_model(tmp_path / "saved", first)
    back = load_model(str(tmp_path / "saved"), *settings, seed=5)
    assert not back.head_is_new
    assert torch.equal(back.model.head.weight, weight)


def test_the_reward_tokens_embedding_learns(tmp_path: Path) -> None:
    """The base model's pad token was the end token, whose embedding gets no gradient."""
    from training.data.collate import micro_batches
    from training.data.prompt_groups import PairOfGroup, PromptGroup

    loaded = load(make_model(tmp_path / "model"))
    (prompt,) = loaded.tokens.prompts(["a"])
    responses = tuple(loaded.tokens.responses(["b", "c d"], len(prompt)))
    group = PromptGroup(prompt, responses, (PairOfGroup(0, 1, 0, 1.0, 1.0, 1.0, ""),))
    (batch,) = micro_batches(
        [group], "shared", tokens=999, pad_id=loaded.tokens.pad_id, sites={"": 0}
    )
    loaded.model(batch).sum().backward()
    gradient = loaded.model.hf.get_input_embeddings().weight.grad
    assert int(responses[0][-1]) == 0
    assert float(gradient[0].abs().sum()) > 0
    assert float(gradient[loaded.tokens.pad_id].abs().sum()) == 0


def test_models_that_cannot_be_reward_models_are_refused(tmp_path: Path) -> None:
    from transformers import T5Config

    with pytest.raises(ConfigError, match="--model"):
        load(tmp_path / "nothing")
    T5Config(d_model=8, num_layers=1).save_pretrained(tmp_path / "t5")
    make_tokenizer().save_pretrained(tmp_path / "t5")
    with pytest.raises(ConfigError, match="encoder-decoder"):
        load(tmp_path / "t5")
