"""Fetching a version: every checksum compared, whole or absent, and comparing versions."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub", reason="the client of the Hub is not installed")

from pipeline.commands import pull as pull_module
from pipeline.dataset.folder import DatasetFolder
from pipeline.hub.retries import hub_retry_policy
from tests.hub import CorruptAnswer, CutAnswer, Delay, Fault, Hold, Status, loopback_only
from tests.hub.exchange import Request, Response
from tests.hub.store import Store
from tests.patience import PATIENCE_S
from tests.publishing import REPO, Publisher, publisher

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

SHARD = r"^/acme/prefs/[0-9a-f]{64}"
"""Address of a shard's bytes, by their checksum."""


@pytest.fixture
def user(sample: Path) -> Iterator[Publisher]:
    with loopback_only() as attempts, publisher() as found:
        assert found.publish(sample, "v1.0.0", "--quiet") == 0
        yield found
    assert not attempts


def pull(user: Publisher, output: Path, spec: str = f"{REPO}@v1.0.0", *flags: str) -> int:
    return user.run("pull", spec, str(output), *flags)


def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def shards_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix in (".parquet", ".json")
    }


def test_a_version_comes_back_as_it_was(
    user: Publisher, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "deep" / "copy"
    assert pull(user, output) == 0
    assert shards_of(output) == shards_of(sample)
    assert (output / "README.md").read_bytes() == user.hub.read(REPO, "README.md", "v1.0.0")
    assert {path.name for path in output.parent.iterdir()} == {"copy"}
    assert not list(output.glob(".*"))
    DatasetFolder(output).verify()
    before = len(user.hub.requests)
    assert pull(user, output) == 0
    assert "holds acme/prefs@v1.0.0 already" in capsys.readouterr().out
    assert not any(
        "/resolve/v1" in row.path and row.path.endswith("parquet")
        for row in user.hub.requests[before:]
    )
    # What was fetched can be published again, elsewhere, under a card of its own.
    assert user.run("publish", str(output), "acme/fork", "--version", "v1.0.0") == 0
    assert user.hub.read("acme/fork", "README.md").decode().count("# acme/fork\n") == 1


@pytest.mark.parametrize(
    "action", [CorruptAnswer(50), CutAnswer(50), Status(503)], ids=["altered", "cut off", "503"]
)
def test_what_comes_damaged_is_fetched_again(
    user: Publisher, sample: Path, tmp_path: Path, action: object
) -> None:
    fault = Fault("GET", SHARD, 1, action)  # type: ignore[arg-type]
    user.hub.faults.add(fault)
    assert pull(user, tmp_path / "copy", f"{REPO}@v1.0.0", "--quiet") == 0
    assert fault.used == 1
    assert shards_of(tmp_path / "copy") == shards_of(sample)


@pytest.mark.parametrize("name", ["README.md", "report.json"])
def test_documents_that_come_altered_are_fetched_again(
    user: Publisher, tmp_path: Path, name: str
) -> None:
    fault = Fault("GET", rf"/resolve/[0-9a-f]+/{name}$", 1, CorruptAnswer(300))
    user.hub.faults.add(fault)
    output = tmp_path / "copy"
    assert pull(user, output, f"{REPO}@v1.0.0", "--quiet") == 0
    assert (output / name).read_bytes() == user.hub.read(REPO, name, "v1.0.0")


@dataclass
class DamagedAtFirst:
    """Damage the first answer of each address."""

    seen: set[str] = field(default_factory=set)

    def answer(
        self, store: Store, request: Request, process: Callable[[Request], Response]
    ) -> Response | None:
        action = Delay(0) if request.path in self.seen else CorruptAnswer(50)
        self.seen.add(request.path)
        return action.answer(store, request, process)


def test_a_long_download_outlasts_many_failures(
    user: Publisher, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull_module, "PARALLEL_DOWNLOADS", 1)
    monkeypatch.setattr(pull_module, "hub_retry_policy", partial(hub_retry_policy, max_attempts=3))
    user.hub.faults.add(Fault("GET", SHARD, 99, DamagedAtFirst()))
    assert pull(user, tmp_path / "copy", f"{REPO}@v1.0.0", "--quiet") == 0
    assert len(user.waits) >= 3
    assert shards_of(tmp_path / "copy") == shards_of(sample)


def test_what_stays_damaged_leaves_no_folder(
    user: Publisher, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "copy"
    user.hub.faults.add(Fault("GET", SHARD, 1000, CorruptAnswer(50)))
    assert pull(user, output) == 1
    assert "came with another checksum" in capsys.readouterr().err
    assert not output.exists()
    user.hub.faults.rules.clear()
    assert pull(user, output) == 0
    assert shards_of(output) == shards_of(sample)


def test_killed_and_run_again_fetches_the_rest(
    user: Publisher, sample: Path, tmp_path: Path
) -> None:
    output, hold = tmp_path / "copy", Hold()
    # The download of the fifth shard hangs.
    user.hub.faults.add(Fault("GET", SHARD, 4, hold, skip=4))
    with user.start("pull", f"{REPO}@v1.0.0", str(output)) as process:
        assert hold.reached.wait(PATIENCE_S)
        partial = tmp_path / ".copy.partial"
        wait_until(lambda: len(list(partial.rglob("*.parquet"))) >= 4)
        assert process.poll() is None, "the others hang"
        process.kill()
        process.wait()
    hold.drop()
    assert not output.exists()
    there = {path.name for path in partial.rglob("*.parquet")}
    (partial / "data" / "of-another-command.json").write_text("{}")
    assert 0 < len(there) < 7
    before = len(user.hub.requests)
    assert pull(user, output) == 0
    fetched = [
        row
        for row in user.hub.requests[before:]
        if row.port == "lfs" and row.method == "GET" and row.status == 200
    ]
    assert len(fetched) == 7 - len(there)
    assert shards_of(output) == shards_of(sample)


def test_what_is_in_the_way(
    user: Publisher, sample: Path, smaller: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert user.publish(smaller, "v2.0.0", "--allow-shrink") == 0
    output = tmp_path / "copy"
    output.mkdir()
    (output / "mine.txt").write_text("x")
    assert pull(user, output, f"{REPO}@v1.0.0", "--overwrite") == 2
    assert "holds other files" in capsys.readouterr().err
    (output / "mine.txt").unlink()
    assert pull(user, output) == 0
    assert pull(user, output, f"{REPO}@v2.0.0") == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert shards_of(output) == shards_of(sample)
    assert pull(user, output, f"{REPO}@v2.0.0", "--overwrite") == 0
    assert shards_of(output) == shards_of(smaller)


@pytest.mark.parametrize(
    ("spec", "code", "says"),
    [
        (f"{REPO}@v9", 1, "there is no such version; there are: v1.0.0"),
        ("acme/none@v1", 1, "no such dataset"),
        (REPO, 2, "write OWNER/NAME@VERSION"),
    ],
)
def test_what_is_not_there(
    user: Publisher,
    tmp_path: Path,
    spec: str,
    code: int,
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert pull(user, tmp_path / "copy", spec) == code
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_versions_are_compared_where_they_are(
    user: Publisher, sample: Path, smaller: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert user.publish(smaller, "v2.0.0", "--allow-shrink", "--quiet") == 0
    found = []
    for old, new in (
        (str(sample), str(smaller)),
        (f"{REPO}@v1.0.0", str(smaller)),
        (f"{REPO}@v1.0.0", f"{REPO}@v2.0.0"),
    ):
        assert user.run("diff", old, new, "--json") == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0]["gone"]["count"] == 14
    assert found[0]["advice"]["level"] == "minor"
    assert found[1:] == found[:1] * 2
    assert user.run("diff", f"{REPO}@v1.0.0", str(sample), "--exit-code") == 0
    assert user.run("diff", f"{REPO}@v9", str(sample)) == 1


def test_datasets_loads_the_version_that_the_card_shows(user: Publisher, smaller: Path) -> None:
    pytest.importorskip("datasets")
    assert user.publish(smaller, "v2.0.0", "--allow-shrink", "--quiet") == 0
    card = user.hub.read(REPO, "README.md", "v1.0.0").decode()
    code = card.partition("```python\n")[2].partition("```")[0]
    printed = user.hub.python(code + '\nprint(len(pairs), "chosen" in pairs.column_names)')
    pairs = DatasetFolder(smaller).manifest.accounting.pairs
    assert printed.split() == ["64", "True"] and pairs["train"] != 64
