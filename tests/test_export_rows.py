"""Conversions of the pairs of one thread: what is labelled and ranked never denies a pair."""

import itertools
import math
import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.export import (
    FORMATS,
    ThreadPair,
    chat_pairs,
    conversation_pairs,
    labelled_responses,
    log_margin,
    rankings,
    text_pairs,
    thread_prompts,
)
from pipeline.export.standings import levels_of
from schemas.exports import EXPORTS, LabelledResponse, LeftOut
from schemas.pair import Message, Pair


def one_pair(chosen: str, rejected: str, high: float = 1.0, low: float = 0.0) -> ThreadPair:
    return ThreadPair(
        thread_id="t",
        prompt="question",
        chosen=f"text of {chosen}",
        rejected=f"text of {rejected}",
        chosen_score=high,
        rejected_score=low,
        vote_margin=high - low,
        chosen_id=chosen,
        rejected_id=rejected,
        chosen_created_at=len(chosen),
        rejected_created_at=len(rejected),
    )


def of_scores(scores: Sequence[float], left_out: frozenset[int] = frozenset()) -> list[ThreadPair]:
    """All pairs that scores decide, but for some of them by their place."""
    names = [f"r{index}" for index in range(len(scores))]
    decided = [
        one_pair(names[a], names[b], scores[a], scores[b])
        for a, b in itertools.permutations(range(len(scores)), 2)
        if scores[a] > scores[b]
    ]
    return [pair for index, pair in enumerate(decided) if index not in left_out]


def labels_of(pairs: Sequence[ThreadPair]) -> dict[str, bool]:
    """Labels by the response's text without 'text of '."""
    rows = labelled_responses(pairs).rows
    found = {row.completion[0].content.removeprefix("text of "): row.label for row in rows}
    assert len(found) == len(rows), "a response is there twice"
    return found


by_score = st.builds(
    of_scores,
    st.lists(st.integers(-3, 5).map(float), min_size=2, max_size=8),
    st.frozensets(st.integers(0, 56), max_size=40),
).filter(bool)

stated = st.lists(
    st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda two: two[0] != two[1]),
    min_size=1,
    max_size=14,
    unique_by=lambda two: frozenset(two),
).map(lambda edges: [one_pair(f"r{a}", f"r{b}") for a, b in edges])
"""Preferences without scores, also in circles."""

in_order = st.permutations(range(7)).flatmap(
    lambda order: st.sets(
        st.sampled_from(list(itertools.combinations(order, 2))), min_size=1, max_size=14
    ).map(lambda edges: [one_pair(f"r{a}", f"r{b}") for a, b in sorted(edges)])
)
"""The same without circles."""


@given(st.one_of(by_score, stated, in_order))
def test_no_label_denies_a_pair(pairs: list[ThreadPair]) -> None:
    labels = labels_of(pairs)
    for pair in pairs:
        assert (labels.get(pair.chosen_id), labels.get(pair.rejected_id)) != (False, True)
    chosen = {pair.chosen_id for pair in pairs}
    rejected = {pair.rejected_id for pair in pairs}
    assert {name for name, good in labels.items() if good} <= chosen
    assert {name for name, good in labels.items() if not good} <= rejected
    assert set(labels.values()) in ({True, False}, set())


@given(st.one_of(by_score, in_order))
def test_a_prompt_without_a_circle_has_good_and_bad(pairs: list[ThreadPair]) -> None:
    assert set(labels_of(pairs).values()) == {True, False}


@given(st.one_of(by_score, stated, in_order), st.randoms(use_true_random=False))
def test_every_response_is_accounted_for_in_any_order_of_pairs(
    pairs: list[ThreadPair], randomness: random.Random
) -> None:
    shuffled = list(pairs)
    randomness.shuffle(shuffled)
    for name in ("kto", "rankings"):
        converted = FORMATS[name].convert(pairs)
        written = sum(map(FORMATS[name].units, converted.rows))
        assert converted.considered == written + converted.left_out.total()
        assert FORMATS[name].convert(shuffled) == converted


@given(st.one_of(by_score, stated, in_order))
def test_no_ranking_denies_a_pair(pairs: list[ThreadPair]) -> None:
    found = rankings(pairs)
    for row in found.rows:
        groups = dict(zip(row.response_ids, row.tie_groups, strict=True))
        assert len(groups) == len(row.responses) == len(row.scores) == len(row.created_at)
        assert list(row.tie_groups) == sorted(row.tie_groups)
        assert set(row.tie_groups) == set(range(max(row.tie_groups) + 1)) != {0}
        for a, b in itertools.pairwise(zip(row.tie_groups, row.scores, strict=True)):
            assert (a[0] == b[0]) == (a[1] == b[1]) and a[1] >= b[1]
        for pair in pairs:
            if pair.chosen_id in groups and pair.rejected_id in groups:
                assert groups[pair.chosen_id] < groups[pair.rejected_id]


