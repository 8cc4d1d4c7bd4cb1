"""Dataset folders that are whole, damaged, foreign, and elsewhere."""

import argparse
import hashlib
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.curate.options import add_recipe_arguments, add_run_arguments, parse
from pipeline.curate.run import curate
from pipeline.dataset.folder import DatasetFolder
from pipeline.errors import DatasetError, UsageError
from schemas.arrow import PAIR_IDS_SCHEMA, PAIR_SCHEMA
from schemas.manifest import MANIFEST_VERSION
from schemas.pair import PAIR_SCHEMA_VERSION
from tests.memory_files import MemoryFileSystem

SAMPLES = Path(__file__).parents[1] / "samples"
SITE = SAMPLES / "sourdough.example.com"


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out") / "sample"
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_run_arguments(parser)
    add_recipe_arguments(parser)
    given = ["--input", f"stackexchange={SITE}", "--output", str(output), "--quiet"]
    namespace, rest = parser.parse_known_args([*given, "--shard-bytes", "30000"])
    curate(parse(parser, namespace, rest))
    return output


@pytest.fixture
def dataset(sample: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "dataset"
    shutil.copytree(sample, copy)
    return copy


def problems(folder: Path | str) -> list[str]:
    with pytest.raises(DatasetError) as caught:
        DatasetFolder(folder).verify()
    for problem in caught.value.problems:
        assert problem in str(caught.value)
    return list(caught.value.problems)


def train_shard(folder: Path) -> Path:
    shards = sorted((folder / "data").glob("train-*"))
    assert len(shards) > 1
    return shards[1]


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    edit(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def replace_shard(folder: Path, path: Path, **changes: Any) -> None:
    """Make the manifest agree with a shard that a test has changed."""

    def edit(manifest: dict[str, Any]) -> None:
        shard = next(s for s in manifest["shards"] if s["path"] == name_of(path))
        content = path.read_bytes()
        shard["bytes"] = len(content)
        shard["sha256"] = hashlib.sha256(content).hexdigest()
        shard |= changes

    edit_manifest(folder, edit)


def test_a_whole_folder_passes_and_its_bytes_are_counted(sample: Path) -> None:
    folder = DatasetFolder(sample)
    lock, seen = threading.Lock(), [0]

    def progress(read: int) -> None:
        with lock:
            seen[0] += read

    folder.verify(progress)
    assert seen[0] == sum(shard.bytes for shard in folder.manifest.shards) > 0
    assert folder.report["pairs"]["total"] == sum(s.rows for s in folder.shards("data"))
    assert folder.manifest_bytes == (sample / "manifest.json").read_bytes()


@pytest.mark.parametrize("spelling", ["{}/", "{}//", "{}/../{name}", "{}/./"])
def test_the_spelling_of_a_local_path_does_not_matter(sample: Path, spelling: str) -> None:
    DatasetFolder(spelling.format(sample, name=sample.name)).verify()


def test_a_relative_path(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sample)
    DatasetFolder(".").verify()
    DatasetFolder(Path("data/..")).verify()


def test_shards_by_table_and_split(sample: Path) -> None:
    folder = DatasetFolder(sample)
    everything = {str(p.relative_to(sample)) for p in sample.rglob("*.parquet")}
    tables = ("data", "duplicates", "rejected")
    assert {s.path for table in tables for s in folder.shards(table)} == everything
    train = [s.path for s in folder.shards("data", "train")]
    assert train == sorted(p for p in everything if p.startswith("data/train-"))
    assert folder.shards("rejected", "train") == ()
    assert folder.path_of(train[0]) == str(sample / train[0])


def test_every_problem_is_named(dataset: Path) -> None:
    shards = sorted((dataset / "data").glob("train-*"))[:3]
    altered, cut, missing = shards
    content = bytearray(altered.read_bytes())
    content[len(content) // 2] ^= 1
    altered.write_bytes(content)
    cut.write_bytes(cut.read_bytes()[:-10])
    missing.unlink()
    (dataset / "data/train-99999-of-00001.parquet").write_bytes(b"")
    (dataset / "rejected/notes/of").mkdir(parents=True)
    (dataset / "rejected/notes/of/mine.txt").write_text("x")
    (dataset / "README.md").unlink()
    (dataset / "report.json").write_text("{")
    found = problems(dataset)
    wanted = [
        (name_of(altered), "altered"),
        (name_of(cut), "cut off"),
        (name_of(missing), "missing"),
        ("data/train-99999-of-00001.parquet", "not in manifest.json"),
        ("rejected/notes/of/mine.txt", "not in manifest.json"),
        ("report.json", "not valid JSON"),
        ("README.md", "missing"),
    ]
    assert len(found) == len(wanted)
    for problem, (name, fault) in zip(found, wanted, strict=True):
        assert problem.startswith(name) and fault in problem
    with pytest.raises(UsageError, match="Make the folder again"):
        DatasetFolder(dataset).verify()


def test_hidden_files_are_nobodys_data(dataset: Path) -> None:
    (dataset / "data/.DS_Store").write_bytes(b"")
    DatasetFolder(dataset).verify()


def test_rows_that_are_not_those_of_the_manifest(dataset: Path) -> None:
    path = train_shard(dataset)
    replace_shard(dataset, path, rows=7777)
    (problem,) = problems(dataset)
    assert problem.startswith(name_of(path)) and "7,777" in problem


def test_parquet_that_is_cut_off_although_the_hash_agrees(dataset: Path) -> None:
    path = train_shard(dataset)
    path.write_bytes(path.read_bytes()[:-10])
    replace_shard(dataset, path)
    (problem,) = problems(dataset)
    assert problem.startswith(name_of(path)) and "cannot be read" in problem
    with pytest.raises(DatasetError, match=f"{path.name}: is not a complete Parquet file"):
        list(DatasetFolder(dataset).read_columns("data", ["pair_id"]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: pa.table(
                t.columns, schema=t.schema.set(2, t.schema.field(2).with_name("xsite"))
            ),
            "xsite",
        ),
        (lambda t: t.drop(["site"]), "site"),
        (lambda t: t.set_column(0, "pair_id", t["pair_id"].cast(pa.large_string())), "pair_id"),
        (lambda t: t.select(t.column_names[::-1]), "order of its columns"),
        (lambda t: t.replace_schema_metadata({}), "an unknown kind, not Pair/"),
        (
            lambda t: t.drop(["prompt"]).replace_schema_metadata(PAIR_IDS_SCHEMA.metadata),
            "PairIds/",
        ),
        (lambda t: t.replace_schema_metadata({"forumprefs.schema": "Pair/9.0.0"}), "Pair/9.0.0"),
    ],
)
def test_columns_that_are_not_the_schemas(
    dataset: Path, change: Callable[[pa.Table], pa.Table], said: str
) -> None:
    path = train_shard(dataset)
    pq.write_table(change(pq.read_table(path)), path)
    replace_shard(dataset, path)
    (problem,) = problems(dataset)
    assert problem.startswith(f"{name_of(path)}: ") and said in problem


def test_the_tables_are_not_taken_for_each_other(dataset: Path) -> None:
    path = next((dataset / "rejected").iterdir())
    pq.write_table(pq.read_table(train_shard(dataset)), path)
    replace_shard(dataset, path, rows=pq.read_metadata(path).num_rows)
    (problem,) = problems(dataset)
    assert problem == f"{name_of(path)}: holds rows of Pair/{PAIR_SCHEMA_VERSION}, not Rejected"


def test_an_older_schema_is_whole_as_it_is(dataset: Path) -> None:
    """A dataset of another minor version is judged by what its manifest says."""
    for path in (dataset / "data").iterdir():
        table = pq.read_table(path).drop(["text_hash"])
        table = table.replace_schema_metadata({"forumprefs.schema": "Pair/1.0.0"})
        pq.write_table(table, path)
        replace_shard(dataset, path)
    assert all("holds rows of Pair/1.0.0, not" in problem for problem in problems(dataset))
    edit_manifest(dataset, lambda manifest: manifest.update(pair_schema_version="1.0.0"))
    DatasetFolder(dataset).verify()


def test_ids_and_labels_have_a_schema_of_their_own(dataset: Path) -> None:
    for path in (dataset / "data").iterdir():
        table = pq.read_table(path).select(PAIR_IDS_SCHEMA.names)
        pq.write_table(table.replace_schema_metadata(PAIR_IDS_SCHEMA.metadata), path)
        replace_shard(dataset, path)
    assert len(problems(dataset)) == len(list((dataset / "data").iterdir()))
    edit_manifest(dataset, lambda manifest: manifest.update(ids_only=True))
    DatasetFolder(dataset).verify()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("---\n", "", "does not begin with front matter"),
        ("---\n", "---\n- a\n---\n", "does not begin with front matter"),
        ("license:", "license: {", "not valid YAML"),
        ("configs:\n", "configs: 3\nmore:\n", "`configs` is not a list"),
        ("data/train-*", "data/learn-*", "no file is named data/learn-*.parquet"),
        (
            "split: train",
            "split: test",
            "does not list data/train-00000-of-00003.parquet in the split train",
        ),
        ("duplicates/*", "duplicate/*", "no file is named duplicate/*.parquet"),
    ],
)
def test_faults_of_the_card(dataset: Path, old: str, new: str, said: str) -> None:
    card = dataset / "README.md"
    text = card.read_text(encoding="utf-8")
    assert old in text
    card.write_text(text.replace(old, new, 1), encoding="utf-8")
    found = problems(dataset)
    assert any(said in problem for problem in found)
    assert all(problem.startswith("README.md: ") for problem in found)


