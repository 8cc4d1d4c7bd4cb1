"""Replies to responses: through every step that takes a thread apart."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from schemas.audit import DuplicateRule, Reason, Stage
from schemas.pair import Message, text_hash
from schemas.post import TURN_BREAK, Post, Thread, conversation_text
from tests.make import SITE, prompt, response
from transforms.core.outcomes import Rejection, drop_posts, remaining
from transforms.dedup.verify import DuplicateMatch, apply_matches
from transforms.pairing import (
    PairedThread,
    PairingRules,
    decide_pairs,
    pair_row,
    pair_rows,
    pair_thread,
    prompt_turns,
)
from transforms.pairing.pair_threads import SplitThread
from transforms.threads.assemble import assemble_threads

ALL = PairingRules(max_pairs_per_thread=0, max_responses=0)


def name(number: int) -> str:
    return f"{SITE}:{number}"


def reply(number: int, to: int | None, **fields) -> Post:
    return response(number, parent_id=None if to in (None, 1) else name(to), **fields)


def tree(*edges: tuple[int, int | None]) -> Thread:
    return Thread(prompt=prompt(1), responses=tuple(reply(n, to) for n, to in edges))


@st.composite
def trees(draw: st.DrawFn) -> Thread:
    edges = []
    for number in range(2, draw(st.integers(2, 12))):
        edges.append((number, draw(st.integers(1, number - 1))))
    return tree(*edges)


def under(thread: Thread, post: Post) -> list[str]:
    """Ids above a post, the prompt included."""
    parents = {p.id: p.parent_id for p in thread.responses}
    above, at = [], post.parent_id
    while at is not None:
        above.append(at)
        at = parents[at]
    return [*above, thread.id]


@given(trees(), st.sets(st.integers(1, 12)))
def test_what_remains_hangs_together_and_can_be_compared(thread: Thread, numbers) -> None:
    gone = {name(number) for number in numbers}
    rest = remaining(thread, gone)
    posts = [thread.prompt, *thread.responses]
    kept = [rest.thread.prompt, *rest.thread.responses] if rest.thread else []
    ids = [p.id for p in (*kept, *rest.cut_off, *rest.unpaired)]
    assert sorted(ids) == sorted(p.id for p in posts if p.id not in gone)
    for post in rest.cut_off:
        assert gone.intersection(under(thread, post))
    kept_ids = {p.id for p in kept}
    siblings = {
        post.id: sum(p.parent_id == post.parent_id and p.id in kept_ids for p in thread.responses)
        for post in kept[1:]
    }
    for post in kept[1:]:
        assert kept_ids.issuperset(under(thread, post))
        has_replies = any(p.parent_id == post.id for p in kept)
        assert siblings[post.id] >= 2 or has_replies
    # Nothing that could have been compared was given up.
    for a, b in itertools.combinations(rest.unpaired, 2):
        if not a.is_prompt and not b.is_prompt:
            assert a.parent_id != b.parent_id or a.id in gone or b.id in gone


def test_a_refused_response_takes_the_replies_to_it_along() -> None:
    thread = tree((2, 1), (3, 1), (4, 1), (5, 2), (6, 2), (7, 5))
    outcome = drop_posts(thread, {name(2): Rejection(Reason.LANGUAGE)}, Stage.LANGUAGE)
    assert outcome.thread is not None
    assert [p.id for p in outcome.thread.responses] == [name(3), name(4)]
    assert {r.id: (r.reason, r.detail) for r in outcome.rejected} == {
        name(2): (Reason.LANGUAGE, ""),
        name(5): (Reason.PROMPT_REJECTED, name(2)),
        name(6): (Reason.PROMPT_REJECTED, name(2)),
        name(7): (Reason.PROMPT_REJECTED, name(5)),
    }


def test_a_single_response_stays_for_the_replies_below_it() -> None:
    thread = tree((2, 1), (3, 2), (4, 2), (5, 4))
    outcome = drop_posts(thread, {}, Stage.FILTER)
    assert outcome.thread is not None
    assert [p.id for p in outcome.thread.responses] == [name(2), name(3), name(4)]
    assert [(r.id, r.reason) for r in outcome.rejected] == [(name(5), Reason.TOO_FEW_RESPONSES)]
    outcome = drop_posts(thread, {name(3): Rejection(Reason.EMPTY)}, Stage.FILTER)
    assert outcome.thread is None
    assert len(outcome.rejected) == 5


def test_a_duplicate_takes_the_replies_to_it_along() -> None:
    thread = tree((2, 1), (3, 1), (4, 1), (5, 2), (6, 5))
    match = DuplicateMatch(
        removed_id=name(2),
        removed_thread_id=name(1),
        kept_id="other.example:9",
        kept_thread_id="other.example:1",
        is_prompt=False,
        similarity=1.0,
        rule=DuplicateRule.EXACT,
    )
    outcome = apply_matches(thread, {name(2): match})
    assert [d.removed_id for d in outcome.duplicates] == [name(2)]
    assert {r.id: (r.reason, r.detail) for r in outcome.rejected} == {
        name(5): (Reason.PROMPT_DUPLICATE, "other.example:9"),
        name(6): (Reason.PROMPT_DUPLICATE, name(5)),
    }


def assembled(posts: list[Post], depth: int) -> tuple[set[str], dict[str, Reason]]:
    kept, rejected = set(), {}
    for outcome in assemble_threads(posts, {}, reply_depth=depth):
        if outcome.thread is not None:
            kept |= {p.id for p in (outcome.thread.prompt, *outcome.thread.responses)}
        for row in outcome.rejected:
            assert row.id not in rejected
            rejected[row.id] = row.reason
    assert not kept & rejected.keys()
    return kept, rejected


def test_replies_are_placed_by_depth() -> None:
    thread = tree((2, 1), (3, 1), (4, 2), (5, 2), (6, 4), (7, 4))
    posts = [thread.prompt, *thread.responses]
    assert assembled(posts, 1) == (
        {name(n) for n in (1, 2, 3)},
        dict.fromkeys((name(n) for n in (4, 5, 6, 7)), Reason.TOO_DEEP),
    )
    kept, rejected = assembled(posts[::-1], 2)
    assert kept == {name(n) for n in (1, 2, 3, 4, 5)}
    assert rejected == dict.fromkeys((name(6), name(7)), Reason.TOO_DEEP)
    assert assembled(posts, 3) == ({post.id for post in posts}, {})


def test_replies_without_their_parent_and_circles_are_orphans() -> None:
    posts = [
        prompt(1),
        reply(2, 1),
        reply(3, 1),
        reply(4, 99),
        reply(5, 4),
        reply(6, 7),
        reply(7, 6),
        reply(8, 8),
    ]
    kept, rejected = assembled(posts, 9)
    assert kept == {name(n) for n in (1, 2, 3)}
    assert rejected == dict.fromkeys((name(n) for n in (4, 5, 6, 7, 8)), Reason.ORPHAN_RESPONSE)


@given(trees())
def test_pairs_are_siblings_and_carry_the_conversation_above_them(thread: Thread) -> None:
    decisions, rejected = decide_pairs(thread, ALL)
    expected = {
        (a.id, b.id)
        for a in thread.responses
        for b in thread.responses
        if a.parent_id == b.parent_id and a.score > b.score
    }
    posts = thread.responses
    assert {(posts[d.chosen].id, posts[d.rejected].id) for d in decisions} == expected
    used = set()
    for decision in decisions:
        above = [posts[index].id for index in decision.context]
        assert [thread.id, *above] == under(thread, posts[decision.chosen])[::-1]
        used |= {posts[decision.chosen].id, posts[decision.rejected].id, *above}
    lost = {row.id for row in rejected}
    assert not used & lost
    assert used | lost | ({thread.id} if decisions else set()) == {
        thread.id,
        *(post.id for post in posts),
    }


@given(trees())
def test_a_paired_thread_gives_the_rows_of_the_whole_thread(thread: Thread) -> None:
    paired, _ = pair_thread(SplitThread(thread=thread, split="train"), ALL)
    decisions, _ = decide_pairs(thread, ALL)
    if paired is None:
        assert not decisions
        return
    assert isinstance(paired, PairedThread)
    for conversational in (False, True):
        assert pair_rows(paired, conversational=conversational) == [
            pair_row(thread, decision, "train", conversational=conversational)
            for decision in decisions
        ]


def test_a_row_names_the_conversation_and_its_authors() -> None:
    thread = tree((2, 1), (3, 2), (4, 2))
    (decision,), rejected = decide_pairs(thread, ALL)
    assert rejected == []
    row = pair_row(thread, decision, "train", conversational=True)
    first = thread.responses[0]
    assert row.prompt == f"Question 1\n\n{thread.prompt.text}{TURN_BREAK}{first.text}"
    assert row.context_ids == (first.id,)
    assert row.context_urls == (first.url,)
    assert row.context_authors == (first.author,)
    assert row.context_licenses == (first.license,)
    assert row.text_hash == text_hash(row.prompt, row.chosen, row.rejected)
    assert row.prompt_turns == (Message(role="user", content=row.prompt),)
    assert row.chosen_turns == (Message(role="assistant", content=row.chosen),)
    assert row.rejected_turns == (Message(role="assistant", content=row.rejected),)
    plain = pair_row(thread, decision, "train")
    assert plain.prompt_turns is plain.chosen_turns is plain.rejected_turns is None


def test_limits_hold_for_the_responses_to_each_post() -> None:
    thread = tree(*((n, 1) for n in range(2, 8)), *((n, 2) for n in range(8, 14)))
    rules = PairingRules(max_responses=3, max_pairs_per_thread=0)
    decisions, _ = decide_pairs(thread, rules)
    by_depth = [len(d.context) for d in decisions]
    assert by_depth.count(0) == by_depth.count(1) == 3
    capped, rejected = decide_pairs(thread, PairingRules(max_pairs_per_thread=4))
    assert len(capped) == 4
    assert {row.reason for row in rejected} <= {Reason.PAIR_CAP}


def test_a_fault_of_its_own_does_not_bar_a_response_from_the_conversation() -> None:
    thread = Thread(
        prompt=prompt(1), responses=(reply(2, 1, score=-5), reply(3, 2), reply(4, 2), reply(5, 1))
    )
    decisions, rejected = decide_pairs(thread, PairingRules(min_response_score=0))
    assert [d.context for d in decisions] == [(0,)]
    assert [(row.id, row.reason) for row in rejected] == [(name(5), Reason.TOO_FEW_RESPONSES)]


@given(st.integers(0, 6))
def test_messages_suit_every_chat_template(replies: int) -> None:
    context = [reply(number, number - 1) for number in range(2, 2 + replies)]
    messages = prompt_turns(prompt(1), context)
    assert [m.role for m in messages] == ["user", "assistant"] * (replies // 2) + ["user"]
    assert TURN_BREAK.join(m.content for m in messages) == conversation_text(prompt(1), context)
