import errno
import itertools
import os
import re
import struct
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest

from schemas.audit import Reason, Rejected
from schemas.ids import hash63
from schemas.metadata import PostMetadata
from schemas.post import DAY_MS, ClosedAs, Post
from tests.dumps import DUMPS, needs_dumps
from transforms.core.blocks import MetadataBlock, PostBlock, thread_partition, unpack
from transforms.readers.stackexchange.archives import Site, find_sites
from transforms.readers.stackexchange.reader import (
    JOIN_BYTES,
    MIN_JOIN_PARTITIONS,
    ReadStackExchange,
    count_join_partitions,
    table_ranges,
)
from transforms.readers.stackexchange.rows import (
    CLOSED_AS,
    Event,
    EventKind,
    RowError,
    parse_closing,
    parse_duplicate,
    parse_post,
    parse_user,
    parse_vote,
    spdx_license,
    split_tags,
    timestamp_ms,
)
from transforms.threads.assemble import complete_post, metadata_by_id

SITE = "beer.stackexchange.com"
QUESTION = {
    "Id": "1",
    "PostTypeId": "1",
    "AcceptedAnswerId": "3",
    "CreationDate": "2014-01-21T20:26:05.383",
    "Score": "19",
    "Body": "<p>Why?</p>\r\n",
    "OwnerUserId": "7",
    "LastEditDate": "2014-01-22T00:00:00.000",
    "Title": "Why is it <b>bold</b> & “good”?",
    "Tags": "<hops><pale-ale>",
    "ContentLicense": "CC BY-SA 3.0",
}
ANSWER = {
    "Id": "3",
    "PostTypeId": "2",
    "ParentId": "1",
    "CreationDate": "2014-01-21T20:40:00.000",
    "Score": "-4",
    "Body": "",
    "OwnerDisplayName": "user1234",
}


def without(row: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in row.items() if name not in names}


def post(row: dict[str, str], has_votes: bool = True) -> Post:
    found = parse_post(row, SITE, has_votes)
    assert isinstance(found, Post), found
    return found


def test_a_question_with_all_fields() -> None:
    assert post(QUESTION) == Post(
        id="beer.stackexchange.com:1",
        thread_id="beer.stackexchange.com:1",
        source="stackexchange",
        site=SITE,
        url="https://beer.stackexchange.com/questions/1",
        title="Why is it <b>bold</b> & “good”?",
        text="<p>Why?</p>\r\n",
        markup="html",
        tags=("hops", "pale-ale"),
        created_at=1_390_335_965_383,
        edited_at=1_390_348_800_000,
        score=19,
        up_days=(),
        down_days=(),
        author_id="beer.stackexchange.com:u7",
        author="",
        author_url="https://beer.stackexchange.com/users/7",
        license="CC-BY-SA-3.0",
        closed_as=None,
        accepted_response_id="beer.stackexchange.com:3",
    )


def test_an_answer_of_a_deleted_user_with_few_fields() -> None:
    assert post(ANSWER, has_votes=False) == Post(
        id="beer.stackexchange.com:3",
        thread_id="beer.stackexchange.com:1",
        source="stackexchange",
        site=SITE,
        url="https://beer.stackexchange.com/a/3",
        text="",
        created_at=1_390_336_800_000,
        score=-4,
        author="user1234",
        license="CC-BY-SA-3.0",
    )


def test_an_answer_has_no_title_tags_closing_or_accepted_answer() -> None:
    stray = {"Title": "t", "Tags": "<a>", "ClosedDate": "x", "AcceptedAnswerId": "9"}
    assert post(ANSWER | stray) == post(ANSWER)


def test_closed_questions_are_closed_for_an_unknown_reason() -> None:
    assert post(QUESTION | {"ClosedDate": "2015-01-01T00:00:00"}).closed_as is ClosedAs.UNKNOWN


