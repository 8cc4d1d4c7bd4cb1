"""Lines of JSON: each one is a value or is said to be none, whatever else is in the file."""

import bz2
import gzip
import json
import lzma
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from schemas.audit import Reason, Rejected
from transforms.readers.base import ForumFile
from transforms.readers.formats import compressed
from transforms.readers.formats.json_lines import decode_lines, read_document

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "zst": zstandard.ZstdCompressor().compress,
    "gz": lambda data: gzip.compress(data, mtime=0),
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "jsonl": lambda data: data,
}


class Row(msgspec.Struct):
    id: str
    score: int
    text: str | None = None


ROWS = msgspec.json.Decoder(Row)
GOOD = b'{"id":"a","score":1}'


def forum_file(path: Path) -> ForumFile:
    return ForumFile(kind="reddit", site="", path=str(path), size=path.stat().st_size)


def items(path: Path, data: bytes, **options: object) -> list[tuple[int, Row] | Rejected]:
    path.write_bytes(data)
    return list(decode_lines(forum_file(path), ROWS, **options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lines")


good_rows = st.builds(
    Row, id=st.text(max_size=5), score=st.integers(-(2**63), 2**63 - 1), text=st.text(max_size=30)
)
good_lines = good_rows.map(msgspec.json.encode)
ascii_lines = good_rows.map(lambda row: json.dumps(msgspec.to_builtins(row)).encode())
other_lines = st.one_of(
    st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"")),
    st.sampled_from(
        [b"", b"  ", b"\t\r", b"{", b"null", b"[]", b'{"id":1,"score":1}', b"\xff", GOOD + GOOD]
    ),
    st.tuples(good_lines, st.integers(0, 40)).map(lambda cut: cut[0][: cut[1]]),
)


@given(
    lines=st.lists(st.one_of(good_lines, ascii_lines, other_lines), max_size=30),
    newline=st.sampled_from([b"\n", b"\r\n"]),
    ended=st.booleans(),
    bom=st.booleans(),
    chunk_bytes=st.integers(1, 200),
    suffix=st.sampled_from(sorted(COMPRESS)),
)
def test_every_line_is_a_value_or_a_reject(
    folder: Path,
    lines: list[bytes],
    newline: bytes,
    ended: bool,
    bom: bool,
    chunk_bytes: int,
    suffix: str,
) -> None:
    data = newline.join(lines) + (newline if ended and lines else b"")
    if suffix == "jsonl":
        data = b" " + data  # so that no rubbish looks like the start of a compressed file
    data = (b"\xef\xbb\xbf" if bom else b"") + data
    with (
        mock.patch.object(compressed, "CHUNK_BYTES", chunk_bytes),
        mock.patch.object(compressed, "READ_BYTES", 64),
        mock.patch.object(compressed, "SLICE_BYTES", 7),
    ):
        found = items(folder / f"lines.{suffix}", COMPRESS[suffix](data))
    values = {item[0]: item[1] for item in found if not isinstance(item, Rejected)}
    rejects = [item for item in found if isinstance(item, Rejected)]
    expected, bad = {}, []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        line = line.removeprefix(b"\xef\xbb\xbf")
        try:
            expected[number] = ROWS.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            if line.strip(b" \t\r\n"):
                bad.append(f"lines.{suffix}:{number}")
    assert values == expected
    assert [item.id for item in rejects if item.record == "post"] == bad
    assert all(reject.reason != Reason.UNREADABLE_FILE for reject in rejects)
    files = [item for item in rejects if item.record == "file"]
    assert len(files) <= 1
    assert not files or not data.endswith(b"\n")
    for reject in rejects:
        reject.detail.encode()


