"""Topics of Discourse become posts, whatever page, file or line they are in."""

import copy
import gzip
import json
import random
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.audit import Reason, Rejected
from schemas.post import Post, RemovedAs, Thread
from tests.examples import examples
from transforms.readers.base import UNKNOWN_LICENSE, ForumFile, Item, ReadRules
from transforms.readers.discourse.html import clean_cooked
from transforms.readers.discourse.reader import DISCOURSE, read_discourse
from transforms.text.markdown import html_to_markdown
from transforms.threads.assemble import assemble_threads

HOST = "discuss.example.org"
DEEP = ReadRules(reply_depth=9)
Row = dict[str, Any]


def post_row(number: int, **fields: Any) -> Row:
    """A post as PostSerializer writes it for an anonymous visitor."""
    row: Row = {
        "id": 5000 + number,
        "name": f"Name {number}",
        "username": f"user_{number}",
        "avatar_template": "/letter_avatar_proxy/v4/letter/u/aca169/{size}.png",
        "created_at": f"2023-03-{1 + number % 28:02}T08:09:10.123Z",
        "cooked": f"<p>Text of post {number}.</p>",
        "post_number": number,
        "post_type": 1,
        "updated_at": "2023-04-01T00:00:00.000Z",
        "reply_count": 0,
        "reply_to_post_number": None,
        "reads": 40,
        "score": 12.5,
        "topic_id": 12,
        "topic_slug": "wilting-fern",
        "version": 1,
        "actions_summary": [{"id": 2, "count": number}],
        "moderator": False,
        "admin": False,
        "staff": False,
        "user_id": 100 + number,
        "hidden": False,
        "trust_level": 1,
        "deleted_at": None,
        "user_deleted": False,
    }
    return row | fields


def topic_row(*posts: Row, **fields: Any) -> Row:
    """A topic as TopicViewSerializer writes it."""
    row: Row = {
        "post_stream": {"posts": list(posts), "stream": [post["id"] for post in posts]},
        "timeline_lookup": [[1, 0]],
        "suggested_topics": [{"id": 99, "title": "Another topic"}],
        "tags": ["ferns"],
        "id": 12,
        "title": "Why does my fern wilt?",
        "fancy_title": "Why does my fern wilt?",
        "posts_count": len(posts),
        "created_at": "2023-03-02T08:09:10.123Z",
        "archetype": "regular",
        "slug": "wilting-fern",
        "category_id": 5,
        "deleted_at": None,
        "featured_link": None,
        "pinned_globally": False,
        "pinned_at": None,
        "pinned": False,
    }
    return row | fields


def page_row(*posts: Row) -> Row:
    """A page as /t/ID/posts.json serves it."""
    return {"post_stream": {"posts": list(posts)}, "id": 12}


def forum_file(path: Path, content: bytes) -> ForumFile:
    path.write_bytes(content)
    return ForumFile(kind="discourse", site=HOST, path=str(path), size=len(content))


def read(folder: Path, value: Any, name: str = "12.json", rules: ReadRules = DEEP) -> list[Item]:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return list(read_discourse(forum_file(folder / name, content), rules))


def read_posts(folder: Path, value: Any) -> list[Post]:
    items = read(folder, value)
    assert all(isinstance(item, Post) for item in items), items
    return [item for item in items if isinstance(item, Post)]


def read_one(folder: Path, number: int = 2, **fields: Any) -> Item:
    (item,) = read(folder, page_row(post_row(number, **fields)))
    return item


def test_a_topic(tmp_path: Path) -> None:
    prompt, answer = read_posts(tmp_path, topic_row(post_row(1), post_row(2)))
    assert prompt == Post(
        id=f"{HOST}:12.1",
        thread_id=f"{HOST}:12.1",
        source="discourse",
        site=HOST,
        url=f"https://{HOST}/t/wilting-fern/12/1",
        title="Why does my fern wilt?",
        text="<p>Text of post 1.</p>",
        tags=("ferns",),
        created_at=1677744550123,
        score=1,
        upvotes=1,
        downvotes=0,
        author_id=f"{HOST}:u101",
        author="Name 1",
        author_url=f"https://{HOST}/u/user_1",
        license=UNKNOWN_LICENSE,
    )
    assert answer == msgspec.structs.replace(
        prompt,
        id=f"{HOST}:12.2",
        url=f"https://{HOST}/t/wilting-fern/12/2",
        title="",
        text="<p>Text of post 2.</p>",
        tags=(),
        created_at=1677830950123,
        score=2,
        upvotes=2,
        author_id=f"{HOST}:u102",
        author="Name 2",
        author_url=f"https://{HOST}/u/user_2",
    )
    assert prompt.is_prompt
    assert not answer.is_prompt


