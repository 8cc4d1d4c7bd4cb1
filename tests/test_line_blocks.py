"""Blocks of lines: all of a file together give what the whole file does, however it is cut."""

import bz2
import gzip
import hashlib
import lzma
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli import main
from schemas.audit import Reason, Rejected
from transforms.core.coders import StructCoder
from transforms.readers import read_files
from transforms.readers.base import ForumFile, Item, ReadRules
from transforms.readers.formats import compressed
from transforms.readers.formats.json_lines import decode_block, decode_lines
from transforms.readers.formats.line_blocks import LineBlock, cut_lines
from transforms.readers.paths import find_forum_files
from transforms.readers.read_files import MANY_WORKERS, MIN_CUT_BYTES, FilePart, bytes_to_cut
from transforms.readers.registry import SOURCES
from transforms.readers.source import FileSource

SAMPLES = Path(__file__).parents[1] / "samples"
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "zst": zstandard.ZstdCompressor().compress,
    "gz": lambda data: gzip.compress(data, mtime=0),
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "jsonl": lambda data: data,
}
LIMIT = 40


class Row(msgspec.Struct):
    id: str


ROWS = msgspec.json.Decoder(Row)
HOSTILE = b"\n".join(
    [
        b'\xef\xbb\xbf{"id":"bom"}',
        b'{"id":"crlf"}\r',
        b"",
        b" \t\r",
        b'{"id":"\0"}',
        b'{"id":"' + b"x" * LIMIT + b'"}',
        b'{"id":1}',
        b"\0" * 3,
        b'{"id":"a"}{"id":"b"}',
        b"\xff\xfe",
        b'\xef\xbb\xbf{"id":"\\ud83d"}',
        b'{"id":"\xe2\x82\xac"}',
        b"y" * (LIMIT + 1),
        b'{"id":"last"}',
    ]
)


def file_of(path: Path, kind: str = "reddit") -> ForumFile:
    return ForumFile(kind=kind, site="", path=str(path), size=path.stat().st_size)


def whole(file: ForumFile) -> list[object]:
    return list(decode_lines(file, ROWS, identify=identify, max_line_bytes=LIMIT))


def in_blocks(file: ForumFile, block_bytes: int) -> list[object]:
    coder = StructCoder(FilePart)
    blocks = cut_lines(file, block_bytes=block_bytes, max_line_bytes=LIMIT)
    parts = (coder.decode(coder.encode(FilePart(file, block))) for block in blocks)
    return [
        item
        for part in parts
        for item in decode_block(
            part.file, part.block, ROWS, identify=identify, max_line_bytes=LIMIT
        )
    ]


def identify(line: bytes) -> str | None:
    return f"of {len(line)} bytes" if line.startswith(b'{"id":1') else None


def small_reads(size: int) -> Any:
    return mock.patch.multiple(compressed, CHUNK_BYTES=size, READ_BYTES=size, SLICE_BYTES=size)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blocks")


@pytest.mark.parametrize("block_bytes", [1, 3, 17, 64, 1 << 20])
def test_a_file_that_ends_anywhere_is_read_alike(folder: Path, block_bytes: int) -> None:
    path = folder / "ends.jsonl"
    for end in range(len(HOSTILE) + 1):
        path.write_bytes(b" " + HOSTILE[:end])
        with small_reads(5):
            assert in_blocks(file_of(path), block_bytes) == whole(file_of(path)), end


def test_a_file_that_is_cut_anywhere_is_read_alike(folder: Path) -> None:
    path = folder / "cuts.jsonl"
    path.write_bytes(b" " + HOSTILE)
    expected = whole(file_of(path))
    assert len(expected) == 12 and sum(isinstance(item, Rejected) for item in expected) == 7
    for size in range(1, len(HOSTILE) + 2):
        with small_reads(size):
            assert in_blocks(file_of(path), size) == expected, size


