"""The vote model: what a choice is, planted effects found again, and what the posterior says."""

import dataclasses
import math
import random
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.curate.run import read_vote_model
from pipeline.errors import UsageError
from schemas.audit import Reason
from schemas.post import DAY_MS, Post, Thread
from schemas.small_files import SmallFileError
from schemas.vote_model import VoteEffects, VoteModel, decode_vote_model, encode_vote_model
from tests.beam_run import output_of
from tests.make import SITE, day, prompt, response, thread
from transforms.pairing import PairingRules, VoteMode, decide_pairs
from transforms.pairing.fit_votes import VOTE_MODEL_NAME, FitVoteModel
from transforms.pairing.vote_choices import FEATURES, UNPINNED_DAY, VoteKind, vote_choices
from transforms.pairing.vote_model import (
    PRIOR_EFFECTS,
    SiteFit,
    _batches,
    _from_vector,
    _log_evidence,
    _to_vector,
    combine_sites,
    compare,
    fit_vote_model,
    has_choices,
    response_quality,
    vote_questions,
)

NO_EFFECTS = VoteEffects(
    **dict.fromkeys(VoteEffects.__struct_fields__[:-3], 0.0),
    down_scale=1.0,
    accept_scale=1.0,
    sigma=0.5,
)


def model_of(effects: VoteEffects = PRIOR_EFFECTS) -> VoteModel:
    return VoteModel(common=effects, sites={}, votes=0, questions=0)


def dated(number: int, born: int, *ups: int, downs: tuple[int, ...] = (), **more: Any) -> Post:
    return response(
        number,
        created_at=day(born),
        up_days=ups,
        down_days=downs,
        score=len(ups) - len(downs),
        **more,
    )


# --- a world with planted effects ---------------------------------------------------------------

PLANTED = {"log_rank": -1.0, "fresh": 0.6, "accepted": 0.8, "sigma": 0.7}


@cache
def world() -> tuple[list[Thread], dict[str, list[float]]]:
    """Threads whose votes are drawn from the model, one upvote a day, and the true qualities.

    Responses come up to 20 days after the first, when half of the votes are cast.
    """
    source = random.Random(7)
    threads, truth = [], {}
    for number in range(100, 350):
        count = source.choice([2, 3, 4])
        born = [0, *sorted(source.choice([0, 0, 4, 20]) for _ in range(count - 1))]
        theta = [source.gauss(0.0, PLANTED["sigma"]) for _ in range(count)]
        ups: list[list[int]] = [[] for _ in range(count)]
        accepted = source.choice([None, 0, 0, 1])
        for today in range(1, 41):
            here = [place for place in range(count) if born[place] <= today]
            is_accepted = [place == accepted and today > 10 for place in here]
            keys = [(is_accepted[at], len(ups[place])) for at, place in enumerate(here)]
            weights = []
            for at, place in enumerate(here):
                above = sum(key > keys[at] for key in keys)
                rank = above + (sum(key == keys[at] for key in keys) + 1) / 2
                utility = theta[place] + PLANTED["log_rank"] * math.log(rank)
                utility += PLANTED["fresh"] * (today - born[place] <= 2)
                utility += PLANTED["accepted"] * is_accepted[at]
                utility += math.log(0.5) * (today == born[place])  # it came at noon
                weights.append(math.exp(utility))
            ups[source.choices(here, weights)[0]].append(today)
        answers = [
            dated(
                10 * number + place,
                born[place],
                *ups[place],
                thread_id=f"{SITE}:{number}",
                accepted=place == accepted,
                accepted_day=10 if place == accepted else None,
            )
            for place in range(count)
        ]
        threads.append(thread(number, *answers, created_at=0))
        truth[threads[-1].id] = theta
    return threads, truth


@cache
def fitted() -> VoteModel:
    return fit_vote_model(world()[0])


def accuracy(model: VoteModel) -> float:
    """Share of all pairs of the world that are ordered as their true qualities are."""
    right = []
    threads, truth = world()
    for item in threads:
        quality, theta = response_quality(item, model), truth[item.id]
        for a, b in combinations(range(len(theta)), 2):
            right.append((compare(quality, a, b).margin > 0) == (theta[a] > theta[b]))
    return sum(right) / len(right)


