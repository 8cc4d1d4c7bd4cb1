from hypothesis import given
from hypothesis import strategies as st

from schemas.audit import Reason, Stage
from tests.make import response, thread
from transforms.core.outcomes import Rejection, drop_posts


@given(
    st.integers(2, 6).flatmap(
        lambda n: st.tuples(st.just(n), st.sets(st.integers(1, n + 1), max_size=n + 1))
    )
)
def test_every_post_is_kept_or_rejected_exactly_once(case: tuple[int, set[int]]) -> None:
    count, refused_numbers = case
    before = thread(1, *(response(number) for number in range(2, count + 2)))
    posts = [before.prompt, *before.responses]
    refused = {
        post.id: Rejection(Reason.TOO_SHORT)
        for i, post in enumerate(posts, 1)
        if i in refused_numbers
    }
    after, rejected = drop_posts(before, refused, Stage.FILTER)
    kept = [after.prompt, *after.responses] if after else []
    assert sorted([p.id for p in kept] + [r.id for r in rejected]) == sorted(p.id for p in posts)
    assert not {post.id for post in kept} & refused.keys()
    if after is not None:
        assert len(after.responses) >= 2
    else:
        assert 1 in refused_numbers or count - len(refused_numbers - {1}) < 2


def test_reasons_say_what_happened() -> None:
    before = thread(1, response(2), response(3), response(4))
    ids = [post.id for post in (before.prompt, *before.responses)]
    _, rejected = drop_posts(before, {ids[0]: Rejection(Reason.CLOSED, "spam")}, Stage.FILTER)
    assert [(r.id, r.reason, r.detail) for r in rejected] == [
        (ids[0], Reason.CLOSED, "spam"),
        *((post_id, Reason.PROMPT_REJECTED, ids[0]) for post_id in ids[1:]),
    ]
    refused = {ids[1]: Rejection(Reason.EMPTY), ids[2]: Rejection(Reason.EMPTY)}
    _, rejected = drop_posts(before, refused, Stage.FILTER)
    assert {r.id: r.reason for r in rejected} == {
        ids[1]: Reason.EMPTY,
        ids[2]: Reason.EMPTY,
        ids[0]: Reason.TOO_FEW_RESPONSES,
        ids[3]: Reason.TOO_FEW_RESPONSES,
    }
    assert all(r.stage is Stage.FILTER for r in rejected)
