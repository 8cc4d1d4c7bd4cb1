"""Damaged files through the readers: a value or an error of ours, and no post dropped silently.

The same cases every time, a few of each reader; `python -m benchmarks.fuzz` runs as many as wanted,
and commands on damaged dataset folders besides.
"""

from pathlib import Path

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

    def silent(_: Path) -> object:
        raise ValueError

    case = Target("x", b"abc", raising, (OSError,))
    targets = [case, case._replace(read=silent, errors=(ValueError,)), case._replace(read=len)]
    found = list(fuzz_in_process("small", SEED, range(3), targets, tmp_path))
    assert [finding.what.split(":")[0] for finding in found] == [
        "KeyError",
        "ValueError without a word",
        "TypeError",
    ]
    assert str(found[0]).startswith("small 0 x: KeyError")


def test_a_fault_of_a_command_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(code: str) -> str | None:
        monkeypatch.setattr("benchmarks.fuzz.COMMAND", ["-c", code])
        return run_command([], tmp_path)

    assert run("raise KeyError('x')") is not None
    assert run("print('no such folder'); raise SystemExit(77)") is not None
    assert run("raise SystemExit(2)") == "exit code 2 without a word"
    assert run("print('no such folder'); raise SystemExit(2)") is None
    monkeypatch.setattr("benchmarks.fuzz.COMMAND_SECONDS", 1)
    assert run("import time; time.sleep(60)") == "did not end within 1 s"
