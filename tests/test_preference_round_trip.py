"""Published preference sets come out row by row; what does not is counted by its reason."""

import gzip
import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from schemas.exit_codes import ExitCode
from schemas.post import TURN_BREAK
from tests.dumps import DUMPS
from tests.preference_data import WORDS

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


def hh_rows() -> list[Triple]:
    """What HH-RLHF says, without the rows whose transcripts part before the last turn."""
    rows = []
    with gzip.open(HH, "rt", encoding="utf-8", newline="\n") as lines:
        for row in map(json.loads, lines):
            (before, _, chosen), (same, _, rejected) = (
                row[side].rpartition("\n\nAssistant:") for side in ("chosen", "rejected")
            )
            if before == same:
                _, *turns = re.split(r"\n\n(?:Human|Assistant):", before)
                rows.append((TURN_BREAK.join(map(str.strip, turns)), chosen, rejected))
    return [(prompt, chosen.strip(), rejected.strip()) for prompt, chosen, rejected in rows]


def llmbar_rows(folder: Path) -> list[Triple]:
    """What LLMBar says, its lines ended as in a dataset."""
    rows = []
    for file in sorted(folder.rglob("*.json")):
        for row in json.loads(file.read_text(encoding="utf-8")):
            outputs = row["output_1"], row["output_2"]
            if outputs[0] != outputs[1]:
                better = outputs[row["label"] - 1], outputs[2 - row["label"]]
                said = (text.replace("\r\n", "\n") for text in (row["input"], *better))
                rows.append(tuple(said))
    return rows


@real
def test_hh_rlhf_comes_out_whole(tmp_path: Path) -> None:
    with gzip.open(HH) as lines:
        assert sum(1 for _ in lines) == 2312
    rows = hh_rows()
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
    rows = llmbar_rows(LLMBAR / folder)
    assert (len(rows), len(set(rows))) == (read, distinct)
    pairs, why = curate(LLMBAR / folder, tmp_path / "out")
    assert len(pairs) == pairs.total() == distinct - gone.get("empty", 0)
    assert pairs.keys() <= set(rows)
    assert why == gone


def every_form() -> list[dict[str, Any]]:
    """Rows of all forms, several of one prompt, and some that cannot be used."""
    rng = random.Random(7)

    def text(count: int) -> str:
        return " ".join(rng.choices(WORDS, k=count))

    rows: list[dict[str, Any]] = []
    for number in range(12):
        rows.append({"prompt": text(12), "response_1": text(8), "response_2": text(8)})
        rows[-1]["preference_strength"] = number % 7 - 3
        two = {"output_1": "Yes.", "output_2": "No."}
        rows.append({"input": text(9), "label": 1 + number % 3} | two)
        asked = {"prompt": text(10)}
        rows += [asked | {"response": text(5), "helpfulness": n % 4} for n in range(number % 5)]
        asked = {"prompt": [{"role": "user", "content": text(10)}]}
        rows += [asked | {"completion": text(4), "label": n % 2 == 0} for n in range(number % 4)]
        scores = (7.5, 8, None, "N/A")
        rated = [{"response": text(6), "overall_score": score} for score in scores]
        rows.append({"instruction": text(12), "completions": rated})
        rows.append({"prompt": text(11), "responses": [text(3), text(3)], "scores": [2, 1.5]})
        asked, four = {"prompt": text(12)}, [text(4) for _ in range(4)]
        rows += [
            asked | {"chosen": one, "rejected": other, "score_chosen": rng.choice((None, 8.5))}
            for one, other in (rng.sample(four, 2) for _ in range(6))
        ]
    return rows + rows[:9]


def test_the_order_of_rows_changes_no_byte(tmp_path: Path) -> None:
    rows = every_form()
    made = []
    for partitions in (1, 5):
        folder = tmp_path / str(partitions)
        folder.mkdir()
        (folder / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        given = [f"--input=pairs={folder / 'set.jsonl'}", f"--partitions={partitions}", "--quiet"]
        assert main(["curate", *given, f"--output={folder / 'out'}"]) == ExitCode.FINISHED
        made.append({f.name: f.read_bytes() for f in folder.glob("out/data/*")})
        rows.reverse()
    assert made[0] == made[1] and made[0]
    table = pq.read_table(tmp_path / "1" / "out" / "data").to_pylist()
    # The same short answers to eight prompts are eight preferences.
    assert sum({row["chosen"], row["rejected"]} == {"Yes.", "No."} for row in table) == 8
    stated = {(row["chosen"], row["rejected"]) for row in table}
    for row in rows:
        if "chosen" in row and row["chosen"] not in ("", row["rejected"]):
            two = row["chosen"], row["rejected"]
            other_way = any(two == (r.get("rejected"), r.get("chosen")) for r in rows)
            assert (two in stated) is not other_way