@pytest.mark.parametrize(
    ("content", "said"), [(None, "missing"), (b"[]", "object"), (b"\xff", "JSON")]
)
def test_faults_of_the_report(dataset: Path, content: bytes | None, said: str) -> None:
    if content is None:
        (dataset / "report.json").unlink()
    else:
        (dataset / "report.json").write_bytes(content)
    with pytest.raises(DatasetError, match=said):
        _ = DatasetFolder(dataset).report
    assert len(problems(dataset)) == 1


def test_what_is_no_dataset(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    for path in (tmp_path, tmp_path / "nothing", file):
        with pytest.raises(DatasetError, match=r"no manifest\.json there"):
            DatasetFolder(path)
    with pytest.raises(DatasetError, match="nosuch://"):
        DatasetFolder("nosuch://bucket/x")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"manifest_version": "2.0.0"}, r"reads up to 1\.x; install a newer one"),
        ({"manifest_version": "one"}, "manifest_version"),
        ({"manifest_version": None}, "manifest_version"),
        ({"shards": 3}, "shards"),
        ({"recipe": []}, "recipe"),
    ],
)
def test_manifests_that_cannot_be_used(dataset: Path, changes: dict[str, Any], said: str) -> None:
    edit_manifest(dataset, lambda manifest: manifest.update(changes))
    with pytest.raises(DatasetError, match=said):
        DatasetFolder(dataset)


