from itertools import combinations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.audit import DuplicateRule, Reason, Rejected, Stage
from tests.examples import examples
from tests.make import SITE, response, thread
from transforms.dedup import similarity
from transforms.dedup.verify import Candidate, DuplicateMatch, apply_matches, verify_group


def candidate(number, shingles=(), content=None, **fields):
    values = {
        "root": 1,
        "id": f"{SITE}:{number}",
        "thread_id": f"{SITE}:{number}",
        "is_prompt": True,
        "score": 0,
        "accepted": False,
        "created_at": number,
        "content": (content or f"text {number}").encode(),
        "shingles": np.array(sorted(shingles), "<u4").tobytes(),
    }
    return Candidate(**(values | fields))


def shingles_of(post):
    return set(np.frombuffer(post.shingles, "<u4").tolist())


def better(post):
    return (
        post.prompt_removed,
        -post.score,
        not post.accepted,
        post.created_at,
        post.id,
    )


def reference(posts, threshold):
    """All pairs, then the transitive closure, then the best of each component."""
    groups = [{post.id} for post in posts]
    similarity = {}
    for left, right in combinations(posts, 2):
        one, two = shingles_of(left), shingles_of(right)
        exact = left.content == right.content
        value = len(one & two) / len(one | two) if one | two else 0.0
        value = 1.0 if exact else value
        similarity[left.id, right.id] = similarity[right.id, left.id] = (value, exact)
        if left.is_prompt == right.is_prompt and (exact or (one and two and value >= threshold)):
            joined = [group for group in groups if group & {left.id, right.id}]
            groups = [group for group in groups if group not in joined] + [set().union(*joined)]
    by_id = {post.id: post for post in posts}
    found = set()
    for group in groups:
        kept = min((by_id[member] for member in group), key=better)
        for member in group - {kept.id}:
            value, exact = similarity[member, kept.id]
            rule = "exact" if exact else "near" if value >= threshold else "near_chain"
            found.add((member, kept.id, value, rule))
    return found


def summary(matches):
    rows = [(v.removed_id, v.kept_id, v.similarity, v.rule.value) for v in matches]
    assert len(rows) == len(set(rows))
    return set(rows)


@st.composite
def candidate_groups(draw):
    bases = draw(st.lists(st.sets(st.integers(0, 30), max_size=20), min_size=1, max_size=3))
    posts = []
    for number in range(draw(st.integers(0, 14))):
        shingles = draw(st.sampled_from(bases)) ^ draw(st.sets(st.integers(0, 30), max_size=3))
        posts.append(
            candidate(
                number,
                shingles,
                content=draw(st.sampled_from([None, None, "same", "alike"])),
                is_prompt=draw(st.booleans()),
                score=draw(st.integers(-1, 1)),
                accepted=draw(st.booleans()),
                created_at=draw(st.integers(0, 1)),
                prompt_removed=draw(st.booleans()),
            )
        )
    return draw(st.permutations(posts))


@settings(max_examples=examples(200))
@given(candidate_groups(), st.sampled_from([0.5, 0.8, 1.0]), st.sampled_from([0, 48]))
def test_matches_equal_all_pairs(posts, threshold, few):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "FEW_SETS", few)
        matches = verify_group(posts, threshold)
    assert summary(matches) == reference(posts, threshold)
    assert matches == verify_group(posts[::-1], threshold)


@pytest.mark.parametrize(
    ("wins", "loses"),
    [
        ({"score": 3, "created_at": 9}, {"score": 2, "accepted": True}),
        ({"accepted": True, "created_at": 9}, {"accepted": False}),
        ({"created_at": 4, "id": "z"}, {"created_at": 5, "id": "a"}),
        ({"id": "a", "created_at": 1}, {"id": "b", "created_at": 1}),
        ({"score": -5}, {"score": 5, "prompt_removed": True}),
    ],
)
def test_the_better_post_stays(wins, loses):
    one = candidate(1, content="same", **wins)
    two = candidate(2, content="same", **loses)
    for order in ([one, two], [two, one]):
        (match,) = verify_group(order, 0.8)
        assert (match.removed_id, match.kept_id) == (two.id, one.id)


