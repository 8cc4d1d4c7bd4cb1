"""The HTML report: its figures and samples against the rows."""

import dataclasses
import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.run_metadata import (
    REPORT_MARK,
    TIMINGS_NAME,
    StepTime,
    delete_run_metadata,
    load_run_metadata,
    run_metadata_folder,
)
from pipeline.report_page import rows as report_rows
from pipeline.report_page.figures import DuplicateCluster, read_figures
from pipeline.report_page.intervals import proportion, wilson
from pipeline.report_page.page import make_page
from pipeline.report_page.sample import choose, read_rows
from pipeline.report_page.text import render
from pipeline.report_page.votes import bias_by_mode, calibration, calibration_error
from schemas.post import DAY_MS, Post
from transforms.pairing import confidence
from transforms.pairing.vote_model import combine_sites

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out") / "sample"
    assert main(["curate", "--input", f"stackexchange={SAMPLES}", "--output", str(output)]) == 0
    return output


def change(folder: Path, table: str, edit: Callable[[dict], dict]) -> None:
    """Edit the rows of a table where they lie."""
    for path in (folder / table).rglob("*.parquet"):
        old = pq.read_table(path)
        pq.write_table(pa.Table.from_pylist(list(map(edit, old.to_pylist())), old.schema), path)


def browser_data(page: Path) -> dict:
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="rows">(.*?)</script>', text, re.S)
    assert found is not None
    return json.loads(found[1])


