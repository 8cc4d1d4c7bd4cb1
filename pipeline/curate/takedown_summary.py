"""What the entries of a takedown list have found, and the end of a run where one found nothing."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.curate.takedown import TakedownEntry, TakedownList
from pipeline.errors import RefusedError
from schemas.counts import RecordCount
from transforms.threads.links import hint_for
from transforms.threads.takedown import TAKEDOWN_STAGE

SHOWN_ENTRIES: Final = 20
"""Maximum of entries that are listed in the terminal."""

ENTRIES_NAME: Final = "takedown.tsv"
"""What every entry has found, in the folder beside the dataset that stays on this machine."""


@dataclass(frozen=True)
class FoundEntry:
    """An entry of the list, and how many posts it found."""

    entry: TakedownEntry
    posts: int
    """Posts that it names, none of which is in the dataset."""
    others: int
    """Posts of the same threads that went with them: they answer a prompt that is gone, or were
    left with nothing to be compared with."""
    unread: int
    """Posts that it names by their ids, and that no reader could use."""

    @property
    def is_matched(self) -> bool:
        """Whether there is any post that it names."""
        return self.posts + self.unread > 0

    def __str__(self) -> str:
        said = f"{self.posts:,} posts" if self.posts != 1 else "1 post"
        if self.others:
            gone = "it" if self.posts == 1 else "them"
            said += f", and {self.others:,} more of the same threads that were left without {gone}"
        if self.unread:
            said += (
                f"{', and' if self.posts else ':'} {self.unread:,} that could not be read anyway"
            )
        return f"line {self.entry.line}: {self.entry.text:.200}: {said}"


def found_entries(takedown: TakedownList, counts: Iterable[RecordCount]) -> list[FoundEntry]:
    """Put together what a run has counted for each entry, in the order of the list."""
    by_key = Counter({found.key: found.count for found in counts if found.stage == TAKEDOWN_STAGE})
    return [
        FoundEntry(
            entry=entry,
            posts=by_key[f"{number}:posts"],
            others=by_key[f"{number}:others"],
            unread=by_key[f"{number}:unread"],
        )
        for number, entry in enumerate(takedown.entries)
    ]


def refuse_unmatched(path: str, found: Sequence[FoundEntry], *, allow: bool) -> str | None:
    """Raise RefusedError where entries found nothing; with ``allow`` return a warning instead.

    Also returns one for a list without an entry, which may have been made by a step that failed.
    """
    unmatched = [item for item in found if not item.is_matched]
    if path and not found:
        return f"--takedown {path}: has no entry, so nothing is taken out"
    if not unmatched:
        return None
    entries = "1 entry names" if len(unmatched) == 1 else f"{len(unmatched):,} entries name"
    listed = [_unmatched(item.entry) for item in unmatched]
    lines = [f"--takedown {path}: {entries} no post in the inputs:", *_first(listed)]
    if allow:
        return "\n  ".join(lines)
    lines.append(
        "nothing was written; correct them, or remove them where the post is in no input; "
        "--allow-unmatched goes on without"
    )
    raise RefusedError("\n  ".join(lines))


def _unmatched(entry: TakedownEntry) -> str:
    hint = hint_for(entry.text)
    return f"line {entry.line}: {entry.text:.200}{f' ({hint})' if hint else ''}"


def summary(path: str, found: Sequence[FoundEntry], local: Path | None) -> str:
    """Say for people what each entry has removed; ``local`` is where all entries are listed."""
    matched = [item for item in found if item.is_matched]
    lines = [
        f"--takedown {path}: {len(matched):,} of {len(found):,} entries name posts, and all of "
        "these are left out",
        *_first([str(item) for item in matched]),
    ]
    if local is not None and len(matched) > SHOWN_ENTRIES:
        lines.append(f"all are in {local}")
    return "\n  ".join(lines)


def _first(lines: Sequence[str]) -> Iterator[str]:
    yield from lines[:SHOWN_ENTRIES]
    if len(lines) > SHOWN_ENTRIES:
        yield f"and {len(lines) - SHOWN_ENTRIES:,} more"


def write_entries(folder: Path, found: Iterable[FoundEntry]) -> Path:
    """Write what every entry has found as a table; it names those who asked, so it stays local."""
    folder.mkdir(exist_ok=True)
    path = folder / ENTRIES_NAME
    rows = [
        f"{item.entry.line}\t{item.posts}\t{item.others}\t{item.unread}\t"
        f"{' '.join(item.entry.text.split())}\n"
        for item in found
    ]
    path.write_text("".join(["line\tposts\tothers\tunread\tentry\n", *rows]), encoding="utf-8")
    return path
