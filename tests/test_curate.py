"""The main job end to end, on the shipped sample."""

import errno
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.cli import main
from pipeline.curate import finalize as finish
from pipeline.curate import run
from pipeline.dataset import atomic as output_folder
from pipeline.dataset.folder import DatasetFolder
from schemas.arrow import PAIR_SCHEMA, REJECTED_SCHEMA
from schemas.exit_codes import ExitCode
from schemas.ids import hash63
from transforms.dedup.split import split_of as split_of_cluster
from transforms.writers import ShardReport

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "samples"
PLANTED = json.loads((SAMPLES / "planted.json").read_text(encoding="utf-8"))
SITES = ("sourdough.example.com", "tinycode.example.com")


def curate(output: Path, *arguments: str, inputs: tuple[Path, ...] = (SAMPLES,)) -> int:
    given = [part for path in inputs for part in ("--input", f"stackexchange={path}")]
    return main(["curate", *given, "--output", str(output), "--quiet", *arguments])


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def shard_hashes(folder: Path) -> dict[str, str]:
    return {name: digest for name, digest in hashes(folder).items() if name.endswith(".parquet")}


def read(folder: Path, table: str = "data") -> list[dict]:
    return ds.dataset(folder / table, format="parquet").to_table().to_pylist()


def manifest_of(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out") / "sample"
    assert curate(output) == 0
    return output


def test_every_post_ends_where_it_was_planted(dataset: Path) -> None:
    rejected = {row["id"]: row["reason"] for row in read(dataset, "rejected")}
    for post_id, reason in PLANTED["rejected"].items():
        assert rejected.get(post_id) == reason, post_id
    unplanted = {row for row in rejected if row not in PLANTED["rejected"]}
    assert len(unplanted) == len(PLANTED["malformed_rows"]) == 1
    assert next(iter(unplanted)).startswith("tinycode.example.com/Posts.xml@")
    duplicates = {row["removed_id"]: row for row in read(dataset, "duplicates")}
    assert {(row["removed"], row["kept"], row["rule"]) for row in PLANTED["duplicates"]} == {
        (row["removed_id"], row["kept_id"], row["rule"]) for row in duplicates.values()
    }
    assert all(row["similarity"] >= 0.8 for row in duplicates.values())


def test_the_books_balance_and_agree_with_the_files(dataset: Path) -> None:
    accounting = manifest_of(dataset)["accounting"]
    rows = sum((SAMPLES / site / "Posts.xml").read_bytes().count(b"<row ") for site in SITES)
    pairs = read(dataset)
    kept = {row[f"{side}_id"] for row in pairs for side in ("prompt", "chosen", "rejected")}
    assert accounting["posts_read"] == rows
    assert accounting["posts_kept"] == len(kept)
    assert accounting["duplicates"] == len(read(dataset, "duplicates"))
    assert accounting["rejected"] == len(read(dataset, "rejected"))
    assert rows == len(kept) + accounting["duplicates"] + accounting["rejected"]
    assert sum(accounting["pairs"].values()) == len(pairs)
    removed = {row["removed_id"] for row in read(dataset, "duplicates")}
    refused = {row["id"] for row in read(dataset, "rejected")}
    assert not kept & removed and not kept & refused and not removed & refused


def test_manifest_names_every_file_with_its_hash(dataset: Path) -> None:
    manifest = manifest_of(dataset)
    found = shard_hashes(dataset)
    assert {shard["path"]: shard["sha256"] for shard in manifest["shards"]} == found
    for shard in manifest["shards"]:
        path = dataset / shard["path"]
        assert shard["bytes"] == path.stat().st_size
        assert shard["rows"] == pq.read_metadata(path).num_rows > 0
    inputs = {(item["site"], item["name"]): item["sha256"] for item in manifest["inputs"]}
    posts = (SAMPLES / SITES[0] / "Posts.xml").read_bytes()
    assert inputs[SITES[0], "Posts.xml"] == hashlib.sha256(posts).hexdigest()
    assert manifest["publishable"] is True
    assert set(hashes(dataset)) - set(found) == {"README.md", "manifest.json", "report.json"}


def test_schemas_are_the_declared_ones(dataset: Path) -> None:
    for path in (dataset / "data").iterdir():
        assert pq.read_schema(path).equals(PAIR_SCHEMA, check_metadata=True)
    for path in (dataset / "rejected").iterdir():
        assert pq.read_schema(path).equals(REJECTED_SCHEMA, check_metadata=True)


def test_rows_can_be_defended(dataset: Path) -> None:
    for row in read(dataset):
        assert row["vote_margin"] == row["chosen_score"] - row["rejected_score"] > 0
        assert row["pair_id"].startswith(f"{row['thread_id']}/")
        assert 0 <= row["confidence"] <= 1
        for side in ("prompt", "chosen", "rejected"):
            assert row[f"{side}_license"].startswith("CC-BY-SA-")
            assert row[f"{side}_url"].startswith(f"https://{row['site']}/")
            assert row[f"{side}_id"].startswith(f"{row['site']}:")
            assert row[f"{side}_author"] or row[f"{side}_author_url"] is None
    with_author = [row for row in read(dataset) if row["chosen_author_url"]]
    assert with_author and all(row["chosen_author"] for row in with_author)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--partitions", "3"),
        ("--partitions", "200"),
        ("--workers", "2"),
    ],
    ids=" ".join,
)
def test_the_same_bytes_however_it_is_run(dataset: Path, tmp_path: Path, arguments) -> None:
    output = tmp_path / dataset.name
    assert curate(output, *arguments) == 0
    assert hashes(output) == hashes(dataset)