def test_the_site_itself_owns_posts_but_is_no_author() -> None:
    found = post(QUESTION | {"OwnerUserId": "-1"})
    assert found.author_id is None
    assert found.author_url == "https://beer.stackexchange.com/users/-1"


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        (QUESTION | {"PostTypeId": "5"}, Reason.NOT_A_QUESTION_OR_ANSWER, "5 (tag wiki)"),
        (QUESTION | {"PostTypeId": "99"}, Reason.NOT_A_QUESTION_OR_ANSWER, "99"),
        (without(QUESTION, "PostTypeId"), Reason.MISSING_FIELD, "PostTypeId"),
        (without(QUESTION, "CreationDate"), Reason.MISSING_FIELD, "CreationDate"),
        (without(QUESTION, "Score"), Reason.MISSING_FIELD, "Score"),
        (without(ANSWER, "ParentId"), Reason.MISSING_FIELD, "ParentId"),
        (QUESTION | {"Score": "1.5"}, Reason.BAD_VALUE, "Score='1.5'"),
        (QUESTION | {"Score": "1_0"}, Reason.BAD_VALUE, "Score"),
        (QUESTION | {"Score": "٣"}, Reason.BAD_VALUE, "Score"),
        (QUESTION | {"Score": str(1 << 31)}, Reason.BAD_VALUE, "Score"),
        (QUESTION | {"Score": "9" * 5000}, Reason.BAD_VALUE, "Score"),
        (QUESTION | {"PostTypeId": "one"}, Reason.BAD_VALUE, "PostTypeId"),
        (QUESTION | {"CreationDate": "yesterday"}, Reason.BAD_VALUE, "CreationDate='yesterday'"),
        (QUESTION | {"CreationDate": "0001-01-01T00:00:00"}, Reason.BAD_VALUE, "CreationDate"),
        (QUESTION | {"CreationDate": "9999-12-31T23:59:59-14:00"}, Reason.BAD_VALUE, "Creation"),
        (QUESTION | {"CreationDate": "2014-02-30T00:00:00"}, Reason.BAD_VALUE, "CreationDate"),
        (ANSWER | {"ParentId": "3"}, Reason.BAD_VALUE, "its own parent"),
        (ANSWER | {"ParentId": str(1 << 39)}, Reason.BAD_VALUE, "ParentId"),
    ],
)
def test_rows_that_are_no_posts(row: dict[str, str], reason: Reason, detail: str) -> None:
    found = parse_post(row, SITE, True, offset=77)
    assert isinstance(found, Rejected)
    assert (found.id, found.reason, found.record) == (f"{SITE}:{row['Id']}", reason, "post")
    assert detail in found.detail
    assert len(found.detail) < 120


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AcceptedAnswerId", "0"),
        ("AcceptedAnswerId", "x"),
        ("LastEditDate", ""),
        ("LastEditDate", "0001-01-01T00:00:00"),
        ("OwnerUserId", "x"),
        ("OwnerUserId", str(1 << 39)),
        ("ClosedDate", "never"),
    ],
)
def test_a_bad_optional_value_counts_as_absent(name: str, value: str) -> None:
    assert post(QUESTION | {name: value}) == post(without(QUESTION, name))


@pytest.mark.parametrize("bad", [{}, {"Id": "x"}, {"Id": "-3"}, {"Id": "07"}])
def test_a_row_without_a_usable_id_is_named_by_its_place(bad: dict[str, str]) -> None:
    found = parse_post(without(QUESTION, "Id") | bad, SITE, True, offset=77)
    assert isinstance(found, Rejected)
    assert found.id == "beer.stackexchange.com/Posts.xml@77"
    assert found.reason is (Reason.BAD_VALUE if bad else Reason.MISSING_FIELD)