def test_files_of_every_kind_give_the_same_posts(tmp_path: Path) -> None:
    first, second = topic_row(post_row(1), post_row(2)), page_row(post_row(3))
    line = "\n".join(json.dumps(row) for row in (first, second)).encode() + b"\n"
    document = json.dumps([first, second], indent=1).encode()
    expected = read(tmp_path, first) + read(tmp_path, second)
    assert len(expected) == 3
    squeeze = zstandard.ZstdCompressor().compress
    contents = {
        "a.jsonl": line,
        "a.ndjson": line,
        "a.json": document,
        "A.JSON": b"\xef\xbb\xbf" + document,
        "a.jsonl.gz": gzip.compress(line),
        "a.ndjson.zst": squeeze(line),
        "a.json.gz": gzip.compress(document),
        "a.json.zst": squeeze(document),
    }
    for name, content in contents.items():
        assert name.lower().endswith(DISCOURSE.suffixes)
        assert read(tmp_path, content, name) == expected, name
    listed = f"[{json.dumps(first)}]\n{json.dumps(second)}\n".encode()
    assert read(tmp_path, listed, "b.jsonl") == expected


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"post_type": 2}, Reason.NOT_A_QUESTION_OR_ANSWER),
        ({"post_type": 3}, Reason.NOT_A_QUESTION_OR_ANSWER),
        ({"post_type": 4}, Reason.NOT_A_QUESTION_OR_ANSWER),
        ({"post_type": "1"}, Reason.NOT_A_QUESTION_OR_ANSWER),
        ({"user_id": -1}, Reason.NOT_A_QUESTION_OR_ANSWER),
        ({"user_id": -2}, Reason.NOT_A_QUESTION_OR_ANSWER),
        ({"created_at": None}, Reason.MISSING_FIELD),
        ({"created_at": "last week"}, Reason.BAD_VALUE),
        ({"created_at": "1969-12-31T23:59:59Z"}, Reason.BAD_VALUE),
        ({"created_at": "2200-01-01T00:00:00Z"}, Reason.BAD_VALUE),
        ({"cooked": None}, Reason.MISSING_FIELD),
        ({"cooked": 5}, Reason.MISSING_FIELD),
        ({"actions_summary": None}, Reason.MISSING_FIELD),
        ({"actions_summary": {"id": 2}}, Reason.BAD_VALUE),
        ({"actions_summary": [{"id": 2, "count": -1}]}, Reason.BAD_VALUE),
        ({"actions_summary": [{"id": 2, "count": 1 << 70}]}, Reason.BAD_VALUE),
        ({"actions_summary": [{"id": 2, "count": "3 likes"}]}, Reason.BAD_VALUE),
    ],
)
def test_posts_that_are_none(tmp_path: Path, fields: Row, reason: Reason) -> None:
    item = read_one(tmp_path, **fields)
    assert isinstance(item, Rejected)
    assert (item.id, item.reason, item.record) == (f"{HOST}:12.2", reason, "post")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"post_number": None}, Reason.MISSING_FIELD),
        ({"post_number": 0}, Reason.BAD_VALUE),
        ({"post_number": True}, Reason.BAD_VALUE),
        ({"post_number": 1 << 60}, Reason.BAD_VALUE),
        ({"topic_id": 13}, Reason.BAD_VALUE),
        ({"topic_id": "12"}, Reason.BAD_VALUE),
    ],
)
def test_posts_without_a_place_are_named_by_their_file(
    tmp_path: Path, fields: Row, reason: Reason
) -> None:
    item = read_one(tmp_path, **fields)
    assert isinstance(item, Rejected)
    assert (item.id, item.reason) == ("12.json", reason)
    (item,) = read(tmp_path, page_row(post_row(2, **fields)), "a.jsonl")
    assert isinstance(item, Rejected)
    assert item.id == "a.jsonl:1"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": None}, {"author": "user_2"}),
        ({"name": ""}, {"author": "user_2"}),
        ({"username": "Zoë/x"}, {"author_url": f"https://{HOST}/u/Zo%C3%AB%2Fx"}),
        ({"user_id": None}, {"author_id": None, "author_url": None, "author": "Name 2"}),
        ({"user_id": None, "name": None, "username": None}, {"author": "", "author_id": None}),
        ({"user_id": 0}, {"author_id": None, "author_url": None}),
        ({"staff": True}, {"by_staff": True}),
        ({"moderator": True}, {"by_staff": True}),
        ({"admin": True}, {"by_staff": True}),
        ({"version": 3}, {"edited_at": 1680307200000}),
        ({"version": 1, "updated_at": None}, {"edited_at": None}),
        ({"version": 2, "updated_at": "?"}, {"edited_at": 1677830950123}),
        ({"version": 2, "updated_at": "2020-01-01T00:00:00Z"}, {"edited_at": 1677830950123}),
        ({"version": "2"}, {"edited_at": None}),
        ({"hidden": True}, {"removed_as": RemovedAs.REMOVED, "text": ""}),
        ({"cooked_hidden": True}, {"removed_as": RemovedAs.REMOVED, "text": ""}),
        ({"deleted_at": "2023-05-01T00:00:00Z"}, {"removed_as": RemovedAs.REMOVED}),
        ({"user_deleted": True}, {"removed_as": RemovedAs.DELETED, "text": ""}),
        (
            {"user_deleted": True, "deleted_at": "2023-05-01T00:00:00Z", "cooked": None},
            {"removed_as": RemovedAs.DELETED, "text": ""},
        ),
        ({"cooked": None, "raw": "[b]x[/b]"}, {"text": "[b]x[/b]", "markup": "markdown"}),
        ({"raw": "x"}, {"text": "<p>Text of post 2.</p>", "markup": "html"}),
        ({"actions_summary": []}, {"score": 0, "upvotes": 0, "downvotes": 0}),
        ({"actions_summary": [{"id": 2, "can_act": True}]}, {"score": 0, "upvotes": 0}),
        ({"actions_summary": [{"id": 3, "count": 9}, 4]}, {"score": 0, "flags": 0}),
        ({"actions_summary": [{"id": i, "count": i} for i in (8, 4, 2)]}, {"flags": 12}),
        ({"actions_summary": None, "like_count": 7}, {"score": 7, "upvotes": 7}),
        ({"post_voting_vote_count": -4}, {"score": -4, "upvotes": None, "downvotes": None}),
        ({"post_voting_vote_count": None}, {"score": 2, "upvotes": 2}),
        ({"reply_to_post_number": 1}, {"parent_id": None}),
        ({"reply_to_post_number": 2}, {"parent_id": None}),
        ({"reply_to_post_number": 7}, {"parent_id": None}),
        ({"reply_to_post_number": "1"}, {"parent_id": None}),
        ({"post_type": None}, {"score": 2}),
        ({"topic_slug": "a b/ü"}, {"url": f"https://{HOST}/t/a%20b%2F%C3%BC/12/2"}),
        ({"topic_slug": None}, {"url": f"https://{HOST}/t/12/2"}),
        ({"topic_id": None}, {"id": f"{HOST}:12.2"}),
        ({"created_at": "2023-03-03T10:09:10.123+02:00"}, {"created_at": 1677830950123}),
        ({"accepted_answer": True}, {"accepted": False}),
    ],
)
def test_what_becomes_of_the_fields_of_a_post(tmp_path: Path, fields: Row, expected: Row) -> None:
    item = read_one(tmp_path, **fields)
    assert isinstance(item, Post)
    assert {name: getattr(item, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"title": "  Spaces "}, {"title": "Spaces"}),
        (
            {"tags": [{"id": 7, "name": "moss", "slug": "moss"}, "ivy", 3, {}]},
            {"tags": ("moss", "ivy")},
        ),
        ({"tags": None}, {"tags": ()}),
        ({"pinned": True}, {"pinned": True}),
        ({"pinned_globally": True}, {"pinned": True}),
        ({"pinned_at": "2023-05-01T00:00:00Z"}, {"pinned": True}),
        ({"archetype": "banner"}, {"pinned": True}),
        ({"archetype": "regular"}, {"pinned": False}),
        ({"featured_link": "https://example.com/"}, {"is_link": True}),
        ({"closed": True, "archived": True}, {"closed_as": None}),
        ({"deleted_at": "2023-05-01T00:00:00Z"}, {"removed_as": RemovedAs.REMOVED}),
        (
            {"accepted_answer": {"post_number": 9, "username": "x"}},
            {"accepted_response_id": f"{HOST}:12.9"},
        ),
        ({"accepted_answer": {"post_number": 1}}, {"accepted_response_id": None}),
        ({"accepted_answer": {"post_number": "9"}}, {"accepted_response_id": None}),
        (
            {"accepted_answers": [{"post_number": 4}, {"post_number": 3}]},
            {"accepted_response_id": f"{HOST}:12.4"},
        ),
        ({"accepted_answer": True, "accepted_answers": 5}, {"accepted_response_id": None}),
    ],
)
def test_what_becomes_of_the_fields_of_a_topic(tmp_path: Path, fields: Row, expected: Row) -> None:
    prompt, answer = read_posts(tmp_path, topic_row(post_row(1), post_row(2), **fields))
    assert {name: getattr(prompt, name) for name in expected} == expected
    plain = read_posts(tmp_path, topic_row(post_row(1), post_row(2)))[1]
    assert answer == plain


