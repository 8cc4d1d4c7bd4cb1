"""Datasets of ids and labels, and their texts filled back in."""

import hashlib
import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli import main
from pipeline.commands import hydrate
from pipeline.curate.inputs import Inputs
from pipeline.errors import HydrateError
from pipeline.runners import dispatch
from pipeline.runners.worker_count import WORKER_MEMORY, WORTH_IT_BYTES
from schemas.arrow import PAIR_IDS_SCHEMA, PAIR_SCHEMA
from schemas.checksums import FileStamp
from schemas.exit_codes import ExitCode
from schemas.manifest import Shard
from schemas.pair import TEXT_COLUMNS
from schemas.post import Post, RemovedAs, Thread
from tests.make import prompt, response
from transforms.hydrate.fill_texts import (
    NOT_FILLED,
    TEXT_MISSING,
    fill_rows,
    fill_shard,
    markdown_by_id,
)
from transforms.hydrate.ids_shards import IdsShard, NeededPosts, needed_posts, post_key
from transforms.pairing import PairedThread, pair_rows, pair_thread, preset
from transforms.pairing.pair_threads import SplitThread
from transforms.writers.parquet import to_table, without_texts, write_shard
from transforms.writers.shards import ShardKey, make_block, route_block, shard_path

SAMPLES = Path(__file__).parents[1] / "samples"
FLAGS = ("--shard-bytes", "60000", "--conversational")
SITES = ("sourdough.example.com", "tinycode.example.com")


def run(command: str, *arguments: str) -> int:
    return main([command, *arguments, "--quiet"])


