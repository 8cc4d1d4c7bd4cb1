"""Build the samples from the hand-written threads: ``python -m samples.build``."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from samples.forums import build_forums
from samples.markup import render
from samples.threads import Entry, Site, Vote, read_sites

HERE = Path(__file__).parent
LICENSE = "CC BY-SA 4.0"
CLOSE_CODES = {"duplicate": "101", "off_topic": "102", "unclear": "103", "opinion": "105"}


@dataclass(frozen=True)
class Format:
    """How one dump is written; real dumps differ in the same ways."""

    bom: bool
    newline: str
    tags: str
    by_date: bool


FORMATS = {
    "sourdough.example.com": Format(bom=True, newline="\r\n", tags="<{}>", by_date=False),
    "tinycode.example.com": Format(bom=False, newline="\n", tags="|{}", by_date=True),
}

Attributes = dict[str, object]
_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\n": "&#xA;", "\r": "&#xD;"}
)


def build(folder: Path = HERE) -> dict[Path, bytes]:
    """Return {path below the samples folder: content} of the StackExchange dumps."""
    sites = read_sites(sorted((folder / "content").glob("*.md")))
    files: dict[Path, bytes] = {}
    for site in sites.values():
        tables = {
            "Posts": list(_posts(site)),
            "Votes": _rows(_votes(site)),
            "Users": _rows(_users(site)),
            "PostLinks": _rows(_links(site)),
            "PostHistory": _rows(_history(site)),
        }
        for table, rows in tables.items():
            files[Path(site.name, f"{table}.xml")] = _document(FORMATS[site.name], table, rows)
    return files


def main() -> None:
    """Write the files next to this script."""
    for path, content in (build() | build_forums()).items():
        target = HERE / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        print(f"{len(content):>8,} {path}")


def _document(form: Format, table: str, rows: Iterable[str]) -> bytes:
    root = table.lower()
    lines = ['<?xml version="1.0" encoding="utf-8"?>', f"<{root}>", *rows, f"</{root}>"]
    text = form.newline.join(lines).replace("\n\t", f"{form.newline}       ")
    return ("\ufeff" * form.bom + text).encode()


def _row(attributes: Attributes, separator: str = " ") -> str:
    pairs = [
        f'{name}="{str(value).translate(_ESCAPES)}"'
        for name, value in attributes.items()
        if value is not None
    ]
    return f"  <row {separator.join(pairs)} />"


def _rows(table: Iterable[Attributes]) -> list[str]:
    return [_row(attributes) for attributes in table]


def _stamp(value: datetime | None) -> str | None:
    return value.isoformat(timespec="milliseconds").removesuffix("+00:00") if value else None


def _midnight(day: date) -> str:
    return f"{day}T00:00:00.000"


def _posts(site: Site) -> Iterator[str]:
    form = FORMATS[site.name]
    order = sorted(site.entries, key=lambda e: (e.created if form.by_date else 0, e.id))
    order.sort(key=lambda e: "early" not in e.fields.get("form", []))
    for entry in order:
        attributes = _post(site, entry)
        damage = entry.get("form")
        if damage == "no_date":
            del attributes["CreationDate"]
        elif damage == "bad_score":
            attributes["Score"] = "many"
        row = _row(attributes, "\n\t" if damage == "wrapped" else " ")
        yield row.replace("&lt;p&gt;", "<p>§ & ", 1) if damage == "malformed" else row


def _post(site: Site, entry: Entry) -> Attributes:
    answers = site.answers(entry.id) if entry.kind == "question" else []
    latest = max([a.created for a in answers] + [entry.edited or entry.created])
    reopened = entry.get("reopened")
    closed = entry.get("closed") if not reopened else None
    tags = FORMATS[site.name].tags
    labels = entry.get("tags")
    body = render(entry.body)
    if entry.get("form") == "crlf":
        body = body.replace("\n", "\r\n")
    question = entry.kind == "question"
    return {
        "Id": entry.id,
        "PostTypeId": entry.type,
        "AcceptedAnswerId": next((a.id for a in answers if a.get("accepted")), None),
        "ParentId": entry.parent,
        "CreationDate": _stamp(entry.created),
        "Score": entry.score,
        "ViewCount": 31 + 57 * max(entry.score, 0) + entry.id % 97 if question else None,
        "Body": body,
        "OwnerUserId": _user_ids(site).get(entry.author),
        "OwnerDisplayName": entry.author[1:] or None if entry.author[0] == "~" else None,
        "LastEditorUserId": _user_ids(site).get(entry.author) if entry.edited else None,
        "LastEditDate": _stamp(entry.edited),
        "LastActivityDate": _stamp(latest),
        "Title": entry.get("title"),
        "Tags": "".join(tags.format(tag) for tag in labels.split(", ")) + "|" * (tags[0] == "|")
        if labels
        else None,
        "AnswerCount": len(answers) if question else None,
        "CommentCount": 0,
        "ClosedDate": f"{closed.split()[0]}T12:00:00.000" if closed else None,
        "ContentLicense": LICENSE if entry.get("license") != "none" else None,
    }


def _user_ids(site: Site) -> dict[str, int]:
    """Number the accounts by first post; -1 is the system's own user, as in real dumps."""
    authors = [entry.author for entry in sorted(site.entries, key=lambda e: e.created)]
    names = [name for name in dict.fromkeys(authors) if name[0] != "~" and name != "Community"]
    return {"Community": -1} | {name: 3 * number for number, name in enumerate(names, 1)}