def test_the_answer_that_is_flagged_is_the_accepted_one(tmp_path: Path) -> None:
    flagged = [post_row(number, accepted_answer=True) for number in (1, 5, 3)]
    rows = [flagged[0], post_row(2), *flagged[1:]]
    assert read_posts(tmp_path, topic_row(*rows))[0].accepted_response_id == f"{HOST}:12.3"


def test_a_private_message_is_not_read(tmp_path: Path) -> None:
    items = read(tmp_path, topic_row(post_row(1), post_row(2), archetype="private_message"))
    reasons = [item.reason for item in items if isinstance(item, Rejected)]
    assert reasons == [Reason.NOT_A_QUESTION_OR_ANSWER] * 2


@pytest.mark.parametrize("title", [None, "", " ", 5])
def test_a_prompt_needs_its_title(tmp_path: Path, title: Any) -> None:
    item, answer = read(tmp_path, topic_row(post_row(1), post_row(2), title=title))
    assert isinstance(item, Rejected)
    assert (item.id, item.reason) == (f"{HOST}:12.1", Reason.MISSING_FIELD)
    assert isinstance(answer, Post)


def test_replies_to_replies(tmp_path: Path) -> None:
    rows = [post_row(2), post_row(3, reply_to_post_number=2), post_row(4, reply_to_post_number=1)]
    first, reply, second = read(tmp_path, page_row(*rows))
    assert isinstance(reply, Post)
    assert reply.parent_id == f"{HOST}:12.2"
    assert read(tmp_path, page_row(*rows), rules=ReadRules(reply_depth=2)) == [first, reply, second]
    shallow = read(tmp_path, page_row(*rows), rules=ReadRules())
    assert [shallow[0], shallow[2]] == [first, second]
    assert isinstance(shallow[1], Rejected)
    assert (shallow[1].id, shallow[1].reason) == (f"{HOST}:12.3", Reason.TOO_DEEP)


