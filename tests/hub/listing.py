"""What is in a repository: its description, trees, commits and refs, page by page."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import yaml

from tests.hub.card import front_matter
from tests.hub.exchange import REPO, REVISION, Refusal, Request, Response, Route
from tests.hub.objects import Commit, Entry, tree_ids
from tests.hub.repository import MAIN, Repository
from tests.hub.store import Store

PATHS_LIMIT = 1000


@dataclass
class Listing:
    """The reading half of the API; page sizes in entries."""

    store: Store
    page_size: int
    expanded_page_size: int
    endpoint: str = ""

    # The repository

    def info(self, request: Request, repo: str, revision: str = MAIN) -> Response:
        repository = self.store.readable(request, repo)
        commit = repository.find(revision)
        blobs = request.asks("blobs")
        described = {
            "_id": commit.oid[:24],
            "id": repository.id,
            "author": repository.id.partition("/")[0],
            "sha": commit.oid,
            "lastModified": repository.head(MAIN).date,
            "createdAt": list(repository.history(commit))[-1].date,
            "private": repository.private,
            "gated": False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "cardData": card_data(repository, commit),
            "siblings": [sibling(path, commit.files[path], blobs) for path in sorted(commit.files)],
        }
        wanted = [*request.query.get("expand", []), *request.query.get("expand[]", [])]
        if wanted:
            kept = {"_id", "id", *wanted}
            described = {name: value for name, value in described.items() if name in kept}
        return Response.json(described)

    def refs(self, request: Request, repo: str) -> Response:
        repository = self.store.readable(request, repo)
        listed: dict[str, Any] = {
            "branches": refs("refs/heads/", repository.branches),
            "tags": refs("refs/tags/", repository.tags),
            "converts": [],
        }
        if request.asks("include_prs"):
            pulls = {pull.ref: pull.head for pull in repository.pulls.values()}
            listed["pullRequests"] = refs("", pulls)
        return Response.json(listed)

    def commits(self, request: Request, repo: str, revision: str) -> Response:
        repository = self.store.readable(request, repo)
        listed = [
            {
                "id": commit.oid,
                "title": commit.title,
                "message": commit.message,
                "date": commit.date,
                "authors": [{"user": commit.author}],
            }
            for commit in repository.history(repository.find(revision))
        ]
        return self._page(request, listed, self.page_size)

    # The files

    def tree(self, request: Request, repo: str, revision: str, path: str = "") -> Response:
        repository = self.store.readable(request, repo)
        commit = repository.find(revision)
        folder = path.strip("/")
        rows = listed_tree(commit, folder, request.asks("recursive"))
        if not rows and folder:
            headers = {"X-Repo-Commit": commit.oid}
            raise Refusal(404, f"{folder} does not exist", "EntryNotFound", headers)
        expand = request.asks("expand")
        size = self.expanded_page_size if expand else self.page_size
        return self._page(request, rows, size, self._expander(repository, commit, expand))

    def paths_info(self, request: Request, repo: str, revision: str) -> Response:
        repository = self.store.readable(request, repo)
        commit = repository.find(revision)
        form = request.form()
        paths = form.get("paths", [])
        if len(paths) > PATHS_LIMIT:
            raise Refusal(413, "too many parameters")
        rows = {row["path"]: row for row in listed_tree(commit, "", recursive=True)}
        expand = form.get("expand", ["false"])[0].lower() == "true"
        finish = self._expander(repository, commit, expand)
        return Response.json([finish(rows[path]) for path in paths if path in rows])

    def _expander(
        self, repository: Repository, commit: Commit, expand: bool
    ) -> Callable[[dict[str, Any]], dict[str, Any]]:
        def finish(row: dict[str, Any]) -> dict[str, Any]:
            if not expand:
                return row
            last = last_change(repository, commit, row["path"])
            return {**row, "lastCommit": {"id": last.oid, "title": last.title, "date": last.date}}

        return finish

    def _page(
        self,
        request: Request,
        rows: list[dict[str, Any]],
        size: int,
        finish: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    ) -> Response:
        """One page of rows, and a Link header to the next when there is one."""
        start = int(request.first("cursor") or 0)
        size = min(size, int(request.first("limit") or size))
        headers = {}
        if start + size < len(rows):
            query = {name: values for name, values in request.query.items() if name != "cursor"}
            following = urlencode({**query, "cursor": [str(start + size)]}, doseq=True)
            headers["Link"] = f'<{self.endpoint}{request.path}?{following}>; rel="next"'
        page = [finish(row) for row in rows[start : start + size]]
        return Response.json(page, headers=headers)

    def routes(self) -> list[Route]:
        base = f"/api/datasets/{REPO}"
        return [
            ("GET", f"{base}/refs", self.refs),
            ("GET", f"{base}/revision/{REVISION}", self.info),
            ("GET", f"{base}/tree/{REVISION}", self.tree),
            ("GET", f"{base}/tree/{REVISION}/(?P<path>.*)", self.tree),
            ("POST", f"{base}/paths-info/{REVISION}", self.paths_info),
            ("GET", f"{base}/commits/{REVISION}", self.commits),
            ("GET", base, self.info),
        ]


def refs(prefix: str, named: Mapping[str, str]) -> list[dict[str, str]]:
    return [
        {"name": name, "ref": prefix + name, "targetCommit": oid} for name, oid in named.items()
    ]


def sibling(path: str, entry: Entry, blobs: bool) -> dict[str, Any]:
    described: dict[str, Any] = {"rfilename": path}
    if blobs:
        described |= {"size": entry.size, "blobId": entry.oid}
        if entry.sha256 is not None:
            described["lfs"] = {
                "sha256": entry.sha256,
                "size": entry.size,
                "pointerSize": entry.pointer_size,
            }
    return described


def listed_tree(commit: Commit, folder: str, recursive: bool) -> list[dict[str, Any]]:
    """The entries beneath a folder, each folder before its files."""
    prefix = folder + "/" if folder else ""
    rows: dict[str, dict[str, Any]] = {}
    for path, oid in tree_ids(commit.files).items():
        if path and path.startswith(prefix):
            rows[path] = {"type": "directory", "path": path, "oid": oid, "size": 0}
    for path, entry in commit.files.items():
        if path.startswith(prefix):
            rows[path] = {"type": "file", "path": path, "oid": entry.oid, "size": entry.size}
            if entry.sha256 is not None:
                rows[path]["lfs"] = {
                    "oid": entry.sha256,
                    "size": entry.size,
                    "pointerSize": entry.pointer_size,
                }
    kept: Iterable[str] = rows
    if not recursive:
        kept = (path for path in rows if "/" not in path[len(prefix) :])
    return [rows[path] for path in sorted(kept)]


def last_change(repository: Repository, commit: Commit, path: str) -> Commit:
    """The newest commit in which a file, or anything in a folder, became what it is."""

    def beneath(at: Commit) -> dict[str, Entry]:
        within = path + "/"
        return {
            name: entry
            for name, entry in at.files.items()
            if name == path or name.startswith(within)
        }

    found, state = commit, beneath(commit)
    for earlier in repository.history(commit):
        if beneath(earlier) != state:
            break
        found = earlier
    return found


def card_data(repository: Repository, commit: Commit) -> Any:
    """The metadata at the head of README.md, or nothing."""
    entry = commit.files.get("README.md")
    if entry is None:
        return None
    try:
        return front_matter(repository.content(entry).decode(errors="replace"))
    except (ValueError, yaml.YAMLError):
        return None
