"""Several kinds of forum in one run, end to end."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard

from pipeline.cli import main
from schemas.exit_codes import ExitCode
from tests.test_curate import SAMPLES, hashes, manifest_of, read, shard_hashes

TIME = 1_557_000_000
SEEN = TIME + 40 * 86_400
TOPICS = (
    "kneading wet dough by hand without adding flour",
    "keeping a starter alive through a long holiday",
    "choosing a first pocket knife for whittling spoons",
    "washing wool jumpers so that they keep their shape",
    "finding the leak in a bicycle tube without a bucket",
    "getting candle wax out of an old wooden table",
)
SENTENCES = (
    "I did this for years and the part that mattered most was patience and a cool room.",
    "Start with half of what you think you need, then look at it again after an hour.",
    "My grandmother would have laughed at the tools people sell for this, a spoon is enough.",
    "There is no single answer here because the material decides how far you can go.",
    "Write down what you changed each time, otherwise you will never know what helped.",
    "Ask somebody near you to show it once, hands learn this better than eyes do.",
)


def submission(number: int, **fields: Any) -> dict[str, Any]:
    row = {
        "id": f"s{number}",
        "title": f"What is your way of {TOPICS[number % len(TOPICS)]}?",
        "selftext": f"I have tried for {number + 2} weeks and would like to hear how others do it.",
        "is_self": True,
        "subreddit": "HandCraft",
        "author": f"asker{number}",
        "created_utc": TIME + number,
        "retrieved_on": SEEN,
        "score": 12,
        "edited": False,
        "over_18": False,
        "stickied": False,
        "distinguished": None,
        "permalink": f"/r/HandCraft/comments/s{number}/what/",
        "domain": "self.HandCraft",
        "num_comments": 3,
    }
    return row | fields


def comment(name: str, to: str, score: int | None, text: str, **fields: Any) -> dict[str, Any]:
    row = {
        "id": name,
        "link_id": f"t3_{name[:-2]}",
        "parent_id": to,
        "body": text,
        "subreddit": "HandCraft",
        "author": f"writer-{name}",
        "created_utc": TIME + 1000 + len(name),
        "retrieved_on": SEEN,
        "score": score,
        "edited": False,
        "stickied": False,
        "distinguished": None,
    }
    return row | fields


def say(thread: int, place: int) -> str:
    first, second = SENTENCES[place % 6], SENTENCES[(place + thread + 1) % 6]
    return f"{first} {second} That goes for {TOPICS[thread % 6]} in particular, try {place} times."


def dump() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    submissions = [submission(n) for n in range(6)]
    comments = []
    for n in range(6):
        for place in range(3):
            comments.append(comment(f"s{n}c{place}", f"t3_s{n}", 3 * place + 1, say(n, place)))
        for place in range(2):
            text = f"Thank you, one more thing. {say(n, place + 3)}"
            comments.append(comment(f"s{n}r{place}", f"t1_s{n}c0", place, text))
    return submissions, comments


def lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture(scope="module")
def reddit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reddit")
    submissions, comments = dump()
    (folder / "RS_2019-05.zst").write_bytes(zstandard.compress(lines(submissions)))
    (folder / "RC_2019-05.zst").write_bytes(zstandard.compress(lines(comments[:9])))
    (folder / "RC_2019-06.gz").write_bytes(gzip.compress(lines(comments[9:]), mtime=0))
    return folder


def curate(output: Path, *arguments: str) -> int:
    return main(["curate", "--output", str(output), "--quiet", *arguments])


@pytest.fixture(scope="module")
def dataset(reddit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out") / "reddit"
    assert curate(output, "--input", f"reddit={reddit}") == 0
    return output


def reasons(folder: Path) -> dict[str, str]:
    return {row["id"]: row["reason"] for row in read(folder, "rejected")}


def test_comments_find_their_submission_across_files_and_months(dataset: Path) -> None:
    pairs = read(dataset)
    assert len(pairs) == 6 * 3
    assert {row["site"] for row in pairs} == {"reddit.com/r/HandCraft"}
    assert all(row["chosen_score"] > row["rejected_score"] for row in pairs)
    assert set(reasons(dataset).values()) == {"too_deep"}
    accounting = manifest_of(dataset)["accounting"]
    assert accounting["posts_read"] == 6 * 6
    assert accounting["posts_kept"] == 6 * 4


def test_a_source_without_a_licence_is_not_publishable(
    dataset: Path, reddit: Path, tmp_path: Path
) -> None:
    manifest = manifest_of(dataset)
    assert manifest["publishable"] is False
    assert "reddit" in manifest["not_publishable_because"][0]
    assert "Not to be published" in (dataset / "README.md").read_text()
    ids, licensed = tmp_path / "ids", tmp_path / "licensed"
    assert curate(ids, "--input", f"reddit={reddit}", "--ids-only") == 0
    assert manifest_of(ids)["publishable"] is True
    assert curate(licensed, "--input", f"reddit={reddit}", "--license", "reddit=CC0-1.0") == 0
    assert manifest_of(licensed)["publishable"] is True
    assert {row["chosen_license"] for row in read(licensed)} == {"CC0-1.0"}


def test_replies_are_paired_below_the_conversation(reddit: Path, tmp_path: Path) -> None:
    output = tmp_path / "deep"
    assert curate(output, "--input", f"reddit={reddit}", "--reddit-depth", "2") == 0
    pairs = read(output)
    deep = [row for row in pairs if row["context_ids"]]
    assert len(deep) == 6
    assert len(pairs) == 6 * 4
    for row in deep:
        assert len(row["context_ids"]) == 1
        assert row["context_ids"][0].endswith("c0")
        assert row["prompt"].count("\n\n---\n\n") == 1
        assert row["prompt_turns"] == [{"role": "user", "content": row["prompt"]}]
        assert row["chosen_turns"] == [{"role": "assistant", "content": row["chosen"]}]
    assert len({row["split"] for row in pairs if row["thread_id"] == "reddit.com:t3_s1"}) == 1
    report = json.loads((output / "report.json").read_text())
    assert report["multi_turn_pairs"] == 6
    assert manifest_of(output)["accounting"]["posts_kept"] == 6 * 6


MIXED = ("--input", f"stackexchange={SAMPLES}", "--reply-depth", "2")


@pytest.fixture(scope="module")
def mixed(reddit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two kinds of forum in one dataset."""
    output = tmp_path_factory.mktemp("mixed") / "mix"
    assert curate(output, "--input", f"reddit={reddit}", *MIXED) == 0
    assert {row["source"] for row in read(output)} == {"reddit", "stackexchange"}
    return output


