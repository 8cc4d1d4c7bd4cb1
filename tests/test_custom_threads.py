"""Own threads: rows of the schema become posts, whatever file they are in, or say why not."""

import copy
import datetime
import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.arrow import CUSTOM_THREAD_SCHEMA
from schemas.audit import Reason, Rejected
from schemas.post import DAY_MS, Post
from tests.examples import examples
from transforms.pairing import decide_pairs, preset
from transforms.readers.base import ForumFile, ReadRules, SamePrompt
from transforms.readers.custom_threads.reader import THREADS, read_custom_threads
from transforms.readers.custom_threads.rows import MAX_VOTES, parse_thread
from transforms.readers.formats.parquet_rows import BATCH_ROWS
from transforms.readers.formats.tables import read_table
from transforms.readers.formats.values import Milliseconds
from transforms.threads.assemble import assemble_threads

SITE = "forum.example.com"


def answer(id: Any = 1, **fields: Any) -> dict[str, Any]:
    return {"id": id, "text": f"answer {id}", "score": 1} | fields


def row(*responses: dict[str, Any], **fields: Any) -> dict[str, Any]:
    values = {"site": SITE, "id": 7, "text": "How?", "license": "CC-BY-4.0"}
    return values | {"responses": list(responses or (answer(1), answer(2)))} | fields


def file_of(path: Path) -> ForumFile:
    return ForumFile(kind="threads", site="", path=str(path), size=path.stat().st_size)


def write_lines(folder: Path, *rows: Any, name: str = "rows.jsonl") -> ForumFile:
    path = folder / name
    path.write_text("".join(f"{json.dumps(item)}\n" for item in rows), encoding="utf-8")
    return file_of(path)


def read(file: ForumFile, **rules: Any) -> list[Any]:
    return list(read_custom_threads(file, ReadRules(**rules)))


def posts_of(item: dict[str, Any]) -> list[Post]:
    parsed = parse_thread(item)
    assert parsed.problems == [] and parsed.bad_responses == []
    assert parsed.prompt is not None
    return [parsed.prompt, *(post for post, _ in parsed.responses)]


def problems_of(item: dict[str, Any]) -> list[str]:
    parsed = parse_thread(item)
    found = [*parsed.problems, *(p for bad in parsed.bad_responses for p in bad.problems)]
    return [str(problem) for problem in found]


# Values


def test_fields_arrive_in_the_posts() -> None:
    common = {"author": "Ann", "author_id": 12, "author_url": "https://f.example/u/12"}
    prompt, first, second = posts_of(
        row(
            answer("a", **common, url="https://f.example/7#a", edited_at=86_400, by_bot=True),
            answer("b", license="MIT OR Apache-2.0", markup="html", by_staff=1, accepted=True),
            **common,
            title="Title",
            tags=["x", "y"],
            nsfw=True,
            score=-3,
            created_at="1970-01-02T01:00:00+01:00",
            url="https://f.example/7",
        )
    )
    assert (prompt.id, prompt.thread_id, prompt.site) == (f"{SITE}:7", f"{SITE}:7", SITE)
    assert prompt.is_prompt and prompt.source == "threads" and prompt.markup == "markdown"
    assert (prompt.title, prompt.text, prompt.tags) == ("Title", "How?", ("x", "y"))
    assert (prompt.score, prompt.nsfw, prompt.created_at) == (-3, True, DAY_MS)
    assert (prompt.author, prompt.author_id) == ("Ann", f"{SITE}:u12")
    assert (prompt.url, prompt.author_url) == ("https://f.example/7", "https://f.example/u/12")
    assert prompt.accepted_response_id == second.id == f"{SITE}:7#b"
    assert (first.thread_id, first.parent_id, first.accepted) == (prompt.id, None, False)
    assert (first.edited_at, first.created_at, first.by_bot) == (DAY_MS, 0, True)
    assert (first.license, second.license) == ("CC-BY-4.0", "MIT OR Apache-2.0")
    assert (second.markup, second.by_staff, second.accepted) == ("html", True, True)
    assert second.author_id is None and second.url == "" and second.edited_at is None


