"""Branches and tags: made and removed."""

import re
from dataclasses import dataclass

from tests.hub.exchange import REPO, REVISION, Refusal, Request, Response, Route
from tests.hub.repository import MAIN
from tests.hub.store import Store


@dataclass
class Refs:
    """The endpoints that move or remove names of commits."""

    store: Store

    def create_branch(self, request: Request, repo: str, revision: str) -> Response:
        repository, _ = self.store.writable(request, repo)
        if revision.startswith("refs/") or not is_ref_name(revision):
            raise Refusal(400, "Invalid reference for a branch")
        if revision in repository.branches:
            raise Refusal(409, f"Reference refs/heads/{revision} already exists")
        start = repository.find(str(request.json().get("startingPoint") or MAIN))
        repository.branches[revision] = start.oid
        return Response.json({})

    def delete_branch(self, request: Request, repo: str, revision: str) -> Response:
        repository, _ = self.store.writable(request, repo)
        if revision == MAIN:
            raise Refusal(403, "Cannot delete refs/heads/main")
        if revision not in repository.branches:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        del repository.branches[revision]
        return Response.json({})

    def create_tag(self, request: Request, repo: str, revision: str) -> Response:
        repository, _ = self.store.writable(request, repo)
        commit = repository.find(revision)
        tag = str(request.json().get("tag") or "")
        if not is_ref_name(tag):
            raise Refusal(400, f"Invalid tag name: {tag}")
        if tag in repository.tags:
            raise Refusal(409, f"Reference refs/tags/{tag} already exists")
        repository.tags[tag] = commit.oid
        return Response.json({})

    def delete_tag(self, request: Request, repo: str, revision: str) -> Response:
        repository, _ = self.store.writable(request, repo)
        if revision not in repository.tags:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        del repository.tags[revision]
        return Response.json({})

    def routes(self) -> list[Route]:
        base = f"/api/datasets/{REPO}"
        return [
            ("POST", f"{base}/branch/{REVISION}", self.create_branch),
            ("DELETE", f"{base}/branch/{REVISION}", self.delete_branch),
            ("POST", f"{base}/tag/{REVISION}", self.create_tag),
            ("DELETE", f"{base}/tag/{REVISION}", self.delete_tag),
        ]


def is_ref_name(name: str) -> bool:
    """Whether git takes the name of a branch or tag; its rules, less the rarest."""
    if re.search(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//", name) or not name or name == "@":
        return False
    return not any(
        part.startswith((".", "-")) or part.endswith((".", ".lock")) or not part
        for part in name.split("/")
    )
