import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.baseline_scorers import baseline_scores
from training.evaluation.comparisons import comparisons, differences, units_of
from training.evaluation.figures import draw
from training.evaluation.items import Item, conversation
from training.evaluation.style import (
    analyse,
    counted,
    counts_of,
    phi,
    response_length,
    style_differences,
)
from training.validation.logistic import cross_fitted, fit, folds


def item(number: int, responses: tuple[str, ...], worth: tuple[float, ...]) -> Item:
    return Item(
        suite="pairs",
        id=str(number),
        subset="s",
        group="subjective",
        kind="pair",
        messages=conversation(f"prompt {number}"),
        responses=responses,
        worth=worth,
    )


def planted(
    n: int, *, length_taste: float, quality_taste: float, seed: int = 0
) -> tuple[list[Item], list[np.ndarray]]:
    """Pairs whose label is a logistic choice by length and by a hidden quality."""
    rng = np.random.default_rng(seed)
    items, quality = [], []
    for number in range(n):
        sizes = rng.integers(5, 60, size=2)
        good = rng.normal(size=2)
        relative = (sizes[0] - sizes[1]) / sizes.sum()
        chance = 1 / (1 + np.exp(-(length_taste * relative + quality_taste * (good[0] - good[1]))))
        first = rng.random() < chance
        texts = tuple(" ".join(["word"] * size) for size in sizes)
        items.append(item(number, texts, (1.0, 0.0) if first else (0.0, 1.0)))
        quality.append(good)
    return items, quality


def test_markdown_is_counted_outside_code() -> None:
    text = "# Head\n\n- one\n- **two**\n1. three\n\n```\n# no\n- no\n**no**\n```\n"
    assert counts_of(text).tolist()[1:] == [1, 3, 1]
    assert counts_of("plain words, here").tolist() == [4, 0, 0, 0]
    assert response_length("") == 0
    assert response_length("面包为什么不发酵？ Why") == 10  # each character, the mark, the word
    assert counts_of("```\n- open block").tolist()[2] == 0


@given(
    st.lists(st.integers(0, 40), min_size=4, max_size=4),
    st.lists(st.integers(0, 40), min_size=4, max_size=4),
)
def test_differences_are_odd_and_bounded(a: list[int], b: list[int]) -> None:
    one, other = np.array([a], dtype=float), np.array([b], dtype=float)
    found = style_differences(one, other)
    assert np.isfinite(found).all()
    assert (np.abs(found) <= 1).all()
    assert np.array_equal(found, -style_differences(other, one))


def test_two_empty_answers_differ_by_nothing() -> None:
    zero = np.zeros((1, 4))
    assert style_differences(zero, zero).tolist() == [[0, 0, 0, 0]]


def test_length_alone_keeps_its_own_column() -> None:
    # The public script, given length as the only control, fits a model column in its place.
    items, quality = planted(600, length_taste=4, quality_taste=0)
    units = units_of(items)
    table = comparisons(items, units)
    found = analyse(items, table, differences(table, quality), draw(600, 100, 0), resamples=60)
    assert found is not None
    assert found.label_weights.length.low > 0.5
    for feature in ("headers", "lists", "bold"):
        assert getattr(found.label_weights, feature).value == pytest.approx(0, abs=1e-9)


def test_style_is_taken_apart_from_content() -> None:
    items, quality = planted(1500, length_taste=4, quality_taste=1.5)
    table = comparisons(items, units_of(items))
    times = draw(1500, 200, 0)
    # A model of quality alone: it shares no taste in length.
    found = analyse(items, table, differences(table, quality), times, resamples=60)
    assert found is not None
    assert found.controlled.low > found.accuracy.high  # the labels' taste is given to it
    assert found.model_phi is not None
    assert found.label_phi is not None
    assert abs(found.model_phi.value) < 0.1
    assert found.label_phi.low > 0.15
    assert found.left_weights.length.low > 0.5
    assert abs(found.model_weights.length.value) < 0.2
    assert found.without_style.value == pytest.approx(found.accuracy.value, abs=0.02)
    # A model of length alone: nothing is left when style is taken out of it.
    counts = counted(items)
    length = [one[:, 0] / (one[:, 0].sum()) for one in counts]
    found = analyse(items, table, differences(table, length), times, resamples=60, counts=counts)
    assert found is not None
    assert found.model_phi is not None
    assert found.model_phi.value == pytest.approx(1)
    assert found.accuracy.low > 0.6
    assert found.controlled.value == pytest.approx(found.style_only.value, abs=0.02)
    assert found.model_weights.length.low > 2


