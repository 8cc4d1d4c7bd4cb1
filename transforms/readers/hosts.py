"""Host names of forums, which folders and archives are named by: links are made from them."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

HOST_EXAMPLE: Final = "discuss.example.org"

_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_TOP_LABEL: Final = re.compile(r"[a-z]{2,63}|xn--[a-z0-9-]*[a-z0-9]")
_MAX_CHARS: Final = 253
_FILE_ENDINGS: Final = frozenset(
    [
        "backup",
        "bak",
        "csv",
        "dat",
        "data",
        "db",
        "dump",
        "extracted",
        "gz",
        "html",
        "json",
        "jsonl",
        "lzma",
        "ndjson",
        "new",
        "old",
        "orig",
        "out",
        "parquet",
        "part",
        "partial",
        "rar",
        "sql",
        "tar",
        "temp",
        "tgz",
        "tmp",
        "txt",
        "unpacked",
        "xml",
        "xz",
        "zip",
        "zst",
    ]
)
"""Ends of folders' names that look like a top-level domain and are none that forums have."""


def host_name(name: str) -> str | None:
    """Return the host name that a folder or archive is named by, in lower case, or None.

    It has a dot, and its last part looks like a top-level domain: ``mydump``, ``localhost``,
    ``backup.2024`` and ``dump.old`` are none, nor is an IP address. A port behind it is left
    out. Names with letters beyond ASCII are taken as they are.
    """
    host, _, port = unicodedata.normalize("NFC", name).lower().partition(":")
    if port and not (port.isascii() and port.isdecimal()):
        return None
    try:
        labels = host.encode("idna").decode("ascii").split(".")
    except UnicodeError:
        return None
    if len(labels) < 2 or labels[-1] in _FILE_ENDINGS or len(host) > _MAX_CHARS:
        return None
    if not _TOP_LABEL.fullmatch(labels[-1]):
        return None
    return host if all(_LABEL.fullmatch(label) for label in labels) else None


def why_two_hosts(hosts: Iterable[str]) -> str:
    """Say that one file or folder is given under the names of several hosts, and what to do."""
    return f"links name it by several hosts: {', '.join(sorted(hosts))}; give it under one of them"


def why_no_host(name: str, example: str = HOST_EXAMPLE) -> str:
    """Say what is wrong with a name that is no host's, and what to do."""
    return (
        f"{name!r} is not a host name, so links to its posts and authors would lead nowhere; name "
        f"the folder or archive by the forum's host, for example {example}, or give a link to it "
        "with such a name"
    )