@pytest.mark.parametrize("kind", range(3, 9))
def test_other_kinds_of_posts_need_no_fields(kind: int) -> None:
    found = parse_post({"Id": "5", "PostTypeId": str(kind)}, SITE, True)
    assert isinstance(found, Rejected)
    assert found.reason is Reason.NOT_A_QUESTION_OR_ANSWER


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("<a><c++><.net>", ("a", "c++", ".net")),
        ("|a|c++|.net|", ("a", "c++", ".net")),
        ("<a>", ("a",)),
        ("a|b", ("a", "b")),
        ("", ()),
        ("||", ()),
    ],
)
def test_both_tag_syntaxes(tags: str, expected: tuple[str, ...]) -> None:
    assert split_tags(tags) == expected


@pytest.mark.parametrize(
    ("given_license", "changed", "expected"),
    [
        ("CC BY-SA 4.0", "2010-01-01", "CC-BY-SA-4.0"),
        ("CC BY-SA 2.5", "2020-01-01", "CC-BY-SA-2.5"),
        ("", "2011-04-07T23:59:59.999", "CC-BY-SA-2.5"),
        ("", "2011-04-08T00:00:00.000", "CC-BY-SA-3.0"),
        ("", "2018-05-01T23:59:59.999", "CC-BY-SA-3.0"),
        ("", "2018-05-02T00:00:00.000", "CC-BY-SA-4.0"),
    ],
)
def test_licences(given_license: str, changed: str, expected: str) -> None:
    assert spdx_license(given_license, timestamp_ms(changed)) == expected


def test_the_last_edit_decides_the_licence_of_old_dumps() -> None:
    row = without(QUESTION, "ContentLicense")
    assert post(row | {"LastEditDate": "2019-01-01T00:00:00"}).license == "CC-BY-SA-4.0"
    assert post(without(row, "LastEditDate")).license == "CC-BY-SA-3.0"


def test_times_with_an_offset_are_converted_to_utc() -> None:
    assert timestamp_ms("1970-01-01T02:00:00+02:00".replace("1970", "2010")) == timestamp_ms(
        "2010-01-01T00:00:00Z"
    )


VOTE = {"Id": "1", "PostId": "5", "VoteTypeId": "2", "CreationDate": "2014-01-21T00:00:00.000"}


@pytest.mark.parametrize(
    ("vote_type", "kind"),
    [
        ("1", EventKind.ACCEPTANCE),
        ("2", EventKind.UPVOTE),
        ("3", EventKind.DOWNVOTE),
        ("4", EventKind.FLAG),
        ("12", EventKind.FLAG),
    ],
)
def test_votes(vote_type: str, kind: int) -> None:
    assert parse_vote(VOTE | {"VoteTypeId": vote_type}) == Event(5, kind, 16_091 * DAY_MS)


def test_votes_that_say_nothing_of_quality_may_lack_fields() -> None:
    for vote_type in ("5", "6", "8", "10", "15", "37"):
        assert parse_vote({"VoteTypeId": vote_type}) is None


HISTORY = {"PostHistoryTypeId": "10", "PostId": "5", "CreationDate": "2014-01-21T10:00:00.5"}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("101", ClosedAs.DUPLICATE),
        ("102", ClosedAs.OFF_TOPIC),
        ("103", ClosedAs.UNCLEAR),
        ("104", ClosedAs.TOO_BROAD),
        ("105", ClosedAs.OPINION),
        ("1", ClosedAs.DUPLICATE),
        ("2", ClosedAs.OFF_TOPIC),
        ("3", ClosedAs.OPINION),
        ("4", ClosedAs.UNCLEAR),
        ("7", ClosedAs.TOO_LOCALIZED),
        ("10", ClosedAs.UNKNOWN),
        ("20", ClosedAs.SPAM),
        ("999", ClosedAs.UNKNOWN),
        ("", ClosedAs.UNKNOWN),
    ],
)
def test_closings(code: str, reason: ClosedAs) -> None:
    event = parse_closing(HISTORY | {"Comment": code})
    assert event is not None
    assert (event.post_id, event.at_ms) == (5, 16_091 * DAY_MS + 36_000_500)
    assert CLOSED_AS[event.kind - EventKind.CLOSING] is reason
    assert parse_closing(HISTORY | {"CloseReasonId": code}) == event
    assert parse_closing(HISTORY | {"PostHistoryTypeId": "11"}) is None


