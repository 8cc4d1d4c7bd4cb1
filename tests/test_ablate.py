"""The datasets that are compared: cut to one size, chosen fairly, and controls without votes."""

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ablate.arms import curation, make_arms
from pipeline.ablate.controls import no_votes, shuffled_labels
from pipeline.ablate.equal_pairs import PairSize, equal_pairs, unordered
from pipeline.ablate.fair_pairs import DAY_MS, FairRules, fair_pairs
from pipeline.ablate.made_folder import read_table, write_made
from pipeline.ablate.page import make_page
from pipeline.ablate.plan import Arm, Plan, Suite, read_plan
from pipeline.ablate.steps import Steps
from pipeline.ablate.summary import summary
from pipeline.dataset import DatasetFolder
from pipeline.errors import UsageError
from schemas.ablation import (
    AblationResults,
    ArmDifference,
    ArmFigures,
    ArmSize,
    Span,
    SuiteFigures,
)
from schemas.arrow import PAIR_SCHEMA
from schemas.manifest import Accounting, Manifest
from schemas.pair import PAIR_SCHEMA_VERSION, Pair, text_hash
from training.data.dataset import PairDataset
from transforms.writers.tables import to_table

SITE = "planted.example.com"


def pair(thread: int, chosen: int, rejected: int, **values: Any) -> Pair:
    texts = {
        "prompt": f"question {thread}",
        "chosen": f"answer {chosen} " + "word " * (chosen % 7),
        "rejected": f"answer {rejected} " + "word " * (rejected % 7),
    }
    sides = {
        f"{side}_{name}": value
        for side, number in (("chosen", chosen), ("rejected", rejected))
        for name, value in {
            "score": 3.0 if side == "chosen" else 1.0,
            "is_accepted": False,
            "id": f"{SITE}:{number}",
            "created_at": number * 1000,
            "url": f"https://{SITE}/{number}",
            "author": f"author {number}",
            "author_url": None,
            "license": "CC0-1.0",
        }.items()
    }
    base: dict[str, Any] = {
        "pair_id": f"{SITE}:{thread}/{chosen}>{rejected}",
        "source": "threads",
        "site": SITE,
        "thread_id": f"{SITE}:{thread}",
        "split": ("train", "validation", "test")[thread % 3],
        "language": "en",
        **texts,
        "text_hash": text_hash(*texts.values()),
        "vote_margin": 2.0,
        "window_chosen_score": 3,
        "window_rejected_score": 1,
        "confidence": 0.9,
        "tags": (),
        "prompt_id": f"{SITE}:{thread}",
        "prompt_created_at": 0,
        "prompt_url": "",
        "prompt_author": "",
        "prompt_author_url": None,
        "prompt_license": "CC0-1.0",
        **sides,
    }
    return Pair(**{**base, **values})


def table(threads: int = 30) -> pa.Table:
    rows = [
        pair(thread, 10 * thread + a, 10 * thread + b)
        for thread in range(1, threads + 1)
        for a, b in ((1, 2), (3, 1))
    ]
    return to_table(rows, PAIR_SCHEMA)


