import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from transforms.dedup import similarity as module
from transforms.dedup.similarity import jaccard, jaccard_to, similar_components


def array(values):
    return np.array(sorted(values), np.uint32)


def reference(sets, threshold):
    """Compare all pairs, then spread the smallest index until nothing changes."""
    labels = list(range(len(sets)))
    similar = [
        (left, right)
        for right in range(len(sets))
        for left in range(right)
        if len(sets[left] & sets[right]) / len(sets[left] | sets[right]) >= threshold
    ]
    changed = True
    while changed:
        changed = False
        for left, right in similar:
            smallest = min(labels[left], labels[right])
            changed |= labels[left] != labels[right]
            labels[left] = labels[right] = smallest
    return labels


THRESHOLDS = st.sampled_from([0.5, 2 / 3, 0.7, 0.75, 0.8, 0.9, 1.0])


@st.composite
def families(draw):
    """Variants of a few base sets: many pairs around every threshold, and ties with it."""
    universe = draw(st.integers(5, 60))
    elements = st.integers(0, universe)
    bases = draw(st.lists(st.sets(elements, min_size=1, max_size=30), min_size=1, max_size=4))
    variants = st.tuples(st.sampled_from(bases), st.sets(elements, max_size=4))
    sets = [base ^ change for base, change in draw(st.lists(variants, max_size=40))]
    return [members for members in sets if members]


@given(families(), THRESHOLDS)
def test_few_sets_equal_all_pairs(sets, threshold):
    labels = similar_components([array(members) for members in sets], threshold)
    assert labels.tolist() == reference(sets, threshold)


@settings(max_examples=examples(150))
@given(
    families(),
    THRESHOLDS,
    st.sampled_from([0, 1, 16]),
    st.sampled_from([2, 256]),
    st.sampled_from([1, 30, 1 << 21]),
    st.sampled_from([1, 5, 512]),
)
def test_the_join_equals_all_pairs(sets, threshold, pivots, large, pairs, round_pairs):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FEW_SETS", 0)
        patch.setattr(module, "PIVOTS", pivots)
        patch.setattr(module, "LARGE_COMPONENT", large)
        patch.setattr(module, "PAIRS_AT_ONCE", pairs)
        patch.setattr(module, "MIN_ROUND_PAIRS", round_pairs)
        labels = similar_components([array(members) for members in sets], threshold) if sets else []
    assert list(labels) == reference(sets, threshold)


def template(random, shared, own, posts):
    base = random.integers(0, 2**32, shared, dtype=np.uint32)
    return [
        np.unique(np.append(base, random.integers(0, 2**32, own, dtype=np.uint32)))
        for _ in range(posts)
    ]


def test_large_groups_of_template_posts():
    random = np.random.default_rng(0)
    alike = template(random, 95, 5, 2000)  # every pair at 95 / 105
    apart = template(random, 80, 20, 2000)  # every pair at 80 / 120
    labels = similar_components(alike + apart, 0.8)
    assert (labels[:2000] == 0).all()
    assert (labels[2000:] == np.arange(2000, 4000)).all()


def test_a_chain_is_one_component_though_its_ends_share_nothing():
    chain = [np.arange(start, start + 100, dtype=np.uint32) for start in range(0, 3000, 10)]
    assert (similar_components(chain, 0.8) == 0).all()
    broken = chain[:100] + chain[103:]  # 70 of 130 elements in common over the gap
    assert sorted(set(similar_components(broken, 0.8).tolist())) == [0, 100]


@pytest.mark.parametrize("strangers", [5, 15])
def test_a_large_component_is_compared_with_the_rest(monkeypatch, strangers):
    monkeypatch.setattr(module, "FEW_SETS", 0)
    monkeypatch.setattr(module, "PIVOTS", 1)
    monkeypatch.setattr(module, "LARGE_COMPONENT", 2)
    pivot, member = set(range(100)), set(range(110))
    # Like the member, which is larger or smaller than it, but not like the pivot.
    other = set(range(10, 110)) | set(range(1000, 1000 + strangers))
    assert similar_components([array(s) for s in (pivot, member, other)], 0.8).tolist() == [0, 0, 0]


def test_sizes_of_all_kinds():
    sets = [{1}, {1, 2}, set(range(2000)), set(range(1, 2001)), {2}, set(range(1600))]
    sets += [{number} for number in range(10_000, 10_100)]
    labels = similar_components([array(members) for members in sets], 0.8)
    assert labels[:6].tolist() == [0, 1, 2, 2, 4, 2]
    assert labels[6:].tolist() == list(range(6, 106))


def test_jaccard():
    assert jaccard(array({1, 2, 3}), array({2, 3, 4})) == 0.5
    assert jaccard(array({1}), array(set())) == 0.0
    assert jaccard(array(set()), array(set())) == 1.0


@given(
    st.frozensets(st.integers(0, 9) | st.just(2**32 - 1)),
    st.lists(st.frozensets(st.integers(0, 12) | st.just(2**32 - 1)), max_size=9),
)
def test_one_with_many_is_each_with_one(one, others):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SETS_AT_ONCE", 4)
        found = jaccard_to(array(one), [array(other) for other in others])
    assert found.tolist() == [jaccard(array(one), array(other)) for other in others]
