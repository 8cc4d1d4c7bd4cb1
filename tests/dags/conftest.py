"""Airflow with a home of its own; nothing here runs where it is not installed."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.hub import HubServer

if TYPE_CHECKING:
    from tests.dags.runs import Ran

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("FORUMPREFS_PYTHON", ROOT / ".venv" / "bin" / "python"))
HOME = Path(tempfile.gettempdir()) / f"forumprefs-airflow-{os.getpid()}"

if find_spec("airflow") is not None:
    # Read when Airflow is imported, which collecting the tests does.
    os.environ |= {
        "AIRFLOW_HOME": str(HOME),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:////{HOME}/airflow.db",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": f"{HOME}/logs",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW_VAR_FORUMPREFS_PYTHON": str(PYTHON),
        "OMP_NUM_THREADS": "1",
    }
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    )
    for name in [name for name in os.environ if name.startswith("HF_")]:
        del os.environ[name]


@pytest.fixture(scope="session", autouse=True)
def airflow_home() -> Iterator[Path]:
    """A migrated database, and the interpreter that the tasks use."""
    if not PYTHON.is_file():
        pytest.skip(f"{PYTHON}: forumprefs is not installed there; make dags does it")
    HOME.mkdir(exist_ok=True)  # Airflow has made it on import
    airflow = Path(sys.executable).with_name("airflow")
    done = subprocess.run([airflow, "db", "migrate"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    yield HOME
    shutil.rmtree(HOME)


@pytest.fixture(scope="session")
def hub() -> Iterator[HubServer]:
    """The Hub on loopback, named to the tasks by Airflow's connection."""
    with HubServer() as server:
        environment = server.environment()
        theirs = {name: environment[name] for name in environment if name.startswith("HF_")}
        del theirs["HF_TOKEN"], theirs["HF_ENDPOINT"]
        os.environ |= theirs
        os.environ["NO_PROXY"] = environment["NO_PROXY"]
        os.environ["AIRFLOW_CONN_FORUMPREFS_HUB"] = (
            f'{{"conn_type": "generic", "host": "{server.endpoint}", "password": "{server.token}"}}'
        )
        yield server


@dataclass(frozen=True)
class Published:
    """A version of the shipped sample, published by its DAG."""

    repo: str
    conf: dict[str, Any]
    root: Path
    ran: "Ran"

    @property
    def folder(self) -> Path:
        return self.root / "datasets" / self.repo.replace("/", "--") / self.conf["version"]


@pytest.fixture(scope="session")
def published(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Published:
    from tests.dags.runs import run  # Airflow

    place, repo = tmp_path_factory.mktemp("root"), "acme/prefs"
    inputs = [f"stackexchange={ROOT / 'samples' / 'sourdough.example.com'}"]
    conf = {"inputs": inputs, "repo": repo, "version": "v1.0.0", "recipe": {"min_margin": 2}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_VAR_FORUMPREFS_ROOT", str(place))
        return Published(repo, conf, place, run("curate_and_publish", conf))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that all tasks see."""
    monkeypatch.setenv("AIRFLOW_VAR_FORUMPREFS_ROOT", str(tmp_path))
    return tmp_path
