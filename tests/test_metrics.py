import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.validation.metrics import (
    BINS,
    ScoredPairs,
    ValidationFigures,
    correctness,
    figures,
    join,
    merge,
    scalars,
    sum_up,
)


def scored(chosen: Any, rejected: Any = None, **columns: Any) -> ScoredPairs:
    """Pairs with plain values for everything that is not given."""
    chosen = np.asarray(chosen, dtype=np.float64)
    size = len(chosen)
    values: dict[str, Any] = {
        "prompt": [f"p{number}" for number in range(size)],
        "site": ["beer"] * size,
        "rejected": np.zeros(size) if rejected is None else rejected,
        "weight": np.ones(size),
        "confidence": np.full(size, 0.9),
        "margin": np.ones(size),
        "chosen_length": np.full(size, 20),
        "rejected_length": np.full(size, 10),
        "chosen_created_at": np.full(size, 1000),
        "rejected_created_at": np.full(size, 2000),
        **columns,
    }
    arrays = {name: np.asarray(column) for name, column in values.items()}
    for name in ("rejected", "weight", "confidence", "margin"):
        arrays[name] = arrays[name].astype(np.float64)
    return ScoredPairs(chosen=chosen, **arrays)


def figures_of(*parts: ScoredPairs) -> ValidationFigures:
    return figures(merge(map(sum_up, parts)))


HAND = scored(
    [2.0, 0.0, -1.0, 0.5],
    [0.0, 0.0, 1.0, 0.0],
    weight=[1.0, 0.5, 0.5, 2.0],
    margin=[1, 3, 10, 11],
    site=["beer", "ai", "ai", "beer"],
    chosen_length=[5, 3, 9, 4],
    rejected_length=[4, 6, 2, 4],
)


def test_a_case_by_hand() -> None:
    found = figures_of(HAND)
    l = [math.log1p(math.exp(-d)) for d in (2.0, 0.0, -2.0, 0.5)]  # noqa: E741
    assert found.loss.value == pytest.approx((l[0] + 0.5 * l[1] + 0.5 * l[2] + 2 * l[3]) / 4)
    assert found.loss.pairs == 4
    # 1 right, half of a tie that weighs 0.5, 1 wrong, 1 right that weighs 2.
    assert found.accuracy.value == pytest.approx((1 + 0.25 + 0 + 2) / 4)
    assert found.chosen_longer.value == pytest.approx((1 + 0) / 1.5)
    assert found.chosen_longer.pairs == 2
    assert (found.chosen_shorter.value, found.chosen_shorter.pairs) == (pytest.approx(0.5), 1)
    assert (found.same_length.value, found.same_length.pairs) == (pytest.approx(1), 1)
    assert {name: one.value for name, one in found.by_margin.items()} == {
        "1–2": 1.0, "3–5": 0.5, "6–10": 0.0, "11+": 1.0,
    }  # fmt: skip
    assert {name: (one.value, one.pairs) for name, one in found.by_site.items()} == {
        "ai": (0.25, 2), "beer": (1.0, 2),
    }  # fmt: skip
    assert found.reward_margin.value == pytest.approx((2 + 0 - 1 + 1) / 4)
    rewards = np.array([2, 0, 0, 0, -1, 1, 0.5, 0])
    weights = np.array([1, 1, 0.5, 0.5, 0.5, 0.5, 2, 2])
    mean = np.average(rewards, weights=weights)
    assert found.reward_mean == pytest.approx(mean)
    variance = np.average((rewards - mean) ** 2, weights=weights)
    assert found.reward_std == pytest.approx(math.sqrt(variance))


def test_soft_loss_is_the_cross_entropy_with_the_votes() -> None:
    found = figures_of(scored([2.0], confidence=[0.75]))
    expected = 0.75 * math.log1p(math.exp(-2)) + 0.25 * math.log1p(math.exp(2))
    assert found.soft_loss.value == pytest.approx(expected)
    assert found.confidence.value == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("margin", "bucket"),
    [(0.4, "<1"), (1, "1–2"), (2.9, "1–2"), (3, "3–5"), (5.99, "3–5"), (6, "6–10"), (10.5, "6–10"),
     (11, "11+"), (1e9, "11+")],
)  # fmt: skip
def test_every_margin_has_one_bucket(margin: float, bucket: str) -> None:
    assert list(figures_of(scored([1.0], margin=[margin])).by_margin) == [bucket]


