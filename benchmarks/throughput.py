"""Processor time of the whole job, against a bare loop over the same functions.

    python -m benchmarks.throughput --posts 100000 --rounds 3
    python -m benchmarks.throughput --posts 100000 --modes beam1,beam2,flink2
    python -m benchmarks.throughput --posts 100000 --before ../forumprefs-0.1

Generates a dump, then runs the modes in turn, each in a process of its own, round after round:

- `loop`: a plain Python loop over the project's functions that keeps everything in memory
  (`loop_gc`: with the garbage collector set as the job sets it);
- `beamN`: the job on the local runner, `beam1` in one process, `beam2` with two worker processes;
- `flinkN`: the job on a Flink that is started for it, with N workers (wants Java and
  FORUMPREFS_FLINK_JAR, as docs/runners.md says).

All must find the same number of pairs. What is quoted is processor time, user and system, of all
processes together, because wall clock says little on a shared machine; also wall clock, and peak
memory of the process tree with shared pages counted once (Linux's PSS, looked at once a second).
For `beamN` there is the critical path: the sum over the stages of what the busiest worker used,
and all that the parent used (benchmarks/_stages.py), which is what the job takes when each process
has a core of its own. Ratios are of medians. `--json` keeps everything, with each stage of each
run.

`--before DIR` runs each mode also with the packages of another checkout, which has an environment
of its own in DIR/.venv, in turn with this one, so that both meet the same minutes. The benchmarks
are those of this checkout for both; the other one need not have any.

`--ceiling` also runs two copies of the bare loop at once: what two workers could gain at most on
this machine, whose cores may share caches or be two threads of one.
"""

import argparse
import contextlib
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks._checkouts import check_checkout, surroundings_of
from benchmarks._processes import watched
from benchmarks._stages import (
    END,
    START,
    JobTimes,
    StageTimes,
    skip_unused_packages,
    step_of,
    time_job,
)

MODE = re.compile(r"(loop|loop_gc|(beam|flink)[1-9]\d*)")


class ProcessTimes(msgspec.Struct, frozen=True, kw_only=True):
    """One process of a run."""

    name: str
    cpu_s: float


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one mode."""

    pairs: int
    wall_s: float
    cpu_s: float
    """User and system, of all processes."""
    peak_bytes: int
    """Of all processes, shared pages counted once."""
    processes: tuple[ProcessTimes, ...]
    """As they were last seen, largest first; those of less than 0.1 s are left out."""
    job: JobTimes | None = None
    """Stages; only of the local runner."""

    @property
    def critical_s(self) -> float | None:
        return None if self.job is None else self.job.critical_s


BEFORE = "before:"
"""Stands before a mode that is run with another checkout."""
_NO_OPTIONS: Mapping[str, Any] = {}


def measure(command: Sequence[str], options: Mapping[str, Any] = _NO_OPTIONS) -> Run:
    """Run a command that prints a number of pairs, or JSON of JobTimes, on its last line.

    ``options``: of subprocess.Popen.
    """
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)
    assert process.stdout is not None
    with watched(process.pid) as watch:
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    last = printed.strip().splitlines()[-1]
    job = msgspec.json.decode(last, type=JobTimes) if last.startswith("{") else None
    uses = sorted(watch.uses.values(), key=lambda use: -use.cpu_s)
    return Run(
        pairs=int(last) if job is None else job.pairs,
        wall_s=round(time.perf_counter() - began, 2),
        # The first misses children that nobody waited for, the second what came after a last look.
        cpu_s=round(max(usage.ru_utime + usage.ru_stime, watch.cpu_s), 2),
        peak_bytes=watch.pss_bytes,
        processes=tuple(
            ProcessTimes(name=use.name, cpu_s=round(use.cpu_s, 2))
            for use in uses
            if use.cpu_s >= 0.1
        ),
        job=job,
    )


def run_mode(mode: str, dump: Path, output: Path) -> str:
    """Be a measured process; returns the line for `measure`."""
    skip_unused_packages()
    if mode.startswith("loop"):
        from benchmarks._bare_loop import bare_loop
        from pipeline.runners.worker import tune_gc

        if mode == "loop_gc":
            tune_gc()
        return str(bare_loop(dump, output))
    dataset, workers = output / "dataset", re.sub(r"\D", "", mode)
    inputs = [f"stackexchange={dump}"]
    if mode.startswith("beam"):
        times = time_job(inputs, dataset, "--workers", workers)
        return msgspec.json.encode(times).decode()
    from pipeline.cli import main as curate

    line = ["curate", "--input", *inputs, "--output", str(dataset), "--quiet", "--overwrite"]
    if code := curate([*line, "--runner", "flink", "--workers", workers]):
        raise SystemExit(code)
    manifest = json.loads((dataset / "manifest.json").read_text(encoding="utf-8"))
    return str(sum(manifest["accounting"]["pairs"].values()))


def main() -> None:
    """Measure, or be one of the measured processes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--posts", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dump", type=Path, help="a folder to use instead of a generated one")
    parser.add_argument("--modes", default="loop,loop_gc,beam1,beam2", help="A,B,…")
    parser.add_argument("--before", type=Path, metavar="DIR", help="another checkout, with .venv")
    parser.add_argument("--json", type=Path, help="file for all that was measured")
    parser.add_argument("--ceiling", action="store_true", help="also measure the machine")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        print(run_mode(arguments.run, arguments.dump, arguments.output))
        return
    modes = arguments.modes.split(",")
    if wrong := [mode for mode in modes if not MODE.fullmatch(mode)]:
        parser.error(f"--modes {wrong[0]}: it is one of loop, loop_gc, beamN, flinkN")
    if arguments.before:
        check_checkout(arguments.before)
    with tempfile.TemporaryDirectory() as temporary:
        dump = (arguments.dump or generate(Path(temporary), arguments.posts)).resolve()
        runs = take_turns(dump, Path(temporary), modes, arguments.rounds, arguments.before)
        posts = count_posts(dump)
        if arguments.json:
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            kept = {"posts": posts, "runs": runs}
            arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(kept)) + b"\n")
        report(runs, posts)
        if arguments.ceiling:
            print(f"Two bare loops at once / one: {ceiling(dump, Path(temporary)):.2f}")


