"""Worker processes: an orderly end is none, a death is, and nobody is left behind."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apache_beam.utils.sentinel import Sentinel

from pipeline.errors import WorkerDiedError
from pipeline.runners import worker_processes
from pipeline.runners.local import run_local
from pipeline.runners.worker_processes import WorkerProcesses
from tests import broken_worker
from tests.patience import PATIENCE_S, wait_for


class Handler:
    """Of a worker that is told of no runner, and so ends at once with an error."""

    def __init__(self, worker_id: str) -> None:
        self.worker_id = worker_id
        self.control_conn = self
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
