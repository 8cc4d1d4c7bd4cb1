"""Standard output and error that never break the work: whatever the terminal can show or take.

A terminal may not know a character, a pipe may be closed, a disk that stdout goes to may be full,
and there may be no stdout at all. None of that is a failure of what a command did.
"""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

CLOSED = "it is closed"


class OutputError(OSError):
    """What a command is for is what it prints, and that could not be written."""


class ReaderGoneError(BrokenPipeError):
    """Whoever read the output has seen enough, as ``head`` has."""


class GuardedStream:
    """A text stream that keeps what goes wrong with it to itself, in ``failure``.

    What it wraps does the rest; what that cannot encode is replaced. After a failure nothing more
    is written. With ``strict`` OutputError or ReaderGoneError is raised instead, so that nobody
    computes what nobody reads.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream if stream is not None else _nowhere()
        self.failure = "" if stream is not None else CLOSED
        self.is_broken_pipe = False
        self.strict = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)

    def write(self, text: str) -> int:
        """Write text, or nothing after a failure; returns its characters."""
        if not self.failure:
            with self._watched():
                self._stream.write(text)
        self._raise_if_strict()
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each line."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on what was written."""
        if not self.failure:
            with self._watched():
                self._stream.flush()
        self._raise_if_strict()

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            self.is_broken_pipe = True
            self._give_up("nobody reads it any more")
        except OSError as error:
            self._give_up(error.strerror or str(error))
        except ValueError as error:  # a file that was closed
            self._give_up(str(error))

    def _give_up(self, why: str) -> None:
        self.failure = why
        # What its buffer holds would fail again when Python ends.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def _raise_if_strict(self) -> None:
        if self.strict and self.failure:
            if self.is_broken_pipe:
                raise ReaderGoneError
            raise OutputError(f"the output could not be written: {self.failure}")


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123


@contextlib.contextmanager
def guarded_output() -> Iterator[GuardedStream]:
    """Guard stdout and stderr; yields the stream that stdout is meanwhile."""
    _fill_descriptors()
    before: list[Any] = [sys.stdout, sys.stderr]
    streams = [GuardedStream(stream) for stream in before]
    with contextlib.ExitStack() as restored:
        for stream in before:
            restored.enter_context(_replacing(stream))
        ours: list[Any] = list(streams)
        sys.stdout, sys.stderr = ours
        try:
            yield streams[0]
        finally:
            streams[0].strict = False
            for guarded in streams:
                guarded.flush()
            if sys.stdout is ours[0]:  # else somebody's redirection, who puts it back
                sys.stdout = before[0]
            if sys.stderr is ours[1]:
                sys.stderr = before[1]


def _fill_descriptors() -> None:
    """Open nothing at those of 0, 1 and 2 that are closed, lest a file of ours gets the number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)


@contextlib.contextmanager
def _replacing(stream: TextIO | None) -> Iterator[None]:
    """Have a stream replace what its encoding lacks."""
    reconfigure = getattr(stream, "reconfigure", None)
    errors = getattr(stream, "errors", None)
    if reconfigure is None or errors not in ("strict", "surrogateescape"):
        yield
        return
    with contextlib.suppress(OSError, ValueError):
        reconfigure(errors="replace")
    yield
    with contextlib.suppress(OSError, ValueError):
        reconfigure(errors=errors)


def takes_all_characters(stream: TextIO) -> bool:
    """Whether a stream's encoding has every character, so that nothing would be replaced."""
    return (stream.encoding or "").lower().replace("-", "").startswith("utf")