def test_links_and_users() -> None:
    link = {"PostId": "9", "RelatedPostId": "4", "LinkTypeId": "3"}
    assert parse_duplicate(link) == (9, 4)
    assert parse_duplicate(link | {"LinkTypeId": "1"}) is None
    assert parse_user({"Id": "-1", "DisplayName": "Community"}) == (-1, "Community")
    assert parse_user({"Id": "4"}) == (4, "")


@pytest.mark.parametrize(
    ("parse", "row"),
    [
        (parse_vote, without(VOTE, "PostId")),
        (parse_vote, without(VOTE, "VoteTypeId")),
        (parse_vote, without(VOTE, "CreationDate")),
        (parse_vote, VOTE | {"VoteTypeId": "two"}),
        (parse_vote, VOTE | {"CreationDate": "1900-01-01"}),
        (parse_closing, without(HISTORY, "PostHistoryTypeId")),
        (parse_closing, HISTORY | {"CreationDate": ""}),
        (parse_duplicate, {"PostId": "9", "LinkTypeId": "3"}),
        (parse_user, {"Id": "x"}),
    ],
)
def test_bad_rows_of_other_tables(parse: Any, row: dict[str, str]) -> None:
    with pytest.raises(RowError):
        parse(row)


# The whole reader

_outputs: dict[str, list[Any]] = {}


def _keep(element: Any, name: str) -> None:
    _outputs[name].append(element)


def read(sites: list[Site], partitions: int = 4, **options: Any) -> dict[str, list[Any]]:
    """Run the reader and return the elements of all its outputs."""
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        rows = pipeline | ReadStackExchange(sites, partitions, **options)
        assert rows.posts.element_type == beam.typehints.Tuple[int, PostBlock]
        assert rows.metadata.element_type == beam.typehints.Tuple[int, MetadataBlock]
        for name in rows._fields:
            _outputs[name] = []
            _ = getattr(rows, name) | name >> beam.Map(_keep, name)
    return {name: list(elements) for name, elements in _outputs.items()}


