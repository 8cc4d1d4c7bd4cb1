"""Operators that run the command line of forumprefs, in a process of its own or in a pod."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.secret import Secret
from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.sdk import BaseOperator, Connection, Context, Variable
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
)
from kubernetes.client import models as k8s

from schemas.exit_codes import is_final, meaning

PYTHON_VARIABLE = "forumprefs_python"
"""Interpreter of the environment that forumprefs is installed in, which is not Airflow's."""
ROOT_VARIABLE = "forumprefs_root"
"""Folder for datasets, runs and the registry, which all workers and pods see."""
HEAVY_POOL = os.environ.get("FORUMPREFS_POOL", "default_pool")
"""Pool of the tasks that need much memory or a GPU, by the environment of the DAG processor."""
HUB_CONNECTION = "forumprefs_hub"
"""Password: the token; host: another Hub. Without it HF_TOKEN and HF_ENDPOINT of the worker."""

POD_ROOT = "/forumprefs"
"""Where pods see the root. The path of a mount is not templated, so ROOT_VARIABLE must be equal."""


class ForumprefsOperator(BaseOperator):
    """Runs ``forumprefs ARGUMENTS`` and turns its exit code into what Airflow should do next.

    Args:
        arguments: of the command line; templated, so the output of another task may stand for it.
        finished: file that the finished command leaves. If it is there before, nothing is run; if
            it is missing afterwards, the task is tried again.
        returns_json: push the last line of the output, one JSON object, as the task's result.

    Exit codes 2 (usage error), 3 (refused) and 4 (nothing came out) fail at once, whatever
    ``retries`` says; all others are tried again.
    """

    template_fields: Sequence[str] = ("arguments", "finished")

    def __init__(
        self,
        *,
        arguments: Any,
        finished: str | None = None,
        returns_json: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.arguments = arguments
        self.finished = finished
        self.returns_json = returns_json
        self._hook = SubprocessHook()

    def execute(self, context: Context) -> Any:
        if self.finished is not None and Path(self.finished).is_file():
            self.log.info("%s is there: nothing to do", self.finished)
            return None
        python = Variable.get(PYTHON_VARIABLE, default=sys.executable)
        done = self._hook.run_command(
            [python, "-m", "pipeline.cli", *self.arguments], env=environment()
        )
        what = f"forumprefs {self.arguments[0]}"
        if done.exit_code != 0:
            message = f"{what}: exit code {done.exit_code}, {meaning(done.exit_code)}"
            if is_final(done.exit_code):
                raise AirflowFailException(message)
            raise AirflowException(message)
        if self.finished is not None and not Path(self.finished).is_file():
            raise AirflowException(f"{what}: was stopped before {self.finished} was there")
        return json.loads(done.output) if self.returns_json else None

    def on_kill(self) -> None:
        self._hook.send_sigterm()


def environment() -> dict[str, str]:
    """Variables of the process: the worker's without Airflow's own, which hold its secrets."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW_", "_AIRFLOW_"))
    }
    variables["PYTHONUNBUFFERED"] = "1"
    try:
        hub = Connection.get(HUB_CONNECTION)
    except AirflowNotFoundException:
        return variables
    if hub.password:
        variables["HF_TOKEN"] = hub.password
    if hub.host:
        variables["HF_ENDPOINT"] = hub.host
    return variables


def gpu_pod(task_id: str, arguments: Any, **kwargs: Any) -> KubernetesPodOperator:
    """Make a task that runs ``forumprefs ARGUMENTS`` in a pod with GPUs.

    Image, namespace, claim and number of GPUs are Airflow variables (docs/dags.md); the claim is
    mounted at the root, so paths are the same as on the workers. A pod outlives its worker, and the
    next try finds it.
    """
    gpus = "{{ var.value.get('forumprefs_gpus', '1') }}"
    return KubernetesPodOperator(
        task_id=task_id,
        name=task_id.replace("_", "-"),
        image="{{ var.value.forumprefs_image }}",
        namespace="{{ var.value.get('forumprefs_namespace', 'default') }}",
        cmds=["bash", "-ec"],
        arguments=arguments,
        container_resources=k8s.V1ResourceRequirements(limits={"nvidia.com/gpu": gpus}),
        tolerations=[
            k8s.V1Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
        ],
        volumes=[
            k8s.V1Volume(
                name="forumprefs",
                persistent_volume_claim=k8s.V1PersistentVolumeClaimVolumeSource(
                    claim_name="{{ var.value.forumprefs_claim }}"
                ),
            ),
            # Without it a pod has 64 MiB, too little for processes that share tensors.
            k8s.V1Volume(name="memory", empty_dir=k8s.V1EmptyDirVolumeSource(medium="Memory")),
        ],
        volume_mounts=[
            k8s.V1VolumeMount(name="forumprefs", mount_path=POD_ROOT),
            k8s.V1VolumeMount(name="memory", mount_path="/dev/shm"),  # noqa: S108
        ],
        env_vars={
            "HF_ENDPOINT": "{{ var.value.get('forumprefs_endpoint', 'https://huggingface.co') }}"
        },
        secrets=[Secret("env", "HF_TOKEN", "forumprefs-hub", "token")],
        deferrable=True,
        on_finish_action="delete_succeeded_pod",
        startup_timeout_seconds=1800,
        **kwargs,
    )
