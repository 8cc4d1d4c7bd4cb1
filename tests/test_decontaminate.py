import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.curate.benchmark_files import (
    find_benchmark_files,
    names_of,
    read_benchmarks,
    texts_of,
)
from pipeline.errors import UsageError
from schemas.audit import Reason, Stage
from schemas.manifest import MANIFEST_NAME
from tests.make import prompt, response, thread
from tests.publishing import curated
from training.evaluation.contamination import contamination_warnings
from training.evaluation.suites.registry import load_suite
from transforms.dedup.minhash import MinHashRules
from transforms.filters.decontaminate import (
    GRAM_WORDS,
    decontaminate_thread,
    gram_hashes,
    load,
    near_duplicates,
    read_texts,
    save,
    shared_words,
    words_of,
)

RULES = MinHashRules()
RUN = "one two three four five six seven eight nine ten eleven twelve thirteen"


@given(
    st.lists(st.sampled_from("abcd"), max_size=40), st.lists(st.sampled_from("abcd"), max_size=40)
)
def test_a_hash_is_equal_exactly_where_the_words_are(one: list[str], other: list[str]) -> None:
    def runs(words: list[str]) -> list[tuple[str, ...]]:
        return [
            tuple(words[place : place + GRAM_WORDS]) for place in range(len(words) - GRAM_WORDS + 1)
        ]

    first, second = runs(one), runs(other)
    hashes, others = gram_hashes(one), gram_hashes(other)
    assert (len(hashes), len(others)) == (len(first), len(second))
    expected = [[a == b for b in second] for a in first]
    if first and second:
        assert (hashes[:, None] == others[None, :]).tolist() == expected


def test_thirteen_words_are_needed_in_any_case_and_punctuation() -> None:
    benchmark = read_texts([("b.json", [f"Before. {RUN} after", "too short"])], RULES)
    assert shared_words(f"x {RUN.upper().replace(' ', ', ')}! y", benchmark) == f"b.json: {RUN}"
    assert shared_words(RUN.rpartition(" ")[0], benchmark) is None
    assert shared_words(RUN.replace("seven", "7"), benchmark) is None
    assert shared_words("", benchmark) is None
    assert shared_words(RUN, read_texts([("empty", [])], RULES)) is None
    assert np.array_equal(benchmark.grams, np.unique(benchmark.grams))
    assert words_of("Don't stop") == ["don", "t", "stop"]
    assert words_of("为什么 ﬁne") == ["为", "什", "么", "fine"]
    sentence = "为什么我的面包总是不能好好发酵呢"
    chinese = read_texts([("zh", [sentence])], RULES)
    assert shared_words(f"请问{sentence}谢谢", chinese) is not None
    assert shared_words(f"请问{sentence[:12]}谢谢", chinese) is None


@pytest.mark.parametrize(
    "sentence",
    [
        "रोटी बनाते समय आटे में थोड़ा नमक और पानी मिलाकर उसे देर तक अच्छी तरह गूँधना चाहिए",
        "يَجِبُ أَنْ تُعْجَنَ العَجِينَةُ جَيِّدًا ثُمَّ تُتْرَكَ لِتَرْتَاحَ سَاعَةً قَبْلَ أَنْ تُخْبَزَ فِي الفُرْنِ الحَارِّ",
        "باید خمیر را خوب ورز داد و گذاشت تا پیش از پختن می‌خوابد و آرام نرم می‌شود",
    ],
)
def test_thirteen_words_are_thirteen_in_scripts_with_marks(sentence: str) -> None:
    """Cut at their marks, eight words were thirteen."""
    words = sentence.split()
    benchmark = read_texts([("b", [sentence])], RULES)
    assert shared_words(" ".join(["x", *words[:13], "y"]), benchmark) is not None
    assert shared_words(" ".join(["x", *words[:12], "y"]), benchmark) is None
    assert shared_words(" ".join(["x", *words[:8], "y"]), benchmark) is None


