"""An input that somebody writes during a run is noticed, and no dataset is made of it."""

import hashlib
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from pipeline.cli import main
from pipeline.curate import input_watch, run
from pipeline.errors import UsageError
from schemas import checksums
from schemas.checksums import change_since, fingerprint, fingerprints
from schemas.exit_codes import ExitCode
from tests.publishing import SAMPLES
from transforms.readers.base import ReadRules, Unpacking
from transforms.readers.formats import progress as reports
from transforms.readers.registry import SOURCES

THREADS = (
    '{"format": "forumprefs.thread/1", "site": "f.example.org", "id": "1", "license": "CC0-1.0", '
    '"text": "How do I keep a starter alive over summer?", "responses": ['
    '{"id": "2", "text": "Feed it less and keep it in the fridge door.", "score": 4}, '
    '{"id": "3", "text": "Dry it on baking paper and crumble it.", "score": 9}]}\n'
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Inputs of two kinds, a takedown list and a benchmark."""
    shutil.copytree(SAMPLES / "sourdough.example.com", tmp_path / "in/sourdough.example.com")
    (tmp_path / "in/ours").mkdir()
    (tmp_path / "in/ours/a.jsonl").write_text(THREADS)
    (tmp_path / "list.txt").write_text("# none yet\n")
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench/a.txt").write_text("a text of a benchmark that nobody has written\n")
    return tmp_path


def curate(folder: Path) -> int:
    return main(
        [
            *("curate", "--quiet", "--output", str(folder / "out")),
            *("--input", f"stackexchange={folder / 'in/sourdough.example.com'}"),
            *("--input", f"threads={folder / 'in/ours'}"),
            *("--takedown", str(folder / "list.txt"), "--decontaminate", str(folder / "bench")),
        ]
    )


def another_of_the_same_size(path: Path) -> None:
    old = path.stat()
    other = path.with_name("other")
    other.write_bytes(path.read_bytes().swapcase())
    os.utime(other, ns=(old.st_atime_ns, old.st_mtime_ns))
    other.replace(path)


def written_in_place_and_dated_back(path: Path) -> None:
    old = path.stat()
    with path.open("r+b") as file:
        content = file.read()
        file.seek(0)
        file.write(content.swapcase())
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))


def longer(path: Path) -> None:
    with path.open("a") as file:
        file.write("\n")


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def linked_elsewhere(path: Path) -> None:
    other = path.with_name("elsewhere")
    other.write_bytes(path.read_bytes().swapcase())
    path.unlink()
    path.symlink_to(other)


CHANGES: dict[Callable[[Path], None], str] = {
    another_of_the_same_size: "has other content of the same size",
    written_in_place_and_dated_back: "has other content of the same size",
    longer: "bytes, and has",
    truncated: "bytes, and has",
    linked_elsewhere: "has other content of the same size",
    Path.unlink: "is gone",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize(
    "name",
    ["in/sourdough.example.com/Posts.xml", "in/ours/a.jsonl", "list.txt", "bench/a.txt"],
)
def test_a_changed_file_is_named_and_nothing_is_written(
    folder: Path,
    name: str,
    change: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(run, "make_shards", lambda *_: change(folder / name))
    assert curate(folder) == ExitCode.FAILED
    said = capsys.readouterr().err
    assert f"{folder / name}: " in said and CHANGES[change] in said
    made = {path.name for path in folder.iterdir()}
    assert made <= {"bench", "in", "list.txt", "other", "elsewhere"}


def test_a_list_that_changes_between_two_readings_of_it_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = run.read_inputs

    def later(*arguments: object) -> object:
        (folder / "list.txt").write_text("a.b:9\n")
        return made(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(run, "read_inputs", later)
    monkeypatch.setattr(run, "make_shards", lambda *_: None)
    assert curate(folder) == ExitCode.FAILED
    assert f"{folder / 'list.txt'}: had " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("in/ours/b.jsonl", THREADS),
        ("in/ours/deeper/c.jsonl", THREADS),
        ("in/sourdough.example.com/PostLinks.xml", "<postlinks></postlinks>"),
        ("bench/b.txt", "more"),
    ],
)
def test_a_file_that_comes_during_the_run_is_named(
    folder: Path,
    name: str,
    content: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = folder / name
    path.unlink(missing_ok=True)

    def come(*_: object) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)

    monkeypatch.setattr(run, "make_shards", come)
    assert curate(folder) == ExitCode.FAILED
    assert f"{path}: came during the run" in capsys.readouterr().err


@pytest.mark.parametrize("start", [".", "bench", ".hidden"])
def test_a_file_that_comes_is_named_wherever_the_inputs_are(
    folder: Path, start: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = folder / (".hidden/in" if start == ".hidden" else "in")
    (folder / ".hidden").mkdir()
    (folder / "in").replace(inputs)
    monkeypatch.chdir(folder / start)

    def come(*_: object) -> None:
        (inputs / "ours/b.jsonl").write_text(THREADS)

    monkeypatch.setattr(run, "make_shards", come)
    given = ("--input", f"threads={os.path.relpath(inputs / 'ours')}")
    assert main(["curate", "--quiet", "--output", str(folder / "out"), *given]) == ExitCode.FAILED
    assert "b.jsonl: came during the run" in capsys.readouterr().err


def test_what_is_only_touched_moved_or_copied_over_is_fine(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run.make_shards

    def touch(*arguments: object) -> None:
        made(*arguments)  # type: ignore[arg-type]
        os.utime(folder / "in/sourdough.example.com/Posts.xml")
        (folder / "in/ours/a.jsonl").rename(folder / "x")
        shutil.copy(folder / "x", folder / "in/ours/a.jsonl")
        (folder / "list.txt").chmod(0o600)
        (folder / "in/ours/notes.md").write_text("of no kind that is read")
        (folder / "in/ours/.other.partial-1").mkdir()  # of another run
        (folder / "in/ours/.other.partial-1/d.jsonl").write_text(THREADS)

    monkeypatch.setattr(run, "make_shards", touch)
    assert curate(folder) == 0


def test_files_that_stayed_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert fingerprint(path).fresh
    monkeypatch.setattr(checksums, "FRESH_NS", 0)
    before = fingerprint(path)
    monkeypatch.setattr(checksums, "fingerprint", None)
    assert change_since(path, before) is None


def test_every_file_is_hashed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: Counter[int] = Counter()  # by inode
    plain = checksums.sha256_of

    def noted(file: BinaryIO, *more: Any) -> str:
        hashed[os.fstat(file.fileno()).st_ino] += 1
        return plain(file, *more)

    def stop(_: Path) -> None:
        raise UsageError("far enough")

    monkeypatch.setattr(checksums, "FRESH_NS", 0)
    monkeypatch.setattr(checksums, "sha256_of", noted)
    monkeypatch.setattr(run, "make_shards", lambda *_: None)
    monkeypatch.setattr(run, "take_sample", stop)
    assert curate(folder) == ExitCode.USAGE
    inputs = [path for path in folder.rglob("*") if path.is_file()]
    assert len(inputs) == 8
    times = {path.name: hashed[path.stat().st_ino] for path in inputs}
    assert times == dict.fromkeys(times, 1)


@pytest.mark.parametrize("threads", [1, 3])
def test_files_are_hashed_at_the_same_time_and_told_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(checksums, "HASHING_THREADS", threads)
    paths = [str(tmp_path / name) for name in "cabedf"]
    for path in paths:
        Path(path).write_bytes(path.encode() * 1000)
    found = fingerprints(paths)
    assert list(found) == paths
    assert {path: one.sha256 for path, one in found.items()} == {
        path: hashlib.sha256(path.encode() * 1000).hexdigest() for path in paths
    }
    assert fingerprints([]) == {}
    for path in (paths[1], paths[4]):
        Path(path).unlink()
    with pytest.raises(FileNotFoundError) as error:
        fingerprints(paths)
    assert error.value.filename == paths[1]


def test_hashing_ends_with_the_first_that_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the user presses Ctrl-C: a large file is not hashed to its end before that counts."""
    monkeypatch.setattr(checksums, "HASHING_THREADS", 2)
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"abc")
    large.touch()
    os.truncate(large, 8 << 30)
    begun = threading.Event()
    hashed = 0

    def progress(path: str, size: int) -> None:
        nonlocal hashed
        if path == str(small):
            assert begun.wait(60)
            raise KeyboardInterrupt
        hashed += size
        begun.set()

    with pytest.raises(KeyboardInterrupt):
        fingerprints([str(small), str(large)], progress)
    assert 0 < hashed < 8 << 30


