"""Damaged files through the readers: a value or an error of ours, and no post dropped silently.

The same cases every time, a few of each reader; `python -m benchmarks.fuzz` runs as many as wanted,
and commands on damaged dataset folders besides.
"""

from pathlib import Path
from threading import Event

import pytest

from benchmarks.fuzz import Target, fuzz_in_process, pipeline_targets, run_command

SEED = 18


def test_damaged_small_files(sample: Path, tmp_path: Path) -> None:
    targets = pipeline_targets(sample)
    found = list(fuzz_in_process("small", SEED, range(25 * len(targets)), targets, tmp_path))
    assert found == []


def test_damaged_rows_of_forums(tmp_path: Path) -> None:
    assert list(fuzz_in_process("rows", SEED, range(140), (), tmp_path)) == []


def test_a_fault_of_a_reader_is_found(tmp_path: Path) -> None:
    """What a reader must not do, each shown by one that does it."""

    def raising(path: Path) -> object:
        raise KeyError(path.name)

    def without_words(_: Path) -> object:
        raise ValueError

    case = Target("x", b"abc", raising, (OSError,))
    targets = [
        case,
        case._replace(read=without_words, errors=(ValueError,)),
        case._replace(read=len),
    ]
    found = list(fuzz_in_process("small", SEED, range(3), targets, tmp_path))
    assert [finding.what.split(":")[0] for finding in found] == [
        "KeyError",
        "ValueError without a word",
        "TypeError",
    ]
    assert str(found[0]).startswith("small 0 x: KeyError")


def raises(_: list[str]) -> int:
    raise KeyError("x")


def odd_code(_: list[str]) -> int:
    print("no such folder")
    return 77


def silent(_: list[str]) -> int:
    return 2


def refuses(_: list[str]) -> int:
    print("no such folder")
    return 2


def waits(_: list[str]) -> int:
    Event().wait()
    return 0


def test_a_fault_of_a_command_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "KeyError" in (run_command([], tmp_path, raises) or "")
    assert "exit code 77" in (run_command([], tmp_path, odd_code) or "")
    assert run_command([], tmp_path, silent) == "exit code 2 without a word"
    assert run_command([], tmp_path, refuses) is None
    assert run_command(["verify", str(tmp_path)], tmp_path) is None
    monkeypatch.setattr("benchmarks.fuzz.COMMAND_SECONDS", 1)
    assert run_command([], tmp_path, waits) == "did not end within 1 s"