def curate(output: Path, *arguments: str, inputs: tuple[str, ...] = ()) -> int:
    inputs = inputs or (f"stackexchange={SAMPLES}",)
    given = [part for entry in inputs for part in ("--input", entry)]
    return run("curate", *given, "--output", str(output), *arguments)


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def manifest_of(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def table_of(folder: Path, table: str = "data") -> pa.Table:
    return ds.dataset(folder / table, format="parquet").to_table()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The dataset of the samples with its texts, and without; both are called 'set'."""
    base = tmp_path_factory.mktemp("hydrate")
    for name, flags in (("full", ()), ("ids", ("--ids-only",))):
        assert curate(base / name / "set", *FLAGS, *flags) == 0
    return base / "full" / "set", base / "ids" / "set"


# The dataset without texts


def test_ids_and_labels_are_all_there_is(folders: tuple[Path, Path]) -> None:
    full, ids = folders
    names = [f"data/{path.name}" for path in sorted((full / "data").iterdir())]
    assert names == [f"data/{path.name}" for path in sorted((ids / "data").iterdir())]
    assert len(names) > 3
    for name in names:
        schema = pq.read_schema(ids / name)
        assert schema.equals(PAIR_IDS_SCHEMA, check_metadata=True)
        assert not set(schema.names) & set(TEXT_COLUMNS)
        rows = pq.read_table(full / name).select(PAIR_IDS_SCHEMA.names)
        assert pq.read_table(ids / name).equals(rows)
    assert manifest_of(ids)["ids_only"] is True
    assert manifest_of(full)["accounting"] == manifest_of(ids)["accounting"]
    assert hashes(full)["report.json"] == hashes(ids)["report.json"]


def test_no_text_is_in_any_byte(folders: tuple[Path, Path]) -> None:
    full, ids = folders
    words: set[str] = set()
    for name in ("prompt", "chosen", "rejected"):
        for text in pc.unique(table_of(full)[name]).to_pylist():
            lines = [line for line in text.splitlines() if len(line) > 40]
            words.update(line[:40] for line in lines[:3])
    assert len(words) > 50
    for path in ids.rglob("*"):
        if path.suffix == ".parquet":
            values = "\n".join(str(row) for row in pq.read_table(path).to_pylist())
            raw = path.read_bytes().decode("utf-8", "replace")
        elif path.is_file():
            values = raw = path.read_text(encoding="utf-8")
        else:
            continue
        found = [text for text in words if text in values or text in raw]
        assert not found, f"{path.name} holds {found[:3]}"


# Filling texts in


def test_hydrated_is_what_curate_writes(folders: tuple[Path, Path], tmp_path: Path) -> None:
    full, ids = folders
    output = tmp_path / "set"
    assert run("hydrate", str(ids), "--output", str(output)) == 0
    assert hashes(output) == hashes(full)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert table_of(output)["prompt_turns"].null_count == 0


def test_two_workers_and_another_copy_of_the_dump(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    full, ids = folders
    given = []
    for site in SITES:
        (tmp_path / site).mkdir()
        shutil.copy(SAMPLES / site / "Posts.xml", tmp_path / site)
        given += ["--input", f"stackexchange={tmp_path / site}"]
    output = tmp_path / "out" / "set"
    assert run("hydrate", str(ids), "--output", str(output), *given, "--workers", "2") == 0
    assert hashes(output) == hashes(full)


@pytest.mark.parametrize(("given", "expected"), [((), 3), (("--workers", "1"), 1)])
def test_workers_are_chosen_as_for_curate(
    folders: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: tuple[str, ...],
    expected: int,
) -> None:
    monkeypatch.setattr(dispatch, "usable_cores", lambda: 3)
    monkeypatch.setattr(dispatch, "usable_memory", lambda: 16 * WORKER_MEMORY)
    monkeypatch.setattr(Inputs, "bytes_to_hold", WORTH_IT_BYTES)
    chosen = []

    def run_local(_: object, *, workers: int, **__: object) -> None:
        chosen.append(workers)
        raise HydrateError("that is all")  # as other errors of the run, but no thread is left

    monkeypatch.setattr(hydrate, "run_local", run_local)
    assert run("hydrate", str(folders[1]), "--output", str(tmp_path / "out"), *given) == 1
    assert chosen == [expected]


TOPICS = ("sharpening a pocket knife", "drying wet boots", "a first loaf of rye", "old maps")


def reddit_rows() -> list[dict]:
    """Submissions, each with three comments and two replies to the first of them."""
    common = {"subreddit": "HandCraft", "retrieved_on": 1_560_000_000, "edited": False}
    rows = []
    for n, topic in enumerate(TOPICS):
        text = f"I have tried for {n + 2} weeks and would like to hear how others go about {topic}."
        rows.append(
            {
                **common,
                "id": f"s{n}",
                "title": f"What do you know about {topic}?",
                "selftext": text,
                "is_self": True,
                "author": f"asker{n}",
                "created_utc": 1_557_000_000 + n,
                "score": 9,
            }
        )
        for place, parent in enumerate((f"t3_s{n}",) * 3 + (f"t1_s{n}c0",) * 2):
            body = f"As for {topic}, the thing that mattered to me was number {place} of {n + 7}."
            rows.append(
                {
                    **common,
                    "id": f"s{n}c{place}",
                    "link_id": f"t3_s{n}",
                    "parent_id": parent,
                    "body": f"{body} Ask {'somebody near you, ' * (place + 1)}or look it up.",
                    "author": f"writer{n}x{place}",
                    "created_utc": 1_557_001_000 + place,
                    "score": 3 * place + 1,
                }
            )
    return rows


def lines(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def test_replies_and_copies_of_a_post_from_several_kinds_of_forum(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = reddit_rows()
    folder = tmp_path / "reddit"
    folder.mkdir()
    later = rows[2] | {"retrieved_on": 1_560_000_009, "body": rows[2]["body"] + " Added later."}
    (folder / "RS_2019-05.zst").write_bytes(zstandard.compress(lines([later, *rows])))
    broken = zstandard.compress(lines(rows[:3]))[:-9]
    (folder / "RC_2019-06.zst").write_bytes(broken)
    given = (f"reddit={folder}", f"stackexchange={SAMPLES / SITES[1]}")
    flags = ("--reply-depth", "2")
    assert curate(tmp_path / "full/set", *flags, inputs=given) == 0
    assert curate(tmp_path / "ids/set", *flags, "--ids-only", inputs=given) == 0
    pairs = table_of(tmp_path / "full/set").to_pylist()
    assert {row["source"] for row in pairs} == {"reddit", "stackexchange"}
    assert any(row["context_ids"] for row in pairs)
    assert any("Added later" in row["chosen"] + row["rejected"] for row in pairs)
    assert manifest_of(tmp_path / "full/set")["publishable"] is False
    assert manifest_of(tmp_path / "ids/set")["publishable"] is True
    capsys.readouterr()
    output = tmp_path / "out/set"
    assert run("hydrate", str(tmp_path / "ids/set"), "--output", str(output)) == 0
    assert hashes(output) == hashes(tmp_path / "full/set")
    assert "not read to its end: RC_2019-06.zst" in capsys.readouterr().err


def change_dump(folder: Path, full: Path) -> tuple[str, str]:
    """Copy the samples without one response, and with another changed; returns their ids."""
    shutil.copytree(SAMPLES, folder, ignore=shutil.ignore_patterns("*.py", "content"))
    rows = [row for row in table_of(full).to_pylist() if row["site"] == SITES[0]]
    threads = sorted({row["thread_id"] for row in rows})
    gone, changed = (
        next(row["chosen_id"] for row in rows if row["thread_id"] == thread)
        for thread in threads[:2]
    )
    posts = folder / SITES[0] / "Posts.xml"
    lines = []
    for line in posts.read_text(encoding="utf-8").splitlines(keepends=True):
        if f' Id="{gone.partition(":")[2]}" ' in line:
            continue
        if f' Id="{changed.partition(":")[2]}" ' in line:
            line = line.replace(' Body="', ' Body="&lt;p&gt;Edited.&lt;/p&gt;')
        lines.append(line)
    posts.write_text("".join(lines), encoding="utf-8")
    return gone, changed


def test_rows_that_cannot_be_filled_stop_it(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full, ids = folders
    gone, changed = change_dump(tmp_path / "dump", full)
    arguments = ("--input", f"stackexchange={tmp_path / 'dump'}", "--output", str(tmp_path / "set"))
    assert run("hydrate", str(ids), *arguments) == 1
    said = " ".join(capsys.readouterr().err.split())
    rows = table_of(full).to_pylist()
    bad = [row for row in rows if {gone, changed} & {row["chosen_id"], row["rejected_id"]}]
    assert f"{len(bad)} of {len(rows)} rows cannot be filled" in said
    assert gone in said and f"/{changed.partition(':')[2]}>" in said
    assert "--allow-missing" in said and f"{SITES[0]}/Posts.xml" in said
    assert [path.name for path in tmp_path.iterdir()] == ["dump"]


def test_allow_missing_leaves_rows_out_and_says_so(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full, ids = folders
    gone, changed = change_dump(tmp_path / "dump", full)
    output = tmp_path / "set"
    arguments = ("--input", f"stackexchange={tmp_path / 'dump'}", "--output", str(output))
    assert run("hydrate", str(ids), *arguments, "--allow-missing") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "excluded" in said and gone in said
    rows = table_of(full).to_pylist()
    whole = [row for row in rows if not {gone, changed} & {row["chosen_id"], row["rejected_id"]}]
    assert table_of(output).to_pylist() == whole
    accounting, before = manifest_of(output)["accounting"], manifest_of(full)["accounting"]
    kept = {row[f"{side}_id"] for row in whole for side in ("prompt", "chosen", "rejected")}
    assert sum(accounting["pairs"].values()) == len(whole)
    assert accounting["posts_kept"] == len(kept) < before["posts_kept"]
    assert (
        accounting["posts_read"]
        == accounting["posts_kept"] + accounting["duplicates"] + accounting["rejected"]
    )
    last = accounting["stages"][-1]
    assert last["stage"] == "hydrate" and last["entered"] == before["posts_kept"]
    assert last["left"] == len(kept) == last["entered"] - sum(last["rejected"].values())
    lost = {row["id"]: row["reason"] for row in table_of(output, "rejected").to_pylist()}
    assert lost[gone] == TEXT_MISSING and lost[changed] == NOT_FILLED
    assert (
        accounting["rejected"]
        == table_of(output, "rejected").filter(pc.field("record") == "post").num_rows
    )
    others = accounting["other_records"]
    assert others["hydrate.pairs_missing"] + others["hydrate.pairs_changed"] == len(rows) - len(
        whole
    )
    named = {shard["path"]: shard["sha256"] for shard in manifest_of(output)["shards"]}
    assert named == {name: h for name, h in hashes(output).items() if name.endswith(".parquet")}
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert report["pairs"]["total"] == len(whole)
    assert report["funnel"][-1]["stage"] == "hydrate"


def test_nothing_at_all_can_be_filled(folders: tuple[Path, Path], tmp_path: Path) -> None:
    _, ids = folders
    dump = tmp_path / "dump" / "other.example.com"
    dump.mkdir(parents=True)
    (dump / "Posts.xml").write_text(
        '<posts>\n<row Id="1" PostTypeId="1" CreationDate="2020-01-01T00:00:00.000" Score="1" '
        'Title="t" Body="b" Tags="" />\n</posts>\n'
    )
    arguments = ("--input", f"stackexchange={dump}", "--output", str(tmp_path / "set"))
    assert run("hydrate", str(ids), *arguments) == 1
    assert run("hydrate", str(ids), *arguments, "--allow-missing") == 0
    accounting = manifest_of(tmp_path / "set")["accounting"]
    assert accounting["pairs"] == {} and accounting["posts_kept"] == 0
    assert accounting["posts_read"] == accounting["duplicates"] + accounting["rejected"]
    assert not (tmp_path / "set" / "data").exists()


def test_what_cannot_be_hydrated(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full, ids = folders
    output = ("--output", str(tmp_path / "set"))
    assert run("hydrate", str(full), *output) == ExitCode.USAGE
    assert "has its texts" in capsys.readouterr().err
    assert run("hydrate", str(tmp_path), *output) == ExitCode.USAGE
    assert run("hydrate", str(ids), *output, "--input", "nope=x") == ExitCode.USAGE
    assert run("hydrate", str(ids), *output, "--input", "stackexchange=/nope") == ExitCode.USAGE
    assert run("hydrate", str(ids), *output, "--workers", "0") == ExitCode.USAGE
    damaged = tmp_path / "damaged"
    shutil.copytree(ids, damaged)
    victim = next((damaged / "data").iterdir())
    victim.write_bytes(victim.read_bytes()[:-1])
    capsys.readouterr()
    assert run("hydrate", str(damaged), *output) == ExitCode.USAGE
    assert victim.name in capsys.readouterr().err
    moved = tmp_path / "moved"
    shutil.copytree(ids, moved)
    manifest = manifest_of(moved)
    manifest["recipe"]["input"] = ["stackexchange=/elsewhere/dumps"]
    (moved / "manifest.json").write_text(json.dumps(manifest))
    assert run("hydrate", str(moved), *output) == ExitCode.USAGE
    assert "--input KIND=PATH" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("folder", "why"), [("gs://bucket/tmp", "needs its disk"), ("/none/such", "no such folder")]
)
def test_a_work_folder_that_cannot_be_used(folder: str, why: str, tmp_path: Path, capsys) -> None:
    line = ["hydrate", str(tmp_path), "--output", str(tmp_path / "out"), "--work-dir", folder]
    with pytest.raises(SystemExit):
        main([*line, "--input", f"stackexchange={tmp_path}"])
    assert why in capsys.readouterr().err


def test_an_existing_output_is_kept_unless_told(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full, ids = folders
    output = tmp_path / "set"
    shutil.copytree(ids, output)
    assert run("hydrate", str(ids), "--output", str(output)) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert "--overwrite" in said and "--resume" not in said
    assert hashes(output) == hashes(ids)
    assert run("hydrate", str(output), "--output", str(output), "--overwrite") == 0
    assert hashes(output) == hashes(full), "also in place"


# The functions


def threads(count: int) -> list[PairedThread]:
    """Threads with replies, so that some rows have a context."""
    made = []
    for number in range(1, count + 1):
        first = number * 100
        responses = [response(first + i, first, text=f"answer {i} of {number}") for i in (1, 2, 3)]
        responses += [
            response(first + 50 + i, first, parent_id=responses[0].id, text=f"reply {i}")
            for i in (1, 2)
        ]
        thread = Thread(prompt=prompt(first), responses=tuple(responses))
        split = ("train", "test")[number % 4 == 0]
        item, _ = pair_thread(SplitThread(thread=thread, split=split), preset("all"))
        assert item is not None
        made.append(item)
    return made


def posts_of(items: list[PairedThread]) -> list[Post]:
    return [post for item in items for post in (item.thread.prompt, *item.thread.responses)]


def ids_shards(folder: Path, items: list[PairedThread], per_split: int = 3) -> list[IdsShard]:
    shards = []
    for split in ("train", "test"):
        rows = sorted(
            (item for item in items if item.split == split),
            key=lambda item: post_key("", item.thread.id),
        )
        block = make_block(f"data/{split}", rows)
        buckets = sorted(dict(block.sizes))
        starts = buckets[:: max(1, len(buckets) // per_split)][:per_split]
        for key, blob in route_block(block, {f"data/{split}": tuple(starts)}):
            report = write_shard(str(folder), key, [blob], ids_only=True)
            file = folder / shard_path(key)
            start, keys = needed_posts(str(file))
            needed = folder / f"needed-{len(shards)}.npy"
            np.save(needed, keys)
            shards.append(
                IdsShard(shard=report.shard, file=str(file), needed=str(needed), start=start)
            )
    return shards


def test_every_shard_gets_its_posts_and_no_others(tmp_path: Path) -> None:
    items = threads(40)
    shards = ids_shards(tmp_path, items)
    assert len(shards) == 6
    others = [response(number, 7) for number in range(7_001, 7_101)]
    elsewhere = [msgspec.structs.replace(p, thread_id="f:1") for p in posts_of(items)[::3]]
    found: dict[int, set[str]] = {}
    for index, post in NeededPosts(shards).find([*others, *posts_of(items), *elsewhere]):
        assert post.id not in found.setdefault(index, set())
        found[index].add(post.id)
    for index, shard in enumerate(shards):
        rows = pq.read_table(shard.file).to_pylist()
        assert found[index] == {
            post_id
            for row in rows
            for post_id in (
                row["prompt_id"],
                *row["context_ids"],
                row["chosen_id"],
                row["rejected_id"],
            )
        }


def test_a_shard_is_filled_byte_for_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.writers.parquet.ROW_GROUP_BYTES", 6_000)
    items = [item for item in threads(30) if item.split == "train"]
    blobs = [make_block("data/train", items).blob]
    posts = markdown_by_id(posts_of(items))
    for conversational in (False, True):
        key = ShardKey("data/train", int(conversational), 2)
        options = {"conversational": conversational}
        full = write_shard(str(tmp_path / "full"), key, blobs, **options)
        ids = write_shard(str(tmp_path / "ids"), key, blobs, ids_only=True, **options)
        source = IdsShard(
            shard=ids.shard, file=str(tmp_path / "ids" / ids.shard.path), needed="", start=0
        )
        filled = fill_shard(source, posts, str(tmp_path / "filled"), **options)
        (report,) = filled.reports
        assert report == msgspec.structs.replace(full, stamp=report.stamp) and not filled.lost
        written = tmp_path / "filled" / report.shard.path
        assert report.stamp == FileStamp.of(written.stat()), "so that it is not hashed again"
        assert pq.ParquetFile(source.file).num_row_groups > 3


def test_lost_posts_are_those_in_no_whole_row(tmp_path: Path) -> None:
    items = threads(1)
    rows = pair_rows(items[0])
    table = without_texts(to_table(rows, PAIR_SCHEMA))
    posts = markdown_by_id(posts_of(items))
    thread_id = items[0].thread.id
    context = next(row.context_ids[0] for row in rows if row.context_ids)
    del posts[thread_id, context]
    filled = fill_rows(table, posts, conversational=False)
    touched = [row for row in rows if context in (*row.context_ids, row.chosen_id, row.rejected_id)]
    assert filled.missing == [context] * len(touched) and not filled.changed
    assert filled.table["pair_id"].to_pylist() == [
        row.pair_id for row in rows if row not in touched
    ]
    assert filled.lost[thread_id, context] == TEXT_MISSING
    replies = {row.chosen_id for row in rows if row.context_ids}
    assert {filled.lost[thread_id, reply] for reply in replies} == {NOT_FILLED}

    source_file = tmp_path / "train-00000-of-00001.parquet"
    pq.write_table(table, source_file)
    shard = Shard(
        path="data/train-00000-of-00001.parquet",
        table="data",
        split="train",
        rows=len(rows),
        bytes=0,
        sha256="",
    )
    source = IdsShard(shard=shard, file=str(source_file), needed="", start=0)
    result = fill_shard(source, posts, str(tmp_path / "out"), conversational=False)
    lost = pq.read_table(tmp_path / "out/rejected/hydrate-train-00000-of-00001.parquet").to_pylist()
    assert {row["id"] for row in lost} == {context} | {
        name for row in touched for name in (row.chosen_id, row.rejected_id) if row.context_ids
    }
    assert all(report.stamp is not None for report in result.reports)
    assert sum(result.lost.values()) == len(lost)
    assert result.missing == len(touched) and result.missing_ids == (context,)


@given(st.permutations(range(4)))
def test_the_copy_that_assembling_takes(order: list[int]) -> None:
    copies = [
        response(2, 1, text="old"),
        response(2, 1, text="new", edited_at=10**12),
        response(2, 1, text="<p>newest</p>", markup="html", edited_at=10**12 + 1),
        response(2, 9, text="in another thread"),
    ]
    found = markdown_by_id(copies[place] for place in order)
    assert {thread: post.text for (thread, _), post in found.items()} == {
        copies[0].thread_id: "newest",
        copies[3].thread_id: "in another thread",
    }


def test_a_text_that_is_gone_is_missing() -> None:
    gone = response(2, 1, text="[deleted]", removed_as=RemovedAs.DELETED)
    assert markdown_by_id([response(2, 1), gone]) == {}
