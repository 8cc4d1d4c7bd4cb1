"""Votes as choices: who could be voted for on a day, what voters saw of each, and who was chosen.

:mod:`transforms.pairing.vote_model` says what is made of them.
"""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Container, Sequence
from datetime import date
from enum import IntEnum
from typing import Final, NamedTuple

from schemas.post import DAY_MS, Post, Thread
from transforms.pairing.votes import undated_votes

FEATURES: Final = ("log_rank", "accepted", "log_age", "fresh", "first_day", "head_start")
"""Of a response at the end of the day before a vote, in the order of :class:`VoteEffects`:
log of its place on the page (first is 1, responses of equal score share the mean of their places),
whether it was accepted, log of its age in days, whether it is at most FRESH_DAYS old, whether it
appeared that day, and asinh of the net votes that it had before there was another to choose.

The last one is no effect on voters but evidence of quality. The choices begin with places that
earlier votes, which were no choice, have made; those votes depend on θ. Were θ taken to be the same
whatever they were (the "initial conditions problem": Heckman 1981), the place would seem to do what
quality did, and be corrected for too much: in the simulator without any bias, log_rank came out at
−0.2 instead of 0. So θ_i ~ Normal(λ·head_start_i, σ²) given them (Wooldridge 2005, J. Appl.
Econometrics 20, 39–54), with λ from the fit, and the quality that is compared has λ·head_start in
it."""

FRESH_DAYS: Final = 2
"""A new response brings its question back to the front page for about so long."""

HOUR_MS: Final = 3_600_000
UNPINNED_DAY: Final = (date(2021, 11, 1) - date(1970, 1, 1)).days
"""UTC day number from which accepted answers are no longer shown first on Stack Exchange sites.
Until then they were, unless the asker had written them. Stack Overflow: UNPINNED_DAY_STACKOVERFLOW.
Sites could choose for themselves, which a dump does not tell."""

UNPINNED_DAY_STACKOVERFLOW: Final = (date(2021, 9, 8) - date(1970, 1, 1)).days
"""meta.stackoverflow.com/questions/411192."""

UNDATED_WEIGHT: Final = 0.3
"""What a vote of unknown date is worth: with it, totals are about as sure as they agree with the
posterior from dates, on each of four sites that have both (docs/vote_model.md)."""


class VoteKind(IntEnum):
    """What was chosen for; also the order of their effects."""

    UP = 0
    DOWN = 1
    ACCEPT = 2
    """The asker's acceptance, one choice per question."""


class VoteChoice(NamedTuple):
    """The votes of one day and kind on the responses to one post."""

    day: int
    """UTC day number."""
    kind: VoteKind
    eligible: tuple[int, ...]
    """Indexes of the responses that were there by the end of the day; two or more."""
    features: tuple[tuple[float, ...], ...]
    """Of each of them, in the order of FEATURES."""
    exposure: tuple[float, ...]
    """Log of the share of the day, in which each of them could be voted for."""
    votes: tuple[float, ...]
    """How many each of them got; more than none in all."""


def vote_choices(thread: Thread) -> list[VoteChoice]:
    """Return the dated votes of a thread as choices; an empty list: there are none.

    Votes of the day on which a response appeared cannot be put before or after it, so on that day
    it counts by the share of the day that was left (``exposure``). Votes from before the second
    response are no choice. Replies are chosen among their siblings.
    """
    return [
        choice
        for group in siblings(thread).values()
        if len(group) > 1 and all(thread.responses[i].up_days is not None for i in group)
        for choice in choices_among(thread, group)
    ]


