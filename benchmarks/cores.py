"""How long `curate` takes on 8 to 128 cores, computed from runs on two.

    python -m benchmarks.cores --json out/cores.json
    python -m benchmarks.cores --from out/cores.json --before out/earlier.json --write docs/cores.md
    python -m benchmarks.cores --json out/cores.json --checkout ../forumprefs-0.1 \\
        --checkout-json out/earlier.json

The first measures: generated dumps of three sizes with two and four workers, one run in one
process, one in which every unit of work is timed, one from a 7z archive (about six minutes on two
idle cores). Slopes are fitted to all of them (benchmarks/_core_model.py), and once without the
largest dump, whose run is then computed and compared with its measured critical path: the error of
the model is printed with its table. The second only computes, and writes a page and its plot. The
third measures the packages of another checkout, which has an environment of its own in .venv, in
turn with this one; the benchmarks are those of this checkout for both.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks._checkouts import check_checkout
from benchmarks._core_model import (
    SCAN_PER_GB_S,
    MeasuredRun,
    Model,
    Size,
    estimate,
    fit,
    one_process,
)
from benchmarks._stages import step_of, time_in_process

CORES = (1, 2, 4, 8, 16, 32, 64, 128)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job to compute the time of. Posts cost what generated ones do, whatever their XML."""

    posts: int
    tables: dict[str, int] = {}
    """Bytes of XML by table, each an archive of its own; none: as generated, all in one archive."""


STACKOVERFLOW = Job(
    posts=59_820_000,
    tables={
        "Posts": 105_000_000_000,
        "PostHistory": 176_000_000_000,
        "Votes": 21_900_000_000,
        "Users": 4_500_000_000,
        "PostLinks": 700_000_000,
    },
)
"""Rows and archives as a study of openZIM counted them: 59.82 M posts, 105 GB of XML from 21 GB of
7z. PostHistory (35.2 GB of 7z, 160.79 M rows) is taken to unpack as Posts does. The others are
238.98 M votes, 22.48 M users and 6.55 M links with the bytes that a generated row has."""
JOBS = {
    "300,000 posts": Job(posts=300_000),
    "3 M posts": Job(posts=3_000_000),
    "stackoverflow.com": STACKOVERFLOW,
}
SIZES = (30_000, 100_000, 300_000)
LARGEST_TABLE = 0.78
"""Share of Posts.xml in a generated dump's bytes."""
MANY_PARTITIONS = 128
"""Where the largest dump has far fewer by itself: tells what a block costs. So many that blocks are
still over 4 kB, and go by reference, as they do in the jobs that are estimated."""


def measure(
    dumps: Path, work: Path, sizes: Sequence[int], checkouts: Sequence[Path | None] = (None,)
) -> list[list[MeasuredRun]]:
    """Run all that `fit` needs, for each of the checkouts in turn; None: this one."""
    small, middle, large = sizes
    for posts in sizes:
        generate(dumps, posts)
    packed = pack(dumps / str(small) / "generated.example.com", work / "generated.example.com.7z")
    cases: list[tuple[int, int, dict[str, Any]]] = [
        (small, 2, {}),
        (small, 2, {"archive": True}),
        (middle, 1, {}),
        (middle, 1, {"units": True}),
        (middle, 2, {}),
        (middle, 4, {}),
        (large, 2, {}),
        (large, 2, {"partitions": MANY_PARTITIONS}),
    ]
    runs: list[list[MeasuredRun]] = [[] for _ in checkouts]
    for posts, workers, more in cases:
        dump = dumps / str(posts) / "generated.example.com"
        given = packed if "archive" in more else dump
        for checkout, found in zip(checkouts, runs, strict=True):
            found.append(run(dump, given, posts, workers, work, checkout=checkout, **more))
    return runs