def test_rules_and_similarity():
    ten = set(range(10))
    posts = [
        candidate(1, ten, score=9),
        candidate(2, ten, content="text 1"),
        candidate(3, ten | {10, 11}),  # 10 / 12 of the first
        candidate(4, ten | {10, 11, 12, 13}),  # 12 / 14 of the third, 10 / 14 of the first
        candidate(5, ten),  # other punctuation only
    ]
    assert summary(verify_group(posts, 0.8)) == {
        (f"{SITE}:2", f"{SITE}:1", 1.0, "exact"),
        (f"{SITE}:3", f"{SITE}:1", 10 / 12, "near"),
        (f"{SITE}:4", f"{SITE}:1", 10 / 14, "near_chain"),
        (f"{SITE}:5", f"{SITE}:1", 1.0, "near"),
    }


def test_no_link_without_proof():
    short = [candidate(1), candidate(2), candidate(3, range(9)), candidate(4, range(5, 14))]
    assert verify_group(short, 0.8) == []
    other_kind = candidate(5, range(9), content="text 3", is_prompt=False)
    assert verify_group([*short, other_kind], 0.8) == []


def test_a_repeated_id_counts_once():
    again = [candidate(1, range(9)), candidate(1, range(9)), candidate(1, range(9), score=4)]
    assert verify_group(again, 0.8) == []
    (match,) = verify_group([*again, candidate(2, range(9), score=2)], 0.8)
    assert (match.removed_id, match.kept_id) == (f"{SITE}:2", f"{SITE}:1")
    other_text = candidate(1, range(20, 29), content="other")
    assert verify_group([*again, other_text, candidate(3, range(20, 29))], 0.8) == []


def test_a_thousand_copies_of_one_text():
    posts = [candidate(n, range(50), content="boilerplate", score=n) for n in range(1000)]
    matches = verify_group(posts, 0.8)
    assert {match.kept_id for match in matches} == {f"{SITE}:999"}
    assert len(matches) == 999
    assert {match.rule for match in matches} == {DuplicateRule.EXACT}


def match_with(post, kept="other:1"):
    return DuplicateMatch(
        removed_id=post.id,
        removed_thread_id=post.thread_id,
        kept_id=kept,
        kept_thread_id=kept,
        is_prompt=post.is_prompt,
        similarity=0.9,
        rule=DuplicateRule.NEAR,
    )


FULL = thread(1, *(response(number, 1) for number in range(2, 6)))
POSTS = (FULL.prompt, *FULL.responses)


@given(st.sets(st.sampled_from(POSTS)), st.integers(1, 4))
def test_every_post_is_accounted_for_once(removed, responses):
    case = msgspec.structs.replace(FULL, responses=FULL.responses[:responses])
    matches = {post.id: match_with(post) for post in removed}
    left, rejected, duplicates = apply_matches(case, matches)
    stays = [left.prompt, *left.responses] if left else []
    ids = [p.id for p in stays] + [r.id for r in rejected] + [d.removed_id for d in duplicates]
    expected = [case.prompt.id, *(post.id for post in case.responses)]
    assert sorted(ids) == sorted(expected)
    assert {d.removed_id for d in duplicates} == matches.keys() & set(expected)
    assert {row.stage for row in rejected} <= {Stage.DEDUP}
    assert left is None or len(left.responses) >= 2


def test_nothing_removed_nothing_changed():
    assert apply_matches(FULL, {}) == (FULL, [], [])


def test_a_removed_response_leaves_its_thread():
    second = FULL.responses[1]
    left, rejected, duplicates = apply_matches(FULL, {second.id: match_with(second)})
    assert left.responses == (FULL.responses[0], *FULL.responses[2:])
    assert rejected == []
    (row,) = duplicates
    assert (row.removed_id, row.kept_id, row.similarity, row.rule) == (
        second.id,
        "other:1",
        0.9,
        "near",
    )


def test_a_removed_prompt_takes_its_responses_along():
    second = FULL.responses[1]
    removed = {FULL.id: match_with(FULL.prompt, "other:7"), second.id: match_with(second)}
    left, rejected, duplicates = apply_matches(FULL, removed)
    assert left is None
    assert {row.removed_id for row in duplicates} == {FULL.id, second.id}
    assert rejected == [
        Rejected(id=post.id, stage=Stage.DEDUP, reason=Reason.PROMPT_DUPLICATE, detail="other:7")
        for post in FULL.responses
        if post != second
    ]


def test_a_thread_with_one_response_left_goes():
    removed = {post.id: match_with(post) for post in FULL.responses[1:]}
    left, rejected, duplicates = apply_matches(FULL, removed)
    assert left is None
    assert len(duplicates) == 3
    assert [(row.id, row.reason, row.detail) for row in rejected] == [
        (FULL.id, Reason.TOO_FEW_RESPONSES, "1 left"),
        (FULL.responses[0].id, Reason.TOO_FEW_RESPONSES, "1 left"),
    ]
