"""Threads with known quality and planted biases of voting: which vote mode orders them right?

    python -m benchmarks.vote_simulator [--worlds NAME ...] [--seeds 5] [--questions 1000]

Readers come to a question, see its answers in some order, look at some of them and vote on what
they see. Every bias has a strength and can be switched off; the process is not the model that
``--votes debiased`` fits: attention is a power of the rank, a reading from the top that stops, or
the first k answers; a reader may vote on several answers or on the best one; votes come with page
views that decay and return with each new answer, within a day in an order that the data do not tell.

*Votes under random display* are what the same readers would have voted had all answers been there
from the first day, each time in random order, without scores: the labels one would like to have.

Accuracy is the share of pairs ordered as their true qualities are. Each mode is judged at the pairs
that it decides, and all at the same coverage: its surest 85 % of all pairs, where pairs that it
leaves undecided count one half. Intervals are bootstrapped over questions within each seed's site.
"""

import argparse
import itertools
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.post import DAY_MS, Post, Thread
from transforms.pairing import (
    VoteMode,
    common_window,
    common_window_scores,
    confidence,
    response_score,
)

Vector = NDArray[Any]

START_DAY: Final = 15_000
"""UTC day of the first question: 2011, when accepted answers were shown on top."""

MOST_LEAD: Final = 3.0
"""asinh of a lead at which the crowd draws no further."""


@dataclass(frozen=True)
class World:
    """How people post, read and vote; the strengths of 0 plant nothing."""

    quality: float = 0.7
    """Standard deviation of the true qualities, in log-odds of an upvote by a reader who looks."""
    heavy_tails: bool = False
    """Qualities from Student's t with 3 degrees of freedom, of the same deviation."""
    late_quality: float = 0.0
    """What each later answer of a question gains in quality."""

    attention: str = "power"
    """'power': rank r is looked at with probability r^−position; 'stop': readers go from the top and
    stop after each answer with probability 1 − exp(−position / 2); 'top': only the first 2 are
    looked at, but with probability exp(−position) all."""
    position: float = 0.5
    herding: float = 0.2
    """Log-odds of an upvote for each unit of asinh(lead over the mean score of the others)."""
    head_start: bool = True
    """Answers come one after the other; else all are there from the first day."""
    freshness: float = 0.85
    """Two in five readers come for a new answer, which they look at wherever it stands, and at each
    other one with a probability smaller by this share, for they have seen it before."""
    accepting: float = 0.5
    """Share of questions whose author accepts an answer, of those there are: the best, as he sees
    it, with noise of the size of `quality`."""
    pinned: bool = True
    """The accepted answer is shown on top."""
    by_day: bool = False
    """The order is that of the end of the day before, all day long; else it is always up to date."""

    visits: float = 75.0
    """Mean number of readers of a question with a vote to give, most of whom do not give it."""
    upvotes: float = 0.06
    """Probability that a reader who looks at an answer of mean quality votes for it."""
    downvotes: float = 0.004
    """And against it."""
    best_only: bool = False
    """A reader votes for the best answer seen instead of for each that is good."""


NO_BIAS: Final[dict[str, Any]] = {
    "position": 0.0, "herding": 0.0, "head_start": False, "freshness": 0.0, "pinned": False,
}  # fmt: skip

WORLDS: Final[dict[str, World]] = {
    "no bias": World(**NO_BIAS),
    "position only": replace(World(**NO_BIAS), position=0.8),
    "head start only": replace(World(**NO_BIAS), head_start=True),
    "herding only": replace(World(**NO_BIAS), herding=0.6),
    "all, as found": World(),
    "all, strong": World(position=1.0, herding=0.5, freshness=0.95),
    "reading from the top": World(attention="stop", position=1.0),
    "first two answers": World(attention="top", position=1.0),
    "one vote for the best": World(best_only=True),
    "order of the day before": World(by_day=True),
    "heavy tails": World(heavy_tails=True),
    "later ones are better": World(late_quality=0.3),
    "few votes": World(visits=30.0),
    "many votes": World(visits=250.0),
    "many downvotes": World(downvotes=0.03),
}


