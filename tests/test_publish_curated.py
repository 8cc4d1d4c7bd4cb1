"""``curate --publish``: workers send their shards, the launcher makes the one commit."""

import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.internal import pickler

pytest.importorskip("huggingface_hub", reason="the client of the Hub is not installed")

from huggingface_hub import constants

from pipeline.dataset.folder import DatasetFolder, Folder
from pipeline.errors import HubError
from pipeline.hub import upload as hub_upload
from pipeline.hub.client import call_hub, connect
from pipeline.hub.names import need_version
from pipeline.hub.permissions import check_target
from pipeline.hub.preupload import PreuploadShards, send_shards
from pipeline.hub.publish_target import PublishTarget
from pipeline.hub.retries import MAX_ATTEMPTS
from pipeline.runners.local import run_local
from schemas.manifest import Shard
from tests.hub import Fault, LostAnswer, Status, loopback_only
from tests.hub.exchange import Refusal, Request, Response
from tests.hub.store import Store
from tests.publishing import (
    COMMIT,
    REPO,
    SAMPLES,
    Publisher,
    publisher,
    shard_bytes,
)
from transforms.writers.parquet import ShardReport

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

CLUSTER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
"""To the launcher a runner like any other: not the one it starts and watches itself."""


@pytest.fixture
def user() -> Iterator[Publisher]:
    with loopback_only() as attempts, publisher() as found:
        yield found
    assert not attempts


def curate(user: Publisher, output: Path, *flags: str) -> int:
    inputs = ("--input", f"stackexchange={SAMPLES / 'sourdough.example.com'}")
    target = ("--publish", REPO, "--version", "v1.0.0", "--shard-bytes", "30000")
    given = flags if "--input" in flags else (*inputs, *flags)
    return user.run("curate", "--output", str(output), *target, *given)


def reports_of(folder: Path, **stats: int) -> list[ShardReport]:
    return [
        ShardReport(shard=shard, stats={key.replace("__", ":"): n for key, n in stats.items()})
        for shard in DatasetFolder(folder).manifest.shards
    ]


def preupload(user: Publisher, folder: Path, reports: list[ShardReport]) -> None:
    def build(pipeline: beam.Pipeline) -> None:
        made = pipeline | beam.Create(reports).with_output_types(ShardReport)
        _ = made | PreuploadShards(str(folder), REPO, user.hub.endpoint)

    run_local(build)


