"""Archives as other programs write them: each fault is told with its own remedy."""

import io
import shutil
import struct
import subprocess
import zipfile
import zlib
from pathlib import Path

import py7zr
import pytest

from transforms.readers.stackexchange import archive_kinds
from transforms.readers.stackexchange.archive_kinds import UnpackError
from transforms.readers.stackexchange.archives import find_sites
from transforms.readers.stackexchange.unpack import unpack_tables
from transforms.readers.stackexchange.unpack_pool import WorkFolderError

POSTS = b"<posts>" + b'<row Id="1" PostTypeId="1" />' * 40 + b"</posts>"
NOT_READ = "it is compressed in a way that is not read"
BY_HAND = "unpack it yourself and give the folder"


def make_zip(path: Path, *members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return path


def patch_zip(path: Path, at: int, value: int) -> None:
    """Overwrite a 16-bit field of every member: ``at`` counts from 'version needed'."""
    data = bytearray(path.read_bytes())
    for magic, first in ((b"PK\x03\x04", 4), (b"PK\x01\x02", 6)):
        start = data.find(magic)
        while start >= 0:
            struct.pack_into("<H", data, start + first + at, value)
            start = data.find(magic, start + 4)
    path.write_bytes(data)


def make_7z(path: Path, name: str = "Posts.xml", data: bytes = POSTS, **options: object) -> Path:
    with py7zr.SevenZipFile(path, "w", **options) as archive:
        archive.set_encoded_header_mode(False)  # as it is, so that a test can patch it
        archive.writef(io.BytesIO(data), name)
    return path


def patch_7z(path: Path, old: bytes, new: bytes) -> None:
    """Replace bytes of the header, and make its checksums right again."""
    data = bytearray(path.read_bytes())
    _, _, _, offset, length, _ = struct.unpack_from("<6s2sIQQI", data)
    header = data[32 + offset : 32 + offset + length]
    assert old in header
    assert len(old) == len(new)
    header = header.replace(old, new)
    data[32 + offset : 32 + offset + length] = header
    struct.pack_into("<I", data, 28, zlib.crc32(header))
    struct.pack_into("<I", data, 8, zlib.crc32(data[12:32]))
    path.write_bytes(data)


def why(archive: Path, work: Path) -> str:
    with pytest.raises(UnpackError) as caught:
        unpack_tables(archive, work)
    assert list(work.iterdir()) == []
    return str(caught.value)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (9, "Deflate64"),
        (6, "Implode"),
        (93, "Zstandard"),
        (95, "XZ"),
        (98, "PPMd"),
        (77, "method 77"),
    ],
)
def test_a_zip_method_that_is_not_read_is_named(
    tmp_path: Path, work: Path, number: int, name: str
) -> None:
    archive = make_zip(tmp_path / "a.zip", ("Posts.xml", POSTS))
    patch_zip(archive, 4, number)
    assert why(archive, work) == f"{NOT_READ} ({name}); {BY_HAND}"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_zip_methods_are_read(tmp_path: Path, work: Path, method: int) -> None:
    archive = make_zip(tmp_path / "a.zip", ("Posts.xml", POSTS), method=method)
    assert unpack_tables(archive, work)["Posts"].read_bytes() == POSTS


