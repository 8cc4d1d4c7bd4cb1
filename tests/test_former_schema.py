"""Datasets of the pair schema's version 1, whose columns had other names, are read as before."""

import hashlib
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from pipeline.dataset.folder import DatasetFolder
from pipeline.diff import SchemaChange, compare_datasets
from schemas.arrow import PAIR_SCHEMA, current_names, current_schema, stored_names
from schemas.pair import FORMER_NAMES, PAIR_SCHEMA_VERSION
from training.data.dataset import PairDataset

FORMER = {new: old for old, new in FORMER_NAMES.items()}


@pytest.fixture
def former(sample: Path, tmp_path: Path) -> Path:
    """The sample as version 1.1.0 of the schema had it."""
    folder = tmp_path / "former"
    shutil.copytree(sample, folder)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["pair_schema_version"] = "1.1.0"
    for shard in manifest["shards"]:
        if shard["table"] == "data":
            file = folder / shard["path"]
            table = pq.read_table(file)
            table = table.rename_columns([FORMER.get(name, name) for name in table.column_names])
            table = table.replace_schema_metadata({"forumprefs.schema": "Pair/1.1.0"})
            pq.write_table(table, file)
            content = file.read_bytes()
            shard |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    path.write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def test_names_are_translated_both_ways() -> None:
    names = [FORMER.get(name, name) for name in PAIR_SCHEMA.names]
    before = pa.schema([f.with_name(n) for f, n in zip(PAIR_SCHEMA, names, strict=True)])
    assert current_names(names) == PAIR_SCHEMA.names
    assert current_schema(before).names == PAIR_SCHEMA.names
    assert stored_names(["vote_margin", "prompt", "rejected_turns"], before) == [
        "margin",
        "prompt",
        "rejected_messages",
    ]
    assert stored_names(["vote_margin", "prompt"], PAIR_SCHEMA) == ["vote_margin", "prompt"]


def test_a_former_folder_is_whole_and_gives_its_rows(sample: Path, former: Path) -> None:
    DatasetFolder(former).verify()
    DatasetFolder(former).check_rows()
    columns = ["pair_id", "vote_margin", "chosen_turns"]
    old, new = (
        [batch.to_pylist() for batch in DatasetFolder(folder).read_columns("data", columns)]
        for folder in (former, sample)
    )
    assert old == new and list(old[0][0]) == columns


def test_former_pairs_train_as_they_did(sample: Path, former: Path) -> None:
    old, new = (PairDataset(str(folder), "train").read(0) for folder in (former, sample))
    assert old.vote_margin.tolist() == new.vote_margin.tolist()
    assert (old.prompt, old.chosen) == (new.prompt, new.chosen)


def test_former_pairs_are_shown_and_filtered(
    former: Path, sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []
    for folder in (former, sample):
        given = [str(folder), "--json", "--limit", "99", "--min-margin", "4"]
        assert main(["inspect", *given]) == 0
        shown.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    assert shown[0] == shown[1]
    assert min(row["vote_margin"] for row in shown[0]) >= 4


def test_a_difference_says_which_columns_were_renamed(sample: Path, former: Path) -> None:
    found = compare_datasets(DatasetFolder(former), DatasetFolder(sample))
    assert found.schema == SchemaChange(
        old_version="1.1.0", new_version=PAIR_SCHEMA_VERSION, renamed=FORMER_NAMES
    )
    pairs = sum(shard.rows for shard in DatasetFolder(sample).shards("data"))
    assert found.same == pairs and not found.columns
    assert found.advice.level == "major" and "margin is now vote_margin" in found.advice.because
    back = compare_datasets(DatasetFolder(sample), DatasetFolder(former))
    assert back.schema is not None and back.schema.renamed == FORMER
    assert back.advice.level == "major"


def test_the_report_page_of_a_former_dataset(former: Path, tmp_path: Path) -> None:
    assert main(["report", str(former), "--output", str(tmp_path / "page.html")]) == 0
    assert "margin" in (tmp_path / "page.html").read_text(encoding="utf-8")
