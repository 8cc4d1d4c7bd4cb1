"""A response's tokens are those of the text that the model reads, with tokenizers that join."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from training.evaluation.continuation import ContinuationTokenizer
from training.evaluation.items import ChatMessage
from training.evaluation.models import find_model
from training.evaluation.policies import open_policy

WORDS = ["Why is it so?\n\nIt is so.\n\nBecause water is warm.", "[INST] why [/INST] warm water"]
PROMPT, RESPONSES = "Why is it so?", ["Because water is warm.", "It is.", "\n\nOK"]
INSTRUCT = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
    "{{ '[INST] ' + m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content + eos_token }}"
    "{% endif %}{% endfor %}"
)


def as_fast(tokenizer: Tokenizer) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def begins_with_a_space() -> Any:
    """As Llama 2 and Mistral: a space in front of every text, also of one that goes on."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer.train_from_iterator(
        WORDS * 5, trainers.BpeTrainer(vocab_size=400, special_tokens=special)
    )
    tokenizer.decoder = decoders.Replace("▁", " ")
    return as_fast(tokenizer)


def joins_line_ends() -> Any:
    """As Qwen and Llama 3: a question mark and the blank line after it are one token."""
    pattern = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(WORDS * 20, trainer)
    return as_fast(tokenizer)


def joins_words() -> Any:
    """Without any borders: what ends a prompt and what begins a response can be one token."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    special = ["<unk>", "<s>", "</s>"]
    tokenizer.train_from_iterator(
        ["so?\n\nIt is", "so?\n\nBe"] * 20,
        trainers.BpeTrainer(vocab_size=99, special_tokens=special),
    )
    return as_fast(tokenizer)


def logprob(model: Any, ids: list[int], place: int) -> float:
    """Of the ids from a place on, by plain transformers."""
    with torch.no_grad():
        logs = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(float(logs[i - 1, ids[i]]) for i in range(place, len(ids)))


@pytest.mark.parametrize("make", [begins_with_a_space, joins_line_ends, joins_words])
@pytest.mark.parametrize("with_chat", [False, True])
def test_scores_are_those_of_the_joined_text(
    tmp_path: Path, make: Callable[[], Any], with_chat: bool
) -> None:
    from transformers import AutoTokenizer, MistralConfig, MistralForCausalLM

    tokenizer = make()
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=0.15,
    )  # fmt: skip
    model = MistralForCausalLM(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    read = AutoTokenizer.from_pretrained(tmp_path)
    assert read(PROMPT)["input_ids"] == tokenizer(PROMPT)["input_ids"]  # by the same pipeline
    if with_chat:
        (tmp_path / "chat_template.jinja").write_text(INSTRUCT)
    scorer = open_policy(find_model(str(tmp_path)), device=torch.device("cpu"))
    assert scorer._model.layout == "shared"  # type: ignore[attr-defined]
    (row,) = scorer.score([(ChatMessage("user", PROMPT),)], [RESPONSES])
    for response, found in zip(RESPONSES, row, strict=True):
        if with_chat:
            before, after = f"<s>[INST] {PROMPT} [/INST]", f" {response}</s>"
        else:
            before, after = f"{PROMPT}\n\n", response.strip()
        encoded = tokenizer(before + after, return_offsets_mapping=True)
        ids, ends = encoded["input_ids"], [end for _, end in encoded["offset_mapping"]]
        if not with_chat:
            ids, ends = [*ids, tokenizer.eos_token_id], [*ends, len(before + after) + 1]
        place = next(place for place, end in enumerate(ends) if end > len(before))
        assert found.tokens == len(ids) - place
        assert found.reward == pytest.approx(logprob(model, ids, place), abs=2e-4)


@pytest.mark.parametrize("is_fast", [True, False])
def test_a_token_that_reaches_over_the_end_of_the_prompt_is_of_the_response(
    monkeypatch: pytest.MonkeyPatch, is_fast: bool
) -> None:
    tokenizer = joins_words()
    alone, whole = tokenizer(["so?\n\n", "so?\n\nIt is"])["input_ids"]
    assert whole[: len(alone)] != alone and len(whole) == 1
    monkeypatch.setattr(type(tokenizer), "is_fast", is_fast)
    tokens = ContinuationTokenizer(tokenizer, max_length=32, first=[1], last=[2])
    (one,) = tokens.encode("so?\n\n", ["It is"])
    assert (one.before.tolist(), one.after.tolist(), one.cut) == ([1], [*whole, 2], False)
    # Without a token in front, the first one has nothing that would predict it.
    (other,) = ContinuationTokenizer(tokenizer, max_length=32, last=[2]).encode(
        "so?\n\n", ["It is"]
    )
    assert (other.before.tolist(), other.after.tolist()) == (whole, [2])
    assert tokens.encode("so?\n\n", []) == []


def test_text_that_looks_like_a_special_token_is_text_without_a_chat_template() -> None:
    tokenizer = joins_line_ends()
    for split in (True, False):
        tokens = ContinuationTokenizer(tokenizer, max_length=64, split_special=split)
        (one,) = tokens.encode("a</s>\n\n", ["b</s>"])
        ids = [*one.before, *one.after]
        assert (tokenizer.eos_token_id in ids) is not split
