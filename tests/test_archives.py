import errno
import hashlib
import io
import os
import shutil
import stat
import zipfile
from pathlib import Path
from typing import Any

import py7zr
import pytest

from tests.dumps import DUMPS, needs_dumps
from tests.memory_files import MemoryFileSystem
from transforms.readers.base import InputProblem
from transforms.readers.stackexchange import unpack
from transforms.readers.stackexchange.archive_kinds import UnpackError, UnpackLimits, printable
from transforms.readers.stackexchange.archives import Site, find_sites, is_meta
from transforms.readers.stackexchange.unpack import unpack_tables
from transforms.readers.stackexchange.unpack_pool import WorkFolderError

SEVEN_ZIP = b"7z\xbc\xaf\x27\x1c"
POSTS = b'<posts><row Id="1" PostTypeId="1" /></posts>'
VOTES = b'<votes><row Id="1" PostId="1" /></votes>'


def make_7z(path: Path, **members: bytes) -> Path:
    with py7zr.SevenZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writef(io.BytesIO(data), f"{name}.xml")
    return path


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def make_folder(path: Path, **members: bytes) -> Path:
    path.mkdir(parents=True)
    for name, data in members.items():
        (path / f"{name}.xml").write_bytes(data)
    return path


def find(*specs: Path | str, work: Path, **limits: Any) -> tuple[list[Site], list[InputProblem]]:
    return find_sites([str(spec) for spec in specs], work, UnpackLimits(**limits))


def contents(site: Site) -> dict[str, bytes]:
    return {table: Path(file.path).read_bytes() for table, file in site.tables.items()}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.mark.parametrize("kind", ["folder", "file", "7z", "zip", "zip with folder", "parent"])
