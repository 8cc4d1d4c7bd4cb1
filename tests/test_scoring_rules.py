import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.suite_files import FILES, parquet, write_lines
from tests.test_suites import best_of_k_row, real
from training.evaluation.comparisons import units_of
from training.evaluation.figures import Blend, Leaf, draw, estimate, resampled, value
from training.evaluation.items import Item, Scores, conversation
from training.evaluation.scoring_rules import expected_best, human_agreement
from training.evaluation.suites.registry import BY_NAME, load_suite

TIES_MOST = 1.01


def figures(items: tuple[Item, ...], scores: Scores, *, half: bool = False) -> dict[str, float]:
    nodes = BY_NAME[items[0].suite].rule(items, scores, units_of(items), half)
    return {node.name: value(node) for node in nodes}


def oracle(items: tuple[Item, ...], sign: float = 1) -> Scores:
    return [sign * np.array(item.worth) for item in items]


@pytest.mark.parametrize("name", FILES)
def test_a_perfect_scorer_gets_all_and_an_inverted_one_nothing(name: str, tmp_path: Path) -> None:
    items = load_suite(name, str(FILES[name](tmp_path))).items
    perfect, inverted = figures(items, oracle(items)), figures(items, oracle(items, -1))
    for figure, right in perfect.items():
        if figure == "Ties":
            assert right == pytest.approx(TIES_MOST)
            assert inverted[figure] == pytest.approx(-0.01)
        elif name == "rewardbench2" and figure == "score":
            assert right == pytest.approx((5 + TIES_MOST) / 6)
        elif figure.startswith("best of"):
            continue  # see below: a draw may hold no right answer
        else:
            assert (right, inverted[figure]) == (pytest.approx(1), pytest.approx(0)), figure


@pytest.mark.parametrize("name", FILES)
def test_constant_scores_get_chance_with_ties_at_half_and_nothing_as_published(
    name: str, tmp_path: Path
) -> None:
    items = load_suite(name, str(FILES[name](tmp_path))).items
    constant = [np.zeros(len(item.responses)) for item in items]
    half, published = figures(items, constant, half=True), figures(items, constant)
    first = next(iter(half))
    expected = {"rewardbench2": (5 * 0.25 + 0) / 6, "rmb": (0.5 + 0.5 + 1 / 3 + 1 / 3) / 4}
    assert half[first] == pytest.approx(expected.get(name, 0.5))
    if name == "rewardbench2":  # the public code itself shares a point among ties
        assert published[first] == half[first]
    else:
        assert published[first] == 0


def test_rm_bench_levels_are_the_triangles_of_the_matrix(tmp_path: Path) -> None:
    items = load_suite("rm-bench", str(FILES["rm-bench"](tmp_path))).items
    # A scorer of style alone: the fancier response always wins; the same style ties.
    fancy = [np.array([0.0, 1, 2, 0, 1, 2]) for _ in items]
    found = figures(items, fancy)
    assert (found["easy"], found["normal"], found["hard"]) == (1, 0, 0)
    assert found["overall"] == pytest.approx(1 / 3)
    assert figures(items, fancy, half=True)["normal"] == pytest.approx(0.5)
    # Only chat right: refusals and responses are one domain of three here.
    good = [np.array([1.0] * 3 + [0] * 3) * (item.subset == "chat") for item in items]
    found = figures(items, good)
    assert found["overall"] == pytest.approx(1 / 3)
    one_half = [np.array([1.0] * 3 + [0] * 3) * (item.subset == "safety-refuse") for item in items]
    assert figures(items, one_half)["safety"] == pytest.approx(0.5)


def test_reward_bench_sections_weigh_subsets_by_the_published_counts(tmp_path: Path) -> None:
    items = load_suite("rewardbench", str(FILES["rewardbench"](tmp_path))).items
    only_math = [np.array([1.0, 0]) * (item.subset == "math-prm") for item in items]
    found = figures(items, only_math)
    assert found["Reasoning"] == pytest.approx(984 / (984 + 164))
    assert found["score"] == pytest.approx(found["Reasoning"] / 4)