def test_margin_buckets_are_in_order() -> None:
    found = figures_of(scored(np.ones(5), margin=[20, 7, 4, 2, 0.5]))
    assert list(found.by_margin) == ["<1", "1–2", "3–5", "6–10", "11+"]


def test_ties_count_half_and_constant_rewards_are_no_better_than_chance() -> None:
    assert correctness(np.array([1e-9, 0.0, -1e-9])).tolist() == [1.0, 0.5, 0.0]
    found = figures_of(scored(np.full(9, 3.0), np.full(9, 3.0), weight=np.arange(1, 10)))
    assert found.accuracy.value == pytest.approx(0.5)
    assert found.loss.value == pytest.approx(math.log(2))
    assert found.reward_std == 0


pairs_strategy = st.lists(
    st.tuples(
        st.floats(-20, 20),
        st.floats(-20, 20),
        st.sampled_from([0.1, 0.5, 1.0]),
        st.floats(0, 1),
        st.floats(0.1, 30),
        st.sampled_from(["ai", "beer", "chess"]),
        st.integers(1, 5),
        st.integers(1, 5),
    ),
    min_size=1,
    max_size=30,
)


def from_rows(rows: list[tuple[Any, ...]]) -> ScoredPairs:
    chosen, rejected, weight, confidence, margin, site, longer, shorter = zip(*rows, strict=True)
    return scored(
        chosen,
        rejected,
        weight=weight,
        confidence=confidence,
        margin=margin,
        site=site,
        chosen_length=longer,
        rejected_length=shorter,
    )


@given(rows=pairs_strategy, cuts=st.lists(st.integers(0, 30), max_size=4))
def test_parts_add_up_to_the_whole(rows: list[tuple[Any, ...]], cuts: list[int]) -> None:
    pairs = from_rows(rows)
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    parts = [ScoredPairs(*(column[low:high] for column in pairs)) for low, high in pairwise(edges)]
    whole, split = figures_of(pairs), figures_of(*parts)
    assert scalars(split) == pytest.approx(scalars(whole), rel=1e-9, abs=1e-6)
    assert split.by_site.keys() == whole.by_site.keys()
    assert [row.pairs for row in split.reliability] == [row.pairs for row in whole.reliability]
    assert split.accuracy.pairs == len(rows)
    joined = join(parts)
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(joined, pairs, strict=True))


@given(rows=pairs_strategy)
def test_groups_part_the_pairs(rows: list[tuple[Any, ...]]) -> None:
    found = figures_of(from_rows(rows))
    by_length = (found.chosen_longer, found.chosen_shorter, found.same_length)
    for parts in (by_length, found.by_margin.values(), found.by_site.values()):
        assert sum(one.pairs for one in parts) == len(rows)
    assert sum(row.pairs for row in found.reliability) == len(rows)
    assert sum(row.share for row in found.reliability) == pytest.approx(1)
    assert found.accuracy.value is not None
    assert 0 <= found.accuracy.value <= 1


@given(rows=pairs_strategy)
def test_turning_the_rewards_round_mirrors_the_accuracy(rows: list[tuple[Any, ...]]) -> None:
    pairs = from_rows(rows)
    turned = pairs._replace(chosen=pairs.rejected, rejected=pairs.chosen)
    a, b = figures_of(pairs), figures_of(turned)
    assert a.accuracy.value is not None
    assert b.accuracy.value == pytest.approx(1 - a.accuracy.value)
    # Shifting all rewards changes neither loss nor accuracy nor calibration, only the drift.
    shifted = figures_of(pairs._replace(chosen=pairs.chosen + 8, rejected=pairs.rejected + 8))
    assert shifted.loss.value == pytest.approx(a.loss.value)
    assert a.reward_mean is not None
    assert shifted.reward_mean == pytest.approx(a.reward_mean + 8)