def test_author_without_account_is_told_apart_by_name() -> None:
    _, named, gone = posts_of(row(answer(1, author="Bob"), answer(2)))
    assert (named.author_id, gone.author_id) == (f"{SITE}:uBob", None)


def test_accepted_by_id_of_the_prompt() -> None:
    prompt, first, second = posts_of(row(accepted="2"))
    assert prompt.accepted_response_id == second.id
    assert (first.accepted, second.accepted) == (False, True)


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        ("1970-01-02", DAY_MS),
        ("1970-01-02T00:00:00Z", DAY_MS),
        ("1970-01-02 00:00:00.5", DAY_MS + 500),
        ("1970-01-01T23:00:00-01:00", DAY_MS),
        (86_400, DAY_MS),
        (86_400.25, DAY_MS + 250),
        (0, 0),
        (Milliseconds(5), 5),
    ],
)
def test_times(value: Any, ms: int) -> None:
    assert posts_of(row(created_at=value))[0].created_at == ms


VOTES = [
    {"date": "1970-01-03", "value": 1},
    {"date": "1970-01-02T23:59:59Z", "value": 1, "count": 2},
    {"date": 0, "value": -1},
]


@pytest.mark.parametrize(
    ("given", "score", "ups", "downs"),
    [
        ({"score": -2}, -2, None, None),
        ({"score": 3.0}, 3, None, None),
        ({"upvotes": 5}, 5, 5, 0),
        ({"upvotes": 5, "downvotes": 7, "score": -2}, -2, 5, 7),
    ],
)
def test_undated_votes(given: dict[str, Any], score: int, ups: Any, downs: Any) -> None:
    post = posts_of(row(answer(1, **({"score": None} | given)), answer(2)))[1]
    assert (post.score, post.upvotes, post.downvotes) == (score, ups, downs)
    assert post.up_days is None and post.down_days is None


@pytest.mark.parametrize("besides", [{}, {"score": 2}, {"upvotes": 3}, {"downvotes": 1}])
def test_dated_votes(besides: dict[str, int]) -> None:
    post = posts_of(row(answer(1, **({"score": None} | besides), votes=VOTES), answer(2)))[1]
    assert (post.score, post.up_days, post.down_days) == (2, (1, 1, 2), (0,))
    assert post.upvotes is None and post.downvotes is None


def test_an_empty_list_of_votes_is_dated() -> None:
    post = posts_of(row(answer(1, score=None, votes=[]), answer(2)))[1]
    assert (post.score, post.up_days, post.down_days) == (0, (), ())


