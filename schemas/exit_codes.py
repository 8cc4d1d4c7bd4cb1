"""What ``forumprefs`` commands exit with, and what that tells a scheduler."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """How a command ended."""

    FINISHED = 0
    FAILED = 1
    """Something outside the command line went wrong; the same command may do later."""
    USAGE = 2
    REFUSED = 3
    NO_PAIRS = 4
    INTERRUPTED = 130
    """128 + SIGINT, as shells have it."""


MEANINGS: Final[Mapping[int, str]] = {
    ExitCode.FINISHED: "finished",
    ExitCode.FAILED: "failed; the next try resumes where this one stopped",
    ExitCode.USAGE: "usage error or a damaged folder; needs a person",
    ExitCode.REFUSED: "refused; a person has to decide",
    ExitCode.NO_PAIRS: "finished, but no pairs were produced",
    ExitCode.INTERRUPTED: "interrupted",
}


def is_final(exit_code: int) -> bool:
    """Whether the same command would end the same way again."""
    return exit_code in (ExitCode.USAGE, ExitCode.REFUSED, ExitCode.NO_PAIRS)


def meaning(exit_code: int) -> str:
    """Say what an exit code tells; negative ones are signals."""
    if exit_code < 0:
        return f"ended by signal {-exit_code}"
    return MEANINGS.get(exit_code, "unknown")
