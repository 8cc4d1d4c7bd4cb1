import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from schemas.audit import Reason
from schemas.metadata import PostMetadata
from schemas.post import ClosedAs, Post
from tests.make import SITE, prompt, response
from transforms.threads.assemble import assemble_threads, metadata_by_id
from transforms.threads.takedown import named_posts


def outcomes(posts, metadata=(), takedown=frozenset()):
    threads, rejected = {}, []
    named = named_posts(posts, dict.fromkeys(takedown, (0,)))
    for outcome in assemble_threads(posts, metadata_by_id(metadata), named):
        rejected += outcome.rejected
        if outcome.thread:
            threads[outcome.thread.id] = outcome.thread
    return threads, rejected


def test_answers_may_come_before_their_question() -> None:
    posts = [response(3), response(2), prompt(1)]
    threads, rejected = outcomes(posts)
    assert not rejected
    assert [post.id for post in threads[f"{SITE}:1"].responses] == [f"{SITE}:2", f"{SITE}:3"]


def test_orphans_and_unpaired_threads_are_rejected() -> None:
    posts = [prompt(1), response(2, 1), response(9, 8)]
    threads, rejected = outcomes(posts)
    assert not threads
    assert {r.id: r.reason for r in rejected} == {
        f"{SITE}:1": Reason.TOO_FEW_RESPONSES,
        f"{SITE}:2": Reason.TOO_FEW_RESPONSES,
        f"{SITE}:9": Reason.ORPHAN_RESPONSE,
    }


def test_an_answer_to_an_answer_is_an_orphan() -> None:
    threads, rejected = outcomes([prompt(1), response(2, 1), response(3, 1), response(4, 2)])
    assert len(threads) == 1
    assert [(r.id, r.reason) for r in rejected] == [(f"{SITE}:4", Reason.ORPHAN_RESPONSE)]


def test_facts_are_merged_and_filled_in() -> None:
    posts = [
        prompt(
            1,
            accepted_response_id=f"{SITE}:2",
            closed_as=ClosedAs.UNKNOWN,
            up_days=(),
            down_days=(),
        ),
        response(2, up_days=(), down_days=(), author=""),
        response(3, up_days=(), down_days=()),
    ]
    metadata = [
        PostMetadata(id=f"{SITE}:2", up_days=(9, 4), accepted_day=7),
        PostMetadata(id=f"{SITE}:2", down_days=(5,), author="Ada"),
        PostMetadata(id=f"{SITE}:1", closed_as=ClosedAs.OFF_TOPIC),
        PostMetadata(id=f"{SITE}:3", flags=2, author="renamed", closed_as=ClosedAs.SPAM),
    ]
    threads, _ = outcomes(posts, metadata)
    first, second = threads[f"{SITE}:1"].responses
    assert threads[f"{SITE}:1"].prompt.closed_as is ClosedAs.OFF_TOPIC
    assert (first.up_days, first.down_days, first.accepted_day) == ((4, 9), (5,), 7)
    assert (first.accepted, first.author) == (True, "Ada")
    assert (second.accepted, second.author, second.flags) == (False, "renamed", 2)
    assert second.closed_as is None, "a closing counts only for posts that are closed now"


def test_without_dated_votes_there_are_no_vote_days() -> None:
    threads, _ = outcomes(
        [prompt(1), response(2), response(3)], [PostMetadata(id=f"{SITE}:2", up_days=(1,))]
    )
    assert threads[f"{SITE}:1"].responses[0].up_days is None


def test_takedown_of_posts_and_authors() -> None:
    posts = [prompt(1), response(2), response(3), response(4)]
    threads, rejected = outcomes(posts, takedown=frozenset({f"{SITE}:2"}))
    assert len(threads[f"{SITE}:1"].responses) == 2
    assert [(r.id, r.reason) for r in rejected] == [(f"{SITE}:2", Reason.TAKEDOWN)]
    threads, rejected = outcomes(posts, takedown=frozenset({f"{SITE}:u1"}))
    assert not threads
    assert rejected[0].reason is Reason.TAKEDOWN


def test_takedown_of_an_author_whom_an_older_copy_still_names() -> None:
    old = response(2, author_id=f"{SITE}:u77", edited_at=None)
    new = response(2, author_id=None, author_url=None, edited_at=old.created_at + 5)
    posts = [prompt(1), response(3), response(4), old, new]
    _, rejected = outcomes(posts, takedown=frozenset({f"{SITE}:u77"}))
    assert {r.reason for r in rejected if r.id == old.id} == {Reason.REPEATED_ID, Reason.TAKEDOWN}


def test_the_latest_copy_of_a_repeated_id_is_used() -> None:
    old = response(2, text="old text that was there", edited_at=None)
    new = response(2, text="new text that is better", edited_at=old.created_at + 5)
    for posts in ([old, new], [new, old]):
        threads, rejected = outcomes([prompt(1), response(3), *posts])
        assert threads[f"{SITE}:1"].responses[0].text == new.text
        assert [(r.id, r.reason) for r in rejected] == [(old.id, Reason.REPEATED_ID)]


posts_strategy = st.lists(
    st.tuples(st.integers(1, 5), st.integers(1, 12), st.booleans()), max_size=30
)


def build(spec) -> list[Post]:
    return [
        prompt(question) if is_prompt else response(20 + number, question)
        for question, number, is_prompt in spec
    ]


@given(posts_strategy, st.randoms(use_true_random=False))
def test_nothing_is_lost_and_order_does_not_matter(spec, rng: random.Random) -> None:
    posts = build(spec)
    threads, rejected = outcomes(posts)
    kept = [p.id for t in threads.values() for p in (t.prompt, *t.responses)]
    assert sorted(kept + [r.id for r in rejected]) == sorted(p.id for p in posts)
    rng.shuffle(posts)
    again, rejected_again = outcomes(posts)
    assert again == threads
    order = msgspec.msgpack.encode
    assert sorted(rejected, key=order) == sorted(rejected_again, key=order)


def test_one_id_in_two_threads_does_not_depend_on_partitions() -> None:
    """Both threads are whole when they are assembled apart, so they are when together."""
    first = [prompt(1), response(2, 1), response(10, 1)]
    second = [prompt(5), response(6, 5), response(10, 5)]
    together, rejected = outcomes(first + second)
    assert together == outcomes(first)[0] | outcomes(second)[0]
    assert not rejected
