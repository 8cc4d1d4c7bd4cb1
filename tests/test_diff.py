"""Two versions of a dataset: what differs, why, and how it is told."""

import argparse
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.commands.diff import add_arguments, open_version
from pipeline.commands.diff import run as diff
from pipeline.curate.options import add_recipe_arguments, add_run_arguments, parse
from pipeline.curate.run import curate
from pipeline.dataset.folder import DatasetFolder
from pipeline.diff import compare as comparing
from pipeline.diff.aligned_read import matching_threads
from pipeline.diff.changelog import make_changelog
from pipeline.diff.compare import SCORE_COLUMNS, compare_datasets, compare_inputs, compare_values
from pipeline.diff.difference import DatasetDifference, SchemaChange, ValueChange, semantic_advice
from pipeline.diff.outcomes import CONSEQUENCES, OUTCOME_DOCS, OUTCOMES
from pipeline.errors import DatasetError, UsageError
from schemas.arrow import DUPLICATE_SCHEMA, PAIR_SCHEMA, REJECTED_SCHEMA
from schemas.audit import Reason
from schemas.ids import hash63
from schemas.manifest import Accounting, InputFile, Manifest, Shard
from schemas.pair import FORMER_NAMES, PAIR_SCHEMA_VERSION, SPLITS, TEXT_COLUMNS, text_hash
from tests.dumps import DUMPS, needs_dumps
from transforms.writers.parquet import write_parquet

SITE = "forum.example.com"
SAMPLES = Path(__file__).parents[1] / "samples"

Row = dict[str, Any]


def pair(thread: int, chosen: int, rejected: int, **values: Any) -> Row:
    """A row of the data table; posts are '<site>:<number>', texts follow from the ids."""
    thread_id = f"{SITE}:{thread}"
    row: Row = {
        "pair_id": f"{thread_id}/{chosen}>{rejected}",
        "source": "stackexchange",
        "site": SITE,
        "thread_id": thread_id,
        "split": "train",
        "language": "en",
        "prompt": f"prompt {thread}",
        "chosen": f"text {chosen}",
        "rejected": f"text {rejected}",
        "prompt_turns": None,
        "chosen_turns": None,
        "rejected_turns": None,
        "chosen_score": 2.0,
        "rejected_score": 1.0,
        "window_chosen_score": None,
        "window_rejected_score": None,
        "debiased_margin": None,
        "debiased_standard_error": None,
        "confidence": 0.75,
        "tags": [],
        "context_ids": [],
        "context_urls": [],
        "context_authors": [],
        "context_licenses": [],
    }
    for side, number in (("prompt", thread), ("chosen", chosen), ("rejected", rejected)):
        row |= {
            f"{side}_id": f"{SITE}:{number}",
            f"{side}_created_at": 1_000_000,
            f"{side}_url": f"https://{SITE}/{number}",
            f"{side}_author": "someone",
            f"{side}_author_url": None,
            f"{side}_license": "CC-BY-SA-4.0",
            f"{side}_is_accepted": False,
        }
    row |= values
    row["vote_margin"] = row["chosen_score"] - row["rejected_score"]
    row.setdefault("text_hash", text_hash(row["prompt"], row["chosen"], row["rejected"]))
    return row


def reject(number: int, reason: str, record: str = "post") -> Row:
    row = {"id": f"{SITE}:{number}", "stage": "pair", "reason": reason, "detail": ""}
    return row | {"record": record}


