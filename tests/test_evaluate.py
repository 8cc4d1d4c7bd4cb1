import json
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt

from tests.preference_data import make_model, make_pairs, write_dataset
from tests.suite_files import FILES, trl, write_lines
from training.commands import main
from training.errors import ConfigError
from training.evaluation.items import ChatMessage
from training.evaluation.models import Scored, find_model, open_scorer
from training.evaluation.results import CheckpointPoint, Results
from training.evaluation.score_cache import ScoreCache
from training.evaluation.stability import stability
from training.evaluation.suite_results import prepare, suite_result
from training.evaluation.suites.registry import load_suite

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with three checkpoints, and the dataset beside it."""
    folder = tmp_path_factory.mktemp("run")
    pairs = [
        pair
        for split in ("train", "validation", "test")
        for pair in make_pairs(30, split, responses=4)
    ]
    write_dataset(folder / "data", pairs)
    make_model(folder / "base")
    code = main(
        [
            *("train", "--dataset", str(folder / "data"), "--model", str(folder / "base")),
            *("--output", str(folder / "run"), "--device", "cpu", "--quiet"),
            *("--set", "data.batch_pairs=16", "--set", "data.max_length=128"),
            *("--set", "optim.lr=3e-3", "--set", "run.max_steps=3", "--set", "run.save_every=1"),
            *("--set", "run.tensorboard=false", "--set", "run.keep_checkpoints=3"),
        ]
    )
    assert code == 0
    return folder


def evaluate(run: Path, output: Path, *more: str, model: str = "run") -> tuple[int, Results]:
    code = main(
        [
            *("evaluate", "--model", str(run / model), "--output", str(output), "--quiet"),
            *("--bootstrap", "60", "--device", "cpu", *more),
        ]
    )
    return code, msgspec.json.decode((output / "results.json").read_bytes(), type=Results)


def rewards_of(scored: list[list[Scored]]) -> list[list[float]]:
    return [[one.reward for one in row] for row in scored]


def test_a_run_is_scored_on_suites_and_its_own_split(run: Path, tmp_path: Path) -> None:
    folders = {name: FILES[name](tmp_path / name) for name in ("rm-bench", "ppe-correctness")}
    code, results = evaluate(
        run,
        tmp_path / "eval",
        *("--benchmark", f"held-out={run / 'data'}"),
        *(f"--benchmark={name}={folder}" for name, folder in folders.items()),
    )
    assert code == 0
    assert [suite.name for suite in results.result.suites] == ["held-out", *folders]
    own, rm_bench, ppe = results.result.suites
    assert own.prompts == 30
    assert {"longer", "style", "earlier", "longer + earlier", "chance"} == set(
        own.headline.baselines
    )
    assert "whole thread in order" in {figure.name for figure in own.figures}
    assert own.headline.low <= own.headline.value <= own.headline.high
    assert own.breakdown["margin 3–5"].pairs == own.comparisons
    assert own.breakdown["label confidence 0.9+"].pairs == own.comparisons
    assert rm_bench.headline.name == "overall"
    assert ppe.curve is not None
    assert ppe.curve.k == (1, 2, 4)
    assert {group.group for group in results.result.groups} == {
        "adversarial",
        "objective",
        "safety",
        "held-out",
    }
    # The dataset was not cleaned of the public suites; of its own split nothing is said.
    warned = [one for one in results.warnings if "decontaminated" in one]
    assert not [one for one in results.warnings if "trained on" in one]
    places = f"{folders['rm-bench']},{folders['ppe-correctness']}"
    assert [one.partition("--decontaminate ")[2] for one in warned] == [places]
    assert f"--decontaminate {folders['rm-bench']}" in rm_bench.warnings[0]
    assert own.warnings == ()
    text = (tmp_path / "eval" / "results.md").read_text()
    assert "| overall |" in text
    assert "**Warning.**" in text
    # The same again: nothing is scored, all files are the same bytes.
    before = {path: path.read_bytes() for path in (tmp_path / "eval").glob("*.*")}
    evaluate(
        run,
        tmp_path / "eval",
        *("--benchmark", f"held-out={run / 'data'}"),
        *(f"--benchmark={name}={folder}" for name, folder in folders.items()),
    )
    assert before == {path: path.read_bytes() for path in (tmp_path / "eval").glob("*.*")}


def test_scores_are_those_of_transformers(run: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    path = run / "run" / "model"
    items = load_suite("pairs", str(trl(tmp_path))).items
    prompts, responses = [item.messages for item in items], [item.responses for item in items]
    ours = open_scorer(find_model(str(path)), device=CPU)
    found = rewards_of(ours.score(prompts, responses))
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForSequenceClassification.from_pretrained(path).eval()
    for item, rewards in zip(items, found, strict=True):
        for text, reward in zip(item.responses, rewards, strict=True):
            turns = [
                {"role": "user", "content": item.prompt},
                {"role": "assistant", "content": text},
            ]
            ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)
            with torch.no_grad():
                assert model(**ids).logits.item() == pytest.approx(reward, abs=1e-5)
    # Someone else's model: the same folder without our template is read by its chat template.
    other = tmp_path / "other"
    other.mkdir()
    for file in path.iterdir():
        if file.name not in ("reward_template.json", "checksums.json"):
            (other / file.name).write_bytes(file.read_bytes())
    theirs = open_scorer(find_model(str(other)), device=CPU, max_length=128)
    assert "chat template" in theirs.reads
    assert theirs.fingerprint != ours.fingerprint
    again = rewards_of(theirs.score(prompts, responses))
    assert np.array(again) == pytest.approx(np.array(found), abs=1e-5)
    # One row at a time gives what a batch gives.
    alone = open_scorer(find_model(str(other)), device=CPU, max_length=128, batch_tokens=16)
    assert np.array(rewards_of(alone.score(prompts, responses))) == pytest.approx(
        np.array(again), abs=1e-5
    )


def test_a_conversation_reaches_a_chat_template_as_turns(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for file in (run / "run" / "model").iterdir():
        if file.name not in ("reward_template.json", "chat_template.jinja", "checksums.json"):
            (other / file.name).write_bytes(file.read_bytes())
    (other / "chat_template.jinja").write_text(
        "{%- for m in messages -%}{%- if m.role == 'system' -%}{{ raise_exception('no') }}"
        "{%- endif -%}<{{ m.role }}>{{ m.content }}{%- endfor -%}"
    )
    scorer: Any = open_scorer(find_model(str(other)), device=CPU, max_length=60)
    (item,) = load_suite("hh-rlhf", str(FILES["hh-rlhf"](tmp_path))).items[:1]
    text = scorer._tokenizer.decode(scorer._ids(item.messages, "Yes."))
    assert text == "<user>Hi.<assistant>Hello.<user>A joke?<assistant>Yes."
    with_system = (item.messages[0]._replace(role="system"), *item.messages[1:])
    text = scorer._tokenizer.decode(scorer._ids(with_system, "Yes."))
    assert text.endswith("A joke?<assistant>Yes.")
    assert "Hello." in text
    long, short = scorer.score([item.messages], [["word " * 500, "Yes."]])[0]
    assert (long.cut, short.cut) == (True, False)


def test_a_stop_loses_nothing_that_was_scored(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.evaluation import score_cache

    monkeypatch.setattr(score_cache, "CHUNK_CHARACTERS", 300)
    whole = evaluate(run, tmp_path / "whole", "--benchmark", f"held-out={run / 'data'}")[1]
    add = ScoreCache.add
    calls = []

    def stop(self: ScoreCache, entries: Any) -> None:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        add(self, entries)

    monkeypatch.setattr(ScoreCache, "add", stop)
    arguments = [
        *("evaluate", "--model", str(run / "run"), "--output", str(tmp_path / "cut")),
        *("--benchmark", f"held-out={run / 'data'}", "--bootstrap", "60", "--device", "cpu"),
    ]
    assert main(arguments) == 130
    (cache,) = (tmp_path / "cut" / "scores").iterdir()
    done = cache.read_text().count("\n")
    assert done
    cache.write_text(cache.read_text() + '{"key": "a", "rew')  # a kill in the middle of a line
    scored = []

    def count(self: ScoreCache, entries: Any) -> None:
        scored.extend(entries)
        add(self, entries)

    monkeypatch.setattr(ScoreCache, "add", count)
    again = evaluate(run, tmp_path / "cut", "--benchmark", f"held-out={run / 'data'}")[1]
    total = len({key for key, _ in scored}) + done
    assert total == sum(
        len(item.responses) for item in load_suite("held-out", str(run / "data")).items
    )
    assert again == whole


def test_models_are_compared_by_pairs_of_the_same_prompts(run: Path, tmp_path: Path) -> None:
    first = run / "run" / "checkpoints" / "step-00000001"
    _, results = evaluate(
        run,
        tmp_path,
        *("--benchmark", f"held-out={run / 'data'}", "--compare", str(run / "run"), str(first)),
    )
    same, other = results.compared
    for difference in same.differences:
        assert (difference.difference.value, difference.difference.low) == (0, 0)
    # The last checkpoint is the model of the run, so it is not scored again.
    last = open_scorer(find_model(str(first.with_name("step-00000003"))), device=CPU)
    assert last.fingerprint == results.result.fingerprint
    own, theirs = results.result.suites[0].headline, other.result.suites[0].headline
    found = other.differences[0].difference
    assert found.value == pytest.approx(theirs.value - own.value)
    assert found.low <= found.value <= found.high
    assert other.result.fingerprint != results.result.fingerprint
    page = (tmp_path / "index.html").read_text()
    assert page.count("data:image/svg+xml;base64,") >= 4
    assert not re.findall(r"(?:src|href)='(?!data:)", page)


def test_checkpoints_give_a_curve_and_its_noise(run: Path, tmp_path: Path) -> None:
    code, results = evaluate(
        run, tmp_path, "--benchmark", f"validation={run / 'data'}", "--checkpoints", "--last", "3"
    )
    assert code == 0
    assert [point.step for point in results.checkpoints] == [1, 2, 3]
    values = [point.values["validation"] for point in results.checkpoints]
    assert values[-1] == pytest.approx(results.result.suites[0].headline.value)
    (found,) = results.stability
    assert found.mean == pytest.approx(np.mean(values))
    assert found.noise == pytest.approx(np.std(values, ddof=1) / np.mean(values))
    assert found.signal is None


def test_signal_is_the_spread_of_models_over_their_mean() -> None:
    points = tuple(
        CheckpointPoint(step=step, pairs=step, values={"s": value})
        for step, value in enumerate([0.1, 0.58, 0.62], start=1)
    )
    (found,) = stability(points, 2, {"s": [0.7]})
    assert found.mean == pytest.approx(0.6)
    assert found.signal == pytest.approx(0.08 / 0.66)  # the last headlines of both
    # Means of two in a row: 0.34 and 0.6.
    assert found.noise_of_means == pytest.approx(np.std([0.34, 0.6], ddof=1) / 0.6)
    assert stability(points[1:], 2, {})[0].noise_of_means is None
    noise = np.std([0.58, 0.62], ddof=1) / 0.6
    assert found.ratio == pytest.approx(0.08 / 0.66 / noise)
    assert stability(points[:1], 2, {}) == ()


def test_texts_of_others_cannot_become_markup(run: Path, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>|`*"
    path = write_lines(
        tmp_path / "mine.jsonl",
        [
            {"prompt": f"a{n}", "chosen": "b", "rejected": "c", "subset": subset}
            for n, subset in enumerate([evil, "$\\nonsense$"])
        ],
    )
    evaluate(run, tmp_path / "out", "--benchmark", f"pairs={path}")
    page = (tmp_path / "out" / "index.html").read_text()
    reader = MarkdownIt("commonmark", {"html": True}).enable("table")
    rendered = reader.render((tmp_path / "out" / "results.md").read_text())
    for text in (page, rendered):
        assert "<script" not in text
        assert "&lt;script&gt;" in text


def test_a_model_that_diverged_is_reported_as_such(tmp_path: Path) -> None:
    loaded = load_suite("rm-bench", str(FILES["rm-bench"](tmp_path)))
    suite = prepare(loaded, n=40, seed=0)
    found = suite_result(suite, [np.full(6, np.nan) for _ in suite.items])
    assert found.non_finite == 6 * len(suite.items)
    assert (found.headline.value, found.headline.half) == (0, 0)
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found
    # An infinite reward is no better: its comparisons are lost, whichever side it is on.
    infinite = [np.where(np.arange(6) < 3, np.inf, 0.0) for _ in suite.items]
    assert suite_result(suite, infinite).headline.half == 0
    constant = suite_result(suite, [np.zeros(6) for _ in suite.items])
    assert constant.ties == constant.comparisons
    assert (constant.headline.value, constant.headline.half) == (0, 0.5)
    assert constant.calibration.ece == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--benchmark", "held-out=DATA", "--output", "DATA/manifest.json"], "File exists"),
        (["--benchmark", "nothing=x"], "no benchmark 'nothing'"),
        (["--benchmark", "pairs=./nowhere"], "no such file or folder"),
        (["--benchmark", "held-out=DATA", "--bootstrap", "3"], "--bootstrap: at least 20"),
        (["--benchmark", "held-out=DATA", "--max-length", "0"], "--max-length: at least 1"),
        (["--benchmark", "held-out=DATA", "--benchmark", "held-out=DATA"], "named twice"),
        (["--benchmark", "held-out=DATA", "--model", "BASE"], "no trained reward head"),
        (["--benchmark", "held-out=DATA", "--model", "DATA"], "neither a model nor a run folder"),
        (["--benchmark", "held-out=DATA", "--model", "MODEL", "--checkpoints"], "--checkpoints"),
    ],
)
def test_wrong_use_is_told(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    model = tmp_path / "alone"
    model.mkdir()
    for file in (run / "run" / "model").iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    places = {"DATA": run / "data", "BASE": run / "base", "MODEL": model}
    filled = [
        re.sub("DATA|BASE|MODEL", lambda found: str(places[found[0]]), one) for one in arguments
    ]
    code = main(["evaluate", "--model", str(run / "run"), "--output", str(tmp_path / "o"), *filled])
    assert code == 2
    assert message in capsys.readouterr().err


def test_what_was_cut_is_counted_and_told(run: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": f"a{n}", "chosen": "b " * (400 if n == 2 else 3), "rejected": "c"}
        for n in range(4)
    ]
    path = write_lines(tmp_path / "mine.jsonl", rows)
    for _ in range(2):  # the second time from the cache
        _, results = evaluate(run, tmp_path / "out", "--benchmark", f"pairs={path}")
        assert results.result.suites[0].cut == 1
        (told,) = [one for one in results.warnings if "without a part" in one]
        assert told.endswith("pairs of your own 1")


def test_models_beside_it_have_warnings_of_their_own(run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    for file in (run / "run" / "model").iterdir():
        (alone / file.name).write_bytes(file.read_bytes())
    path = write_lines(tmp_path / "mine.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}])
    _, results = evaluate(
        run, tmp_path / "out", "--benchmark", f"pairs={path}", "--compare", str(alone)
    )
    told = [one for one in results.warnings if one.startswith(f"{alone}: nothing says what")]
    assert len(told) == 1


def test_a_changed_template_is_another_model(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in (run / "run" / "model").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "checksums.json").unlink()  # it is changed on purpose
    first = open_scorer(find_model(str(copy)), device=CPU).fingerprint
    config = json.loads((copy / "tokenizer_config.json").read_text())
    (copy / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": "{{ 1 }}"}))
    assert open_scorer(find_model(str(copy)), device=CPU).fingerprint != first


def test_two_evaluations_do_not_write_one_file(tmp_path: Path) -> None:
    with ScoreCache(tmp_path, "one"):
        with pytest.raises(ConfigError, match="another evaluation"):
            ScoreCache(tmp_path, "one")
        ScoreCache(tmp_path, "two").__exit__(None, None, None)
    ScoreCache(tmp_path, "one").__exit__(None, None, None)


def test_json_is_printed_for_programs(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(run, tmp_path, "--benchmark", f"held-out={run / 'data'}", "--json", "--limit", "4")
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "results.json").read_text())
    assert printed["limit"] == 4
    assert any("only 4 items" in one for one in printed["warnings"])


def test_an_encoder_reads_prompt_and_response_as_a_pair(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c"]
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(tmp_path)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(
        vocab_size=7, num_hidden_layers=1, num_labels=1, max_position_embeddings=64, **sizes
    )
    model = BertForSequenceClassification(config).eval()
    with torch.no_grad():
        model.classifier.weight.mul_(50)
    model.save_pretrained(tmp_path)
    scorer = open_scorer(find_model(str(tmp_path)), device=CPU)
    ((short, long),) = rewards_of(scorer.score([(ChatMessage("user", "a b"),)], [["c", "b c"]]))
    with torch.no_grad():
        assert short == pytest.approx(model(torch.tensor([[2, 4, 5, 3, 6, 3]])).logits.item(), 1e-4)
        logits = model(torch.tensor([[2, 4, 5, 3, 5, 6, 3]])).logits
    assert long == pytest.approx(logits.item(), 1e-4)
    assert abs(short - long) > 1e-4