class Site(NamedTuple):
    """The threads of one world and what is true of them."""

    threads: list[Thread]
    quality: list[tuple[float, ...]]
    """True quality of each response of each thread."""
    unbiased: list[tuple[float, ...]]
    """Net votes of each response under random display."""


class _Question(NamedTuple):
    """What chance decides about a question, whatever the biases."""

    quality: list[float]
    arrival: list[float]  # days since the question, increasing
    visits: list[float]  # times of the readers, increasing
    came_for: list[int]  # the new answer that each came for; −1: for the question
    looks: Vector  # uniform [visits, answers]: whether an answer is looked at
    votes: Vector  # uniform [visits, answers]
    order: Vector  # uniform [visits, answers]: decides between equal scores
    generosity: Vector  # [visits], log-odds
    accepts_at: float  # days since the question; infinite: never
    taste: list[float]  # noise of the author's choice


def simulate(world: World, *, questions: int, seed: int, site: str = "simulated.test") -> Site:
    """Return the threads of a site; the same for the same arguments, and prefixes of each other."""
    threads, quality, unbiased = [], [], []
    for number in range(questions):
        question = _draw(world, np.random.default_rng([seed, number]))
        votes = _vote(world, question, fair=False)
        fair = _vote(world, question, fair=True)
        threads.append(_thread(world, question, votes, number, site))
        quality.append(tuple(question.quality))
        unbiased.append(
            tuple(
                float(len(ups) - len(downs) + (place == fair.accepted))
                for place, (ups, downs) in enumerate(zip(fair.ups, fair.downs, strict=True))
            )
        )
    return Site(threads, quality, unbiased)


def _draw(world: World, random: np.random.Generator) -> _Question:
    count = 2 + min(int(random.geometric(0.5)) - 1, 7)
    normal, heavy = random.standard_normal(count), random.standard_t(3, count) / math.sqrt(3)
    quality = world.quality * (heavy if world.heavy_tails else normal)
    quality = quality + world.late_quality * np.arange(count)
    # The first within hours, the rest within days, some after years.
    waits = 10 ** random.normal(0.4, 1.1, count)
    waits[0] = 10 ** random.normal(-0.7, 0.6)
    arrival = np.sort(np.minimum(waits, 1400.0))
    popularity = math.exp(random.standard_normal() * 0.7 - 0.245)
    number = random.poisson(world.visits * popularity)
    kind = random.random(number)
    # Readers at first, at each new answer, and by search engines over the years.
    new = random.integers(0, count, number)
    times = np.where(
        kind < 0.2,
        random.exponential(2.0, number),
        np.where(
            kind < 0.6,
            arrival[new] + random.exponential(1.5, number),
            1500.0 * random.random(number) ** 3,
        ),
    )
    order = np.argsort(times, kind="stable")
    shape = (number, count)
    accepts = random.random() < world.accepting
    wait = 10 ** random.normal(0.6, 0.9)
    return _Question(
        quality=quality.tolist(),
        arrival=arrival.tolist(),
        visits=times[order].tolist(),
        came_for=np.where((kind >= 0.2) & (kind < 0.6), new, -1)[order].tolist(),
        looks=random.random(shape),
        votes=random.random(shape),
        order=random.random(shape),
        generosity=random.standard_normal(number) * 0.5 - 0.125,
        accepts_at=float(arrival[0] + wait) if accepts else math.inf,
        taste=(random.gumbel(size=count) * world.quality).tolist(),
    )


class _Votes(NamedTuple):
    ups: list[list[int]]
    """Days since the question, by answer."""
    downs: list[list[int]]
    accepted: int | None


