"""The fields of rows that people wrote, taken one by one, with all that is wrong with them."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from schemas.audit import Reason
from schemas.custom_thread import FREE_PREFIX
from transforms.readers.formats import values

T = TypeVar("T")

MAX_PROBLEMS: Final = 20
"""Problems that are listed of one post."""

_OTHER_NAMES: Final = {
    "answers": "responses",
    "body": "text",
    "comments": "responses",
    "content": "text",
    "created": "created_at",
    "created_utc": "created_at",
    "creation_date": "created_at",
    "date": "created_at",
    "edited": "edited_at",
    "html": "text",
    "is_accepted": "accepted",
    "likes": "upvotes",
    "link": "url",
    "message": "text",
    "over_18": "nsfw",
    "parent_id": "parent",
    "permalink": "url",
    "replies": "responses",
    "reply_to": "parent",
    "timestamp": "created_at",
    "updated_at": "edited_at",
    "user_id": "author_id",
    "username": "author",
}
"""What forums call some of the fields."""


class Problem(NamedTuple):
    """Something wrong with a row."""

    field: str
    """Where, e.g. ``responses[2].votes[0].date``."""
    reason: Reason
    found: str
    """What is there; '' when it is missing."""
    expected: str
    """What would be right."""

    def __str__(self) -> str:
        found = f"{self.found}: " if self.found else ""
        return f"{self.field}: {found}{self.expected}"


class RowFields:
    """The fields of one object, and the problems found in them."""

    def __init__(self, row: object, path: str) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self._row: Mapping[str, Any] = row if isinstance(row, Mapping) else {}
        self._usable = isinstance(row, Mapping)
        if not self._usable:
            expected = "must be an object" if row is not None else "must be an object, not null"
            problem = Problem(path.rstrip("."), Reason.BAD_VALUE, values.shown(row), expected)
            self.problems.append(problem)

    def take(self, name: str, convert: Callable[[object], T], default: Any) -> Any:
        """Return the converted value; the default when it is null, absent or wrong."""
        value = self._row.get(name)
        if value is None:
            return default
        try:
            return convert(value)
        except ValueError as error:
            self.report(name, value, str(error))
            return default

    def need(self, name: str, convert: Callable[[object], T]) -> T | None:
        """Return the converted value; None, with a problem, when there is none."""
        if self._usable and self._row.get(name) is None:
            self.add(Problem(name, Reason.MISSING_FIELD, "", "is missing, and is needed"))
            return None
        found: T | None = self.take(name, convert, None)
        return found

    def has_any(self, *names: str) -> bool:
        return not self._usable or any(self._row.get(name) is not None for name in names)

    def report(
        self, name: str, found: object, expected: str, reason: Reason = Reason.BAD_VALUE
    ) -> None:
        self.add(Problem(name, reason, values.shown(found), expected))

    def add(self, problem: Problem) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem._replace(field=self.path + problem.field))

    def refuse_unknown(self, known: frozenset[str]) -> None:
        """Report fields that the schema does not have; a typo must not pass for no value."""
        for name in self._row:
            if name in known or (isinstance(name, str) and name.startswith(FREE_PREFIX)):
                continue
            if len(self.problems) >= MAX_PROBLEMS:
                return
            self.add(Problem(str(name)[:60], Reason.BAD_VALUE, "", _unknown(str(name), known)))


def _unknown(name: str, known: frozenset[str]) -> str:
    guess = _OTHER_NAMES.get(name.lower())
    if guess not in known:
        guess = next(iter(difflib.get_close_matches(name[:60].lower(), sorted(known), n=1)), None)
    hint = f"did you mean {guess!r}? " if guess else ""
    return f"there is no such field; {hint}Names of your own begin with {FREE_PREFIX!r}"