@pytest.mark.parametrize(
    ("line", "reason", "told"),
    [
        (b"{", Reason.MALFORMED_ROW, "breaks off"),
        (b"<html>", Reason.MALFORMED_ROW, "not JSON at byte 1"),
        (b'{"id":"a","score":1}}', Reason.MALFORMED_ROW, "more at byte 21"),
        (GOOD + GOOD, Reason.MALFORMED_ROW, "more at byte 21"),
        (GOOD + b"\0", Reason.MALFORMED_ROW, "more at byte 21"),
        (b'{"id":"\xff","score":1}', Reason.MALFORMED_ROW, "not UTF-8 at byte 8"),
        (b'{"id":"\xed\xa0\x80","score":1}', Reason.MALFORMED_ROW, "not UTF-8 at byte 8"),
        (b'{"id":"a\0","score":1}', Reason.MALFORMED_ROW, "not JSON at byte 9"),
        (b'{"id":"a","score":NaN}', Reason.MISSING_FIELD, "$.score: null, must be an integer"),
        (b'{"id":"a","score":Infinity}', Reason.BAD_VALUE, "$.score: number out of range"),
        (b'{"id":"a","score":nan}', Reason.MALFORMED_ROW, "not JSON at byte 19"),
        (b'{"id":"a","score":Na', Reason.MALFORMED_ROW, "breaks off"),
        (
            b'{"id":"a","score":1,}',
            Reason.MALFORMED_ROW,
            "byte 21: there is nothing behind a comma",
        ),
        (b'{"id":"a","score":1,"x":[1,]}', Reason.MALFORMED_ROW, "byte 28: there is nothing"),
        (b"{'id':'a','score':1}", Reason.MALFORMED_ROW, "byte 2: it is in the notation of Python"),
        (b'{"id":"a","score":None}', Reason.MALFORMED_ROW, "notation of Python"),
        (b'{"id":"\\ud83d","score":"2"}', Reason.BAD_VALUE, "$.score"),
        (b'{"id":"a","score":1,"x":' + b"[" * 99_999, Reason.MALFORMED_ROW, "deep"),
        (b'{"id":1,"x":' + b"[" * 99_999, Reason.MALFORMED_ROW, "deep"),
        (b'{"id":1,"score":2', Reason.MALFORMED_ROW, "breaks off"),
        (b'{"id":1,"score":2}', Reason.BAD_VALUE, "$.id"),
        (b'{"id":"a","score":"2"}', Reason.BAD_VALUE, "$.score"),
        (b'{"id":"a","score":1e999}', Reason.BAD_VALUE, "$.score"),
        (b'{"id":"a","score":' + b"9" * 5000 + b"}", Reason.BAD_VALUE, "$.score"),
        (b"null", Reason.BAD_VALUE, "object"),
        (b"[]", Reason.BAD_VALUE, "object"),
        (b'{"id":"a","score":null}', Reason.MISSING_FIELD, "$.score"),
        (b'{"id":"a"}', Reason.MISSING_FIELD, "$.score: is missing"),
    ],
)
def test_what_is_wrong_with_a_line(tmp_path: Path, line: bytes, reason: Reason, told: str) -> None:
    found = items(tmp_path / "x.jsonl", GOOD + b"\n" + line + b"\n" + GOOD + b"\n")
    assert [item[0] for item in found if not isinstance(item, Rejected)] == [1, 3]
    (reject,) = [item for item in found if isinstance(item, Rejected)]
    assert (reject.id, reject.reason, reject.record) == ("x.jsonl:2", reason, "post")
    assert told in reject.detail
    assert len(reject.detail) < 400


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (rb"\ud83d", "\ufffd"),
        (rb"\ud83dx", "\ufffdx"),
        (rb"\uDE00\uD83D", "\ufffd\ufffd"),
        (rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (rb"\ud83d\ude00", "\U0001f600"),
        (rb"\\ud83d\ud83d", "\\ud83d\ufffd"),
        (rb"\\\ud83d", "\\\ufffd"),
        (rb"\u0000", "\0"),
    ],
)
def test_lone_surrogates_are_replaced(tmp_path: Path, escaped: bytes, text: str) -> None:
    found = items(tmp_path / "x.jsonl", b'{"id":"a","score":1,"text":"' + escaped + b'"}\n')
    assert found == [(1, Row("a", 1, text))]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (b"NaN", None),
        (b"null", None),
        (b'"NaN"', "NaN"),
        (b'"say \\"NaN\\" or -Infinity"', 'say "NaN" or -Infinity'),
    ],
)
def test_nan_is_nothing(tmp_path: Path, given: bytes, text: str | None) -> None:
    line = b'{"id":"a","score":1,"text":' + given + b',"y":-Infinity,"z":[Infinity,NaN]}\n'
    assert items(tmp_path / "x.jsonl", line) == [(1, Row("a", 1, text))]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_told_once(tmp_path: Path, encoding: str) -> None:
    (reject,) = items(tmp_path / "x.jsonl", ((GOOD + b"\n") * 3).decode().encode(encoding))
    assert isinstance(reject, Rejected)
    assert (reject.record, reject.reason) == ("file", Reason.UNREADABLE_FILE)
    assert "UTF-16" in reject.detail


