"""Rows of a shard are sorted in bounded memory, and no row or byte depends on how."""

import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from schemas.audit import Duplicate, DuplicateRule, Reason, Rejected, Stage
from schemas.ids import hash63
from tests.test_write import PAIRED, paired, shard_of
from transforms.core import Blob
from transforms.writers.shards import pack_rows
from transforms.writers.sort_rows import sorted_rows

TRAIN = [item for item in PAIRED if item.split == "train"]


def blobs_of(rows: list, rows_of_blob: int, seed: int) -> list[Blob]:
    mixed = random.Random(seed).sample(rows, len(rows))
    return [pack_rows(mixed[i : i + rows_of_blob]) for i in range(0, len(mixed), rows_of_blob)]


@pytest.mark.parametrize(("run_bytes", "part_bytes"), [(1, 1), (9_000, 2_000), (1 << 20, 1 << 20)])
def test_runs_give_the_order_of_one_sort(run_bytes: int, part_bytes: int) -> None:
    for seed in range(3):
        blobs = blobs_of(TRAIN, 4, seed)
        rows = list(sorted_rows("data/train", blobs, run_bytes=run_bytes, part_bytes=part_bytes))
        assert rows == sorted(TRAIN, key=lambda row: hash63(row.thread.id))


@pytest.mark.parametrize("run_bytes", [1, 400, 1 << 20])
def test_rows_of_one_place_are_in_one_order(run_bytes: int) -> None:
    rejected = [
        Rejected(id=f"s:{n % 5}", stage=Stage.FILTER, reason=Reason.EMPTY, detail=str(n % 30))
        for n in range(60)
    ]
    duplicates = [
        Duplicate(removed_id=f"s:{n}", kept_id="s:0", similarity=0.9, rule=DuplicateRule.NEAR)
        for n in range(60)
    ]
    for table, rows in (("rejected/rejected", rejected), ("duplicates/duplicates", duplicates)):
        found = [
            [
                msgspec.json.encode(row)
                for row in sorted_rows(table, blobs_of(rows, 7, seed), run_bytes=run_bytes)
            ]
            for seed in range(3)
        ]
        assert found[0] == found[1] == found[2]
        assert sorted(found[0]) == sorted(map(msgspec.json.encode, rows))


def test_a_shard_of_many_runs_has_the_same_bytes_and_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transforms.writers.parquet.COUNTED_ROWS", 5)
    whole, _ = shard_of(tmp_path / "one", TRAIN)
    blobs = blobs_of(TRAIN, 3, 1)
    runs, _ = shard_of(tmp_path / "runs", TRAIN, blobs=blobs, run_bytes=5_000)
    assert msgspec.structs.replace(runs, stamp=whole.stamp) == whole
    assert runs.stats["threads"] == len(TRAIN)
    assert runs.stats["posts"] == sum(1 + len(row.thread.responses) for row in TRAIN)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["data"], "nothing is left"


def test_memory_does_not_grow_with_the_shard() -> None:
    def blobs(number: int) -> Iterator[Blob]:
        one = paired(1)
        for first in range(0, number, 20):
            prompts = [
                msgspec.structs.replace(
                    one.thread.prompt, id=f"s:{n}", text=random.Random(n).randbytes(4_000).hex()
                )
                for n in range(first, first + 20)
            ]
            yield pack_rows(
                [
                    msgspec.structs.replace(
                        one, thread=msgspec.structs.replace(one.thread, prompt=prompt)
                    )
                    for prompt in prompts
                ]
            )

    peaks = []
    for number in (200, 1_000):
        tracemalloc.start()
        try:
            rows = sorted_rows("data/train", blobs(number), run_bytes=500_000, part_bytes=10_000)
            assert sum(1 for _ in rows) == number
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    texts = 1_000 * 8_000
    assert peaks[1] < min(texts / 3, 1.5 * peaks[0])