def _vote(world: World, question: _Question, *, fair: bool) -> _Votes:
    """Let the readers of a question vote; ``fair``: under random display."""
    if fair:
        world = replace(world, herding=0.0, head_start=False, freshness=0.0, pinned=False)
    quality, count = question.quality, len(question.quality)
    arrival = question.arrival if world.head_start else [0.0] * count
    ups: list[list[int]] = [[] for _ in range(count)]
    downs: list[list[int]] = [[] for _ in range(count)]
    score, shown = [0] * count, [0] * count
    accepted = max(
        (place for place in range(count) if arrival[place] <= question.accepts_at < math.inf),
        key=lambda place: quality[place] + question.taste[place],
        default=None,
    )
    up_at, down_at = _logit(world.upvotes), _logit(world.downvotes)
    # Most readers would vote on nothing that they might see; the others are gone through.
    most = MOST_LEAD * world.herding
    likes = np.array(quality)
    votes = (question.votes < _sigmoid(up_at + question.generosity[:, None] + likes + most)) | (
        question.votes > 1 - _sigmoid(down_at - likes + most)
    )
    today = -1
    for visit in np.flatnonzero(votes.any(axis=1)).tolist():
        moment = question.visits[visit]
        there = [place for place in range(count) if arrival[place] <= moment]
        if not there:
            continue
        day = int(moment)
        if day != today or not world.by_day:
            shown, today = score.copy(), day
        noise = question.order[visit]
        top = accepted if world.pinned and moment > question.accepts_at else None
        ranked = sorted(
            there,
            key=lambda place: (
                (noise[place],) if fair else (place != top, -shown[place], noise[place])
            ),
        )
        looks, chance = question.looks[visit].tolist(), question.votes[visit].tolist()
        came_for = question.came_for[visit] if world.freshness and len(there) > 1 else -1
        total = sum(shown[place] for place in there)
        up, down = [], []
        for rank, place in enumerate(ranked, 1):
            seen = _exposure(world, rank, looks[0])
            if came_for == place:
                seen = 1.0
            elif came_for >= 0:  # the others, who came before, have seen
                seen *= 1 - world.freshness
            if looks[place] >= seen:
                continue
            liked = quality[place]
            if world.herding and len(there) > 1:
                lead = math.asinh(shown[place] - (total - shown[place]) / (len(there) - 1))
                liked += world.herding * max(-MOST_LEAD, min(lead, MOST_LEAD))
            if chance[place] < _sigmoid(up_at + question.generosity[visit] + liked):
                up.append((liked, place))
            elif chance[place] > 1 - _sigmoid(down_at - liked):
                down.append(place)
        for _, place in [max(up)] if up and world.best_only else up:
            ups[place].append(day)
            score[place] += 1
        for place in down:
            downs[place].append(day)
            score[place] -= 1
    return _Votes(ups, downs, accepted)


def _exposure(world: World, rank: int, reader: float) -> float:
    """Probability that the answer at a rank is looked at; ``reader`` is the reader's own chance."""
    if world.attention == "power":
        return float(rank**-world.position)
    if world.attention == "stop":
        return math.exp(-world.position / 2 * (rank - 1))
    if world.attention == "top":
        return 1.0 if rank <= 2 or reader < math.exp(-world.position) else 0.0
    raise ValueError(f"no attention {world.attention!r}; choose from power, stop, top")


def _thread(world: World, question: _Question, votes: _Votes, number: int, site: str) -> Thread:
    name = f"{site}:{number}"
    day = START_DAY + number % 1000
    posts = []
    for place, (ups, downs) in enumerate(zip(votes.ups, votes.downs, strict=True)):
        is_accepted = votes.accepted == place
        posts.append(
            Post(
                id=f"{name}{place:02d}",
                thread_id=name,
                source="stackexchange",
                site=site,
                url="",
                text="answer",
                created_at=int((day + question.arrival[place] * world.head_start) * DAY_MS),
                score=len(ups) - len(downs),
                up_days=tuple(sorted(day + one for one in ups)),
                down_days=tuple(sorted(day + one for one in downs)),
                accepted=is_accepted,
                accepted_day=day + int(question.accepts_at) if is_accepted else None,
                author_id=f"{site}:u{number * 10 + place}",
                license="CC-BY-SA-4.0",
            )
        )
    prompt = Post(
        id=name,
        thread_id=name,
        source="stackexchange",
        site=site,
        url="",
        title="question",
        text="question",
        created_at=day * DAY_MS,
        score=0,
        license="CC-BY-SA-4.0",
    )
    return Thread(prompt=prompt, responses=tuple(posts))


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _logit(p: float) -> float:
    return math.log(p / (1 - p))