def test_the_last_of_repeated_keys_counts(tmp_path: Path) -> None:
    found = items(tmp_path / "x.jsonl", b'{"id":"a","score":1,"score":2}')
    assert found == [(1, Row("a", 2))]


def test_a_record_that_cannot_be_decoded_can_be_named(tmp_path: Path) -> None:
    seen = []

    def identify(line: bytes) -> str | None:
        seen.append(line)
        return "host:1" if b"bad" in line else None

    data = b'{"id":"bad"}\r\n{"id":"worse"}\n{"id":\n' + GOOD
    found = items(tmp_path / "x.jsonl", data, identify=identify)
    assert [item.id for item in found if isinstance(item, Rejected)] == [
        "host:1",
        "x.jsonl:2",
        "x.jsonl:3",
    ]
    assert seen == [b'{"id":"bad"}', b'{"id":"worse"}']


@pytest.mark.parametrize("chunk_bytes", [1, 16, 1 << 20])
def test_a_line_may_not_be_too_long(tmp_path: Path, chunk_bytes: int) -> None:
    allowed = b'{"id":"a","score":1,"text":"' + b"x" * 69 + b'"}\n'
    long = allowed.replace(b"x", b"xy", 1)
    assert len(allowed) == 100
    longer = allowed.replace(b"x", b"yz")
    lines = [long, allowed, b"\n", longer, allowed, GOOD + b"\n", long[:-1] + b" "]
    with (
        mock.patch.object(compressed, "CHUNK_BYTES", chunk_bytes),
        mock.patch.object(compressed, "READ_BYTES", 16),
    ):
        found = items(tmp_path / "x.jsonl", b"".join(lines), max_line_bytes=100)
    assert [item.id if isinstance(item, Rejected) else item[0] for item in found] == [
        "x.jsonl:1",
        2,
        "x.jsonl:4",
        5,
        6,
        "x.jsonl:7",
    ]
    rejects = [item for item in found if isinstance(item, Rejected)]
    assert {reject.reason for reject in rejects} == {Reason.ROW_TOO_LARGE}
    assert [reject.detail for reject in rejects] == [
        "101 bytes, 100 allowed",
        "170 bytes, 100 allowed",
        "101 bytes, 100 allowed",
    ]


def in_chunks(chunks: list[bytes]) -> Any:
    return mock.patch.object(compressed.CompressedFile, "chunks", lambda _: iter(chunks))


def test_what_follows_a_line_that_is_too_long_is_read() -> None:
    # The line is over the limit before its end is seen, and whole lines come after it at once.
    chunks = [b"x" * 101, b"x\n" + GOOD + b"\n" + GOOD + b"\n" + GOOD[:5], GOOD[5:] + b"\n"]
    with in_chunks(chunks):
        first, *found = decode_lines(forum_file(Path(__file__)), ROWS, max_line_bytes=100)
    assert isinstance(first, Rejected)
    assert first.reason == Reason.ROW_TOO_LARGE
    assert found == [(number, Row("a", 1)) for number in (2, 3, 4)]


def test_lines_that_are_too_long_are_not_held() -> None:
    file = forum_file(Path(__file__))
    chunks = (b"x" * 10_000 for _ in range(1000))
    parts = mock.patch.object(compressed.CompressedFile, "chunks", lambda _: chunks)
    with parts:
        tracemalloc.start()
        found = list(decode_lines(file, ROWS, max_line_bytes=50_000))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert len(found) == 1
    assert peak < 1_000_000


