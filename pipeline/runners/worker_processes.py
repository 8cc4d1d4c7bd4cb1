"""The worker processes of a local run: how they are started and stopped, and who has died.

Beam starts its own by a command, and waits for ever for one that has died. Here they are forked by
a process that has everything imported (fork_server.py), which also says how each of them ended.
"""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from multiprocessing import Pipe
from pathlib import Path
from typing import Any, ClassVar, Final

from apache_beam.portability.api import endpoints_pb2
from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
    GrpcWorkerHandler,
    WorkerHandler,
)
from apache_beam.transforms.environments import Environment
from apache_beam.utils.sentinel import Sentinel
from google.protobuf import json_format, text_format

from pipeline.errors import WorkerDiedError
from pipeline.runners.fork_server import Ended, Preload, Start, Stop

STOP_S = 10.0
"""How long workers may take to end when their work is done; then they are killed."""

OUR_LAYERS: Final = ("pipeline", "schemas", "transforms")
"""Packages whose modules workers need as soon as the launching process has them."""

_URN: Final = "forumprefs:environment:worker_processes:v1"

_SERVER = "import sys; from pipeline.runners.fork_server import main; main(sys.argv[1:])"


class WorkerProcesses:
    """The workers of one run; they are gone when the block is left.

    Attributes:
        environment: Beam's environment of steps that these workers run.
    """

    _runs: ClassVar["dict[bytes, WorkerProcesses]"] = {}
    _names = itertools.count()

    def __init__(self, log: Path | None, variables: Mapping[str, str] | None = None) -> None:
        """``log``: file for what workers say; None: they say it here, from INFO up.

        ``variables``: what they find in their environment that is not in this process's.
        """
        self._log = log
        self._variables = variables or {}
        self._name = b"%d" % next(self._names)
        self._handlers: list[_Handler] = []
        self._preloaded: set[str] = set()
        self._changed = threading.Condition()
        self._ended: dict[str, int] = {}
        self._died: str | None = None
        self._closing_since: float | None = None
        self.environment: Environment = _Environment(self._name)

    def __enter__(self) -> "WorkerProcesses":
        self._messages, theirs = Pipe()
        # -P: a folder `pipeline` where the user stands must not be taken for ours.
        command = [sys.executable, "-P", "-c", _SERVER, str(theirs.fileno())]
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        errors = None if self._log is None else self._log.open("ab")
        try:
            self._server = subprocess.Popen(  # noqa: S603
                command if errors else [*command, "--verbose"],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, **self._variables, "PYTHONPATH": path},
            )
        finally:
            theirs.close()
            if errors is not None:
                errors.close()
        self._preload("apache_beam.runners.worker.sdk_worker_main")
        threading.Thread(target=self._listen, name="worker-ends", daemon=True).start()
        self._runs[self._name] = self
        return self

    def __exit__(self, *_: object) -> None:
        del self._runs[self._name]
        with self._changed:
            self._closing_since = self._closing_since or time.monotonic()
        try:
            self._send(Stop())
            self._server.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._server.kill()  # its workers see that, and end
            self._server.wait()

    @classmethod
    def of_run(cls, name: bytes) -> "WorkerProcesses":
        """Return the workers that an environment stands for."""
        return cls._runs[name]

    def start(self, handler: "_Handler", variables: dict[str, str]) -> None:
        """Start a worker for Beam's ``handler``."""
        with self._changed:
            self._handlers.append(handler)
        self._preload()
        self._send(Start(handler.worker_id, variables))

    def close(self) -> None:
        """Tell all workers that there is no more work, for none of them to wait for the others."""
        with self._changed:
            if self._closing_since is not None:
                return
            self._closing_since = time.monotonic()
        for handler in self._handlers:
            # All that it had to give is here: a stream that breaks off from now on is no error.
            handler.data_conn._closed = True
            handler.control_conn.push(Sentinel.sentinel)

    def wait(self, worker_id: str) -> None:
        """Wait until a worker has ended, some seconds at most; leaving the block kills the rest."""
        assert self._closing_since is not None
        left = self._closing_since + STOP_S - time.monotonic()
        with self._changed:
            self._changed.wait_for(lambda: self._died or worker_id in self._ended, max(0.0, left))

    def check(self) -> None:
        """Raise WorkerDiedError when a worker has ended before its work was done."""
        if self._died is not None:
            raise WorkerDiedError(f"{self._died}. {_ADVICE}{self._words()}")

    def _preload(self, *others: str) -> None:
        ours = {name for name in list(sys.modules) if name.split(".")[0] in OUR_LAYERS}
        new = sorted({*ours, *others} - self._preloaded)
        self._preloaded.update(new)
        if new:
            self._send(Preload(new))

    def _send(self, message: Any) -> None:
        with contextlib.suppress(OSError):  # the server is gone: the listening thread sees it too
            self._messages.send(message)

    def _listen(self) -> None:
        """Note how workers end; in a thread of its own, until the server is gone."""
        try:
            while True:
                message: Ended = self._messages.recv()
                with self._changed:
                    self._ended[message.worker_id] = message.code
                    if self._closing_since is None:
                        end = f"a worker process died: {_in_words(message.code)}"
                        self._died = self._died or end
                    self._changed.notify_all()
        except (EOFError, OSError):
            code = self._server.wait()  # its end of the pipe closes with it
            with self._changed:
                if self._closing_since is None:
                    end = f"the process that starts the workers died: {_in_words(code)}"
                    self._died = self._died or end
                self._changed.notify_all()
            self._messages.close()

    def _words(self) -> str:
        """End of the workers' log."""
        if self._log is None or not self._log.is_file():
            return ""
        lines = filter(None, self._log.read_text(errors="replace").splitlines())
        words = list(lines)[-8:]
        return "\nIts log ends with:\n  " + "\n  ".join(words) if words else ""


def _in_words(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:  # most real-time signals have no name
        return f"ended by signal {-code}"


@Environment.register_urn(_URN, bytes)
class _Environment(Environment):
    """Where steps run that the workers of one run do."""

    def __init__(self, name: bytes) -> None:
        super().__init__()
        self._name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Environment) and self._name == other._name

    def __hash__(self) -> int:
        return hash(self._name)

    def to_runner_api_parameter(self, context: Any) -> tuple[str, bytes]:
        return _URN, self._name

    @staticmethod
    def from_runner_api_parameter(payload: bytes, *_: Any) -> "_Environment":
        return _Environment(payload)


@WorkerHandler.register_environment(_URN, bytes)
class _Handler(GrpcWorkerHandler):
    """Beam's view of one worker."""

    def __init__(self, name: bytes, state: Any, provision_info: Any, grpc_server: Any) -> None:
        super().__init__(state, provision_info, grpc_server)
        self._processes = WorkerProcesses.of_run(name)

    def start_worker(self) -> None:
        options = self.provision_info.provision_info.pipeline_options
        control = endpoints_pb2.ApiServiceDescriptor(url=self.control_address)
        self._processes.start(
            self,
            {
                "WORKER_ID": self.worker_id,
                "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(control),
                "PIPELINE_OPTIONS": json_format.MessageToJson(options),
            },
        )

    def close(self) -> None:
        self._processes.close()
        super().close()

    def stop_worker(self) -> None:
        self._processes.wait(self.worker_id)


_ADVICE = (
    "The usual cause is memory: use fewer --workers, or more --partitions so that each unit of "
    "work is smaller. Nothing was written to the output folder."
)