def generate(folder: Path, posts: int, seed: int = 1) -> Path:
    """Write a dump below ``folder`` and return its site's folder."""
    command = [sys.executable, "-m", "benchmarks.generate_dump", "--posts", str(posts)]
    command += ["--seed", str(seed), "--output", str(folder)]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return folder / "generated.example.com"


def count_posts(dump: Path) -> int:
    """Posts of a dump's Posts.xml."""
    with (dump / "Posts.xml").open("rb") as file:
        return sum(line.count(b"<row ") for line in file)


def take_turns(
    dump: Path,
    temporary: Path,
    modes: Sequence[str],
    rounds: int,
    before: Path | None = None,
) -> dict[str, list[Run]]:
    """Run every mode once a round, so that a busy minute of the machine meets all of them.

    ``before``: another checkout, whose runs are under the same names after `BEFORE`.
    """
    runs: dict[str, list[Run]] = defaultdict(list)
    with contextlib.ExitStack() as stack:
        places = {"": stack.enter_context(surroundings_of(None))}
        if before is not None:
            places[BEFORE] = stack.enter_context(surroundings_of(before))
        for _, mode, (prefix, place) in itertools.product(range(rounds), modes, places.items()):
            output = temporary / (prefix.strip(":") + mode)
            output.mkdir(exist_ok=True)
            command = [place.python, "-m", "benchmarks.throughput", "--run", mode]
            command += ["--dump", str(dump), "--output", str(output)]
            run = measure(command, place.options)
            runs[prefix + mode].append(run)
            say = f"  {prefix}{mode}: {run.cpu_s:.1f} CPU s, {run.wall_s:.1f} s"
            print(say, file=sys.stderr, flush=True)
    found = {run.pairs for several in runs.values() for run in several}
    if len(found) != 1:
        raise SystemExit(f"the number of pairs differs: {sorted(found)}")
    return runs


def ceiling(dump: Path, temporary: Path) -> float:
    """Return how much more two processes do than one on this machine, at best 2."""

    def seconds(copies: int) -> float:
        began = time.perf_counter()
        command = [sys.executable, "-m", "benchmarks.throughput", "--run", "loop_gc"]
        processes = []
        for copy in range(copies):
            output = temporary / f"ceiling-{copy}"
            output.mkdir(exist_ok=True)
            arguments = [*command, "--dump", str(dump), "--output", str(output)]
            processes.append(subprocess.Popen(arguments, stdout=subprocess.DEVNULL))
        for process in processes:
            process.wait()
        return time.perf_counter() - began

    return 2 * seconds(1) / seconds(2)