def test_the_user_states_the_licence(tmp_path: Path) -> None:
    for licenses in ({HOST: "CC-BY-4.0"}, {"discourse": "CC-BY-4.0"}):
        (item,) = read(tmp_path, page_row(post_row(2)), rules=ReadRules(licenses=licenses))
        assert isinstance(item, Post)
        assert item.license == "CC-BY-4.0"


def test_pages_make_one_thread(tmp_path: Path) -> None:
    first = topic_row(post_row(1), post_row(2), accepted_answer={"post_number": 4})
    pages = (page_row(post_row(2), post_row(3)), first, page_row(post_row(4, accepted_answer=True)))
    posts = [post for page in pages for post in read_posts(tmp_path, page)]
    outcomes = list(assemble_threads(posts, {}))
    (thread,) = [outcome.thread for outcome in outcomes if outcome.thread]
    assert [post.id for post in thread.responses] == [f"{HOST}:12.{n}" for n in (2, 3, 4)]
    assert [post.accepted for post in thread.responses] == [False, False, True]
    rejected = [reject for outcome in outcomes for reject in outcome.rejected]
    assert [(r.id, r.reason) for r in rejected] == [(f"{HOST}:12.2", Reason.REPEATED_ID)]


def test_posts_by_themselves_are_read(tmp_path: Path) -> None:
    title = {"topic_title": "Wilting fern", "topic_html_title": "Wilting fern"}
    rows = [post_row(number, **title) for number in (1, 2, 3)]
    whole = read_posts(tmp_path, topic_row(*(post_row(n) for n in (1, 2, 3)), title="Wilting fern"))
    expected = [(post.id, post.thread_id, post.title, post.text, post.url) for post in whole]

    def found(items: list[Item]) -> list[tuple[str, ...]]:
        assert all(isinstance(item, Post) for item in items), items
        return [(item.id, item.thread_id, item.title, item.text, item.url) for item in items]

    assert found([item for row in rows for item in read(tmp_path, row)]) == expected
    assert found(read(tmp_path, rows)) == expected
    assert found(read(tmp_path, {"latest_posts": rows})) == expected
    lines = "\n".join(json.dumps(row) for row in rows).encode()
    assert found(read(tmp_path, lines, "a.jsonl")) == expected


