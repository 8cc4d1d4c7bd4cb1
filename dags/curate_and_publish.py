"""Airflow DAG ``curate_and_publish``: forum dumps become a version at the Hugging Face Hub.

    plan → check → curate → verify → forecast → publish → announce

Every step can be repeated: finished ones find their result and do nothing. docs/dags.md says what
each guarantees.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, Param, Variable, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from dags.assets import PREFERENCE_DATASET
from dags.operators import HEAVY_POOL, POD_ROOT, ROOT_VARIABLE, ForumprefsOperator
from dags.plans import (
    INPUT_PATTERN,
    RECIPE_SCHEMA,
    REPO_PATTERN,
    RUNNERS,
    VERSION_PATTERN,
    plan_curation,
)
from pipeline.errors import UsageError

PERCENT: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": 100}

PARAMS = {
    "inputs": Param(
        type="array",
        items={"type": "string", "pattern": INPUT_PATTERN},
        minItems=1,
        description="KIND=PLACE, as --input takes it; PLACE is absolute, or a URL",
    ),
    "repo": Param(
        type="string", pattern=REPO_PATTERN, description="dataset at the Hub: OWNER/NAME"
    ),
    "version": Param(type="string", pattern=VERSION_PATTERN, description="e.g. v1.2.0"),
    "recipe": Param(
        {}, **RECIPE_SCHEMA, description='options of docs/recipe.md, e.g. {"min_margin": 3}'
    ),
    "recipe_file": Param(
        None,
        type=["null", "string"],
        pattern="^/.+",
        description="YAML or manifest.json that `recipe` overrides",
    ),
    "runner": Param("local", type="string", enum=list(RUNNERS)),
    "workers": Param(1, type="integer", minimum=1, description="processes of the local runner"),
    "runner_options": Param(
        [],
        type="array",
        items={"type": "string", "pattern": "^--[a-z][a-z_-]*(=.*)?$"},
        description="of the runner, e.g. --flink-master=flink:8081",
    ),
    "private": Param(False, type="boolean"),
    "min_pairs": Param(1, type="integer", minimum=0),
    "max_rejected": Param(100, **PERCENT, description="of the posts read, in any step"),
    "max_unreadable": Param(5, **PERCENT, description="of the posts read, while they are read"),
    "allow_damaged_files": Param(
        False, type="boolean", description="input files that could not be read to their end"
    ),
    "shrink_limit": Param(10, **PERCENT, description="fewer pairs than main has"),
    "allow_shrink": Param(False, type="boolean"),
}


@dag(
    dag_id="curate_and_publish",
    schedule=None,
    catchup=False,
    params=PARAMS,
    default_args={
        "retries": 3,
        "retry_delay": timedelta(minutes=2),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=30),
    },
    doc_md=__doc__,
    tags=["forumprefs"],
)
def curate_and_publish() -> None:
    """Curate dumps, check the result, publish it, and tell whoever waits for versions."""

    @task(multiple_outputs=True)
    def plan() -> dict[str, list[str]]:
        root = Variable.get(ROOT_VARIABLE, default=POD_ROOT)
        try:
            return plan_curation(get_current_context()["params"], root).as_xcom()
        except UsageError as error:
            raise AirflowFailException(str(error)) from None

    @task(outlets=[PREFERENCE_DATASET])
    def announce(published: dict[str, Any], *, outlet_events: dict[Asset, Any]) -> None:
        outlet_events[PREFERENCE_DATASET].extra = published

    plans = plan()
    check = ForumprefsOperator(task_id="check", arguments=plans["check"])
    curate = ForumprefsOperator(task_id="curate", arguments=plans["curate"], pool=HEAVY_POOL)
    verify = ForumprefsOperator(task_id="verify", arguments=plans["verify"], returns_json=True)
    forecast = ForumprefsOperator(
        task_id="forecast", arguments=plans["forecast"], returns_json=True
    )
    publish = ForumprefsOperator(task_id="publish", arguments=plans["publish"], returns_json=True)
    check >> curate >> verify >> forecast >> publish >> announce(publish.output)


curate_and_publish()
