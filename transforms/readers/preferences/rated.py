"""Rows that rate responses one by one: what is rated higher is better.

What rows say of one prompt is put together where threads are, so that the responses may be in one
row or each in its own, wherever in the set.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from schemas.audit import Reason
from schemas.post import Post
from transforms.readers.formats import values
from transforms.readers.preferences.conversations import (
    SetRowError,
    prompt_texts,
    response_text,
    split_response,
)
from transforms.readers.preferences.rows import (
    AnswerList,
    Origin,
    Row,
    need,
    prompt_post,
    rating,
    response_post,
)

LISTS: Final = ("completions", "responses", "generations")
"""Columns with the responses to one prompt: objects with their ratings, or texts, whose ratings are
in a list beside them."""
_RATINGS_BESIDE: Final = ("ratings", "scores")
_RATINGS_INSIDE: Final = ("overall_score", "fine-grained_score")

COLUMNS: Final = frozenset(
    (
        *("prompt", "instruction", "completion", "label", "response", "helpfulness"),
        *LISTS,
        *_RATINGS_BESIDE,
        *_RATINGS_INSIDE,
    )
)
"""Columns that are read, those of responses in lists included."""


def read_labelled(row: Row, origin: Origin) -> AnswerList:
    """TRL's unpaired preferences, for KTO: a ``completion`` with the ``label`` true or false."""
    return _one(row, origin, "completion", float(need(row, "label", values.flag)))


def read_rated_response(row: Row, origin: Origin) -> AnswerList:
    """HelpSteer and HelpSteer2: a ``response`` and its ``helpfulness``.

    The other four ratings (correctness, coherence, complexity, verbosity) are not read: the
    authors take the difference in helpfulness for the preference.
    """
    if row.get("helpfulness") is None:
        detail = "helpfulness is missing, and is needed; name another rating of yours with "
        raise SetRowError(Reason.MISSING_FIELD, f"{detail}--pairs-columns helpfulness=THEIRS")
    return _one(row, origin, "response", need(row, "helpfulness", rating))


def _one(row: Row, origin: Origin, name: str, worth: float) -> AnswerList:
    turns, text = split_response(row.get("prompt"), row.get(name), name)
    prompt = prompt_post(row, origin, turns)
    return AnswerList(prompt, [response_post(prompt, text, worth=worth)], [])


class _Rated(NamedTuple):
    """A response as a row has it."""

    text: Any
    worth: Any
    """Its rating, or None where `annotations` have it."""
    annotations: Any = None


def read_rated_list(row: Row, origin: Origin) -> AnswerList:
    """UltraFeedback and sets like it: a prompt or ``instruction``, and rated responses to it.

    ``completions`` are objects with a ``response`` and its ``overall_score``, or where that is
    null its ``fine-grained_score``, or else the ratings of single aspects in ``annotations``, whose
    mean is taken. Texts in ``responses`` or ``generations`` have their numbers in ``ratings`` or
    ``scores``, in the same order.
    """
    column = next(name for name in LISTS if name in row)
    given = need(row, column, values.sequence)
    asked = row.get("instruction") if row.get("prompt") is None else row["prompt"]
    turns = prompt_texts(asked)
    beside = next((name for name in _RATINGS_BESIDE if row.get(name) is not None), None)
    if beside is not None:
        numbers = need(row, beside, values.sequence)
        if len(numbers) != len(given):
            detail = f"{column} has {len(given)} entries, and {beside} has {len(numbers)}"
            raise ValueError(f"{detail}: each response needs its rating")
        items: Sequence[Any] = [_Rated(*pair) for pair in zip(given, numbers, strict=True)]
    else:
        items = given
    prompt = prompt_post(row, origin, turns)
    responses: list[Post] = []
    bad: list[tuple[int, str | None, SetRowError]] = []
    for index, item in enumerate(items):
        try:
            found = item if isinstance(item, _Rated) else _inside(item, column)
            text = response_text(asked, found.text, "response")
            responses.append(response_post(prompt, text, worth=_worth(found)))
        except SetRowError as error:
            bad.append((index, None, error))
        except ValueError as error:
            bad.append((index, None, SetRowError(Reason.BAD_VALUE, str(error))))
    return AnswerList(prompt, responses, bad, column)


def _inside(item: Any, column: str) -> _Rated:
    if not isinstance(item, Mapping):
        detail = f"one of {column} is {values.shown(item)}, not an object with a rating"
        raise SetRowError(Reason.BAD_VALUE, f"{detail}, and there is no list of ratings")
    worth = next((item[name] for name in _RATINGS_INSIDE if item.get(name) is not None), None)
    return _Rated(item.get("response"), worth, item.get("annotations"))


def _worth(found: _Rated) -> float:
    if found.worth is not None:
        return need({"rating": found.worth}, "rating", rating)
    aspects = found.annotations.values() if isinstance(found.annotations, Mapping) else ()
    ratings = []
    for aspect in aspects:
        said = aspect.get("Rating") if isinstance(aspect, Mapping) else None
        if said is not None and said != "N/A":
            ratings.append(need({"Rating": said}, "Rating", rating))
    if not ratings:
        raise SetRowError(Reason.MISSING_FIELD, "a rating is missing, and is needed")
    return math.fsum(ratings) / len(ratings)
