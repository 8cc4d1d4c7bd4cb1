"""The table of docs/trainers.md: which names of columns each trainer takes for its own."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "trainers.md"


def reserved() -> dict[str, set[str]]:
    """Names of columns by trainer, as the docs list them."""
    text = PAGE.read_text(encoding="utf-8")
    table = text.partition("## Names that trainers take")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+?) \| ([^|]+) \|", table, re.MULTILINE)
    found: dict[str, set[str]] = {}
    for trainer, names in rows:
        if listed := re.findall(r"`(\w*[^\W_])`", names):
            found.setdefault(trainer.partition(" ")[0], set()).update(listed)
    return found
