"""What only dated votes can tell: the vote modes beside each other, and confidence checked."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any

import msgspec
import numpy as np

from pipeline.report_page.figures import VoteBias
from pipeline.report_page.intervals import Proportion, proportion
from schemas.post import DAY_MS, Post, Thread
from schemas.vote_model import VoteModel
from transforms.pairing.vote_model import response_quality
from transforms.pairing.votes import VoteMode, common_window_scores, confidence, response_score

MAX_COMPARED = 30
"""Responses of a thread that are compared; the page needs no more of a long one."""

CUTS = (0.2, 0.35, 0.5, 0.65, 0.8)
"""Cut dates: these shares of a site's votes in the sample come before them."""

BINS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def bias_by_mode(threads: Sequence[Thread], model: VoteModel | None = None) -> tuple[VoteBias, ...]:
    """Compare every two responses to the same post under each vote mode, without ties.

    ``model``: that of the run; None: there is none, and no line for ``debiased``.
    """
    found: dict[VoteMode, list[tuple[int, int, int]]] = defaultdict(list)
    for number, thread in enumerate(threads):
        quality = _quality(thread, model)
        for a, b in _compared(thread):
            earlier = (a.created_at < b.created_at) - (a.created_at > b.created_at)
            if not (a.created_at and b.created_at):
                earlier = 0
            longer = (len(a.text) > len(b.text)) - (len(a.text) < len(b.text))
            for mode in VoteMode:
                lead = _lead(a, b, mode, quality)
                if lead:
                    found[mode].append((number, lead * earlier, lead * longer))
    rows = []
    for mode in VoteMode:
        if found[mode]:
            table = np.array(found[mode])
            shares = []
            for column in (1, 2):
                keep = table[:, column] != 0
                shares.append(proportion(table[keep, column] > 0, table[keep, 0]))
            rows.append(VoteBias(mode.value, *shares))
    return tuple(rows)


def calibration(threads: Sequence[Thread]) -> list[tuple[float, Proportion]]:
    """Confidence from the votes up to a cut against who led in the votes after it.

    For every two responses that existed at a cut and have a leader in the votes after it, the
    side that the votes before put ahead is predicted (docs/labels.md). Returns (mean confidence,
    share that led later) by bin of confidence; empty without dated votes.
    """
    cases: list[tuple[int, float, bool]] = []
    days_of: dict[str, list[int]] = defaultdict(list)
    for thread in threads:
        for post in thread.responses:
            days_of[post.site] += [*(post.up_days or ()), *(post.down_days or ())]
    cuts = {
        site: sorted({sorted(days)[int(len(days) * part)] for part in CUTS})
        for site, days in days_of.items()
        if days
    }
    for number, thread in enumerate(threads):
        for cut in cuts.get(thread.prompt.site, ()):
            for a, b in _compared(thread):
                if a.up_days is None or b.up_days is None:
                    continue
                if max(a.created_at, b.created_at) // DAY_MS >= cut:
                    continue
                later = _after(a, cut) - _after(b, cut)
                if not later:
                    continue
                said = confidence(_until(a, cut), _until(b, cut))
                if said != 0.5:
                    cases.append((number, max(said, 1 - said), (said > 0.5) == (later > 0)))
    if not cases:
        return []
    table: Any = np.array(cases, float)
    rows = []
    for low, high in pairwise(BINS):
        keep = (table[:, 1] >= low) & ((table[:, 1] < high) | (high == 1.0))
        if keep.any():
            rows.append(
                (float(table[keep, 1].mean()), proportion(table[keep, 2] > 0, table[keep, 0]))
            )
    return rows


def calibration_error(bins: Sequence[tuple[float, Proportion]]) -> float:
    """Expected calibration error: |confidence − share| averaged over the cases of all bins."""
    total = sum(one.total for _, one in bins)
    return sum(one.total * abs(said - (one.value or 0.0)) for said, one in bins) / total


def _compared(thread: Thread) -> Iterator[tuple[Post, Post]]:
    siblings: dict[str | None, list[Post]] = defaultdict(list)
    for post in thread.responses:
        if post.removed_as is None and post.text.strip() and not post.is_judged:
            siblings[post.parent_id].append(post)
    for posts in siblings.values():
        yield from combinations(posts[:MAX_COMPARED], 2)


def _quality(thread: Thread, model: VoteModel | None) -> dict[str, float]:
    """Quality by the vote model of those that are compared, by id."""
    if model is None:
        return {}
    shown = {post.id for two in _compared(thread) for post in two}
    among = [index for index, post in enumerate(thread.responses) if post.id in shown]
    found = response_quality(thread, model, among).mean
    return {thread.responses[index].id: mean for index, mean in zip(among, found, strict=True)}


def _lead(a: Post, b: Post, mode: VoteMode, quality: Mapping[str, float]) -> int:
    """1 where the first of two responses is ahead, −1 where it is behind, 0 where none is."""
    if mode is VoteMode.COMMON_WINDOW:
        if a.up_days is None or b.up_days is None:
            return 0
        high, low = common_window_scores(a, b)
    elif mode is VoteMode.DEBIASED:
        high, low = quality.get(a.id, 0.0), quality.get(b.id, 0.0)
    else:
        high, low = response_score(a, mode), response_score(b, mode)
    lead = (high > low) - (high < low)
    if mode is VoteMode.LATER_WINS and lead:
        winner, loser = (a, b) if lead > 0 else (b, a)
        if winner.created_at < loser.created_at:
            return 0
    return lead


def _until(post: Post, day: int) -> Post:
    """The response as a dump of that day would show it."""
    ups = tuple(d for d in post.up_days or () if d <= day)
    downs = tuple(d for d in post.down_days or () if d <= day)
    known = post.accepted_day is not None and post.accepted_day <= day
    return msgspec.structs.replace(
        post, up_days=ups, down_days=downs, score=len(ups) - len(downs), accepted=known
    )


def _after(post: Post, day: int) -> int:
    ups, downs = post.up_days or (), post.down_days or ()
    return sum(d > day for d in ups) - sum(d > day for d in downs)
