"""The scores by which the comparison with other tools judges all of them."""

import pytest

from benchmarks._peer_scores import (
    Found,
    count_damage,
    score_duplicates,
    share_unaccounted,
    similarity,
)

WORDS = [f"w{number}" for number in range(60)]
TEXT = " ".join(WORDS)
NEAR = " ".join([*WORDS[:-1], "other"])
BELOW = " ".join([*WORDS[:30], *(f"v{number}" for number in range(30))])
TEXTS = {"a": TEXT, "near": NEAR, "below": BELOW, "far": "quite another text of some words"}


def test_similarity_is_that_of_five_word_shingles() -> None:
    assert similarity(TEXT, NEAR) == 55 / 57
    assert similarity(TEXT, TEXT.upper().replace(" ", ", ")) == 1
    assert similarity("a b", "a  b\n") == 1
    assert similarity("a b", "a c") == 0


def test_a_planted_pair_counts_as_found_when_one_of_it_goes() -> None:
    planted = [("near", "a"), ("below", "a")]
    found = Found(clusters={"a": 1, "near": 1}, removed=frozenset({"near"}))
    score = score_duplicates(TEXTS, planted, found)
    # The pair below the threshold is not one that has to be found.
    assert (score.planted, score.recall, score.precision, score.lost) == (1, 1, 1, 0)


@pytest.mark.parametrize(
    "found",
    [
        Found({}, frozenset()),
        Found({"a": 1, "near": 1}, frozenset()),
        Found({"a": 1, "near": 2}, frozenset({"near"})),
    ],
    ids=["nothing", "grouped but kept", "another group"],
)
def test_a_planted_pair_is_missed(found: Found) -> None:
    assert score_duplicates(TEXTS, [("near", "a")], found).recall == 0


def test_a_removed_text_that_is_like_no_other_is_lost() -> None:
    clusters = {"a": 1, "near": 1, "below": 1, "far": 2}
    found = Found(clusters, frozenset({"near", "below", "far"}))
    score = score_duplicates(TEXTS, [("near", "a")], found)
    assert (score.removed, score.precision, score.lost) == (3, pytest.approx(1 / 3), 2)


HTML = (
    "<p>Take <code>a_b</code> with $x_1 + y_1 = 2$ and $a_i^2$.</p>"
    "<pre><code>if a:\n    b_c()\n\n    d()\n</code></pre>"
)
WHOLE = "Take `a_b` with $x_1 + y_1 = 2$ and\n$a_i^2$.\n\n```\nif a:\n    b_c()\n\n    d()\n```\n"


def test_whole_markdown_is_not_damaged() -> None:
    assert count_damage(HTML, WHOLE) == {
        "code blocks": 1,
        "code blocks damaged": 0,
        "code spans": 1,
        "code spans damaged": 0,
        "formulas": 2,
        "formulas damaged": 0,
    }


@pytest.mark.parametrize(
    ("before", "after", "damaged"),
    [
        ("    b_c()", "b_c()", {"code blocks damaged": 1}),
        ("```", "", {"code blocks damaged": 1}),
        ("`a_b`", r"a\_b", {"code spans damaged": 1}),
        ("x_1", r"x\_1", {"formulas damaged": 1}),
        ("_", r"\_", {"formulas damaged": 2, "code blocks damaged": 1, "code spans damaged": 1}),
    ],
)
def test_damage_is_counted(before: str, after: str, damaged: dict[str, int]) -> None:
    counts = count_damage(HTML, WHOLE.replace(before, after))
    assert {name: n for name, n in counts.items() if name.endswith("damaged") and n} == damaged


def test_records_that_nothing_names_are_unaccounted() -> None:
    assert share_unaccounted("abcd", ["a", "bx"]) == 0.5
    assert share_unaccounted("ab", ["a", "b"]) == 0
    assert share_unaccounted("", []) == 0
