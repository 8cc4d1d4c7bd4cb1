"""Ids for training, evaluation and serving: one template, the reward token always last."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from tests.preference_data import make_tokenizer
from training.data.template import Template, chat_template, choose_template, load_template
from training.data.tokenizer import PairTokenizer
from training.errors import TemplateError

TOKENIZER = make_tokenizer()
CHATML = choose_template(TOKENIZER, "auto", encoder=False)


def pair_tokenizer(**limits: Any) -> PairTokenizer:
    return PairTokenizer(TOKENIZER, CHATML, **({"max_length": 128} | limits))


def test_chatml_has_an_empty_system_message_and_ends_in_the_reward_token() -> None:
    ids = pair_tokenizer().sequence("Why?", "Because.")
    assert TOKENIZER.decode(ids) == (
        "<|im_start|>system\n<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n"
        "<|im_start|>assistant\nBecause.<|im_end|>\n<|endoftext|>"
    )
    assert ids[-1] == TOKENIZER.convert_tokens_to_ids("<|endoftext|>")


def test_a_pad_token_that_is_the_end_token_is_replaced() -> None:
    """transformers reads the rightmost token that is not the pad token."""
    assert TOKENIZER.pad_token == CHATML.reward_token == "<|endoftext|>"
    assert CHATML.pad_token == "<|fim_pad|>"
    assert pair_tokenizer().pad_id not in pair_tokenizer().sequence("a", "b")


def test_a_tokenizer_without_a_spare_token_gets_one() -> None:
    tokenizer = make_tokenizer(chatml=False)
    tokenizer.add_special_tokens({"additional_special_tokens": []})
    for name in ("<|im_start|>", "<|im_end|>", "<|fim_pad|>"):
        tokenizer.backend_tokenizer.add_tokens([name])  # plain tokens now, no special ones
    template = choose_template(tokenizer, "plain", encoder=False)
    assert template.pad_token not in ("", "<|endoftext|>")
    assert tokenizer.convert_tokens_to_ids(template.pad_token) is not None


def test_pad_token_in_the_template_is_refused() -> None:
    wrong = Template(
        name="plain", before="", between=" ", after="", reward_token="<|fim_pad|>",
        pad_token="<|fim_pad|>",
    )  # fmt: skip
    with pytest.raises(TemplateError, match="pad token"):
        PairTokenizer(TOKENIZER, wrong, max_length=64)


def test_two_bos_tokens_are_refused() -> None:
    tokenizer = make_tokenizer()
    tokenizer.bos_token = "<|im_start|>"
    wrong = Template(
        name="plain", before="<|im_start|><|im_start|>", between=" ", after="",
        reward_token="<|endoftext|>", pad_token="<|fim_pad|>",
    )  # fmt: skip
    with pytest.raises(TemplateError, match="two BOS"):
        PairTokenizer(tokenizer, wrong, max_length=64)


def test_chatml_is_refused_without_its_marks() -> None:
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"a": 0, "</s>": 1}, unk_token="a"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
    with pytest.raises(TemplateError, match="plain"):
        choose_template(tokenizer, "chatml", encoder=False)
    assert choose_template(tokenizer, "auto", encoder=False).name == "plain"


def test_text_that_looks_like_a_special_token_is_text() -> None:
    ids = pair_tokenizer().sequence("<|im_end|>\n<|im_start|>assistant\nhi", "<|endoftext|> more")
    end = TOKENIZER.convert_tokens_to_ids("<|endoftext|>")
    start = TOKENIZER.convert_tokens_to_ids("<|im_start|>")
    assert list(ids).count(end) == 1
    assert list(ids).count(start) == 3  # system, user, assistant
    assert "<|endoftext|> more" in TOKENIZER.decode(ids)


@settings(deadline=None)
@given(st.text(max_size=300), st.text(max_size=300), st.integers(60, 200))
def test_limits_hold_and_the_last_token_stays(prompt: str, response: str, limit: int) -> None:
    tokens = pair_tokenizer(max_length=limit)
    (prompt_ids,) = tokens.prompts([prompt])
    (response_ids,) = tokens.responses([response], len(prompt_ids))
    assert len(prompt_ids) <= limit // 2
    assert len(prompt_ids) + len(response_ids) <= limit
    assert TOKENIZER.decode(response_ids).endswith("<|im_end|>\n<|endoftext|>")
    assert TOKENIZER.decode(prompt_ids).endswith("<|im_start|>assistant\n")


def test_a_long_prompt_loses_its_middle_and_a_long_response_its_end() -> None:
    tokens = pair_tokenizer(max_length=100, max_prompt_length=40)
    (prompt,) = tokens.prompts(["FIRST " + "bread " * 200 + "LAST"])
    (response,) = tokens.responses(["BEGIN " + "bread " * 200 + "END"], len(prompt))
    assert len(prompt) == 40
    assert len(prompt) + len(response) == 100
    text, answer = TOKENIZER.decode(prompt), TOKENIZER.decode(response)
    assert "user\nFIRST" in text
    assert "LAST<|im_end|>" in text
    assert answer.startswith("BEGIN")
    assert "END" not in answer


def test_the_prompt_does_not_depend_on_the_response() -> None:
    tokens = pair_tokenizer(max_length=100)
    long, short = tokens.sequence("q " * 90, "a " * 90), tokens.sequence("q " * 90, "a")
    (prompt,) = tokens.prompts(["q " * 90])
    assert list(long[: len(prompt)]) == list(short[: len(prompt)]) == list(prompt)


def test_no_room_for_text_is_refused() -> None:
    with pytest.raises(TemplateError, match="leave no room"):
        pair_tokenizer(max_length=30)


@given(st.lists(st.text("abc \n.é", min_size=1, max_size=40), min_size=2, max_size=2))
@settings(deadline=None)
def test_the_saved_chat_template_gives_the_trained_ids(texts: list[str]) -> None:
    prompt, response = texts
    tokenizer = make_tokenizer()
    tokenizer.chat_template = chat_template(CHATML)
    messages = [
        {"role": "user", "content": prompt},
        {"role": "assistant", "content": response},
    ]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False)
    found = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(found) == tokenizer.decode(
        pair_tokenizer(max_length=512).sequence(prompt, response)
    )
    if "\n" not in prompt and "\n" not in response:
        assert found == list(pair_tokenizer(max_length=512).sequence(prompt, response))


@pytest.mark.parametrize("name", ["chatml", "plain"])
def test_rendered_ids_are_those_that_were_trained(name: Any) -> None:
    tokenizer = make_tokenizer()
    template = choose_template(tokenizer, name, encoder=False)
    tokenizer.chat_template = chat_template(template)
    tokens = PairTokenizer(tokenizer, template, max_length=512)
    for prompt, response in (("flour", "water"), ("Why?\n\nSlow bread", "- a\n- b"), ("é", "1")):
        messages = [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": response},
        ]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert ids == tokens.sequence(prompt, response).tolist()


def test_a_conversation_is_rendered_as_the_prompt_column_has_it() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = chat_template(CHATML)
    messages = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
        {"role": "assistant", "content": "four"},
    ]
    ids = pair_tokenizer().sequence("one\n\n---\n\ntwo\n\n---\n\nthree", "four")
    assert tokenizer.apply_chat_template(messages, tokenize=False) == tokenizer.decode(ids)


def test_templates_survive_a_folder_and_other_versions_do_not(tmp_path: Path) -> None:
    CHATML.save(tmp_path)
    assert load_template(tmp_path) == CHATML
    assert load_template(tmp_path / "nothing") is None
    path = tmp_path / "reward_template.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 9'))
    with pytest.raises(TemplateError, match="version 9"):
        load_template(tmp_path)
