"""What can go wrong with a request, on purpose: by method, address and count, never by chance."""

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import unquote

from tests.hub.exchange import Refusal, Request, Response
from tests.hub.repository import MAIN, Delete, Operation, Put
from tests.hub.store import Store
from tests.patience import PATIENCE_S

Process = Callable[[Request], Response]
# Whoever holds a request waits for the test; a test that forgot to let go must still end.
HOLD_LIMIT_S = 2 * PATIENCE_S


class Action(Protocol):
    """What happens to a matching request instead of, or around, its normal processing."""

    def answer(self, store: Store, request: Request, process: Process) -> Response | None:
        """The answer to send; None closes the connection without one."""


@dataclass(frozen=True)
class Status:
    """Refuse with a status: 500, 503, or 429 with the seconds to wait."""

    status: int
    retry_after: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def answer(self, store: Store, request: Request, process: Process) -> Response:
        headers = dict(self.headers)
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        return Refusal(self.status, f"injected {self.status}", headers=headers).response()


@dataclass(frozen=True)
class LostAnswer:
    """Do what was asked, then say ``status`` (None: close the connection without a word)."""

    status: int | None = 504

    def answer(self, store: Store, request: Request, process: Process) -> Response | None:
        done = process(request)
        if done.status >= 400:
            return done
        return None if self.status is None else Refusal(self.status, "injected loss").response()


@dataclass(frozen=True)
class RacingCommit:
    """Somebody else's commit just before; contents by path, None removes the file."""

    files: Mapping[str, bytes | None]
    revision: str = MAIN
    title: str = "a commit in between"

    def answer(self, store: Store, request: Request, process: Process) -> Response:
        found = re.match(r"/api/datasets/([^/]+/[^/]+)", request.path)
        if found is None:
            raise ValueError(f"no repository in {request.path}")
        with store.lock:
            repository = store.repositories[found[1]]
            store.commit(repository, self.revision, operations(self.files), self.title)
        return process(request)


@dataclass(frozen=True)
class Delay:
    """Answer late."""

    seconds: float

    def answer(self, store: Store, request: Request, process: Process) -> Response:
        time.sleep(self.seconds)
        return process(request)


@dataclass(frozen=True)
class Hold:
    """Stop at the request until ``release`` or ``drop``; ``reached`` tells that it is there."""

    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    dropped: threading.Event = field(default_factory=threading.Event)

    def release(self) -> None:
        """Go on with the request, even if its client has gone."""
        self.released.set()

    def drop(self) -> None:
        """Forget the request and close its connection, as if it had never come through."""
        self.dropped.set()
        self.released.set()

    def answer(self, store: Store, request: Request, process: Process) -> Response | None:
        self.reached.set()
        if not self.released.wait(HOLD_LIMIT_S):
            raise TimeoutError("a held request was never released")
        return None if self.dropped.is_set() else process(request)


@dataclass(frozen=True)
class BrokenUpload:
    """Read the first bytes of the body, then close the connection; nothing is kept."""

    after: int

    def answer(self, store: Store, request: Request, process: Process) -> None:
        return None


@dataclass(frozen=True)
class CutAnswer:
    """Announce the whole body, send the first bytes of it, and close the connection."""

    after: int

    def answer(self, store: Store, request: Request, process: Process) -> Response:
        return replace(process(request), cut=self.after)


@dataclass(frozen=True)
class CorruptAnswer:
    """Flip one byte of the answer's body; its length stays."""

    position: int = 0

    def answer(self, store: Store, request: Request, process: Process) -> Response:
        done = process(request)
        return replace(done, body=flipped(done.body, self.position))


@dataclass(frozen=True)
class CorruptRequest:
    """Flip one byte of what the client sent, as a bad link would."""

    position: int = 0

    def answer(self, store: Store, request: Request, process: Process) -> Response:
        return process(replace(request, body=flipped(request.body, self.position)))


@dataclass
class Fault:
    """An action for the next ``times`` requests whose decoded address matches, after ``skip``.

    The pattern is searched for in path and query, as in ``/commit/main$`` or ``partNumber=2``;
    the method ``*`` is any.
    """

    method: str
    path_pattern: str
    times: int
    action: Action
    skip: int = 0
    used: int = 0

    def matches(self, request: Request) -> bool:
        if self.used >= self.times or self.method not in ("*", request.method):
            return False
        return re.search(self.path_pattern, unquote(request.target)) is not None


@dataclass
class Faults:
    """The faults still to come, first added first used; one a request."""

    rules: list[Fault] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, *faults: Fault) -> None:
        with self.lock:
            self.rules.extend(faults)

    def take(self, request: Request) -> Action | None:
        """The action for this request, which uses it up."""
        with self.lock:
            for fault in self.rules:
                if fault.matches(request):
                    if fault.skip > 0:
                        fault.skip -= 1
                        continue
                    fault.used += 1
                    return fault.action
        return None

    def pending(self) -> list[Fault]:
        """The faults that have not happened as often as they should."""
        with self.lock:
            return [fault for fault in self.rules if fault.used < fault.times]


def operations(files: Mapping[str, bytes | None]) -> list[Operation]:
    """Changes that put contents at paths; None removes a file."""
    return [
        Delete(path) if content is None else Put(path, content) for path, content in files.items()
    ]


def flipped(body: bytes, position: int) -> bytes:
    if position >= len(body):
        raise ValueError(f"no byte {position} to corrupt in {len(body)}")
    return body[:position] + bytes([body[position] ^ 0xFF]) + body[position + 1 :]
