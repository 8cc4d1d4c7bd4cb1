"""The noise ceiling: the best accuracy on noisy labels, with its standard error over questions."""

import functools
import math
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.noise_ceiling import ceiling_sums, ceilings_by_group, noise_ceiling

confidences = st.integers(0, 1_000_000).map(lambda millionths: millionths / 1_000_000)
pairs = st.lists(st.tuples(confidences, st.integers(0, 4)), min_size=1, max_size=30)


def test_it_is_the_mean_of_the_better_side() -> None:
    found = noise_ceiling([0.9, 0.6, 0.3])
    assert found.accuracy == pytest.approx((0.9 + 0.6 + 0.7) / 3, abs=1e-6)
    assert (found.pairs, found.questions) == (3, 3)


def test_a_perfect_model_reaches_it_and_no_other_one_does() -> None:
    """Labels drawn with known probability of being right, and models that see only the truth."""
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1.0, 100_000)
    label = rng.random(len(p)) < p  # whether it agrees with the truth
    found = noise_ceiling(p)
    assert found.accuracy is not None
    assert label.mean() == pytest.approx(found.accuracy, abs=0.005)
    for wrong in (0.1, 0.3):
        model = rng.random(len(p)) >= wrong
        assert (model == label).mean() < found.accuracy - 0.04


def test_pairs_of_one_question_say_less_than_as_many_questions() -> None:
    p = [0.6, 0.6, 0.6, 0.9, 0.9, 0.9]
    together = noise_ceiling(p, "aaabbb")
    apart = noise_ceiling(p, "abcdef")
    assert together.accuracy == apart.accuracy == 0.75
    # Two questions of equal size: the standard error of a mean of 0.6 and 0.9.
    assert together.standard_error == pytest.approx(0.15, abs=1e-6)
    assert apart.standard_error == pytest.approx(0.15 * math.sqrt(6 / 5 / 6), abs=1e-3)
    assert (together.low, together.high) == (0.5, 1.0)


def test_the_interval_holds_the_ceiling_of_the_questions_drawn_from() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(200):
        level = rng.uniform(0.5, 1.0, 60)
        sizes = rng.integers(1, 6, 60)
        question = np.repeat(np.arange(60), sizes)
        found = noise_ceiling(np.repeat(level, sizes), question)
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= 0.75 <= found.high
    assert 180 <= inside <= 200


@pytest.mark.parametrize("p", [[], [None, None], [1.0, 1.0, None]])
def test_nothing_is_known_where_no_votes_were_counted(p: list[float | None]) -> None:
    found = noise_ceiling(p)
    assert (found.accuracy, found.standard_error, found.pairs) == (None, None, 0)


def test_pairs_without_confidence_are_left_out() -> None:
    assert noise_ceiling([0.8, None, 0.6], "aab").accuracy == 0.7
    assert noise_ceiling([0.8, None, 0.6], "aab").pairs == 2


def test_one_question_has_no_standard_error() -> None:
    found = noise_ceiling([0.8, 0.6], "aa")
    assert (found.accuracy, found.standard_error, found.low) == (0.7, None, None)


@given(pairs)
def test_sums_over_questions_add_up_in_any_order(rows: list[tuple[float, int]]) -> None:
    p, question = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    whole = ceiling_sums(p, question)
    parts = [ceiling_sums(p[question == q], question[question == q]) for q in range(5)]
    assert functools.reduce(operator.add, parts) == whole
    assert functools.reduce(operator.add, parts[::-1]) == whole


@given(pairs)
def test_turning_labels_round_changes_nothing(rows: list[tuple[float, int]]) -> None:
    p, question = [row[0] for row in rows], [row[1] for row in rows]
    turned = noise_ceiling([round(1 - one, 6) for one in p], question)
    if 0.0 not in p and 1.0 not in p:
        assert turned == noise_ceiling(p, question)


def test_by_group() -> None:
    found = ceilings_by_group([0.9, 0.7, 0.6, None], ["x", "y", "y", "z"], "aabb")
    assert list(found) == ["x", "y", "z"]
    assert found["y"] == noise_ceiling([0.7, 0.6], "ab")
    assert found["z"].accuracy is None