def test_short_texts_count_when_they_are_equal_as_a_whole() -> None:
    asked = "Why does my bread not rise at all?"
    benchmark = read_texts(
        [("b.json", [asked, "Yes.", "one two three four five six seven"])], RULES
    )
    assert shared_words("why does my bread... not rise, at all", benchmark) == (
        "b.json: why does my bread not rise at all"
    )
    assert shared_words(f"Tell me: {asked}", benchmark) is None
    assert shared_words("Yes.", benchmark) is None
    assert shared_words("one two three four five six seven", benchmark) is None
    # A title alone is a whole text, too.
    titled = thread(1, title=asked, text="I use rye.")
    (first, *_) = decontaminate_thread(titled, benchmark, RULES).rejected
    assert (first.id, first.reason) == (titled.prompt.id, Reason.CONTAMINATED)


def test_a_text_with_a_change_every_few_words_is_a_near_duplicate() -> None:
    words = [f"word{number}" for number in range(240)]
    changed = [
        f"{word}x" if number % 12 == 6 and number < 48 else word
        for number, word in enumerate(words)
    ]
    told = " ".join([*changed[:48], *words[48:]])
    benchmark = read_texts([("b.json", ["Another text.", " ".join(words)])], RULES)
    far = " ".join(f"{word}x" if number % 12 == 6 else word for number, word in enumerate(words))
    assert shared_words(far, benchmark) is None
    similar, none, short = near_duplicates([told, far, "word1 word2"], benchmark, RULES)
    # 4 changes of 240 words touch 20 of 236 runs of 5: 216 / (236 + 20).
    assert similar == "b.json: similarity 0.84 to: " + " ".join(words)[:80]
    assert (none, short) == (None, None)
    loose = MinHashRules(threshold=0.3, bands=63, rows=2)
    (found,) = near_duplicates([far], read_texts([("b.json", [" ".join(words)])], loose), loose)
    assert found is not None and found.startswith("b.json: similarity 0.40")
    assert near_duplicates([told], read_texts([], RULES), RULES) == [None]
    outcome = decontaminate_thread(
        thread(1, response(2, text=far), response(3)),
        read_texts([("b.json", [" ".join(words)])], loose),
        loose,
    )
    assert outcome.thread is None
    assert outcome.rejected[1].detail.startswith("b.json: similarity 0.4")


def test_what_workers_read_is_what_was_saved(tmp_path: Path) -> None:
    long = " ".join(f"word{number}" for number in range(30))
    whole = read_texts([("a", [RUN, long]), ("b", ["Why does my bread not rise at all?"])], RULES)
    for number, saved in enumerate((whole, read_texts([("a", [])], RULES))):
        path = str(tmp_path / f"{number}.npz")
        save(saved, path)
        read = load(path)
        assert (read.names, read.starts) == (saved.names, saved.starts)
        for name in ("grams", "gram_files", "short", "short_files", "keys", "key_texts"):
            assert np.array_equal(getattr(read, name), getattr(saved, name)), name
        assert len(read.shingles) == len(saved.shingles)
        assert all(map(np.array_equal, read.shingles, saved.shingles))


def test_a_whole_thread_goes_and_every_post_of_it_is_told() -> None:
    benchmarks = read_texts([("b.json", [RUN])], RULES)
    clean = thread(1)
    assert decontaminate_thread(clean, benchmarks, RULES).thread is clean
    answers = (response(2, text=f"He said: {RUN}."), response(3), response(4))
    outcome = decontaminate_thread(thread(1, *answers), benchmarks, RULES)
    assert outcome.thread is None
    assert {reject.id: reject.reason for reject in outcome.rejected} == {
        prompt(1).id: Reason.CONTAMINATED,
        answers[0].id: Reason.CONTAMINATED,
        answers[1].id: Reason.PROMPT_REJECTED,
        answers[2].id: Reason.PROMPT_REJECTED,
    }
    assert all(reject.stage is Stage.FILTER for reject in outcome.rejected)
    # The title and the text of a prompt are compared as one.
    asked = thread(1, title="one two three four five six", text=RUN.partition("six ")[2])
    (first, *_) = decontaminate_thread(asked, benchmarks, RULES).rejected
    assert (first.id, first.reason) == (asked.prompt.id, Reason.CONTAMINATED)
    assert first.detail.startswith("b.json: one two")