def write_dataset(
    folder: Path,
    pairs: Iterable[Row] = (),
    rejected: Iterable[Row] = (),
    duplicates: Iterable[int] = (),
    *,
    shards: int = 1,
    schema: pa.Schema = PAIR_SCHEMA,
    recipe: Mapping[str, Any] | None = None,
    **manifest: Any,
) -> DatasetFolder:
    """Write shards and manifest as a run would, in the order of a run."""

    def table(rows: Sequence[Row], of: pa.Schema) -> pa.Table:
        names = {name: FORMER_NAMES.get(name, name) for name in of.names}
        parts = [{name: row[now] for name, now in names.items()} for row in rows]
        return pa.Table.from_pylist(parts, schema=of)

    def place(row: Row) -> tuple[int, str]:
        return hash63(row["thread_id"]), row["pair_id"]

    written: list[Shard] = []
    rows = sorted(pairs, key=place)
    for split in SPLITS:
        of_split = [row for row in rows if row["split"] == split]
        threads = list(dict.fromkeys(row["thread_id"] for row in of_split))
        count = min(shards, len(threads))
        for index in range(count):
            some = set(threads[index * len(threads) // count : (index + 1) * len(threads) // count])
            name = f"data/{split}-{index:05d}-of-{count:05d}.parquet"
            part = [row for row in of_split if row["thread_id"] in some]
            written.append(write_parquet(str(folder), name, schema, [table(part, schema)]))
    removed = [
        {"removed_id": f"{SITE}:{n}", "kept_id": f"{SITE}:0", "similarity": 1.0, "rule": "exact"}
        for n in duplicates
    ]
    for kind, found, of in (
        ("duplicates", removed, DUPLICATE_SCHEMA),
        ("rejected", list(rejected), REJECTED_SCHEMA),
    ):
        if found:
            name = f"{kind}/{kind}-00000-of-00001.parquet"
            written.append(write_parquet(str(folder), name, of, [table(found, of)]))
    accounting = Accounting(
        posts_read=0,
        posts_kept=0,
        duplicates=0,
        rejected=0,
        pairs={},
        threads={"train": len({row["thread_id"] for row in rows})},
        stages=(),
        other_records={},
    )
    values: dict[str, Any] = {
        "pair_schema_version": PAIR_SCHEMA_VERSION,
        "recipe": {"seed": 0, "split": "90/5/5", "votes": "net_votes"} | dict(recipe or {}),
        "versions": {},
        "inputs": (),
        "accounting": accounting,
        "publishable": True,
        "shards": tuple(written),
    }
    folder.mkdir(parents=True, exist_ok=True)
    content = msgspec.json.encode(Manifest(**(values | manifest)))
    (folder / "manifest.json").write_bytes(content)
    return DatasetFolder(folder)


def rows_of(folder: DatasetFolder, table: str) -> list[Row]:
    schema = folder.schema(table)
    if schema is None:
        return []
    batches = folder.read_columns(table, schema.names)
    return [row for batch in batches for row in batch.to_pylist()]


def key_of(row: Row) -> tuple[str, frozenset[str]]:
    return row["thread_id"], frozenset((row["chosen_id"], row["rejected_id"]))


SIDES = ("prompt_id", "chosen_id", "rejected_id")


def naive_reasons(pairs: list[Row], other: DatasetFolder) -> tuple[Counter[str], Counter[str]]:
    """What became of the posts of ``pairs`` in ``other``, by plain dictionaries."""
    rows = rows_of(other, "data")
    kept = {row[side] for row in rows for side in SIDES}
    kept |= {name for row in rows for name in row["context_ids"]}
    scores = {row[f"{s}_id"]: row[f"{s}_score"] for row in rows for s in ("chosen", "rejected")}
    sizes = Counter(row["prompt_id"] for row in rows)
    reasons: dict[str, set[str]] = {}
    for row in rows_of(other, "rejected"):
        if row["record"] == "post":
            reasons.setdefault(row["id"], set()).add(row["reason"])
    for row in rows_of(other, "duplicates"):
        reasons.setdefault(row["removed_id"], set()).add("duplicate")

    def outcome(post: str) -> str:
        if post in kept:
            return "kept"
        return min(reasons.get(post, {"not_in_input"}), key=OUTCOMES.index)

    by_pair: Counter[str] = Counter()
    most = other.manifest.recipe.get("max_pairs_per_thread", 0)
    for row in pairs:
        outcomes = [f for side in SIDES if (f := outcome(row[side])) != "kept"]
        if outcomes:
            by_pair[min(outcomes, key=OUTCOMES.index)] += 1
        elif scores.get(row["chosen_id"], 0.5) == scores.get(row["rejected_id"], -0.5):
            by_pair["equal_scores"] += 1
        else:
            full = most and sizes[row["prompt_id"]] >= most
            by_pair["thread_full" if full else "only_in_other_pairs"] += 1
    posts = {row[side] for row in pairs for side in SIDES}
    by_post = Counter(f for post in posts if (f := outcome(post)) != "kept")
    return by_pair, by_post


def naive(old: DatasetFolder, new: DatasetFolder) -> dict[str, Any]:
    """The same comparison with everything in memory, column by column."""
    a, b = ({key_of(row): row for row in rows_of(f, "data")} for f in (old, new))
    gone = [a[key] for key in a.keys() - b.keys()]
    added = [b[key] for key in b.keys() - a.keys()]
    both = a.keys() & b.keys()
    flipped = {key for key in both if a[key]["chosen_id"] != b[key]["chosen_id"]}
    kinds: Counter[str] = Counter()
    columns: Counter[str] = Counter()
    for key in both - flipped:
        changed = {
            name
            for name in a[key].keys() & b[key].keys()
            if name not in (*TEXT_COLUMNS, "split") and a[key][name] != b[key][name]
        }
        columns.update(changed)
        kinds["same"] += not changed
        kinds["rescored"] += bool(changed & set(SCORE_COLUMNS))
        kinds["rewritten"] += "text_hash" in changed
        kinds["relabelled"] += bool(changed - {*SCORE_COLUMNS, "text_hash"})
    splits = [{row["thread_id"]: row["split"] for row in rows.values()} for rows in (a, b)]
    moves = Counter(
        f"{splits[0][name]}>{splits[1][name]}"
        for name in splits[0].keys() & splits[1].keys()
        if splits[0][name] != splits[1][name]
    )
    return {
        "pairs": (len(a), len(b)),
        "threads": (len(splits[0]), len(splits[1])),
        "threads added, gone": (
            len(splits[1].keys() - splits[0].keys()),
            len(splits[0].keys() - splits[1].keys()),
        ),
        "moves": moves,
        "added": len(added),
        "gone": len(gone),
        "flipped": len(flipped),
        "kinds": +kinds,
        "columns": columns,
        "why gone": naive_reasons(gone, new),
        "why added": naive_reasons(added, old),
    }


def as_naive(found: DatasetDifference) -> dict[str, Any]:
    """The same figures out of a `DatasetDifference`."""
    kinds = {
        "same": found.same,
        "rescored": found.rescored.count,
        "rewritten": found.rewritten.count,
        "relabelled": found.relabelled.count,
    }
    assert found.moved_threads.count == sum(found.moves.values())
    return {
        "pairs": (found.pairs_old, found.pairs_new),
        "threads": (found.threads_old, found.threads_new),
        "threads added, gone": (found.added_threads.count, found.gone_threads.count),
        "moves": Counter(found.moves),
        "added": found.added.count,
        "gone": found.gone.count,
        "flipped": found.flipped.count,
        "kinds": +Counter(kinds),
        "columns": Counter(found.columns),
        "why gone": (Counter(found.why_gone.pairs), Counter(found.why_gone.posts)),
        "why added": (Counter(found.why_added.pairs), Counter(found.why_added.posts)),
    }


THREADS = 4
ANSWERS = 4
AUDIT_REASONS = ("tied", "language", "repeated_id", "no_pair", "prompt_rejected", "a new reason")


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    """A small dataset: threads 100, 200, …, answers 101, 102, …, and the outcomes of the others."""
    pairs: list[Row] = []
    left: list[int] = []
    for thread in range(100, 100 * (THREADS + 1), 100):
        split = draw(st.sampled_from(SPLITS))
        scores = draw(st.lists(st.integers(0, 2), min_size=ANSWERS, max_size=ANSWERS))
        chosen_pairs = draw(st.sets(st.sampled_from(list(combinations(range(ANSWERS), 2)))))
        used = {thread}
        for one, other in sorted(chosen_pairs):
            high, low = (one, other) if scores[one] >= scores[other] else (other, one)
            used |= {thread + 1 + high, thread + 1 + low}
            context = [thread + 50] if draw(st.integers(0, 5)) == 0 else []
            pairs.append(
                pair(
                    thread,
                    thread + 1 + high,
                    thread + 1 + low,
                    split=split,
                    chosen_score=float(scores[high]),
                    rejected_score=float(scores[low]),
                    window_chosen_score=draw(st.sampled_from([None, 1])),
                    prompt=draw(st.sampled_from(["why", "why not"])),
                    tags=draw(st.sampled_from([[], ["a"], ["a", "b"]])),
                    chosen_author_url=draw(st.sampled_from([None, "u"])),
                    context_ids=[f"{SITE}:{number}" for number in context],
                )
            )
        everyone = [thread, thread + 50, *range(thread + 1, thread + 1 + ANSWERS)]
        left += [post for post in everyone if post not in used or post == thread + 50]
    rejected, duplicates = [], []
    for post in left:
        kind = draw(st.sampled_from(["absent", "duplicate", "vote", *AUDIT_REASONS]))
        if kind == "duplicate":
            duplicates.append(post)
        elif kind == "vote":
            rejected.append(reject(post, "bad_value", "vote"))
        elif kind != "absent":
            rejected.append(reject(post, kind))
    return {
        "pairs": pairs,
        "rejected": rejected,
        "duplicates": duplicates,
        "shards": draw(st.integers(1, 2)),
        "recipe": {"max_pairs_per_thread": draw(st.sampled_from([0, 1, 3]))},
    }


@settings(max_examples=30)
@given(contents(), contents(), st.integers(1, 7))
def test_it_is_what_dictionaries_find(
    before: dict[str, Any], after: dict[str, Any], batch_rows: int
) -> None:
    for row in (*before["rejected"], *after["rejected"]):
        if row["reason"] == "a new reason":
            row["reason"] = "unknown_reason"  # how a reason of a later version is counted
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        small = partial(matching_threads, batch_rows=batch_rows)
        patch.setattr(comparing, "matching_threads", small)
        old = write_dataset(Path(folder, "a"), **before)
        new = write_dataset(Path(folder, "b"), **after)
        found = compare_datasets(old, new)
        assert as_naive(found) == naive(old, new)
        assert found.equal is (old.manifest == new.manifest)


def test_the_ranges_hold_every_row_once_and_threads_whole(tmp_path: Path) -> None:
    rows = [
        pair(t, t + 1, t + 2 + i, split=SPLITS[t % 3])
        for t in range(100, 4000, 100)
        for i in range(t // 100 % 5 + 1)
    ]
    old = write_dataset(tmp_path / "a", rows, shards=3)
    new = write_dataset(tmp_path / "b", rows[::2])
    for batch_rows in (1, 3, 50, 10_000):
        ranges = list(matching_threads(old, new, ["thread_id", "pair_id"], batch_rows))
        for side, folder in ((0, old), (1, new)):
            ids = [name for tables in ranges for name in tables[side]["pair_id"].to_pylist()]
            assert sorted(ids) == sorted(row["pair_id"] for row in rows_of(folder, "data"))
        seen: set[str] = set()
        for left, right in ranges:
            threads = {*left["thread_id"].to_pylist(), *right["thread_id"].to_pylist()}
            assert not threads & seen
            seen |= threads
            assert left.num_rows + right.num_rows <= 2 * 3 * (batch_rows + 5)
        assert batch_rows > 50 or len(ranges) > 5


def test_rows_in_another_order_are_refused(tmp_path: Path) -> None:
    rows = sorted((pair(t, t + 1, t + 2) for t in (100, 200, 300)), key=lambda r: r["thread_id"])
    good = write_dataset(tmp_path / "a", rows)
    places = [hash63(row["thread_id"]) for row in rows]
    assert places != sorted(places)
    table = pa.Table.from_pylist([{n: r[n] for n in PAIR_SCHEMA.names} for r in rows], PAIR_SCHEMA)
    (shard,) = good.manifest.shards
    changed = write_parquet(str(tmp_path / "b"), shard.path, PAIR_SCHEMA, [table])
    manifest = msgspec.structs.replace(good.manifest, shards=(changed,))
    (tmp_path / "b/manifest.json").write_bytes(msgspec.json.encode(manifest))
    for batch_rows in (1, 10):
        with pytest.raises(DatasetError, match="data/train: its rows are not in the order"):
            list(matching_threads(good, DatasetFolder(tmp_path / "b"), ["thread_id"], batch_rows))


def test_every_kind_by_name(tmp_path: Path) -> None:
    old = [
        pair(100, 101, 102),
        pair(200, 201, 202),
        pair(300, 301, 302),
        pair(400, 401, 402, window_chosen_score=None),
        pair(500, 501, 502),
        pair(600, 601, 602),
    ]
    new = [
        pair(100, 101, 102),
        pair(200, 202, 201),
        pair(300, 301, 302, prompt="edited"),
        pair(400, 401, 402, window_chosen_score=0),
        pair(500, 501, 502, tags=["x"], split="test"),
        pair(700, 701, 702),
    ]
    found = compare_datasets(write_dataset(tmp_path / "a", old), write_dataset(tmp_path / "b", new))
    assert found.same == 1
    assert {
        "gone": found.gone.examples,
        "added": found.added.examples,
        "flipped": found.flipped.examples,
        "rewritten": found.rewritten.examples,
        "rescored": found.rescored.examples,
        "relabelled": found.relabelled.examples,
        "moved": found.moved_threads.examples,
        "gone threads": found.gone_threads.examples,
        "new threads": found.added_threads.examples,
    } == {
        "gone": (f"{SITE}:600/601>602",),
        "added": (f"{SITE}:700/701>702",),
        "flipped": (f"{SITE}:200/202>201",),
        "rewritten": (f"{SITE}:300/301>302",),
        "rescored": (f"{SITE}:400/401>402",),
        "relabelled": (f"{SITE}:500/501>502",),
        "moved": (f"{SITE}:500",),
        "gone threads": (f"{SITE}:600",),
        "new threads": (f"{SITE}:700",),
    }
    assert found.columns == {"tags": 1, "text_hash": 1, "window_chosen_score": 1}
    assert found.why_gone.pairs == found.why_added.pairs == {"not_in_input": 1}
    assert found.why_gone.posts == {"not_in_input": 3}


def test_causes_come_before_their_consequences(tmp_path: Path) -> None:
    """A pair is explained once, by what happened first to one of its posts."""
    old = write_dataset(tmp_path / "a", [pair(t, t + 1, t + 2) for t in range(100, 700, 100)])
    rejected = [
        *(reject(100, "no_pair"), reject(101, "tied"), reject(102, "tied")),
        *(reject(200, "language"), reject(201, "prompt_rejected"), reject(202, "prompt_rejected")),
        *(reject(301, "orphan_response"), reject(302, "orphan_response")),
        *(reject(400, "no_pair"), reject(402, "tied")),
        *(reject(500, "no_pair"), reject(501, "too_few_responses"), reject(502, "takedown")),
        *(reject(600, "no_pair"), reject(600, "repeated_id"), reject(601, "repeated_id")),
        reject(602, "not made yet"),
    ]
    new = write_dataset(tmp_path / "b", [], rejected, [401])
    why = compare_datasets(old, new).why_gone
    assert why.pairs == {
        "duplicate": 1,
        "language": 1,
        "no_pair": 1,
        "not_in_input": 1,
        "takedown": 1,
        "tied": 1,
    }
    assert sum(why.posts.values()) == 18
    assert why.posts["unknown_reason"] == 1 and why.posts["repeated_id"] == 1
    assert list(why.posts.values()) == sorted(why.posts.values(), reverse=True)


def test_pairs_whose_responses_are_in_other_pairs(tmp_path: Path) -> None:
    old = [pair(100, 101, 102), pair(200, 201, 202), pair(300, 301, 302)]
    new = [
        *(pair(100, 101, 103), pair(100, 102, 103)),
        *(pair(200, 201, 203, chosen_score=9.0), pair(200, 202, 203)),
        *(pair(300, 301, 303, chosen_score=9.0), pair(300, 302, 303), pair(300, 304, 303)),
    ]
    cap = {"max_pairs_per_thread": 3}
    a, b = write_dataset(tmp_path / "a", old), write_dataset(tmp_path / "b", new, recipe=cap)
    why = compare_datasets(a, b).why_gone
    assert why.pairs == {"equal_scores": 1, "only_in_other_pairs": 1, "thread_full": 1}
    assert why.posts == {}
    windowed = write_dataset(tmp_path / "c", new, recipe={"votes": "common_window"})
    assert compare_datasets(a, windowed).why_gone.pairs == {"only_in_other_pairs": 3}


def test_a_response_in_the_conversation_of_a_pair_is_kept(tmp_path: Path) -> None:
    old = write_dataset(tmp_path / "a", [pair(100, 101, 102)])
    replies = pair(100, 103, 104, context_ids=[f"{SITE}:101", f"{SITE}:102"])
    why = compare_datasets(old, write_dataset(tmp_path / "b", [replies])).why_gone
    assert (why.pairs, why.posts) == ({"only_in_other_pairs": 1}, {})


def test_every_outcome_has_a_meaning_and_a_rank() -> None:
    assert set(OUTCOMES) >= {reason.value for reason in Reason}
    assert len(OUTCOMES) == len(set(OUTCOMES))
    assert set(OUTCOME_DOCS) == {
        *OUTCOMES,
        "equal_scores",
        "thread_full",
        "only_in_other_pairs",
    } - {"kept"}
    assert max(OUTCOMES.index(r.value) for r in Reason if r not in CONSEQUENCES) < min(
        OUTCOMES.index(reason.value) for reason in CONSEQUENCES
    )


def test_examples_are_limited_and_counts_are_not(tmp_path: Path) -> None:
    old = write_dataset(tmp_path / "a", [pair(100, 101, 102)])
    new = write_dataset(tmp_path / "b", [pair(t, t + 1, t + 2) for t in range(100, 3000, 100)])
    found = compare_datasets(old, new, limit=3)
    assert found.added.count == 28 and len(found.added.examples) == 3
    assert compare_datasets(old, new, limit=0).added.examples == ()
    assert found == compare_datasets(old, new, limit=3)


def test_equal_shards_are_not_read(tmp_path: Path) -> None:
    rows = [pair(100, 101, 102), pair(100, 101, 103), pair(200, 201, 202)]
    old = write_dataset(tmp_path / "a", rows)
    new = write_dataset(tmp_path / "b", rows, recipe={"languages": ["en"]})
    found = compare_datasets(old, old)
    assert found.equal and found.advice.level == "none"
    assert (found.same, found.pairs_old, found.threads_new) == (3, 3, 2)
    found = compare_datasets(old, new)
    assert not found.equal and found.same == 3 and found.advice.level == "minor"
    assert [(c.name, c.old, c.new) for c in found.recipe] == [("languages", msgspec.UNSET, ["en"])]


def test_a_dataset_without_pairs(tmp_path: Path) -> None:
    empty = write_dataset(tmp_path / "a", [], [reject(101, "tied")])
    full = write_dataset(tmp_path / "b", [pair(100, 101, 102)])
    found = compare_datasets(empty, full)
    assert (found.pairs_old, found.pairs_new, found.added.count) == (0, 1, 1)
    assert found.schema is None
    assert compare_datasets(full, empty).gone.count == 1
    assert compare_datasets(empty, empty).equal


def test_an_older_schema_is_compared_by_its_texts(tmp_path: Path) -> None:
    later = ("text_hash", "context_ids", "context_urls", "context_authors", "context_licenses")
    former = {new: old for old, new in FORMER_NAMES.items()}
    older = pa.schema(
        [
            field.with_name(former.get(field.name, field.name))
            for field in PAIR_SCHEMA
            if field.name not in later
        ],
        metadata=PAIR_SCHEMA.metadata,
    )
    rows = [pair(100, 101, 102), pair(200, 201, 202), pair(300, 301, 302)]
    old = write_dataset(tmp_path / "a", rows, schema=older, pair_schema_version="1.0.0")
    rows = [pair(100, 101, 102, prompt="edited"), pair(200, 201, 202), pair(300, 301, 303)]
    found = compare_datasets(old, write_dataset(tmp_path / "b", rows))
    assert (found.rewritten.count, found.same, found.gone.count) == (1, 1, 1)
    assert found.columns == {"prompt": 1}
    assert found.schema == SchemaChange(
        old_version="1.0.0",
        new_version=PAIR_SCHEMA_VERSION,
        added=later,
        renamed=FORMER_NAMES,
    )
    assert found.advice.level == "major" and "vote_margin" in found.advice.because
    back = compare_datasets(DatasetFolder(tmp_path / "b"), old)
    assert back.advice.level == "major" and back.schema is not None and back.schema.gone == later


def test_columns_of_another_type_are_told_and_left_alone(tmp_path: Path) -> None:
    place = PAIR_SCHEMA.get_field_index("language")
    other = PAIR_SCHEMA.set(place, pa.field("language", pa.large_string(), nullable=False))
    old = write_dataset(tmp_path / "a", [pair(100, 101, 102)])
    new = write_dataset(tmp_path / "b", [pair(100, 101, 102, language="fr")], schema=other)
    found = compare_datasets(old, new)
    assert found.schema is not None and found.schema.retyped == ("language",)
    assert found.advice.level == "major" and found.same == 1


def test_without_ids_there_is_nothing_to_compare_by(tmp_path: Path) -> None:
    few = pa.schema([field for field in PAIR_SCHEMA if field.name != "thread_id"])
    old = write_dataset(tmp_path / "a", [pair(100, 101, 102)])
    new = write_dataset(tmp_path / "b", [pair(200, 201, 202)], schema=few)
    with pytest.raises(DatasetError, match="no thread_id"):
        compare_datasets(old, new)


def test_threads_that_move_are_warned_of(tmp_path: Path) -> None:
    old = [
        pair(t, t + 1, t + 2, split=s) for t, s in ((100, "train"), (200, "test"), (300, "train"))
    ]
    new = [
        pair(t, t + 1, t + 2, split=s) for t, s in ((100, "test"), (200, "train"), (300, "train"))
    ]
    a, b = write_dataset(tmp_path / "a", old), write_dataset(tmp_path / "b", new)
    found = compare_datasets(a, b)
    assert found.moves == {"test>train": 1, "train>test": 1} and found.same == 3
    assert len(found.warnings) == 2
    assert found.warnings[0].startswith("2 threads") and found.warnings[1].startswith("1 threads")
    seeded = write_dataset(tmp_path / "c", new, recipe={"seed": 1})
    (warning,) = compare_datasets(a, seeded).warnings
    assert "do not judge" in warning
    (warning,) = compare_datasets(write_dataset(tmp_path / "d", old[1:]), b).warnings
    assert "seed and split are equal" in warning


def source(name: str = "Posts.xml", sha256: str = "0", **values: Any) -> InputFile:
    fields: dict[str, Any] = {"site": SITE, "name": name, "bytes": 1, "sha256": sha256}
    return InputFile(**(fields | values))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([source()], [source()], []),
        ([source()], [source(kind="stackexchange", note="odd")], []),
        ([source()], [source(sha256="1")], [("Posts.xml", "changed")]),
        ([source()], [source(used=False)], [("Posts.xml", "changed")]),
        ([source("a"), source("b")], [source("c"), source("b")], [("a", "gone"), ("c", "new")]),
        ([source(), source(sha256="1")], [source(sha256="1"), source()], []),
        ([source(), source()], [source()], [("Posts.xml", "gone")]),
        ([source(sha256="1")], [source(), source(sha256="1")], [("Posts.xml", "new")]),
    ],
)
def test_inputs(
    old: list[InputFile], new: list[InputFile], expected: list[tuple[str, str]]
) -> None:
    assert [(change.name, change.change) for change in compare_inputs(old, new)] == expected


def test_values() -> None:
    changes = compare_values({"a": 1, "gone": None, "same": [1]}, {"new": 2, "same": [1], "a": 3})
    assert changes == (
        ValueChange(name="new", new=2),
        ValueChange(name="a", old=1, new=3),
        ValueChange(name="gone", old=None),
    )
    assert msgspec.to_builtins(changes[2]) == {"name": "gone", "old": None}


MAJOR = SchemaChange(old_version="1.9.0", new_version="2.0.0")
GONE = SchemaChange(old_version="1.0.0", new_version="1.0.0", gone=("x",), added=("y",))
RETYPED = SchemaChange(old_version="1.0.0", new_version="1.0.0", retyped=("x",))
ADDED = SchemaChange(old_version="1.0.0", new_version="1.1.0", added=("x",))
PATH = ValueChange(name="input", old=["a"], new=["b"])
LAYOUT = ValueChange(name="shard_bytes", old=1, new=2)
OPTION = ValueChange(name="languages", old=["en"], new=["fr"])
DATA = compare_inputs([source()], [source(sha256="1")])


@pytest.mark.parametrize(
    ("schema", "recipe", "inputs", "rows", "files", "level"),
    [
        (MAJOR, [OPTION], DATA, True, True, "major"),
        (GONE, [], [], False, True, "major"),
        (RETYPED, [], [], False, True, "major"),
        (ADDED, [], DATA, True, True, "minor"),
        (None, [OPTION, PATH], DATA, True, True, "minor"),
        (None, [OPTION], [], False, False, "minor"),
        (None, [PATH], DATA, True, True, "patch"),
        (None, [], DATA, False, False, "patch"),
        (None, [], [], True, True, "minor"),
        (None, [LAYOUT], [], False, True, "patch"),
        (None, [PATH], [], False, False, "none"),
    ],
)
def test_advice(
    schema: SchemaChange | None,
    recipe: list[ValueChange],
    inputs: Any,
    rows: bool,
    files: bool,
    level: str,
) -> None:
    advice = semantic_advice(schema, recipe, inputs, rows_differ=rows, files_differ=files)
    assert advice.level == level
    assert advice.because.endswith(".") and advice.because[0].isupper()


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return diff(parser.parse_args(arguments))


@pytest.fixture
def two(tmp_path: Path) -> tuple[str, str]:
    """Two datasets that differ in all that can be printed."""
    hostile = {"thread_id": "evil\x1b[31m\u202e:1", "pair_id": "evil\x1b[31m\u202e:1/[red]1>2"}
    old = [pair(t, t + 1, t + 2) for t in range(100, 1000, 100)]
    new = [
        *(pair(t, t + 1, t + 2, split="test", tags=["x" * 99]) for t in range(200, 500, 100)),
        pair(500, 502, 501),
        pair(600, 601, 602) | hostile,
    ]
    write_dataset(tmp_path / "a", old, inputs=(source("|<b>a\x1b[31m</b>"),), versions={"x": "1"})
    rejected = [reject(701, "tied"), reject(702, "tied"), reject(700, "no_pair")]
    recipe = {"languages": ["[red]", "\x1b[31m", "fr|*x*"]}
    write_dataset(tmp_path / "b", new, rejected, [801], recipe=recipe, pair_schema_version="2.99.0")
    return str(tmp_path / "a"), str(tmp_path / "b")


def test_it_prints_within_80_columns_and_nothing_that_drives_the_terminal(
    two: tuple[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(*two) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and "\u202e" not in printed
    assert all(len(line) <= 80 for line in printed.splitlines())
    plain = " ".join(printed.split())
    for text in (
        "[red]1>2",
        "flipped pairs 1",
        "train → test 3",
        "tags 3",
        "tied 1 2 equal in score",
        "languages",
        "2.99.0",
        "another minor number",
        "warning: 3 threads",
    ):
        assert text in plain, text


def test_json_is_the_whole_comparison(
    two: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*two, "--json", "--limit", "1") == 0
    found = json.loads(capsys.readouterr().out)
    expected = compare_datasets(DatasetFolder(two[0]), DatasetFolder(two[1]), 1)
    assert found == json.loads(msgspec.json.encode(expected))
    assert found["gone"]["count"] > 1 == len(found["gone"]["examples"])
    assert msgspec.convert(found, DatasetDifference) == expected


def test_exit_codes(two: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    a, b = two
    assert run(a, b, "--exit-code") == 1
    assert run(a, a, "--exit-code") == run(a, a) == 0
    assert "equal: 9 pairs, 9 threads" in capsys.readouterr().out


def test_wrong_use(tmp_path: Path, two: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="--limit -1"):
        run(*two, "--limit", "-1")
    with pytest.raises(UsageError, match=r"no manifest\.json"):
        run(two[0], str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match="is not an address"):
        run(*two, "--endpoint", "hub")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(two[0], tmp_path / "org/name@v1")
    assert open_version("org/name@v1").manifest == DatasetFolder(two[0]).manifest


def test_the_changelog_tells_every_figure_and_escapes_what_is_not_ours(
    two: tuple[str, str],
) -> None:
    found = compare_datasets(DatasetFolder(two[0]), DatasetFolder(two[1]))
    text = make_changelog(found, "v1|<b>", "v2")
    assert text.startswith("## Changes from v1\\|&lt;b&gt; to v2\n")
    assert "<b>" not in text and "*x*" not in text
    for count, what in (
        (found.gone.count, "gone pairs"),
        (found.flipped.count, "flipped pairs"),
        (found.moved_threads.count, "moved to another split"),
        (found.same, "pairs that are equal"),
    ):
        assert f"| {what} | {count} |" in text
    for row in tables(text):
        assert len({line.replace("\\|", "").count("|") for line in row}) == 1, row
    reasons = next(t for t in tables(text) if "reason" in t[0])
    assert sum(int(row.split("|")[2]) for row in reasons[2:] if row.split("|")[2] != " – ") == (
        found.gone.count
    )
    same = compare_datasets(DatasetFolder(two[0]), DatasetFolder(two[0]))
    assert make_changelog(same, "v1", "v2").splitlines()[2] == "None: v2 holds what v1 holds."


def tables(text: str) -> Iterator[list[str]]:
    table: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            table.append(line)
        elif table:
            yield table
            table = []


def curated(output: Path, *arguments: str) -> DatasetFolder:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_run_arguments(parser)
    add_recipe_arguments(parser)
    given = [*arguments, "--output", str(output), "--quiet"]
    curate(parse(parser, *parser.parse_known_args(given)))
    return DatasetFolder(output)


def test_two_recipes_on_the_sample(tmp_path: Path) -> None:
    sample = f"stackexchange={SAMPLES / 'sourdough.example.com'}"
    old = curated(tmp_path / "a", "--input", sample)
    new = curated(
        *(tmp_path / "b", "--input", sample, "--languages", "en,fr", "--min-response-chars", "80"),
        *("--votes", "common_window", "--dedup", "off"),
    )
    found = compare_datasets(old, new)
    assert found.gone.count and found.added.count and found.flipped.count
    assert "too_short" in found.why_gone.pairs and "duplicate" in found.why_added.pairs
    assert found.advice.level == "minor"
    assert {change.name for change in found.recipe} == {
        *("languages", "min_response_chars", "votes", "dedup")
    }
    mine = naive(old, new)
    # With scores of their own, equal scores of two pairs say nothing.
    other = mine["why gone"][0].pop("equal_scores", 0)
    mine["why gone"][0]["only_in_other_pairs"] += other
    found_figures = as_naive(found)
    mine["why gone"] = (+mine["why gone"][0], mine["why gone"][1])
    assert found_figures == mine


@needs_dumps
def test_one_site_four_years_apart(tmp_path: Path) -> None:
    dump = tmp_path / "beer.stackexchange.com"
    dump.mkdir()
    shutil.copyfile(DUMPS / "beer-2016/Posts.xml", dump / "Posts.xml")
    old = curated(tmp_path / "2016", "--input", f"stackexchange={dump}")
    archive = DUMPS / "beer.stackexchange.com.7z"
    new = curated(tmp_path / "2020", "--input", f"stackexchange={archive}")
    found = compare_datasets(old, new)
    assert as_naive(found) == naive(old, new)
    assert found.advice.level == "patch"
    assert [change.name for change in found.recipe] == ["input"]
    assert found.pairs_new > found.pairs_old > 100 < found.rescored.count
    assert found.flipped.count > 0 < found.rewritten.count
    assert {"not_in_input", "equal_scores"} <= found.why_gone.pairs.keys()
