"""Preference sets: each published form gives its prompts, responses and what it prefers."""

import datetime
import gzip
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.arrow import PAIR_IDS_SCHEMA, PAIR_SCHEMA
from schemas.audit import Reason, Rejected
from schemas.metadata import PostMetadata
from schemas.post import TURN_BREAK, Post, Thread
from tests import make
from tests.dumps import DUMPS
from transforms.pairing import decide_pairs, pair_row, preset
from transforms.readers.base import ForumFile, ReadRules, SamePrompt, ThreadMetadata
from transforms.readers.preferences.conversations import SetRowError, split_conversation
from transforms.readers.preferences.formats import read_row
from transforms.readers.preferences.reader import PAIRS, read_preference_set, site_name
from transforms.readers.preferences.rows import Origin
from transforms.threads.assemble import assemble_threads, metadata_by_id

HH = DUMPS.parent / "preference" / "hh-rlhf" / "harmless-base-test.jsonl.gz"
ORIGIN = Origin("pairs/set", {})


def file_of(path: Path) -> ForumFile:
    return ForumFile(kind="pairs", site="", path=str(path), size=path.stat().st_size)


def read(folder: Path, *rows: Any, name: str = "set.jsonl", **rules: Any) -> list[Any]:
    path = folder / name
    path.write_text("".join(f"{json.dumps(item)}\n" for item in rows), encoding="utf-8")
    return list(read_preference_set(file_of(path), ReadRules(**rules)))


def posts_of(items: list[Any]) -> list[Post]:
    return [item for item in items if isinstance(item, Post)]


def rejects_of(items: list[Any]) -> list[Rejected]:
    return [item for item in items if isinstance(item, Rejected)]


def threads_of(items: list[Any]) -> list[Thread]:
    metadata = metadata_by_id(item.metadata for item in items if isinstance(item, ThreadMetadata))
    outcomes = assemble_threads(posts_of(items), metadata)
    return [outcome.thread for outcome in outcomes if outcome.thread is not None]


def relation(items: list[Any]) -> set[tuple[str, str, str]]:
    """(prompt, chosen, rejected) of all pairs that come out."""
    return {
        (row.prompt, row.chosen, row.rejected)
        for thread in threads_of(items)
        for decision in decide_pairs(thread, preset("all"))[0]
        for row in [pair_row(thread, decision, "train")]
    }