def test_a_prompt_by_itself_without_its_title_says_so(tmp_path: Path) -> None:
    for fields in ({}, {"topic_title": None}, {"topic_title": " "}, {"topic_title": 5}):
        (item,) = read(tmp_path, post_row(1, **fields))
        assert isinstance(item, Rejected)
        assert (item.id, item.reason) == (f"{HOST}:12.1", Reason.MISSING_FIELD)
        assert "title" in item.detail


def test_the_answer_by_itself_that_is_flagged_is_accepted(tmp_path: Path) -> None:
    (post,) = read_posts(tmp_path, post_row(2, accepted_answer=True))
    assert post.accepted
    (post,) = read_posts(tmp_path, post_row(2, accepted_answer=None))
    assert not post.accepted


@pytest.mark.parametrize(
    ("content", "reason", "record"),
    [
        (b"", Reason.TRUNCATED_FILE, "file"),
        (b'{"post_stream": {"posts": [', Reason.TRUNCATED_FILE, "file"),
        (b'{"a": 1}\n{"a": 2}\n', Reason.UNREADABLE_FILE, "file"),
        (b"<html>429 Too Many Requests</html>", Reason.UNREADABLE_FILE, "file"),
        (b"[" * 99_999 + b"]" * 99_999, Reason.UNREADABLE_FILE, "file"),
        (b'{"a": ' + b"[" * 99_999 + b"]" * 99_999 + b"}", Reason.UNREADABLE_FILE, "file"),
        (b'{"errors": ["not found"], "error_type": "not_found"}', Reason.MISSING_FIELD, "post"),
        (b'{"post_stream": []}', Reason.BAD_VALUE, "post"),
        (b'{"post_stream": {"posts": {}}}', Reason.BAD_VALUE, "post"),
        (b'{"post_stream": {}}', Reason.MISSING_FIELD, "post"),
        (b"null", Reason.BAD_VALUE, "post"),
        (b"[17]", Reason.BAD_VALUE, "post"),
        (b'{"id": 1, "title": "\xff", "post_stream": {"posts": []}}', Reason.MALFORMED_ROW, "post"),
        (
            b'{"id": 1, "title": "\\ud800 ", "post_stream": {"posts": []}}',
            Reason.UNREADABLE_FILE,
            "file",
        ),
        (b'{"post_stream": {"posts": [[]]}}', Reason.BAD_VALUE, "post"),
        (b'{"post_stream": {"posts": [{"cooked": "\xff"}]}}', Reason.MALFORMED_ROW, "post"),
        (b'{"post_stream": {"posts": [{"cooked": "\\udc00 "}]}}', Reason.UNREADABLE_FILE, "file"),
        (b'{"post_stream": {"posts": [{"user_id": ' + b"9" * 5000 + b"}]}}", None, "post"),
    ],
)
def test_hostile_documents(
    tmp_path: Path, content: bytes, reason: Reason | None, record: str
) -> None:
    (item,) = read(tmp_path, content)
    assert isinstance(item, Rejected)
    assert reason is None or item.reason == reason
    assert (item.record, item.id) == (record, "12.json")