# Problems


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"site": None}, "site: is missing, and is needed"),
        ({"site": "https://f.example"}, "site: 'https://f.example': must be a host name"),
        ({"id": 1.5}, "id: 1.5: must be text or an integer"),
        ({"id": True}, "id: true: must be text or an integer"),
        ({"id": "7#1"}, "id: '7#1': must be at most 200 visible characters, without '#'"),
        ({"id": " 7"}, "id: ' 7': must not be empty, nor begin or end with a space"),
        ({"text": None}, "text: is missing, and is needed"),
        ({"text": ["How?"]}, "text: a list of 1: must be text"),
        ({"text": "\ud800"}, "text: '\\ud800': holds half of a surrogate pair"),
        ({"markup": "bbcode"}, "markup: 'bbcode': must be 'markdown' or 'html'"),
        ({"license": None}, "license: is missing, and is needed"),
        ({"license": "CC BY-SA 4.0"}, "perhaps 'CC-BY-SA-4.0', or 'NOASSERTION'"),
        ({"license": "none"}, "or 'NOASSERTION' if unknown"),
        ({"format": "forumprefs.thread/2"}, "this version reads 'forumprefs.thread/1'"),
        ({"created_at": 17_000_000_000}, "is not in seconds, milliseconds, microseconds or"),
        ({"created_at": "31.5.2024"}, "must be ISO 8601"),
        ({"created_at": "1969-12-31"}, "must be in the years 1970 to 2199"),
        ({"created_at": "2200-01-01"}, "must be in the years 1970 to 2199"),
        ({"created_at": float("nan")}, "created_at: NaN: must be ISO 8601"),
        ({"created_at": True}, "created_at: true: must be ISO 8601"),
        ({"created_at": 10**400}, "must be in the years 1970 to 2199"),
        ({"score": "3 votes"}, "score: '3 votes': must be an integer"),
        ({"score": 1 << 63}, "must be an integer of at most 62 bits"),
        ({"nsfw": "no"}, "nsfw: 'no': must be true or false"),
        ({"tags": "a,b"}, "tags: 'a,b': must be a list"),
        ({"tags": ["a", 1]}, "tags: a list of 2: must be text"),
        ({"url": "javascript:alert(1)"}, "must begin with https:// or http://"),
        ({"accepted": 9}, "accepted: '9': must be the id of one of the responses"),
        ({"responses": None}, "responses: is missing, and is needed"),
        ({"responses": {}}, "responses: an object: must be a list"),
        ({"titel": "x"}, "titel: there is no such field; did you mean 'title'?"),
        ({"body": "x"}, "body: there is no such field; did you mean 'text'?"),
        ({"zzz": None}, "zzz: there is no such field; Names of your own begin with 'x_'"),
    ],
)
def test_problems_of_a_thread(fields: dict[str, Any], message: str) -> None:
    parsed = parse_thread(row(**fields))
    assert parsed.prompt is None and parsed.responses == []
    [problem] = parsed.problems
    assert message in str(problem)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id": None}, "responses[1].id: is missing, and is needed"),
        ({"id": "1"}, "responses[1].id: '1': another response has this id"),
        ({"text": None}, "responses[1].text: is missing, and is needed"),
        ({"score": None}, "responses[1].score: is missing, and so are upvotes and votes"),
        ({"score": None, "downvotes": 1}, "responses[1].downvotes: 1: must come with upvotes"),
        ({"upvotes": -1}, "responses[1].upvotes: -1: must be 0 or more"),
        ({"upvotes": 3}, "responses[1].score: 1: the votes add up to 3"),
        ({"votes": VOTES}, "responses[1].score: 1: the votes add up to 2"),
        ({"score": 2, "upvotes": 2, "votes": VOTES}, "responses[1].upvotes: 2: the votes add up"),
        ({"votes": [7]}, "responses[1].votes[0]: 7: must be an object"),
        ({"votes": [{"value": 1}]}, "responses[1].votes[0].date: is missing"),
        ({"votes": [{"date": 0, "value": 2}]}, "responses[1].votes[0].value: 2: must be 1 or -1"),
        ({"votes": [{"date": 0, "value": 1, "count": 0}]}, "count: 0: must be 1 or more"),
        ({"votes": [{"date": 0, "value": 1, "count": MAX_VOTES + 1}]}, "at most 1,000,000"),
        ({"votes": [{"day": 0, "date": 0, "value": 1}]}, "votes[0].day: there is no such field"),
        ({"parent": 9}, "responses[1].parent: '9': must be the id of one of the responses"),
        ({"parent": 2}, "responses[1].parent: '2': replies in a circle"),
        ({"parent_id": 1}, "did you mean 'parent'?"),
        ({"title": "x"}, "responses[1].title: there is no such field"),
        ({"accepted": "yes"}, "responses[1].accepted: 'yes': must be true or false"),
    ],
)
def test_problems_of_a_response_leave_the_rest(fields: dict[str, Any], message: str) -> None:
    parsed = parse_thread(row(answer(1), answer(2) | fields, answer(3)))
    assert parsed.problems == []
    assert [post.id for post, _ in parsed.responses] == [f"{SITE}:7#1", f"{SITE}:7#3"]
    [bad] = parsed.bad_responses
    assert bad.place == 1
    assert len(bad.problems) == 1 and message in str(bad.problems[0])


def test_all_problems_of_a_row_are_named() -> None:
    found = problems_of(row(answer(1, score="x", url=3), 5, license=None, titel="T"))
    assert [text.partition(":")[0] for text in found] == [
        "titel",
        "license",
        "responses[0].url",
        "responses[0].score",
        "responses[1]",
    ]


def test_names_of_ones_own_are_not_read() -> None:
    item = row(answer(1, x_ip="::1"), answer(2), x_board={"deep": [1]})
    assert posts_of(item) == posts_of(row())


