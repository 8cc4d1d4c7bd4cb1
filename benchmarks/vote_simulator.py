"""Threads with known quality and planted biases of voting: which vote mode orders them right?

    python -m benchmarks.vote_simulator [--worlds NAME ...] [--seeds 5] [--questions 1000]

Readers come to a question, see its answers in some order, look at some of them and vote on what
they see. Every bias has a strength and can be switched off; the process is not the model that
``--votes debiased`` fits: attention is a power of the rank, a reading from the top that stops, or
the first k answers; a reader may vote on several answers or on the best one; votes come with page
views that decay and return with each new answer, within a day in an order that no data tell.

Beside the vote modes stand

- *random display*: the net votes of the same readers, had all answers been there from the first
  day, each time in random order, without scores. *Of as many votes*: a random part of them, as many
  as the question got in truth; for biases also change how many votes are cast.
- *looks known*: the posterior mode of someone who knows how often each answer was looked at, which
  no data tell. What it lacks to random display is lost with the votes that were not cast; no label
  can win it back.
- *debiased without rank*: the vote model without the place on the page, as a control.

Accuracy is the share of pairs ordered as their true qualities are: of the pairs that a mode
decides, and of its surest half, its surest 85 % and all pairs, where those left undecided count one
half.
The surest are those of the largest margin, between equal ones of the highest confidence. Intervals
are 95 %, bootstrapped over questions.
"""

