"""How far time and length decide a label: earlier-wins and longer-wins under every vote mode.

    python -m benchmarks.vote_bias DUMP [DUMP ...]

A dump is a folder with Posts.xml and Votes.xml or a .7z of them. Every two responses to a
question by different authors are compared, without a cap. The 95 % intervals are bootstrapped
over questions. Length is the number of characters of the body as the dump has it (HTML).
"""

import argparse
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks._load import load_dump
from schemas.post import DAY_MS, Post, Thread
from transforms.pairing import (
    PRESETS,
    VoteMode,
    common_window,
    common_window_scores,
    decide_pairs,
    fit_vote_model,
    response_quality,
    response_score,
)

DRAWS = 1000
AGES = (0, 1, 7, 30, 90, 365, 100_000)
"""Upper ends, in days after the later response appeared, of the rows about freshness."""

Label = Callable[[Post, Post], float]
"""Score of the first (earlier) response − score of the second."""


def single(mode: VoteMode) -> Label:
    return lambda a, b: response_score(a, mode) - response_score(b, mode)


def window(a: Post, b: Post) -> float:
    first, second = common_window(a, b)
    return first - second


def window_accepted(a: Post, b: Post) -> float:
    first, second = common_window_scores(a, b)
    return first - second


def window_same_day(a: Post, b: Post) -> float:
    """The window with the votes of the day on which the later response appeared."""
    day = b.created_at // DAY_MS
    extra = [(p.up_days or ()).count(day) - (p.down_days or ()).count(day) for p in (a, b)]
    return window(a, b) + extra[0] - extra[1]


def later_wins(a: Post, b: Post) -> float:
    lead = single(VoteMode.LATER_WINS)(a, b)
    return lead if lead < 0 or a.created_at == b.created_at else 0


LABELS: dict[str, Label] = {
    "votes, no acceptance": single(VoteMode.LATER_WINS),
    "net_votes": single(VoteMode.NET_VOTES),
    "log2": single(VoteMode.LOG2),
    "later_wins": later_wins,
    "common_window": window_accepted,
    "  without acceptance": window,
    "  with same-day votes": window_same_day,
}


def pairs_of(thread: Thread) -> list[tuple[Post, Post]]:
    return [
        (a, b)
        for a, b in itertools.combinations(thread.responses, 2)
        if a.author_id is None or a.author_id != b.author_id
    ]


def ratio(numerators: list[int], denominators: list[int]) -> str:
    """Share over all questions with its interval over resampled questions."""
    top, bottom = np.array(numerators), np.array(denominators)
    if not bottom.sum():
        return "-"
    random = np.random.default_rng(0)
    picks = random.integers(0, len(top), (DRAWS, len(top)))
    with np.errstate(invalid="ignore"):
        low, high = np.nanpercentile(top[picks].sum(1) / bottom[picks].sum(1), [2.5, 97.5])
    return f"{top.sum() / bottom.sum():6.1%} [{low:.1%}, {high:.1%}]"


def by_the_vote_model(threads: list[Thread]) -> Label:
    """The label of ``debiased``, its model fitted on these threads."""
    model = fit_vote_model(threads)
    quality = {
        post.id: mean
        for thread in threads
        for post, mean in zip(thread.responses, response_quality(thread, model).mean, strict=True)
    }
    return lambda a, b: quality[a.id] - quality[b.id]


def label_table(threads: list[Thread]) -> None:
    pairs = [pairs_of(thread) for thread in threads]
    total = [len(rows) for rows in pairs]
    print(f"{len(threads)} questions with two or more answers, {sum(total)} answer pairs")
    print(f"{'label':22s}  {'pairs kept':>22s}   {'earlier wins':>21s}   {'longer wins':>21s}")
    for name, label in {**LABELS, "debiased": by_the_vote_model(threads)}.items():
        leads = [[label(a, b) for a, b in rows] for rows in pairs]
        decided = [sum(lead != 0 for lead in row) for row in leads]
        earlier = [sum(lead > 0 for lead in row) for row in leads]
        longer = [
            sum(
                lead * (len(a.text) - len(b.text)) > 0
                for lead, (a, b) in zip(row, rows, strict=True)
            )
            for row, rows in zip(leads, pairs, strict=True)
        ]
        print(
            f"{name:22s}  {ratio(decided, total)}   {ratio(earlier, decided)}"
            f"   {ratio(longer, decided)}"
        )


def recount(threads: list[Thread]) -> None:
    """What the common window makes of the pairs that net votes decide."""
    print("\nnet_votes pairs recounted in the common window")
    outcomes: dict[str, list[int]] = {"same order": [], "tied": [], "flipped": []}
    decided = []
    for thread in threads:
        counts: Counter[str] = Counter()
        for a, b in pairs_of(thread):
            product = single(VoteMode.NET_VOTES)(a, b)
            if product:
                product *= window_accepted(a, b)
                counts["same order" if product > 0 else "flipped" if product < 0 else "tied"] += 1
        decided.append(counts.total())
        for name, numbers in outcomes.items():
            numbers.append(counts[name])
    for name, numbers in outcomes.items():
        print(f"  {name:12s} {ratio(numbers, decided)}")


def freshness(threads: list[Thread]) -> None:
    """Share of the upvotes that go to the earlier response, by time since the later one."""
    print("\nupvotes of two answers posted at least a day apart, by days since the later appeared")
    start = -1
    for end in AGES:
        earlier, both = [], []
        for thread in threads:
            counts = [0, 0]
            for pair in pairs_of(thread):
                if pair[1].created_at - pair[0].created_at < DAY_MS:
                    continue
                day = pair[1].created_at // DAY_MS
                for place, post in enumerate(pair):
                    counts[place] += sum(start < d - day <= end for d in post.up_days or ())
            earlier.append(counts[0])
            both.append(sum(counts))
        name = "same day" if end == 0 else f"{start + 1} to {end}" if end < AGES[-1] else "later"
        print(f"  {name:12s} {sum(both):6d} votes, to the earlier answer {ratio(earlier, both)}")
        start = end


def preset_table(threads: list[Thread]) -> None:
    print("\npreset        pairs   questions   earlier wins   longer wins")
    rules = dict(PRESETS) | {
        "all, common_window": replace(PRESETS["all"], votes=VoteMode.COMMON_WINDOW),
        "all, later_wins": replace(PRESETS["all"], votes=VoteMode.LATER_WINS),
    }
    for name, preset in rules.items():
        pairs = []
        for thread in threads:
            decisions, _ = decide_pairs(thread, preset)
            pairs += [
                (thread.id, thread.responses[d.chosen], thread.responses[d.rejected])
                for d in decisions
            ]
        if not pairs:
            print(f"{name:20s}      0")
            continue
        earlier = sum(c.created_at < r.created_at for _, c, r in pairs)
        longer = sum(len(c.text) > len(r.text) for _, c, r in pairs)
        print(
            f"{name:20s} {len(pairs):6d} {len({thread for thread, _, _ in pairs}):6d}"
            f" {earlier / len(pairs):8.1%} {longer / len(pairs):8.1%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dumps", nargs="+", type=Path, metavar="DUMP")
    dumps = parser.parse_args().dumps
    sites = {dump.name: load_dump(dump) for dump in dumps}
    if len(sites) > 1:
        sites = sites | {"all of them": [thread for site in sites.values() for thread in site]}
    for name, threads in sites.items():
        print(f"\n== {name}")
        usable = [thread for thread in threads if len(thread.responses) > 1]
        label_table(usable)
        recount(usable)
        freshness(usable)
        preset_table(usable)


if __name__ == "__main__":
    main()
