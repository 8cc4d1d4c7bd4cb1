import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.post import Post
from tests.make import day, response
from transforms.pairing import (
    VoteMode,
    common_window,
    common_window_scores,
    confidence,
    h4_score,
    net_votes,
    response_score,
)
from transforms.pairing.votes import HEAD_START_WEIGHT, PRIOR_VOTES, UNDATED_WEIGHT


def dated(number: int, created: int, ups: Any = (), downs: Any = (), **fields: Any) -> Post:
    ups, downs = tuple(sorted(ups)), tuple(sorted(downs))
    return response(
        number,
        created_at=day(created),
        up_days=ups,
        down_days=downs,
        score=len(ups) - len(downs),
        **fields,
    )


def undated(score: int, **fields: Any) -> Post:
    return response(2, score=score, **fields)


def phi(z: float) -> float:
    return (1 + math.erf(z / math.sqrt(2))) / 2


days = st.lists(st.integers(0, 30), max_size=8)
posts = st.builds(
    lambda created, ups, downs, accepted: dated(
        2,
        created,
        [created + d for d in ups],
        [created + d for d in downs],
        accepted=accepted is not None,
        accepted_day=None if accepted is None else created + accepted,
    ),
    st.integers(0, 20),
    days,
    days,
    st.none() | st.integers(0, 30),
)


def test_net_votes_counts_an_acceptance_as_one_upvote() -> None:
    assert net_votes(undated(3)) == 3
    assert net_votes(undated(3, accepted=True)) == 4
    assert net_votes(undated(-2)) == -2


@pytest.mark.parametrize(
    ("votes", "score"),
    [
        (0, 0),
        (1, 1),
        (2, 2),
        (3, 2),
        (4, 2),
        (5, 3),
        (10, 3),
        (11, 4),
        (100, 7),
        (-1, -1),
        (-9, -1),
    ],
)
def test_h4_score_is_the_published_rule(votes: int, score: int) -> None:
    assert h4_score(undated(votes)) == score
    assert h4_score(undated(votes, accepted=True)) == score + 1


def test_later_wins_scores_votes_without_acceptance() -> None:
    post = undated(4, accepted=True)
    assert response_score(post, VoteMode.LATER_WINS) == 4
    assert response_score(post, VoteMode.NET_VOTES) == 5
    assert response_score(post, VoteMode.LOG2) == 3
    with pytest.raises(ValueError, match="common_window"):
        response_score(post, VoteMode.COMMON_WINDOW)


def test_common_window_starts_on_the_day_after_the_later_response() -> None:
    earlier = dated(2, 10, [10, 15, 20, 21, 30, 40], [19, 20, 22])
    later = dated(3, 20, [20, 20, 21], [20, 23])
    assert common_window(earlier, later) == (2, 0)
    assert common_window(later, earlier) == (0, 2)


def test_common_window_needs_dated_votes() -> None:
    with pytest.raises(ValueError, match=r"Votes\.xml"):
        common_window(dated(2, 1), undated(3))


def test_an_acceptance_counts_in_the_window_only_when_dated_in_it() -> None:
    later = dated(3, 20)
    for accepted_day, score in ((21, 1.0), (20, 0.0), (None, 0.0)):
        accepted = dated(2, 10, accepted=True, accepted_day=accepted_day)
        assert common_window_scores(accepted, later) == (score, 0.0)
        assert common_window(accepted, later) == (0, 0)


@given(posts, posts)
def test_common_window_is_the_same_seen_from_either_side(a: Post, b: Post) -> None:
    assert common_window(a, b) == common_window(b, a)[::-1]
    assert common_window_scores(a, b) == common_window_scores(b, a)[::-1]


@given(posts, posts, st.lists(st.integers(0, 20), max_size=5))
def test_head_start_votes_do_not_reach_the_window(a: Post, b: Post, extra: list[int]) -> None:
    first, second = sorted((a, b), key=lambda post: post.created_at)
    born = second.created_at // 86_400_000
    more = dated(
        4,
        first.created_at // 86_400_000,
        [*(first.up_days or ()), *(d for d in extra if d <= born)],
        first.down_days,
    )
    assert common_window(more, second) == common_window(first, second)


