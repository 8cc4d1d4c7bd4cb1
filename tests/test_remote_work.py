"""Runs whose workers share no disk with the launcher: all goes through a remote work folder."""

import io
from pathlib import Path

import pytest
from apache_beam.io.filesystem import BeamIOError

from benchmarks.runners import hashes as hashes_of
from pipeline.cli import main
from pipeline.console import display
from pipeline.console.transfer import TransferProgress
from pipeline.curate import staging
from pipeline.dataset.atomic import remove_strays
from schemas.exit_codes import ExitCode
from tests.memory_files import MemoryFileSystem
from transforms.writers import parquet as write

SAMPLES = Path(__file__).parents[1] / "samples"
INPUTS = (
    "--input",
    f"stackexchange={SAMPLES / 'tinycode.example.com'}",
    "--input",
    f"reddit={SAMPLES / 'reddit'}",
)


@pytest.fixture(autouse=True)
def bucket(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    monkeypatch.setattr(MemoryFileSystem, "files", {})
    return MemoryFileSystem.files


def curate(output: Path, *arguments: str) -> int:
    return main(["curate", *INPUTS, "--output", str(output), "--quiet", *arguments])


def test_the_same_bytes_through_a_remote_work_folder(
    tmp_path: Path, bucket: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert curate(tmp_path / "a/set") == 0
    seen: set[str] = set()
    delete = MemoryFileSystem.delete

    def note_and_delete(self: MemoryFileSystem, paths: list[str]) -> None:
        seen.update(self.files)
        delete(self, paths)

    monkeypatch.setattr(MemoryFileSystem, "delete", note_and_delete)
    assert curate(tmp_path / "b/set", "--work-dir", "memory://bucket/tmp") == 0
    assert hashes_of(tmp_path / "b/set") == hashes_of(tmp_path / "a/set")
    assert any(path.endswith("/Posts.xml") for path in seen), "inputs went through it"
    assert any("/dataset/data/train-" in path for path in seen), "and shards"
    assert not bucket, "nothing is left there"
    assert not [path for path in (tmp_path / "b").iterdir() if path.name != "set"]


def test_transfers_say_how_far_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(display, "PLAIN_INTERVAL_S", 0.0)
    monkeypatch.setattr(staging, "CHUNK_BYTES", 1_000_000)
    sink = io.BytesIO()
    with TransferProgress("copying") as progress:
        progress.begin(5_000_000, 0)
        for size in (3_000_000, 2_000_000):
            staging.copy(io.BytesIO(bytes(size)), sink, progress)
    assert len(sink.getvalue()) == 5_000_000
    first, *lines = capsys.readouterr().err.splitlines()
    assert first == "copying: 5.0 MB"
    said = [f"copying, {number}.0 MB of 5.0 MB" for number in range(1, 6)]
    assert [line.partition("] ")[2].rpartition(",")[0] for line in lines] == said
    with TransferProgress("copying", quiet=True) as progress:
        progress.begin(1, 0)
        staging.copy(io.BytesIO(b"x"), sink, progress)
    assert capsys.readouterr().err == ""


def test_a_shard_that_arrives_damaged_leaves_no_dataset(
    tmp_path: Path,
    bucket: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = write.move_into_place

    def damage(local: Path, folder: str, path: str) -> None:
        whole(local, folder, path)
        if path.startswith("rejected/"):
            bucket[f"{folder}/{path}"] = bucket[f"{folder}/{path}"][:-1] + b"?"

    monkeypatch.setattr(write, "move_into_place", damage)
    output = tmp_path / "set"
    assert curate(output, "--work-dir", "memory://bucket/tmp") == ExitCode.FAILED
    error = capsys.readouterr().err
    assert "rejected/" in error and "not those that a worker wrote" in error
    assert not output.exists() and not bucket


def test_a_work_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: MemoryFileSystem, path: str, *_: str) -> None:
        raise BeamIOError("no such bucket")

    monkeypatch.setattr(MemoryFileSystem, "create", refuse)
    assert curate(tmp_path / "set", "--work-dir", "memory://bucket/tmp") == ExitCode.USAGE
    assert "--work-dir memory://bucket/tmp: cannot be written" in capsys.readouterr().err


def test_a_remote_output_is_refused_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["curate", *INPUTS, "--output", "memory://bucket/set"]) == ExitCode.USAGE
    assert "--work-dir" in capsys.readouterr().err


def test_dataflow_needs_a_work_folder_that_it_can_reach(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert curate(tmp_path / "set", "--runner", "dataflow") == ExitCode.USAGE
    assert "--work-dir gs://" in capsys.readouterr().err


def test_what_killed_workers_leave_is_no_part_of_the_dataset(tmp_path: Path) -> None:
    for name in ("data/a.parquet", "data/b.parquet.7.partial", ".shard-x/shard.parquet"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    remove_strays(tmp_path, {"data/a.parquet"})
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == [
        "data",
        "data/a.parquet",
    ]