def run(
    dump: Path,
    given: Path,
    posts: int,
    workers: int,
    work: Path,
    *,
    archive: bool = False,
    units: bool = False,
    partitions: int = 0,
    checkout: Path | None = None,
) -> MeasuredRun:
    """Run the job once on ``given``, which is ``dump`` or an archive of it."""
    tables = [path.stat().st_size for path in dump.glob("*.xml")]
    size = Size(
        posts=posts,
        bytes=sum(tables),
        largest_table=max(tables),
        workers=workers,
        partitions=partitions,
    )
    arguments = ["--workers", str(workers)]
    if partitions:
        arguments += ["--partitions", str(partitions)]
    job = time_in_process(
        [f"stackexchange={given.resolve()}"],
        work / "dataset",
        *arguments,
        units=units,
        checkout=checkout,
    )
    print(f"  {size}: critical path {job.critical_s:.1f} s", file=sys.stderr, flush=True)
    return MeasuredRun(size=size, job=job, archive=archive, units=units)


def generate(dumps: Path, posts: int) -> None:
    """Make a dump in ``dumps/POSTS``, where there is none yet."""
    if not (dumps / str(posts) / "generated.example.com" / "Posts.xml").is_file():
        command = [sys.executable, "-m", "benchmarks.generate_dump", "--seed", "1"]
        command += ["--posts", str(posts), "--output", str(dumps / str(posts))]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def pack(dump: Path, path: Path) -> Path:
    """Make a 7z archive of a dump with BZip2, as those of Stack Exchange are."""
    import py7zr

    with py7zr.SevenZipFile(path, "w", filters=[{"id": py7zr.FILTER_BZIP2}]) as archive:
        for table in sorted(dump.glob("*.xml")):
            archive.write(table, table.name)
    return path


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """The model against a run that it was not fitted to."""

    size: Size
    computed_s: float
    measured_s: float
    """Critical path."""

    @property
    def error(self) -> float:
        return self.computed_s / self.measured_s - 1


def hold_out(runs: Sequence[MeasuredRun]) -> Check:
    """Fit to the runs of smaller dumps, and compute that of the largest."""
    plain = (one for one in runs if not one.size.partitions)
    held = max(plain, key=lambda one: (one.size.posts, one.size.workers))
    model = fit([one for one in runs if one.size.posts < held.size.posts])
    return Check(
        size=held.size,
        computed_s=estimate(model, held.size).total_s,
        measured_s=held.job.critical_s,
    )


def size_of(model: Model, job: Job, workers: int) -> Size:
    """The job with so many workers."""
    if job.tables:
        return Size(
            posts=job.posts,
            bytes=sum(job.tables.values()),
            workers=workers,
            scanned=job.tables["PostHistory"],
            largest_table=max(job.tables.values()),
            largest_archive=max(job.tables.values()),
        )
    size = round(job.posts * model.bytes_per_post)
    return Size(
        posts=job.posts,
        bytes=size,
        workers=workers,
        largest_table=round(size * LARGEST_TABLE),
    )


def speed_up(model: Model, job: Job, workers: int, *, archive: bool = False) -> float:
    """How many times as fast as one process on one core."""
    if workers == 1:
        return 1.0
    size = size_of(model, job, workers)
    return (
        one_process(model, size, archive=archive) / estimate(model, size, archive=archive).total_s
    )


def table(model: Model, job: Job) -> list[str]:
    """Minutes and speed-up of one job, by cores."""
    lines = [
        "| cores | start | unpacking 7z | parent | workers | all, from 7z | speed-up "
        "| all, from XML | speed-up |",
        "|" + "---:|" * 9,
    ]
    for cores in CORES:
        size = size_of(model, job, cores)
        if cores == 1:
            packed, plain = (one_process(model, size, archive=flag) for flag in (True, False))
            unpacking = f"{minutes(packed - plain)}"
            parts = ["", unpacking, "", ""]
        else:
            found = estimate(model, size, archive=True)
            packed, plain = found.total_s, estimate(model, size).total_s
            workers = sum(found.stages_s.values())
            seconds = (found.start_s, found.inputs_s, found.parent_s, workers)
            parts = [minutes(part) for part in seconds]
        ups = (speed_up(model, job, cores, archive=flag) for flag in (True, False))
        up_packed, up_plain = (f"{up:.1f}" for up in ups)
        cells = [str(cores), *parts, minutes(packed), up_packed, minutes(plain), up_plain]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def minutes(seconds: float) -> str:
    return f"{seconds / 60:,.1f}"


