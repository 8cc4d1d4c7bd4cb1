"""Settings of all tests."""

import ast
import fcntl
import gc
import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.beam_speed import look_once
from tests.examples import examples

# Tests run in several processes, whose threads would wait for each other; set before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What a user has set decides no test: the width, colours and language of messages, and the Hub
# that would be asked. Processes that tests start inherit it.
for name in [*os.environ]:
    if name.startswith(("HF_", "HUGGINGFACE_", "PIP_REQUIRE_", "TTY_")) or name in (
        *("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "PYTHON_COLORS"),
        *("LANGUAGE", "SOURCE_DATE_EPOCH", "WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR"),
    ):
        del os.environ[name]
os.environ |= {"COLUMNS": "80", "LINES": "24", "TERM": "dumb"}

# Many tests start a fresh Python, which would compile all our modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# The same examples on every run: a change is judged by what it changed. Look for new
# counterexamples with `pytest --hypothesis-profile=default`, and at three times as many examples
# with FORUMPREFS_THOROUGH=1.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=examples(100))
settings.load_profile("repeatable")

ROOT = Path(__file__).parents[1]

# What `--fast` leaves alone: a test file that imports one of these.
SLOW_IMPORTS = {"torch", "transformers", "training", "tests.browser"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fast", action="store_true", help="everything but training, Flink and the browser"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Under ``--fast`` such a file is not even imported: torch need not be installed."""
    if not config.getoption("--fast") or not collection_path.match("test_*.py"):
        return None
    return bool(imported(collection_path) & SLOW_IMPORTS) or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--fast"):
        flink = [item for item in items if item.get_closest_marker("flink")]
        items[:] = [item for item in items if item not in flink]
        config.hook.pytest_deselected(items=flink)
    # Flink's take minutes, in which the other processes do all other tests: they come first.
    slowest = {item.path for item in items if item.get_closest_marker("flink")}
    items.sort(key=lambda item: item.path not in slowest)


def imported(path: Path) -> set[str]:
    """What a file needs to be imported, itself or by way of our tests and benchmarks."""
    found: set[str] = set()
    files = [path]
    while files:
        names = imports_of(files.pop()) - found
        found |= names
        for name in names:
            helper = ROOT / (name.replace(".", "/") + ".py")
            if name.startswith(("tests.", "benchmarks.")) and helper.is_file():
                files.append(helper)
    return found | {name.partition(".")[0] for name in found}


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import the tests without looking for garbage: what is imported stays to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
        look_once()


def made_once(factory: pytest.TempPathFactory, name: str, *flags: str) -> Path:
    """A dataset that all processes of a test run share; tests must not change it."""
    from tests.publishing import curated  # Beam, which most tests do not need

    base = factory.getbasetemp()
    root = base.parent if base.name.startswith("popen-") else base
    output = root / "shared" / name
    output.parent.mkdir(exist_ok=True)
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return output if output.exists() else curated(output, *flags)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """79 pairs in 7 shards."""
    return made_once(tmp_path_factory, "sample", "--shard-bytes", "30000")


@pytest.fixture(scope="session")
def smaller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with 65 of the pairs, in shards of other names."""
    flags = ("--shard-bytes", "50000", "--min-margin", "3")
    return made_once(tmp_path_factory, "smaller", *flags)


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """133 shards."""
    samples = ROOT / "samples"
    inputs = ("--input", f"stackexchange={samples}", "--input", f"threads={samples / 'threads'}")
    return made_once(tmp_path_factory, "many", "--shard-bytes", "300", *inputs)
