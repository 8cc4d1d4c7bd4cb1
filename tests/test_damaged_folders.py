"""Dataset folders, inputs and arguments of others: what is wrong is said, and nothing waits."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import cli
from pipeline.curate import recipe as recipes
from pipeline.curate.benchmark_files import find_benchmark_files, texts_of
from pipeline.curate.takedown import read_takedown
from pipeline.dataset.folder import DatasetFolder
from pipeline.errors import DatasetError, RecipeError, UsageError
from pipeline.hub.client import check_token
from transforms.readers.base import InputProblem
from transforms.readers.paths import find_forum_files
from transforms.readers.registry import SOURCES
from transforms.readers.source import FileSource
from transforms.readers.stackexchange.archives import find_sites


@pytest.fixture
def folder(sample: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample, tmp_path / "dataset"))


def first_shard(folder: Path, table: str = "data") -> Path:
    return sorted((folder / table).glob("*.parquet"))[0]


def replace_column(path: Path, name: str, values: Callable[[pa.Table], pa.Array]) -> None:
    table = pq.read_table(path)
    place = table.schema.names.index(name)
    found = values(table)
    pq.write_table(table.set_column(place, pa.field(name, found.type), found), path)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = cli.main(list(arguments))
    return code, capsys.readouterr().err


def of(kind: pa.DataType, value: Any) -> Callable[[pa.Table], pa.Array]:
    return lambda table: pa.array([value] * table.num_rows, kind)


@pytest.mark.parametrize(
    ("name", "values", "what"),
    [
        ("chosen_is_accepted", of(pa.bool_(), None), "chosen_is_accepted lacks a value"),
        ("thread_id", of(pa.int64(), 7), "thread_id is of type int64, not string"),
        ("thread_id", of(pa.string(), None), "thread_id lacks a value"),
        ("confidence", of(pa.string(), "x"), "confidence is of type string, not double"),
        ("split", of(pa.string(), "dev"), "split holds 'dev'"),
        ("confidence", of(pa.float64(), float("nan")), "confidence holds what is no finite number"),
        (
            "vote_margin",
            of(pa.float64(), float("inf")),
            "vote_margin holds what is no finite number",
        ),
        (
            "chosen_created_at",
            of(pa.timestamp("ms", tz="UTC"), 2**62),
            "chosen_created_at holds a date outside of the calendar",
        ),
        (
            "prompt_license",
            lambda table: pa.Array.from_buffers(
                pa.string(),
                table.num_rows,
                [
                    None,
                    pa.array(range(table.num_rows + 1), pa.int32()).buffers()[1],
                    pa.py_buffer(b"\xff" * table.num_rows),
                ],
            ),
            "cannot be read",
        ),
    ],
)
@pytest.mark.parametrize("command", ["report", "inspect"])
def test_values_that_no_shard_of_ours_has(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    name: str,
    values: Callable[[pa.Table], pa.Array],
    what: str,
) -> None:
    shard = first_shard(folder)
    replace_column(shard, name, values)
    more = ["--limit", "1000", "--json"] if command == "inspect" else []
    code, error = said(capsys, command, str(folder), *more)
    assert code == 2
    assert f"data/{shard.name}: " in error
    assert what in error


def test_a_shard_that_says_of_no_column_that_it_is_full(sample: Path, folder: Path) -> None:
    path = first_shard(folder)
    table = pq.read_table(path)
    pq.write_table(table.cast(pa.schema([f.with_nullable(True) for f in table.schema])), path)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["shards"][0]["sha256"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert cli.main(["diff", str(sample), str(folder), "--exit-code"]) == 1
    assert cli.main(["diff", str(folder), str(sample), "--exit-code"]) == 1


def test_an_audit_table_with_other_values(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replace_column(first_shard(folder, "rejected"), "stage", of(pa.string(), "a:b"))
    code, error = said(capsys, "report", str(folder))
    assert (code, "its column stage holds 'a:b'" in error) == (2, True)


def test_a_damaged_manifest_is_not_the_way_out_of_itself(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")
    with pytest.raises(DatasetError, match="put a whole copy of it back") as raised:
        DatasetFolder(folder)
    assert "--config manifest.json" not in str(raised.value)


def test_every_row_can_be_asked_for(folder: Path) -> None:
    DatasetFolder(folder).check_rows()
    replace_column(first_shard(folder, "duplicates"), "kept_id", of(pa.string(), None))
    with pytest.raises(DatasetError, match="kept_id lacks a value"):
        DatasetFolder(folder).check_rows()


REPORTS: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda report: report.update(margin={"0": "many"}), "margin"),
    (lambda report: report.update(margin={"few": 1}), "margin"),
    (lambda report: report.update(margin=[1, 2]), "margin"),
    (lambda report: report.update(confidence={"x": 1}), "confidence"),
    (lambda report: report["pairs"].update(total=-1), "pairs"),
    (lambda report: report.update(pairs=7), "pairs"),
    (lambda report: report.update(characters={"prompt": None}), "characters"),
    (lambda report: report.update(bias={"earlier_wins": None}), "bias"),
    (lambda report: report.pop("margin"), "lacks what the page says"),
    (lambda report: report["pairs"].pop("total"), "lacks what the page says"),
]


@pytest.mark.parametrize(("change", "what"), REPORTS)
def test_figures_of_other_types(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[dict[str, Any]], object],
    what: str,
) -> None:
    report = json.loads((folder / "report.json").read_text())
    change(report)
    (folder / "report.json").write_text(json.dumps(report))
    code, error = said(capsys, "report", str(folder))
    assert code == 2
    assert "report.json: " in error and what in error


@pytest.mark.parametrize("name", ["manifest.json", "report.json", "README.md", "data", "shard"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_a_folder_with_what_is_no_file(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, kind: str
) -> None:
    path = first_shard(folder) if name == "shard" else folder / name
    if name == "data":
        path = folder / "data" / "train-more.parquet"
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    code, error = said(capsys, "verify", str(folder), "--quiet")
    assert code in (0, 2) if (name, kind) == ("data", "folder") else code == 2
    assert code == 0 or path.relative_to(folder).as_posix() in error


def test_inspect_says_which_of_all_shards_is_damaged(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted((folder / "data").glob("validation-*.parquet")):
        path.write_bytes(b"")
        code, error = said(capsys, "inspect", str(folder), "--limit", "1")
        assert code == 2
        assert f"data/{path.name}: is not a complete Parquet file" in error


RECIPES: list[tuple[str, str]] = [
    ("seed: 99999999999999999999", "seed: a number has more than 64 bits"),
    ("shard_bytes: 1" + "0" * 60, "shard_bytes: a number has more than 64 bits"),
    ("min_margin: .nan", "min_margin: nan is not a finite number"),
    ("max_flags: .inf", "max_flags: inf is not a finite number"),
    ("split: 1/1/" + "9" * 5_000, "split: "),
    ('takedown: "a\\0b"', "takedown: "),
    ('input: ["threads=\\0"]', "input: "),
    ('output: "a\\0b"', "output: "),
    ("input: [[a]]", "input"),
    ("- a\n- b", "expected `option: value` lines"),
    ("just words", "expected `option: value` lines"),
]


@pytest.mark.parametrize(("text", "what"), RECIPES)
def test_recipes_that_cannot_be_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, what: str
) -> None:
    config = tmp_path / "recipe.yaml"
    config.write_text(text)
    code, error = said(capsys, "curate", "--config", str(config), "--output", str(tmp_path / "o"))
    assert (code, what in error) == (2, True), error


def test_a_recipe_in_json_with_half_a_character(tmp_path: Path) -> None:
    config = tmp_path / "recipe.json"
    config.write_text('{"takedown": "\\ud800"}')
    with pytest.raises(RecipeError, match=r"recipe\.json: .*surrogate"):
        recipes.load(config)
    with pytest.raises(RecipeError, match="takedown"):
        recipes.make({"takedown": "\ud800"})


def test_lists_that_are_no_lists(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    for name, what in (("pipe", "is a pipe"), ("latin", "not UTF-8 at byte 4"), ("none", "")):
        with pytest.raises(UsageError, match=f"--takedown .*{name}: .*{what}"):
            read_takedown(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.jsonl", b'{"a": "x"}\n{"a": \n', "line 2: not JSON"),
        ("a.jsonl", b'{"a": ' * 80 + b"1" + b"}" * 80, "line 1: is nested"),
        ("a.json", b"[" * 3_000, "is nested"),
        ("a.json", b"", "is empty"),
        ("a.jsonl.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xff\xff\xff", "damaged or break off"),
        ("a.jsonl.gz", b"no gzip", "damaged or break off"),
        ("a.parquet", b"PAR1" + b"\0" * 40 + b"PAR1", "a.parquet"),
        ("a.txt", b"\xff", "not UTF-8 at byte 1"),
    ],
)
def test_damaged_benchmark_files(tmp_path: Path, name: str, content: bytes, what: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError) as raised:
        list(texts_of(path))
    assert str(raised.value).startswith(f"--decontaminate {path}: ")
    assert what in str(raised.value)


def test_halves_of_characters_in_a_benchmark_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": "x \\ud83d y"}\n')
    assert list(texts_of(path)) == ["x ? y"]


NAME = b"a\xff.jsonl"


def test_names_that_are_not_utf8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = os.path.join(os.fsencode(tmp_path), NAME)  # noqa: PTH118 (Path takes no bytes)
    with open(odd, "wb") as file:  # noqa: PTH123
        file.write(b"{}\n")
    (tmp_path / "b.jsonl").write_text("{}\n")
    with pytest.raises(UsageError, match="not UTF-8; rename it"):
        find_benchmark_files((str(tmp_path),))
    source = SOURCES["threads"]
    assert isinstance(source, FileSource)
    problems: list[InputProblem] = []
    found = find_forum_files(source, [str(tmp_path)], problems)
    assert [file.name for file in found] == ["b.jsonl"]
    assert [problem.message for problem in problems] == ["its name is not UTF-8; rename it"]
    problems[0].path.encode()
    output = os.fsdecode(os.path.join(os.fsencode(tmp_path), b"o\xff"))  # noqa: PTH118
    code, error = said(capsys, "pull", "a/b@v1.0.0", output)
    assert (code, "is not UTF-8" in error) == (2, True)
    assert not Path(output).exists()


def test_pipes_and_devices_among_archives_and_tables(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.example.com.7z")
    (tmp_path / "b.example.com.zip").symlink_to("/dev/zero")
    sites, problems = find_sites([str(tmp_path)], tmp_path / "work")
    assert sites == []
    assert ["is not a file that can be read" in problem.message for problem in problems] == [
        True,
        True,
    ]


def test_a_token_that_cannot_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for token in ("hf_\u00e9", "hf_a b", "hf_\udcff", "hf_\x07"):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(UsageError, match="copy it again") as raised:
            check_token()
        assert token not in str(raised.value)
    monkeypatch.setenv("HF_TOKEN", "hf_abc\n")
    check_token()


@pytest.mark.parametrize("command", ["report", "inspect"])
def test_a_shard_is_not_blamed_for_want_of_memory(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    def full(*_: object) -> None:
        raise pa.ArrowMemoryError("no room")

    monkeypatch.setattr("pipeline.dataset.folder.row_fault", full)
    monkeypatch.setattr("pipeline.commands.inspect.value_fault", full)
    code, error = said(capsys, command, str(folder))
    assert (code, "memory" in error, ".parquet" in error) == (1, True, False)


@pytest.mark.parametrize("command", ["verify", "report"])
@pytest.mark.parametrize("name", ["manifest.json", "report.json", "shard"])
def test_links_that_lead_back_to_themselves(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str, name: str
) -> None:
    path = first_shard(folder) if name == "shard" else folder / name
    path.unlink()
    path.symlink_to(path.name)
    code, error = said(capsys, command, str(folder))
    assert (code, path.name in error) == (2, True)


@pytest.mark.parametrize("command", ["verify", "report"])
def test_a_file_in_the_place_of_the_shards(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    shutil.rmtree(folder / "data")
    (folder / "data").write_text("x")
    code, error = said(capsys, command, str(folder))
    assert (code, "is missing" in error) == (2, True)
