import dataclasses
import itertools
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.audit import Reason, Rejected, Stage
from schemas.post import DAY_MS, Post, Thread
from tests.examples import examples
from tests.make import SITE, day, prompt, response, thread
from transforms.pairing import (
    PRESETS,
    Decision,
    PairingRules,
    VoteMode,
    common_window,
    common_window_scores,
    compare,
    confidence,
    decide_pairs,
    pair_row,
    pairs,
    preset,
    response_quality,
    response_score,
)
from transforms.pairing.vote_model import combine_sites

ALL = PairingRules(max_pairs_per_thread=0, max_responses=0)
NEW_YEAR_2023 = 1_672_531_200_000


def with_scores(*scores: int, **fields: Any) -> Thread:
    """A thread whose answers 2, 3, … have these scores, one day after the other."""
    answers = (response(k, score=score, **fields) for k, score in enumerate(scores, start=2))
    return thread(1, *answers)


def ids(thread: Thread, decisions: list[Decision]) -> list[tuple[int, int]]:
    def number(index: int) -> int:
        return int(thread.responses[index].id.rpartition(":")[2])

    return [(number(d.chosen), number(d.rejected)) for d in decisions]


def reasons(rejected: list[Rejected]) -> dict[int, Reason]:
    return {int(row.id.rpartition(":")[2]): row.reason for row in rejected}


@st.composite
def answers(draw: st.DrawFn, number: int) -> Post:
    created = draw(st.integers(2, 9))
    accepted = draw(st.booleans())
    ups = sorted(created + d for d in draw(st.lists(st.integers(0, 9), max_size=6)))
    downs = sorted(created + d for d in draw(st.lists(st.integers(0, 9), max_size=2)))
    author = draw(st.sampled_from([None, "u1", "u7", "u8", "u9", f"x{number}"]))
    return response(
        number,
        created_at=day(created),
        edited_at=draw(st.sampled_from([None, None, day(20)])),
        score=len(ups) - len(downs),
        up_days=tuple(ups),
        down_days=tuple(downs),
        accepted=accepted,
        accepted_day=created + draw(st.integers(0, 9)) if accepted else None,
        author_id=author and f"{SITE}:{author}",
        by_staff=draw(st.integers(0, 9)) == 0,
    )


@st.composite
def threads(draw: st.DrawFn) -> Thread:
    responses = [draw(answers(number)) for number in range(2, 2 + draw(st.integers(0, 7)))]
    asker = draw(st.sampled_from([f"{SITE}:u1", None]))
    asked = prompt(1, score=draw(st.integers(0, 3)), author_id=asker)
    return Thread(prompt=asked, responses=tuple(responses))


all_rules = st.builds(
    PairingRules,
    votes=st.sampled_from(list(VoteMode)),
    min_margin=st.sampled_from([0.0, 0.0, 2.0]),
    min_ratio=st.sampled_from([0.0, 0.0, 1.5]),
    max_margin=st.sampled_from([0.0, 0.0, 3.0]),
    min_confidence=st.sampled_from([0.0, 0.0, 0.6]),
    max_pairs_per_thread=st.sampled_from([0, 1, 3]),
    max_responses=st.sampled_from([0, 0, 4, 1]),
    min_prompt_score=st.sampled_from([None, 1]),
    min_response_score=st.sampled_from([None, 1]),
    drop_edited=st.booleans(),
    drop_edited_prompts=st.booleans(),
    drop_deleted_authors=st.booleans(),
    drop_prompt_author=st.booleans(),
    drop_staff=st.booleans(),
    created_before=st.sampled_from([None, day(8)]),
    later_must_win=st.booleans(),
    max_gap_days=st.sampled_from([0.0, 3.0]),
    seed=st.integers(0, 3),
)


MODEL = combine_sites([])


def decide(thread: Thread, rules: PairingRules) -> tuple[list[Decision], list[Rejected]]:
    return decide_pairs(thread, rules, MODEL if rules.votes is VoteMode.DEBIASED else None)


