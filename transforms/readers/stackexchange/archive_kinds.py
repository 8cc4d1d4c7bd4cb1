"""What kind of archive a file is, by its bytes, and why one is not read, by what is wrong with it.

Each fault has its own remedy: a file that broke off is worth another download, one that is packed
in a way that is not read is not.
"""

import re
import shlex
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal

from transforms.readers.formats.filesystem import snippet

ARCHIVE_SUFFIXES: Final = (".7z", ".zip")

ENCRYPTED: Final = "it is encrypted; unpack it yourself and give the folder"
DAMAGED: Final = "it is damaged; download it again"
MULTIVOLUME: Final = (
    "it is one part of an archive in volumes; join them, for example with zip -s 0 X.zip --out "
    "whole.zip, and give the whole"
)
_UNPACK: Final = "unpack it yourself and give the folder"
_AGAIN: Final = "download it again"

_7Z: Final = b"7z\xbc\xaf\x27\x1c"
_7Z_START: Final = struct.Struct("<6s2sIQQI")
"""Magic, version, CRC of what follows; of the header at the end: offset, size, CRC."""
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_ZIP_SPANNED: Final = (b"PK\x07\x08", b"PK00")
_ZIP_END: Final = struct.Struct("<4sHH")
"""Magic, number of this volume, number of the volume with the directory."""
_ZIP_END_BYTES: Final = 22
_ZIP_COMMENT_BYTES: Final = 0xFFFF
_HEAD_BYTES: Final = 512
_TAR_AT: Final = 257

