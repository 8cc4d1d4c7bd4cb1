from collections import Counter, defaultdict
from itertools import permutations

import numpy as np
import pytest
from apache_beam.pvalue import TaggedOutput
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.counts import RecordCount
from schemas.metadata import PostMetadata
from schemas.post import DAY_MS, ClosedAs
from tests.examples import examples
from transforms.core import blocks as core_blocks
from transforms.core.blocks import BlockBuffer, MetadataBlock, unpack
from transforms.readers.stackexchange.join import _JoinEvents, _JoinNames
from transforms.readers.stackexchange.join_blocks import (
    JoinBlock,
    event_parts,
    global_id,
    join_partition,
    name_parts,
    pack_columns,
    reference_parts,
    split_global_id,
    unpack_columns,
)
from transforms.readers.stackexchange.rows import CLOSED_AS, MAX_ID, EventKind

SITES = ("a.example.com", "b.example.com")
UP, DOWN, ACCEPTED, FLAG = (
    EventKind.UPVOTE,
    EventKind.DOWNVOTE,
    EventKind.ACCEPTANCE,
    EventKind.FLAG,
)


def columns(rows: list[tuple[int, int, int]]) -> np.ndarray:
    return np.array(rows, np.int64).reshape(-1, 3).T


def closed(reason: ClosedAs) -> int:
    return EventKind.CLOSING + CLOSED_AS.index(reason)


def run(
    join, parts: list[tuple[int, JoinBlock]]
) -> tuple[list[tuple[int, PostMetadata]], Counter[str]]:
    """Group parts as a runner would and join each group."""
    groups: dict[int, list[JoinBlock]] = defaultdict(list)
    for partition, part in parts:
        groups[partition].append(part)
    metadata, counts = [], Counter()
    for group in groups.items():
        for output in join.process(group):
            if isinstance(output, TaggedOutput):
                found: RecordCount = output.value
                counts[found.key] += found.count
            else:
                partition, block = output
                assert isinstance(block, MetadataBlock)
                metadata += [(partition, row) for row in unpack(block)]
    return metadata, counts


POSTS = st.tuples(st.integers(0, 1), st.integers(1, 6))
KINDS = st.sampled_from([UP, DOWN, ACCEPTED, FLAG, *(closed(reason) for reason in ClosedAs)])


@settings(max_examples=examples(150), deadline=None)
@given(
    st.dictionaries(POSTS, st.integers(0, 3), max_size=8),
    st.lists(st.tuples(POSTS, KINDS, st.integers(11_000, 11_020)), max_size=40),
    st.integers(1, 5),
    st.integers(1, 10),
)
def test_events_join_as_a_plain_loop_would(posts, events, partitions, size) -> None:
    references = [(global_id(*post), target) for post, target in posts.items()]
    rows = [(global_id(*post), kind, day * DAY_MS + kind) for post, kind, day in events]
    parts = []
    for start in range(0, max(len(references), len(rows)), size):
        parts += reference_parts(references[start : start + size], partitions)
        parts += event_parts(columns(rows[start : start + size]), partitions)
    metadata, counts = run(_JoinEvents(SITES), parts)

    expected, lost = {}, Counter()
    for post, kind, _ in events:
        if post not in posts:
            lost["PostHistory.closings_without_post" if kind >= 16 else "Votes.without_post"] += 1
    for (site, number), target in posts.items():
        own = [(day, kind) for post, kind, day in events if post == (site, number)]
        if not own:
            continue
        closings = [item for item in own if item[1] >= 16]
        acceptances = [day for day, kind in own if kind == ACCEPTED]
        expected[f"{SITES[site]}:{number}"] = (
            target,
            PostMetadata(
                id=f"{SITES[site]}:{number}",
                up_days=tuple(sorted(day for day, kind in own if kind == UP)),
                down_days=tuple(sorted(day for day, kind in own if kind == DOWN)),
                accepted_day=max(acceptances, default=None),
                flags=sum(kind == FLAG for _, kind in own),
                closed_as=CLOSED_AS[max(closings)[1] - 16] if closings else None,
            ),
        )
    assert {fact.id: (target, fact) for target, fact in metadata} == expected
    assert len(metadata) == len(expected)
    assert counts == lost


def test_the_latest_closing_of_one_day_wins() -> None:
    key = global_id(0, 7)
    events = [
        (key, closed(ClosedAs.DUPLICATE), 12_000 * DAY_MS + 5_000),
        (key, closed(ClosedAs.OPINION), 12_000 * DAY_MS + 9_000),
        (key, closed(ClosedAs.UNKNOWN), 12_000 * DAY_MS + 7_000),
    ]
    for order in permutations(events):
        parts = [*event_parts(columns(order), 1), *reference_parts([(key, 3)], 1)]
        [(partition, metadata)], _ = run(_JoinEvents(SITES), parts)
        assert (partition, metadata.closed_as) == (3, ClosedAs.OPINION)


def test_the_latest_acceptance_counts() -> None:
    key = global_id(0, 7)
    events = [(key, ACCEPTED, day * DAY_MS) for day in (12_003, 12_009, 12_006)]
    parts = [*event_parts(columns(events), 1), *reference_parts([(key, 3)], 1)]
    [(_, metadata)], _ = run(_JoinEvents(SITES), parts)
    assert metadata.accepted_day == 12_009


