"""Preferences that a source states itself, instead of votes."""

from typing import Any

import pytest

from schemas.audit import Reason
from schemas.metadata import PostMetadata
from schemas.post import Thread
from tests.make import SITE, prompt, response
from transforms.pairing import PairingRules, VoteMode, decide_pairs
from transforms.pairing.vote_model import combine_sites
from transforms.threads.assemble import assemble_threads, metadata_by_id

ALL = PairingRules(max_pairs_per_thread=0, max_responses=0)


def name(number: int) -> str:
    return f"{SITE}:{number}"


def stated(preferred: dict[int, tuple[int, ...]], **fields: Any) -> Thread:
    return Thread(
        prompt=prompt(1),
        responses=tuple(
            response(n, preferred_to=tuple(name(m) for m in worse), **({"score": 0} | fields))
            for n, worse in preferred.items()
        ),
    )


def pairs_of(thread: Thread, rules: PairingRules = ALL) -> list[tuple[str, str]]:
    posts = thread.responses
    decisions, _ = decide_pairs(thread, rules, combine_sites([]))
    return [(posts[d.chosen].id, posts[d.rejected].id) for d in decisions]


@pytest.mark.parametrize("mode", list(VoteMode))
def test_only_stated_pairs_are_made_whatever_the_mode(mode: VoteMode) -> None:
    thread = stated({2: (3,), 3: (), 4: (5, 2), 5: ()})
    expected = [(name(2), name(3)), (name(4), name(2)), (name(4), name(5))]
    rules = PairingRules(votes=mode, max_pairs_per_thread=0)
    if mode is VoteMode.LATER_WINS:
        expected.remove((name(2), name(3)))  # the earlier wins
        expected.remove((name(4), name(5)))
    assert pairs_of(thread, rules) == expected


def test_without_votes_the_word_of_the_source_is_certain() -> None:
    (decision,), _ = decide_pairs(stated({2: (3,), 3: ()}), ALL)
    assert (decision.chosen_score, decision.rejected_score, decision.margin) == (1.0, 0.0, 1.0)
    assert decision.confidence == 1.0


def test_scores_that_agree_are_kept_and_others_are_not() -> None:
    thread = Thread(
        prompt=prompt(1),
        responses=(
            response(2, preferred_to=(name(3), name(4)), score=5),
            response(3, preferred_to=(), score=2),
            response(4, preferred_to=(), score=9),
        ),
    )
    decisions, _ = decide_pairs(thread, ALL)
    assert [(d.chosen_score, d.rejected_score) for d in decisions] == [(5.0, 2.0), (1.0, 0.0)]
    assert decisions[0].confidence > 0.5 > decisions[1].confidence


def test_contradictions_are_ties_and_the_rest_is_not_compared() -> None:
    thread = stated({2: (3,), 3: (2,), 4: (9,), 5: (8,)})
    decisions, rejected = decide_pairs(thread, ALL)
    assert decisions == []
    assert {r.id: r.reason for r in rejected} == {
        name(1): Reason.NO_PAIR,
        name(2): Reason.TIED,
        name(3): Reason.TIED,
        name(4): Reason.NOT_COMPARED,
        name(5): Reason.NOT_COMPARED,
    }


def test_assembly_unites_what_several_rows_state() -> None:
    posts = [prompt(1), response(2), response(3), response(4)]
    metadata = [
        PostMetadata(id=name(2), preferred_to=(name(4),)),
        PostMetadata(id=name(2), preferred_to=(name(3),)),
        PostMetadata(id=name(3), preferred_to=()),
    ]
    (outcome,) = assemble_threads(posts, metadata_by_id(metadata))
    assert outcome.thread is not None
    assert [post.preferred_to for post in outcome.thread.responses] == [
        (name(3), name(4)),
        (),
        None,
    ]
