"""Publishing to the Hub on loopback: a dataset, the command, and all that can go wrong."""

import shutil
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

from pipeline import cli
from pipeline.dataset.folder import DatasetFolder
from pipeline.hub import retries as hub_retries
from tests.hub import (
    BrokenUpload,
    CorruptRequest,
    Fault,
    Hold,
    HubServer,
    LostAnswer,
    RacingCommit,
    Status,
)
from tests.hub.exchange import Request, Response
from tests.hub.store import Store
from tests.patience import PATIENCE_S

SAMPLES = Path(__file__).parents[1] / "samples"
REPO = "acme/prefs"
COMMIT = r"/commit/main$"
PART = r"/commit/refs/pr/1$"
TAG = r"/tag/"


def curated(output: Path, *flags: str) -> Path:
    """A dataset from the shipped samples."""
    given = ["--output", str(output), "--quiet", *flags]
    if "--input" not in flags:
        given += ["--input", f"stackexchange={SAMPLES / 'sourdough.example.com'}"]
    assert cli.main(["curate", *given]) == 0
    return output


def shard_bytes(folder: Path | str) -> int:
    """Bytes of all shards of different content."""
    shards = DatasetFolder(folder).manifest.shards
    return sum({shard.sha256: shard.bytes for shard in shards}.values())


@dataclass
class Publisher:
    """The server, the command as its user, and the waits that were skipped, in seconds."""

    hub: HubServer
    waits: list[float] = field(default_factory=list)

    def publish(self, folder: Path | str, version: str = "v1.0.0", *flags: str) -> int:
        return self.run("publish", str(folder), REPO, "--version", version, *flags)

    def run(self, *arguments: str) -> int:
        endpoint = [] if arguments[0] == "inspect" else ["--endpoint", self.hub.endpoint]
        return cli.main([*arguments, *endpoint])

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """The command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", *arguments],
            env=self.hub.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def main_moved(self) -> int:
        """How often main has moved since the repository was made."""
        return len(self.hub.commits(REPO)) - 1

    def largest_commit(self) -> int:
        """Most files that one commit on a pull request has changed."""
        sizes = []
        for number in self.hub.pulls(REPO):
            for new, old in pairwise(self.hub.commits(REPO, f"refs/pr/{number}")):
                paths = {*new.files, *old.files}
                sizes.append(sum(new.files.get(p) != old.files.get(p) for p in paths))
        return max(sizes)

    def is_whole(self, folder: Path | str, revision: str) -> bool:
        """Whether a revision holds a folder's shards, byte for byte, and no others."""
        there = {
            path: self.hub.read(REPO, path, revision)
            for path in self.hub.files(REPO, revision)
            if path.endswith(".parquet")
        }
        return there == {
            shard.path: Path(folder, shard.path).read_bytes()
            for shard in DatasetFolder(folder).manifest.shards
        }


@contextmanager
def publisher() -> Iterator[Publisher]:
    """A server and its user; waits are skipped, and remembered."""
    waits: list[float] = []
    clock = types.SimpleNamespace(sleep=waits.append)
    with (
        HubServer() as server,
        server.in_process() as theirs,
        patch.object(hub_retries, "time", clock),
    ):
        yield Publisher(server, waits)
        waits += theirs


@dataclass(frozen=True)
class RacingTag:
    """Somebody else's tag of the same name, on what main held first."""

    tag: str

    def answer(
        self, store: Store, request: Request, process: Callable[[Request], Response]
    ) -> Response:
        with store.lock:
            repository = store.repositories[REPO]
            first = list(repository.history(repository.head("main")))[-1]
            repository.tags[self.tag] = first.oid
        return process(request)


@dataclass(frozen=True)
class Scenario:
    """A fault, and what must come of it: exit code, moves of main, and bytes sent.

    ``again``: one shard is sent a second time, beside every byte once.
    """

    name: str
    faults: tuple[Callable[[], Fault], ...]
    exit_code: int = 0
    moves: int = 1
    tagged: bool = True
    again: bool = False
    waits: tuple[float, ...] | None = None


def fault(
    method: str, pattern: str, times: int, action: object, skip: int = 0
) -> Callable[[], Fault]:
    """A fault to be made anew for each server, because faults are used up."""
    return lambda: Fault(method, pattern, times, action, skip)  # type: ignore[arg-type]