def message(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def hh(*turns: str) -> str:
    roles = ("Human", "Assistant")
    return "".join(f"\n\n{roles[place % 2]}: {turn}" for place, turn in enumerate(turns))


# Chosen and rejected

ASK = [message("user", "Hi"), message("assistant", "Hello."), message("user", "How?")]
GOOD, POOR = message("assistant", "so"), message("assistant", "no")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "How?", "chosen": "so", "rejected": "no"},
        {"prompt": [ASK[2]], "chosen": [GOOD], "rejected": [POOR]},
        {"chosen": [ASK[2], GOOD], "rejected": [ASK[2], POOR]},
        {"prompt": "How?", "chosen": [ASK[2], GOOD], "rejected": [ASK[2], POOR]},
        {"prompt": [ASK[2]], "chosen": [ASK[2], GOOD], "rejected": [ASK[2], POOR]},
        {"prompt": [ASK[2]], "chosen": "so", "rejected": "no"},
        {"chosen": hh(" How? ", " so"), "rejected": hh(" How? ", "no\n")},
        {"prompt": hh("How?", ""), "chosen": " so", "rejected": " no"},
        {"prompt": hh("How?"), "chosen": "Assistant: so", "rejected": "Assistant: no"},
        {"question": "How?", "response_j": "so", "response_k": "no", "qid": 5},
        {"prompt": [message("system", ""), ASK[2]], "chosen": [GOOD], "rejected": [POOR]},
        {
            "prompt": [message("user", [{"type": "text", "text": "How?"}])],
            "chosen": [GOOD],
            "rejected": [POOR],
        },
    ],
)
def test_forms_of_one_pair(tmp_path: Path, row: dict[str, Any]) -> None:
    items = read(tmp_path, row)
    prompt, better, worse = posts_of(items)
    assert (prompt.text, better.text.strip(" "), worse.text.strip(" ")) == ("How?", "so", "no")
    assert prompt.is_prompt and better.thread_id == worse.thread_id == prompt.id
    assert prompt.site == "pairs/set" and prompt.source == "pairs"
    assert items[3:] == [
        ThreadMetadata(prompt.id, PostMetadata(id=better.id, preferred_to=(worse.id,))),
        ThreadMetadata(prompt.id, PostMetadata(id=worse.id, preferred_to=())),
    ]


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": [*ASK, GOOD], "rejected": [*ASK, POOR]},
        {"prompt": ASK, "chosen": [GOOD], "rejected": [POOR]},
        {"prompt": ASK[:2], "chosen": [ASK[2], GOOD], "rejected": [ASK[2], POOR]},
        {"prompt": "Hi", "chosen": [*ASK, GOOD], "rejected": [*ASK, POOR]},
        {
            "chosen": hh("Hi", "Hello.", "How?", "so"),
            "rejected": hh("Hi", "Hello.", "How?", "no"),
        },
        {"prompt": hh("Hi", "Hello.", "How?") + "\n\nAssistant:", "chosen": "so", "rejected": "no"},
    ],
)
def test_turns_before_a_response_are_one_text(tmp_path: Path, row: dict[str, Any]) -> None:
    prompt, better, worse = posts_of(read(tmp_path, row))
    assert prompt.text == TURN_BREAK.join(["Hi", "Hello.", "How?"])
    assert (better.text, worse.text) == ("so", "no")


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        ({"prompt": "How?", "chosen": "so"}, Reason.MISSING_FIELD, "rejected is missing"),
        ({"chosen": "so", "rejected": "no"}, Reason.MISSING_FIELD, "there is no prompt"),
        ({"better": "so"}, Reason.MISSING_FIELD, "among its columns better; name yours"),
        ({"prompt": "How?", "chosen": "so", "rejected": "so"}, Reason.BAD_VALUE, "the same text"),
        ({"prompt": 5, "chosen": "so", "rejected": "no"}, Reason.BAD_VALUE, "prompt is 5"),
        ({"prompt": "How?", "chosen": [], "rejected": "no"}, Reason.BAD_VALUE, "chosen is empty"),
        (
            {"prompt": "How?", "chosen": [GOOD, ASK[0]], "rejected": [POOR]},
            Reason.BAD_VALUE,
            "chosen does not end with a turn of the assistant, but of 'user'",
        ),
        (
            {"chosen": [ASK[0], GOOD], "rejected": [ASK[2], POOR]},
            Reason.BAD_VALUE,
            "answer different prompts",
        ),
        (
            {"chosen": hh("Hi", "so"), "rejected": hh("Ho", "no")},
            Reason.BAD_VALUE,
            "answer different prompts",
        ),
        (
            {"prompt": "How?", "chosen": [message("assistant", 3)], "rejected": [POOR]},
            Reason.BAD_VALUE,
            "chosen: 3: must be text",
        ),
        (
            {"prompt": "How?", "chosen": [message("assistant", [{"image": 1}])], "rejected": "no"},
            Reason.BAD_VALUE,
            "other content than text",
        ),
        (
            {"prompt": "How?", "chosen": "so", "rejected": "no", "chosen_score": "high"},
            Reason.BAD_VALUE,
            "chosen_score: 'high': must be a number",
        ),
        (
            {"prompt": "How?", "chosen": "so", "rejected": "no", "site": "a b"},
            Reason.BAD_VALUE,
            "must be a host name",
        ),
    ],
)
def test_rows_that_cannot_be_used(
    tmp_path: Path, row: dict[str, Any], reason: Reason, detail: str
) -> None:
    fine = {"prompt": "How?", "chosen": "so", "rejected": "no"}
    items = read(tmp_path, fine, row, fine)
    [rejected] = rejects_of(items)
    assert (rejected.id, rejected.reason, rejected.record) == ("set.jsonl:2", reason, "post")
    assert detail in rejected.detail
    assert len(posts_of(items)) == 6


def test_rows_about_one_prompt_become_one_thread(tmp_path: Path) -> None:
    ranked = ["best", "good", "poor", "worst"]
    rows = [{"prompt": "Q", "chosen": a, "rejected": b} for a, b in pairwise(ranked)]
    items = read(tmp_path, *rows, {"prompt": "R", "chosen": "best", "rejected": "good"})
    assert sorted(len(thread.responses) for thread in threads_of(items)) == [2, 4]
    assert relation(items) == {
        *(("Q", a, b) for a, b in pairwise(ranked)),
        ("R", "best", "good"),
    }
    assert len({post.id for post in posts_of(items)}) == 2 + 4 + 2


