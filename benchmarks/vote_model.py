"""What each part of the vote model is worth: votes to come, predicted from those before.

    python -m benchmarks.vote_model DUMP [DUMP ...]

A dump is a folder with Posts.xml and Votes.xml or a .7z of them. Of each question, the days that
hold the first 70 % of its upvotes are fitted; each later upvote is predicted among the responses
that appeared on an earlier day, two or more. The loss is in nats a vote; brackets are 95 %
intervals of the difference to the line above, bootstrapped over questions; seconds are those of
the processor for the fit.
"""

import argparse
import math
import time
from collections import defaultdict
from pathlib import Path

import msgspec
import numpy as np

from benchmarks._load import load_dump
from transforms.pairing.vote_choices import FEATURES, VoteChoice, VoteKind
from transforms.pairing.vote_model import (
    Question,
    VoteEffects,
    VoteModel,
    combine_sites,
    fit_site,
    posterior,
    vote_questions,
)

FITTED_SHARE = 0.7
DRAWS = 1000

PLACE = ("log_rank", "down_log_rank", "accept_log_rank")
ACCEPTED = ("accepted", "down_accepted")
AGE = tuple(name for name in VoteEffects.__struct_fields__ if name.endswith(("log_age", "fresh")))

VARIANTS: dict[str, tuple[tuple[str, ...], tuple[VoteKind, ...]]] = {
    "quality alone": ((*PLACE, *ACCEPTED, *AGE), (VoteKind.UP,)),
    "+ rank": ((*ACCEPTED, *AGE), (VoteKind.UP,)),
    "+ accepted": (AGE, (VoteKind.UP,)),
    "+ age, freshness": ((), (VoteKind.UP,)),
    "+ downvotes": ((), (VoteKind.UP, VoteKind.DOWN)),
    "+ acceptances": ((), tuple(VoteKind)),
    "all without rank": (PLACE, tuple(VoteKind)),
}
"""Effects left out, and kinds of votes fitted."""


def divide(question: Question) -> tuple[Question, list[VoteChoice]]:
    """The choices of the days that are fitted, and the upvotes of those after them."""
    ups = [choice for choice in question.choices if choice.kind is VoteKind.UP]
    total = sum(sum(choice.votes) for choice in ups)
    seen, last = 0, -1
    for choice in sorted(ups, key=lambda choice: choice.day):
        if seen >= FITTED_SHARE * total:
            break
        seen, last = seen + sum(choice.votes), choice.day
    early = tuple(choice for choice in question.choices if choice.day <= last)
    return msgspec.structs.replace(question, choices=early), [c for c in ups if c.day > last]


def settled(choice: VoteChoice) -> list[int]:
    """Places, in the choice, of the responses that appeared on an earlier day."""
    first_day = FEATURES.index("first_day")
    return [place for place, values in enumerate(choice.features) if not values[first_day]]


def loss(choices: list[VoteChoice], quality: dict[int, float], effects: VoteEffects) -> float:
    """Nats of the upvotes on responses that appeared on an earlier day."""
    slopes = np.array([getattr(effects, name) for name in FEATURES])
    nats = 0.0
    for choice in choices:
        places = settled(choice)
        if len(places) < 2:
            continue
        utility = np.array(choice.features)[places] @ slopes
        utility += [quality.get(choice.eligible[place], 0.0) for place in places]
        logs = utility - utility.max()
        logs -= math.log(np.exp(logs).sum())
        nats -= sum(choice.votes[place] * logs[at] for at, place in enumerate(places))
    return nats


def fit(
    questions: list[Question], without: tuple[str, ...], kinds: tuple[VoteKind, ...]
) -> VoteModel:
    sites = defaultdict(list)
    for question in questions:
        if question.choices:
            sites[question.site].append(question)
    model = combine_sites(fit_site(own, without) for own in sites.values())
    nothing = dict.fromkeys(without, 0.0)
    return msgspec.structs.replace(
        model,
        common=msgspec.structs.replace(model.common, **nothing),
        sites={site: msgspec.structs.replace(own, **nothing) for site, own in model.sites.items()},
    )


def of_kinds(question: Question, kinds: tuple[VoteKind, ...]) -> Question:
    chosen = tuple(choice for choice in question.choices if choice.kind in kinds)
    return msgspec.structs.replace(question, choices=chosen)


def predict(
    divided: list[tuple[Question, list[VoteChoice]]], model: VoteModel, kinds: tuple[VoteKind, ...]
) -> np.ndarray:
    """Nats of the later votes of each question."""
    nats = []
    for question, later in divided:
        early = of_kinds(question, kinds).choices
        effects = model.effects_of(question.site)
        members = sorted({index for choice in early for index in choice.eligible})
        quality = {}
        if members:
            mean, _ = posterior(early, members, effects)
            quality = dict(zip(members, map(float, mean), strict=True))
        nats.append(loss(later, quality, effects))
    return np.array(nats)


def interval(difference: np.ndarray, votes: np.ndarray) -> tuple[float, float]:
    random = np.random.default_rng(0)
    draws = []
    for _ in range(DRAWS):
        picked = random.integers(0, len(votes), len(votes))
        draws.append(difference[picked].sum() / votes[picked].sum())
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dumps", nargs="+", type=Path, metavar="DUMP")
    threads = [thread for dump in parser.parse_args().dumps for thread in load_dump(dump)]
    divided = [divide(q) for thread in threads for q in vote_questions(thread)]
    votes = np.array(
        [
            sum(sum(c.votes[p] for p in settled(c)) for c in later if len(settled(c)) > 1)
            for _, later in divided
        ]
    )
    fitted = sum(sum(c.votes) for q, _ in divided for c in q.choices if c.kind is VoteKind.UP)
    print(f"{fitted:,} upvotes fitted, {votes.sum():,} predicted, {len(divided):,} questions\n")
    flat = msgspec.structs.replace(combine_sites([]).common, **dict.fromkeys(FEATURES, 0.0))
    before = np.array([loss(later, {}, flat) for _, later in divided])
    print(f"{'uniform':20s} {before.sum() / votes.sum():.3f}")
    for name, (without, kinds) in VARIANTS.items():
        begun = time.process_time()
        model = fit([of_kinds(question, kinds) for question, _ in divided], without, kinds)
        seconds = time.process_time() - begun
        nats = predict(divided, model, kinds)
        low, high = interval(nats - before, votes)
        common = model.common
        print(
            f"{name:20s} {nats.sum() / votes.sum():.3f} [{low:+.3f}, {high:+.3f}]"
            f"  sigma {common.sigma:.2f}  rank {common.log_rank:+.2f}"
            f"  accepted {common.accepted:+.2f}  age {common.log_age:+.2f}"
            f"  fresh {common.fresh:+.2f}  ({seconds:.1f} s)"
        )
        before = nats


if __name__ == "__main__":
    main()
