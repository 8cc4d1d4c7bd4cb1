"""The HTML report: its figures against the rows, and hostile text in a real browser."""

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
from pipeline.report_page.rows import as_json
from pipeline.report_page.sample import choose, read_rows
from pipeline.report_page.text import render, safe_url
from pipeline.run_notes import notes_folder
from tests.browser import Browser, find_browser

SAMPLES = Path(__file__).parents[1] / "samples"

HOSTILE = {
    "script": "<script>window.hacked = 1</script> and </script><script>window.hacked = 2</script>",
    "handler": '<img src=x onerror="window.hacked = 3"> <svg onload="window.hacked = 4">',
    "link": '[a](javascript:window.hacked=5) [b](data:text/html,x) [c](//evil.example "t") '
    "[d](https://ok.example/) <javascript:window.hacked=6> [e](/etc/passwd)",
    "picture": "![alt <b onclick=x>](https://evil.example/track.png) ![](javascript:x)",
    "style": '</style><style>body{display:none}</style> <p style="position:fixed">over</p>',
    "code": '```"><img src=x onerror=window.hacked=7>\nx\n```\n\n```html\n</code></pre><script>\n'
    "```",
    "bidi": "safe \u202eevil\u202c \u2066isolate",
    "entity": "&lt;script&gt;window.hacked = 8&lt;/script&gt; <!-- --><!--<script>",
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out") / "sample"
    assert main(["curate", "--input", f"stackexchange={SAMPLES}", "--output", str(output)]) == 0
    return output


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset whose every text, author, link and tag is an attack."""
    folder = tmp_path_factory.mktemp("hostile")
    lines = []
    for name, text in HOSTILE.items():
        answers = [
            {
                "id": f"{name}-{number}",
                "text": f"{name} {number} {text} " + "with plenty of honest words after it " * 4,
                "score": 5 - number,
                "created_at": f"2024-03-0{number + 1}T00:00:00Z",
                "author": "<img src=x onerror=window.hacked=9>",
                "url": "javascript:window.hacked=10",
            }
            for number in range(2)
        ]
        prompt = {"title": f"{name} </script><script>window.hacked = 11</script>", "text": text}
        about = {"format": "forumprefs.thread/1", "site": "f.example", "license": "CC0-1.0"}
        lines.append(
            {"id": name, **prompt, **about, "created_at": "2024-02-29T00:00:00Z"}
            | {"tags": ["<b>tag</b>"], "url": "https://ok.example/q"}
            | {"responses": answers, "author": "\u202ereversed"}
        )
    dump = folder / "threads.jsonl"
    dump.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    arguments = ["--input", f"threads={dump}", "--languages", "all", "--dedup", "off"]
    assert main(["curate", *arguments, "--output", str(folder / "set")]) == 0
    return folder / "set.html"


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


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_text(name: str) -> None:
    made = render(HOSTILE[name])
    tags = set(re.findall(r"</?([a-z0-9]+)", made))
    assert tags <= {"p", "a", "span", "pre", "code", "em", "br"}
    assert not re.search(r"<[^>]*\s(on\w+|style|src|id)\s*=", made)
    for href in re.findall(r'href="([^"]*)"', made):
        assert href.startswith(("https://ok.example", "http"))
    assert "\u202e" not in made


def test_markdown_is_rendered_and_code_is_coloured() -> None:
    made = render("**b** [l](https://a.example/)\n\n```python\ndef f(): pass\n```\n\n|a|\n|-|\n|1|")
    assert "<strong>b</strong>" in made
    assert 'rel="noopener noreferrer nofollow"' in made
    assert '<span class="k">def</span>' in made
    assert "<td>1</td>" in made
    assert "5 more characters" in render("x" * 12_005)


def test_links_lead_to_the_web_alone() -> None:
    assert safe_url("https://a.example/q?x=1#y") == "https://a.example/q?x=1#y"
    for bad in ("javascript:alert(1)", "data:text/html,x", "//a.example", "https://a b", None):
        assert safe_url(bad) == ""


def test_json_cannot_close_its_script() -> None:
    value = {"a": "</script><!--<script>\u2028\ud800"}
    text = as_json(value)
    assert "<" not in text
    assert json.loads(text)["a"].startswith("</script><!--<script>\u2028")


@pytest.mark.skipif(find_browser() is None, reason="no Chromium on this machine")
def test_nothing_hostile_runs_in_a_browser(hostile_page: Path, tmp_path: Path) -> None:
    with Browser(tmp_path) as browser:
        browser.open(hostile_page)
        assert len(browser_data(hostile_page)["pairs"]) == len(HOSTILE)
        browser.press("b")
        for _ in HOSTILE:
            assert browser.js("window.hacked") is None
            assert browser.js("document.querySelectorAll('img, iframe, object, style').length") == 1
            assert browser.js(
                "[...document.querySelectorAll('a')].every(a => a.protocol "
                "=== 'https:' || a.protocol === 'http:')"
            )
            assert browser.js(
                "[...document.querySelectorAll('a')].every(a => a.rel.includes('noopener'))"
            )
            assert browser.js("getComputedStyle(document.body).display") == "block"
            assert "\u202e" not in browser.js("document.body.innerText")
            browser.press("j")
        # Even markup that got past the sanitiser would not run, nor load anything.
        browser.js(
            "document.getElementById('row').innerHTML = '<img src=\"https://evil.example/x.png\" "
            'onerror="window.hacked=12"><b style="color:red">x</b>\'; '
            "document.body.append(Object.assign(document.createElement('script'), "
            "{textContent: 'window.hacked = 13'}))"
        )
        assert browser.js("new Promise(done => setTimeout(() => done(window.hacked), 300))") is None
        said = [
            event["params"]["entry"]["text"]
            for event in browser.events
            if event["method"] == "Log.entryAdded"
        ]
        assert any("Content Security Policy" in text for text in said)
        loaded = {
            event["params"]["request"]["url"].split(":")[0]
            for event in browser.events
            if event["method"] == "Network.requestWillBeSent"
        }
        assert loaded <= {"file", "https"}
        answered = [e for e in browser.events if e["method"] == "Network.responseReceived"]
        assert all(e["params"]["response"]["url"].startswith("file") for e in answered)


@pytest.mark.skipif(find_browser() is None, reason="no Chromium on this machine")
def test_the_browser_of_rows_searches_filters_and_takes_keys(dataset: Path, tmp_path: Path) -> None:
    page = dataset.with_suffix(".html")
    data = browser_data(page)
    with Browser(tmp_path) as browser:
        browser.open(page, width=400)
        assert browser.js("document.documentElement.scrollWidth") == 400
        browser.press("b")
        assert browser.js("document.documentElement.scrollWidth") == 400
        shown = "document.getElementById('which').textContent"
        assert browser.js(shown) == data["pairs"][0]["id"]
        browser.press("j")
        assert browser.js(shown) == data["pairs"][1]["id"]
        browser.press("k")
        assert browser.js(shown) == data["pairs"][0]["id"]
        site = data["pairs"][0]["site"]
        browser.js(
            f"document.getElementById('f-site').value = {json.dumps(site)}; "
            "document.getElementById('margin-min').value = '3'; "
            "document.getElementById('f-longer').value = 'rejected'; "
            "document.getElementById('filters').requestSubmit()"
        )
        wanted = [
            row["id"]
            for row in data["pairs"]
            if row["site"] == site and row["margin"] >= 3 and row["longer"] < 0
        ]
        found = "document.querySelectorAll('#list li').length"
        assert wanted and browser.js(found) == len(wanted)
        browser.press("3")
        assert browser.js(shown) in {row["id"] for row in data["rejected"]}
        assert "Why is it not in a pair?" in browser.js("document.getElementById('row').innerText")
        browser.press("2")
        assert "similarity" in browser.js("document.getElementById('row').innerText")
        problems = [
            e
            for e in browser.events
            if e["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")
        ]
        assert problems == []
