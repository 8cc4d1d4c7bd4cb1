"""One dataset repository: its files, commits, branches, tags and pull requests."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tests.hub.exchange import Refusal
from tests.hub.objects import Commit, Entry

# Both texts are of the real Hub, the second being the older one: match on 412, not on words.
BRANCH_MOVED = "The branch was updated since you opened this page. Please refresh and try again."
LFS_MISSING = (
    "Your push was rejected because an LFS pointer pointed to a file that does not exist. "
    "Offending file: - {path}"
)
SHORTEST_OID = 7
MAIN = "main"


@dataclass(frozen=True)
class Put:
    """Add or replace a file held in git."""

    path: str
    content: bytes


@dataclass(frozen=True)
class Link:
    """Add or replace a file by its SHA-256 in LFS; without a size it is a copy."""

    path: str
    sha256: str
    size: int | None = None


@dataclass(frozen=True)
class Delete:
    """Remove a file, or all files of a folder."""

    path: str
    folder: bool = False


Operation = Put | Link | Delete


@dataclass
class PullRequest:
    """A pull request; its commits are those from ``base`` (exclusive) to ``head``."""

    number: int
    title: str
    description: str
    author: str
    target: str
    base: str
    head: str
    seconds: int
    status: Literal["draft", "open", "closed", "merged"]
    merge_commit: str | None = None
    events: list[dict[str, object]] = field(default_factory=list)

    @property
    def ref(self) -> str:
        return f"refs/pr/{self.number}"


@dataclass
class Repository:
    """A repository whose every change is a whole: nothing moves before all of it is checked."""

    id: str
    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: dict[int, PullRequest] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)

    def find(self, revision: str) -> Commit:
        """The commit a branch, tag, full ref, or (shortened) commit id stands for."""
        oid = self._ref(revision)
        if oid is None and re.fullmatch(rf"[0-9a-f]{{{SHORTEST_OID},40}}", revision):
            oid = next((known for known in self.commits if known.startswith(revision)), None)
        if oid is None:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]

    def _ref(self, revision: str) -> str | None:
        if revision.startswith("refs/heads/"):
            return self.branches.get(revision.removeprefix("refs/heads/"))
        if revision.startswith("refs/tags/"):
            return self.tags.get(revision.removeprefix("refs/tags/"))
        if (pull := self.pull_of(revision)) is not None:
            return pull.head
        return self.tags.get(revision) or self.branches.get(revision)

    def pull_of(self, revision: str) -> PullRequest | None:
        """The pull request that a ref like ``refs/pr/3`` names."""
        found = re.fullmatch(r"refs/pr/(\d+)", revision)
        return self.pulls.get(int(found[1])) if found else None

    def head(self, revision: str) -> Commit:
        """The commit a branch or pull request points at; tags and commit ids take no commits."""
        name = revision.removeprefix("refs/heads/")
        pull = self.pull_of(revision)
        oid = self.branches.get(name) if pull is None else pull.head
        if oid is None:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]

    def move(self, revision: str, commit: Commit) -> None:
        """Point a branch or pull request at a commit."""
        self.commits[commit.oid] = commit
        if (pull := self.pull_of(revision)) is not None:
            pull.head = commit.oid
        else:
            self.branches[revision.removeprefix("refs/heads/")] = commit.oid

    def history(self, commit: Commit | None) -> Iterator[Commit]:
        """A commit and those before it, newest first."""
        while commit is not None:
            yield commit
            commit = None if commit.parent is None else self.commits[commit.parent]

    def content(self, entry: Entry) -> bytes:
        return self.blobs[entry.oid] if entry.sha256 is None else self.large[entry.sha256]

    def changed(
        self, files: Mapping[str, Entry], operations: Iterable[Operation]
    ) -> dict[str, Entry]:
        """The files after the operations, in their order; refuses what git would refuse."""
        after = dict(files)
        for operation in operations:
            path = checked_path(operation.path)
            if isinstance(operation, Delete):
                self._delete(after, path, operation.folder)
            else:
                after[path] = self._entry(operation)
        for path in after:
            parts = path.split("/")
            for depth in range(1, len(parts)):
                if "/".join(parts[:depth]) in after:
                    raise Refusal(400, f"Path conflict: {path} is beneath a file")
        return after

    def _entry(self, operation: Put | Link) -> Entry:
        if isinstance(operation, Put):
            entry = Entry.regular(operation.content)
            self.blobs[entry.oid] = operation.content
            return entry
        content = self.large.get(operation.sha256)
        if content is None or operation.size not in (None, len(content)):
            raise Refusal(400, LFS_MISSING.format(path=operation.path))
        return Entry.large(operation.sha256, len(content))

    def _delete(self, files: dict[str, Entry], path: str, folder: bool) -> None:
        gone = [name for name in files if name.startswith(path + "/")] if folder else [path]
        if not gone or any(name not in files for name in gone):
            raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")
        for name in gone:
            del files[name]


def checked_path(path: str) -> str:
    """The path without a trailing slash, unless it could leave the repository."""
    path = path.rstrip("/")
    parts = path.split("/")
    if "\\" in path or any(part in ("", ".", "..", ".git") for part in parts):
        raise Refusal(422, f"Invalid path: {path}")
    return path
