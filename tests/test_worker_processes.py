"""Worker processes: an orderly end is none, a death is, and nobody is left behind."""

import errno
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apache_beam.utils.sentinel import Sentinel

from pipeline.errors import WorkerDiedError
from pipeline.runners import worker_processes
from pipeline.runners.fork_server import Ended
from pipeline.runners.local import run_local
from pipeline.runners.unused_packages import UNUSED_PACKAGES
from pipeline.runners.worker_processes import WorkerProcesses
from tests import broken_worker
from tests.patience import PATIENCE_S, wait_for


class Handler:
    """Of a worker that is told of no runner, and so ends at once with an error."""

    def __init__(self, worker_id: str) -> None:
        self.worker_id = worker_id
        self.control_conn = self.data_conn = self
        self.pushed: list[Any] = []

    def push(self, request: Any) -> None:
        self.pushed.append(request)


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerProcesses]:
    monkeypatch.setattr(worker_processes, "STOP_S", PATIENCE_S)
    with WorkerProcesses(tmp_path / "log") as processes:
        yield processes


def is_dead(processes: WorkerProcesses) -> str:
    try:
        processes.check()
    except WorkerDiedError as error:
        return str(error)
    return ""


def test_a_worker_that_ends_before_its_work_is_done_has_died(processes: WorkerProcesses) -> None:
    processes.start(Handler("a"), {})
    wait_for(lambda: is_dead(processes), "nobody noticed")
    assert "died: exit code 1." in is_dead(processes)
    assert "CONTROL_API_SERVICE_DESCRIPTOR" in is_dead(processes), "its last words"
    processes.close()
    assert is_dead(processes), "closing does not raise the dead"


def test_no_worker_dies_once_the_run_is_closing(processes: WorkerProcesses) -> None:
    handlers = [Handler("a"), Handler("b")]
    processes.close()
    for handler in handlers:
        processes.start(handler, {})
    for handler in reversed(handlers):
        processes.wait(handler.worker_id)
    assert processes._ended.keys() == {"a", "b"}
    assert not is_dead(processes)


def test_all_workers_are_told_at_once_that_there_is_no_more_work(
    processes: WorkerProcesses,
) -> None:
    handlers = [Handler("a"), Handler("b")]
    processes._handlers = handlers
    processes.close()
    processes.close()
    assert [handler.pushed for handler in handlers] == [[Sentinel.sentinel]] * 2


def test_a_run_without_its_fork_server_ends(processes: WorkerProcesses) -> None:
    os.kill(processes._server.pid, signal.SIGKILL)
    wait_for(lambda: is_dead(processes), "nobody noticed")
    assert "the process that starts the workers died: ended by SIGKILL." in is_dead(processes)


def test_a_worker_that_cannot_be_forked_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse = (
        "import errno, os, sys; from pipeline.runners import fork_server\n"
        "def fork(): raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))\n"
        "os.fork = fork\n"
        "fork_server.main(sys.argv[1:])"
    )
    monkeypatch.setattr(worker_processes, "_SERVER", refuse)
    with WorkerProcesses(tmp_path / "log") as processes:
        processes.start(Handler("a"), {})
        wait_for(lambda: is_dead(processes), "nobody noticed")
    assert is_dead(processes).startswith("the process that starts the workers died: exit code 1.")
    assert os.strerror(errno.EAGAIN) in is_dead(processes), "its last words"


class Messages:
    """From a server that says how a worker has ended, and no more."""

    def __init__(self, *messages: Any) -> None:
        self.left = [*messages]

    def recv(self) -> Any:
        if not self.left:
            raise EOFError
        return self.left.pop(0)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("code", "words"),
    [(3, "exit code 3"), (-9, "ended by SIGKILL"), (-40, "ended by signal 40")],
)
def test_every_end_of_a_worker_has_words(
    monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    """Also that by a real-time signal, which has no name."""
    processes = WorkerProcesses(None)
    monkeypatch.setattr(processes, "_messages", Messages(Ended("a", code)), raising=False)
    monkeypatch.setattr(processes, "_server", processes, raising=False)
    monkeypatch.setattr(processes, "wait", lambda: 0)
    processes._listen()
    assert is_dead(processes).startswith(f"a worker process died: {words}.")


def test_workers_do_not_load_what_no_step_uses() -> None:
    """They have what the server has imported for them before they were forked."""
    script = (
        "import sys\n"
        "from multiprocessing import Pipe\n"
        "from pipeline.runners.fork_server import Preload, Stop, serve\n"
        "ours, theirs = Pipe()\n"
        "ours.send(Preload(['apache_beam.runners.worker.sdk_worker_main']))\n"
        "ours.send(Stop())\n"
        "serve(theirs, verbose=False)\n"
        "print(*sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    loaded = set(told.stdout.decode().split())
    assert "apache_beam.runners.worker.sdk_worker_main" in loaded
    assert not loaded & set(UNUSED_PACKAGES)


def test_a_finished_run_does_not_fail_because_workers_are_slow_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[int] = []
    leave = WorkerProcesses.__exit__

    def left(self: WorkerProcesses, *error: object) -> None:
        self.check()
        ends.append(len(self._ended))
        leave(self, *error)

    monkeypatch.setattr(WorkerProcesses, "__exit__", left)
    monkeypatch.setattr(worker_processes, "STOP_S", 0.01)
    run_local(broken_worker.build_never_ends, workers=2, shuffle_folder=tmp_path)
    assert ends[0] < 2, "one waits in vain for the end of its work"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_that_the_system_kills(tmp_path: Path) -> None:
    with pytest.raises(WorkerDiedError, match=r"died: ended by SIGKILL.*fewer --workers"):
        run_local(broken_worker.build(broken_worker.be_killed), workers=2)


def test_workers_that_leave_faster_than_they_are_closed_are_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    run_local(broken_worker.build_leaves_at_once, workers=3, shuffle_folder=tmp_path)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert "Traceback" not in capfd.readouterr().err