def test_planted_effects_are_found_again() -> None:
    found = fitted().sites[SITE]
    assert found.log_rank == pytest.approx(PLANTED["log_rank"], abs=0.15)
    assert found.accepted == pytest.approx(PLANTED["accepted"], abs=0.2)
    # Age and freshness say nearly the same; what a new answer has over one of 8 days is sure.
    newer = found.fresh - found.log_age * math.log(8 / 1.5)
    assert newer == pytest.approx(PLANTED["fresh"], abs=0.2)
    assert found.first_day == pytest.approx(0.0, abs=0.3)
    assert found.sigma == pytest.approx(PLANTED["sigma"], abs=0.12)


def test_the_place_on_the_page_is_worth_points_of_accuracy() -> None:
    effects = fitted().sites[SITE]
    without = msgspec.structs.replace(effects, log_rank=0.0)
    assert accuracy(fitted()) > accuracy(model_of(without)) + 0.02


def test_confidence_is_as_often_right_as_it_says() -> None:
    threads, truth = world()
    said, right = [], []
    for item in threads:
        quality, theta = response_quality(item, fitted()), truth[item.id]
        for a, b in combinations(range(len(theta)), 2):
            p = compare(quality, a, b).confidence
            said.append(max(p, 1 - p))
            right.append((p > 0.5) == (theta[a] > theta[b]))
    assert np.mean(said) == pytest.approx(np.mean(right), abs=0.03)
    sure = np.array(said) > 0.9
    assert np.mean(np.array(right)[sure]) == pytest.approx(np.mean(np.array(said)[sure]), abs=0.05)


def test_the_order_of_threads_changes_nothing() -> None:
    threads = world()[0][:40]
    assert fit_vote_model(threads) == fit_vote_model(threads[::-1])


# --- what a choice is ---------------------------------------------------------------------------


def features(item: Thread, today: int, kind: VoteKind = VoteKind.UP) -> list[dict[str, float]]:
    (choice,) = [one for one in vote_choices(item) if (one.day, one.kind) == (today, kind)]
    return [dict(zip(FEATURES, values, strict=True)) for values in choice.features]


def test_places_are_those_at_the_end_of_the_day_before() -> None:
    item = thread(1, dated(2, 1, 3, 5, 6), dated(3, 2, 4, 4, 6), dated(4, 2, downs=(5,)))
    assert [math.exp(one["log_rank"]) for one in features(item, 3)] == pytest.approx([2, 2, 2])
    assert [math.exp(one["log_rank"]) for one in features(item, 4)] == pytest.approx([1, 2.5, 2.5])
    assert [math.exp(one["log_rank"]) for one in features(item, 5)] == pytest.approx([2, 1, 3])
    # Of the votes of day 5, the upvote is known on day 6, and so is the downvote.
    assert [math.exp(one["log_rank"]) for one in features(item, 6)] == pytest.approx([1.5, 1.5, 3])


def test_age_and_freshness_are_counted_in_days() -> None:
    item = thread(1, dated(2, 1, 3, 4), dated(3, 3, 9))
    one, two = features(item, 3)
    assert (one["log_age"], one["fresh"], one["first_day"]) == (pytest.approx(math.log(2)), 1, 0)
    assert (two["log_age"], two["fresh"], two["first_day"]) == (0, 1, 1)
    assert [one["fresh"] for one in features(item, 4)] == [0, 1]
    assert [one["log_age"] for one in features(item, 9)] == pytest.approx(
        [math.log(8), math.log(6)]
    )


