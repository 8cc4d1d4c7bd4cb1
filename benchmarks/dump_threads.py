"""Threads without text: who answers when, and who votes for what, for a chunk of posts."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

DAY_MS = 86_400_000
FIRST_DAY = int(np.datetime64("2012-01-01", "D").astype(np.int64))
LAST_DAY = int(np.datetime64("2024-01-01", "D").astype(np.int64))
DUMP_DAY = int(np.datetime64("2024-04-02", "D").astype(np.int64))
"""Questions are asked from FIRST_DAY to LAST_DAY; nothing is dated after DUMP_DAY."""

ACCEPT, UP, DOWN, OFFENSIVE, FAVOURITE, SPAM = 1, 2, 3, 4, 5, 12

UNANSWERED = 0.14
MORE_ANSWERS = (-0.40, 1.15)
"""Mean and deviation of the logarithm of the answers after the first."""

MAX_ANSWERS = 300
DELAY = (np.log(DAY_MS), 2.6)
"""The same for the milliseconds until an answer."""

ATTENTION_DAYS = 3.0
"""A question gets its first attention with this mean delay; late answers miss it."""

FLAGGED = 0.001


@dataclass(frozen=True)
class Threads:
    """A chunk of posts in the order of time; arrays are indexed by post [n] or by vote [v]."""

    parent: Ints
    """Index of the question, -1 for a question."""
    created: Ints
    """Milliseconds since 1970."""
    answers: Ints
    accepted: Ints
    """Index of the accepted answer, -1 for none and for answers."""
    score: Ints
    vote_post: Ints
    vote_type: Ints
    vote_day: Ints
    """Days since 1970; votes are ordered by day."""


def draw_threads(
    posts: int, first_day: float, last_day: float, random: np.random.Generator
) -> Threads:
    """Draw complete threads with ``posts`` posts, whose questions are asked in the given days."""
    counts = _answer_counts(posts, random)
    question = np.repeat(np.arange(len(counts)), counts)
    asked = np.sort(random.uniform(first_day, last_day, len(counts))) * DAY_MS
    answered = asked[question] + _delays(asked[question], random)
    created = np.concatenate([asked, answered]).astype(np.int64)
    parent = np.concatenate([np.full(len(counts), -1), question])

    order = np.argsort(created, kind="stable")
    place = np.empty(posts, np.int64)
    place[order] = np.arange(posts)
    parent, created = parent[order], created[order]
    parent[parent >= 0] = place[parent[parent >= 0]]
    answers = np.zeros(posts, np.int64)
    answers[place[: len(counts)]] = counts

    quality = random.standard_normal(posts)
    accepted = _accepted(parent, quality, random)
    vote_post, vote_type, vote_day = _votes(parent, created, quality, accepted, random)
    score = np.bincount(vote_post[vote_type == UP], minlength=posts) - np.bincount(
        vote_post[vote_type == DOWN], minlength=posts
    )
    return Threads(parent, created, answers, accepted, score, vote_post, vote_type, vote_day)


def _answer_counts(posts: int, random: np.random.Generator) -> Ints:
    """Draw heavy-tailed answer counts until questions and answers are ``posts`` together."""
    more = np.floor(random.lognormal(*MORE_ANSWERS, posts)).astype(np.int64)
    counts = np.minimum(np.where(random.random(posts) < UNANSWERED, 0, 1 + more), MAX_ANSWERS)
    totals = np.cumsum(counts + 1)
    last = int(np.searchsorted(totals, posts))
    counts = counts[: last + 1]
    counts[-1] -= totals[last] - posts
    return counts


def _delays(asked: Floats, random: np.random.Generator) -> Floats:
    delay = 30_000 + random.lognormal(*DELAY, len(asked))
    left = DUMP_DAY * DAY_MS - asked
    return np.where(delay < left, delay, left * random.random(len(asked)))


def _accepted(parent: Ints, quality: Floats, random: np.random.Generator) -> Ints:
    """Choose the best answer, with much noise, for half of the answered questions."""
    answers = np.flatnonzero(parent >= 0)
    liked = quality[answers] + random.standard_normal(len(answers))
    best_last = answers[np.argsort(liked, kind="stable")]
    accepted = np.full(len(parent), -1)
    accepted[parent[best_last]] = best_last
    accepted[random.random(len(parent)) < 0.45] = -1
    return accepted


def _votes(
    parent: Ints, created: Ints, quality: Floats, accepted: Ints, random: np.random.Generator
) -> tuple[Ints, Ints, Ints]:
    """Draw votes: first attention that late answers miss, then a trickle until the dump."""
    posts = len(parent)
    start = created / DAY_MS
    is_answer = parent >= 0
    thread = np.where(is_answer, parent, np.arange(posts))
    popularity = random.lognormal(0.0, 1.0, posts)[thread]
    appeal = popularity * np.exp(0.6 * quality)
    delay = start - start[thread]
    age = DUMP_DAY - start

    early = np.repeat(
        np.arange(posts), random.poisson(1.8 * appeal * np.exp(-delay / ATTENTION_DAYS))
    )
    late = np.repeat(np.arange(posts), random.poisson(0.8 * appeal * age / (age + 700)))
    down = np.repeat(
        np.arange(posts), random.poisson(0.2 * np.sqrt(popularity) * np.exp(-0.8 * quality))
    )
    accepting = accepted[accepted >= 0]
    flagged = np.repeat(np.arange(posts), random.poisson(FLAGGED, posts))
    favourite = np.flatnonzero(~is_answer & (random.random(posts) < 0.03))

    soon = [early, down, accepting, flagged, favourite]
    soon_days = [start[p] + random.exponential(ATTENTION_DAYS, len(p)) for p in soon]
    late_days = start[late] + age[late] * random.random(len(late))
    types = [UP, DOWN, ACCEPT, 0, FAVOURITE]
    vote_type = np.concatenate(
        [np.full(len(p), t) for p, t in zip(soon, types, strict=True)] + [np.full(len(late), UP)]
    )
    vote_type[vote_type == 0] = random.choice([OFFENSIVE, SPAM], len(flagged))
    vote_post = np.concatenate([*soon, late])
    vote_day = np.minimum(np.concatenate([*soon_days, late_days]), DUMP_DAY).astype(np.int64)
    order = np.argsort(vote_day, kind="stable")
    return vote_post[order], vote_type[order], vote_day[order]
