"""Another checkout is measured with the benchmarks of this one, whatever it has of its own."""

import shutil
import sys
from pathlib import Path

import pytest

from benchmarks import _checkouts
from benchmarks._checkouts import PACKAGES, check_checkout
from benchmarks._stages import END, START, time_in_process
from benchmarks.throughput import BEFORE, take_turns

ROOT = Path(__file__).parents[1]
DUMP = ROOT / "samples" / "tinycode.example.com"
MARK = """
from pathlib import Path
Path(__file__).with_name("was_used").touch()
"""


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A checkout with the packages of this one, other benchmarks, and a mark where it is used."""
    checkout = tmp_path / "earlier"
    skipped = shutil.ignore_patterns("__pycache__")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, checkout / name, ignore=skipped)
    with (checkout / "pipeline/runners/disk_shuffle.py").open("a") as file:
        file.write(MARK)
    (checkout / "benchmarks").mkdir()
    (checkout / "benchmarks/__init__.py").write_text("raise SystemExit('not the earlier ones')\n")
    python = checkout / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return checkout


def test_what_is_measured_is_the_other_checkout_and_what_measures_is_this_one(
    earlier: Path, tmp_path: Path
) -> None:
    check_checkout(earlier)
    used = earlier / "pipeline/runners/was_used"
    used.unlink()
    times = time_in_process([f"stackexchange={DUMP}"], tmp_path / "out", checkout=earlier)
    assert used.exists()
    assert [times.stages[0].name, times.stages[-1].name] == [START, END]
    assert len(times.stages) > 5


def test_both_take_turns(earlier: Path, tmp_path: Path) -> None:
    runs = take_turns(DUMP, tmp_path, ["beam1"], 1, earlier)
    assert list(runs) == ["beam1", BEFORE + "beam1"]
    assert all((several[0].critical_s or 0) > 1 for several in runs.values())


@pytest.mark.parametrize("missing", [_checkouts.PYTHON, "pipeline/__init__.py"])
def test_what_a_checkout_lacks_is_said_before_anything_runs(earlier: Path, missing: str) -> None:
    (earlier / missing).unlink()
    with pytest.raises(SystemExit, match=f"{missing} is missing.*pip install"):
        check_checkout(earlier)


def test_a_runner_that_reports_no_stages_is_told(earlier: Path) -> None:
    path = earlier / "pipeline/runners/disk_shuffle.py"
    path.write_text(path.read_text().replace("report: Callable", "stages: Callable"))
    with pytest.raises(SystemExit, match="reports no stages"):
        check_checkout(earlier)


def test_packages_that_are_found_elsewhere_are_told(earlier: Path) -> None:
    wrapper = earlier / _checkouts.PYTHON
    wrapper.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" "$@"\n')
    with pytest.raises(SystemExit, match="finds the package pipeline elsewhere"):
        check_checkout(earlier)
