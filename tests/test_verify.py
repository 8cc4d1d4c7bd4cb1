"""``forumprefs verify``: files, accounting, leaks and limits."""

import hashlib
import json
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from pipeline.commands.verify import Limits, faults_of_figures, unreadable
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.leaks import find_leaks
from schemas.manifest import Accounting, StageCount
from schemas.pair import Pair
from tests.preference_data import make_pairs, one_pair, write_dataset
from tests.publishing import copied


def with_pairs(folder: Path, *more: Pair) -> DatasetFolder:
    pairs = [pair for split in ("train", "test") for pair in make_pairs(5, split)]
    return DatasetFolder(write_dataset(folder, [*pairs, *more]))


def asked(thread: str, split: str, prompt: str) -> Pair:
    return one_pair(thread, split, "forum.example", prompt, (0, "good"), (1, "bad"))


def test_the_sample_is_as_it_should_be(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(sample)]) == 0
    assert "every checksum right" in capsys.readouterr().out
    assert main(["verify", str(sample), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    accounting = DatasetFolder(sample).manifest.accounting
    assert figures["pairs"] == sum(accounting.pairs.values())
    assert figures["rejected_percent"] == round(
        100 * accounting.rejected / accounting.posts_read, 2
    )


def test_no_leak_between_different_questions(tmp_path: Path) -> None:
    assert find_leaks(with_pairs(tmp_path / "data")) == ()


def test_a_thread_in_two_splits(tmp_path: Path) -> None:
    folder = with_pairs(
        tmp_path / "data", asked("a:1", "train", "One"), asked("a:1", "test", "Two")
    )
    [leak] = find_leaks(folder)
    assert (leak.what, leak.splits, leak.examples) == ("thread", ("train", "test"), ("a:1",))
    assert "share 1 threads: a:1" in str(leak)


def test_a_prompt_in_two_splits_however_it_is_written(tmp_path: Path) -> None:
    folder = with_pairs(
        tmp_path / "data",
        asked("a:1", "train", "Why is\n\nrye sour?"),
        asked("a:2", "validation", "Why  is rye sour? "),
        asked("a:3", "test", "Why is rye sour"),
        # Deduplication tells short texts apart by case, and so does this check.
        asked("a:4", "test", "why is rye sour?"),
    )
    [leak] = find_leaks(folder)
    assert (leak.what, leak.splits, leak.examples) == ("prompt", ("train", "validation"), ("a:2",))


def test_short_questions_that_differ_in_case_are_no_leak(tmp_path: Path) -> None:
    """What the splits of a real run make of them passes."""
    rows = []
    words = ["how", "do", "i", "keep", "my", "sourdough", "starter", "alive", "in", "winter"]
    for number in range(12):
        title = " ".join(w.upper() if number >> i & 1 else w for i, w in enumerate(words[:4]))
        title = f"{title} {' '.join(words[4:])}"
        rows.append(
            {
                "site": "own.example.com",
                "id": number,
                "title": title,
                "text": "",
                "license": "CC0-1.0",
                "responses": [
                    {
                        "id": 2 * number + place,
                        "text": f"Feed it {word} times a week by the stove, said baker {number}.",
                        "score": score,
                    }
                    for place, (word, score) in enumerate((("two", 9), ("ninety", 1)))
                ],
            }
        )
    path = tmp_path / "threads.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"
    command = ["curate", "--input", f"threads={path}", "--output", str(out), "--quiet"]
    assert main([*command, "--split", "50/25/25"]) == 0
    assert len({shard.split for shard in DatasetFolder(out).manifest.shards} & {"train", "test"})
    assert main(["verify", str(out)]) == 0


def test_a_damaged_archive_is_refused_unless_it_is_let_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "cooking.stackexchange.com.7z"
    archive.write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(200))
    out = tmp_path / "out"
    samples = Path(__file__).parents[1] / "samples" / "sourdough.example.com"
    inputs = [f"--input=stackexchange={place}" for place in (samples, archive)]
    assert main(["curate", *inputs, "--output", str(out), "--quiet"]) == 0
    assert main(["verify", str(out)]) == 3
    told = capsys.readouterr().err
    assert "1 input files could not be read" in told
    assert "cooking.stackexchange.com.7z" in told
    assert main(["verify", str(out), "--allow-damaged-files"]) == 0


def test_a_leak_is_refused(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With all its files whole, all posts accounted for, and one thread moved to another split."""
    folder = copied(sample, tmp_path / "leaking")
    manifest = DatasetFolder(folder).manifest
    train, test = (next(s for s in manifest.shards if s.split == n) for n in ("train", "test"))
    moved = pq.read_table(folder / train.path).slice(0, test.rows)
    splits = pa.array(["test"] * len(moved))
    moved = moved.set_column(moved.schema.get_field_index("split"), "split", splits)
    schema = pq.read_schema(folder / test.path)
    pq.write_table(moved.cast(schema), folder / test.path)
    content = (folder / test.path).read_bytes()
    changed = msgspec.structs.replace(
        test, bytes=len(content), rows=len(moved), sha256=hashlib.sha256(content).hexdigest()
    )
    shards = tuple(changed if s is test else s for s in manifest.shards)
    (folder / "manifest.json").write_bytes(
        msgspec.json.encode(msgspec.structs.replace(manifest, shards=shards))
    )
    assert len(moved) == test.rows
    assert main(["verify", str(folder), "--quiet"]) == 3
    said = capsys.readouterr().err
    assert "train and test share" in said and "threads" in said


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--min-pairs", "100000"), "the minimum is 100,000"),
        (("--max-rejected", "1"), "were rejected, the maximum is 1 %"),
        (("--max-unreadable", "0"), "while they were read, the maximum is 0 %"),
    ],
)
def test_limits(
    many: Path, flags: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(many), "--max-unreadable", "100", *flags]) == 3
    assert said in capsys.readouterr().err


def test_wrong_use_and_damage(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(sample), "--max-rejected", "101"]) == 2
    assert main(["verify", str(sample), "--min-pairs", "-1"]) == 2
    assert main(["verify", str(tmp_path)]) == 2
    folder = copied(sample, tmp_path / "damaged")
    shard = folder / DatasetFolder(folder).manifest.shards[0].path
    shard.write_bytes(shard.read_bytes()[:-1])
    capsys.readouterr()
    assert main(["verify", str(folder), "--quiet"]) == 2
    assert "cut off or overwritten" in capsys.readouterr().err


def test_accounting_that_does_not_add_up(sample: Path) -> None:
    manifest = DatasetFolder(sample).manifest
    assert list(faults_of_figures(manifest, Limits(max_unreadable=100))) == []
    read = msgspec.structs.replace(
        manifest.accounting, posts_read=1 + manifest.accounting.posts_read
    )
    [fault] = faults_of_figures(
        msgspec.structs.replace(manifest, accounting=read), Limits(max_unreadable=100)
    )
    assert fault.startswith("the accounting does not add up")
    [fault] = faults_of_figures(
        msgspec.structs.replace(manifest, shards=()), Limits(max_unreadable=100)
    )
    assert fault.startswith("the shards hold 0 pairs")


def test_posts_that_are_no_questions_are_not_unreadable() -> None:
    stage = StageCount(
        stage="read",
        entered=9,
        left=0,
        rejected={"malformed_row": 2, "not_a_question_or_answer": 3, "too_deep": 4},
    )
    later = StageCount(stage="filter", entered=9, left=0, rejected={"deleted": 9})
    accounting = Accounting(
        posts_read=9,
        posts_kept=0,
        duplicates=0,
        rejected=9,
        pairs={},
        threads={},
        stages=(stage, later),
        other_records={},
    )
    assert unreadable(accounting) == 2
