"""The constraint files: whole, within the ranges of setup.py, and used wherever pip installs."""

import os
import re
import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest
import setuptools
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[1]
LOCK = "constraints.txt"
LOWEST = "constraints-lowest.txt"
# Constraint files, and the requirements they were made from beside setup.py.
OTHERS = {
    "benchmarks/constraints-trl.txt": "benchmarks/requirements-trl.txt",
    "benchmarks/constraints-peers.txt": "benchmarks/requirements-peers.txt",
    "dags/constraints.txt": "dags/requirements.txt",
}
# The environments that make makes, each by its stamp.
STAMPS = re.findall(r"^(\S+\.stamp):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
PYTHONS = ("3.11.0", "3.12.0", "3.13.0")

pythons = pytest.mark.parametrize("python", PYTHONS)


def read(name: str) -> list[Requirement]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def machine(python: str) -> dict[str, str]:
    """The markers' values on Linux with this Python."""
    minor = python.rpartition(".")[0]
    names = {"python_full_version": python, "python_version": minor}
    return {**default_environment(), "sys_platform": "linux", **names}


def pins(name: str, python: str) -> dict[str, Version]:
    found: dict[str, Version] = {}
    for pin in read(name):
        if pin.marker is None or pin.marker.evaluate(machine(python)):
            (only,) = pin.specifier
            package = canonicalize_name(pin.name)
            assert package not in found, f"{name} pins {package} twice for Python {python}"
            found[package] = Version(only.version)
    return found


@pytest.fixture(scope="module")
def ranges() -> dict[str, list[Requirement]]:
    """What setup.py asks for, by extra; ``""`` is what everybody gets."""
    said: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", said.update)
        runpy.run_path(str(ROOT / "setup.py"))
    named = {"": said["install_requires"], **said["extras_require"]}
    return {extra: [Requirement(text) for text in texts] for extra, texts in named.items()}


@pytest.mark.parametrize("name", [LOCK, LOWEST, *OTHERS])
def test_a_constraint_file_holds_versions_and_no_places(name: str) -> None:
    for pin in read(name):
        assert pin.url is None and not pin.extras, pin
        assert [only.operator for only in pin.specifier] == ["=="], pin
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    # The comment at the top names a page of the docs; nothing else may name a path or an index.
    assert [line for line in lines if "/" in line] == ["#    make lock (docs/environment.md)"]


@pythons
def test_the_lock_has_all_that_setup_asks_for_within_its_ranges(
    python: str, ranges: dict[str, list[Requirement]]
) -> None:
    locked = pins(LOCK, python)
    for extra, wanted in ranges.items():
        for one in wanted:
            version = locked.get(canonicalize_name(one.name))
            assert version in one.specifier, f"[{extra}] {one}: {version}; run make lock"


@pythons
@pytest.mark.parametrize(("name", "source"), OTHERS.items())
def test_other_environments_are_pinned_as_well(name: str, source: str, python: str) -> None:
    locked = pins(name, python)
    for one in read(source):
        assert locked.get(canonicalize_name(one.name)) in one.specifier, f"{one}; run make lock"


@pythons
def test_the_lowest_versions_are_the_lower_ends_of_the_ranges(
    python: str, ranges: dict[str, list[Requirement]]
) -> None:
    lowest = pins(LOWEST, python)
    for one in [*ranges[""], *ranges["test-fast"]]:
        (least,) = [only.version for only in one.specifier if only.operator == ">="]
        assert lowest[canonicalize_name(one.name)] == Version(least), f"{one}; run make lock"


@pythons
def test_trl_is_measured_on_our_versions(python: str) -> None:
    ours, trl = pins(LOCK, python), pins("benchmarks/constraints-trl.txt", python)
    assert [name for name in ours.keys() & trl.keys() if ours[name] != trl[name]] == []
    assert {"torch", "transformers", "datasets"} <= ours.keys() & trl.keys()


@pytest.mark.parametrize("name", [LOCK, LOWEST, *OTHERS])
def test_pip_and_what_builds_packages_are_pinned(name: str) -> None:
    assert {"pip", "setuptools"} <= pins(name, PYTHONS[0]).keys()


def make(*arguments: str) -> str:
    # A make around this test must not hand its own flags down.
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ("make", *arguments), cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode in (0, 1) and "***" not in done.stderr, done.stderr
    return done.stdout


def installs(script: str) -> list[str]:
    return re.findall(r"pip install .*", script.replace("\\\n", " "))


@pytest.mark.parametrize("stamp", [name for name in STAMPS if "latest" not in name])
def test_an_environment_is_made_from_constraints_and_made_again_when_they_change(
    stamp: str,
) -> None:
    stamp = stamp.replace("$(VENV)", ".venv")
    rules = make("--print-data-base", "--question", stamp)
    (needs,) = re.findall(rf"^{re.escape(stamp)}: (.*)$", rules, re.M)
    lines = installs(make("--dry-run", "--always-make", stamp))
    assert len(lines) >= 2 and lines[0].endswith(" pip setuptools")
    for line in lines:
        (used,) = re.findall(r"--constraint (\S+)", line.replace("--build-constraint", "--build"))
        assert used in needs.split() and (ROOT / used).is_file(), line
        # The pip of a new environment may be too old for the option.
        if not line.endswith(" pip setuptools"):
            assert f"--build-constraint {used}" in line


def test_the_newest_versions_are_bound_by_nothing_but_setup() -> None:
    (latest,) = [name for name in STAMPS if "latest" in name]
    lines = installs(make("--dry-run", "--always-make", latest))
    assert lines and not any("constraint" in line for line in lines)


def test_the_worker_image_is_made_from_the_lock() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    (copied,) = re.findall(r"^COPY pyproject.toml .*$", text, re.M)
    assert LOCK in copied.split()
    lines = re.findall(r"pip install [^&]*", text)
    assert lines and all(f"--constraint /opt/forumprefs/{LOCK}" in line for line in lines)
