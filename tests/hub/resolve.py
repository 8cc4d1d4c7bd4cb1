"""Files by revision and path: content of small ones, a redirect to LFS for large ones."""

from dataclasses import dataclass
from urllib.parse import quote

from tests.hub.exchange import REPO, REVISION, Refusal, Request, Response, Route
from tests.hub.lfs import Lfs
from tests.hub.ranges import ranged
from tests.hub.store import Store


@dataclass
class Resolve:
    """GET and HEAD of ``/datasets/{repo}/resolve/{revision}/{path}``."""

    store: Store
    lfs: Lfs

    def file(self, request: Request, repo: str, revision: str, path: str) -> Response:
        repository = self.store.readable(request, repo)
        commit = repository.find(revision)
        headers = {"X-Repo-Commit": commit.oid}
        entry = commit.files.get(path)
        if entry is None:
            raise Refusal(404, "Entry not found", "EntryNotFound", headers)
        name = path.rpartition("/")[2]
        if entry.sha256 is not None:
            return Response(
                302,
                b"Found. Redirecting to the content",
                {
                    **headers,
                    "Location": self.lfs.download(repo, entry.sha256, name),
                    "X-Linked-Size": str(entry.size),
                    "X-Linked-ETag": f'"{entry.sha256}"',
                },
            )
        named = quote(name)
        headers |= {
            "ETag": f'"{entry.oid}"',
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Disposition": f"inline; filename*=UTF-8''{named}; filename=\"{named}\";",
        }
        return ranged(request, repository.content(entry), headers)

    def routes(self) -> list[Route]:
        pattern = rf"/datasets/{REPO}/resolve/{REVISION}/(?P<path>.+)"
        return [("GET", pattern, self.file), ("HEAD", pattern, self.file)]
