"""The heads by name."""

import difflib
from collections.abc import Sequence
from typing import Final

from training.errors import ConfigError
from training.heads.base import Head
from training.heads.length import LENGTH
from training.heads.reward import REWARD

HEADS: Final[dict[str, Head]] = {head.name: head for head in (REWARD, LENGTH)}
"""In the order of the documentation; the first is that of every model."""
EXTRA_HEADS: Final[dict[str, Head]] = {
    head.name: head for head in HEADS.values() if head.make is not None
}


def check_heads(names: Sequence[str]) -> None:
    """Raise ConfigError for names in ``model.extra_heads`` that are of no such head, or twice."""
    for name in names:
        if name not in EXTRA_HEADS:
            near = difflib.get_close_matches(name, EXTRA_HEADS, 1, cutoff=0.4)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"no head {name!r} for model.extra_heads; there are {', '.join(EXTRA_HEADS)}{hint}"
            )
    if len(set(names)) < len(names):
        raise ConfigError(f"model.extra_heads names a head twice: {', '.join(names)}")


def needs_lengths(names: Sequence[str]) -> bool:
    """Whether one of these heads reads the responses' lengths."""
    return any(EXTRA_HEADS[name].needs_lengths for name in names)


def extra_heads_help() -> str:
    """The heads with a phrase for each, for ``--help`` and docs/training_settings.md."""
    phrases = "; ".join(f"{head.name}: {head.summary}" for head in EXTRA_HEADS.values())
    return (
        "heads that are trained beside the reward head and are not in the saved model "
        f"(docs/heads.md). {phrases}"
    )
