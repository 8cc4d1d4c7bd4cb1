"""The prompt and the responses of a row, in whichever columns they are."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from schemas.small_files import is_utf8
from training.errors import SuiteError
from training.evaluation.items import ChatMessage
from training.evaluation.suites.pairs import read_trl
from training.evaluation.suites.rows import Row, shown

Form: TypeAlias = Literal["responses", "pair", "response", "completion"]

COLUMNS: Final[dict[Form, tuple[str, ...]]] = {
    "responses": ("responses",),
    "pair": ("chosen", "rejected"),
    "response": ("response",),
    "completion": ("completion",),
}
"""Columns that hold the responses; the first form of which a file has all counts."""


class Candidates(NamedTuple):
    """What a model is asked about a row."""

    messages: tuple[ChatMessage, ...]
    responses: tuple[str, ...]
    site: str = ""
    """Where the prompt was asked, for models that are told; '': not known."""
    tags: tuple[str, ...] = ()


def find_form(columns: Collection[str], path: Path) -> Form:
    """Which columns of a file hold responses; raises SuiteError where none do, or no prompt."""
    for form, names in COLUMNS.items():
        if all(name in columns for name in names):
            if "prompt" not in columns and form != "pair":
                raise SuiteError(
                    f"{path}: no column prompt beside {', '.join(names)}; it has "
                    f"{', '.join(sorted(columns)) or 'none'}"
                )
            return form
    wanted = " or ".join(" and ".join(names) for names in COLUMNS.values())
    raise SuiteError(
        f"{path}: no column of responses; expected prompt and {wanted}, found "
        f"{', '.join(sorted(columns)) or 'none'}"
    )


def read_candidates(row: Row, form: Form) -> Candidates:
    """The prompt and responses of a row, read as ``forumprefs evaluate`` reads pairs.

    Raises SuiteError for a row without them, or with texts that cannot be written.
    """
    row.expect(*COLUMNS[form])
    if form == "pair":
        (item,) = read_trl([row])
        found = Candidates(item.messages, item.responses)
    else:
        prompt = row.messages("prompt")
        (column,) = COLUMNS[form]
        value = row.values[column]
        if form != "responses":
            value = [value]
        elif not isinstance(value, list):
            raise row.fail(f"{column} is {shown(value)}, expected a list of responses")
        if not value:
            raise row.fail(f"{column} is empty, so there is nothing to score; remove the row")
        found = Candidates(prompt, tuple(_text(row, one, column) for one in value))
    for text in (*(turn.content for turn in found.messages), *found.responses):
        if not is_utf8(text):
            raise row.fail("a text holds half of a surrogate pair, which is no character")
    return found._replace(site=_site_of(row), tags=_tags_of(row))


def _site_of(row: Row) -> str:
    site = row.get("site", "")
    return site if isinstance(site, str) and is_utf8(site) else ""


def _tags_of(row: Row) -> tuple[str, ...]:
    tags = row.get("tags", [])
    if not isinstance(tags, list):
        return ()
    return tuple(tag for tag in tags if isinstance(tag, str) and is_utf8(tag))


def _text(row: Row, value: Any, column: str) -> str:
    """A response as text, as a message, or as a list of one message of the assistant."""
    turns = value if isinstance(value, list) else [value]
    if isinstance(value, str):
        return value
    if len(turns) == 1 and isinstance(turns[0], Mapping):
        content = turns[0].get("content")
        if isinstance(content, str) and turns[0].get("role", "assistant") == "assistant":
            return content
    raise row.fail(f"{column} holds {shown(value)}, expected text or one message of the assistant")