def is_pair(thread: Thread, chosen: Post, rejected: Post, rules: PairingRules) -> bool:
    """The rules again, one condition after the other, for any two posts of a thread."""
    sure = round(confidence(chosen, rejected), 6)
    if rules.votes is VoteMode.COMMON_WINDOW:
        high, low = common_window_scores(chosen, rejected)
    elif rules.votes is VoteMode.DEBIASED:
        quality = response_quality(thread, MODEL)
        at = [thread.responses.index(post) for post in (chosen, rejected)]
        high, low = (quality.mean[place] for place in at)
        sure = compare(quality, *at).confidence
    else:
        high, low = response_score(chosen, rules.votes), response_score(rejected, rules.votes)
    later = rules.later_must_win or rules.votes is VoteMode.LATER_WINS
    posts = (chosen, rejected)
    ask = thread.prompt
    return all(
        (
            high > low,
            high - low >= rules.min_margin,
            not rules.min_ratio or (low > 0 and high / low >= rules.min_ratio),
            not rules.max_margin or high - low <= rules.max_margin,
            sure >= rules.min_confidence,
            not later or chosen.created_at >= rejected.created_at,
            not rules.max_gap_days
            or abs(chosen.created_at - rejected.created_at) <= rules.max_gap_days * DAY_MS,
            chosen.author_id is None or chosen.author_id != rejected.author_id,
            rules.min_prompt_score is None or ask.score >= rules.min_prompt_score,
            all(p.score >= (rules.min_response_score or -99) for p in posts),
            not rules.drop_edited or not any(p.edited_at for p in (*posts, ask)),
            not rules.drop_edited_prompts or not ask.edited_at,
            not rules.drop_deleted_authors or all(p.author_id for p in (*posts, ask)),
            not rules.drop_prompt_author
            or not any(p.author_id == ask.author_id for p in posts if p.author_id),
            not rules.drop_staff or not any(p.by_staff for p in (*posts, ask)),
            all(p.created_at < (rules.created_before or 10**15) for p in (*posts, ask)),
        )
    )


@given(threads(), all_rules)
@settings(max_examples=examples(300), deadline=None)
def test_without_limits_the_pairs_are_those_the_rules_describe(
    thread: Thread, rules: PairingRules
) -> None:
    rules = dataclasses.replace(rules, max_pairs_per_thread=0, max_responses=0)
    decisions, _ = decide(thread, rules)
    expected = {
        (i, j)
        for i, j in itertools.permutations(range(len(thread.responses)), 2)
        if is_pair(thread, thread.responses[i], thread.responses[j], rules)
    }
    found = [(d.chosen, d.rejected) for d in decisions]
    assert set(found) == expected
    assert len(found) == len(expected)


@given(threads(), all_rules)
@settings(max_examples=examples(300), deadline=None)
def test_every_post_is_in_a_pair_or_rejected_exactly_once(
    thread: Thread, rules: PairingRules
) -> None:
    decisions, rejected = decide(thread, rules)
    used = {thread.responses[i].id for d in decisions for i in (d.chosen, d.rejected)}
    if decisions:
        used.add(thread.prompt.id)
    posts = sorted(post.id for post in (thread.prompt, *thread.responses))
    assert sorted([*used, *(row.id for row in rejected)]) == posts
    assert all(row.stage is Stage.PAIR for row in rejected)


@given(threads(), all_rules, st.randoms(use_true_random=False))
def test_the_order_of_responses_does_not_matter(
    thread: Thread, rules: PairingRules, shuffle: random.Random
) -> None:
    mixed = list(thread.responses)
    shuffle.shuffle(mixed)
    other = msgspec.structs.replace(thread, responses=tuple(mixed))
    here, rejected_here = decide(thread, rules)
    there, rejected_there = decide(other, rules)
    rows = [pair_row(thread, d, "train") for d in here]
    assert rows == [pair_row(other, d, "train") for d in there]
    assert sorted(rejected_here, key=str) == sorted(rejected_there, key=str)


@given(threads(), all_rules)
def test_the_cap_keeps_some_of_the_pairs_and_says_which_it_dropped(
    thread: Thread, rules: PairingRules
) -> None:
    rules = dataclasses.replace(rules, max_responses=0)
    everything, _ = decide(thread, dataclasses.replace(rules, max_pairs_per_thread=0))
    capped, rejected = decide(thread, rules)
    limit = rules.max_pairs_per_thread or len(everything)
    assert len(capped) == min(limit, len(everything))
    assert set(capped) <= set(everything)
    was_paired = {i for d in everything for i in (d.chosen, d.rejected)}
    is_paired = {i for d in capped for i in (d.chosen, d.rejected)}
    dropped = {thread.responses[i].id for i in was_paired - is_paired}
    assert {row.id for row in rejected if row.reason is Reason.PAIR_CAP} == dropped


