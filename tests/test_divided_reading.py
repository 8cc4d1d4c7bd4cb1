"""Ranks that read their own row groups see the batches of a process that reads them all."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.fresh_process import torchrun
from tests.preference_data import make_pairs, write_dataset
from tests.read_as_ranks import DIVISIONS, RESUMED_AT, row_of, sampler_of
from training.data.dataset import PairDataset
from training.data.divided_windows import index_of, text_sizes
from training.data.prompt_groups import ShuffleWindows, prompt_runs, shard_by_rank

PROCESSES = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("divided")
    pairs = make_pairs(60, "train", responses=5)
    write_dataset(folder / "data", pairs, row_group=12)
    write_dataset(folder / "damaged", pairs, row_group=12)
    for shard in (folder / "damaged" / "data").glob("train-*.parquet"):
        group = pq.ParquetFile(shard).metadata.row_group(0)
        columns = [group.column(number) for number in range(group.num_columns)]
        (column,) = (one for one in columns if one.path_in_schema == "chosen")
        content = bytearray(shard.read_bytes())
        begin = column.dictionary_page_offset or column.data_page_offset
        size = column.total_compressed_size
        content[begin : begin + size] = b"\xff" * size
        shard.write_bytes(content)
    (folder / "found").mkdir()
    log = folder / "log"
    places = [str(folder / name) for name in ("data", "damaged", "found")]
    try:
        torchrun(PROCESSES, ["-m", "tests.read_as_ranks", *places], log)
    except Exception as error:
        raise AssertionError(log.read_text()) from error
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> list[dict[str, Any]]:
    """What each process wrote."""
    return [
        json.loads((folder / "found" / f"{process}.json").read_text())
        for process in range(PROCESSES)
    ]


@pytest.mark.parametrize("name", ["whole", "resumed"])
@pytest.mark.parametrize(("ranks", "copies"), DIVISIONS)
def test_each_rank_gets_the_rows_that_it_would_take_of_all(
    folder: Path, found: list[dict[str, Any]], name: str, ranks: int, copies: int
) -> None:
    dataset = PairDataset(str(folder / "data"), "train")
    sampler = sampler_of(dataset)
    windows = ShuffleWindows(dataset)
    first = 0 if name == "whole" else RESUMED_AT
    assert len(dataset.rows) > 2 * 5  # several windows, and RESUMED_AT lies inside of one
    for process, all_of_it in enumerate(found):
        own = all_of_it[f"{name} {ranks} {copies}"]
        assert own["rank"] == process // copies
        assert len(own["steps"]) == sampler.steps - first
        for step, got in zip(range(first, sampler.steps), own["steps"], strict=True):
            rows = windows.batch(sampler, step)
            runs = shard_by_rank(rows, ranks)[own["rank"]]
            assert got == [[row, row_of(rows, row)] for run in runs for row in run]


@pytest.mark.parametrize(("ranks", "copies"), DIVISIONS)
def test_each_row_group_is_read_by_one_rank_and_once_an_epoch(
    folder: Path, found: list[dict[str, Any]], ranks: int, copies: int
) -> None:
    dataset = PairDataset(str(folder / "data"), "train")
    sampler = sampler_of(dataset)
    groups = len(dataset.rows)
    own = [all_of_it[f"whole {ranks} {copies}"] for all_of_it in found]
    for copy in range(copies):
        read = sorted(number for one in own[copy::copies] for number in one["read"])
        assert read == sorted([*range(groups)] * sampler.epochs)
    for one in own:
        assert abs(len(one["read"]) - groups * sampler.epochs / ranks) < sampler.epochs


def test_all_ranks_end_with_the_message_of_the_one_that_read_the_damage(
    found: list[dict[str, Any]],
) -> None:
    (message,) = {own["damaged"] for own in found}
    assert re.search(r"data/train-\d+-of-\d+\.parquet: ", message)


def test_the_index_says_of_runs_what_the_texts_say(folder: Path) -> None:
    rows = PairDataset(str(folder / "data"), "train").read(0)
    index = index_of(rows)
    runs = prompt_runs(rows)
    assert len({bytes(entry) for entry in index["prompt"].tolist()}) == len(set(rows.prompts))
    expected = [
        len(rows.prompt[run.start])
        + len("".join({*rows.chosen[run.start : run.stop], *rows.rejected[run.start : run.stop]}))
        for run in runs
    ]
    assert text_sizes(index, runs) == expected
    assert index.tobytes() == np.frombuffer(index.tobytes(), dtype=index.dtype).tobytes()