@pytest.mark.parametrize("suffix", sorted(COMPRESS.keys() - {"jsonl"}))
def test_a_damaged_file_is_read_alike(folder: Path, suffix: str) -> None:
    path = folder / f"damaged.{suffix}"
    # In several members: what comes before the damaged one is read.
    data = COMPRESS[suffix](HOSTILE + b"\n") + COMPRESS[suffix](HOSTILE)
    reasons = set()
    for place in range(0, len(data), 3):
        for damaged in (
            data[:place],
            data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :],
        ):
            path.write_bytes(damaged)
            found = in_blocks(file_of(path), 30)
            assert found == whole(file_of(path)), place
            reasons |= {
                item.reason
                for item in found
                if isinstance(item, Rejected) and item.record == "file"
            }
    assert reasons == {Reason.TRUNCATED_FILE, Reason.UNREADABLE_FILE}


@given(
    lines=st.lists(
        st.one_of(
            st.binary(max_size=60).map(lambda data: data.replace(b"\n", b"")),
            st.text(max_size=25).map(lambda id: msgspec.json.encode(Row(id))),
            st.sampled_from([b"", b" ", b"{", b'{"id":1}', b"\xef\xbb\xbf"]),
        ),
        max_size=20,
    ),
    newline=st.sampled_from([b"\n", b"\r\n"]),
    ended=st.booleans(),
    reads=st.integers(1, 100),
    block_bytes=st.integers(1, 300),
    suffix=st.sampled_from(sorted(COMPRESS)),
)
def test_blocks_give_what_the_file_does(
    folder: Path,
    lines: list[bytes],
    newline: bytes,
    ended: bool,
    reads: int,
    block_bytes: int,
    suffix: str,
) -> None:
    data = newline.join(lines) + (newline if ended else b"")
    path = folder / f"any.{suffix}"
    path.write_bytes(COMPRESS[suffix](data) if suffix != "jsonl" else b" " + data)
    with small_reads(reads):
        assert in_blocks(file_of(path), block_bytes) == whole(file_of(path))


def test_blocks_are_small_and_hold_the_file(tmp_path: Path) -> None:
    lines = [b'{"id":"%d"}\n' % (i * i) for i in range(300_000)]
    lines[150_000] = b'{"id":"' + b"z" * 3_000_000 + b'"}\n'
    content = b"".join(lines)
    path = tmp_path / "x.zst"
    path.write_bytes(COMPRESS["zst"](content))
    blocks = list(cut_lines(file_of(path)))
    assert b"".join(block.content() for block in blocks) == content
    sizes = [block.size for block in blocks]
    # A block ends behind the read that fills it; only the one with the long line is larger.
    assert len(sizes) > 5 and sum(size > (1 << 20) + (1 << 18) for size in sizes) <= 1
    before = [content[: sum(sizes[:place])].count(b"\n") for place in range(len(sizes))]
    assert [block.lines_before for block in blocks] == before


def test_an_empty_file_is_one_block(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"")
    assert list(cut_lines(file_of(path))) == [LineBlock(0)]
    assert list(decode_block(file_of(path), LineBlock(0), ROWS)) == []