@given(st.one_of(by_score, in_order))
def test_without_a_circle_all_responses_are_ranked(pairs: list[ThreadPair]) -> None:
    (row,) = rankings(pairs).rows
    ids = {name for pair in pairs for name in (pair.chosen_id, pair.rejected_id)}
    assert set(row.response_ids) == ids
    assert row.responses == tuple(f"text of {name}" for name in row.response_ids)
    assert row.created_at == tuple(map(len, row.response_ids))


@given(by_score)
def test_scores_of_their_own_are_those_of_a_ranking(pairs: list[ThreadPair]) -> None:
    (row,) = rankings(pairs).rows
    scores = dict(zip(row.response_ids, row.scores, strict=True))
    for pair in pairs:
        found = scores[pair.chosen_id], scores[pair.rejected_id]
        assert found == (pair.chosen_score, pair.rejected_score)


def test_scores_that_differ_from_pair_to_pair_are_not_scores_of_responses() -> None:
    """As under `common_window`: what counts are the pairs."""
    pairs = [one_pair("a", "b", 9, 1), one_pair("a", "c", 2, 1), one_pair("b", "c", 7, 3)]
    (row,) = rankings(pairs).rows
    assert (row.response_ids, row.scores) == (("a", "b", "c"), (2.0, 1.0, 0.0))
    assert labels_of(pairs) == {"a": True, "c": False}
    assert labelled_responses(pairs).left_out == {LeftOut.WON_AND_LOST: 1}


def test_scores_that_deny_their_pair_are_not_used() -> None:
    assert labels_of([one_pair("a", "b", 1, 5)]) == {"a": True, "b": False}
    assert rankings([one_pair("a", "b", 1, 5)]).rows[0].response_ids == ("a", "b")


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        ((5, 1), "TF"),
        ((5, 3, 1), "T-F"),  # the middle of an odd number
        ((5, 4, 3, 1), "TTFF"),
        ((5, 3, 3, 1), "T--F"),  # a tie at the border
        ((5, 5, 5, 1), "TTTF"),  # nothing is better
        ((9, 5, 5, 5), "TFFF"),  # nothing is worse
        ((9, 8, 5, 5, 5), "TTFFF"),
        ((9, 8, 5, 5, 5, 1), "TT---F"),
        ((0, -1), "TF"),
    ],
)
def test_labels_by_the_median(scores: tuple[float, ...], labels: str) -> None:
    found = labels_of(of_scores(scores))
    shown = {None: "-", True: "T", False: "F"}
    assert "".join(shown[found.get(f"r{i}")] for i in range(len(scores))) == labels


def test_a_good_response_is_chosen_by_a_pair() -> None:
    """The earliest has most votes but one, and no pair chooses it: `later_wins` refuses that."""
    pairs = [one_pair("late", "early", 12, 10), one_pair("later", "last", 5, 3)]
    assert labels_of(pairs) == {"late": True, "last": False}
    left_out = labelled_responses(pairs).left_out
    assert left_out == {LeftOut.UNSUPPORTED: 2}


def test_a_text_has_one_label() -> None:
    """With `--dedup off` a text may be there under two ids."""
    pairs = of_scores((5, 4, 2, 1))
    same = [
        pair
        if pair.rejected_id != "r3"
        else ThreadPair(**fields(pair) | {"rejected": "text of r0"})
        for pair in pairs
    ]
    found = labelled_responses(same)
    texts = {row.completion[0].content: row.label for row in found.rows}
    assert texts == {"text of r1": True, "text of r2": False}
    assert found.left_out == {LeftOut.SAME_TEXT: 2}
    twins = [
        pair if pair.chosen_id != "r1" else ThreadPair(**fields(pair) | {"chosen": "text of r0"})
        for pair in pairs
    ]
    found = labelled_responses(twins)
    assert Counter(row.label for row in found.rows) == {True: 1, False: 2}
    assert found.left_out == {LeftOut.SAME_TEXT: 1}


def test_one_label_alone_is_no_preference() -> None:
    """a beats one of a circle: what is in it has won and lost, and a would be alone."""
    pairs = [one_pair("a", "b"), one_pair("b", "c"), one_pair("c", "d"), one_pair("d", "b")]
    found = labelled_responses(pairs)
    assert not found.rows
    assert found.left_out == {LeftOut.WON_AND_LOST: 3, LeftOut.NO_COUNTERPART: 1}
    ranked = rankings(pairs)
    assert not ranked.rows
    assert {reason: n for reason, n in ranked.left_out.items() if n} == {
        LeftOut.CIRCULAR: 3,
        LeftOut.NO_COUNTERPART: 1,
    }


