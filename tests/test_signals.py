"""SIGTERM under the real torchrun, with steps that would never end, and a process that dies."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from tests.patience import PATIENCE_S, wait_for
from tests.preference_data import make_model, make_pairs, write_dataset
from training.commands import main
from training.parallel.distributed import DistributedContext, start_distributed, stop_distributed

SETTINGS = (
    "data.batch_pairs=16",
    "data.max_length=128",
    "model.micro_batch_tokens=150",
    "optim.lr=0.003",
    "run.tensorboard=false",
    "run.eval_pairs=0",
    "run.save_every=0",
)
WORKER = '''
"""Trains; in a step of which nothing else would end it, waits for a signal, then counts passes."""
import os, pathlib, sys, threading, torch
from training import train
from training.model.reward_model import RewardModel

folder, step = pathlib.Path(sys.argv.pop(1)), int(sys.argv.pop(1))
told, passes, runs = threading.Event(), [], []
set_up, note, forward = train.set_up, train.Interrupt._note, RewardModel.forward

def keep(*args, **kwargs):
    runs.append(set_up(*args, **kwargs))
    return runs[-1]

def noted(self, number, frame):
    note(self, number, frame)
    told.set()

def passed(self, batch):
    if torch.is_grad_enabled() and runs and runs[0].step == step and runs[0].saved_step != step:
        passes.append(1)
        if len(passes) == 1:
            (folder / f"ready-{os.environ['RANK']}").touch()
            told.wait()  # a signal handler runs meanwhile
        if len(passes) > 1:
            threading.Event().wait()  # a step that takes longer than there is
    return forward(self, batch)

train.set_up, train.Interrupt._note, RewardModel.forward = keep, noted, passed
from training.commands import main
sys.exit(main(["train", *sys.argv[1:]]))
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signals")
    make_model(folder / "model", layers=1)
    write_dataset(folder / "data", make_pairs(80, "train"))
    (folder / "worker.py").write_text(WORKER)
    return folder


def arguments(folder: Path, output: Path, *settings: str) -> list[str]:
    given = ["--dataset", str(folder / "data"), "--model", str(folder / "model")]
    given += ["--output", str(output), "--device", "cpu", "--quiet"]
    for setting in (*SETTINGS, *settings):
        given += ["--set", setting]
    return given


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes with a session each, none of which outlives the test."""
    found: list[subprocess.Popen[bytes]] = []
    yield found
    for process in found:
        if process.poll() is None:
            process.kill()
        process.wait()


def torchrun(log: Path, *given: str) -> subprocess.Popen[bytes]:
    """The command itself, as users and schedulers start it."""
    program = Path(sys.executable).with_name("torchrun")
    with log.open("ab") as stream:
        return subprocess.Popen(
            [str(program), *given],
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": str(Path(__file__).parents[1]),
            },
        )


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_sigterm_to_torchrun_saves_within_a_micro_batch(
    folder: Path, tmp_path: Path, started: list[subprocess.Popen[bytes]], parallel: str
) -> None:
    output, log = tmp_path / "run", tmp_path / "log"
    parallel = f"run.parallel={parallel}"
    started.append(
        torchrun(
            log,
            *("--standalone", "--nproc-per-node", "2", "--shutdown-timeout", "30"),
            *(str(folder / "worker.py"), str(tmp_path), "2"),
            *arguments(folder, output, parallel),
        )
    )
    agent = started[0]
    ready = [tmp_path / "ready-0", tmp_path / "ready-1"]
    wait_for(
        lambda: agent.poll() is not None or all(path.exists() for path in ready), "no third step"
    )
    assert agent.poll() is None, log.read_text()
    agent.terminate()
    assert agent.wait(PATIENCE_S) == 1  # torchrun's own, whatever its processes end with
    assert [path.name for path in (output / "checkpoints").iterdir()] == ["step-00000002"]
    state = json.loads((output / "checkpoints" / "step-00000002" / "trainer.json").read_text())
    assert state["step"] == 2
    assert "SIGKILL" not in log.read_text()
    assert not (output / "model").exists()
    # What the abandoned step had done is gone: the run ends as one that was left alone.
    assert main(["train", *arguments(folder, output, parallel), "--resume"]) == 0
    resumed = load_file(output / "model" / "model.safetensors")
    assert main(["train", *arguments(folder, tmp_path / "straight", parallel)]) == 0
    straight = load_file(tmp_path / "straight" / "model" / "model.safetensors")
    straight_lines = (tmp_path / "straight" / "metrics.jsonl").read_text().splitlines()
    assert state["pairs"] == json.loads(straight_lines[1])["pairs"]  # of two steps
    for name, value in straight.items():
        assert torch.allclose(resumed[name], value, atol=2e-3), name


