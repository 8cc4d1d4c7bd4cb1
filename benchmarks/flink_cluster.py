"""A Flink session cluster on this machine: one JobManager and some TaskManagers, no Docker.

The job-server jar of Beam holds all of Flink, so nothing else has to be installed but Java:

  python -m benchmarks.flink_cluster --jar beam-flink-1.19-job-server.jar --taskmanagers 2

It runs until Ctrl-C. The settings are those that a cluster needs for forumprefs, and can be read
in the folder that it prints.
"""

import argparse
import contextlib
import errno
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

from pipeline.errors import FlinkUnreachableError
from pipeline.runners.flink.job_server import (
    child,
    find_java,
    last_words,
    open_flags,
    write_settings,
)
from pipeline.runners.flink.rest import FlinkRest, network_bytes

JOBMANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
TASKMANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
START_S = 300.0

SORT_BUFFERS = 64
"""Buffers of 32 KiB in which Flink sorts each result of a step; its default is 512."""

SETTINGS = {
    "jobmanager.rpc.address": "localhost",
    "jobmanager.bind-host": "localhost",
    "jobmanager.memory.process.size": "1g",
    "rest.address": "localhost",
    "rest.bind-address": "localhost",
    "taskmanager.host": "localhost",
    "taskmanager.bind-host": "localhost",
    "taskmanager.cpu.cores": "1",
    # Without Flink's shell scripts every part of the memory has to be named.
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.framework.off-heap.size": "128m",
    "taskmanager.memory.task.heap.size": "256m",
    "taskmanager.memory.task.off-heap.size": "64m",
    "taskmanager.memory.managed.size": "256m",
    "taskmanager.memory.jvm-metaspace.size": "256m",
    "taskmanager.memory.jvm-overhead.min": "192m",
    "taskmanager.memory.jvm-overhead.max": "192m",
    # A step with a dozen results would take 200 MB for each slot by default.
    "taskmanager.network.sort-shuffle.min-buffers": str(SORT_BUFFERS),
    # See pipeline.runners.flink.rest.check_settings.
    "jobmanager.execution.failover-strategy": "full",
    "restart-strategy.type": "fixed-delay",
    "restart-strategy.fixed-delay.attempts": "5",
    "restart-strategy.fixed-delay.delay": "10 s",
    "heartbeat.interval": "2000",
    "heartbeat.timeout": "8000",
}


class ClusterError(RuntimeError):
    """A part of the cluster did not start."""


@dataclass
class Cluster:
    """A running cluster; make one with :func:`start_cluster`."""

    jar: str
    folder: Path
    rest: FlinkRest
    stack: contextlib.ExitStack
    jobmanager: "Popen[bytes]"
    jvm_flags: Sequence[str] = ()
    taskmanagers: list["Popen[bytes]"] = field(default_factory=list)

    @property
    def address(self) -> str:
        """What ``--flink-master`` is given."""
        return self.rest.url.partition("://")[2]

    def add_taskmanager(self) -> "Popen[bytes]":
        """Start one more TaskManager, without waiting for it."""
        log = self.folder / f"taskmanager-{len(self.taskmanagers) + 1}.log"
        process = self.stack.enter_context(
            child(
                [
                    find_java(),
                    *open_flags(),
                    "-Xmx384m",
                    "-XX:MaxDirectMemorySize=768m",
                    *self.jvm_flags,
                    "-cp",
                    self.jar,
                    TASKMANAGER,
                    "-c",
                    str(self.folder / "conf"),
                ],
                log,
            )
        )
        self.taskmanagers.append(process)
        return process

    def wait_for_slots(self, slots: int) -> None:
        """Wait until the cluster has so many task slots; raises ClusterError.

        A TaskManager is counted before its slots are: of those only jobs can be run.
        """
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(FlinkUnreachableError):
                if self.rest.slots()[0] >= slots:
                    return
            if self.jobmanager.poll() is not None:
                words = last_words(self.folder / "jobmanager.log")
                raise ClusterError(f"the JobManager ended at its start.{words}")
            for log, process in zip(self._logs(), self.taskmanagers, strict=True):
                if process.poll() is not None:
                    raise ClusterError(f"a TaskManager ended at its start.{last_words(log)}")
            time.sleep(0.3)
        words = "".join(map(last_words, (self.folder / "jobmanager.log", *self._logs())))
        raise ClusterError(f"the cluster did not start in {START_S:g} s.{words}")

    def _logs(self) -> list[Path]:
        numbers = range(1, len(self.taskmanagers) + 1)
        return [self.folder / f"taskmanager-{number}.log" for number in numbers]