def manifest() -> Manifest:
    nothing = Accounting(
        posts_read=0, posts_kept=0, duplicates=0, rejected=0, pairs={}, threads={}, stages=(),
        other_records={},
    )  # fmt: skip
    return Manifest(
        pair_schema_version=PAIR_SCHEMA_VERSION, recipe={}, versions={}, inputs=(),
        accounting=nothing, publishable=True, shards=(),
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    (source / "manifest.json").write_bytes(msgspec.json.encode(manifest()))
    write_made(table(), source, tmp_path / "curated", "of a test")
    return tmp_path / "curated"


SIZES = st.lists(
    st.builds(
        PairSize,
        st.integers(0, 60).map(str),
        st.sampled_from(["train", "test"]),
        st.integers(10, 400),
    ),
    unique_by=lambda size: size.pair,
)


@given(st.dictionaries(st.sampled_from("abc"), SIZES, min_size=2), st.integers(0, 3))
def test_all_arms_keep_as_many_pairs_of_each_split_and_length(
    arms: dict[str, list[PairSize]], seed: int
) -> None:
    kept = equal_pairs(arms, seed)
    counts = {
        arm: Counter(arms[arm][place].split for place in places) for arm, places in kept.items()
    }
    assert len({tuple(sorted(one.items())) for one in counts.values()}) == 1
    words = [sum(arms[arm][place].words for place in places) for arm, places in kept.items()]
    assert max(words) <= 1.16 * min(words)
    # Another order of the pairs keeps the same ones.
    turned = equal_pairs({arm: sizes[::-1] for arm, sizes in arms.items()}, seed)
    for arm, places in kept.items():
        names = {arms[arm][place].pair for place in places}
        assert names == {arms[arm][::-1][place].pair for place in turned[arm]}


def test_equal_arms_keep_the_same_pairs_whichever_response_won() -> None:
    sizes = [PairSize(unordered("t", str(n), "x"), "train", 100) for n in range(50)]
    turned = [PairSize(unordered("t", "x", str(n)), "train", 100) for n in range(0, 50, 2)]
    kept = equal_pairs({"all": sizes, "half": turned})
    assert len(kept["all"]) == len(kept["half"]) == 25
    overlap = {sizes[place].pair for place in kept["all"]} & {one.pair for one in turned}
    assert 6 < len(overlap) < 20  # by hash, about half of them


def test_shuffled_labels_swap_whole_responses_by_a_fair_coin() -> None:
    before = table(200)
    after = shuffled_labels(before, seed=1)
    swapped = 0
    for old, new in zip(before.to_pylist(), after.to_pylist(), strict=True):
        turned = new["chosen"] != old["chosen"]
        swapped += turned
        for name in ("", "_id", "_author", "_created_at", "_url"):
            mine, other = ("rejected", "chosen") if turned else ("chosen", "rejected")
            assert new[f"chosen{name}"] == old[f"{mine}{name}"]
            assert new[f"rejected{name}"] == old[f"{other}{name}"]
        assert new["text_hash"] == text_hash(new["prompt"], new["chosen"], new["rejected"])
        assert new["pair_id"].split("/")[1] == "{}>{}".format(
            *(new[f"{side}_id"].split(":")[1] for side in ("chosen", "rejected"))
        )
    assert 0.4 < swapped / before.num_rows < 0.6
    assert shuffled_labels(before, seed=1).equals(after)
    assert not shuffled_labels(before, seed=2).equals(after)


def test_the_coin_does_not_know_which_response_won() -> None:
    rows = [pair(thread, 10 * thread + 1, 10 * thread + 2) for thread in range(1, 60)]
    turned = [pair(thread, 10 * thread + 2, 10 * thread + 1) for thread in range(1, 60)]
    first, second = (shuffled_labels(to_table(one, PAIR_SCHEMA)) for one in (rows, turned))
    assert first["chosen_id"].to_pylist() == second["chosen_id"].to_pylist()


def test_no_votes_pairs_an_answer_with_one_to_another_question() -> None:
    before = table(40)
    after = no_votes(before)
    assert after.num_rows == before.num_rows
    threads = {
        name: row["thread_id"]
        for row in before.to_pylist()
        for name in (row["chosen_id"], row["rejected_id"])
    }
    splits = {row["thread_id"]: row["split"] for row in before.to_pylist()}
    lengths, which = [], 0
    for old, new in zip(before.to_pylist(), after.to_pylist(), strict=True):
        assert threads[new["chosen_id"]] == new["thread_id"] == old["thread_id"]
        assert threads[new["rejected_id"]] != new["thread_id"]
        assert splits[threads[new["rejected_id"]]] == new["split"]
        assert new["confidence"] == 1.0 and new["window_chosen_score"] is None
        lengths.append(len(new["chosen"].split()) - len(new["rejected"].split()))
        which += new["chosen_id"] == old["chosen_id"]
    assert max(map(abs, lengths)) <= 1
    assert 0.3 < which / before.num_rows < 0.7  # winners and losers alike


def test_no_votes_never_takes_the_other_answer_of_the_same_question() -> None:
    """Not even where that one is nearest in length."""

    def words(count: int, name: int) -> str:
        return f"{name} " + "word " * count

    rows = [
        msgspec.structs.replace(
            pair(n, 2 * n, 2 * n + 1), chosen=words(9 * n, n), rejected=words(9 * n + 1, -n)
        )
        for n in range(1, 7)
    ]
    for row in no_votes(to_table(rows, PAIR_SCHEMA)).to_pylist():
        thread = int(row["thread_id"].rpartition(":")[2])
        assert row["chosen"].split()[0] in (str(thread), str(-thread))
        assert row["rejected"].split()[0] not in (str(thread), str(-thread))


def test_fair_pairs_are_of_one_day_with_many_votes_and_confidence() -> None:
    rows = [
        pair(1, 11, 12),
        pair(2, 21, 22, rejected_created_at=DAY_MS + 5),
        pair(3, 31, 32, confidence=0.6),
        pair(4, 41, 42, window_chosen_score=1, window_rejected_score=0),
        pair(5, 51, 52, window_chosen_score=None, window_rejected_score=None),
    ]
    found = fair_pairs(to_table(rows, PAIR_SCHEMA), FairRules(True, 3, 0.8))
    assert found["thread_id"].to_pylist() == [f"{SITE}:1"]
    assert fair_pairs(to_table(rows, PAIR_SCHEMA), FairRules(False, 0, 0.0)).num_rows == 5


def test_a_made_folder_trains_and_says_that_it_is_not_for_publishing(
    folder: Path, tmp_path: Path
) -> None:
    plan = Plan(
        arms=(Arm(name="real"), Arm(name="coin", control="shuffled_labels")),
        input=("threads=x",),
    )
    digests = make_arms(plan, {"real": folder, "coin": folder}, tmp_path / "arms")
    made = DatasetFolder(str(tmp_path / "arms" / "coin"))
    assert not made.manifest.publishable
    assert "shuffled labels" in made.manifest.not_publishable_because[0]
    assert not DatasetFolder(str(tmp_path / "arms" / "real")).manifest.publishable
    dataset = PairDataset(str(tmp_path / "arms" / "coin"), "train")
    dataset.verify()
    assert sum(dataset.rows) == made.manifest.accounting.pairs["train"] > 0
    sizes = [read_table(tmp_path / "arms" / name).num_rows for name in ("real", "coin")]
    assert sizes[0] == sizes[1] == 60
    assert make_arms(plan, {"real": folder, "coin": folder}, tmp_path / "again") == digests


PLAN = """
input = ["threads=x"]
[[arms]]
name = "a"
[[arms]]
name = "b"
votes = "common_window"
"""


def test_a_plan_is_read_and_its_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "arms.toml"
    path.write_text(PLAN)
    plan = read_plan(str(path), ["stackexchange=y"])
    assert plan.input == ("stackexchange=y",)
    assert plan.compared_with == "a" and plan.rotates and plan.shares == "1/1/1"
    for wrong, said in (
        (PLAN + 'name = "c"\n', "arms.toml"),
        (PLAN.replace('"b"', '"a"'), "two are called 'a'"),
        ("reference = 'z'\n" + PLAN, "no arm is called 'z'"),
        (PLAN + "vote = 1\n", "vote"),
        (PLAN + "[curate]\nsplit = '1/1/1'\n", "split is set by the plan"),
        (PLAN.replace('input = ["threads=x"]', ""), "--input"),
        (PLAN + "[train]\nhow = 'full'\n", "train.model"),
    ):
        path.write_text(wrong)
        with pytest.raises(UsageError, match=said):
            read_plan(str(path))


def test_curations_are_shared_by_what_has_the_same_recipe() -> None:
    plan = Plan(arms=(Arm(name="a"), Arm(name="b")), input=("threads=x",))
    assert curation(plan, "net_votes", {}) == curation(plan, "net_votes", {})
    other = curation(plan, "net_votes", {"min_margin": 2, "drop_edited": True})
    assert other.name != curation(plan, "net_votes", {}).name
    assert {"--min-margin=2", "--drop-edited", "--split=1/1/1"} <= {*other.flags}


def test_a_step_is_done_once_and_anew_where_its_source_has_changed(tmp_path: Path) -> None:
    said: list[str] = []
    made = tmp_path / "made"
    calls: list[int] = []

    def make() -> int:
        calls.append(1)
        made.write_text("x")
        return len(calls)

    def run(source: Any) -> Any:
        return Steps(tmp_path, 1, said.append).step("one", source, made, make)

    assert [run([1]), run([1])] == [1, 1]
    assert run([2]) == 2 and "has changed" in said[-1]
    made.unlink()
    assert run([2]) == 3 and "is gone" in said[-1]

    def fail() -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Steps(tmp_path, 1, said.append).step("one", [3], made, fail)
    assert run([3]) == 4  # what broke off does not count, though an older one is there


def results() -> AblationResults:
    def figures(arm: str, value: float) -> ArmFigures:
        span = Span(value, value - 0.02, value + 0.02)
        return ArmFigures(
            arm=arm, accuracy=span, chosen_longer=span, chosen_shorter=None, without_style=span,
            seed_deviation=0.01,
        )  # fmt: skip

    def difference(arm: str, value: float, p: float) -> ArmDifference:
        return ArmDifference(
            arm=arm, figure="accuracy", difference=Span(value, value - 0.02, value + 0.02), p=p,
            p_holm=p, detectable=0.031,
        )  # fmt: skip

    suite = SuiteFigures(
        name="fair", kind="forum", comparisons=200, questions=90, ceiling=None,
        longer=Span(0.6, 0.5, 0.7),
        arms=(figures("a", 0.6), figures("<b>", 0.66), figures("c", 0.61)),
        differences=(difference("<b>", 0.06, 0.001), difference("c", 0.01, 0.4)),
    )  # fmt: skip
    sizes = tuple(
        ArmSize(arm=name, pairs=10, questions=5, words=100, longer=0.6)
        for name in ("a", "<b>", "c")
    )
    return AblationResults(
        reference="a", features="words", seeds=3, rotate=True, bootstrap=1000, arms=sizes,
        suites=(suite,), warnings=("few",),
    )  # fmt: skip


def test_the_page_and_the_summary_say_what_was_found_and_what_could_not_be() -> None:
    found = results()
    plan = Plan(
        arms=(Arm(name="a"), Arm(name="<b>"), Arm(name="c")), input=("threads=x",),
        suites=(Suite(name="fair"),),
    )  # fmt: skip
    text = summary(found)
    assert "<b>: better than a." in text
    assert "No difference to a was found for c; one of 3.1 to 3.1 points" in text
    page = make_page(plan, found)
    assert "<b>:" not in page and "&lt;b&gt;: better than a." in page
    assert page.count("<svg") == 2 and "http" not in page.replace("http-equiv", "")
    assert make_page(plan, found) == page
