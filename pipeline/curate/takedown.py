"""Takedown lists: ids of posts and authors that must not be in the dataset."""

import re
from pathlib import Path

from pipeline.errors import UsageError
from schemas.small_files import SmallFileError, decode_text, fault_of, read_small
from transforms.threads.takedown import link_key

MAX_LIST_BYTES = 256 << 20
"""Some millions of entries."""

_ID = re.compile(r"^[^\s:]+:(?!//)\S(?:.*\S)?$")
_LINK = re.compile(
    r"^https?://(?P<site>[^/\s]+)/(?P<kind>questions|q|a|users)/(?P<id>-?\d+)"
    r"(?:/[^/?#\s]*)?(?:/(?P<answer>\d+))?/?(?:\?[^#\s]*)?(?:#(?P<anchor>\S*))?$"
)


def read_takedown(path: Path) -> frozenset[str]:
    """Read one id or link per line; ``#`` at the start of a line begins a comment.

    Accepted: ``SITE:ID`` (post), ``SITE:uID`` (author) and links to posts and profiles. Returns
    what :func:`transforms.threads.takedown.is_taken_down` looks up. Raises UsageError naming the
    line that is none of these.
    """
    try:
        lines = decode_text(read_small(path, MAX_LIST_BYTES)).splitlines()
    except (OSError, SmallFileError) as error:
        raise UsageError(f"--takedown {path}: {fault_of(error)}") from None
    names: set[str] = set()
    for number, line in enumerate(lines, start=1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        parsed = parse_entry(entry)
        if not parsed:
            raise UsageError(
                f"--takedown {path}:{number}: {entry!r:.80} is neither SITE:ID, SITE:uID "
                "nor a link to a post or profile"
            )
        names |= parsed
    return frozenset(names)


def parse_entry(entry: str) -> set[str]:
    """Return the ids and links that an entry may mean; empty when it is none of these."""
    if _ID.match(entry):
        return {entry.lower()}
    link = link_key(entry)
    if link is None:
        return set()
    names = {link, link_key(entry.partition("?")[0]) or link} if "#" not in entry else {link}
    # Links to StackExchange come in several forms, with and without the title.
    found = _LINK.match(entry)
    if found is not None:
        site = found["site"].lower()
        if found["kind"] == "users":
            return names | {f"{site}:u{found['id']}"}
        answer = found["answer"]
        if answer is None and found["kind"] == "questions" and (found["anchor"] or "").isdecimal():
            answer = found["anchor"]
        names.add(f"{site}:{answer or found['id']}")
    return names