def steps_table(model: Model, job: Job, cores: int) -> list[str]:
    """Where the time goes: seconds of the steps' busiest workers, and what they have to do."""
    size = size_of(model, job, cores)
    found = estimate(model, size)
    busiest: dict[str, float] = defaultdict(float)
    work: dict[str, float] = defaultdict(float)
    for stage in model.stages:
        step = step_of(stage.name)
        busiest[step] += found.stages_s[stage.name]
        work[step] += stage.per_post_s * job.posts + stage.per_block_s * size.blocks
        work[step] += size.scan_s if stage.kind == "ranges" else 0.0
    lines = ["| step | all workers, CPU s | busiest worker, s | cores kept busy |"]
    lines.append("|---|---:|---:|---:|")
    for step in sorted(busiest, key=lambda one: -busiest[one]):
        busy = work[step] / busiest[step] if busiest[step] else 0.0
        lines.append(f"| {step} | {work[step]:,.0f} | {busiest[step]:,.0f} | {busy:.1f} |")
    lines.append(f"| parent | | {found.parent_s:,.0f} | 1 |")
    return lines


def slopes(model: Model) -> list[str]:
    """The slopes in words."""
    micro = 1e6
    workers = sum(stage.per_post_s for stage in model.stages)
    blocks = sum(stage.per_block_s for stage in model.stages)
    return [
        f"- one process: {model.one_process_per_post_s * micro:.0f} µs a post, and "
        f"{model.one_process_s:.1f} s to start and end",
        f"- workers: {workers * micro:.0f} µs a post, {blocks * micro:.0f} µs a block, "
        f"{model.start_worker_s:.1f} s to start each",
        f"- parent: {model.parent_per_post_s * micro:.1f} µs a post, "
        f"{model.parent_per_block_s * micro:.0f} µs a block, "
        f"{model.parent_per_worker_s:.2f} s a worker, {model.parent_s:.1f} s by itself",
        f"- 7z archives (BZip2), for a GB of XML: {model.unpack_serial_per_gb_s:.1f} s in turn for "
        f"each archive, {model.unpack_divided_per_gb_s:.0f} s of decoders",
        f"- XML, hashed: {model.hash_per_gb_s:.1f} s a GB, a thread a table",
        f"- {model.bytes_per_post:,.0f} bytes of XML a post",
    ]


def page(runs: Sequence[MeasuredRun], before: Sequence[MeasuredRun] | None, plot: str) -> str:
    """docs/cores.md."""
    model, check = fit(runs), hold_out(runs)
    sizes = sorted({one.size.posts for one in runs})
    lines = [
        "# Cores",
        "",
        "Written by `python -m benchmarks.cores`, which measures on two cores and computes the",
        "rest: nothing below with more than four workers was run. Times are processor seconds as",
        "if each process had a core of its own; disks and memory bandwidth are not in the model.",
        "",
        "Stages run one after the other. A stage takes what its busiest worker takes, with the",
        "units that cannot be divided (a range of a table, a partition, a shard) given out as the",
        "runner does it; the parent's time is added whole. Slopes, from "
        f"{', '.join(f'{posts:,}' for posts in sizes)} posts:",
        "",
        *slopes(model),
        "",
        f"Check: fitted without the run of {check.size.posts:,} posts with {check.size.workers} "
        "workers, the model",
        f"gives {check.computed_s:.0f} s for it; its measured critical path is "
        f"{check.measured_s:.0f} s ({check.error:+.0%}).",
        "",
    ]
    if plot:
        lines += [f"![speed-up by cores]({plot})", ""]
    for name, job in JOBS.items():
        lines += [f"## {name}", ""]
        gigabytes = size_of(model, job, 1).bytes / 1e9
        lines += [f"An estimate for {job.posts:,} posts, {gigabytes:,.1f} GB of XML, in minutes."]
        if job.tables:
            each = ", ".join(f"{name} {size / 1e9:,.1f}" for name, size in job.tables.items())
            lines += [
                f"GB by table, each in an archive of its own: {each}. PostHistory is unpacked or "
                f"hashed, and scanned for closings, {SCAN_PER_GB_S:g} s a GB."
            ]
        lines += ["", *table(model, job), ""]
        if before is not None:
            lines += ["Before:", "", *table(fit(before), job), ""]
    lines += ["Where 64 cores spend it, stackoverflow.com:", ""]
    lines += [*steps_table(model, JOBS["stackoverflow.com"], 64), ""]
    return "\n".join(lines)