def keyed_rows(blocks: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    rows = [(partition, row) for partition, block in blocks for row in unpack(block)]
    return sorted(rows, key=lambda item: (item[1].id, repr(item)))


def counts_of(outputs: dict[str, list[Any]]) -> Counter[str]:
    totals: Counter[str] = Counter()
    for item in outputs["counts"]:
        assert item.stage == "read"
        totals[item.key] += item.count
    return totals


def row(**attributes: object) -> str:
    values = (f'{name}="{escape(str(value))}"' for name, value in attributes.items())
    return f"  <row {' '.join(values)} />\r\n"


def table(root: str, *rows: str) -> bytes:
    text = f'\ufeff<?xml version="1.0" encoding="utf-8"?>\r\n<{root}>\r\n{"".join(rows)}</{root}>'
    return text.encode()


def make_site(folder: Path, tables: dict[str, bytes], name: str = SITE) -> Site:
    (folder / name).mkdir(parents=True)
    for key, data in tables.items():
        (folder / name / f"{key}.xml").write_bytes(data)
    [site], problems = find_sites([str(folder / name)], folder / "work")
    assert problems == []
    return site


def post_row(number: int, parent: int | None = None, **attributes: object) -> str:
    values = {"Id": number, "PostTypeId": 1 if parent is None else 2}
    values |= {} if parent is None else {"ParentId": parent}
    values |= {"CreationDate": "2014-01-21T20:26:05.383", "Score": 1, "Body": "<p>é漢😀</p>"}
    return row(**(values | attributes))


POSTS = table(
    "posts",
    post_row(30, 20, OwnerUserId=-1),  # an answer before its question
    post_row(20, OwnerUserId=4, ClosedDate="2014-03-01T00:00:00.000"),
    post_row(10, OwnerUserId=5),
    post_row(11, 10, OwnerDisplayName="old name", OwnerUserId=4),
    post_row(40, PostTypeId=4),
    "  garbage\r\n",
    post_row(12, 10, OwnerUserId=99, Score="x"),
    '  <row Id="13" Body="&nbsp;" />\r\n',
    post_row(14, 10, OwnerUserId=99, Body="\x01").replace("\x01", "&#x1F;"),
)
VOTES = table(
    "votes",
    *(
        row(Id=i, PostId=p, VoteTypeId=t, CreationDate=f"2014-01-{day}T00:00:00.000")
        for i, (p, t, day) in enumerate(
            [(20, 2, 25), (30, 2, 23), (20, 2, 22), (20, 3, 24), (30, 1, 24), (30, 12, 24)]
        )
    ),
    row(Id=7, PostId=77, VoteTypeId=2, CreationDate="2014-01-21T00:00:00.000"),
    row(Id=8, PostId=20, VoteTypeId=5, CreationDate="2014-01-21T00:00:00.000"),
    row(Id=9, PostId=20, VoteTypeId=2, CreationDate="never"),
)
USERS = table("users", row(Id=-1, DisplayName="Community"), row(Id=4, DisplayName="Zoë <3"))
LINKS = table(
    "postlinks",
    row(Id=1, PostId=20, RelatedPostId=10, LinkTypeId=3),
    row(Id=2, PostId=10, RelatedPostId=20, LinkTypeId=1),
)
HISTORY_TABLE = table(
    "posthistory",
    row(PostHistoryTypeId="2", PostId=20, Text="not parsed &bad;").replace("&amp;", "&"),
    *(
        row(PostHistoryTypeId=10, PostId=p, CreationDate=f"2014-0{m}-01T00:00:00", Comment=c)
        for p, m, c in [(20, 3, 105), (20, 2, 101), (99, 1, 102)]
    ),
)
TABLES = {
    "Posts": POSTS,
    "Votes": VOTES,
    "Users": USERS,
    "PostLinks": LINKS,
    "PostHistory": HISTORY_TABLE,
}


def test_a_whole_site(tmp_path: Path) -> None:
    outputs = read([make_site(tmp_path, TABLES)])
    posts = keyed_rows(outputs["posts"])
    assert [found.id for _, found in posts] == [f"{SITE}:{n}" for n in (10, 11, 14, 20, 30)]
    assert all(key == thread_partition(found.thread_id, 4) for key, found in posts)
    metadata = keyed_rows(outputs["metadata"])
    thread = {key: thread_partition(f"{SITE}:{key}", 4) for key in (10, 20)}
    days = {day: 16_070 + day for day in range(21, 26)}
    # Post 11 has a name of its own, which is older.
    assert metadata == [
        (thread[10], PostMetadata(id=f"{SITE}:11", author="Zoë <3")),
        (thread[20], PostMetadata(id=f"{SITE}:20", author="Zoë <3")),
        (
            thread[20],
            PostMetadata(
                id=f"{SITE}:20",
                up_days=(days[22], days[25]),
                down_days=(days[24],),
                closed_as=ClosedAs.OPINION,
            ),
        ),
        (thread[20], PostMetadata(id=f"{SITE}:30", author="Community")),
        (
            thread[20],
            PostMetadata(id=f"{SITE}:30", up_days=(days[23],), accepted_day=days[24], flags=1),
        ),
    ]
    pairs = [pair for blob in outputs["links"] for pair in struct.iter_unpack("<qq", blob.load())]
    assert pairs == [(hash63(f"{SITE}:20"), hash63(f"{SITE}:10"))]
    assert Counter((item.record, item.reason) for item in outputs["rejected"]) == {
        ("post", Reason.NOT_A_QUESTION_OR_ANSWER): 1,
        ("post", Reason.BAD_VALUE): 1,
        ("post", Reason.MALFORMED_ROW): 2,
        ("vote", Reason.BAD_VALUE): 1,
    }
    [vote] = [item.id for item in outputs["rejected"] if item.record == "vote"]
    offset = VOTES.index(b'<row Id="9"')
    assert vote == f"{SITE}/Votes.xml@{offset}"
    assert counts_of(outputs) == {
        "Posts.rows": 9,
        "Posts.kept": 5,
        "Posts.rejected": 4,
        "Posts.repaired": 1,
        "Votes.rows": 9,
        "Votes.up": 4,
        "Votes.down": 1,
        "Votes.accepted": 1,
        "Votes.flags": 1,
        "Votes.other": 1,
        "Votes.rejected": 1,
        "Votes.without_post": 1,
        "Users.rows": 2,
        "Users.missing": 2,
        "PostLinks.rows": 2,
        "PostLinks.duplicates": 1,
        "PostLinks.other": 1,
        "PostHistory.rows": 4,
        "PostHistory.closings": 3,
        "PostHistory.other": 1,
        "PostHistory.closings_without_post": 1,
    }


def test_ranges_and_partitions_change_nothing_but_places(tmp_path: Path) -> None:
    sites = [make_site(tmp_path, TABLES), make_site(tmp_path, TABLES, "ai.stackexchange.com")]
    results = []
    for partitions, range_bytes, joins in [(1, 1 << 20, None), (7, 100, 3), (64, 333, 1)]:
        outputs = read(sites, partitions, range_bytes=range_bytes, join_partitions=joins)
        for name in ("posts", "metadata"):
            outputs[name] = [found for _, found in keyed_rows(outputs[name])]
        links = b"".join(blob.load() for blob in outputs["links"])
        results.append(
            {
                "posts": outputs["posts"],
                "metadata": outputs["metadata"],
                "links": sorted(struct.iter_unpack("<qq", links)),
                "rejected": sorted(outputs["rejected"], key=lambda item: item.id),
                "counts": counts_of(outputs),
            }
        )
    assert len(results[0]["posts"]) == 10
    assert len(results[0]["metadata"]) == 10
    assert results[0] == results[1] == results[2]


def test_posts_alone_have_no_vote_days_and_need_no_other_table(tmp_path: Path) -> None:
    outputs = read([make_site(tmp_path, {"Posts": POSTS})])
    assert [found.up_days for _, found in keyed_rows(outputs["posts"])] == [None] * 5
    assert outputs["metadata"] == outputs["links"] == []
    assert set(counts_of(outputs)) == {
        "Posts.rows",
        "Posts.kept",
        "Posts.rejected",
        "Posts.repaired",
    }


def test_an_unusable_owner_gets_no_name(tmp_path: Path) -> None:
    posts = table("posts", post_row(1, OwnerUserId="x"), post_row(2, OwnerUserId=4))
    outputs = read([make_site(tmp_path, {"Posts": posts, "Users": USERS})])
    found = [found for _, found in keyed_rows(outputs["posts"])]
    assert [(item.id, item.author_id) for item in found] == [
        (f"{SITE}:1", None),
        (f"{SITE}:2", f"{SITE}:u4"),
    ]
    assert [metadata.id for _, metadata in keyed_rows(outputs["metadata"])] == [f"{SITE}:2"]
    assert outputs["rejected"] == []


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("Posts", None, os.strerror(errno.ENOENT)),
        ("Votes", b"<posts><row/></posts>" + b" " * len(VOTES), "its first tag is <posts>"),
        ("Votes", VOTES[:-100], f"the file ends at byte {len(VOTES) - 100}"),
    ],
)
def test_a_file_that_vanishes_or_changes_fails_the_run(
    tmp_path: Path, name: str, content: bytes | None, cause: str
) -> None:
    site = make_site(tmp_path, {"Posts": POSTS, "Votes": VOTES})
    path = Path(site.tables[name].path)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    place = f"{path}, bytes 0 to {site.tables[name].size}, cannot be read: {cause}"
    with pytest.raises((OSError, RuntimeError), match=re.escape(place)):
        read([site])


