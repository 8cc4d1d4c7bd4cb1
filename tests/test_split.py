from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.audit import DuplicateRule
from schemas.ids import MASK_63, hash63
from schemas.pair import SPLITS
from tests.beam_run import output_of
from transforms.core.blobs import Blob
from transforms.core.blocks import partition_of
from transforms.dedup.components import unpack_rows
from transforms.dedup.split import DEFAULT_SHARES, QuestionClusters, split_of
from transforms.dedup.verify import DuplicateMatch


@pytest.mark.parametrize("shares", [DEFAULT_SHARES, {"train": 1, "validation": 1, "test": 2}])
def test_shares_are_met(shares):
    number = 20_000
    counts = Counter(split_of(hash63(f"thread {n}"), shares) for n in range(number))
    total = sum(shares.values())
    for split in SPLITS:
        share = shares[split] / total
        deviation = (number * share * (1 - share)) ** 0.5
        assert abs(counts[split] - number * share) < 5 * deviation


def test_the_split_is_a_fixed_function_of_root_and_seed():
    roots = [hash63(f"thread {number}") for number in range(40)]
    splits = [split_of(root, {"train": 2, "validation": 1, "test": 1}, seed=3) for root in roots]
    assert (
        "".join(str(SPLITS.index(split)) for split in splits)
        == "1002100020110001022102011002122020201000"
    )
    assert splits != [split_of(root, {"train": 2, "validation": 1, "test": 1}) for root in roots]


def test_consecutive_roots_are_spread():
    counts = Counter(split_of(number, {"train": 1, "test": 1}) for number in range(1000))
    assert min(counts["train"], counts["test"]) > 400


@given(st.integers(0, MASK_63), st.sampled_from(SPLITS), st.integers(0, 5))
def test_a_share_of_nothing_gets_nothing(root, only, seed):
    assert split_of(root, {only: 1}, seed) == only


@pytest.mark.parametrize(
    "shares", [{}, {"train": 0}, {"train": -1, "test": 3}, {"training": 1}, {"train": 1, "dev": 1}]
)
def test_shares_are_checked(shares):
    with pytest.raises(ValueError, match=r"shares|unknown"):
        split_of(1, shares)


def match(removed, kept, is_prompt=True):
    prefix = "" if is_prompt else "answer "
    return DuplicateMatch(
        removed_id=prefix + removed,
        removed_thread_id=removed,
        kept_id=prefix + kept,
        kept_thread_id=kept,
        is_prompt=is_prompt,
        similarity=0.9,
        rule=DuplicateRule.NEAR,
    )


def links(*pairs):
    hashes = [[hash63(left), hash63(right)] for left, right in pairs]
    return Blob(np.array(hashes, np.int64).reshape(-1, 2).tobytes())


def roots_of(matches, chunks, partitions=8, overlaps=()):
    roots = {}
    inputs = ((matches, DuplicateMatch), (chunks, Blob), (overlaps, Blob))
    for partition, chunk in output_of(QuestionClusters(partitions), *inputs):
        for node, root in unpack_rows(chunk).tolist():
            assert partition == partition_of(node, partitions)
            assert node not in roots
            roots[node] = root
    return roots


LEAKS = [
    ("near", "near-copy"),
    ("linked", "linked-to"),
    *((f"chain{n}", f"chain{n + 1}") for n in range(30)),
    ("survivor", "removed"),  # a near-duplicate …
    ("linker", "removed"),  # … that another question links to
    ("one", "never-seen"),  # two questions linked to one that no input holds
    ("two", "never-seen"),
]


@pytest.mark.parametrize("partitions", [1, 64])
def test_no_leak_crosses_a_split(partitions):
    matches = [match("near-copy", "near"), match("removed", "survivor")]
    matches += [match(f"chain{n + 1}", f"chain{n}") for n in range(0, 30, 3)]
    linked = [
        pair for pair in LEAKS if not any({v.removed_id, v.kept_id} == set(pair) for v in matches)
    ]
    chunks = [links(pair) for pair in linked[::2]]
    roots = roots_of(matches, chunks, partitions, [links(*linked[1::2])])
    even = {"train": 1, "validation": 1, "test": 1}
    for left, right in LEAKS:
        places = [roots.get(hash63(name), hash63(name)) for name in (left, right)]
        assert places[0] == places[1], (left, right)
        assert split_of(places[0], even) == split_of(places[1], even)
    assert len(set(roots.values())) == 5
    assert all(root <= node and roots[root] == root for node, root in roots.items())
    assert hash63("alone") not in roots


def test_duplicate_answers_join_no_questions():
    assert roots_of([match("a", "b", is_prompt=False)], []) == {}