@given(threads(), all_rules)
def test_a_decision_carries_scores_window_and_confidence(
    thread: Thread, rules: PairingRules
) -> None:
    for d in decide(thread, rules)[0]:
        chosen, rejected = thread.responses[d.chosen], thread.responses[d.rejected]
        assert d.margin == pytest.approx(d.chosen_score - d.rejected_score, abs=1e-9)
        assert d.margin > 0
        assert (d.window_chosen_score, d.window_rejected_score) == common_window(chosen, rejected)
        if rules.votes is VoteMode.DEBIASED:
            assert (d.confidence > 0.5) and d.debiased_margin == d.margin
        else:
            assert d.confidence == round(confidence(chosen, rejected), 6)
            assert d.debiased_margin is d.debiased_standard_error is None
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(d), type=Decision) == d


def test_undated_votes_give_no_window_scores() -> None:
    ((decision,), _) = decide_pairs(with_scores(1, 5), ALL)
    assert decision.window_chosen_score is None
    assert decision.window_rejected_score is None
    assert (decision.chosen, decision.chosen_score, decision.rejected_score) == (1, 5.0, 1.0)


def test_common_window_refuses_responses_without_dated_votes() -> None:
    rules = dataclasses.replace(ALL, votes=VoteMode.COMMON_WINDOW)
    decisions, rejected = decide_pairs(with_scores(1, 5), rules)
    assert decisions == []
    assert reasons(rejected) == {
        1: Reason.NO_PAIR,
        2: Reason.UNDATED_VOTES,
        3: Reason.UNDATED_VOTES,
    }


def test_pairs_of_one_response_lie_together() -> None:
    found = ids(with_scores(1, 9, 5), decide_pairs(with_scores(1, 9, 5), ALL)[0])
    assert found == [(3, 2), (3, 4), (4, 2)]


def test_the_seed_changes_the_choice_and_nothing_else() -> None:
    many = with_scores(*range(30))
    chosen = [ids(many, decide_pairs(many, PairingRules(seed=seed))[0]) for seed in (0, 1, 0)]
    assert chosen[0] == chosen[2] != chosen[1]
    assert len(chosen[1]) == 10


@pytest.mark.parametrize("limits", [{"max_pairs_per_thread": 3}, {"max_responses": 4}])
def test_limits_choose_by_seed_and_ids_only(limits: dict[str, int]) -> None:
    many = with_scores(*range(8))
    backwards = msgspec.structs.replace(many, responses=many.responses[::-1])
    choices = set()
    for seed in range(5):
        rules = PairingRules(seed=seed, **limits)  # type: ignore[arg-type]
        found = ids(many, decide_pairs(many, rules)[0])
        assert found == ids(backwards, decide_pairs(backwards, rules)[0])
        choices.add(tuple(found))
    assert len(choices) > 1


def test_the_choice_of_a_pair_is_not_biased_towards_an_order() -> None:
    rules = preset("worldpm")
    winners = []
    for seed in range(300):
        many = with_scores(3, 2, 1)
        winners += ids(many, decide_pairs(many, dataclasses.replace(rules, seed=seed))[0])
    counts = [winners.count(pair) for pair in ((2, 3), (2, 4), (3, 4))]
    assert sum(counts) == 300
    assert min(counts) > 70


def test_a_huge_thread_costs_a_bounded_number_of_comparisons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    huge = with_scores(*(k % 50 for k in range(5000)))
    calls = []
    compare = pairs._failure

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return compare(*arguments)

    monkeypatch.setattr(pairs, "_failure", counted)
    decisions, rejected = decide_pairs(huge, PairingRules())
    assert len(calls) == 200 * 199 / 2
    assert len(decisions) == 10
    assert len(rejected) == 5000 - len({i for d in decisions for i in (d.chosen, d.rejected)})


# reasons


