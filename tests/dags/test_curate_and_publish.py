from typing import Any

import pytest

pytest.importorskip("airflow", reason="Airflow has an environment of its own: make dags")

from tests.dags import runs
from tests.dags.conftest import Published
from tests.hub import Fault, HubServer, Status

IN_ORDER = ["plan", "check", "curate", "verify", "forecast", "publish", "announce"]


@pytest.fixture
def same_root(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_FORUMPREFS_ROOT", str(published.root))


def run(published: Published, **changes: Any) -> runs.Ran:
    return runs.run("curate_and_publish", {**published.conf, **changes})


def test_a_version_is_published_and_announced(hub: HubServer, published: Published) -> None:
    ran, repo, folder = published.ran, published.repo, published.folder
    assert ran.state == "success" and set(ran.states) == set(IN_ORDER), ran
    assert set(ran.states.values()) == {"success"} and set(ran.tries.values()) == {1}
    shards = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.parquet")}
    there = {path for path in hub.files(repo, "v1.0.0") if path.endswith(".parquet")}
    assert there == set(shards)
    for name, path in shards.items():
        assert hub.read(repo, name, "v1.0.0") == path.read_bytes()
    assert b'"min_margin": 2' in (folder / "manifest.json").read_bytes()
    [event] = [event for event in runs.events() if event["status"] == "published"][:1]
    assert (event["repo"], event["version"]) == (repo, "v1.0.0")
    assert event["commit"] == hub.tags(repo)["v1.0.0"]


def test_again_nothing_is_made_or_sent(
    hub: HubServer, published: Published, same_root: None
) -> None:
    made = {path: path.stat().st_mtime_ns for path in published.folder.rglob("*")}
    commits, puts = hub.commits(published.repo), hub.puts
    assert run(published).state == "success"
    assert {path: path.stat().st_mtime_ns for path in published.folder.rglob("*")} == made
    assert (hub.commits(published.repo), hub.puts) == (commits, puts)
    event = runs.events()[-1]
    assert (event["version"], event["status"], event["bytes_sent"]) == ("v1.0.0", "there", 0)


def test_what_fails_is_tried_again(hub: HubServer, published: Published, same_root: None) -> None:
    commits = len(hub.commits(published.repo))
    hub.faults.add(Fault("POST", r"/commit/main$", 1, Status(403)))
    ran = run(published, version="v1.0.1")
    assert not hub.faults.pending()
    assert ran.state == "success" and ran.tries == {**dict.fromkeys(IN_ORDER, 1), "publish": 2}
    assert len(hub.commits(published.repo)) == commits + 1


def test_a_conflict_is_not_tried_again(
    hub: HubServer, published: Published, root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another machine, which does not have the first one's folder."""
    commits, events = hub.commits(published.repo), len(runs.events())
    ran = run(published, recipe={"min_margin": 2, "seed": 1})
    assert (ran.state, ran.failed, ran.tries["forecast"]) == ("failed", ["forecast"], 1)
    assert ran.states["publish"] == ran.states["announce"] == "upstream_failed"
    assert hub.commits(published.repo) == commits and len(runs.events()) == events


def test_a_folder_with_other_data_is_not_tried_again(published: Published, same_root: None) -> None:
    ran = run(published, recipe={"min_margin": 2, "seed": 1})
    assert (ran.failed, ran.tries["curate"]) == (["curate"], 1)


def test_limits_stop_a_version(hub: HubServer, published: Published, same_root: None) -> None:
    tags = hub.tags(published.repo)
    ran = run(published, version="v1.1.0", max_rejected=1)
    assert (ran.failed, ran.tries["verify"]) == (["verify"], 1)
    ran = run(published, version="v1.2.0", recipe={"min_margin": 9})
    assert (ran.failed, ran.tries["forecast"]) == (["forecast"], 1), "it shrinks"
    assert hub.tags(published.repo) == tags


def test_a_slip_is_found_before_the_work(published: Published, same_root: None) -> None:
    ran = run(published, version="v9.0.0", recipe={"min_margn": 2})
    assert (ran.failed, ran.tries["check"]) == (["check"], 1)
    assert not published.folder.with_name("v9.0.0").exists()
