"""What `evaluate` shows: one rule for ties, and a page that fits a telephone."""

import io
import time
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from tests.browser import Browser, find_browser
from tests.patience import PATIENCE_S
from training.evaluation.items import Item, Label, conversation
from training.evaluation.markdown import as_markdown
from training.evaluation.page import as_page
from training.evaluation.results import Comparison, ModelDifference, ModelResult, Results
from training.evaluation.suite_results import prepare, suite_result
from training.evaluation.suites.held_out import HELD_OUT
from training.evaluation.suites.registry import LoadedSuite
from training.evaluation.terminal import summary
from training.validation.bootstrap import Estimate
from training.validation.metrics import Floats

needs_browser = pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed")
LONG = "/models/" + "a_run_with_a_name_that_has_no_space_" * 5


def found_of(scores: list[Floats], *, name: str = "model", source: str = "") -> Results:
    items = tuple(
        Item(
            suite="held-out", id=str(place), subset="a", group="held-out", kind="thread",
            messages=conversation("Why?"), responses=("Because it is.", "No."), worth=(1.0, 0.0),
            labels=(Label(0, 1, weight=1.0, margin=1.0, confidence=1.0),), unit=str(place),
            site="forum.example",
        )
        for place in range(len(scores))
    )  # fmt: skip
    suite = prepare(LoadedSuite(HELD_OUT, source, items, {}), n=50, seed=0)
    result = ModelResult(
        model=name, fingerprint="", reads=f"template of {name}", trained_on=None, groups=(),
        suites=(suite_result(suite, scores),),
    )  # fmt: skip
    return Results(seed=0, bootstrap=50, limit=None, result=result)


@pytest.fixture
def tied() -> Results:
    """Half of the pairs right and half of them ties: 50 % as published, 75 % with ties one half."""
    import numpy as np

    return found_of([np.array([1.0, float(place % 2)]) for place in range(20)])


def shown(results: Results) -> str:
    stream = io.StringIO()
    Console(file=stream, width=200).print(summary(results))
    return stream.getvalue()


def test_the_model_stands_beside_baselines_by_their_rule_for_ties(tied: Results) -> None:
    (suite,) = tied.result.suites
    (figure,) = suite.figures
    assert (figure.value, figure.half) == (0.5, 0.75)
    assert figure.baselines["chance"].value == 0.5
    own = figure.with_ties_half
    assert own.value == 0.75 and own.low > figure.low and own.high > figure.high
    head, row = (
        line.split() for line in shown(tied).splitlines() if line.startswith(("held-out", "accura"))
    )
    assert head[2:5] == ["n", "model", "95"] and row[2] == "75.0"
    assert "as published" in shown(tied) and "50.0" in row
    for page in (as_markdown(tied), as_page(tied)):
        assert "75.0 [" in page and "as published" in page


def test_the_published_rule_is_not_repeated_where_nothing_ties() -> None:
    import numpy as np

    results = found_of([np.array([1.0, 0.0])] * 20)
    assert "as published" not in shown(results)


def test_results_of_2_2_are_read(tied: Results) -> None:
    (figure,) = tied.result.suites[0].figures
    older = msgspec.to_builtins(figure)
    for name in ("half_low", "half_high"):
        del older[name]
    found = msgspec.convert(older, type(figure)).with_ties_half
    assert (found.value, found.low, found.high) == (figure.half, figure.low, figure.high)


@needs_browser
def test_the_page_does_not_scroll_sideways_on_a_telephone(tmp_path: Path) -> None:
    """Names, places and warnings without a space are as long as people's paths."""
    import numpy as np

    results = found_of(
        [np.array([1.0, float(place % 3)]) for place in range(20)], name=LONG, source=LONG
    )
    difference = ModelDifference(suite="held-out", figure="accuracy", difference=Estimate(0, 0, 0))
    results = msgspec.structs.replace(
        results,
        compared=(Comparison(result=results.result, differences=(difference,)),),
        warnings=(f"{LONG} was not decontaminated",),
    )
    page = tmp_path / "index.html"
    page.write_text(as_page(results), encoding="utf-8")
    with Browser(tmp_path / "profile") as browser:
        browser.call(
            "Emulation.setDeviceMetricsOverride",
            width=400, height=900, deviceScaleFactor=1, mobile=True,
        )  # fmt: skip
        browser.call("Page.navigate", url=page.as_uri())
        deadline = time.monotonic() + PATIENCE_S
        while browser.js("location.href + document.readyState") != f"{page.as_uri()}complete":
            assert time.monotonic() < deadline
        assert browser.js("document.documentElement.scrollWidth") == 400
        assert browser.js("document.querySelectorAll('img').length") > 2
        browser.screenshot(tmp_path / "page.png", whole=True)