NOTE = {"NOTES.md": b"somebody's notes"}

SCENARIOS = (
    Scenario("none", ()),
    Scenario("503 on the commit, twice", (fault("POST", COMMIT, 2, Status(503)),), waits=(1, 2)),
    Scenario("504 after a commit that landed", (fault("POST", COMMIT, 1, LostAnswer(504)),)),
    Scenario(
        "connection lost after a commit that landed", (fault("POST", COMMIT, 1, LostAnswer(None)),)
    ),
    Scenario("racing commit (412)", (fault("POST", COMMIT, 1, RacingCommit(NOTE)),), moves=2),
    Scenario("409 on the commit", (fault("POST", COMMIT, 1, Status(409)),)),
    Scenario(
        "throttled commit, Retry-After 7", (fault("POST", COMMIT, 1, Status(429, 7)),), waits=(7,)
    ),
    Scenario(
        "throttled commit, RateLimit 55 s",
        (fault("POST", COMMIT, 1, Status(429, headers={"RateLimit": '"api";r=0;t=55'})),),
        waits=(55,),
    ),
    Scenario(
        "throttled upload, Retry-After 3", (fault("PUT", ".", 1, Status(429, 3)),), again=True
    ),
    Scenario("503 on reading the refs", (fault("GET", "/refs", 1, Status(503)),)),
    Scenario("500 on the check of the commit", (fault("GET", "/tree/", 1, Status(500)),)),
    Scenario("503 on the tag", (fault("POST", TAG, 1, Status(503)),)),
    Scenario("504 after a tag that was set", (fault("POST", TAG, 1, LostAnswer(504)),)),
    Scenario(
        "the tag is set by others, on other data",
        (fault("POST", TAG, 1, RacingTag("v1.0.0")),),
        exit_code=3,
        tagged=False,
    ),
    Scenario("an upload breaks off", (fault("PUT", ".", 1, BrokenUpload(100)),), again=True),
    Scenario("a byte altered on the way", (fault("PUT", ".", 1, CorruptRequest(9)),), again=True),
    Scenario(
        "no commit is accepted (503 for ever)",
        (fault("POST", COMMIT, 99, Status(503)),),
        exit_code=1,
        moves=0,
        tagged=False,
        waits=(1, 2, 4, 8, 16, 30),
    ),
    Scenario(
        "the token may not commit (403)",
        (fault("POST", COMMIT, 1, Status(403)),),
        exit_code=1,
        moves=0,
        tagged=False,
        waits=(),
    ),
)

MANY_SCENARIOS = (
    Scenario("none", ()),
    Scenario("503 on the second part", (fault("POST", PART, 1, Status(503)),)),
    Scenario("504 after a second part that landed", (fault("POST", PART, 1, LostAnswer(504)),)),
    Scenario("503 on the merge", (fault("POST", "/merge$", 1, Status(503)),)),
    Scenario("504 after a merge that landed", (fault("POST", "/merge$", 1, LostAnswer(504)),)),
    Scenario(
        "racing commit before the merge",
        (fault("POST", PART, 1, RacingCommit(NOTE)),),
        moves=2,
    ),
    Scenario(
        "racing commit in the merge",
        (fault("POST", "/merge$", 1, RacingCommit(NOTE)),),
        moves=2,
    ),
    Scenario(
        "racing shards in the merge",
        (fault("POST", "/merge$", 1, RacingCommit({"data/train-00007-of-00009.parquet": b"x"})),),
        exit_code=3,
        moves=2,
        tagged=False,
    ),
)


def kill_before_commit(user: Publisher, folder: Path, pattern: str = COMMIT) -> None:
    """Publish in a process that is killed when it has sent its shards and asks for the commit."""
    hold = Hold()
    user.hub.faults.add(Fault("POST", pattern, 1, hold))
    with user.start("publish", str(folder), REPO, "--version", "v1.0.0") as process:
        assert hold.reached.wait(PATIENCE_S), process.communicate()
        process.kill()
        process.wait()
    hold.drop()


def copied(folder: Path, target: Path) -> Path:
    """A dataset that a test may change."""
    shutil.copytree(folder, target)
    return target
