import argparse
import json
from collections import Counter
from pathlib import Path

import pytest

from tests.preference_data import make_pairs, write_dataset
from tests.suite_files import FILES, STYLES, parquet, write_json, write_lines
from training.commands import EVALUATE
from training.errors import SuiteError
from training.evaluation.items import GROUPS, ChatMessage, Item
from training.evaluation.suites.registry import SUITES, load_suite
from training.evaluation.suites.reward_bench import COUNTS, SECTIONS

REAL = Path(__file__).parents[2] / "shared" / "data" / "preference"
EXPECTED = {
    # items, comparisons
    "rm-bench": (12, 108),
    "rewardbench": (12, 12),
    "rewardbench2": (14, 10 * 3 + 2 * 2 + 2 * 4),
    "rmb": (6, 4 + 2 * 2),
    "judgebench": (8, 8),
    "llmbar": (15, 15),
    "evalbiasbench": (4, 4),
    "pandalm": (4, 2),
    "ppe-human": (4, 2),
    "ppe-correctness": (3, 4 + 3),
    "hh-rlhf": (2, 2),
    "hh-harmless": (2, 2),
    "hh-helpful": (2, 2),
    "helpsteer2": (3, 2),
    "rag-rewardbench": (3, 3),
    "pairs": (3, 3),
}


def read(name: str, folder: Path) -> tuple[Item, ...]:
    return load_suite(name, str(FILES[name](folder))).items


@pytest.mark.parametrize("name", FILES)
def test_each_form_is_read(name: str, tmp_path: Path) -> None:
    items = read(name, tmp_path)
    comparisons = sum(len(item.comparisons()) for item in items)
    assert (len(items), comparisons) == EXPECTED[name]
    for item in items:
        assert item.suite == name
        assert item.group in GROUPS
        assert len(item.responses) == len(item.worth)
        assert item.prompt
        assert all(item.responses)
    if name in ("rewardbench", "rmb", "rag-rewardbench"):
        assert len({item.group for item in items}) > 1


@pytest.mark.parametrize("name", FILES)
def test_other_columns_are_refused_by_name(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "Natural"
    path = write_json(folder / "chat_filtered.json", [{"colour": "red", "weight": 1}])
    with pytest.raises(SuiteError) as caught:
        load_suite(name, str(path))
    message = str(caught.value)
    assert f"{path}: row 1: no column" in message
    assert "expected" in message
    assert "found colour, weight" in message


def test_every_suite_is_in_the_help_and_has_a_file_here() -> None:
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter)
    EVALUATE.load().add_arguments(parser)
    words = parser.format_help().split()
    names = {suite.name for suite in SUITES}
    assert names == {*FILES, "held-out", "validation"}
    for name in names:
        assert name in words


