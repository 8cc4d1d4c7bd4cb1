import io
import itertools
import timeit
import tracemalloc
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.audit import Reason
from tests.dumps import DUMPS, needs_dumps
from transforms.readers.formats.filesystem import open_input
from transforms.readers.stackexchange.xml_rows import (
    RowBatch,
    byte_ranges,
    check_table,
    read_rows,
)

HEADER = b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?>\r\n<posts>\r\n'


def read(data: bytes, cuts: Iterable[int] = (), **options) -> RowBatch:
    """Read all ranges that ``cuts`` make and put the batches together."""
    whole = RowBatch()
    bounds = [0, *sorted(set(cuts) - {0, len(data)}), len(data)]
    for start, end in itertools.pairwise(bounds):
        for batch in read_rows(io.BytesIO(data), start, end, **options):
            whole.rows += batch.rows
            whole.offsets += batch.offsets
            whole.bad += batch.bad
            whole.skipped += batch.skipped
            whole.repaired += batch.repaired
            whole.size += batch.size
    return whole


def problems(data: bytes, **options) -> list[tuple[int, Reason]]:
    return [(bad.offset, bad.reason) for bad in read(data, **options).bad]


class Table(NamedTuple):
    data: bytes
    rows: list[dict[str, str]]
    offsets: list[int]


XML_TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
    | st.sampled_from("<>&\"'\n\r\t/=é漢😀\u2028"),
    max_size=12,
)
ESCAPES = {"&": "&amp;", "<": "&lt;", "\n": "&#xA;", "\r": "&#xD;", "\t": "&#9;"}


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """A well-formed table written in one of the many ways that XML allows."""
    space = st.sampled_from([" ", "\n", "\r\n     ", "\t", "\n\n "])
    data = draw(st.sampled_from([b"", HEADER, b"<posts>", b"\n\n<posts>\n  "]))
    rows, offsets = [], []
    for _ in range(draw(st.integers(0, 6))):
        row: dict[str, str] = {}
        text = "<row"
        names = st.lists(st.sampled_from(["Id", "Body", "Tags", "X1", "_y", "é"]), unique=True)
        for name in draw(names):
            row[name] = draw(XML_TEXT)
            quote = draw(st.sampled_from("\"'"))
            forbidden = {**ESCAPES, quote: "&quot;" if quote == '"' else "&#39;"}
            value = "".join(forbidden.get(char, char) for char in row[name])
            text += draw(space) + name + draw(st.sampled_from(["=", " = ", "=\n"]))
            text += quote + value + quote
        text += draw(st.sampled_from(["/>", " />", "\r\n/>", "></row>", " >\n</row >"]))
        rows.append(row)
        offsets.append(len(data))
        data += text.encode() + draw(st.sampled_from([b"", b"\n", b"\r\n  ", b" \t "]))
    return Table(data + draw(st.sampled_from([b"", b"</posts>", b"\n</posts>\n"])), rows, offsets)


@settings(max_examples=300, deadline=None)
@given(tables(), st.lists(st.integers(0, 400), max_size=6), st.integers(1, 80))
def test_every_row_is_read_once_whatever_the_ranges_and_chunks(
    table: Table, cuts: list[int], chunk: int
) -> None:
    found = read(table.data, [cut for cut in cuts if cut < len(table.data)], chunk_bytes=chunk)
    assert found.rows == table.rows
    assert found.offsets == table.offsets
    assert found.bad == []
    assert (found.skipped, found.repaired, found.size) == (0, 0, len(table.data))


