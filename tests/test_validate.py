"""``forumprefs validate-threads``: what it says, and that what it passes is read."""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docs.threads_page import threads_page
from pipeline.commands.validate import (
    EXAMPLE,
    Summary,
    add_arguments,
    check_files,
    count_pairs,
    find_files,
)
from pipeline.commands.validate import run as validate
from pipeline.errors import UsageError
from schemas.audit import Rejected
from schemas.custom_thread import CustomResponse, CustomThread, VoteCount
from tests import make
from transforms.readers.base import ForumFile, ReadRules
from transforms.readers.custom_threads.reader import read_custom_threads

SITE = "forum.example.com"


def row(id: Any = 1, **fields: Any) -> dict[str, Any]:
    answers = [{"id": n, "text": f"answer {n}", "score": n} for n in (1, 2)]
    values = {"site": SITE, "id": id, "text": "How?", "license": "CC-BY-4.0"}
    return values | {"responses": answers} | fields


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{json.dumps(item)}\n" for item in rows))
    return path


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return validate(parser.parse_args([str(argument) for argument in arguments]))


def read(path: Path) -> list[Any]:
    file = ForumFile(kind="threads", site="", path=str(path), size=path.stat().st_size)
    return list(read_custom_threads(file, ReadRules(reply_depth=99)))


def test_the_example_is_valid(capsys: Any, tmp_path: Path) -> None:
    assert run("--example") == 0
    path = tmp_path / "example.jsonl"
    path.write_text(capsys.readouterr().out)
    assert run(path) == 0
    assert "no problem found" in capsys.readouterr().out
    assert len(read(path)) == 7
    assert not [item for item in read(path) if isinstance(item, Rejected)]


def test_every_problem_is_listed_with_its_place(capsys: Any, tmp_path: Path) -> None:
    bad = row(3, license="CC BY 4.0", titel="x")
    bad["responses"][1]["score"] = "many"
    path = write(tmp_path / "rows.jsonl", row(1), row(2), bad)
    assert run(path) == 1
    out = capsys.readouterr().out
    assert f"{path}:3: titel: there is no such field; did you mean 'title'?" in out
    assert f"{path}:3: license: 'CC BY 4.0': must be an SPDX id" in out
    assert f"{path}:3: responses[1].score: 'many': must be an integer" in out
    assert "3 problems" in out


def test_summary(tmp_path: Path) -> None:
    votes = [{"date": "2024-01-01", "value": 1, "count": 2}]
    answers = [
        {"id": 1, "text": "a", "votes": votes, "license": "MIT"},
        {"id": 2, "text": "b", "score": 2},
        {"id": 3, "text": "c", "score": 2, "accepted": True},
        {"id": 4, "text": "d", "score": 2, "parent": 3},
        {"id": 5, "text": "e"},
    ]
    path = write(tmp_path / "rows.jsonl", row(1, responses=answers), row(2), row(3, text=None), 4)
    summary = Summary()
    assert len(list(check_files([path], summary))) == 3
    assert (summary.threads, summary.bad_rows) == (2, 2)
    assert (summary.responses, summary.bad_responses, summary.replies) == (6, 1, 1)
    assert (summary.dated_votes, summary.pairs) == (1, 2 + 1)
    assert summary.licenses == {"CC-BY-4.0": 7, "MIT": 1}


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=7))
def test_pairs_are_those_that_differ(scores: list[tuple[int, bool]]) -> None:
    posts = [make.response(2, score=score, accepted=accepted) for score, accepted in scores]
    nets = [score + accepted for score, accepted in scores]
    assert count_pairs(posts) == sum(a != b for i, a in enumerate(nets) for b in nets[:i])


