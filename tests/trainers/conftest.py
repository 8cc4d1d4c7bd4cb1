"""Trainers of others, in an environment of their own: make test-trainers.

Our data, models and token ids are made by forumprefs in its environment, in a process of its own;
here is nothing of ours but folders and JSON, as for anybody who downloads them.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from datasets import Dataset

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("FORUMPREFS_PYTHON", ROOT / ".venv" / "bin" / "python"))
HOME = Path(tempfile.gettempdir()) / f"forumprefs-trainers-{os.getpid()}"

if find_spec("trl") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    for name in [name for name in os.environ if name.startswith(("HF_", "TRL_", "ACCELERATE_"))]:
        del os.environ[name]
    # What a CPU without a network asks for; read when the libraries are imported.
    os.environ |= {
        "HF_HOME": str(HOME),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRL_EXPERIMENTAL_SILENCE": "1",
    }


@dataclass(frozen=True)
class Made:
    """A folder of what tests/trainers/inputs.py makes."""

    folder: Path

    @cached_property
    def expected(self) -> list[dict[str, Any]]:
        """The pairs for training, each with our token ids, in the order of the shards."""
        found: list[dict[str, Any]] = json.loads((self.folder / "expected.json").read_bytes())
        return found

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def load(self, name: str, exports: str = "exports") -> "Dataset":
        """An export, by the name of its configuration."""
        from datasets import load_dataset

        return load_dataset(self.path(exports), name, split="train")

    def pairs(self) -> "Dataset":
        """The dataset as it is, with all its columns."""
        from datasets import load_dataset

        return load_dataset(self.path("dataset"), split="train")

    def scores(self, texts: list[tuple[str, str]]) -> list[float]:
        """Our scores of prompts and responses."""
        return json.loads(ask("score", self.folder, json.dumps(texts)))  # type: ignore[no-any-return]


def ask(what: str, folder: Path, text: str = "") -> str:
    command = [str(PYTHON), "-m", "tests.trainers.inputs", what, str(folder)]
    done = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    if not PYTHON.is_file():
        pytest.skip(f"{PYTHON}: forumprefs is not installed there; make test-trainers does it")
    folder = tmp_path_factory.mktemp("made")
    ask("make", folder)
    return Made(folder)


@pytest.fixture(autouse=True, scope="session")
def home() -> Iterator[None]:
    yield
    shutil.rmtree(HOME, ignore_errors=True)
