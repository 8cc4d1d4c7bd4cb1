"""Check the vote model on real votes: leaders to come, ties, halves of the votes, cycles.

    python -m benchmarks.vote_checks DUMP [DUMP ...]

A dump is a folder with Posts.xml and Votes.xml or a .7z of them. Intervals are 95 %, bootstrapped
over questions.

*Leaders to come*: for every two responses and five cut dates (as in benchmarks.confidence, whose
cases and weights they are), the votes up to the cut say who leads in the votes after it. All that
is fitted, is fitted on the other sites.

*Ties*: votes cast on a day on whose morning two responses, neither accepted, stood equal in score,
so that the site showed them in random order. Do the earlier votes say which of them gets the vote?

*Halves*: the votes of each choice divided at random, each half judged by itself. How often they
agree says what the noise is, without trusting the model's own figure for it.

*Cycles*: three responses of which each beats the next in its common window, against as many votes
drawn anew from the model, in which qualities put all responses in one order.
"""

import argparse
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import ndtr

from benchmarks._load import load_dump
from benchmarks.confidence import Cases, collect, cut_days, fit, later_votes, log_loss, model, until
from schemas.noise_ceiling import noise_ceiling
from schemas.post import DAY_MS, Thread
from schemas.vote_model import VoteModel
from transforms.pairing import common_window, net_votes
from transforms.pairing.vote_choices import FEATURES, VoteChoice, VoteKind, vote_choices
from transforms.pairing.vote_model import (
    Question,
    compare,
    fit_vote_model,
    posterior,
    response_quality,
    vote_questions,
)

Vector = NDArray[Any]

DRAWS: Final = 1000
HALVINGS: Final = 5
RESAMPLES: Final = 200
BINS: Final = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def bootstrap(statistic: Callable[[Vector], float], units: int) -> tuple[float, float]:
    """95 % interval of ``statistic(times each unit is drawn)``."""
    random = np.random.default_rng(0)
    draws = [
        statistic(np.bincount(random.integers(0, units, units), minlength=units))
        for _ in range(DRAWS)
    ]
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return float(low), float(high)


def mean_with_interval(values: Vector, units: Vector) -> str:
    """Mean of all values, and its interval over units."""
    _, place = np.unique(units, return_inverse=True)
    sums, counts = np.bincount(place, values), np.bincount(place)
    low, high = bootstrap(lambda times: (times * sums).sum() / (times * counts).sum(), len(sums))
    return f"{values.mean():.4f} [{low:.4f}, {high:.4f}]"


class Leads(NamedTuple):
    """What the vote model says at each case of `Cases`."""

    margin: Vector
    standard_error: Vector
    place: Vector  # what the other effects add to the log-odds of the next vote


def place_differences(thread: Thread, cut: int, vote_model: VoteModel) -> Vector:
    """Utility of each response the day after a cut but for its quality."""
    effects = vote_model.effects_of(thread.prompt.site)
    slopes = np.array([getattr(effects, name) for name in FEATURES])
    slopes[FEATURES.index("head_start")] = 0.0
    tomorrow = msgspec.structs.replace(
        thread,
        responses=tuple(
            msgspec.structs.replace(post, up_days=(*(post.up_days or ()), cut + 1))
            for post in thread.responses
        ),
    )
    utility = np.zeros(len(thread.responses))
    for choice in vote_choices(tomorrow):
        if choice.day == cut + 1 and choice.kind is VoteKind.UP:
            utility[list(choice.eligible)] = np.array(choice.features) @ slopes
    return utility