def test_table_ranges_and_join_partitions_follow_the_sizes(tmp_path: Path) -> None:
    site = make_site(tmp_path, TABLES)
    ranges = table_ranges([site, site], 500)
    assert {(piece.site, piece.table) for piece in ranges} == {
        (index, name) for index in (0, 1) for name in TABLES
    }
    total = sum(len(data) for data in TABLES.values())
    assert sum(piece.end - piece.start for piece in ranges) == 2 * total
    assert count_join_partitions([site]) == MIN_JOIN_PARTITIONS
    large = Site(SITE, {"Posts": site.tables["Posts"]._replace(size=6 * JOIN_BYTES + 1)})
    assert count_join_partitions([large]) == 7


def test_the_current_name_of_an_author_goes_before_the_one_in_the_post(tmp_path: Path) -> None:
    old = {"OwnerDisplayName": "old name"}
    expected = {
        1: (post_row(1, OwnerUserId=4, **old), "Zoë"),
        2: (post_row(2, OwnerUserId=4), "Zoë"),
        3: (post_row(3, OwnerUserId=5, **old), "old name"),  # the account is gone
        4: (post_row(4, **old), "old name"),
        5: (post_row(5, OwnerUserId=6, **old), "old name"),  # its name is blank
        6: (post_row(6, OwnerUserId=-1, **old), "old name"),  # the site owns what others wrote
        7: (post_row(7, OwnerUserId=-1), "Community"),
        8: (post_row(8, OwnerUserId=5), ""),
    }
    names = {-1: "Community", 4: " Zoë ", 6: "  "}
    users = [row(Id=number, DisplayName=name) for number, name in names.items()]
    posts = table("posts", *(text for text, _ in expected.values()))
    outputs = read([make_site(tmp_path, {"Posts": posts, "Users": table("users", *users)})])
    metadata = metadata_by_id(found for _, found in keyed_rows(outputs["metadata"]))
    found = [
        complete_post(found, metadata.get(found.id, ()), accepted=False)
        for _, found in keyed_rows(outputs["posts"])
    ]
    assert {int(item.id.partition(":")[2]): item.author for item in found} == {
        number: name for number, (_, name) in expected.items()
    }


