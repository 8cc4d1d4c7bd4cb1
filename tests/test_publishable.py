import json
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from pipeline.cli import main
from pipeline.dataset.licenses import unlicensed_sources, unlicensed_texts
from schemas.arrow import PAIR_SCHEMA
from schemas.post import Thread
from tests.make import response, thread
from transforms.pairing import PairingRules, pair_rows, pair_thread
from transforms.pairing.pair_threads import SplitThread
from transforms.readers.base import ForumFile, ReadRules
from transforms.writers.parquet import to_table
from transforms.writers.stats import _unlicensed, pair_stats

ROOT = Path(__file__).parents[1]


def thread_row(number: int, license: str, **changes: object) -> dict:
    words = ["oak", "birch", "maple", "larch", "willow"]

    def answer(key: str, score: int) -> dict:
        text = f"The answer {key} of thread {number} is about the {words[number]} and its leaves."
        return {"id": f"{number}{key}", "text": text, "score": score}

    return {
        "site": "forum.example",
        "id": str(number),
        "title": f"How do I care for a {words[number]} in a dry summer?",
        "text": f"My {words[number]} number {number} loses its leaves, although I water it.",
        "license": license,
        "responses": [answer("a", 5), answer("b", 1)],
        **changes,
    }


def curate(folder: Path, rows: list[dict], *flags: str) -> dict:
    dump = folder / "threads.jsonl"
    dump.write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = folder / "set"
    flags = ("--languages", "all", "--overwrite", "--quiet", *flags)
    assert main(["curate", "--input", f"threads={dump}", "--output", str(output), *flags]) == 0
    return json.loads((output / "manifest.json").read_text())


ROWS = [thread_row(0, "CC-BY-4.0"), thread_row(1, "NOASSERTION"), thread_row(2, "CC0-1.0")]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Manifest of a dataset of ROWS with texts."""
    return curate(tmp_path_factory.mktemp("full"), ROWS)


@pytest.fixture(scope="module")
def ids(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a dataset of ROWS without texts."""
    folder = tmp_path_factory.mktemp("ids")
    curate(folder, ROWS, "--ids-only")
    return folder / "set"


def test_own_threads_without_a_licence_may_not_be_published(
    full: dict, ids: Path, tmp_path: Path
) -> None:
    assert full["publishable"] is False
    (reason,) = full["not_publishable_because"]
    assert reason.startswith("forum.example: 1 pair holds texts without a licence")
    assert "(in its rows)" in reason and "--ids-only" in reason
    assert curate(tmp_path, ROWS[::2])["publishable"] is True
    assert json.loads((ids / "manifest.json").read_text())["publishable"] is True


def test_hydrate_decides_alike(full: dict, ids: Path, tmp_path: Path) -> None:
    out = tmp_path / "filled"
    assert main(["hydrate", str(ids), "--output", str(out), "--quiet"]) == 0
    filled = json.loads((out / "manifest.json").read_text())
    assert filled["not_publishable_because"] == full["not_publishable_because"] != []


def test_a_licence_of_a_single_response_counts(tmp_path: Path) -> None:
    row = thread_row(0, "CC-BY-4.0")
    row["responses"][1]["license"] = "NOASSERTION"
    assert curate(tmp_path, [row, thread_row(1, "CC0-1.0")])["publishable"] is False


def unlicensed(*threads: Thread) -> dict[str, int]:
    rows = []
    for number, found in enumerate(threads):
        language = {"language": "en"}
        prompt = msgspec.structs.replace(found.prompt, **language)
        responses = tuple(msgspec.structs.replace(r, **language) for r in found.responses)
        labelled = Thread(prompt=prompt, responses=responses)
        paired, _ = pair_thread(SplitThread(thread=labelled, split="train"), PairingRules())
        assert paired is not None, number
        rows += pair_rows(paired)
    stats = pair_stats(to_table(rows, PAIR_SCHEMA))
    return {key: n for key, n in stats.items() if key.startswith("unlicensed:")}


def test_every_text_of_a_row_counts() -> None:
    bad = (
        thread(10, license="NOASSERTION"),
        thread(20, response(21, 20, license="NONE"), response(22, 20)),
        thread(30, response(31, 30), response(32, 30, license="LicenseRef-Reddit-User-Agreement")),
    )
    assert unlicensed(thread(1)) == {}
    for one in bad:
        assert unlicensed(thread(1), one) == {"unlicensed:stackexchange forum.example.com": 1}
    assert unlicensed(*bad, thread(1)) == {"unlicensed:stackexchange forum.example.com": 3}


def test_the_texts_above_a_reply_count() -> None:
    table = to_table([], PAIR_SCHEMA)
    rows = [
        {"context_licenses": licenses, "source": "reddit", "site": site}
        for licenses, site in (([], "a"), (["MIT", "NONE", "NONE"], "b"), (["MIT"], "c"))
    ]
    made = pa.Table.from_pylist(
        [dict.fromkeys(table.column_names) | row for row in rows], schema=without_nulls(table)
    )
    assert _unlicensed(made) == {"unlicensed:reddit b": 1}


def without_nulls(table: pa.Table) -> pa.Schema:
    return pa.schema([field.with_nullable(True) for field in table.schema])


def test_reasons_are_grouped_by_what_a_licence_can_be_given_for() -> None:
    stats = {
        "pairs": 9,
        "unlicensed:reddit reddit.com/r/a": 2,
        "unlicensed:reddit reddit.com/r/b": 3,
        "unlicensed:discourse d.example": 1,
        "unlicensed:threads my forum": 4,
        "license:NOASSERTION": 3,
    }
    reasons = unlicensed_texts(stats, ids_only=False)
    assert [reason.partition(":")[0] for reason in reasons] == ["d.example", "my forum", "reddit"]
    assert "5 pairs hold" in reasons[2] and "--license reddit=SPDX" in reasons[2]
    assert "--license d.example=SPDX" in reasons[0] and "in its rows" in reasons[1]
    assert unlicensed_texts(stats, ids_only=True) == ()


def test_what_can_be_refused_before_it_is_read() -> None:
    files = {
        kind: [ForumFile(kind=kind, site=site, path=f"x/{kind}", size=1)]
        for kind, site in (("reddit", ""), ("lemmy", "l.example"), ("threads", ""), ("pairs", ""))
    }
    found = unlicensed_sources(files, ReadRules())
    assert [reason.partition(":")[0] for reason in found] == ["l.example", "reddit"]
    assert unlicensed_sources(files, ReadRules(licenses={"reddit": "MIT", "lemmy": "MIT"})) == ()