@pytest.mark.parametrize(
    "arguments", [["--partitions", "3"], ["--partitions", "200", "--workers", "2"]]
)
def test_the_same_bytes_however_it_is_run(
    reddit: Path, mixed: Path, tmp_path: Path, arguments: list[str]
) -> None:
    output = tmp_path / "mix"
    assert curate(output, "--input", f"reddit={reddit}", *MIXED, *arguments) == 0
    assert hashes(output) == hashes(mixed)


def test_the_same_pairs_however_the_dump_is_cut_and_packed(dataset: Path, tmp_path: Path) -> None:
    submissions, comments = dump()
    rows = [*comments[::-1], *submissions[::-1]]
    folder = tmp_path / "cut"
    folder.mkdir()
    (folder / "a.ndjson").write_bytes(lines(rows[:20]))
    (folder / "b.zst").write_bytes(zstandard.compress(lines(rows[20:])))
    assert curate(tmp_path / "out", "--input", f"reddit={folder}") == 0
    assert shard_hashes(tmp_path / "out") == shard_hashes(dataset)


def test_every_kind_of_trouble_is_counted_and_none_ends_the_run(tmp_path: Path) -> None:
    submissions, comments = dump()
    folder = tmp_path / "dump"
    folder.mkdir()
    hostile = [
        b'{"id": "x1", "link_id": "t3_s0", "parent_id": "t3_s0", "body": "half',
        b'{"id": "x2", "body": "\xff\xfe", "link_id": "t3_s0", "parent_id": "t3_s0"}',
        b"[17]",
        b"\x00\x01\x02",
    ]
    null = comment("s0nn", "t3_s0", None, "a score that is null")
    lost = comment("s77c0", "t3_s77", 4, "its submission is not there")
    again = comments[0] | {"score": 50, "retrieved_on": SEEN + 1}
    (folder / "RS_2019-05.zst").write_bytes(zstandard.compress(lines(submissions)))
    good = lines([*comments, null, lost, again])
    (folder / "RC_2019-05.ndjson").write_bytes(b"\n".join(hostile) + b"\n" + good)
    cut = zstandard.compress(lines([comment(f"s1z{n}", "t3_s1", n, say(1, n)) for n in range(9)]))
    (folder / "RC_2019-06.zst").write_bytes(cut[:-20])
    (folder / "RC_2023-09.zst").write_bytes(zstandard.compress(lines(comments)))
    (folder / "RC_2019-07.zst").write_bytes(b"this is no archive")
    output = tmp_path / "out"
    assert curate(output, "--input", f"reddit={folder}", "--workers", "2") == 0
    rejected = read(output, "rejected")
    by_reason: dict[str, int] = {}
    for row in rejected:
        by_reason[row["reason"]] = by_reason.get(row["reason"], 0) + 1
    assert (by_reason["malformed_row"], by_reason["bad_value"]) == (3, 1)
    assert by_reason["orphan_response"] == 1
    assert by_reason["repeated_id"] == 1
    assert by_reason["missing_field"] == 1
    assert by_reason["unusable_month"] == 1
    assert by_reason["truncated_file"] == 1
    # The copy whose score was read later counts.
    top = [row for row in read(output) if row["chosen_id"].endswith("s0c0")]
    assert {row["chosen_score"] for row in top} == {50.0}


