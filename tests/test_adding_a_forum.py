"""docs/adding_a_forum.md, done in a copy of the code: its example is a kind of input like any
other, and the tables of this page and of docs/sources.md name what exists."""

import dataclasses
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from schemas.audit import Reason, Rejected
from schemas.post import Post, RemovedAs, Thread
from transforms.core.coders import StructCoder
from transforms.filters import FilterRules, filter_thread
from transforms.pairing import decide_pairs, preset
from transforms.readers.base import ForumFile, ReadRules
from transforms.readers.registry import SOURCES
from transforms.readers.source import FileSource
from transforms.threads.assemble import assemble_threads

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "adding_a_forum.md").read_text(encoding="utf-8")
SOURCES_PAGE = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
ROWS = re.findall(r"```json\n(.*?)```", GUIDE, flags=re.DOTALL)[0].rstrip("\n")
CODE, IMPORT = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
[ENTRY] = re.findall(r"`(\w+,)` at the end of the tuple", GUIDE)
HOST = "toy.example"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileSource]:
    path = tmp_path_factory.mktemp("guide") / "toy_of_the_guide.py"
    path.write_text(CODE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    yield module.TOY
    del sys.modules[path.stem]


def read(toy: FileSource, folder: Path, content: bytes, **rules: Any) -> list[Any]:
    path = folder / "messages.jsonl"
    path.write_bytes(content)
    file = ForumFile(kind=toy.kind, site=HOST, path=str(path), size=len(content))
    return list(toy.read_file(file, ReadRules(**rules)))


def threads(posts: list[Post], reply_depth: int) -> list[Thread]:
    """What assembly and filter leave of ``posts``."""
    assembled = [
        outcome.thread
        for outcome in assemble_threads(posts, {}, reply_depth=reply_depth)
        if outcome.thread is not None
    ]
    filtered = [filter_thread(thread, FilterRules()).thread for thread in assembled]
    return [thread for thread in filtered if thread is not None]


def test_the_example_reads_what_the_guide_says(toy: FileSource, tmp_path: Path) -> None:
    items = read(toy, tmp_path, ROWS.encode(), licenses={"toy": "CC-BY-4.0"})
    posts = {item.id: item for item in items if isinstance(item, Post)}
    assert list(posts) == [f"{HOST}:{number}" for number in range(1, 6)]
    assert {post.thread_id for post in posts.values()} == {f"{HOST}:1"}
    assert [post.parent_id for post in posts.values()] == [None, None, None, f"{HOST}:2", None]
    assert [post.score for post in posts.values()] == [4, 8, -1, 1, -2]
    assert {post.license for post in posts.values()} == {"CC-BY-4.0"}
    first, third, gone = posts[f"{HOST}:1"], posts[f"{HOST}:3"], posts[f"{HOST}:5"]
    assert first.is_prompt and first.title and first.created_at == 1_714_557_600_000
    assert third.created_at == 1_714_629_600_000  # its offset of two hours is taken off
    assert (third.author_id, third.author) == (None, "")
    assert gone.removed_as is RemovedAs.DELETED and gone.text == ""
    rejected = [item for item in items if isinstance(item, Rejected)]
    assert [(item.record, item.reason, item.id) for item in rejected] == [
        ("post", Reason.BAD_VALUE, f"{HOST}:6"),
        ("post", Reason.MALFORMED_ROW, "messages.jsonl:7"),
        ("file", Reason.TRUNCATED_FILE, "messages.jsonl"),
    ]
    assert "seven lines" in GUIDE.lower() and ROWS.count("\n") + 1 == 7


def test_the_example_gives_the_pair_the_guide_says(toy: FileSource, tmp_path: Path) -> None:
    posts = [item for item in read(toy, tmp_path, ROWS.encode()) if isinstance(item, Post)]
    [thread] = threads(posts, reply_depth=1)
    [decision], _ = decide_pairs(thread, preset("all"))
    assert thread.responses[decision.chosen].id == f"{HOST}:2"
    assert thread.responses[decision.rejected].id == f"{HOST}:3"


def test_rows_of_the_example_survive_the_coder(toy: FileSource, tmp_path: Path) -> None:
    # Bounds of the row type are what keeps numbers inside 64 bits.
    huge = re.sub(r'"up": \d+', f'"up": {10**30}', ROWS).encode()
    coder = StructCoder(Post)
    for content in (ROWS.encode(), huge):
        for item in read(toy, tmp_path, content):
            if isinstance(item, Post):
                assert coder.decode(coder.encode(item)) == item
    assert not any(isinstance(item, Post) for item in read(toy, tmp_path, huge))


def test_the_example_takes_any_cut(toy: FileSource, tmp_path: Path) -> None:
    content = ROWS.encode()
    for end in range(0, len(content), 7):
        items = read(toy, tmp_path, content[:end])
        records = sum(isinstance(item, Post) or item.record == "post" for item in items)
        assert records == len(content[:end].split(b"\n")) - content[:end].endswith(b"\n") - (
            not end
        )


# In the program


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code with the example and its two lines in the registry, and its export."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("schemas", "transforms", "pipeline", "training"):  # as they are compiled, too
        shutil.copytree(ROOT / name, tree / name)
    (tree / "transforms/readers/toy.py").write_text(CODE, encoding="utf-8")
    registry = tree / "transforms/readers/registry.py"
    text = registry.read_text(encoding="utf-8")
    for before, line in (("\n_SOURCES: ", IMPORT), (")\n\nSOURCES: ", f"    {ENTRY}\n")):
        assert text.count(before) == 1
        text = text.replace(before, line + before)
    registry.write_text(text, encoding="utf-8")
    export = tree / "exports" / HOST / "messages.jsonl"
    export.parent.mkdir(parents=True)
    export.write_text(ROWS, encoding="utf-8")
    return tree


IN_ONE_PROCESS = """
import contextlib, io, json, sys
from pipeline.cli import main
for arguments in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = main(arguments)
        except SystemExit as left:  # argparse's own
            code = left.code
    print(json.dumps([code, said.getvalue()]))
"""


def python(tree: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=tree,
        env={"PYTHONPATH": str(tree), "PATH": "/usr/bin:/bin", "COLUMNS": "500"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def forumprefs(tree: Path, *commands: tuple[str, ...]) -> list[tuple[int, str]]:
    """Exit codes of commands and what they said, all in one process: loading Beam takes seconds."""
    done = python(tree, "-c", IN_ONE_PROCESS, json.dumps(commands))
    return [(code, said) for code, said in map(json.loads, done.stdout.splitlines())]


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [
        row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def test_the_example_becomes_the_dataset_the_guide_says(tree: Path) -> None:
    [command] = re.findall(r"^    forumprefs (curate .*)$", GUIDE, flags=re.MULTILINE)
    done = python(tree, "-m", "pipeline.cli", *command.split())
    said = done.stdout + done.stderr
    output = tree / "out"
    [pair] = rows_of(output / "data")
    assert (pair["source"], pair["site"], pair["pair_id"]) == ("toy", HOST, f"{HOST}:1/2>3")
    table = GUIDE.split("## 6.")[1].split("## 7.")[0]
    stated = [
        dict(zip(("id", "record", "reason", "detail"), map(str.strip, row), strict=True))
        for row in re.findall(r"^\| ([\w.:]+) \|(.*?)\|(.*?)\|(.*?)\|$", table, flags=re.MULTILINE)
    ]
    found = [{key: row[key] for key in stated[0]} for row in rows_of(output / "rejected")]
    assert sorted(found, key=lambda row: str(row["id"])) == stated
    manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
    [file] = manifest["inputs"]
    assert (file["kind"], file["site"], file["bytes"]) == ("toy", HOST, len(ROWS.encode()))
    assert len(file["sha256"]) == 64 and file["used"]
    assert f"no licence is known for texts of {HOST}" in said  # not `publishable`


def test_options_know_the_example(tree: Path) -> None:
    given = ("curate", "--input", "toy=exports", "--output", "other")
    (_, page), curated, undated = forumprefs(
        tree,
        ("curate", "--help"),
        (*given, "--license", f"{HOST}=CC0-1.0", "--reply-depth", "2", "--quiet"),
        (*given, "--overwrite", "--quiet", "--votes", "common_window"),
    )
    assert ", toy;" in page
    assert curated[0] == 0, curated
    pairs = rows_of(tree / "other" / "data")
    assert {pair["chosen_license"] for pair in pairs} == {"CC0-1.0"}
    assert "too_deep" not in {row["reason"] for row in rows_of(tree / "other" / "rejected")}
    assert undated[0] == 2 and "toy does not have them" in undated[1]


# The pages


def test_the_table_of_fields_names_every_field_and_no_other() -> None:
    table = GUIDE.split("## 3.")[1].split("## 4.")[0]
    named = set()
    for row in re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE):
        named |= set(re.findall(r"`(\w+)`", row))
    assert named == set(Post.__struct_fields__)


def test_reasons_and_files_that_the_guide_names_exist() -> None:
    table = GUIDE.split("## 5.")[1].split("## 6.")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE)
    names = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert names and all(hasattr(Reason, name) for name in names)
    paths = re.findall(r"`((?:transforms|tests|schemas|docs)/[\w/]+\.\w+)`", GUIDE)
    assert len(paths) > 5
    for path in paths:
        assert (ROOT / path).exists() or path == "transforms/readers/toy.py", path


def test_the_table_of_the_registry_names_fields_of_a_source() -> None:
    table = GUIDE.split("## 7.")[1].split("## 8.")[0]
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE))))
    needed = {"kind", "help", "read_file", "suffixes"}
    assert named == {field.name for field in dataclasses.fields(FileSource)} - needed