def test_a_process_that_dies_ends_the_others_with_a_message(
    folder: Path, tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    """Without torchrun, which would end them itself."""
    log, port = tmp_path / "log", tmp_path / "store"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2"}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[1])}
    script = tmp_path / "join.py"
    script.write_text(
        "import sys, torch.distributed as dist\n"
        "from datetime import timedelta\n"
        "join = dist.init_process_group\n"
        "def by_file(backend, **given):\n"
        "    import os\n"
        f"    join(backend, init_method='file://{port}', rank=int(os.environ['RANK']),\n"
        "         world_size=2, timeout=given['timeout'])\n"
        "dist.init_process_group = by_file\n"
        "import runpy\n"
        "del sys.argv[0]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, str(script), str(folder / "worker.py"), str(tmp_path), "2"]
    for rank in range(2):
        with log.open("ab") as stream:
            started.append(
                subprocess.Popen(
                    [*command, *arguments(folder, tmp_path / "run", "run.timeout_minutes=3")],
                    stdout=stream,
                    stderr=stream,
                    env={**environment, "RANK": str(rank)},
                )
            )
    ready = [tmp_path / "ready-0", tmp_path / "ready-1"]
    wait_for(
        lambda: (
            any(process.poll() is not None for process in started)
            or all(path.exists() for path in ready)
        ),
        "no third step",
    )
    assert all(process.poll() is None for process in started), log.read_text()
    started[1].kill()
    started[0].send_signal(signal.SIGTERM)  # lets it go on
    assert started[0].wait(PATIENCE_S) == 1
    told = log.read_text()
    assert "process 0 of 2 can no longer reach the others" in told
    assert "--resume continues from the last checkpoint" in told
    assert "Traceback" not in told


def test_processes_that_cannot_meet_say_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]  # where nobody listens
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("WORLD_SIZE", "2")
        command = ["train", "--dataset", str(folder / "data"), "--model", str(folder / "model")]
        command += ["--output", str(folder / "alone"), "--device", "cpu"]
        assert main([*command, "--set", "run.timeout_minutes=0.01"]) == 2
        assert "start several processes with torchrun" in capsys.readouterr().err
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(port))
        assert main([*command, "--set", "run.timeout_minutes=0.01"]) == 1
    told = capsys.readouterr().err
    assert f"process 1 of 2 cannot reach the others at 127.0.0.1:{port}" in told
    assert "Traceback" not in told


def test_every_exchange_waits_as_long_as_the_setting_says(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    context = start_distributed("cpu", timeout_minutes=77)
    try:
        groups = (dist.group.WORLD, context.control_group, context.save_group)
        assert len({id(group) for group in groups}) == 3
        for group in groups:
            backend = group._get_backend(torch.device("cpu"))
            assert backend.options._timeout == timedelta(minutes=77)
    finally:
        stop_distributed()
    told = DistributedContext(1, 4, torch.device("cpu")).connection_lost
    assert told(RuntimeError("index out of range")) is None  # a fault of ours keeps its traceback
    assert "process 1 of 4" in str(told(dist.DistNetworkError("gone")))
