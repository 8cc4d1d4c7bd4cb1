"""Takedown lists: ids of posts and authors that must not be in the dataset."""

import re
from pathlib import Path

from pipeline.options import UsageError

_ID = re.compile(r"^[^\s:/]+:u?-?\w+$")
_LINK = re.compile(
    r"^https?://(?P<site>[^/\s]+)/(?P<kind>questions|q|a|users)/(?P<id>-?\d+)"
    r"(?:/[^/?#\s]*)?(?:/(?P<answer>\d+))?/?(?:\?[^#\s]*)?(?:#(?P<anchor>\S*))?$"
)


def read_takedown(path: Path) -> frozenset[str]:
    """Read one id or link per line; ``#`` at the start of a line begins a comment.

    Accepted: ``SITE:ID`` (post), ``SITE:uID`` (author) and links to questions, answers and
    profiles. Raises UsageError naming the line that is none of these.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--takedown {path}: {error}") from None
    ids = set()
    for number, line in enumerate(lines, start=1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        parsed = parse_entry(entry)
        if parsed is None:
            raise UsageError(
                f"--takedown {path}:{number}: {entry!r:.80} is neither SITE:ID, SITE:uID "
                "nor a link to a post or profile"
            )
        ids.add(parsed)
    return frozenset(ids)


def parse_entry(entry: str) -> str | None:
    """Return the post or author id that an entry names, or None."""
    link = _LINK.match(entry)
    if link is None:
        return entry.lower() if _ID.match(entry) else None
    site = link["site"].lower()
    if link["kind"] == "users":
        return f"{site}:u{link['id']}"
    answer = link["answer"]
    if answer is None and link["kind"] == "questions" and (link["anchor"] or "").isdecimal():
        answer = link["anchor"]
    return f"{site}:{answer or link['id']}"
