"""Pull requests: opened empty, described, closed, and merged as one commit on their branch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.hub.exchange import REPO, Refusal, Request, Response, Route
from tests.hub.objects import Commit, Entry, iso
from tests.hub.repository import MAIN, PullRequest, Repository
from tests.hub.store import Store

NUMBER = r"(?P<number>\d+)"


@dataclass
class Discussions:
    """The endpoints of pull requests; plain discussions are not served."""

    store: Store

    def listed(self, request: Request, repo: str) -> Response:
        repository = self.store.readable(request, repo)
        pulls = sorted(repository.pulls.values(), key=lambda pull: -pull.number)
        status = request.first("status")
        kept = [pull for pull in pulls if status in (None, "all", pull.status)]
        described = [summary(repository, pull) for pull in kept]
        return Response.json({"discussions": described, "count": len(kept), "start": 0})

    def opened(self, request: Request, repo: str) -> Response:
        repository = self.store.readable(request, repo)
        account = self.store.known(request)
        asked = request.json()
        if not asked.get("pullRequest"):
            raise Refusal(501, "Only pull requests are served here")
        pull = self.store.open_pull(
            repository,
            MAIN,
            repository.head(MAIN),
            str(asked.get("title")),
            str(asked.get("description")),
            account.user,
            draft=True,
        )
        return Response.json({"num": pull.number, "pullRequest": {"base": "refs/heads/main"}})

    def details(self, request: Request, repo: str, number: str) -> Response:
        repository = self.store.readable(request, repo)
        pull = found(repository, number)
        _, conflicts = merged_files(repository, pull)
        described = summary(repository, pull)
        described |= {
            "events": pull.events,
            "filesWithConflicts": conflicts if pull.status in ("draft", "open") else [],
            "changes": {"base": f"refs/heads/{pull.target}"},
        }
        if pull.merge_commit is not None:
            described["changes"]["mergeCommitId"] = pull.merge_commit
        return Response.json(described)

    def status(self, request: Request, repo: str, number: str) -> Response:
        repository, account = self.store.writable(request, repo)
        pull = found(repository, number)
        asked = request.json().get("status")
        if asked not in ("open", "closed") or pull.status == "merged":
            raise Refusal(400, f"Cannot change the status of a {pull.status} request to {asked}")
        pull.status = asked
        return Response.json({"newStatus": self._event(pull, account.user)})

    def merge(self, request: Request, repo: str, number: str) -> Response:
        """Squash the request onto its branch, which moves once."""
        repository, account = self.store.writable(request, repo)
        pull = found(repository, number)
        if pull.status != "open":
            raise Refusal(400, f"Cannot merge a pull request that is {pull.status}")
        files, conflicts = merged_files(repository, pull)
        if conflicts:
            raise Refusal(409, f"Conflicts in: {', '.join(conflicts)}")
        own = []
        for commit in repository.history(repository.commits[pull.head]):
            if commit.oid == pull.base:
                break
            own.append(commit)
        squashed = Commit.of(
            repository.head(pull.target),
            files,
            f"{pull.title} (#{pull.number})",
            "\n".join(f"- {commit.title} ({commit.oid})" for commit in reversed(own)),
            account.user,
            self.store.now(),
        )
        repository.move(pull.target, squashed)
        pull.status, pull.merge_commit = "merged", squashed.oid
        self._event(pull, account.user)
        return Response.json({"success": True})

    def _event(self, pull: PullRequest, user: str) -> dict[str, object]:
        event: dict[str, object] = {
            "id": f"{pull.number:08x}{len(pull.events):016x}",
            "type": "status-change",
            "createdAt": iso(self.store.now()),
            "author": {"name": user},
            "data": {"status": pull.status},
        }
        pull.events.append(event)
        return event

    def routes(self) -> list[Route]:
        base = f"/api/datasets/{REPO}/discussions"
        return [
            ("GET", base, self.listed),
            ("POST", base, self.opened),
            ("GET", f"{base}/{NUMBER}", self.details),
            ("POST", f"{base}/{NUMBER}/status", self.status),
            ("POST", f"{base}/{NUMBER}/merge", self.merge),
        ]


def found(repository: Repository, number: str) -> PullRequest:
    pull = repository.pulls.get(int(number))
    if pull is None:
        raise Refusal(404, "Discussion not found")
    return pull


def summary(repository: Repository, pull: PullRequest) -> dict[str, Any]:
    return {
        "num": pull.number,
        "title": pull.title,
        "status": pull.status,
        "author": {"name": pull.author},
        "createdAt": iso(pull.seconds),
        "isPullRequest": True,
        "repo": {"name": repository.id, "type": "dataset"},
    }


def merged_files(repository: Repository, pull: PullRequest) -> tuple[dict[str, Entry], list[str]]:
    """The files of the branch with those the request changed, and the paths both changed."""
    base = repository.commits[pull.base].files
    theirs = repository.commits[pull.head].files
    ours = repository.head(pull.target).files
    after = dict(ours)
    conflicts = []
    for path in sorted(changes(base, theirs)):
        if ours.get(path) not in (base.get(path), theirs.get(path)):
            conflicts.append(path)
        elif path in theirs:
            after[path] = theirs[path]
        else:
            after.pop(path, None)
    return after, conflicts


def changes(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> set[str]:
    return {path for path in {*before, *after} if before.get(path) != after.get(path)}
