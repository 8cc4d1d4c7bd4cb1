"""How many examples a property is tried on."""

import os

THOROUGH = bool(os.environ.get("FORUMPREFS_THOROUGH"))


def examples(number: int) -> int:
    """``number`` if $FORUMPREFS_THOROUGH is set, else a third: ``make test`` takes minutes."""
    return number if THOROUGH else -(-number // 3)
