"""Language models that score by how probable a response is, against plain transformers."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from tests.preference_data import make_model, make_pairs, make_tokenizer, write_dataset
from training.commands import main
from training.data.collate import micro_batches
from training.errors import ConfigError
from training.evaluation.items import ChatMessage
from training.evaluation.models import find_model
from training.evaluation.policies import open_policy
from training.evaluation.results import Results
from training.evaluation.suites.registry import load_suite
from training.model.language_model import LanguageModel
from training.validation.score import score_likelihoods, single_responses

CPU = torch.device("cpu")
CHAT = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PROMPTS = [(ChatMessage("user", "Why does slow bread rest?"),), (ChatMessage("user", "And?"),)]
RESPONSES = [["warm water", "flour " * 9 + "yeast", "warm water"], ["so", "fold the crust\n\nbake"]]
TOLERANCE = 2e-4
"""Of a sum over some dozen tokens, in fp32: batches of other shapes round differently."""


def policy(folder: Path, **settings: Any) -> Any:
    return open_policy(find_model(str(folder)), device=CPU, **settings)


def chat_model(folder: Path, template: str = CHAT, **config: Any) -> Path:
    make_model(folder, **config)
    (folder / "chat_template.jinja").write_text(template)
    return folder


def by_transformers(folder: Path, before: list[int], after: list[int]) -> float:
    """One sequence by itself, its logits and their logarithms in the plainest way."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([before + after])
    with torch.no_grad():
        logs = model(ids).logits[0].double().log_softmax(-1)
    return sum(float(logs[place - 1, ids[0, place]]) for place in range(len(before), ids.shape[1]))