def test_a_newer_layout_is_told_by_its_version_alone(dataset: Path) -> None:
    (dataset / "manifest.json").write_text('{"manifest_version": "3.1.0", "files": {}}')
    with pytest.raises(DatasetError, match=r"version 3\.1\.0"):
        DatasetFolder(dataset)


def test_a_newer_minor_version_is_read(dataset: Path) -> None:
    newer = f"{MANIFEST_VERSION.partition('.')[0]}.99.0"
    edit_manifest(dataset, lambda manifest: manifest.update(manifest_version=newer, more=1))
    DatasetFolder(dataset).verify()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b'{"manifest_version": "1.0.0"}']
)
def test_manifests_that_are_none(dataset: Path, content: bytes) -> None:
    (dataset / "manifest.json").write_bytes(content)
    with pytest.raises(DatasetError, match=r"manifest\.json: "):
        DatasetFolder(dataset)


@pytest.mark.parametrize(
    "path",
    [
        "../outside.parquet",
        "/etc/passwd",
        "data/../../outside.parquet",
        "data/sub/train.parquet",
        "data/..parquet",
        "rejected/train-00000-of-00001.parquet",
        "data\\train.parquet",
        "data/train.txt",
        "",
    ],
)
def test_paths_that_lead_elsewhere_are_refused(dataset: Path, path: str) -> None:
    edit_manifest(dataset, lambda manifest: manifest["shards"][0].update(path=path))
    with pytest.raises(DatasetError, match="not a valid path of a shard"):
        DatasetFolder(dataset)


def test_a_shard_cannot_be_named_twice(dataset: Path) -> None:
    edit_manifest(dataset, lambda manifest: manifest["shards"].append(manifest["shards"][0]))
    with pytest.raises(DatasetError, match="twice"):
        DatasetFolder(dataset)


def test_columns_come_in_the_order_asked_for_and_of_the_shards(sample: Path) -> None:
    folder = DatasetFolder(sample)
    columns = ["tags", "prompt", "pair_id"]
    batches = list(folder.read_columns("data", columns, batch_rows=10))
    assert max(batch.num_rows for batch in batches) == 10
    assert all(batch.schema.names == columns for batch in batches)
    read = pa.Table.from_batches(batches)
    whole = pa.concat_tables(pq.read_table(folder.path_of(s.path)) for s in folder.shards("data"))
    assert read.to_pylist() == whole.select(columns).to_pylist()
    (test,) = folder.shards("data", "test")
    of_split = pa.Table.from_batches(folder.read_columns("data", ["pair_id"], "test"))
    assert (
        of_split.to_pylist() == pq.read_table(sample / test.path, columns=["pair_id"]).to_pylist()
    )
    assert list(folder.read_columns("data", columns, "no such split")) == []
    schema = folder.schema("data")
    assert schema is not None and schema.equals(PAIR_SCHEMA)


