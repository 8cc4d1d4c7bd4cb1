import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.curate import CurateOptions, Recipe, run
from pipeline.curate.graph import CurateJob
from pipeline.curate.inputs import Inputs
from pipeline.runners import RunnerOptions, dispatch
from pipeline.runners.dispatch import workers_for
from pipeline.runners.worker_count import (
    WORKER_MEMORY,
    WORTH_IT_BYTES,
    choose_workers,
)
from schemas.machine import usable_cores, usable_memory

LARGE = WORTH_IT_BYTES
SAMPLE = Path(__file__).parents[1] / "samples" / "tinycode.example.com"


@pytest.mark.parametrize(
    ("input_bytes", "cores", "gigabytes", "expected", "reason"),
    [
        (LARGE - 1, 64, 256, 1, "small"),
        (LARGE, 64, 256, 64, "each core"),
        (LARGE, 1, 256, 1, "each core"),
        (LARGE, 64, 9, 8, "9.0 GB of memory"),
        (LARGE, 8, 9, 8, "each core"),
        (LARGE, 2, 1, 1, "1.0 GB of memory"),
    ],
)
def test_cores_are_used_where_it_pays_and_memory_allows(
    input_bytes: int, cores: int, gigabytes: int, expected: int, reason: str
) -> None:
    found = choose_workers(input_bytes, cores=cores, memory=gigabytes * WORKER_MEMORY)
    assert found.workers == expected
    assert reason in found.reason


CGROUP = "sys/fs/cgroup"
V2 = "0::/user/session/run"
V1 = "5:memory:/user/run\n1:cpu,cpuacct:/user/run\n0::/"


