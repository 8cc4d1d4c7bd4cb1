"""Reddit dumps of every year: each record is a Post or a reject, and says what it said."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from schemas.audit import Reason, Rejected
from schemas.post import Post, RemovedAs
from transforms.readers.base import ForumFile, Item, ReadRules, SamePrompt
from transforms.readers.reddit.reader import LICENSE, REDDIT, read_reddit, unusable_month
from transforms.readers.reddit.rows import is_bot, to_ms, unescape

SECOND = 1000
DEEP = ReadRules(reply_depth=9)


def comment_of(year: int) -> dict[str, Any]:
    """A comment with the fields of a year, as far as they are used or like those that are."""
    created = (year - 1970) * 31_557_600
    row: dict[str, Any] = {
        "id": "c2715",
        "link_id": "t3_22569",
        "parent_id": "t3_22569",
        "subreddit": "AskMen",
        "subreddit_id": "t5_6",
        "author": "some_one",
        "body": "I would say &gt; 3 &amp;amp; a half",
        "score": 7,
        "created_utc": created,
        "edited": False,
        "distinguished": None,
        "controversiality": 0,
        "retrieved_on": created + 40 * 86_400,
    }
    if year < 2016:
        row |= {"ups": 7, "downs": 0, "archived": True}
    if 2007 < year < 2015:
        row |= {"created_utc": str(created), "score_hidden": False, "name": "t1_c2715"}
    if year >= 2016:
        row |= {"stickied": False, "permalink": "/r/AskMen/comments/22569/why_so/c2715/"}
    if year == 2021:
        row["retrieved_utc"] = row.pop("retrieved_on")
    if year >= 2021:
        row |= {"score_hidden": False, "collapsed_reason_code": None, "all_awardings": []}
    if year >= 2023:
        row["_meta"] = {"retrieved_2nd_on": created + 36 * 3600}
        row["retrieved_on"] = created + 5
        row = dict(sorted(row.items()))
    return row


def submission_of(year: int) -> dict[str, Any]:
    """A submission with the fields of a year."""
    created = (year - 1970) * 31_557_600
    row: dict[str, Any] = {
        "id": "5yba0",
        "subreddit": "AskMen",
        "author": "some_one",
        "title": "Fish &amp; chips &lt;3",
        "selftext": "Which? &gt; one",
        "is_self": True,
        "url": "https://www.reddit.com/r/AskMen/comments/5yba0/fish/",
        "permalink": "/r/AskMen/comments/5yba0/fish/",
        "score": 12,
        "created_utc": created,
        "edited": False,
        "over_18": False,
        "stickied": False,
        "distinguished": None,
        "link_flair_text": None,
        "num_comments": 3,
        "media_embed": {},
        "retrieved_on": created + 40 * 86_400,
    }
    if year in (2006, 2014):
        row["created_utc"] = str(created)
    if year >= 2014:
        row["hide_score"] = False
    if year >= 2020:
        row |= {"removed_by_category": None, "upvote_ratio": 0.9}
    if year == 2021:
        row["retrieved_utc"] = row.pop("retrieved_on")
    if year >= 2023:
        row["_meta"] = {"retrieved_2nd_on": created + 36 * 3600}
        row["retrieved_on"] = created + 5
    return row


COMMENT_YEARS = (2006, 2008, 2013, 2016, 2018, 2021, 2023)
SUBMISSION_YEARS = (2006, 2012, 2014, 2018, 2021, 2023)


def seen_at(year: int) -> int:
    created = (year - 1970) * 31_557_600
    return (created + (36 * 3600 if year >= 2023 else 40 * 86_400)) * SECOND


def lines_of(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reddit")


def read_bytes(
    folder: Path, data: bytes, rules: ReadRules = DEEP, name: str = "RC_2019-06.json"
) -> list[Item]:
    path = folder / name
    path.write_bytes(data)
    file = ForumFile(kind="reddit", site="", path=str(path), size=len(data))
    return list(read_reddit(file, rules))


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def reader(*rows: Any, rules: ReadRules = DEEP) -> list[Item]:
        return read_bytes(tmp_path, lines_of(*rows), rules)

    return reader


@pytest.fixture
def post(read: Any) -> Any:
    def reader(row: dict[str, Any]) -> Post:
        (found,) = read(row)
        assert isinstance(found, Post), found
        return found

    return reader


@pytest.fixture
def rejected(read: Any) -> Any:
    def reader(row: dict[str, Any]) -> Rejected:
        (found,) = read(row)
        assert isinstance(found, Rejected), found
        return found

    return reader


@pytest.mark.parametrize("year", COMMENT_YEARS)
def test_comments_of_every_year(post: Any, year: int) -> None:
    slug = "why_so" if year >= 2016 else "_"
    assert post(comment_of(year)) == Post(
        id="reddit.com:t1_c2715",
        thread_id="reddit.com:t3_22569",
        source="reddit",
        site="reddit.com/r/AskMen",
        url=f"https://www.reddit.com/r/AskMen/comments/22569/{slug}/c2715/",
        text="I would say > 3 &amp; a half",
        markup="markdown",
        created_at=(year - 1970) * 31_557_600 * SECOND,
        score=7,
        score_seen_at=seen_at(year),
        author_id="reddit.com:usome_one",
        author="some_one",
        author_url="https://www.reddit.com/user/some_one",
        license=LICENSE,
    )


@pytest.mark.parametrize("year", SUBMISSION_YEARS)
def test_submissions_of_every_year(post: Any, year: int) -> None:
    assert post(submission_of(year)) == Post(
        id="reddit.com:t3_5yba0",
        thread_id="reddit.com:t3_5yba0",
        source="reddit",
        site="reddit.com/r/AskMen",
        url="https://www.reddit.com/r/AskMen/comments/5yba0/fish/",
        title="Fish & chips <3",
        text="Which? > one",
        markup="markdown",
        created_at=(year - 1970) * 31_557_600 * SECOND,
        score=12,
        score_seen_at=seen_at(year),
        author_id="reddit.com:usome_one",
        author="some_one",
        author_url="https://www.reddit.com/user/some_one",
        license=LICENSE,
    )


def test_a_reply_names_its_parent(post: Any) -> None:
    found = post(comment_of(2016) | {"parent_id": "t1_c99"})
    assert found.parent_id == "reddit.com:t1_c99"
    assert found.thread_id == "reddit.com:t3_22569"


def test_replies_are_too_deep_where_only_responses_are_wanted(read: Any) -> None:
    reply = comment_of(2016) | {"id": "c3", "parent_id": "t1_c2715"}
    first, second = read(comment_of(2016), reply, rules=ReadRules())
    assert isinstance(first, Post)
    assert isinstance(second, Rejected)
    assert second == Rejected(
        id="reddit.com:t1_c3", stage=second.stage, reason=Reason.TOO_DEEP, detail=""
    )


def test_comments_and_submissions_may_be_mixed_under_any_name(tmp_path: Path) -> None:
    data = lines_of(submission_of(2018), comment_of(2018), submission_of(2006))
    found = read_bytes(tmp_path, data, name="AskMen_comments.json")
    assert [item.is_prompt for item in found if isinstance(item, Post)] == [True, False, True]


def test_the_licence_of_the_user_counts(tmp_path: Path) -> None:
    rules = ReadRules(licenses={"reddit": "CC0-1.0"})
    (found,) = read_bytes(tmp_path, lines_of(comment_of(2016)), rules)
    assert isinstance(found, Post)
    assert found.license == "CC0-1.0"


# Values


@pytest.mark.parametrize(
    "value",
    [
        *(1_500_000_000, 1_500_000_000.0, "1500000000", "1500000000.0", 1_500_000_000.25),
        *("2017-07-14T02:40:00Z", "2017-07-14 04:40:00+02:00", "1500000000000"),
    ],
)
def test_times_of_any_type(post: Any, value: object) -> None:
    found = post(comment_of(2016) | {"created_utc": value, "edited": value, "retrieved_on": value})
    for time in (found.created_at, found.edited_at, found.score_seen_at):
        assert time in (1_500_000_000_000, 1_500_000_000_250)


@pytest.mark.parametrize(
    "value",
    [
        *("", "x", "nan", "inf", "-inf", "1e400", "²", "9" * 5000),
        *(-1, 0, 7_258_118_400, 1e300, 10**400, 10**4000),
    ],
)
def test_no_times(rejected: Any, post: Any, value: object) -> None:
    found = rejected(comment_of(2016) | {"created_utc": value})
    assert found.id == "reddit.com:t1_c2715"
    assert found.reason == Reason.BAD_VALUE
    assert "created_utc" in found.detail
    assert len(found.detail) < 100
    assert post(comment_of(2016) | {"retrieved_on": value}).score_seen_at is None
    edited = post(comment_of(2016) | {"edited": value})
    assert edited.edited_at == edited.created_at


@given(
    st.one_of(
        st.none(),
        st.integers(),
        st.floats(),
        st.text(max_size=30),
        st.integers().map(str),
        st.floats().map(str),
    )
)
def test_a_time_is_between_1970_and_2200_or_none(value: Any) -> None:
    ms = to_ms(value)
    assert ms is None or 0 <= ms < 7_258_118_400_000
    if isinstance(value, int) and 0 < value < 7_258_118_400:
        assert ms == value * 1000 == to_ms(str(value))


@pytest.mark.parametrize(
    ("edited", "expected"),
    [(False, None), (None, None), (True, "created"), (1.4e9, 1_400_000_000_000)],
)
def test_edits(post: Any, edited: object, expected: object) -> None:
    found = post(comment_of(2016) | {"edited": edited})
    assert found.edited_at == (found.created_at if expected == "created" else expected)


def test_an_edit_between_two_fetches_is_an_edit(post: Any) -> None:
    row = comment_of(2023)
    found = post(row | {"_meta": row["_meta"] | {"is_edited": True}})
    assert found.edited_at == found.created_at


@pytest.mark.parametrize(("score", "expected"), [(-5, -5), (3.0, 3), (2**63 - 1, 2**63 - 1)])
def test_scores(post: Any, score: object, expected: int) -> None:
    found = post(comment_of(2016) | {"score": score})
    assert found.score == expected
    assert type(found.score) is int
    assert (found.upvotes, found.downvotes) == (None, None)


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        (None, Reason.MISSING_FIELD),
        (2**63, Reason.BAD_VALUE),
        (-(2**63) - 1, Reason.BAD_VALUE),
        (10**4000, Reason.BAD_VALUE),
        (1e300, Reason.BAD_VALUE),
        (1.5, Reason.BAD_VALUE),
        ("1", Reason.BAD_VALUE),
        (True, Reason.BAD_VALUE),
    ],
)
def test_no_scores(rejected: Any, score: object, reason: Reason) -> None:
    for row in (comment_of(2018), submission_of(2018)):
        found = rejected(row | {"score": score})
        assert (found.reason, found.record) == (reason, "post")
        assert found.id in ("reddit.com:t1_c2715", "reddit.com:t3_5yba0")
        assert "score" in found.detail


@pytest.mark.parametrize(
    ("meta", "first", "expected"),
    [
        ({"retrieved_2nd_on": 1_700_000_100}, 1_700_000_000, 1_700_000_100_000),
        ({"retrieved_2nd_on": "1700000100"}, 1_700_000_000, 1_700_000_100_000),
        ({"note": "no_2nd_retrieval"}, 1_700_000_000, 1_700_000_000_000),
        (
            {"note": "no_2nd_retrieval", "retrieved_2nd_on": 1_700_000_100},
            1_700_000_000,
            1_700_000_000_000,
        ),
        (
            {"note": "initially_unavailable", "retrieved_2nd_on": 1_700_000_100},
            None,
            1_700_000_100_000,
        ),
        ({}, 1_700_000_000, 1_700_000_000_000),
        (None, None, None),
    ],
)
def test_when_the_score_was_seen(post: Any, meta: object, first: object, expected: object) -> None:
    found = post(comment_of(2023) | {"_meta": meta, "retrieved_on": first})
    assert found.score_seen_at == expected


@pytest.mark.parametrize("field", ["score_hidden", "hide_score"])
def test_hidden_scores(post: Any, field: str) -> None:
    assert post(submission_of(2018) | {field: True}).score_hidden
    assert not post(submission_of(2018) | {field: None}).score_hidden


# Authors


@pytest.mark.parametrize("author", ["[deleted]", "[removed]", "", None])
def test_without_an_author(post: Any, author: object) -> None:
    found = post(comment_of(2013) | {"author": author})
    assert (found.author_id, found.author, found.author_url) == (None, "", None)
    assert found.removed_as is None
    row = submission_of(2012)
    del row["author"]
    assert post(row).author_id is None


def test_urls_of_odd_names_are_quoted(post: Any) -> None:
    found = post(comment_of(2006) | {"author": "a b/ü"})
    assert found.author_url == "https://www.reddit.com/user/a%20b%2F%C3%BC"
    assert found.author_id == "reddit.com:ua b/ü"


@pytest.mark.parametrize("value", ["moderator", "admin", "special"])
def test_staff(post: Any, value: str) -> None:
    assert post(comment_of(2018) | {"distinguished": value}).by_staff
    assert post(submission_of(2018) | {"distinguished": value}).by_staff
    assert not post(comment_of(2018) | {"distinguished": "gold"}).by_staff


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AutoModerator", True),
        ("RemindMeBot", True),
        ("gifv-bot", True),
        ("user_BOT", True),
        ("B0Bot", True),
        ("sneakpeekbot", True),
        ("autotldr", True),
        ("Talbot", False),
        ("TALBOT", False),
        ("robot", False),
        ("RoBOT", False),
        ("Bot", False),
        ("ABot", False),
        ("automoderator_fan", False),
        ("botanist", False),
        ("", False),
    ],
)
def test_bots(post: Any, name: str, expected: bool) -> None:
    assert is_bot(name) is expected
    assert post(comment_of(2018) | {"author": name}).by_bot is expected


def test_pinned_and_adult(post: Any) -> None:
    found = post(submission_of(2018) | {"stickied": True, "over_18": True})
    assert (found.pinned, found.nsfw) == (True, True)
    assert post(comment_of(2018) | {"stickied": True}).pinned


# Texts


@given(st.text(st.sampled_from("&;<>ampltgq# x"), max_size=30))
def test_unescape_undoes_what_the_api_does(text: str) -> None:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert unescape(escaped) == text


def test_other_entities_are_text() -> None:
    assert unescape("&quot; &#39; &nbsp; &amp;lt; AT&T") == "&quot; &#39; &nbsp; &lt; AT&T"


def test_links(post: Any) -> None:
    row = submission_of(2018) | {
        "is_self": False,
        "selftext": "",
        "url": "https://example.com/?a=1&amp;b=2",
    }
    found = post(row)
    assert (found.is_link, found.text) == (True, "https://example.com/?a=1&b=2")
    found = post(row | {"selftext": "Because &gt;"})
    assert found.text == "https://example.com/?a=1&b=2\n\nBecause >"
    assert post(row | {"url": None, "selftext": "x"}).text == "x"
    assert not post(row | {"is_self": None}).is_link


def test_flair_is_a_tag(post: Any) -> None:
    assert post(submission_of(2018) | {"link_flair_text": " Q&amp;A "}).tags == ("Q&A",)
    assert post(submission_of(2018) | {"link_flair_text": " "}).tags == ()


def test_crossposts_ask_the_same(read: Any) -> None:
    found = read(submission_of(2018) | {"crosspost_parent": "t3_abc"})
    assert isinstance(found[0], Post)
    assert found[1:] == [SamePrompt("reddit.com:t3_5yba0", "reddit.com:t3_abc")]
    assert len(read(submission_of(2018) | {"crosspost_parent": "t3_5yba0"})) == 1
    assert len(read(submission_of(2018) | {"crosspost_parent": None})) == 1


@pytest.mark.parametrize(
    ("subreddit", "site"),
    [
        ("u_some_one", "reddit.com/r/u_some_one"),
        ("reddit.com", "reddit.com/r/reddit.com"),
        ("t:2012", "reddit.com/r/t:2012"),
    ],
)
def test_odd_communities(post: Any, subreddit: str, site: str) -> None:
    assert post(comment_of(2018) | {"subreddit": subreddit}).site == site


@pytest.mark.parametrize(
    "permalink", [None, "", "comments/22569", "//example.com/x", "javascript:alert(1)"]
)
def test_links_to_posts_are_made_where_there_is_none(post: Any, permalink: object) -> None:
    found = post(comment_of(2018) | {"permalink": permalink})
    assert found.url == "https://www.reddit.com/r/AskMen/comments/22569/_/c2715/"
    found = post(submission_of(2018) | {"permalink": permalink})
    assert found.url == "https://www.reddit.com/r/AskMen/comments/5yba0/"


def test_links_to_posts_in_profiles(post: Any) -> None:
    found = post(submission_of(2018) | {"permalink": "/user/a/comments/5yba0/x/"})
    assert found.url == "https://www.reddit.com/user/a/comments/5yba0/x/"


# What is gone


@pytest.mark.parametrize(
    ("text", "removed_as"),
    [
        ("[deleted]", RemovedAs.DELETED),
        ("[deleted by user]", RemovedAs.DELETED),
        ("[removed]", RemovedAs.REMOVED),
        ("[ Removed by Reddit ]", RemovedAs.REMOVED),
        (
            "[ Removed by reddit in response to a copyright notice. ]",
            RemovedAs.REMOVED,
        ),
    ],
)
def test_sentinels(post: Any, text: str, removed_as: RemovedAs) -> None:
    found = post(comment_of(2018) | {"body": text})
    assert (found.removed_as, found.text) == (removed_as, "")
    found = post(submission_of(2018) | {"selftext": text})
    assert (found.removed_as, found.text) == (removed_as, "")
    found = post(submission_of(2018) | {"title": text})
    assert found.removed_as == removed_as
    assert post(comment_of(2018) | {"body": f"They said {text}"}).removed_as is None
    assert post(comment_of(2018) | {"body": f"{text} they said"}).removed_as is None


@pytest.mark.parametrize(
    ("category", "removed_as", "title"),
    [
        ("deleted", RemovedAs.DELETED, ""),
        ("author", RemovedAs.DELETED, ""),
        ("moderator", RemovedAs.REMOVED, "Fish & chips <3"),
        ("reddit", RemovedAs.REMOVED, "Fish & chips <3"),
        ("copyright_takedown", RemovedAs.REMOVED, "Fish & chips <3"),
    ],
)
def test_what_was_taken_back_does_not_go_on(
    post: Any, category: str, removed_as: RemovedAs, title: str
) -> None:
    found = post(submission_of(2021) | {"removed_by_category": category})
    assert (found.removed_as, found.text, found.title) == (removed_as, "", title)
    meta = {"was_deleted_later": True, "removal_type": category}
    for row in (submission_of(2023), comment_of(2023)):
        found = post(row | {"_meta": row["_meta"] | meta})
        assert (found.removed_as, found.text) == (removed_as, "")
    without_type = {"was_deleted_later": True}
    assert post(comment_of(2023) | {"_meta": without_type}).removed_as is RemovedAs.DELETED


def test_what_was_restored_is_there(post: Any) -> None:
    meta = {"was_initially_deleted": True, "removal_type": "reddit", "retrieved_2nd_on": 1.7e9}
    found = post(submission_of(2023) | {"_meta": meta, "removed_by_category": "reddit"})
    assert (found.removed_as, found.text) == (None, "Which? > one")


# What is no Post


def test_advertisements_are_no_questions(rejected: Any) -> None:
    found = rejected(submission_of(2018) | {"promoted": True})
    assert found.reason == Reason.NOT_A_QUESTION_OR_ANSWER
    assert found.id == "reddit.com:t3_5yba0"


@pytest.mark.parametrize("field", ["id", "created_utc", "score", "subreddit", "link_id"])
def test_missing_fields_of_comments(rejected: Any, field: str) -> None:
    row = comment_of(2018)
    for value in ({}, {field: None}):
        found = rejected({key: row[key] for key in row if key != field} | value)
        assert found.reason == Reason.MISSING_FIELD
        assert field in found.detail
        named = "RC_2019-06.json:1" if field == "id" else "reddit.com:t1_c2715"
        assert found.id == named


def test_a_comment_without_text_or_place_is_missing_it(rejected: Any) -> None:
    row = comment_of(2018)
    del row["parent_id"]
    for found, field in (
        (rejected(comment_of(2018) | {"body": None}), "body"),
        (rejected(comment_of(2018) | {"parent_id": ""}), "parent_id"),
        (rejected(row), "parent_id"),
    ):
        assert (found.reason, found.id) == (Reason.MISSING_FIELD, "reddit.com:t1_c2715")
        assert field in found.detail


@pytest.mark.parametrize(
    ("link", "parent", "expected"),
    [
        ("t3_2s0a", None, None),  # null: it answers the submission
        ("t3_2s0a", "t3_2s0a", None),
        ("t3_2s0a", "2s0a", None),
        ("t3_2s0a", int("2s0a", 36), None),
        ("2s0a", "t3_2s0a", None),
        (int("2s0a", 36), None, None),
        (float(int("2s0a", 36)), None, None),
        ("t3_2s0a", 28, "t1_s"),  # numbers are to base 10
        ("t3_2s0a", 28.0, "t1_s"),
        ("t3_2s0a", 37_000_000_123, "t1_gzwuet7"),
        ("t3_2s0a", "c99", "t1_c99"),
        ("t3_2s0a", "t1_28", "t1_28"),
    ],
)
def test_where_a_comment_of_an_api_stands(
    read: Any, link: object, parent: object, expected: str | None
) -> None:
    row = comment_of(2018) | {"link_id": link, "parent_id": parent}
    [found] = read(row)
    assert found.thread_id == "reddit.com:t3_2s0a"
    assert found.parent_id == (None if expected is None else f"reddit.com:{expected}")
    [flat] = read(row, rules=ReadRules())
    assert isinstance(flat, Post) if expected is None else flat.reason == Reason.TOO_DEEP


def test_without_a_title_it_is_nothing(rejected: Any) -> None:
    found = rejected(submission_of(2018) | {"title": None})
    assert (found.reason, found.id) == (Reason.MISSING_FIELD, "reddit.com:t3_5yba0")
    assert rejected({}).id == "RC_2019-06.json:1"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "a/b"),
        ("id", ""),
        ("id", "x" * 50),
        ("id", "ñ"),
        ("link_id", "22569"),
        ("link_id", "t3_"),
        ("link_id", "t1_22569"),
        ("parent_id", "t1_"),
        ("parent_id", "t3_other"),
        ("parent_id", "99"),  # digits without a prefix may be a number to base 10 or 36
        ("parent_id", -5),
        ("parent_id", 1.5),
        ("parent_id", 0),
        ("link_id", 1e300),
        ("link_id", -1),
        ("subreddit", "a b"),
        ("subreddit", ""),
        ("subreddit", "x" * 99),
    ],
)
def test_values_that_are_none(rejected: Any, field: str, value: object) -> None:
    found = rejected(comment_of(2018) | {field: value})
    assert found.reason == Reason.BAD_VALUE
    assert field in found.detail
    assert found.id == ("RC_2019-06.json:1" if field == "id" else "reddit.com:t1_c2715")


@pytest.mark.parametrize("field", ["body", "author", "permalink", "stickied", "_meta", "edited"])
def test_values_of_wrong_types_name_the_field_and_the_post(rejected: Any, field: str) -> None:
    for value in ([1], {"x": 1} if field != "_meta" else 5):
        found = rejected(comment_of(2018) | {field: value})
        assert (found.id, found.reason) == ("reddit.com:t1_c2715", Reason.BAD_VALUE)
        assert f"$.{field}" in found.detail
    found = rejected(submission_of(2018) | {"title": 5})
    assert (found.id, found.reason) == ("reddit.com:t3_5yba0", Reason.BAD_VALUE)
    assert rejected(comment_of(2018) | {"id": 5}).id == "RC_2019-06.json:1"


# Answers of APIs


def listing(*children: tuple[str, Any]) -> dict[str, Any]:
    data = {"after": None, "children": [{"kind": kind, "data": row} for kind, row in children]}
    return {"kind": "Listing", "data": data}


def ids_of(items: list[Item]) -> list[str]:
    return [item.id.removeprefix("reddit.com:") for item in items]


ONE, TWO = comment_of(2018) | {"id": "c1"}, submission_of(2018) | {"id": "s2"}
ANSWERS = {
    "a list": [ONE, TWO],
    "data": {"data": [ONE, TWO], "metadata": {"total_results": 2}},
    "a listing": listing(("t1", ONE), ("t3", TWO)),
    "two listings": [listing(("t1", ONE)), listing(("t3", TWO))],
    "replies": listing(("t1", ONE | {"replies": listing(("t3", TWO | {"replies": ""}))})),
    "data inside data": {"data": {"data": [ONE, TWO]}},
    "more": listing(("t1", ONE), ("more", {"id": "c9", "children": ["c9"]}), ("t3", TWO)),
}


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("end", ["json", "jsonl"])
def test_answers_of_apis_are_read(tmp_path: Path, name: str, indent: int | None, end: str) -> None:
    data = json.dumps(ANSWERS[name], indent=indent).encode()
    for content in (data, b"\xef\xbb\xbf\n" + data + b"\n\n"):
        found = read_bytes(tmp_path, content, name=f"a.{end}")
        assert ids_of(found) == ["t1_c1", "t3_s2"]
        assert all(isinstance(item, Post) for item in found)


def test_a_list_of_one_record_a_line_is_read(tmp_path: Path) -> None:
    rows = [json.dumps(comment_of(2018) | {"id": f"c{index}"}) for index in range(3)]
    for before, after in (("[", "]"), ('{"data": [', "]}"), ('{"data":\n[', "]\n}")):
        data = f"{before}\n" + ",\n".join(rows) + f"\n{after}\n"
        assert ids_of(read_bytes(tmp_path, data.encode())) == ["t1_c0", "t1_c1", "t1_c2"]
    assert ids_of(read_bytes(tmp_path, f"[\n{rows[0]}\n]".encode())) == ["t1_c0"]


def test_answers_may_stand_a_line_each(read: Any) -> None:
    found = read(*ANSWERS.values(), {"data": []}, [], comment_of(2018))
    assert ids_of(found) == [*["t1_c1", "t3_s2"] * len(ANSWERS), "t1_c2715"]


def test_the_first_line_costs_no_other(tmp_path: Path) -> None:
    good = lines_of(ONE, TWO)
    for first in (
        b"[]",
        b"[1,",
        b"{",
        b'{"a": [',
        b'{"data": [',
        b"[1]",
        b"[" + b"1," * 50_000 + b"1]",
    ):
        found = read_bytes(tmp_path, first + b"\n" + good)
        assert ids_of([item for item in found if isinstance(item, Post)]) == ["t1_c1", "t3_s2"]


def test_what_is_wrong_in_an_answer_costs_no_other_record(tmp_path: Path) -> None:
    bad = comment_of(2018) | {"id": "c3", "score": "x"}
    found = read_bytes(tmp_path, json.dumps({"data": [ONE, 5, bad, None, TWO]}).encode())
    assert ids_of([item for item in found if isinstance(item, Post)]) == ["t1_c1", "t3_s2"]
    rejects = [(item.reason, item.record) for item in found if isinstance(item, Rejected)]
    assert rejects == [(Reason.BAD_VALUE, "post")] * 3


@pytest.mark.parametrize("cut", [0.2, 0.8, 0.99])
def test_an_answer_that_breaks_off_is_one_fault_of_the_file(tmp_path: Path, cut: float) -> None:
    data = json.dumps(ANSWERS["data"], indent=1).encode()
    [found] = read_bytes(tmp_path, data[: int(len(data) * cut)])
    assert (found.reason, found.record) == (Reason.TRUNCATED_FILE, "file")


def test_an_answer_that_is_an_error_has_no_record(rejected: Any) -> None:
    found = rejected({"data": None, "error": "Too many requests"})
    assert (found.reason, found.id) == (Reason.MISSING_FIELD, "RC_2019-06.json:1")


def original(**fields: Any) -> dict[str, Any]:
    return {
        "crosspost_parent_list": [submission_of(2018) | fields],
        "is_self": False,
        "selftext": "",
        "url": "/r/other/comments/abc/x/",
    }


def test_a_crosspost_has_the_text_of_its_original(post: Any) -> None:
    found = post(submission_of(2018) | original(is_self=True, selftext="Why &gt; so?"))
    assert (found.text, found.is_link) == ("Why > so?", False)
    assert post(submission_of(2018) | original() | {"selftext": "My own."}).text.endswith("My own.")


@pytest.mark.parametrize("marked", [True, False])
def test_a_crosspost_is_as_safe_as_its_original(post: Any, marked: bool) -> None:
    found = post(submission_of(2018) | original(selftext="Why?", over_18=marked))
    assert found.nsfw is marked
    assert post(submission_of(2018) | original(selftext="Why?", over_18="no")).nsfw is False


@pytest.mark.parametrize(
    "fields",
    [
        {"selftext": "[removed]"},
        {"selftext": "[deleted]"},
        {"selftext": "Gone.", "removed_by_category": "moderator"},
        {"selftext": ""},
        {"selftext": None},
        {"selftext": 5},
    ],
)
def test_a_crosspost_of_nothing_stays_a_link(post: Any, fields: dict[str, Any]) -> None:
    found = post(submission_of(2018) | original(**fields))
    assert (found.text, found.is_link) == ("/r/other/comments/abc/x/", True)


@pytest.mark.parametrize("value", [None, [], [None], [5], "x", {}, 7])
def test_odd_lists_of_originals_cost_nothing(post: Any, value: object) -> None:
    row = submission_of(2018) | original() | {"crosspost_parent_list": value}
    assert post(row).text == "/r/other/comments/abc/x/"


# Anything at all

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
FIELDS = sorted({*comment_of(2023), *submission_of(2023), "promoted", "crosspost_parent"})
records = st.builds(
    lambda row, changes: row | changes,
    st.one_of(
        st.sampled_from(COMMENT_YEARS).map(comment_of),
        st.sampled_from(SUBMISSION_YEARS).map(submission_of),
    ),
    st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=3),
)
hostile_lines = st.one_of(
    st.binary(max_size=50).map(lambda data: b"{" + data.replace(b"\n", b"").replace(b"\r", b"")),
    st.tuples(records, st.integers(0, 400)).map(lambda cut: lines_of(cut[0])[: cut[1]].strip()),
    st.just(b'{"body":"\\ud83d", "id":"a", "link_id":"t3_b"}'),
    records.map(lambda row: lines_of(row).strip()),
)


@given(st.lists(hostile_lines, max_size=8), st.sampled_from([ReadRules(), DEEP]))
def test_every_line_is_a_post_or_a_reject(
    folder: Path, lines: list[bytes], rules: ReadRules
) -> None:
    lines = [line for line in lines if line]
    data = b"".join(line + b"\n" for line in lines)
    found = read_bytes(folder, b" " + data if data else b"", rules)
    posts = [item for item in found if isinstance(item, Post)]
    rejects = [item for item in found if isinstance(item, Rejected)]
    assert len(posts) + sum(item.record == "post" for item in rejects) == len(lines)
    for post in posts:
        assert post.created_at > 0
        assert -(2**63) <= post.score < 2**63
        assert post.url.startswith("https://www.reddit.com/")
        assert post.id.startswith("reddit.com:t")
        for text in (post.id, post.text, post.title, post.author, post.url, *post.tags):
            text.encode()
    for reject in rejects:
        assert (reject.id + reject.detail).encode()


def test_a_truncated_dump_gives_what_came_before(tmp_path: Path) -> None:
    rows = [comment_of(2018) | {"id": f"c{i}", "body": str(i**9)} for i in range(5000)]
    for name, data in (
        ("RC_2018-01.gz", gzip.compress(lines_of(*rows), mtime=0)),
        ("RC_2018-01.zst", zstandard.compress(lines_of(*rows))),
    ):
        *before, last = read_bytes(tmp_path, data[: len(data) * 2 // 3], name=name)
        assert isinstance(last, Rejected)
        assert (last.id, last.reason, last.record) == (name, Reason.TRUNCATED_FILE, "file")
        posts = [item for item in before if isinstance(item, Post)]
        assert len(before) - len(posts) <= 1
        assert len(posts) > 1000
        assert [item.id for item in posts] == [f"reddit.com:t1_c{i}" for i in range(len(posts))]


# Files


@pytest.mark.parametrize(
    "name",
    [
        "RC_2023-08.zst",
        "RS_2023-09.zst",
        "rc_2023-10.bz2",
        "RS_2024-03.zst",
        "RS_2024-03",
    ],
)
def test_unusable_months(name: str) -> None:
    message = unusable_month(name)
    assert message is not None
    assert name[3:10] in message
    assert REDDIT.refuse(name) == message


@pytest.mark.parametrize(
    "name",
    [
        "RC_2023-07.zst",
        "RC_2023-11.zst",
        "RC_2024-03.zst",
        "RS_2024-04.zst",
        "AskMen_comments.zst",
        "x_RC_2023-08.zst",
    ],
)
def test_usable_months(name: str) -> None:
    assert unusable_month(name) is None


def test_the_source() -> None:
    assert REDDIT.kind == "reddit"
    assert REDDIT.read_file is read_reddit
    assert not REDDIT.publishable
    for name in ("RC_2006-01.bz2", "RS_2019-01.xz", "AskMen_comments.zst", "x.gz", "x.ndjson"):
        assert name.endswith(REDDIT.suffixes)
    assert not "readme.txt".endswith(REDDIT.suffixes)


# Real dumps

REAL = Path(__file__).parents[2] / "shared" / "data" / "reddit"
needs_reddit = pytest.mark.skipif(
    not REAL.is_dir(), reason="real Reddit dumps are not beside this checkout"
)
LINES = {
    "RC_2005-12.zst": 1075,
    "RC_2006-01.bz2": 3666,
    "RC_2006-02.bz2": 9095,
    "RC_2006-03.bz2": 13859,
    "RS_2006-01.bz2": 145,
    "RS_2006-02.bz2": 427,
    "RS_2006-03.bz2": 206,
    "AskMen_submissions.zst": 13050,
}


@needs_reddit
@pytest.mark.parametrize("name", sorted(LINES))
def test_every_record_of_a_real_dump_is_a_post_or_a_reject(name: str) -> None:
    path = REAL / name
    file = ForumFile(kind="reddit", site="", path=str(path), size=path.stat().st_size)
    shallow = Counter(
        item.reason if isinstance(item, Rejected) else "post"
        for item in read_reddit(file, ReadRules())
    )
    deep = list(read_reddit(file, DEEP))
    assert shallow.total() == len(deep) == LINES[name]
    assert set(shallow) <= {"post", Reason.TOO_DEEP}
    assert all(isinstance(item, Post) for item in deep)
    assert (
        sum(1 for item in deep if isinstance(item, Post) and item.parent_id)
        == (shallow[Reason.TOO_DEEP])
    )