def test_the_limit_stops_the_list_and_not_the_count(capsys: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", *(row(n, text=n) for n in range(9)))
    assert run(path, "--limit", 4) == 1
    out = capsys.readouterr().out
    assert out.count("must be text") == 4
    assert "and 5 more problems" in out and "9 problems" in out
    assert run(path, "--limit", 0) == 1
    assert capsys.readouterr().out.count("must be text") == 9


def test_json_output(capsys: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", row(1, markup="x"), row(2))
    assert run(path, "--json") == 1
    problem, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert problem == {
        "file": str(path),
        "row": 1,
        "field": "markup",
        "reason": "bad_value",
        "found": "'x'",
        "expected": "must be 'markdown' or 'html'",
    }
    assert last["summary"]["threads"] == 1 and last["summary"]["licenses"] == {"CC-BY-4.0": 3}


def test_a_thread_that_is_there_twice(capsys: Any, tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", row(1), row(2))
    second = write(tmp_path / "b.jsonl", row("2"), row(2, site="other.example.com"))
    assert run(first, second) == 1
    out = capsys.readouterr().out
    assert f"{second}:1: id: '2': another thread of this site has this id" in out
    assert "1 problem" in out


def test_lines_and_files_that_cannot_be_read(capsys: Any, tmp_path: Path) -> None:
    lines = write(tmp_path / "rows.jsonl", row(1))
    lines.write_text(lines.read_text() + "{oops\n")
    table = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_pylist([row("1")]), table)
    table.write_bytes(table.read_bytes()[:-100])
    assert run(lines, table) == 1
    out = capsys.readouterr().out
    assert f"{lines}:2: not JSON at byte 2" in out
    assert f"{table}: " in out and f"{table}:1" not in out


def test_parquet_problems_name_the_row(capsys: Any, tmp_path: Path) -> None:
    table = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_pylist([row("1"), row("2", score=1 << 62), row("#")]), table)
    assert run(table) == 1
    assert f"{table}:3: id: '#': must be" in capsys.readouterr().out


def test_control_characters_do_not_reach_the_terminal(capsys: Any, tmp_path: Path) -> None:
    run(write(tmp_path / "rows.jsonl", row(1, **{"\x1b[31mred[bold]": 1})))
    out = capsys.readouterr().out
    assert "\x1b" not in out and "[bold]" in out


def test_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--example"):
        run()
    with pytest.raises(UsageError, match="no such file"):
        run(tmp_path / "gone.jsonl")
    with pytest.raises(UsageError, match="no file there ends in"):
        run(tmp_path)
    with pytest.raises(UsageError, match="--limit -1"):
        run(write(tmp_path / "rows.jsonl", row()), "--limit", "-1")


def test_folders_are_searched(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    files = [write(tmp_path / "b.jsonl"), write(tmp_path / "deep" / "a.ndjson")]
    (tmp_path / "notes.txt").write_text("x")
    assert find_files([tmp_path]) == files


fields = st.sampled_from(
    ["site", "id", "text", "license", "score", "tags", "x_y", "zz", "accepted"]
)
found = st.one_of(st.none(), st.integers(0, 3), st.text(max_size=3), st.lists(st.text(max_size=2)))


@settings(max_examples=80)
@given(st.lists(st.tuples(st.integers(0, 2), fields, found), max_size=3))
def test_valid_means_accepted(changes: list[tuple[int, str, Any]]) -> None:
    item = row(1)
    for place, name, value in changes:
        target = item if place == 2 or not isinstance(item["responses"], list) else None
        (target or item["responses"][place])[name] = value
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "rows.jsonl", item)
        findings = list(check_files([path], Summary()))
        rejected = [entry for entry in read(path) if isinstance(entry, Rejected)]
    assert bool(findings) == bool(rejected)


def test_the_page_names_every_field() -> None:
    page = threads_page()
    for struct in (CustomThread, CustomResponse, VoteCount):
        for name in struct.__struct_fields__:
            assert f"| `{name}` |" in page
    code = page.partition("```json\n")[2].partition("```")[0]
    assert json.loads(code) == EXAMPLE[0]