@pytest.mark.parametrize("suffix", sorted(COMPRESS))
def test_a_truncated_file_gives_what_came_before(tmp_path: Path, suffix: str) -> None:
    lines = [b'{"id":"%x","score":%d}\n' % (i * i, i**3) for i in range(20_000)]
    data = COMPRESS[suffix](b"".join(lines))
    found = items(tmp_path / f"x.{suffix}", data[: len(data) * 2 // 3])
    *before, last = found
    assert isinstance(last, Rejected)
    assert (last.id, last.reason, last.record) == (f"x.{suffix}", Reason.TRUNCATED_FILE, "file")
    halves = [item for item in before if isinstance(item, Rejected)]
    assert len(halves) <= 1
    assert all(half.reason == Reason.MALFORMED_ROW for half in halves)
    whole = before[: len(before) - len(halves)]
    # bzip2 has blocks of 900 kB, of which none may be whole.
    assert len(whole) >= (0 if suffix == "bz2" else 5_000)
    assert whole == [(i + 1, Row(f"{i * i:x}", i**3)) for i in range(len(whole))]
    assert f"after {len(whole)} lines" in last.detail


def test_a_cut_behind_a_line_is_found_where_something_tells(tmp_path: Path) -> None:
    data = b"".join(b'{"id":"a","score":%d}\n' % i for i in range(10))
    assert len(items(tmp_path / "x.jsonl", data)) == 10
    *rows, last = items(tmp_path / "x.gz", gzip.compress(data, mtime=0)[:-8])
    assert [item[0] for item in rows if not isinstance(item, Rejected)] == list(range(1, 11))
    assert isinstance(last, Rejected)
    assert last.detail.endswith("after 10 lines")


def test_a_malformed_last_line_is_no_truncated_file(tmp_path: Path) -> None:
    for last in (b"]", b"</html>", b'{"id":1,"score":1}', b"  ", b'{"id":"a","score":1}x'):
        found = items(tmp_path / "x.jsonl", GOOD + b"\n" + last)
        assert all(item.record == "post" for item in found if isinstance(item, Rejected))


def test_an_unreadable_file_is_one_reject(tmp_path: Path) -> None:
    (reject,) = items(tmp_path / "x.jsonl", b"PK\x03\x04" + bytes(50))
    assert isinstance(reject, Rejected)
    assert (reject.id, reject.reason, reject.record) == (
        "x.jsonl",
        Reason.UNREADABLE_FILE,
        "file",
    )


def test_a_missing_file_raises(tmp_path: Path) -> None:
    file = ForumFile(kind="reddit", site="", path=str(tmp_path / "x.jsonl"), size=1)
    with pytest.raises(FileNotFoundError):
        list(decode_lines(file, ROWS))
    with pytest.raises(FileNotFoundError):
        read_document(file)


@pytest.mark.parametrize("suffix", sorted(COMPRESS))
def test_a_document_is_read_whole(tmp_path: Path, suffix: str) -> None:
    document = json.dumps([{"id": i} for i in range(20_000)], indent=1).encode()
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(COMPRESS[suffix](b"\xef\xbb\xbf" + document))
    assert read_document(forum_file(path)) == document
    assert read_document(forum_file(path), len(document) + 3) == document
    found = read_document(forum_file(path), len(document) + 2)
    assert isinstance(found, Rejected)
    assert (found.reason, found.record) == (Reason.ROW_TOO_LARGE, "file")


def test_a_document_that_breaks_off_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "x.json.gz"
    path.write_bytes(gzip.compress(b"[" + b"1," * 9999 + b"1]")[:-9])
    found = read_document(forum_file(path))
    assert isinstance(found, Rejected)
    assert (found.id, found.reason, found.record) == (
        "x.json.gz",
        Reason.TRUNCATED_FILE,
        "file",
    )
    path.write_bytes(b"\x1f\x8b" + b"x" * 50)
    found = read_document(forum_file(path))
    assert isinstance(found, Rejected)
    assert found.reason == Reason.UNREADABLE_FILE
