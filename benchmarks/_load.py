"""Read StackExchange dumps into threads without the pipeline, for the benchmarks of the labels.

Small dumps only: everything is held in memory.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import py7zr

from schemas.post import DAY_MS, Post, Thread

QUESTION, ANSWER = "1", "2"
ACCEPT, UP, DOWN = "1", "2", "3"


def millis(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def rows(path: Path) -> Iterator[dict[str, str]]:
    for _, element in ElementTree.iterparse(path):
        if element.tag == "row":
            yield dict(element.attrib)
        element.clear()


def load_dump(dump: Path) -> list[Thread]:
    """Threads of one dump: a folder with Posts.xml (and Votes.xml), or a .7z of them."""
    if dump.is_dir():
        return _threads(dump, dump.name)
    with tempfile.TemporaryDirectory() as folder:
        with py7zr.SevenZipFile(dump) as archive:
            wanted = [name for name in archive.getnames() if name in ("Posts.xml", "Votes.xml")]
            archive.extract(path=folder, targets=wanted)
        return _threads(Path(folder), dump.stem)


def _threads(folder: Path, site: str) -> list[Thread]:
    days: dict[str, defaultdict[str, list[int]]] = {
        kind: defaultdict(list) for kind in (ACCEPT, UP, DOWN)
    }
    votes = folder / "Votes.xml"
    dated = votes.exists()
    for row in rows(votes) if dated else ():
        if row["VoteTypeId"] in days:
            day = millis(row["CreationDate"]) // DAY_MS
            days[row["VoteTypeId"]][row["PostId"]].append(day)

    def post(row: dict[str, str], thread: str, **more: Any) -> Post:
        user = row.get("OwnerUserId")
        return Post(
            id=f"{site}:{row['Id']}",
            thread_id=f"{site}:{thread}",
            source="stackexchange",
            site=site,
            url=f"https://{site}/a/{row['Id']}",
            title=row.get("Title", ""),
            text=row.get("Body", ""),
            created_at=millis(row["CreationDate"]),
            edited_at=millis(row["LastEditDate"]) if "LastEditDate" in row else None,
            score=int(row["Score"]),
            up_days=tuple(sorted(days[UP][row["Id"]])) if dated else None,
            down_days=tuple(sorted(days[DOWN][row["Id"]])) if dated else None,
            author_id=f"{site}:u{user}" if user else None,
            license=row.get("ContentLicense", ""),
            **more,
        )

    questions: dict[str, dict[str, str]] = {}
    answers: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows(folder / "Posts.xml"):
        if row["PostTypeId"] == QUESTION:
            questions[row["Id"]] = row
        elif row["PostTypeId"] == ANSWER:
            answers[row["ParentId"]].append(row)
    threads = []
    for thread, question in questions.items():
        accepted = question.get("AcceptedAnswerId")
        responses = [
            post(
                row,
                thread,
                accepted=row["Id"] == accepted,
                accepted_day=max(days[ACCEPT][row["Id"]], default=None)
                if row["Id"] == accepted
                else None,
            )
            for row in answers[thread]
        ]
        responses.sort(key=lambda response: (response.created_at, response.id))
        threads.append(Thread(prompt=post(question, thread), responses=tuple(responses)))
    return threads
