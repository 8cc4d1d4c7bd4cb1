import functools
import hashlib
import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from hypothesis import given
from hypothesis import strategies as st

from pipeline.curate import finalize
from schemas.arrow import PAIR_IDS_SCHEMA, PAIR_SCHEMA
from schemas.audit import Duplicate, DuplicateRule, Reason, Rejected, Stage
from schemas.ids import hash63
from schemas.pair import TEXT_COLUMNS
from tests.make import response, thread
from transforms.core import Blob
from transforms.pairing import PairedThread, pair_thread, preset, prompt_turns
from transforms.pairing.pair_threads import SplitThread
from transforms.writers.parquet import WriteTables, write_parquet, write_shard
from transforms.writers.shards import (
    ShardKey,
    make_block,
    plan_shards,
    route_block,
    row_bytes,
    shard_path,
)


def paired(number: int, split: str = "train", answers: int = 3, replies: int = 0) -> PairedThread:
    first = number * 100
    responses = [
        response(first + i, first, text=f"answer {i} of thread {number} " * (5 * i + 1))
        for i in range(1, answers + 1)
    ]
    responses += [
        response(first + 50 + i, first, parent_id=responses[0].id, text=f"reply {i} " * 4)
        for i in range(1, replies + 1)
    ]
    item, _ = pair_thread(
        SplitThread(thread=thread(first, *responses, text="why? " * 30), split=split),
        preset("all"),
    )
    assert item is not None
    return item


def shard_of(
    folder: Path, rows: list[PairedThread], blobs: list[Blob] | None = None, **options: Any
):
    key = ShardKey("data/train", 0, 1)
    blobs = blobs or [make_block("data/train", rows).blob]
    report = write_shard(str(folder), key, blobs, **options)
    return report, folder / shard_path(key)


PAIRED = [paired(n, "test" if n % 9 == 0 else "train") for n in range(1, 60)]
DUPLICATES = [
    Duplicate(removed_id=f"s:{n}", kept_id="s:0", similarity=0.9, rule=DuplicateRule.NEAR)
    for n in range(1, 9)
]
REJECTED = [
    Rejected(id=f"s:{n % 20}", stage=Stage.FILTER, reason=Reason.EMPTY, detail=str(n))
    for n in range(30)
]


def write(folder: Path, seed: int, shard_bytes: int, ids_only: bool = False) -> dict[str, str]:
    """Write all rows in the order of ``seed``; return the sha256 of each file by its path."""
    rng = random.Random(seed)
    rows = [rng.sample(part, len(part)) for part in (PAIRED, DUPLICATES, REJECTED)]
    with TestPipeline(runner="FnApiRunner") as pipeline:
        parts = tuple(
            pipeline | f"Create {i}" >> beam.Create(part) | f"Spread {i}" >> beam.Reshuffle()
            for i, part in enumerate(rows)
        )
        _ = parts | WriteTables(str(folder), shard_bytes, ids_only)
    return hashes_of(folder)


def hashes_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int], Path]:
    """The tables written once for each seed and size of shards; tests must not change them."""

    @functools.cache
    def made(seed: int, shard_bytes: int) -> Path:
        folder = tmp_path_factory.mktemp("written")
        write(folder, seed, shard_bytes)
        return folder

    return made


def test_bytes_do_not_depend_on_order(written: Callable[[int, int], Path]) -> None:
    hashes = [hashes_of(written(seed, 30_000)) for seed in range(3)]
    assert hashes[0] == hashes[1] == hashes[2]
    train = [name for name in hashes[0] if name.startswith("data/train-")]
    assert len(train) > 3
    assert train[0].endswith(f"-of-{len(train):05d}.parquet")


def test_golden_bytes(written: Callable[[int, int], Path]) -> None:
    """Fails when rows, order, schema or writer settings change: then the versions must, too."""
    folder = written(0, 1 << 30)
    hashes = hashes_of(folder)
    assert sorted(hashes) == [
        "data/test-00000-of-00001.parquet",
        "data/train-00000-of-00001.parquet",
        "duplicates/duplicates-00000-of-00001.parquet",
        "rejected/rejected-00000-of-00001.parquet",
    ]
    table = pq.read_table(folder / "data/train-00000-of-00001.parquet")
    text = "\n".join(str(row) for row in table.to_pylist())
    assert hashlib.sha256(text.encode()).hexdigest() == GOLDEN_ROWS


GOLDEN_ROWS = "34fe94e3157b0a597fb7f645200cef94ddd9b3b1f1636c5cd81d693490cabb09"


