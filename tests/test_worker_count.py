import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.runners import RunnerOptions, dispatch, worker_count
from pipeline.runners.dispatch import run_on
from pipeline.runners.worker_count import (
    WORKER_MEMORY,
    WORTH_IT_BYTES,
    choose_workers,
    usable_cores,
    usable_memory,
)

LARGE = WORTH_IT_BYTES


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


@pytest.mark.parametrize(
    ("cpu", "cores"), [("200000 100000", 2), ("50000 100000", 1), ("max 100000", 3), (None, 3)]
)
def test_the_limits_of_a_container_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpu: str | None, cores: int
) -> None:
    monkeypatch.setattr(worker_count, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 5}, raising=False)
    all_of_it = usable_memory()
    if cpu is not None:
        (tmp_path / "cpu.max").write_text(f"{cpu}\n")
        (tmp_path / "memory.max").write_text("1000000\n")
        assert usable_memory() == 1_000_000
        (tmp_path / "memory.max").write_text("max\n")
    assert usable_memory() == all_of_it
    assert usable_cores() == cores


@pytest.mark.parametrize(
    ("given", "input_bytes", "arguments", "expected"),
    [
        (None, LARGE, (), 4),
        (None, LARGE - 1, (), 1),
        (1, LARGE, (), 1),
        (3, 0, (), 3),
        (None, LARGE, ("--direct_num_workers=2",), 1),
    ],
)
def test_what_the_user_says_is_done(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: int | None,
    input_bytes: int,
    arguments: tuple[str, ...],
    expected: int,
) -> None:
    ran: list[int] = []

    def note(build: Any, *, workers: int, **_: Any) -> dict[str, tuple[float, float]]:
        ran.append(workers)
        return {}

    monkeypatch.setattr(dispatch, "run_local", note)
    monkeypatch.setattr(dispatch, "usable_cores", lambda: 4)
    monkeypatch.setattr(dispatch, "usable_memory", lambda: 16 * WORKER_MEMORY)
    options = RunnerOptions(workers=given, beam_arguments=arguments)
    run_on(lambda _: None, options, work=tmp_path, input_bytes=1, bytes_to_hold=input_bytes)
    assert ran == [expected]
    said = "4 worker processes (one for each core), about 1 GB each" in capsys.readouterr().err
    assert said == (expected == 4)
