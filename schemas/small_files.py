"""Small files that others wrote: read whole and checked, or refused in words that name the fault.

Manifests, reports, recipes, lists and whatever else a command reads beside its rows go through
here. What is refused before it costs anything: what is no regular file (a pipe would be waited for,
a device never ends), what is too large, what is nested deeply (libraries recurse), what says with
few bytes that it is very large, and what is not of the type that the caller wants. YAML has a
module of its own, `schemas.small_yaml`.
"""

import errno
import gzip
import io
import json
import os
import re
import stat
import tomllib
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final, TypeVar, cast, overload

import msgspec

MAX_BYTES: Final = 64 << 20
"""A manifest of 200,000 shards has as many."""
MAX_DEPTH: Final = 64
"""Lists and mappings inside each other; ours have up to six."""
MAX_VALUES: Final = 2_000_000
"""Values of a JSON file, counted by its commas and brackets: 64 MB of ``[],`` take 2 GB."""
MAX_LINE_BYTES: Final = 64 << 20
"""Of a file that is read line by line."""
MAX_DIGITS: Final = 400
"""Of a number; Python refuses to write one of more than 4,300."""

_DAMAGE: Final = (EOFError, zlib.error, gzip.BadGzipFile)
_DAMAGED: Final = "its compressed data are damaged or break off"

T = TypeVar("T")


class SmallFileError(ValueError):
    """A file that is not what it should be; the message says why, and not which file."""


class LineError(SmallFileError):
    """A line that is not what it should be."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line:,}: {why}")
        self.line = line
        self.why = why


_NEVER_OPENS: Final = {
    errno.ELOOP: "is a link that leads back to itself",
    errno.ENAMETOOLONG: "has a name that is too long for the file system",
}
"""What is wrong with a path where trying again changes nothing."""


class SpecialFileError(OSError):
    """A path that is no regular file: a pipe, a device, a socket, a folder, a link to itself."""

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


def fault_of(error: Exception) -> str:
    """Say what is wrong with a file without its name, which the caller puts before it."""
    return str(getattr(error, "strerror", None) or error)


def open_regular(path: str | os.PathLike[str], *, pipes: bool = False) -> BinaryIO:
    """Open a local file for reading bytes, if it is a regular one or a link to one.

    ``pipes``: take pipes, too, for what a person names on the command line, as in
    ``--config <(...)``. Raises OSError; nothing is waited for where a pipe has no writer.
    """
    if "\0" in os.fspath(path):
        raise _special(path, "no name of a file holds a zero character")
    # O_NONBLOCK: opening a pipe without a writer would wait for one.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        why = _NEVER_OPENS.get(error.errno or 0)
        raise (_special(path, why) if why else error) from None
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) and not (pipes and stat.S_ISFIFO(mode)):
            raise _special(path, f"is {_kind(mode)}, not a regular file")
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _special(path: str | os.PathLike[str], why: str) -> SpecialFileError:
    return SpecialFileError(errno.EINVAL, why, os.fspath(path))


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def read_small(
    path: str | os.PathLike[str], max_bytes: int = MAX_BYTES, *, pipes: bool = False
) -> bytes:
    """Return the content of a local file; raises OSError, and SmallFileError for too large ones."""
    with open_regular(path, pipes=pipes) as file:
        return read_stream(file, max_bytes)


def read_stream(stream: BinaryIO, max_bytes: int = MAX_BYTES) -> bytes:
    """Return what is left in a stream, wherever it comes from; raises as :func:`read_small`."""
    content = io.BytesIO()
    try:
        while chunk := stream.read(min(1 << 20, max_bytes + 1 - content.tell())):
            content.write(chunk)
            if content.tell() > max_bytes:
                raise SmallFileError(f"is larger than {max_bytes:,} bytes, which no such file is")
    except _DAMAGE:
        raise SmallFileError(_DAMAGED) from None
    return content.getvalue()


def open_rows(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file, decompressed where its name ends in ``.gz``; raises OSError."""
    file = open_regular(path)
    if os.fspath(path).endswith(".gz"):
        unzipped = gzip.GzipFile(fileobj=file)
        unzipped.myfileobj = cast(io.FileIO, file)  # so that closing one closes both
        return cast(BinaryIO, unzipped)
    return file


def read_json_lines(stream: BinaryIO) -> Iterator[tuple[int, Any]]:
    """Yield (number of the line from 1, its JSON value); empty lines are passed over.

    Raises LineError.
    """
    for number, line in read_lines(stream):
        yield number, decode_line(number, line)


