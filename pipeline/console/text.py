"""Text for people: safe to print, and in lines that can be copied whole."""

import re
import sys
from typing import TextIO

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Replace characters that could drive a terminal or reorder its text by U+FFFD."""
    return _CONTROL.sub("\ufffd", text)


def print_text(text: str, *, style: str = "", stream: TextIO | None = None) -> None:
    """Print text as it stands, made safe: no markup, and a path or command is never broken.

    ``style``: one of rich's, such as ``yellow``. ``stream``: stdout by default.
    """
    # Here, because commands that print nothing of theirs need not wait for it.
    from rich.console import Console

    console = Console(file=stream or sys.stdout, highlight=False)
    console.print(printable(text), style=style or None, markup=False, soft_wrap=True)


def print_warning(text: str) -> None:
    """Print a line on stderr that a person should read."""
    print_text(text, style="yellow", stream=sys.stderr)


def print_error(text: str) -> None:
    """Print on stderr why a command failed."""
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble(("error:", "red"), " ", printable(text))
    Console(stderr=True, highlight=False).print(line, soft_wrap=True)


def print_trace() -> None:
    """Print the trace of the error that is being handled on stderr."""
    from rich.console import Console

    Console(stderr=True, highlight=False).print_exception()


def readable_size(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size:,} bytes"
