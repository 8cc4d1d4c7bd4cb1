"""docs/cost.md: what a run costs, from the measurements of benchmarks/memory.py.

    python -m benchmarks.memory --posts 1000000 --output out/memory.json
    python -m benchmarks.cores --json out/cores.json
    python -m benchmarks.cost out/memory.json --cores-runs out/cores.json --write docs/cost.md

Measured: processor seconds by step, and bytes on disk at a time. All else is arithmetic on them and
on assumptions, every one of which is an option. The time on one machine with many cores comes from
the model of benchmarks/cores.py.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._core_model import Model, estimate, fit, one_process
from benchmarks._stages import OTHER, STEPS, step_of
from benchmarks.cores import JOBS, load, size_of


def main(given: Sequence[str] | None = None) -> None:
    """Read the measurement, print or write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("measurements", type=Path, help="JSON of benchmarks.memory")
    parser.add_argument(
        "--cores-runs", type=Path, help="JSON of benchmarks.cores; without it, no section on them"
    )
    parser.add_argument("--one-machine-cores", type=int, default=64)
    parser.add_argument("--write", type=Path, help="page to write; without it, it is printed")
    parser.add_argument("--overhead", type=float, default=2.0, help="cluster / local CPU")
    parser.add_argument("--cores", type=int, default=64, help="workers' cores in all")
    parser.add_argument("--busy", type=float, default=0.7, help="share of core time that is work")
    parser.add_argument("--gb-per-core", type=float, default=4.0, help="memory beside a core")
    parser.add_argument("--vm-core-hour", type=float, default=0.05, help="$, Flink's machines")
    parser.add_argument("--dataflow-core-hour", type=float, default=0.056, help="$")
    parser.add_argument("--dataflow-gb-hour", type=float, default=0.003557, help="$, memory")
    parser.add_argument("--dataflow-shuffle-gb", type=float, default=0.011, help="$, data moved")
    parser.add_argument("--stackexchange-posts", type=float, default=60e6)
    parser.add_argument("--reddit-comments", type=float, default=2.5e9, help="of a year")
    parser.add_argument("--reddit-kept", type=float, default=0.3, help="that answer a post itself")
    parser.add_argument(
        "--reddit-comments-per-second", type=float, default=100_000, help="read on one core"
    )
    arguments = parser.parse_args(given)
    runs = json.loads(arguments.measurements.read_text(encoding="utf-8"))
    runs = [run for run in runs if run["mode"] == "disk" and run["workers"] == 1]
    page = make_page(max(runs, key=lambda run: run["posts"]), runs, arguments)
    if arguments.write:
        arguments.write.write_text(page, encoding="utf-8")
    else:
        print(page)


def by_step(run: dict[str, Any]) -> dict[str, float]:
    """CPU seconds by step."""
    seconds: dict[str, float] = defaultdict(float)
    for stage in run["stages"]:
        seconds[step_of(stage["name"])] += stage["cpu_seconds"]
    seconds[OTHER] += run["cpu_seconds"] - sum(seconds.values())
    return seconds