def report(runs: Mapping[str, Sequence[Run]], posts: int) -> None:
    """Print the tables and the ratios."""
    print(f"\n{posts:,} posts; seconds are min, median, max\n")
    print(
        "| | CPU seconds | posts per CPU second | critical path, s | wall clock, s | peak MB "
        "| B/post | pairs |"
    )
    print("|---|---|---:|---|---|---:|---:|---:|")
    for mode, several in runs.items():
        peak = max(run.peak_bytes for run in several)
        critical = [run.critical_s for run in several if run.critical_s is not None]
        print(
            f"| {mode} | {spread([run.cpu_s for run in several])} "
            f"| {posts / median(several, cpu):,.0f} | {spread(critical)} "
            f"| {spread([run.wall_s for run in several])} "
            f"| {peak / 1e6:,.0f} | {peak / posts:,.0f} | {several[0].pairs:,} |"
        )
    print()
    for line in ratios(runs):
        print(line)
    print("\nCPU seconds of each process, in the last round:\n")
    for mode, several in runs.items():
        each = ", ".join(f"{one.name} {one.cpu_s:.1f}" for one in several[-1].processes[:12])
        print(f"- {mode}: {each}")
    for mode, several in runs.items():
        if several[-1].job is not None and not mode.endswith("beam1"):
            print(f"\nSteps of {mode}, CPU seconds, medians:\n")
            print("| step | parent | busiest worker | all workers |\n|---|---:|---:|---:|")
            for row in by_step([run.job for run in several if run.job is not None]):
                print(row)


def ratios(runs: Mapping[str, Sequence[Run]]) -> list[str]:
    """Lines that compare the modes."""
    lines = []
    for loop, name in (("loop", "bare loop"), ("loop_gc", "bare loop with our collector setting")):
        if {loop, "beam1"} <= runs.keys():
            ratio = median(runs[loop], cpu) / median(runs["beam1"], cpu)
            lines.append(f"Work per CPU second, Beam in one process / {name}: {ratio:.2f}")
    for mode, several in runs.items():
        if BEFORE + mode in runs:
            earlier = runs[BEFORE + mode]
            ratio = median(earlier, cpu) / median(several, cpu)
            lines.append(f"CPU, {mode}, before / now: {ratio:.2f}")
            if all(run.job is not None for run in (*several, *earlier)):
                ratio = median(earlier, critical) / median(several, critical)
                lines.append(f"Critical path, {mode}, before / now: {ratio:.2f}")
        if "beam1" not in runs or not re.fullmatch(r"(beam|flink)\d+", mode) or mode == "beam1":
            continue
        ratio = median(several, cpu) / median(runs["beam1"], cpu)
        lines.append(f"CPU, {mode} / beam1: {ratio:.2f}")
        if mode.startswith("beam"):
            ratio = median(runs["beam1"], critical) / median(several, critical)
            lines.append(f"Critical path, beam1 / {mode}: {ratio:.2f}")
    return lines


def by_step(jobs: Sequence[JobTimes]) -> list[str]:
    """Rows of the parent's and the workers' time for each step of the job."""
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for job in jobs:
        steps: dict[str, list[StageTimes]] = defaultdict(list)
        for stage in job.stages:
            own = stage.name in (START, END)
            steps[stage.name if own else step_of(stage.name)].append(stage)
        steps["**all**"] = list(job.stages)
        for step, stages in steps.items():
            rows[step].append(
                {
                    "parent": sum(stage.parent_s for stage in stages),
                    "busiest": sum(max(stage.workers_s, default=0.0) for stage in stages),
                    "all": sum(sum(stage.workers_s) for stage in stages),
                }
            )
    return [
        f"| {step} | "
        + " | ".join(
            f"{statistics.median(one[column] for one in found):.1f}"
            for column in ("parent", "busiest", "all")
        )
        + " |"
        for step, found in rows.items()
    ]


def cpu(run: Run) -> float:
    """Processor seconds of a run."""
    return run.cpu_s


def critical(run: Run) -> float:
    """Critical path of a run on the local runner."""
    return run.critical_s or 0.0


def median(runs: Sequence[Run], figure: Callable[[Run], float]) -> float:
    """Median of a figure over the rounds."""
    return statistics.median(map(figure, runs))


def spread(figures: Sequence[float]) -> str:
    """Smallest, median and largest."""
    if not figures:
        return ""
    return f"{min(figures):.1f}, {statistics.median(figures):.1f}, {max(figures):.1f}"


if __name__ == "__main__":
    main()