PIECES = st.sampled_from(
    [
        *(
            b'<row Id="1"/>',
            b'<row Id="2" />\n',
            b"<row A='>'/>",
            b"<row",
            b"<row ",
            b"<row>",
            b"row",
        ),
        *(b'"', b"'", b">", b"/>", b" ", b"\n", b"</row>", b"</posts>", b"<posts>", b"<rows/>"),
        *(b"<!--", b"-->", b"<![CDATA[", b"]]>", b"&lol;", b"&#x1F;", b"&#x41;", b"\xff", b"\x00"),
        *(b"<?xml ?>", b"<?x ?>", b"<!DOCTYPE a>", b"text", b'Id="3"', b"\xc3\xa9", b"</table>"),
    ]
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(PIECES, max_size=24).map(b"".join),
    st.lists(st.integers(0, 120), max_size=5),
    st.integers(1, 40),
)
@example(data=b'<row A="1"/>x', cuts=[12], chunk=1)
def test_damaged_files_read_the_same_whatever_the_ranges_and_chunks(
    data: bytes, cuts: list[int], chunk: int
) -> None:
    whole = read(data)
    pieces = read(data, [cut for cut in cuts if cut < len(data)], chunk_bytes=chunk)
    assert (pieces.rows, pieces.offsets) == (whole.rows, whole.offsets)
    assert sorted(pieces.bad) == sorted(whole.bad)
    assert pieces.repaired == whole.repaired
    one_by_one = read(data, max_row_bytes=len(data) + 1, chunk_bytes=1)
    assert sorted(one_by_one.bad) == sorted(whole.bad)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (b'<row Id="2" Body="&lol;"/>', "'&' that begins no known character at byte 19"),
        (b'<row Id="2" Id="3"/>', "the attribute Id is there twice"),
        (b'<row Id="2" Body="a < b"/>', "'<' in a value at byte 21"),
        (b'<row Id="2" Body="\xff"/>', "not UTF-8 at byte 19"),
        (b'<row Id="2" Body="\x00"/>', "forbids at byte 19"),
        (b'<row Id="2" Body="&"/>', "'&' that begins no known character"),
        (b'<row Id="2" Body="open />', "breaks off"),
        (b'<row Id="2" Body=/>', "not an attribute at byte 13"),
        (b'<row Id="2">text</row>', "not a plain row"),
        (b'<row Id="2"><b/></row>', "not a plain row"),
        (b'<row Id="2">', "does not end"),
    ],
)
def test_a_malformed_row_is_named_and_its_neighbours_survive(row: bytes, why: str) -> None:
    data = HEADER + b'<row Id="1"/>\n' + row + b'\n<row Id="4"/>\n</posts>'
    found = read(data)
    assert found.rows == [{"Id": "1"}, {"Id": "4"}]
    [bad] = found.bad
    assert bad.offset == data.index(row)
    assert bad.reason is Reason.MALFORMED_ROW
    assert why in bad.detail
    assert len(bad.detail) < 250


def test_a_row_cut_off_by_the_end_of_the_file_is_malformed() -> None:
    data = HEADER + b'<row Id="1"/>\n<row Id="2" Body="half'
    assert read(data).rows == [{"Id": "1"}]
    assert problems(data) == [(data.index(b'<row Id="2"'), Reason.MALFORMED_ROW)]