def test_a_model_read_upside_down_is_told_by_its_weight() -> None:
    items, quality = planted(400, length_taste=1, quality_taste=4)
    table = comparisons(items, units_of(items))
    times = draw(400, 60, 0)
    right = analyse(items, table, differences(table, quality), times, resamples=40)
    wrong = analyse(items, table, -differences(table, quality), times, resamples=40)
    assert right is not None
    assert wrong is not None
    assert wrong.accuracy.value == pytest.approx(1 - right.accuracy.value)
    # The fit turns the scores round, so the figure alone would praise the model.
    assert wrong.controlled.value == pytest.approx(right.controlled.value, abs=0.01)
    assert right.model_weight.low > 0
    assert wrong.model_weight.value == pytest.approx(-right.model_weight.value, rel=0.01)


def test_a_reward_that_is_no_number_is_a_miss_with_style_and_without() -> None:
    items, quality = planted(200, length_taste=1, quality_taste=4)
    table = comparisons(items, units_of(items))
    d = differences(table, quality)
    d[:100] = np.nan
    found = analyse(items, table, d, draw(200, 40, 0), resamples=20)
    assert found is not None
    for one in (found.accuracy, found.controlled, found.without_style):
        assert one.value <= 0.5


def test_nothing_is_scored_by_a_fit_that_saw_it() -> None:
    # Labels without any pattern, but four features for few prompts: a fit on the pairs that it
    # reports would come out well above one half.
    rng = np.random.default_rng(5)
    above = []
    for trial in range(12):
        features = rng.normal(size=(24, 8))
        unit = np.arange(24)
        weight = np.ones(24)
        fold, coefficients = folds(unit, trial), cross_fitted(features, weight, unit, trial)
        score = np.array([row @ coefficients[f] for row, f in zip(features, fold, strict=True)])
        above.append((score > 0).mean())
        assert ((features @ fit(features, weight)) > 0).mean() > 0.6
    assert np.mean(above) < 0.55


def test_prompts_are_never_split_between_folds() -> None:
    unit = np.repeat(np.arange(30), 4)
    fold = folds(unit, 3)
    assert all(len(set(fold[unit == name])) == 1 for name in range(30))
    assert set(fold) == set(range(5))


def test_phi_is_that_of_the_table_in_both_orders() -> None:
    longer = np.array([1.0, 1, 1, 0, 0.5])
    both = np.concatenate([longer, 1 - longer])
    label = np.repeat([1.0, 0.0], 5)
    expected = np.corrcoef(label, both)[0, 1] * both.std() / 0.5  # the tie is no 0 or 1
    assert phi(longer, np.ones(5)) == pytest.approx(expected)
    clear = longer[:4]
    both = np.concatenate([clear, 1 - clear])
    assert phi(clear, np.ones(4)) == pytest.approx(
        np.corrcoef(np.repeat([1.0, 0.0], 4), both)[0, 1]
    )


def test_weights_are_the_maximum_of_the_likelihood() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4000, 3))
    true = np.array([1.0, -0.5, 0.0])
    won = rng.random(4000) < 1 / (1 + np.exp(-x @ true))
    found = fit(np.where(won[:, None], x, -x), np.ones(4000))
    assert found == pytest.approx(true, abs=0.12)
    assert np.isfinite(fit(np.ones((5, 1)), np.ones(5))).all()  # separable
    assert fit(np.ones((0, 2)), np.ones(0)).tolist() == [0, 0]


def test_priors_read_no_text() -> None:
    items, _ = planted(300, length_taste=6, quality_taste=0)
    table = comparisons(items, units_of(items))
    found = baseline_scores(items, table, counted(items))
    assert set(found) == {"longer", "style", "chance"}
    right = differences(table, found["longer"]) > 0
    assert right.mean() > 0.7
    assert (differences(table, found["style"]) > 0).mean() == pytest.approx(right.mean(), abs=0.03)
    assert not differences(table, found["chance"]).any()
