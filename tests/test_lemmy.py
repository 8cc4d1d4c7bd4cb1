import bz2
import copy
import gzip
import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.audit import Reason, Rejected
from schemas.post import Post, RemovedAs, Thread
from tests.examples import examples
from transforms.core.coders import StructCoder
from transforms.filters import FilterRules, filter_thread
from transforms.pairing import decide_pairs, preset
from transforms.readers.base import ForumFile, ReadRules, SamePrompt
from transforms.readers.lemmy import LEMMY, read_lemmy
from transforms.threads.assemble import assemble_threads

HOST = "lemmy.example"
SHAPES = ("0.18", "0.19", "1.0")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
coder = StructCoder(Post)


def read(content: str | bytes, name: str = "page.json", **rules: Any) -> list[Any]:
    data = content if isinstance(content, bytes) else content.encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        file = ForumFile(kind="lemmy", site=HOST, path=str(path), size=len(data))
        return list(read_lemmy(file, ReadRules(**rules)))


def stamp(ms: int, shape: str) -> str:
    time = (EPOCH + timedelta(milliseconds=ms)).replace(tzinfo=None).isoformat()
    return time if shape == "0.18" else f"{time}Z"


def entry(message: dict[str, Any], shape: str, kind: str) -> dict[str, Any]:
    at = "_at" if shape == "1.0" else ""
    row = {
        "id": message["id"],
        "creator_id": message["author"]["id"],
        "removed": message["removed"],
        "deleted": message["deleted"],
        f"published{at}": stamp(message["created_at"], shape),
        "ap_id": f"https://home.example/{kind}/{message['id']}",
        "local": True,
        "language_id": 37,
    }
    if message["edited_at"] is not None:
        row[f"updated{at}"] = stamp(message["edited_at"], shape)
    if shape == "1.0":
        row |= counts(message)
    return row


def counts(message: dict[str, Any]) -> dict[str, Any]:
    up, down = message["votes"]
    return {"score": up - down, "upvotes": up, "downvotes": down}


def view(message: dict[str, Any], shape: str, on: dict[str, Any] | None = None) -> dict[str, Any]:
    """PostView of a message, or CommentView of one below the post ``on``."""
    address = "ap_id" if shape == "1.0" else "actor_id"
    post = on or message
    author = message["author"]
    home = "https://other.example" if post["remote"] else f"https://{HOST}"
    made: dict[str, Any] = {
        "post": entry(post, shape, "post")
        | {
            "name": post["title"],
            "community_id": 3,
            "locked": False,
            "nsfw": post["nsfw"],
            "featured_community": post["featured"] == "community",
            "featured_local": post["featured"] == "local",
        },
        "creator": {
            "id": author["id"],
            "name": author["name"],
            address: f"https://home.example/u/{author['name']}",
            "bot_account": author["bot"],
            "deleted": author["gone"],
            "local": False,
        },
        "community": {
            "id": 3,
            "name": "bread",
            "title": "Bread",
            "nsfw": post["nsfw_community"],
            address: f"{home}/c/bread",
            "local": not post["remote"],
        },
    }
    if author["display"]:
        made["creator"]["display_name"] = author["display"]
    for key in ("url", "body"):
        if post[key] is not None:
            made["post"][key] = post[key]
    if on is not None:
        path = ".".join(str(part) for part in (0, *message["above"], message["id"]))
        made["comment"] = entry(message, shape, "comment") | {
            "post_id": on["id"],
            "content": message["body"] or "",
            "path": path,
            "distinguished": message["distinguished"],
        }
    if shape == "0.18":
        made["creator"]["admin"] = author["admin"]
    else:
        made["creator_is_admin"] = author["admin"]
    if shape != "1.0":
        made["counts"] = counts(message) | {"published": stamp(message["created_at"], shape)}
    return made