def test_one_bad_post_or_topic_costs_no_other(tmp_path: Path) -> None:
    good = json.dumps(post_row(2)).encode()
    page = b'{"id": 12, "post_stream": {"posts": [%s, {"post_number": "\xff"}, 7, %s]}}'
    items = read(tmp_path, page % (good, good.replace(b'"post_number": 2', b'"post_number": 3')))
    assert sorted(getattr(item, "id", "") for item in items) == [
        "12.json",
        "12.json",
        f"{HOST}:12.2",
        f"{HOST}:12.3",
    ]
    topics = b'{"errors": []}\n\n' + page % (good, good) + b'\n{"id": 1, "post_st'
    found = read(tmp_path, topics, "a.jsonl")
    assert sum(isinstance(item, Post) for item in found) == 2
    rejected = [item for item in found if isinstance(item, Rejected)]
    assert [item.id for item in rejected if item.record == "post"] == [
        "a.jsonl:1",
        "a.jsonl:3",
        "a.jsonl:3",
        "a.jsonl:4",
    ]


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=3,
)


@st.composite
def damaged(draw: st.DrawFn) -> Row:
    """A topic or page with some of its fields replaced, by junk or by nothing."""
    rows = [post_row(number) for number in draw(st.lists(st.integers(1, 6), max_size=4))]
    whole = topic_row(*rows) if draw(st.booleans()) else page_row(*rows)
    targets: list[Row] = [*rows, whole]
    for _ in range(draw(st.integers(0, 4))):
        target = draw(st.sampled_from(targets))
        name = draw(st.sampled_from(sorted(set(target) - {"post_stream"}) or ["id"]))
        if draw(st.booleans()):
            target[name] = draw(_JUNK)
        else:
            target.pop(name, None)
    return copy.deepcopy(whole)


@settings(max_examples=examples(300), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damaged(), st.sampled_from(["a.json", "a.jsonl"]))
def test_every_post_is_read_or_rejected_once(tmp_path: Path, row: Row, name: str) -> None:
    try:
        content = json.dumps(row, allow_nan=False).encode("utf-8", "replace")
    except ValueError:
        content = json.dumps(row).encode()
        for item in read(tmp_path, content, name):  # NaN is no JSON
            assert isinstance(item, Rejected)
        return
    items = read(tmp_path, content, name)
    assert len(items) == len(row["post_stream"]["posts"]) or (
        len(items) == 1 and isinstance(items[0], Rejected)
    )
    for item in items:
        assert isinstance(item, Post | Rejected)
        msgspec.msgpack.encode(item)
        if isinstance(item, Post):
            assert item.id.startswith(f"{HOST}:")
            assert item.thread_id.endswith(".1")
            assert item.is_prompt == bool(item.title)
            assert (item.upvotes is None) == (item.downvotes is None)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(2, 9), min_size=2, max_size=8), st.randoms(use_true_random=False))
