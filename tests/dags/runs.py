"""Running a DAG to its end in this process, and looking at what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from airflow.dag_processing.dagbag import DagBag
from airflow.models.asset import AssetEvent
from airflow.models.dagrun import DagRun, get_or_create_dagrun
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.sdk import DAG
from airflow.utils.session import create_session
from sqlalchemy import select


@dataclass(frozen=True)
class Ran:
    """What came of a run."""

    run_id: str
    state: str
    states: dict[str, str]
    """Of the tasks, by id."""
    tries: dict[str, int]

    @property
    def failed(self) -> list[str]:
        """Tasks that failed by themselves."""
        return [task for task, state in self.states.items() if state == "failed"]


def bag() -> DagBag:
    from tests.dags.conftest import ROOT

    return DagBag(str(ROOT / "dags"))


def dag_of(dag_id: str) -> DAG:
    """A DAG whose retries do not wait."""
    found = bag()
    assert not found.import_errors, found.import_errors
    dag: DAG = found.dags[dag_id]
    for task in dag.tasks:
        task.retry_delay = timedelta(0)
    return dag


def run(dag_id: str, conf: Mapping[str, Any], *, triggered: bool = False) -> Ran:
    """Run a DAG; ``triggered``: with all events of the asset, as the scheduler would start it."""
    dag = dag_of(dag_id)

    def with_events(**given: Any) -> DagRun:
        made = get_or_create_dagrun(**given)
        events = given["session"].scalars(select(AssetEvent).order_by(AssetEvent.timestamp))
        made.consumed_asset_events.extend(events if triggered else ())
        given["session"].commit()
        return made

    with patch("airflow.models.dagrun.get_or_create_dagrun", with_events):
        done = dag.test(run_conf=dict(conf))
    with create_session() as session:
        again = session.scalar(select(DagRun).where(DagRun.run_id == done.run_id))
        assert again is not None
        tasks = again.get_task_instances(session=session)
        return Ran(
            run_id=again.run_id,
            state=str(again.state),
            states={task.task_id: str(task.state) for task in tasks},
            tries={task.task_id: task.try_number for task in tasks},
        )


def events() -> list[dict[str, Any]]:
    """Extras of the asset's events, oldest first."""
    with create_session() as session:
        found = session.scalars(select(AssetEvent).order_by(AssetEvent.timestamp, AssetEvent.id))
        return [dict(event.extra) for event in found]


def rendered(ran: Ran, task_id: str) -> dict[str, Any]:
    """The templated fields of a task, as they were filled in."""
    with create_session() as session:
        found = session.scalar(
            select(RenderedTaskInstanceFields).where(
                RenderedTaskInstanceFields.run_id == ran.run_id,
                RenderedTaskInstanceFields.task_id == task_id,
            )
        )
        assert found is not None
        return dict(found.rendered_fields)