@pytest.mark.parametrize(
    ("groups", "files", "cores", "memory"),
    [
        pytest.param("", {}, 3, None, id="no control groups"),
        pytest.param("0::/", {"cpu.max": "200000 100000", "memory.max": "9"}, 2, 9, id="container"),
        pytest.param(
            "0::/", {"cpu.max": "max 100000", "memory.max": "max"}, 3, None, id="no limit"
        ),
        pytest.param(
            V2, {"user/session/run/cpu.max": "50000 100000", "memory.max": "max"}, 1, None, id="own"
        ),
        pytest.param(
            V2,
            {
                "user/cpu.max": "200000 100000",
                "user/session/cpu.max": "max 100000",
                "user/memory.max": "7",
                "user/session/run/memory.max": "8",
                "other/memory.max": "1",
            },
            2,
            7,
            id="the smallest of those above",
        ),
        pytest.param(
            "0::/../../elsewhere", {"memory.max": "9"}, 3, 9, id="outside of what is seen"
        ),
        pytest.param(V2, {"unified/user/memory.max": "9"}, 3, 9, id="both versions"),
        pytest.param(
            V1,
            {
                "memory/user/memory.limit_in_bytes": "9",
                "memory/memory.limit_in_bytes": "9223372036854771712",
                "cpu,cpuacct/user/run/cpu.cfs_quota_us": "250000",
                "cpu,cpuacct/user/run/cpu.cfs_period_us": "100000",
                "cpu,cpuacct/cpu.cfs_quota_us": "-1",
                "cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
            2,
            9,
            id="version 1",
        ),
        pytest.param(
            V1,
            {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"},
            1,
            None,
            id="version 1, names only known outside",
        ),
    ],
)
def test_limits_of_control_groups_hold(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    groups: str,
    files: dict[str, str],
    cores: int,
    memory: int | None,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 5}, raising=False)
    for name, text in {"proc/self/cgroup": groups}.items() | {
        (f"{CGROUP}/{name}", text) for name, text in files.items()
    }:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    all_of_it = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert usable_cores(tmp_path) == cores
    assert usable_memory(tmp_path) == (memory or all_of_it)


def test_no_more_memory_is_counted_on_than_can_be_had_now(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    lines = "MemTotal:       24683656 kB\nMemFree:  10 kB\nMemAvailable:   300 kB\n"
    (tmp_path / "proc/meminfo").write_text(lines)
    assert usable_memory(tmp_path) == 300 * 1024


def test_what_a_control_group_has_taken_is_gone(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/",
        f"{CGROUP}/memory.max": "1000",
        f"{CGROUP}/memory.current": "700",
        f"{CGROUP}/memory.stat": "anon 400\nfile 300\ninactive_file 250\nactive_file 50",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert usable_memory(tmp_path) == 1000 - (700 - 250)
    (tmp_path / CGROUP / "memory.current").write_text("2000")
    assert usable_memory(tmp_path) == 0


def test_large_units_of_work_take_more_memory() -> None:
    sixteen = {"cores": 16, "memory": 17 * WORKER_MEMORY}
    assert choose_workers(16 << 30, unit_bytes=16 << 20, **sixteen).workers == 16
    found = choose_workers(1 << 40, unit_bytes=1 << 30, **sixteen)
    assert found.worker_memory == WORKER_MEMORY + 4 * ((1 << 30) - (16 << 20))
    assert (found.workers, found.short_of_memory) == (3, True)


@pytest.mark.parametrize(
    ("given", "input_bytes", "arguments", "runner", "expected"),
    [
        (None, LARGE, (), "local", 4),
        (None, LARGE - 1, (), "local", 1),
        (1, LARGE, (), "local", 1),
        (3, 0, (), "local", 3),
        (None, LARGE, ("--direct_num_workers=2",), "local", 1),
        (None, LARGE, (), "dataflow", None),
        (2, LARGE, (), "flink", 2),
    ],
)
def test_what_the_user_says_is_done(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: int | None,
    input_bytes: int,
    arguments: tuple[str, ...],
    runner: str,
    expected: int | None,
) -> None:
    monkeypatch.setattr(dispatch, "usable_cores", lambda: 4)
    monkeypatch.setattr(dispatch, "usable_memory", lambda: 16 * WORKER_MEMORY)
    options = RunnerOptions(workers=given, beam_arguments=arguments, runner=runner)
    assert workers_for(options, input_bytes, 16) == expected
    said = "4 worker processes (one for each core), about 1.0 GB each" in capsys.readouterr().err
    assert said == (expected == 4)


@pytest.mark.parametrize("quiet", [False, True])
def test_one_worker_for_want_of_memory_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], quiet: bool
) -> None:
    monkeypatch.setattr(dispatch, "usable_cores", lambda: 4)
    monkeypatch.setattr(dispatch, "usable_memory", lambda: 3 * WORKER_MEMORY)
    assert workers_for(RunnerOptions(quiet=quiet), 1024 << 30, 1024) == 1
    text = "1 worker process (3.0 GB of memory are enough for no more), about 5.2 GB each"
    assert (text in capsys.readouterr().err) != quiet


@pytest.mark.parametrize(("cores", "memory"), [(3, 16), (64, 5)])
def test_the_graph_is_cut_for_the_workers_that_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, memory: int
) -> None:
    """What is read with one worker, or with as many as there could be, is cut otherwise."""
    monkeypatch.setattr(dispatch, "usable_cores", lambda: cores)
    monkeypatch.setattr(dispatch, "usable_memory", lambda: memory * WORKER_MEMORY)
    monkeypatch.setattr(Inputs, "bytes_to_hold", LARGE)
    seen: list[tuple[str, int | None]] = []

    class StopError(Exception):
        pass

    def build(pipeline: Any, job: CurateJob) -> None:
        seen.append(("graph", job.workers))

    def run_local(build: Callable[[Any], None], *, workers: int, **_: Any) -> None:
        build(None)
        seen.append(("run", workers))
        raise StopError

    monkeypatch.setattr(run, "build", build)
    monkeypatch.setattr(dispatch, "run_local", run_local)
    with pytest.raises(StopError):
        run.curate(
            CurateOptions(
                recipe=Recipe(input=(f"stackexchange={SAMPLE}",)),
                output=str(tmp_path / "out"),
            )
        )
    assert seen == [("graph", min(cores, memory - 1)), ("run", min(cores, memory - 1))]
