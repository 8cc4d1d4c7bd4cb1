"""Compressed files: all members, all that can be saved of a broken one, memory with a bound."""

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from schemas.audit import Reason
from transforms.core import counters
from transforms.readers.formats import compressed
from transforms.readers.formats.compressed import BrokenFile, CompressedFile, recognise

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    "gz": lambda data: gzip.compress(data, mtime=0),
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "ndjson": lambda data: data,
}
PACKED = [name for name in COMPRESS if name != "ndjson"]
TEXT = b"".join(b'{"id": %d, "text": "%s"}\n' % (i, b"abc" * (i % 7)) for i in range(3000))
SQUARES = b"".join(b"%d\n" % (i * i) for i in range(100_000))


def read(path: Path) -> tuple[bytes, BrokenFile | None]:
    """What a file gives, and what stopped it."""
    parts = []
    try:
        for chunk in CompressedFile(str(path)).chunks():
            parts.append(chunk)
    except BrokenFile as error:
        return b"".join(parts), error
    return b"".join(parts), None


def broken(path: Path, data: bytes) -> tuple[bytes, Reason, str]:
    path.write_bytes(data)
    content, error = read(path)
    assert error is not None
    return content, error.reason, error.detail


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compressed")


@given(
    members=st.lists(st.binary(max_size=2000), max_size=5),
    suffix=st.sampled_from(sorted(COMPRESS)),
    read_bytes=st.integers(1, 50),
    slice_bytes=st.integers(1, 50),
)
def test_all_members_are_read(
    folder: Path, members: list[bytes], suffix: str, read_bytes: int, slice_bytes: int
) -> None:
    path = folder / f"members.{suffix}"
    data = b"".join(COMPRESS[suffix](b"{" + member) for member in members)
    path.write_bytes(data)
    expected = b"".join(b"{" + member for member in members)
    with (
        mock.patch.object(compressed, "READ_BYTES", max(read_bytes, 16)),
        mock.patch.object(compressed, "SLICE_BYTES", slice_bytes),
    ):
        content, error = read(path)
    assert content == expected
    assert (error is None) == bool(members or suffix == "ndjson")