def test_scores_and_ids_of_the_row(tmp_path: Path) -> None:
    row = {"prompt": "Q", "chosen": "a", "rejected": "b", "prompt_id": "p1"}
    row |= {"score_chosen": 8.6, "score_rejected": -2, "license": "MIT", "title": "T"}
    row |= {"site": "f.example", "url": "https://f.example/1", "chosen_id": 1, "rejected_id": 2}
    prompt, better, worse = posts_of(read(tmp_path, row, licenses={"pairs": "CC0-1.0"}))
    assert (prompt.id, prompt.title, prompt.url) == ("f.example:p1", "T", "https://f.example/1")
    assert (better.id, better.score) == ("f.example:p1#1", 9)
    assert (worse.id, worse.score) == ("f.example:p1#2", -2)
    assert {post.license for post in (prompt, better, worse)} == {"MIT"}


def test_columns_of_other_names_and_licences(tmp_path: Path) -> None:
    row = {"q": "How?", "good": "so", "poor": "no", "prompt": "unused"}
    columns = {"prompt": "q", "chosen": "good", "rejected": "poor"}
    expected = posts_of(read(tmp_path, {"prompt": "How?", "chosen": "so", "rejected": "no"}))
    posts = posts_of(read(tmp_path, row, columns=columns))
    assert posts == expected
    assert {post.license for post in posts} == {"NOASSERTION"}
    for name, stated in (("pairs", "CC0-1.0"), ("pairs/set", "MIT")):
        posts = posts_of(read(tmp_path, row, columns=columns, licenses={name: stated}))
        assert {post.license for post in posts} == {stated}
    pq.write_table(pa.Table.from_pylist([row | {"big": "x"}]), tmp_path / "set.parquet")
    items = list(read_preference_set(file_of(tmp_path / "set.parquet"), ReadRules(columns=columns)))
    assert posts_of(items) == expected


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("train-00003-of-00010.parquet", "pairs/train"),
        ("test-00000-of-00001-b42a775f407cee45.parquet", "pairs/test"),
        ("My set: v1.2.JSONL.gz", "pairs/My_set_v1.2"),
        (".jsonl", "pairs/unnamed"),
        ("odd.txt", "pairs/odd.txt"),
    ],
)
def test_site_of_a_set_without_one(name: str, site: str) -> None:
    assert site_name(ForumFile(kind="pairs", site="", path=f"/a/{name}", size=0)) == site


def test_files_that_hold_no_pairs_are_refused() -> None:
    for name in (
        "manifest.json",
        "duplicates-00000-of-00001.parquet",
        "rejected-00000-of-1.parquet",
    ):
        assert PAIRS.refuse(name)
    for name in ("train-00000-of-00001.parquet", "manifest.jsonl", "train.json"):
        assert PAIRS.refuse(name) is None


# SHP


def shp(**fields: Any) -> dict[str, Any]:
    return {
        "post_id": "abc12z",
        "domain": "askforum_train",
        "upvote_ratio": 0.98,
        "history": "How?",
        "c_root_id_A": "k1",
        "c_root_id_B": "k2",
        "created_at_utc_A": 1_600_000_000,
        "created_at_utc_B": 1_600_000_050,
        "score_A": 3,
        "score_B": 9,
        "human_ref_A": "a",
        "human_ref_B": "b",
        "labels": 0,
        "seconds_difference": 50.0,
        "score_ratio": 3.0,
    } | fields


@pytest.mark.parametrize(("label", "better", "worse"), [(1, "a", "b"), (0, "b", "a")])
def test_shp_label_one_prefers_a(tmp_path: Path, label: int, better: str, worse: str) -> None:
    items = read(tmp_path, shp(labels=label))
    prompt, first, second = posts_of(items)
    assert (first.text, second.text) == (better, worse)
    assert relation(items) == {("How?", better, worse)}
    by_text = {post.text: post for post in (first, second)}
    assert (by_text["a"].id, by_text["a"].score) == ("reddit.com:t1_k1", 3)
    assert by_text["b"].created_at == 1_600_000_050_000
    assert (prompt.id, prompt.site) == ("reddit.com:t3_abc12z", "reddit.com/r/askforum")
    assert prompt.url == "https://www.reddit.com/comments/abc12z/"


