"""The same bytes on every runner that is here; ``make runners`` prints the whole matrix.

Flink needs Java and a job-server jar ($FORUMPREFS_FLINK_JAR, or one in ../shared/flink), Prism
its binary ($FORUMPREFS_PRISM, or ../shared/prism/prism).
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import runners
from benchmarks.flink_cluster import Cluster
from benchmarks.runners import CASES, Case, Outcome, command, hashes, quick_cluster, why_not
from pipeline.cli import main
from pipeline.runners.flink.rest import check_cluster
from tests.patience import PATIENCE_S

flink = pytest.mark.flink
prism = pytest.mark.prism


def need(what: str) -> None:
    if reason := why_not(what):
        pytest.skip(reason)


def case(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def run_case(case: Case, folder: Path, cluster: Cluster | None = None) -> Outcome:
    return runners.run_case(case, folder, cluster, memory=False)


def hashes_here(case: Case, folder: Path) -> dict[str, str]:
    """The same of the local runner in this process, which has Beam loaded."""
    output = folder / "dataset"
    assert main(command(case, output, None)[3:]) == 0
    return hashes(output)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    found = hashes_here(CASES[0], tmp_path_factory.mktemp("reference"))
    assert "manifest.json" in found
    return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    need("flink")
    with quick_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def test_the_same_bytes_when_every_bundle_is_done_twice(
    reference: dict[str, str], tmp_path: Path
) -> None:
    assert hashes_here(case("local, every bundle done twice"), tmp_path) == reference


@pytest.mark.parametrize(
    "name",
    [
        "portable (Beam's job service)",
        pytest.param("Prism, --partitions 5, other order", marks=prism),
        pytest.param("Flink embedded, --workers 2, --partitions 5, other order", marks=flink),
    ],
)
def test_the_same_bytes(name: str, reference: dict[str, str], tmp_path: Path) -> None:
    need(case(name).needs)
    outcome = run_case(case(name), tmp_path)
    assert outcome.hashes == reference, outcome.note


@pytest.mark.parametrize(
    ("runner", "needs"), [("portable", ""), pytest.param("prism", "prism", marks=prism)]
)
def test_the_same_bytes_by_a_vote_model_fitted_in_the_run(
    runner: str, needs: str, tmp_path: Path
) -> None:
    need(needs)
    votes = ("--votes", "debiased")
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    there = run_case(
        Case(runner, ("--runner", runner, "--partitions", "5", *votes), needs, reverse=True),
        tmp_path / "there",
    )
    assert there.hashes == hashes_here(Case("local", votes), tmp_path / "here"), there.note


@flink
def test_the_same_bytes_on_a_cluster_that_loses_a_taskmanager(
    cluster: Cluster, reference: dict[str, str], tmp_path: Path
) -> None:
    assert check_cluster(cluster.rest, None) == [], "our own settings leave nothing to say"
    killed = replace(case("Flink cluster, a TaskManager killed"), kill_at=0.25)
    outcome = run_case(killed, tmp_path, cluster)
    assert outcome.note.startswith("killed with")
    assert outcome.hashes == reference, outcome.note
    (job,) = cluster.rest.jobs()
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        # The client may hear of the end before the REST interface does.
        state = cluster.rest.job_state(job)
        if state.name == "FINISHED":
            break
        time.sleep(0.2)
    assert state.name == "FINISHED"
    # When each state was entered, 0 for never; Flink's count of restarts lags by some seconds.
    assert cluster.rest.get(f"/jobs/{job}")["timestamps"]["RESTARTING"]
    assert cluster.rest.slots()[0] == 2, "the new TaskManager is still there"


@flink
def test_a_job_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    need("flink")
    config = '--environment_config={"command": "/no/such/worker"}'
    arguments = ("--runner=flink", "--environment_type=PROCESS", config)
    outcome = run_case(Case("no worker", arguments, needs="flink"), tmp_path)
    assert outcome.note.startswith("exit 1: error: Flink:"), outcome.note
    assert "/no/such/worker" in outcome.note
    assert [path.name for path in tmp_path.iterdir()] == ["log"], "no folder, no leftovers"


def test_hashes_name_every_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b").write_bytes(b"")
    assert list(hashes(tmp_path)) == [str(Path("a/b"))]
