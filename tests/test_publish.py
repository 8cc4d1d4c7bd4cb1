"""Publishing: whole or absent, and never twice, whatever goes wrong."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub", reason="the client of the Hub is not installed")

from huggingface_hub import constants
from huggingface_hub.utils import _http

from pipeline.dataset.card import is_generated
from pipeline.dataset.folder import DatasetFolder
from pipeline.hub import upload as hub_upload
from tests.hub import Fault, Status, loopback_only
from tests.hub.exchange import Request, Response
from tests.hub.store import Store
from tests.memory_files import MemoryFileSystem
from tests.patience import PATIENCE_S
from tests.publishing import (
    COMMIT,
    MANY_SCENARIOS,
    PART,
    REPO,
    SAMPLES,
    SCENARIOS,
    Publisher,
    Scenario,
    copied,
    curated,
    kill_before_commit,
    publisher,
    shard_bytes,
)

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def user() -> Iterator[Publisher]:
    with loopback_only() as attempts, publisher() as found:
        yield found
    assert not attempts


# Whole, and never twice


def check_scenario(user: Publisher, folder: Path, scenario: Scenario) -> None:
    user.hub.create_repo(REPO)
    user.hub.faults.add(*(make() for make in scenario.faults))
    assert user.publish(folder, "v1.0.0", "--quiet") == scenario.exit_code
    if scenario.exit_code != 1:
        assert not user.hub.faults.pending(), "the fault did not happen"
    assert user.main_moved() == scenario.moves
    tags = user.hub.tags(REPO)
    assert ("v1.0.0" in tags and user.is_whole(folder, "v1.0.0")) is scenario.tagged
    shards, sent = shard_bytes(folder), user.hub.bytes_received
    if scenario.again:
        largest = max(shard.bytes for shard in DatasetFolder(folder).manifest.shards)
        assert shards < sent <= shards + largest
    else:
        assert sent == shards
    if scenario.waits is not None:
        assert tuple(user.waits) == scenario.waits


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_faults(user: Publisher, sample: Path, scenario: Scenario) -> None:
    check_scenario(user, sample, scenario)
    # Whatever happened, running the command again when all is well finishes the version.
    sent, moves = user.hub.bytes_received, user.main_moved()
    user.hub.faults.rules.clear()
    code = user.publish(sample, "v1.0.0", "--quiet")
    if scenario.exit_code == 3:
        assert code == 3
        return
    assert code == 0 and user.is_whole(sample, "v1.0.0")
    assert user.hub.bytes_received == sent
    assert user.main_moved() == max(moves, 1)


@pytest.mark.parametrize("scenario", MANY_SCENARIOS, ids=lambda scenario: scenario.name)
def test_faults_of_a_version_of_many_files(user: Publisher, many: Path, scenario: Scenario) -> None:
    assert len(DatasetFolder(many).manifest.shards) > 100
    check_scenario(user, many, scenario)
    assert user.is_whole(many, "main") is scenario.tagged
    # Readers of main saw nothing, or everything.
    for commit in user.hub.commits(REPO):
        shards = [path for path in commit.files if path.endswith(".parquet")]
        whole = len(DatasetFolder(many).manifest.shards)
        assert len(shards) in (0, whole) or "data/train-00007-of-00009.parquet" in shards
    assert user.largest_commit() == 100
    if not scenario.tagged:
        # The shard of somebody else is not removed unasked.
        assert user.publish(many, "v1.0.0", "--quiet", "--allow-shrink") == 0
        assert user.is_whole(many, "v1.0.0")


def test_the_command_repeated_asks_for_no_change(user: Publisher, sample: Path) -> None:
    assert user.publish(sample) == 0
    before = len(user.hub.requests)
    assert user.publish(sample) == 0
    again = user.hub.requests[before:]
    assert again and {row.method for row in again} == {"GET"}


def test_killed_before_the_commit(user: Publisher, sample: Path) -> None:
    kill_before_commit(user, sample)
    assert (user.main_moved(), user.hub.tags(REPO)) == (0, {})
    sent = user.hub.bytes_received
    assert sent == shard_bytes(sample)
    assert user.publish(sample) == 0
    assert user.hub.bytes_received == sent
    assert user.main_moved() == 1 and user.is_whole(sample, "v1.0.0")


def test_killed_between_the_parts(user: Publisher, many: Path) -> None:
    kill_before_commit(user, many, PART)
    assert (user.main_moved(), user.hub.tags(REPO)) == (0, {})
    sent = user.hub.bytes_received
    assert user.publish(many) == 0
    assert user.hub.bytes_received == sent == shard_bytes(many)
    assert user.main_moved() == 1 and user.is_whole(many, "v1.0.0")
    assert list(user.hub.pulls(REPO)) == [1]


@pytest.mark.parametrize("which", ["sample", "many"])
def test_three_publishers_at_once(
    user: Publisher, which: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(which)
    user.hub.create_repo(REPO)
    command = ("publish", str(folder), REPO, "--version", "v1.0.0")
    processes = [user.start(*command) for _ in range(3)]
    output = [process.communicate(timeout=PATIENCE_S)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], output
    assert user.is_whole(folder, "v1.0.0")
    trees = {json.dumps(sorted(c.files)) for c in user.hub.commits(REPO)}
    assert len(trees) == 2, "main was empty, then whole"
    if which == "sample":
        assert user.main_moved() == 1


def test_a_version_never_changes(
    user: Publisher, sample: Path, smaller: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert user.publish(sample) == 0
    commit = user.hub.tags(REPO)["v1.0.0"]
    assert user.publish(smaller, "v1.0.0", "--allow-shrink") == 3
    assert "the version is there with other data" in capsys.readouterr().err
    assert user.publish(sample, "v1") == 3, "another spelling of the same version"
    assert user.hub.tags(REPO) == {"v1.0.0": commit}
    assert user.main_moved() == 1


def test_equal_data_under_a_new_version(user: Publisher, sample: Path) -> None:
    assert user.publish(sample) == 0
    sent = user.hub.bytes_received
    assert user.publish(sample, "v1.0.1") == 0
    assert user.hub.bytes_received == sent
    assert user.main_moved() == 2, "the card names its version"
    card = user.hub.read(REPO, "README.md", "v1.0.1").decode()
    assert 'load_dataset("acme/prefs", revision="v1.0.1", split="train")' in card
    assert "None: v1.0.1 holds what v1.0.0 holds." in card
    assert 'revision="v1.0.0"' in user.hub.read(REPO, "README.md", "v1.0.0").decode()


def test_stale_shards_go_and_others_files_stay(
    user: Publisher, sample: Path, smaller: Path
) -> None:
    assert user.publish(sample) == 0
    user.hub.commit(REPO, {"NOTES.md": b"notes", "data/.hidden": b"x"})
    attributes = user.hub.read(REPO, ".gitattributes")
    assert user.publish(smaller, "v2.0.0", "--allow-shrink") == 0
    assert user.is_whole(smaller, "v2.0.0") and user.is_whole(sample, "v1.0.0")
    assert user.hub.read(REPO, ".gitattributes") == attributes
    assert {"NOTES.md", "data/.hidden"} <= user.hub.files(REPO, "v2.0.0").keys()
    card = user.hub.read(REPO, "README.md", "v2.0.0").decode()
    assert "## Changes from v1.0.0 to v2.0.0" in card and "| gone pairs | 14 |" in card


# Refused


def test_a_version_that_shrinks(
    user: Publisher, sample: Path, smaller: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert user.publish(sample) == 0
    assert user.publish(smaller, "v1.1.0") == 3
    assert "has 65 pairs, and main has 79: 17.7 % fewer" in capsys.readouterr().err
    assert list(user.hub.tags(REPO)) == ["v1.0.0"] and user.main_moved() == 1
    assert user.publish(smaller, "v1.1.0", "--shrink-limit", "20") == 0


def test_files_of_others_are_not_removed_unasked(
    user: Publisher, sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    user.hub.create_repo(REPO)
    user.hub.commit(REPO, {"data/train-00000-of-00001.parquet": b"PAR1 theirs"})
    assert user.publish(sample) == 3
    said = capsys.readouterr().err
    assert "does not account for (data/train-00000-of-00001.parquet)" in said
    assert user.publish(sample, "v1.0.0", "--allow-shrink") == 0
    assert user.is_whole(sample, "main")


@pytest.mark.parametrize(
    "others",
    [
        {"data/by-hand.parquet": b"PAR1 theirs"},  # beside ours
        {"data/more/by-hand.parquet": b"PAR1 theirs"},
    ],
)
def test_files_of_others_beside_ours_are_not_removed_unasked(
    user: Publisher, sample: Path, others: dict[str, bytes]
) -> None:
    assert user.publish(sample) == 0
    user.hub.commit(REPO, others)
    assert user.publish(sample, "v1.0.1") == 3
    assert others.keys() <= user.hub.files(REPO).keys()
    assert user.publish(sample, "v1.0.1", "--allow-shrink") == 0


@pytest.mark.parametrize("which", ["a shard", "a newer manifest"])
def test_files_of_others_are_not_replaced_unasked(
    user: Publisher, sample: Path, which: str, capsys: pytest.CaptureFixture[str]
) -> None:
    user.hub.create_repo(REPO)
    path, content = {
        "a shard": (DatasetFolder(sample).manifest.shards[0].path, b"PAR1 theirs"),
        "a newer manifest": ("manifest.json", b'{"manifest_version": "99.0"}'),
    }[which]
    user.hub.commit(REPO, {path: content})
    assert user.publish(sample) == 3
    assert path in capsys.readouterr().err
    assert user.hub.read(REPO, path) == content
    assert user.publish(sample, "v1.0.0", "--allow-shrink") == 0


def test_a_pull_request_of_somebody_else_is_not_taken_for_ours(user: Publisher, many: Path) -> None:
    user.hub.create_repo(REPO)
    assert user.publish(many, "v1.0.0", "--create-pr", "--quiet") == 0
    with user.hub.store.lock:
        theirs = user.hub.store.repositories[REPO].pulls[1]
        theirs.author = "mallory"
    user.hub.commit(REPO, {"loader.py": b"evil"}, revision="refs/pr/1")
    assert user.publish(many, "v1.0.0", "--quiet") == 0
    assert user.is_whole(many, "v1.0.0") and "loader.py" not in user.hub.files(REPO)
    assert {number: p.status for number, p in user.hub.pulls(REPO).items()} == {
        1: "open",
        2: "merged",
    }


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"), "was altered"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "was cut off"),
    ],
)
def test_a_damaged_folder_is_not_sent(
    user: Publisher,
    sample: Path,
    tmp_path: Path,
    damage: object,
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = copied(sample, tmp_path / "x")
    path = sorted((folder / "data").glob("*"))[1]
    damage(path)  # type: ignore[operator]
    assert user.publish(folder) == 2
    error = capsys.readouterr().err
    assert f"data/{path.name}" in error and says in error
    assert {row.method for row in user.hub.requests} <= {"GET"}


def test_figures_that_do_not_add_up_are_not_published(
    user: Publisher, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(sample, tmp_path / "x")
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["accounting"]["pairs"]["train"] += 1
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert user.publish(folder) == 2
    assert "the accounting says" in capsys.readouterr().err
    assert {row.method for row in user.hub.requests} <= {"GET"}


@dataclass(frozen=True)
class Meanwhile:
    """Something happens to the folder while a request is on its way."""

    happens: Callable[[], object]

    def answer(
        self, store: Store, request: Request, process: Callable[[Request], Response]
    ) -> Response:
        self.happens()
        return process(request)


AFTER_VERIFYING = (("GET", "/refs", 1), ("POST", "/preupload/", 0), ("POST", COMMIT, 0))
"""Requests, by method, address and how many come before it, from which on nothing is verified."""


@pytest.mark.parametrize("when", AFTER_VERIFYING, ids=str)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("README.md", b"# Another card\n"),
        ("README.md", None),
        ("report.json", b"[]"),
        ("report.json", b"\xff"),
        ("manifest.json", b"{}"),
    ],
)
def test_what_was_verified_is_sent_though_a_document_changes(
    user: Publisher,
    sample: Path,
    tmp_path: Path,
    name: str,
    content: bytes | None,
    when: tuple[str, str, int],
) -> None:
    folder = copied(sample, tmp_path / "x")
    path = folder / name

    def change() -> None:
        path.unlink() if content is None else path.write_bytes(content)

    method, pattern, before = when
    user.hub.faults.add(Fault(method, pattern, 1, Meanwhile(change), before))
    user.hub.faults.add(Fault("POST", COMMIT, 1, Status(503), before))  # another try reads again
    assert user.publish(folder, "v1.0.0", "--quiet") == 0
    assert not path.exists() if content is None else path.read_bytes() == content
    assert user.is_whole(sample, "v1.0.0")
    assert user.run("pull", f"{REPO}@v1.0.0", str(tmp_path / "back"), "--quiet") == 0


@dataclass(frozen=True)
class KeptInGit:
    """The repository keeps every file in Git, and something may happen while it says so."""

    happens: Callable[[], object] = lambda: None

    def answer(
        self, store: Store, request: Request, process: Callable[[Request], Response]
    ) -> Response:
        self.happens()
        answer = json.loads(process(request).body)
        for file in answer["files"]:
            file["uploadMode"] = "regular"
        return Response.json(answer)


@pytest.mark.parametrize("in_git", [False, True])
@pytest.mark.parametrize("when", AFTER_VERIFYING[:2], ids=str)
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(bytes(path.stat().st_size)), "was altered: its sha256 is"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "was altered: its sha256 is"),
    ],
)
def test_a_shard_that_changes_after_it_was_verified_is_named_and_nothing_is_tagged(
    user: Publisher,
    sample: Path,
    tmp_path: Path,
    damage: Callable[[Path], object],
    says: str,
    when: tuple[str, str, int],
    in_git: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = copied(sample, tmp_path / "x")
    user.hub.create_repo(REPO)
    shard = DatasetFolder(folder).manifest.shards[-1]
    path = folder / shard.path
    method, pattern, before = when
    while_asked = KeptInGit if in_git and method == "POST" else Meanwhile
    user.hub.faults.add(Fault(method, pattern, 1, while_asked(lambda: damage(path)), before))
    if in_git:
        user.hub.faults.add(Fault("POST", "/preupload/", 99, KeptInGit()))
    code = user.publish(folder, "v1.0.0", "--quiet")
    error = capsys.readouterr().err
    if code == 0:  # it had been copied before, as it was
        assert method == "POST" and not in_git and user.is_whole(sample, "v1.0.0")
        return
    assert code == 2
    assert shard.path in error and says in error and not user.waits
    if "sha256" in says:
        assert shard.sha256 in error
    assert not user.hub.tags(REPO)
    path.write_bytes((sample / shard.path).read_bytes())
    assert user.publish(folder, "v1.0.0", "--quiet") == 0
    assert user.is_whole(sample, "v1.0.0")


def test_a_link_in_place_of_a_shard_is_read_once(
    user: Publisher, sample: Path, tmp_path: Path
) -> None:
    folder = copied(sample, tmp_path / "x")
    path = folder / DatasetFolder(folder).manifest.shards[0].path
    path.unlink()
    path.symlink_to(sample / path.relative_to(folder))
    other = tmp_path / "other.parquet"
    other.write_bytes(b"PAR1 another file")

    def redirect() -> None:
        path.unlink()
        path.symlink_to(other)

    user.hub.faults.add(Fault("GET", "/refs", 1, Meanwhile(redirect), 1))
    assert user.publish(folder, "v1.0.0", "--quiet") == 2
    assert not user.hub.tags(REPO)
    path.unlink()
    path.symlink_to(sample / path.relative_to(folder))
    assert user.publish(folder, "v1.0.0", "--quiet") == 0
    assert user.is_whole(sample, "v1.0.0")


def test_a_card_with_bad_metadata_is_not_sent(
    user: Publisher, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(sample, tmp_path / "x")
    (folder / "README.md").write_text("---\nconfigs: [\n---\n# Mine\n")
    assert user.publish(folder) == 2
    assert "README.md: its front matter is not valid YAML" in capsys.readouterr().err
    assert {row.method for row in user.hub.requests} <= {"GET"}


def test_a_report_of_another_layout_is_named(
    user: Publisher, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(sample, tmp_path / "x")
    report = json.loads((folder / "report.json").read_text())
    del report["window_votes"]
    (folder / "report.json").write_text(json.dumps(report))
    assert user.publish(folder) == 2
    assert "report.json: lacks what the card says ('window_votes')" in capsys.readouterr().err
    assert user.hub.bytes_received == 0


@dataclass(frozen=True)
class Ignores:
    """A .gitignore in the repository."""

    ending: str

    def answer(
        self, store: Store, request: Request, process: Callable[[Request], Response]
    ) -> Response:
        answer = json.loads(process(request).body)
        for file in answer["files"]:
            file["shouldIgnore"] = file["path"].endswith(self.ending)
        return Response.json(answer)


@pytest.mark.parametrize("ending", [".json", ".parquet"])
def test_what_a_gitignore_would_leave_out(
    user: Publisher, sample: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    user.hub.create_repo(REPO)
    user.hub.faults.add(Fault("POST", "/preupload/", 99, Ignores(ending)))
    assert user.publish(sample) == 1
    error = capsys.readouterr().err
    assert "its .gitignore excludes" in error and ending in error
    assert user.main_moved() == 0 and not user.waits


def test_an_unknown_client_is_refused(
    user: Publisher,
    sample: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(hub_upload, "MARKS", ("_renamed",))
    assert user.publish(sample) == 1
    assert "version of the Hub's client is not known" in capsys.readouterr().err
    assert user.main_moved() == 0


@dataclass(frozen=True)
class SomeWebsite:
    """What answers is not a Hub."""

    def answer(
        self, store: Store, request: Request, process: Callable[[Request], Response]
    ) -> Response:
        return Response(200, b"<html>Welcome</html>", {"Content-Type": "text/html"})


def test_where_no_hub_is(
    user: Publisher,
    sample: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    user.hub.faults.add(Fault("GET", ".", 99, SomeWebsite()))
    assert user.publish(sample) == 1
    assert "what answered is not a Hub" in capsys.readouterr().err
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    _http.close_session()  # the client looks when it connects
    try:
        assert user.publish(sample) == 1
    finally:
        _http.close_session()
    assert "unset HF_HUB_OFFLINE" in capsys.readouterr().err
    assert not user.waits


def test_what_may_not_be_published(
    user: Publisher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = curated(tmp_path / "x", "--input", f"reddit={SAMPLES / 'reddit'}")
    assert user.publish(folder) == 3
    error = capsys.readouterr().err
    assert "reddit: " in error and "--ids-only" in error and "--license reddit=SPDX" in error
    assert not user.hub.requests
    ids = curated(tmp_path / "ids", "--input", f"reddit={SAMPLES / 'reddit'}", "--ids-only")
    assert user.publish(ids) == 0


def test_who_may_publish(
    user: Publisher,
    sample: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def code_and_error(token: str, repo: str = REPO) -> tuple[int, str]:
        monkeypatch.setenv("HF_TOKEN", token)
        code = user.run("publish", str(sample), repo, "--version", "v1")
        return code, capsys.readouterr().err

    code, error = code_and_error("hf_unknown")
    assert code == 1 and "does not know the token (401)" in error
    code, error = code_and_error(user.hub.token, "nobody/prefs")
    assert code == 1 and "may not do this (403)" in error
    user.hub.create_repo("acme/secret", private=True)
    code, error = code_and_error(user.hub.read_token, "acme/secret")
    assert code == 1 and "write access" in error
    code, error = code_and_error("")
    assert code == 2 and "HF_TOKEN" in error
    assert not user.waits


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("acme", "--version", "v1"), "is not a valid repository"),
        (("acme/a b", "--version", "v1"), "is not a valid repository"),
        (("acme/prefs/x", "--version", "v1"), "is not a valid repository"),
        (("acme/prefs", "--version", "latest"), "is not a valid version"),
        (("acme/prefs", "--version", "v1.2.3.4"), "is not a valid version"),
        (("acme/prefs", "--version", "v01"), "is not a valid version"),
        (("acme/prefs", "--version", "v1..2"), "is not a valid version"),
        (("acme/prefs", "--version", "v1", "--message", " "), "--message: is empty"),
        (("acme/prefs", "--version", "v1", "--message", "a\nb"), "more than one line"),
        (("acme/prefs", "--version", "v1", "--message", "a" * 101), "at most 100"),
        (("acme/prefs", "--version", "v1", "--shrink-limit", "101"), "between 0 and 100"),
    ],
)
def test_wrong_use(
    user: Publisher,
    sample: Path,
    arguments: tuple[str, ...],
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert user.run("publish", str(sample), *arguments) == 2
    assert says in capsys.readouterr().err
    assert not user.hub.requests


# Options


def test_private(user: Publisher, sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert user.publish(sample, "v1", "--private") == 0
    assert user.hub.store.repositories[REPO].private
    assert user.publish(sample, "v1.0.1") == 0
    user.hub.create_repo("acme/open")
    assert user.run("publish", str(sample), "acme/open", "--version", "v1", "--private") == 3
    assert "is public, and --private was given" in capsys.readouterr().err


def test_dry_run_says_all_and_changes_nothing(
    user: Publisher, sample: Path, smaller: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert user.publish(sample, "v1.0.0", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "would make the public dataset" in said and "shards: 7 new" in said
    assert REPO not in user.hub.store.repositories
    assert user.publish(sample) == 0
    sent, requests = user.hub.bytes_received, len(user.hub.requests)
    capsys.readouterr()
    flags = ("--dry-run", "--allow-shrink", "--message", "Fewer pairs")
    assert user.publish(smaller, "v1.1.0", *flags) == 0
    said = capsys.readouterr().out
    assert "commit: Fewer pairs" in said and "tag: v1.1.0" in said
    assert "removes data/train-00000-of-00003.parquet" in said and "bytes to send: 0.1 MB" in said
    assert "The recipe differs in min_margin" in said
    changing = [row for row in user.hub.requests[requests:] if row.method != "GET"]
    assert all(row.path.endswith("/info/lfs/objects/batch") for row in changing)
    assert (user.hub.bytes_received, user.main_moved()) == (sent, 1)
    assert user.publish(sample, "v1.0.0", "--dry-run") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert user.publish(smaller, "v1.1.0", "--dry-run") == 3


def test_a_pull_request_needs_a_repository(
    user: Publisher, sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for flags in ((), ("--dry-run",)):
        assert user.publish(sample, "v1.0.0", "--create-pr", *flags) == 1
        assert "no such dataset to open a pull request on" in capsys.readouterr().err


@pytest.mark.parametrize("which", ["sample", "many"])
def test_a_pull_request_is_opened_once_and_tagged_when_merged(
    user: Publisher,
    which: str,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = request.getfixturevalue(which)
    user.hub.create_repo(REPO)
    for _ in range(2):
        assert user.publish(folder, "v1.0.0", "--create-pr", "--message", "A first version") == 0
        assert "/discussions/1 is open" in capsys.readouterr().out
        assert list(user.hub.pulls(REPO)) == [1]
        assert (user.main_moved(), user.hub.tags(REPO)) == (0, {})
    assert user.hub.pulls(REPO)[1].title.startswith("A first version (v1.0.0, manifest ")
    assert user.is_whole(folder, "refs/pr/1")
    user.hub.api().merge_pull_request(REPO, 1, repo_type="dataset")
    sent = user.hub.bytes_received
    assert user.publish(folder, "v1.0.0", "--create-pr") == 0
    assert "run again without --create-pr" in capsys.readouterr().out
    assert user.publish(folder, "v1.0.0") == 0
    assert user.is_whole(folder, "v1.0.0")
    assert user.hub.bytes_received == sent and user.main_moved() == 1


def test_a_pull_request_that_another_publisher_merged_first_is_looked_at_again(
    user: Publisher, many: Path
) -> None:
    """The Hub refuses a merge with 400 then; nothing is wrong with the version."""
    user.hub.create_repo(REPO)
    user.hub.faults.add(Fault("POST", "/merge$", 1, Status(400)))
    assert user.publish(many, "v1.0.0") == 0
    assert not user.hub.faults.pending()
    assert user.is_whole(many, "v1.0.0") and user.main_moved() == 1


def test_a_folder_on_another_filesystem(user: Publisher, sample: Path) -> None:
    MemoryFileSystem.files = {
        f"memory://bucket/sets/x/{path.relative_to(sample).as_posix()}": path.read_bytes()
        for path in sample.rglob("*")
        if path.is_file()
    }
    assert user.publish("memory://bucket/sets/x") == 0
    assert user.is_whole(sample, "v1.0.0")
    assert user.hub.bytes_received == shard_bytes(sample)


def test_a_card_edited_by_hand_is_published_as_it_stands(
    user: Publisher, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(sample, tmp_path / "x")
    card = (folder / "README.md").read_text()
    assert is_generated(card)
    edited = card.replace("preference pairs", "preference pairs about bread", 1)
    (folder / "README.md").write_text(edited)
    assert not is_generated(edited)
    assert user.publish(folder) == 0
    assert user.hub.read(REPO, "README.md").decode() == edited
    assert "README.md was edited by hand" in capsys.readouterr().out


def test_a_repository_that_keeps_small_files_in_git(user: Publisher, sample: Path) -> None:
    user.hub.create_repo(REPO)
    user.hub.commit(REPO, {".gitattributes": b"*.bin filter=lfs\n"})
    assert user.publish(sample) == 0
    assert user.is_whole(sample, "v1.0.0")
    before = user.main_moved()
    assert user.publish(sample) == 0 and user.main_moved() == before


def test_progress_is_shown_and_stdout_is_for_results(
    user: Publisher, sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert user.publish(sample) == 0
    shown = capsys.readouterr()
    assert "upload: 0.2 MB in 7 shards" in shown.err
    assert "acme/prefs@v1.0.0 is published" in shown.out
    assert user.publish(sample, "v1.0.1", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_patience_ends_also_where_shards_are_part_of_the_commit(
    user: Publisher, sample: Path
) -> None:
    user.hub.create_repo(REPO)
    user.hub.commit(REPO, {".gitattributes": b"*.bin filter=lfs\n"})
    user.hub.faults.add(Fault("POST", COMMIT, 99, Status(503)))
    assert user.publish(sample) == 1
    assert user.waits == [1, 2, 4, 8, 16, 30]
