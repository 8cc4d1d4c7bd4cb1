"""Beam's Flink job server as a child process: which jar, which Java, what it said last."""

import atexit
import contextlib
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import current_thread, main_thread

import yaml

from pipeline.errors import JobServerError, UsageError

START_S = 300.0
STOP_S = 5.0

OPENED = (
    "java.base/java.util",
    "java.base/java.lang",
    "java.base/java.net",
    "java.base/java.nio",
    "java.base/sun.nio.ch",
    "java.base/java.time",
    "java.base/java.lang.reflect",
    "java.base/java.io",
)
"""Packages that Flink 1.x looks into, and that Java 17 keeps shut."""

EMBEDDED_SETTINGS = {
    "taskmanager.memory.managed.size": "512m",
    "taskmanager.memory.network.min": "256m",
    "taskmanager.memory.network.max": "256m",
    "taskmanager.network.sort-shuffle.min-buffers": "64",
    # A worker that died for want of memory would die again.
    "restart-strategy.type": "none",
}
EMBEDDED_JVM = ("-Xmx1g", "-XX:MaxDirectMemorySize=768m")


def open_flags() -> list[str]:
    """Flags of ``java`` that let Flink 1.x run on Java 17."""
    return [f"--add-opens={package}=ALL-UNNAMED" for package in OPENED]


def find_java(launcher: str = "java") -> str:
    """Return the path of ``java``; raises UsageError when there is none."""
    home = os.environ.get("JAVA_HOME")
    if launcher == "java" and home and (Path(home) / "bin/java").is_file():
        return str(Path(home) / "bin/java")
    found = shutil.which(launcher)
    if found is None:
        raise UsageError("--runner flink needs Java 11 or 17: install it or set JAVA_HOME")
    return found


def find_jar(jar: str | None, flink_version: str | None = None) -> str:
    """Return a local job-server jar: the one given, or Beam's own, fetched once into its cache.

    ``flink_version``: minor version such as ``1.19`` of Beam's jar. Raises UsageError.
    """
    if jar is not None and "://" not in jar:
        if not Path(jar).is_file():
            raise UsageError(f"--flink-job-server-jar {jar}: there is no such file")
        return jar
    # Here, because a cluster can be started without Beam.
    from apache_beam.options.pipeline_options import JobServerOptions, PipelineOptions
    from apache_beam.runners.portability.flink_runner import FlinkJarJobServer

    arguments = [] if flink_version is None else [f"--flink_version={flink_version}"]
    options = PipelineOptions(arguments)
    server = FlinkJarJobServer(options)
    try:
        url = jar or server.path_to_jar()
        path = server.local_jar(url, options.view_as(JobServerOptions).jar_cache_dir)
    except (OSError, RuntimeError, ValueError) as error:  # urllib's and Beam's own
        raise UsageError(
            f"Beam's Flink job server could not be fetched: {error}; get the jar by hand and "
            "name it with --flink-job-server-jar"
        ) from None
    return str(path)


def write_settings(folder: Path, settings: Mapping[str, str]) -> Path:
    """Write Flink's ``config.yaml`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(dict(settings)))
    return folder


@contextlib.contextmanager
def child(
    command: Sequence[str], log: Path, *, cwd: Path | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program in a process group of its own and end the group afterwards, come what may."""
    with log.open("ab") as stream:
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            cwd=cwd,
            # Linux means the thread that started it, which must not end before its time.
            preexec_fn=_die_with_parent if current_thread() is main_thread() else None,
        )
    # Leaving by os._exit skips this as it skips the finally below: see stop_children.
    _CHILDREN.append(process)
    try:
        yield process
    finally:
        stop(process)
        _CHILDREN.remove(process)


_CHILDREN: list["subprocess.Popen[bytes]"] = []

PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """Ask Linux to end this child when its parent is killed and can no longer do it itself."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))


def stop(process: "subprocess.Popen[bytes]", grace_s: float = STOP_S) -> None:
    """End a child and all that it started."""
    for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, grace_s)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)
    process.poll()


@atexit.register
def stop_children() -> None:
    """End every child that is still there."""
    for process in tuple(_CHILDREN):
        stop(process, grace_s=1.0)


@contextlib.contextmanager
def job_server(
    jar: str,
    master: str,
    folder: Path,
    *,
    settings: Mapping[str, str],
    jvm_flags: Sequence[str] = (),
    java: str = "java",
    waiting: Callable[[], None] = lambda: None,
) -> Iterator[str]:
    """Start a job server for the Flink at ``master`` and yield its address.

    ``folder``: for its settings, files and log. ``waiting`` is called now and then until it is up.
    Raises JobServerError when it does not start.
    """
    (port,) = free_ports(1)
    log = folder / "job-server.log"
    command = [
        find_java(java),
        *open_flags(),
        *jvm_flags,
        "-jar",
        jar,
        f"--flink-master={master}",
        f"--flink-conf-dir={write_settings(folder / 'conf', settings)}",
        f"--artifacts-dir={folder / 'artifacts'}",
        f"--job-port={port}",
        "--artifact-port=0",
        "--expansion-port=0",
    ]
    with child(command, log) as process:
        _wait_for_port(process, port, log, waiting)
        yield f"localhost:{port}"


PORTS = range(20_000, 32_768)
"""Below those that Linux, macOS and Windows give to outgoing connections and to port 0: a Java
needs seconds until it listens, and one of those may be somebody else's by then."""


def free_ports(number: int) -> list[int]:
    """Ports of this machine that nobody listens on now, each another; raises OSError."""
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        for port in random.SystemRandom().sample(PORTS, k=1000):
            if len(found) == number:
                return found
            candidate = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                candidate.bind(("localhost", port))
                found.append(port)
    raise OSError(f"no free port among 1,000 of {PORTS.start} to {PORTS.stop - 1}")


def _wait_for_port(
    process: "subprocess.Popen[bytes]", port: int, log: Path, waiting: Callable[[], None]
) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("localhost", port), 1.0):
            return
        waiting()
        time.sleep(0.2)
    raise JobServerError(f"Beam's Flink job server did not start.{last_words(log)}")


def last_words(log: Path, lines: int = 8) -> str:
    """End of a log, for an error message."""
    try:
        found = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    useful = [line for line in found if line.strip() and not line.startswith("\tat ")]
    if not useful:
        return ""
    return "\nIts log ends with:\n  " + "\n  ".join(line[:300] for line in useful[-lines:])