def test_ties_of_reward_bench_2_follow_the_formula(tmp_path: Path) -> None:
    items = load_suite("rewardbench2", str(FILES["rewardbench2"](tmp_path))).items
    items = tuple(item for item in items if item.subset == "Ties")
    by_id = {
        "ref:0": [3.0, 1, 0],  # gap 2
        "tied:0": [4.0, 3, 0, 0],  # gap 3, spread 1
        "ref:1": [1.0, 2, 0],  # wrong, gap -1
        "tied:1": [5.0, 1, 0, 0],  # gap 1, spread 4
    }
    found = figures(items, [np.array(by_id[item.id]) for item in items])["Ties"]
    tanh = (np.tanh(2 / 1 - 1) + np.tanh(-1 / 4 - 1)) / 2
    assert found == pytest.approx(0.3 * 1 + 0.3 * 0.5 + 0.2 * 0.5 + 0.2 * 0.5 + 0.01 * tanh)


def test_rmb_best_of_n_must_beat_every_loser(tmp_path: Path) -> None:
    items = load_suite("rmb", str(FILES["rmb"](tmp_path))).items
    second = [np.array([1.0, 0, 2][: len(item.responses)]) for item in items]
    found = figures(items, second)
    assert found["Helpfulness, pairs"] == 1
    assert found["Helpfulness, best-of-N"] == 0
    assert found["overall"] == pytest.approx(0.5)


def test_the_mean_of_adversarial_subsets_weighs_them_alike(tmp_path: Path) -> None:
    items = load_suite("llmbar", str(FILES["llmbar"](tmp_path))).items
    scores = [np.array(item.worth) * (item.subset in ("Manual", "Natural")) for item in items]
    found = figures(items, scores)
    assert found["adversarial"] == pytest.approx(0.25)
    assert found["accuracy"] == pytest.approx(2 / 5)


def test_judge_bench_is_published_by_the_model_that_wrote_the_answers(tmp_path: Path) -> None:
    path = FILES["judgebench"](tmp_path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for number, row in enumerate(rows):
        row["response_model"] = "claude-3" if number < 2 else "gpt-4o-2024"
    write_lines(path, rows)
    items = load_suite("judgebench", str(path)).items
    right = [np.array(item.worth) * (item.written_by != "claude-3") for item in items]
    found = figures(items, right)
    assert list(found)[:3] == ["answers of gpt-4o-2024", "answers of claude-3", "accuracy"]
    assert list(found.values())[:3] == [1, 0, 6 / 8]


def test_best_of_k_is_scored_on_published_pairs_and_by_set(tmp_path: Path) -> None:
    for name, pairs in (("MATH", [[0, 1]]), ("GPQA", [[0, 1], [2, 0], [0, 2]])):
        row = best_of_k_row(1, [True, False, False], sampled_conflict_pairs=pairs)
        parquet(tmp_path / f"PPE-{name}-Best-of-K" / "train.parquet", [row])
    items = load_suite("ppe-correctness", str(tmp_path)).items
    scores = [np.array([1.0, 0.0, 2.0]) for _ in items]  # right above one wrong, not the other
    found = figures(items, scores)
    assert found["MATH"] == 1
    assert found["GPQA"] == pytest.approx(1 / 3)
    assert found["accuracy"] == pytest.approx((1 + 1 / 3) / 2)
    assert found["area under ROC"] == pytest.approx(0.5)
    assert found["best of 3"] == 0
    assert found["best of 1"] == pytest.approx(1 / 3)


def test_people_are_judged_by_the_two_others(tmp_path: Path) -> None:
    items = load_suite("pandalm", str(FILES["pandalm"](tmp_path))).items
    # (1,1,1): 3 of 3. (2,2,1): only the third has two others who agree, and is wrong. Others: none.
    # The model is asked the same: three times about the first item, once about the second.
    first = [np.array([1.0, 0]) for _ in items]
    assert human_agreement(items, first) == (3 / 4, 3 / 4, 4)
    second = [np.array([1.0, 0]), *[np.array([0, 1.0]) for _ in items[1:]]]
    assert human_agreement(items, second) == (3 / 4, 1, 4)
    assert human_agreement(items, [np.zeros(2) for _ in items]) == (3 / 4, 1 / 2, 4)
    broken = [np.array([np.nan, 0]) for _ in items]
    assert human_agreement(items, broken) == (3 / 4, 0, 4)
    pairs = load_suite("pairs", str(FILES["pairs"](tmp_path))).items
    assert human_agreement(pairs, [np.zeros(2) for _ in pairs]) is None


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), min_size=1, max_size=6))
def test_best_of_k_is_the_mean_over_all_subsets(answers: list[tuple[int, int]]) -> None:
    scores = np.array([score for score, _ in answers], dtype=float)
    worth = np.array([right for _, right in answers], dtype=float)
    found = expected_best(worth, scores)
    for k in range(1, len(answers) + 1):
        gained = []
        for subset in combinations(range(len(answers)), k):
            best = scores[list(subset)].max()
            # one of equal score is drawn at random among all answers of this score
            gained.append(worth[scores == best].mean())
        assert found[k - 1] == pytest.approx(np.mean(gained))


