import json
import random
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

pytest.importorskip("airflow", reason="Airflow has an environment of its own: make dags")

from airflow.models.asset import AssetDagRunQueue
from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.utils.session import create_session
from sqlalchemy import select

from tests.dags import runs
from tests.dags.conftest import PYTHON, ROOT, Published
from tests.hub import HubServer

CURATE, PRETRAIN = "curate_and_publish", "pretrain_on_new_version"
HERE = {"plan", "where", "train_here", "evaluate_here", "promote"}
SETTINGS = ["data.batch_pairs=16", "data.max_length=128", "optim.lr=3e-3", "run.tensorboard=false"]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny backbone, made where torch is."""
    folder = tmp_path_factory.mktemp("model") / "base"
    code = "from pathlib import Path; from tests.preference_data import make_model\n"
    code += f"make_model(Path({str(folder)!r}))"
    subprocess.run([PYTHON, "-c", code], check=True, cwd=ROOT)
    return folder


def configure(
    monkeypatch: pytest.MonkeyPatch, model: Path, *settings: str, force: bool = False
) -> None:
    values = {
        "model": str(model),
        "device": "cpu",
        "settings": [*SETTINGS, *settings],
        "force": force,
    }
    monkeypatch.setenv("AIRFLOW_VAR_FORUMPREFS_TRAINING", json.dumps(values))


def registered(root: Path) -> dict[str, Any]:
    found = [json.loads(path.read_bytes()) for path in (root / "registry").glob("*/models/*.json")]
    return {entry["name"]: entry for entry in found}


def promoted_in(root: Path) -> Path:
    (found,) = (root / "registry").glob("*/promoted.json")
    return found


def planted_threads(path: Path, threads: int = 150) -> Path:
    """Threads in which a word decides who gets the votes, in the words that the model knows."""
    rng = random.Random(7)
    words = (*("bread", "oven", "flour", "water", "yeast", "crust", "crumb"), *("slow", "fast"))
    words += ("warm", "cold", "fold", "rest", "bake")

    def text(word: str) -> str:
        return " ".join([*rng.choices(words, k=12), word, *rng.choices(words, k=12)])

    rows = [
        {
            "site": "forum.example.com",
            "id": number,
            "text": text(""),
            "license": "CC0-1.0",
            "responses": [
                {"id": 2 * number, "text": text("thank"), "score": 9},
                {"id": 2 * number + 1, "text": text("rubbish"), "score": 1},
            ],
        }
        for number in range(threads)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_new_version_becomes_a_model(
    hub: HubServer, published: Published, root: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipped sample, from dumps to a promoted model; two steps beat no baseline, so forced."""
    configure(monkeypatch, model, "run.max_steps=2", force=True)
    with create_session() as session:
        assert PRETRAIN in session.scalars(select(AssetDagRunQueue.target_dag_id)).all()
    repo = runs.events()[-1]["repo"]
    newest = max(event["version"] for event in runs.events() if event["repo"] == repo)
    ran = runs.run(PRETRAIN, {}, triggered=True)
    assert ran.state == "success", ran
    assert {task for task in ran.states if ran.states[task] == "success"} == HERE
    assert ran.states["train_in_pod"] == ran.states["evaluate_in_pod"] == "skipped"
    promoted = json.loads(promoted_in(root).read_bytes())
    assert (promoted["decision"], promoted["forced"]) == ("below baselines", True)
    assert promoted["dataset"] == f"{repo}@{newest}"
    assert promoted["commit"] == hub.tags(repo)[newest]
    assert registered(root) == {promoted["name"]: promoted}

    # Again: the run is there, it is not trained anew, and stays promoted.
    summary = Path(promoted["model"]) / "summary.json"
    before = summary.stat().st_mtime_ns
    assert runs.run(PRETRAIN, {}, triggered=True).state == "success"
    assert summary.stat().st_mtime_ns == before
    assert json.loads(promoted_in(root).read_bytes()) == promoted


def test_a_worse_model_is_registered_and_not_promoted(
    hub: HubServer, root: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = planted_threads(tmp_path / "threads.jsonl")
    recipe = {"languages": ["all"], "split": "60/5/35"}
    made = {"inputs": [f"threads={threads}"], "repo": "acme/planted", "recipe": recipe}
    assert runs.run(CURATE, {**made, "version": "v1.0.0"}).state == "success"
    dataset = {"dataset": "acme/planted@v1.0.0"}
    configure(monkeypatch, model, "run.epochs=6")
    assert runs.run(PRETRAIN, dataset).state == "success"
    [good] = registered(root).values()
    assert good["figures"]["held-out"]["value"] > 0.9, good

    configure(monkeypatch, model, "run.max_steps=1", "optim.lr=1e-9")
    ran = runs.run(PRETRAIN, dataset)
    assert (ran.state, ran.failed, ran.tries["promote"]) == ("failed", ["promote"], 1)
    entries = registered(root)
    [bad] = [entry for entry in entries.values() if entry["name"] != good["name"]]
    assert (bad["decision"], bad["compared_with"]) == ("worse", good["name"])
    assert bad["differences"]["held-out"]["high"] < 0
    assert json.loads(promoted_in(root).read_bytes()) == good


def test_nothing_announced_is_nothing_to_do(root: Path) -> None:
    ran = runs.run(PRETRAIN, {})
    assert ran.state == "success" and set(ran.states.values()) == {"skipped"}
    assert not (root / "runs").exists()


def test_a_training_that_fails_is_tried_again_unless_it_is_wrong_use(
    hub: HubServer, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, tmp_path / "nowhere")
    ran = runs.run(PRETRAIN, {"dataset": "acme/nowhere@v1.0.0"})
    assert (ran.failed, ran.tries["train_here"]) == (["train_here"], 1)


def test_pods(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster here: the run ends where one is asked for a pod, and the pod is looked at."""
    given = {"dataset": "acme/prefs@v1.0.0", "where": "kubernetes"}
    assert runs.run(PRETRAIN, given).failed == ["plan"], "pods see another root"
    for name, value in {
        "ROOT": "/forumprefs",
        "IMAGE": "registry/image:1",
        "CLAIM": "disk",
    }.items():
        monkeypatch.setenv(f"AIRFLOW_VAR_FORUMPREFS_{name}", value)
    monkeypatch.setenv("KUBECONFIG", str(root / "nowhere"))
    ran = runs.run(PRETRAIN, given)
    assert ran.failed == ["train_in_pod"] and ran.states["train_here"] == "skipped"
    assert ran.states["promote"] == "upstream_failed"
    fields = runs.rendered(ran, "train_in_pod")
    script, finished, *command = fields["arguments"]
    assert script.startswith("if [ -f") and finished.startswith("/forumprefs/runs/acme--prefs-v1")
    assert command[:3] == ["train", "--dataset", "acme/prefs@v1.0.0"]
    assert fields["image"] == "registry/image:1" and "'disk'" in str(fields["volumes"])
    assert "'nvidia.com/gpu': '1'" in str(fields["container_resources"])
    task: Any = runs.dag_of(PRETRAIN).get_task("train_in_pod")
    with patch.object(KubernetesHook, "is_in_cluster", False):
        [container] = task.build_pod_request_obj().spec.containers
    assert {mount.mount_path for mount in container.volume_mounts} == {"/forumprefs", "/dev/shm"}
    values = {variable.name: variable.value for variable in container.env}
    assert values.keys() == {"HF_TOKEN", "HF_ENDPOINT"}
    assert values["HF_TOKEN"] is None, "it is a secret of the cluster"
    assert "forumprefs_endpoint" in values["HF_ENDPOINT"]