def test_every_kind_of_input_has_a_section() -> None:
    assert re.findall(r"^## ([a-z]\w*)$", SOURCES_PAGE, flags=re.MULTILINE) == list(SOURCES)
    table = SOURCES_PAGE.split("## For all")[0]
    assert re.findall(r"^\| \[`(\w+)`\]\(#(\w+)\)", table, flags=re.MULTILINE) == [
        (kind, kind) for kind in SOURCES
    ]


def test_reasons_of_the_sources_page_exist() -> None:
    table = SOURCES_PAGE.split("### What is dropped")[1].split("###")[0]
    named = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)))
    assert len(named) > 5
    assert {*named, "unusable_month", "undated_votes", "orphan_response"} <= set(Reason)


@pytest.mark.parametrize("page", [GUIDE, SOURCES_PAGE])
def test_options_and_commands_exist(page: str) -> None:
    from pipeline.cli import make_parser

    [commands] = [action for action in make_parser()._actions if isinstance(action.choices, dict)]
    assert isinstance(commands.choices, dict)
    flags = {
        flag
        for command in commands.choices.values()
        for action in command._actions
        for flag in action.option_strings
    }
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", page)) <= flags
    assert set(re.findall(r"forumprefs ([a-z][a-z-]*)", page)) <= commands.choices.keys()