def test_a_run_is_published(
    user: Publisher, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "set"
    assert curate(user, output) == 0
    assert "acme/prefs@v1.0.0 is published" in capsys.readouterr().out
    assert user.is_whole(output, "v1.0.0") and user.main_moved() == 1
    # Nothing of where it is published is in what is made.
    assert (output / "manifest.json").read_bytes().count(b"acme") == 0
    assert curate(user, output, "--resume") == 0
    assert user.main_moved() == 1


def test_workers_of_a_cluster_send_and_the_launcher_commits(
    user: Publisher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "set"
    assert curate(user, output, "--runner", CLUSTER) == 0
    said = capsys.readouterr()
    assert "is published: commit" in said.out and ", 0 bytes sent" in said.out
    assert user.is_whole(output, "v1.0.0") and user.main_moved() == 1
    assert user.hub.bytes_received == shard_bytes(output)
    commits = [row for row in user.hub.requests if "/commit/" in row.path]
    assert len(commits) == 1


def test_a_worker_may_do_its_work_twice(user: Publisher, sample: Path) -> None:
    user.hub.create_repo(REPO)
    user.hub.faults.add(
        Fault("POST", r"/objects/batch$", 1, Status(503)),
        Fault("POST", r"/preupload/", 1, LostAnswer(504)),
    )
    for _ in range(2):
        preupload(user, sample, reports_of(sample))
        assert user.hub.bytes_received == shard_bytes(sample)
    assert user.main_moved() == 0
    assert user.publish(sample) == 0
    assert user.hub.bytes_received == shard_bytes(sample)


def test_workers_that_cannot_send_leave_it_to_the_launcher(
    user: Publisher, sample: Path, caplog: pytest.LogCaptureFixture
) -> None:
    user.hub.create_repo(REPO)
    user.hub.faults.add(Fault("POST", r"/objects/batch$", 99, Status(403)))
    with caplog.at_level(logging.WARNING, "pipeline.hub.preupload"):
        preupload(user, sample, reports_of(sample))
    assert "left to the launcher" in caplog.text
    user.hub.faults.rules.clear()
    assert user.publish(sample) == 0 and user.is_whole(sample, "v1.0.0")


def test_workers_survive_any_error(
    user: Publisher, sample: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    user.hub.create_repo(REPO)
    with caplog.at_level(logging.WARNING, "pipeline.hub.preupload"):
        preupload(user, tmp_path / "not-mounted-here", reports_of(sample))
    assert "left to the launcher: " in caplog.text
    assert "train-00000-of-00003.parquet: is missing" in caplog.text
    assert user.hub.bytes_received == 0


@dataclass
class EveryOther:
    """Refuse every other request, from the first."""

    asked: int = 0

    def answer(
        self, store: Store, request: Request, process: Callable[[Request], Response]
    ) -> Response:
        self.asked += 1
        return Refusal(409, "busy").response() if self.asked % 2 else process(request)


def test_failures_of_a_worker_are_counted_from_its_last_success(
    user: Publisher, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_upload, "GROUP_FILES", 1)
    user.hub.create_repo(REPO)
    shards = DatasetFolder(sample).manifest.shards
    user.hub.faults.add(Fault("POST", "/preupload/", 99, EveryOther()))
    sent = list(send_shards(Folder(sample), REPO, user.hub.endpoint, shards))
    assert len(sent) == len(shards) == MAX_ATTEMPTS
    assert user.waits == [1] * MAX_ATTEMPTS


def test_workers_send_to_the_endpoint_of_the_launcher(
    user: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", user.hub.endpoint)  # as by HF_ENDPOINT
    target = PublishTarget(REPO, need_version("v1"))
    assert check_target(target, make_repo=True).endpoint == user.hub.endpoint


def test_workers_send_no_text_that_may_not_be_published(user: Publisher, sample: Path) -> None:
    user.hub.create_repo(REPO)
    first, *others = reports_of(sample)
    bad = ShardReport(shard=first.shard, stats={"unlicensed:threads forum.example": 1})
    preupload(user, sample, [bad, *others])
    assert user.hub.bytes_received == 0


def test_what_cannot_be_published_is_refused_before_the_work(
    user: Publisher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    reddit = ("--input", f"reddit={SAMPLES / 'reddit'}")
    assert curate(user, tmp_path / "a", *reddit) == 3
    assert "--license reddit=SPDX" in capsys.readouterr().err
    user.hub.create_repo(REPO)
    monkeypatch.setenv("HF_TOKEN", user.hub.read_token)
    assert curate(user, tmp_path / "b") == 1
    assert "write access" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    for flags, says in (
        (("--version", "v1"), "goes with --publish"),
        (("--publish", REPO), "give the version, too"),
        (("--publish", "acme", "--version", "v1"), "is not a valid repository"),
    ):
        inputs = ("--input", f"reddit={SAMPLES / 'reddit'}", "--output", str(tmp_path / "c"))
        assert hub_cli(*inputs, *flags) == 2
        assert says in capsys.readouterr().err


def hub_cli(*arguments: str) -> int:
    from pipeline import cli

    return cli.main(["curate", *arguments])


# The token


def test_the_token_is_nowhere(
    user: Publisher,
    sample: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    token = user.hub.token
    written = [pickler.dumps(PreuploadShards(str(sample), REPO, user.hub.endpoint))]
    user.hub.faults.add(Fault("POST", COMMIT, 1, Status(503)), Fault("PUT", ".", 2, Status(500)))
    output = tmp_path / "set"
    with caplog.at_level(logging.DEBUG):
        assert curate(user, output, "--runner", CLUSTER, "-v") == 0
        user.hub.faults.add(Fault("POST", COMMIT, 1, Status(403)))
        assert user.publish(sample, "v1.1.0", "-v") == 1
    shown = capfd.readouterr()
    written += [shown.out.encode(), shown.err.encode(), caplog.text.encode()]
    written += [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    written += [content for path in user.hub.files(REPO) for content in [user.hub.read(REPO, path)]]
    assert "trying again" in shown.err and len(written) > 10
    assert not [content for content in written if token.encode() in content]
    assert any(row.authorized for row in user.hub.requests), "the token was used"
    assert "HTTP Request" not in shown.err + caplog.text, "of signed addresses"


def test_an_error_carries_no_token_into_another_process(user: Publisher, sample: Path) -> None:
    token = user.hub.token.encode()
    user.hub.create_repo(REPO)
    user.hub.faults.add(Fault("POST", r"/objects/batch$", 1, Status(403)))
    api = connect(user.hub.endpoint)
    shards: list[Shard] = list(DatasetFolder(sample).manifest.shards)
    errors: list[BaseException] = []
    for call in (
        lambda: list(send_shards(Folder(sample), REPO, user.hub.endpoint, shards)),
        lambda: call_hub(REPO, lambda: api.create_tag(REPO, tag="v1", repo_type="model")),
    ):
        with pytest.raises(HubError) as caught:
            call()
        errors.append(caught.value)
    for error in errors:
        assert token not in pickle.dumps(error)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
        assert token not in "".join(traceback.format_exception(error)).encode()
        assert error.__cause__ is None and error.__context__ is None


def test_an_endpoint_with_a_secret_is_refused_and_not_repeated(
    sample: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline import cli

    endpoint = "https://user:hf_secret@hub.example"
    arguments = ["publish", str(sample), REPO, "--version", "v1", "--endpoint", endpoint]
    assert cli.main(arguments) == 2
    said = capsys.readouterr()
    assert "HF_TOKEN" in said.err and "secret" not in said.err + said.out
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)  # as by HF_ENDPOINT
    assert cli.main(arguments[:-2]) == 2
    said = capsys.readouterr()
    assert "HF_ENDPOINT: holds credentials" in said.err and "secret" not in said.err + said.out


def test_without_the_client_the_command_says_how_to_get_it(
    sample: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    from pipeline import cli

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert cli.main(["publish", str(sample), REPO, "--version", "v1"]) == 2
    assert "pip install 'forumprefs[hub]'" in capsys.readouterr().err
    assert cli.main(["pull", "acme/prefs@v1", str(sample) + "-x"]) == 2
    assert "pip install 'forumprefs[hub]'" in capsys.readouterr().err


def test_the_options_in_a_config_file(user: Publisher, tmp_path: Path) -> None:
    config = tmp_path / "recipe.yaml"
    values = {
        "input": [f"stackexchange={SAMPLES / 'sourdough.example.com'}"],
        "publish": REPO,
        "version": "v3.0.0",
        "endpoint": user.hub.endpoint,
        "quiet": True,
    }
    config.write_text(json.dumps(values))
    assert hub_cli("--config", str(config), "--output", str(tmp_path / "set")) == 0
    assert list(user.hub.tags(REPO)) == ["v3.0.0"]
