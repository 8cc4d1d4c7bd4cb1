"""What the exit codes of ``forumprefs`` mean to a scheduler."""

from typing import Final

MEANINGS: Final = {
    1: "failed; the next try goes on where this one stopped",
    2: "wrong use or a damaged folder; a person has to mend it",
    3: "refused; a person has to decide",
    4: "finished, but no pair came out",
    130: "interrupted",
}


def is_final(exit_code: int) -> bool:
    """Whether the same command would end the same way again."""
    return exit_code in (2, 3, 4)


def meaning(exit_code: int) -> str:
    """Say what an exit code tells; negative ones are signals."""
    if exit_code < 0:
        return f"ended by signal {-exit_code}"
    return MEANINGS.get(exit_code, "unknown")