@pytest.mark.parametrize("names", ["a", "ab"])
def test_hashing_tells_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: str
) -> None:
    monkeypatch.setattr(reports, "FIRST_REPORT_SECONDS", 0)
    monkeypatch.setattr(reports, "REPORT_SECONDS", 0)
    for name in names:
        (tmp_path / f"{name}.jsonl").write_bytes(b"x" * 3_000_000)
    said: list[str] = []
    paths = [str(tmp_path / f"{name}.jsonl") for name in names]
    for say in (None, said.append):
        found = SOURCES["threads"].find(paths, ReadRules(), tmp_path, Unpacking(say=say))
        assert len(found.fingerprints) == len(names)
    assert said[0].startswith("hashing ")
    assert said[0].split(": ")[0].removeprefix("hashing ")[:7] in ("a.jsonl", "b.jsonl")
    assert " 100 % of " in said[-1]
    assert len(said) >= 3 * len(names)


def test_the_model_is_watched_too(folder: Path) -> None:
    from pipeline.curate.recipe import make

    found = input_watch.fingerprints_beside_inputs(make({"input": ["threads=x"]}))
    assert [Path(path).suffix for path in found] == [".ftz"]
    assert not input_watch.fingerprints_beside_inputs(make({"language_model": "langdetect"}))
