"""docs/adding_a_rule.md, done: two edits in a copy of the code, and the rule is everywhere."""

import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/adding_a_rule.md").read_text(encoding="utf-8")


def from_page(start: str) -> str:
    """The code of the page that begins with ``start``."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (block,) = [block for block in blocks if block.strip().startswith(start)]
    return textwrap.indent(textwrap.dedent(block).rstrip() + "\n", "    ")


def insert(path: Path, before: str, code: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1
    path.write_text(text.replace(before, code + before), encoding="utf-8")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code with the rule of the page in it."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("schemas", "transforms", "pipeline", "docs", "training"):  # with what is compiled
        shutil.copytree(ROOT / name, tree / name)
    insert(tree / "schemas/audit.py", "    # hydrate\n", from_page("SHOUTED"))
    insert(
        tree / "transforms/pairing/label_rules.py",
        '    PostRule(\n        option="drop_staff",',
        from_page("PostRule").rstrip("\n") + ",\n",
    )
    return tree


def run(tree: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=tree,
        env={"PYTHONPATH": str(tree), "PATH": "/usr/bin:/bin", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_rule_has_a_flag(tree: Path) -> None:
    text = " ".join(run(tree, "-m", "pipeline.cli", "curate", "--help").split())
    assert "--drop-shouting, --no-drop-shouting exclude prompts in capitals" in text


def test_the_rule_is_in_the_pages_that_are_written_from_the_code(tree: Path) -> None:
    run(tree, "-m", "docs.generate")
    recipe = (tree / "docs/recipe.md").read_text(encoding="utf-8")
    assert "| `drop_shouting` | from the preset | exclude prompts in capitals |" in recipe
    schema = (tree / "docs/schema.md").read_text(encoding="utf-8")
    assert "`shouted`: written in capitals, and the recipe drops these" in schema


def test_refused_posts_are_rejected_with_its_reason(tree: Path, tmp_path: Path) -> None:
    dump = tmp_path / "threads.jsonl"
    words = "how do I mash a pale malt at home, and for how long should I keep it warm"
    texts = {"quiet": words, "loud": words.upper().replace("MALT", "BARLEY")}
    rows = [
        {
            "format": "forumprefs.thread/1", "site": "board.example", "license": "CC0-1.0",
            "id": name, "text": text, "created_at": "2024-01-10", "score": 3,
            "responses": [
                {"id": f"{name}-{k}", "text": f"{k} {answer}, as long as it takes to be done",
                 "created_at": "2024-01-11", "score": k}
                for k, answer in enumerate(("boil it first", "steep it and then wait"))
            ],
        }
        for name, text in texts.items()
    ]  # fmt: skip
    dump.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    given = (
        "curate", "--input", f"threads={dump}", "--quiet", "--dedup", "off", "--languages", "all",
    )  # fmt: skip
    flags = {"--no-drop-shouting": True, "--drop-shouting": False}
    commands = [(*given, "--output", str(tmp_path / f"out{flag}"), flag) for flag in flags]
    both = f"from pipeline.cli import main\nfor line in {commands}:\n    assert main(line) == 0"
    run(tree, "-c", both)  # loading Beam takes seconds
    for flag, loud_is_kept in flags.items():
        output = tmp_path / f"out{flag}"
        manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["recipe"]["drop_shouting"] is not loud_is_kept
        (funnel,) = [s for s in manifest["accounting"]["stages"] if s["stage"] == "pair"]
        rejected = {
            row["id"].rpartition(":")[2]: row["reason"]
            for file in (output / "rejected").glob("*.parquet")
            for row in pq.read_table(file).to_pylist()
        }
        assert (rejected.get("loud") == "shouted") is not loud_is_kept
        assert funnel["rejected"].get("shouted", 0) == (0 if loud_is_kept else 1)
        assert "quiet" not in rejected
