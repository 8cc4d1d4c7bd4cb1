"""Fit and check votes.confidence: do the votes so far say who leads in the votes to come?

    python -m benchmarks.confidence DUMP [DUMP ...]

A dump is a folder with Posts.xml and Votes.xml or a .7z of them. For every two responses to a
question and several cut dates, the votes up to the cut predict which of the two leads in the
votes after it; later ties are left out. Every question weighs the same, and the intervals are
bootstrapped over questions.
"""

import argparse
import itertools
import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import ndtr

from benchmarks._load import load_dump
from schemas.post import DAY_MS, Post, Thread
from transforms.pairing import VoteMode, common_window_scores, confidence, response_score
from transforms.pairing.votes import HEAD_START_WEIGHT, PRIOR_VOTES, UNDATED_WEIGHT

CUTS = (0.2, 0.35, 0.5, 0.65, 0.8)
"""Cut dates: these shares of a site's votes on responses come before them."""

DRAWS = 1000
BINS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
Vector = NDArray[Any]


@dataclass
class Cases:
    """One entry per pair and cut date; the first response of a pair is the earlier one."""

    site: Vector
    question: Vector
    fair: Vector  # votes in the common window, for and against: shape (n, 2)
    early: Vector  # other dated votes, for and against
    total: Vector  # what an undated source shows, for and against
    dated: Vector  # votes.confidence of the first response
    undated: Vector  # the same without the dates
    leads: dict[VoteMode, Vector]  # sign of first − second score under each mode
    later: Vector  # number of later votes
    won: Vector  # 1 where the first leads in them, else 0

    def weights(self, where: Vector | None = None) -> Vector:
        """Weights that add up to 1 per question."""
        keep = np.ones(len(self.won), bool) if where is None else where
        counts = np.bincount(self.question[keep], minlength=self.question.max() + 1)
        weights = np.zeros(len(self.won))
        weights[keep] = 1 / counts[self.question[keep]]
        return weights


def dates(days: tuple[int, ...] | None) -> tuple[int, ...]:
    if days is None:
        raise SystemExit("this benchmark needs dumps with Votes.xml")
    return days


def until(post: Post, day: int) -> Post:
    """The response as a dump of that day would show it."""
    ups = tuple(d for d in dates(post.up_days) if d <= day)
    downs = tuple(d for d in dates(post.down_days) if d <= day)
    known = post.accepted_day is not None and post.accepted_day <= day
    return msgspec.structs.replace(
        post, up_days=ups, down_days=downs, score=len(ups) - len(downs), accepted=known
    )


def undate(post: Post) -> Post:
    return msgspec.structs.replace(post, up_days=None, down_days=None)