def test_every_text_in_a_file_counts(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "chosen": [{"content": "b"}], "n": 3, "none": None}]
    (tmp_path / "one.json").write_text(json.dumps({"key": rows}))
    (tmp_path / "two.jsonl.gz").write_bytes(gzip.compress(json.dumps(rows[0]).encode() + b"\n\n"))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "three.parquet")
    (tmp_path / "four.txt").write_text("a b")
    (tmp_path / "left.bin").write_bytes(b"\xff")
    files = find_benchmark_files((str(tmp_path), f"{tmp_path}/*.txt"))
    assert [file.name for file in files] == [
        "four.txt",
        "one.json",
        "three.parquet",
        "two.jsonl.gz",
    ]
    assert [sorted(texts_of(file)) for file in files] == [["a b"], *[["a", "b"]] * 3]


def test_files_of_one_name_are_told_apart_and_the_first_is_named() -> None:
    assert names_of([Path("a/x.json"), Path("b/x.json"), Path("b/y.json")]) == [
        "a/x.json",
        "b/x.json",
        "y.json",
    ]
    other = RUN.replace("one", "once")
    benchmarks = read_texts([("a", [RUN]), ("b", [other, RUN])], RULES)
    assert shared_words(RUN, benchmarks) == f"a: {RUN}"
    assert shared_words(other, benchmarks) == f"b: {other}"


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--decontaminate nowhere/\*: no file there ends in"):
        find_benchmark_files(("nowhere/*",))
    (tmp_path / "cut.json").write_text("[")
    with pytest.raises(UsageError, match=r"cut\.json"):
        read_benchmarks((str(tmp_path),), RULES)


def test_a_dataset_is_made_without_what_a_benchmark_holds(tmp_path: Path, sample: Path) -> None:
    rows = pq.read_table(sorted((sample / "data").glob("train-*"))[0]).to_pylist()
    row = next(row for row in rows if len(words_of(row["chosen"])) > GRAM_WORDS)
    suite = tmp_path / "suite.jsonl"
    held = {"prompt": "Which?", "chosen": row["chosen"], "rejected": "None of them."}
    suite.write_text(json.dumps(held) + "\n")
    output = curated(tmp_path / "out", "--decontaminate", str(suite))
    threads = {
        entry["thread_id"]
        for path in (output / "data").glob("*.parquet")
        for entry in pq.read_table(path).to_pylist()
    }
    assert row["thread_id"] not in threads
    rejects = pq.read_table(output / "rejected").to_pylist()
    told = {entry["id"]: entry for entry in rejects if entry["reason"] == "contaminated"}
    assert row["chosen_id"] in told
    assert told[row["chosen_id"]]["detail"].startswith("suite.jsonl: ")
    manifest = json.loads((output / MANIFEST_NAME).read_text())
    assert manifest["recipe"]["decontaminate"] == [str(suite)]
    card = (output / "README.md").read_text()
    assert "Compared with the texts of suite.jsonl: " in card
    assert "Compared with the texts" not in (sample / "README.md").read_text()
    accounting = manifest["accounting"]
    assert accounting["posts_read"] == (
        accounting["posts_kept"] + accounting["duplicates"] + accounting["rejected"]
    )
    # An evaluation warns of the dataset that was not cleaned, and not of this one.
    loaded = [load_suite("pairs", str(suite))]
    assert contamination_warnings(str(output), loaded) == {}
    assert list(contamination_warnings(str(sample), loaded)) == ["pairs", ""]
    suite.write_text(suite.read_text() * 2)  # another file of the same name
    again = [load_suite("pairs", str(suite))]
    assert list(contamination_warnings(str(output), again)) == ["pairs", ""]
    assert "cannot be read" in contamination_warnings("./nowhere", again)["pairs"]
    assert contamination_warnings(None, again) == {}