def test_a_plain_model_gives_the_logprobs_of_transformers(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    tokenizer = make_tokenizer()
    scorer = policy(folder)
    assert "two paragraphs" in scorer.reads
    assert scorer._model.layout == "shared"
    found = scorer.score(PROMPTS, RESPONSES)
    for prompt, texts, row in zip(PROMPTS, RESPONSES, found, strict=True):
        start = f"{prompt[0].content}\n\n"
        before = tokenizer(start)["input_ids"]
        for text, one in zip(texts, row, strict=True):
            ids = [*tokenizer(start + text.strip())["input_ids"], tokenizer.eos_token_id]
            assert ids[: len(before)] == before
            after = ids[len(before) :]
            expected = by_transformers(folder, before, after)
            assert one.reward == pytest.approx(expected, abs=TOLERANCE)
            assert (one.tokens, one.cut) == (len(after), False)
    assert found[0][0] == found[0][2]  # the same response is computed once


def test_a_chat_model_gives_those_of_its_chat_template(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = chat_model(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    talk = (
        ChatMessage("system", "Be brief."),
        ChatMessage("user", "Why?"),
        ChatMessage("assistant", "Cold flour."),
        ChatMessage("user", "And the yeast?"),
    )
    turns = [turn._asdict() for turn in talk]
    (row,) = policy(folder).score([talk], [["warm", "bake it"]])
    before = tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
    for text, one in zip(["warm", "bake it"], row, strict=True):
        whole = [*turns, {"role": "assistant", "content": text}]
        ids = tokenizer.apply_chat_template(whole)["input_ids"]
        assert ids[: len(before)] == before
        expected = by_transformers(folder, before, ids[len(before) :])
        assert one.reward == pytest.approx(expected, abs=TOLERANCE)
        assert one.tokens == len(ids) - len(before)


def test_a_template_without_system_turns_reads_one_turn(tmp_path: Path) -> None:
    refuses = "{%- if messages[0].role == 'system' -%}{{ raise_exception('no') }}{%- endif -%}"
    scorer = policy(chat_model(tmp_path / "model", refuses + CHAT))
    talk = (ChatMessage("system", "Be brief."), ChatMessage("user", "Why?"))
    joined = (ChatMessage("user", "Be brief.\n\n---\n\nWhy?"),)
    assert scorer.score([talk], [["warm"]]) == scorer.score([joined], [["warm"]])


def test_a_template_that_opens_otherwise_begins_at_the_end_of_the_prompt(tmp_path: Path) -> None:
    thinks = CHAT.replace("assistant\n'", "assistant\n<think>'")
    scorer = policy(chat_model(tmp_path / "model", thinks))
    (((_, _, tokens, _),),) = scorer.score([PROMPTS[1]], [["warm"]])
    plain = policy(chat_model(tmp_path / "plain"))
    (((_, _, fewer, _),),) = plain.score([PROMPTS[1]], [["warm"]])
    header = make_tokenizer()("<|im_start|>assistant\n")["input_ids"]
    assert tokens == fewer + len(header)
    # One that changes the prompt itself leaves nothing that could be shared.
    changes = "{{ messages | length }}" + CHAT
    with pytest.raises(ConfigError, match="writes a prompt in another way"):
        policy(chat_model(tmp_path / "changes", changes)).score([PROMPTS[1]], [["warm"]])


@pytest.mark.parametrize("kind", ["Llama", "Mistral", "GPT2", "Gemma2", "Cohere", "Mamba"])
def test_shared_padded_and_single_agree(tmp_path: Path, kind: str) -> None:
    import transformers

    tokenizer = make_tokenizer()
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64,
        "max_position_embeddings": 256, "initializer_range": 0.15, "pad_token_id": 0,
        "bos_token_id": 0, "eos_token_id": 0,
    }  # fmt: skip
    if kind == "GPT2":
        settings |= {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
    if kind == "Mistral":
        settings["sliding_window"] = 8  # shorter than the texts
    config = getattr(transformers, f"{kind}Config")(**settings)
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    scorer = policy(tmp_path, max_length=128)
    shares = kind not in ("Gemma2", "Mamba")  # soft caps, and a recurrent state
    assert scorer._model.layout == ("shared" if shares else "padded")
    shared = scorer.score(PROMPTS, RESPONSES)
    single = [
        [scorer.score([prompt], [[text]])[0][0] for text in texts]
        for prompt, texts in zip(PROMPTS, RESPONSES, strict=True)
    ]
    from training.model import attention

    attention.follow_layout(scorer._model.hf, "padded", scorer._model._own_attention)
    scorer._model.layout = "padded"
    padded = scorer.score(PROMPTS, RESPONSES)
    for row, others, alone in zip(shared, padded, single, strict=True):
        for one, other, third in zip(row, others, alone, strict=True):
            assert one.reward == pytest.approx(other.reward, abs=1e-3)
            assert one.reward == pytest.approx(third.reward, abs=1e-3)
            assert one.tokens == other.tokens == third.tokens
    tokens = tokenizer(f"{PROMPTS[1][0].content}\n\n")["input_ids"]
    whole = tokenizer(f"{PROMPTS[1][0].content}\n\nso")["input_ids"]
    assert whole[: len(tokens)] == tokens
    after = [*whole[len(tokens) :], tokenizer.eos_token_id]
    assert shared[1][0].reward == pytest.approx(by_transformers(tmp_path, tokens, after), abs=1e-3)


def test_a_state_that_reaches_across_is_seen_in_bf16_and_with_small_weights(
    tmp_path: Path,
) -> None:
    import transformers

    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    config = transformers.MambaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, initializer_range=0.02
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    scorer = policy(tmp_path, precision="bf16", max_length=64)
    assert scorer._model.layout == "padded"
    assert "bf16" in scorer.reads


@pytest.mark.parametrize("kind", ["llama4_text", "phi3", "olmo3"])
def test_what_depends_on_the_length_of_a_text_is_seen(kind: str) -> None:
    """Chunks of attention, windows, and factors of LongRoPE, of which a short text shows none."""
    from transformers import AutoConfig, AutoModelForCausalLM

    window = 48
    settings: dict[str, Any] = {
        "vocab_size": 128, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": 256,
        "initializer_range": 0.15, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    settings |= {
        "llama4_text": {
            "head_dim": 8, "num_local_experts": 2, "attention_chunk_size": window,
            "intermediate_size_mlp": 64,
        },
        "phi3": {
            "original_max_position_embeddings": 64,
            "rope_scaling": {
                "type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0] * 4
            },
        },
        "olmo3": {"sliding_window": window},
    }[kind]  # fmt: skip
    torch.manual_seed(0)
    hf = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings)).eval().float()
    rng = np.random.default_rng(0)

    def ids(*sizes: int) -> list[Any]:
        return [rng.integers(5, 120, size).astype(np.int32) for size in sizes]

    prompts = ids(100, 20, 3)
    responses = [ids(4, 90, 1), ids(7, 3), ids(62, 30, 61)]  # 64 tokens are still a short text
    expected = []
    for prompt, texts in zip(prompts, responses, strict=True):
        for text in texts:
            sequence = torch.tensor([[*prompt, *text]])
            with torch.no_grad():
                logs = hf(sequence, use_cache=False).logits[0].double().log_softmax(-1)
            places = range(len(prompt), sequence.shape[1])
            expected.append(sum(float(logs[place - 1, sequence[0, place]]) for place in places))
    model = LanguageModel(hf, longest=200)
    assert model.longest_short_text == (64 if kind == "phi3" else None)
    found = score_likelihoods(model, prompts, responses, device=CPU)
    assert [one.logprob for row in found for one in row] == pytest.approx(expected, abs=1e-3)
    assert [[one.tokens for one in row] for row in found] == [
        [len(text) for text in texts] for texts in responses
    ]


def test_few_logits_at_once_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.model import language_model

    scorer = policy(make_model(tmp_path))
    whole = scorer.score(PROMPTS, RESPONSES)
    monkeypatch.setattr(language_model, "MAX_LOGITS", 40 * scorer._model.vocabulary)
    monkeypatch.setattr(language_model, "CHUNK", 3)
    assert scorer._model.micro_batch_tokens(1 << 20) == 40
    parts = scorer.score(PROMPTS, RESPONSES)
    assert [one.tokens for row in parts for one in row] == [
        one.tokens for row in whole for one in row
    ]
    np.testing.assert_allclose(
        [one.reward for row in parts for one in row],
        [one.reward for row in whole for one in row],
        atol=TOLERANCE,
    )


@pytest.mark.parametrize("with_chat", [False, True])
def test_what_does_not_fit_is_cut_and_marked(tmp_path: Path, with_chat: bool) -> None:
    folder = (chat_model if with_chat else make_model)(tmp_path / "model")
    scorer = policy(folder, max_length=40)
    long = (ChatMessage("user", "flour " * 100),)
    rows = scorer.score([PROMPTS[1], long], [["so", "warm " * 100], ["so"]])
    assert [[one.cut for one in row] for row in rows] == [[False, True], [True]]
    for prompt in (PROMPTS[1], long):
        for before, after, _ in scorer._encoding.encode(prompt, ["so", "warm " * 100]):
            assert len(before) + len(after) <= 40
            assert len(before) <= 20
    assert rows[0][1].tokens > rows[0][0].tokens
    # The cut of a prompt is its own: it does not depend on the response.
    (alone,) = scorer.score([long], [["so", "warm " * 100]])
    assert alone[0].reward == pytest.approx(rows[1][0].reward, abs=TOLERANCE)


def test_models_that_give_no_probability_are_refused(tmp_path: Path) -> None:
    import transformers

    tokenizer = make_tokenizer()
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 32,
        "max_position_embeddings": 64, "pad_token_id": 0,
    }  # fmt: skip

    def saved(name: str, model: Any) -> Path:
        model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        return tmp_path / name

    qwen = transformers.Qwen2Config(**sizes, num_labels=1)
    reward = saved("reward", transformers.Qwen2ForSequenceClassification(qwen))
    with pytest.raises(ConfigError, match=r"is a reward model .* --kind reward"):
        policy(reward)
    headless = saved("headless", transformers.Qwen2Model(qwen))
    with pytest.raises(ConfigError, match=r"no language-model head \(lm_head.weight\)"):
        policy(headless)
    both = saved("both", transformers.BertLMHeadModel(transformers.BertConfig(**sizes)))
    with pytest.raises(ConfigError, match="reads both directions"):
        policy(both)
    whole = saved("whole", transformers.Qwen2ForCausalLM(qwen))
    with pytest.raises(ConfigError, match=r"--max-length 15 leaves no room .* at least 16"):
        policy(whole, max_length=15)
    assert policy(whole, max_length=16).score([PROMPTS[0]], [["so " * 9]])[0][0].cut
    with pytest.raises(ConfigError, match=r"--reference .* reads at most 64 tokens"):
        policy(whole, max_length=65, option="--reference")
    (whole / "reward_template.json").write_text(
        '{"version":1,"name":"plain","before":"","between":"","after":"","reward_token":"",'
        '"pad_token":""}'
    )
    with pytest.raises(ConfigError, match="a reward model of forumprefs train"):
        policy(whole)


@pytest.mark.parametrize("layout", ["shared", "packed", "padded"])
def test_each_response_goes_through_the_model_once(layout: Any) -> None:
    prompts = [np.array([1, 2, 3], np.int32), np.array([4], np.int32)]
    responses = [
        [np.array([5, 6], np.int32), np.array([7], np.int32), np.array([5, 6], np.int32)],
        [np.array([8, 9, 10], np.int32)],
    ]
    groups, places = single_responses(prompts, responses)
    (batch,) = micro_batches(groups, layout, tokens=100, pad_id=0, sites={})
    assert len(batch.last) == 3
    assert [[name & 0xFF for name in row] for row in places] == [[0, 1, 0], [0]]
    ids = batch.input_ids.flatten().tolist()
    read = {
        (ids[end], tuple(ids[first : last + 1]))
        for end, first, last in zip(
            batch.prompt_end.tolist(), batch.first.tolist(), batch.last.tolist(), strict=True
        )
    }
    assert read == {(3, (5, 6)), (3, (7,)), (4, (8, 9, 10))}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with held-out pairs, and two language models."""
    folder = tmp_path_factory.mktemp("judged")
    write_dataset(folder / "data", make_pairs(4, "train") + make_pairs(30, "test", responses=4))
    make_model(folder / "policy")
    make_model(folder / "other", initializer_range=0.1)
    return folder


def judge(judged: Path, output: Path, *more: str) -> tuple[int, Results | None]:
    code = main(
        [
            *("evaluate", "--model", str(judged / "policy"), "--output", str(output)),
            *("--benchmark", f"held-out={judged / 'data'}", "--bootstrap", "40", "--quiet"),
            *("--device", "cpu", *more),
        ]
    )
    path = output / "results.json"
    return code, msgspec.json.decode(path.read_bytes(), type=Results) if path.exists() else None


def accuracy(judged: Path, score: Any) -> float:
    """Share of the pairs, each prompt weighing the same, whose preferred response scores higher."""
    items = load_suite("held-out", str(judged / "data")).items
    found = [
        policy(judged / name).score([item.messages for item in items], [i.responses for i in items])
        for name in ("policy", "other")
    ]
    shares = []
    for item, mine, theirs in zip(items, *found, strict=True):
        values = [score(one, other) for one, other in zip(mine, theirs, strict=True)]
        shares.append(np.mean([values[la.better] > values[la.worse] for la in item.comparisons()]))
    return float(np.mean(shares))


def test_evaluate_tells_how_often_the_preferred_response_is_more_probable(
    judged: Path, tmp_path: Path
) -> None:
    given = ["--kind", "logprob", "--reference", str(judged / "other"), "--beta", "0.3"]
    code, results = judge(judged, tmp_path, *given)
    assert code == 0 and results is not None
    assert results.kind == "logprob"
    name = str(judged / "policy")
    every = [results.result, *(one.result for one in results.compared)]
    assert [one.model for one in every] == [
        f"{name} (log π)",
        f"{name} (log π / token)",
        f"{name} (β(log π − log π₀))",
        f"{name} (β(log π − log π₀) / token)",
    ]
    forms = [
        lambda one, other: one.reward,
        lambda one, other: one.reward / one.tokens,
        lambda one, other: one.reward - other.reward,
        lambda one, other: one.reward / one.tokens - other.reward / other.tokens,
    ]
    values = [one.suites[0].headline.value for one in every]
    assert values == pytest.approx([accuracy(judged, form) for form in forms])
    assert len(set(values)) > 1
    for one in every:
        assert {"longer", "style", "chance"} <= set(one.suites[0].headline.baselines)
    assert "β = 0.3" in every[2].reads
    differences = [one.differences[0].difference.value for one in results.compared]
    assert differences == pytest.approx([value - values[0] for value in values[1:]])
    text = (tmp_path / "results.md").read_text()
    assert "(log π / token) beside it" in text and "“longer”" in text
    before = (tmp_path / "results.json").read_bytes()
    assert len(list((tmp_path / "scores").iterdir())) == 2
    judge(judged, tmp_path, *given)  # from the cache
    assert (tmp_path / "results.json").read_bytes() == before


def test_evaluate_scores_by_the_density_ratio_of_two_models(judged: Path, tmp_path: Path) -> None:
    given = ["--kind", "density-ratio", "--reference", str(judged / "other")]
    code, results = judge(judged, tmp_path, *given)
    assert code == 0 and results is not None
    assert results.result.model.endswith("(log strong − log weak)")
    assert [one.result.model.partition(" (")[2] for one in results.compared] == [
        "log strong − log weak / token)",
        "log π)",
        "log π / token)",
    ]
    found = accuracy(judged, lambda one, other: one.reward - other.reward)
    assert results.result.suites[0].headline.value == pytest.approx(found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "density-ratio"], "needs a weaker model"),
        (["--reference", "x"], "--reference is a second language model"),
        (["--kind", "logprob", "--checkpoints"], "--checkpoints are of a reward model"),
        (["--kind", "logprob", "--beta", "1"], "with a --reference"),
        (["--kind", "density-ratio", "--reference", "x", "--beta", "1"], "--kind logprob"),
        (["--kind", "logprob", "--reference", "x", "--beta", "0"], "--beta: greater than 0"),
        (["--kind", "logprob", "--reference", "./nowhere"], "--reference ./nowhere: no such fol"),
    ],
)
def test_evaluate_tells_wrong_use_of_kinds(
    judged: Path, tmp_path: Path, capsys: Any, arguments: list[str], message: str
) -> None:
    assert judge(judged, tmp_path, *arguments) == (2, None)
    assert message in capsys.readouterr().err