def test_the_same_shards_whatever_the_order_of_inputs(dataset: Path, tmp_path: Path) -> None:
    first, second = (SAMPLES / site for site in SITES)
    assert curate(tmp_path / "a", inputs=(first, second)) == 0
    assert curate(tmp_path / "b", inputs=(second, first)) == 0
    assert shard_hashes(tmp_path / "a") == shard_hashes(tmp_path / "b") == shard_hashes(dataset)
    assert (tmp_path / "a/manifest.json").read_bytes() == (
        tmp_path / "b/manifest.json"
    ).read_bytes()


def reverse_rows(path: Path) -> None:
    """Write the rows of a table in the opposite order; everything round them stays."""
    text = path.read_bytes()
    pieces = re.findall(rb"<row\b.*?/>", text, re.DOTALL)
    start, end = text.index(pieces[0]), text.rindex(pieces[-1]) + len(pieces[-1])
    path.write_bytes(text[:start] + b"\n".join(pieces[::-1]) + text[end:])


def test_rows_of_the_dump_in_another_order_give_the_same_pairs(
    dataset: Path, tmp_path: Path
) -> None:
    dump = tmp_path / "dump"
    for site in SITES:
        shutil.copytree(SAMPLES / site, dump / site)
        for table in ("Posts", "Votes", "Users", "PostLinks", "PostHistory"):
            reverse_rows(dump / site / f"{table}.xml")
    assert curate(tmp_path / "out", inputs=(dump,)) == 0
    same = shard_hashes(dataset)
    found = shard_hashes(tmp_path / "out")
    for name in same:
        if not name.startswith("rejected/"):  # where a damaged row stood has changed
            assert found[name] == same[name], name


def test_a_manifest_can_be_fed_back(dataset: Path, tmp_path: Path) -> None:
    output = tmp_path / dataset.name
    arguments = ["--config", str(dataset / "manifest.json"), "--output", str(output), "--quiet"]
    assert main(["curate", *arguments]) == 0
    assert hashes(output) == hashes(dataset)


