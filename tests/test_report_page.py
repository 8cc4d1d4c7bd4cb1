"""The HTML report: its figures and samples against the rows."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pytest

from pipeline.cli import main
from pipeline.dataset_folder import DatasetFolder
from pipeline.report_page import rows as report_rows
from pipeline.report_page.figures import read_figures
from pipeline.report_page.intervals import share, wilson
from pipeline.report_page.sample import choose, read_rows
from pipeline.report_page.text import render
from pipeline.run_notes import notes_folder

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out") / "sample"
    assert main(["curate", "--input", f"stackexchange={SAMPLES}", "--output", str(output)]) == 0
    return output


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
    path = notes_folder(dataset) / "timings.json"
    content = path.read_text()
    try:
        path.write_text(content.replace('"manifest_sha256": "', '"manifest_sha256": "0'))
        assert main(["report", str(dataset), "--output", str(page)]) == 0
    finally:
        path.write_text(content)
    assert "timings stay on the machine where curate ran" in page.read_text()
    assert all(row["chosen"]["curve"] is None for row in browser_data(page)["pairs"])


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
    expected = Counter(row["prompt_license"] for row in rows)
    assert {name: n["prompt"] for name, n in figures.licenses.items() if n["prompt"]} == expected
    assert all(leak.in_two_splits == 0 for leak in figures.leaks)
    rejected = ds.dataset(dataset / "rejected", format="parquet").to_table().to_pylist()
    counted = Counter((r["stage"], r["reason"]) for r in rejected if r["record"] == "post")
    assert figures.reasons == counted


def test_the_interval_counts_threads_not_pairs() -> None:
    wins = np.array([True, True, False, False] * 25)
    alone = share(wins, np.arange(100))
    assert (alone.low, alone.high) == pytest.approx(wilson(0.5, 99), abs=1e-9)
    assert wilson(0.5, 100) == pytest.approx((0.40383, 0.59617), abs=1e-5)  # Newcombe 1998
    together = share(np.repeat(wins, 4), np.repeat(np.arange(100), 4))
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high))
    assert share(np.zeros(0, bool), np.zeros(0)).value is None


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
