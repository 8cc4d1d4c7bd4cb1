"""Weights & Biases and MLflow by their real clients, offline, and what they wrote read back."""

import json
import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("wandb", reason="has an environment of its own: make test-trackers")
pytest.importorskip("mlflow", reason="has an environment of its own: make test-trackers")

from training.tracking.trackers import IDS_NAME, open_trackers

CONFIG = {"dataset": "out/beer", "optim": {"lr": 1e-4, "clip": None}, "run": {"seed": 7}}
SUMMARY = {"pairs": 12, "validation": {"accuracy": 0.75, "baselines": {"longer": 0.5}}}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_PROJECT", "beer")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    for name in ("WANDB_RUN_ID", "WANDB_NAME", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)


def fail(text: str) -> None:
    raise AssertionError(text)


def run_twice(folder: Path, name: str) -> None:
    """Three steps and a stop; then from step 2 on again, as a resumed run does, to the end."""
    folder.mkdir()
    trackers = open_trackers([name], folder, CONFIG, first_step=0, warn=fail)
    trackers.log("validation", 0, {"accuracy": 0.5, "baselines": {"longer": 0.5}, "name": "x"})
    for step in (1, 2, 3):
        trackers.log("train", step, {"loss": 1 / step})
    trackers.finish()
    trackers = open_trackers([name], folder, CONFIG, first_step=2, warn=fail)
    for step in (3, 4):
        trackers.log("train", step, {"loss": 1 / step})
    trackers.finish(SUMMARY)


def test_mlflow_has_one_run_with_everything(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    run_twice(tmp_path / "run", "mlflow")
    client = MlflowClient()
    experiment = client.get_experiment_by_name("forumprefs")
    (run,) = client.search_runs([experiment.experiment_id])
    assert json.loads((tmp_path / "run" / IDS_NAME).read_text()) == {"mlflow": run.info.run_id}
    assert run.info.run_name == "run"
    assert run.info.status == "FINISHED"
    assert run.data.params["optim.lr"] == "0.0001"
    assert run.data.params["run.seed"] == "7"
    assert run.data.params["dataset"] == "out/beer"
    history = {
        (one.step, one.value) for one in client.get_metric_history(run.info.run_id, "train/loss")
    }
    assert history == {(step, 1 / step) for step in (1, 2, 3, 4)}
    (baseline,) = client.get_metric_history(run.info.run_id, "validation/baselines/longer")
    assert (baseline.step, baseline.value) == (0, 0.5)
    stored = client.download_artifacts(run.info.run_id, "summary.json", str(tmp_path))
    assert json.loads(Path(stored).read_text()) == SUMMARY


def blocks(content: bytes) -> Iterator[bytes]:
    """The records of a file in LevelDB's log format, which the client of wandb writes."""
    place, parts = 7, b""  # after its own mark and version
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:  # too little for a header: zeros to the end of the block
            place += left
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def records(folder: Path) -> list[Any]:
    """What the client of wandb wrote for its server, message by message."""
    from wandb.proto import wandb_internal_pb2

    found = []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for data in blocks(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            found.append(record)
    return found


def test_wandb_has_one_run_with_everything(tmp_path: Path) -> None:
    run_twice(tmp_path / "run", "wandb")
    found = records(tmp_path / "run")
    ids = {one.run.run_id for one in found if one.HasField("run")}
    assert json.loads((tmp_path / "run" / IDS_NAME).read_text()) == {"wandb": ids.pop()}
    assert not ids
    first = next(one.run for one in found if one.HasField("run"))
    assert (first.project, first.display_name) == ("beer", "run")
    config = {item.key: json.loads(item.value_json) for item in first.config.update}
    assert config["optim"] == CONFIG["optim"]
    assert config["dataset"] == "out/beer"
    values: dict[str, set[tuple[int, float]]] = defaultdict(set)
    for one in found:
        if one.HasField("history"):
            row = {
                (item.key or "/".join(item.nested_key)): json.loads(item.value_json)
                for item in one.history.item
            }
            for name, value in row.items():
                values[name].add((row["step"], value))
    assert values["train/loss"] == {(step, 1 / step) for step in (1, 2, 3, 4)}
    assert values["validation/baselines/longer"] == {(0, 0.5)}
    summary = [
        json.loads(item.value_json)
        for one in found
        if one.HasField("summary")
        for item in one.summary.update
        if item.key == "result"
    ]
    assert summary[-1] == SUMMARY


def test_a_server_that_is_not_there_is_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    told: list[str] = []
    trackers = open_trackers(["mlflow"], tmp_path, CONFIG, first_step=0, warn=told.append)
    trackers.log("train", 1, {"loss": 1.0})
    trackers.finish(SUMMARY)
    (line,) = told
    assert line.startswith("tracker mlflow: ")
    assert line.endswith("(the run goes on; metrics.jsonl has all figures)")