import argparse
import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.post import DAY_MS, Post, Thread
from transforms.pairing import (
    VoteMode,
    common_window_scores,
    confidence,
    response_score,
)
from transforms.pairing.vote_model import (
    VoteEffects,
    combine_sites,
    compare,
    fit_site,
    response_quality,
    vote_questions,
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
    """'power': rank r is looked at with probability r^−position; 'stop': readers go from the top
    and stop after each answer with probability 1 − exp(−position / 2); 'top': only the first 2
    are looked at, but with probability exp(−position) all."""
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
    """The order is that of the end of the day before, all day long; else always up to date."""

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
    """The threads of one world and what is true of them, by thread and response."""

    threads: list[Thread]
    quality: list[tuple[float, ...]]
    random_display: list[tuple[float, ...]]
    """Net votes under random display."""
    as_many: list[tuple[float, ...]]
    """The same of as many votes as were cast in truth, or all where these are fewer."""
    looks_known: list[tuple[float, ...]]
    """Posterior mode of the quality where the number of looks is known."""


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


class _Votes(NamedTuple):
    ups: list[list[int]]
    """Days since the question, by answer."""
    downs: list[list[int]]
    accepted: int | None
    looks: list[float]
    """Expected number of readers who looked at each answer."""


def simulate(world: World, *, questions: int, seed: int, site: str = "simulated.test") -> Site:
    """Return the threads of a site; the same for the same arguments, and prefixes of each other."""
    made = Site([], [], [], [], [])
    for number in range(questions):
        random = np.random.default_rng([seed, number])
        question = _draw(world, random)
        cast, fair = (_vote(world, question, fair=fair) for fair in (False, True))
        made.threads.append(_thread(world, question, cast, number, site))
        made.quality.append(tuple(question.quality))
        votes = [(place, 1) for place, days in enumerate(fair.ups) for _ in days]
        votes += [(place, -1) for place, days in enumerate(fair.downs) for _ in days]
        picked = random.permutation(len(votes))[: sum(map(len, (*cast.ups, *cast.downs)))]
        for net, chosen in ((made.random_display, range(len(votes))), (made.as_many, picked)):
            scores = [float(place == fair.accepted) for place in range(len(question.quality))]
            for vote in chosen:
                scores[votes[vote][0]] += votes[vote][1]
            net.append(tuple(scores))
        made.looks_known.append(_looks_known(world, question, cast))
    return made


def _looks_known(world: World, question: _Question, cast: _Votes) -> tuple[float, ...]:
    """Mode of θ for Poisson votes at rates looks · exp(±θ) and the author's choice, by Newton."""
    looks = np.array(cast.looks)
    ups, downs = (np.array([len(days) for days in side]) for side in (cast.ups, cast.downs))
    there = np.array(question.arrival) * world.head_start <= question.accepts_at
    theta = np.zeros(len(looks))
    scale = 1 / world.quality if cast.accepted is not None else 0.0
    is_accepted = np.arange(len(looks)) == cast.accepted
    for _ in range(60):
        up = looks * world.upvotes * np.exp(theta)
        down = looks * world.downvotes * np.exp(-theta)
        share = there * np.exp(theta * scale)
        share = share / max(share.sum(), 1e-9)
        slope = ups - up - downs + down - theta / world.quality**2
        slope += scale * (is_accepted - share) if scale else 0.0
        bend = up + down + 1 / world.quality**2 + scale**2 * share * (1 - share)
        theta = theta + 0.7 * np.clip(slope / bend, -1, 1)
    return tuple(theta.tolist())


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
    seen_by = [0.0] * count
    today = -1
    for visit, moment in enumerate(question.visits):
        there = [place for place in range(count) if arrival[place] <= moment]
        if not there:
            continue
        day = int(moment)
        if day != today or not world.by_day:
            shown, today = score.copy(), day
        noise = question.order[visit].tolist()
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
            seen_by[place] += seen
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
    return _Votes(ups, downs, accepted, seen_by)


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


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


MODES: Final = ("net_votes", "log2", "later_wins", "common_window")
DEBIASED: Final = "debiased"
WITHOUT_RANK: Final = "debiased without rank"
AS_MANY: Final = "random display, as many votes"
COVERAGES: Final = (0.5, 0.85, 1.0)
TARGET_COVERAGE: Final = 0.85
DRAWS: Final = 1000
BINS: Final = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Orders(NamedTuple):
    """Every pair of a site (n), and how each way of labelling orders it."""

    question: Vector
    """[n]"""
    truth: Vector
    """[n]: sign of the true difference."""
    strength: dict[str, Vector]
    """[n] by name: > 0 puts the first ahead, 0 leaves it open, and the larger the surer."""
    confidence: dict[str, Vector]
    """[n] by name: probability that the first is better, in words of the mode."""


def compare_modes(site: Site) -> Orders:
    """Order every pair of a site under the vote modes, the vote model and the references."""
    questions = [one for thread in site.threads for one in vote_questions(thread)]
    places = [name for name in VoteEffects.__struct_fields__ if name.endswith("log_rank")]
    models = {
        DEBIASED: combine_sites([fit_site(questions)]),
        WITHOUT_RANK: combine_sites([fit_site(questions, without=places)]),
    }
    rows: list[list[float]] = []
    for number, thread in enumerate(site.threads):
        responses = thread.responses
        net = [response_score(post, VoteMode.NET_VOTES) for post in responses]
        log2 = [response_score(post, VoteMode.LOG2) for post in responses]
        qualities = [response_quality(thread, model) for model in models.values()]
        references = (site.random_display, site.as_many, site.looks_known)
        for i, j in itertools.combinations(range(len(responses)), 2):
            a, b = responses[i], responses[j]
            window = common_window_scores(a, b)
            later = float(a.score - b.score)
            # Pairs are in order of time: the first wins here only where it is not the earlier.
            if later > 0 and a.created_at < b.created_at:
                later = 0.0
            found = [compare(quality, i, j) for quality in qualities]
            sure = confidence(a, b)
            margins = [net[i] - net[j], log2[i] - log2[j], later, window[0] - window[1]]
            rows.append(
                [
                    number,
                    np.sign(site.quality[number][i] - site.quality[number][j]),
                    *(one + 1e-3 * (sure - 0.5) if one else 0.0 for one in margins),
                    *(one.confidence - 0.5 for one in found),
                    *(part[number][i] - part[number][j] for part in references),
                    sure,
                ]
            )
    table = np.array(rows)
    names = (*MODES, *models, "random display", AS_MANY, "looks known")
    strength = {name: table[:, 2 + column] for column, name in enumerate(names)}
    said = {name: strength[name] + 0.5 for name in models} | {"`confidence` today": table[:, -1]}
    return Orders(table[:, 0].astype(int), table[:, 1], strength, said)


class Judged(NamedTuple):
    """Pairs right and pairs counted, by question."""

    right: Vector
    counted: Vector

    @property
    def accuracy(self) -> float:
        return float(self.right.sum() / max(self.counted.sum(), 1))


def judge(orders: Orders, name: str, coverage: float | None) -> Judged:
    """Judge the surest pairs, ``coverage`` of all; None: those that are decided."""
    strength = orders.strength[name]
    if coverage is None:
        chosen = np.flatnonzero(strength)
    else:
        # A coin between pairs of equal strength, the same for all.
        coin = np.random.default_rng(0).random(len(strength))
        surest = np.lexsort((coin, -np.abs(strength)))
        chosen = surest[: round(coverage * len(strength))]
    right = (1 + np.sign(strength[chosen]) * orders.truth[chosen]) / 2
    questions = orders.question.max() + 1
    return Judged(
        np.bincount(orders.question[chosen], right, questions),
        np.bincount(orders.question[chosen], minlength=questions),
    )


def join(sites: Sequence[Orders]) -> Orders:
    """Put the pairs of several sites side by side."""
    offsets = np.cumsum([0, *(site.question.max() + 1 for site in sites)])
    return Orders(
        np.concatenate([one.question + k for one, k in zip(sites, offsets, strict=False)]),
        np.concatenate([one.truth for one in sites]),
        {k: np.concatenate([one.strength[k] for one in sites]) for k in sites[0].strength},
        {k: np.concatenate([one.confidence[k] for one in sites]) for k in sites[0].confidence},
    )


def interval(statistic: Callable[[Vector], float], questions: int) -> tuple[float, float]:
    """95 % interval of ``statistic(times each question is drawn)``."""
    random = np.random.default_rng(0)
    draws = [
        statistic(np.bincount(random.integers(0, questions, questions), minlength=questions))
        for _ in range(DRAWS)
    ]
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


class Outcome(NamedTuple):
    """What the vote model gains at the target coverage, each with its 95 % interval, in points."""

    best: str
    """The best vote mode before it."""
    gain: tuple[float, float, float]
    """Accuracy over that of `best`."""
    gap: float
    """Of `best` to random display with as many votes."""
    whole_gap: float
    """And with all votes of the same readers."""
    attainable: float
    """Of `best` to looks known."""


def outcome(orders: Orders) -> Outcome:
    judged = {name: judge(orders, name, TARGET_COVERAGE) for name in orders.strength}
    best = max(MODES, key=lambda name: judged[name].accuracy)

    def gain(times: Vector) -> float:
        new, old = (
            (times * judged[name].right).sum() / (times * judged[name].counted).sum()
            for name in (DEBIASED, best)
        )
        return 100 * float(new - old)

    questions = len(judged[best].right)
    over = {name: 100 * (one.accuracy - judged[best].accuracy) for name, one in judged.items()}
    return Outcome(
        best,
        (over[DEBIASED], *interval(gain, questions)),
        over[AS_MANY],
        over["random display"],
        over["looks known"],
    )


def reliability(orders: Orders, name: str) -> tuple[float, list[tuple[float, float, int]]]:
    """Calibration error (ECE), and (mean of the surer side, share right, pairs) by bin."""
    p = orders.confidence[name]
    sure = np.maximum(p, 1 - p)
    right = np.where(p == 0.5, 0.5, (1 + np.sign(p - 0.5) * orders.truth) / 2)
    bins = np.clip(np.digitize(sure, BINS) - 1, 0, len(BINS) - 2)
    rows = [
        (float(sure[bins == k].mean()), float(right[bins == k].mean()), int((bins == k).sum()))
        for k in range(len(BINS) - 1)
        if (bins == k).any()
    ]
    return sum(abs(said - was) * n for said, was, n in rows) / len(p), rows


def report(name: str, world: World, questions: int, seeds: int) -> None:
    began = time.perf_counter()
    sites = [simulate(world, questions=questions, seed=seed) for seed in range(seeds)]
    simulated = time.perf_counter() - began
    orders = join([compare_modes(site) for site in sites])
    seconds = time.perf_counter() - began
    votes = sum(len(post.up_days or ()) for s in sites for t in s.threads for post in t.responses)
    print(
        f"\n== {name}: {len(orders.truth):,} pairs of {seeds} × {questions} questions, "
        f"{votes / questions / seeds:.1f} upvotes a question; {simulated:.0f} s to simulate, "
        f"{seconds - simulated:.0f} s to fit and compare"
    )
    header = "".join(f"{f'surest {share:.0%}':>13s}" for share in COVERAGES[:-1])
    print(f"{'':32s}{'decided':>9s}{'of them right':>15s}{header}{'all':>13s}")
    for mode, strength in orders.strength.items():
        accuracies = "".join(f"{judge(orders, mode, share).accuracy:13.3f}" for share in COVERAGES)
        print(
            f"{mode:32s}{(strength != 0).mean():9.1%}"
            f"{judge(orders, mode, None).accuracy:15.3f}{accuracies}"
        )
    found = outcome(orders)
    gain, low, high = found.gain
    print(
        f"debiased over {found.best} at {TARGET_COVERAGE:.0%}: {gain:+.2f} points "
        f"[{low:+.2f}, {high:+.2f}]; random display with as many votes {found.gap:+.2f} "
        f"(closed {_share(gain, found.gap)}), with all {found.whole_gap:+.2f} "
        f"(closed {_share(gain, found.whole_gap)}); looks known {found.attainable:+.2f} "
        f"(closed {_share(gain, found.attainable)})"
    )
    for mode in orders.confidence:
        error, rows = reliability(orders, mode)
        bins = ", ".join(f"{said:.2f} → {right:.2f} ({n})" for said, right, n in rows)
        print(f"calibration of {mode}: ECE {error:.3f}; said → right (pairs): {bins}")


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole > 0.3 else "no gap"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS), metavar="NAME")
    parser.add_argument("--questions", type=int, default=800, help="of a site")
    parser.add_argument("--seeds", type=int, default=3, help="sites of each world")
    arguments = parser.parse_args()
    for name in arguments.worlds:
        report(name, WORLDS[name], arguments.questions, arguments.seeds)


if __name__ == "__main__":
    main()
