"""Options of filters, languages, votes and pairs hold for preference sets where they are given."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from pipeline.curate import recipe as recipes
from pipeline.curate.set_rules import SET_RULES
from pipeline.errors import RecipeError, UsageError
from schemas.audit import Reason
from schemas.exit_codes import ExitCode
from schemas.manifest import MANIFEST_NAME
from schemas.post import ClosedAs
from tests import make
from tests.test_options import options
from transforms.filters import FilterRules, filter_rules_for_sets, filter_thread
from transforms.pairing import (
    PRESETS,
    PairingRules,
    VoteMode,
    decide_pairs,
    preset,
    rules_for_sets,
)

GIVEN = ("--input", "pairs=x", "--output", "o")
OFF = FilterRules(
    min_prompt_chars=None,
    max_prompt_chars=None,
    min_response_chars=None,
    max_response_chars=None,
    drop_closed=frozenset(),
    max_flags=None,
    drop_nsfw=False,
    drop_pinned=False,
    drop_bots=False,
    drop_hidden_scores=False,
    min_score_age_hours=None,
)


def rules_in(*arguments: str) -> list[str]:
    resolved = recipes.resolve(options(*GIVEN, *arguments).recipe)
    assert recipes.resolve(recipes.make(resolved)) == resolved, "a manifest gives itself again"
    return list(resolved["pairs_rules"])


def test_by_default_no_option_holds_for_sets() -> None:
    recipe = options(*GIVEN).recipe
    assert rules_in() == []
    assert recipes.set_filter_rules(recipe) == OFF
    assert recipes.language_rules(recipe).kept_sources == ("pairs",)
    rules = recipes.set_pairing_rules(recipe)
    assert not rules.drop_staff and rules.limits_on_judged == frozenset()
    # The forums of the same run are judged as ever.
    assert recipes.filter_rules(recipe) == FilterRules()
    assert recipes.pairing_rules(recipe) == preset("all")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("--min-response-chars", "5"), ["min_response_chars"]),
        (("--languages", "en"), ["languages"]),
        (("--languages", "all"), []),
        (("--no-drop-bots", "--min-margin", "2"), ["min_margin"]),
        (("--max-pairs-per-thread", "1"), ["max_pairs_per_thread"]),
        (("--languages", "en", "--min-margin", "2", "--pairs-rules", "min_margin"), ["min_margin"]),
        (("--languages", "en", "--pairs-rules", "none"), []),
        (("--languages", "en", "--pairs-rules", ""), []),
        (("--dedup", "exact", "--seed", "3"), []),
    ],
)
def test_an_option_that_is_given_holds_for_sets(
    arguments: tuple[str, ...], names: list[str]
) -> None:
    assert rules_in(*arguments) == names


def test_the_values_are_those_of_the_forums() -> None:
    recipe = options(
        *GIVEN, "--min-response-chars", "5", "--pairs-rules", "max_prompt_chars"
    ).recipe
    rules = recipes.set_filter_rules(recipe)
    assert (rules.min_response_chars, rules.max_prompt_chars) == (None, 40_000)
    recipe = options(*GIVEN, "--min-response-chars", "5", "--votes", "later_wins").recipe
    assert recipes.set_filter_rules(recipe).min_response_chars == 5
    assert recipes.set_pairing_rules(recipe).votes is VoteMode.LATER_WINS


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_that_is_named_holds_for_sets(name: str) -> None:
    recipe = options(*GIVEN, "--pairing", name).recipe
    expected = vars(preset(name)) | {"limits_on_judged": {"max_pairs_per_thread", "max_responses"}}
    assert vars(recipes.set_pairing_rules(recipe)) == expected
    assert recipes.set_filter_rules(recipe) == OFF


def test_all_judges_sets_as_forums() -> None:
    recipe = options(*GIVEN, "--pairs-rules", "all").recipe
    assert recipe.pairs_rules == tuple(sorted(SET_RULES))
    assert recipes.set_filter_rules(recipe) == recipes.filter_rules(recipe)
    assert recipes.language_rules(recipe).kept_sources == ()
    assert "languages" in rules_in("--pairs-rules", "all")


def test_without_sets_it_says_nothing_and_equal_work_has_an_equal_recipe() -> None:
    forum = ("--input", "stackexchange=x", "--output", "o")
    plain = recipes.resolve(options(*forum).recipe)
    assert plain["pairs_rules"] == []
    assert recipes.resolve(options(*forum, "--min-prompt-chars", "20").recipe) == plain


def test_options_of_the_command_line_are_added_to_those_of_a_file(tmp_path: Path) -> None:
    config = tmp_path / "recipe.yaml"
    config.write_text("input: [pairs=x]\npairs_rules: [languages]\n")
    given = ("--config", str(config), "--output", "o")
    assert options(*given).recipe.pairs_rules == ("languages",)
    assert options(*given, "--min-margin", "2").recipe.pairs_rules == ("languages", "min_margin")
    assert options(*given, "--pairs-rules", "none").recipe.pairs_rules == ()
    config.write_text("input: [pairs=x]\npairs_rules: none\nmin_ratio: 2\n")
    assert options(*given).recipe.pairs_rules == ()
    config.write_text("input: [pairs=x]\nmin_ratio: 2\n")
    assert options(*given).recipe.pairs_rules == ("min_ratio",)
    config.write_text("pairs_rules: [5]\n")
    with pytest.raises(UsageError, match="pairs_rules"):
        options(*given)


def test_a_manifest_of_before_judges_sets_as_it_did() -> None:
    old = recipes.resolve(options(*GIVEN).recipe)
    del old["pairs_rules"]
    recipe = recipes.make(old)
    assert recipes.set_filter_rules(recipe) == FilterRules()
    assert recipes.set_pairing_rules(recipe).drop_staff


def test_a_wrong_name_is_an_error_that_lists_the_right_ones() -> None:
    with pytest.raises(RecipeError, match=r"'min_margins'.*min_margin"):
        recipes.make({"pairs_rules": ["min_margins"]})


# The rules


def test_posts_without_a_text_are_refused_in_any_case() -> None:
    thread = make.thread(
        1, make.response(2, text=""), make.response(3, text="Yes."), make.response(4, text="No.")
    )
    thread = thread.__class__(
        prompt=make.prompt(1, title="", text="Why?", closed_as=ClosedAs.SPAM),
        responses=thread.responses,
    )
    outcome = filter_thread(thread, filter_rules_for_sets(FilterRules(), ()))
    assert outcome.thread is not None and len(outcome.thread.responses) == 2
    assert [row.reason for row in outcome.rejected] == [Reason.EMPTY]
    strict = filter_rules_for_sets(FilterRules(), {"min_response_chars"})
    assert {row.reason for row in filter_thread(thread, strict).rejected} >= {Reason.TOO_SHORT}


def name(number: int) -> str:
    return f"{make.SITE}:{number}"


def stated(count: int) -> Any:
    """Each response preferred to the next."""
    return make.thread(
        1,
        *(
            make.response(n, score=0, preferred_to=(name(n + 1),), author_id=None)
            for n in range(2, count + 2)
        ),
    )


def test_what_a_set_states_is_kept_whole() -> None:
    thread = stated(400)
    decisions, rejected = decide_pairs(thread, rules_for_sets(preset("all"), ()))
    assert (len(decisions), rejected) == (399, [])
    limited = rules_for_sets(preset("all"), {"max_pairs_per_thread"})
    assert len(decide_pairs(thread, limited)[0]) == 10
    few = rules_for_sets(PairingRules(max_responses=3), {"max_responses"})
    assert len(decide_pairs(thread, few)[0]) <= 2


def test_ratings_are_compared_beyond_the_number_of_pairs_and_votes_are_not() -> None:
    rules = rules_for_sets(preset("all"), ())
    rated = make.thread(
        1, *(make.response(n, score=n, rating=n / 2, author_id=None) for n in range(2, 10))
    )
    decisions, rejected = decide_pairs(rated, rules)
    assert (len(decisions), rejected) == (8 * 7 // 2, [])
    assert {d.margin for d in decisions} == {n / 2 for n in range(1, 8)}
    voted = make.thread(1, *(make.response(n, score=n, author_id=None) for n in range(2, 10)))
    assert len(decide_pairs(voted, rules)[0]) == 10
    many = make.thread(
        1, *(make.response(n, score=n, rating=float(n), author_id=None) for n in range(2, 300))
    )
    decisions, rejected = decide_pairs(many, rules)
    assert len(decisions) == 200 * 199 // 2
    assert {row.reason for row in rejected} == {Reason.PAIR_CAP}


def test_one_author_may_have_written_both_of_what_a_set_states() -> None:
    responses = (
        make.response(2, preferred_to=(name(3),), author_id="u"),
        make.response(3, preferred_to=(), author_id="u"),
    )
    decisions, rejected = decide_pairs(
        make.thread(1, *responses), rules_for_sets(preset("all"), ())
    )
    assert (len(decisions), rejected) == (1, [])


def test_a_preference_that_is_lost_between_used_responses_is_counted() -> None:
    """2 and 3 are stated both ways, and both are better than 4."""
    thread = make.thread(
        1,
        make.response(2, preferred_to=(name(3), name(4)), author_id=None),
        make.response(3, preferred_to=(name(2), name(4)), author_id=None),
        make.response(4, preferred_to=(), author_id=None),
    )
    decisions, rejected = decide_pairs(thread, rules_for_sets(preset("all"), ()))
    assert len(decisions) == 2
    [lost] = rejected
    assert (lost.record, lost.reason) == ("preference", Reason.TIED)
    assert lost.id == f"{name(1)}/2>3"
    limited = rules_for_sets(
        PairingRules(max_pairs_per_thread=2), {"max_pairs_per_thread", "max_responses"}
    )
    chain = stated(3)
    ring = chain.__class__(
        prompt=chain.prompt,
        responses=(
            *chain.responses[:2],
            make.response(4, score=0, preferred_to=(name(2),), author_id=None),
        ),
    )
    decisions, rejected = decide_pairs(ring, limited)
    assert len(decisions) == 2
    assert [(row.record, row.reason) for row in rejected] == [("preference", Reason.PAIR_CAP)]


# A run of a forum and a set


SHORT = {"prompt": "Hm?", "chosen": "Ja, gern.", "rejected": "Nein."}
LONG = {
    "prompt": "Which flour is the best one for a light bread?",
    "chosen": "A strong flour with much gluten gives the lightest bread of all.",
    "rejected": "Any flour will do if you wait long enough for it to rise again.",
}


FORUM = {
    "prompt": "How do I keep the crust of a rye bread from becoming soft overnight?",
    "chosen": "Let it cool on a grid, and leave it in a linen bag that lets the damp out.",
    "rejected": "I put mine into a plastic box, and it has always been good enough for us.",
}


def threads(folder: Path) -> Path:
    """Threads of a forum with the texts of SHORT and of FORUM."""
    path = folder / "forum.jsonl"
    when = {"created_at": "2020-01-01T00:00:00Z"}
    rows = []
    for number, texts in enumerate((SHORT, FORUM)):
        answers = [
            {"id": f"{number}{side}", "text": texts[side], "score": score} | when
            for side, score in (("chosen", 3), ("rejected", 1))
        ]
        row = {"id": number, "text": texts["prompt"], "responses": answers} | when
        rows.append(row | {"site": "forum.example", "license": "CC0-1.0"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def curate(folder: Path, *more: str) -> tuple[set[str], set[str]]:
    """Sources of the pairs with SHORT, and reasons of the rejects."""
    path = folder / "set.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (SHORT, LONG)))
    output = folder / "out"
    inputs = (f"--input=pairs={path}", f"--input=threads={threads(folder)}")
    done = main(["curate", *inputs, f"--output={output}", "--overwrite", "--quiet", *more])
    assert done == ExitCode.FINISHED
    rows = [row for file in output.glob("data/*") for row in pq.read_table(file).to_pylist()]
    rejected = [r for file in output.glob("rejected/*") for r in pq.read_table(file).to_pylist()]
    assert any(row["prompt"] == LONG["prompt"] for row in rows)
    sources = {row["source"] for row in rows if row["prompt"] == SHORT["prompt"]}
    return sources, {row["reason"] for row in rejected}


def test_a_forum_beside_a_set_is_filtered_and_the_set_is_not(tmp_path: Path) -> None:
    sources, reasons = curate(tmp_path)
    assert (sources, "too_short" in reasons) == ({"pairs"}, True)
    manifest = tmp_path / "out" / MANIFEST_NAME
    assert json.loads(manifest.read_bytes())["recipe"]["pairs_rules"] == []
    card = (tmp_path / "out" / "README.md").read_text()
    assert "votes (`net_votes`, pairing `all`), or is what the preference sets say" in card
    first = {file.name: file.read_bytes() for file in (tmp_path / "out" / "data").iterdir()}
    again = tmp_path / "again"
    assert main(["curate", f"--config={manifest}", f"--output={again}", "--quiet"]) == 0
    assert {file.name: file.read_bytes() for file in (again / "data").iterdir()} == first


@pytest.mark.parametrize(
    ("more", "reason"),
    [(["--min-response-chars=20"], "too_short"), (["--pairs-rules=languages"], "language")],
)
def test_what_is_asked_for_holds_for_the_set(tmp_path: Path, more: list[str], reason: str) -> None:
    sources, reasons = curate(tmp_path, *more)
    assert sources == set()
    assert reason in reasons
