"""What the scheduled benchmark calls different."""

import json
from pathlib import Path

import msgspec
import pytest

from benchmarks import nightly
from benchmarks.nightly import (
    Figures,
    Pins,
    compare,
    compare_modes,
    flatten,
    read_figures,
    write_pins,
)
from benchmarks.throughput import Run

FIGURES = Figures(
    posts=10,
    seed=1,
    inputs={"Posts.xml": "aa"},
    counts={"posts_read": 10, "stages.language.rejected.language": 2},
    versions={"python": "3.11", "pyarrow": "25.0.1"},
    shards={"data/train.parquet": "bb"},
)
BOTH = {"beam1": FIGURES, "beam2": FIGURES}
PINS = Pins(**msgspec.structs.asdict(FIGURES), minimum=0.7)


def changed(**fields: object) -> Figures:
    return msgspec.structs.replace(FIGURES, **fields)


def test_what_is_as_pinned_is_no_difference() -> None:
    assert compare(FIGURES, 0.7, PINS) == []


def test_every_count_that_differs_is_named_with_both_values() -> None:
    found = changed(counts={"posts_read": 1_000, "pairs.train": 4})
    assert compare(found, 1.0, PINS) == [
        "pairs.train: 4, pinned none",
        "posts_read: 1,000, pinned 10",
        "stages.language.rejected.language: none, pinned 2",
    ]


def test_bytes_count_on_the_pinned_versions_only() -> None:
    other = {"data/train.parquet": "cc"}
    assert len(compare(changed(shards=other), 1.0, PINS)) == 1
    newer = changed(shards=other, versions=FIGURES.versions | {"pyarrow": "25.0.2"})
    assert compare(newer, 1.0, PINS) == []
    assert "pyarrow 25.0.2 (pinned 25.0.1)" in nightly.other_versions(newer, PINS)


@pytest.mark.parametrize("shards", [{}, FIGURES.shards | {"data/test.parquet": "dd"}])
def test_a_shard_too_few_or_too_many_is_a_difference(shards: dict[str, str]) -> None:
    assert len(compare(changed(shards=shards), 1.0, PINS)) == 1


@pytest.mark.parametrize("ratio", [0.699, float("nan")])
def test_throughput_has_a_minimum(ratio: float) -> None:
    (difference,) = compare(FIGURES, ratio, PINS)
    assert "throughput" in difference


def test_another_dump_is_the_only_finding() -> None:
    found = changed(inputs={"Posts.xml": "zz"}, counts={}, shards={})
    (difference,) = compare(found, 0.1, PINS)
    assert "Posts.xml" in difference


def test_figures_come_from_a_dataset_folder(tmp_path: Path) -> None:
    accounting = {
        "posts_read": 3,
        "posts_kept": 2,
        "duplicates": 1,
        "rejected": 0,
        "pairs": {"train": 1},
        "threads": {"train": 1},
        "other_records": {"Votes.up": 5},
        "stages": [{"stage": "dedup", "entered": 3, "rejected": {"tied": 1}}],
    }
    shard = {"path": "data/a.parquet", "rows": 1, "sha256": "ee"}
    manifest = {
        "accounting": accounting,
        "inputs": [{"name": "Posts.xml", "sha256": "ff"}],
        "versions": {"python": "3.11"},
        "shards": [shard],
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "report.json").write_text(json.dumps({"duplicates_by_rule": {"exact": 1}}))
    found = read_figures(tmp_path, 3, 1)
    assert found.counts["stages.dedup.rejected.tied"] == 1
    assert found.counts["duplicates_by_rule.exact"] == 1
    assert found.counts["rows.data/a.parquet"] == 1
    assert (found.inputs, found.shards) == ({"Posts.xml": "ff"}, {"data/a.parquet": "ee"})


def test_flattened_names_have_dots() -> None:
    assert flatten({"a": {"b": {"c": 1}}, "d": 2}) == {"a.b.c": 1, "d": 2}


@pytest.mark.parametrize(("ratio", "code"), [(0.9, 0), (0.5, 1)])
def test_the_exit_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ratio: float,
    code: int,
) -> None:
    write_pins(tmp_path / "pins.json", FIGURES, 0.7)
    monkeypatch.setattr(nightly, "measure", lambda posts, seed, rounds: (BOTH, ratio))
    assert nightly.main(["--pins", str(tmp_path / "pins.json")]) == code
    assert ("DIFFERENT: throughput" in capsys.readouterr().out) == bool(code)


def test_an_update_pins_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pins.json"
    write_pins(path, changed(counts={}), 0.7)
    monkeypatch.setattr(nightly, "measure", lambda posts, seed, rounds: (BOTH, 0.1))
    assert nightly.main(["--pins", str(path), "--update"]) == 0
    assert msgspec.json.decode(path.read_bytes(), type=Pins) == PINS
    assert nightly.main(["--pins", str(path), "--update", "--minimum", "0.05"]) == 0
    assert nightly.main(["--pins", str(path)]) == 0


def test_the_pins_of_the_project_can_be_read() -> None:
    pins = msgspec.json.decode(nightly.PINS.read_bytes(), type=Pins)
    assert pins.counts["posts_read"] == pins.posts
    assert 0 < pins.minimum < 1


def test_the_job_with_workers_is_held_to_the_same_pins() -> None:
    assert compare_modes(BOTH, 0.7, PINS) == []
    other = changed(shards={"data/train.parquet": "cc"})
    (difference,) = compare_modes(BOTH | {"beam2": other}, 0.7, PINS)
    assert difference.startswith("beam2: data/train.parquet")
    lost = changed(counts=FIGURES.counts | {"posts_read": 9})
    same = compare_modes({"beam1": lost, "beam2": lost}, 0.5, PINS)
    assert [line.split(":")[0] for line in same] == ["posts_read", "throughput"]


def test_both_ways_to_run_the_job_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"loop": 7.0, "beam1": 10.0, "beam2": 14.0}

    def turns(dump: Path, folder: Path, modes: tuple[str, ...], _: int) -> dict[str, list[Run]]:
        return {
            mode: [Run(pairs=1, wall_s=1.0, cpu_s=seconds[mode], peak_bytes=1, processes=())]
            for mode in modes
        }

    monkeypatch.setattr(nightly, "generate", lambda folder, posts, seed: folder)
    monkeypatch.setattr(nightly, "take_turns", turns)
    figures = lambda folder, posts, seed: changed(inputs={"from": folder.parent.name})  # noqa: E731
    monkeypatch.setattr(nightly, "read_figures", figures)
    found, ratio = nightly.measure(10, 1, 1)
    assert {mode: figures.inputs["from"] for mode, figures in found.items()} == {
        "beam1": "beam1",
        "beam2": "beam2",
    }
    assert ratio == pytest.approx(0.7)


def test_figures_that_differ_between_modes_are_not_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pins.json"
    write_pins(path, FIGURES, 0.7)
    before = path.read_bytes()
    other = changed(shards={"data/train.parquet": "cc"})
    monkeypatch.setattr(
        nightly, "measure", lambda posts, seed, rounds: (BOTH | {"beam2": other}, 0.9)
    )
    assert nightly.main(["--pins", str(path), "--update"]) == 1
    assert path.read_bytes() == before
    assert "DIFFERENT: beam1 and beam2" in capsys.readouterr().out
    assert nightly.main(["--pins", str(path)]) == 1
