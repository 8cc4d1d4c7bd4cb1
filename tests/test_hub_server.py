"""The released clients against our own Hub: what it must answer, and what it can make go wrong."""

import hashlib
import io
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub", reason="the client of the Hub is not installed")

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    HfFileSystem,
    constants,
    get_session,
)
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub import (
    BrokenUpload,
    CorruptAnswer,
    CorruptRequest,
    CutAnswer,
    Delay,
    Fault,
    Hold,
    HubServer,
    LostAnswer,
    RacingCommit,
    Status,
    loopback_only,
)
from tests.hub.exchange import Refusal, Request
from tests.hub.objects import Commit, Entry, object_id, tree_ids
from tests.hub.ranges import ranged
from tests.hub.upload_mode import GIT_ATTRIBUTES, REGULAR_LIMIT, upload_mode
from tests.patience import PATIENCE_S

# The client passes file objects to its HTTP library in a way that library is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO = "acme/prefs"
COMMIT = r"/commit/main$"
CARD = b"""---
license: cc-by-sa-4.0
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*.parquet
  - split: test
    path: data/test-*.parquet
---
# Pairs
"""


@dataclass
class Client:
    """The server, the released client as its user, and the waits the client skipped."""

    hub: HubServer
    api: HfApi
    waits: list[float]

    def put(self, files: dict[str, bytes], **options: Any) -> Any:
        """One commit of these files."""
        adds = [CommitOperationAdd(path, content) for path, content in files.items()]
        return self.apply(adds, **options)

    def apply(self, operations: list[Any], **options: Any) -> Any:
        settings = {"commit_message": "some files", "repo_type": "dataset", **options}
        return self.api.create_commit(REPO, operations, **settings)

    def head(self) -> str:
        return self.hub.commits(REPO)[0].oid

    def download(self, path: str, revision: str | None = None) -> bytes:
        found = self.api.hf_hub_download(REPO, path, repo_type="dataset", revision=revision)
        return Path(found).read_bytes()


@pytest.fixture
def client() -> Iterator[Client]:
    with (
        loopback_only() as attempts,
        HubServer(multipart_above=4000, chunk_size=1500, page_size=3, expanded_page_size=2) as hub,
        hub.in_process() as waits,
    ):
        hub.create_repo(REPO)
        yield Client(hub, hub.api(), waits)
    assert not attempts