def test_planted_leaks_do_not_cross_a_split(tmp_path: Path) -> None:
    """Chains of links and near-duplicates, some through questions that are removed."""
    dump = tmp_path / "leaks.example.com"
    chains = plant_leaks(dump)
    assert curate(tmp_path / "out", "--split", "1/1/1", "--languages", "all", inputs=(dump,)) == 0
    split_of = {row["thread_id"]: row["split"] for row in read(tmp_path / "out")}
    removed = {row["removed_id"] for row in read(tmp_path / "out", "duplicates")}
    would_leak = 0
    for chain in chains:
        left = [f"leaks.example.com:{number}" for number in chain]
        left = [thread for thread in left if thread in split_of]
        assert len(left) >= 2, chain
        assert len({split_of[thread] for thread in left}) == 1, chain
        would_leak += len({split_alone(thread) for thread in left}) > 1
    assert would_leak > len(chains) / 3, "without clusters these would have been divided"
    assert removed, "some chains go through a removed near-duplicate"
    assert len(set(split_of.values())) == 3


def split_alone(thread: str) -> str:
    """The split that a thread would have without its cluster."""
    return split_of_cluster(hash63(thread), {"train": 1, "validation": 1, "test": 1}, 0)


def plant_leaks(folder: Path) -> list[tuple[int, ...]]:
    """Write a dump of 20 chains a → b ~ c ← d: two links, and b a near-duplicate of c."""
    folder.mkdir()
    posts, links, chains = [], [], []
    for chain in range(20):
        base = 1000 * (chain + 1)
        a, b, c, d = (base + 10 * step for step in range(4))
        chains.append((a, b, c, d))
        words = [f"word{chain}x{i}" for i in range(60)]
        bodies = {
            a: f"how is the first thing number {chain} done when nothing else is known about it",
            b: " ".join(words),
            c: " ".join([*words[:-2], "other", "ending"]),
            d: f"which way of doing the last thing number {chain} would you take and why so",
        }
        for question, body in bodies.items():
            posts.append(
                f'<row Id="{question}" PostTypeId="1" CreationDate="2020-01-01T00:00:00.000" '
                f'Score="{question % 7}" Title="Q" Body="&lt;p&gt;{body}&lt;/p&gt;" />'
            )
            for answer in (1, 2):
                posts.append(
                    f'<row Id="{question + answer}" PostTypeId="2" ParentId="{question}" '
                    f'CreationDate="2020-01-0{answer + 1}T00:00:00.000" Score="{answer}" '
                    f'Body="&lt;p&gt;answer {answer} to the question {question}&lt;/p&gt;" />'
                )
        for one, other in ((a, b), (d, c)):
            links.append(
                f'<row Id="{len(links)}" PostId="{one}" RelatedPostId="{other}" LinkTypeId="3" '
                'CreationDate="2020-02-01T00:00:00.000" />'
            )
    (folder / "Posts.xml").write_text("<posts>\n" + "\n".join(posts) + "\n</posts>\n")
    (folder / "PostLinks.xml").write_text("<postlinks>\n" + "\n".join(links) + "\n</postlinks>\n")
    return chains


def test_text_that_two_threads_share_does_not_cross_a_split(tmp_path: Path) -> None:
    """Nothing of it is removed: answers with other punctuation, half-copies, an own question."""
    dump = tmp_path / "shared.example.com"
    pairs = plant_shared_text(dump)
    assert curate(tmp_path / "out", "--split", "1/1/1", "--languages", "all", inputs=(dump,)) == 0
    split_of = {row["thread_id"]: row["split"] for row in read(tmp_path / "out")}
    assert len(split_of) == 2 * len(pairs)
    would_leak = 0
    for pair in pairs:
        threads = [f"shared.example.com:{number}" for number in pair]
        assert len({split_of[thread] for thread in threads}) == 1, pair
        would_leak += len({split_alone(thread) for thread in threads}) > 1
    assert would_leak > len(pairs) / 3
    assert len(set(split_of.values())) == 3
    assert not (tmp_path / "out" / "duplicates").exists()


