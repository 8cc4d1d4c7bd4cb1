"""A Hugging Face Hub of our own on loopback: dataset repositories for the released clients.

It answers what ``huggingface_hub`` 2.4 and ``datasets`` 5.2 ask, keeps everything in memory,
gives the same ids on every run, and lets a test see what was asked and make requests go wrong.
Not modelled: Xet, Git over HTTP, models and spaces, gating, quotas, expiry of addresses.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tests.hub import clients
from tests.hub.account import Accounts
from tests.hub.commits import Commits
from tests.hub.discussions import Discussions
from tests.hub.faults import Faults, operations
from tests.hub.lfs import Lfs
from tests.hub.listing import Listing
from tests.hub.objects import Commit, Entry
from tests.hub.port import Log, Logged, Port
from tests.hub.refs import Refs
from tests.hub.repository import MAIN, PullRequest, Repository
from tests.hub.resolve import Resolve
from tests.hub.store import Account, Store

if TYPE_CHECKING:
    from huggingface_hub import HfApi


class HubServer:
    """The server, running within ``with``; sizes in bytes, pages in entries.

    Three tokens: ``token`` may write as ``user`` and for the organizations; ``read_token`` is
    the same user with a token of role "read"; ``other_token`` belongs to somebody else.
    """

    def __init__(
        self,
        *,
        user: str = "publisher",
        organizations: tuple[str, ...] = ("acme",),
        multipart_above: int = 8 << 20,
        chunk_size: int = 4 << 20,
        page_size: int = 1000,
        expanded_page_size: int = 50,
    ) -> None:
        self.user = user
        self.token, self.read_token = "hf_" + "W" * 34, "hf_" + "R" * 34
        self.other_token = "hf_" + "O" * 34
        self.store = Store(
            (
                Account(user, self.token, organizations),
                Account(user, self.read_token, organizations, writes=False),
                Account("stranger", self.other_token),
            )
        )
        self.faults = Faults()
        self._log = Log()
        accounts = Accounts(self.store)
        listing = Listing(self.store, page_size, expanded_page_size)
        commits = Commits(self.store)
        lfs = Lfs(self.store, multipart_above, chunk_size)
        routes = [
            *accounts.routes(),
            *lfs.hub_routes(),
            *commits.routes(),
            *Refs(self.store).routes(),
            *Discussions(self.store).routes(),
            *Resolve(self.store, lfs).routes(),
            *listing.routes(),
        ]
        self._hub = Port("hub", routes, self.store, self.faults, self._log)
        self._lfs = Port("lfs", lfs.lfs_routes(), self.store, self.faults, self._log)
        self.endpoint, self.lfs_endpoint = self._hub.endpoint, self._lfs.endpoint
        accounts.endpoint = listing.endpoint = commits.endpoint = self.endpoint
        lfs.hub_endpoint, lfs.lfs_endpoint = self.endpoint, self.lfs_endpoint
        self._folder = tempfile.TemporaryDirectory(prefix="hub-home-")
        self.home = Path(self._folder.name)

    def __enter__(self) -> Self:
        self._hub.thread.start()
        self._lfs.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hub.stop()
        self._lfs.stop()
        self._folder.cleanup()
        if error is None and self._log.defects:
            raise AssertionError(f"defects of the test server: {self._log.defects}")

    @property
    def address(self) -> tuple[str, int]:
        """Host and number of the Hub's port, for clients below HTTP."""
        return "127.0.0.1", self._hub.server_port

    # What the clients did

    @property
    def requests(self) -> list[Logged]:
        """All requests to both ports, in the order of their answers."""
        with self._log.lock:
            return list(self._log.entries)

    @property
    def bytes_received(self) -> int:
        """Bytes of all LFS uploads, also of those that broke off."""
        return self._log.lfs_received

    @property
    def puts(self) -> int:
        """How many LFS uploads, or parts of them, were begun."""
        return self._log.lfs_puts

    # What is there

    def _repository(self, repo: str) -> Repository:
        return self.store.repositories[repo]

    def commits(self, repo: str, revision: str = MAIN) -> list[Commit]:
        """The commits of a revision, newest first."""
        with self.store.lock:
            repository = self._repository(repo)
            return list(repository.history(repository.find(revision)))

    def tags(self, repo: str) -> dict[str, str]:
        """Commit ids by tag."""
        with self.store.lock:
            return dict(self._repository(repo).tags)

    def branches(self, repo: str) -> dict[str, str]:
        """Commit ids by branch."""
        with self.store.lock:
            return dict(self._repository(repo).branches)

    def pulls(self, repo: str) -> dict[int, PullRequest]:
        with self.store.lock:
            return dict(self._repository(repo).pulls)

    def files(self, repo: str, revision: str = MAIN) -> dict[str, Entry]:
        """Entries by path."""
        with self.store.lock:
            return dict(self._repository(repo).find(revision).files)

    def read(self, repo: str, path: str, revision: str = MAIN) -> bytes:
        with self.store.lock:
            repository = self._repository(repo)
            return repository.content(repository.find(revision).files[path])

    def large(self, repo: str) -> dict[str, int]:
        """Sizes of the LFS objects a repository has, committed or not, by SHA-256."""
        with self.store.lock:
            return {oid: len(content) for oid, content in self._repository(repo).large.items()}

    # What others do

    def create_repo(self, repo: str, private: bool = False) -> None:
        with self.store.lock:
            self.store.create(repo, private, self.user)

    def commit(
        self,
        repo: str,
        files: Mapping[str, bytes | None],
        title: str = "somebody's commit",
        revision: str = MAIN,
    ) -> Commit:
        """Commit small files past the API; None removes one."""
        with self.store.lock:
            repository = self._repository(repo)
            return self.store.commit(repository, revision, operations(files), title)

    # Clients

    def api(self, token: str | None = None) -> "HfApi":
        """The released client for this server, as ``user`` unless another token is given."""
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.endpoint, token=token or self.token)

    def environment(self, token: str | None = None, home: Path | None = None) -> dict[str, str]:
        """Variables for a subprocess whose clients shall talk to this server."""
        return clients.environment(self.endpoint, token or self.token, home or self.home)

    def python(self, code: str) -> str:
        """What a Python program prints in such a subprocess, which can reach nothing else."""
        return clients.run_python(code, self.environment())

    @contextmanager
    def in_process(self) -> Iterator[list[float]]:
        """Settings for clients in this process; yields the waits they skip, in seconds."""
        with clients.in_process(self.endpoint, self.token, self.home) as waits:
            yield waits