def test_a_post_that_is_there_twice_gets_its_facts_once_per_thread_partition() -> None:
    key = global_id(1, 7)
    references = reference_parts([(key, 3), (key, 3), (key, 5)], 1)
    metadata, _ = run(_JoinEvents(SITES), [*references, *event_parts(columns([(key, UP, 0)]), 1)])
    assert [(partition, fact.id, fact.up_days) for partition, fact in metadata] == [
        (3, "b.example.com:7", (0,)),
        (5, "b.example.com:7", (0,)),
    ]


def test_equal_numbers_of_two_sites_do_not_mix() -> None:
    one, two = global_id(0, 7), global_id(1, 7)
    parts = [
        *reference_parts([(one, 0), (two, 0)], 1),
        *event_parts(columns([(two, UP, DAY_MS)]), 1),
    ]
    [(_, metadata)], _ = run(_JoinEvents(SITES), parts)
    assert (metadata.id, metadata.up_days) == ("b.example.com:7", (1,))


def test_names_go_to_every_post_of_their_user() -> None:
    user, system, unknown, empty = (global_id(1, number) for number in (4, -1, 5, 6))
    posts = [global_id(1, number) for number in (10, 11, 12, 13, 14)]
    references = [
        (user, posts[0], 2),
        (user, posts[1], 3),
        (system, posts[2], 2),
        (unknown, posts[3], 0),
        (empty, posts[4], 0),
    ]
    names = [(user, "Zoë 😀"), (system, "Community"), (empty, ""), (global_id(0, 5), "other site")]
    parts = [
        part
        for row in references
        for part in reference_parts([row], 3)  # many small parts
    ]
    metadata, counts = run(_JoinNames(SITES), [*parts, *name_parts(names, 3)])
    assert sorted((partition, fact.id, fact.author) for partition, fact in metadata) == [
        (2, "b.example.com:10", "Zoë 😀"),
        (2, "b.example.com:12", "Community"),
        (3, "b.example.com:11", "Zoë 😀"),
    ]
    assert counts == {"Users.missing": 1}


def test_a_user_that_is_there_twice_gets_one_name_in_any_order() -> None:
    user, post = global_id(0, 4), global_id(0, 10)
    for names in (("b", "a"), ("a", "b")):
        parts = [part for name in names for part in name_parts([(user, name)], 1)]
        parts += reference_parts([(user, post, 0)], 1)
        [(_, fact)], _ = run(_JoinNames(SITES), parts)
        assert fact.author == "a"


@given(st.integers(0, (1 << 20) - 1), st.integers(1, MAX_ID))
def test_global_ids_are_unique_and_fit_a_signed_64_bit_int(site: int, number: int) -> None:
    assert split_global_id(global_id(site, number)) == (site, number)
    assert 0 <= global_id(site, number) < 1 << 63
    assert 0 <= global_id(site, -number) < 1 << 63
    assert global_id(site, -number) != global_id(site, number)


@given(
    st.integers(1, 3).flatmap(
        lambda k: st.lists(st.tuples(*[st.integers(-(1 << 62), 1 << 62)] * k), min_size=1)
    )
)
def test_packed_columns_come_back(rows: list[tuple[int, ...]]) -> None:
    columns = np.array(rows, dtype=np.int64).T
    np.testing.assert_array_equal(unpack_columns(pack_columns(columns), len(columns)), columns)


def test_consecutive_ids_spread_evenly_over_partitions() -> None:
    keys = np.arange(10_000, dtype=np.int64) + (3 << 40)
    counts = np.bincount(join_partition(keys, 16), minlength=16)
    assert counts.min() > 500
    assert counts.max() < 750
    one_by_one = [int(join_partition(keys[i : i + 1], 16)[0]) for i in range(50)]
    assert one_by_one == join_partition(keys[:50], 16).tolist()


@pytest.mark.parametrize("partitions", [1, 7])
def test_every_part_lies_in_the_partition_of_its_key(partitions: int) -> None:
    rows = [(global_id(0, number), UP, number) for number in range(1, 50)]
    found = []
    for partition, part in event_parts(columns(rows), partitions):
        keys = unpack_columns(part.columns, 2)[0]
        assert set(join_partition(keys, partitions).tolist()) == {partition}
        found += keys.tolist()
    assert sorted(found) == [key for key, _, _ in rows]
    assert (
        list(event_parts(columns([]), 3))
        == list(reference_parts([], 3))
        == list(name_parts([], 3))
        == []
    )


def test_block_buffer_gives_every_row_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_blocks, "BLOCK_BYTES", 100)
    buffer = BlockBuffer(MetadataBlock, buffer_bytes=250)
    rows = [PostMetadata(id=f"s:{number}") for number in range(40)]
    blocks, sizes = [], []
    for number, row in enumerate(rows):
        full = list(buffer.add(number % 9, row, 30))
        sizes.append(len(full))
        blocks += full
    # Nine rows of 30 bytes are more than the buffer may hold, so all partitions go at once.
    assert sizes == ([0] * 8 + [9]) * 4 + [0] * 4
    blocks += buffer.flush()
    for partition in range(9):
        got = [row for target, block in blocks if target == partition for row in unpack(block)]
        assert got == rows[partition::9]
    assert list(buffer.flush()) == []

    single = BlockBuffer(MetadataBlock)
    filled = [block for row in rows[:8] for block in single.add(0, row, 30)]
    assert [block.rows for _, block in filled] == [4, 4]