def choices_among(thread: Thread, group: Sequence[int]) -> list[VoteChoice]:
    """Return the choices among responses to one post, by index; all of them have dated votes."""
    posts = [thread.responses[index] for index in group]
    ups = [Counter(post.up_days) for post in posts]
    downs = [Counter(post.down_days) for post in posts]
    accepts = [Counter(_days_accepted(thread.prompt, post)) for post in posts]
    born = [post.created_at // DAY_MS for post in posts]
    second = sorted(born)[1]
    head_start = [head_start_of(post, second) for post in posts]
    voted = set[int]().union(*ups, *downs, *accepts)
    days = sorted(day for day in voted if day >= second)
    unpinned = _unpinned_day(thread)
    choices = []
    for day in days:
        here = [place for place in range(len(group)) if born[place] <= day]
        accepted = [_accepted_before(posts[place], day) for place in here]
        pinned = [
            known and day <= unpinned and not _is_self_answer(thread.prompt, posts[place])
            for place, known in zip(here, accepted, strict=True)
        ]
        scores = [_score_before(posts[place], day) for place in here]
        ranks = _mean_ranks(list(zip(pinned, scores, strict=True)))
        features = tuple(
            (
                math.log(rank),
                float(known),
                math.log(max(day - born[place], 1)),
                float(day - born[place] <= FRESH_DAYS),
                float(day == born[place]),
                head_start[place],
            )
            for place, rank, known in zip(here, ranks, accepted, strict=True)
        )
        opened = max(day * DAY_MS, thread.prompt.created_at)
        close = (day + 1) * DAY_MS
        exposure = tuple(
            math.log(
                max(close - max(posts[place].created_at, opened), HOUR_MS)
                / max(close - opened, HOUR_MS)
            )
            for place in here
        )
        for kind, counts in (
            (VoteKind.UP, ups),
            (VoteKind.DOWN, downs),
            (VoteKind.ACCEPT, accepts),
        ):
            votes = tuple(counts[place][day] for place in here)
            if any(votes):
                eligible = tuple(group[place] for place in here)
                choices.append(VoteChoice(day, kind, eligible, features, exposure, votes))
    return choices


def _unpinned_day(thread: Thread) -> int:
    """First day on whose morning an accepted answer was not on top; 0: it never was."""
    prompt = thread.prompt
    if prompt.source != "stackexchange":
        return 0
    return UNPINNED_DAY_STACKOVERFLOW if prompt.site == "stackoverflow.com" else UNPINNED_DAY


def _is_self_answer(prompt: Post, response: Post) -> bool:
    return response.author_id is not None and response.author_id == prompt.author_id


def _days_accepted(prompt: Post, response: Post) -> list[int]:
    """The day of its acceptance, if that was a choice: askers accept own answers, too."""
    if not response.accepted or _is_self_answer(prompt, response):
        return []
    return [] if response.accepted_day is None else [response.accepted_day]


def _accepted_before(post: Post, day: int) -> bool:
    return post.accepted and post.accepted_day is not None and post.accepted_day < day


def _score_before(post: Post, day: int) -> int:
    assert post.up_days is not None and post.down_days is not None
    return bisect_left(post.up_days, day) - bisect_left(post.down_days, day)


def head_start_of(post: Post, second: int) -> float:
    """Asinh of the net votes from before the day on which a second response appeared."""
    return math.asinh(_score_before(post, second)) if post.created_at // DAY_MS < second else 0.0


def _mean_ranks(keys: Sequence[tuple[bool, int]]) -> list[float]:
    """Places in descending order of ``keys`` from 1 on; equal keys share the mean of theirs."""
    above = 0
    rank = {}
    for key, count in sorted(Counter(keys).items(), reverse=True):
        rank[key] = above + (count + 1) / 2
        above += count
    return [rank[key] for key in keys]


def siblings(thread: Thread) -> dict[str | None, list[int]]:
    """Indexes of the responses to each post; None: to the prompt."""
    found: dict[str | None, list[int]] = {}
    for index, response in enumerate(thread.responses):
        found.setdefault(response.parent_id, []).append(index)
    return found


def undated_choices(posts: Sequence[Post], group: Sequence[int]) -> list[VoteChoice]:
    """Return the totals of responses to one post as choices among all of them, seen alike."""
    totals = [undated_votes(post) for post in posts]
    accepted = [int(post.accepted) for post in posts]
    ups, downs = ([total[way] for total in totals] for way in (0, 1))
    nothing = ((0.0,) * len(FEATURES),) * len(group)
    return [
        VoteChoice(
            0,
            kind,
            tuple(group),
            nothing,
            (0.0,) * len(group),
            tuple(UNDATED_WEIGHT * number for number in votes),
        )
        for kind, votes in zip(VoteKind, (ups, downs, accepted), strict=True)
        if len(group) > 1 and any(votes)
    ]


def choice_among(choice: VoteChoice, wanted: Container[int]) -> VoteChoice | None:
    """The choice among some of its responses: the shares of a logit stay in proportion."""
    at = [number for number, index in enumerate(choice.eligible) if index in wanted]
    if len(at) == len(choice.eligible):
        return choice
    votes = tuple(choice.votes[number] for number in at)
    if len(at) < 2 or not any(votes):
        return None
    return VoteChoice(
        choice.day,
        choice.kind,
        tuple(choice.eligible[number] for number in at),
        tuple(choice.features[number] for number in at),
        tuple(choice.exposure[number] for number in at),
        votes,
    )
