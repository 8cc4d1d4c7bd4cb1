from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.ids import MASK_63
from tests.beam_run import output_of
from transforms.core.blobs import Blob
from transforms.core.blocks import partition_of
from transforms.dedup import components
from transforms.dedup.components import (
    BucketComponents,
    ConnectedComponents,
    Forest,
    contract,
    pack_rows,
    partitions_of,
    route_rows,
    stars,
    unpack_rows,
)

nodes = st.integers(0, 25) | st.integers(MASK_63 - 5, MASK_63)
row_lists = st.lists(st.tuples(nodes, nodes), max_size=60)


def rows_of(pairs):
    return np.array(pairs, np.int64).reshape(-1, 2)


def reference(edges):
    """Node -> smallest node of its component, by repeated search; nodes alone are left out."""
    neighbours = defaultdict(set)
    for left, right in edges:
        neighbours[left].add(right)
        neighbours[right].add(left)
    roots = {}
    for node in sorted(neighbours):
        if node in roots:
            continue
        found, waiting = {node}, [node]
        while waiting:
            for other in neighbours[waiting.pop()] - found:
                found.add(other)
                waiting.append(other)
        if len(found) > 1:
            roots.update(dict.fromkeys(found, node))
    return roots


def bucket_edges(rows):
    buckets = defaultdict(list)
    for key, node in rows:
        buckets[key].append(node)
    return [(members[0], other) for members in buckets.values() for other in members]


@given(row_lists)
def test_contract_finds_the_components(pairs):
    forest = contract(rows_of(pairs)).tolist()
    expected = reference(pairs)
    assert dict(forest) == {node: root for node, root in expected.items() if node != root}
    assert forest == sorted(forest)


def test_contract_survives_an_edge_given_often():
    # 2**8 and 2**32 copies would overflow a narrow counter to "no edge".
    assert contract(np.tile([[1, 2]], (2**16, 1))).tolist() == [[2, 1]]


@given(row_lists, st.integers(1, 10), st.integers(1, 70))
def test_forest_does_not_depend_on_batches(pairs, pending, step):
    forest = Forest(pending)
    for start in range(0, len(pairs), step):
        forest.add(rows_of(pairs[start : start + step]))
    rows = forest.components().tolist()
    assert dict(rows) == reference(pairs)
    assert rows == sorted(rows)
    assert len(rows) == len(dict(rows))


@given(row_lists)
def test_stars_span_their_buckets(pairs):
    rows = rows_of(pairs)
    edges, centres = stars(rows[:, 0], rows[:, 1])
    smallest = {}
    for key, node in pairs:
        smallest[key] = min(node, smallest.get(key, node))
    assert centres.tolist() == [[key, smallest[key]] for key in sorted(smallest)]
    distinct = {(node, smallest[key]) for key, node in pairs} - {(n, n) for _, n in pairs}
    assert set(map(tuple, edges.tolist())) == distinct


@given(row_lists, st.integers(1, 7))
def test_stars_of_parts_and_of_their_centres_join_the_whole(pairs, step):
    forest = Forest()
    centres = []
    for start in range(0, len(pairs), step):
        part = rows_of(pairs[start : start + step])
        found = stars(part[:, 0], part[:, 1])
        forest.add(found.edges)
        centres += found.centres.tolist()
    rows = rows_of(centres)
    forest.add(stars(rows[:, 0], rows[:, 1]).edges)
    assert dict(forest.components().tolist()) == reference(bucket_edges(pairs))


