"""Votes that need no parser give what the parser gives, whatever stands between them."""

import datetime
import io
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.readers.stackexchange.join_blocks import unpack_columns
from transforms.readers.stackexchange.rows import PLAIN_VOTE, parse_vote, plain_votes
from transforms.readers.stackexchange.tables import SiteContext, VoteCollector
from transforms.readers.stackexchange.xml_rows import read_rows

CONTEXT = SiteContext(3, "example.com", frozenset({"Posts", "Votes"}), 4, 2)
HEAD = b'<?xml version="1.0" encoding="utf-8"?>\r\n<votes>\r\n'


def collected(data: bytes, *, plain: bool, start: int = 0, chunk_bytes: int = 600) -> Any:
    """Sorted events, counts and rejects of a table; whether any row needed no parser."""
    collector = VoteCollector(CONTEXT)
    outputs, matched = [], 0
    for batch in read_rows(
        io.BytesIO(data),
        start,
        len(data),
        pattern=PLAIN_VOTE if plain else None,
        chunk_bytes=chunk_bytes,
    ):
        matched += len(batch.matches)
        outputs += collector.take(batch)
    outputs += collector.finish()
    events = [
        (partition, *row)
        for output, value in outputs
        if output == "by_post"
        for partition, part in [value]
        for row in unpack_columns(part.columns, 2).T.tolist()
    ]
    rejected = sorted((value.id, value.detail) for name, value in outputs if name == "rejected")
    return (sorted(events), collector.row_counts, rejected), matched


def vote(**attributes: str) -> bytes:
    values = {
        "Id": "7",
        "PostId": "12",
        "VoteTypeId": "2",
        "CreationDate": "2016-08-02T00:00:00.000",
    }
    values |= attributes
    order = ("Id", "PostId", "VoteTypeId", "UserId", "CreationDate", "BountyAmount")
    names = sorted(values, key=lambda name: order.index(name) if name in order else len(order))
    inside = " ".join(f'{name}="{values[name]}"' for name in names if values[name] != "-")
    return f"  <row {inside} />\r\n".encode()


plain_vote = st.builds(
    vote,
    PostId=st.integers(1, 10**11 - 1).map(str),
    VoteTypeId=st.integers(1, 99).map(str),
    UserId=st.one_of(st.just("-"), st.integers(-1, 10**6).map(str)),
    BountyAmount=st.one_of(st.just("-"), st.integers(0, 500).map(str)),
    CreationDate=st.dates(
        min_value=datetime.date(2000, 1, 1),
        max_value=datetime.date(2099, 12, 31),
    ).map(lambda day: f"{day}T00:00:00.000"),
)
ODD = [
    vote(PostId="0"),
    vote(PostId="012"),
    vote(PostId="-"),
    vote(PostId="549755813888"),
    vote(PostId="&#49;2"),
    vote(VoteTypeId="-"),
    vote(VoteTypeId="0"),
    vote(VoteTypeId="02"),
    vote(VoteTypeId="200"),
    vote(CreationDate="-"),
    vote(CreationDate="2016-02-30T00:00:00.000"),
    vote(CreationDate="2016-02-29T00:00:00.000"),
    vote(CreationDate="2015-02-29T00:00:00.000"),
    vote(CreationDate="1999-12-31T00:00:00.000"),
    vote(CreationDate="2100-01-01T00:00:00.000"),
    vote(CreationDate="2016-08-02T23:59:59.999"),
    vote(CreationDate="2016-08-02T00:00:00.000+02:00"),
    vote(CreationDate="2016-08-02"),
    vote(UserId="a&amp;b"),
    vote(Extra="x"),
    b'<row VoteTypeId="2" PostId="12" CreationDate="2016-08-02T00:00:00.000" Id="1"/>',
    b"<row Id='1' PostId='12' VoteTypeId='3' CreationDate='2016-08-02T00:00:00.000' />",
    b'<row Id="1" PostId="12" PostId="13" VoteTypeId="2" CreationDate="2016-08-02T00:00:00.000" />',
    b'<row Id="1" PostId="12" VoteTypeId="2" CreationDate="2016-08-02T00:00:00.000"></row>',
    b'<row Id="1" PostId="12" VoteTypeId="2" CreationDate="2016-08-02T00:00:00.000">',
    b"<row />",
    b"<row",
    b"</votes>",
    b"<!-- <row -->",
    b"text",
    b"&amp;",
    b"\x0b",
    b"\x00",
    b"\xff",
]


@given(
    st.lists(st.one_of(plain_vote, plain_vote, st.sampled_from(ODD)), max_size=30),
    st.sampled_from([b"", b"</votes>", b"</votes>\r\n", b"</votes>x"]),
    st.integers(0, 2000),
    st.sampled_from([130, 600, 1 << 17]),
)
def test_both_ways_agree(rows: list[bytes], end: bytes, start: int, chunk_bytes: int) -> None:
    data = HEAD + b"".join(rows) + end
    start = min(start, len(data))
    plain, _ = collected(data, plain=True, start=start, chunk_bytes=chunk_bytes)
    parsed, _ = collected(data, plain=False, start=start, chunk_bytes=chunk_bytes)
    assert plain == parsed


@pytest.mark.parametrize("odd", ODD)
def test_a_row_that_is_not_plain_is_parsed(odd: bytes) -> None:
    data = HEAD + vote() + odd + vote(UserId="5", BountyAmount="50") + b"</votes>"
    plain, _ = collected(data, plain=True, chunk_bytes=1 << 17)
    assert plain == collected(data, plain=False)[0]


def test_plain_votes_need_no_parser() -> None:
    data = HEAD + vote() * 50 + vote(UserId="-1") + vote(BountyAmount="50") + b"</votes>\r\n"
    (_, counts, rejected), matched = collected(data, plain=True)
    assert matched == 52
    assert counts == Counter({"Votes.rows": 52, "Votes.up": 52})
    assert not rejected


def test_every_plain_day_and_type_is_that_of_the_parser() -> None:
    days = np.arange("2000-01-01", "2100-01-01", dtype="M8[D]").astype(str).tolist()
    rows = [vote(CreationDate=f"{day}T00:00:00.000").strip() for day in days]
    rows += [vote(VoteTypeId=str(code)).strip() for code in range(1, 100)]
    matches = [match for row in rows if (match := PLAIN_VOTE.fullmatch(row))]
    assert len(rows) - len(matches) == sum(day.endswith("-02-29") for day in days)
    columns = plain_votes(*zip(*(match.groups()[1:] for match in matches), strict=True))
    for match, found in zip(matches, columns.T.tolist(), strict=True):
        event = parse_vote(
            {
                "PostId": match[2].decode(),
                "VoteTypeId": match[3].decode(),
                "CreationDate": match[4].decode() + "T00:00:00.000",
            }
        )
        assert found[1] == (event.kind if event else 0)
        assert event is None or found == list(event)