@pytest.mark.parametrize(
    ("fields", "rules", "reason"),
    [
        ({"score": 1}, {"min_response_score": 2}, Reason.SCORE_TOO_LOW),
        ({"edited_at": 5}, {"drop_edited": True}, Reason.EDITED),
        ({"author_id": None}, {"drop_deleted_authors": True}, Reason.DELETED_AUTHOR),
        ({"author_id": f"{SITE}:u1"}, {"drop_prompt_author": True}, Reason.PROMPT_AUTHOR),
        ({"by_staff": True}, {"drop_staff": True}, Reason.STAFF),
        ({"created_at": day(9)}, {"created_before": day(9)}, Reason.TOO_NEW),
        ({"score": 5}, {}, Reason.TIED),
        ({"score": 4}, {"min_margin": 1.5}, Reason.MARGIN_TOO_SMALL),
        ({"score": 4}, {"min_ratio": 1.5}, Reason.RATIO_TOO_SMALL),
        ({"score": -4}, {"min_ratio": 1.5}, Reason.RATIO_TOO_SMALL),
        ({"score": 0}, {"min_ratio": 1.5}, Reason.RATIO_TOO_SMALL),
        ({"score": 4}, {"later_must_win": True}, Reason.NOT_LATER),
        ({"score": 4}, {"votes": VoteMode.LATER_WINS}, Reason.NOT_LATER),
        ({"created_at": day(8)}, {"max_gap_days": 4.9}, Reason.GAP_TOO_LONG),
        ({"author_id": f"{SITE}:u3"}, {}, Reason.SAME_AUTHOR),
    ],
)
def test_each_rule_has_its_reason(
    fields: dict[str, Any], rules: dict[str, Any], reason: Reason
) -> None:
    good = response(3, score=5)
    faulty = response(4, **({"score": 2} | fields))
    decisions, rejected = decide_pairs(thread(1, good, faulty), PairingRules(**rules))
    found = reasons(rejected)
    assert not decisions
    assert found[4] is reason
    assert found[1] is Reason.NO_PAIR
    own_fault = reason in (
        Reason.SCORE_TOO_LOW,
        Reason.EDITED,
        Reason.DELETED_AUTHOR,
        Reason.PROMPT_AUTHOR,
        Reason.STAFF,
        Reason.TOO_NEW,
    )
    assert found[3] is (Reason.TOO_FEW_RESPONSES if own_fault else reason)
    without_rules = PairingRules()
    if reason not in (Reason.TIED, Reason.SAME_AUTHOR):
        assert decide_pairs(thread(1, good, faulty), without_rules)[0]


@pytest.mark.parametrize(
    ("fields", "rules", "reason"),
    [
        ({"score": 9}, {"min_prompt_score": 10}, Reason.PROMPT_SCORE_TOO_LOW),
        ({"edited_at": 5}, {"drop_edited": True}, Reason.EDITED),
        ({"edited_at": 5}, {"drop_edited_prompts": True}, Reason.EDITED),
        ({"author_id": None}, {"drop_deleted_authors": True}, Reason.DELETED_AUTHOR),
        ({"is_link": True}, {"drop_links": True}, Reason.LINK_POST),
        ({"by_staff": True}, {"drop_staff": True}, Reason.STAFF),
        ({"created_at": day(9)}, {"created_before": day(9)}, Reason.TOO_NEW),
    ],
)
def test_a_refused_prompt_takes_its_responses_along(
    fields: dict[str, Any], rules: dict[str, Any], reason: Reason
) -> None:
    decisions, rejected = decide_pairs(thread(1, **fields), PairingRules(**rules))
    assert not decisions
    assert reasons(rejected) == {
        1: reason,
        2: Reason.PROMPT_REJECTED,
        3: Reason.PROMPT_REJECTED,
    }
    assert decide_pairs(thread(1, **fields), PairingRules())[0]


def test_details_name_the_value_and_the_limit() -> None:
    low = decide_pairs(with_scores(1, 5), PairingRules(min_response_score=2))[1]
    small = decide_pairs(with_scores(4, 5), PairingRules(min_margin=3))[1]
    tied = decide_pairs(with_scores(5, 5), PairingRules())[1]
    assert [row.detail for row in low if row.reason is Reason.SCORE_TOO_LOW] == ["1 < 2"]
    assert [row.detail for row in small][1:] == ["1 < 3", "1 < 3"]
    assert [row.detail for row in tied][1:] == ["score 5", "score 5"]


def test_own_faults_come_before_comparisons_and_in_the_documented_order() -> None:
    everything = PairingRules(
        min_response_score=9,
        drop_edited=True,
        drop_deleted_authors=True,
        drop_prompt_author=True,
        drop_staff=True,
        created_before=day(9),
    )
    faults: list[tuple[dict[str, Any], Reason]] = [
        ({"score": 1}, Reason.SCORE_TOO_LOW),
        ({"edited_at": 5}, Reason.EDITED),
        ({"author_id": None}, Reason.DELETED_AUTHOR),
        ({"by_staff": True}, Reason.STAFF),
        ({"created_at": day(10)}, Reason.TOO_NEW),
    ]
    for start, (_, reason) in enumerate(faults):
        fields = {"score": 9}
        for fault, _ in faults[start:]:
            fields |= fault
        found = decide_pairs(thread(1, response(2, **fields), response(3, score=10)), everything)[1]
        assert reasons(found)[2] is reason