def test_shp2_rows_of_stackexchange(tmp_path: Path) -> None:
    row = shp(domain="stack_cooking_test", history="Title <sep> Body", post_id="12", score_A="3")
    row["created_at_utc_A"] = str(row["created_at_utc_A"])
    prompt, *responses = posts_of(read(tmp_path, row))
    assert (prompt.title, prompt.text, prompt.site) == ("Title", "Body", "pairs/stack_cooking")
    assert prompt.id == "pairs/stack_cooking:12"
    assert sorted(post.score for post in responses) == [3, 9]
    for sign in ({"domain": "stack_cooking_test"}, {"history": "Title <sep> Body"}):
        assert "reddit.com" not in posts_of(read(tmp_path, shp(**sign)))[0].id


@pytest.mark.parametrize(
    "wrong", [{"labels": 2}, {"labels": None}, {"score_A": "x"}, {"human_ref_A": None}]
)
def test_shp_rows_that_cannot_be_used(tmp_path: Path, wrong: dict[str, Any]) -> None:
    [rejected] = read(tmp_path, shp(**wrong))
    assert next(iter(wrong)) in rejected.detail


# Answer lists


def answers(*given: Any, **fields: Any) -> dict[str, Any]:
    return {
        "qid": 12,
        "question": "<p>How?</p>",
        "answers": list(given),
        "date": "2015/03/01",
        "metadata": [
            "https://cooking.stackexchange.com/questions/12",
            "https://cooking.stackexchange.com",
            "https://cooking.stackexchange.com/users/5/",
        ],
    } | fields


def scored(id: int, pm_score: int, selected: bool = False) -> dict[str, Any]:
    return {
        "answer_id": id,
        "author": f"user {id}",
        "author_id": id + 100,
        "author_profile": f"https://cooking.stackexchange.com/users/{id + 100}",
        "pm_score": pm_score,
        "selected": selected,
        "text": f"<p>answer {id}</p>",
    }


def test_answer_lists_are_threads_with_scores(tmp_path: Path) -> None:
    site = "cooking.stackexchange.com"
    prompt, first, second = read(tmp_path, answers(scored(1, 4, True), scored(2, -1)))
    assert (prompt.id, prompt.site, prompt.markup) == (f"{site}:12", site, "html")
    assert prompt.created_at == 1_425_168_000_000
    assert (prompt.author_id, prompt.url) == (f"{site}:u5", f"https://{site}/questions/12")
    assert prompt.accepted_response_id == first.id == f"{site}:1"
    assert (first.score, first.accepted, first.author) == (3, True, "user 1")
    assert (first.author_id, first.url) == (f"{site}:u101", f"https://{site}/a/1")
    assert (second.score, second.accepted, second.preferred_to) == (-1, False, None)


def test_bad_answers_leave_the_rest(tmp_path: Path) -> None:
    bad = [7, scored(3, 1) | {"pm_score": "x"}, {"answer_id": 4, "pm_score": 1}]
    items = read(tmp_path, answers(scored(1, 2), *bad, scored(2, 3)))
    assert len(posts_of(items)) == 3
    assert [item.id for item in rejects_of(items)] == [
        "set.jsonl:1/answers[1]",
        "cooking.stackexchange.com:3",
        "cooking.stackexchange.com:4",
    ]


def test_answer_lists_in_parquet_and_without_links(tmp_path: Path) -> None:
    row = answers(scored(1, 2), scored(2, 3), metadata=None, date=None)
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "set.parquet")
    items = list(read_preference_set(file_of(tmp_path / "set.parquet"), ReadRules()))
    assert items == read(tmp_path, row)
    assert [post.id for post in items] == ["pairs/set:12", "pairs/set:1", "pairs/set:2"]


# Datasets made here


