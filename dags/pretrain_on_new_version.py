"""Airflow DAG ``pretrain_on_new_version``: a new version of the dataset becomes a reward model.

    plan → where → train_here   → evaluate_here   → promote
                 ↘ train_in_pod → evaluate_in_pod ↗

A model that is worse than the promoted one, or not shown to be better than scorers that read no
text, is registered and not promoted, and the run fails. docs/dags.md has the rule.
"""

import json
from datetime import timedelta
from typing import Any

from airflow.sdk import Param, Variable, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, ParamValidationError

from dags.assets import PREFERENCE_DATASET
from dags.operators import HEAVY_POOL, POD_ROOT, ROOT_VARIABLE, ForumprefsOperator, gpu_pod
from dags.plans import (
    SETTING_PATTERN,
    SPEC_PATTERN,
    given_version,
    newest_version,
    plan_training,
    settled,
    superseded_by,
)
from pipeline.errors import UsageError

TRAINING_VARIABLE = "forumprefs_training"
"""JSON object of parameters for runs that a new version starts: nobody fills in a form for them."""

PARAMS = {
    "dataset": Param(
        None,
        type=["null", "string"],
        pattern=SPEC_PATTERN,
        description="OWNER/NAME@VERSION; null: the newest that was announced",
    ),
    "model": Param(
        None, type=["null", "string"], minLength=1, description="backbone: a folder or a Hub name"
    ),
    "settings": Param(
        None,
        type=["null", "array"],
        items={"type": "string", "pattern": SETTING_PATTERN},
        description="section.name=value, see docs/training_settings.md",
    ),
    "benchmarks": Param(
        None,
        type=["null", "array"],
        items={"type": "string", "minLength": 1},
        description="NAME[=PLACE] as `evaluate` takes it; default: held-out=DATASET",
    ),
    "where": Param(None, type=["null", "string"], enum=[None, "process", "kubernetes"]),
    "device": Param(None, type=["null", "string"], enum=[None, "auto", "cpu", "cuda"]),
    "max_drop": Param(
        None,
        type=["null", "number"],
        minimum=0,
        maximum=1,
        description="fall of a headline from which a model is worse in any case",
    ),
    "force": Param(
        None, type=["null", "boolean"], description="promote the model whatever the evaluation says"
    ),
}


@dag(
    dag_id="pretrain_on_new_version",
    schedule=[PREFERENCE_DATASET],
    catchup=False,
    # Each run is compared with what the one before has promoted.
    max_active_runs=1,
    params=PARAMS,
    default_args={
        "retries": 3,
        "retry_delay": timedelta(minutes=5),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(hours=1),
    },
    doc_md=__doc__,
    tags=["forumprefs"],
)
def pretrain_on_new_version() -> None:
    """Train on the newest version, evaluate, compare with the promoted model, promote."""

    @task(multiple_outputs=True)
    def plan() -> dict[str, Any]:
        context = get_current_context()
        root = Variable.get(ROOT_VARIABLE, default=POD_ROOT)
        configured = Variable.get(TRAINING_VARIABLE, default="{}")
        try:
            params = settled(context["params"], checked(configured))
            dataset = given_version(params["dataset"])
            if dataset is None:
                events = context["triggering_asset_events"].get(PREFERENCE_DATASET, ())
                dataset = newest_version(
                    event.extra for event in sorted(events, key=lambda event: event.timestamp)
                )
                if dataset is not None and (newer := superseded_by(dataset, root)):
                    raise AirflowSkipException(f"the promoted model is of {newer}: nothing to do")
            if dataset is None:
                raise AirflowSkipException("no version was announced, and none was given")
            if params["where"] == "kubernetes" and root != POD_ROOT:
                raise UsageError(f"pods see {POD_ROOT}; set the variable {ROOT_VARIABLE} to it")
            return plan_training(dataset, params, root).as_xcom()
        except UsageError as error:
            raise AirflowFailException(str(error)) from None

    @task.branch
    def where(place: str) -> str:
        return "train_in_pod" if place == "kubernetes" else "train_here"

    plans = plan()
    train_here = ForumprefsOperator(
        task_id="train_here", arguments=plans["train"], finished=plans["trained"], pool=HEAVY_POOL
    )
    evaluate_here = ForumprefsOperator(
        task_id="evaluate_here", arguments=plans["evaluate"], pool=HEAVY_POOL
    )
    train_in_pod = gpu_pod("train_in_pod", plans["train_in_pod"])
    evaluate_in_pod = gpu_pod("evaluate_in_pod", plans["evaluate_in_pod"])
    promote = ForumprefsOperator(
        task_id="promote",
        arguments=plans["promote"],
        trigger_rule="none_failed_min_one_success",
    )
    where(plans["where"]) >> [train_here, train_in_pod]
    train_here >> evaluate_here >> promote
    train_in_pod >> evaluate_in_pod >> promote


def checked(configured: str) -> dict[str, Any]:
    """Read the parameters in the Airflow variable; raises UsageError for wrong ones."""
    try:
        found = json.loads(configured)
    except ValueError as error:
        raise UsageError(f"variable {TRAINING_VARIABLE}: {error}") from None
    if not isinstance(found, dict):
        raise UsageError(f"variable {TRAINING_VARIABLE}: is not a JSON object")
    for name, value in found.items():
        if name not in PARAMS:
            raise UsageError(f"variable {TRAINING_VARIABLE}: no parameter {name}")
        try:
            Param(**{**PARAMS[name].schema, "default": value}).resolve()
        except ParamValidationError as error:
            raise UsageError(f"variable {TRAINING_VARIABLE}: {name}: {error}") from None
    return found


pretrain_on_new_version()