def status_of(call: Callable[[], Any]) -> int:
    """The status of the refusal a call meets."""
    with pytest.raises(HfHubHTTPError) as raised:
        call()
    return raised.value.response.status_code


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that are no text, the same on every run."""
    blocks = (hashlib.sha256(f"{seed} {n}".encode()).digest() for n in range(size // 32 + 1))
    return b"".join(blocks)[:size]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def parquet(*prompts: str) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"prompt": prompts, "chosen": prompts, "rejected": prompts}), sink)
    return sink.getvalue()


# Names and rules that need no server


def test_objects_are_named_as_git_names_them(tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")

    def git(*words: str, **variables: str) -> str:
        told = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin:/usr/local/bin", **variables}
        return subprocess.run(
            ["git", *words], cwd=tmp_path, env=told, check=True, capture_output=True, text=True
        ).stdout.strip()

    # git sorts the folder "a" as "a/", after "a-b" and "a.txt"
    paths = ["a/b/c.txt", "a/z", "a-b", "a.txt", "deep/er/still/x", "ü ä"]
    contents = {path: path.encode() * 3 for path in paths}
    git("init", "-q")
    for path, content in contents.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    git("add", ".")
    files = {path: Entry.regular(content) for path, content in contents.items()}
    assert tree_ids(files)[""] == git("write-tree")
    assert tree_ids(files)["a"] == git("rev-parse", f"{git('write-tree')}:a")
    assert tree_ids({})[""] == object_id("tree", b"")
    first = Commit.of(None, files, "title", "body", "me", 1_700_000_000)
    second = Commit.of(first, {}, "next", "", "me", 1_700_000_001)
    for commit in (first, second):
        who = {f"GIT_{role}_NAME": "me" for role in ("AUTHOR", "COMMITTER")}
        who |= {f"GIT_{role}_EMAIL": "me@users.noreply.hub" for role in ("AUTHOR", "COMMITTER")}
        when = f"{commit.seconds} +0000"
        dates = {"GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when}
        words = ["-m", commit.title] + (["-m", commit.message] if commit.message else [])
        tree = git("write-tree") if commit.files else git("mktree", "--missing", "-z")
        parents = [] if commit.parent is None else ["-p", commit.parent]
        assert git("commit-tree", tree, *parents, *words, **who, **dates) == commit.oid


@pytest.mark.parametrize(
    ("asked", "status", "body", "said"),
    [
        (None, 200, b"0123456789", None),
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-30", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=0-1,4-5", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
    ],
)
def test_ranges(asked: str | None, status: int, body: bytes | None, said: str | None) -> None:
    request = Request("GET", "/x", {} if asked is None else {"range": asked})
    try:
        answer = ranged(request, b"0123456789", {})
        assert (answer.status, answer.body) == (status, body)
        headers = answer.headers
    except Refusal as refusal:
        assert (refusal.status, body) == (status, None)
        headers = refusal.headers
    assert headers.get("Content-Range") == said


@pytest.mark.parametrize(
    ("path", "size", "sample", "mode"),
    [
        ("data/train.parquet", 10, b"text", "lfs"),
        ("README.md", 10, b"text", "regular"),
        ("manifest.json", REGULAR_LIMIT, b"{", "regular"),
        ("manifest.json", REGULAR_LIMIT + 1, b"{", "lfs"),
        ("notes", 10, b"a\0b", "lfs"),
        ("parquet", 10, b"text", "regular"),
    ],
)
def test_upload_mode(path: str, size: int, sample: bytes, mode: str) -> None:
    assert upload_mode(GIT_ATTRIBUTES, path, size, sample) == mode


def test_other_hosts_are_out_of_reach_and_remembered() -> None:
    with loopback_only() as attempts:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("huggingface.co", 443))
        with pytest.raises(ConnectionRefusedError), socket.socket() as unbound:
            unbound.connect(("192.0.2.1", 443))
    assert attempts == ["huggingface.co", "192.0.2.1"]


# Accounts and repositories


def test_create_repo_is_idempotent_only_when_asked(client: Client) -> None:
    made = client.api.create_repo("acme/new", repo_type="dataset", private=True)
    assert (made.repo_id, made.repo_type) == ("acme/new", "dataset")
    again = client.api.create_repo("acme/new", repo_type="dataset", exist_ok=True)
    assert again == made
    assert status_of(lambda: client.api.create_repo("acme/new", repo_type="dataset")) == 409
    assert [commit.title for commit in client.hub.commits("acme/new")] == ["initial commit"]
    assert client.api.dataset_info("acme/new").private is True
    assert client.api.dataset_info(REPO).private is False
    own = client.api.create_repo("mine", repo_type="dataset")
    assert own.repo_id == f"{client.hub.user}/mine"
    client.api.delete_repo("acme/new", repo_type="dataset")
    with pytest.raises(RepositoryNotFoundError):
        client.api.dataset_info("acme/new")


def test_who_may_do_what(client: Client) -> None:
    hub, endpoint = client.hub, client.hub.endpoint
    hub.create_repo("acme/hidden", private=True)
    reader, stranger = hub.api(hub.read_token), hub.api(hub.other_token)
    nobody = HfApi(endpoint=endpoint, token=False)
    assert client.api.whoami()["name"] == hub.user
    assert [org["name"] for org in client.api.whoami()["orgs"]] == ["acme"]
    assert status_of(lambda: HfApi(endpoint=endpoint, token="hf_" + "x" * 34).whoami()) == 401
    for api in (client.api, reader, stranger, nobody):
        assert api.dataset_info(REPO).id == REPO
    for api in (client.api, reader):
        assert api.dataset_info("acme/hidden").id == "acme/hidden"
    for api, status in ((stranger, 404), (nobody, 401)):
        with pytest.raises(RepositoryNotFoundError) as raised:
            api.dataset_info("acme/hidden")
        assert raised.value.response.status_code == status
    for api, status in ((reader, 403), (stranger, 403), (nobody, 401)):
        tag = partial(api.create_tag, REPO, tag="v1", repo_type="dataset")
        assert status_of(tag) == status
    assert status_of(lambda: stranger.create_repo("acme/theirs", repo_type="dataset")) == 403
    client.api.auth_check(REPO, repo_type="dataset", write=True)
    assert status_of(lambda: reader.auth_check(REPO, repo_type="dataset", write=True)) == 403
    # whoever may read may propose
    opened = reader.create_commit(
        REPO, [CommitOperationAdd("a.txt", b"a")], commit_message="a", repo_type="dataset",
        create_pr=True,
    )  # fmt: skip
    assert opened.pr_revision == "refs/pr/1"
    assert hub.tags(REPO) == {}


def test_what_is_not_modelled_says_so(client: Client) -> None:
    with pytest.raises(RepositoryNotFoundError):
        client.api.model_info(REPO)
    assert get_session().get(f"{client.hub.endpoint}/api/unheard-of").status_code == 501


# Commits


def test_a_commit_lands_whole(client: Client) -> None:
    before = client.head()
    large, card = noise(300), CARD
    done = client.put({"data/a.parquet": large, "README.md": card}, parent_commit=before)
    (newest, first) = client.hub.commits(REPO)
    assert (newest.oid, newest.parent, first.oid) == (done.oid, before, before)
    assert (newest.title, newest.author) == ("some files", client.hub.user)
    files = client.hub.files(REPO)
    assert files["data/a.parquet"].sha256 == sha256(large)
    assert files["README.md"] == Entry.regular(card)
    assert client.hub.read(REPO, "data/a.parquet") == large
    info = client.api.dataset_info(REPO, files_metadata=True)
    assert info.sha == done.oid
    assert info.last_modified is not None
    assert info.last_modified.strftime("%Y-%m-%dT%H:%M:%S.000Z") == newest.date > first.date
    assert info.card_data is not None and info.card_data["license"] == "cc-by-sa-4.0"
    (listed,) = [file for file in info.siblings or [] if file.rfilename == "data/a.parquet"]
    assert listed.lfs is not None
    assert (listed.size, listed.lfs.sha256, listed.lfs.size) == (300, sha256(large), 300)
    assert client.api.dataset_info(REPO, expand=["sha"]).siblings is None


def test_a_stale_parent_is_refused_and_changes_nothing(client: Client) -> None:
    stale = client.head()
    client.put({"a.txt": b"a"}, parent_commit=stale[:7])
    moved = client.head()
    for parent in (stale, moved[:6]):
        late = partial(client.put, {"b.txt": b"b"}, parent_commit=parent)
        assert status_of(late) == 412
    assert client.head() == moved
    assert "b.txt" not in client.hub.files(REPO)
    client.put({"b.txt": b"b"}, parent_commit=moved)


def test_equal_files_are_neither_sent_nor_committed(client: Client) -> None:
    files = {"data/a.parquet": noise(300), "README.md": CARD}
    first = client.put(files)
    sent = client.hub.bytes_received
    assert client.put(files).oid == first.oid
    assert (client.hub.bytes_received, len(client.hub.commits(REPO))) == (sent, 2)
    client.put({"copy/b.parquet": noise(300)})
    assert client.hub.bytes_received == sent
    assert len(client.hub.commits(REPO)) == 3


def test_upload_folder_replaces_what_is_stale_in_one_commit(client: Client, tmp_path: Path) -> None:
    client.put({"data/old.parquet": noise(300), "data/sub/old.txt": b"old"})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "new.parquet").write_bytes(noise(400))
    client.api.upload_folder(
        repo_id=REPO, repo_type="dataset", folder_path=tmp_path, delete_patterns="*"
    )
    assert sorted(client.hub.files(REPO)) == [".gitattributes", "data/new.parquet"]
    assert len(client.hub.commits(REPO)) == 3


def test_copies_and_deletions(client: Client) -> None:
    large = noise(300)
    client.put({"a.parquet": large, "a.txt": b"text", "gone-not": b""})
    client.put({"gone/x": b"x", "gone/y": b"y"})
    client.apply(
        [
            CommitOperationCopy("a.parquet", "b.parquet"),
            CommitOperationCopy("a.txt", "b.txt"),
            CommitOperationDelete("gone/"),
            CommitOperationDelete("a.parquet"),
        ]
    )
    kept = [".gitattributes", "a.txt", "b.parquet", "b.txt", "gone-not"]
    assert sorted(client.hub.files(REPO)) == kept
    assert client.hub.read(REPO, "b.parquet") == large
    for missing in (CommitOperationDelete("nowhere"), CommitOperationDelete("nowhere/")):
        with pytest.raises(EntryNotFoundError):
            client.apply([missing])
    with pytest.raises(BadRequestError, match="beneath a file"):
        client.put({"a.txt/under": b"x"})
    assert len(client.hub.commits(REPO)) == 4


def test_a_pointer_to_bytes_the_repository_lacks_is_refused(client: Client) -> None:
    client.hub.create_repo("acme/other")
    operation = CommitOperationAdd("data/a.parquet", noise(300))
    client.api.preupload_lfs_files("acme/other", [operation], repo_type="dataset")
    with pytest.raises(BadRequestError, match="LFS pointer"):
        client.apply([operation, CommitOperationAdd("b.txt", b"b")])
    assert list(client.hub.files(REPO)) == [".gitattributes"]


def line(key: str, **value: object) -> str:
    return json.dumps({"key": key, "value": value})


HEADER = line("header", summary="s")
PRESENT = sha256(noise(300))


@pytest.mark.parametrize(
    ("lines", "status", "said"),
    [
        (["{"], 400, "NDJSON"),
        (['{"key": "header"}'], 400, "NDJSON"),
        ([HEADER], 400, "Add a line with the key"),
        ([line("deletedFile", path=".gitattributes")], 400, "summary"),
        ([HEADER, line("file", path="../x", content="")], 422, "path"),
        ([HEADER, line("file", path="a\\b", content="")], 422, "path"),
        ([HEADER, line("file", path="x", content="?", encoding="base64")], 400, "base64"),
        ([HEADER, line("renamedFile", path="x")], 400, "unknown key"),
        ([HEADER, line("lfsFile", path="x", algo="sha256", oid=PRESENT, size=9)], 400, "pointer"),
        ([HEADER, line("lfsFile", path="x", algo="md5", oid=PRESENT, size=300)], 400, "algo"),
    ],
)
def test_bodies_that_are_no_commit(
    client: Client, lines: list[str], status: int, said: str
) -> None:
    operation = CommitOperationAdd("a.parquet", noise(300))
    client.api.preupload_lfs_files(REPO, [operation], repo_type="dataset")
    answer = get_session().post(
        f"{client.hub.endpoint}/api/datasets/{REPO}/commit/main",
        content="\n".join(lines).encode(),
        headers={"Authorization": f"Bearer {client.hub.token}"},
    )
    assert (answer.status_code, said in answer.text) == (status, True)
    assert len(client.hub.commits(REPO)) == 1


def test_cards_are_checked(client: Client) -> None:
    for card, fault in (
        (b"---\na: [\n---\n", "YAML"),
        (b"---\n- a\n---\n", "object"),
        (b"---\nconfigs:\n- data_files: x\n---\n", "config_name"),
    ):
        with pytest.raises(ValueError, match=fault):
            client.put({"README.md": card})
    with pytest.warns(UserWarning):
        client.put({"README.md": b"no metadata"})


def test_of_publishers_with_one_parent_one_lands(client: Client) -> None:
    client.hub.commit(REPO, {f"many/{number}.txt": b"x" for number in range(2000)})
    parent = client.head()

    def publish(number: int) -> int:
        try:
            client.put({f"{number}.txt": b"x"}, parent_commit=parent)
        except HfHubHTTPError as error:
            return error.response.status_code
        return 200

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(publish, range(8)))
    assert statuses == [200] + [412] * 7
    assert len(client.hub.commits(REPO)) == 3


# LFS


def test_small_objects_go_in_one_piece_and_large_ones_in_parts(client: Client) -> None:
    limit, above = noise(4000, 1), noise(4001, 2)
    client.put({"limit.bin": limit, "above.bin": above})
    sizes = [row.received for row in client.hub.requests if row.method == "PUT"]
    assert sorted(sizes) == [1001, 1500, 1500, 4000]
    assert (client.hub.puts, client.hub.bytes_received) == (4, 8001)
    assert client.hub.large(REPO) == {sha256(limit): 4000, sha256(above): 4001}
    assert client.hub.read(REPO, "above.bin") == above
    posts = [row.path for row in client.hub.requests if row.method == "POST"]
    assert len([path for path in posts if path.endswith("/lfs/verify")]) == 2
    assert posts.count("/api/complete_multipart") == 1


def test_parts_must_be_the_ones_that_came(client: Client) -> None:
    content = noise(5000)
    token = {"Authorization": f"Bearer {client.hub.token}"}
    asked = {"operation": "upload", "objects": [{"oid": sha256(content), "size": len(content)}]}
    batch = f"{client.hub.endpoint}/datasets/{REPO}.git/info/lfs/objects/batch"
    (item,) = get_session().post(batch, json=asked, headers=token).json()["objects"]
    upload, verify = item["actions"]["upload"], item["actions"]["verify"]["href"]
    parts = []
    for number in range(1, 5):
        start = (number - 1) * 1500
        piece = content[start : start + 1500]
        stored = get_session().put(upload["header"][f"{number:05d}"], content=piece)
        parts.append({"partNumber": number, "etag": stored.headers["ETag"]})
    named = {"oid": sha256(content), "size": len(content)}
    for wrong in (parts[:-1], [*parts[:-1], {**parts[-1], "etag": '"other"'}]):
        refused = get_session().post(upload["href"], json={**named, "parts": wrong})
        assert (refused.status_code, "InvalidPart" in refused.text) == (400, True)
    assert get_session().post(verify, json=named, headers=token).status_code == 404
    assert get_session().post(upload["href"], json={**named, "parts": parts}).status_code == 200
    assert get_session().post(verify, json=named, headers=token).status_code == 200
    short = {**named, "size": 4999}
    assert get_session().post(verify, json=short, headers=token).status_code == 422


def test_preuploaded_bytes_wait_for_their_commit(client: Client) -> None:
    operation = CommitOperationAdd("a.parquet", noise(300))
    client.api.preupload_lfs_files(REPO, [operation], repo_type="dataset")
    assert list(client.hub.large(REPO)) == [sha256(noise(300))]
    assert list(client.hub.files(REPO)) == [".gitattributes"]
    client.put({"a.parquet": noise(300)})
    assert client.hub.puts == 1


def test_bytes_need_a_signed_address_and_never_a_token(client: Client) -> None:
    client.put({"a.parquet": noise(300)})
    client.download("a.parquet")
    lfs = [row for row in client.hub.requests if row.port == "lfs"]
    assert len(lfs) == 2 and not any(row.authorized for row in lfs)
    plain = f"{client.hub.lfs_endpoint}/{REPO}/{sha256(noise(300))}"
    assert get_session().get(plain).status_code == 403
    address = f"{client.hub.endpoint}/datasets/{REPO}/resolve/main/a.parquet"
    signed = get_session().get(address, follow_redirects=False).headers["Location"]
    assert get_session().get(signed).content == noise(300)
    assert get_session().put(signed, content=b"x").status_code == 403
    token = {"Authorization": f"Bearer {client.hub.token}"}
    assert get_session().get(signed, headers=token).status_code == 400


# Tags, branches, pull requests


def test_tags_stay_where_they_are(client: Client) -> None:
    first = client.head()
    client.put({"a.txt": b"a"})
    client.api.create_tag(REPO, tag="v1", revision=first[:8], repo_type="dataset")
    client.api.create_tag(REPO, tag="v2", tag_message="second", repo_type="dataset")
    assert client.hub.tags(REPO) == {"v1": first, "v2": client.head()}
    assert status_of(lambda: client.api.create_tag(REPO, tag="v1", repo_type="dataset")) == 409
    client.api.create_tag(REPO, tag="v1", repo_type="dataset", exist_ok=True)
    assert client.hub.tags(REPO)["v1"] == first
    listed = client.api.list_repo_refs(REPO, repo_type="dataset").tags
    assert {tag.name: tag.target_commit for tag in listed} == client.hub.tags(REPO)
    assert {tag.ref for tag in listed} == {"refs/tags/v1", "refs/tags/v2"}
    assert client.api.dataset_info(REPO, revision="v1").sha == first
    assert status_of(lambda: client.api.create_tag(REPO, tag="a b", repo_type="dataset")) == 400
    with pytest.raises(RevisionNotFoundError):
        client.api.create_tag(REPO, tag="v3", revision="nowhere", repo_type="dataset")
    with pytest.raises(RevisionNotFoundError):
        client.put({"b.txt": b"b"}, revision="v1")
    client.api.delete_tag(REPO, tag="v1", repo_type="dataset")
    for gone in (
        lambda: client.api.delete_tag(REPO, tag="v1", repo_type="dataset"),
        lambda: client.api.dataset_info(REPO, revision="v1"),
    ):
        with pytest.raises(RevisionNotFoundError):
            gone()


def test_branches(client: Client) -> None:
    first = client.head()
    client.put({"a.txt": b"a"})
    for branch, start in (("exp/one", first), ("exp/two", None)):
        client.api.create_branch(REPO, branch=branch, revision=start, repo_type="dataset")
    assert client.hub.branches(REPO) == {
        "main": client.head(),
        "exp/one": first,
        "exp/two": client.head(),
    }
    client.put({"b.txt": b"b"}, revision="exp/one", parent_commit=first)
    assert sorted(client.hub.files(REPO, "exp/one")) == [".gitattributes", "b.txt"]
    assert client.download("b.txt", "exp/one") == b"b"

    def create(branch: str, **options: Any) -> None:
        client.api.create_branch(REPO, branch=branch, repo_type="dataset", **options)

    assert status_of(lambda: create("exp/one")) == 409
    create("exp/one", exist_ok=True)
    assert status_of(lambda: create("refs/pr/5")) == 400

    def delete(branch: str) -> None:
        client.api.delete_branch(REPO, branch=branch, repo_type="dataset")

    assert status_of(lambda: delete("main")) == 403
    delete("exp/one")
    assert status_of(lambda: delete("exp/one")) == 404
    assert sorted(client.hub.branches(REPO)) == ["exp/two", "main"]


def test_a_pull_request_moves_main_once(client: Client) -> None:
    start = client.head()
    opened = client.put({"a.parquet": noise(300)}, create_pr=True, commit_message="Version 1")
    assert (opened.pr_num, opened.pr_revision) == (1, "refs/pr/1")
    more = client.put({"b.parquet": noise(5000)}, revision="refs/pr/1", parent_commit=opened.oid)
    stale = {"revision": "refs/pr/1", "parent_commit": opened.oid}
    assert status_of(lambda: client.put({"c.txt": b"c"}, **stale)) == 412
    assert client.head() == start
    refs = client.api.list_repo_refs(REPO, repo_type="dataset", include_pull_requests=True)
    assert refs.pull_requests is not None
    assert [(ref.ref, ref.target_commit) for ref in refs.pull_requests] == [("refs/pr/1", more.oid)]
    assert client.download("b.parquet", "refs/pr/1") == noise(5000)
    client.hub.commit(REPO, {"elsewhere.txt": b"meanwhile"})
    client.api.merge_pull_request(REPO, 1, repo_type="dataset")
    merged, _, initial = client.hub.commits(REPO)
    assert (merged.title, initial.oid) == ("Version 1 (#1)", start)
    assert opened.oid in merged.message and more.oid in merged.message
    expected = [".gitattributes", "a.parquet", "b.parquet", "elsewhere.txt"]
    assert sorted(client.hub.files(REPO)) == expected
    details = client.api.get_discussion_details(REPO, 1, repo_type="dataset")
    assert (details.status, details.merge_commit_oid) == ("merged", merged.oid)
    kinds = [event.type for event in details.events]
    assert kinds == ["commit", "commit", "status-change"]
    assert status_of(lambda: client.api.merge_pull_request(REPO, 1, repo_type="dataset")) == 400
    assert len(client.hub.commits(REPO)) == 3


def test_conflicting_pull_requests_do_not_merge(client: Client) -> None:
    client.put({"a.txt": b"one"})
    client.put({"a.txt": b"two"}, create_pr=True)
    client.hub.commit(REPO, {"a.txt": b"three"})
    head = client.head()
    assert status_of(lambda: client.api.merge_pull_request(REPO, 1, repo_type="dataset")) == 409
    details = client.api.get_discussion_details(REPO, 1, repo_type="dataset")
    assert details.conflicting_files == ["a.txt"]
    assert client.head() == head
    client.hub.commit(REPO, {"a.txt": None}, revision="refs/pr/1")
    client.hub.commit(REPO, {"a.txt": None})
    client.api.merge_pull_request(REPO, 1, repo_type="dataset")
    assert list(client.hub.files(REPO)) == [".gitattributes"]


def test_a_pull_request_may_remove_files(client: Client) -> None:
    client.put({"old/a.txt": b"a", "old/b.txt": b"b", "kept.txt": b"k"})
    client.apply([CommitOperationDelete("old/")], create_pr=True)
    client.api.merge_pull_request(REPO, 1, repo_type="dataset")
    assert sorted(client.hub.files(REPO)) == [".gitattributes", "kept.txt"]


def test_an_empty_pull_request_is_a_draft_until_opened(client: Client) -> None:
    request = client.api.create_pull_request(REPO, "Version 1", repo_type="dataset")
    assert (request.status, request.git_reference) == ("draft", "refs/pr/1")
    client.put({"a.txt": b"a"}, revision="refs/pr/1")
    assert status_of(lambda: client.api.merge_pull_request(REPO, 1, repo_type="dataset")) == 400
    client.api.change_discussion_status(REPO, 1, "open", repo_type="dataset")
    client.api.merge_pull_request(REPO, 1, repo_type="dataset")
    assert client.hub.read(REPO, "a.txt") == b"a"
    found = client.api.get_repo_discussions(REPO, repo_type="dataset")
    assert [(row.num, row.title, row.status) for row in found] == [(1, "Version 1", "merged")]


def test_where_a_pull_request_starts(client: Client) -> None:
    first = client.head()
    client.put({"a.txt": b"a"})
    client.put({"b.txt": b"b"}, create_pr=True, parent_commit=first)
    assert sorted(client.hub.files(REPO, "refs/pr/1")) == [".gitattributes", "b.txt"]
    for target in (first, "nowhere"):
        with pytest.raises(RevisionNotFoundError):
            client.put({"c.txt": b"c"}, create_pr=True, revision=target)
    with pytest.raises(EntryNotFoundError):
        client.apply([CommitOperationDelete("nowhere")], create_pr=True)
    assert list(client.hub.pulls(REPO)) == [1]


# Reading


def test_listings_come_in_pages(client: Client) -> None:
    names = [f"data/part/{number}.txt" for number in range(7)]
    client.put({name: name.encode() for name in names})
    client.put({"top.txt": b"top"})

    def tree(path: str | None = None, **options: Any) -> list[Any]:
        return list(client.api.list_repo_tree(REPO, path, repo_type="dataset", **options))

    def pages(address: str) -> int:
        return len([row for row in client.hub.requests if address in row.path])

    everything = [".gitattributes", "data", "data/part", *names, "top.txt"]
    assert [row.path for row in tree(recursive=True)] == everything
    assert pages("/tree/main") == 4
    assert [row.path for row in tree()] == [".gitattributes", "data", "top.txt"]
    assert pages("/tree/main") == 5
    assert [row.path for row in tree("data/part", expand=True)] == names
    assert pages("/tree/main/data/part") == 4
    titles = {row.path: row.last_commit.title for row in tree(expand=True, recursive=True)}
    assert titles["top.txt"] == titles["data/part/3.txt"] == "some files"
    assert titles[".gitattributes"] == "initial commit"
    with pytest.raises(EntryNotFoundError):
        tree("nowhere")
    for number in range(3):
        client.put({f"{number}": b"x"})
    commits = client.api.list_repo_commits(REPO, repo_type="dataset")
    assert [row.commit_id for row in commits] == [row.oid for row in client.hub.commits(REPO)]
    assert pages("/commits/main") == 2


def test_the_last_commit_of_a_path_is_the_one_that_changed_it(client: Client) -> None:
    client.put({"kept/a.txt": b"a", "b.txt": b"b"}, commit_message="first")
    client.put({"b.txt": b"B"}, commit_message="second")
    found = client.api.get_paths_info(
        REPO, ["kept", "kept/a.txt", "b.txt", "nowhere"], expand=True, repo_type="dataset"
    )
    titles = {row.path: row.last_commit.title for row in found if row.last_commit is not None}
    assert titles == {"kept": "first", "kept/a.txt": "first", "b.txt": "second"}
    many = [str(number) for number in range(1001)]
    assert status_of(lambda: client.api.get_paths_info(REPO, many, repo_type="dataset")) == 413


def test_downloads_by_any_revision_and_name(client: Client) -> None:
    files = {"a b/ü#%41?.txt": b"text", "a b/ü#%41?.bin": noise(300)}
    done = client.put(files)
    client.api.create_tag(REPO, tag="release/v1", repo_type="dataset")
    client.put(dict.fromkeys(files, b"later"))
    for revision in ("release/v1", done.oid):
        for path, content in files.items():
            assert client.download(path, revision) == content
    requests = len(client.hub.requests)
    assert client.download("a b/ü#%41?.txt", done.oid) == b"text"
    assert len(client.hub.requests) == requests
    with pytest.raises(RemoteEntryNotFoundError):
        client.download("nowhere")
    with pytest.raises(RevisionNotFoundError):
        client.download("a b/ü#%41?.txt", "nowhere")


def test_what_is_said_of_a_file_before_it_is_sent(client: Client) -> None:
    done = client.put({"a.parquet": noise(300), "a.txt": b"text"})
    base = f"{client.hub.endpoint}/datasets/{REPO}/resolve/main"
    large = client.api.get_hf_file_metadata(url=f"{base}/a.parquet")
    assert (large.commit_hash, large.etag, large.size) == (done.oid, sha256(noise(300)), 300)
    assert large.location.startswith(client.hub.lfs_endpoint)
    small = client.api.get_hf_file_metadata(url=f"{base}/a.txt")
    assert (small.commit_hash, small.etag, small.size) == (done.oid, object_id("blob", b"text"), 4)
    assert small.location == f"{base}/a.txt"
    assert large.xet_file_data is small.xet_file_data is None


def test_snapshot_of_a_tag(client: Client) -> None:
    files = {"data/a.parquet": noise(300), "data/b.parquet": noise(5000), "README.md": CARD}
    client.put(files)
    client.api.create_tag(REPO, tag="v1", repo_type="dataset")
    client.hub.commit(REPO, {"data/a.parquet": None})
    folder = Path(client.api.snapshot_download(REPO, repo_type="dataset", revision="v1"))
    for path, content in files.items():
        assert (folder / path).read_bytes() == content
    options = {"repo_type": "dataset", "revision": "v1"}
    assert not client.api.verify_repo_checksums(REPO, **options).mismatches
    (folder / "README.md").unlink()
    (folder / "README.md").write_bytes(b"altered")
    (mismatch,) = client.api.verify_repo_checksums(REPO, **options).mismatches
    assert mismatch["path"] == "README.md"


def test_a_file_system_reads_only_the_bytes_it_needs(client: Client) -> None:
    content = noise(100_000)
    client.put({"data/a.bin": content})
    client.api.create_tag(REPO, tag="v1", repo_type="dataset")
    files = HfFileSystem(endpoint=client.hub.endpoint, token=client.hub.token)
    assert files.ls(f"datasets/{REPO}@v1/data", detail=False) == [f"datasets/{REPO}@v1/data/a.bin"]
    with files.open(f"datasets/{REPO}@v1/data/a.bin", block_size=1000, cache_type="none") as opened:
        opened.seek(50_000)
        assert opened.read(10) == content[50_000:50_010]
    (row,) = [row for row in client.hub.requests if (row.port, row.method) == ("lfs", "GET")]
    assert (row.status, row.sent) == (206, 10)
    before = len(client.hub.commits(REPO))
    with files.open(f"datasets/{REPO}/written.txt", "wb") as opened:
        opened.write(b"written")
    assert client.hub.read(REPO, "written.txt") == b"written"
    assert len(client.hub.commits(REPO)) == before + 1


# Faults


def test_faults_come_by_count_and_in_order(client: Client) -> None:
    faults = client.hub.faults
    faults.add(
        Fault("POST", r"/tag/main$", 2, Status(503), skip=1),
        Fault("*", r"/tag/", 1, Status(500)),
    )

    def tag(name: str) -> int:
        try:
            client.api.create_tag(REPO, tag=name, repo_type="dataset")
        except HfHubHTTPError as error:
            return error.response.status_code
        return 200

    assert [tag(name) for name in "abcde"] == [500, 503, 503, 200, 200]
    assert faults.pending() == []
    assert sorted(client.hub.tags(REPO)) == ["d", "e"]


def test_a_refused_commit_is_not_retried_by_the_client(client: Client) -> None:
    client.hub.faults.add(Fault("POST", COMMIT, 1, Status(503)))
    assert status_of(lambda: client.put({"a.txt": b"a"})) == 503
    assert (client.waits, len(client.hub.commits(REPO))) == ([], 1)
    client.put({"a.txt": b"a"})


def test_other_steps_are_retried_and_wait_as_told(client: Client) -> None:
    client.hub.faults.add(
        Fault("POST", "/preupload/", 2, Status(503)),
        Fault("POST", "/objects/batch", 1, Status(500)),
        Fault("PUT", REPO, 1, Status(429, retry_after=7)),
        Fault("PUT", REPO, 1, Status(429, headers={"RateLimit": '"api";r=0;t=55'})),
    )
    client.put({"a.parquet": noise(300)})
    assert client.waits == [1, 2, 1, 8, 56]
    assert client.hub.faults.pending() == []
    assert (client.hub.puts, client.hub.bytes_received) == (3, 900)
    assert len(client.hub.commits(REPO)) == 2


@pytest.mark.parametrize("status", [504, 500, None])
def test_a_commit_may_land_although_its_answer_is_lost(client: Client, status: int | None) -> None:
    client.hub.faults.add(Fault("POST", COMMIT, 1, LostAnswer(status)))
    # Without any answer the error is that of the HTTP library, whichever the client uses.
    error: type[Exception] = HfHubHTTPError if status else Exception
    with pytest.raises(error):
        client.put({"a.txt": b"a"}, parent_commit=client.head())
    assert len(client.hub.commits(REPO)) == 2
    assert client.hub.read(REPO, "a.txt") == b"a"
    (logged,) = [row for row in client.hub.requests if row.path.endswith("/commit/main")]
    assert logged.status == (status or 0)


def test_an_answer_that_was_no_success_is_not_lost(client: Client) -> None:
    client.hub.faults.add(Fault("POST", COMMIT, 1, LostAnswer()))
    stale = client.head()
    client.hub.commit(REPO, {"x": b"x"})
    assert status_of(lambda: client.put({"a.txt": b"a"}, parent_commit=stale)) == 412


def test_a_racing_commit_makes_the_parent_stale(client: Client) -> None:
    client.hub.faults.add(Fault("POST", COMMIT, 1, RacingCommit({"theirs.txt": b"t"})))
    parent = client.head()
    assert status_of(lambda: client.put({"a.txt": b"a"}, parent_commit=parent)) == 412
    assert sorted(client.hub.files(REPO)) == [".gitattributes", "theirs.txt"]
    client.put({"a.txt": b"a"}, parent_commit=client.head())
    assert sorted(client.hub.files(REPO)) == [".gitattributes", "a.txt", "theirs.txt"]


def test_an_upload_that_breaks_off_is_sent_again(client: Client) -> None:
    client.hub.faults.add(Fault("PUT", REPO, 1, BrokenUpload(after=100)))
    client.put({"a.parquet": noise(300)})
    assert client.hub.read(REPO, "a.parquet") == noise(300)
    assert (client.hub.puts, client.hub.bytes_received, client.waits) == (2, 400, [1])
    broken, whole = [row.status for row in client.hub.requests if row.method == "PUT"]
    assert (broken, whole) == (0, 200)


def test_a_client_that_dies_in_its_request_changes_nothing(client: Client) -> None:
    body = f"{HEADER}\n{line('file', path='x', content='x')}\n".encode()
    head = f"POST /api/datasets/{REPO}/commit/main HTTP/1.1\r\nHost: x\r\n"
    head += f"Authorization: Bearer {client.hub.token}\r\n"
    chunk = b"%x\r\n%s\r\n" % (len(body), body)
    for rest in (
        b"Content-Length: %d\r\n\r\n%s" % (len(body) + 1, body),
        b"Transfer-Encoding: chunked\r\n\r\n" + chunk,
    ):
        with socket.create_connection(client.hub.address) as dying:
            dying.sendall(head.encode() + rest)
            dying.shutdown(socket.SHUT_WR)
            assert dying.recv(1) == b""
    assert [row.status for row in client.hub.requests] == [0, 0]
    assert len(client.hub.commits(REPO)) == 1


def test_of_an_upload_in_parts_only_the_broken_part_is_sent_again(client: Client) -> None:
    client.hub.faults.add(Fault("PUT", "partNumber=2", 1, BrokenUpload(after=1000)))
    client.put({"a.parquet": noise(5000)})
    assert client.hub.read(REPO, "a.parquet") == noise(5000)
    assert (client.hub.puts, client.hub.bytes_received) == (5, 6000)


def test_bytes_altered_on_the_way_in_are_refused(client: Client) -> None:
    client.hub.faults.add(Fault("PUT", REPO, 1, CorruptRequest(position=10)))
    with pytest.raises(RuntimeError, match=r"a\.parquet"):
        client.put({"a.parquet": noise(300)})
    assert client.hub.large(REPO) == {}
    client.hub.faults.add(Fault("PUT", "partNumber=3", 1, CorruptRequest()))
    with pytest.raises(RuntimeError, match=r"b\.parquet"):
        client.put({"b.parquet": noise(5000)})
    assert client.hub.large(REPO) == {}


def test_bytes_altered_on_the_way_out_pass_the_client_unseen(client: Client) -> None:
    client.put({"a.parquet": noise(300)})
    client.hub.faults.add(Fault("GET", REPO, 1, CorruptAnswer(position=299)))
    got = client.download("a.parquet")
    assert got[:299] == noise(300)[:299]
    assert got[299] == noise(300)[299] ^ 0xFF


def test_a_download_that_breaks_off_goes_on_where_it_stopped(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # The client keeps whole pieces only, of 10 MiB unless told otherwise.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 400)
    client.put({"a.parquet": noise(3000)})
    client.hub.faults.add(Fault("GET", f"^/{REPO}/", 1, CutAnswer(after=1000)))
    assert client.download("a.parquet") == noise(3000)
    rows = [row for row in client.hub.requests if (row.port, row.method) == ("lfs", "GET")]
    assert [(row.status, row.sent) for row in rows] == [(200, 1000), (206, 2200)]
    assert "peer closed connection" in caplog.text


def test_a_held_commit_meets_what_landed_meanwhile(client: Client) -> None:
    hold = Hold()
    client.hub.faults.add(Fault("POST", COMMIT, 1, hold))
    parent = client.head()
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(client.put, {"late.txt": b"late"}, parent_commit=parent)
        assert hold.reached.wait(PATIENCE_S)
        client.put({"early.txt": b"early"}, parent_commit=parent)
        hold.release()
        assert status_of(late.result) == 412
    assert sorted(client.hub.files(REPO)) == [".gitattributes", "early.txt"]


def test_a_late_answer_is_still_the_answer(client: Client) -> None:
    client.hub.faults.add(Fault("POST", COMMIT, 1, Delay(0.05)))
    client.put({"a.txt": b"a"})
    assert client.hub.read(REPO, "a.txt") == b"a"


# Clients in processes of their own


def published(hub: HubServer) -> None:
    """Version v1 of a private dataset with two splits, and a later main without one shard."""
    api = hub.api()
    api.create_repo(REPO, repo_type="dataset", private=True)
    files = {
        "README.md": CARD,
        "data/train-00000-of-00002.parquet": parquet("a", "b"),
        "data/train-00001-of-00002.parquet": parquet("c"),
        "data/test-00000-of-00001.parquet": parquet("d"),
    }
    adds = [CommitOperationAdd(path, content) for path, content in files.items()]
    api.create_commit(REPO, adds, commit_message="v1", repo_type="dataset")
    api.create_tag(REPO, tag="v1", repo_type="dataset")
    hub.commit(REPO, {"data/train-00001-of-00002.parquet": None}, "less")


@pytest.fixture
def populated() -> Iterator[HubServer]:
    with HubServer() as hub:
        with hub.in_process():
            published(hub)
        yield hub


def test_datasets_loads_a_tag_and_pushes(populated: HubServer) -> None:
    pytest.importorskip("datasets")
    printed = populated.python(
        f"""
        from datasets import Dataset, load_dataset
        loaded = load_dataset("{REPO}", revision="v1")
        print(sorted((name, split["prompt"][:]) for name, split in loaded.items()))
        streamed = load_dataset("{REPO}", revision="v1", split="train", streaming=True)
        print([row["chosen"] for row in streamed])
        Dataset.from_dict({{"x": [1, 2, 3]}}).push_to_hub("acme/pushed")
        """
    )
    first, second = printed.splitlines()
    assert first == "[('test', ['d']), ('train', ['a', 'b', 'c'])]"
    assert second == "['a', 'b', 'c']"
    assert "data/train-00000-of-00001.parquet" in populated.files("acme/pushed")
    assert not any(row.authorized for row in populated.requests if row.port == "lfs")
    assert not any(row.status in (0, 500, 501) for row in populated.requests)


def test_pyarrow_reads_hf_addresses(populated: HubServer) -> None:
    printed = populated.python(
        f"""
        import pyarrow.dataset as ds
        import pyarrow.parquet as pq
        data = ds.dataset("hf://datasets/{REPO}@v1/data", format="parquet")
        print(data.count_rows(), data.to_table(filter=ds.field("prompt") == "c").num_rows)
        path = "hf://datasets/{REPO}@v1/data/test-00000-of-00001.parquet"
        print(pq.read_table(path)["chosen"].to_pylist())
        """
    )
    assert printed.splitlines() == ["4 1", "['d']"]
    assert not any(row.status in (0, 500, 501) for row in populated.requests)


def test_a_publisher_killed_before_its_commit_left_its_bytes(client: Client) -> None:
    hold = Hold()
    client.hub.faults.add(Fault("POST", COMMIT, 1, hold))
    code = (
        "from huggingface_hub import CommitOperationAdd, HfApi\n"
        f"content = bytes.fromhex('{noise(5000).hex()}')\n"
        f"HfApi().create_commit('{REPO}', [CommitOperationAdd('a.parquet', content)],\n"
        "    commit_message='killed', repo_type='dataset')\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], env=client.hub.environment()) as killed:
        assert hold.reached.wait(PATIENCE_S)
        killed.kill()
        killed.wait()
        hold.drop()
    deadline = time.monotonic() + PATIENCE_S
    while not any(row.path.endswith("/commit/main") for row in client.hub.requests):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    sent = client.hub.bytes_received
    assert (sent, len(client.hub.commits(REPO))) == (5000, 1)
    client.put({"a.parquet": noise(5000)})
    assert client.hub.bytes_received == sent
    assert client.hub.read(REPO, "a.parquet") == noise(5000)
