"""Processor time of `curate` on the local runner, stage by stage and process by process.

Stages run one after the other. While one runs, the parent cuts and stores what the workers get and
give, which no number of workers shortens; the workers share the rest. So the *critical path* of a
run is the sum over its stages of what the busiest worker used, and all that the parent used. With
enough cores a run takes about this long, and unlike wall clock it hardly depends on what else the
machine does.

Threads of the parent that unpack and hash inputs are workers, too, of three kinds: each archive has
one that reads and orders; blocks are decoded and written by others; files of a folder are hashed by
others again. Of each kind, the busiest counts.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks._checkouts import surroundings_of
from benchmarks._processes import Process, tree_use

START = "start"
"""From the first import to the end of the first stage, in which the workers are started."""
END = "end"
"""After the last stage: adding up, checks, manifest, report."""

THREADS = re.compile(r"(unpack|decode|write|hashing)_\d+")
"""Threads of the parent that are workers, by the names that their executors give them."""

STEPS = (
    ("Spread-ranges", "read the tables"),
    ("Join-votes", "join votes, closings, names"),
    ("Join-names", "join votes, closings, names"),
    ("Assemble-threads", "threads, Markdown, filters, language, MinHash"),
    ("Find-duplicates", "find and verify duplicates"),
    ("Find-overlaps", "find threads that share text"),
    ("Cluster-questions", "clusters of questions"),
    ("Resolve-duplicates", "remove duplicates, pair"),
    ("Write-tables", "write shards"),
)
"""Part of a stage's or shuffle's name, and the step that it belongs to; the first that fits."""

OTHER = "the rest of the graph"


def step_of(name: str) -> str:
    """Name the step of a stage, by what it reads, or of a shuffle."""
    head = name.lstrip("(").split("+")[0].replace(" ", "-")
    if head.startswith("ref_PCollection"):  # the rows that wait for the plan of the shards
        head = "Write-tables"
    return next((step for part, step in STEPS if part in head), OTHER)


def stable_name(name: str) -> str:
    """Name a stage by what it reads and then its other steps, sorted.

    Beam joins steps to stages in an order that changes from process to process, and names a stage
    by it, with brackets.
    """
    steps = sorted({step.strip("()") for step in name.split("+")})
    reads = [step for step in steps if step.endswith("/Read")]
    head = (reads or steps)[0]
    return "+".join([head, *(step for step in steps if step != head)])


class StageTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Processor seconds of one stage; what its name's parts run several times is added up."""

    name: str
    parent_s: float
    """Of the parent, from the end of the stage before, without `threads_s`, and of processes that
    wait for others of their own (what starts the workers)."""
    workers_s: tuple[float, ...] = ()
    """Of each worker process, largest first; nothing where the parent works alone."""
    threads_s: dict[str, tuple[float, ...]] = {}
    """Of each thread of the parent that is a worker (`THREADS`) and ended in this stage, by kind,
    largest first."""
    bundles: int = 0
    written_bytes: int = 0
    """Shuffled, or kept for later stages."""
    units_s: tuple[float, ...] = ()
    """Of each bundle, where units were asked for: the parent's thread that worked on it."""

    @property
    def critical_s(self) -> float:
        """What the stage takes with as many cores as processes."""
        threads = sum(max(each) for each in self.threads_s.values())
        return self.parent_s + threads + max(self.workers_s, default=0.0)

    @property
    def cpu_s(self) -> float:
        threads = sum(sum(each) for each in self.threads_s.values())
        return self.parent_s + threads + sum(self.workers_s)


