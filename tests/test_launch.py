"""Two nodes, as two agents of the real torchrun; one of them is killed and replaced."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fresh_process import torchrun
from tests.patience import PATIENCE_S, wait_for
from tests.preference_data import make_model, make_pairs, write_dataset

WORKER = '''
"""Trains; on the second node waits in its fourth step for ever, the first time it comes there."""
import os, pathlib, sys, threading, torch
from training import train
from training.model.reward_model import RewardModel

place, node = pathlib.Path(sys.argv.pop(1)), sys.argv.pop(1)
runs, set_up, forward = [], train.set_up, RewardModel.forward

def keep(*args, **kwargs):
    runs.append(set_up(*args, **kwargs))
    return runs[-1]

def passed(self, batch):
    stays = node == "second" and torch.is_grad_enabled() and runs and runs[0].step == 3
    if stays and not place.exists():
        partial = place.with_suffix(".partial")
        partial.write_text(str(os.getpid()))
        partial.replace(place)
        threading.Event().wait()
    return forward(self, batch)

train.set_up, RewardModel.forward = keep, passed
from training.commands import main
sys.exit(main(["train", *sys.argv[1:]]))
'''
SETTINGS = (
    "data.batch_pairs=8",
    "data.max_length=96",
    "optim.lr=0.003",
    "run.tensorboard=false",
    "run.eval_pairs=0",
    "run.save_every=1",
    "run.max_steps=6",
    "run.parallel=fsdp",
)


@pytest.fixture
def agents() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes, none of which outlives the test, and neither do their children."""
    found: list[subprocess.Popen[bytes]] = []
    yield found
    for process in found:
        if process.poll() is None:
            process.terminate()  # torchrun ends its own
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def test_a_node_that_is_killed_and_replaced_changes_nothing(
    tmp_path: Path, agents: list[subprocess.Popen[bytes]]
) -> None:
    make_model(tmp_path / "model", layers=1)
    write_dataset(tmp_path / "data", make_pairs(64, "train"))
    (tmp_path / "worker.py").write_text(WORKER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place, log = tmp_path / "pid", tmp_path / "log"

    def arguments(output: Path) -> list[str]:
        given = ["--dataset", str(tmp_path / "data"), "--model", str(tmp_path / "model")]
        given += ["--output", str(output), "--device", "cpu", "--quiet", "--resume"]
        for setting in SETTINGS:
            given += ["--set", setting]
        return given

    def start(node: str) -> None:
        hosts = int(node == "first")
        with log.open("ab") as stream:
            agents.append(
                subprocess.Popen(
                    [
                        str(Path(sys.executable).with_name("torchrun")),
                        *("--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "3"),
                        *("--rdzv-backend", "c10d", "--rdzv-id", "run"),
                        *("--rdzv-endpoint", f"localhost:{port}"),
                        *("--rdzv-conf", f"is_host={hosts}"),
                        *("--local-addr", "localhost", "--shutdown-timeout", "30"),
                        *(str(tmp_path / "worker.py"), str(place), node),
                        *arguments(tmp_path / "run"),
                    ],
                    stdout=stream,
                    stderr=stream,
                    env={
                        **os.environ,
                        "OMP_NUM_THREADS": "1",
                        # Else an agent in the place of another waits in vain for the first
                        # one's address, which is told in the first meeting alone.
                        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
                        "PYTHONPATH": str(Path(__file__).parents[1]),
                    },
                )
            )

    start("first")
    start("second")
    ended = lambda: any(agent.poll() is not None for agent in agents)  # noqa: E731
    wait_for(lambda: ended() or place.exists(), "no fourth step")
    assert not ended(), log.read_text()
    agents[1].kill()
    os.kill(int(place.read_text()), signal.SIGKILL)
    agents.pop(1).wait()
    start("second")
    for agent in agents:
        assert agent.wait(2 * PATIENCE_S) == 0, log.read_text()
    assert "can no longer reach the others" in log.read_text()  # the process that was left

    straight = tmp_path / "straight"
    torchrun(2, ["-m", "training.train", *arguments(straight)], tmp_path / "straight.log")
    for name in ("model/model.safetensors", "summary.json"):
        ours, theirs = (output / name for output in (tmp_path / "run", straight))
        assert ours.read_bytes() == theirs.read_bytes()
    same = ("step", "pairs", "tokens", "loss", "accuracy", "lr", "gradient_norm")
    kept = [
        [{key: json.loads(line)[key] for key in same} for line in text.splitlines()]
        for text in ((one / "metrics.jsonl").read_text() for one in (tmp_path / "run", straight))
    ]
    assert len(kept[0]) == 6
    assert kept[0] == kept[1]