def test_an_oracle_has_one_and_its_opposite_zero() -> None:
    margin = np.array([1, 4, 7, 20.0])
    columns = {"margin": margin, "chosen_length": [1, 2, 3, 4], "rejected_length": [4, 3, 2, 1]}
    right, wrong = figures_of(scored(margin, **columns)), figures_of(scored(-margin, **columns))
    for figure in ("accuracy", "chosen_longer", "chosen_shorter"):
        assert getattr(right, figure).value == pytest.approx(1)
        assert getattr(wrong, figure).value == pytest.approx(0)
    assert [one.value for one in right.by_margin.values()] == pytest.approx(
        [1] * len(right.by_margin)
    )
    assert [one.value for one in wrong.by_margin.values()] == pytest.approx(
        [0] * len(wrong.by_margin)
    )


def calibrated(size: int = 40_000) -> tuple[Any, Any]:
    """(d of the chosen, whether) where the label follows sigmoid(d)."""
    rng = np.random.default_rng(1)
    d = rng.normal(0, 1.5, size)
    right = rng.random(size) < 1 / (1 + np.exp(-d))
    return np.where(right, d, -d), right


def test_calibration_error_of_a_calibrated_and_of_an_overconfident_model() -> None:
    d, _ = calibrated()
    good = figures_of(scored(d))
    assert good.ece is not None
    assert good.ece < 0.01
    for row in good.reliability:
        assert row.predicted is not None
        assert row.observed is not None
        assert row.low <= row.predicted <= row.high
        assert row.observed == pytest.approx(row.predicted, abs=0.03)
    bold = figures_of(scored(5 * d))
    assert bold.ece is not None
    assert bold.ece > 0.1
    assert all(
        row.predicted is not None and row.observed is not None and row.predicted > row.observed
        for row in bold.reliability[-3:]
    )
    assert bold.accuracy.value == good.accuracy.value  # only calibration sees the difference


def test_calibration_error_by_hand() -> None:
    # Two pairs with p = sigmoid(2), one of them wrong, and one tie at p = 0.5: half correct.
    p = 1 / (1 + math.exp(-2))
    found = figures_of(scored([2.0, -2.0, 0.0], weight=[1, 1, 2]))
    assert found.ece == pytest.approx(0.5 * abs(p - 0.5) + 0.5 * 0)
    filled = [row for row in found.reliability if row.pairs]
    assert [(row.pairs, row.observed, row.share) for row in filled] == [
        (1, 0.5, 0.5),
        (2, 0.5, 0.5),
    ]
    assert filled[0].low == pytest.approx(0.5)
    assert (filled[1].low, filled[1].high) == pytest.approx((0.85, 0.9))
    assert len(found.reliability) == BINS
    assert figures_of(scored([1e4])).reliability[-1].pairs == 1


def test_padding_does_not_count() -> None:
    padded = HAND._replace(
        weight=np.array([1.0, 0.5, 0.5, 0.0]), chosen=np.array([2.0, 0.0, -1.0, np.nan])
    )
    bare = HAND.select(np.array([True, True, True, False]))
    assert figures_of(padded) == figures_of(bare)


@pytest.mark.parametrize("reward", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("error")
def test_a_diverged_model_is_counted_as_wrong_and_said(reward: float) -> None:
    found = figures_of(scored([1.0, reward], [0.0, reward]))
    assert found.non_finite == 1
    assert found.accuracy.value == pytest.approx(0.5)
    assert found.loss.value is not None
    assert not math.isfinite(found.loss.value)


def test_no_pairs_give_no_values() -> None:
    found = figures_of(HAND.select(np.zeros(4, dtype=np.bool_)))
    assert found.accuracy.value is None
    assert found.ece is None
    assert found.reward_std is None
    assert found.by_site == {}
    assert scalars(found) == {"non_finite": 0.0, "pairs": 0.0}
    assert figures({}).loss.value is None


def test_arrays_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="'margin': 3"):
        sum_up(HAND._replace(margin=np.ones(3)))


def test_scalars_have_a_name_for_every_group() -> None:
    flat = scalars(figures_of(HAND))
    assert flat["accuracy"] == pytest.approx(3.25 / 4)
    assert flat["accuracy/site ai"] == pytest.approx(0.25)
    assert flat["accuracy/margin 6–10"] == pytest.approx(0)
    assert flat["accuracy_chosen_shorter"] == pytest.approx(0.5)
    assert all(isinstance(value, float) for value in flat.values())