def make_page(run: dict[str, Any], runs: list[dict[str, Any]], a: argparse.Namespace) -> str:
    """The page as Markdown."""
    seconds = by_step(run)
    millions = run["posts"] / 1e6
    # What stages report are references: the blocks themselves are in files of the workers.
    cpu, moved = run["cpu_seconds"] / millions, run["peak_disk_mb"] * 1e6 / millions
    lines = [
        "# Cost",
        "",
        "Written by `python -m benchmarks.cost` from what `python -m benchmarks.memory` measured;",
        "every assumption is an option of it (`--help`).",
        "",
        "## Measured",
        "",
        f"{run['posts']:,} generated posts ({run['bytes_in'] / 1e6:,.0f} MB of XML), the local",
        "runner in one process, processor time on a shared machine. Per million posts:",
        "",
        "| step | CPU seconds |",
        "|---|---:|",
    ]
    for step in [*dict.fromkeys(step for _, step in STEPS), OTHER]:
        lines.append(f"| {step} | {seconds[step] / millions:,.0f} |")
    lines += [
        f"| **all** | **{cpu:,.0f}** |",
        "",
        "| posts | peak memory | on disk at a time, output included "
        "| CPU seconds | per million posts |",
        "|---:|---:|---:|---:|---:|",
        *(
            f"| {one['posts']:,} | {one['peak_mb']:,} MB "
            f"| {one['peak_disk_mb']:,} MB | {one['cpu_seconds']:,.0f} "
            f"| {one['cpu_seconds'] / one['posts'] * 1e6:,.0f} |"
            for one in sorted(runs, key=lambda one: one["posts"])
        ),
        "",
        "## Estimated",
        "",
        "Nothing below was run. Assumed: a cluster spends "
        f"{a.overhead:g} times the processor time of the local runner (rows cross process borders)",
        f"on {a.cores} cores that are {a.busy:.0%} busy, with {a.gb_per_core:g} GB each. Prices in "
        "US dollars, from memory of",
        "Google's public list for us-central1 batch jobs in 2025 and not looked up again (check",
        "https://cloud.google.com/dataflow/pricing): "
        f"{a.dataflow_core_hour:g} a core hour, {a.dataflow_gb_hour:g} a GB hour,",
        f"{a.dataflow_shuffle_gb:g} a GB shuffled. Flink: {a.vm_core_hour:g} a core hour for its "
        "machines, memory included.",
        "What is on disk at a time is taken for what Dataflow shuffles, of which it is the least.",
        "StackExchange's posts cost what generated ones do. Of a year of Reddit,",
        f"{a.reddit_comments / 1e9:g} billion comments, {a.reddit_kept:.0%} answer a submission "
        "and cost what a post does; the others",
        f"are only read, {a.reddit_comments_per_second:,.0f} a second and core.",
        "",
        "| input | posts kept | core hours | hours | Flink, $ | Dataflow, $ |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    reading = a.reddit_comments / a.reddit_comments_per_second
    for name, posts, extra in (
        ("all of StackExchange", a.stackexchange_posts, 0.0),
        ("a year of Reddit", a.reddit_comments * a.reddit_kept, reading),
    ):
        work = (posts / 1e6 * cpu + extra) * a.overhead / 3600
        hours = work / a.busy
        gigabytes = posts / 1e6 * moved / 1e9
        flink = hours * a.vm_core_hour
        dataflow = hours * (a.dataflow_core_hour + a.gb_per_core * a.dataflow_gb_hour)
        dataflow += gigabytes * a.dataflow_shuffle_gb
        lines.append(
            f"| {name} | {posts / 1e6:,.0f} M | {hours:,.0f} | {hours / a.cores:,.1f} "
            f"| {flink:,.0f} | {dataflow:,.0f} |"
        )
    lines += [
        "",
        "Disks, network between zones, start-up and retries are excluded. What bounds the time is",
        "not the work but its widest single unit: one compressed file is decompressed by one "
        "worker, a third",
        "of the work of reading it, and one worker joins the components (see [design](design.md)).",
        "",
    ]
    if a.cores_runs:
        lines += one_machine(fit(load(a.cores_runs)), a)
    return "\n".join(lines)


def one_machine(model: Model, a: argparse.Namespace) -> list[str]:
    """What stackoverflow.com takes on one machine with many cores."""
    name, cores = "stackoverflow.com", a.one_machine_cores
    job = JOBS[name]
    size = size_of(model, job, cores)
    lines = [
        f"## {cores} cores, {name} (an estimate)",
        "",
        "Nothing of it was run. Slopes from two cores ([cores](cores.md)), for "
        f"{job.posts / 1e6:,.1f} M posts like the generated",
        f"ones, {size.bytes / 1e9:,.0f} GB of XML with {size.scanned / 1e9:,.0f} GB of "
        "PostHistory, which is only scanned; each process",
        "has a core of its own, and disks keep up.",
        "",
        "| machine | input | unpacking or hashing, min | parent, min | workers, min | in all, h "
        "| core hours | $ |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for archive, kind in ((True, "7z"), (False, "XML, unpacked")):
        found = estimate(model, size, archive=archive)
        workers = (found.start_s + sum(found.stages_s.values())) / 60
        for machine, count, hours, parts in (
            (
                f"{cores} cores",
                cores,
                found.total_s / 3600,
                (found.inputs_s / 60, found.parent_s / 60, workers),
            ),
            ("1 core, one process", 1, one_process(model, size, archive=archive) / 3600, None),
        ):
            cells = [f"{part:,.0f}" for part in parts] if parts else ["", "", ""]
            price = hours * count * a.vm_core_hour
            lines.append(
                f"| {machine} | {kind} | {' | '.join(cells)} | {hours:,.1f} "
                f"| {hours * count:,.0f} | {price:,.1f} |"
            )
    work = sum(stage.per_post_s for stage in model.stages) * 1e6
    lines += [
        "",
        f"The slopes: workers {work:.0f} µs a post, the parent "
        f"{model.parent_per_post_s * 1e6:.1f} µs a post, one process",
        f"{model.one_process_per_post_s * 1e6:.0f} µs a post; unpacking, for a GB of XML, "
        f"{model.unpack_serial_per_gb_s:.1f} s in turn for each archive and "
        f"{model.unpack_divided_per_gb_s:.0f} s of decoders.",
        "",
    ]
    return lines


if __name__ == "__main__":
    main()