def test_every_suite_is_in_the_docs_with_its_source() -> None:
    page = (Path(__file__).parents[1] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    for suite in SUITES:
        assert suite.title in rows[suite.name] or not suite.citation.startswith("arXiv")
        if suite.citation.startswith("arXiv"):
            assert suite.citation in rows[suite.name]
        assert suite.hub in rows[suite.name]


def test_labels_say_which_response_is_better(tmp_path: Path) -> None:
    first, second, *_ = read("judgebench", tmp_path)
    assert (first.worth, second.worth) == ((0.0, 1.0), (1.0, 0.0))
    worth = [item.worth for item in read("llmbar", tmp_path / "l") if item.subset == "Natural"]
    assert worth == [(1, 0), (0, 1), (1, 0)]
    # preference_strength > 0: the second one; the row of the train split is left out
    assert [item.worth for item in read("helpsteer2", tmp_path / "h")] == [
        (-2, 2),
        (1, -1),
        (0, 0),
    ]
    people = read("pandalm", tmp_path / "p")
    assert [item.worth for item in people] == [(1, 0), (0, 1), (0.5, 0.5), (0.5, 0.5)]
    assert people[1].annotators == (-1, -1, 1)
    assert people[1].prompt == "Sort 1\n\nb a"


GOOD = {
    "rm-bench": STYLES,
    "rewardbench": ["Bake it well."],
    "rewardbench2": ["Bake it.", "Rye", "Oat"],
    "rmb": ["An hour."],
    "judgebench": ["It is four.", "It is five, surely."],
    "evalbiasbench": ["Yes."],
    "ppe-human": ["Short.", "A longer one."],
    "hh-rlhf": ["Rye not?", "Rye not?  Human: ha\n\nAssistant: Indeed."],
    "hh-harmless": ["Rye not?", "Rye not?  Human: ha\n\nAssistant: Indeed."],
    "hh-helpful": ["Rye not?", "Rye not?  Human: ha\n\nAssistant: Indeed."],
    "helpsteer2": ["Two, too.", "One."],
    "rag-rewardbench": ["As [1] says."],
    "pairs": ["Often."],
}
"""Texts that win in the files of these suites; of the others more is said below."""


@pytest.mark.parametrize("name", GOOD)
def test_the_responses_that_win_are_the_good_ones(name: str, tmp_path: Path) -> None:
    won = [
        item.responses[label.better]
        for item in read(name, tmp_path)
        for label in item.comparisons()
    ]
    assert {*won} == {*GOOD[name]}
    if name == "ppe-human":
        assert won == ["Short.", "A longer one."]


def test_turns_of_help_steer_are_taken_apart(tmp_path: Path) -> None:
    first, *_, last = read("helpsteer2", tmp_path)
    assert first.messages == (
        ChatMessage("user", "Ask."),
        ChatMessage("assistant", "What?"),
        ChatMessage("user", "This"),
    )
    assert last.messages == (ChatMessage("user", "Ask 3"),)


def best_of_k_row(number: int, scores: list[bool], **more: object) -> dict[str, object]:
    return {
        "question_id": f"q{number}",
        "model_name": "m",
        "prompt": f"Solve {number}",
        **{f"response_{k + 1}": f"answer {k + 1}" for k in range(len(scores))},
        "scores": scores,
        **more,
    }


def test_published_pairs_of_best_of_k_are_taken_by_number(tmp_path: Path) -> None:
    scores = [False] * 9 + [True, False, False]
    pairs = [[9, 1], [10, 9], [0, 9]]
    for name in ("PPE-MATH-Best-of-K", "PPE-IFEval-Best-of-K"):
        folder = tmp_path / "mathias" / name / "data"
        rows = [best_of_k_row(1, scores, sampled_conflict_pairs=pairs)]
        parquet(folder / "train-0.parquet", rows)
    items = load_suite("ppe-correctness", str(tmp_path)).items
    assert [item.subset for item in items] == ["IFEval", "MATH"]
    for item in items:
        assert item.responses[9] == "answer 10"
        assert [(label.better, label.worse) for label in item.comparisons()] == [
            (9, 1),
            (9, 10),
            (9, 0),
        ]
    path = write_json(
        tmp_path / "bad.json", [best_of_k_row(1, [True, False], sampled_conflict_pairs=[[0, 2]])]
    )
    with pytest.raises(SuiteError, match="sampled_conflict_pairs"):
        load_suite("ppe-correctness", str(path))


def test_only_the_files_of_a_suite_are_read_in_a_clone(tmp_path: Path) -> None:
    llmbar = FILES["llmbar"](tmp_path / "LLMBar")
    write_json(llmbar / "evaluators" / "x" / "result.json", [{"winner": 1}])
    write_json(llmbar / "CaseStudy" / "Base" / "dataset.json", [{"input": 1}])
    assert len(load_suite("llmbar", str(llmbar)).items) == 15
    people = FILES["pandalm"](tmp_path / "panda").parent
    write_json(people / "gpt-3.5-turbo-testset-v1.json", [{"idx": 1}])
    assert len(load_suite("pandalm", str(people)).items) == 4
    # RM-Bench's own folder holds every row twice.
    rm_bench = FILES["rm-bench"](tmp_path / "rm")
    rows = [
        {**row, "domain": path.name.partition("_")[0]}
        for path in sorted(rm_bench.glob("*.json"))
        for row in json.loads(path.read_text())
    ]
    twelve = load_suite("rm-bench", str(rm_bench)).items
    write_json(rm_bench / "total_dataset.json", rows)
    loaded = load_suite("rm-bench", str(rm_bench))
    assert list(loaded.sha256) == ["total_dataset.json"]
    assert [item.id for item in loaded.items] == [item.id for item in twelve]


def test_weights_and_sections_of_reward_bench_are_whole() -> None:
    subsets = [subset for section in SECTIONS.values() for subset in section]
    assert sorted(subsets) == sorted(COUNTS)
    weights = {
        section: sum(COUNTS[subset] for subset in subsets) for section, subsets in SECTIONS.items()
    }
    assert weights == {"Chat": 358, "Chat Hard": 456, "Safety": 740, "Reasoning": 1968}
    assert (COUNTS["xstest-should-refuse"], COUNTS["xstest-should-respond"]) == (250, 154)
    assert COUNTS["alpacaeval-easy"] == 100


def test_what_hh_rlhf_judged_is_its_folder_or_said(tmp_path: Path) -> None:
    """A name that only contains a word says nothing: this file was harmless to the old rule."""
    (folder,) = (FILES["hh-rlhf"](tmp_path).parent,)
    assert {item.group for item in load_suite("hh-rlhf", str(tmp_path)).items} == {"safety"}
    elsewhere = tmp_path / "mine"
    elsewhere.mkdir()
    (elsewhere / "helpful-not-harmless.jsonl.gz").write_bytes(
        (folder / "test.jsonl.gz").read_bytes()
    )
    with pytest.raises(SuiteError, match=r"hh-harmless=… or hh-helpful=…"):
        load_suite("hh-rlhf", str(elsewhere))
    for name, group in (("hh-harmless", "safety"), ("hh-helpful", "subjective")):
        items = load_suite(name, str(elsewhere)).items
        assert {(item.group, item.subset) for item in items} == {(group, name[3:])}


def test_a_mistyped_folder_is_not_asked_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.evaluation.suites.registry._download", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    with pytest.raises(SuiteError, match="no such file or folder"):
        load_suite("rm-bench", "data/rm-bench")


def test_a_transcript_is_taken_apart_where_the_two_part(tmp_path: Path) -> None:
    one, longer = read("hh-rlhf", tmp_path)
    assert one.messages == (
        ChatMessage("user", "Hi."),
        ChatMessage("assistant", "Hello."),
        ChatMessage("user", "A joke?"),
    )
    assert one.responses == ("Rye not?", "No.")
    assert one.group == "safety"
    assert longer.messages == one.messages
    assert longer.responses == ("Rye not?  Human: ha\n\nAssistant: Indeed.", "Why?")


def test_the_three_forms_of_trl_give_the_same_item(tmp_path: Path) -> None:
    items = read("pairs", tmp_path)
    assert len({(item.messages, item.responses) for item in items}) == 1


def test_values_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    row = {"input": "a", "output_1": "b", "output_2": "c", "label": 3}
    path = write_json(tmp_path / "Natural" / "dataset.json", [{**row, "label": 1}, row])
    with pytest.raises(SuiteError, match=r"dataset\.json: row 2: label is 3, expected 1 or 2"):
        load_suite("llmbar", str(path))
    path = write_json(tmp_path / "Other" / "dataset.json", [row])
    with pytest.raises(SuiteError, match="no known subset 'Other'"):
        load_suite("llmbar", str(path))
    path = write_lines(tmp_path / "cut.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}])
    path.write_text(path.read_text() + '{"input": ')
    with pytest.raises(SuiteError, match=r"cut\.jsonl: row 2: not JSON"):
        load_suite("pairs", str(path).replace("cut", "c*t"))


def test_places_that_hold_nothing_are_named(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="no benchmark 'rm-bank'; there are rm-bench"):
        load_suite("rm-bank", "x")
    with pytest.raises(SuiteError, match="no such file or folder"):
        load_suite("rmb", "./nowhere")
    with pytest.raises(SuiteError, match="not on the Hub: name them"):
        load_suite("rmb", "")
    (tmp_path / "readme.txt").write_text("x")
    with pytest.raises(SuiteError, match="no file there ends in"):
        load_suite("rmb", str(tmp_path))
    with pytest.raises(SuiteError, match="no rows to score"):
        load_suite("pairs", str(write_json(tmp_path / "none.json", [])))


def test_own_threads_keep_their_pairs_and_times(tmp_path: Path) -> None:
    pairs = make_pairs(6, "test", responses=4) + make_pairs(3, "train")
    folder = write_dataset(tmp_path / "data", pairs)
    items = load_suite("held-out", str(folder)).items
    assert len(items) == 6
    for item in items:
        own = [pair for pair in pairs if pair.thread_id == item.id]
        found = Counter(
            (item.responses[label.better], item.responses[label.worse])
            for label in item.comparisons()
        )
        assert found == Counter((pair.chosen, pair.rejected) for pair in own)
        assert sum(label.weight for label in item.comparisons()) == pytest.approx(1)
        assert len(item.times) == len(item.responses)
    with pytest.raises(SuiteError, match="no rows"):
        load_suite("validation", str(folder))


def real(*parts: str) -> str:
    path = REAL.joinpath(*parts)
    if not path.exists():
        pytest.skip("the published files are not here")
    return str(path)


def test_published_files_have_their_published_sizes() -> None:
    rm_bench = load_suite("rm-bench", real("rm-bench"))
    assert len(rm_bench.items) == 129
    llmbar = load_suite("llmbar", real("llmbar", "LLMBar")).items
    assert Counter(item.subset for item in llmbar) == {
        "Natural": 100,
        "Neighbor": 134,
        "GPTInst": 92,
        "GPTOut": 47,
        "Manual": 46,
    }
    assert len(load_suite("hh-harmless", real("hh-rlhf")).items) == 2312


def test_files_are_told_apart_in_the_digests(tmp_path: Path) -> None:
    folder = FILES["llmbar"](tmp_path)
    digests = load_suite("llmbar", str(folder)).sha256
    assert len(digests) == 5
    assert {"Natural/dataset.json", "Neighbor/dataset.json"} <= digests.keys()
    assert all(len(digest) == 64 for digest in digests.values())
    assert json.dumps(digests) == json.dumps(load_suite("LLMBar", str(folder)).sha256)
