import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline.cli import main
from pipeline.commands.inspect import render_pair
from schemas.arrow import PAIR_SCHEMA
from tests.make import response, thread
from transforms.pairing import pair_rows, pair_thread, preset
from transforms.pairing.pair_threads import SplitThread
from transforms.writers.parquet import to_table

ROOT = Path(__file__).parents[1]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    for split, number in (("train", 100), ("test", 200)):
        item, _ = pair_thread(
            SplitThread(
                thread=thread(
                    number,
                    response(number + 1, number, score=9, text="**bold** \x1b[31mred\u202e"),
                    response(number + 2, number, score=4),
                    response(number + 3, number, score=1),
                    language="en",
                ),
                split=split,
            ),
            preset("all"),
        )
        assert item is not None
        table = to_table(pair_rows(item), PAIR_SCHEMA)
        pq.write_table(table, tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    return tmp_path


def shown(capsys, *arguments: str) -> list[dict]:
    assert main(["inspect", *arguments, "--json", "--limit", "99"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_filters(dataset: Path, capsys) -> None:
    folder = str(dataset)
    assert len(shown(capsys, folder)) == 6
    assert {row["split"] for row in shown(capsys, folder, "--split", "test")} == {"test"}
    assert [row["vote_margin"] for row in shown(capsys, folder, "--min-margin", "8")] == [8, 8]
    assert [row["vote_margin"] for row in shown(capsys, folder, "--max-margin", "3")] == [3, 3]
    assert len(shown(capsys, folder, "--site", "forum.example.com")) == 6
    assert shown(capsys, folder, "--site", "elsewhere") == []
    assert shown(capsys, folder, "--language", "fr") == []
    thread_id = "forum.example.com:200"
    assert {row["thread_id"] for row in shown(capsys, folder, "--thread", thread_id)} == {thread_id}
    assert len(shown(capsys, folder, "--split", "train", "--min-margin", "4")) == 2


def test_a_pair_can_be_read(dataset: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "inspect", str(dataset), "--limit", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "chosen" in done.stdout and "rejected" in done.stdout
    assert "score 9" in done.stdout and "author 101" in done.stdout
    assert "\x1b[31m" not in done.stdout and "\u202e" not in done.stdout


def test_forum_text_cannot_drive_the_terminal(dataset: Path) -> None:
    row = pq.read_table(dataset / "data").to_pylist()[0]
    row["prompt"] = "[red]not markup[/red] \x1b]0;title\x07"
    row["prompt_author"] = "[bold]Eve\x1b[2J"
    console = Console(width=120, force_terminal=False)
    for raw in (True, False):
        with console.capture() as capture:
            console.print(render_pair(row, 120, raw=raw))
        text = capture.get()
        assert "\x1b" not in text and "\x07" not in text
        assert "[red]not markup[/red]" in text
        assert "[bold]Eve" in text


def test_narrow_terminals_stack_the_answers(dataset: Path) -> None:
    row = pq.read_table(dataset / "data").to_pylist()[0]
    console = Console(width=60)
    with console.capture() as capture:
        console.print(render_pair(row, 60))
    assert all(len(line) <= 60 for line in capture.get().splitlines())


def test_not_a_dataset(tmp_path: Path, capsys) -> None:
    assert main(["inspect", str(tmp_path)]) == 2
    assert "is it a finished dataset" in capsys.readouterr().err