def test_circles_of_replies_are_refused_and_chains_are_not() -> None:
    circle = [answer(n, parent=(n + 1) % 3) for n in range(3)]
    into_it = answer(9, parent=0)
    found = problems_of(row(*circle, into_it, answer(10)))
    assert len(found) == 4 and all("replies in a circle" in text for text in found)
    deep = [answer(0), *(answer(n, parent=n - 1) for n in range(1, 3000))]
    parsed = parse_thread(row(*reversed(deep)))
    assert sorted(depth for _, depth in parsed.responses) == list(range(1, 3001))


# Files


def test_rejects_name_the_file_and_row(tmp_path: Path) -> None:
    file = write_lines(tmp_path, row(), row(license=None), 3, row(answer(1), answer(2, score="x")))
    items = read(file)
    rejected = [item for item in items if isinstance(item, Rejected)]
    assert [(item.id, item.reason, item.record) for item in rejected] == [
        ("rows.jsonl:2", Reason.MISSING_FIELD, "post"),
        ("rows.jsonl:3", Reason.BAD_VALUE, "post"),
        (f"{SITE}:7#2", Reason.BAD_VALUE, "post"),
    ]
    assert "license: is missing" in rejected[0].detail
    assert sum(isinstance(item, Post) for item in items) == 3 + 2


def test_a_response_without_an_id_is_named_by_its_place(tmp_path: Path) -> None:
    [*_, rejected] = read(write_lines(tmp_path, row(answer(1), {"text": "x"})))
    assert rejected.id == "rows.jsonl:1/responses[1]"
    assert "responses[1].id: is missing, and is needed; responses[1].score" in rejected.detail


def test_replies_below_the_depth_of_the_recipe(tmp_path: Path) -> None:
    chain = (answer(1), answer(2, parent=1), answer(3, parent=2))
    file = write_lines(tmp_path, row(*chain))
    for depth in (1, 2, 3):
        items = read(file, reply_depth=depth)
        deep = [item.id for item in items if isinstance(item, Rejected)]
        assert deep == [f"{SITE}:7#{n}" for n in range(depth + 1, 4)]
        assert all(i.reason is Reason.TOO_DEEP for i in items if isinstance(i, Rejected))
    parents = {post.id[-1]: post.parent_id for post in items if not post.is_prompt}
    assert parents == {"1": None, "2": f"{SITE}:7#1", "3": f"{SITE}:7#2"}


def test_threads_that_ask_the_same(tmp_path: Path) -> None:
    items = read(write_lines(tmp_path, row(duplicate_of=3)))
    assert SamePrompt(f"{SITE}:7", f"{SITE}:3") in items


def test_tables_that_both_count_from_one_do_not_collide(tmp_path: Path) -> None:
    items = read(write_lines(tmp_path, row(id=1), row(id=2)))
    assert len({post.id for post in items}) == len(items) == 6


