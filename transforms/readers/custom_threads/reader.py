"""Read anyone's own threads: rows of the schema in :mod:`schemas.custom_thread`."""

from collections.abc import Iterator
from typing import Final

from schemas.audit import Reason, Rejected
from schemas.custom_thread import FREE_PREFIX
from transforms.readers.base import ForumFile, Item, ReadRules, reject
from transforms.readers.custom_threads.rows import KIND, BadResponse, ParsedThread, parse_thread
from transforms.readers.formats.fields import Problem
from transforms.readers.formats.line_blocks import LineBlock
from transforms.readers.formats.tables import (
    TABLE_SUFFIXES,
    is_table_of_lines,
    read_table,
    read_table_block,
)
from transforms.readers.formats.values import Row
from transforms.readers.source import FileSource, LineReader

DETAIL_CHARS: Final = 500


def read_custom_threads(file: ForumFile, rules: ReadRules) -> Iterator[Item]:
    """Yield the posts of every thread in a JSON Lines or Parquet file.

    A row that is not a thread is one Rejected, named by its file and row; a response that cannot be
    used is one by itself, and the rest of its thread is used. Replies below ``rules.reply_depth``
    are ``too_deep``. Raises OSError when the disk or the network fails.
    """
    return _threads(file, read_table(file, is_read), rules)


def read_custom_threads_block(
    file: ForumFile, block: LineBlock, rules: ReadRules
) -> Iterator[Item]:
    """Yield what :func:`read_custom_threads` does of the lines in ``block`` of ``file``."""
    return _threads(file, read_table_block(file, block), rules)


def is_read(column: str) -> bool:
    """Tell whether a column may be a field of the schema: the user's own are left unread."""
    return not column.startswith(FREE_PREFIX)


def _threads(
    file: ForumFile, rows: Iterator[tuple[int, Row] | Rejected], rules: ReadRules
) -> Iterator[Item]:
    for item in rows:
        if isinstance(item, tuple):
            number, row = item
            yield from _items(file, number, parse_thread(row), rules)
        else:
            yield item


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
    lines=LineReader(is_table_of_lines, read_custom_threads_block),
    suffixes=TABLE_SUFFIXES,
    help="threads of any forum in the schema of docs/threads.md: JSON Lines or Parquet",
    publishable=True,
    license_in_rows=True,
    dates_votes=True,
)
"""Anyone's own threads. Every row states the licence of its texts."""