def test_an_order_goes_through_a_circle() -> None:
    pairs = [one_pair("a", "b"), one_pair("b", "c"), one_pair("c", "b"), one_pair("c", "z")]
    (row,) = rankings(pairs).rows
    assert (row.response_ids, row.tie_groups, row.scores) == (("a", "z"), (0, 1), (1.0, 0.0))


@given(in_order)
@example([one_pair("r0", "r1")])
def test_levels_are_longest_chains(pairs: list[ThreadPair]) -> None:
    beaten = [(int(pair.chosen_id[1:]), int(pair.rejected_id[1:])) for pair in pairs]

    def longest(player: int) -> int:
        return max((1 + longest(winner) for winner, loser in beaten if loser == player), default=0)

    assert levels_of(7, beaten) == ([longest(player) for player in range(7)], frozenset())


def test_a_circle_is_one_player() -> None:
    beaten = [(0, 1), (1, 2), (2, 3), (3, 1), (2, 4), (0, 5), (5, 4)]
    assert levels_of(6, beaten) == ([0, 1, 1, 1, 2, 1], frozenset({1, 2, 3}))


TURNS = (
    Message(role="user", content="q"),
    Message(role="assistant", content="a"),
    Message(role="user", content="why?"),
)


def fields(pair: ThreadPair) -> dict[str, object]:
    return {name: getattr(pair, name) for name in pair.__struct_fields__}


def test_replies_are_conversations_of_their_own() -> None:
    reply = fields(one_pair("r8", "r9")) | {"context_ids": ("r0",), "prompt_turns": TURNS}
    pairs = [*of_scores((5, 1)), ThreadPair(**reply)]
    prompts = [row.prompt for row in thread_prompts(pairs)]
    assert prompts == [(Message(role="user", content="question"),), TURNS]
    assert [row.prompt for row in rankings(pairs).rows] == prompts
    assert [row.prompt for row in labelled_responses(pairs).rows] == [
        prompts[0], prompts[0], TURNS, TURNS,
    ]  # fmt: skip


@given(
    st.text(max_size=20),
    st.floats(0.5, 1e6),
    st.sampled_from([None, TURNS]),
)
def test_pairs_keep_their_texts(prompt: str, margin: float, turns: tuple[Message, ...]) -> None:
    given_fields = fields(one_pair("a", "b")) | {
        "prompt": prompt, "vote_margin": margin, "prompt_turns": turns,
    }  # fmt: skip
    pair = ThreadPair(**given_fields)
    (text,) = text_pairs([pair])
    assert text.prompt == prompt.rstrip() + "\n\n"
    assert (text.chosen, text.rejected) == (pair.chosen, pair.rejected)
    (chat,) = chat_pairs([pair])
    assert chat.prompt == (turns or (Message(role="user", content=prompt),))
    assert chat.chosen == (Message(role="assistant", content=pair.chosen),)
    (whole,) = conversation_pairs([pair])
    assert whole.chosen == chat.prompt + chat.chosen
    assert whole.rejected == chat.prompt + chat.rejected
    assert text.margin == chat.margin == whole.margin == log_margin(margin)
    assert math.isclose(text.margin, math.log(1 + margin), abs_tol=1e-6)


def test_responses_in_turns_stay_so() -> None:
    turn = (Message(role="assistant", content="as a turn"),)
    pair = ThreadPair(**fields(one_pair("a", "b")) | {"chosen_turns": turn})
    assert chat_pairs([pair])[0].chosen == turn
    assert labelled_responses([pair]).rows[0] == LabelledResponse(
        prompt=(Message(role="user", content="question"),), completion=turn, label=True
    )


def test_conversions_take_columns_of_pairs_and_need_no_others() -> None:
    assert set(ThreadPair.__struct_fields__) <= set(Pair.__struct_fields__)
    assert list(FORMATS) == list(EXPORTS)
    for export in FORMATS.values():
        assert set(export.columns) <= set(ThreadPair.__struct_fields__)
        rows = export.convert(of_scores((5, 1))).rows
        assert {type(row) for row in rows} == {EXPORTS[export.name]}
        assert export.schema("log").names == list(EXPORTS[export.name].__struct_fields__)
        without = [name for name in export.schema("log").names if name != "margin"]
        assert export.schema("none").names == without