def test_list_and_compressed_lines_read_the_same(tmp_path: Path) -> None:
    rows = [row(id=number) for number in range(3)]
    plain = read(write_lines(tmp_path, *rows))
    (tmp_path / "rows.json").write_text(" \n" + json.dumps(rows, indent=1))
    (tmp_path / "rows.jsonl.gz").write_bytes(
        gzip.compress("\n".join(map(json.dumps, rows)).encode())
    )
    (tmp_path / "rows.json.gz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    for name in ("rows.json", "rows.jsonl.gz", "rows.json.gz"):
        assert name.endswith(THREADS.suffixes)
        assert read(file_of(tmp_path / name)) == plain


def test_bad_items_of_a_list_are_rejected_alone(tmp_path: Path) -> None:
    half = row(id="3", text="\ud800")
    (tmp_path / "rows.json").write_text(json.dumps([row(), 5, half]))
    *posts, second, third, _, _ = read(file_of(tmp_path / "rows.json"))
    assert len(posts) == 3
    assert (second.id, second.reason) == ("rows.json:2", Reason.BAD_VALUE)
    assert third.text == "\ufffd"  # as in a file of lines
    (tmp_path / "cut.json").write_text(json.dumps([row(), row()])[:-20])
    [broken] = read(file_of(tmp_path / "cut.json"))
    assert (broken.record, broken.reason) == ("file", Reason.UNREADABLE_FILE)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_parquet_times_of_every_unit(tmp_path: Path, unit: str) -> None:
    moment = datetime.datetime(2024, 5, 31, 18, 30, tzinfo=datetime.UTC)
    schema = pa.schema(
        [
            pa.field(field.name, pa.timestamp(unit)) if field.name == "created_at" else field
            for field in CUSTOM_THREAD_SCHEMA
        ]
    )
    item = row(answer("1"), answer("2"), id="7", created_at=moment.replace(tzinfo=None))
    pq.write_table(pa.Table.from_pylist([item], schema), tmp_path / "t.parquet", version="2.6")
    assert read(file_of(tmp_path / "t.parquet"))[0].created_at == moment.timestamp() * 1000


def test_parquet_votes_by_date_and_dictionaries(tmp_path: Path) -> None:
    votes = [{"date": datetime.date(1970, 1, 2), "value": 1}]
    items = [row(answer(n, score=None, votes=votes), answer(n + 1), id=n) for n in range(3)]
    table = pa.Table.from_pylist(items)
    column = table.schema.get_field_index("site")
    table = table.set_column(column, "site", table.column("site").dictionary_encode())
    pq.write_table(table, tmp_path / "t.parquet")
    posts = read(file_of(tmp_path / "t.parquet"))
    assert [post.up_days for post in posts if post.up_days is not None] == [(1,)] * 3
    assert {post.site for post in posts} == {SITE}


def test_parquet_columns_of_ones_own_are_not_read(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([row(x_big="x" * 100, titel=None)])
    pq.write_table(table, tmp_path / "t.parquet")
    [(_, found)] = read_table(file_of(tmp_path / "t.parquet"), lambda name: name[:2] != "x_")
    assert "x_big" not in found
    [rejected] = read(file_of(tmp_path / "t.parquet"))
    assert "did you mean 'title'" in rejected.detail


def test_text_in_parquet_that_is_not_utf8_costs_its_row_only(tmp_path: Path) -> None:
    texts = [b"fine", b"\xff\xfe", b"fine too"]
    table = pa.Table.from_pylist([row(id=n) for n in range(3)])
    broken = pa.array(texts, pa.binary()).view(pa.string())
    table = table.set_column(table.schema.get_field_index("text"), "text", broken)
    pq.write_table(table, tmp_path / "t.parquet")
    items = read(file_of(tmp_path / "t.parquet"))
    [rejected] = [item for item in items if isinstance(item, Rejected)]
    assert (rejected.id, rejected.reason) == ("t.parquet:2", Reason.MALFORMED_ROW)
    assert sum(isinstance(item, Post) for item in items) == 6


def test_damaged_parquet_says_so_once(tmp_path: Path) -> None:
    rows = [row(answer(1, text=f"{n} " * 400), answer(2), id=n) for n in range(60)]
    path = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=20, compression="gzip")
    whole = path.read_bytes()
    middle = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    path.write_bytes(whole[:middle] + bytes(2000) + whole[middle + 2000 :])
    items = read(file_of(path))
    rejected = [item for item in items if isinstance(item, Rejected)]
    assert [(item.record, item.reason) for item in rejected] == [("file", Reason.TRUNCATED_FILE)]
    assert sum(isinstance(item, Post) for item in items) == 60
    for content in (whole[: len(whole) // 2], b"PAR1", b"{}", b""):
        path.write_bytes(content)
        [item] = read(file_of(path))
        assert (item.record, item.reason) == ("file", Reason.UNREADABLE_FILE)


def test_a_missing_file_is_an_error_of_the_disk() -> None:
    gone = ForumFile(kind="threads", site="", path="/nowhere/t.jsonl", size=0)
    with pytest.raises(OSError, match=r"nowhere"):
        read(gone)


def test_rows_of_several_batches_are_numbered_through(tmp_path: Path) -> None:
    count = BATCH_ROWS * 2 + 5
    table = pa.Table.from_pylist([{"n": n} for n in range(count)])
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=BATCH_ROWS + 10)
    rows = list(read_table(file_of(tmp_path / "t.parquet")))
    assert rows == [(n + 1, {"n": n}) for n in range(count)]


# Any thread

moments = st.datetimes(datetime.datetime(1970, 1, 2), datetime.datetime(2199, 12, 30)).map(
    lambda moment: moment.replace(microsecond=0, tzinfo=datetime.UTC)
)
texts = st.text(st.characters(codec="utf-8"), max_size=20)
votes_of_days = st.lists(
    st.fixed_dictionaries(
        {"date": moments, "value": st.sampled_from([1, -1]), "count": st.integers(1, 3)}
    ),
    max_size=4,
)


@st.composite
def thread_rows(draw: Any) -> dict[str, Any]:
    responses = []
    for number in range(draw(st.integers(0, 5))):
        given: dict[str, Any] = draw(
            st.one_of(
                st.fixed_dictionaries({"score": st.integers(-9, 9)}),
                st.fixed_dictionaries({"upvotes": st.integers(0, 9), "downvotes": st.just(2)}),
                st.fixed_dictionaries({"votes": votes_of_days}),
            )
        )
        if number and draw(st.booleans()):
            given["parent"] = str(draw(st.integers(0, number - 1)))
        if draw(st.booleans()):
            given |= {"created_at": draw(moments), "author": draw(texts), "accepted": True}
        responses.append({"id": str(number), "text": draw(texts), **given})
    fields = draw(st.fixed_dictionaries({}, optional={"created_at": moments, "title": texts}))
    thread_id = str(draw(st.integers(0, 5)))
    return row(**fields, id=thread_id, tags=draw(st.lists(texts, max_size=2))) | {
        "responses": draw(st.permutations(responses))
    }


def as_json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime.datetime) else value


@settings(max_examples=40)
@given(st.lists(thread_rows(), min_size=1, max_size=4))
def test_json_and_parquet_give_the_same_posts(rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "rows.jsonl"
        lines.write_text("".join(json.dumps(item, default=as_json) + "\n" for item in rows))
        table = Path(folder) / "rows.parquet"
        pq.write_table(pa.Table.from_pylist(rows, CUSTOM_THREAD_SCHEMA), table, row_group_size=2)
        items = read(file_of(lines), reply_depth=9)
        assert read(file_of(table), reply_depth=9) == items
    assert all(isinstance(item, Post) for item in items)
    assert len(items) == len(rows) + sum(len(item["responses"]) for item in rows)
    for post in items:
        assert post.id.startswith(post.thread_id)
        if post.up_days is not None:
            assert post.score == len(post.up_days) - len(post.down_days)
            assert list(post.up_days) == sorted(post.up_days)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["1", "2", "markdown", "CC-BY-4.0", "2024-01-01"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@settings(max_examples=examples(150))
@given(st.data())
def test_nothing_in_a_row_raises_or_loses_a_response(data: Any) -> None:
    item = row(
        answer(1, votes=copy.deepcopy(VOTES), score=2), answer(2, parent=1), answer(3, upvotes=1)
    )
    targets = [item, *item["responses"], item["responses"][0]["votes"][0]]
    for _ in range(data.draw(st.integers(1, 4))):
        target = data.draw(st.sampled_from(targets))
        names = [*target, "parent", "accepted", "created_at", "author_id", "tags", "zz"]
        target[data.draw(st.sampled_from(names))] = data.draw(anything)
    parsed = parse_thread(item)
    if parsed.prompt is None:
        assert parsed.problems and not parsed.responses
        return
    assert not parsed.problems
    assert len(parsed.responses) + len(parsed.bad_responses) == len(item["responses"])
    for post in (parsed.prompt, *(post for post, _ in parsed.responses)):
        post.text.encode()
        post.id.encode()
        assert -(1 << 63) <= post.score < 1 << 63
        assert 0 <= post.created_at < 230 * 366 * DAY_MS


def test_threads_come_out_as_pairs(tmp_path: Path) -> None:
    items = read(write_lines(tmp_path, row(answer(1, score=5), answer(2, score=2), answer(3))))
    [outcome] = assemble_threads(items, {})
    assert outcome.thread is not None
    decisions, rejected = decide_pairs(outcome.thread, preset("all"))
    ids = [post.id[-1] for post in outcome.thread.responses]
    assert {(ids[d.chosen], ids[d.rejected]) for d in decisions} == {
        ("1", "2"),
        ("1", "3"),
        ("2", "3"),
    }
    assert rejected == []