def expected(message: dict[str, Any], on: dict[str, Any] | None = None) -> Post:
    author, post = message["author"], on or message
    gone = message["deleted"] or message["removed"]
    up, down = message["votes"]
    text = "" if gone else message["body"] or ""
    if not on and not gone and message["url"]:
        text = message["url"] + (f"\n\n{text}" if text else "")
    above = message["above"]
    return Post(
        id=f"{HOST}:{'c' if on else 'p'}{message['id']}",
        thread_id=f"{HOST}:p{post['id']}",
        parent_id=f"{HOST}:c{above[-1]}" if on and above else None,
        source="lemmy",
        site=f"{HOST}/c/bread" + ("@other.example" if post["remote"] else ""),
        url=f"https://home.example/{'comment' if on else 'post'}/{message['id']}",
        title="" if gone or on else message["title"].strip(),
        text=text,
        markup="markdown",
        is_link=bool(not on and message["url"] and not (message["body"] or "").strip()),
        created_at=message["created_at"],
        edited_at=message["edited_at"],
        score=up - down,
        upvotes=up,
        downvotes=down,
        author_id=None if author["gone"] else f"{HOST}:u{author['id']}",
        author="" if author["gone"] else author["display"] or author["name"],
        author_url=None if author["gone"] else f"https://home.example/u/{author['name']}",
        by_staff=bool(on and message["distinguished"]),
        by_bot=author["bot"],
        pinned=not on and message["featured"] is not None,
        nsfw=post["nsfw"] or post["nsfw_community"],
        removed_as=RemovedAs.DELETED
        if message["deleted"]
        else RemovedAs.REMOVED
        if message["removed"]
        else None,
        license="NOASSERTION",
    )


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
ids = st.integers(0, 2**62)
times = st.integers(1, 7_258_118_399_999)
messages = st.fixed_dictionaries(
    {
        "id": ids,
        "title": texts,
        "body": st.none() | texts,
        "url": st.none() | st.just("https://example.com/knife"),
        "votes": st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)),
        "created_at": times,
        "edited_at": st.none() | times,
        "deleted": st.booleans(),
        "removed": st.booleans(),
        "nsfw": st.booleans(),
        "nsfw_community": st.booleans(),
        "featured": st.sampled_from([None, "community", "local"]),
        "remote": st.booleans(),
        "distinguished": st.booleans(),
        "above": st.lists(ids, max_size=4),
        "author": st.fixed_dictionaries(
            {
                "id": ids,
                "name": st.text("abc", min_size=1),
                "display": st.none() | texts,
                "admin": st.booleans(),
                "bot": st.booleans(),
                "gone": st.booleans(),
            }
        ),
    }
)


@given(message=messages, shape=st.sampled_from(SHAPES))
def test_a_post_in_every_shape(message: dict[str, Any], shape: str) -> None:
    [post] = read(json.dumps(view(message, shape)), "posts.jsonl")
    assert post == expected(message)
    assert coder.decode(coder.encode(post)) == post


@given(message=messages, on=messages, shape=st.sampled_from(SHAPES), reply_depth=st.integers(1, 6))
def test_a_comment_in_every_shape(
    message: dict[str, Any], on: dict[str, Any], shape: str, reply_depth: int
) -> None:
    [item] = read(json.dumps(view(message, shape, on)), "c.jsonl", reply_depth=reply_depth)
    if len(message["above"]) + 1 > reply_depth:
        assert (item.reason, item.record) == (Reason.TOO_DEEP, "post")
        assert item.id == f"{HOST}:c{message['id']}"
    else:
        assert item == expected(message, on)


def plain(id: int, body: str = "A sentence that is long enough.", **fields: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "id": id,
        "title": "Which knife for bread?",
        "body": body,
        "url": None,
        "votes": (id, 0),
        "created_at": 1_700_000_000_000 + id * 60_000,
        "edited_at": None,
        "deleted": False,
        "removed": False,
        "nsfw": False,
        "nsfw_community": False,
        "featured": None,
        "remote": False,
        "distinguished": False,
        "above": [],
        "author": {
            "id": 100 + id,
            "name": f"m{id}",
            "display": None,
            "admin": False,
            "bot": False,
            "gone": False,
        },
    }
    return values | fields


