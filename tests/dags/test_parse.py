import json
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("airflow", reason="Airflow has an environment of its own: make dags")

from airflow.sdk.exceptions import ParamValidationError

from dags.plans import TRAINING_DEFAULTS
from dags.pretrain_on_new_version import PARAMS, checked
from pipeline.errors import UsageError
from tests.dags import runs

GOOD: dict[str, Any] = {"inputs": ["threads=/a.jsonl"], "repo": "acme/prefs", "version": "v1.0.0"}


def test_both_are_there() -> None:
    found = runs.bag()
    assert not found.import_errors
    assert set(found.dags) == {"curate_and_publish", "pretrain_on_new_version"}


def test_parsing_loads_nothing_heavy() -> None:
    code = (
        "import sys; from tests.dags import runs\n"
        "assert not runs.bag().import_errors\n"
        "print([m for m in ('apache_beam', 'torch', 'pyarrow', 'numpy', 'datasketch', "
        "'huggingface_hub', 'pipeline.curate.run') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def given(dag_id: str, conf: dict[str, Any]) -> None:
    """Check parameters as a trigger does."""
    params = runs.bag().dags[dag_id].params
    params.update(conf)
    params.validate()


@pytest.mark.parametrize(
    "wrong",
    [
        {"inputs": []},
        {"inputs": ["threads=relative.jsonl"]},
        {"inputs": "threads=/a.jsonl"},
        {"repo": "prefs"},
        {"version": "newest"},
        {"version": "1.0.0.0"},
        {"runner": "spark"},
        {"workers": 0},
        {"runner_options": ["parallelism=4"]},
        {"recipe": {"output": "/etc"}},
        {"recipe": {"min_margin": None}},
        {"recipe_file": "recipe.yaml"},
        {"max_rejected": 101},
        {"private": "yes"},
    ],
)
def test_wrong_parameters_of_a_curation(wrong: dict[str, Any]) -> None:
    given("curate_and_publish", GOOD)
    with pytest.raises(ParamValidationError):
        given("curate_and_publish", {**GOOD, **wrong})


def test_what_must_be_given() -> None:
    for name in GOOD:
        with pytest.raises(ParamValidationError):
            given("curate_and_publish", {key: GOOD[key] for key in GOOD if key != name})


def test_a_run_with_wrong_parameters_does_not_begin() -> None:
    with pytest.raises(ParamValidationError, match="version"):
        runs.run("curate_and_publish", {**GOOD, "version": "newest"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"dataset": "acme/prefs"},
        {"dataset": "acme/prefs@main"},
        {"settings": ["lr=1"]},
        {"where": "moon"},
        {"max_drop": 2},
        {"benchmarks": [""]},
    ],
)
def test_wrong_parameters_of_a_training(wrong: dict[str, Any]) -> None:
    given("pretrain_on_new_version", {})
    with pytest.raises(ParamValidationError):
        given("pretrain_on_new_version", wrong)
    with pytest.raises(UsageError, match=next(iter(wrong))):
        checked(json.dumps(wrong))


def test_the_variable_of_a_training() -> None:
    assert set(PARAMS) == set(TRAINING_DEFAULTS)
    assert checked('{"model": "m", "max_drop": 0.1}') == {"model": "m", "max_drop": 0.1}
    for wrong in ("[]", "{", '{"modle": "m"}'):
        with pytest.raises(UsageError, match="forumprefs_training"):
            checked(wrong)
