"""What the throughput benchmark says of the processes of a command."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks import throughput
from benchmarks._stages import END, START, JobTimes, StageTimes
from benchmarks.throughput import Run, by_step, measure, ratios

BUSY = """
import subprocess, sys, time
def work(seconds):
    while time.process_time() < seconds: pass
if len(sys.argv) > 1:
    work(0.4)
else:
    work(0.2)
    subprocess.run([sys.executable, sys.argv[0], "child"], check=True)
    print("words")
    print(7)
"""


def test_children_count(tmp_path: Path) -> None:
    script = tmp_path / "busy.py"
    script.write_text(BUSY)
    run = measure([sys.executable, str(script)])
    assert run.pairs == 7
    assert run.cpu_s >= 0.6
    assert run.peak_bytes > 1e6
    assert len(run.processes) == 2
    assert run.processes[0].cpu_s > run.processes[1].cpu_s


def test_a_command_that_fails_is_no_measurement() -> None:
    with pytest.raises(SystemExit, match="exit code 3"):
        measure([sys.executable, "-c", "print(1); raise SystemExit(3)"])


def test_times_of_stages_are_taken_from_the_last_line() -> None:
    job = JobTimes(pairs=5, stages=(StageTimes(name="a", parent_s=1.0, workers_s=(3.0, 2.0)),))
    line = msgspec.json.encode(job).decode()
    run = measure([sys.executable, "-c", f"print({line!r})"])
    assert (run.pairs, run.job, run.critical_s) == (5, job, 4.0)


def made(cpu_s: float, job: JobTimes | None = None) -> Run:
    return Run(pairs=1, wall_s=9.0, cpu_s=cpu_s, peak_bytes=1, processes=(), job=job)


def job(parent_s: float, *workers_s: float) -> JobTimes:
    stages = (
        StageTimes(name=START, parent_s=1.0),
        StageTimes(
            name="((Find overlaps/Group pairs/Read)+(x))", parent_s=parent_s, workers_s=workers_s
        ),
        StageTimes(name=END, parent_s=0.5),
    )
    return JobTimes(pairs=1, stages=stages)


def test_ratios_are_of_medians() -> None:
    runs = {
        "loop": [made(8.0), made(9.0), made(30.0)],
        "beam1": [made(12.0, job(10.5))] * 3,
        "beam2": [made(15.0, job(0.5, 4.0, 3.0))],
        "flink2": [made(24.0)],
        "before:beam1": [made(18.0, job(16.5))],
    }
    assert ratios(runs) == [
        "Work per CPU second, Beam in one process / bare loop: 0.75",
        "CPU, beam1, before / now: 1.50",
        "Critical path, beam1, before / now: 1.50",
        "CPU, beam2 / beam1: 1.25",
        "Critical path, beam1 / beam2: 2.00",
        "CPU, flink2 / beam1: 2.00",
    ]


def test_a_run_without_stages_has_no_critical_path_to_compare() -> None:
    runs = {"beam2": [made(15.0, job(0.5, 4.0))], "before:beam2": [made(30.0)]}
    assert ratios(runs) == ["CPU, beam2, before / now: 2.00"]


def test_steps_add_up_what_their_stages_took() -> None:
    rows = by_step([job(0.5, 4.0, 3.0), job(0.7, 4.0, 3.0), job(0.9, 5.0, 1.0)])
    assert "| find threads that share text | 0.7 | 4.0 | 7.0 |" in rows
    assert rows[-1] == "| **all** | 2.2 | 4.0 | 7.0 |"


def test_rounds_that_find_other_pairs_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([made(1.0), msgspec.structs.replace(made(1.0), pairs=2)])
    monkeypatch.setattr(throughput, "measure", lambda command, options: next(found))
    with pytest.raises(SystemExit, match="pairs differs"):
        throughput.take_turns(tmp_path, tmp_path, ["loop"], 1, tmp_path)


@pytest.mark.parametrize(
    "call",
    [
        "_stages.time_job([f'stackexchange={dump}'], output / 'dataset')",
        "throughput.run_mode('loop', dump, output)",
    ],
    ids=["job", "loop"],
)
def test_what_is_measured_does_without_packages_as_the_command_does(
    tmp_path: Path, call: str
) -> None:
    dump = Path(__file__).parents[1] / "samples" / "tinycode.example.com"
    code = f"""
import subprocess
import sys
from pathlib import Path
from benchmarks import _stages, throughput
from pipeline.runners.unused_packages import UNUSED_PACKAGES
dump, output = map(Path, sys.argv[1:])
{call}
print(sorted({{"pyarrow"}} | set(UNUSED_PACKAGES) & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(dump), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert done.stdout.splitlines()[-1] == "['pyarrow']"