@given(st.lists(st.integers(0, MASK_63), max_size=20), st.integers(1, 5000))
def test_partitions_of_agrees_with_partition_of(positions, partitions):
    starts = [-(-(index << 63) // partitions) for index in range(1, min(partitions, 50))]
    positions += starts + [start - 1 for start in starts]
    found = partitions_of(np.array(positions, np.int64), partitions).tolist()
    assert found == [partition_of(position, partitions) for position in positions]


@given(row_lists)
def test_route_rows_sends_every_row_to_its_target(pairs):
    rows = rows_of(pairs)
    sent = [
        (target, *row)
        for target, chunk in route_rows(rows, rows[:, 0] % 3)
        for row in unpack_rows(chunk).tolist()
    ]
    assert sorted(sent) == sorted((left % 3, left, right) for left, right in pairs)


def test_chunks_stay_small_and_elements_few():
    rows = np.arange(2 * (2 * components.CHUNK_ROWS + 1)).reshape(-1, 2)
    chunks = list(pack_rows(rows))
    assert [len(chunk) for chunk in chunks] == [1 << 20, 1 << 20, 16]
    assert np.concatenate([unpack_rows(chunk) for chunk in chunks]).tolist() == rows.tolist()
    for number in (3, 100):
        targets = [target for target, _ in route_rows(rows[:number], np.arange(number) % 8)]
        assert len(targets) == min(8, number)


def random_buckets(seed):
    """Buckets of all sizes, among them chains, one hot bucket and ids in no company."""
    random = np.random.default_rng(seed)
    ids = random.integers(0, MASK_63, 400)
    rows = [(int(random.integers(0, MASK_63)), int(node)) for node in ids]
    hot = int(random.integers(0, MASK_63))
    rows += [(hot, int(node)) for node in ids[:60]]
    for start in range(100, 200, 20):
        chain = random.permutation(ids[start : start + 20])
        for left, right in pairwise(chain):
            key = int(random.integers(0, MASK_63))
            rows += [(key, int(left)), (key, int(right))]
    rows += [rows[-1]] * 3
    return rows


def run_transform(transform, chunks):
    outputs = output_of(transform, (chunks, Blob))
    assert all(len(chunk) <= 1 << 20 for chunk in outputs)
    found = [tuple(row) for chunk in outputs for row in unpack_rows(chunk).tolist()]
    assert len(found) == len(set(found))
    return dict(found)


@pytest.mark.parametrize(
    ("partitions", "step", "pending"), [(1, 1000, 1 << 18), (8, 7, 50), (64, 1, 1), (5, 90, 100)]
)
def test_bucket_components_equal_the_reference(monkeypatch, partitions, step, pending):
    monkeypatch.setattr(components, "PENDING_ROWS", pending)
    rows = random_buckets(seed=1)
    order = np.random.default_rng(step).permutation(len(rows))
    shuffled = rows_of(rows)[order]
    chunks = [Blob(shuffled[start : start + step].tobytes()) for start in range(0, len(rows), step)]
    found = run_transform(BucketComponents(partitions), chunks)
    assert found == reference(bucket_edges(rows))
    assert len(set(found.values())) == 6


@pytest.mark.parametrize("pending", [1, 1 << 18])
def test_connected_components_of_single_edges(monkeypatch, pending):
    monkeypatch.setattr(components, "PENDING_ROWS", pending)
    edges = [(9, 7), (7, 12), (3, 4), (5, 5), (12, 9), (MASK_63, 4)]
    found = run_transform(
        ConnectedComponents(), [Blob(rows_of([edge]).tobytes()) for edge in edges]
    )
    assert found == {7: 7, 9: 7, 12: 7, 3: 3, 4: 3, MASK_63: 3}


def test_no_rows_no_components():
    assert run_transform(BucketComponents(4), [Blob(b"")]) == {}
    assert Forest().components().shape == (0, 2)


def test_a_hot_bucket_leaves_a_batch_as_one_row():
    rows = np.stack([np.full(10_000, 77), np.arange(10_000)], axis=1)
    worker = components.StarBuckets(partitions=64)
    worker.start_bundle()
    assert list(worker.process(Blob(rows.tobytes()))) == []
    outputs = [
        value.value if hasattr(value, "value") else value for value in worker.finish_bundle()
    ]
    routed = [output for output in outputs if isinstance(output, tuple)]
    assert [unpack_rows(chunk).tolist() for _, chunk in routed] == [[[77, 0]]]


def test_a_full_buffer_is_sent_once(monkeypatch):
    monkeypatch.setattr(components, "PENDING_ROWS", 10)
    rows = np.stack([np.arange(12), np.arange(100, 112)], axis=1)
    worker = components.StarBuckets(partitions=1)
    worker.start_bundle()
    ((_, chunk),) = worker.process(Blob(rows.tobytes()))
    assert unpack_rows(chunk).tolist() == rows.tolist()
    assert list(worker.finish_bundle()) == []

    contractor = components.ContractEdges()
    contractor.start_bundle()
    assert len(list(contractor.process(Blob(rows.tobytes())))) == 1
    assert list(contractor.finish_bundle()) == []
