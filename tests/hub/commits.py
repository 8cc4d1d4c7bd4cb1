"""The two steps of a commit: which files go to LFS, then all changes as one body of lines."""

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.hub.exchange import REPO, REVISION, Refusal, Request, Response, Route
from tests.hub.repository import Delete, Link, Operation, Put
from tests.hub.store import Store
from tests.hub.upload_mode import upload_mode

# What the Hub says to a body without changes, and also to one cut after its header.
NO_CHANGES = "Add a line with the key `lfsFile`, `file` or `deletedFile`"


@dataclass
class CommitBody:
    """A parsed commit: its words and its changes, in order."""

    title: str = ""
    message: str = ""
    parent: str | None = None
    operations: list[Operation] = field(default_factory=list)


@dataclass
class Commits:
    """The endpoints that write files."""

    store: Store
    endpoint: str = ""

    def preupload(self, request: Request, repo: str, revision: str) -> Response:
        if request.asks("create_pr"):
            repository = self.store.readable(request, repo)
        else:
            repository, _ = self.store.writable(request, repo)
        files = repository.head(revision).files
        attributes = files.get(".gitattributes")
        rules = b"" if attributes is None else repository.content(attributes)
        answers = []
        for item in request.json().get("files", []):
            sample = base64.b64decode(item.get("sample", ""))
            answer = {
                "path": item["path"],
                "uploadMode": upload_mode(rules, item["path"], item["size"], sample),
                "shouldIgnore": False,
            }
            if (entry := files.get(item["path"])) is not None:
                answer["oid"] = entry.sha256 or entry.oid
            answers.append(answer)
        return Response.json({"files": answers})

    def commit(self, request: Request, repo: str, revision: str) -> Response:
        opens = request.asks("create_pr")
        if opens:
            repository, account = self.store.readable(request, repo), self.store.known(request)
        else:
            repository, account = self.store.writable(request, repo)
        body = parsed(request.body)
        ref, parent, pull = revision, body.parent, None
        if opens:
            base = repository.head(revision)
            if parent is not None:
                # With a pull request it says where to start, not what must still be there.
                base, parent = repository.find(parent), None
            # Checked before the request opens: a refused commit must leave no pull request.
            repository.changed(base.files, body.operations)
            pull = self.store.open_pull(
                repository, revision, base, body.title, body.message, account.user, draft=False
            )
            ref = pull.ref
        commit = self.store.commit(
            repository, ref, body.operations, body.title, body.message, account.user, parent
        )
        home = f"{self.endpoint}/datasets/{repo}"
        answer = {
            "success": True,
            "commitOid": commit.oid,
            "commitUrl": f"{home}/commit/{commit.oid}",
            "hookOutput": "",
        }
        if pull is not None:
            answer["pullRequestUrl"] = f"{home}/discussions/{pull.number}"
        return Response.json(answer)

    def routes(self) -> list[Route]:
        base = f"/api/datasets/{REPO}"
        return [
            ("POST", f"{base}/preupload/{REVISION}", self.preupload),
            ("POST", f"{base}/commit/{REVISION}", self.commit),
        ]


def parsed(body: bytes) -> CommitBody:
    """Read the lines of a commit; refuses what is no commit as a whole."""
    commit = CommitBody()
    seen_header = False
    for key, value in lines(body):
        if key == "header":
            seen_header = True
            commit.title = str(value.get("summary") or "")
            commit.message = str(value.get("description") or "")
            commit.parent = value.get("parentCommit")
        elif key == "file":
            commit.operations.append(Put(value["path"], content_of(value)))
        elif key == "lfsFile":
            if value.get("algo") != "sha256":
                raise Refusal(400, "Invalid input: algo")
            commit.operations.append(Link(value["path"], value["oid"], value.get("size")))
        elif key in ("deletedFile", "deletedFolder"):
            commit.operations.append(Delete(value["path"], key == "deletedFolder"))
        else:
            raise Refusal(400, f"Invalid input: unknown key {key}")
    if not seen_header or not commit.title:
        raise Refusal(400, "Invalid input: header.summary is required")
    if not commit.operations:
        raise Refusal(400, NO_CHANGES)
    return commit


def lines(body: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    for line in body.splitlines():
        if line.strip():
            try:
                item = json.loads(line)
                yield item["key"], dict(item["value"])
            except (ValueError, KeyError, TypeError):
                raise Refusal(400, "Invalid NDJSON") from None


def content_of(value: dict[str, Any]) -> bytes:
    content = str(value.get("content") or "")
    if value.get("encoding", "utf-8") != "base64":
        return content.encode()
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error:
        raise Refusal(400, "Invalid base64") from None
