"""Read anyone's own threads: rows of the schema in :mod:`schemas.custom_thread`."""

from collections.abc import Iterator
from typing import Final

from schemas.audit import Reason
from schemas.custom_thread import FREE_PREFIX
from transforms.readers.base import ForumFile, Item, ReadRules, reject
from transforms.readers.custom_threads.rows import KIND, BadResponse, ParsedThread, parse_thread
from transforms.readers.formats.fields import Problem
from transforms.readers.formats.tables import TABLE_SUFFIXES, read_table
from transforms.readers.source import FileSource

DETAIL_CHARS: Final = 500


def read_custom_threads(file: ForumFile, rules: ReadRules) -> Iterator[Item]:
    """Yield the posts of every thread in a JSON Lines or Parquet file.

    A row that is not a thread is one Rejected, named by its file and row; a response that cannot be
    used is one by itself, and the rest of its thread is used. Replies below ``rules.reply_depth``
    are ``too_deep``. Raises OSError when the disk or the network fails.
    """
    for item in read_table(file, is_read):
        if isinstance(item, tuple):
            number, row = item
            yield from _items(file, number, parse_thread(row), rules)
        else:
            yield item


def is_read(column: str) -> bool:
    """Tell whether a column may be a field of the schema: the user's own are left unread."""
    return not column.startswith(FREE_PREFIX)


def _items(file: ForumFile, number: int, thread: ParsedThread, rules: ReadRules) -> Iterator[Item]:
    if thread.prompt is None:
        yield reject(file, thread.problems[0].reason, _detail(thread.problems), line=number)
        return
    yield thread.prompt
    if thread.same_prompt is not None:
        yield thread.same_prompt
    for post, depth in thread.responses:
        if depth > rules.reply_depth:
            deep = f"{depth} > {rules.reply_depth}"
            yield reject(file, Reason.TOO_DEEP, deep, id=post.id)
        else:
            yield post
    for bad in thread.bad_responses:
        id = bad.id or _place(file, number, bad)
        yield reject(file, bad.problems[0].reason, _detail(bad.problems), id=id)


def _place(file: ForumFile, number: int, bad: BadResponse) -> str:
    return f"{file.name}:{number}/responses[{bad.place}]"


def _detail(problems: list[Problem]) -> str:
    text = "; ".join(str(problem) for problem in problems)
    return text if len(text) <= DETAIL_CHARS else text[: DETAIL_CHARS - 1] + "…"


THREADS = FileSource(
    kind=KIND,
    read_file=read_custom_threads,
    suffixes=TABLE_SUFFIXES,
    help="threads of any forum in the schema of docs/threads.md: JSON Lines or Parquet",
    publishable=True,
    license_in_rows=True,
    dates_votes=True,
)
"""Anyone's own threads. Every row states the licence of its texts."""