POST = plain(1)
COMMENTS = [
    plain(11, "The long one with a serrated blade.", votes=(9, 1)),
    plain(12, "Any knife that you keep sharp enough.", votes=(1, 3)),
    plain(13, "Thank you, it works very well indeed.", votes=(1, 0), above=[11]),
    plain(14, "It does not, the teeth tear the crumb.", votes=(0, 2), above=[11]),
    plain(15, "A second level below the second one.", votes=(5, 0), above=[11, 14]),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_container(shape: str) -> None:
    post, comments = view(POST, shape), [view(each, shape, POST) for each in COMMENTS]
    wanted = [expected(POST), *(expected(each, POST) for each in COMMENTS)]
    answers: list[Any] = [{"posts": [post]}, {"comments": comments}]
    for document in (
        answers,
        {"posts": [post], "comments": comments, "users": []},  # an answer of /search
        {"items": [post, *comments], "next_page": "P1"},
        [{"post_view": post}, *({"comment_view": each} for each in comments)],
    ):
        for space in (None, 2):
            assert read(json.dumps(document, indent=space), reply_depth=3) == wanted
    lines = "\n".join(json.dumps(answer) for answer in answers)
    bare = "".join(json.dumps(each) + "\n" for each in (post, *comments))
    for content in (lines, bare):
        assert read(content, "all.jsonl", reply_depth=3) == wanted
        assert read(gzip.compress(content.encode()), "all.ndjson.gz", reply_depth=3) == wanted
        assert read(bz2.compress(content.encode()), "all.JSONL.bz2", reply_depth=3) == wanted
    packed = zstandard.compress(json.dumps(answers).encode())
    assert read(packed, "all.json.zst", reply_depth=3) == wanted
    assert read('{"posts": [], "next_page": null}') == []


def test_cross_posts_are_the_same_prompt_and_no_posts() -> None:
    answer = {
        "post_view": view(POST, "0.19"),
        "community_view": {},
        "moderators": [],
        "cross_posts": [view(plain(8), "0.19"), {"post": {}}, view(plain(9), "0.19")],
    }
    post, *rest = read(json.dumps(answer))
    assert post == expected(POST)
    assert rest[0] == SamePrompt(f"{HOST}:p1", f"{HOST}:p8")
    assert (rest[1].reason, rest[1].record) == (Reason.MISSING_FIELD, "link")
    assert rest[2] == SamePrompt(f"{HOST}:p1", f"{HOST}:p9")
    assert len(rest) == 3


@pytest.mark.parametrize(
    ("reply_depth", "pairs"),
    [(1, [("c11", "c12")]), (2, [("c11", "c12"), ("c13", "c14")])],
)
def test_files_to_pairs(reply_depth: int, pairs: list[tuple[str, str]]) -> None:
    # The responses come in another file and before their post.
    items = read(
        json.dumps({"comments": [view(each, "0.19", POST) for each in COMMENTS]}),
        reply_depth=reply_depth,
    ) + read(json.dumps({"posts": [view(POST, "0.19")]}))
    posts = [item for item in items if isinstance(item, Post)]
    deep = [item for item in items if isinstance(item, Rejected)]
    assert len(posts) + len(deep) == 6
    assert {item.reason for item in deep} == {Reason.TOO_DEEP}
    [thread] = [
        outcome.thread
        for outcome in assemble_threads(posts, {}, reply_depth=reply_depth)
        if outcome.thread is not None
    ]
    kept: Thread | None = filter_thread(thread, FilterRules()).thread
    assert kept is not None
    decisions, _ = decide_pairs(kept, preset("all"))
    found = [
        tuple(kept.responses[place].id.split(":")[1] for place in (each.chosen, each.rejected))
        for each in decisions
    ]
    assert sorted(found) == pairs


def changed(path: str, value: Any, *, comment: bool = True, shape: str = "0.19") -> dict[str, Any]:
    made = view(COMMENTS[2], shape, POST) if comment else view(POST, shape)
    *folders, name = path.split(".")
    place = made
    for folder in folders:
        place = place[folder]
    if value is None:
        del place[name]
    else:
        place[name] = value
    return made


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("comment.id", None, Reason.MISSING_FIELD),
        ("comment.published", None, Reason.MISSING_FIELD),
        ("comment.path", None, Reason.MISSING_FIELD),
        ("comment.content", None, Reason.MISSING_FIELD),
        ("comment.post_id", None, Reason.MISSING_FIELD),
        ("counts", None, Reason.MISSING_FIELD),
        ("counts.score", None, Reason.MISSING_FIELD),
        ("creator", None, Reason.MISSING_FIELD),
        ("community", None, Reason.MISSING_FIELD),
        ("comment.id", "13", Reason.BAD_VALUE),
        ("comment.id", -13, Reason.BAD_VALUE),
        ("comment.content", ["text"], Reason.BAD_VALUE),
        ("comment.published", "yesterday", Reason.BAD_VALUE),
        ("comment.published", "1969-12-31T23:59:59Z", Reason.BAD_VALUE),
        ("comment.published", "2200-01-01T00:00:00Z", Reason.BAD_VALUE),
        ("comment.published", 1_700_000_000, Reason.BAD_VALUE),
        ("comment.updated", "soon", Reason.BAD_VALUE),
        ("counts.score", 2**62 + 1, Reason.BAD_VALUE),
        ("counts.score", 1.5, Reason.BAD_VALUE),
        ("counts.upvotes", -1, Reason.BAD_VALUE),
        ("comment.path", "0", Reason.BAD_VALUE),
        ("comment.path", "13", Reason.BAD_VALUE),
        ("comment.path", "0.11.14", Reason.BAD_VALUE),
        ("comment.path", "1.11.13", Reason.BAD_VALUE),
        ("comment.path", "0..13", Reason.BAD_VALUE),
        ("comment.path", "0.11.１３", Reason.BAD_VALUE),
        ("comment.path", "0.11.13\n", Reason.BAD_VALUE),
    ],
)
def test_what_makes_no_post(path: str, value: Any, reason: Reason) -> None:
    good = view(COMMENTS[0], "0.19", POST)
    bad = changed(path, value)
    first, item, last = read(json.dumps({"comments": [good, bad, good]}), reply_depth=2)
    assert first == last == expected(COMMENTS[0], POST)
    assert (item.reason, item.record) == (reason, "post")
    assert item.id == f"{HOST}:c13" or "comments[1]" in item.detail
    [item] = read("\n" + json.dumps(bad) + "\n", "c.jsonl", reply_depth=2)
    assert item.reason == reason and item.id in (f"{HOST}:c13", "c.jsonl:2")


