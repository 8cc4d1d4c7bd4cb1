"""All repositories of the server, who may do what with them, and its logical clock."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.hub.exchange import Refusal, Request
from tests.hub.objects import Commit
from tests.hub.repository import (
    BRANCH_MOVED,
    MAIN,
    SHORTEST_OID,
    Operation,
    PullRequest,
    Put,
    Repository,
)
from tests.hub.upload_mode import GIT_ATTRIBUTES

# 2024-01-01; each event is one second later, so that ids and dates are the same on every run.
EPOCH = 1_704_067_200


@dataclass(frozen=True)
class Account:
    """A token and what it may do; ``writes`` is false for a token of role "read"."""

    user: str
    token: str
    organizations: tuple[str, ...] = ()
    writes: bool = True

    def owns(self, repo_id: str) -> bool:
        return repo_id.partition("/")[0] in (self.user, *self.organizations)


@dataclass
class Store:
    """The state; hold ``lock`` while reading or changing it."""

    accounts: tuple[Account, ...]
    repositories: dict[str, Repository] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    events: int = 0

    def now(self) -> int:
        """Seconds since 1970 of the next event."""
        self.events += 1
        return EPOCH + self.events

    # Who asks

    def account(self, request: Request) -> Account | None:
        """Whose token came with the request; an unknown token is refused."""
        scheme, _, token = (request.header("Authorization") or "").partition(" ")
        if not scheme:
            return None
        for account in self.accounts:
            if scheme == "Bearer" and account.token == token:
                return account
        raise Refusal(401, "Invalid credentials in Authorization header")

    def known(self, request: Request) -> Account:
        account = self.account(request)
        if account is None:
            raise Refusal(401, "Invalid username or password.")
        return account

    def readable(self, request: Request, repo_id: str) -> Repository:
        """The repository, if it exists for the one who asks."""
        account = self.account(request)
        repository = self.repositories.get(repo_id)
        hidden = repository is None or (
            repository.private and not (account is not None and account.owns(repo_id))
        )
        if repository is None or hidden:
            if account is None:
                # The real answer has no code, but the client tells a missing repository by a
                # bare 401 on https addresses only; with the code it raises the same error here.
                raise Refusal(401, "Invalid username or password.", "RepoNotFound")
            raise Refusal(404, "Repository not found", "RepoNotFound")
        return repository

    def writable(self, request: Request, repo_id: str) -> tuple[Repository, Account]:
        repository = self.readable(request, repo_id)
        account = self.known(request)
        if not (account.writes and account.owns(repo_id)):
            raise Refusal(403, "Forbidden: you don't have the rights to write to this repository")
        return repository, account

    # What is done

    def create(self, repo_id: str, private: bool, author: str) -> Repository:
        """A repository with its first commit, which says what goes to LFS."""
        repository = Repository(repo_id, private)
        files = repository.changed({}, [Put(".gitattributes", GIT_ATTRIBUTES)])
        first = Commit.of(None, files, "initial commit", "", author, self.now())
        repository.move(MAIN, first)
        self.repositories[repo_id] = repository
        return repository

    def commit(
        self,
        repository: Repository,
        revision: str,
        operations: Iterable[Operation],
        title: str,
        message: str = "",
        author: str = "someone",
        parent: str | None = None,
    ) -> Commit:
        """Commit to a branch or pull request; 412 when its head is not ``parent``."""
        head = repository.head(revision)
        if parent is not None and not is_oid(parent, head):
            raise Refusal(412, BRANCH_MOVED)
        files = repository.changed(head.files, operations)
        commit = Commit.of(head, files, title, message, author, self.now())
        repository.move(revision, commit)
        if (pull := repository.pull_of(revision)) is not None:
            pull.events.append(commit_event(commit))
        return commit

    def open_pull(
        self,
        repository: Repository,
        target: str,
        base: Commit,
        title: str,
        description: str,
        author: str,
        draft: bool,
    ) -> PullRequest:
        """A pull request without commits of its own yet."""
        number = max(repository.pulls, default=0) + 1
        pull = PullRequest(
            number,
            title,
            description,
            author,
            target.removeprefix("refs/heads/"),
            base.oid,
            base.oid,
            self.now(),
            "draft" if draft else "open",
        )
        repository.pulls[number] = pull
        return pull


def is_oid(named: str, commit: Commit) -> bool:
    """Whether a full or shortened commit id names the commit."""
    return len(named) >= SHORTEST_OID and commit.oid.startswith(named)


def commit_event(commit: Commit) -> dict[str, object]:
    return {
        "id": commit.oid[:24],
        "type": "commit",
        "createdAt": commit.date,
        "author": {"name": commit.author},
        "data": {"subject": commit.title, "oid": commit.oid},
    }
