"""What the computed times of many cores rest on: who used how much, and how units are given out."""

import argparse
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks import _stages
from benchmarks._core_model import (
    SCAN_PER_GB_S,
    MeasuredRun,
    Model,
    Size,
    StageModel,
    estimate,
    fit,
    makespan,
    one_process,
    stage_seconds,
    units_of,
)
from benchmarks._processes import Process, Use, tree_use
from benchmarks._stages import END, START, JobTimes, StageTimes, stable_name, time_in_process
from benchmarks.cores import (
    CORES,
    JOBS,
    STACKOVERFLOW,
    Job,
    hold_out,
    main,
    save,
    size_of,
    speed_up,
    table,
)
from benchmarks.cost import main as write_costs
from benchmarks.cost import one_machine
from pipeline.runners.disk_shuffle import StageReport
from transforms.readers.stackexchange.table_names import TABLES
from transforms.readers.stackexchange.unpack_pool import UnpackPool

SAMPLES = Path(__file__).parents[1] / "samples"


def test_a_process_has_used_what_it_says_itself() -> None:
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    (used,) = (use for process, use in tree_use(os.getpid()).items() if process.pid == os.getpid())
    assert used.parent == os.getppid()
    assert used.cpu_s == pytest.approx(time.process_time(), abs=0.1)


