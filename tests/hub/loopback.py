"""Keep a process from talking to anything but this machine, and remember when it tried."""

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch


@contextmanager
def loopback_only() -> Iterator[list[str]]:
    """Refuse names and addresses of other hosts; yields the list of the attempts.

    Clients swallow many errors of connections, so look at the list afterwards.
    """
    attempts: list[str] = []
    look_up, connect, connect_ex = socket.getaddrinfo, socket.socket.connect, None
    connect_ex = socket.socket.connect_ex

    def check(host: Any) -> None:
        if not is_loopback(host):
            attempts.append(str(host))
            raise ConnectionRefusedError(f"only loopback is allowed here, not {host}")

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        check(host)
        return look_up(host, *args, **kwargs)

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            check(address[0])
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            check(address[0])
        return connect_ex(self, address)

    with (
        patch.object(socket, "getaddrinfo", guarded_look_up),
        patch.object(socket.socket, "connect", guarded_connect),
        patch.object(socket.socket, "connect_ex", guarded_connect_ex),
    ):
        yield attempts


def is_loopback(host: Any) -> bool:
    if host is None or host in ("", b"", "localhost", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host).is_loopback
    except ValueError:
        return False