def draw(model: Model, before: Model | None, path: Path) -> None:
    """Plot speed-up against cores as SVG."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style: Any = {
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.hashsalt": "forumprefs",  # the same ids, so the same bytes, each time
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(7.5, 4.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.plot(CORES, CORES, color="0.6", lw=1, ls=":", label="as many times as cores")
        for place, (name, job) in enumerate(JOBS.items()):
            colour = mpl.colormaps["viridis"](0.8 - 0.35 * place)
            for archive, dash in ((False, "-"), (True, (0, (4, 2)))):
                ups = [speed_up(model, job, cores, archive=archive) for cores in CORES]
                label = f"{name}, from {'7z' if archive else 'XML'}"
                axes.plot(CORES, ups, color=colour, ls=dash, marker="o", ms=3.5, label=label)
            if before is not None:
                ups = [speed_up(before, job, cores) for cores in CORES]
                label = f"{name}, from XML, before"
                axes.plot(CORES, ups, color=colour, ls="-.", lw=0.9, alpha=0.7, label=label)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xticks(CORES, [str(cores) for cores in CORES])
        ticks = [2**power for power in range(8)]
        axes.set_yticks(ticks, [str(tick) for tick in ticks])
        axes.set_ylim(0.7, 140)
        axes.set_xlabel("cores")
        axes.set_ylabel("times as fast as one process (computed)")
        axes.grid(color="0.92")
        axes.legend(fontsize=8, frameon=False)
        figure.savefig(path, metadata={"Date": None})


def load(path: Path) -> list[MeasuredRun]:
    """Read what ``--json`` wrote."""
    return msgspec.json.decode(path.read_bytes(), type=list[MeasuredRun])


def save(path: Path, runs: Sequence[MeasuredRun]) -> None:
    """Write runs for `load`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(runs) + b"\n")


def check_kinds(model: Model) -> None:
    """Raise SystemExit where stages with few units were not recognised: they would scale too well.

    They are found by parts of their names (benchmarks/_core_model.py).
    """
    missing = {"ranges", "joins", "partitions", "shards"} - {one.kind for one in model.stages}
    if missing:
        raise SystemExit(
            f"no stage has units of the kind {', '.join(sorted(missing))}: the stages' names have "
            "changed, so benchmarks/_core_model.py has to be told the new ones"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure or load, fit, print or write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cores",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", type=Path, help="file for what is measured")
    parser.add_argument("--from", dest="measured", type=Path, help="such a file; nothing is run")
    parser.add_argument("--before", type=Path, help="such a file of an earlier state")
    parser.add_argument(
        "--sizes",
        default=",".join(map(str, SIZES)),
        metavar="A,B,C",
        help="posts of the three dumps (default: %(default)s)",
    )
    parser.add_argument("--checkout", type=Path, help="another one to measure in turn")
    parser.add_argument("--checkout-json", type=Path, help="file for what is measured of it")
    parser.add_argument("--dumps", type=Path, help="where dumps are kept and looked for")
    parser.add_argument("--write", type=Path, help="page to write; its plot (SVG) goes beside it")
    given = parser.parse_args(arguments)
    if (given.checkout is None) != (given.checkout_json is None):
        parser.error("--checkout and --checkout-json go together")
    if given.checkout:
        check_checkout(given.checkout)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        if given.measured:
            runs = load(given.measured)
        else:
            sizes = sorted(map(int, given.sizes.split(",")))
            checkouts = [None] + ([given.checkout] if given.checkout else [])
            runs, *others = measure(given.dumps or work, work, sizes, checkouts)
            for other in others:
                save(given.checkout_json, other)
    if given.json:
        save(given.json, runs)
    check_kinds(fit(runs))
    before = load(given.before) if given.before else None
    if given.write is None:
        print(page(runs, before, ""))
        return
    plot = given.write.with_suffix(".svg")
    draw(fit(runs), None if before is None else fit(before), plot)
    given.write.write_text(page(runs, before, plot.name), encoding="utf-8")


if __name__ == "__main__":
    main()
