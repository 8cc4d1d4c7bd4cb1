"""Published preference sets come out row by row; what does not is counted by its reason."""

import gzip
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from schemas.exit_codes import ExitCode
from schemas.post import Post
from tests.dumps import DUMPS
from transforms.readers.base import ForumFile, ReadRules
from transforms.readers.preferences.reader import read_preference_set

SETS = DUMPS.parent / "preference"
HH = SETS / "hh-rlhf" / "harmless-base-test.jsonl.gz"
LLMBAR = SETS / "llmbar"
real = pytest.mark.skipif(
    not (HH.is_file() and LLMBAR.is_dir()),
    reason="real preference sets are not beside this checkout",
)

Triple = tuple[str, str, str]
"""Prompt, chosen and rejected text."""


def curate(path: Path, output: Path) -> tuple[Counter[Triple], Counter[str]]:
    """Pairs that come out, and reasons of the posts that do not."""
    given = [f"--input=pairs={path}", f"--output={output}", "--license=pairs=MIT", "--quiet"]
    assert main(["curate", *given]) == ExitCode.FINISHED
    pairs = [
        (row["prompt"], row["chosen"], row["rejected"])
        for file in sorted(output.glob("data/*"))
        for row in pq.read_table(file).to_pylist()
    ]
    gone = [r["reason"] for f in output.glob("rejected/*") for r in pq.read_table(f).to_pylist()]
    copies = sum(pq.read_metadata(file).num_rows for file in output.glob("duplicates/*"))
    return Counter(pairs), Counter(gone) + Counter({"duplicate": copies})


def rows_of(path: Path) -> list[Triple]:
    """What the rows of a file say, its lines ended as in a dataset."""
    file = ForumFile(kind="pairs", site="", path=str(path), size=path.stat().st_size)
    posts = [p for p in read_preference_set(file, ReadRules()) if isinstance(p, Post)]
    texts = [post.text.replace("\r\n", "\n") for post in posts]
    return list(zip(texts[::3], texts[1::3], texts[2::3], strict=True))


@real
def test_hh_rlhf_comes_out_whole(tmp_path: Path) -> None:
    with gzip.open(HH) as lines:
        assert sum(1 for _ in lines) == 2312
    rows = rows_of(HH)
    pairs, gone = curate(HH, tmp_path / "out")
    # No transcript that parts before the last turn, no response without text, no prompt that is
    # a near-duplicate of another one.
    assert 2312 - 5 == len(rows) == len(set(rows))
    assert len(rows) - 4 - 5 == len(pairs) == pairs.total()
    assert pairs.keys() <= set(rows)
    assert all(chosen and rejected for _, chosen, rejected in pairs)
    assert "chosen is what the preference sets say" in (tmp_path / "out/README.md").read_text()
    # Of the rows that are not kept, the posts; and two prompts of two rows each.
    assert gone == {
        "bad_value": 5,
        "empty": 4,
        "too_few_responses": 2 * 4,
        "duplicate": 5,
        "prompt_duplicate": 2 * 5,
        "repeated_id": 2,
    }


@real
@pytest.mark.parametrize(
    ("folder", "read", "distinct", "gone"),
    [
        ("LLMBar", 419, 419, {"repeated_id": 1}),
        # 466 rows, of which 1 has one text twice, 1 has a response without text, and 5 are there
        # twice; 244 times a row has a prompt or a response of another.
        (
            "Processed",
            465,
            460,
            {"bad_value": 1, "empty": 1, "too_few_responses": 2, "repeated_id": 244},
        ),
    ],
)
def test_llmbar_comes_out_whole(
    tmp_path: Path, folder: str, read: int, distinct: int, gone: dict[str, int]
) -> None:
    rows = [row for file in sorted((LLMBAR / folder).rglob("*.json")) for row in rows_of(file)]
    assert (len(rows), len(set(rows))) == (read, distinct)
    pairs, why = curate(LLMBAR / folder, tmp_path / "out")
    assert len(pairs) == pairs.total() == distinct - gone.get("empty", 0)
    assert pairs.keys() <= set(rows)
    assert why == gone
