"""Scores of responses from votes, and how sure the votes are of an order.

Published scores: net votes (WorldPM, arXiv 2505.10527, appendix A.2), log2 votes (Askell et al.
2021, arXiv 2112.00861, as given on the card of HuggingFaceH4/stack-exchange-preferences), and
plain votes with a winner that is not the earlier response (SHP, Ethayarajh et al. 2022, card of
stanfordnlp/SHP). The common window is what dated votes add: a count that is fair in time.
"""

import math
from bisect import bisect_right
from enum import StrEnum
from typing import Final

from schemas.post import DAY_MS, Post

PRIOR_VOTES: Final = 8.0
"""Votes that the prior is worth in :func:`confidence`. Fitted with the two weights below by
``benchmarks/confidence.py`` on three StackExchange sites (488 questions); see docs/labels.md."""

HEAD_START_WEIGHT: Final = 0.5
"""Weight of a vote that was not cast after both responses existed; same fit."""

UNDATED_WEIGHT: Final = 0.75
"""Weight of a vote of unknown date, which may be either; same fit."""


class VoteMode(StrEnum):
    """Which score of two responses decides their order."""

    NET_VOTES = "net_votes"
    COMMON_WINDOW = "common_window"
    LATER_WINS = "later_wins"
    LOG2 = "log2"
    DEBIASED = "debiased"


def net_votes(response: Post) -> float:
    """Return upvotes − downvotes, plus 1 if accepted (WorldPM, appendix A.2)."""
    return float(response.score + response.accepted)


def h4_score(response: Post) -> float:
    """Return log2(1 + votes) rounded to an integer, plus 1 if accepted.

    Negative votes count as −1 before the acceptance is added; the published wording leaves open
    whether it is added to them at all.
    """
    votes = response.score
    return float((round(math.log2(1 + votes)) if votes >= 0 else -1) + response.accepted)


def common_window(a: Post, b: Post) -> tuple[int, int]:
    """Return both responses' upvotes − downvotes over the days after both existed.

    Vote dates have no time of day. Votes of the UTC day on which the later response appeared
    cannot be ordered and are dropped on both sides. Raises ValueError without dated votes.
    """
    day = _both_exist(a, b)
    ups_a, downs_a = _votes_after(a, day)
    ups_b, downs_b = _votes_after(b, day)
    return ups_a - downs_a, ups_b - downs_b


def common_window_scores(a: Post, b: Post) -> tuple[float, float]:
    """Return net votes restricted to :func:`common_window`: an acceptance dated in it adds 1."""
    day = _both_exist(a, b)
    votes_a, votes_b = common_window(a, b)
    return float(votes_a + _accepted_after(a, day)), float(votes_b + _accepted_after(b, day))


def response_score(response: Post, mode: VoteMode) -> float:
    """Return the score of one response; ValueError for the mode that only compares two."""
    if mode is VoteMode.NET_VOTES:
        return net_votes(response)
    if mode is VoteMode.LATER_WINS:
        return float(response.score)
    if mode is VoteMode.LOG2:
        return h4_score(response)
    if mode is VoteMode.DEBIASED:
        raise ValueError("debiased scores come from a whole thread: use response_quality")
    raise ValueError("common_window scores two responses, not one: use common_window_scores")


def confidence(chosen: Post, rejected: Post) -> float:
    """Return the probability that later votes put ``chosen`` ahead of ``rejected``.

    Every vote for `chosen` or against `rejected` favours `chosen` (+1), every other vote
    favours `rejected` (−1), and an acceptance is a vote. The tendency θ of these ±1 has the
    prior Normal(0, 1/s), and a vote of weight w is an observation of θ with variance 1/w. Then
    with the weighted counts f for and g against `chosen`

        P(θ > 0 | votes) = Φ((f − g) / √(f + g + s)),    s = PRIOR_VOTES

    where w is 1 for votes after both responses existed, HEAD_START_WEIGHT for the other dated
    votes and UNDATED_WEIGHT where the source has no dates (there, where only the net score is
    known, it counts as so many up- or downvotes).
    ``confidence(a, b) + confidence(b, a) == 1``; no votes give 0.5. Checked in docs/labels.md
    against who led in the votes after a cut date. Those
    voters saw the answers in the order of the votes before, so the number tells how stable
    the crowd's order is, which is not the same as quality.
    """
    if chosen.up_days is None or rejected.up_days is None:
        ups_c, downs_c = undated_votes(chosen)
        ups_r, downs_r = undated_votes(rejected)
        lead = UNDATED_WEIGHT * (ups_c + chosen.accepted - downs_c)
        lead -= UNDATED_WEIGHT * (ups_r + rejected.accepted - downs_r)
        votes = ups_c + downs_c + ups_r + downs_r + chosen.accepted + rejected.accepted
        return _normal_cdf(lead / math.sqrt(UNDATED_WEIGHT * votes + PRIOR_VOTES))
    day = _both_exist(chosen, rejected)
    lead_c, votes_c = _weighted_votes(chosen, day)
    lead_r, votes_r = _weighted_votes(rejected, day)
    return _normal_cdf((lead_c - lead_r) / math.sqrt(votes_c + votes_r + PRIOR_VOTES))


CONFIDENCE_DIGITS = 6
"""Rounded, because the last bits of erf differ between C libraries, and bytes must not."""


def label_confidence(chosen: Post, rejected: Post, debiased: float | None) -> float:
    """Return how sure it is that ``chosen`` is the better one, from 0 to 1.

    ``debiased``: what the vote model says, where it makes the label; None: :func:`confidence`.
    """
    # Without votes, the source's word is all there is.
    rated = chosen.rating is not None or rejected.rating is not None
    if rated or (chosen.preferred_to is not None and chosen.score == rejected.score):
        return 1.0
    return round(confidence(chosen, rejected), CONFIDENCE_DIGITS) if debiased is None else debiased


def undated_votes(response: Post) -> tuple[int, int]:
    """Return the numbers of upvotes and downvotes; those of a net score are all of one kind."""
    if response.up_days is not None and response.down_days is not None:
        return len(response.up_days), len(response.down_days)
    if response.upvotes is not None and response.downvotes is not None:
        return response.upvotes, response.downvotes
    return max(response.score, 0), max(-response.score, 0)


def _weighted_votes(response: Post, day: int) -> tuple[float, float]:
    """Upvotes − downvotes and upvotes + downvotes, those not after ``day`` at their weight."""
    ups, downs = _votes_after(response, day)
    after = _accepted_after(response, day)
    ups += after
    assert response.up_days is not None and response.down_days is not None
    early_ups = len(response.up_days) + response.accepted - ups
    early_downs = len(response.down_days) - downs
    lead = ups - downs + HEAD_START_WEIGHT * (early_ups - early_downs)
    return lead, ups + downs + HEAD_START_WEIGHT * (early_ups + early_downs)


def _both_exist(a: Post, b: Post) -> int:
    """UTC day number on which the later of two responses appeared."""
    return max(a.created_at, b.created_at) // DAY_MS


def _votes_after(response: Post, day: int) -> tuple[int, int]:
    ups, downs = response.up_days, response.down_days
    if ups is None or downs is None:
        raise ValueError(
            f"{response.id} has no dated votes, which the vote mode 'common_window' needs: "
            "supply the file of votes (Votes.xml of a StackExchange dump) or choose another mode"
        )
    return len(ups) - bisect_right(ups, day), len(downs) - bisect_right(downs, day)


def _accepted_after(response: Post, day: int) -> bool:
    return response.accepted and response.accepted_day is not None and response.accepted_day > day


def _normal_cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2.0))