def test_only_the_tables_that_are_read_must_be_readable(tmp_path: Path, work: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", ("Comments.xml", POSTS))
    patch_zip(archive, 4, 9)
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("Posts.xml", POSTS)
    assert list(unpack_tables(archive, work)) == ["Posts"]


@pytest.mark.parametrize("flag", [0x1, 0x40 | 0x1, 0x40])
def test_an_encrypted_zip_says_so(tmp_path: Path, work: Path, flag: int) -> None:
    archive = make_zip(tmp_path / "a.zip", ("Posts.xml", POSTS))
    patch_zip(archive, 2, flag)
    assert why(archive, work) == f"it is encrypted; {BY_HAND}"


def test_a_zip_of_winzip_with_aes_says_so(tmp_path: Path, work: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", ("Posts.xml", POSTS))
    patch_zip(archive, 4, 99)
    assert why(archive, work) == f"it is encrypted; {BY_HAND}"


@pytest.mark.parametrize("method", [b"\x03\x03\x01\x1b", b"\x04\xf7\x11\x04"], ids=["BCJ2", "LZ4"])
def test_a_7z_method_that_is_not_read_is_no_damage(
    tmp_path: Path, work: Path, method: bytes
) -> None:
    filters = [{"id": py7zr.FILTER_X86}, {"id": py7zr.FILTER_LZMA2, "preset": 1}]
    archive = make_7z(tmp_path / "a.7z", filters=filters)
    patch_7z(archive, b"\x03\x03\x01\x03", method)
    assert why(archive, work) == f"{NOT_READ}; {BY_HAND}"


@pytest.mark.parametrize(
    "filters",
    [
        [{"id": py7zr.FILTER_PPMD, "order": 6, "mem": 24}],
        [{"id": py7zr.FILTER_ZSTD, "level": 3}],
        [{"id": py7zr.FILTER_BZIP2}],
        [{"id": py7zr.FILTER_DEFLATE}],
        [{"id": py7zr.FILTER_LZMA}],
        [{"id": py7zr.FILTER_DELTA}, {"id": py7zr.FILTER_LZMA2, "preset": 1}],
    ],
    ids=["PPMd", "Zstandard", "bzip2", "Deflate", "LZMA", "Delta"],
)
def test_other_7z_methods_are_read(
    tmp_path: Path, work: Path, filters: list[dict[str, int]]
) -> None:
    archive = make_7z(tmp_path / "a.7z", filters=filters)
    assert unpack_tables(archive, work)["Posts"].read_bytes() == POSTS


def test_a_7z_with_an_encrypted_list_of_files_says_so(tmp_path: Path, work: Path) -> None:
    archive = tmp_path / "a.7z"
    with py7zr.SevenZipFile(archive, "w", password="x", header_encryption=True) as opened:
        opened.writef(io.BytesIO(POSTS), "Posts.xml")
    assert why(archive, work) == f"it is encrypted; {BY_HAND}"


@pytest.mark.parametrize("kind", ["7z", "zip"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_an_archive_that_breaks_off_says_so(
    tmp_path: Path, work: Path, kind: str, share: float
) -> None:
    archive = tmp_path / f"a.{kind}"
    make_7z(archive) if kind == "7z" else make_zip(archive, ("Posts.xml", POSTS))
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * share)])
    assert why(archive, work).startswith("it breaks off: ")


@pytest.mark.parametrize("kind", ["7z", "zip"])
def test_the_bytes_of_an_archive_count_and_not_its_name(
    tmp_path: Path, work: Path, kind: str
) -> None:
    archive = tmp_path / ("a.zip" if kind == "7z" else "a.7z")
    make_7z(archive) if kind == "7z" else make_zip(archive, ("Posts.xml", POSTS))
    assert unpack_tables(archive, work)["Posts"].read_bytes() == POSTS


def test_a_zip_behind_a_program_that_unpacks_it_is_read(tmp_path: Path, work: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", ("Posts.xml", POSTS))
    archive.write_bytes(b"#!/bin/sh\nexit\n" + archive.read_bytes())
    assert unpack_tables(archive, work)["Posts"].read_bytes() == POSTS


@pytest.mark.skipif(shutil.which("zip") is None, reason="the program zip is missing")
def test_the_last_volume_of_a_zip_says_so(tmp_path: Path, work: Path) -> None:
    (tmp_path / "Posts.xml").write_bytes(bytes(range(256)) * 2000)
    command = ["zip", "-q", "-0", "-s", "64k", "a.zip", "Posts.xml"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert (tmp_path / "a.z01").exists()
    assert "it is one part of an archive in volumes; join them" in why(tmp_path / "a.zip", work)
    first = shutil.move(tmp_path / "a.z01", tmp_path / "b.zip")
    assert "it is one part of an archive in volumes; join them" in why(Path(first), work)


@pytest.mark.parametrize("kind", ["7z", "zip"])
def test_an_archive_in_an_archive_says_so(tmp_path: Path, work: Path, kind: str) -> None:
    inner = make_7z(tmp_path / "in.7z").read_bytes()
    archive = tmp_path / f"a.{kind}"
    if kind == "7z":
        make_7z(archive, "x/a.example.com.7z", inner)
    else:
        make_zip(archive, ("x/a.example.com.7z", inner))
    message = "it holds no table but an archive, 'x/a.example.com.7z'; unpack it and give what"
    assert why(archive, work).startswith(message)


def test_members_without_a_name_are_passed_over(tmp_path: Path, work: Path) -> None:
    archive = make_zip(tmp_path / "a.example.com.zip", ("", b"x"), ("Posts.xml", POSTS))
    [site], problems = find_sites([str(archive)], work)
    assert problems == []
    assert Path(site.tables["Posts"].path).read_bytes() == POSTS
    archive = make_zip(tmp_path / "b.example.com.zip", ("", POSTS), ("/", b""), (".", b""))
    _, [problem] = find_sites([str(archive)], work)
    assert problem.message.startswith("it holds no Posts.xml")


def test_one_unusable_archive_leaves_the_others(tmp_path: Path, work: Path) -> None:
    bad = make_zip(tmp_path / "b.example.com.zip", ("Posts.xml", POSTS))
    patch_zip(bad, 4, 9)
    make_7z(tmp_path / "a.example.com.7z")
    sites, [problem] = find_sites([str(tmp_path)], work)
    assert [site.name for site in sites] == ["a.example.com"]
    assert problem.path == str(bad)


@pytest.mark.parametrize("kind", ["7z", "zip"])
def test_too_little_memory_is_no_fault_of_the_archive(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    archive = tmp_path / f"a.{kind}"
    make_7z(archive) if kind == "7z" else make_zip(archive, ("Posts.xml", POSTS))
    monkeypatch.setattr(py7zr.SevenZipFile, "extract", fail)
    monkeypatch.setattr(zipfile.ZipExtFile, "read", fail)
    with pytest.raises(WorkFolderError, match=r"takes more memory to unpack than there is"):
        unpack_tables(archive, work)
    assert list(work.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("a.7z.0001", "cat a.7z.* > a.7z"),
        ("it's.7z.001", "cat 'it'\"'\"'s.7z'.* > 'it'\"'\"'s.7z'"),
        ("A.TAR.01", "cat A.TAR.* > A.TAR"),
        ("a.Z02", "zip -s 0 a.zip --out whole.zip"),
        ("a.part12.RAR", "rar"),
        ("a.zip.crdownload", "not finished"),
        ("a.xz", ".xz is packed"),
    ],
)
def test_names_of_what_is_not_read(name: str, what: str) -> None:
    assert what in (archive_kinds.why_not_an_archive(name) or "")


@pytest.mark.parametrize(
    "name", ["Posts.xml", "LICENSE", "a.txt", "a.7z", "a.zip", "x.001", "a.part"]
)
def test_other_names_say_nothing(name: str) -> None:
    assert archive_kinds.why_not_an_archive(name) is None


def test_the_volumes_of_one_archive_have_one_name_in_common() -> None:
    names = (
        "a.7z.001",
        "a.7z.002",
        "b.z01",
        "b.z02",
        "c.part1.rar",
        "c.part2.rar",
        "d.r00",
        "d.r01",
    )
    assert {archive_kinds.volume_set(name) for name in names} == {"a.7z", "b", "c", "d"}
    assert archive_kinds.volume_set("e.rar") == "e.rar"