def plant_shared_text(folder: Path) -> list[tuple[int, int]]:
    """Write a dump of 24 pairs of threads that share text in one of three ways."""
    folder.mkdir()
    posts, pairs = [], []
    for pair in range(24):
        first, second = 1000 * (pair + 1), 1000 * (pair + 1) + 500
        pairs.append((first, second))
        words = [f"word{pair}x{place}" for place in range(40)]
        texts = {
            0: (
                "Never, ever: add {} to it (twice), please!",
                "never ever add {} to it - TWICE - please",
            ),
            1: (" ".join(words), " ".join([*words[:30], *(f"other{pair}x{n}" for n in range(20))])),
            2: ("the first of them is {}", "the second of them is {}"),
        }[pair % 3]
        body = "as a sequel to https://shared.example.com/q/{} of mine {}"
        for question, other, text in ((first, first, texts[0]), (second, first, texts[1])):
            asked = (
                body.format(other, pair)
                if pair % 3 == 2
                else f"about the matter called {question * 7}"
            )
            posts.append(
                f'<row Id="{question}" PostTypeId="1" CreationDate="2020-01-01T00:00:00.000" '
                f'Score="3" Title="Q{question}" Body="&lt;p&gt;{asked}&lt;/p&gt;" '
                f'OwnerUserId="{pair + 1}" />'
            )
            for answer, said in enumerate((text.format(f"malt{pair}"), "nothing whatever of"), 1):
                posts.append(
                    f'<row Id="{question + answer}" PostTypeId="2" ParentId="{question}" '
                    f'CreationDate="2020-01-0{answer + 1}T00:00:00.000" Score="{answer}" '
                    f'Body="&lt;p&gt;{said} {question if said.endswith("of") else ""}&lt;/p&gt;" />'
                )
    (folder / "Posts.xml").write_text("<posts>\n" + "\n".join(posts) + "\n</posts>\n")
    return pairs


def test_common_window_turns_the_planted_pairs_round(dataset: Path, tmp_path: Path) -> None:
    output = tmp_path / "window"
    assert curate(output, "--votes", "common_window") == 0
    for rows, winner in ((read(dataset), "earlier"), (read(output), "later")):
        chosen = {(row["chosen_id"], row["rejected_id"]) for row in rows}
        for flip in PLANTED["window_flips"]:
            loser = "later" if winner == "earlier" else "earlier"
            assert (flip[winner], flip[loser]) in chosen, flip


def test_without_votes_the_window_is_null_and_its_mode_refused(tmp_path: Path, capsys) -> None:
    dump = tmp_path / SITES[0]
    shutil.copytree(SAMPLES / SITES[0], dump)
    (dump / "Votes.xml").unlink()
    assert curate(tmp_path / "out", inputs=(dump,)) == 0
    rows = read(tmp_path / "out")
    assert rows and all(row["window_chosen_score"] is None for row in rows)
    assert curate(tmp_path / "no", "--votes", "common_window", inputs=(dump,)) == ExitCode.USAGE
    assert "Votes.xml" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_languages(tmp_path: Path) -> None:
    assert curate(tmp_path / "fr", "--languages", "fr") == 0
    assert {row["language"] for row in read(tmp_path / "fr")} == {"fr"}
    assert curate(tmp_path / "all", "--languages", "all") == 0
    assert {"en", "fr", "es"} <= {row["language"] for row in read(tmp_path / "all")}
    reasons = {row["reason"] for row in read(tmp_path / "all", "rejected")}
    assert "language" not in reasons


def test_dedup_can_be_limited_and_switched_off(dataset: Path, tmp_path: Path) -> None:
    assert curate(tmp_path / "exact", "--dedup", "exact") == 0
    rules = {row["rule"] for row in read(tmp_path / "exact", "duplicates")}
    assert rules == {"exact"}
    assert curate(tmp_path / "off", "--dedup", "off") == 0
    assert not (tmp_path / "off/duplicates").exists()
    assert len(read(tmp_path / "off")) > len(read(dataset))