@contextlib.contextmanager
def start_cluster(
    jar: str,
    folder: Path,
    *,
    port: int = 8081,
    rpc_port: int = 6123,
    taskmanagers: int = 2,
    slots: int = 2,
    settings: dict[str, str] | None = None,
    jvm_flags: Sequence[str] = (),
) -> Iterator[Cluster]:
    """Start a cluster with its files below ``folder``, and end it with all its workers.

    ``slots``: parallel steps of each TaskManager. ``settings``: Flink's, over those of ours.
    ``jvm_flags``: of every Java. Raises ClusterError.
    """
    for wanted in (port, rpc_port):  # or another cluster would answer in its place
        if not is_free(wanted):
            raise ClusterError(f"port {wanted} is taken, perhaps by another cluster; name another")
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    network = f"{network_bytes(SORT_BUFFERS) * slots >> 20}m"
    chosen = SETTINGS | {
        "jobmanager.rpc.port": str(rpc_port),
        "rest.port": str(port),
        "taskmanager.numberOfTaskSlots": str(slots),
        "taskmanager.memory.network.min": network,
        "taskmanager.memory.network.max": network,
        "io.tmp.dirs": str(folder / "tmp"),
    }
    write_settings(folder / "conf", chosen | (settings or {}))
    with contextlib.ExitStack() as stack:
        java = [find_java(), *open_flags(), "-Xmx448m", *jvm_flags, "-cp", jar]
        jobmanager = stack.enter_context(
            child([*java, JOBMANAGER, "-c", str(folder / "conf")], folder / "jobmanager.log")
        )
        rest = FlinkRest(f"http://localhost:{port}")
        cluster = Cluster(jar, folder, rest, stack, jobmanager, jvm_flags)
        for _ in range(taskmanagers):
            cluster.add_taskmanager()
        cluster.wait_for_slots(taskmanagers * slots)
        yield cluster


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed ones linger
        try:
            probe.bind(("localhost", port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a cluster until Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.flink_cluster",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--jar", required=True, help="Beam's Flink job server, which holds Flink")
    parser.add_argument("--taskmanagers", type=int, default=2, metavar="N", help="default: 2")
    parser.add_argument(
        "--slots", type=int, default=2, metavar="N", help="of each TaskManager (default: 2)"
    )
    parser.add_argument("--port", type=int, default=8081, help="REST and web page (default: 8081)")
    parser.add_argument("--rpc-port", type=int, default=6123, help="default: 6123")
    given = parser.parse_args(arguments)
    for port in (given.port, given.rpc_port):
        if not 0 < port < 1 << 16:
            parser.error(f"{port} is not a valid port")
    if not Path(given.jar).is_file():
        parser.error(f"--jar {given.jar}: there is no such file")
    # What schedulers and `kill` send: end as after Ctrl-C, so that nothing is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="forumprefs-flink-") as name:
        folder = Path(name)
        try:
            with start_cluster(
                given.jar,
                folder,
                port=given.port,
                rpc_port=given.rpc_port,
                taskmanagers=given.taskmanagers,
                slots=given.slots,
            ) as cluster:
                print(
                    f"Flink {cluster.rest.version()} is up: {cluster.rest.url} (web page), "
                    f"settings and logs in {folder}\n"
                    f"Use it: forumprefs curate … --runner flink --flink-master {cluster.address} "
                    f"--flink-job-server-jar {given.jar}\nCtrl-C ends it.",
                    flush=True,
                )
                while True:
                    time.sleep(3600)
        except ClusterError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 0


if __name__ == "__main__":
    sys.exit(main())