def read_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield (number of the line from 1, the line); empty lines are passed over.

    Raises LineError.
    """
    number = 0
    while True:
        try:
            line = stream.readline(MAX_LINE_BYTES)
        except _DAMAGE:
            raise LineError(number + 1, _DAMAGED) from None
        if not line:
            return
        number += 1
        if len(line) == MAX_LINE_BYTES:
            raise LineError(number, f"is longer than {MAX_LINE_BYTES:,} bytes")
        if line.strip():
            yield number, line


def decode_line(number: int, line: bytes) -> Any:
    """Decode the JSON of a line; raises LineError."""
    try:
        return decode_lenient_json(line, max_values=None)
    except SmallFileError as error:
        why = str(error).replace("is not valid JSON at line 1,", "not JSON at")
        raise LineError(number, why.replace("is not valid JSON", "not JSON")) from None


def is_utf8(text: str) -> bool:
    """Whether a text can be written: a name of a file or an argument need not be UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def decode_text(content: bytes) -> str:
    """Decode UTF-8, with or without a BOM."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SmallFileError(
            f"is not UTF-8 at byte {error.start + 1:,}; save it as UTF-8"
        ) from None


@overload
def decode_json(content: bytes, *, max_values: int | None = MAX_VALUES) -> Any: ...


@overload
def decode_json(content: bytes, wanted: type[T], *, max_values: int | None = MAX_VALUES) -> T: ...


def decode_json(content: bytes, wanted: Any = Any, *, max_values: int | None = MAX_VALUES) -> Any:
    """Decode JSON of a type that msgspec knows; raises SmallFileError with the place.

    ``max_values``: None for rows of texts, whose commas say nothing.
    """
    check_json(content, max_values)
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        return msgspec.json.decode(content, type=wanted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SmallFileError(_why_not(content, error)) from None


def decode_lenient_json(content: bytes, *, max_values: int | None = MAX_VALUES) -> Any:
    """Decode JSON as Python writes it, with ``NaN`` and ``Infinity``; raises SmallFileError."""
    check_json(content, max_values)
    try:
        return json.loads(decode_text(content), parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise SmallFileError(_why_not(content, error)) from None


def convert(value: Any, wanted: type[T]) -> T:
    """Check plain values against a type that msgspec knows; raises SmallFileError."""
    try:
        return msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        raise SmallFileError(_of_type(error)) from None


def decode_toml(content: bytes) -> dict[str, Any]:
    """Decode TOML; raises SmallFileError."""
    text = decode_text(content)
    if _DOTTED.search(text):  # of which tomllib would take the square
        raise SmallFileError(_TOO_DEEP)
    try:
        found = tomllib.loads(text, parse_float=_float)
    except tomllib.TOMLDecodeError as error:
        raise SmallFileError(f"is not valid TOML: {error}") from None
    except RecursionError:
        raise SmallFileError(_TOO_DEEP) from None
    except ValueError:  # a number of thousands of digits
        raise SmallFileError("is not valid TOML: a number is out of range") from None
    check_depth(found)
    return found


_TOO_DEEP: Final = f"is nested more than {MAX_DEPTH} deep"
_DOTTED: Final = re.compile(
    r"(?:^|[{,\[])[ \t]*+(?:(?:[\w-]++|\"[^\"\n]*+\"|'[^'\n]*+')[ \t]*+\.[ \t]*+){64}",
    re.MULTILINE,
)
_BRACKET: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_PLACE: Final = re.compile(r"(?P<what>.*) - at `(?P<place>[^`]*)`", re.DOTALL)


def check_json(content: bytes, max_values: int | None = MAX_VALUES) -> None:
    """Raise SmallFileError for what costs too much to decode, as far as brackets and commas say."""
    brackets = content.count(b"[") + content.count(b"{")
    if max_values is not None and brackets + content.count(b",") > max_values:
        raise SmallFileError(f"holds more than {max_values:,} values, which no such file does")
    if brackets <= MAX_DEPTH:
        return
    depth = 0
    for found in _BRACKET.finditer(content):
        bracket = found[0]
        if bracket in (b"[", b"{"):
            depth += 1
            if depth > MAX_DEPTH:
                raise SmallFileError(_TOO_DEEP)
        elif bracket in (b"]", b"}"):
            depth -= 1


def check_depth(value: Any) -> None:
    """Raise SmallFileError for lists and mappings that are nested too deeply."""
    stack: list[Iterator[Any]] = [iter((value,))]
    while stack:
        if len(stack) > MAX_DEPTH + 1:
            raise SmallFileError(_TOO_DEEP)
        for inner in stack[-1]:
            if isinstance(inner, Mapping):
                stack.append(iter(inner.values()))
                break
            if isinstance(inner, list):
                stack.append(iter(inner))
                break
        else:
            stack.pop()


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise SmallFileError("a number is out of range")
    return int(digits)


def _float(digits: str) -> float:
    return float(digits)


def _constant(name: str) -> Any:
    raise SmallFileError(f"it holds {name}")


def _why_not(content: bytes, error: Exception) -> str:
    """Say what is wrong with JSON that was refused, and where."""
    if isinstance(error, msgspec.ValidationError):
        return _of_type(error)
    if isinstance(error, RecursionError):
        return _TOO_DEEP
    try:
        text = decode_text(content)
        if not text.strip():
            return "is not valid JSON: it is empty"
        json.loads(text, parse_constant=_constant, parse_int=_integer)
    except json.JSONDecodeError as fault:
        return f"is not valid JSON at line {fault.lineno:,}, column {fault.colno:,}"
    except SmallFileError as fault:
        return f"is not valid JSON: {fault}"
    except (ValueError, RecursionError):
        pass
    return "is not valid JSON: it holds half of a surrogate pair, which is no character"


def _of_type(error: msgspec.ValidationError) -> str:
    """The place first, and then what is wrong there."""
    found = _PLACE.fullmatch(str(error))
    return f"{found['place']}: {found['what']}" if found else str(error)