def test_takedown(dataset: Path, tmp_path: Path) -> None:
    victim = next(row for row in read(dataset) if row["rejected_author_url"])
    user = victim["rejected_author_url"]
    listed = tmp_path / "takedown"
    listed.write_text(f"{victim['chosen_url']}\n{user}\n")
    assert curate(tmp_path / "out", "--takedown", str(listed)) == 0
    rows = read(tmp_path / "out")
    ids = {row[f"{side}_id"] for row in rows for side in ("prompt", "chosen", "rejected")}
    users = {row[f"{side}_author_url"] for row in rows for side in ("prompt", "chosen", "rejected")}
    assert victim["chosen_id"] not in ids
    assert user not in users
    reasons = {row["id"]: row["reason"] for row in read(tmp_path / "out", "rejected")}
    assert reasons[victim["chosen_id"]] == "takedown"


@pytest.mark.parametrize("how", [(), ("--partitions", "7", "--workers", "2")])
def test_a_takedown_is_summed_up_by_entry(
    dataset: Path, tmp_path: Path, capsys, how: tuple[str, ...]
) -> None:
    prompt = read(dataset)[0]
    listed = tmp_path / "list"
    listed.write_text(f"# by mail\n{prompt['prompt_url']} # the whole thread\n")
    output = tmp_path / "out"
    flags = ["--input", f"stackexchange={SAMPLES}", "--output", str(output)]
    assert main(["curate", *flags, "--takedown", str(listed), *how]) == 0
    said = capsys.readouterr().err
    assert "1 of 1 entries name posts" in said
    table = (tmp_path / ".out.run/takedown.tsv").read_text().splitlines()
    line, posts, others, unread, entry = table[1].split("\t")
    thread = {row["thread_id"]: row for row in read(dataset)}[prompt["thread_id"]]
    kept = {
        row[f"{side}_id"]
        for row in read(dataset)
        if row["thread_id"] == thread["thread_id"]
        for side in ("chosen", "rejected")
    }
    assert (line, posts, unread, entry) == ("2", "1", "0", prompt["prompt_url"])
    assert int(others) >= len(kept)
    assert f"{posts} post, and {others} more of the same threads" in said
    for path in output.rglob("*.json"):
        assert prompt["prompt_url"] not in path.read_text()


def test_a_takedown_that_finds_nothing_ends_the_run(dataset: Path, tmp_path: Path, capsys) -> None:
    listed = tmp_path / "list"
    listed.write_text(f"{read(dataset)[0]['chosen_id']}\nsourdough.example.com:9900000\n")
    output = tmp_path / "out"
    assert curate(output, "--takedown", str(listed)) == ExitCode.REFUSED
    said = capsys.readouterr().err
    assert "line 2: sourdough.example.com:9900000" in said and "line 1" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["list"]
    assert curate(output, "--takedown", str(listed), "--allow-unmatched") == 0
    assert "line 2: sourdough.example.com:9900000" in capsys.readouterr().err
    assert "allow_unmatched" not in (output / "manifest.json").read_text()


