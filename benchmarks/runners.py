"""The same input on every runner that is here, compared byte by byte.

  make runners
  python -m benchmarks.runners --only flink

Every line is one run of ``forumprefs curate``, most of them with another number of workers, other
partitions or inputs in another order. ``equal`` means that every file of the dataset folder, the
manifest included, has the sha256 that it has in the first line. Seconds are wall time; memory is
the largest sum of the resident sets of all processes of the run, Java and cluster included.
"""

import argparse
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks._processes import tree_rss
from benchmarks.flink_cluster import Cluster, start_cluster
from pipeline.errors import FlinkUnreachableError
from pipeline.runners.dispatch import PRISM_VARIABLE
from pipeline.runners.flink.job_server import free_ports
from pipeline.runners.flink.rest import ENDED
from pipeline.runners.flink.settings import JAR_VARIABLE

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "samples"
INPUTS = (
    f"stackexchange={SAMPLES / 'sourdough.example.com'}",
    f"stackexchange={SAMPLES / 'tinycode.example.com'}",
    f"reddit={SAMPLES / 'reddit'}",
)
QUICK_JVM = (
    *("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
    *("-XX:+UnlockDiagnosticVMOptions", "-XX:-BytecodeVerificationRemote"),
)
"""Java that starts fast and compiles little, for jobs of seconds."""
QUICK_SETTINGS = {"classloader.resolve-order": "parent-first"}
"""Beam as the cluster itself has it, and not loaded again by every job, which would also end and
start all Python workers between two steps."""
TIMEOUT_S = 1200


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    name: str
    arguments: tuple[str, ...]
    needs: str = ""
    """``flink``, ``prism`` or nothing."""
    reverse: bool = False
    """Inputs in the opposite order."""
    cluster: bool = False
    kill_at: float | None = None
    """Share of finished tasks at which a TaskManager is killed."""


CASES = (
    Case("local", ()),
    Case("local, inputs in another order", (), reverse=True),
    Case("local, --partitions 3", ("--partitions", "3")),
    Case("local, --partitions 200", ("--partitions", "200")),
    Case("local, every bundle done twice", ("--direct_runner_bundle_repeat=1",)),
    Case("local, --workers 2", ("--workers", "2")),
    Case("local, --workers 3, other order", ("--workers", "3"), reverse=True),
    Case("portable (Beam's job service)", ("--runner", "portable")),
    Case("Prism", ("--runner", "prism"), needs="prism"),
    Case("Prism, --partitions 5, other order", ("--runner", "prism", "--partitions", "5"), "prism",
         reverse=True),
    Case("Flink embedded", ("--runner", "flink"), needs="flink"),
    Case("Flink embedded, --workers 2, --partitions 5, other order",
         ("--runner", "flink", "--workers", "2", "--partitions", "5"), "flink", reverse=True),
    Case("Flink cluster", ("--runner", "flink"), needs="flink", cluster=True),
    Case("Flink cluster, --partitions 3, other order", ("--runner", "flink", "--partitions", "3"),
         "flink", reverse=True, cluster=True),
    Case("Flink cluster, a TaskManager killed", ("--runner", "flink"), needs="flink", cluster=True,
         kill_at=0.5),
)  # fmt: skip


@dataclass
class Outcome:
    """What became of one case."""

    seconds: float = 0.0
    memory_mb: float = 0.0
    hashes: dict[str, str] | None = None
    note: str = ""


def find_jar() -> Path | None:
    """The job-server jar: ``$FORUMPREFS_FLINK_JAR``, or one in ``../shared/flink``."""
    return _find(JAR_VARIABLE, "../shared/flink/*.jar")


def find_prism() -> Path | None:
    """The binary of Prism: ``$FORUMPREFS_PRISM``, or the one in ``../shared/prism``."""
    return _find(PRISM_VARIABLE, "../shared/prism/prism")


def _find(variable: str, *patterns: str) -> Path | None:
    if os.environ.get(variable):
        given = Path(os.environ[variable])
        return given if given.is_file() else None
    return next((path for pattern in patterns for path in sorted(ROOT.glob(pattern))), None)


def why_not(needs: str) -> str:
    """Why cases that need ``flink`` or ``prism`` cannot run here, or ''."""
    if needs == "flink":
        if shutil.which("java") is None:
            return "no Java"
        return "" if find_jar() else f"no job-server jar; set {JAR_VARIABLE}"
    if needs == "prism":
        return "" if find_prism() else f"no Prism binary; set {PRISM_VARIABLE}"
    return ""


def command(case: Case, output: Path, cluster: Cluster | None) -> list[str]:
    """The command line of a case."""
    inputs = INPUTS[::-1] if case.reverse else INPUTS
    given = [part for value in inputs for part in ("--input", value)]
    line = [sys.executable, "-m", "pipeline.cli", "curate", *given, "--output", str(output)]
    line += ["--quiet", *case.arguments]
    if case.needs == "flink":
        flags = [*QUICK_JVM, "-Xmx768m"]
        line += ["--flink-job-server-jar", str(find_jar())]
        line += [f"--job_server_jvm_properties={flag}" for flag in flags]
    if case.needs == "prism":
        line.append(f"--prism_location={find_prism()}")
    if cluster is not None:
        line += ["--flink-master", cluster.address]
    return line


@contextlib.contextmanager
def quick_cluster(folder: Path, settings: dict[str, str] | None = None) -> Iterator[Cluster]:
    """Start two TaskManagers with a slot each on ports that nobody uses."""
    port, rpc_port = free_ports(2)
    with start_cluster(
        str(find_jar()),
        folder,
        port=port,
        rpc_port=rpc_port,
        slots=1,
        settings=QUICK_SETTINGS | (settings or {}),
        jvm_flags=QUICK_JVM,
    ) as cluster:
        yield cluster


def run_case(
    case: Case, folder: Path, cluster: Cluster | None = None, *, memory: bool = True
) -> Outcome:
    """Run one case below ``folder``, which is emptied of it afterwards.

    ``memory``: measure it, which takes a look at all processes twice a second.
    """
    output = folder / "dataset"  # the card's title is the folder's name
    shutil.rmtree(output, ignore_errors=True)
    began = time.monotonic()
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            command(case, output, cluster),
            cwd=ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        outcome = Outcome()
        watch: list[Callable[[], None]] = [_memory(outcome, os.getpid())] if memory else []
        if cluster is not None and case.kill_at is not None:
            watch.append(_killer(cluster, case.kill_at, outcome))
        ended = threading.Event()
        threads = [threading.Thread(target=_repeat, args=(ended, look)) for look in watch]
        for thread in threads:
            thread.start()
        try:
            code = process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            ended.set()
            for thread in threads:
                thread.join()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                time.sleep(2)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        log.seek(0)
        words = log.read().strip().splitlines()
    outcome.seconds = time.monotonic() - began
    if code == 0:
        outcome.hashes = hashes(output)
        if case.kill_at is not None and not outcome.note:
            outcome.hashes, outcome.note = None, "it ended before it could be killed"
    else:
        error = next((line for line in words if "error:" in line), words[-1] if words else "")
        outcome.note = f"no end in {TIMEOUT_S} s" if code is None else f"exit {code}: {error}"
    return outcome


def hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file below ``folder``."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _repeat(ended: threading.Event, look: Callable[[], None]) -> None:
    while not ended.wait(0.5):
        look()


def _memory(outcome: Outcome, root: int) -> Callable[[], None]:
    """Note the largest memory of the processes below ``root``, itself left out."""

    def look() -> None:
        outcome.memory_mb = max(outcome.memory_mb, tree_rss(root, itself=False) / 1e6)

    return look


def _killer(cluster: Cluster, share: float, outcome: Outcome) -> Callable[[], None]:
    """Kill the first TaskManager when ``share`` of the tasks is done, and start another."""
    seen = set(cluster.rest.jobs())

    def look() -> None:
        if outcome.note:
            return
        with contextlib.suppress(FlinkUnreachableError):
            for job in cluster.rest.jobs().keys() - seen:
                state = cluster.rest.job_state(job)
                done = state.tasks.get("finished", 0)
                if done >= share * sum(state.tasks.values()) > 0 and state.name not in ENDED:
                    victim = cluster.taskmanagers.pop(0)
                    os.kill(victim.pid, signal.SIGKILL)
                    cluster.add_taskmanager()
                    outcome.note = f"killed with {done} of {sum(state.tasks.values())} tasks done"

    return look


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the matrix and print the table; exit code 1 when bytes differ or a run fails."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.runners",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default="", metavar="WORD", help="runs whose name has WORD")
    parser.add_argument("--markdown", action="store_true", help="print the table for a document")
    given = parser.parse_args(arguments)
    console = Console(stderr=True, highlight=False)
    rows: list[tuple[str, str, str, str, str]] = []
    bad = skipped = 0
    with tempfile.TemporaryDirectory(prefix="forumprefs-runners-") as name:
        folder = Path(name)
        reference = run_case(CASES[0], folder)
        with contextlib.ExitStack() as stack:
            cluster: Cluster | None = None
            for case in CASES:
                if given.only.lower() not in case.name.lower():
                    continue
                if reason := why_not(case.needs):
                    skipped += 1
                    rows.append((case.name, "", "", "skipped", reason))
                    continue
                console.print(f"{case.name} …")
                if case.cluster and cluster is None:
                    cluster = stack.enter_context(quick_cluster(folder / "cluster"))
                outcome = run_case(case, folder, cluster if case.cluster else None)
                equal = outcome.hashes is not None and outcome.hashes == reference.hashes
                bad += not equal
                text = "yes" if equal else "NO"
                figures = f"{outcome.seconds:.0f}", f"{outcome.memory_mb:,.0f}"
                rows.append((case.name, *figures, text, outcome.note))
    _print(rows, markdown=given.markdown)
    ran = f"{len(rows) - skipped} runs of {len(reference.hashes or {})} files"
    print(f"{ran}: {bad} differ or failed" + (f"; {skipped} were skipped" if skipped else ""))
    return 1 if bad else 0


def _print(rows: Sequence[tuple[str, ...]], *, markdown: bool) -> None:
    heads = ("runner", "seconds", "peak MB", "equal", "note")
    if markdown:
        print("| " + " | ".join(heads) + " |\n|---|---:|---:|---|---|")
        for row in rows:
            print("| " + " | ".join(row) + " |")
        return
    table = Table()
    for head in heads:
        table.add_column(head, justify="right" if head in ("seconds", "peak MB") else "left")
    for row in rows:
        table.add_row(*row)
    Console(width=110).print(table)


if __name__ == "__main__":
    sys.exit(main())