def test_a_site_is_found_however_it_is_given(tmp_path: Path, work: Path, kind: str) -> None:
    name = "beer.stackexchange.com"
    tables = {"Posts": POSTS, "Votes": VOTES, "Comments": b"<comments/>"}
    if kind in ("folder", "file", "parent"):
        spec = make_folder(tmp_path / "in" / name, **tables)
        spec = {"folder": spec, "file": spec / "Posts.xml", "parent": spec.parent}[kind]
    elif kind == "7z":
        spec = make_7z(tmp_path / f"{name}.7z", **tables)
    else:
        prefix = f"{name}/" if kind == "zip with folder" else ""
        members = {f"{prefix}{table}.xml": data for table, data in tables.items()}
        spec = make_zip(tmp_path / f"{name}.zip", members)
    [site], problems = find(spec, work=work)
    assert problems == []
    assert site.name == name
    assert contents(site) == {"Posts": POSTS, "Votes": VOTES}
    assert all(file.size == Path(file.path).stat().st_size for file in site.tables.values())
    for given in site.inputs:
        data = Path(given.path).read_bytes()
        assert (given.size, given.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    given_as = {Path(given.path).name for given in site.inputs}
    assert given_as == (
        {spec.name} if spec.suffix in (".7z", ".zip") else {"Posts.xml", "Votes.xml"}
    )


def test_archives_of_single_tables_are_one_site(tmp_path: Path, work: Path) -> None:
    make_7z(tmp_path / "stackoverflow.com-Posts.7z", Posts=POSTS)
    make_7z(tmp_path / "stackoverflow.com-Votes.7z", Votes=VOTES)
    make_7z(tmp_path / "stackoverflow.com-Comments.7z", Comments=b"<comments/>")
    [site], problems = find(tmp_path / "*.7z", work=work)
    assert problems == []
    assert site.name == "stackoverflow.com"
    assert contents(site) == {"Posts": POSTS, "Votes": VOTES}
    assert [Path(given.path).name for given in site.inputs] == [
        "stackoverflow.com-Posts.7z",
        "stackoverflow.com-Votes.7z",
    ]


def test_many_inputs_are_sorted_and_one_path_counts_once(tmp_path: Path, work: Path) -> None:
    folder = make_folder(tmp_path / "b.example.com", Posts=POSTS)
    make_7z(tmp_path / "a.example.com.7z", Posts=POSTS)
    link = tmp_path / "linked"
    link.symlink_to(tmp_path)
    sites, problems = find(folder, tmp_path, tmp_path / "*", link, work=work)
    assert [site.name for site in sites] == ["a.example.com", "b.example.com"]
    assert [problem.path for problem in problems] == []


def test_a_linked_folder_goes_by_the_name_of_the_link(tmp_path: Path, work: Path) -> None:
    make_folder(tmp_path / "data", Posts=POSTS)
    link = tmp_path / "beer.stackexchange.com"
    link.symlink_to(tmp_path / "data")
    [site], problems = find(link, work=work)
    assert (site.name, problems) == ("beer.stackexchange.com", [])


def test_a_site_that_is_given_twice_is_not_read(tmp_path: Path, work: Path) -> None:
    make_folder(tmp_path / "Beer.stackexchange.com", Posts=POSTS, Votes=VOTES)
    make_7z(tmp_path / "beer.stackexchange.com.7z", Posts=POSTS)
    make_7z(tmp_path / "ai.stackexchange.com.7z", Posts=POSTS)
    sites, [problem] = find(tmp_path, work=work)
    assert [site.name for site in sites] == ["ai.stackexchange.com"]
    assert "given 2 times" in problem.message
    parent = tmp_path.name
    assert f"'{parent}/Beer.stackexchange.com', " in problem.message
    assert f"'{parent}/beer.stackexchange.com.7z'" in problem.message
    assert str(tmp_path) not in problem.message
    assert problem.skipped


def test_a_folder_and_an_archive_of_one_table_do_not_mix(tmp_path: Path, work: Path) -> None:
    make_folder(tmp_path / "so.com", Posts=POSTS)
    make_7z(tmp_path / "so.com-Votes.7z", Votes=VOTES)
    sites, [problem] = find(tmp_path, work=work)
    assert sites == []
    assert "so.com is given 2 times" in problem.message


def test_the_same_table_twice_is_not_read(tmp_path: Path, work: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    make_7z(tmp_path / "x" / "so.com-Posts.7z", Posts=POSTS)
    make_7z(tmp_path / "y" / "so.com-Posts.7z", Posts=POSTS)
    make_7z(tmp_path / "x" / "so.com-Votes.7z", Votes=VOTES)
    sites, [problem] = find(tmp_path / "x", tmp_path / "y", work=work)
    assert sites == []
    assert "so.com is given 2 times" in problem.message


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.example.com.7z", SEVEN_ZIP + b"\x00" * 40, "it is damaged; download it again"),
        (
            "a.example.com.7z",
            SEVEN_ZIP + b"\x00" * 9,
            "it breaks off: it has 15 bytes of 32 or more",
        ),
        ("a.example.com.7z", b"", "it is empty; download it again"),
        ("a.example.com.zip", b"", "it is empty; download it again"),
        ("a.example.com.zip", b"PK\x03\x04 no", "the directory at its end is not there; download"),
        ("a.example.com.zip", b"PK\x07\x08PK\x03\x04", "one part of an archive in volumes; join"),
        ("a.example.com.7z", b"\r\n<!DOCTYPE html><html>", "it is a web page"),
        (
            "a.example.com.7z",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "git lfs pull",
        ),
        ("a.example.com.zip", b"<HTML><head>", "it is a web page"),
        ("a.example.com.zip", b"<?xml version='1.0'?><posts>", "it is XML and not packed; name it"),
        (
            "a.example.com.7z",
            b"Rar!\x1a\x07\x01\x00",
            "packed with rar, which is not read; unpack it",
        ),
        (
            "a.example.com.zip",
            b"\x1f\x8b\x08\x00",
            "packed with gzip, which is not read; unpack it",
        ),
        ("a.example.com.7z", b"BZh91AY", "packed with bzip2, which is not read; unpack it"),
        ("a.example.com.7z", b"Posts.xml" + bytes(248) + b"ustar\x00", "it is a tar archive"),
        ("a.example.com.7z", bytes(2000), "it holds zeros and no archive"),
        (
            "a.example.com.zip",
            b"Not found",
            "neither a 7z nor a zip archive, it starts with 'Not f",
        ),
        ("a.example.com.tar", b"", ".tar is packed in a way that is not read; unpack it"),
        ("a.example.com.tar.gz", b"", ".gz is packed in a way that is not read; unpack it"),
        ("a.example.com.rar", b"", ".rar is packed in a way that is not read; unpack it"),
        ("a.example.com.7z.part", b"", "its download is not finished"),
        ("a.b.com.7z.001", b"", "in volumes; join them, cat a.b.com.7z.* > a.b.com.7z, and give"),
        (
            "a.b.com.zip.002",
            b"",
            "in volumes; join them, cat a.b.com.zip.* > a.b.com.zip, and give",
        ),
        ("a.b.com.z01", b"", "in volumes; join them, zip -s 0 a.b.com.zip --out whole.zip"),
        ("a.b.com.part1.rar", b"", "it is one volume of a rar archive; unpack it yourself"),
        ("a.b.com.r00", b"", "it is one volume of a rar archive; unpack it yourself"),
        ("Tags.txt", b"", "neither Posts.xml nor"),
    ],
)
def test_a_file_that_is_no_archive_is_a_problem(
    tmp_path: Path, work: Path, name: str, data: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    good = make_folder(tmp_path / "b.example.com", Posts=POSTS)
    sites, [problem] = find(tmp_path / name, good, work=work)
    assert [site.name for site in sites] == ["b.example.com"]
    assert problem.path == str(tmp_path / name)
    assert message in problem.message


def test_each_unusable_path_is_a_problem_of_its_own(tmp_path: Path, work: Path) -> None:
    (tmp_path / "empty").mkdir()
    cases = {
        tmp_path / "missing": "does not exist",
        tmp_path / "*.nothing": "nothing matches",
        tmp_path / "empty": "no Posts.xml",
        make_folder(tmp_path / "votes.example.com", Votes=VOTES): "no Posts.xml",
        make_folder(tmp_path / "bad.example.com", Posts=b"rubbish"): "no XML tag",
        make_folder(tmp_path / "no.example.com", Posts=b"<posts></posts>"): "no <row>",
        make_folder(tmp_path / "swap.example.com", Posts=VOTES): "first tag is <votes>",
        make_folder(tmp_path / "my dump", Posts=POSTS): "host name",
        make_7z(tmp_path / "users.example.com.7z", Tags=POSTS): "no Posts.xml",
        make_7z(tmp_path / "so.com-Votes.7z", Votes=VOTES): "no Posts.xml",
        make_zip(tmp_path / "two.example.com.zip", {"a/Posts.xml": POSTS, "b/Posts.xml": POSTS}): (
            "twice"
        ),
    }
    sites, problems = find(*cases, work=work)
    assert sites == []
    found = {problem.path: problem.message for problem in problems}
    assert len(problems) == len(cases)
    for path, message in cases.items():
        given = (
            path / "Posts.xml" if (path / "Posts.xml").exists() and "host" not in message else path
        )
        assert message in found[str(given)], path


def test_a_bad_table_other_than_posts_is_left_out(tmp_path: Path, work: Path) -> None:
    folder = make_folder(tmp_path / "a.example.com", Posts=POSTS, Votes=b"\xef\xbb\xbf")
    [site], [problem] = find(folder, work=work)
    assert list(site.tables) == ["Posts"]
    assert problem.path == str(folder / "Votes.xml")
    assert "it is empty" in problem.message


@pytest.mark.parametrize("kind", ["folder", "file", "7z", "zip", "parent"])
@pytest.mark.parametrize(
    "name",
    ["mydump", "beer-2016", "localhost", "my.dump", "dump.2024", "127.0.0.1", "beer.com (1)"],
)
def test_what_has_no_host_name_is_not_read(
    tmp_path: Path, work: Path, kind: str, name: str
) -> None:
    if kind in ("7z", "zip"):
        spec = tmp_path / f"{name}.{kind}"
        make_7z(spec, Posts=POSTS) if kind == "7z" else make_zip(spec, {"Posts.xml": POSTS})
        path = spec
    else:
        path = make_folder(tmp_path / "in" / name, Posts=POSTS)
        spec = {"folder": path, "file": path / "Posts.xml", "parent": path.parent}[kind]
    sites, [problem] = find(spec, work=work)
    assert sites == []
    assert (problem.path, problem.skipped) == (str(path), True)
    assert problem.message.startswith(f"{name!r} is not a host name")
    assert "beer.stackexchange.com" in problem.message


@pytest.mark.parametrize(
    "name", ["Beer.StackExchange.com", "es.stackoverflow.com", "forum.golden.example", "a-b.co.uk"]
)
def test_a_host_name_in_any_case_is_a_site(tmp_path: Path, work: Path, name: str) -> None:
    folder = make_folder(tmp_path / name, Posts=POSTS)
    [site], problems = find(f"{folder}/", folder, folder / "Posts.xml", folder / ".", work=work)
    assert (site.name, problems) == (name.lower(), [])


def test_links_that_name_one_folder_by_two_hosts_are_told(tmp_path: Path, work: Path) -> None:
    make_folder(tmp_path / "data" / "mydump", Posts=POSTS)
    for name in ("b.example.com", "a.example.com"):
        (tmp_path / name).symlink_to(tmp_path / "data" / "mydump")
    for specs in ([tmp_path], [tmp_path / "b.example.com", tmp_path / "a.example.com"]):
        sites, [problem] = find(*specs, work=work)
        assert sites == []
        assert problem.path == str(tmp_path / "a.example.com")
        assert (
            "by several hosts: a.example.com, b.example.com; give it under one" in problem.message
        )
    # The folder itself has no host's name, and one link to it is what was asked for.
    [site], problems = find(tmp_path / "data", tmp_path / "b.example.com", work=work)
    assert (site.name, problems) == ("b.example.com", [])


def test_folders_of_single_tables_are_one_site(tmp_path: Path, work: Path) -> None:
    make_folder(tmp_path / "stackoverflow.com-Posts", Posts=POSTS)
    make_folder(tmp_path / "stackoverflow.com-Votes", Votes=VOTES, Posts=b"not this one")
    [site], problems = find(tmp_path, work=work)
    assert (site.name, problems) == ("stackoverflow.com", [])
    assert contents(site) == {"Posts": POSTS, "Votes": VOTES}


def test_a_folder_of_tables_may_also_hold_other_sites(tmp_path: Path, work: Path) -> None:
    folder = make_folder(tmp_path / "a.example.com", Posts=POSTS)
    make_7z(folder / "a.example.com.7z", Posts=POSTS)  # what the tables came out of
    make_7z(folder / "Posts.7z", Posts=POSTS)
    make_7z(folder / "b.example.com.7z", Posts=POSTS)
    make_folder(folder / "c.example.com", Posts=POSTS)
    sites, problems = find(folder, work=work)
    assert [site.name for site in sites] == ["a.example.com", "b.example.com", "c.example.com"]
    assert problems == []


def test_archives_of_other_kinds_in_a_folder_are_told(tmp_path: Path, work: Path) -> None:
    make_7z(tmp_path / "a.example.com.7z", Posts=POSTS)
    for name in (
        "v.7z.001",
        "v.7z.002",
        "v.7z.003",
        "x.rar",
        "y.tar.gz",
        "z.zip.part",
        "LICENSE.txt",
    ):
        (tmp_path / name).write_bytes(b"x")
    [site], problems = find(tmp_path, work=work)
    assert site.name == "a.example.com"
    assert [Path(problem.path).name for problem in problems] == [
        "v.7z.001",
        "x.rar",
        "y.tar.gz",
        "z.zip.part",
    ]


def test_what_is_no_file_is_told_and_not_waited_for(tmp_path: Path, work: Path) -> None:
    os.mkfifo(tmp_path / "a.example.com.7z")
    (tmp_path / "b.example.com.zip").symlink_to("/dev/zero")
    sites, problems = find(tmp_path, work=work)
    assert sites == []
    assert [problem.message for problem in problems] == [
        "it is not a file that can be read; leave it out"
    ] * 2


def test_names_in_an_archive_never_lead_out_of_the_work_folder(tmp_path: Path, work: Path) -> None:
    evil = {
        "../Posts.xml": b"evil",
        "/tmp/Votes.xml": b"evil",
        "C:\\Users.xml": b"evil",
        "a/../../PostLinks.xml": b"evil",
    }
    archive = make_zip(tmp_path / "evil.example.com.zip", evil)
    before = sorted(tmp_path.rglob("*"))
    sites, [problem] = find(archive, work=work)
    assert sites == []
    assert "no Posts.xml" in problem.message
    assert [path for path in sorted(tmp_path.rglob("*")) if path.is_file()] == [
        path for path in before if path.is_file()
    ]
    nested = make_zip(tmp_path / "nested.example.com.zip", {"x/y/posts.XML": POSTS})
    [site], _ = find(nested, work=work)
    assert Path(site.tables["Posts"].path) == work / "nested.example.com" / "Posts.xml"


@pytest.mark.parametrize("kind", ["zip", "7z"])
def test_links_in_an_archive_are_not_followed(tmp_path: Path, work: Path, kind: str) -> None:
    secret = tmp_path / "secret.xml"
    secret.write_bytes(POSTS)
    archive = tmp_path / f"link.example.com.{kind}"
    if kind == "zip":
        info = zipfile.ZipInfo("Posts.xml")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        with zipfile.ZipFile(archive, "w") as opened:
            opened.writestr(info, str(secret))
    else:
        (tmp_path / "Posts.xml").symlink_to(secret)
        with py7zr.SevenZipFile(archive, "w") as opened:
            opened.write(tmp_path / "Posts.xml", "Posts.xml")
        with py7zr.SevenZipFile(archive) as opened:
            assert opened.list()[0].is_symlink
    sites, [problem] = find(archive, work=work)
    assert sites == []
    assert "no Posts.xml" in problem.message


@pytest.mark.parametrize("kind", ["zip", "7z"])
@pytest.mark.parametrize("check_header", [True, False])
def test_bombs_are_refused_by_header_and_while_writing(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch, kind: str, check_header: bool
) -> None:
    zeros = b"<posts>" + b" " * 3_000_000 + b"<row/></posts>"
    archive = tmp_path / f"bomb.example.com.{kind}"
    make_zip(archive, {"Posts.xml": zeros}) if kind == "zip" else make_7z(archive, Posts=zeros)
    if not check_header:
        monkeypatch.setattr(unpack, "_check_sizes", lambda *_: None)
    written = []
    real = unpack._Guard.count
    monkeypatch.setattr(
        unpack._Guard, "count", lambda self, size: (written.append(size), real(self, size))
    )
    with pytest.raises(UnpackError, match=r"times its size"):
        unpack_tables(archive, work, limits=UnpackLimits(max_ratio=100))
    assert bool(written) != check_header
    assert list(work.iterdir()) == []
    with pytest.raises(UnpackError, match=r"more than the limit"):
        limits = UnpackLimits(max_unpacked_bytes=1_000_000, max_ratio=1e9)
        unpack_tables(archive, work, limits=limits)
    assert list(work.iterdir()) == []
    assert unpack_tables(archive, work, limits=UnpackLimits(max_ratio=1e9)) == {
        "Posts": work / "Posts.xml"
    }


def test_a_full_disk_is_told_before_anything_is_written(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make_7z(tmp_path / "a.example.com.7z", Posts=POSTS)
    usage = shutil.disk_usage(tmp_path)._replace(free=len(POSTS) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(WorkFolderError, match="free; make room") as caught:
        find(archive, work=work)
    assert str(archive) in str(caught.value)
    assert str(work) in str(caught.value)
    assert not any(path.is_file() for path in work.rglob("*"))


@pytest.mark.parametrize("kind", ["zip", "7z"])
@pytest.mark.parametrize("failure", ["full", "taken", "no folder"])
def test_a_work_folder_that_cannot_be_written_is_no_input_problem(
    tmp_path: Path, work: Path, kind: str, failure: str
) -> None:
    archive = tmp_path / f"a.example.com.{kind}"
    make_zip(archive, {"Posts.xml": POSTS}) if kind == "zip" else make_7z(archive, Posts=POSTS)
    folder = work / "a.example.com"
    if failure == "no folder":
        work.write_bytes(b"")
        cause = "Not a directory"
    else:
        folder.mkdir(parents=True)
    if failure == "taken":
        (folder / "Posts.xml").mkdir()
        cause = "Is a directory"
    if failure == "full":
        if not Path("/dev/full").exists():
            pytest.skip("/dev/full, a disk that is always full, is missing")
        (folder / "Posts.xml").symlink_to("/dev/full")
        cause = "No space left on device"
    with pytest.raises(WorkFolderError) as caught:
        find(archive, work=work)
    assert str(caught.value).startswith(f"{archive} cannot be unpacked to {folder}: {cause}; ")
    assert failure == "taken" or not (folder / "Posts.xml").is_symlink()


@pytest.mark.parametrize("kind", ["zip", "7z", "folder"])
def test_an_input_that_cannot_be_read_is_told_without_paths(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if kind == "folder":
        bad = make_folder(tmp_path / "a.example.com", Posts=POSTS) / "Posts.xml"
    else:
        bad = tmp_path / f"a.example.com.{kind}"
        make_zip(bad, {"Posts.xml": POSTS}) if kind == "zip" else make_7z(bad, Posts=POSTS)
    real = os.open

    def refuse(path: Any, *args: Any, **options: Any) -> int:
        if str(path) == str(bad):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    sites, [problem] = find(bad, work=work)
    assert sites == []
    assert problem.message == f"{bad.name} cannot be read: Permission denied"


def test_a_read_error_while_unpacking_is_told_without_paths(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error", str(tmp_path))

    archive = make_7z(tmp_path / "a.example.com.7z", Posts=POSTS)
    monkeypatch.setattr(py7zr.SevenZipFile, "extract", fail)
    sites, [problem] = find(archive, work=work)
    assert sites == []
    assert problem.message == "it cannot be read: Input/output error"


@pytest.mark.parametrize("remote", [False, True])
def test_one_table_under_two_names_is_not_read(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch, remote: bool
) -> None:
    folder = make_folder(tmp_path / "a.example.com", posts=POSTS, Votes=VOTES, Posts=POSTS)
    if len(list(folder.iterdir())) < 3:
        pytest.skip("the file system does not tell upper from lower case")
    spec = str(folder)
    if remote:
        spec = "memory://bucket/a.example.com"
        files = {f"{spec}/{path.name}": path.read_bytes() for path in folder.iterdir()}
        monkeypatch.setattr(MemoryFileSystem, "files", files)
    sites, [problem] = find(spec, work=work)
    assert sites == []
    assert (problem.path, problem.skipped) == (spec, True)
    assert problem.message == "it holds Posts.xml twice ('Posts.xml', 'posts.xml'); leave one"


def test_names_in_an_archive_do_not_steer_the_terminal(tmp_path: Path, work: Path) -> None:
    red = "\x1b[31m"
    twice = {f"{red}/Posts.xml": POSTS, f"{red}/posts.xml": POSTS}
    make_zip(tmp_path / "a.example.com.zip", twice)
    with py7zr.SevenZipFile(tmp_path / "b.example.com.7z", "w") as opened:
        opened.writef(io.BytesIO(os.urandom(50_000)), f"{red}/Posts.xml")
    data = bytearray((tmp_path / "b.example.com.7z").read_bytes())
    data[20_000] ^= 0xFF
    (tmp_path / "b.example.com.7z").write_bytes(data)
    sites, problems = find(tmp_path, work=work)
    assert sites == []
    assert "'\\x1b[31m/Posts.xml', '\\x1b[31m/posts.xml'" in problems[0].message
    assert "damaged" in problems[1].message
    assert all(problem.message.isprintable() for problem in problems)
    assert printable(f"é {red}\n") == "é \\x1b[31m\\n"


def test_a_damaged_member_leaves_no_half_file(tmp_path: Path, work: Path) -> None:
    archive = make_7z(tmp_path / "a.example.com.7z", Posts=os.urandom(50_000), Votes=VOTES)
    data = bytearray(archive.read_bytes())
    data[20_000] ^= 0xFF
    archive.write_bytes(data)
    sites, [problem] = find(archive, work=work)
    assert sites == []
    assert "damaged" in problem.message
    assert not any(path.is_file() for path in work.rglob("*"))


def test_an_encrypted_archive_says_so(tmp_path: Path, work: Path) -> None:
    archive = tmp_path / "a.example.com.7z"
    with py7zr.SevenZipFile(archive, "w", password="secret") as opened:
        opened.writef(io.BytesIO(POSTS), "Posts.xml")
    _, [problem] = find(archive, work=work)
    assert "encrypted" in problem.message


def test_remote_tables_are_read_where_they_are(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = "memory://bucket/dumps/ai.stackexchange.com"
    files = {f"{site}/Posts.xml": POSTS, f"{site}/Votes.xml": VOTES, f"{site}/Tags.xml": b"<tags/>"}
    monkeypatch.setattr(MemoryFileSystem, "files", files)
    for spec in (site, f"{site}/Posts.xml", "memory://bucket/dumps/"):
        [found], problems = find(spec, work=work)
        assert problems == []
        assert found.name == "ai.stackexchange.com"
        assert {table: file.path for table, file in found.tables.items()} == {
            "Posts": f"{site}/Posts.xml",
            "Votes": f"{site}/Votes.xml",
        }
        assert [(given.size, given.sha256) for given in found.inputs] == [
            (len(POSTS), ""),
            (len(VOTES), ""),
        ]
    _, problems = find(f"{site}.7z", "memory://bucket/none", "nosuch://bucket/x", work=work)
    assert [problem.message.split(";")[0] for problem in problems[:2]] == [
        "archives are read from local disks only",
        "no Posts.xml is there",
    ]
    assert "cannot be listed" in problems[2].message


@pytest.mark.parametrize(
    ("site", "meta"),
    [
        ("meta.stackexchange.com", True),
        ("french.meta.stackexchange.com", True),
        ("meta.stackoverflow.com", True),
        ("metaphysics.stackexchange.com", False),
        ("stackoverflow.com", False),
        ("beer-meta.example.com", False),
    ],
)
def test_is_meta(site: str, meta: bool) -> None:
    assert is_meta(site) is meta


@needs_dumps
def test_real_and_really_broken_inputs(tmp_path: Path, work: Path) -> None:
    sites, problems = find(DUMPS, work=work)
    by_name = {site.name: site for site in sites}
    assert list(by_name) == sorted(by_name)
    assert by_name.keys() >= {
        "ai.stackexchange.com",
        "beer.stackexchange.com",
        "datascience.meta.stackexchange.com",
        "french.meta.stackexchange.com",
    }
    assert not [name for name in by_name if name == "broken" or "coffee" in name]
    assert [(Path(found.path).name, found.skipped) for found in problems] == [("beer-2016", True)]
    beer = by_name["beer.stackexchange.com"]
    assert list(beer.tables) == ["Posts", "Votes", "Users", "PostLinks", "PostHistory"]

    # Most of these are not named by a host, which links to them are.
    for path in sorted((DUMPS / "broken").iterdir()):
        name = path.name.lower().replace(".xml.7z", ".example.com.7z")
        (tmp_path / name.replace("corrupted.7z", "corrupted.example.com.7z")).symlink_to(path)
    sites, problems = find(tmp_path, work=work)
    assert len(sites) == 3
    assert sorted(Path(problem.path).name for problem in problems) == [
        "coffee.corrupted.example.com.7z",
        "coffee.meta.stackexchange.com.7z",
        "coffee.rubbish.in.posts.example.com.7z",
    ]