def test_neither_the_cut_into_pages_nor_their_order_matters(
    tmp_path: Path, numbers: list[int], chance: random.Random
) -> None:
    rows = [post_row(number) for number in sorted({*numbers, 2, 3})]
    rows[-1]["reply_to_post_number"] = 2
    whole = read_posts(tmp_path, topic_row(post_row(1), *rows))
    chance.shuffle(rows)
    cut = chance.randrange(len(rows) + 1)
    pages = [page_row(*rows[:cut]), page_row(*rows[cut // 2 :]), topic_row(post_row(1))]
    chance.shuffle(pages)
    parts = [post for page in pages for post in read_posts(tmp_path, page)]

    def thread(posts: list[Post]) -> list[Thread | None]:
        return [outcome.thread for outcome in assemble_threads(posts, {}, reply_depth=2)][-1:]

    assert thread(parts) == thread(whole)


@settings(max_examples=examples(200), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60), st.sampled_from(["a.json", "a.jsonl", "a.json.gz", "a.jsonl.zst"]))
def test_rubbish_never_raises(tmp_path: Path, content: bytes, name: str) -> None:
    assert all(isinstance(item, Rejected) for item in read(tmp_path, content, name))


@pytest.mark.parametrize(
    ("cooked", "markdown"),
    [
        (
            '<aside class="quote no-group" data-username="Bo" data-post="4" data-topic="6">\n'
            '<div class="title">\n<div class="quote-controls"></div>\n'
            '<img alt="" src="https://x.example/a.png" class="avatar"> Bo:</div>\n'
            "<blockquote>\n<p>said <b>this</b></p>\n</blockquote>\n</aside>\n<p>No.</p>",
            "> said **this**\n\nNo.",
        ),
        ('<aside class="quote"><blockquote><p>a</p></blockquote></aside><p>b</p>', "> a\n\nb"),
        ('<aside class="quote">c<div class="title">d</div></aside>', "c\n\nd"),
        (
            '<p>ok <img src="/e/s.png?v=12" title=":smile:" class="emoji" alt=":smile:">!</p>',
            "ok :smile:!",
        ),
        ('<p><img class="emoji only-emoji" title=":&lt;3:"></p>', ":<3:"),
        (
            '<p><a class="mention" href="/u/bo">@bo</a> <a href="/t/x/1">x</a></p>',
            f"@bo [x](https://{HOST}/t/x/1)",
        ),
        (
            '<p><a href="//cdn.example/y">y</a> <a href="https://z.example/">z</a></p>',
            "[y](https://cdn.example/y) [z](https://z.example/)",
        ),
        (
            '<p><img src="/uploads/a.png" alt="a&quot;b"></p>',
            f'![a"b](https://{HOST}/uploads/a.png)',
        ),
        (
            '<p><div class="lightbox-wrapper"><a class="lightbox" href="/o/full.png" title="t">'
            '<img src="/o/small.png" alt="leaf"><div class="meta"><svg><use></use></svg>'
            '<span class="informations">1006×628 28 KB</span></div></a></div></p>',
            f"![leaf](https://{HOST}/o/full.png)",
        ),
        (
            '<p>see</p><aside class="onebox generic" data-onebox-src="https://a.example/b">'
            '<header class="source"><a href="https://a.example/c">A</a></header>'
            '<article class="onebox-body"><h3>Not my words</h3></article></aside><p>end</p>',
            "see\n\n<https://a.example/b>\n\nend",
        ),
        (
            '<aside class="onebox"><a href="https://a.example/c">A</a> x</aside>',
            "<https://a.example/c>",
        ),
        ('<aside class="onebox">nothing</aside>', ""),
        (
            '<p>see</p><aside class="quote quote-modified" data-post="1" data-topic="22"><div '
            'class="title"><img class="avatar" src="/a.png"><div><a href="/t/other/22">Other</a> '
            '<a class="badge" href="/c/3">cat</a></div></div>'
            "<blockquote>Text of somebody else.</blockquote></aside><p>end</p>",
            f"see\n\n<https://{HOST}/t/other/22>\n\nend",
        ),
        (  # a quote of a topic of which nobody is named, and no preview: nothing links it
            '<aside class="quote" data-topic="22"><div class="title">x</div>'
            '<blockquote><p>said <a href="/b">b</a></p></blockquote></aside>',
            f"> said [b](https://{HOST}/b)",
        ),
        (
            '<aside class="quote" data-username="Bo" data-post="1" data-topic="22">'
            '<div class="title"><a href="/t/other/22">Other</a></div>'
            "<blockquote><p>said</p></blockquote></aside>",
            "> said",
        ),
        (
            '<p>See <a href="https://a.example/b?c&amp;d" class="inline-onebox">Page by &lt;x> '
            "<b>of</b> it</a>, yes.</p>",
            "See <https://a.example/b?c&d>, yes.",
        ),
        (
            '<p><a class="inline-onebox-loading" href="/t/5">https://x/t/5</a> '
            '<a href="/t/6">my words</a></p>',
            f"<https://{HOST}/t/5> [my words](https://{HOST}/t/6)",
        ),
        (
            '<div class="user-onebox"><h3><a href="/u/bo">Bo</a></h3>Bio</div>',
            f"<https://{HOST}/u/bo>",
        ),
        ('<blockquote class="onebox"><a href="/q">Q</a> text</blockquote>', f"<https://{HOST}/q>"),
        ('<iframe class="x-onebox" src="https://a.example/v">no</iframe>', "<https://a.example/v>"),
        (
            '<p>if <span class="math">a_1 &lt; b_2</span></p><div class="math">\nx\n</div>',
            "if $a_1 < b_2$\n\n$$\nx\n$$",
        ),
        (
            '<ul><li><span class="chcklst-box checked"></span> a</li>'
            '<li><span class="chcklst-box"></span> b</li></ul>',
            "- [x] a\n- [ ] b",
        ),
        ('<div class="poll"><ul><li>A</li></ul><div class="poll-info">7 voters</div></div>', "- A"),
        ('<details class="elided"><summary>…</summary>old</details><p>new</p>', "new"),
        (
            '<pre><code class="lang-auto">a\n</code></pre>'
            '<pre><code class="lang-rb">b\n</code></pre>',
            "```\na\n```\n\n```rb\nb\n```",
        ),
        ('<h2><a name="h" class="anchor" href="#h"></a>H</h2>', "## H"),
        (
            '<p>a<sup><a href="#fn-1">[1]</a></sup> '
            '<a class="hashtag-cooked" href="/tag/m"><svg></svg><span>m</span></a></p>',
            "a<sup>[1]</sup> #m",
        ),
        ("<p>plain &amp; <em>simple</em></p>", "plain & *simple*"),
        ("no tags &lt;", "no tags <"),
        ('<aside class="quote">open', "open"),
    ],
)
def test_cooked(cooked: str, markdown: str) -> None:
    assert html_to_markdown(clean_cooked(cooked, HOST)) == markdown


_KEPT = (
    ("<p>", "</p>"),
    ("<div>", "</div>"),
    ("<aside>", "</aside>"),
    ('<aside class="quote"><div class="title">Bo:</div><blockquote>', "</blockquote></aside>"),
    ('<a class="mention" href="/u/bo">', "</a>"),
    ('<a href="#x">', "</a>"),
    ('<span class="math">', "</span>"),
    ('<pre class="lang-auto">', "</pre>"),
)
_DROPPED = (
    ('<aside class="quote" data-topic="2"><a href="/t/2">x</a>', "</aside>"),
    ('<a class="inline-onebox" href="/t/2">', "</a>"),
    ('<div class="category-onebox">', "</div>"),
    ('<aside class="onebox">', "</aside>"),
    ('<div class="poll-info">', "</div>"),
    ('<details class="elided">', "</details>"),
    ("<svg>", "</svg>"),
)
_Element = tuple[bool, tuple[str, str], list[Any]]


def _elements(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[_Element]:
    tags = st.sampled_from([(True, tag) for tag in _KEPT] + [(False, tag) for tag in _DROPPED])
    return st.tuples(tags, st.lists(inner, max_size=3)).map(lambda x: (*x[0], x[1]))


@given(st.lists(st.recursive(st.just("word"), _elements, max_leaves=12), max_size=4))
def test_what_the_author_wrote_stays_and_the_rest_goes(nodes: list[Any]) -> None:
    kept: list[str] = []
    html: list[str] = []

    def write(node: Any, visible: bool) -> None:
        if node == "word":
            word = f"w{len(html)}w"
            html.append(word)
            if visible:
                kept.append(word)
            return
        stays, (start, end), children = node
        html.append(start)
        for child in children:
            write(child, visible and stays)
        html.append(end)

    for node in nodes:
        write(node, True)
    cleaned = clean_cooked("".join(html), HOST)
    assert re.findall(r"w\d+w", cleaned) == kept
    assert "Bo:" not in cleaned


@given(st.lists(st.sampled_from([tag for pair in _KEPT + _DROPPED for tag in pair] + ["a", "<"])))
def test_no_html_breaks_the_cleaning(parts: list[str]) -> None:
    html_to_markdown(clean_cooked("".join(parts), HOST))


def test_quotes_without_a_link_take_linear_time() -> None:
    """Each that looks for the link of a topic in all that is in it would take hours."""
    quotes = '<aside class="quote" data-topic="1">' * 50_000
    assert clean_cooked(f"{quotes}x", "q.example").endswith("x")
    closed = quotes + "x" + "</aside>" * 50_000
    assert clean_cooked(closed, "q.example").count("<aside") == 50_000


def test_text_without_ornaments_stays_as_it_is() -> None:
    html = (
        '<p>One <em>two</em> <a href="https://example.com/">three</a></p>\n<ul>\n<li>x</li>\n</ul>'
    )
    assert clean_cooked(html, HOST) == html