def test_own_pairs_come_back(tmp_path: Path) -> None:
    parent = make.response(2, score=9)
    replies = [make.response(n, parent_id=parent.id, score=n, author_url=None) for n in (5, 6, 7)]
    deeper = [make.response(n, parent_id=replies[0].id, score=n) for n in (8, 9)]
    threads = [
        make.thread(1, parent, make.response(3, score=4), *replies, *deeper, tags=("x",)),
        make.thread(20),
    ]
    rows = [
        pair_row(thread, decision, "train", conversational=True)
        for thread in threads
        for decision in decide_pairs(thread, preset("all"))[0]
    ]
    assert len(rows) == 1 + 3 + 1 + 1
    expected = {(row.prompt, row.chosen, row.rejected) for row in rows}
    columns = [msgspec.structs.asdict(row) for row in rows]
    pq.write_table(
        pa.Table.from_pylist(msgspec.to_builtins(columns), PAIR_SCHEMA), tmp_path / "p.parquet"
    )
    items = list(read_preference_set(file_of(tmp_path / "p.parquet"), ReadRules()))
    assert rejects_of(items) == []
    assert relation(items) == expected
    below = {f"{threads[0].id}+2", f"{threads[0].id}+5"}
    assert {item for item in items if isinstance(item, SamePrompt)} == {
        SamePrompt(thread_id, threads[0].id) for thread_id in below
    }
    by_id = {post.id: post for post in posts_of(items)}
    originals = {post.id for thread in threads for post in (thread.prompt, *thread.responses)}
    assert set(by_id) == originals | below
    again, first = by_id[f"{make.SITE}:3"], threads[0].responses[1]
    assert (again.created_at, again.author, again.author_id) == (
        first.created_at,
        first.author,
        first.author_id,
    )
    assert (again.url, again.license, again.author_url) == (
        first.url,
        first.license,
        first.author_url,
    )
    assert by_id[f"{make.SITE}:5"].author_id is None
    assert (by_id[threads[0].id].tags, again.tags) == (("x",), ())


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "iso", "space"])
def test_own_pairs_come_back_from_an_export_to_json(tmp_path: Path, unit: str) -> None:
    rows = [
        msgspec.to_builtins(pair_row(thread, decision, "train"))
        for thread in [make.thread(1, make.response(2, score=9), make.response(3, score=4))]
        for decision in decide_pairs(thread, preset("all"))[0]
    ]
    times = [field.name for field in PAIR_SCHEMA if pa.types.is_timestamp(field.type)]
    assert len(times) >= 3
    for row in rows:
        row.update((name, row[name] + 1_700_000_000_123) for name in times)
    pq.write_table(pa.Table.from_pylist(rows, PAIR_SCHEMA), tmp_path / "p.parquet")
    expected = list(read_preference_set(file_of(tmp_path / "p.parquet"), ReadRules()))
    for row in rows:
        for name in times:
            ms = row[name]
            moment = datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC)
            row[name] = {
                "s": ms / 1000,
                "ms": ms,
                "us": ms * 1000,
                "ns": str(ms * 10**6),
                "iso": moment.isoformat(timespec="milliseconds"),
                "space": f"{moment:%Y-%m-%d %H:%M:%S.%f}000",
            }[unit]
    items = read(tmp_path, *rows, name="p.jsonl")
    assert rejects_of(items) == []
    assert items == expected


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("chosen_created_at", 17e9, "chosen_created_at: 17000000000.0: must be in the years"),
        ("prompt_created_at", "soon", "prompt_created_at: 'soon': must be ISO 8601"),
        ("chosen_is_accepted", "perhaps", "chosen_is_accepted: 'perhaps': must be true or false"),
        ("tags", "a,b", "tags: 'a,b': must be a list"),
        ("context_ids", [5], "context_ids: a list of 1: must be text"),
        ("site", 5, "site: 5: must be text"),
        ("chosen_score", float("inf"), "chosen_score: Infinity: must be a finite number"),
    ],
)
def test_messages_name_the_column_and_the_value(
    tmp_path: Path, name: str, value: Any, told: str
) -> None:
    [rejected] = read(tmp_path, OWN | {name: value})
    assert rejected.detail.startswith(told)
    assert (rejected.id, rejected.reason) == ("set.jsonl:1", Reason.BAD_VALUE)


