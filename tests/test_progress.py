import io
import json
from collections import Counter
from pathlib import Path

import pytest

from pipeline.console import display
from pipeline.console.progress import ProgressLine, describe, read_totals
from transforms.core import counters
from transforms.core.counters import ShownCounter

STEPS = (
    ShownCounter("AssembleThreads/in-posts", "posts assembled", "assemble"),
    ShownCounter("FilterThreads/in-threads", "threads filtered", "filter"),
    ShownCounter("PairThreads/out-pairs", "pairs", "pair"),
)


def test_bytes_then_the_furthest_steps() -> None:
    totals = Counter({"ReadStackExchange/in-bytes": 1_500_000})
    assert describe(totals, 3_000_000, STEPS) == "read 1.5 of 3.0 MB"
    totals += Counter({"AssembleThreads/in-posts": 10, "PairThreads/out-pairs": 4_000})
    totals += Counter({"FilterThreads/in-threads": 9})
    assert (
        describe(totals, 3_000_000, STEPS) == "read 1.5 of 3.0 MB, 9 threads filtered, 4,000 pairs"
    )


def test_counters_of_worker_processes_are_added(tmp_path: Path) -> None:
    (tmp_path / "1.json").write_text(json.dumps({"A/in": 2}))
    (tmp_path / "2.json").write_text(json.dumps({"A/in": 3, "B/in": 1}))
    (tmp_path / "3.json").write_text("{half writ")
    totals = read_totals(tmp_path, Counter(counters.totals))
    assert (totals["A/in"], totals["B/in"]) == (5, 1)


def test_counts_of_an_earlier_run_are_not_shown() -> None:
    class Step:
        pass

    counters.totals["Step/in"] += 7
    start = Counter(counters.totals)
    counters.totals["Step/in"] += 2
    assert read_totals(None, start)["Step/in"] == 2


def test_a_step_shares_its_counts_through_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Step:
        pass

    monkeypatch.setenv(counters.PROGRESS_DIR_VARIABLE, str(tmp_path))
    monkeypatch.setattr(counters, "_last_write", 0.0)
    before = counters.totals["Step/out"]
    counters.count(Step, "out", 5)
    (written,) = tmp_path.glob("*.json")
    assert json.loads(written.read_text())["Step/out"] == before + 5


def test_a_plain_line_is_said_again_after_a_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: clock[0])
    stream = io.StringIO()
    with ProgressLine(2_000_000, stream=stream) as line:
        for second in range(75):
            clock[0] = float(second)
            line.tick("starting")
    times = [text[:8] for text in stream.getvalue().splitlines()]
    assert times == ["[   10 s", "[   70 s"]


def test_plain_lines_when_it_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "PLAIN_INTERVAL_S", 0.0)
    stream = io.StringIO()
    with ProgressLine(2_000_000, stream=stream) as line:
        counters.totals["Reader/in-bytes"] += 1_000_000
        line.tick()
        line.tick()
    (shown,) = stream.getvalue().splitlines()
    assert "read 1.0 of 2.0 MB" in shown
    quiet = io.StringIO()
    with ProgressLine(1, quiet=True, stream=quiet) as line:
        line.tick()
    assert quiet.getvalue() == ""


def test_the_line_shows_the_steps_of_the_graph_that_was_built_last_in_its_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class First:
        pass

    class Second:
        pass

    monkeypatch.setattr(counters, "_shown", {})
    counters.show_progress(Second, "in", "seconds", "two")
    counters.show_progress(First, "in", "firsts", "one")
    counters.show_progress(Second, "in", "seconds", "two")
    assert [step.label for step in counters.shown_counters()] == ["firsts", "seconds"]
    monkeypatch.setattr(display, "PLAIN_INTERVAL_S", 0.0)
    stream = io.StringIO()
    with ProgressLine(0, stream=stream) as line:
        counters.totals["First/in"] += 3
        counters.totals["Second/in"] += 2
        line.tick()
        assert set(line.spans) == {"one", "two"}
    assert "3 firsts, 2 seconds" in stream.getvalue()
