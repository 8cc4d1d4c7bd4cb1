"""``forumprefs score``: rows in, the same rows with scores out."""

import errno
import gzip
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.preference_data import make_model, make_pairs, write_dataset
from tests.suite_files import write_lines
from training.commands import main
from training.config import DataConfig, ModelConfig
from training.evaluation.models import find_model, open_scorer
from training.evaluation.policies import open_policy
from training.evaluation.suites.registry import load_suite
from training.model.reward_model import load_model
from training.model.save import save_model
from training.scoring import files, score_files
from training.scoring.columns import best_of
from training.scoring.files import NewColumns, write_rows
from training.scoring.score_log import ScoreLog

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[1]

ROWS: list[dict[str, Any]] = [
    {"id": 7, "prompt": "Why rest?", "responses": ["warm water", "flour yeast", "warm water"]},
    {"id": 1, "prompt": [{"role": "user", "content": "And?"}], "responses": ["so é", "fold"]},
    {
        "id": 3,
        "prompt": "Why rest?",
        "responses": [[{"role": "assistant", "content": "cold"}], {"content": "flour yeast"}],
    },
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model with a head that tells texts apart, a policy, and a second one."""
    folder = tmp_path_factory.mktemp("models")
    base = make_model(folder / "policy")
    make_model(folder / "reference", initializer_range=0.1)
    settings = ModelConfig(head_init_std=1.0), DataConfig(max_length=96)
    save_model(folder / "reward", load_model(str(base), *settings, seed=0))
    return folder


def score(models: Path, source: Path, output: Path, *more: str, model: str = "reward") -> int:
    return main(
        [
            *("score", str(source), "--model", str(models / model), "--output", str(output)),
            *("--device", "cpu", "--quiet", *more),
        ]
    )


def lines(path: Path) -> list[dict[str, Any]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def expected(models: Path, rows: list[dict[str, Any]], name: str = "reward") -> list[list[float]]:
    """One response at a time, by the scorers of evaluate."""
    found = find_model(str(models / name))
    scorer = (open_scorer if name == "reward" else open_policy)(found, device=CPU)
    from training.evaluation.items import ChatMessage

    values = []
    for row in rows:
        prompt = row["prompt"]
        text = prompt if isinstance(prompt, str) else prompt[0]["content"]
        texts = [_plain(one) for one in row["responses"]]
        messages = (ChatMessage("user", text),)
        values.append([scorer.score([messages], [[one]])[0][0].reward for one in texts])
    return values


def _plain(response: Any) -> str:
    if isinstance(response, list):
        (response,) = response
    return response if isinstance(response, str) else response["content"]


def test_rows_keep_their_order_and_bytes_and_get_scores(models: Path, tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    text = [json.dumps(row, ensure_ascii=False) for row in ROWS]
    text[0] = text[0].replace('"id": 7', '"id":1.50e3 , "é": NaN')  # of their own spelling
    source.write_text(text[0] + "\n\n" + text[1] + " \n" + text[2], encoding="utf-8")
    assert score(models, source, tmp_path / "out") == 0
    written = (tmp_path / "out" / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    for given, got in zip(text, written, strict=True):
        assert got.startswith(given[:-1] + ', "model_scores":')
    rewards = expected(models, ROWS)
    assert len({round(one, 3) for row in rewards for one in row}) >= 4
    for row, values in zip(map(json.loads, written), rewards, strict=True):
        assert row["model_scores"] == pytest.approx(values, abs=1e-5)
        assert row["model_truncated"] == [False] * len(values)
    assert json.loads(written[0])["model_scores"][0] == json.loads(written[0])["model_scores"][2]
    record = json.loads((tmp_path / "out" / "score.json").read_text())
    assert [(one["rows"], one["responses"]) for one in record["inputs"]] == [(3, 7)]
    assert record["kind"] == "reward"


def test_pairs_get_the_scores_of_evaluate(models: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": "Human: a\n\nAssistant: b\n\nHuman: c", "chosen": "warm", "rejected": "cold"},
        {"prompt": "What?", "chosen": "flour " * 700, "rejected": "yeast", "chosen_score": 4},
        {
            "chosen": [
                {"role": "user", "content": "Inside"},
                {"role": "assistant", "content": "crust"},
            ],
            "rejected": [
                {"role": "user", "content": "Inside"},
                {"role": "assistant", "content": "crumb"},
            ],
        },
    ]
    source = write_lines(tmp_path / "pairs.jsonl", rows)
    arguments = ["--model", str(models / "reward"), "--device", "cpu", "--quiet"]
    benchmark = ["--benchmark", f"pairs={source}", "--output", str(tmp_path / "eval")]
    assert main(["evaluate", *arguments, *benchmark, "--bootstrap", "20"]) == 0
    (cache,) = (tmp_path / "eval" / "scores").iterdir()
    known = {one["key"]: one for one in lines(cache)}
    assert score(models, source, tmp_path / "out") == 0
    items = load_suite("pairs", str(source)).items
    for row, item in zip(lines(tmp_path / "out" / "pairs.jsonl"), items, strict=True):
        for side, text in zip(("chosen", "rejected"), item.responses, strict=True):
            there = known[item.key(text)]
            assert row[f"{side}_model_score"] == pytest.approx(there["reward"], abs=1e-6)
            assert row[f"{side}_model_truncated"] == there["cut"]
    written = lines(tmp_path / "out" / "pairs.jsonl")[1]
    assert written["chosen_score"] == 4
    assert (written["chosen_model_truncated"], written["rejected_model_truncated"]) == (True, False)


def test_a_dataset_folder_keeps_its_columns(models: Path, tmp_path: Path) -> None:
    pairs = make_pairs(12, "train") + make_pairs(4, "test")
    folder = write_dataset(tmp_path / "data", pairs)
    assert score(models, folder, tmp_path / "out") == 0
    shards = sorted((folder / "data").iterdir())
    assert [path.name for path in sorted((tmp_path / "out").glob("*.parquet"))] == [
        path.name for path in shards
    ]
    for shard in shards:
        before, after = pq.read_table(shard), pq.read_table(tmp_path / "out" / shard.name)
        assert after.select(before.column_names).equals(before)
        added = after.column_names[len(before.column_names) :]
        assert added == [
            "chosen_model_score",
            "rejected_model_score",
            "chosen_model_truncated",
            "rejected_model_truncated",
        ]
        assert after.schema.field("chosen_model_score").type == pa.float64()
        assert None not in after["chosen_model_score"].to_pylist()


def test_parquet_and_gzip_get_what_lines_get(models: Path, tmp_path: Path) -> None:
    rows = [{**row, "responses": [_plain(one) for one in row["responses"]]} for row in ROWS]
    for row in rows:
        prompt = row["prompt"]
        row["prompt"] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    plain = write_lines(tmp_path / "rows.jsonl", rows)
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    table = pa.Table.from_pylist(rows).replace_schema_metadata({"huggingface": "{}", "mine": "x"})
    pq.write_table(table, tmp_path / "rows.parquet")
    found = []
    for name in ("rows.jsonl", "rows.jsonl.gz", "rows.parquet"):
        assert score(models, tmp_path / name, tmp_path / name[4:], "--best-of") == 0
        whole, best = tmp_path / name[4:] / name, tmp_path / name[4:] / "best-of" / name
        if name.endswith("parquet"):
            assert pq.read_schema(whole).metadata == {b"mine": b"x"}
            found.append((pq.read_table(whole).to_pylist(), pq.read_table(best).to_pylist()))
        else:
            found.append((lines(whole), lines(best)))
    assert found[0] == found[1] == found[2]
    zipped = (tmp_path / ".jsonl.gz" / "rows.jsonl.gz").read_bytes()
    assert zipped[4:8] == b"\0\0\0\0"  # no time


@pytest.mark.parametrize("column", ["response", "completion"])
def test_a_single_response_gets_one_score(models: Path, tmp_path: Path, column: str) -> None:
    rows = [{"prompt": row["prompt"], column: row["responses"][0]} for row in ROWS]
    source = write_lines(tmp_path / "rows.jsonl", rows)
    assert score(models, source, tmp_path / "out", "--name", "tiny") == 0
    found = lines(tmp_path / "out" / "rows.jsonl")
    for row, values in zip(found, expected(models, ROWS), strict=True):
        assert row["tiny_score"] == pytest.approx(values[0], abs=1e-5)
    assert score(models, source, tmp_path / "best", "--best-of") == 2


def test_logprobs_with_a_reference(models: Path, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "rows.jsonl", ROWS)
    given = ["--kind", "logprob", "--reference", str(models / "reference"), "--beta", "0.5"]
    assert score(models, source, tmp_path / "out", *given, model="policy") == 0
    own, other = (expected(models, ROWS, name) for name in ("policy", "reference"))
    for row, mine, theirs in zip(lines(tmp_path / "out" / "rows.jsonl"), own, other, strict=True):
        assert row["model_logprobs"] == pytest.approx(mine, abs=1e-4)
        assert row["model_reference_logprobs"] == pytest.approx(theirs, abs=1e-4)
        for place, score_ in enumerate(row["model_scores"]):
            difference = row["model_logprobs"][place] - row["model_reference_logprobs"][place]
            assert score_ == pytest.approx(0.5 * difference, abs=1e-12)
            tokens = row["model_tokens"][place]
            assert tokens >= 2
            mean = row["model_logprobs"][place] / tokens
            assert row["model_mean_logprobs"][place] == pytest.approx(mean)
    assert list(row)[len(ROWS[0]) :] == [
        *("model_scores", "model_logprobs", "model_mean_logprobs", "model_reference_logprobs"),
        *("model_tokens", "model_truncated"),
    ]


def test_another_form_of_the_scores_asks_no_model(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_lines(tmp_path / "rows.jsonl", ROWS)
    given = ["--kind", "logprob", "--reference", str(models / "reference")]
    assert score(models, source, tmp_path / "out", *given, model="policy") == 0
    first = lines(tmp_path / "out" / "rows.jsonl")

    def never(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(score_files, "score_part", never)
    more = [*given, "--per-token", "--beta", "2", "--best-of"]
    assert score(models, source, tmp_path / "out", *more, model="policy") == 0
    best = lines(tmp_path / "out" / "best-of" / "rows.jsonl")
    for row, before, chosen in zip(
        lines(tmp_path / "out" / "rows.jsonl"), first, best, strict=True
    ):
        for place, value in enumerate(row["model_scores"]):
            tokens = before["model_tokens"][place]
            assert value == pytest.approx(2 * before["model_scores"][place] / 0.1 / tokens)
        assert chosen["model_score"] == max(row["model_scores"])
        assert chosen["model_best"] == row["model_scores"].index(chosen["model_score"])
        assert chosen["response"] == row["responses"][chosen["model_best"]]
        assert "responses" not in chosen and chosen["id"] == row["id"]


def test_the_best_is_the_first_of_equal_ones_and_always_a_number() -> None:
    assert best_of([1.0, 3.0, 3.0]) == 1
    assert best_of([math.nan, -9.0, math.inf]) == 1
    assert best_of([math.nan, math.nan]) == 0


def test_scores_that_are_no_numbers_are_null(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from training.evaluation.models import Scored

    source = write_lines(tmp_path / "rows.jsonl", ROWS[:1])
    monkeypatch.setattr(
        score_files,
        "score_part",
        lambda _, part: [[Scored(math.nan, False), Scored(2.0, False), Scored(math.inf, True)]],
    )
    arguments = ["score", str(source), "--model", str(models / "reward"), "--best-of"]
    assert main([*arguments, "--output", str(tmp_path / "out"), "--device", "cpu"]) == 0
    (row,) = lines(tmp_path / "out" / "rows.jsonl")
    assert row["model_scores"] == [None, 2.0, None]
    (best,) = lines(tmp_path / "out" / "best-of" / "rows.jsonl")
    assert best["response"] == ROWS[0]["responses"][1]
    printed = capsys.readouterr().out
    assert "2 scores are not finite" in printed and "1 were read without a part" in printed


KILL = """
import os, signal, sys
from training.commands import main
from training.scoring import score_files, score_log
score_files.PART_CHARACTERS = 300
add = score_log.ScoreLog.add
left = [3]
def killed(self, rows):
    left[0] -= 1
    if not left[0]:
        self._file.write(b'[[[[-1.5,fal')
        self._file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    add(self, rows)
score_files.ScoreLog.add = killed
main(sys.argv[1:])
"""


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_killed_run_continues_and_gives_the_same_bytes(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(score_files, "PART_CHARACTERS", 300)
    rows = [
        {"prompt": f"Question {n % 4}", "responses": [f"warm {n} " * (1 + n % 7), f"flour {n}"]}
        for n in range(40)
    ]
    source = write_lines(tmp_path / "rows.jsonl", rows)
    if ending == "parquet":
        source = tmp_path / "rows.parquet"
        pq.write_table(pa.Table.from_pylist(rows), source)
    assert score(models, source, tmp_path / "whole", "--best-of") == 0
    output = tmp_path / "cut"
    arguments = ["score", str(source), "--model", str(models / "reward"), "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-c", KILL, *arguments, "--output", str(output), "--best-of", "--quiet"],
        cwd=ROOT,
        env=os.environ,
    )
    assert done.returncode == -signal.SIGKILL
    (log,) = (output / ".scores").glob("*.jsonl")
    before = log.read_bytes()
    assert before.count(b"\n") == 2 and not before.endswith(b"\n")
    assert not (output / source.name).exists()
    scored = []
    whole = ScoreLog.add

    def count(self: ScoreLog, part: Any) -> None:
        scored.extend(part)
        whole(self, part)

    monkeypatch.setattr(ScoreLog, "add", count)
    assert score(models, source, output, "--best-of") == 0
    kept = sum(len(json.loads(line)[0]) for line in before.splitlines()[:2])
    assert kept and len(scored) == 40 - kept
    for path in (source.name, f"best-of/{source.name}", "score.json", f".scores/{log.name}"):
        assert (output / path).read_bytes() == (tmp_path / "whole" / path).read_bytes()


def test_an_interrupted_run_says_how_it_continues(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    source = write_lines(tmp_path / "rows.jsonl", ROWS)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(score_files, "score_part", stop)
    assert score(models, source, tmp_path / "out") == 130
    assert "the same command continues" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "arguments", "message"),
    [
        ([{"prompt": "a", "answer": "b"}], [], "no column of responses; expected prompt and resp"),
        ([{"responses": ["b"]}], [], "no column prompt beside responses; it has responses"),
        ([{"prompt": "a", "responses": []}], [], "row 1: responses is empty"),
        ([{"prompt": "a", "responses": "b"}], [], 'responses is "b", expected a list'),
        ([{"prompt": "a", "responses": ["b", None]}], [], "responses holds null, expected text"),
        (
            [{"prompt": "a", "responses": [{"role": "user", "content": "b"}]}],
            [],
            "expected text or one message of the assistant",
        ),
        ([{"prompt": 4, "response": "b"}], [], "row 1: prompt is 4, expected text or a list"),
        ([ROWS[0], {"prompt": "a"}], [], "row 2: no column responses"),
        ([ROWS[0], {**ROWS[0], "model_scores": 1}], [], "row 2: has a column model_scores"),
        ([{**ROWS[0], "model_scores": 1}], [], "a column model_scores already; choose another"),
        ([{**ROWS[0], "response": 1}], ["--best-of"], "has a column response already"),
        ([{"prompt": "a", "response": "\ud800"}], [], "half of a surrogate pair"),
        ([], [], "no rows to score"),
        (ROWS, ["--model", "POLICY"], "has no trained reward head"),
        (ROWS, ["--kind", "logprob"], "is a reward model"),
        (
            ROWS,
            ["--kind", "logprob", "--model", "POLICY", "--reference", "REWARD"],
            "--reference REWARD: is a reward model",
        ),
        (ROWS, ["--reference", "POLICY"], "say --kind logprob, too"),
        (ROWS, ["--per-token"], "--per-token is of --kind logprob"),
        (ROWS, ["--kind", "logprob", "--beta", "1"], "--kind logprob with a --reference"),
        (ROWS, ["--name", "a b"], "letters, digits and _ only"),
        (ROWS, ["--batch-tokens", "1"], "--batch-tokens: at least 16"),
        (ROWS, ["--output", "."], "rows.jsonl is there already"),
    ],
)
def test_wrong_use_is_told(
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rows: list[dict[str, Any]],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    content = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "rows.jsonl").write_text(content)
    places = {"POLICY": str(models / "policy"), "REWARD": str(models / "reward")}
    filled = [places.get(one, one) for one in arguments]
    code = score(models, tmp_path / "rows.jsonl", Path("out"), *filled)
    told = capsys.readouterr().err
    for name, place in places.items():
        message = message.replace(name, place)
    assert message in told
    assert code == 2
    assert (tmp_path / "rows.jsonl").read_text() == content
    assert not (tmp_path / "out" / "rows.jsonl").exists()


def test_damaged_and_strange_inputs_are_named(models: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "broken.jsonl").write_text('{"prompt": "a", "response": "b"}\n{"prompt"\n')
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    (tmp_path / "list.jsonl").write_text("[1]\n")
    (tmp_path / "rows.csv").write_text("prompt,response\n")
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("broken.jsonl", "broken.jsonl: row 2: not JSON"),
        ("broken.parquet", "broken.parquet: "),
        ("list.jsonl", "list.jsonl: row 1: [1], expected an object"),
        ("rows.csv", "rows.csv: its name ends in none of .jsonl"),
        ("nowhere", "nowhere: no such file or folder"),
        ("empty", "empty: no file in it ends in"),
    ):
        assert score(models, tmp_path / name, tmp_path / "out") == 2
        assert message in capsys.readouterr().err


def test_a_folder_without_rows_says_where_they_are(
    models: Path, sample: Path, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "exports" / "kto").mkdir(parents=True)
    write_lines(tmp_path / "exports" / "kto" / "train.jsonl", ROWS)
    assert score(models, tmp_path / "exports", tmp_path / "out") == 2
    assert "there are some in kto: give one of these" in capsys.readouterr().err
    ids = tmp_path / "ids"
    ids.mkdir()
    manifest = (sample / "manifest.json").read_text(encoding="utf-8")
    assert '"ids_only": false' in manifest
    changed = manifest.replace('"ids_only": false', '"ids_only": true')
    (ids / "manifest.json").write_text(changed, encoding="utf-8")
    assert score(models, ids, tmp_path / "out") == 2
    assert "holds ids and labels without texts" in capsys.readouterr().err


def test_a_model_without_its_tokenizer_is_told(models: Path, tmp_path: Path, capsys: Any) -> None:
    shutil.copytree(models / "reward", tmp_path / "reward")
    (tmp_path / "reward" / "tokenizer_config.json").unlink()
    source = write_lines(tmp_path / "rows.jsonl", ROWS)
    assert score(tmp_path, source, tmp_path / "out") == 2
    assert "has no tokenizer (tokenizer_config.json)" in capsys.readouterr().err


def test_two_processes_do_not_write_one_folder(models: Path, tmp_path: Path, capsys: Any) -> None:
    source = write_lines(tmp_path / "rows.jsonl", ROWS)
    with score_files.locked(tmp_path / "out"):
        assert score(models, source, tmp_path / "out") == 2
    assert "another forumprefs score writes it" in capsys.readouterr().err
    assert score(models, source, tmp_path / "out") == 0


def test_a_file_system_without_locks_is_named(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    source = write_lines(tmp_path / "rows.jsonl", ROWS)
    monkeypatch.setattr("fcntl.flock", no_locks)
    assert score(models, source, tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert f"--output {tmp_path / 'out'}: its file system does not lock files (No locks" in told


def test_no_file_of_other_scores_is_left(models: Path, tmp_path: Path, capsys: Any) -> None:
    source = write_lines(tmp_path / "rows.jsonl", ROWS)
    output = tmp_path / "out"
    assert score(models, source, output, "--best-of") == 0
    (output / "mine.txt").write_text("not of this command")
    best = output / "best-of" / "rows.jsonl"
    for given in ([], ["--name", "two"]):  # would write over the file that it was made of
        assert score(models, best, output, *given) == 2
        assert "rows.jsonl is there already" in capsys.readouterr().err
    shutil.copytree(output / "best-of", tmp_path / "new" / "best-of")
    assert score(models, tmp_path / "new" / "best-of" / "rows.jsonl", tmp_path / "new") == 2
    for given in ((), ("--kind", "logprob")):
        capsys.readouterr()
        assert score(models, source, output, *given, model="policy") == 2
        told = " ".join(capsys.readouterr().err.split())
        assert f"holds scores (reward) by {models / 'reward'}; name another folder" in told
    assert "model_scores" in lines(output / "rows.jsonl")[0] and best.exists()
    given = ("--kind", "logprob", "--overwrite")
    assert score(models, source, output, *given, model="policy") == 0
    assert not best.exists()
    other = write_lines(tmp_path / "other.jsonl", ROWS)
    assert score(models, other, output, "--overwrite") == 0
    assert {one.name for one in output.iterdir() if one.is_file()} == {
        "other.jsonl", "score.json", "mine.txt"
    }  # fmt: skip
    record = json.loads((output / "score.json").read_text())
    record["outputs"][0]["path"] = "../rows.jsonl"
    (output / "score.json").write_text(json.dumps(record))
    capsys.readouterr()
    assert score(models, other, output) == 2
    assert "../rows.jsonl is no file of the folder" in capsys.readouterr().err
    assert source.exists()


def test_the_best_keep_numbers_that_json_does_not_have(models: Path, tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    rows = [
        {**ROWS[0], "a": [math.nan, -math.inf], "é": {"b": math.inf}, "big": 2**70},
        {**ROWS[0], "half": "\ud800 é", "c": math.nan},
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert score(models, source, tmp_path / "out", "--best-of") == 0
    path = tmp_path / "out" / "best-of" / "rows.jsonl"
    for given, got in zip(rows, lines(path), strict=True):
        kept = {name: value for name, value in given.items() if name != "responses"}
        # repr: NaN is equal to nothing, itself included
        assert repr({name: got[name] for name in kept}) == repr(kept)
    assert '"é":' in path.read_text(encoding="utf-8")


def test_narrow_rows_cost_the_same_however_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BATCH_ROWS", 2)
    source, target = tmp_path / "rows.parquet", tmp_path / "out.parquet"
    pq.write_table(pa.table({"a": range(400)}), source)
    columns = NewColumns({"b": pa.float64()}, lambda _: [1.0])

    class Counted:
        """Tables that count how often their size is looked up."""

        looked = 0

        @classmethod
        def from_arrays(cls, arrays: Any, schema: Any) -> Any:
            table = pa.Table.from_arrays(arrays, schema=schema)

            class One:
                @property
                def nbytes(self) -> int:
                    cls.looked += 1
                    return int(table.nbytes)

            one = One()
            one.table = table  # type: ignore[attr-defined]
            return one

    class Arrow:
        Table = Counted
        concat_tables = staticmethod(lambda all_: pa.concat_tables([one.table for one in all_]))

        def __getattr__(self, name: str) -> Any:
            return getattr(pa, name)

    monkeypatch.setattr(files, "pa", Arrow())
    monkeypatch.setattr(files, "GROUP_BYTES", 1600)  # 100 rows of two numbers
    write_rows(source, target, columns)
    assert Counted.looked == 200  # each table once
    with pq.ParquetFile(target) as written:
        groups = range(written.num_row_groups)
        sizes = [written.metadata.row_group(group).num_rows for group in groups]
        assert len(sizes) > 2 and len(set(sizes[:-1])) == 1  # the sum begins anew
        assert written.read().column("a").to_pylist() == list(range(400))
