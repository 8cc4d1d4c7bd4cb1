"""TRL trains on our exports: the losses of the first step are known, the tokens are ours, and it
takes no column that we did not mean."""

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from tests.trainers.conftest import Made
from tests.trainers.runs import (
    BETA,
    LOG_2,
    Ran,
    contradictory,
    log_probabilities,
    policy,
    reward_model,
    run,
    settings,
    softplus,
    tokenizer,
    train,
)

NEAR = 1e-5

SOME = 48

in_both_forms = pytest.mark.parametrize("name", ["trl-pairs", "trl-chat"])
in_three_forms = pytest.mark.parametrize("name", ["trl-pairs", "trl-chat", "openrlhf"])

Trained = Callable[..., Ran]


@pytest.fixture(scope="module")
def trained(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Runs by trainer, export and folder of exports; each is made once. Policies get SOME rows."""

    @cache
    def train_once(kind: str, name: str, exports: str = "exports") -> Ran:
        table = made.load(name, exports)
        if kind not in ("reward", "kto"):
            table = table.select(range(SOME))
        return train(made, kind, table, tmp_path_factory.mktemp("run"))

    return train_once


# Reward models


@in_three_forms
def test_a_reward_model_begins_at_log_2(made: Made, trained: Trained, name: str) -> None:
    ran = trained("reward", name)
    assert ran.losses[0] == pytest.approx(LOG_2, abs=NEAR)
    assert ran.columns == {"input_ids", "attention_mask"}
    assert len(ran.rows) == len(made.expected)


@pytest.mark.parametrize("name", ["trl-chat", "openrlhf"])
def test_messages_become_the_tokens_of_our_trainer(made: Made, trained: Trained, name: str) -> None:
    """With the chat template that our training saves; prompts of several turns, too."""
    assert any(pair["turns"] > 1 for pair in made.expected)
    for row, pair in zip(trained("reward", name).rows, made.expected, strict=True):
        assert row["chosen_ids"] == pair["chosen_ids"]
        assert row["rejected_ids"] == pair["rejected_ids"]


def test_text_is_prompt_blank_line_response_and_end(made: Made, trained: Trained) -> None:
    ran = trained("reward", "trl-pairs")
    read = tokenizer(made.path("reward"))
    for row, pair in zip(ran.rows, made.expected, strict=True):
        for side in ("chosen", "rejected"):
            text = read.decode(row[f"{side}_ids"])
            assert text == f"{pair['prompt']}\n\n{pair[side]}<|endoftext|>"
            ours = read.decode(pair[f"{side}_ids"])
            before, _, rest = ours.partition(pair["prompt"])
            between, _, after = rest.partition(pair[side])
            assert (before, between, after) == (
                "<|im_start|>system\n<|im_end|>\n<|im_start|>user\n",
                "<|im_end|>\n<|im_start|>assistant\n",
                "<|im_end|>\n<|endoftext|>",
            )


@in_three_forms
def test_a_margin_is_taken_where_it_is_asked_for(made: Made, trained: Trained, name: str) -> None:
    ran = trained("reward", name, "exports-with-margin")
    table = made.load(name, "exports-with-margin")
    margins = [math.log1p(pair["vote_margin"]) for pair in made.expected]
    assert table["margin"] == pytest.approx(margins, abs=1e-5)
    assert "margin" in ran.columns
    assert ran.losses[0] == pytest.approx(softplus(margins[:4]), abs=1e-4)
    assert ran.losses[0] > LOG_2 + 0.1


def test_the_whole_dataset_trains_as_it_is(made: Made, tmp_path: Path) -> None:
    """No column of the schema is a margin to TRL. Prompt and response are run together, which is
    why there is an export."""
    table = made.pairs()
    assert {"vote_margin", "chosen_score", "confidence"} <= set(table.column_names)
    ran = train(made, "reward", table, tmp_path)
    assert ran.losses[0] == pytest.approx(LOG_2, abs=NEAR)
    assert ran.columns == {"input_ids", "attention_mask"}
    text = tokenizer(made.path("reward")).decode(ran.rows[0]["chosen_ids"])
    assert made.expected[0]["prompt"] + made.expected[0]["chosen"] in text


def test_votes_in_a_column_called_margin_change_the_loss(made: Made, tmp_path: Path) -> None:
    """What version 1 of the schema did, so that the tests above can see it."""
    ran = train(made, "reward", made.pairs().rename_column("vote_margin", "margin"), tmp_path)
    votes = [pair["vote_margin"] for pair in made.expected[:4]]
    assert "margin" in ran.columns
    assert ran.losses[0] == pytest.approx(softplus(votes), rel=1e-4)
    assert ran.losses[0] > 2 * LOG_2


# Policies on pairs


def prompts_are_whole(ran: Ran, name: str, table: Any, read: Any) -> None:
    """The prompt ends where a token ends, so a policy is trained on what it is asked later."""
    for row, source in zip(ran.rows, table, strict=True):
        if name == "trl-pairs":
            prompt = read(source["prompt"])["input_ids"]
        else:
            prompt = read.apply_chat_template(
                source["prompt"], add_generation_prompt=True, return_dict=True
            )["input_ids"]
        assert row["prompt_ids"] == prompt


@pytest.mark.parametrize(
    ("kind", "first", "name", "exports"),
    [
        ("dpo", LOG_2, "trl-pairs", "exports"),
        ("dpo", LOG_2, "trl-chat", "exports"),
        ("dpo", LOG_2, "openrlhf", "exports"),
        ("dpo", LOG_2, "trl-pairs", "exports-with-margin"),
        ("dpo", LOG_2, "trl-chat", "exports-with-margin"),
        ("ipo", (1 / (2 * BETA)) ** 2, "trl-pairs", "exports"),
        ("ipo", (1 / (2 * BETA)) ** 2, "trl-chat", "exports"),
    ],
)
def test_dpo_begins_where_policy_and_reference_are_one(
    made: Made, trained: Trained, kind: str, first: float, name: str, exports: str
) -> None:
    ran = trained(kind, name, exports)
    assert ran.losses[0] == pytest.approx(first, rel=1e-4)
    assert ran.losses[-1] != ran.losses[0]
    assert ran.columns == {"input_ids", "attention_mask", "completion_mask"}
    assert len(ran.rows) == SOME
    source = "trl-pairs" if name == "trl-pairs" else "trl-chat"
    prompts_are_whole(
        ran, name, made.load(source).select(range(SOME)), tokenizer(made.path("policy"))
    )


@in_both_forms
@pytest.mark.parametrize("kind", ["orpo", "simpo"])
def test_losses_without_a_reference_are_what_the_model_says(
    made: Made, trained: Trained, name: str, kind: str
) -> None:
    """ORPO's and SimPO's first loss, computed again row by row from the papers' formulas."""
    ran = trained(kind, name)
    assert len(ran.rows) == SOME
    sides = ("prompt", "chosen", "rejected")
    suffixes = ("", "_input_ids", "_attention_mask", "_labels")
    assert ran.columns <= {side + suffix for side in sides for suffix in suffixes}
    batch = ran.batches[0]
    chances = {
        side: log_probabilities(ran.start, batch[f"{side}_input_ids"], batch[f"{side}_labels"])
        for side in ("chosen", "rejected")
    }
    mean = {side: torch.stack([row.mean() for row in rows]) for side, rows in chances.items()}
    if kind == "simpo":
        wanted = -torch.nn.functional.logsigmoid(
            BETA * (mean["chosen"] - mean["rejected"]) - 0.5
        ).mean()
    else:
        odds = {side: value - torch.log1p(-value.exp()) for side, value in mean.items()}
        ratio = torch.nn.functional.logsigmoid(odds["chosen"] - odds["rejected"])
        whole = batch["chosen_input_ids"].masked_fill(batch["chosen_attention_mask"] == 0, -100)
        tokens = log_probabilities(ran.start, batch["chosen_input_ids"], whole)
        wanted = -torch.cat(tokens).mean() - BETA * ratio.mean()
    assert ran.losses[0] == pytest.approx(float(wanted), rel=2e-4)


# Policies on single responses


def test_kto_begins_at_a_half_and_sees_no_response_twice(made: Made, trained: Trained) -> None:
    table = made.load("kto")
    ran = trained("kto", "kto")
    assert ran.losses[0] == pytest.approx(0.5, abs=NEAR)
    tokens = {"input_ids", "attention_mask", "completion_mask"}
    assert ran.columns == {"label"} | tokens | {f"KL_{name}" for name in tokens}
    assert len(ran.rows) == len(table) == len({repr((r["prompt"], r["completion"])) for r in table})
    assert set(table["label"]) == {True, False}
    assert contradictory(ran.rows) == 0


def test_trl_itself_makes_contradictory_rows_of_pairs(made: Made, trained: Trained) -> None:
    """What the export is for: a response between two others is chosen here and rejected there."""
    ran = trained("kto", "trl-chat")
    assert len(ran.rows) == 2 * len(made.expected)
    assert contradictory(ran.rows) > 0


# Lists


def test_rankings_load_as_lists_of_one_length_best_first(made: Made) -> None:
    table = made.load("rankings")
    lists = ("responses", "scores", "tie_groups", "response_ids", "created_at")
    assert set(table.column_names) == {"thread_id", "context_ids", "prompt", *lists}
    for row in table:
        (length,) = {len(row[name]) for name in lists}
        assert length >= 2
        groups = row["tie_groups"]
        assert groups == sorted(groups)
        assert set(groups) == set(range(groups[-1] + 1)) and groups[-1] > 0
        assert row["scores"] == sorted(row["scores"], reverse=True)
        assert len(set(row["scores"])) == groups[-1] + 1
        assert row["prompt"][-1]["role"] == "user"
    # A pair is in the order of its ranking.
    places = {
        name: group
        for row in table
        for name, group in zip(row["response_ids"], row["tie_groups"], strict=True)
    }
    assert all(places[pair["chosen_id"]] < places[pair["rejected_id"]] for pair in made.pairs())


# Prompts


def test_grpo_is_rewarded_by_our_model_with_our_scores(made: Made, tmp_path: Path) -> None:
    table = made.load("prompts")
    seen: list[dict[str, Any]] = []
    texts: list[tuple[str, str]] = []

    def by_length(prompts: list[Any], completions: list[Any], **others: Any) -> list[float]:
        seen.append(others)
        for prompt, completion in zip(prompts, completions, strict=True):
            said = [turn["content"].strip() for turn in prompt]
            texts.append(("\n\n---\n\n".join(said), completion[0]["content"]))
        return [float(len(completion[0]["content"])) for completion in completions]

    model = reward_model(made.path("reward"), zero=False)
    rewards: list[torch.Tensor] = []
    model.register_forward_hook(lambda _, __, found: rewards.append(found.logits[:, 0].clone()))
    turns = [len(row["prompt"]) for row in table]
    several = table.select([turns.index(max(turns)), turns.index(1)])
    assert max(turns) > 1
    trainer = GRPOTrainer(
        model=policy(made.path("policy")),
        reward_funcs=[by_length, model],
        args=GRPOConfig(
            **settings(
                tmp_path,
                num_generations=2,
                max_completion_length=8,
                generation_kwargs={"min_new_tokens": 8},
            )
        ),
        train_dataset=several,
        processing_class=tokenizer(made.path("policy")),
        reward_processing_classes=[None, tokenizer(made.path("reward"))],
    )
    ran = run(trainer)
    # Of completions of one length the advantages of a group cancel out, while π is the sampler's.
    assert ran.losses[0] == pytest.approx(0, abs=NEAR)
    passed = {"completion_ids", "trainer_state", "log_extra", "log_metric"}
    assert set(seen[0]) == passed
    scores = made.scores(texts)
    assert torch.cat(rewards).tolist() == pytest.approx(scores, abs=1e-4)
    assert len({round(score, 3) for score in scores}) > 1