def test_what_may_be_missing() -> None:
    [post] = read(json.dumps(changed("counts.downvotes", None, comment=False)), "p.jsonl")
    assert (post.score, post.upvotes, post.downvotes) == (1, None, None)
    [post] = read(json.dumps(changed("post.ap_id", "javascript:alert()", comment=False)), "p.jsonl")
    assert post.url == f"https://{HOST}/post/1"
    [post] = read(json.dumps(changed("comment.ap_id", None)), "p.jsonl", reply_depth=2)
    assert post.url == f"https://{HOST}/comment/13"
    [post] = read(json.dumps(changed("creator.actor_id", "data:,x", comment=False)), "p.jsonl")
    assert post.author_url is None and post.author_id == f"{HOST}:u101"
    local = changed("community.actor_id", "https://WWW.lemmy.example/c/bread", comment=False)
    assert read(json.dumps(local), "p.jsonl")[0].site == f"{HOST}/c/bread"
    del local["community"]["local"]
    assert read(json.dumps(local), "p.jsonl")[0].site == f"{HOST}/c/bread@www.lemmy.example"
    del local["community"]["actor_id"]
    local["community"]["local"] = False
    assert read(json.dumps(local), "p.jsonl")[0].site == f"{HOST}/c/bread"


def test_the_licence_is_the_users_word() -> None:
    content = json.dumps({"posts": [view(POST, "0.19")]})
    assert read(content)[0].license == "NOASSERTION"
    assert read(content, licenses={"lemmy": "CC-BY-4.0"})[0].license == "CC-BY-4.0"
    both = {"lemmy": "CC-BY-4.0", HOST: "CC0-1.0"}
    assert read(content, licenses=both)[0].license == "CC0-1.0"
    assert not LEMMY.publishable and not LEMMY.dates_votes