def test_the_reason_is_that_of_the_comparison_that_came_closest() -> None:
    # 4 ties with 2 and misses the margin against 3
    posts = with_scores(5, 8, 5)
    found = reasons(decide_pairs(posts, PairingRules(min_margin=4))[1])
    assert found[4] is Reason.MARGIN_TOO_SMALL
    # the same author is the worst of failures: 2 and 3 share one, 4 ties with 2
    same = thread(
        1,
        response(2, score=5, author_id=f"{SITE}:u9"),
        response(3, score=4, author_id=f"{SITE}:u9"),
        response(4, score=5),
    )
    found = reasons(decide_pairs(same, PairingRules(min_margin=2))[1])
    assert found == {
        1: Reason.NO_PAIR,
        2: Reason.TIED,
        3: Reason.MARGIN_TOO_SMALL,
        4: Reason.MARGIN_TOO_SMALL,
    }


def test_responses_beyond_the_limit_are_capped_not_lost() -> None:
    posts = with_scores(1, 2, 3, 4)
    decisions, rejected = decide_pairs(posts, PairingRules(max_responses=2))
    assert len(decisions) == 1
    assert list(reasons(rejected).values()) == [Reason.PAIR_CAP] * 2


# presets, against examples worked out by hand


def test_all_takes_every_difference_and_ten_pairs_at_most() -> None:
    posts = with_scores(0, 1, 1, 5)
    assert ids(posts, decide_pairs(posts, preset("all"))[0]) == [
        (3, 2),
        (4, 2),
        (5, 2),
        (5, 3),
        (5, 4),
    ]
    many = with_scores(*range(9))
    assert len(decide_pairs(many, preset("all"))[0]) == 10
    assert preset("all") == PairingRules(drop_staff=True)


def test_worldpm_takes_one_pair_and_counts_the_acceptance() -> None:
    # the vote counts of the examples in appendix E
    for high, low in ((11, 8), (4, 0), (14, 4), (16, 6)):
        posts = with_scores(low, high)
        assert ids(posts, decide_pairs(posts, preset("worldpm"))[0]) == [(3, 2)]
    tie_broken = thread(1, response(2, score=3), response(3, score=3, accepted=True))
    ((decision,), _) = decide_pairs(tie_broken, preset("worldpm"))
    assert (decision.chosen_score, decision.rejected_score) == (4.0, 3.0)
    tie_made = thread(1, response(2, score=4), response(3, score=3, accepted=True))
    assert not decide_pairs(tie_made, preset("worldpm"))[0]
    many = with_scores(1, 2, 3, 4)
    assert len(decide_pairs(many, preset("worldpm"))[0]) == 1


def test_h4_pairs_unequal_log2_scores() -> None:
    posts = with_scores(5, 4)  # log2 scores 3 and 2
    ((decision,), _) = decide_pairs(posts, preset("h4"))
    assert (decision.chosen_score, decision.rejected_score) == (3.0, 2.0)
    tied = with_scores(5, 10)  # both 3
    decisions, rejected = decide_pairs(tied, preset("h4"))
    assert not decisions
    assert reasons(rejected) == {1: Reason.NO_PAIR, 2: Reason.TIED, 3: Reason.TIED}
    assert len(decide_pairs(with_scores(0, 2, 7), preset("h4"))[0]) == 1


def shp_thread(**changes: dict[str, Any]) -> Thread:
    """Answers 2, 3 and 4 with 3, 5 and 2 votes: under SHP only 3 > 2 is a pair."""
    ask = {"score": 10} | changes.get("prompt", {})
    votes = {2: 3, 3: 5, 4: 2}
    posts = (response(n, **({"score": votes[n]} | changes.get(f"r{n}", {}))) for n in votes)
    return thread(1, *posts, **ask)