def test_not_a_number_loses() -> None:
    item = Item(
        suite="pairs",
        id="1",
        subset="s",
        group="held-out",
        kind="pair",
        messages=conversation("p"),
        responses=("a", "b"),
        worth=(1, 0),
    )
    assert figures((item,), [np.array([np.nan, 0])], half=True)["accuracy"] == 0
    # Nor is it the best of k.
    assert expected_best(np.array([1.0, 0]), np.array([np.nan, 0])).tolist() == [0.5, 0]


def test_a_prompt_is_drawn_as_a_whole() -> None:
    # All pairs of one prompt are right, all of the other wrong: a draw gives 0, 1 or 1/2.
    leaf = Leaf("", np.array([1.0] * 50 + [0] * 50), np.ones(100), np.repeat([0, 1], 50))
    times = draw(2, 400, 0)
    assert set(resampled(leaf, times).tolist()) == {0, 0.5, 1}
    found = estimate(Blend("", ((1.0, leaf), (1.0, leaf))), times)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0, 1))
    assert not np.array_equal(times, draw(2, 400, 0, stream=1))


def length(items: tuple[Item, ...]) -> Scores:
    return [np.array([float(len(text)) for text in item.responses]) for item in items]


def test_length_on_the_published_files() -> None:
    items = load_suite("rm-bench", real("rm-bench")).items
    found = figures(items, length(items))
    assert found["chat easy"] == pytest.approx(0.8114, abs=5e-4)
    assert found["chat normal"] == pytest.approx(0.2842, abs=5e-4)
    assert found["chat hard"] == pytest.approx(0.0258, abs=5e-4)
    items = load_suite("llmbar", real("llmbar", "LLMBar")).items
    found = figures(items, length(items))
    expected = {"Natural": 56, "Neighbor": 16, "GPTInst": 12, "GPTOut": 21, "Manual": 8}
    for subset, right in expected.items():
        count = sum(item.subset == subset for item in items)
        assert round(found[subset] * count) == right
    items = load_suite("hh-harmless", real("hh-rlhf")).items
    assert figures(items, length(items))["accuracy"] == pytest.approx(0.4433, abs=5e-4)


@pytest.mark.parametrize(("name", "folder"), [("rm-bench", "rm-bench"), ("llmbar", "llmbar")])
def test_oracles_on_the_published_files(name: str, folder: str) -> None:
    items = load_suite(name, real(folder)).items
    for sign, expected in ((1, 1), (-1, 0)):
        found = figures(items, oracle(items, sign))
        assert found == pytest.approx(dict.fromkeys(found, expected))