def test_messages_name_the_column_of_the_file(tmp_path: Path) -> None:
    row = {"q": "Q", "chosen": "a", "rejected": "b", "points": "many"}
    columns = {"prompt": "q", "chosen_score": "points"}
    [rejected] = read(tmp_path, row, columns=columns)
    assert rejected.detail == "points: 'many': must be a number"
    [rejected] = read(tmp_path, row | {"chosen": None}, columns={"chosen": "good"})
    assert rejected.detail == "good is missing, and is needed"


def test_own_pairs_without_texts_say_what_to_do(tmp_path: Path) -> None:
    [row] = [
        pair_row(thread, decision, "train")
        for thread in [make.thread(1)]
        for decision in decide_pairs(thread, preset("all"))[0]
    ]
    columns = {name: getattr(row, name) for name in PAIR_IDS_SCHEMA.names}
    pq.write_table(pa.Table.from_pylist([columns], PAIR_IDS_SCHEMA), tmp_path / "p.parquet")
    [rejected] = read_preference_set(file_of(tmp_path / "p.parquet"), ReadRules())
    assert "forumprefs hydrate" in rejected.detail


# Any row

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats()
    | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "text", "answer_id"]), inner)
    ),
    max_leaves=5,
)
OWN = {
    "pair_id": "p",
    "site": "f.example",
    "thread_id": "f.example:1",
    "prompt_id": "f.example:1",
    "chosen_id": "f.example:2",
    "rejected_id": "f.example:3",
    "prompt": "Q",
    "chosen": "a",
    "rejected": "b",
    "context_ids": [],
    "tags": [],
}
SHAPES = [
    {"prompt": "Q", "chosen": "a", "rejected": "b"},
    {"chosen": [*ASK, GOOD], "rejected": [*ASK, POOR], "metadata": []},
    shp(),
    answers(scored(1, 2), scored(2, 1)),
    OWN,
]


@settings(max_examples=120)
@given(st.sampled_from(SHAPES), st.data())
def test_nothing_in_a_row_raises(shape: dict[str, Any], data: Any) -> None:
    row = dict(shape)
    for _ in range(data.draw(st.integers(1, 3))):
        row[data.draw(st.sampled_from([*shape, "site", "title", "license", "url"]))] = data.draw(
            anything
        )
    try:
        parsed = read_row(row, ORIGIN)
    except SetRowError as error:
        assert error.reason in (Reason.BAD_VALUE, Reason.MISSING_FIELD) and error.detail
        return
    posts = [parsed.prompt]
    posts += [*parsed.responses] if hasattr(parsed, "responses") else [parsed.better, parsed.worse]
    for post in posts:
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(post), type=Post) == post
        assert post.thread_id == parsed.prompt.id and ":" not in post.site
        post.text.encode()


@given(st.lists(st.text("abc \n", min_size=1).map(str.strip).filter(bool), min_size=1, max_size=5))
def test_transcripts_and_messages_say_the_same(turns: list[str]) -> None:
    turns = turns[: len(turns) - (len(turns) + 1) % 2]  # ends with the human's turn
    messages = [
        message("assistant" if place % 2 else "user", turn) for place, turn in enumerate(turns)
    ]
    as_text = split_conversation(None, hh(*turns, "so"), hh(*turns, "no"))
    as_list = split_conversation(None, [*messages, GOOD], [*messages, POOR])
    assert as_text == as_list == (turns, "so", "no")


@pytest.mark.skipif(not HH.is_file(), reason="real preference sets are not beside this checkout")
def test_real_hh_rlhf() -> None:
    items = list(read_preference_set(file_of(HH), ReadRules()))
    with gzip.open(HH) as lines:
        rows = [json.loads(line) for line in lines]
    rejected = rejects_of(items)
    assert len(posts_of(items)) == 3 * (len(rows) - len(rejected))
    assert {item.detail for item in rejected} == {"chosen and rejected answer different prompts"}
    assert len(rejected) < len(rows) / 400
    for post in posts_of(items):
        assert "\n\nAssistant:" not in post.text
    pairs = relation(items)
    for row in rows[:200]:
        answer = row["chosen"].rpartition("\n\nAssistant:")[2].strip()
        other = row["rejected"].rpartition("\n\nAssistant:")[2].strip()
        question = row["chosen"].split("\n\nHuman: ")[-1].partition("\n\nAssistant:")[0].strip()
        assert any(
            prompt.endswith(question) and (chosen, poor) == (answer, other)
            for prompt, chosen, poor in pairs
        )
