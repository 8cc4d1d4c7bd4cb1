"""``forumprefs validate-threads``: what is wrong with files of custom threads, row by row."""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.console import print_text, printable
from pipeline.errors import UsageError
from schemas.audit import Reason, Rejected
from schemas.custom_thread import THREAD_FORMAT
from schemas.exit_codes import ExitCode
from schemas.ids import hash63
from schemas.post import Post
from transforms.pairing.votes import net_votes
from transforms.readers.base import ForumFile
from transforms.readers.custom_threads.reader import is_read
from transforms.readers.custom_threads.rows import KIND, ParsedThread, parse_thread
from transforms.readers.formats.fields import Problem
from transforms.readers.formats.tables import TABLE_SUFFIXES, read_table

DEFAULT_LIMIT: Final = 50

_BY_DAY = [
    {"date": "2024-03-01", "value": 1, "count": 4},
    {"date": "2024-03-02", "value": 1},
    {"date": "2024-03-05", "value": -1},
]
EXAMPLE: Final[Sequence[dict[str, Any]]] = (
    {
        "format": THREAD_FORMAT,
        "site": "forum.example.com",
        "id": 101,
        "url": "https://forum.example.com/t/101",
        "title": "Starter smells of acetone",
        "text": "My rye starter smells of **acetone** since I feed it only once a day. Is it lost?",
        "created_at": "2024-02-29T18:30:00Z",
        "score": 3,
        "tags": ["sourdough", "starter"],
        "author": "anna",
        "author_id": 7,
        "license": "CC-BY-4.0",
        "accepted": 501,
        "responses": [
            {
                "id": 501,
                "text": "No, it is hungry. Feed it twice a day and keep it a little cooler.",
                "created_at": "2024-02-29T19:10:00Z",
                "author": "ben",
                "author_id": 8,
                "votes": _BY_DAY,
            },
            {
                "id": 502,
                "text": "Throw it away and begin again.",
                "created_at": "2024-03-01T07:00:00+01:00",
                "author": "carl",
                "author_id": 9,
                "votes": [{"date": "2024-03-01", "value": -1, "count": 2}],
            },
        ],
    },
    {
        "site": "forum.example.com",
        "id": 102,
        "text": "<p>How warm should the oven be for a <em>dark</em> crust?</p>",
        "markup": "html",
        "license": "NOASSERTION",
        "x_board": "baking",
        "responses": [
            {
                "id": 1,
                "text": "Heat it to 250 degrees, and turn it down to 210 with the steam.",
                "upvotes": 5,
                "downvotes": 1,
            },
            {
                "id": 2,
                "text": "As hot as it goes, with a stone that had an hour to heat up.",
                "score": 2,
            },
            {
                "id": 3,
                "text": "But only for the first ten minutes, or the bottom burns.",
                "score": 1,
                "parent": 2,
            },
        ],
    },
)
"""A valid file, as ``--example`` prints it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``forumprefs validate-threads``."""
    parser.add_argument(
        "files", type=Path, nargs="*", metavar="FILE", help="JSON Lines or Parquet, or a folder"
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=DEFAULT_LIMIT,
        metavar="N",
        help=f"list N problems and count the rest (default: {DEFAULT_LIMIT}; 0: list all)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--example", action="store_true", help="print a small valid file")


class Finding(NamedTuple):
    """One problem and where it is."""

    file: str
    row: int | None
    """Line, or row of a Parquet file, from 1; None: the file as a whole, or said in `field`."""
    problem: Problem

    def __str__(self) -> str:
        place = self.file if self.row is None else f"{self.file}:{self.row}"
        return f"{place}: {self.problem}".replace(": : ", ": ")


@dataclass
class Summary:
    """What is in the files."""

    files: int = 0
    problems: int = 0
    threads: int = 0
    """That can be used."""
    bad_rows: int = 0
    """Rows of which nothing can be used."""
    responses: int = 0
    """Of usable threads, that can be used."""
    bad_responses: int = 0
    """Of usable threads, that cannot."""
    replies: int = 0
    """Usable responses to responses."""
    dated_votes: int = 0
    """Usable responses with dated votes."""
    pairs: int = 0
    """Two responses to one prompt that differ in net votes, an acceptance counted as one."""
    licenses: Counter[str] = field(default_factory=Counter)
    """Usable posts by licence."""

    def add(self, thread: ParsedThread) -> None:
        """Count the posts of a row that can be used."""
        assert thread.prompt is not None
        posts = [post for post, _ in thread.responses]
        direct = [post for post, depth in thread.responses if depth == 1]
        self.threads += 1
        self.responses += len(posts)
        self.bad_responses += len(thread.bad_responses)
        self.replies += len(posts) - len(direct)
        self.dated_votes += sum(post.up_days is not None for post in posts)
        self.pairs += count_pairs(direct)
        self.licenses.update(post.license for post in (thread.prompt, *posts))


