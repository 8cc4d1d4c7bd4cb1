"""data.context_line: site and tags before the prompt, the same wherever a model reads."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from schemas.pair import Pair
from tests.preference_data import make_model, make_pairs, make_tokenizer, write_dataset
from training.commands import main
from training.config import convert
from training.data.context_line import MOST_TAGS, context_line, with_context
from training.data.dataset import PairDataset
from training.data.prompt_groups import group_pairs, prompt_runs, prompt_text
from training.data.template import Template, choose_template, load_template
from training.data.tokenizer import PairTokenizer
from training.evaluation.items import ChatMessage, messages_with_context
from training.evaluation.models import find_model, open_scorer
from training.model.reward_model import load_model

CPU = torch.device("cpu")
SITE, TAGS = "beer.example", ("hops", "pale ale")


def test_the_line_names_site_and_tags() -> None:
    assert context_line(SITE, TAGS) == "(From beer.example, tags: hops, pale ale)"
    assert context_line(SITE, TAGS, "site") == context_line(SITE) == "(From beer.example)"
    assert context_line("", TAGS) == context_line(SITE, TAGS, "none") == ""
    assert with_context(" Why?", SITE, kind="site") == "(From beer.example)\n\nWhy?"
    assert with_context(" Why?", "", TAGS) == " Why?"
    assert context_line(SITE, [str(number) for number in range(50)]).count(",") == MOST_TAGS


@given(site=st.text(max_size=20), tags=st.lists(st.text(max_size=20), max_size=4))
def test_it_is_one_line_whatever_the_names_are(site: str, tags: list[str]) -> None:
    assert len(context_line(site, tags).splitlines()) <= 1 or min(site + "".join(tags)) >= "\x1c"


def tagged() -> list[Pair]:
    pairs = make_pairs(40, "train", site=SITE) + make_pairs(8, "validation", site=SITE)
    pairs += make_pairs(8, "test", site=SITE)
    return [msgspec.structs.replace(pair, tags=TAGS) for pair in pairs]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with the line."""
    folder = tmp_path_factory.mktemp("context")
    make_model(folder / "model")
    write_dataset(folder / "data", tagged())
    train(folder, folder / "run", "data.context_line=site_tags")
    return folder


def train(folder: Path, output: Path, *settings: str, model: str = "model") -> None:
    command = ["train", "--dataset", str(folder / "data"), "--model", str(folder / model)]
    command += ["--output", str(output), "--device", "cpu", "--quiet"]
    for setting in (
        *("data.batch_pairs=16", "data.max_length=256", "optim.lr=0.003", "run.trackers=[]"),
        *("run.max_steps=2", *settings),
    ):
        command += ["--set", setting]
    assert main(command) == 0


def template_of(folder: Path) -> Template:
    found = load_template(folder)
    assert found is not None
    return found


def test_the_rows_of_a_batch_are_read_with_it(folder: Path) -> None:
    tokenizer = make_tokenizer()
    template = choose_template(tokenizer, "auto", encoder=False)
    for kind in ("none", "site", "site_tags"):
        tokens = PairTokenizer(
            tokenizer, msgspec.structs.replace(template, context=kind), max_length=128
        )
        dataset = PairDataset(str(folder / "data"), "train", tags=kind == "site_tags")
        rows = dataset.read(0)
        runs = prompt_runs(rows)
        groups = group_pairs(rows, runs, tokens).groups
        texts = [with_context(rows.prompt[run.start], SITE, TAGS, kind) for run in runs]
        assert [prompt_text(rows, run.start, kind) for run in runs] == texts
        for group, text in zip(groups, texts, strict=True):
            assert np.array_equal(group.prompt, tokens.prompts([text])[0])


