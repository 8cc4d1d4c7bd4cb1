"""The order of training: a pure function of row groups, seed and step."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from training.data.sampler import BatchSampler, shuffled, window_order

plans = st.builds(
    BatchSampler,
    rows=st.lists(st.integers(1, 50), min_size=1, max_size=12).map(tuple),
    batch_rows=st.integers(1, 60),
    window=st.integers(1, 5),
    seed=st.integers(0, 3),
    epochs=st.integers(1, 3),
    max_rows=st.none() | st.integers(1, 300),
)


def positions(sampler: BatchSampler, step: int) -> list[tuple[tuple[int, ...], int]]:
    return [(s.row_groups, row) for s in sampler.slices(step) for row in range(s.begin, s.end)]


@given(plans)
def test_an_epoch_is_every_row_once_in_batches_that_differ_by_one(sampler: BatchSampler) -> None:
    for epoch in range(sampler.epochs):
        steps = range(epoch * sampler.steps_per_epoch, (epoch + 1) * sampler.steps_per_epoch)
        batches = [positions(sampler, step) for step in steps]
        sizes = {len(batch) for batch in batches}
        assert max(sizes) <= sampler.batch_rows
        assert max(sizes) - min(sizes) <= 1
        seen = [row for batch in batches for row in batch]
        assert len(seen) == len(set(seen)) == sampler.rows_per_epoch
        groups = {number for members, _ in seen for number in members}
        if sampler.max_rows is None:
            assert groups == set(range(len(sampler.rows)))
        for members, row in seen:
            assert 0 <= row < sum(sampler.rows[number] for number in members)


@given(plans, st.data())
def test_a_step_needs_no_other_step(sampler: BatchSampler, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, sampler.steps - 1))
    fresh = BatchSampler(**{name: getattr(sampler, name) for name in sampler.__dataclass_fields__})
    for earlier in range(0, step, 7):
        sampler.slices(earlier)
    assert sampler.slices(step) == fresh.slices(step)


def test_a_smaller_run_is_the_beginning_of_a_larger_one() -> None:
    large = BatchSampler(rows=(30, 40, 50, 20), batch_rows=10, window=2, seed=1)
    small = BatchSampler(
        rows=(30, 40, 50, 20), batch_rows=10, window=2, seed=1, max_rows=40, epochs=2
    )
    first = [row for step in range(4) for row in positions(large, step)]
    assert [row for step in range(4) for row in positions(small, step)] == first
    again = [row for step in range(4, 8) for row in positions(small, step)]
    assert again == first  # the same pairs in the second epoch, not others
    assert [s.key for s in small.slices(0)] == [s.key for s in large.slices(0)]


@given(plans, st.data())
def test_row_groups_that_steps_read_are_those_of_their_windows(
    sampler: BatchSampler, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, sampler.steps))
    after = data.draw(st.integers(first, sampler.steps))
    read = dict.fromkeys(
        number
        for step in range(first, after)
        for one in sampler.slices(step)
        for number in one.row_groups
    )
    assert sampler.row_groups_read(first, after) == list(read)


def test_epochs_and_seeds_have_their_own_order() -> None:
    sampler = BatchSampler(rows=(1,) * 50, batch_rows=50, window=1, seed=0, epochs=2)
    other = BatchSampler(rows=(1,) * 50, batch_rows=50, window=1, seed=1)
    assert positions(sampler, 0) != positions(sampler, 1)
    assert positions(sampler, 0) != positions(other, 0)


def test_the_order_is_that_of_the_first_release() -> None:
    """Golden: a change here changes which pairs every resumed run sees next."""
    assert shuffled(8, "0/0") == GOLDEN_ORDER
    prompts = ["a", "a", "b", "c", "c", "c", "d"]
    assert window_order(prompts, "0/0/0") == GOLDEN_WINDOW


@given(st.lists(st.integers(0, 3), max_size=30), st.text(max_size=3))
def test_prompts_stay_whole_and_in_their_order(prompts: list[int], key: str) -> None:
    order = window_order(prompts, key)
    assert sorted(order) == list(range(len(prompts)))
    for a, b in itertools.pairwise(order):
        if b > 0 and prompts[b] == prompts[b - 1]:
            assert a == b - 1  # a row that goes on with a prompt comes right after the one before


GOLDEN_ORDER = [3, 0, 2, 6, 1, 4, 5, 7]
GOLDEN_WINDOW = [2, 6, 0, 1, 3, 4, 5]
