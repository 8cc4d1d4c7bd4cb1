"""Read a file of hand-written threads: headers of ``key: value`` lines, bodies in Markdown."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

_ENTRY = re.compile(r"^=== (question|answer|wiki) (\d+)$", re.M)
_VOTES = re.compile(r"([+-])(\d+)@(\d+)(?:-(\d+))?")
POST_TYPES = {"question": 1, "answer": 2}


@dataclass
class Vote:
    """A dated vote of one of StackExchange's vote types."""

    type: int
    day: date


@dataclass
class Entry:
    """One post of the sample; ``fields`` holds its header, repeated keys in order."""

    kind: str
    id: int
    fields: dict[str, list[str]]
    body: str
    parent: int | None = None
    votes: list[Vote] = field(default_factory=list)

    def get(self, key: str) -> str | None:
        values = self.fields.get(key)
        return values[0] if values else None

    @property
    def type(self) -> int:
        return POST_TYPES.get(self.kind) or int(self.fields["type"][0])

    @property
    def author(self) -> str:
        """Display name; '~name' for a deleted account, '~' when not even the name is left."""
        return self.fields["by"][0].rsplit(",", 1)[0]

    @property
    def created(self) -> datetime:
        return moment(self.fields["by"][0].rsplit(",", 1)[1], self.id)

    @property
    def edited(self) -> datetime | None:
        value = self.get("edited")
        return moment(value, self.id) if value else None

    @property
    def score(self) -> int:
        types = [vote.type for vote in self.votes]
        return types.count(2) - types.count(3)

    def day(self, offset: int) -> date:
        return self.created.date() + timedelta(days=offset)


@dataclass
class Site:
    """A forum of the sample."""

    name: str
    about: str
    entries: list[Entry]

    def entry(self, number: int) -> Entry:
        return next(entry for entry in self.entries if entry.id == number)

    def answers(self, question: int) -> list[Entry]:
        return [e for e in self.entries if e.kind == "answer" and e.parent == question]


def moment(text: str, salt: int) -> datetime:
    """Parse 'YYYY-MM-DD[ HH:MM]' as UTC; ``salt`` fills in seconds and milliseconds."""
    value = datetime.fromisoformat(text.strip()).replace(tzinfo=UTC)
    return value.replace(second=salt * 17 % 60, microsecond=salt * 371 % 1000 * 1000)


def read_sites(paths: list[Path]) -> dict[str, Site]:
    """Read all files and resolve ``copy-of`` lines, which may point to another site."""
    sites = [_read_site(path) for path in paths]
    by_name = {site.name: site for site in sites}
    for site in sites:
        for entry in site.entries:
            if original := entry.get("copy-of"):
                *other, number = original.split()
                source = by_name[other[0] if other else site.name].entry(int(number))
                entry.body = _changed(source.body, entry.fields.get("change", []))
    return by_name


def _read_site(path: Path) -> Site:
    head, *rest = _ENTRY.split(path.read_text(encoding="utf-8"))
    about = dict(line.split(": ", 1) for line in head.strip().splitlines())
    entries = []
    question = None
    for kind, number, text in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
        header, _, body = text.strip("\n").partition("\n\n")
        fields: dict[str, list[str]] = {}
        for line in header.splitlines():
            key, value = line.split(": ", 1)
            fields.setdefault(key, []).append(value)
        entry = Entry(kind, int(number), fields, body.strip("\n"))
        if kind == "question":
            question = entry.id
        elif kind == "answer":
            parent = entry.get("parent")
            entry.parent = int(parent) if parent else question
        entry.votes = sorted(_votes(entry), key=lambda vote: (vote.day, vote.type))
        entries.append(entry)
    return Site(about["site"], about["about"], entries)


def _votes(entry: Entry) -> Iterator[Vote]:
    """Expand '+9@0-200 -1@3': nine upvotes spread over days 0 to 200, a downvote on day 3."""
    for sign, count, first, last in _VOTES.findall(entry.get("votes") or ""):
        start, end = int(first), int(last or first)
        for i in range(int(count)):
            day = entry.day(start + (end - start) * i // max(int(count) - 1, 1))
            yield Vote(2 if sign == "+" else 3, day)
    accepted = entry.get("accepted")
    if accepted is not None:
        yield Vote(1, entry.day(int(accepted)))
    for flag in (entry.get("flags") or "").split():
        kind, after = flag.split("@")
        yield Vote({"offensive": 4, "spam": 12}[kind], entry.day(int(after)))


def _changed(body: str, changes: list[str]) -> str:
    for change in changes:
        old, new = change.split(" => ")
        if body.count(old) != 1:
            raise ValueError(f"{old!r} occurs {body.count(old)} times")
        body = body.replace(old, new)
    return body