class JobTimes(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the job."""

    pairs: int
    stages: tuple[StageTimes, ...]
    """In the order in which they ended first; the first is `START`, the last `END`."""

    @property
    def critical_s(self) -> float:
        return sum(stage.critical_s for stage in self.stages)

    @property
    def cpu_s(self) -> float:
        return sum(stage.cpu_s for stage in self.stages)

    @property
    def parent_s(self) -> float:
        return sum(stage.parent_s for stage in self.stages)


class _Recorder:
    """Takes the time of all processes whenever a stage ends."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._parent_s = 0.0
        self._workers: dict[Process, float] = {}
        self._stages: dict[str, dict[str, Any]] = {}
        self._ended: list[tuple[str, float]] = []
        self.units: dict[str, list[float]] = defaultdict(list)

    def watch_threads(self) -> None:
        """Take the time of every thread that is a worker when it ends; /proc forgets it then."""
        once = threading.Thread.run

        def run(thread: threading.Thread) -> None:
            try:
                once(thread)
            finally:
                if found := THREADS.fullmatch(thread.name):
                    self._ended.append((found[1], time.thread_time()))

        threading.Thread.run = run  # type: ignore[method-assign]

    def __call__(self, report: Any) -> None:
        """Take the report of a stage that has ended."""
        name = stable_name(report.name)
        # Which of those that read nothing comes first changes from process to process, too.
        if not any(step.endswith("/Read") for step in name.split("+")):
            self.units[START] += self.units.pop(name, [])
            name = START
        self._note(name, report.bundles, report.written)

    def _note(self, name: str, bundles: int, written: dict[str, int]) -> None:
        uses = tree_use(self._pid)
        parent_s = time.process_time()
        ended, self._ended = self._ended, []
        serial_s = max(0.0, parent_s - self._parent_s - sum(used for _, used in ended))
        self._parent_s = parent_s
        starters = {use.parent for use in uses.values()}
        workers = {}
        for process, use in uses.items():
            if process.pid == self._pid:
                continue
            used_s = max(0.0, use.cpu_s - self._workers.get(process, 0.0))
            self._workers[process] = use.cpu_s
            if process.pid in starters:
                serial_s += used_s
            else:
                workers[process] = used_s
        stage = self._stages.setdefault(
            name,
            {
                "parent_s": 0.0,
                "threads": defaultdict(list),
                "rounds": [],
                "bundles": 0,
                "written_bytes": 0,
            },
        )
        for kind, used_s in ended:
            stage["threads"][kind].append(used_s)
        stage["parent_s"] += serial_s
        stage["rounds"].append(workers)
        stage["bundles"] += bundles
        stage["written_bytes"] += sum(written.values())

    def end(self, pairs: int) -> JobTimes:
        """Close the account when the job has returned."""
        self._note(END, 0, {})
        stages = []
        for name, stage in self._stages.items():
            used: dict[Process, float] = defaultdict(float)
            for workers in stage["rounds"]:
                for process, cpu_s in workers.items():
                    used[process] += cpu_s
            stages.append(
                StageTimes(
                    name=name,
                    parent_s=round(stage["parent_s"], 4),
                    workers_s=tuple(sorted((round(s, 4) for s in used.values()), reverse=True)),
                    threads_s={
                        kind: tuple(sorted((round(s, 4) for s in each), reverse=True))
                        for kind, each in sorted(stage["threads"].items())
                    },
                    bundles=stage["bundles"],
                    written_bytes=stage["written_bytes"],
                    units_s=tuple(
                        sorted((round(s, 6) for s in self.units.get(name, ())), reverse=True)
                    ),
                )
            )
        return JobTimes(pairs=pairs, stages=tuple(stages))


def time_job(inputs: Sequence[str], output: Path, *arguments: str, units: bool = False) -> JobTimes:
    """Run ``curate`` in this process and return the times of its stages.

    ``inputs``: as after ``--input``. ``arguments``: more of the command line. ``units``: cut what
    every stage gets as fine as the runner can, a key or a range a bundle, and time each; one
    worker only. Raises SystemExit where the command fails.
    """
    skip_unused_packages()
    from pipeline.cli import main
    from pipeline.runners import local

    recorder = _Recorder()
    recorder.watch_threads()

    class Reporting(local.DiskShuffleRunner):  # type: ignore[misc]
        def __init__(self, *given: Any, **options: Any) -> None:
            finest = {"piece_bytes": 1} if units else {}
            super().__init__(*given, report=recorder, **options | finest)

    if units:
        _time_bundles(recorder)
    # The command line has no option for it, and needs none: it is for benchmarks.
    local.DiskShuffleRunner = Reporting  # type: ignore[misc]
    named = [part for value in inputs for part in ("--input", value)]
    line = ["curate", *named, "--output", str(output), "--quiet", "--overwrite", *arguments]
    code = main(line)
    if code:
        raise SystemExit(code)
    manifest = msgspec.json.decode((output / "manifest.json").read_bytes())
    return recorder.end(sum(manifest["accounting"]["pairs"].values()))


def skip_unused_packages() -> None:
    """Do without packages that nothing needs, as the command ``forumprefs`` does.

    Before Beam is imported. A checkout may be of a state that skipped none.
    """
    if importlib.util.find_spec("pipeline.runners.unused_packages"):
        from pipeline.runners.unused_packages import skip_packages

        skip_packages()


def _time_bundles(recorder: _Recorder) -> None:
    """Time each bundle of a worker that is a thread of this process."""
    from apache_beam.runners.portability.fn_api_runner import execution, fn_runner

    once = fn_runner.BundleManager.process_bundle

    def timed(self: Any, *given: Any, **options: Any) -> Any:
        began = time.thread_time()
        result = once(self, *given, **options)
        name = stable_name(self.bundle_context_manager.stage.name)
        recorder.units[name].append(time.thread_time() - began)
        return result

    fn_runner.BundleManager.process_bundle = timed
    for buffer in (execution.ListBuffer, execution.GroupingBuffer):
        buffer.partition = _finest(buffer.partition)


def _finest(partition: Any) -> Any:
    """Have one of Beam's buffers cut into single elements."""

    def cut(self: Any, n: int) -> Any:
        return partition(self, 4096)

    return cut


def main() -> None:
    """Be the measured process: run one job, print its times as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", action="append", required=True, metavar="KIND=PATH")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--units", action="store_true")
    arguments, rest = parser.parse_known_args()
    times = time_job(arguments.input, arguments.output, *rest, units=arguments.units)
    print(msgspec.json.encode(times).decode())


def time_in_process(
    inputs: Sequence[str],
    output: Path,
    *arguments: str,
    units: bool = False,
    checkout: Path | None = None,
) -> JobTimes:
    """`time_job` in a process of its own. Raises SystemExit where it fails.

    ``checkout``: another one, with an environment in its ``.venv``, whose packages are measured
    with the benchmarks of this one; None: this one. Paths of inputs are absolute.
    """
    with surroundings_of(checkout) as where:
        line = [where.python, "-m", "benchmarks._stages", "--output", str(output.resolve())]
        line += [part for value in inputs for part in ("--input", value)]
        line += ["--units"] * units
        done = subprocess.run(
            [*line, *arguments], stdout=subprocess.PIPE, text=True, **where.options
        )
    if done.returncode:
        raise SystemExit(f"{' '.join(line)}: exit code {done.returncode}")
    return msgspec.json.decode(done.stdout.strip().splitlines()[-1], type=JobTimes)


if __name__ == "__main__":
    main()
