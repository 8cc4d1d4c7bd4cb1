"""The terminal that this floor's commands write to."""

import sys
from typing import TextIO

from rich.console import Console

PLAIN_WIDTH = 110
"""Columns where the output is no terminal: a file has no width, and the tables need this much."""


def make_console(stream: TextIO | None = None, *, quiet: bool = False) -> Console:
    """A console on ``stream``, stderr by default."""
    console = Console(file=stream or sys.stderr, highlight=False, quiet=quiet)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console