def test_confidence_is_the_documented_formula() -> None:
    earlier = dated(2, 10, [11, 20, 21, 22, 23], [24], accepted=True, accepted_day=20)
    later = dated(3, 20, [20, 25], [21, 22])
    # in the window: 3 up, 1 down against 1 up, 2 down; before it: 3 against 1
    lead = (3 - 1) - (1 - 2) + HEAD_START_WEIGHT * (3 - 1)
    votes = 4 + 3 + HEAD_START_WEIGHT * 4
    expected = phi(lead / math.sqrt(votes + PRIOR_VOTES))
    assert confidence(earlier, later) == pytest.approx(expected, abs=1e-12)


def test_an_acceptance_is_a_vote_of_its_date() -> None:
    later = dated(3, 20)
    for accepted_day, weight in ((21, 1.0), (20, HEAD_START_WEIGHT), (None, HEAD_START_WEIGHT)):
        accepted = dated(2, 10, accepted=True, accepted_day=accepted_day)
        expected = phi(weight / math.sqrt(weight + PRIOR_VOTES))
        assert confidence(accepted, later) == pytest.approx(expected, abs=1e-12)


def test_confidence_without_dates_is_the_documented_formula() -> None:
    lead, votes = UNDATED_WEIGHT * (6 + 1 + 2), UNDATED_WEIGHT * 9
    expected = phi(lead / math.sqrt(votes + PRIOR_VOTES))
    assert confidence(undated(6, accepted=True), undated(-2)) == pytest.approx(expected, abs=1e-12)
    assert confidence(undated(6, accepted=True), dated(3, 1, (), [2, 2])) == pytest.approx(
        expected, abs=1e-12
    )


def test_no_votes_say_nothing() -> None:
    assert confidence(undated(0), undated(0)) == pytest.approx(0.5)
    assert confidence(dated(2, 1), dated(3, 9)) == pytest.approx(0.5)


def test_many_votes_on_one_side_are_close_to_certain() -> None:
    assert confidence(undated(10_000), undated(0)) == pytest.approx(1.0)
    assert confidence(undated(0), undated(10_000)) == pytest.approx(0.0)


def test_a_side_by_side_vote_says_more_than_a_head_start_vote() -> None:
    later = dated(3, 20)
    in_window = confidence(dated(2, 10, [21]), later)
    same_day = confidence(dated(2, 10, [20]), later)
    before = confidence(dated(2, 10, [11]), later)
    assert in_window > same_day == before > 0.5


@given(posts, posts)
def test_confidence_of_both_orders_adds_up_to_one(a: Post, b: Post) -> None:
    assert 0 <= confidence(a, b) <= 1
    assert confidence(a, b) + confidence(b, a) == pytest.approx(1)


@given(posts, posts, st.integers(0, 40), st.booleans())
def test_a_vote_for_the_chosen_or_against_the_rejected_raises_confidence(
    chosen: Post, rejected: Post, on: int, up: bool
) -> None:
    born = chosen.created_at // 86_400_000
    fields = {"accepted": chosen.accepted, "accepted_day": chosen.accepted_day}
    ups, downs = chosen.up_days or (), chosen.down_days or ()
    more = dated(
        2, born, [*ups, born + on] if up else ups, downs if up else [*downs, born + on], **fields
    )
    before, after = confidence(chosen, rejected), confidence(more, rejected)
    assert after > before if up else after < before
    assert (confidence(rejected, more) < confidence(rejected, chosen)) is up


@given(st.integers(-20, 200), st.integers(-20, 200), st.booleans())
def test_an_undated_vote_raises_confidence(chosen: int, rejected: int, accepted: bool) -> None:
    other = undated(rejected, accepted=accepted)
    assert confidence(undated(chosen + 1), other) >= confidence(undated(chosen), other)
    assert confidence(undated(chosen, accepted=True), other) >= confidence(undated(chosen), other)
    assert confidence(undated(chosen), undated(rejected)) <= confidence(
        undated(chosen), undated(rejected - 1)
    )
