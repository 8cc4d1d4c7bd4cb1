"""Open local and remote files as they are, and say in our own words why one cannot be read."""

import errno
import re
from collections.abc import Mapping
from typing import BinaryIO, Final, cast

from schemas.small_files import SpecialFileError, is_utf8, open_regular

SNIPPET_CHARS: Final = 120

_SCHEME: Final = re.compile(r"\s*[a-zA-Z][-a-zA-Z0-9+.]*://")
"""As Beam tells them apart, which would take a second to load for this."""

_CAUSES: Final[Mapping[int, str]] = {
    errno.EACCES: "Permission denied",
    errno.EIO: "Input/output error",
    errno.EISDIR: "Is a directory",
    errno.ELOOP: "Too many links",
    errno.EMFILE: "Too many open files",
    errno.ENAMETOOLONG: "Name too long",
    errno.ENOENT: "No such file or directory",
    errno.ENOMEM: "Out of memory",
    errno.ENOSPC: "No space left on device",
    errno.ENOTDIR: "Not a directory",
    errno.EPERM: "Operation not permitted",
    errno.EROFS: "Read-only file system",
    errno.ESTALE: "Stale file handle",
    errno.ETIMEDOUT: "Timed out",
}


def is_remote(path: str) -> bool:
    """Tell whether a path has a file-system scheme, as in ``gs://bucket/Posts.xml``."""
    return _SCHEME.match(path) is not None


def open_input(path: str) -> BinaryIO:
    """Open a local or remote file for reading bytes as they are; raises OSError.

    Local ones must be regular: a pipe would be waited for, and a device never ends.
    """
    if is_remote(path):
        from apache_beam.io.filesystem import CompressionTypes
        from apache_beam.io.filesystems import FileSystems

        stream = FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
        return cast(BinaryIO, stream)
    return open_regular(path)


def name_fault(path: str) -> str | None:
    """Say what is wrong with a name that cannot stand in rejects and manifests; None: nothing."""
    return None if is_utf8(path) else "its name is not UTF-8; rename it"


def writable(path: str) -> str:
    """A path as it can be written, where it is not UTF-8."""
    return path.encode("utf-8", "backslashreplace").decode()


def cause_of(error: OSError) -> str:
    """Say what happened without the path that ``str(error)`` holds.

    Not in the words of the system, which differ by its C library and language.
    """
    if isinstance(error, SpecialFileError):  # our own words
        return str(error.strerror)
    if error.errno is None:
        return type(error).__name__
    return _CAUSES.get(error.errno) or errno.errorcode.get(error.errno, f"error {error.errno}")


def snippet(data: bytes) -> str:
    """Show the start of ``data`` in at most SNIPPET_CHARS printable characters."""
    return repr(data[:SNIPPET_CHARS].decode("utf-8", "replace"))[:SNIPPET_CHARS]