@pytest.mark.parametrize(
    ("content", "reason", "record"),
    [
        ('{"error": "rate_limit_error"}', Reason.MISSING_FIELD, "post"),
        ('{"posts": {}}', Reason.BAD_VALUE, "post"),
        ('{"posts": 3}', Reason.BAD_VALUE, "post"),
        ('{"post_view": null}', Reason.MISSING_FIELD, "post"),
        ("3", Reason.BAD_VALUE, "post"),
        ("[[]]", Reason.BAD_VALUE, "post"),
        ("", Reason.TRUNCATED_FILE, "file"),
        ('{"posts": [', Reason.TRUNCATED_FILE, "file"),
        ('{"posts": []} {"posts": []}', Reason.UNREADABLE_FILE, "file"),
        ("<html>Too many requests</html>", Reason.UNREADABLE_FILE, "file"),
        ("[" * 100_000, Reason.UNREADABLE_FILE, "file"),
        (b'{"posts": [{"creator": {"id": 1, "name": "\xff"}}]}', Reason.MALFORMED_ROW, "post"),
    ],
)
def test_documents_that_are_no_answer(content: Any, reason: Reason, record: str) -> None:
    [item] = read(content)
    assert (item.reason, item.record, item.id) == (reason, record, "page.json")


def test_lines_in_a_json_file_get_a_hint() -> None:
    [item] = read(json.dumps(view(POST, "0.19")) + "\n" + json.dumps(view(POST, "0.19")))
    assert ".jsonl" in item.detail


def leaves(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    places = [above] if above else []
    if isinstance(value, dict):
        for key, inner in value.items():
            places += leaves(inner, (*above, key))
    return places


hostile: st.SearchStrategy[Any] = st.sampled_from(
    [None, [], {}, "", "x", 0, -1, 10**40, 1e300, True, "\0", "0.", [[]], "9" * 5000]
) | st.recursive(st.none() | texts, lambda inner: st.lists(inner, max_size=2), max_leaves=5)


@given(shape=st.sampled_from(SHAPES), data=st.data())
@settings(max_examples=examples(200))
def test_any_field_may_hold_anything(shape: str, data: st.DataObject) -> None:
    good = view(COMMENTS[3], shape, POST)
    bad: dict[str, Any] = copy.deepcopy(good)
    for _ in range(data.draw(st.integers(1, 3))):
        *folders, name = data.draw(st.sampled_from(leaves(good)))
        place: Any = bad
        for folder in folders:
            place = place.get(folder) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place[name] = data.draw(hostile)
    items = read(json.dumps({"comments": [bad, good]}), reply_depth=2)
    assert len(items) == 2
    assert items[1] == expected(COMMENTS[3], POST)
    if isinstance(items[0], Post):
        assert coder.decode(coder.encode(items[0])) == items[0]
    else:
        assert items[0].record == "post"


@given(data=st.data())
@settings(max_examples=examples(150))
def test_damaged_bytes_raise_nothing(data: st.DataObject) -> None:
    content = json.dumps({"comments": [view(each, "0.19", POST) for each in COMMENTS[:2]]}).encode()
    if data.draw(st.booleans()):
        damaged = content[: data.draw(st.integers(0, len(content)))]
    else:
        start = data.draw(st.integers(0, len(content)))
        damaged = content[:start] + data.draw(st.binary(max_size=5)) + content[start + 2 :]
    for name in ("a.json", "a.jsonl"):
        for item in read(damaged, name):
            assert isinstance(item, Rejected) or coder.decode(coder.encode(item)) == item


@pytest.mark.parametrize(
    ("display", "author"), [("Eve E.", "Eve E."), (" Eve ", "Eve"), (" ", None)]
)
def test_a_blank_display_name_is_none(display: str, author: str | None) -> None:
    row = changed("creator.display_name", display)
    (found,) = read(json.dumps({"comments": [row]}), reply_depth=9)
    assert found.author == (author or row["creator"]["name"])