def test_rows_of_a_thread_and_of_a_response_lie_together(
    written: Callable[[int, int], Path],
) -> None:
    seen = set()
    for path in sorted((written(1, 30_000) / "data").glob("train-*")):
        rows = pq.read_table(path).to_pylist()
        assert rows, "no shard is empty"
        for thread_id, group in itertools.groupby(rows, key=lambda row: row["thread_id"]):
            assert thread_id not in seen
            seen.add(thread_id)
            chosen = [row["chosen_id"] for row in group]
            runs = [key for key, _ in itertools.groupby(chosen)]
            assert len(runs) == len(set(runs))
    assert seen == {item.thread.id for item in PAIRED if item.split == "train"}


def test_concatenated_shards_have_one_order_whatever_their_number(
    written: Callable[[int, int], Path],
) -> None:
    orders, numbers = [], []
    for shard_bytes in (30_000, 70_000, 1 << 30):
        files = sorted((written(0, shard_bytes) / "data").glob("train-*"))
        numbers.append(len(files))
        orders.append([i for f in files for i in pq.read_table(f)["pair_id"].to_pylist()])
    assert orders[0] == orders[1] == orders[2]
    assert numbers[0] > numbers[1] > numbers[2] == 1
    places = [hash63(pair_id.split("/")[0]) for pair_id in orders[0]]
    assert places == sorted(places)


def test_files_have_schema_page_index_and_zstd(written: Callable[[int, int], Path]) -> None:
    file = pq.ParquetFile(written(0, 1 << 30) / "data/train-00000-of-00001.parquet")
    assert file.schema_arrow.equals(PAIR_SCHEMA, check_metadata=True)
    column = file.metadata.row_group(0).column(0)
    assert column.compression == "ZSTD"
    assert column.has_offset_index and column.has_column_index


def test_every_row_is_written_once(written: Callable[[int, int], Path]) -> None:
    folder = written(0, 30_000)
    pairs = sum(pq.read_metadata(f).num_rows for f in (folder / "data").iterdir())
    assert pairs == sum(len(item.decisions) for item in PAIRED)
    removed = pq.read_table(folder / "duplicates")["removed_id"].to_pylist()
    assert sorted(removed) == sorted(row.removed_id for row in DUPLICATES)
    details = pq.read_table(folder / "rejected")["detail"].to_pylist()
    assert sorted(details) == sorted(row.detail for row in REJECTED)


def test_no_partial_file_is_left(written: Callable[[int, int], Path]) -> None:
    assert not [name for name in hashes_of(written(0, 30_000)) if "partial" in name]


@pytest.mark.parametrize("fails", ["making", "encoding", "encoding the last"])
def test_a_shard_that_fails_half_way_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    rows = pa.table({"id": ["a", "b"]})
    encoded = []
    real = pq.ParquetWriter.write_table

    def encode(writer: pq.ParquetWriter, table: pa.Table, **options: Any) -> None:
        encoded.append(table)
        if fails == "encoding" or (fails == "encoding the last" and len(encoded) == 3):
            raise OSError("no room")
        real(writer, table, **options)

    def tables() -> Iterator[pa.Table]:
        yield rows
        yield rows
        if fails == "making":
            raise OSError("no room")
        yield rows

    monkeypatch.setattr(pq.ParquetWriter, "write_table", encode)
    with pytest.raises(OSError, match="no room"):
        write_parquet(str(tmp_path), "data/train-00000-of-00001.parquet", rows.schema, tables())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@given(
    st.dictionaries(st.integers(0, 4095), st.integers(1, 10_000), min_size=1, max_size=60),
    st.integers(1, 20_000),
)
def test_plan_has_no_empty_shard_and_keeps_near_the_target(
    sizes: dict[int, int], target: int
) -> None:
    starts = plan_shards(sizes, target)
    assert list(starts) == sorted(set(starts))
    assert starts[0] == min(sizes)
    assert set(starts) <= set(sizes), "a shard begins with a bucket that has rows"
    assert len(starts) <= max(1, round(sum(sizes.values()) / target))
    wanted = sum(sizes.values()) / max(1, round(sum(sizes.values()) / target))
    for first, after in itertools.pairwise([*starts, 4096]):
        shard = [size for bucket, size in sizes.items() if first <= bucket < after]
        assert sum(shard) < wanted + 2 * max(sizes.values())