def test_reading_names_what_is_missing(dataset: Path) -> None:
    folder = DatasetFolder(dataset)
    with pytest.raises(DatasetError, match=r"data/test-.*: has no column nothing, why"):
        list(folder.read_columns("data", ["why", "pair_id", "nothing"]))
    path = train_shard(dataset)
    path.unlink()
    with pytest.raises(DatasetError, match=f"{name_of(path)}: is missing"):
        list(folder.read_columns("data", ["pair_id"]))


def test_damaged_pages_are_named(dataset: Path) -> None:
    path = train_shard(dataset)
    content = path.read_bytes()
    middle = pq.read_metadata(path).row_group(0).column(0).data_page_offset
    path.write_bytes(content[:middle] + b"\xff" * 64 + content[middle + 64 :])
    with pytest.raises(DatasetError, match=f"{path.name}: cannot be read"):
        list(DatasetFolder(dataset).read_columns("data", ["pair_id"]))


def test_a_table_without_rows(dataset: Path) -> None:
    def drop(manifest: dict[str, Any]) -> None:
        manifest["shards"] = [s for s in manifest["shards"] if s["table"] != "duplicates"]

    edit_manifest(dataset, drop)
    folder = DatasetFolder(dataset)
    assert folder.schema("duplicates") is None
    assert list(folder.read_columns("duplicates", ["removed_id"])) == []


@pytest.fixture
def bucket(sample: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    objects = {
        f"memory://bucket/a[1]/sample/{path.relative_to(sample).as_posix()}": path.read_bytes()
        for path in sample.rglob("*")
        if path.is_file()
    }
    objects["memory://bucket/a[1]/sample/data/"] = b""  # what stands for a folder in some buckets
    objects["memory://bucket/a1/sample/data/other.parquet"] = b""
    monkeypatch.setattr(MemoryFileSystem, "files", objects)
    return objects


def test_a_folder_in_a_bucket(bucket: dict[str, bytes], sample: Path) -> None:
    remote, local = DatasetFolder("memory://bucket/a[1]/sample/"), DatasetFolder(sample)
    remote.verify()
    assert remote.manifest == local.manifest and remote.report == local.report
    rows = [
        pa.Table.from_batches(folder.read_columns("data", ["pair_id", "tags"])).to_pylist()
        for folder in (remote, local)
    ]
    assert rows[0] == rows[1]
    assert remote.path_of("data/x") == "memory://bucket/a[1]/sample/data/x"


def test_damage_in_a_bucket(bucket: dict[str, bytes]) -> None:
    root = "memory://bucket/a[1]/sample"
    paths = sorted(path for path in bucket if path.endswith(".parquet") and root in path)
    del bucket[paths[0]]
    bucket[paths[1]] = bucket[paths[1]][:-1]
    bucket[f"{root}/data/stray/x.parquet"] = b""
    del bucket[f"{root}/README.md"]
    names = [path.removeprefix(f"{root}/") for path in paths]
    found = problems(root)
    assert [problem.split(": ")[0] for problem in found] == [
        names[0],
        names[1],
        "data/stray/x.parquet",
        "README.md",
    ]
    with pytest.raises(DatasetError, match=r"no manifest\.json there"):
        DatasetFolder("memory://bucket/empty")


def test_versions_are_those_that_the_folder_was_made_with(sample: Path) -> None:
    assert DatasetFolder(sample).manifest.pair_schema_version == PAIR_SCHEMA_VERSION


def test_row_groups_are_read_one_at_a_time(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow keeps some of those that one call goes through: memory would grow with the shard."""
    asked: list[list[int]] = []
    read = pq.ParquetFile.iter_batches

    def recording(parquet: pq.ParquetFile, *args: Any, **options: Any) -> Any:
        asked.append(options["row_groups"])
        return read(parquet, *args, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", recording)
    folder = DatasetFolder(sample)
    rows = sum(batch.num_rows for batch in folder.read_columns("data", ["pair_id"]))
    assert rows == sum(shard.rows for shard in folder.shards("data"))
    assert asked and all(len(groups) == 1 for groups in asked)
