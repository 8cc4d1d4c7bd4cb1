"""Read existing preference sets: pairs and answer lists that others have made from votes."""

import re
from collections.abc import Iterator, Mapping

from schemas.audit import Rejected
from schemas.metadata import PostMetadata
from transforms.readers.base import ForumFile, Item, ReadRules, ThreadMetadata, reject
from transforms.readers.formats.line_blocks import LineBlock
from transforms.readers.formats.tables import (
    TABLE_SUFFIXES,
    is_table_of_lines,
    read_table,
    read_table_block,
)
from transforms.readers.formats.values import Row
from transforms.readers.preferences.conversations import SetRowError
from transforms.readers.preferences.formats import COLUMNS, read_row
from transforms.readers.preferences.rated import LISTS
from transforms.readers.preferences.rows import KIND, AnswerList, Origin, StatedPair
from transforms.readers.source import FileSource, LineReader

_SHARD = re.compile(r"-\d+-of-\d+(?:-[0-9a-f]+)?$")
_NOT_IN_A_NAME = re.compile(r"[^\w.-]+")
_NO_ROWS = ("dataset_info.json", "dataset_infos.json", "manifest.json", "report.json", "state.json")


def read_preference_set(file: ForumFile, rules: ReadRules) -> Iterator[Item]:
    """Yield the posts of a preference set, and which it says is better.

    Rows about one prompt become one thread. Each row gives its prompt and responses, so what is
    in several rows is yielded as often. ``rules.columns`` (our name → theirs) goes before the
    names of the forms in `formats`. A row that is of no form is one Rejected. Raises OSError when
    the disk or the network fails.
    """
    wanted = COLUMNS.union(rules.columns.values())
    return _items(file, read_table(file, wanted.__contains__), rules)


def read_preference_block(file: ForumFile, block: LineBlock, rules: ReadRules) -> Iterator[Item]:
    """Yield what :func:`read_preference_set` does of the lines in ``block`` of ``file``."""
    return _items(file, read_table_block(file, block), rules)


def _items(
    file: ForumFile, rows: Iterator[tuple[int, Row] | Rejected], rules: ReadRules
) -> Iterator[Item]:
    origin = Origin(site_name(file), {**rules.licenses, "": rules.license_of(file)})
    for item in rows:
        if not isinstance(item, tuple):
            yield item
            continue
        number, row = item
        try:
            parsed = read_row(rename(row, rules.columns), origin)
        except SetRowError as error:
            detail = _in_their_words(error.detail, rules.columns)
            yield reject(file, error.reason, detail, line=number)
            continue
        if isinstance(parsed, AnswerList):
            yield from _answer_list(file, number, parsed)
        else:
            yield from _stated_pair(parsed)


def rename(row: Row, columns: Mapping[str, str]) -> Row:
    """Return the row with the user's names of columns replaced by ours, in lists of objects too."""
    if not columns:
        return row
    renamed = row | {ours: row.get(theirs) for ours, theirs in columns.items()}
    for name in LISTS:
        if isinstance(items := renamed.get(name), list):
            renamed[name] = [_rename_in_list(item, columns) for item in items]
    return renamed


def _rename_in_list(item: object, columns: Mapping[str, str]) -> object:
    if not isinstance(item, dict):
        return item
    return item | {ours: item[theirs] for ours, theirs in columns.items() if theirs in item}


def _in_their_words(detail: str, columns: Mapping[str, str]) -> str:
    """Name the column that a message begins with as the file does."""
    name = next(iter(re.split(r"[: ]", detail, maxsplit=1)))
    return columns.get(name, name) + detail[len(name) :]


def site_name(file: ForumFile) -> str:
    """Site of rows that name none: 'pairs/<name of the file without its ends>'."""
    name = file.name.lower()
    end = next((end for end in TABLE_SUFFIXES if name.endswith(end)), "")
    stem = _SHARD.sub("", file.name[: len(file.name) - len(end)])
    return f"{KIND}/{_NOT_IN_A_NAME.sub('_', stem)[:100] or 'unnamed'}"


def _answer_list(file: ForumFile, number: int, answers: AnswerList) -> Iterator[Item]:
    yield answers.prompt
    yield from answers.responses
    for index, id, error in answers.bad:
        place = id or f"{file.name}:{number}/{answers.column}[{index}]"
        yield reject(file, error.reason, error.detail, id=place)


def _stated_pair(pair: StatedPair) -> Iterator[Item]:
    thread_id = pair.prompt.id
    yield pair.prompt
    yield pair.better
    yield pair.worse
    yield ThreadMetadata(thread_id, PostMetadata(id=pair.better.id, preferred_to=(pair.worse.id,)))
    beaten = (pair.better.id,) if pair.tie else ()
    yield ThreadMetadata(thread_id, PostMetadata(id=pair.worse.id, preferred_to=beaten))
    if pair.same_prompt is not None:
        yield pair.same_prompt


def _not_a_table(name: str) -> str | None:
    if name.lower() in _NO_ROWS:
        return "it describes a dataset, and holds no rows"
    if name.startswith(("duplicates-", "rejected-")):
        return "it says what became of other posts, and holds no pairs"
    return None


PAIRS = FileSource(
    kind=KIND,
    read_file=read_preference_set,
    lines=LineReader(is_table_of_lines, read_preference_block),
    suffixes=TABLE_SUFFIXES,
    help="preference sets: chosen/rejected rows (TRL, HH-RLHF), two responses and which is better "
    "(HelpSteer2, LLMBar, SHP), rated responses (UltraFeedback, HelpSteer2), labelled ones (KTO), "
    "answer lists of stack-exchange-preferences, or datasets made here; JSON Lines or Parquet",
    publishable=True,
    sites_in_rows=True,
    refuse=_not_a_table,
)
"""Existing preference sets. Most state no licence of their texts, so none is assumed."""