def test_utf_16_and_other_archives_are_told_once(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    for content in ('{"id":"a"}\n'.encode("utf-16") * 3, b"PK\x03\x04" + bytes(50)):
        path.write_bytes(content)
        [block] = cut_lines(file_of(path))
        assert block.rejected is not None and block.rejected.record == "file"
        assert block.rejected.reason is Reason.UNREADABLE_FILE


def test_a_missing_file_raises(tmp_path: Path) -> None:
    file = ForumFile(kind="reddit", site="", path=str(tmp_path / "x.jsonl"), size=1)
    with pytest.raises(FileNotFoundError):
        list(cut_lines(file))


# Readers


def pairs_file(folder: Path) -> Path:
    path = folder / "pairs.jsonl"
    rows = [
        {"prompt": f"What is {n}?", "chosen": f"It is {n}.", "rejected": "No."} for n in range(9)
    ]
    path.write_bytes(msgspec.json.Encoder().encode_lines([*rows, {"prompt": 1}, [2]]))
    return path


def files_of(source: FileSource, folder: Path) -> list[ForumFile]:
    places = [pairs_file(folder)] if source.kind == "pairs" else [SAMPLES / source.kind]
    return find_forum_files(source, [str(place) for place in places], [])


LINES = [source for source in SOURCES.values() if isinstance(source, FileSource) and source.lines]


@pytest.mark.parametrize("source", LINES, ids=lambda source: source.kind)
def test_every_reader_reads_blocks_as_it_reads_files(source: FileSource, tmp_path: Path) -> None:
    assert source.lines is not None
    several = 0
    for depth in (1, 3):
        rules = ReadRules(reply_depth=depth, licenses={source.kind: "CC0-1.0"})
        for file in files_of(source, tmp_path):
            if not source.lines.has_lines(file):
                continue
            with small_reads(500):
                blocks = list(cut_lines(file, block_bytes=1))
            found = list(
                chain.from_iterable(source.lines.read_block(file, b, rules) for b in blocks)
            )
            expected: list[Item] = list(source.read_file(file, rules))
            assert found == expected
            several += len(blocks) > 1 and bool(found)
    assert several


def test_all_readers_of_files_read_blocks() -> None:
    of_files = {s.kind for s in SOURCES.values() if isinstance(s, FileSource)}
    assert {source.kind for source in LINES} == of_files == SOURCES.keys() - {"stackexchange"}


@pytest.mark.parametrize(
    ("kind", "name", "content"),
    [
        ("reddit", "RC_2019-01.json", b'[\n{"id":"a"},\n{"id":"b"}\n]'),
        ("discourse", "1.json.gz", gzip.compress(b'{"post_stream":\n{}}')),
        ("lemmy", "x.json", b'{"posts":[]}\n{"posts":[]}\n'),
        ("threads", "x.json", b'[\n{"id":"a"},\n{"id":"b"}\n]'),
        ("threads", "x.parquet", b'{"id":"a"}\n'),
        ("threads", "x.jsonl", b"PAR1 and more"),
        ("pairs", "x.csv", b"a,b\n"),
        ("pairs", "x.json", b'[{"prompt":"a"},\n{"prompt":"b"}]\n'),
    ],
)
def test_what_is_not_of_lines_is_not_cut(
    tmp_path: Path, kind: str, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    source = SOURCES[kind]
    assert isinstance(source, FileSource) and source.lines is not None
    assert not source.lines.has_lines(file_of(path, kind))


# In the graph


def test_a_file_is_cut_where_others_would_wait_for_it() -> None:
    mb = 1 << 20
    assert bytes_to_cut([], 4) == MIN_CUT_BYTES
    assert bytes_to_cut([8 * mb], 2) <= 8 * mb < bytes_to_cut([8 * mb], 1)
    # As many equal files as workers: each has one.
    assert bytes_to_cut([9 * mb] * 4, 4) > 9 * mb >= bytes_to_cut([9 * mb] * 4, 5)
    assert bytes_to_cut([mb // 2], 8) > mb // 2
    unknown = bytes_to_cut([MANY_WORKERS * mb] * 4, None)
    assert unknown == bytes_to_cut([MANY_WORKERS * mb] * 4, MANY_WORKERS)


@pytest.mark.parametrize("damaged", [False, True])
def test_cut_files_give_the_same_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    (tmp_path / "in").mkdir()
    for path in (SAMPLES / "reddit").iterdir():
        data = path.read_bytes()
        if damaged and path.suffix == ".zst":
            data = data[: len(data) * 2 // 3]
        (tmp_path / "in" / path.name).write_bytes(data)
    seen = []

    def in_small_blocks(file: ForumFile) -> Iterator[LineBlock]:
        seen.append(file.name)
        return cut_lines(file, block_bytes=1000)

    def run(output: Path) -> None:
        named = ("--input", f"reddit={tmp_path / 'in'}", "--input", f"threads={SAMPLES}/threads")
        assert main(["curate", "--quiet", *named, "--output", str(output)]) == 0

    run(tmp_path / "whole/same")
    assert not seen
    monkeypatch.setattr(read_files, "bytes_to_cut", lambda sizes, workers: 0)
    monkeypatch.setattr(read_files, "cut_lines", in_small_blocks)
    run(tmp_path / "cut/same")
    assert {"RC_2019-05.zst", "RC_2019-06.bz2", "RS_2019-05.zst"} <= set(seen)
    assert digests(tmp_path / "cut/same") == digests(tmp_path / "whole/same")


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
