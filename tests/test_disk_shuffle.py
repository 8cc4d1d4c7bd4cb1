"""The local runner's shuffles are on disk, and change nothing but memory."""

import functools
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import execution, translations
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.worker.data_plane import InMemoryDataChannel

from pipeline.errors import PipelineError
from pipeline.runners import disk_buffers, local
from pipeline.runners.disk_buffers import PIECE_BYTES
from pipeline.runners.disk_shuffle import DiskShuffleRunner, StageReport
from pipeline.runners.dispatch import shuffle_line
from pipeline.runners.local import run_local
from tests import shuffle_job
from tests.test_curate import curate, hashes

PAYLOAD = sum(len(str(number)) * 100 for number in range(shuffle_job.ROWS))


def run(runner: Any, output: Path) -> str:
    pipeline = beam.Pipeline(runner=runner)
    shuffle_job.build(output)(pipeline)
    pipeline.run().wait_until_finish()
    return output.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    return run(FnApiRunner(), tmp_path_factory.mktemp("beam") / "result")


@pytest.mark.parametrize("piece_bytes", [1, 10_000, PIECE_BYTES])
def test_every_kind_of_shuffle_gives_what_beam_gives(
    tmp_path: Path, expected: str, piece_bytes: int
) -> None:
    runner = DiskShuffleRunner(str(tmp_path), piece_bytes=piece_bytes)
    assert run(runner, tmp_path / "result") == expected
    assert list(tmp_path.iterdir()) == [tmp_path / "result"], "nothing is left behind"


def test_worker_processes_give_the_same(tmp_path: Path, expected: str) -> None:
    run_local(shuffle_job.build(tmp_path / "result"), workers=2, shuffle_folder=tmp_path)
    assert (tmp_path / "result").read_text(encoding="utf-8") == expected