def test_it_is_frozen_into_the_model_and_comes_along(folder: Path, tmp_path: Path) -> None:
    assert template_of(folder / "run/model").context == "site_tags"
    assert json.loads((folder / "run/run.json").read_text())["data"]["context_line"] == "site_tags"
    for setting, found in (("auto", "site_tags"), ("none", "none"), ("site", "site")):
        data = convert({"data": {"max_length": 128, "context_line": setting}}).data
        loaded = load_model(str(folder / "run/model"), convert({}).model, data, seed=0)
        assert loaded.template.context == found
    # Without it the file is that of earlier releases.
    plain = msgspec.structs.replace(template_of(folder / "run/model"), context="none")
    plain.save(tmp_path)
    assert "context" not in json.loads((tmp_path / "reward_template.json").read_text())
    assert load_template(tmp_path) == plain


def test_transformers_and_evaluate_give_the_same_score(folder: Path) -> None:
    place = str(folder / "run/model")
    model = AutoModelForSequenceClassification.from_pretrained(place).eval()
    tokenizer = AutoTokenizer.from_pretrained(place)
    messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "cold oven"}]
    scorer = open_scorer(find_model(place), device=CPU)
    assert "site and tags in a line before the prompt" in scorer.reads
    rewards = []
    for told in ({}, {"site": SITE}, {"site": SITE, "tags": list(TAGS)}):
        text = tokenizer.apply_chat_template(messages, tokenize=False, **told)
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        with torch.no_grad():
            theirs = float(model(**ids).logits[0, 0])
        asked = messages_with_context(
            (ChatMessage("user", "Why?"),),
            str(told.get("site", "")),
            tuple(told.get("tags", ())),
            scorer.context,
        )
        ((ours,),) = scorer.score([asked], [["cold oven"]])
        assert ours.reward == pytest.approx(theirs, abs=1e-5)
        rewards.append(theirs)
    assert len(set(rewards)) == 3  # the line is read


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first messages that a scorer of ours is asked about."""
    from training.evaluation import models

    seen: list[str] = []
    plain = models.TemplateScorer.score

    def score(self: Any, prompts: Any, responses: Any) -> Any:
        seen.extend(prompt[0].content for prompt in prompts)
        return plain(self, prompts, responses)

    monkeypatch.setattr(models.TemplateScorer, "score", score)
    return seen


def test_evaluate_and_score_add_it_where_the_site_is_known(
    folder: Path, tmp_path: Path, asked: list[str]
) -> None:
    pairs = [{"prompt": "Where?", "chosen": "here", "rejected": "there"}]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    command = ["evaluate", "--model", str(folder / "run"), "--output", str(tmp_path / "eval")]
    command += ["--benchmark", f"held-out={folder / 'data'}", "--bootstrap", "20", "--quiet"]
    command += ["--benchmark", f"pairs={tmp_path / 'own.jsonl'}"]
    assert main(command) == 0
    line = "(From beer.example, tags: hops, pale ale)\n\n"
    assert all(text.startswith(line) for text in asked if text != "Where?")
    assert {"Where?"} < set(asked)
    asked.clear()
    rows = [
        {"prompt": "Where?", "response": "here"},
        {"prompt": "Where?", "response": "here", "site": SITE, "tags": ["hops"]},
        {"prompt": "Where?", "response": "here", "site": 5, "tags": "hops"},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    command = ["score", str(tmp_path / "rows.jsonl"), "--model", str(folder / "run")]
    assert main([*command, "--output", str(tmp_path / "scored"), "--quiet"]) == 0
    assert sorted(asked) == ["(From beer.example, tags: hops)\n\nWhere?", "Where?"]
    scored = (tmp_path / "scored/rows.jsonl").read_text().splitlines()
    first, second, third = (json.loads(row)["model_score"] for row in scored)
    assert first == third != second


def test_a_model_without_it_reads_prompts_as_they_are(
    folder: Path, tmp_path: Path, asked: list[str]
) -> None:
    train(folder, tmp_path / "run")
    assert template_of(tmp_path / "run/model").context == "none"
    command = ["evaluate", "--model", str(tmp_path / "run"), "--output", str(tmp_path / "eval")]
    command += ["--benchmark", f"held-out={folder / 'data'}", "--bootstrap", "20", "--quiet"]
    assert main(command) == 0
    assert asked
    assert not any("(From" in text for text in asked)