def count_pairs(responses: Sequence[Post]) -> int:
    """Count the pairs of responses that differ in net votes."""
    scores = sorted(net_votes(response) for response in responses)
    ties = (len(list(group)) for _, group in groupby(scores))
    return _two_of(len(scores)) - sum(map(_two_of, ties))


def _two_of(n: int) -> int:
    return n * (n - 1) // 2


def run(arguments: argparse.Namespace) -> int:
    """Print what is wrong; 0 when nothing is, else 1. Raises UsageError for a usage error."""
    if arguments.example:
        for row in EXAMPLE:
            print(json.dumps(row))
        return 0
    if arguments.limit < 0:
        raise UsageError(f"--limit {arguments.limit}: at least 0")
    files = find_files(arguments.files)
    summary = Summary(files=len(files))
    console = Console(highlight=False)
    try:
        for finding in check_files(files, summary):
            summary.problems += 1
            if arguments.limit and summary.problems > arguments.limit:
                continue
            if arguments.json:
                print(json.dumps(_as_json(finding)))
            else:
                print_text(str(finding))
        if arguments.json:
            print(json.dumps({"summary": _summary_json(summary)}))
        else:
            _print_summary(summary, arguments.limit, console)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.FAILED if summary.problems else ExitCode.FINISHED


def find_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files that are named, and those of folders that hold rows; UsageError if none."""
    if not paths:
        raise UsageError("name a file, or see an example: forumprefs validate-threads --example")
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = [item for item in path.rglob("*") if item.name.lower().endswith(TABLE_SUFFIXES)]
            if not found:
                raise UsageError(f"{path}: no file there ends in {', '.join(TABLE_SUFFIXES)}")
            files += sorted(found)
        elif path.is_file():
            files.append(path)
        else:
            raise UsageError(f"{path}: there is no such file or folder")
    return files


def check_files(files: Sequence[Path], summary: Summary) -> Iterator[Finding]:
    """Yield every problem of ``files`` in their order, and count in ``summary`` what is there."""
    threads: set[int] = set()
    for path in files:
        name = str(path)
        file = ForumFile(kind=KIND, site="", path=name, size=path.stat().st_size)
        for item in read_table(file, is_read):
            if isinstance(item, Rejected):
                summary.bad_rows += item.record == "post"
                yield _unreadable(name, item)
                continue
            number, row = item
            thread = parse_thread(row)
            for problem in thread.problems:
                yield Finding(name, number, problem)
            for bad in thread.bad_responses:
                for problem in bad.problems:
                    yield Finding(name, number, problem)
            if thread.prompt is None:
                summary.bad_rows += 1
                continue
            summary.add(thread)
            position = hash63(thread.prompt.id)
            if position in threads:
                found = repr(thread.prompt.id.removeprefix(f"{thread.prompt.site}:"))
                expected = "another thread of this site has this id, and only one will be used"
                yield Finding(name, number, Problem("id", Reason.REPEATED_ID, found, expected))
            threads.add(position)


def _unreadable(name: str, rejected: Rejected) -> Finding:
    """A row, or a file, that gives no fields at all."""
    number = rejected.id.rpartition(":")[2] if rejected.record == "post" else ""
    row = int(number) if number.isdecimal() else None
    return Finding(name, row, Problem("", rejected.reason, "", rejected.detail))


def _as_json(finding: Finding) -> dict[str, Any]:
    problem = finding.problem
    return {
        "file": finding.file,
        "row": finding.row,
        "field": problem.field,
        "reason": problem.reason.value,
        "found": problem.found,
        "expected": problem.expected,
    }


def _summary_json(summary: Summary) -> dict[str, Any]:
    return {**vars(summary), "licenses": dict(sorted(summary.licenses.items()))}


def _print_summary(summary: Summary, limit: int, console: Console) -> None:
    if limit and summary.problems > limit:
        console.print(f"… and {summary.problems - limit:,} more problems; --limit 0 lists all")
    if summary.problems:
        console.print()
    licenses = [f"{name} {count:,}" for name, count in sorted(summary.licenses.items())]
    table = Table(box=None, pad_edge=False, show_header=False)
    for label, text in (
        ("files", f"{summary.files:,}"),
        ("threads", _with_bad(summary.threads, summary.bad_rows)),
        ("responses", _with_bad(summary.responses, summary.bad_responses)),
        ("  with dated votes", f"{summary.dated_votes:,}"),
        ("  replies to responses", f"{summary.replies:,}"),
        ("pairs possible", f"{summary.pairs:,} (two responses with different votes)"),
        ("posts by licence", ", ".join(licenses) or "–"),
    ):
        table.add_row(label, escape(printable(text)))
    console.print(table)
    if summary.problems:
        count = f"{summary.problems:,} problem{'s' if summary.problems > 1 else ''}"
        console.print(f"\n[red]{count}[/red]: what they are in will not be used")
    else:
        console.print("\nno problem found")


def _with_bad(usable: int, bad: int) -> str:
    return f"{usable:,}, and {bad:,} that cannot be used" if bad else f"{usable:,}"