def test_nothing_large_stays_in_memory(
    tmp_path: Path, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when another version of Beam keeps its data where we do not look."""
    kept: list[int] = []
    waiting: list[int] = []
    for buffer in (execution.ListBuffer, execution.GroupingBuffer):
        monkeypatch.setattr(
            buffer,
            "append",
            lambda self, data, old=buffer.append: kept.append(len(data)) or old(self, data),
        )
    receive = InMemoryDataChannel.input_elements

    def watched(self: InMemoryDataChannel, *arguments: Any, **named: Any) -> Any:
        if "abort_callback" in named:  # the runner's end: what a bundle has put out
            waiting.append(sum(len(letter.data) for letter in self._inputs))
        return receive(self, *arguments, **named)

    monkeypatch.setattr(InMemoryDataChannel, "input_elements", watched)
    reports: list[StageReport] = []
    runner = DiskShuffleRunner(str(tmp_path), piece_bytes=1, report=reports.append)
    assert run(runner, tmp_path / "result") == expected
    written = sum(sum(report.written.values()) for report in reports)
    assert written > PAYLOAD
    assert sum(kept) < PAYLOAD / 5, "what Reshuffle moves, whose elements are small"
    assert max(waiting) == 0, "a worker's output goes to disk while it works"
    assert max(report.bundles for report in reports) >= 7, "one a key"


def test_stages_are_made_in_phases_of_beam_and_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when another version of Beam has other phases than those that are copied here."""
    calls: list[tuple[list[str], dict[str, Any]]] = []

    def noted(proto: Any, *, phases: list[Any], **options: Any) -> tuple[None, list[Any]]:
        calls.append(([phase.__name__ for phase in phases], options))
        return None, []

    monkeypatch.setattr(translations, "create_and_optimize_stages", noted)
    runner = DiskShuffleRunner()
    runner.create_stages(beam_runner_api_pb2.Pipeline())
    FnApiRunner.create_stages(runner, beam_runner_api_pb2.Pipeline())
    (phases, options), (beams, beam_options) = calls
    ours = {"merge_flattens", "write_into_groups", "read_flattened_directly"}
    assert ours < set(phases)
    assert [phase for phase in phases if phase not in ours] == beams
    assert options == beam_options


FLATTENS = ["Inner", "Outer", "Both"]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_flattened_is_written_once(tmp_path: Path, workers: int) -> None:
    """Into the group that it is for, or to where every reader finds it."""
    reports: list[StageReport] = []
    runner = DiskShuffleRunner(str(tmp_path), report=reports.append)
    pipeline = beam.Pipeline(
        runner=runner, options=PipelineOptions([f"--direct_num_workers={workers}"])
    )
    shuffle_job.build_flattens(tmp_path / "result")(pipeline)
    pipeline.run().wait_until_finish()
    values = sorted([*range(100), *range(100), *range(100, 200), *range(300)] * 2)
    assert json.loads((tmp_path / "result").read_text(encoding="utf-8")) == values
    written: Counter[str] = Counter()
    for report in reports:
        written.update(report.written)
    flattened = {name for name in written if name in map("materialize:{}".format, FLATTENS)}
    assert flattened == {"materialize:Outer"}
    copies = [size for name, size in written.items() if name.startswith("materialize:ref_")]
    assert sum(copies) < 100, "of the side input only"


@pytest.mark.parametrize("first", [shuffle_job.known_first, shuffle_job.total_first])
def test_no_reader_of_a_flatten_waits_for_ever(tmp_path: Path, first: Any) -> None:
    """For a group that is complete only when it has read, too."""
    pipeline = beam.Pipeline(runner=DiskShuffleRunner(str(tmp_path)))
    shuffle_job.build_waiting(tmp_path / "result", first)(pipeline)
    pipeline.run().wait_until_finish()
    values = list(range(0, 400, 2))
    assert json.loads((tmp_path / "result").read_text(encoding="utf-8")) == values


def hashes_by(runner: Any, output: Path) -> dict[str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "DiskShuffleRunner", runner)
        assert curate(output) == 0
    return hashes(output)


@pytest.fixture(scope="module")
def hashes_by_beam(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    output = tmp_path_factory.mktemp("by_beam") / "dataset"
    return hashes_by(lambda folder, **options: FnApiRunner(**options), output)


@pytest.mark.parametrize("piece_bytes", [1, 20_000])
def test_pieces_change_no_byte_of_a_dataset(
    tmp_path: Path, hashes_by_beam: dict[str, str], piece_bytes: int
) -> None:
    """The run adds its accounting up, too, or it would fail."""
    small = functools.partial(DiskShuffleRunner, piece_bytes=piece_bytes)
    assert hashes_by(small, tmp_path / "dataset") == hashes_by_beam


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        disk_buffers.tempfile,
        "TemporaryFile",
        lambda **_: open("/dev/full", "r+b", buffering=0),  # noqa: PTH123, SIM115
    )
    with pytest.raises(PipelineError, match=r"no space left .* another --work-dir"):
        run_local(shuffle_job.build(tmp_path / "result"), shuffle_folder=tmp_path)


@pytest.mark.parametrize("flag", ["--direct_runner_bundle_repeat=1", "--direct_num_workers=4"])
def test_bundles_that_are_only_tried_and_workers_that_share_buffers(
    tmp_path: Path, flag: str
) -> None:
    """Beam can run bundles twice to find faults, and several workers in one process."""

    def build(pipeline: beam.Pipeline) -> None:
        _ = (
            pipeline
            | beam.Create(range(4000))
            | beam.Reshuffle()
            | beam.Map(_by_seven)
            | beam.GroupByKey()
            | beam.Map(functools.partial(_save_group, str(tmp_path)))
        )

    run_local(build, beam_arguments=[flag])
    found = {int(path.name): json.loads(path.read_text()) for path in tmp_path.iterdir()}
    assert found == {key: list(range(key, 4000, 7)) for key in range(7)}


def _by_seven(value: int) -> tuple[int, int]:
    return value % 7, value


def _save_group(folder: str, group: tuple[int, Any]) -> None:
    key, values = group
    (Path(folder) / str(key)).write_text(json.dumps(sorted(values)))


@pytest.mark.parametrize("free", [10**9, 10**12])
def test_too_little_room_is_said_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    line = shuffle_line(10 * 10**9, work)
    assert str(tmp_path) in line
    assert ("only 1.0 GB are free there; name another --work-dir" in line) == (free == 10**9)