def test_the_first_day_counts_by_the_share_of_it_that_was_left() -> None:
    late = dated(3, 3, 3)
    late = msgspec.structs.replace(late, created_at=3 * DAY_MS + 18 * DAY_MS // 24)
    item = thread(1, dated(2, 1, 3, 3), late)
    (choice,) = vote_choices(item)
    assert choice.votes == (2, 1)
    assert choice.exposure == pytest.approx((0.0, math.log(6 / 24)))


def test_votes_before_the_second_response_are_no_choice() -> None:
    item = thread(1, dated(2, 1, 1, 2, 3, 4), dated(3, 5))
    assert vote_choices(item) == [] and not has_choices(item)
    assert vote_choices(thread(1, dated(2, 1, 2, 3))) == []


@pytest.mark.parametrize(
    ("source", "author", "offset", "first"),
    [
        ("stackexchange", "u7", -20, 1),
        ("stackexchange", "u7", 20, 2),
        ("stackexchange", "u1", -20, 2),  # by the asker
        ("threads", "u7", -20, 2),
    ],
)
def test_an_accepted_answer_was_on_top_for_a_time(
    source: str, author: str, offset: int, first: float
) -> None:
    start = UNPINNED_DAY + offset
    item = thread(
        1,
        dated(2, start, start + 1, start + 5),
        dated(3, start, accepted=True, accepted_day=start + 2, author_id=f"{SITE}:{author}"),
        source=source,
    )
    last = features(item, start + 5)[1]
    assert (math.exp(last["log_rank"]), last["accepted"]) == (pytest.approx(first), 1)
    assert features(item, start + 1)[1]["accepted"] == 0


def test_an_acceptance_is_a_choice_of_the_asker_but_not_of_an_own_answer() -> None:
    other = thread(1, dated(2, 1), dated(3, 1, accepted=True, accepted_day=4))
    (choice,) = vote_choices(other)
    assert (choice.kind, choice.day, choice.votes) == (VoteKind.ACCEPT, 4, (0, 1))
    own = thread(1, dated(2, 1), dated(3, 1, accepted=True, accepted_day=4, author_id=f"{SITE}:u1"))
    assert vote_choices(own) == []


@st.composite
def threads(draw: st.DrawFn) -> Thread:
    days = st.lists(st.integers(0, 12), max_size=6)
    answers = []
    for number in range(2, draw(st.integers(4, 6))):
        born = draw(st.integers(0, 6))
        ups = sorted(born + later for later in draw(days))
        downs = tuple(sorted(born + later for later in draw(days)[:2]))
        answers.append(dated(number, born, *ups, downs=downs))
    if draw(st.booleans()):
        answers[0] = msgspec.structs.replace(answers[0], accepted=True, accepted_day=8)
    return thread(1, *answers, created_at=0)


@given(threads(), st.integers(0, 20))
def test_later_votes_change_no_earlier_choice(item: Thread, cut: int) -> None:
    def before(days: tuple[int, ...] | None) -> tuple[int, ...]:
        return tuple(one for one in days or () if one < cut)

    early = [
        msgspec.structs.replace(
            post, up_days=before(post.up_days), down_days=before(post.down_days)
        )
        for post in item.responses
    ]
    left = [c for c in vote_choices(thread(1, *early, created_at=0)) if c.day < cut]
    assert left == [choice for choice in vote_choices(item) if choice.day < cut]


@given(threads(), st.randoms(use_true_random=False))
def test_the_order_of_responses_changes_no_bit(item: Thread, source: random.Random) -> None:
    places = list(range(len(item.responses)))
    source.shuffle(places)
    mixed = Thread(prompt=item.prompt, responses=tuple(item.responses[at] for at in places))
    one, two = response_quality(item, model_of()), response_quality(mixed, model_of())
    assert two.mean == tuple(one.mean[at] for at in places)
    assert two.covariance == tuple(tuple(one.covariance[a][b] for b in places) for a in places)


@given(threads())
def test_comparing_the_other_way_round_turns_the_signs(item: Thread) -> None:
    quality = response_quality(item, model_of())
    one, two = compare(quality, 0, 1), compare(quality, 1, 0)
    assert (one.margin, one.standard_error) == (-two.margin, two.standard_error)
    assert one.confidence + two.confidence == pytest.approx(1.0, abs=1e-12)
    assert (one.confidence > 0.5) == (one.margin > 0) or one.confidence == 0.5
    assert 0 <= one.standard_error <= math.sqrt(2) * PRIOR_EFFECTS.sigma + 1e-6


# --- the posterior ------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_one_vote_moves_as_far_as_the_prior_lets_it(sigma: float) -> None:
    effects = msgspec.structs.replace(NO_EFFECTS, sigma=sigma)
    item = thread(1, dated(2, 1, 3), dated(3, 1))
    quality = response_quality(item, model_of(effects))
    theta = quality.mean[0]
    # At the mode, what the vote says more than expected is what the prior pulls back.
    assert 1 - 1 / (1 + math.exp(-2 * theta)) == pytest.approx(theta / sigma**2, abs=1e-5)
    assert quality.mean[1] == pytest.approx(-theta, abs=1e-6)
    p = 1 / (1 + math.exp(-2 * theta))
    spread = 1 / (1 / sigma**2 / 2 + p * (1 - p))  # of the difference; its prior is 2·sigma²
    assert compare(quality, 0, 1).standard_error == pytest.approx(math.sqrt(spread), abs=1e-4)


def test_a_vote_for_a_low_place_says_more_than_one_for_the_top() -> None:
    lead = (dated(2, 1, 2, 3, 4), dated(3, 1, 2))
    top = response_quality(thread(1, dated(2, 1, 2, 3, 4, 9), lead[1]), model_of()).mean
    low = response_quality(thread(1, lead[0], dated(3, 1, 2, 9)), model_of()).mean
    before = response_quality(thread(1, *lead), model_of()).mean
    assert low[1] - before[1] > top[0] - before[0] > 0


def test_votes_against_and_acceptance_count_by_their_scales() -> None:
    effects = msgspec.structs.replace(NO_EFFECTS, down_scale=2.0, accept_scale=3.0)
    up, down, accepted = (
        response_quality(thread(1, *two), model_of(effects)).mean[0]
        for two in (
            (dated(2, 1, 3), dated(3, 1)),
            (dated(2, 1), dated(3, 1, downs=(3,))),
            (dated(2, 1, accepted=True, accepted_day=3), dated(3, 1)),
        )
    )
    assert 0 < up < down < accepted


def test_without_dates_only_the_totals_count() -> None:
    def two(**more: Any) -> Thread:
        return thread(1, response(2, score=5, created_at=day(1)), response(3, score=2, **more))

    soon, late = (response_quality(two(created_at=day(at)), model_of()) for at in (1, 90))
    assert soon == late and soon.mean[0] > 0 > soon.mean[1]
    mixed = thread(1, response(2, score=5), dated(3, 1, 4, 4))
    assert response_quality(mixed, model_of()) == soon
    # As old and as far up: what is not known makes the same votes say less.
    early, all_known = (dated(n, 1, *[2] * votes) for n, votes in ((2, 5), (3, 2)))
    known = compare(response_quality(thread(1, early, all_known), model_of()), 0, 1)
    assert 0.5 < compare(soon, 0, 1).confidence < known.confidence
    nothing = thread(1, response(2, score=0), response(3, score=0))
    assert compare(response_quality(nothing, model_of()), 0, 1).margin == 0


def test_replies_are_compared_with_their_siblings() -> None:
    parent = f"{SITE}:2"
    replies = [dated(n, 1, *ups, parent_id=parent) for n, ups in ((4, (3, 4)), (5, ()))]
    item = thread(1, dated(2, 1, 3), dated(3, 1), *replies)
    quality = response_quality(item, model_of())
    assert quality.covariance[0][2] == 0 and quality.covariance[2][3] > 0
    alone = response_quality(thread(1, *item.responses[:2]), model_of())
    assert quality.mean[:2] == alone.mean
    assert {question.id for question in vote_questions(item)} == {item.id, parent}


def test_those_asked_for_come_back_in_their_order() -> None:
    item = thread(1, dated(2, 1, 3, 4), dated(3, 1, 5), dated(4, 1))
    some = response_quality(item, model_of(), [2, 0])
    assert len(some.mean) == 2 and some.mean[1] > some.mean[0]
    assert response_quality(item, model_of(), [0, 1, 2]) == response_quality(item, model_of())


# --- the fit ------------------------------------------------------------------------------------


def test_the_slope_of_the_evidence_is_that_of_its_value() -> None:
    questions = [question for item in world()[0][:8] for question in vote_questions(item)]
    psi = _to_vector(PRIOR_EFFECTS) + 0.1
    for batch in _batches(questions):
        theta = np.zeros((len(batch.starts), batch.votes.shape[1]))
        found = _log_evidence(batch, psi, theta)
        for place in range(len(psi)):
            step = np.zeros(len(psi))
            step[place] = 1e-5
            up, down = (_log_evidence(batch, psi + s, theta).value for s in (step, -step))
            assert found.gradient[place] == pytest.approx((up - down) / 2e-5, abs=1e-4)


def fit_of(site: str, value: float, weight: float) -> SiteFit:
    size = len(_to_vector(PRIOR_EFFECTS))
    target = _to_vector(PRIOR_EFFECTS) + value
    return SiteFit(
        site=site,
        linear=tuple(weight * target),
        information=tuple(tuple(row) for row in weight * np.eye(size)),
        votes=1,
        questions=1,
    )


def test_sites_with_few_votes_take_the_common_effects() -> None:
    fits = [fit_of("a", 0.2, 1e4), fit_of("b", 0.3, 1e4), fit_of("c", -3.0, 0.01)]
    model = combine_sites(fits)
    assert model == combine_sites(fits[::-1])
    prior = PRIOR_EFFECTS.log_rank
    assert model.sites["a"].log_rank == pytest.approx(prior + 0.2, abs=0.01)
    assert model.sites["b"].log_rank == pytest.approx(prior + 0.3, abs=0.01)
    assert model.sites["c"].log_rank == pytest.approx(model.common.log_rank, abs=0.01)
    assert model.effects_of("elsewhere") == model.common


def test_without_votes_the_effects_are_those_expected() -> None:
    assert combine_sites([]).common == PRIOR_EFFECTS == _from_vector(_to_vector(PRIOR_EFFECTS))
    assert fit_vote_model([thread(1), thread(5)]) == combine_sites([])


def test_a_file_is_read_back_and_so_is_a_manifest() -> None:
    model = fitted()
    assert decode_vote_model(encode_vote_model(model)) == model
    manifest = {"manifest_version": "1.2.0", "vote_model": msgspec.to_builtins(model)}
    assert decode_vote_model(msgspec.json.encode(manifest)) == model
    for content in (b"{", b"[]", b'{"manifest_version": "1.2.0"}', b'{"common": {"sigma": 0}}'):
        with pytest.raises(SmallFileError):
            decode_vote_model(content)


def test_a_file_that_is_no_vote_model_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text('{"common": 1}', encoding="utf-8")
    for name in ("model.json", "none.json"):
        with pytest.raises(UsageError, match=f"--vote-model .*{name}: "):
            read_vote_model(str(tmp_path / name))
    assert read_vote_model(None) is None


def test_the_step_fits_what_the_function_fits(tmp_path: Path) -> None:
    some = [*world()[0][:30], thread(7)]
    (model,) = output_of(FitVoteModel(str(tmp_path)), (some, Thread))
    assert model == fit_vote_model(some[::-1])
    assert decode_vote_model((tmp_path / VOTE_MODEL_NAME).read_bytes()) == model
    (nothing,) = output_of(FitVoteModel(str(tmp_path)), ([thread(7)], Thread))
    assert nothing == combine_sites([])


# --- recomputed by hand -------------------------------------------------------------------------


def test_posterior_and_evidence_are_those_of_plain_integration() -> None:
    """Features counted by hand, and θ integrated over a grid instead of by Laplace."""
    effects = msgspec.structs.replace(
        PRIOR_EFFECTS, log_age=-0.3, down_log_rank=0.2, accept_fresh=0.4, down_scale=1.4,
        accept_scale=1.8, sigma=0.6,
    )  # fmt: skip
    first = dated(2, 1, 2, 5, 7, accepted=True, accepted_day=8)
    second = dated(3, 3, 6, 7, 8, downs=(9,))
    item = thread(1, first, second, created_at=0)
    # Of each vote: its kind, whom it goes to, and of either response its place on the page that
    # morning, whether it was accepted, its age in days, and whether that is at most two.
    votes = [
        ("", 0, (1, 2), (0, 0), (4, 2), (0, 1)),
        ("", 1, (1, 2), (0, 0), (5, 3), (0, 0)),
        ("", 0, (1, 2), (0, 0), (6, 4), (0, 0)),
        ("", 1, (1, 2), (0, 0), (6, 4), (0, 0)),
        ("", 1, (1, 2), (0, 0), (7, 5), (0, 0)),
        ("accept_", 0, (1, 2), (0, 0), (7, 5), (0, 0)),
        ("down_", 1, (1, 2), (1, 0), (8, 6), (0, 0)),
    ]
    early = (math.asinh(1), 0.0)  # the vote of day 2 was cast before there was a choice
    scale = {"": 1.0, "down_": -effects.down_scale, "accept_": effects.accept_scale}
    step = 0.02
    axis = np.arange(-4, 4 + step, step)
    theta = np.stack(np.meshgrid(axis, axis, indexing="ij"))
    log_joint = -((theta / effects.sigma) ** 2).sum(0) / 2 - math.log(
        2 * math.pi * effects.sigma**2
    )
    for kind, winner, place, accepted, age, fresh in votes:
        utility = [
            scale[kind] * theta[one]
            + getattr(effects, f"{kind}log_rank") * math.log(place[one])
            + getattr(effects, f"{kind}accepted", 0.0) * accepted[one]
            + getattr(effects, f"{kind}log_age") * math.log(age[one])
            + getattr(effects, f"{kind}fresh") * fresh[one]
            + getattr(effects, f"{kind}head_start") * early[one]
            for one in (0, 1)
        ]
        log_joint += utility[winner] - np.logaddexp(*utility)
    joint = np.exp(log_joint) * step * step
    shift = effects.head_start * early[0]
    difference = theta[0] - theta[1] + shift
    mean = (joint * difference).sum() / joint.sum()
    found = compare(response_quality(item, model_of(effects)), 0, 1)
    mode = difference[np.unravel_index(log_joint.argmax(), log_joint.shape)]
    assert found.margin == pytest.approx(mode, abs=step)
    assert found.margin == pytest.approx(mean, abs=0.03)  # as far as a normal's mode is its mean
    spread = (joint * (difference - mean) ** 2).sum() / joint.sum()
    assert found.standard_error == pytest.approx(math.sqrt(spread), rel=0.05)
    assert found.confidence == pytest.approx(joint[difference > 0].sum() / joint.sum(), abs=0.02)
    (batch,) = _batches(vote_questions(item))
    evidence = _log_evidence(batch, _to_vector(effects), np.zeros((1, 2)))
    assert evidence.value == pytest.approx(math.log(joint.sum()), abs=0.03)


# --- pairs --------------------------------------------------------------------------------------


def leader_by_place() -> Thread:
    """By votes the first is ahead; given its place, the second is. None had a head start."""
    ups = (5, 6, 20, 21, 22, 23)
    return thread(1, dated(2, 3, *ups), dated(3, 3, 30, 31, 32, 33, 34))


def test_the_posterior_makes_the_label() -> None:
    item = leader_by_place()
    (by_votes,), _ = decide_pairs(item, PairingRules(), model_of())
    (decision,), _ = decide_pairs(item, PairingRules(votes=VoteMode.DEBIASED), model_of())
    assert (by_votes.chosen, decision.chosen) == (0, 1)
    found = compare(response_quality(item, model_of()), 1, 0)
    assert decision.debiased_margin == decision.margin == found.margin > 0
    assert decision.debiased_standard_error == found.standard_error
    assert decision.confidence == found.confidence > 0.5
    assert decision.chosen_score > decision.rejected_score
    # Under another mode the columns say what the model would have said.
    assert by_votes.debiased_margin == -found.margin
    assert by_votes.confidence != pytest.approx(1 - found.confidence)
    assert by_votes.margin == 1


def test_without_a_model_the_columns_are_empty_and_the_mode_is_refused() -> None:
    (decision,), _ = decide_pairs(leader_by_place(), PairingRules())
    assert decision.debiased_margin is decision.debiased_standard_error is None
    with pytest.raises(ValueError, match="needs a vote model"):
        decide_pairs(leader_by_place(), PairingRules(votes=VoteMode.DEBIASED))


def test_what_the_source_states_is_not_voted_on() -> None:
    first = response(2, preferred_to=(f"{SITE}:3",), score=0)
    item = thread(1, first, response(3, preferred_to=(), score=0))
    (decision,), _ = decide_pairs(item, PairingRules(votes=VoteMode.DEBIASED), model_of())
    assert (decision.chosen, decision.confidence, decision.debiased_margin) == (0, 1.0, None)


def reasons(item: Thread, rules: PairingRules) -> Iterator[tuple[Reason, str]]:
    _, rejected = decide_pairs(item, rules, model_of())
    return ((row.reason, row.detail) for row in rejected[1:])


@pytest.mark.parametrize("votes", [VoteMode.DEBIASED, VoteMode.NET_VOTES])
def test_labels_that_are_not_sure_enough_are_left_out(votes: VoteMode) -> None:
    item = leader_by_place()
    rules = PairingRules(votes=votes)
    (decision,), _ = decide_pairs(item, rules, model_of())
    asked = {"min_confidence": decision.confidence}
    assert decide_pairs(item, dataclasses.replace(rules, **asked), model_of())[0]
    asked = {"min_confidence": decision.confidence + 1e-6}
    found = set(reasons(item, dataclasses.replace(rules, **asked)))
    limit = f"{decision.confidence:.3f} < {asked['min_confidence']:g}"
    assert found == {(Reason.CONFIDENCE_TOO_LOW, limit)}


def test_labels_with_too_large_a_margin_are_left_out() -> None:
    item = thread(1, dated(2, 1, 2, 3, 4), dated(3, 1))
    assert decide_pairs(item, PairingRules(max_margin=3.0))[0]
    found = set(reasons(item, PairingRules(max_margin=2.5)))
    assert found == {(Reason.MARGIN_TOO_LARGE, "3 > 2.5")}


def test_equal_posteriors_are_a_tie() -> None:
    item = thread(1, dated(2, 1), dated(3, 1))
    found = set(reasons(item, PairingRules(votes=VoteMode.DEBIASED)))
    assert {reason for reason, _ in found} == {Reason.TIED}
    assert prompt().id == item.id
