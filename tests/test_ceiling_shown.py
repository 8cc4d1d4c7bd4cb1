"""The noise ceiling beside accuracy: while training, and in what evaluate writes."""

import io
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from schemas.noise_ceiling import noise_ceiling
from tests.test_metrics import scored
from training.evaluation.items import Item, Label, conversation
from training.evaluation.markdown import as_markdown
from training.evaluation.page import as_page
from training.evaluation.results import ModelResult, Results
from training.evaluation.suite_results import group_results, prepare, suite_result
from training.evaluation.suites.held_out import HELD_OUT
from training.evaluation.suites.registry import LoadedSuite
from training.evaluation.terminal import summary as evaluation_summary
from training.validation.baselines import ValidationReport, report
from training.validation.ceiling import weighted_ceiling
from training.validation.display import conclusions, line, table
from training.validation.validator import as_numbers


@given(
    st.lists(
        st.tuples(st.integers(0, 1_000_000), st.integers(0, 3)), min_size=2, max_size=30
    ).filter(lambda rows: any(p != 1_000_000 for p, _ in rows))
)
def test_with_equal_weights_it_is_that_of_the_dataset(rows: list[tuple[int, int]]) -> None:
    confidence = np.array([p / 1e6 for p, _ in rows])
    question = np.array([q for _, q in rows])
    ours = weighted_ceiling(confidence, np.full(len(rows), 0.25), question)
    theirs = noise_ceiling(confidence.tolist(), question.tolist())
    assert ours.accuracy == pytest.approx(theirs.accuracy, abs=2e-6)
    assert (ours.pairs, ours.questions) == (theirs.pairs, theirs.questions)
    if theirs.standard_error is not None:
        assert ours.standard_error == pytest.approx(theirs.standard_error, abs=2e-3)


def test_a_prompt_with_many_pairs_counts_as_in_the_accuracy() -> None:
    confidence = np.array([0.9, 0.6, 0.6, 0.2])
    weight = np.array([1.0, 1 / 3, 1 / 3, 1 / 3])
    found = weighted_ceiling(confidence, weight, np.array(["a", "b", "b", "b"]))
    assert found.accuracy == pytest.approx((0.9 + (0.6 + 0.6 + 0.8) / 3) / 2)
    # A ratio over two questions of weight 1: the deviations are ± half of their difference.
    gap = 0.9 - 2 / 3
    assert found.standard_error == pytest.approx(math.sqrt(2 * 2 * (gap / 2) ** 2) / 2)


def test_nothing_is_known_without_confidences() -> None:
    ones = np.ones(3)
    assert weighted_ceiling(ones, ones, ones).accuracy is None
    assert weighted_ceiling(ones * np.nan, ones, ones).accuracy is None
    found = report(scored([1.0, -1.0], confidence=[1.0, 1.0]))
    assert found.ceilings == {}
    assert as_numbers(found)["noise_ceiling"] is None
    assert "votes' noise" not in line(found)
    assert "ceiling" not in shown(table(found))


def shown(what: object) -> str:
    stream = io.StringIO()
    Console(file=stream, width=250).print(what)
    return stream.getvalue()


def test_a_validation_shows_it_beside_the_model_by_group() -> None:
    found: ValidationReport = report(
        scored(
            [1.0] * 60 + [-1.0] * 40,
            confidence=[0.9] * 50 + [0.7] * 50,
            site=["beer"] * 50 + ["ai"] * 50,
            margin=[1] * 50 + [12] * 50,
        )
    )
    numbers = as_numbers(found)
    assert numbers["noise_ceiling"] == pytest.approx(0.8)
    assert numbers["noise_ceiling_low"] < 0.8 < numbers["noise_ceiling_high"]
    assert numbers["noise_ceiling/site beer"] == pytest.approx(0.9)
    assert numbers["noise_ceiling/site ai"] == pytest.approx(0.7)
    assert numbers["noise_ceiling/margin 11+"] == pytest.approx(0.7)
    assert numbers["noise_ceiling_chosen_longer"] == pytest.approx(0.8)
    assert "accuracy 0.600 [" in line(found)
    assert "of at most 0.800 by the votes' noise" in line(found)
    rows = {row.split("  ")[0].strip(): row.split() for row in shown(table(found)).splitlines()}
    assert rows["site beer"][-4] == "0.900"
    assert rows["site ai"][-4] == "0.700"
    assert any("agrees with 0.800 [" in one for one in conclusions(found))


def test_a_model_above_it_is_told_what_that_means() -> None:
    found = report(scored([1.0] * 100, confidence=[0.7] * 50 + [0.8] * 50))
    assert any("above the noise ceiling" in one for one in conclusions(found))


def suite_items(*, certain: bool = False) -> tuple[Item, ...]:
    confidence = (1.0, 1.0) if certain else (0.9, 0.8)
    return tuple(
        Item(
            suite="held-out", id=str(place), subset="ab"[place % 2], group="held-out",
            kind="thread", messages=conversation("Why?"), responses=("Because it is.", "No."),
            worth=(1.0, 0.0),
            labels=(Label(0, 1, margin=1.0, confidence=confidence[place % 2]),),
            unit=str(place), site="ab"[place % 2],
        )
        for place in range(20)
    )  # fmt: skip


def evaluated(items: tuple[Item, ...]) -> Results:
    suite = prepare(LoadedSuite(HELD_OUT, "", items, {}), n=50, seed=0)
    scores = [np.array([1.0, float(place % 3)]) for place in range(len(items))]
    result = ModelResult(
        model="m", fingerprint="", reads="", trained_on=None,
        groups=group_results([suite], [scores]), suites=(suite_result(suite, scores),),
    )  # fmt: skip
    return Results(seed=0, bootstrap=50, limit=None, result=result)


def texts_of(results: Results) -> tuple[str, ...]:
    return as_markdown(results), as_page(results), shown(evaluation_summary(results))


def test_evaluate_shows_it_wherever_accuracy_is_shown() -> None:
    results = evaluated(suite_items())
    (suite,) = results.result.suites
    known = {figure.name: figure.noise_ceiling for figure in suite.figures}
    values = {name: one.accuracy for name, one in known.items() if one is not None}
    assert values == pytest.approx({"accuracy": 0.85, "a": 0.9, "b": 0.8})
    assert suite.noise_ceilings["site b"].accuracy == pytest.approx(0.8)
    assert suite.noise_ceilings["label confidence 0.9+"].accuracy == pytest.approx(0.9)
    assert suite.noise_ceilings.keys() <= suite.breakdown.keys()
    (group,) = results.result.groups
    assert group.noise_ceiling is not None
    assert group.noise_ceiling.value == pytest.approx(0.85)
    for text in texts_of(results):
        assert "ceiling" in text
        assert "85.0" in text
    again = msgspec.json.decode(msgspec.json.encode(results), type=Results)
    assert again.result.suites[0].noise_ceilings == suite.noise_ceilings


def test_evaluate_shows_nothing_where_labels_have_no_confidence() -> None:
    results = evaluated(suite_items(certain=True))
    (suite,) = results.result.suites
    assert [figure.noise_ceiling for figure in suite.figures] == [None] * len(suite.figures)
    assert suite.noise_ceilings == {}
    assert results.result.groups[0].noise_ceiling is None
    for text in texts_of(results):
        assert "eiling" not in text