def test_shp_prefers_the_later_response_by_votes_without_acceptance() -> None:
    posts = shp_thread(r2={"accepted": True, "score": 4})
    decisions, rejected = decide_pairs(posts, preset("shp"))
    assert ids(posts, decisions) == [(3, 2)]
    assert (decisions[0].chosen_score, decisions[0].rejected_score) == (5.0, 4.0)
    assert reasons(rejected) == {4: Reason.NOT_LATER}
    at_once = shp_thread(r2={"score": 6, "created_at": day(3)}, r4={"score": 1})
    assert ids(at_once, decide_pairs(at_once, preset("shp"))[0]) == [(2, 3)]


@pytest.mark.parametrize(
    ("changes", "post", "reason"),
    [
        ({"prompt": {"score": 9}}, 1, Reason.PROMPT_SCORE_TOO_LOW),
        ({"prompt": {"edited_at": 9}}, 1, Reason.EDITED),
        ({"prompt": {"author_id": None}}, 1, Reason.DELETED_AUTHOR),
        ({"prompt": {"by_staff": True}}, 1, Reason.STAFF),
        ({"prompt": {"created_at": NEW_YEAR_2023}}, 1, Reason.TOO_NEW),
        ({"r2": {"score": 1}}, 2, Reason.SCORE_TOO_LOW),
        ({"r2": {"author_id": None}}, 2, Reason.DELETED_AUTHOR),
        ({"r2": {"by_staff": True}}, 2, Reason.STAFF),
        ({"r2": {"author_id": f"{SITE}:u1"}}, 2, Reason.PROMPT_AUTHOR),
        ({"r3": {"created_at": NEW_YEAR_2023}}, 3, Reason.TOO_NEW),
    ],
)
def test_shp_refuses_what_its_numbered_rules_refuse(
    changes: dict[str, Any], post: int, reason: Reason
) -> None:
    decisions, rejected = decide_pairs(shp_thread(**changes), preset("shp"))
    assert not decisions
    assert reasons(rejected)[post] is reason


def test_shp_allows_edited_responses_any_ratio_and_any_number_of_pairs() -> None:
    edited = shp_thread(r2={"edited_at": 9}, r3={"edited_at": 9})
    assert len(decide_pairs(edited, preset("shp"))[0]) == 1
    rising = with_scores(*range(2, 50))
    rising = msgspec.structs.replace(rising, prompt=prompt(1, score=10))
    assert len(decide_pairs(rising, preset("shp"))[0]) == 48 * 47 / 2
    wide = with_scores(*range(2, 80))
    wide = msgspec.structs.replace(wide, prompt=prompt(1, score=10))
    assert len(decide_pairs(wide, preset("shp"))[0]) == 50 * 49 / 2


def test_single_fields_of_a_preset_can_be_changed() -> None:
    mine = dataclasses.replace(preset("shp"), votes=VoteMode.NET_VOTES, min_margin=2)
    posts = shp_thread(r2={"score": 5}, r3={"score": 4})
    assert ids(posts, decide_pairs(posts, mine)[0]) == [(2, 4), (3, 4)]


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="all, worldpm, h4, shp"):
        preset("webgpt")
    assert all(preset(name) is rules for name, rules in PRESETS.items())


# rows


def test_a_row_takes_each_column_from_the_right_post() -> None:
    ask = prompt(1, tags=("a", "b"), language="en")
    bad = response(2, score=0, license="CC-BY-SA-3.0", author_url=None)
    good = response(3, score=7, accepted=True)
    posts = Thread(prompt=ask, responses=(bad, good))
    ((decision,), _) = decide_pairs(posts, ALL)
    row = pair_row(posts, decision, "validation")
    assert row.pair_id == f"{SITE}:1/3>2"
    assert (row.thread_id, row.split, row.language) == (f"{SITE}:1", "validation", "en")
    assert (row.source, row.site, row.tags) == ("stackexchange", SITE, ("a", "b"))
    assert row.prompt == f"{ask.title}\n\n{ask.text}"
    assert (row.chosen, row.rejected) == (good.text, bad.text)
    assert (row.chosen_score, row.rejected_score, row.vote_margin) == (8.0, 0.0, 8.0)
    assert (row.chosen_is_accepted, row.rejected_is_accepted) == (True, False)
    assert row.confidence == round(confidence(good, bad), 6)
    for name, post in (("prompt", ask), ("chosen", good), ("rejected", bad)):
        for field in ("id", "created_at", "url", "author", "author_url", "license"):
            assert getattr(row, f"{name}_{field}") == getattr(post, field)
