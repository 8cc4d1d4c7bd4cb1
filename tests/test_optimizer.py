"""The schedule and the guard against bad steps."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.config import OptimConfig
from training.errors import DivergedError
from training.optimizer import GUARD_MIN, MAX_SKIPPED, StepGuard, learning_rate


def test_warm_up_is_linear_and_then_the_rate_is_constant() -> None:
    config = OptimConfig(lr=1.0, warmup=0.1)
    rates = [learning_rate(step, 100, config) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert rates[10:] == pytest.approx([1.0] * len(rates[10:]))


def test_cosine_falls_to_a_tenth() -> None:
    config = OptimConfig(lr=1.0, warmup=0.1, schedule="cosine")
    rates = [learning_rate(step, 100, config) for step in range(100)]
    assert rates[10] == pytest.approx(1.0)
    assert rates[99] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0.5 < rates[54] < 0.6


@given(st.integers(1, 50), st.floats(0, 1), st.sampled_from(["constant", "cosine"]))
def test_rates_are_positive_and_at_most_the_peak(steps: int, warmup: float, name: str) -> None:
    config = OptimConfig(lr=2.0, warmup=warmup, schedule=name)  # type: ignore[arg-type]
    for step in range(steps):
        assert 0 < learning_rate(step, steps, config) <= 2.0


def test_broken_gradients_are_skipped_and_leave_the_median_alone() -> None:
    guard = StepGuard(0.0)
    assert guard.accepts(1.0, 0.5)
    for norm, loss in ((math.nan, 0.5), (math.inf, 0.5), (1.0, math.nan)):
        assert not guard.accepts(norm, loss)
    assert guard.skipped == 3
    assert list(guard.norms) == [1.0]


def test_a_spike_is_skipped_once_enough_norms_are_known() -> None:
    guard = StepGuard(5.0)
    assert guard.accepts(100.0, 0.5)  # nothing to compare with yet
    for _ in range(GUARD_MIN):
        assert guard.accepts(1.0, 0.5)
    assert guard.accepts(4.9, 0.5)
    assert not guard.accepts(5.1, 0.5)
    assert StepGuard(0.0).accepts(1e30, 0.5)


def test_a_run_that_only_skips_is_stopped_and_one_good_step_forgives() -> None:
    guard = StepGuard(0.0)
    for _ in range(MAX_SKIPPED - 1):
        guard.accepts(math.nan, 0.5)
    assert guard.accepts(1.0, 0.5)
    for _ in range(MAX_SKIPPED - 1):
        guard.accepts(math.nan, 0.5)
    with pytest.raises(DivergedError, match=r"smaller optim\.lr"):
        guard.accepts(math.nan, 0.5)


def test_a_guard_goes_on_from_its_state() -> None:
    guard, copy = StepGuard(2.0), StepGuard(2.0)
    for norm in (*[1.0] * GUARD_MIN, math.nan, 9.0):
        guard.accepts(norm, 0.5)
    copy.load_state_dict(guard.state_dict())
    assert copy.state_dict() == guard.state_dict()
    assert not copy.accepts(9.0, 0.5)