@needs_dumps
def test_real_sites_have_the_scores_that_their_votes_say(tmp_path: Path) -> None:
    specs = [str(DUMPS / name) for name in ("beer.stackexchange.com.7z", "ai.stackexchange.com")]
    sites, problems = find_sites(specs, tmp_path)
    assert problems == []
    outputs = read(sites, 16, range_bytes=1 << 20, join_partitions=3)
    metadata = metadata_by_id(found for _, found in keyed_rows(outputs["metadata"]))
    posts = [
        complete_post(found, metadata.get(found.id, ()), accepted=False)
        for _, found in keyed_rows(outputs["posts"])
    ]
    by_site = {
        key: list(group) for key, group in itertools.groupby(posts, key=lambda found: found.site)
    }
    assert {key: len(group) for key, group in by_site.items()} == {
        "ai.stackexchange.com": 1608,
        "beer.stackexchange.com": 3306,
    }
    for found in posts:
        assert found.score == len(found.up_days or ()) - len(found.down_days or ()), found.id
        assert found.author, found.id
    beer = by_site["beer.stackexchange.com"]
    assert sum(found.id == found.thread_id for found in beer) == 1029
    assert all(found.closed_as is not ClosedAs.UNKNOWN for found in beer)
    counts = counts_of(outputs)
    assert counts["Posts.rows"] == counts["Posts.kept"] + counts["Posts.rejected"]
    assert counts["Posts.rejected"] == len(
        [item for item in outputs["rejected"] if item.record == "post"]
    )
