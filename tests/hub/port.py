"""One listening port: HTTP/1.1 with connections kept open, a thread each, and a log."""

import re
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from tests.hub.exchange import Refusal, Request, Response, Route, unquoted
from tests.hub.faults import BrokenUpload, Faults
from tests.hub.store import Store

READ_SIZE = 1 << 16


@dataclass(frozen=True)
class Logged:
    """A request as it was answered; status 0: the connection was closed without an answer."""

    port: str
    method: str
    path: str
    query: str
    status: int
    received: int
    sent: int
    authorized: bool


@dataclass
class Log:
    """What was asked, in the order of the answers, and the defects of the server itself."""

    entries: list[Logged] = field(default_factory=list)
    defects: list[str] = field(default_factory=list)
    lfs_received: int = 0
    lfs_puts: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, port: str, request: Request, response: Response | None, received: int) -> None:
        sent = 0
        if response is not None and request.method != "HEAD":
            sent = len(response.body) if response.cut is None else response.cut
        path, _, query = request.target.partition("?")
        entry = Logged(
            port,
            request.method,
            unquote(path),
            unquote(query),
            0 if response is None else response.status,
            received,
            sent,
            request.header("Authorization") is not None,
        )
        with self.lock:
            self.entries.append(entry)
            if port == "lfs" and request.method == "PUT":
                self.lfs_received += received
                self.lfs_puts += 1


class Port(ThreadingHTTPServer):
    """A server on a free port of 127.0.0.1."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, name: str, routes: Sequence[Route], store: Store, faults: Faults, log: Log
    ) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.name = name
        self.routes = [(method, re.compile(path), handler) for method, path, handler in routes]
        self.store = store
        self.faults = faults
        self.log = log
        self.open: set[socket.socket] = set()
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def stop(self) -> None:
        """Stop listening and end the connections that clients keep open."""
        self.shutdown()
        self.thread.join()
        for connection in list(self.open):
            with suppress(OSError):  # its client was faster
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that die or are cut off are part of the tests; anything else is a defect."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError):
            self.log.defects.append(repr(error))

    def process(self, request: Request) -> Response:
        """Answer as the Hub would; a defect of this server becomes a 500 and is remembered."""
        try:
            with self.store.lock:
                for method, pattern, handler in self.routes:
                    found = pattern.fullmatch(request.path)
                    if method == request.method and found is not None:
                        return handler(request, **unquoted(found.groupdict()))
            return unserved(request).response()
        except Refusal as refusal:
            return refusal.response()
        except Exception as error:
            self.defect(request, error)
            return Response.json({"error": "a defect of the test server"}, 500)

    def defect(self, request: Request, error: Exception) -> None:
        self.log.defects.append(f"{request.method} {request.target}: {error!r}")


def unserved(request: Request) -> Refusal:
    """404 for the other kinds of repositories; 501 shows what this server does not model."""
    if re.match(r"/api/(models|spaces|kernels)/|/[^/]+/[^/]+/resolve/", request.path):
        return Refusal(404, "Repository not found", "RepoNotFound")
    return Refusal(501, f"Not modelled: {request.method} {request.path}")


class Connection(BaseHTTPRequestHandler):
    """One connection of a client, with one request after the other."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # Buffered, so that an answer leaves in one piece.
    wbufsize = -1
    server: Port

    def _serve(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers)
        fault = self.server.faults.take(request)
        limit = fault.after if isinstance(fault, BrokenUpload) else None
        body, whole = self._read_body(limit)
        request = Request(self.command, self.path, headers, body)
        response: Response | None = None
        if whole and fault is None:
            response = self.server.process(request)
        elif whole and fault is not None:
            try:
                response = fault.answer(self.server.store, request, self.server.process)
            except Exception as error:
                self.server.defect(request, error)
        self.server.log.add(self.server.name, request, response, len(body))
        if response is None:
            self.close_connection = True
        else:
            self._send(response)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - http.server's names

    def _read_body(self, limit: int | None) -> tuple[bytes, bool]:
        """The body, and whether all of it came; not more than ``limit`` bytes are read."""
        body = bytearray()
        try:
            for size in self._pieces():
                wanted = size if limit is None else min(size, limit - len(body))
                body += (piece := self.rfile.read(wanted))
                if len(piece) < size:
                    return bytes(body), False
        except ConnectionError:
            return bytes(body), False
        return bytes(body), True

    def _pieces(self) -> Iterator[int]:
        """The sizes of the body's pieces; each is read before the next size is asked for."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            left = int(self.headers.get("Content-Length") or 0)
            while left > 0:
                yield min(left, READ_SIZE)
                left -= READ_SIZE
            return
        while line := self.rfile.readline():
            size = int(line.split(b";")[0], 16)
            yield size
            self.rfile.readline()
            if size == 0:
                return
        raise ConnectionResetError("the client went away between two chunks")

    def _send(self, response: Response) -> None:
        self.send_response_only(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        self.send_header("X-Request-Id", f"request-{len(self.server.log.entries)}")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body[: response.cut])
        if response.cut is not None:
            self.close_connection = True
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr: the log is kept in memory."""