@pytest.mark.parametrize("shards", [1, 2, 7])
def test_a_block_over_a_border_is_divided(shards: int) -> None:
    rows = [item for item in PAIRED if item.split == "train"]
    block = make_block("data/train", rows)
    buckets = sorted(dict(block.sizes))
    starts = tuple(buckets[:: max(1, len(buckets) // shards)][:shards])
    routed = list(route_block(block, {"data/train": starts}))
    assert [key.index for key, _ in routed] == list(range(len(starts)))
    if shards == 1:
        assert routed[0][1] is block.blob, "no unpacking when nothing is divided"


def test_ids_only_has_the_same_rows_in_the_same_row_groups(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("transforms.writers.parquet.ROW_GROUP_BYTES", 20_000)
    rows = [item for item in PAIRED if item.split == "train"]
    full_report, full = shard_of(tmp_path / "full", rows)
    report, ids = shard_of(tmp_path / "ids", rows, ids_only=True)
    assert report.stats == full_report.stats and report.stats["chosen_chars_total"] > 0
    assert report.shard.rows == full_report.shard.rows
    assert report.shard.sha256 == hashlib.sha256(ids.read_bytes()).hexdigest()
    with_texts, without = pq.ParquetFile(full), pq.ParquetFile(ids)
    assert without.schema_arrow.equals(PAIR_IDS_SCHEMA, check_metadata=True)
    assert not set(TEXT_COLUMNS) & set(without.schema_arrow.names)
    assert with_texts.num_row_groups == without.num_row_groups > 2
    for group in range(with_texts.num_row_groups):
        expected = with_texts.read_row_group(group).select(PAIR_IDS_SCHEMA.names)
        assert without.read_row_group(group).to_pylist() == expected.to_pylist()


def test_a_shard_is_hashed_again_only_if_it_is_not_where_its_worker_left_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, path = shard_of(tmp_path, PAIRED[:5])
    again: list[str] = []
    monkeypatch.setattr(
        finalize, "shard_fault", lambda folder, shard: again.append(shard.path) or None
    )
    finalize.check_shards(tmp_path, [report], quiet=True)
    assert again == []
    fetched = msgspec.structs.replace(report, stamp=None)
    finalize.check_shards(tmp_path, [fetched], quiet=True)
    assert again == [report.shard.path]
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"?")
    finalize.check_shards(tmp_path, [report], quiet=True)
    assert again == [report.shard.path] * 2
    path.unlink()
    monkeypatch.undo()
    with pytest.raises(OSError, match="not those that a worker wrote"):
        finalize.check_shards(tmp_path, [report], quiet=True)


def test_ids_only_leaves_the_other_tables_and_the_borders_alone(
    written: Callable[[int, int], Path], tmp_path: Path
) -> None:
    write(tmp_path, 0, 30_000, ids_only=True)
    folders = (written(0, 30_000), tmp_path)
    files = [
        sorted(str(path.relative_to(folder)) for path in folder.rglob("*.pa*"))
        for folder in folders
    ]
    assert files[0] == files[1]
    for name in files[0]:
        full, ids = (folder / name for folder in folders)
        if name.startswith("data/"):
            assert pq.read_table(full)["pair_id"].equals(pq.read_table(ids)["pair_id"])
            assert b"answer 1 of thread" not in ids.read_bytes()
        else:
            assert full.read_bytes() == ids.read_bytes()


def test_columns_in_turns_only_when_asked_for(tmp_path: Path) -> None:
    row = paired(1, answers=2, replies=2)
    _, plain = shard_of(tmp_path / "plain", [row])
    _, turns = shard_of(tmp_path / "turns", [row], conversational=True)
    for name in ("prompt_turns", "chosen_turns", "rejected_turns"):
        assert pq.read_table(plain)[name].null_count == len(row.decisions)
    table = pq.read_table(turns)
    assert table.drop(TEXT_COLUMNS[3:]).equals(pq.read_table(plain).drop(TEXT_COLUMNS[3:]))
    seen = set()
    for decision, found in zip(row.decisions, table.to_pylist(), strict=True):
        context = [row.thread.responses[index] for index in decision.context]
        seen.add(len(context))
        assert found["prompt_turns"] == [
            {"role": message.role, "content": message.content}
            for message in prompt_turns(row.thread.prompt, context)
        ]
        assert found["chosen_turns"] == [{"role": "assistant", "content": found["chosen"]}]
        assert found["rejected_turns"] == [{"role": "assistant", "content": found["rejected"]}]
    assert seen == {0, 1}


def test_the_texts_above_a_reply_count_for_the_size_of_its_rows() -> None:
    row = paired(1, answers=2, replies=2)
    above = [index for decision in row.decisions for index in decision.context]
    assert above
    flat = msgspec.structs.replace(
        row, decisions=tuple(msgspec.structs.replace(d, context=()) for d in row.decisions)
    )
    context = sum(len(row.thread.responses[index].text) for index in above)
    assert row_bytes(row) == row_bytes(flat) + context