def leads(sites: Sequence[list[Thread]], models: Sequence[VoteModel]) -> Leads:
    """Go through the cases in the order of `benchmarks.confidence.collect`."""
    rows: list[tuple[float, float, float]] = []
    for threads, vote_model in zip(sites, models, strict=True):
        cuts = cut_days(threads)
        for thread in threads:
            for cut in cuts:
                posts = thread.responses
                there = [k for k in range(len(posts)) if posts[k].created_at // DAY_MS < cut]
                wanted = [
                    (i, j)
                    for i, j in itertools.combinations(range(len(there)), 2)
                    if len(set(later_votes(posts[there[i]], posts[there[j]], cut))) == 2
                ]
                if not wanted:
                    continue
                then = msgspec.structs.replace(
                    thread, responses=tuple(until(posts[k], cut) for k in there)
                )
                quality = response_quality(then, vote_model)
                place = place_differences(then, cut, vote_model)
                for i, j in wanted:
                    found = compare(quality, i, j)
                    rows.append((found.margin, found.standard_error, place[i] - place[j]))
    return Leads(*np.array(rows).T)


def check_leads(sites: Sequence[list[Thread]], names: Sequence[str]) -> None:
    """Log loss of who leads later, each site with what was fitted on the others."""
    cases = collect(list(sites))
    others = [
        fit_vote_model(t for k, threads in enumerate(sites) if k != site for t in threads)
        for site in range(len(sites))
    ]
    held_out = leads(sites, others)
    assert len(held_out.margin) == len(cases.won)
    print(f"\nLeaders to come: {len(cases.won):,} cases; log loss (coin 0.693), fitted elsewhere")
    print(
        f"{'held-out site':28s}{'cases':>7s}{'confidence':>12s}{'debiased':>10s}"
        f"{'rescaled':>10s}{'+ place':>10s}{'+ both':>10s}   + both − confidence"
    )
    for site, name in enumerate(names):
        here, elsewhere = cases.site == site, cases.site != site
        prior, weight, _ = fit(cases, cases.weights(elsewhere))
        today = model(cases.fair + weight * cases.early, prior)
        predicted = {
            "raw": ndtr(held_out.margin / np.maximum(held_out.standard_error, 1e-9)),
            "rescaled": _fitted(held_out, cases, elsewhere, place=False, votes=None),
            "place": _fitted(held_out, cases, elsewhere, place=True, votes=None),
            "both": _fitted(held_out, cases, elsewhere, place=True, votes=today),
        }
        weights = cases.weights(here)
        losses = [log_loss(p, cases.won, weights) for p in (today, *predicted.values())]

        def difference(times: Vector, p: Vector = predicted["both"], q: Vector = today) -> float:
            drawn = weights * times[cases.question]  # noqa: B023
            return log_loss(p, cases.won, drawn) - log_loss(q, cases.won, drawn)

        low, high = bootstrap(difference, cases.question.max() + 1)
        print(
            f"{name[:27]:28s}{here.sum():7d}{losses[0]:12.4f}{losses[1]:10.4f}{losses[2]:10.4f}"
            f"{losses[3]:10.4f}{losses[4]:10.4f}   {losses[4] - losses[0]:+.4f} "
            f"[{low:+.4f}, {high:+.4f}]"
        )


def _fitted(
    found: Leads, cases: Cases, where: Vector, *, place: bool, votes: Vector | None
) -> Vector:
    """Probit of z = margin / √(se² + s²), of the place and of today's z; fitted on ``where``."""
    weights = cases.weights(where)
    today = None
    if votes is not None:
        p = np.clip(votes, 1e-6, 1 - 1e-6)
        today = np.log(p / (1 - p))

    def predict(x: Vector) -> Vector:
        z = math.exp(x[0]) * found.margin / np.sqrt(found.standard_error**2 + math.exp(x[1]))
        if place:
            z = z + x[2] * found.place
        if today is not None:
            z = z + x[3] * today
        return np.asarray(ndtr(z))

    start = [0.0, -1.0, *([0.3] * place), *([0.2] * (today is not None))]
    best = minimize(
        lambda x: log_loss(predict(x), cases.won, weights), start, method="Nelder-Mead",
        options={"maxiter": 600},
    )  # fmt: skip
    return predict(best.x)


def check_window(sites: Sequence[list[Thread]], vote_model: VoteModel) -> None:
    """How often modes agree with the common window, where that decides."""
    rows = []
    for number, thread in enumerate(thread for threads in sites for thread in threads):
        quality = response_quality(thread, vote_model)
        for i, j in itertools.combinations(range(len(thread.responses)), 2):
            a, b = thread.responses[i], thread.responses[j]
            first, second = common_window(a, b)
            found = compare(quality, i, j)
            rows.append(
                (number, first - second, net_votes(a) - net_votes(b), found.margin,
                 max(found.confidence, 1 - found.confidence), a.created_at < b.created_at)
            )  # fmt: skip
    question, window, net, margin, sure, ordered = np.array(rows).T
    print(
        f"\nAll {len(rows):,} pairs: decided by net_votes {np.mean(net != 0):.1%}, common window "
        f"{np.mean(window != 0):.1%}, debiased {np.mean(margin != 0):.1%}"
    )
    for name, score in (("net_votes", net), ("common window", window), ("debiased", margin)):
        keep = (score != 0) & (ordered == 1)
        print(
            f"  the earlier wins by {name}: {mean_with_interval(score[keep] > 0, question[keep])}"
        )
    print("Agreement with the common window where it decides (votes they share decide both):")
    for low, high in ((1, 1), (2, 3), (4, 10_000)):
        here = (np.abs(window) >= low) & (np.abs(window) <= high)
        texts = []
        for name, score in (("net_votes", net), ("debiased", margin)):
            both = here & (score != 0)
            agree = np.sign(score[both]) == np.sign(window[both])
            texts.append(f"{name} {mean_with_interval(agree, question[both])}")
        print(f"  window margin {low}–{high}: {here.sum():5d} pairs; {'; '.join(texts)}")
    for low, high, inside in in_bins(sure, BINS):
        here = inside & (window != 0) & (margin != 0)
        agree = np.sign(margin[here]) == np.sign(window[here])
        print(
            f"  confidence {low:.1f}–{high:.1f}: {here.sum():5d} pairs; "
            f"{mean_with_interval(agree, question[here])}"
        )


def check_ties(sites: Sequence[list[Thread]], vote_model: VoteModel) -> None:
    """Votes between two that stood equal, predicted by the quality from earlier votes."""
    rows = tie_rows(sites, vote_model)
    question, margin, error, place, won = rows
    decided = margin != 0
    right = np.where(margin > 0, won, 1 - won)[decided]
    print(
        f"\nTies: {len(won):,} votes between two unaccepted responses of equal score, "
        f"{len(np.unique(question)):,} questions"
    )
    print(f"  the earlier gets the vote {mean_with_interval(won, question)}")
    print(
        f"  quality from earlier votes is right {mean_with_interval(right, question[decided])} "
        f"of {decided.sum():,}"
    )
    for name, extra in (("quality", 0.0), ("quality + age", place)):
        # E σ(x) for a normal x, by the usual probit approximation.
        p = ndtr((margin + extra) / np.sqrt(error**2 + 1.702**2))
        expected = np.maximum(p, 1 - p)
        hit = np.where(p > 0.5, won, np.where(p < 0.5, 1 - won, 0.5))
        loss = -np.log(np.where(won == 1, p, 1 - p))
        print(
            f"  {name}: the model expects to be right {expected.mean():.4f}, is "
            f"{mean_with_interval(hit, question)}; log loss {mean_with_interval(loss, question)} "
            f"(coin 0.6931)"
        )


def tie_rows(sites: Sequence[list[Thread]], vote_model: VoteModel) -> Vector:
    """(question, margin, its standard error, effect of age, whether the earlier got it) [5, n]."""
    rows: list[tuple[float, ...]] = []
    age = [FEATURES.index(name) for name in ("log_age", "fresh", "first_day")]
    number = -1
    for threads in sites:
        for thread in threads:
            for question in vote_questions(thread):
                number += 1
                effects = vote_model.effects_of(question.site)
                slopes = np.array([getattr(effects, name) for name in FEATURES])
                rows += [(number, *row) for row in _ties(thread, question, effects, slopes, age)]
    return np.array(rows).T


def _ties(
    thread: Thread, question: Question, effects: Any, slopes: Vector, age: list[int]
) -> list[tuple[float, ...]]:
    rank, accepted = FEATURES.index("log_rank"), FEATURES.index("accepted")
    first_day, head = FEATURES.index("first_day"), FEATURES.index("head_start")
    rows: list[tuple[float, ...]] = []
    for choice in question.choices:
        if choice.kind is not VoteKind.UP:
            continue
        tied = [
            (a, b)
            for a, b in itertools.combinations(range(len(choice.eligible)), 2)
            if choice.features[a][rank] == choice.features[b][rank]
            and not any(
                choice.features[k][feature] for k in (a, b) for feature in (accepted, first_day)
            )
            and choice.votes[a] + choice.votes[b]
        ]
        if not tied:
            continue
        earlier = [one for one in question.choices if one.day < choice.day]
        members = sorted({k for one in (*earlier, choice) for k in one.eligible})
        mean, covariance = np.zeros(len(members)), np.eye(len(members)) * effects.sigma**2
        if earlier:
            mean, covariance = posterior(earlier, members, effects)
        at = {index: place for place, index in enumerate(members)}
        for a, b in tied:
            i, j = choice.eligible[a], choice.eligible[b]
            if thread.responses[j].created_at < thread.responses[i].created_at:
                i, j, a, b = j, i, b, a
            x, y = at[i], at[j]
            features = np.array(choice.features[a]) - np.array(choice.features[b])
            margin = mean[x] - mean[y] + effects.head_start * features[head]
            variance = covariance[x, x] + covariance[y, y] - 2 * covariance[x, y]
            row = (round(margin, 9), math.sqrt(variance), float(features[age] @ slopes[age]))
            rows += [(*row, 1.0)] * choice.votes[a] + [(*row, 0.0)] * choice.votes[b]
    return rows


class Halves(NamedTuple):
    """Pairs with a leader in both halves of the votes: [n] each."""

    site: Vector
    question: Vector
    agree: Vector
    confidence: Vector  # of the leader in the first half, by the first half
    other: Vector  # of the leader in the second half, by the second
    margin: Vector  # net votes of the first half


def _half(choices: Sequence[VoteChoice], random: np.random.Generator) -> list[list[VoteChoice]]:
    halves: list[list[VoteChoice]] = [[], []]
    for choice in choices:
        first = random.binomial(choice.votes, 0.5)
        for half, votes in zip(halves, (first, np.array(choice.votes) - first), strict=True):
            if votes.any():
                half.append(choice._replace(votes=tuple(votes.tolist())))
    return halves


def divide(sites: Sequence[list[Thread]], vote_model: VoteModel) -> tuple[Halves, Halves]:
    """Judge both halves, by the posterior and by net votes. Places stay those of all votes."""
    rows: tuple[list[tuple[float, ...]], list[tuple[float, ...]]] = ([], [])
    number = -1
    random = np.random.default_rng(0)
    for site, threads in enumerate(sites):
        for thread in threads:
            for question in vote_questions(thread):
                number += 1
                effects = vote_model.effects_of(question.site)
                members = sorted({k for choice in question.choices for k in choice.eligible})
                for _ in range(HALVINGS):
                    _divide(rows, (site, number), _half(question.choices, random), members, effects)
    return tuple(Halves(*np.array(part).T) for part in rows)  # type: ignore[return-value]


def _divide(
    rows: tuple[list[tuple[float, ...]], ...],
    name: tuple[int, int],
    halves: list[list[VoteChoice]],
    members: list[int],
    effects: Any,
) -> None:
    if not all(halves):
        return
    judged = [posterior(half, members, effects) for half in halves]
    nets = np.zeros((2, len(members)))
    for half, choices in enumerate(halves):
        for choice in choices:
            at = [members.index(k) for k in choice.eligible]
            nets[half, at] += np.array(choice.votes) * (-1 if choice.kind is VoteKind.DOWN else 1)
    for i, j in itertools.combinations(range(len(members)), 2):
        z = [
            (mean[i] - mean[j]) / math.sqrt(spread[i, i] + spread[j, j] - 2 * spread[i, j])
            for mean, spread in judged
        ]
        net = nets[:, i] - nets[:, j]
        sure = ndtr(np.abs(z))
        if min(np.abs(z)) > 1e-9:
            rows[0].append((*name, z[0] * z[1] > 0, sure[0], sure[1], abs(net[0])))
        if all(net):
            rows[1].append((*name, net[0] * net[1] > 0, sure[0], sure[1], abs(net[0])))


def full_ceiling(agreement: float) -> float:
    """Share of right orders by all votes from the agreement of halves, under the normal model.

    Two halves that measure the same difference with correlation r agree in sign with probability
    ½ + arcsin(r)/π (Sheppard 1899). All votes have the reliability 2r/(1 + r) (Spearman–Brown),
    hence the correlation √(2r/(1 + r)) with the true difference, whose sign they have with ½ +
    arcsin of it / π.
    """
    r = math.sin(math.pi * (max(agreement, 0.5) - 0.5))
    return 0.5 + math.asin(math.sqrt(2 * r / (1 + r))) / math.pi


def in_bins(
    values: Vector, edges: Sequence[float]
) -> Iterator[tuple[float, float, NDArray[np.bool_]]]:
    """(lower edge, upper edge, which values are in it) of each bin; the last has its upper edge."""
    for low, high in itertools.pairwise(edges):
        yield low, high, (values >= low) & ((values < high) | (high == edges[-1]))


def check_halves(
    sites: Sequence[list[Thread]], names: Sequence[str], vote_model: VoteModel
) -> None:
    """The ceiling from the posterior beside that from halves of the votes."""
    debiased, net = divide(sites, vote_model)
    p, site_of, question, margins = [], [], [], []
    for number, (name, thread) in enumerate(
        (name, thread) for name, threads in zip(names, sites, strict=True) for thread in threads
    ):
        quality = response_quality(thread, vote_model)
        for i, j in itertools.combinations(range(len(thread.responses)), 2):
            found = compare(quality, i, j)
            if found.margin:
                a, b = thread.responses[i], thread.responses[j]
                p.append(max(found.confidence, 1 - found.confidence))
                site_of.append(name)
                question.append(number)
                margins.append(abs(net_votes(a) - net_votes(b)))
    sure, of, unit = np.array(p), np.array(site_of), np.array(question)
    print("\nNoise ceiling of debiased labels: posterior, and from halves of the votes")
    print(
        f"{'':28s}{'pairs':>7s}  posterior            halves agree          from halves, net votes"
    )
    for k, name in [*enumerate(names), (-1, "all")]:
        chosen = np.ones(len(sure), bool) if k < 0 else of == name
        own = noise_ceiling(sure[chosen].round(6).tolist(), unit[chosen].tolist())
        texts = [_half_text(halves, k) for halves in (debiased, net)]
        print(
            f"{name[:27]:28s}{own.pairs:7d}  {own.accuracy:.3f} [{own.low:.3f}, {own.high:.3f}]  "
            f"{texts[0]}   {texts[1]}"
        )
    distance = np.array(margins)
    for title, values, edges in (
        ("margin of net votes", distance, (0, 1, 2, 3, 6, 1e9)),
        ("confidence", sure, BINS),
    ):
        for low, high, here in in_bins(values, edges):
            if here.any():
                own = noise_ceiling(sure[here].round(6).tolist(), unit[here].tolist())
                print(
                    f"  {title} {low:g}–{high:g}: {own.pairs} pairs, posterior {own.accuracy:.3f} "
                    f"[{own.low}, {own.high}]"
                )
    print("One half's label against the other half's: agreement expected from both posteriors")
    expected = debiased.confidence * debiased.other
    expected += (1 - debiased.confidence) * (1 - debiased.other)
    for title, values, edges in (
        ("confidence of one half", debiased.confidence, BINS),
        ("net votes of one half", debiased.margin, (0, 1, 2, 3, 6, 1e9)),
    ):
        for low, high, here in in_bins(values, edges):
            if here.any():
                print(
                    f"  {title} {low:g}–{high:g}: expected {expected[here].mean():.3f}, found "
                    f"{mean_with_interval(debiased.agree[here], debiased.question[here])}"
                )


def _half_text(halves: Halves, site: int) -> str:
    here = halves.site == site if site >= 0 else np.ones(len(halves.site), bool)
    _, place = np.unique(halves.question[here], return_inverse=True)
    sums, counts = np.bincount(place, halves.agree[here]), np.bincount(place)
    agreement = float(sums.sum() / counts.sum())
    low, high = bootstrap(
        lambda times: full_ceiling(float((times * sums).sum() / (times * counts).sum())), len(sums)
    )
    return f"{agreement:.3f} → {full_ceiling(agreement):.3f} [{low:.3f}, {high:.3f}]"


def check_cycles(sites: Sequence[list[Thread]], vote_model: VoteModel) -> None:
    """Count contradictory orders of three in their common windows, and by chance."""
    random = np.random.default_rng(0)
    found = decided = 0
    drawn = np.zeros(RESAMPLES)
    drawn_decided = np.zeros(RESAMPLES)
    for threads in sites:
        for thread in threads:
            for question in vote_questions(thread):
                members = sorted({k for choice in question.choices for k in choice.eligible})
                if len(members) < 3:
                    continue
                born = np.array([thread.responses[k].created_at // DAY_MS for k in members])
                votes = [one for one in question.choices if one.kind is not VoteKind.ACCEPT]
                if not votes:
                    continue
                at = [[members.index(k) for k in one.eligible] for one in votes]
                days = np.array([one.day for one in votes])
                signs = np.array([-1 if one.kind is VoteKind.DOWN else 1 for one in votes])
                counts = np.zeros((RESAMPLES + 1, len(votes), len(members)))
                effects = vote_model.effects_of(question.site)
                mean, covariance = posterior(question.choices, members, effects)
                theta = random.multivariate_normal(mean, covariance, RESAMPLES, method="cholesky")
                for row, (one, here) in enumerate(zip(votes, at, strict=True)):
                    counts[0, row, here] = one.votes
                    shares = _shares_of(one, theta[:, here], effects)
                    counts[1:, row, here] = random.multinomial(sum(one.votes), shares)
                cycles, triples = _cycles(counts * signs[:, None], days, born)
                found += int(cycles[0])
                decided += int(triples[0])
                drawn += cycles[1:]
                drawn_decided += triples[1:]
    low, high = np.percentile(drawn, [2.5, 97.5])
    more = (1 + (drawn >= found).sum()) / (1 + RESAMPLES)
    print(
        f"\nCycles: {found} of {decided:,} triples with three decided windows "
        f"({found / max(decided, 1):.2%}); by chance {drawn.mean():.1f} [{low:.0f}, {high:.0f}] "
        f"of {drawn_decided.mean():,.0f}, as many or more in {more:.1%} of {RESAMPLES} draws"
    )


def _shares_of(choice: VoteChoice, theta: Vector, effects: Any) -> Vector:
    prefix, turn = ("", 1.0) if choice.kind is VoteKind.UP else ("down_", -effects.down_scale)
    slopes = np.array([getattr(effects, prefix + name) for name in FEATURES])
    utility = turn * theta + np.array(choice.features) @ slopes + np.array(choice.exposure)
    shares = np.exp(utility - utility.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _cycles(net: Vector, days: Vector, born: Vector) -> tuple[Vector, Vector]:
    """Cyclic and decided triples: net votes (draws, choices, responses) → (draws,), (draws,)."""
    k = len(born)
    lead = np.zeros((len(net), k, k))
    for i, j in itertools.combinations(range(k), 2):
        window = days > max(born[i], born[j])
        score = net[:, window].sum(axis=1)
        lead[:, i, j] = np.sign(score[:, i] - score[:, j])
        lead[:, j, i] = -lead[:, i, j]
    cycles, triples = np.zeros(len(net)), np.zeros(len(net))
    for a, b, c in itertools.combinations(range(k), 3):
        around = lead[:, a, b] + lead[:, b, c] + lead[:, c, a]
        is_decided = (lead[:, a, b] * lead[:, b, c] * lead[:, c, a]) != 0
        triples += is_decided
        cycles += is_decided & (np.abs(around) == 3)
    return cycles, triples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dumps", nargs="+", type=Path, metavar="DUMP")
    dumps = parser.parse_args().dumps
    names = [dump.name for dump in dumps]
    sites = [[t for t in load_dump(dump) if len(t.responses) > 1] for dump in dumps]
    began = time.perf_counter()
    vote_model = fit_vote_model(thread for threads in sites for thread in threads)
    print(
        f"{vote_model.votes:,} votes of {vote_model.questions:,} questions fitted in "
        f"{time.perf_counter() - began:.0f} s"
    )
    for name, effects in (*vote_model.sites.items(), ("common", vote_model.common)):
        values = msgspec.structs.asdict(effects)
        print(f"  {name}: " + ", ".join(f"{key} {value:+.2f}" for key, value in values.items()))
    checks: dict[str, Callable[[], None]] = {
        "leaders to come": lambda: check_leads(sites, names),
        "window": lambda: check_window(sites, vote_model),
        "ties": lambda: check_ties(sites, vote_model),
        "halves": lambda: check_halves(sites, names, vote_model),
        "cycles": lambda: check_cycles(sites, vote_model),
    }
    for name, check in checks.items():
        if name == "leaders to come" and len(sites) < 2:
            continue
        began = time.perf_counter()
        check()
        print(f"({name}: {time.perf_counter() - began:.0f} s)")


if __name__ == "__main__":
    main()
