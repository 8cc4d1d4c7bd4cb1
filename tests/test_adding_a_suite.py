"""docs/adding_a_suite.md, done as it says: the suite is read, and scored by its own rule."""

import argparse
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.test_adding_a_loss import code_of
from training.commands import EVALUATE
from training.evaluation.suite_results import PreparedSuite, prepare, suite_result
from training.evaluation.suites import registry
from training.evaluation.suites.suite import Suite

PAGE = Path(__file__).parents[1] / "docs" / "adding_a_suite.md"


@pytest.fixture
def proverbs(monkeypatch: pytest.MonkeyPatch) -> Suite:
    """The suite of the page, registered."""
    module = ModuleType("proverbs")
    exec(code_of(PAGE), module.__dict__)
    suite = module.PROVERBS
    assert isinstance(suite, Suite)
    monkeypatch.setitem(registry.BY_NAME, suite.name, suite)
    monkeypatch.setattr(registry, "SUITES", (*registry.SUITES, suite))
    return suite


def prepared(folder: Path) -> PreparedSuite:
    rows = [
        {"topic": f"rye {n}", "real": f"real {n}", "invented": [f"a {n}", f"b {n}", f"c {n}"]}
        for n in range(4)
    ]
    (folder / "p.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return prepare(registry.load_suite("proverbs", str(folder / "p.jsonl")), n=20, seed=0)


def test_it_is_scored_by_its_own_rule(proverbs: Suite, tmp_path: Path) -> None:
    # In two of four prompts the real one is best; in the others it beats two of three, which
    # accuracy over pairs would make (3 + 3 + 2 + 2) / 12.
    scores: Any = [np.array([3.0, 1, 1, 1])] * 2 + [np.array([3.0, 4, 1, 1])] * 2
    found = suite_result(prepared(tmp_path), scores)
    assert [figure.name for figure in found.figures] == ["best of four"]
    assert found.headline.value == pytest.approx(0.5)
    assert found.headline.baselines["chance"].value == pytest.approx(0.25)


def test_it_is_in_the_help(proverbs: Suite) -> None:
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter)
    EVALUATE.load().add_arguments(parser)
    assert "proverbs" in parser.format_help().split()


def test_a_suite_without_a_rule_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="rule"):
        Suite(name="x", title="X", citation="", read=None, columns="", size="")  # type: ignore[call-arg]