def test_entities_are_not_expanded_and_external_files_not_opened(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("SECRET")
    doctype = b'<!DOCTYPE posts [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">'
    doctype += f'<!ENTITY x SYSTEM "{secret.as_uri()}">]>'.encode()
    data = doctype + b'<posts><row Id="1" Body="&b;"/><row Id="2" Body="&x;"/><row Id="3"/></posts>'
    found = read(data)
    assert found.rows == [{"Id": "3"}]
    assert [bad.offset for bad in found.bad] == [
        data.index(b'<row Id="1"'),
        data.index(b'<row Id="2"'),
    ]
    assert "SECRET" not in str(found)


@pytest.mark.parametrize(
    ("reference", "repaired"),
    [
        (b"&#x1F;", True),
        (b"&#31;", True),
        (b"&#0;", True),
        (b"&#xD83D;", True),
        (b"&#xFFFF;", True),
        (b"&#x110000;", True),
        (b"&#99999999999999;", True),
        (b"&#x9;", False),
        (b"&#10;", False),
        (b"&#x1F600;", False),
        (b"&#xFFFD;", False),
    ],
)
def test_references_to_forbidden_characters_are_dropped_and_counted(
    reference: bytes, repaired: bool
) -> None:
    found = read(HEADER + b'<row Id="1"/><row Body="a' + reference + b'&amp;#31;b"/></posts>')
    assert found.bad == []
    assert found.repaired == int(repaired)
    dropped = "" if repaired else ET.fromstring(b'<a b="' + reference + b'"/>').get("b")
    assert found.rows[1] == {"Body": f"a{dropped}&#31;b"}


@pytest.mark.parametrize(
    ("references", "text"),
    [
        (b"&#xD83D;&#xDE00;", "\U0001f600"),
        (b"&#55357;&#56832;", "\U0001f600"),
        (b"&#xd83d;&#56832;", "\U0001f600"),
        (b"&#x00D83D;&#056832;", "\U0001f600"),
        (b"&#xDBFF;&#xDFFF;&#xD800;&#xDC00;", "\U0010ffff\U00010000"),
        (b"&#xDE00;&#xD83D;&#xDE00;&#xD83D;", "\U0001f600"),
        (b"&#xD83D; &#xDE00;", " "),
        ("é&#xD83D;&#xDE00;".encode(), "é\U0001f600"),
    ],
)
def test_two_halves_of_a_character_are_joined_and_counted(references: bytes, text: str) -> None:
    found = read(HEADER + b'<row Id="1"/><row Body="a' + references + b'b"/></posts>')
    assert (found.bad, found.repaired) == ([], 1)
    assert found.rows[1] == {"Body": f"a{text}b"}


def test_rubbish_between_rows_is_one_bad_row_per_gap() -> None:
    data = b'rubbish <posts>\n<row Id="1"/>a b c<x/>\n<row Id="2"/> <!-- no --> </posts> end'
    assert read(data).rows == [{"Id": "1"}, {"Id": "2"}]
    offsets = [0, data.index(b"a b c"), data.index(b"end")]
    assert problems(data) == [(offset, Reason.MALFORMED_ROW) for offset in offsets]


NO_ROWS = {
    "comment": b"<!-- a - b -- > and <posts> ? -->",
    "long comment": b"<!--" + b" x" * 5000 + b"-->",
    "instruction": b'<?xml-stylesheet href="a.xsl" ?title=">"?>',
    "declaration": b'<?xml version="1.0" standalone="yes" ?>',
    "doctype": b"<!DOCTYPE posts SYSTEM 'posts.dtd'>",
    "doctype with declarations": (
        b'<!DOCTYPE posts [\n<!ELEMENT row EMPTY>\n<!ATTLIST row Id CDATA "]>">\n'
        b"<!-- it's here -->\n<!ENTITY a '<b>'> %c; ]>"
    ),
    "cdata": b"<![CDATA[ a ] ]] > b ]]>",
    "byte order mark": b"\xef\xbb\xbf",
}


@pytest.mark.parametrize("what", NO_ROWS)
@pytest.mark.parametrize("chunk", [1, 50, 100_000])
def test_what_is_no_row_counts_as_none(what: str, chunk: int) -> None:
    other = NO_ROWS[what]
    row = b'<row Id="1"/>'
    for data in (
        other + b"<posts>" + row + row + b"</posts>",
        HEADER + other + b"\n" + row + other + other + row + b"\n" + other + b"</posts>" + other,
    ):
        found = read(data, [30, len(data) // 2], chunk_bytes=chunk)
        assert (found.rows, found.bad) == ([{"Id": "1"}] * 2, [])
        assert check_table(io.BytesIO(data), "posts", rows_required=True) is None


@pytest.mark.parametrize(
    "other",
    [b"<!-- open", b"<!DOCTYPE posts [ <!ELEMENT ", b"<![CDATA[ open", b"<?open", b"ow Id='3'/>"],
)
def test_what_does_not_end_may_have_been_a_row(other: bytes) -> None:
    data = b'<posts><row Id="1"/>' + other + b'<row Id="2"/></posts>'
    assert read(data).rows == [{"Id": "1"}, {"Id": "2"}]
    assert problems(data) == [(data.index(other), Reason.MALFORMED_ROW)]


@pytest.mark.parametrize(
    "start", [b"<!--", b"<?", b"<!DOCTYPE a [<!--", b"<!DOCTYPE a [", b"<![CDATA["]
)
def test_what_does_not_end_takes_linear_time(start: bytes) -> None:
    def seconds(times: int) -> float:
        data = b"<posts>" + start * times + b'<row Id="1"/></posts>'
        return min(timeit.repeat(lambda: problems(data), number=1, repeat=3))

    assert seconds(40_000) < 50 * seconds(4_000)


def test_entities_of_a_doctype_are_never_expanded() -> None:
    levels = [
        b'<!ENTITY l%d "%s">' % (level, b"&l%d;" % (level - 1) * 10 if level else b"lol")
        for level in range(12)
    ]
    doctype = (
        b"<!DOCTYPE posts [" + b"\n".join(levels) + b'<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    )
    for name in (b"l11", b"x", b"l0"):
        data = doctype + b'<posts><row Id="1" Body="&' + name + b';"/><row Id="2"/></posts>'
        assert read(data).rows == [{"Id": "2"}]
        assert problems(data) == [(data.index(b"<row"), Reason.MALFORMED_ROW)]


def test_rows_may_have_single_quotes_and_stand_anywhere() -> None:
    data = b" \n<posts ><row Id='1' Body='\"a\"'\n/><row\tId = \"2\"></row></posts>"
    assert read(data).rows == [{"Id": "1", "Body": '"a"'}, {"Id": "2"}]
    assert problems(data) == []


def test_two_tables_in_one_file_are_read_through() -> None:
    part = HEADER + b'<row Id="1"/></posts>\n'
    assert read(part + part).rows == [{"Id": "1"}, {"Id": "1"}]
    assert problems(part + part) == []


@pytest.mark.parametrize("chunk", [1, 7, 100, 10_000])
@pytest.mark.parametrize("cuts", [[], [300], [60, 61, 500]])
def test_a_row_that_is_too_large_is_skipped_and_not_held(chunk: int, cuts: list[int]) -> None:
    large = b'<row Id="2" Body="' + b"x" * 1000 + b'"/>'
    data = HEADER + b'<row Id="1"/>\n' + large + b'<row Id="3"/>\n</posts>'
    found = read(data, cuts, chunk_bytes=chunk, max_row_bytes=200)
    assert found.rows == [{"Id": "1"}, {"Id": "3"}]
    [bad] = found.bad
    assert (bad.offset, bad.reason) == (data.index(large), Reason.ROW_TOO_LARGE)


class GiganticLine(io.RawIOBase):
    """``size`` bytes that are a row's start and no end."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.position = 0

    def read(self, size: int = -1) -> bytes:
        start, self.position = self.position, min(self.position + size, self.size)
        data = b"x" * (self.position - start)
        return data if start else b'<row Id="1' + data[10:]

    def seek(self, offset: int, whence: int = 0) -> int:
        self.position = offset
        return offset


def test_one_gigantic_line_is_read_in_little_memory() -> None:
    tracemalloc.start()
    bad = []
    for batch in read_rows(GiganticLine(50_000_000), 0, 50_000_000, max_row_bytes=300_000):
        bad += [item.reason for item in batch.bad]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert bad == [Reason.ROW_TOO_LARGE]
    assert peak < 3_000_000


def test_a_range_inside_a_gigantic_row_is_not_read_beyond_its_end() -> None:
    stream = GiganticLine(50_000_000)
    assert [batch.seen for batch in read_rows(stream, 1_000_000, 2_000_000)] == [0] * 8
    assert stream.position < 2_300_000


@pytest.mark.parametrize("chunk", [5, 64, 10_000])
def test_a_long_gap_is_reported_once_and_a_row_before_it_survives(chunk: int) -> None:
    data = b'<posts><row Id="1"/>' + b" " * 400 + b"gap" * 200 + b'<row Id="2"/></posts>'
    found = read(data, [300, 700], chunk_bytes=chunk, max_row_bytes=100)
    assert found.rows == [{"Id": "1"}, {"Id": "2"}]
    assert [(bad.offset, bad.reason) for bad in found.bad] == [
        (data.index(b"gap"), Reason.MALFORMED_ROW)
    ]
    spaces = b'<posts><row Id="1"/>' + b" " * 900 + b'<row Id="2"/></posts>'
    assert problems(spaces, chunk_bytes=chunk, max_row_bytes=100) == []


def test_rows_without_the_wanted_bytes_are_counted_and_not_parsed() -> None:
    data = (
        HEADER + b'<row T="10" Id="1"/>\n<row T="2" Body="&bad;"/>\n<row T="10"\nId="3"/></posts>'
    )
    for cuts in ([], [70], [100]):
        found = read(data, cuts, containing=b'T="10"')
        assert found.rows == [{"T": "10", "Id": "1"}, {"T": "10", "Id": "3"}]
        assert (found.skipped, found.bad, found.seen) == (1, [], 3)


def test_a_file_that_became_shorter_is_an_error_after_its_rows() -> None:
    data = HEADER + b'<row Id="1"/>\n'
    rows = []
    with pytest.raises(OSError, match="became shorter"):
        for batch in read_rows(io.BytesIO(data), 0, len(data) + 1):
            rows += batch.rows
    assert rows == [{"Id": "1"}]


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        (HEADER + b"<row />", None),
        (b'<?xml version="1.0"?><!DOCTYPE posts [<!ENTITY a "b">]><posts><row/>', None),
        (b'<row Id="1"/>', None),
        (b"", "empty"),
        (b"\xef\xbb\xbf \r\n", "empty"),
        (b"\xef\xbb\xbfasdf", "no XML tag"),
        ("<posts><row/></posts>".encode("utf-16"), "UTF-16"),
        ("<posts><row/></posts>".encode("utf-16-le"), "UTF-16"),
        ("<posts><row/></posts>".encode("utf-16-be"), "UTF-16"),
        ("<posts><row/></posts>".encode("utf-32-be"), "UTF-32"),
        (b"<!-- <html> by <b>me</b> --><posts><row/>", None),
        (b"<!-- <posts> --><votes><row/>", "first tag is <votes>"),
        (b"<posts/>", "no <row>"),
        (b"<votes><row/></votes>", "first tag is <votes>"),
        (b"<html><row/></html>", "first tag is <html>"),
        (b"<posts></posts>", "no <row>"),
        (b"<posts><rows/></posts>", "no <row>"),
        (b"<posts>" + b" " * 70_000 + b"<row/>", "no <row> starts in its first"),
    ],
)
def test_check_table_tells_a_table_from_other_files(head: bytes, problem: str | None) -> None:
    found = check_table(io.BytesIO(head), "posts", rows_required=True)
    assert found is None if problem is None else problem in (found or "")


def test_a_table_other_than_posts_may_be_empty() -> None:
    assert check_table(io.BytesIO(b"<postlinks />"), "postlinks", rows_required=False) is None
    assert check_table(io.BytesIO(b"\xef\xbb\xbf"), "postlinks", rows_required=False) is not None


@given(st.integers(0, 10_000), st.integers(1, 3000))
def test_byte_ranges_tile_the_file(size: int, step: int) -> None:
    ranges = byte_ranges(size, step)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == size
    assert all(one[1] == two[0] for one, two in itertools.pairwise(ranges))
    assert all(0 < end - start <= step for start, end in ranges if size)


@needs_dumps
@pytest.mark.parametrize("site", ["ai.stackexchange.com", "datascience.meta.stackexchange.com"])
def test_real_posts_read_as_elementtree_reads_them(site: str) -> None:
    path = DUMPS / site / "Posts.xml"
    size = path.stat().st_size
    expected = [row.attrib for row in ET.parse(path).getroot()]
    rows: list[dict[str, str]] = []
    for start, end in byte_ranges(size, 77_777):
        with open_input(str(path)) as stream:
            for batch in read_rows(stream, start, end):
                assert batch.bad == []
                rows += batch.rows
    assert rows == expected