def split_votes(a: Post, b: Post) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Votes for and against `a` that are in the common window, and those that are not."""
    day = max(a.created_at, b.created_at) // DAY_MS
    sides = [*dates(a.up_days), *dates(b.down_days)], [*dates(b.up_days), *dates(a.down_days)]
    for side, post in zip(sides, (a, b), strict=True):
        if post.accepted and post.accepted_day is not None:
            side.append(post.accepted_day)
    fair = tuple(sum(d > day for d in side) for side in sides)
    early = tuple(sum(d <= day for d in side) for side in sides)
    return fair, early


def cut_days(threads: list[Thread]) -> list[int]:
    """Cut dates of a site: UTC day numbers."""
    answers = [post for thread in threads for post in thread.responses]
    days = sorted(d for post in answers for d in dates(post.up_days) + dates(post.down_days))
    return [days[int(len(days) * share)] for share in CUTS]


def collect(sites: list[list[Thread]]) -> Cases:
    rows: list[tuple[float, ...]] = []
    question = -1
    for site, threads in enumerate(sites):
        cuts = cut_days(threads)
        for thread in threads:
            question += 1
            for cut in cuts:
                then = [until(post, cut) for post in thread.responses]
                for i, j in itertools.combinations(range(len(then)), 2):
                    if max(then[i].created_at, then[j].created_at) // DAY_MS >= cut:
                        continue
                    later = later_votes(thread.responses[i], thread.responses[j], cut)
                    if later[0] == later[1]:
                        continue
                    a, b = then[i], then[j]
                    fair, early = split_votes(a, b)
                    plain = a.score + a.accepted, b.score + b.accepted
                    total = (
                        max(a.score, 0) + a.accepted + max(-b.score, 0),
                        max(b.score, 0) + b.accepted + max(-a.score, 0),
                    )
                    window = common_window_scores(a, b)
                    log2 = response_score(a, VoteMode.LOG2), response_score(b, VoteMode.LOG2)
                    later_wins = (a.score - b.score) if b.score > a.score else 0
                    rows.append(
                        (
                            *(site, question, *fair, *early, *total),
                            *(confidence(a, b), confidence(undate(a), undate(b))),
                            *(plain[0] - plain[1], window[0] - window[1], log2[0] - log2[1]),
                            *(later_wins, sum(later), later[0] > later[1]),
                        )
                    )
    table = np.array(rows, float)
    signs = np.sign(table[:, 10:14])
    modes = (VoteMode.NET_VOTES, VoteMode.COMMON_WINDOW, VoteMode.LOG2, VoteMode.LATER_WINS)
    return Cases(
        site=table[:, 0].astype(int),
        question=np.unique(table[:, 1], return_inverse=True)[1],
        fair=table[:, 2:4],
        early=table[:, 4:6],
        total=table[:, 6:8],
        dated=table[:, 8],
        undated=table[:, 9],
        leads={mode: signs[:, column] for column, mode in enumerate(modes)},
        later=table[:, 14],
        won=table[:, 15],
    )


def later_votes(a: Post, b: Post, cut: int) -> tuple[int, int]:
    """Votes after the cut for and against `a`."""

    def after(days: tuple[int, ...] | None) -> int:
        return len(dates(days)) - bisect_right(dates(days), cut)

    return after(a.up_days) + after(b.down_days), after(b.up_days) + after(a.down_days)


def model(votes: Vector, prior: float) -> Vector:
    z = (votes[:, 0] - votes[:, 1]) / np.sqrt(votes.sum(axis=1) + prior)
    return np.asarray(ndtr(z))


def predictions(cases: Cases) -> dict[str, Vector]:
    """Candidates, from a coin to the shipped functions."""
    everything = cases.fair + cases.early
    return {
        "coin": np.full(len(cases.won), 0.5),
        "share of all votes (Laplace)": (everything[:, 0] + 1) / (everything.sum(axis=1) + 2),
        "all votes alike, prior 2": model(everything, 2.0),
        "window votes only, prior 2": model(cases.fair, 2.0),
        "window votes only, prior 8": model(cases.fair, PRIOR_VOTES),
        "confidence, undated": cases.undated,
        "confidence, dated": cases.dated,
    }


def log_loss(p: Vector, won: Vector, weights: Vector) -> float:
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return float(-np.average(np.where(won == 1, np.log(p), np.log(1 - p)), weights=weights))


def oriented(p: Vector, won: Vector) -> tuple[Vector, Vector]:
    """Turn every case so that the predicted leader is first; a coin is right half the time."""
    right = np.where(p == 0.5, 0.5, np.where(p > 0.5, won, 1 - won))
    return np.maximum(p, 1 - p), right


def bin_of(p: Vector) -> Vector:
    return np.clip(np.digitize(p, BINS) - 1, 0, len(BINS) - 2)


def calibration_error(p: Vector, won: Vector, weights: Vector) -> float:
    sure, right = oriented(p, won)
    bins = bin_of(sure)
    gaps = np.bincount(bins, weights * (sure - right), minlength=len(BINS) - 1)
    return float(np.abs(gaps).sum() / weights.sum())


def fit(cases: Cases, weights: Vector) -> tuple[float, float, float]:
    """Least log loss: prior and head-start weight from dated votes, then the undated weight."""

    def dated(x: Vector) -> float:
        prior, weight = np.exp(x)
        return log_loss(model(cases.fair + weight * cases.early, prior), cases.won, weights)

    prior, weight = np.exp(minimize(dated, [2.0, -0.7], method="Nelder-Mead").x)

    def undated(x: Vector) -> float:
        return log_loss(model(math.exp(x[0]) * cases.total, PRIOR_VOTES), cases.won, weights)

    return prior, weight, math.exp(minimize(undated, [-0.3], method="Nelder-Mead").x[0])


def fair_in_time(cases: Cases, weights: Vector) -> Vector:
    """Weights under which the earlier and the later response lead equally often."""
    first = weights[cases.won == 1].sum()
    balanced = np.where(cases.won == 1, weights / first, weights / (weights.sum() - first))
    return np.asarray(balanced)


def bootstrap(cases: Cases, statistic: Callable[[Vector], Vector], weights: Vector) -> Vector:
    """2.5 and 97.5 % points of ``statistic(weights)`` over resampled questions."""
    random = np.random.default_rng(0)
    questions = cases.question.max() + 1
    draws = []
    for _ in range(DRAWS):
        picked = np.bincount(random.integers(0, questions, questions), minlength=questions)
        draws.append(statistic(weights * picked[cases.question]))
    return np.asarray(np.nanpercentile(np.array(draws), [2.5, 97.5], axis=0))


def reliability(title: str, cases: Cases, p: Vector, where: Vector) -> None:
    sure, right = oriented(p, cases.won)
    bins = bin_of(sure)
    weights = cases.weights(where)

    def by_bin(weights: Vector) -> Vector:
        with np.errstate(invalid="ignore"):
            return np.bincount(bins, weights * right, minlength=len(BINS) - 1) / np.bincount(
                bins, weights, minlength=len(BINS) - 1
            )

    low, high = bootstrap(cases, by_bin, weights)
    observed = by_bin(weights)
    print(f"\n{title}: ECE {calibration_error(p, cases.won, weights):.3f}")
    print("  confidence  cases  questions  mean confidence  led later [95 %]")
    for k in range(len(BINS) - 1):
        here = where & (bins == k)
        if not here.any():
            continue
        mean = np.average(sure[here], weights=weights[here])
        print(
            f"  {BINS[k]:.1f}-{BINS[k + 1]:.1f}    {here.sum():6d} "
            f"{len(np.unique(cases.question[here])):9d} {mean:13.3f}"
            f"        {observed[k]:.3f} [{low[k]:.3f}, {high[k]:.3f}]"
        )


def held_out_table(cases: Cases, names: list[str]) -> None:
    print(
        "\nheld-out site        log loss: coin  fitted elsewhere  shipped   ECE: elsewhere  shipped"
    )
    for k, name in enumerate(names):
        prior, weight, _ = fit(cases, cases.weights(cases.site != k))
        held_out = cases.weights(cases.site == k)
        other = model(cases.fair + weight * cases.early, prior)
        print(
            f"{name[:25]:25s} {math.log(2):9.4f} {log_loss(other, cases.won, held_out):15.4f}"
            f" {log_loss(cases.dated, cases.won, held_out):15.4f}"
            f" {calibration_error(other, cases.won, held_out):11.3f}"
            f" {calibration_error(cases.dated, cases.won, held_out):8.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dumps", nargs="+", type=Path, metavar="DUMP")
    dumps = parser.parse_args().dumps
    cases = collect([load_dump(dump) for dump in dumps])
    every = np.ones(len(cases.won), bool)
    weights = cases.weights()
    print(
        f"{len(cases.won)} cases (pair and cut date) of {cases.question.max() + 1} questions "
        f"on {len(dumps)} sites; median {np.median(cases.later):.0f} later votes"
    )

    print("\nfit                         prior  head start  undated (at the shipped prior)")
    print(f"shipped                    {PRIOR_VOTES:6.2f} {HEAD_START_WEIGHT:9.2f} "
          f"{UNDATED_WEIGHT:10.2f}")  # fmt: skip
    for name, chosen in (
        ("all", weights),
        ("all, time-balanced", fair_in_time(cases, weights)),
        ("3 or more later votes", cases.weights(cases.later >= 3)),
    ):
        print(f"{name:25s}  {{:6.2f}} {{:9.2f}} {{:10.2f}}".format(*fit(cases, chosen)))
    for k, dump in enumerate(dumps if len(dumps) > 1 else ()):
        fitted = fit(cases, cases.weights(cases.site != k))
        print(f"{'without ' + dump.name[:16]:25s}  {{:6.2f}} {{:9.2f}} {{:10.2f}}".format(*fitted))

    print("\nprediction                      log loss   Brier    ECE   right")
    for name, p in predictions(cases).items():
        _, right = oriented(p, cases.won)
        print(
            f"{name:30s} {log_loss(p, cases.won, weights):9.4f} "
            f"{np.average((p - cases.won) ** 2, weights=weights):8.4f} "
            f"{calibration_error(p, cases.won, weights):6.3f} "
            f"{np.average(right, weights=weights):7.3f}"
        )

    if len(dumps) > 1:
        held_out_table(cases, [dump.name for dump in dumps])
    reliability("dated votes", cases, cases.dated, every)
    reliability("dated votes, 3 or more later votes", cases, cases.dated, cases.later >= 3)
    reliability("undated votes", cases, cases.undated, every)

    print("\npairs chosen by  cases  mean confidence  undated   led later [95 %]")
    for mode, lead in cases.leads.items():
        where = lead != 0
        chosen = cases.weights(where)
        led = np.where(lead > 0, cases.won, 1 - cases.won)
        sure = [np.where(lead > 0, p, 1 - p) for p in (cases.dated, cases.undated)]

        def mean(weights: Vector, led: Vector = led) -> Vector:
            return np.asarray(np.average(led, weights=weights))

        low, high = bootstrap(cases, mean, chosen)
        print(
            f"{mode.value:15s} {where.sum():6d} {np.average(sure[0], weights=chosen):16.3f}"
            f" {np.average(sure[1], weights=chosen):8.3f}"
            f"     {mean(chosen):.3f} [{low:.3f}, {high:.3f}]"
        )


if __name__ == "__main__":
    main()