def test_a_near_copy_on_another_forum_is_found(reddit: Path, tmp_path: Path) -> None:
    ours = {
        "site": "crafts.example.org",
        "id": "1",
        "title": submission(1)["title"],
        "text": submission(1)["selftext"],
        "license": "CC-BY-4.0",
        "created_at": "2015-01-01T00:00:00Z",
        "responses": [
            {"id": "2", "text": "Feed it less and keep it in the fridge door.", "score": 4},
            {"id": "3", "text": "Dry it on baking paper and crumble it into a jar.", "score": 9},
        ],
    }
    path = tmp_path / "ours.jsonl"
    path.write_bytes(lines([ours]))
    output = tmp_path / "out"
    both = ["--input", f"reddit={reddit}", "--input", f"threads={path}"]
    assert curate(output, *both) == 0
    duplicates = {row["removed_id"]: row["kept_id"] for row in read(output, "duplicates")}
    assert duplicates == {"crafts.example.org:1": "reddit.com:t3_s1"}
    assert reasons(output)["crafts.example.org:1#2"] == "prompt_duplicate"


def test_takedown_by_link_and_by_author(reddit: Path, tmp_path: Path) -> None:
    takedown = tmp_path / "takedown.txt"
    takedown.write_text(
        "https://www.reddit.com/r/handcraft/comments/s1/what/?x=1\nreddit.com:uWRITER-s2c1\n"
    )
    output = tmp_path / "out"
    arguments = ["--input", f"reddit={reddit}", "--takedown", str(takedown)]
    assert curate(output, *arguments) == 0
    gone = {name for name, reason in reasons(output).items() if reason == "takedown"}
    assert gone == {"reddit.com:t3_s1", "reddit.com:t1_s2c1"}


def test_undated_sources_refuse_the_common_window(reddit: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "out"
    arguments = ["--input", f"reddit={reddit}", "--votes", "common_window"]
    assert curate(output, *arguments) == ExitCode.USAGE
    assert "reddit" in capsys.readouterr().err


def test_a_licence_for_nothing_and_an_unknown_column_are_slips(
    reddit: Path, tmp_path: Path, capsys
) -> None:
    given = ["--input", f"reddit={reddit}"]
    assert curate(tmp_path / "a", *given, "--license", "redit=CC0-1.0") == ExitCode.USAGE
    assert "there are reddit" in capsys.readouterr().err.replace("\n", " ")
    assert curate(tmp_path / "b", *given, "--pairs-columns", "choosen=better") == ExitCode.USAGE
    assert "choosen" in capsys.readouterr().err


def test_ids_can_be_inspected(reddit: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "ids"
    assert curate(output, "--input", f"reddit={reddit}", "--ids-only") == 0
    assert main(["inspect", str(output), "--limit", "1"]) == 0
    assert "hydrate" in capsys.readouterr().out