_OTHER_ARCHIVES: Final = (
    (b"Rar!", "rar"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x5d\0\0", "lzma"),
    (b"MSCF", "cab"),
)
_OTHER_SUFFIXES: Final = frozenset(
    [
        ".rar",
        ".tar",
        ".tgz",
        ".tbz",
        ".tbz2",
        ".txz",
        ".tzst",
        ".gz",
        ".bz2",
        ".xz",
        ".zst",
        ".lzma",
        ".z",
        ".cab",
        ".iso",
    ]
)
_UNFINISHED: Final = frozenset((".part", ".partial", ".crdownload", ".download", ".aria2", ".tmp"))
_VOLUME: Final = re.compile(
    r"(?P<cut>.+\.(?:7z|zip|rar|tar))\.\d{2,4}|(?P<zip>.+)\.z\d{2,3}"
    r"|(?P<rar>.+)\.(?:part\d+\.rar|r\d{2,3})",
    re.IGNORECASE,
)

_ZIP_METHODS: Final = frozenset((0, 8, 12, 14))
"""Stored, Deflate, bzip2, LZMA: what every Python that this program runs on can read."""
_ZIP_METHOD_NAMES: Final = {
    1: "Shrink",
    **dict.fromkeys((2, 3, 4, 5), "Reduce"),
    6: "Implode",
    9: "Deflate64",
    10: "IBM TERSE",
    18: "IBM TERSE",
    93: "Zstandard",
    95: "XZ",
    98: "PPMd",
}
_AES: Final = 99
_FLAG_ENCRYPTED: Final = 0x1 | 0x40
_FLAG_PATCH: Final = 0x20


class UnpackError(Exception):
    """An input that is not read; the message says why, for the person who gave it.

    The message ends up in the output, so it holds no path and no number of this machine.
    """


@dataclass(frozen=True)
class UnpackLimits:
    """What an archive may claim and do before it is refused."""

    max_unpacked_bytes: int = 1 << 40
    """All members of one archive. The largest real table, Stack Overflow's history, has 0.2 TB."""
    max_ratio: float = 250
    """Unpacked over packed. Real archives have 5 to 30, a bomb has 1,000 and more."""


def printable(text: str) -> str:
    """Escape control characters, which could steer the terminal that shows a message."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def not_read(method: str = "") -> str:
    """Say that an archive is whole, and that this program cannot unpack it."""
    named = f" ({method})" if method else ""
    return f"it is compressed in a way that is not read{named}; {_UNPACK}"


def why_not_an_archive(name: str) -> str | None:
    """Say what a file is by its name, if that looks like an archive or download not read here."""
    if volume := _VOLUME.fullmatch(name):
        if volume["rar"]:
            return f"it is one volume of a rar archive; {_UNPACK}"
        what = "it is one part of an archive in volumes"
        if volume["zip"]:
            part = shlex.quote(f"{volume['zip']}.zip")
            return f"{what}; join them, zip -s 0 {part} --out whole.zip, and give the whole"
        whole = shlex.quote(volume["cut"])
        return f"{what}; join them, cat {whole}.* > {whole}, and give {whole}"
    path = Path(name.lower())
    if path.suffix in _UNFINISHED and path.with_suffix("").suffix in ARCHIVE_SUFFIXES:
        return "its download is not finished; finish it"
    if path.suffix in _OTHER_SUFFIXES:
        return f"{path.suffix} is packed in a way that is not read; {_UNPACK}"
    return None


def volume_set(name: str) -> str:
    """Return what the names of all volumes of an archive have in common, else the name."""
    volume = _VOLUME.fullmatch(name)
    return name if volume is None else next(filter(None, volume.groups()))


def archive_kind(archive: Path) -> Literal["7z", "zip"]:
    """Tell what an archive is by its bytes, whatever its name ends in.

    Raises UnpackError for what is none or breaks off, and OSError.
    """
    with archive.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
        size = stream.seek(0, 2)
        if head.startswith(_7Z):
            _check_7z(head, size)
            return "7z"
        if head.startswith(_ZIP_SPANNED):
            raise UnpackError(MULTIVOLUME)
        if head.startswith(_ZIP) or _is_zip(stream):
            _check_zip(stream, size)
            return "zip"
    raise UnpackError(_what_else(head))


def _is_zip(stream: BinaryIO) -> bool:
    """Tell whether there is the directory of a zip, which a program to unpack it may precede."""
    return zipfile.is_zipfile(stream)


def _check_7z(head: bytes, size: int) -> None:
    """Raise UnpackError for a 7z archive that breaks off, or whose first header is damaged."""
    if size < _7Z_START.size:
        raise UnpackError(_breaks_off(size, _7Z_START.size))
    _, _, crc, offset, length, _ = _7Z_START.unpack_from(head)
    if zlib.crc32(head[12 : _7Z_START.size]) != crc:
        raise UnpackError(DAMAGED)
    if not length:
        raise UnpackError(f"it is an archive with nothing in it; {_AGAIN}")
    whole = _7Z_START.size + offset + length
    if size < whole:
        raise UnpackError(_breaks_off(size, whole))


def _breaks_off(size: int, whole: int) -> str:
    return (
        f"it breaks off: it has {size:,} bytes of {whole:,} or more; {_AGAIN}, or join its parts "
        "if it is the first of several"
    )


def _check_zip(stream: BinaryIO, size: int) -> None:
    """Raise UnpackError for a zip archive without its directory, or in volumes."""
    stream.seek(max(0, size - _ZIP_END_BYTES - _ZIP_COMMENT_BYTES))
    tail = stream.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + _ZIP_END_BYTES:
        raise UnpackError(f"it breaks off: the directory at its end is not there; {_AGAIN}")
    _, volume, first = _ZIP_END.unpack_from(tail, at)
    if (volume or first) and volume != 0xFFFF:  # which refers to a larger record
        raise UnpackError(MULTIVOLUME)


def _what_else(head: bytes) -> str:
    if not head:
        return f"it is empty; {_AGAIN}"
    for magic, name in _OTHER_ARCHIVES:
        if head.startswith(magic):
            return f"it is packed with {name}, which is not read; {_UNPACK}"
    if head[_TAR_AT : _TAR_AT + 5] == b"ustar":
        return f"it is a tar archive, which is not read; {_UNPACK}"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return f"it is a web page, such as a server's error message, and no archive; {_AGAIN}"
    if text.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS to the archive; fetch that with `git lfs pull`"
    if text.startswith(b"<"):
        return "it is XML and not packed; name it Posts.xml in a folder named by the site's host"
    if not head.strip(b"\0"):
        return f"it holds zeros and no archive, as a download that was not finished; {_AGAIN}"
    return f"it is neither a 7z nor a zip archive, it starts with {snippet(head[:16])}; {_AGAIN}"


def check_zip_member(info: zipfile.ZipInfo) -> None:
    """Raise UnpackError for a member that this program cannot unpack."""
    if info.flag_bits & _FLAG_ENCRYPTED or info.compress_type == _AES:
        raise UnpackError(ENCRYPTED)
    if info.compress_type not in _ZIP_METHODS:
        number = info.compress_type
        raise UnpackError(not_read(_ZIP_METHOD_NAMES.get(number, f"method {number}")))
    if info.flag_bits & _FLAG_PATCH:
        raise UnpackError(not_read("patched data"))
