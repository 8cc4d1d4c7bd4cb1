"""Conversions that have a row for each response, or for all responses to a prompt."""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pipeline.export.pair_rows import prompt_messages, response_messages
from pipeline.export.standings import Response, Standing, standing
from pipeline.export.thread_pairs import ThreadPair, conversations
from schemas.exports import LabelledResponse, LeftOut, Ranking

Fate = bool | LeftOut
"""The label of a response, or why it has none."""


class Labelled(NamedTuple):
    """Labelled responses of a thread."""

    rows: list[LabelledResponse]
    left_out: Counter[LeftOut]


class Ranked(NamedTuple):
    """Ranked responses of a thread."""

    rows: list[Ranking]
    left_out: Counter[LeftOut]
    """Responses in no row."""


def labelled_responses(pairs: Sequence[ThreadPair], *, by_pairs: bool = False) -> Labelled:
    """Return each response of a thread's pairs that can be called good or bad, once.

    See :func:`fates`, and for ``by_pairs`` :func:`pipeline.export.standings.standing`. Within a
    conversation the best come first.
    """
    rows: list[LabelledResponse] = []
    left_out: Counter[LeftOut] = Counter()
    for part in conversations(pairs):
        prompt = prompt_messages(part[0])
        for response, fate in fates(standing(part, by_pairs=by_pairs)):
            if isinstance(fate, LeftOut):
                left_out[fate] += 1
                continue
            completion = response_messages(response.text, response.turns)
            rows.append(LabelledResponse(prompt=prompt, completion=completion, label=fate))
    return Labelled(rows, left_out)


def fates(order: Standing) -> list[tuple[Response, Fate]]:
    """Decide for each response to a prompt whether it is good, bad or neither.

    Where responses have scores of their own, those above the median are good and those below it
    bad; those at the median are neither, unless nothing is better (they are good) or worse (bad).
    And a pair must agree: choose what is good, reject what is bad. Without scores, what is never
    rejected is good and what is never chosen bad. So no pair chooses what is bad over what is good.
    A text counts once; where only good or only bad ones would be left, nothing is.
    """
    found: list[tuple[Response, Fate]]
    if order.by_score:
        found = list(_by_score(order.responses))
    else:
        found = [(response, _by_pairs(response)) for response in order.responses]
        found += [(response, LeftOut.WON_AND_LOST) for response in order.circular]
    found = _once(found)
    if {True, False} <= {fate for _, fate in found if not isinstance(fate, LeftOut)}:
        return found
    return [
        (response, fate if isinstance(fate, LeftOut) else LeftOut.NO_COUNTERPART)
        for response, fate in found
    ]


def _by_score(responses: Sequence[Response]) -> Iterator[tuple[Response, Fate]]:
    scores = [response.score for response in responses]
    worst, median, best = min(scores), statistics.median(scores), max(scores)
    for response in responses:
        if response.score > median or response.score == best:
            yield response, True if response.won else LeftOut.UNSUPPORTED
        elif response.score < median or response.score == worst:
            yield response, False if response.lost else LeftOut.UNSUPPORTED
        else:
            yield response, LeftOut.MIDDLE


def _by_pairs(response: Response) -> Fate:
    if response.won and response.lost:
        return LeftOut.WON_AND_LOST
    return response.won


def _once(found: list[tuple[Response, Fate]]) -> list[tuple[Response, Fate]]:
    """Leave out texts that are there already, and those that are good here and bad there."""
    labels: dict[str, set[bool]] = {}
    for response, fate in found:
        if not isinstance(fate, LeftOut):
            labels.setdefault(response.text, set()).add(fate)
    seen: set[str] = set()
    kept: list[tuple[Response, Fate]] = []
    for response, fate in found:
        if not isinstance(fate, LeftOut):
            if len(labels[response.text]) > 1 or response.text in seen:
                fate = LeftOut.SAME_TEXT
            seen.add(response.text)
        kept.append((response, fate))
    return kept


def rankings(pairs: Sequence[ThreadPair], *, by_pairs: bool = False) -> Ranked:
    """Return for each conversation of a thread its responses in their order.

    See :func:`pipeline.export.standings.standing`. A row has at least two tie groups.
    """
    rows: list[Ranking] = []
    left_out: Counter[LeftOut] = Counter()
    for part in conversations(pairs):
        order = standing(part, by_pairs=by_pairs)
        left_out[LeftOut.CIRCULAR] += len(order.circular)
        responses = order.responses
        if len({response.tie_group for response in responses}) < 2:
            left_out[LeftOut.NO_COUNTERPART] += len(responses)
            continue
        rows.append(
            Ranking(
                thread_id=part[0].thread_id,
                context_ids=part[0].context_ids,
                prompt=prompt_messages(part[0]),
                responses=tuple(response.text for response in responses),
                scores=tuple(response.score for response in responses),
                tie_groups=tuple(response.tie_group for response in responses),
                response_ids=tuple(response.id for response in responses),
                created_at=tuple(response.created_at for response in responses),
            )
        )
    return Ranked(rows, left_out)