def _users(site: Site) -> Iterator[Attributes]:
    for name, number in _user_ids(site).items():
        own = [entry for entry in site.entries if entry.author == name]
        first = min((entry.created for entry in own), default=datetime(2019, 1, 1, tzinfo=UTC))
        last = max((entry.created for entry in own), default=first)
        yield {
            "Id": number,
            "Reputation": 1 + max(0, sum(10 * entry.score for entry in own)),
            "CreationDate": _stamp(first - timedelta(days=number % 11 + 1, minutes=number)),
            "DisplayName": name,
            "LastAccessDate": _stamp(last + timedelta(hours=number % 40)),
            "AboutMe": "<p>A fictional person.</p>\n",
            "Views": len(own),
            "UpVotes": 0,
            "DownVotes": 0,
            "AccountId": 1000 + number if number > 0 else None,
        }


def _votes(site: Site) -> Iterator[Attributes]:
    """All votes by date, with some of the types that say nothing about quality."""
    votes = [(vote, entry.id) for entry in site.entries for vote in entry.votes]
    for entry in site.entries:
        if entry.kind == "question" and entry.score >= 10:
            votes.append((Vote(5, entry.day(1)), entry.id))
        if entry.edited:
            votes.append((Vote(16, entry.edited.date()), entry.id))
        if entry.parent and entry.parent >= 9000:
            votes.append((Vote(2, entry.day(1)), entry.parent))
            votes.append((Vote(10, entry.day(9)), entry.parent))
    votes.sort(key=lambda vote: (vote[0].day, vote[1], vote[0].type))
    for number, (vote, post) in enumerate(votes, 1):
        yield {
            "Id": number,
            "PostId": post,
            "VoteTypeId": vote.type,
            "UserId": 3 if vote.type == 5 else None,
            "CreationDate": _midnight(vote.day),
        }


def _links(site: Site) -> Iterator[Attributes]:
    """Links of questions: type 1 is 'related', type 3 is 'duplicate of'."""
    linked = [(entry, link) for entry in site.entries for link in entry.fields.get("links", [])]
    for number, (entry, link) in enumerate(linked, 1):
        kind, target = link.split()
        yield {
            "Id": number,
            "CreationDate": _midnight(entry.day(1)),
            "PostId": entry.id,
            "RelatedPostId": target,
            "LinkTypeId": {"related": 1, "duplicate": 3}[kind],
        }


def _history(site: Site) -> Iterator[Attributes]:
    """Closings (type 10) and reopenings (type 11)."""
    voters = json.dumps({"Voters": [{"Id": 6, "DisplayName": "a moderator"}]})
    events: list[tuple[str, int, int, str | None]] = []
    for entry in site.entries:
        if closed := entry.get("closed"):
            day, reason = closed.split()
            events.append((day, entry.id, 10, CLOSE_CODES[reason]))
        if reopened := entry.get("reopened"):
            events.append((reopened, entry.id, 11, None))
    for number, (day, post, kind, comment) in enumerate(sorted(events, key=_by_date), 1):
        yield {
            "Id": number,
            "PostHistoryTypeId": kind,
            "PostId": post,
            "RevisionGUID": f"00000000-0000-0000-0000-{number:012}",
            "CreationDate": f"{day}T12:00:00.000",
            "UserId": 6,
            "Comment": comment,
            "Text": voters,
        }


def _by_date(event: tuple[str, int, int, str | None]) -> tuple[str, int, int]:
    return event[:3]


if __name__ == "__main__":
    main()
