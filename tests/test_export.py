"""``forumprefs export``: what its files hold, recomputed from the dataset by other means."""

import hashlib
import itertools
import json
import math
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.cli import main
from pipeline.dataset.folder import DatasetFolder
from pipeline.export import FORMATS, run, thread_pairs, write_rows
from schemas.exports import EXPORTS, ExportManifest
from tests.dumps import DUMPS, needs_dumps
from tests.publishing import curated
from tests.test_former_schema import former  # noqa: F401  a fixture

ALL = ",".join(EXPORTS)
Rows = list[dict[str, Any]]


def export(dataset: Path | str, output: Path, *flags: str, to: str = ALL) -> int:
    return main(["export", str(dataset), "--to", to, "--output", str(output), "--quiet", *flags])


def manifest_of(folder: Path) -> ExportManifest:
    return msgspec.json.decode((folder / "export.json").read_bytes(), type=ExportManifest)


def rows_of(folder: Path, name: str, split: str | None = None) -> Rows:
    """Rows of an export, all splits by default, in the order of the manifest's shards."""
    return [
        row
        for shard in manifest_of(folder).shards
        if shard.export == name and split in (None, shard.split)
        for row in pq.read_table(folder / shard.path).to_pylist()
    ]


def pairs_of(dataset: Path, split: str | None = None) -> Rows:
    return [
        row
        for part in ("test", "train", "validation")
        for shard in DatasetFolder(dataset).shards("data", part)
        if split in (None, part)
        for row in pq.read_table(dataset / shard.path).to_pylist()
    ]


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def exported(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("exported") / "out"
    assert export(sample, output, "--margin", "log") == 0
    return output


@pytest.fixture(scope="module")
def threaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Replies to replies, in turns."""
    return curated(
        tmp_path_factory.mktemp("threaded") / "set",
        *("--input", "lemmy=samples/lemmy", "--reply-depth", "3", "--languages", "all"),
    )


# --- each export, recomputed ---


def test_pairs_are_those_of_the_dataset(sample: Path, exported: Path) -> None:
    pairs = pairs_of(sample)
    assert [row["chosen"] for row in rows_of(exported, "trl-pairs")] == [p["chosen"] for p in pairs]
    for pair, text, chat, whole in zip(
        pairs, *(rows_of(exported, name) for name in ("trl-pairs", "trl-chat", "openrlhf")),
        strict=True,
    ):  # fmt: skip
        margin = pytest.approx(math.log(1 + pair["vote_margin"]), abs=1e-6)
        prompt = {"role": "user", "content": pair["prompt"]}
        chosen = {"role": "assistant", "content": pair["chosen"]}
        rejected = {"role": "assistant", "content": pair["rejected"]}
        assert text == {
            "prompt": pair["prompt"] + "\n\n",
            "chosen": pair["chosen"],
            "rejected": pair["rejected"],
            "margin": margin,
        }
        assert chat == {
            "prompt": [prompt], "chosen": [chosen], "rejected": [rejected], "margin": margin,
        }  # fmt: skip
        assert whole == {
            "chosen": [prompt, chosen], "rejected": [prompt, rejected], "margin": margin,
        }  # fmt: skip


def by_conversation(pairs: Rows) -> dict[tuple[str, ...], Rows]:
    found: dict[tuple[str, ...], Rows] = defaultdict(list)
    for pair in pairs:
        found[pair["thread_id"], *pair["context_ids"]].append(pair)
    return found


def votes_of(pairs: Rows) -> dict[str, float]:
    return {
        pair[f"{side}_id"]: pair[f"{side}_score"]
        for pair in pairs
        for side in ("chosen", "rejected")
    }


def expected_labels(pairs: Rows) -> dict[str, bool]:
    """What docs/export.md says, in another way: by the place in the sorted scores."""
    votes = votes_of(pairs)
    ordered = sorted(votes.values())
    middle = {ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]}
    labels = {}
    for name, score in votes.items():
        at_median = middle == {score}
        if at_median and ordered[0] < score < ordered[-1]:
            continue
        good = score == ordered[-1] if at_median else score >= max(middle)
        if any(pair["chosen_id" if good else "rejected_id"] == name for pair in pairs):
            labels[name] = good
    return labels


@pytest.mark.parametrize("name", ["sample", "threaded"])
def test_labels_are_those_of_the_votes(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    dataset = request.getfixturevalue(name)
    assert export(dataset, tmp_path / "out", to="kto") == 0
    expected = []
    responses = 0
    for pairs in by_conversation(pairs_of(dataset)).values():
        labels = expected_labels(pairs)
        votes = votes_of(pairs)
        responses += len(votes)
        texts = {pair[f"{s}_id"]: pair[s] for pair in pairs for s in ("chosen", "rejected")}
        first = pairs[0]
        prompt = first["prompt_turns"] or [{"role": "user", "content": first["prompt"]}]
        expected += [
            {
                "prompt": prompt,
                "completion": [{"role": "assistant", "content": texts[name]}],
                "label": labels[name],
            }
            for name in sorted(labels, key=lambda name: (-votes[name], name))
        ]
    assert rows_of(tmp_path / "out", "kto") == expected
    (counts,) = manifest_of(tmp_path / "out").exports
    assert (counts.considered, counts.written) == (responses, len(expected))
    assert counts.labels == {
        "true": sum(row["label"] for row in expected),
        "false": sum(not row["label"] for row in expected),
    }


@pytest.mark.parametrize("name", ["sample", "threaded"])
def test_rankings_are_those_of_the_votes(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    dataset = request.getfixturevalue(name)
    assert export(dataset, tmp_path / "out", to="rankings") == 0
    expected = []
    for (thread, *_), pairs in by_conversation(pairs_of(dataset)).items():
        votes = votes_of(pairs)
        best_first = sorted(votes, key=lambda name: (-votes[name], name))
        different = sorted(set(votes.values()), reverse=True)
        of = {
            pair[f"{side}_id"]: (pair[side], pair[f"{side}_created_at"])
            for pair in pairs
            for side in ("chosen", "rejected")
        }
        first = pairs[0]
        expected.append(
            {
                "thread_id": thread,
                "context_ids": first["context_ids"],
                "prompt": first["prompt_turns"] or [{"role": "user", "content": first["prompt"]}],
                "responses": [of[name][0] for name in best_first],
                "scores": [votes[name] for name in best_first],
                "tie_groups": [different.index(votes[name]) for name in best_first],
                "response_ids": best_first,
                "created_at": [of[name][1] for name in best_first],
            }
        )
    found = rows_of(tmp_path / "out", "rankings")
    assert found == expected
    names = {(row["thread_id"], *row["context_ids"]) for row in found}
    assert len(names) == len(found), "two rows of a thread cannot be told apart"


@pytest.mark.parametrize("name", ["sample", "threaded"])
def test_prompts_are_there_once(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    dataset = request.getfixturevalue(name)
    assert export(dataset, tmp_path / "out", to="prompts") == 0
    found = [row["prompt"] for row in rows_of(tmp_path / "out", "prompts")]
    first = [pairs[0] for pairs in by_conversation(pairs_of(dataset)).values()]
    expected = [p["prompt_turns"] or [{"role": "user", "content": p["prompt"]}] for p in first]
    assert found == expected
    assert len({json.dumps(prompt) for prompt in found}) == len(found)


def test_turns_are_the_messages(threaded: Path, tmp_path: Path) -> None:
    assert export(threaded, tmp_path / "out", to="trl-chat,openrlhf") == 0
    pairs = pairs_of(threaded)
    assert max(len(pair["prompt_turns"]) for pair in pairs) == 3
    chats = rows_of(tmp_path / "out", "trl-chat")
    assert [row["prompt"] for row in chats] == [pair["prompt_turns"] for pair in pairs]
    whole = rows_of(tmp_path / "out", "openrlhf")
    assert [row["rejected"] for row in whole] == [
        pair["prompt_turns"] + pair["rejected_turns"] for pair in pairs
    ]


def test_a_repeated_prompt_is_left_out_and_counted(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_alike(*given: Any) -> Iterator[list[thread_pairs.ThreadPair]]:
        for pairs in thread_pairs.read_threads(*given):
            yield [msgspec.structs.replace(pair, prompt="The same?") for pair in pairs]

    monkeypatch.setattr(run, "read_threads", all_alike)
    assert export(sample, tmp_path / "out", to="prompts") == 0
    (counts,) = manifest_of(tmp_path / "out").exports
    assert counts.rows == {"train": 1, "validation": 1, "test": 1}
    threads = len(by_conversation(pairs_of(sample)))
    assert counts.left_out == {"same_prompt": threads - 3}
    assert counts.considered == threads


def test_a_response_under_the_prompt_of_another_thread_is_left_out_and_counted(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sets of preferences, of which the second says the opposite and has a response more."""

    def opposite(*given: Any) -> Iterator[list[thread_pairs.ThreadPair]]:
        threads = itertools.islice(thread_pairs.read_threads(*given), 2)
        for pairs, edges in zip(threads, (["ab"], ["ba", "bc"]), strict=True):
            first = msgspec.structs.replace(
                pairs[0], prompt="The same?", prompt_turns=None, context_ids=(), rejected_score=0.0
            )
            yield [
                msgspec.structs.replace(
                    first,
                    chosen_id=f"{first.thread_id}{high}",
                    chosen=high,
                    rejected_id=f"{first.thread_id}{low}",
                    rejected=low,
                    chosen_score=1.0,
                )
                for high, low in edges
            ]

    monkeypatch.setattr(run, "read_threads", opposite)
    assert export(sample, tmp_path / "out", "--split", "train", to="kto") == 0
    rows = rows_of(tmp_path / "out", "kto")
    labels = [(row["completion"][0]["content"], row["label"]) for row in rows]
    assert labels == [("a", True), ("b", False), ("c", False)]
    (counts,) = manifest_of(tmp_path / "out").exports
    assert (counts.considered, counts.left_out) == (5, {"same_response": 2})


def test_the_pairs_of_a_thread_share_their_texts(
    sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a thread takes memory with the square of its responses; threads reach over batches."""
    monkeypatch.setattr(thread_pairs, "BATCH_ROWS", 2)
    threads = list(
        thread_pairs.read_threads(
            DatasetFolder(sample), "train", FORMATS["trl-chat"].columns + FORMATS["kto"].columns
        )
    )
    assert sum(map(len, threads)) == len(pairs_of(sample, "train"))
    largest = max(threads, key=len)
    assert len(largest) > 5
    texts = [text for pair in largest for text in (pair.prompt, pair.chosen, pair.rejected)]
    # Those of the batch in which the thread begins may be there again: a prompt, two pairs.
    assert len(set(map(id, texts))) <= len(set(texts)) + 5 < len(texts)


def test_scores_of_a_common_window_order_nothing(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """a beats b, c beats d; the scores, each from another window, would have c above a."""

    def two_pairs(*given: Any) -> Iterator[list[thread_pairs.ThreadPair]]:
        for pairs in thread_pairs.read_threads(*given):
            first = msgspec.structs.replace(pairs[0], prompt_turns=None, context_ids=())
            yield [
                msgspec.structs.replace(
                    first,
                    chosen_id=high,
                    chosen=high,
                    chosen_score=score + 1.0,
                    rejected_id=low,
                    rejected=low,
                    rejected_score=score,
                )
                for high, low, score in (("a", "b", 1.0), ("c", "d", 8.0))
            ]

    dataset = tmp_path / "set"
    shutil.copytree(sample, dataset)
    path = dataset / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    monkeypatch.setattr(run, "read_threads", two_pairs)
    expected = {
        "net_votes": ([0, 1, 2, 3], {"c": True, "b": False}),
        "common_window": ([0, 0, 1, 1], {"a": True, "b": False, "c": True, "d": False}),
    }
    for votes, (groups, labels) in expected.items():
        manifest["recipe"]["votes"] = votes
        path.write_text(json.dumps(manifest), encoding="utf-8")
        assert export(dataset, tmp_path / votes, to="kto,rankings") == 0
        for row in rows_of(tmp_path / votes, "rankings"):
            assert row["tie_groups"] == groups
        found = rows_of(tmp_path / votes, "kto")
        assert {row["completion"][0]["content"]: row["label"] for row in found} == labels


# --- files ---

GOLDEN = {
    "kto/test-00000-of-00001.parquet": "684c1b41325d5a49",
    "kto/train-00000-of-00001.parquet": "d6a3e681ce940897",
    "kto/validation-00000-of-00001.parquet": "bbb2be58652181bb",
    "openrlhf/test-00000-of-00001.parquet": "3eb984f63445de40",
    "openrlhf/train-00000-of-00003.parquet": "5efe15431b6438ae",
    "openrlhf/train-00001-of-00003.parquet": "3b08ba72b5a4850e",
    "openrlhf/train-00002-of-00003.parquet": "3f0d7e7cf74385ba",
    "openrlhf/validation-00000-of-00001.parquet": "70d1502829a71b7c",
    "prompts/test-00000-of-00001.parquet": "fe58bea9e237e1e0",
    "prompts/train-00000-of-00001.parquet": "7b5fb0c38518073b",
    "prompts/validation-00000-of-00001.parquet": "b4a511e09cb6c376",
    "rankings/test-00000-of-00001.parquet": "29421a9ede83371c",
    "rankings/train-00000-of-00001.parquet": "4d239d8ba7f5643d",
    "rankings/validation-00000-of-00001.parquet": "66b1600527984a73",
    "trl-chat/test-00000-of-00001.parquet": "d159dd6a744bedf2",
    "trl-chat/train-00000-of-00002.parquet": "5b9b5586d7b55cf6",
    "trl-chat/train-00001-of-00002.parquet": "b58409fdea1b0e60",
    "trl-chat/validation-00000-of-00001.parquet": "9b4ee76f747c0d11",
    "trl-pairs/test-00000-of-00001.parquet": "7a474e5b895af279",
    "trl-pairs/train-00000-of-00002.parquet": "a01b9cc9be85984a",
    "trl-pairs/train-00001-of-00002.parquet": "6783fd31153a1e85",
    "trl-pairs/validation-00000-of-00001.parquet": "43572f1915cdb6df",
}
"""The sha256 of the rows of each shard of the sample."""
GOLDEN_BYTES = {
    "kto/test-00000-of-00001.parquet": "e2c87b4a8536f984",
    "kto/train-00000-of-00001.parquet": "d96e86ea03f3633b",
    "kto/validation-00000-of-00001.parquet": "6767fddd794311b2",
    "openrlhf/test-00000-of-00001.parquet": "a68d5b867fd7bed3",
    "openrlhf/train-00000-of-00003.parquet": "7c63cf9995bbe80c",
    "openrlhf/train-00001-of-00003.parquet": "a80cd41726e05221",
    "openrlhf/train-00002-of-00003.parquet": "52af7675d2425e34",
    "openrlhf/validation-00000-of-00001.parquet": "c6fddb520dc7c175",
    "prompts/test-00000-of-00001.parquet": "ae573980e4356541",
    "prompts/train-00000-of-00001.parquet": "af82f8fef557c655",
    "prompts/validation-00000-of-00001.parquet": "bfcc6b432512020f",
    "rankings/test-00000-of-00001.parquet": "23f03ed19e1f21b2",
    "rankings/train-00000-of-00001.parquet": "cb8f7fa4283e3388",
    "rankings/validation-00000-of-00001.parquet": "d609d15b07ae084a",
    "trl-chat/test-00000-of-00001.parquet": "956eac96e3e0354b",
    "trl-chat/train-00000-of-00002.parquet": "1f105438349ebcf8",
    "trl-chat/train-00001-of-00002.parquet": "f2a3572d5b54aba0",
    "trl-chat/validation-00000-of-00001.parquet": "da2a3f66bdf45737",
    "trl-pairs/test-00000-of-00001.parquet": "e2586d26dee42544",
    "trl-pairs/train-00000-of-00002.parquet": "01f68315070165c0",
    "trl-pairs/train-00001-of-00002.parquet": "b818e1388bde5293",
    "trl-pairs/validation-00000-of-00001.parquet": "bec88f5ae7d96a2e",
}
"""The sha256 of files; `BYTES_BY` wrote them, and writes its version into each."""
BYTES_BY = "25.0.1"


def test_the_rows_of_every_shard(exported: Path) -> None:
    found = {}
    for shard in manifest_of(exported).shards:
        rows = pq.read_table(exported / shard.path).to_pylist()
        assert len(rows) == shard.rows
        found[shard.path] = hashlib.sha256(json.dumps(rows, default=str).encode()).hexdigest()[:16]
    assert found == GOLDEN


@pytest.mark.skipif(pa.__version__ != BYTES_BY, reason="another pyarrow writes other bytes")
def test_the_bytes_of_every_shard(exported: Path) -> None:
    found = {shard.path: shard.sha256[:16] for shard in manifest_of(exported).shards}
    assert found == GOLDEN_BYTES


def test_the_manifest_names_every_file_and_its_source(sample: Path, exported: Path) -> None:
    manifest = manifest_of(exported)
    files = files_of(exported)
    assert {shard.path for shard in manifest.shards} == files.keys() - {"README.md", "export.json"}
    for shard in manifest.shards:
        content = files[shard.path]
        assert (shard.bytes, shard.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    source = hashlib.sha256((sample / "manifest.json").read_bytes()).hexdigest()
    assert manifest.source_manifest_sha256 == source
    assert source in files["README.md"].decode()
    assert [counts.name for counts in manifest.exports] == list(EXPORTS)
    for counts in manifest.exports:
        assert counts.considered == counts.written + sum(counts.left_out.values())
        by_split: dict[str, int] = defaultdict(int)
        for shard in manifest.shards:
            if shard.export == counts.name:
                by_split[shard.split] += shard.rows
        assert counts.rows == by_split
    assert str(exported.parent) not in files["export.json"].decode()


def test_columns_are_those_that_are_promised(exported: Path) -> None:
    for shard in manifest_of(exported).shards:
        schema = pq.read_schema(exported / shard.path)
        assert schema.equals(FORMATS[shard.export].schema("log")), shard.path


def test_there_is_no_margin_unless_asked_for(sample: Path, tmp_path: Path) -> None:
    assert export(sample, tmp_path / "out") == 0
    manifest = manifest_of(tmp_path / "out")
    assert manifest.margin == "none"
    for shard in manifest.shards:
        assert "margin" not in pq.read_schema(tmp_path / "out" / shard.path).names
    assert "margin" not in (tmp_path / "out/README.md").read_text(encoding="utf-8")


def test_bytes_depend_on_dataset_and_options_alone(
    sample: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = tmp_path / "elsewhere" / "again"
    monkeypatch.setattr(thread_pairs, "BATCH_ROWS", 3)
    backwards = ",".join(reversed(EXPORTS))
    assert export(sample, again, "--margin", "log", "--to", "kto", to=backwards) == 0
    assert files_of(again) == files_of(exported)
    alone = tmp_path / "alone"
    assert export(sample, alone, to="kto") == 0
    kto = {name: content for name, content in files_of(exported).items() if "kto/" in name}
    assert {name: content for name, content in files_of(alone).items() if "kto/" in name} == kto


def test_shards_have_the_size_of_the_recipe_and_whole_threads(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = curated(tmp_path / "set", "--shard-bytes", "8000")
    monkeypatch.setattr(write_rows, "ROW_GROUP_BYTES", 3_000)
    assert export(dataset, tmp_path / "out", to="trl-pairs,rankings") == 0
    for name in ("trl-pairs", "rankings"):
        found = [
            shard
            for shard in manifest_of(tmp_path / "out").shards
            if shard.path.startswith(f"{name}/train")
        ]
        assert [shard.path for shard in found] == [
            f"{name}/train-{i:05d}-of-{len(found):05d}.parquet" for i in range(len(found))
        ]
        files = [pq.ParquetFile(tmp_path / "out" / shard.path) for shard in found]
        groups = [
            file.read_row_group(i).to_pylist() for file in files for i in range(file.num_row_groups)
        ]
        assert len(groups) > len(files) > 2
        sizes = [len(str(file.read().to_pylist())) for file in files]
        assert max(sizes) < 20_000 and min(sizes[:-1]) > 7_000
        for before, after in itertools.pairwise(groups):
            assert before[-1]["prompt"] != after[0]["prompt"]
    assert rows_of(tmp_path / "out", "rankings") == rows_of(exported, "rankings")


def test_datasets_loads_each_export_by_its_name(exported: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    text = (exported / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---\n")[1])
    assert [config["config_name"] for config in front["configs"]] == list(EXPORTS)
    for counts in manifest_of(exported).exports:
        loaded = datasets.load_dataset(str(exported), counts.name, cache_dir=str(tmp_path))
        assert {split: len(rows) for split, rows in loaded.items()} == counts.rows
        names = list(EXPORTS[counts.name].__struct_fields__)
        assert loaded["train"].column_names == names
        for row, ours in zip(loaded["train"], rows_of(exported, counts.name, "train"), strict=True):
            assert row == ours
    first = re.search(r'load_dataset\(FOLDER, "([\w-]+)", split="(\w+)"\)', text)
    assert first is not None
    rows = datasets.load_dataset(str(exported), first[1], split=first[2], cache_dir=str(tmp_path))
    assert len(rows)


def test_the_card_says_what_is_there(exported: Path) -> None:
    text = (exported / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == "cc-by-sa-4.0" and front["language"] == ["en"]
    for counts in manifest_of(exported).exports:
        assert f"## {counts.name}\n" in text
        assert f"{sum(counts.rows.values()):,} rows" in text
        for name in EXPORTS[counts.name].__struct_fields__:
            assert f"| `{name}` |" in text
        for reason, amount in counts.left_out.items():
            assert f"| {counts.name} | {amount:,} |" in text and f"`{reason}`" in text


def test_a_former_dataset_gives_the_same_rows(
    former: Path,  # noqa: F811
    exported: Path,
    tmp_path: Path,
) -> None:
    assert export(former, tmp_path / "out", "--margin", "log") == 0
    shards = {shard.path: shard.sha256 for shard in manifest_of(exported).shards}
    assert {s.path: s.sha256 for s in manifest_of(tmp_path / "out").shards} == shards


# --- options, and what is refused ---


def test_only_the_splits_that_are_asked_for(sample: Path, exported: Path, tmp_path: Path) -> None:
    given = ("--split", "validation", "--split", "train")
    assert export(sample, tmp_path / "out", *given, to="prompts") == 0
    manifest = manifest_of(tmp_path / "out")
    assert manifest.splits == ("train", "validation")
    assert {shard.split for shard in manifest.shards} == {"train", "validation"}
    whole = rows_of(exported, "prompts", "train")
    assert rows_of(tmp_path / "out", "prompts", "train") == whole


def test_what_was_written_and_left_out_is_said(
    sample: Path, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    given = ["export", str(sample), "--to", "kto,trl-pairs", "--output", str(output)]
    assert main(given) == 0
    out = capsys.readouterr().out
    counts = {counts.name: counts for counts in manifest_of(output).exports}
    pairs = len(pairs_of(sample))
    assert re.search(rf"^trl-pairs: {pairs} rows \(train .*\); left out: nothing$", out, re.M)
    kto = counts["kto"]
    good, bad = kto.labels["true"], kto.labels["false"]
    assert f"{good} good and {bad} bad, from {kto.considered} responses; left out: " in out
    for reason, amount in kto.left_out.items():
        assert f"{reason} {amount}" in out
    assert kto.left_out
    assert f'datasets.load_dataset("{output}", "trl-pairs", split="train")' in out


def refused(capsys: pytest.CaptureFixture[str], *given: str) -> str:
    assert main(["export", *given]) == 2
    return capsys.readouterr().err


def test_refusals(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], exported: Path
) -> None:
    out, dataset = str(tmp_path / "out"), str(sample)
    to = ("--to", "kto", "--output", out)
    assert "no manifest.json there" in refused(capsys, str(tmp_path), *to)
    with pytest.raises(SystemExit) as left:
        main(["export", dataset, "--to", "kto,nothing", "--output", out])
    assert left.value.code == 2
    assert "no export 'nothing'; there are trl-pairs, trl-chat" in capsys.readouterr().err
    assert "hidden" not in refused(capsys, dataset, *to, "--margin", "log")
    assert "--overwrite replaces all" in refused(
        capsys, dataset, "--to", "kto", "--output", str(exported)
    )
    for inside in (dataset, f"{dataset}/data/more", str(sample.parent)):
        message = refused(capsys, dataset, "--to", "kto", "--output", inside)
        assert "is, holds or lies in the dataset" in message
    assert "on this machine" in refused(capsys, dataset, "--to", "kto", "--output", "gs://a/b")
    (tmp_path / "file").write_text("x")
    for path in ("file", "file/below"):
        message = refused(capsys, dataset, "--to", "kto", "--output", str(tmp_path / path))
        assert "is a file; choose a folder" in message
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/notes.txt").write_text("x")
    message = refused(
        capsys, dataset, "--to", "kto", "--output", str(tmp_path / "theirs"), "--overwrite"
    )
    assert "will not be touched" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "theirs"]


def test_a_dataset_without_texts_or_pairs(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = curated(tmp_path / "ids", "--ids-only")
    to = ("--to", "kto", "--output", str(tmp_path / "out"))
    assert f"forumprefs hydrate {ids} --input KIND=PATH --output" in refused(capsys, str(ids), *to)
    path = ids / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest |= {"pair_schema_version": "1.1.0", "versions": {"forumprefs": "0.7"}}
    path.write_text(json.dumps(manifest), encoding="utf-8")
    message = refused(capsys, str(ids), *to)
    assert "with the forumprefs that made it (0.7), then export" in message
    given = ("--split", "10/0/90")
    no_train = curated(tmp_path / "none", *given)
    message = refused(capsys, str(no_train), *to, "--split", "validation")
    assert "has no pairs in it; there are train, test" in message
    manifest = json.loads((no_train / "manifest.json").read_text(encoding="utf-8"))
    manifest["shards"] = [s for s in manifest["shards"] if s["table"] != "data"]
    (no_train / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert "has no pairs, so there is nothing to export" in refused(capsys, str(no_train), *to)
    assert not (tmp_path / "out").exists()


def test_a_damaged_shard_is_named(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(sample, copy)
    shard = copy / DatasetFolder(copy).shards("data", "train")[1].path
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    message = refused(capsys, str(copy), "--to", "kto", "--output", str(tmp_path / "out"))
    assert f"{shard.relative_to(copy)}: was altered" in message
    shard.unlink()
    message = refused(capsys, str(copy), "--to", "kto", "--output", str(tmp_path / "out"))
    assert f"{shard.relative_to(copy)}: is missing" in message
    assert not (tmp_path / "out").exists()


def test_overwriting_replaces_the_whole(sample: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert export(sample, output) == 0
    assert export(sample, output, "--overwrite", to="kto") == 0
    assert {path.name for path in output.iterdir()} == {"README.md", "export.json", "kto"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_breaks_off_leaves_what_was_there(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    assert export(sample, output, to="kto") == 0
    before = files_of(tmp_path)

    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write_rows, "sha256_of_file", full)
    assert export(sample, output, "--overwrite") == 1
    assert export(sample, tmp_path / "new") == 1
    assert files_of(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_full_disk_where_prompts_are_remembered(
    sample: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The database lies beside what is written, and a limit of pages stands for a full disk."""
    connect = write_rows.sqlite3.connect
    opened = []

    def small(path: Any, **given: Any) -> Any:
        opened.append(Path(path))
        connection = connect(path, **given)
        connection.execute("pragma max_page_count = 1")
        return connection

    assert export(sample, tmp_path / "whole", to="prompts") == 0
    assert {path.name for path in (tmp_path / "whole").iterdir()} == {
        "README.md", "export.json", "prompts",
    }  # fmt: skip
    monkeypatch.setattr(write_rows.sqlite3, "connect", small)
    assert export(sample, tmp_path / "out", to="prompts") == 1
    assert "cannot be written" in capsys.readouterr().err
    (path,) = opened
    assert path.is_relative_to(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_options_from_python_are_checked(sample: Path, tmp_path: Path) -> None:
    from pipeline.errors import UsageError

    for exports, margin, said in (
        ((), "none", "no export was named"),
        (("kto", "nothing"), "none", "no export 'nothing'; there are trl-pairs"),
        (("kto",), "votes", "--margin votes: can be none, log"),
    ):
        with pytest.raises(UsageError, match=said):
            run.export_dataset(
                run.ExportOptions(str(sample), str(tmp_path / "out"), exports, margin)
            )
    assert not (tmp_path / "out").exists()


def test_what_is_lost_fails_the_run(
    sample: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from dataclasses import replace

    def losing(pairs: Any, **given: Any) -> Any:
        converted = FORMATS["trl-pairs"].convert(pairs, **given)
        return converted._replace(rows=converted.rows[1:])

    monkeypatch.setattr(
        run, "FORMATS", {"trl-pairs": replace(FORMATS["trl-pairs"], convert=losing)}
    )
    assert export(sample, tmp_path / "out", to="trl-pairs") == 1
    assert "were read" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_export_without_a_row_is_refused(
    sample: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def alike(*given: Any) -> Iterator[list[thread_pairs.ThreadPair]]:
        for pairs in thread_pairs.read_threads(*given):
            yield [msgspec.structs.replace(p, chosen="same", rejected="same") for p in pairs]

    monkeypatch.setattr(run, "read_threads", alike)
    assert export(sample, tmp_path / "out", to="trl-pairs,kto") == 2
    assert "--to kto: would have no row" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_licence_that_forbids_publishing_is_passed_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = curated(tmp_path / "set", "--input", "lemmy=samples/lemmy")
    assert export(dataset, tmp_path / "out") == 0
    manifest = manifest_of(tmp_path / "out")
    assert not manifest.publishable and manifest.not_publishable_because
    assert "not to be published: " in capsys.readouterr().err
    assert "**Not to be published:**" in (tmp_path / "out/README.md").read_text(encoding="utf-8")


@needs_dumps
def test_no_response_of_a_real_site_has_two_labels(tmp_path: Path) -> None:
    """Under `common_window`, in which some responses have a score of their own and others none."""
    dump = DUMPS / "beer.stackexchange.com.7z"
    flags = ("--input", f"stackexchange={dump}", "--votes", "common_window", "--dedup", "exact")
    dataset = curated(tmp_path / "set", *flags)
    assert export(dataset, tmp_path / "out", to="kto,rankings") == 0
    labels: dict[tuple[str, str], set[bool]] = defaultdict(set)
    rows = rows_of(tmp_path / "out", "kto")
    for row in rows:
        key = row["prompt"][0]["content"], row["completion"][0]["content"]
        labels[key].add(row["label"])
    assert len(labels) == len(rows) > 500
    for pair in pairs_of(dataset):
        chosen = labels.get((pair["prompt"], pair["chosen"]))
        rejected = labels.get((pair["prompt"], pair["rejected"]))
        assert (chosen, rejected) != ({False}, {True})
    groups = {
        (row["thread_id"], name): group
        for row in rows_of(tmp_path / "out", "rankings")
        for name, group in zip(row["response_ids"], row["tie_groups"], strict=True)
    }
    denied = [
        pair["pair_id"]
        for pair in pairs_of(dataset)
        if groups.get((pair["thread_id"], pair["chosen_id"]), -1)
        >= groups.get((pair["thread_id"], pair["rejected_id"]), 1 << 30)
    ]
    assert not denied
