import os
from pathlib import Path

import pytest

from schemas.audit import Reason
from transforms.readers.base import InputProblem
from transforms.readers.paths import find_forum_files
from transforms.readers.source import FileSource

MONTHS = FileSource(
    kind="months",
    read_file=lambda file, rules: iter(()),
    suffixes=(".zst", ".json"),
    help="",
    refuse=lambda name: "that month is no good" if "2023-08" in name else None,
    refused_as=Reason.UNUSABLE_MONTH,
)
HOSTS = FileSource(
    kind="hosts",
    read_file=lambda file, rules: iter(()),
    suffixes=(".json",),
    help="",
    has_sites=True,
)


def put(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    return folder


def find(source: FileSource, *specs: object) -> tuple[list[tuple[str, str]], list[InputProblem]]:
    problems: list[InputProblem] = []
    files = find_forum_files(source, [str(spec) for spec in specs], problems)
    assert all(file.size == 5 and file.kind == source.kind for file in files)
    return [(file.site, file.name) for file in files], problems


def test_a_folder_gives_the_files_of_the_source_below_it_each_once(tmp_path: Path) -> None:
    put(tmp_path, "b.zst", "sub/A.ZST", "notes.txt", "a.json")
    (tmp_path / "link.zst").symlink_to(tmp_path / "b.zst")
    files, problems = find(MONTHS, tmp_path, tmp_path / "b.zst", tmp_path / "*.json")
    assert files == [("", "a.json"), ("", "b.zst"), ("", "A.ZST")]
    assert problems == []


def test_a_file_named_outright_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    put(tmp_path, "dump.txt")
    assert find(MONTHS, tmp_path / "dump.txt") == ([("", "dump.txt")], [])


def test_a_refused_file_and_an_empty_folder_are_problems(tmp_path: Path) -> None:
    put(tmp_path, "RC_2023-08.zst", "RC_2023-12.zst")
    (tmp_path / "empty").mkdir()
    files, problems = find(MONTHS, tmp_path, tmp_path / "empty")
    assert files == [("", "RC_2023-12.zst")]
    assert [(Path(p.path).name, p.skipped, p.reason) for p in problems] == [
        ("empty", True, Reason.UNREADABLE_FILE),
        ("RC_2023-08.zst", True, Reason.UNUSABLE_MONTH),
    ]
    assert ".zst, .json" in problems[0].message


@pytest.mark.parametrize("spec", ["", "forum.example.org", "forum.example.org/topics/1.json"])
def test_the_site_is_the_nearest_folder_with_a_host_name(tmp_path: Path, spec: str) -> None:
    put(tmp_path, "Forum.Example.org/topics/1.json")
    os.rename(tmp_path / "Forum.Example.org", tmp_path / "forum.example.org")  # noqa: PTH104
    assert find(HOSTS, tmp_path / spec) == ([("forum.example.org", "1.json")], [])


@pytest.mark.parametrize("name", ["topics", "v1.2", "my.dump", "localhost", "_a.b", "a b.org"])
def test_a_folder_without_a_host_name_is_not_read(tmp_path: Path, name: str) -> None:
    put(tmp_path, f"{name}/1.json", f"{name}/2.json", "forum.example.org/3.json")
    files, [problem] = find(HOSTS, tmp_path / name, tmp_path / "forum.example.org")
    assert files == [("forum.example.org", "3.json")]
    assert (problem.path, problem.skipped) == (str(tmp_path / name), True)
    assert problem.message.startswith(f"{name!r} is not a host name")


def test_a_host_may_have_a_port_or_letters_beyond_ascii(tmp_path: Path) -> None:
    put(tmp_path, "a.example.org:8080/1.json", "МОСТ.рф/2.json", "xn--e1afmkfd.xn--p1ai/3.json")
    files, problems = find(HOSTS, tmp_path)
    assert problems == []
    assert files == [
        ("a.example.org", "1.json"),
        ("xn--e1afmkfd.xn--p1ai", "3.json"),
        ("мост.рф", "2.json"),
    ]


def test_links_that_put_one_file_under_two_hosts_are_told(tmp_path: Path) -> None:
    put(tmp_path, "data/1.json")
    for name in ("b.example.org", "a.example.org"):
        (tmp_path / name).symlink_to(tmp_path / "data")
    links = [tmp_path / "b.example.org", tmp_path / "a.example.org"]
    for specs in (links, links[::-1]):
        files, [problem] = find(HOSTS, *specs)
        assert files == []
        assert problem.path == str(tmp_path / "a.example.org" / "1.json")
        assert "a.example.org, b.example.org; give it under one of them" in problem.message
    # One host's name is enough, whatever the folder itself is called.
    files, problems = find(HOSTS, tmp_path / "data", tmp_path / "a.example.org")
    assert (files, problems) == ([("a.example.org", "1.json")], [])


def test_which_name_a_file_has_does_not_depend_on_the_order(tmp_path: Path) -> None:
    put(tmp_path, "b.zst")
    (tmp_path / "a.zst").symlink_to(tmp_path / "b.zst")
    assert find(MONTHS, tmp_path / "b.zst", tmp_path / "a.zst") == ([("", "a.zst")], [])
    assert find(MONTHS, tmp_path / "a.zst", tmp_path / "b.zst") == ([("", "a.zst")], [])


def test_a_relative_path_is_understood_as_well(tmp_path: Path, monkeypatch) -> None:
    put(tmp_path, "forum.example.org/1.json")
    monkeypatch.chdir(tmp_path / "forum.example.org")
    assert find(HOSTS, "1.json") == ([("forum.example.org", "1.json")], [])