@pytest.mark.parametrize("suffix", PACKED)
def test_the_name_does_not_matter(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "RC_2006-01"
    path.write_bytes(COMPRESS[suffix](TEXT))
    assert read(path) == (TEXT, None)


def test_plain_json_with_a_misleading_name(tmp_path: Path) -> None:
    path = tmp_path / "RC.zst"
    path.write_bytes(b"\xef\xbb\xbf  " + TEXT)
    assert read(path) == (b"\xef\xbb\xbf  " + TEXT, None)


@pytest.mark.parametrize("suffix", PACKED)
def test_a_cut_gives_what_came_before(tmp_path: Path, suffix: str) -> None:
    first = COMPRESS[suffix](TEXT)
    data = first + COMPRESS[suffix](TEXT)
    for cut in (1, 3, len(first) // 2, len(first) - 1, len(first) + 3, len(data) - 1):
        content, reason, detail = broken(tmp_path / f"cut.{suffix}", data[:cut])
        assert reason == Reason.TRUNCATED_FILE, cut
        assert detail
        assert (TEXT + TEXT).startswith(content)
        assert len(content) >= (len(TEXT) if cut >= len(first) else 0)
    path = tmp_path / f"whole.{suffix}"
    path.write_bytes(first)
    assert read(path) == (TEXT, None)


def test_a_cut_zstd_file_gives_all_whole_blocks(tmp_path: Path) -> None:
    data = COMPRESS["zst"](SQUARES)
    content, reason, _ = broken(tmp_path / "cut.zst", data[: len(data) // 2])
    assert reason == Reason.TRUNCATED_FILE
    assert len(content) > len(SQUARES) // 3
    assert SQUARES.startswith(content)


@pytest.mark.parametrize("suffix", PACKED)
def test_an_empty_file_that_should_be_compressed_is_truncated(tmp_path: Path, suffix: str) -> None:
    content, reason, _ = broken(tmp_path / f"RC.{suffix.upper()}", b"")
    assert (content, reason) == (b"", Reason.TRUNCATED_FILE)


def test_an_empty_plain_file_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "RC.ndjson"
    path.touch()
    assert read(path) == (b"", None)


@pytest.mark.parametrize("suffix", PACKED)
def test_rubbish_under_a_magic_is_unreadable(tmp_path: Path, suffix: str) -> None:
    data = COMPRESS[suffix](TEXT)[:6] + b"\xff" * 100
    content, reason, detail = broken(tmp_path / "file", data)
    assert (content, reason) == (b"", Reason.UNREADABLE_FILE)
    assert "damaged" in detail


@pytest.mark.parametrize("suffix", PACKED)
def test_rubbish_after_a_member_ends_the_reading(tmp_path: Path, suffix: str) -> None:
    for more in (
        b"rubbish",
        b"r",
        b"<html>" * 3000,
        COMPRESS["gz" if suffix != "gz" else "xz"](TEXT),
    ):
        content, reason, detail = broken(tmp_path / f"file.{suffix}", COMPRESS[suffix](TEXT) + more)
        assert content == TEXT
        assert reason == Reason.TRUNCATED_FILE
        assert "data there is something else" in detail


@pytest.mark.parametrize("suffix", PACKED)
def test_zeros_after_a_member_are_padding(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"file.{suffix}"
    path.write_bytes(COMPRESS[suffix](TEXT) + bytes(5000) + COMPRESS[suffix](TEXT) + bytes(8))
    assert read(path) == (TEXT + TEXT, None)


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"PK\x03\x04", "zip"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"Rar!\x1a", "rar"),
        (b"\x04\x22\x4d\x18", "lz4"),
        (b"\x5d\x00\x00\x80", "lzma"),
        (b"LZIP\x01", "lzip"),
        (b"\x89LZO\x00", "lzop"),
        (b"\x1f\x9d\x90", "compress"),
        (b"\x27\xb5\x2f\xfd", "before version 1.0"),
        (b"RC_2019-01" + bytes(247) + b"ustar\x00", "tar"),
        ("\ufeff{}".encode("utf-16-le"), "UTF-16"),
        ("\ufeff{}".encode("utf-16-be"), "UTF-16"),
    ],
)
def test_what_is_no_text_says_what_it_is(tmp_path: Path, start: bytes, what: str) -> None:
    _, reason, detail = broken(tmp_path / "file.json", start + bytes(100))
    assert reason == Reason.UNREADABLE_FILE
    assert what in detail


def test_a_page_under_the_name_of_an_archive_is_unreadable(tmp_path: Path) -> None:
    _, reason, detail = broken(tmp_path / "RC.zst", b"<html>not found</html>")
    assert reason == Reason.UNREADABLE_FILE
    assert "<html>" in detail


def zstd_frame(blocks: list[bytes], window: int) -> bytes:
    """A frame by hand: ``window`` is the exponent over 1 KiB; blocks with their headers."""
    return b"\x28\xb5\x2f\xfd" + bytes([0, window << 3]) + b"".join(blocks)


def test_the_largest_window_is_read(tmp_path: Path) -> None:
    block = ((len(b"{}\n") << 3) | 1).to_bytes(3, "little") + b"{}\n"
    frame = zstd_frame([block], window=21)
    with pytest.raises(zstandard.ZstdError):
        zstandard.ZstdDecompressor().decompressobj().decompress(frame)
    path = tmp_path / "RC.zst"
    path.write_bytes(frame + frame)
    assert read(path) == (b"{}\n{}\n", None)


@pytest.mark.parametrize("size", [1 << 32, 1 << 36])
def test_a_window_that_is_too_large_is_no_damage(tmp_path: Path, size: int) -> None:
    for before in (b"", COMPRESS["zst"](TEXT)):
        data = before + large_window(size) + bytes(50)
        content, reason, detail = broken(tmp_path / "RC.zst", data)
        assert content == (TEXT if before else b"")
        assert reason == (Reason.TRUNCATED_FILE if before else Reason.UNREADABLE_FILE)
        assert detail.startswith(f"its zstd window of {size >> 30} GiB is larger than 2 GiB")


def test_a_dictionary_that_is_not_there_is_no_damage(tmp_path: Path) -> None:
    samples = [b'{"id": "%d", "body": "text %d of many"}' % (n, n * n) for n in range(2000)]
    dictionary = zstandard.train_dictionary(4000, samples)
    data = zstandard.ZstdCompressor(dict_data=dictionary).compress(b"".join(samples))
    content, reason, detail = broken(tmp_path / "RC.zst", data)
    assert (content, reason) == (b"", Reason.UNREADABLE_FILE)
    assert "need a dictionary, which is not in the file" in detail


@pytest.mark.parametrize("suffix", PACKED)
def test_a_tar_archive_inside_says_so(tmp_path: Path, suffix: str) -> None:
    member = io.BytesIO()
    with tarfile.open(fileobj=member, mode="w") as archive:
        info = tarfile.TarInfo("RC_2019-01.json")
        info.size = len(TEXT)
        archive.addfile(info, io.BytesIO(TEXT))
    content, reason, detail = broken(
        tmp_path / f"a.tar.{suffix}", COMPRESS[suffix](member.getvalue())
    )
    assert (content, reason) == (b"", Reason.UNREADABLE_FILE)
    assert detail == "it is a tar archive; unpack it"


def test_a_text_about_tar_is_no_tar_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"body": "' + b"x" * 247 + b'ustar is how it begins"}\n')
    assert read(path) == (path.read_bytes(), None)
    with tarfile.open(path, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("RC_2019-01.json"))
    assert "tar archive" in str(read(path)[1])


def test_frames_to_skip_are_skipped(tmp_path: Path) -> None:
    skip = b"\x5a\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
    path = tmp_path / "RC"
    path.write_bytes(skip + COMPRESS["zst"](TEXT) + skip + COMPRESS["zst"](TEXT))
    assert read(path) == (TEXT + TEXT, None)


def test_no_file_fills_the_memory(tmp_path: Path) -> None:
    # 4 bytes that stand for 128 KiB, the most that zstd can do.
    repeat = (((128 << 10) << 3) | 2).to_bytes(3, "little") + b"x"
    path = tmp_path / "bomb.zst"
    path.write_bytes(zstd_frame([repeat] * 2500, window=7))
    sizes = []
    with pytest.raises(BrokenFile):
        for chunk in CompressedFile(str(path)).chunks():
            sizes.append(len(chunk))
    assert sum(sizes) == 2500 * (128 << 10)
    assert max(sizes) <= (128 << 20) + compressed.CHUNK_BYTES


def test_chunks_are_worth_their_handling(tmp_path: Path) -> None:
    path = tmp_path / "RC.zst"
    path.write_bytes(COMPRESS["zst"](SQUARES))
    sizes = [len(chunk) for chunk in CompressedFile(str(path)).chunks()]
    assert len(sizes) > 1
    assert min(sizes[:-1]) >= compressed.CHUNK_BYTES


@pytest.mark.parametrize("suffix", sorted(COMPRESS))
def test_progress_is_counted_in_compressed_bytes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"RC.{suffix}"
    path.write_bytes(COMPRESS[suffix](TEXT))
    key = "CompressedFile/in-bytes"
    before = counters.totals[key]
    steps = []
    with mock.patch.object(compressed, "READ_BYTES", 1000):
        for _ in CompressedFile(str(path)).chunks():
            steps.append(counters.totals[key] - before)
    assert counters.totals[key] - before == path.stat().st_size
    assert steps[0] <= steps[-1]


def test_a_missing_file_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(CompressedFile(str(tmp_path / "RC.zst")).chunks())


@pytest.mark.parametrize("suffix", sorted(COMPRESS))
def test_an_error_of_the_disk_is_no_broken_file(suffix: str) -> None:
    data = COMPRESS[suffix](TEXT)

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell():
                raise OSError(5, "Input/output error")
            return super().read(min(size or 0, len(data) // 2))

    with (
        mock.patch.object(compressed, "open_input", lambda _: Failing(data)),
        pytest.raises(OSError, match="Input/output error"),
    ):
        list(CompressedFile(f"RC.{suffix}").chunks())


def test_no_memory_for_a_window_is_no_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "RC.zst"
    path.write_bytes(COMPRESS["zst"](TEXT))
    failing = mock.Mock()
    failing.return_value.decompressobj.return_value.decompress.side_effect = zstandard.ZstdError
    asked = []

    def has_memory(size: int) -> bool:
        asked.append(size)
        return size < 1 << 20

    window = 1 << 27
    path.write_bytes(large_window(window))
    with (
        mock.patch.object(compressed.zstandard, "ZstdDecompressor", failing),
        mock.patch.object(compressed, "_has_memory", has_memory),
        pytest.raises(MemoryError),
    ):
        list(CompressedFile(str(path)).chunks())
    assert asked == [window]
    path.write_bytes(COMPRESS["zst"](TEXT))
    with (
        mock.patch.object(compressed.zstandard, "ZstdDecompressor", failing),
        mock.patch.object(compressed, "_has_memory", has_memory),
        pytest.raises(compressed.BrokenFile),
    ):
        list(CompressedFile(str(path)).chunks())


def large_window(size: int) -> bytes:
    """A frame of zstd whose header asks for a window of ``size`` bytes (RFC 8878, 3.1.1.1.2)."""
    return b"\x28\xb5\x2f\xfd\x00" + bytes([(size.bit_length() - 11) << 3]) + b"\x01\0\0"


def test_recognise_needs_no_name() -> None:
    found = recognise("", COMPRESS["bz2"](b""))
    assert found is not None
    assert found.name == "bzip2"
    assert recognise("RC_2006-01.json", b"{}") is None