@pytest.mark.parametrize("below", ["", "x", "x/y/z"])
def test_an_output_that_is_a_file_or_below_one(tmp_path: Path, capsys, below: str) -> None:
    (tmp_path / "f").write_text("")
    assert curate(tmp_path / "f" / below) == ExitCode.USAGE
    assert f"{tmp_path / 'f'}" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_dataset_is_on_the_disk_before_it_has_its_name(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, output = tmp_path / "staging", tmp_path / "out"
    shutil.copytree(dataset, copy)
    events: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def synced(descriptor: int) -> None:
        events.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        events.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    output_folder.replace_folder(copy, output)
    named = events.index("rename")
    inside = [copy / path.relative_to(output) for path in output.rglob("*")]
    everything = {str(path) for path in (copy, *inside)}
    assert set(events[:named]) == everything
    assert events.index(str(copy)) == named - 1  # a folder after what is in it
    assert events[named + 1 :] == [str(tmp_path)]


def test_a_disk_that_fails_before_the_name_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert curate(tmp_path / "out") == ExitCode.FAILED
    assert "No space left on device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_existing_output(dataset: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "out"
    shutil.copytree(dataset, output)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    assert curate(output) == ExitCode.USAGE
    assert "--resume" in capsys.readouterr().err
    assert curate(output, "--resume") == 0
    assert "nothing to do" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before
    assert curate(output, "--resume", "--seed", "1") == ExitCode.USAGE
    assert "differs from this run in: recipe" in capsys.readouterr().err
    assert curate(output, "--overwrite", "--seed", "1") == 0
    assert manifest_of(output)["recipe"]["seed"] == 1
    next((output / "data").iterdir()).write_bytes(b"cut short")
    assert curate(output, "--resume", "--seed", "1") == ExitCode.USAGE


def test_a_folder_that_is_not_ours_is_never_touched(tmp_path: Path, capsys) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert curate(tmp_path, "--overwrite") == ExitCode.USAGE
    assert "will not be touched" in capsys.readouterr().err
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_crash_leaves_nothing_that_looks_finished(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(finish, "make_report", crash)
    assert curate(tmp_path / "new") == 1
    assert list(tmp_path.iterdir()) == []
    output = tmp_path / "old"
    shutil.copytree(dataset, output)
    assert curate(output, "--overwrite") == 1
    assert hashes(output) == hashes(dataset), "the old dataset stays until the new one is whole"


def test_a_shard_that_is_not_what_its_worker_wrote_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    run_on = run.run_on

    def run_and_damage(*arguments: Any, **options: Any) -> Any:
        spans = run_on(*arguments, **options)
        shard = next(tmp_path.glob(".out.partial-*/data/*.parquet"))
        shard.write_bytes(shard.read_bytes()[:-1] + b"?")
        return spans

    monkeypatch.setattr(run, "run_on", run_and_damage)
    assert curate(tmp_path / "out") == 1
    assert "bytes are not those that a worker wrote" in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("touched", "quiet"), [(False, False), (True, False), (True, True)])
def test_that_shards_are_read_again_is_said_only_where_they_are(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys, touched: bool, quiet: bool
) -> None:
    monkeypatch.setattr(finish, "LONG_BYTES", 0)
    shards = DatasetFolder(dataset).manifest.shards
    reports = [ShardReport.of(str(dataset), shard, {}) for shard in shards]
    if touched:
        other = reports[0].stamp._replace(modified_ns=0)
        reports[0] = msgspec.structs.replace(reports[0], stamp=other)
    finish.check_shards(dataset, reports, quiet=quiet)
    assert ("checking" in capsys.readouterr().err) == (touched and not quiet)


def test_what_outlives_a_run_cannot_write_into_the_next(tmp_path: Path) -> None:
    (tmp_path / "usual").mkdir()
    with output_folder.folder_of_run(tmp_path / "out", "partial") as first:
        # Not tempfile's 0700: workers may be another user's.
        assert first.stat().st_mode == (tmp_path / "usual").stat().st_mode
        assert first.is_absolute()
    with output_folder.folder_of_run(tmp_path / "out", "partial") as second:
        assert first != second and not first.exists()


def test_an_interrupted_swap_keeps_the_old_dataset(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    shutil.copytree(dataset, output)
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self.name == ".out.partial":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        output_folder.replace_folder(tmp_path / ".out.partial", output)
    assert hashes(output) == hashes(dataset)
    monkeypatch.undo()
    output.rename(tmp_path / ".out.old")  # what a kill between the two renames leaves
    output.mkdir()  # and what a script makes in front of its next run
    monkeypatch.setattr(run, "find_inputs", lambda *_: pytest.fail("read, to be refused later"))
    assert curate(output) == ExitCode.USAGE
    monkeypatch.undo()
    assert curate(output, "--resume") == 0
    assert hashes(output) == hashes(dataset)


def left_by_a_killed_run(output: Path, kind: str, parent: Path | None = None) -> Path:
    with output_folder.folder_of_run(output, kind, parent) as folder:
        pass
    folder.mkdir()
    return folder


def test_two_runs_cannot_write_one_output(tmp_path: Path, capsys) -> None:
    for kind in ("work", "partial"):
        left_by_a_killed_run(tmp_path / "out", kind)
    with output_folder.locked(tmp_path / "out"):
        assert curate(tmp_path / "out") == 1  # it may do later
    assert "another run is writing it" in capsys.readouterr().err
    assert curate(tmp_path / "out") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_only_folders_of_this_output_are_removed(tmp_path: Path) -> None:
    scratch, output = tmp_path / "scratch", tmp_path / "a" / "out"
    for folder in (scratch, tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
    own = left_by_a_killed_run(output, "work", scratch)
    of_another = [
        left_by_a_killed_run(tmp_path / "b" / "out", "work", scratch),
        left_by_a_killed_run(output.with_name("out.partial-x"), "partial"),
        output.with_name(".out.partial-v2.old"),
        scratch / f"{own.name}.old",
    ]
    for folder in of_another:
        folder.mkdir(exist_ok=True)
    assert own.is_dir()
    with output_folder.folder_of_run(output, "work", scratch) as live:  # on another machine
        output_folder.recover(output, scratch)
        assert live.is_dir()
    assert not own.exists()
    assert all(folder.is_dir() for folder in of_another)


def test_a_lock_that_its_owner_has_removed_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def open_late(self: Path, *arguments: Any) -> Any:
        file = opened(self, *arguments)
        monkeypatch.undo()
        self.unlink()  # between our opening it and locking it
        return file

    monkeypatch.setattr(Path, "open", open_late)
    with output_folder.locked(tmp_path / "out"):
        with pytest.raises(output_folder.BusyError), output_folder.locked(tmp_path / "out"):
            pass
        assert (tmp_path / ".out.lock").exists()
    assert not list(tmp_path.iterdir())


def test_a_work_folder_that_is_not_there(tmp_path: Path, capsys) -> None:
    assert curate(tmp_path / "out", "--work-dir", str(tmp_path / "typo")) == ExitCode.USAGE
    assert "there is no such folder" in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_a_link_to_a_folder_stays_a_link(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert curate(tmp_path / "link", "--overwrite", "--seed", "3") == 0
    assert (tmp_path / "link").is_symlink()
    assert manifest_of(tmp_path / "real")["recipe"]["seed"] == 3


def test_a_language_that_does_not_exist(tmp_path: Path, capsys) -> None:
    assert curate(tmp_path / "out", "--languages", "english") == ExitCode.USAGE
    assert "english" in capsys.readouterr().err
    assert curate(tmp_path / "out", "--languages", "EN") == 0


def test_a_bad_input_does_not_stop_the_others(tmp_path: Path, capsys) -> None:
    broken = tmp_path / "broken.example.com.7z"
    broken.write_bytes(b"7z\xbc\xaf\x27\x1c nothing more")
    assert curate(tmp_path / "out", inputs=(SAMPLES, broken)) == 0
    assert "not used: broken.example.com.7z" in capsys.readouterr().err, "even with --quiet"
    notes = {item["name"]: item for item in manifest_of(tmp_path / "out")["inputs"]}
    assert not notes["broken.example.com.7z"]["used"] and notes["broken.example.com.7z"]["note"]
    files = [row for row in read(tmp_path / "out", "rejected") if row["record"] == "file"]
    assert {row["reason"] for row in files} == {"unreadable_file"}
    assert curate(tmp_path / "none", inputs=(broken,)) == ExitCode.USAGE
    assert "broken.example.com.7z" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_an_input_that_is_not_there_stops_the_run(tmp_path: Path, capsys) -> None:
    assert curate(tmp_path / "out", inputs=(SAMPLES, tmp_path / "nope.7z")) == ExitCode.USAGE
    assert "nope.7z: there is no such file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_meta_sites_need_to_be_asked_for(tmp_path: Path, capsys) -> None:
    meta = tmp_path / "sourdough.meta.example.com"
    shutil.copytree(SAMPLES / SITES[0], meta)
    assert curate(tmp_path / "no", inputs=(meta,)) == ExitCode.USAGE
    assert "--include-meta" in capsys.readouterr().err
    assert curate(tmp_path / "yes", "--include-meta", inputs=(meta,)) == 0
    assert {row["site"] for row in read(tmp_path / "yes")} == {meta.name}


def test_no_pair_is_an_exit_code_of_its_own(tmp_path: Path, capsys) -> None:
    assert curate(tmp_path / "out", "--languages", "fi") == ExitCode.NO_PAIRS
    assert "rejected" in capsys.readouterr().err
    assert manifest_of(tmp_path / "out")["accounting"]["posts_kept"] == 0


def test_inputs_without_posts_have_no_rejected_table_to_point_to(tmp_path: Path, capsys) -> None:
    (tmp_path / "empty.jsonl").touch()
    flags = ["--input", f"threads={tmp_path / 'empty.jsonl'}"]
    assert curate(tmp_path / "out", *flags, inputs=()) == ExitCode.NO_PAIRS
    assert "hold no posts" in capsys.readouterr().err
    assert not (tmp_path / "out/rejected").exists()


def test_a_table_that_is_not_used_is_named_with_its_site(tmp_path: Path, capsys) -> None:
    for site in SITES:
        shutil.copytree(SAMPLES / site, tmp_path / site)
    users = tmp_path / SITES[1] / "Users.xml"
    users.write_bytes(users.read_text(encoding="utf-8-sig").encode("utf-16"))
    assert curate(tmp_path / "out", inputs=(tmp_path / SITES[0], tmp_path / SITES[1])) == 0
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "UTF-16" in line]
    assert SITES[1] in said and SITES[0] not in said


def test_many_small_shards(dataset: Path, tmp_path: Path) -> None:
    assert curate(tmp_path / "out", "--shard-bytes", "50000") == 0
    train = sorted((tmp_path / "out/data").glob("train-*"))
    assert len(train) > 2
    assert [path.name for path in train] == [
        f"train-{i:05d}-of-{len(train):05d}.parquet" for i in range(len(train))
    ]
    key = "pair_id"
    assert [row[key] for path in train for row in pq.read_table(path).to_pylist()] == [
        row[key] for row in read(dataset) if row["split"] == "train"
    ]


def test_the_card_is_what_the_hub_reads(dataset: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    card = hub.DatasetCard.load(dataset / "README.md")
    data = card.data.to_dict()
    assert data["license"] == "cc-by-sa-4.0"
    assert data["language"] == ["en"]
    assert data["configs"][0]["data_files"][0] == {
        "split": "train",
        "path": "data/train-*.parquet",
    }
    accounting = manifest_of(dataset)["accounting"]
    assert f"{accounting['posts_read']:,} posts read" in card.text
    assert (
        yaml.safe_load(card.text.split("```yaml\n")[1].split("```")[0])
        == (manifest_of(dataset)["recipe"])
    )


def test_datasets_reads_it(dataset: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    files = {split: str(dataset / f"data/{split}-*.parquet") for split in ("train", "test")}
    loaded = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path))
    expected = manifest_of(dataset)["accounting"]["pairs"]
    assert {split: len(loaded[split]) for split in files} == {s: expected[s] for s in files}
    assert {"prompt", "chosen", "rejected"} <= set(loaded["train"].column_names)
    by_folder = datasets.load_dataset(str(dataset), cache_dir=str(tmp_path / "b"))
    assert {name: len(part) for name, part in by_folder.items()} == expected


def test_the_funnel_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    output = tmp_path / ("a name longer than a line, " * 5) / "out"
    demo = re.findall(r"--input (\w+)=(\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert len(demo) == 5
    inputs = [part for kind, path in demo for part in ("--input", f"{kind}={ROOT / path}")]
    assert main(["curate", *inputs, "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    balance = next(line for line in printed.splitlines() if "posts read =" in line)
    assert balance in (ROOT / "README.md").read_text(encoding="utf-8"), "README shows this run"
    assert "duplicates" in printed and "orphan_response" in printed
    lines = printed.splitlines()
    assert f"{output} is ready. Look: forumprefs inspect {output}" in lines, "to be copied whole"
    assert f"Figures and a browser of rows: {output}.html" in lines