def test_curate_makes_the_report_beside_the_dataset_and_changes_nothing_in_it(
    dataset: Path, tmp_path: Path
) -> None:
    assert dataset.with_suffix(".html").is_file()
    quiet = tmp_path / "sample"
    # Of an earlier run: they may hold what the new dataset must not.
    (tmp_path / "sample.html").write_text(REPORT_MARK)
    run_metadata_folder(quiet).mkdir()
    arguments = ["curate", "--input", f"stackexchange={SAMPLES}", "--output", str(quiet)]
    assert main([*arguments, "--quiet"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sample"]
    for path in quiet.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (dataset / path.relative_to(quiet)).read_bytes(), path
    assert len(list(quiet.rglob("*"))) == len(list(dataset.rglob("*")))


def test_the_report_is_the_same_each_time(dataset: Path, tmp_path: Path) -> None:
    assert main(["report", str(dataset), "--output", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_bytes() == dataset.with_suffix(".html").read_bytes()


def test_notes_of_another_run_are_not_used(dataset: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    path = run_metadata_folder(dataset) / TIMINGS_NAME
    content = path.read_text()
    try:
        path.write_text(content.replace('"manifest_sha256": "', '"manifest_sha256": "0'))
        assert main(["report", str(dataset), "--output", str(page)]) == 0
    finally:
        path.write_text(content)
    assert "timings stay on the machine where curate ran" in page.read_text()
    assert all(row["chosen"]["curve"] is None for row in browser_data(page)["pairs"])


def test_a_report_that_fails_is_said_and_leaves_the_dataset(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = dataset.with_suffix(".html")
    before = page.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of a\nbug")

    monkeypatch.setattr("pipeline.report_page.command.make_page", fail)
    arguments = ["curate", "--input", f"stackexchange={SAMPLES}", "--output", str(dataset)]
    assert main([*arguments, "--resume"]) == 0
    (note,) = [line for line in capsys.readouterr().err.splitlines() if "html" in line]
    assert note.startswith(f"{page} was not written")
    assert "ZeroDivisionError: of a bug" in note
    assert note.endswith(f"forumprefs report {dataset} -v")
    assert page.read_bytes() == before
    with pytest.raises(ZeroDivisionError):
        main(["report", str(dataset), "-v"])
    assert "test_report_page.py" in capsys.readouterr().err

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.report_page.command.make_page", interrupt)
    assert main([*arguments, "--resume"]) == 130
    assert sorted(path.name for path in dataset.parent.iterdir()) == sorted(
        [dataset.name, page.name, run_metadata_folder(dataset).name]
    )


def test_a_file_that_is_no_report_is_not_replaced(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(dataset, tmp_path / "mine")
    page = tmp_path / "mine.html"
    page.write_text("my own page")
    assert main(["report", str(copy)]) == 2
    assert "is not a report of forumprefs" in capsys.readouterr().err
    delete_run_metadata(copy)
    assert page.read_text() == "my own page"


@pytest.mark.parametrize("what", ["threads", "prompts, by text"])
def test_a_leak_is_told_at_the_top(dataset: Path, tmp_path: Path, what: str) -> None:
    copy = shutil.copytree(dataset, tmp_path / "leaky")
    rows = ds.dataset(copy / "data", format="parquet").to_table().to_pylist()
    source = next(row for row in rows if row["split"] == "train")
    target = next(row for row in rows if row["split"] == "test")
    column = {"threads": "thread_id", "prompts, by text": "prompt"}[what]

    def leak(row: dict) -> dict:
        return {**row, column: source[column]} if row[column] == target[column] else row

    def top(folder: Path) -> str:
        page = folder.parent / "page.html"
        assert main(["report", str(folder), "--output", str(page)]) == 0
        return page.read_text().partition("Where the posts went")[0]

    assert "Splits leak" not in top(copy)
    change(copy, "data", leak)
    assert f"Splits leak, found in two of them: {what}: 1.</p>" in top(copy)


def test_vote_modes_and_calibration_are_those_of_the_sample(dataset: Path) -> None:
    """Computed again from the dated votes, one case at a time."""
    digest = hashlib.sha256((dataset / "manifest.json").read_bytes()).hexdigest()
    threads = load_run_metadata(dataset, digest).threads
    assert threads

    def votes(post: Post, first: int = -1, last: int = 10**9) -> int:
        inside = [sum(first <= day <= last for day in days or ()) for days in _days(post)]
        return inside[0] - inside[1]

    def cases() -> Iterator[tuple[Post, Post]]:
        for thread in threads:
            usable = [p for p in thread.responses if p.text.strip() and p.removed_as is None]
            for a, b in combinations(usable, 2):
                if a.parent_id == b.parent_id:
                    yield a, b

    wins: dict[str, list[bool]] = {"net_votes": [], "common_window": []}
    for a, b in cases():
        both = max(a.created_at, b.created_at) // DAY_MS
        marks = {"net_votes": [post.score + post.accepted for post in (a, b)]}
        if a.up_days is not None and b.up_days is not None:
            marks["common_window"] = [
                votes(p, both + 1) + (p.accepted_day is not None and p.accepted_day > both)
                for p in (a, b)
            ]
        for mode, (one, two) in marks.items():
            if one != two and a.created_at != b.created_at:
                first = a if a.created_at < b.created_at else b
                best = a if one > two else b
                wins[mode].append(best is first)
    shown = {row.votes: row for row in bias_by_mode(threads)}
    assert "debiased" not in shown, "there is no vote model"
    assert "debiased" in {row.votes for row in bias_by_mode(threads, combine_sites([]))}
    for mode, found in wins.items():
        assert len(found) > 20
        assert shown[mode].earlier.total == len(found), mode
        assert shown[mode].earlier.value == pytest.approx(np.mean(found)), mode

    dates: dict[str, list[int]] = {}
    for thread in threads:
        for post in thread.responses:
            dates.setdefault(post.site, []).extend(day for days in _days(post) for day in days)
    said: list[tuple[float, bool]] = []
    for a, b in cases():
        days = sorted(dates[a.site])
        for cut in {days[int(len(days) * part)] for part in (0.2, 0.35, 0.5, 0.65, 0.8)}:
            after = votes(a, cut + 1) - votes(b, cut + 1)
            if a.up_days is None or b.up_days is None or not after:
                continue
            if max(a.created_at, b.created_at) // DAY_MS >= cut:
                continue
            old = [
                msgspec.structs.replace(
                    post,
                    up_days=tuple(day for day in post.up_days if day <= cut),
                    down_days=tuple(day for day in post.down_days or () if day <= cut),
                    score=votes(post, last=cut),
                    accepted=post.accepted_day is not None and post.accepted_day <= cut,
                )
                for post in (a, b)
            ]
            for p, right in ((confidence(*old), after > 0), (confidence(*old[::-1]), after < 0)):
                if p > 0.5:
                    said.append((p, right))
    bins: dict[int, list[tuple[float, bool]]] = {}
    for p, right in said:
        bins.setdefault(min(int(10 * p), 9), []).append((p, right))
    error = sum(abs(sum(p - right for p, right in held)) for held in bins.values()) / len(said)
    made = calibration(threads)
    assert [one.total for _, one in made] == [len(bins[place]) for place in sorted(bins)]
    assert calibration_error(made) == pytest.approx(error)
    text = dataset.with_suffix(".html").read_text()
    assert f"{len(said):,} cases" in text
    assert f"{error:.3f} (ECE, five bins)" in text


def _days(post: Post) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return post.up_days or (), post.down_days or ()


def test_figures_are_those_of_the_rows(dataset: Path) -> None:
    rows = ds.dataset(dataset / "data", format="parquet").to_table().to_pylist()
    folder = DatasetFolder(dataset)
    figures = read_figures(folder, "net_votes")
    label, window = figures.bias
    dates = [(row["chosen_created_at"], row["rejected_created_at"]) for row in rows]
    assert label.earlier.value == sum(a < b for a, b in dates) / sum(a != b for a, b in dates)
    sizes = [(len(row["chosen"]), len(row["rejected"])) for row in rows]
    assert label.longer.value == sum(a > b for a, b in sizes) / sum(a != b for a, b in sizes)
    wins = total = 0
    for row, (chosen, rejected) in zip(rows, sizes, strict=True):
        lead = (row["window_chosen_score"] or 0) - (row["window_rejected_score"] or 0)
        if lead and chosen != rejected:
            wins += (lead > 0) == (chosen > rejected)
            total += 1
    assert (window.longer.value, window.longer.total) == (pytest.approx(wins / total), total)
    reported = json.loads((dataset / "report.json").read_bytes())["noise_ceiling"]
    assert set(reported) == set(figures.ceilings) == {row["split"] for row in rows}
    for split, ceiling in figures.ceilings.items():
        said = [row["confidence"] for row in rows if row["split"] == split]
        sure = [max(p, 1 - p) for p in said]
        assert ceiling.accuracy == reported[split] == pytest.approx(sum(sure) / len(sure), abs=1e-6)
        assert f"| {100 * reported[split]:.1f} % |" in (dataset / "README.md").read_text()
        assert f">{100 * reported[split]:.1f} % [" in dataset.with_suffix(".html").read_text()
    expected = Counter(row["prompt_license"] for row in rows)
    assert {name: n["prompt"] for name, n in figures.licenses.items() if n["prompt"]} == expected
    assert all(overlap.in_two_splits == 0 for overlap in figures.overlaps)
    rejected = ds.dataset(dataset / "rejected", format="parquet").to_table().to_pylist()
    counted = Counter((r["stage"], r["reason"]) for r in rejected if r["record"] == "post")
    assert figures.reasons == counted


def test_the_interval_counts_threads_not_pairs() -> None:
    wins = np.array([True, True, False, False] * 25)
    alone = proportion(wins, np.arange(100))
    assert (alone.low, alone.high) == pytest.approx(wilson(0.5, 99), abs=1e-9)
    assert wilson(0.5, 100) == pytest.approx((0.40383, 0.59617), abs=1e-5)  # Newcombe 1998
    together = proportion(np.repeat(wins, 4), np.repeat(np.arange(100), 4))
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high))
    assert proportion(np.zeros(0, bool), np.zeros(0)).value is None


def test_a_sample_shows_every_stratum(dataset: Path) -> None:
    folder = DatasetFolder(dataset)
    columns = ["pair_id", "site"]
    numbers = choose(folder, "data", columns, lambda row: (row["site"],), 6)
    assert len(set(numbers)) == 6
    found = read_rows(folder, "data", columns, numbers)
    assert Counter(row["site"] for row in found.values()).most_common()[-1][1] == 3
    assert choose(folder, "data", columns, lambda row: (row["site"],), 4) == numbers[:4]


def test_a_large_set_stays_small(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = DatasetFolder(dataset)
    monkeypatch.setattr(report_rows, "PAIR_BYTES", 10_000)
    shown = report_rows.browser_rows(folder, (), ())
    total = shown["totals"]["pairs"]
    assert 2 <= len(shown["pairs"]) < total
    size = sum(len(json.dumps(text)) for text in shown["texts"])
    # The limit is passed by the last pair at most.
    assert size < 10_000 + 3 * max(map(len, shown["texts"])) * 1.5


def test_rejects_and_votes_come_from_the_sample_of_the_run(dataset: Path) -> None:
    data = browser_data(dataset.with_suffix(".html"))
    assert any(row["text"] is not None for row in data["rejected"])
    dated = [row for row in data["pairs"] if row["chosen"]["curve"]]
    assert dated
    for row in dated:
        if row["window"][0] is not None and not row["chosen"]["accepted"]:
            assert row["chosen"]["curve"][-1][1] == row["chosen"]["score"]
    assert all(
        row["detail"] is not None and row["reason"] in data["reasons"] for row in data["rejected"]
    )


def test_markdown_is_rendered_and_code_is_coloured() -> None:
    made = render("**b** [l](https://a.example/)\n\n```python\ndef f(): pass\n```\n\n|a|\n|-|\n|1|")
    assert "<strong>b</strong>" in made
    assert 'rel="noopener noreferrer nofollow"' in made
    assert '<span class="k">def</span>' in made
    assert "<td>1</td>" in made
    assert "5 more characters" in render("x" * 12_005)


def test_names_and_notes_from_outside_are_escaped(dataset: Path) -> None:
    hostile = "<img src=x onerror=alert(1)>\u202e'\""
    folder = DatasetFolder(dataset)
    first = folder.manifest.inputs[0]
    stage = msgspec.structs.replace(
        folder.manifest.accounting.stages[0], stage=hostile, rejected={hostile: 1}
    )
    manifest = msgspec.structs.replace(
        folder.manifest,
        recipe={hostile: hostile},
        versions={hostile: hostile},
        inputs=(msgspec.structs.replace(first, site=hostile, name=hostile, note=hostile),),
        accounting=msgspec.structs.replace(
            folder.manifest.accounting, stages=(stage,), other_records={hostile: 1}
        ),
        not_publishable_because=(hostile,),
    )
    groups = ("pairs_by_site", "pairs_by_language", "pairs_by_source", "duplicates_by_rule")
    report = folder.report | {group: {hostile: 1} for group in groups}
    cluster = DuplicateCluster(hostile, 1, ((hostile, 1.0, hostile),))
    figures = dataclasses.replace(
        read_figures(folder, "net_votes"),
        clusters=(cluster,),
        cluster_sizes={hostile: 1},
        licenses={hostile: dict.fromkeys(("prompt", "chosen", "rejected", "context"), 1)},
    )
    rows = report_rows.browser_rows(folder, (), ()) | {
        "duplicates": [{"kept": hostile, "title": hostile}]
    }
    steps = (StepTime(step=hostile, began=0.0, ended=1.0),)
    page = make_page(hostile, manifest, report, figures, rows, steps=steps)
    assert page.count("&lt;img src=x onerror=alert(1)&gt;\ufffd") >= 22
    assert "<img" not in page and "\u202e" not in page.partition('id="rows">')[0]