def test_the_critical_path_is_the_busiest_worker_and_the_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker is a leaf of the tree; what starts them, and waits, is serial as the parent is."""
    me, server, one, two = Process(os.getpid(), 1), *(Process(-n, 1) for n in (1, 2, 3))
    looks = iter(
        [
            {server: 1.0, one: 2.0, two: 2.5},
            {server: 1.5, one: 6.0, two: 3.5},
            {server: 1.5, one: 6.0, two: 5.5},
            {server: 1.5},
        ]
    )
    clock = iter([10.0, 11.0, 11.5, 12.0])

    def look(pid: int) -> dict[Process, Use]:
        found = {me: Use(99.0, "python", 0), server: Use(0.0, "python", me.pid)}
        for process, cpu_s in next(looks).items():
            found[process] = Use(cpu_s, "python", me.pid if process == server else server.pid)
        return found

    monkeypatch.setattr(_stages, "tree_use", look)
    monkeypatch.setattr(_stages.time, "process_time", lambda: next(clock))
    recorder = _stages._Recorder()
    for name in ("(impulse)+(ranges/Write)", "(step)+(ranges/Read)", "(ranges/Read)+(step)"):
        recorder(StageReport(name, bundles=2, written={"x": 5}))
    start, read, end = recorder.end(pairs=7).stages
    assert (start.name, start.parent_s, start.workers_s) == (START, 11.0, (2.5, 2.0))
    # The stage ran twice: 4 and 1 s, then 0 and 2 s.
    assert (read.parent_s, read.workers_s) == (2.0, (4.0, 3.0))
    assert (read.bundles, read.written_bytes) == (4, 10)
    assert (end.name, end.critical_s) == (END, 0.5)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (0, 2, 1)])
def test_stages_that_read_nothing_are_the_start_whichever_comes_first(
    order: tuple[int, ...],
) -> None:
    recorder = _stages._Recorder()
    names = ("(impulse)+(ranges/Write)", "(impulse)+(unusable/Write)", "(ranges/Read)+(step)")
    for place in order:
        recorder(StageReport(names[place]))
    assert {stage.name for stage in recorder.end(0).stages} == {START, "ranges/Read+step", END}


def test_threads_that_unpack_and_hash_are_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "run", threading.Thread.run)
    recorder = _stages._Recorder()
    recorder.watch_threads()

    def work(seconds: float) -> None:
        until = time.thread_time() + seconds
        while time.thread_time() < until:
            pass

    began = time.process_time()
    (before,) = recorder.end(0).stages
    with UnpackPool(2) as pool, ThreadPoolExecutor(1, "hashing") as hashing:
        for submit, seconds in (
            (pool.archives.submit, 0.1),
            (pool.decoders.submit, 0.3),
            (pool.decoders.submit, 0.2),
            (hashing.submit, 0.1),
        ):
            submit(work, seconds)
    with ThreadPoolExecutor(1, "runner") as other:
        other.submit(work, 0.2)
    used = time.process_time() - began
    (end,) = recorder.end(0).stages
    assert set(end.threads_s) == {"unpack", "decode", "hashing"}
    assert sum(end.threads_s["decode"]) == pytest.approx(0.5, abs=0.1)
    assert end.threads_s["unpack"][0] == pytest.approx(0.1, abs=0.1)
    assert end.parent_s - before.parent_s == pytest.approx(used - 0.7, abs=0.25)
    assert end.critical_s < end.cpu_s
    assert used >= 0.9
    assert end.cpu_s - before.cpu_s == pytest.approx(used, abs=0.25)  # nothing is counted twice


def test_a_stage_has_one_name_however_beam_orders_its_steps() -> None:
    names = {
        stable_name(name)
        for name in (
            "(((A/Read)+(B))+(C/Write))",
            "((A/Read)+((C/Write)+(B)))",
            "((B)+(A/Read))+(C/Write)",
        )
    }
    assert names == {"A/Read+B+C/Write"}
    assert stable_name("((ref_Z)+(ref_Y))") == "ref_Y+ref_Z"


def test_a_run_with_workers_is_told_by_stage_and_process(tmp_path: Path) -> None:
    inputs = [f"stackexchange={SAMPLES / 'tinycode.example.com'}"]
    times = time_in_process(inputs, tmp_path / "out", "--workers", "2")
    assert times.pairs > 0
    assert [times.stages[0].name, times.stages[-1].name] == [START, END]
    assert times.stages[0].threads_s  # of those that hash the tables
    (reading,) = (stage for stage in times.stages if "Spread ranges" in stage.name)
    assert len(reading.workers_s) == 2
    assert 0 < times.parent_s < times.critical_s


@pytest.mark.parametrize(
    ("units", "workers", "seconds"),
    [([4.0], 8, 4.0), ([1.0] * 40, 32, 2.0), ([1.0] * 64, 32, 2.0), ([1.0] * 1024, 64, 16.0)],
    ids=["one unit", "a few too many", "even", "several a bundle"],
)
def test_units_are_not_divided(units: list[float], workers: int, seconds: float) -> None:
    assert makespan(np.array(units), workers) == pytest.approx(seconds)


def stage(kind: str, shares: tuple[float, ...], full_s: float = 0.0) -> StageModel:
    return StageModel(
        name=kind,
        per_post_s=1e-3,
        per_worker_s=0.5,
        per_block_s=0.0,
        kind=kind,
        shares=shares,
        full_s=full_s,
    )


SIZE = Size(posts=1_000_000, bytes=2_000_000_000, workers=100)


def test_kinds_of_units() -> None:
    single = stage_seconds(stage("single", (1.0,)), SIZE)
    fine = stage_seconds(stage("fine", (0.5, 0.5)), SIZE)
    assert (single, fine) == (pytest.approx(1000.5), pytest.approx(10.5))
    partitions = units_of(stage("partitions", (0.6, 0.4)), 1000.0, SIZE)
    assert len(partitions) == SIZE.thread_partitions == 120
    assert partitions.sum() == pytest.approx(1000)
    # The larger grows until it is full; so does the other, which stays a part of its own.
    shards = units_of(stage("shards", (0.9, 0.1), full_s=300.0), 1000.0, SIZE)
    assert sorted(shards.tolist()) == pytest.approx([100, 300, 300, 300])


TRUE = Model(
    stages=(
        stage("partitions", (1 / 16,) * 16),
        stage("single", (1.0,)),
    ),
    parent_s=2.0,
    parent_per_post_s=5e-5,
    parent_per_worker_s=0.2,
    parent_per_block_s=0.0,
    start_worker_s=1.5,
    one_process_s=3.0,
    one_process_per_post_s=1e-3,
    hash_per_gb_s=1.0,
    unpack_serial_per_gb_s=10.0,
    unpack_divided_per_gb_s=60.0,
    bytes_per_post=2000.0,
)


def made(posts: int, workers: int, *, archive: bool = False, units: bool = False) -> MeasuredRun:
    """A run that takes what the slopes of TRUE say, with all partitions equal."""
    size = Size(posts=posts, bytes=posts * 2000, workers=workers)
    parent_s = 2.0 + 5e-5 * posts + 0.2 * workers
    gigabytes = size.bytes / 1e9
    threads = {"hashing": (0.7 * gigabytes, 0.3 * gigabytes)}
    if archive:
        threads = {"unpack": (10 * gigabytes,), "decode": (60 * gigabytes / workers,) * workers}
    stages = [
        StageTimes(name=START, parent_s=parent_s, threads_s=threads, workers_s=(1.5,) * workers)
    ]
    for model in TRUE.stages:
        work = 1e-3 * posts
        shared = (work / workers + 0.5,) * workers
        if model.kind == "single":
            shared = (work + 0.5 * workers,)
        alone = work / 2 if workers == 1 else 0.0
        stages.append(
            StageTimes(
                name="read" if model.kind == "single" else "((by key/Read)+(more))",
                parent_s=alone,
                workers_s=() if workers == 1 else shared,
                units_s=model.shares if units else (),
            )
        )
    stages.append(StageTimes(name=END, parent_s=0.0))
    if workers == 1:
        stages[0] = StageTimes(name=START, parent_s=3.0, threads_s=threads)
    return MeasuredRun(
        size=size, job=JobTimes(pairs=1, stages=tuple(stages)), archive=archive, units=units
    )


RUNS = [
    *(made(30_000, 2), made(30_000, 2, archive=True)),
    *(made(100_000, 1), made(100_000, 1, units=True)),
    *(made(100_000, 2), made(100_000, 4), made(300_000, 2)),
]


def test_slopes_are_found_again() -> None:
    model = fit(RUNS)
    assert [one.kind for one in model.stages] == ["partitions", "single"]
    for found in model.stages:
        assert found.per_post_s == pytest.approx(1e-3, rel=0.02)
    assert model.parent_per_post_s == pytest.approx(5e-5, rel=0.05)
    assert model.parent_per_worker_s == pytest.approx(0.2, rel=0.1)
    assert model.start_worker_s == pytest.approx(1.5)
    assert model.one_process_per_post_s == pytest.approx(1e-3 + 2e-6)  # hashing of 2 kB
    assert model.hash_per_gb_s == pytest.approx(1)
    assert model.unpack_serial_per_gb_s == pytest.approx(10)
    assert model.unpack_divided_per_gb_s == pytest.approx(60)


def test_what_unpacking_costs_parent_and_workers_counts_as_well() -> None:
    """Before threads unpacked, the parent did it all; or workers did."""
    packed = RUNS[1]
    start = packed.job.stages[0]
    without = msgspec.structs.replace(
        start,
        parent_s=start.parent_s + 3.0,
        workers_s=tuple(seconds + 1.5 for seconds in start.workers_s),
        threads_s={},
    )
    job = msgspec.structs.replace(packed.job, stages=(without, *packed.job.stages[1:]))
    model = fit([RUNS[0], msgspec.structs.replace(packed, job=job), *RUNS[2:]])
    assert model.unpack_serial_per_gb_s == pytest.approx(3.0 / 0.06)
    assert model.unpack_divided_per_gb_s == pytest.approx(3.0 / 0.06)


def test_threads_of_several_archives_and_tables() -> None:
    """Decoders are shared by all archives, and what is in turn is so for each archive."""
    size = Size(posts=1, bytes=10**9, workers=4, largest_table=6 * 10**8)
    assert estimate(TRUE, size).inputs_s == pytest.approx(0.6)
    assert estimate(TRUE, size, archive=True).inputs_s == pytest.approx(10 + 60 / 4)
    several = msgspec.structs.replace(size, largest_archive=5 * 10**8)
    assert estimate(TRUE, several, archive=True).inputs_s == pytest.approx(5 + 60 / 4)


def test_the_largest_run_is_computed_from_the_others() -> None:
    check = hold_out(RUNS)
    assert check.size.posts == 300_000
    assert abs(check.error) < 0.05


def test_what_no_number_of_cores_shortens_stays() -> None:
    """Parent, single unit and unpacking: 5 and 100 s and 2 s of 100,000 posts."""
    size = Size(posts=100_000, bytes=200_000_000, workers=1000)
    found = estimate(TRUE, size, archive=True)
    assert found.inputs_s == pytest.approx(2 + 12 / 1000)
    assert found.parent_s == pytest.approx(5 + 200)
    assert found.stages_s["single"] == pytest.approx(100.5)
    assert found.total_s - found.start_s - found.inputs_s == pytest.approx(
        found.parent_s + sum(found.stages_s.values())
    )
    # Hashing of the XML is in the time of a post, and not done where it comes from an archive.
    assert one_process(TRUE, size, archive=True) == pytest.approx(103 + 14 - 0.2)
    assert speed_up(TRUE, Job(posts=100_000), 8) < 1.5


def test_the_table_has_a_row_for_each_number_of_cores() -> None:
    rows = table(TRUE, Job(posts=1_000_000))
    assert [int(row.split("|")[1]) for row in rows[2:]] == list(CORES)
    assert len({row.count("|") for row in rows}) == 1


def test_a_table_that_is_only_scanned_costs_unpacking_hashing_and_scanning() -> None:
    ranges = stage("ranges", (0.5, 0.5), full_s=1.0)
    size = Size(posts=1_000_000, bytes=10**10, workers=10)
    more = msgspec.structs.replace(size, bytes=2 * 10**11, scanned=19 * 10**10)
    seconds = 190 * SCAN_PER_GB_S
    assert stage_seconds(ranges, more) - stage_seconds(ranges, size) == pytest.approx(seconds / 10)
    model = msgspec.structs.replace(TRUE, stages=(ranges,))
    for archive, per_gb in ((False, 1.0), (True, 70.0)):
        alone = one_process(model, more, archive=archive) - one_process(
            model, size, archive=archive
        )
        assert alone == pytest.approx(seconds + 190 * per_gb)


def test_stackoverflow_has_its_own_bytes_in_archives_of_their_own() -> None:
    size = size_of(TRUE, STACKOVERFLOW, 64)
    assert set(STACKOVERFLOW.tables) == set(TABLES)
    assert size.bytes > 300e9
    assert size.scanned == size.largest_table == size.largest_archive > 105e9
    assert estimate(TRUE, size, archive=True).inputs_s == pytest.approx(
        10 * size.largest_archive / 1e9 + 60 * size.bytes / 1e9 / 64
    )


def with_every_kind(run: MeasuredRun) -> MeasuredRun:
    names = ("Spread ranges/Read", "Group by join partition/Read", "Group by shard/Read")
    more = tuple(
        StageTimes(
            name=f"(({name})+(more))",
            parent_s=0.0,
            workers_s=(0.5,) * run.size.workers,
            units_s=(0.7, 0.3) if run.units else (),
        )
        for name in names
    )
    job = msgspec.structs.replace(run.job, stages=run.job.stages + more)
    return msgspec.structs.replace(run, job=job)


def test_stages_that_are_not_recognised_are_said(tmp_path: Path) -> None:
    save(tmp_path / "runs.json", RUNS)
    with pytest.raises(SystemExit, match="joins, ranges, shards"):
        main(["--from", str(tmp_path / "runs.json")])


def test_page_and_plot_are_written_from_saved_runs(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    save(tmp_path / "runs.json", [with_every_kind(run) for run in RUNS])
    given = ["--from", str(tmp_path / "runs.json"), "--before", str(tmp_path / "runs.json")]
    plots = []
    for _ in range(2):
        main([*given, "--write", str(tmp_path / "cores.md")])
        plots.append((tmp_path / "cores.svg").read_bytes())
    assert plots[0] == plots[1]
    page = (tmp_path / "cores.md").read_text(encoding="utf-8")
    assert "![speed-up by cores](cores.svg)" in page
    assert "59,820,000 posts, 308.1 GB of XML" in page and "PostHistory 176.0" in page
    assert page.count("\nBefore:\n") == len(JOBS)


def test_costs_have_a_row_for_one_machine() -> None:
    options = argparse.Namespace(one_machine_cores=64, vm_core_hour=0.05)
    text = "\n".join(one_machine(fit(RUNS), options))
    assert "64 cores, stackoverflow.com (an estimate)" in text
    assert "| 1 core, one process | 7z |" in text


def test_the_page_of_costs_says_what_its_script_says(tmp_path: Path) -> None:
    run = {
        "mode": "disk",
        "workers": 1,
        "posts": 1_000_000,
        "bytes_in": 2 * 10**9,
        "cpu_seconds": 500.0,
        "peak_mb": 900,
        "peak_disk_mb": 900,
        "stages": [],
    }
    (tmp_path / "memory.json").write_text(json.dumps([run]))
    write_costs([str(tmp_path / "memory.json"), "--write", str(tmp_path / "cost.md")])
    made_page, page = (
        [
            line
            for line in path.read_text(encoding="utf-8").partition("\n## 64 cores")[0].splitlines()
            if line[:1].isalpha()
        ]
        for path in (tmp_path / "cost.md", SAMPLES.parent / "docs" / "cost.md")
    )
    assert made_page[:2] == page[:2]
    # Less the line with the number of posts that were measured.
    assert made_page[3:] == page[3:]
