"""The files of shuffled blobs live as long as somebody may read them, and no longer."""

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import PipelineError
from pipeline.runners import blob_files
from pipeline.runners.blob_files import BlobFiles, blob_folder
from pipeline.runners.local import run_local
from tests import blob_job
from tests.patience import PATIENCE_S
from transforms.core import SHUFFLE_DIR_VARIABLE, Blob, StructCoder

FORTH = [number.to_bytes(2, "little").hex() for number in range(blob_job.BLOBS)]
BACK = [number.to_bytes(2, "big").hex() for number in range(blob_job.BLOBS)]
ASIDE = BACK[:: blob_job.KEYS]
ALL = blob_job.BLOBS * blob_job.SIZE


def run(tmp_path: Path, **options: Any) -> dict[str, Any]:
    job = {name: options.pop(name) for name in ("aside", "again") if name in options}
    work = tmp_path / "work"
    work.mkdir()
    run_local(blob_job.build(tmp_path / "result", **job), shuffle_folder=work, **options)
    assert list(work.iterdir()) == [], "nothing is left behind"
    assert SHUFFLE_DIR_VARIABLE not in os.environ
    found: dict[str, Any] = json.loads((tmp_path / "result").read_text())
    assert found["blobs"] == sorted(FORTH + BACK)
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_what_has_been_used_is_deleted_between_stages(tmp_path: Path, workers: int) -> None:
    """All that the last stage finds on disk is what it reads: each blob, once."""
    assert run(tmp_path, workers=workers)["on_disk"] == 2 * ALL


def test_bundles_that_are_only_tried_leave_nothing(tmp_path: Path) -> None:
    found = run(tmp_path, beam_arguments=["--direct_runner_bundle_repeat=1"])
    assert found["on_disk"] <= 4 * ALL, "the tried ones are in files with the others"


def test_several_workers_in_one_process_have_files_of_their_own(tmp_path: Path) -> None:
    run(tmp_path, beam_arguments=["--direct_num_workers=3"])


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_read_on_the_side_stays(tmp_path: Path, workers: int) -> None:
    assert run(tmp_path, workers=workers, aside=True)["aside"] == sorted(ASIDE)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_went_through_buffers_of_beams_own_is_deleted_too(
    tmp_path: Path, workers: int
) -> None:
    assert run(tmp_path, workers=workers, again=True)["on_disk"] == 2 * ALL


def test_a_file_that_is_deleted_too_early_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob_files, "places_in", lambda elements: iter(()))
    with pytest.raises(PipelineError, match="shuffled data are gone"):
        run(tmp_path)


def test_a_file_goes_with_the_last_that_holds_it(tmp_path: Path) -> None:
    with blob_folder(tmp_path) as folder:
        files = BlobFiles()
        encoded = StructCoder(Blob).encode(Blob(b"x" * 10_000))
        (path,) = Path(folder).iterdir()
        first, second = files.held(), files.held()
        first.add(b"some" + encoded + encoded)
        second.add(encoded)
        assert first.size == 20_000
        del first
        files.sweep()
        assert path.exists()
        del second
        files.sweep()
        assert not path.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_during_another_one_has_files_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """It begins when the other one has blobs on disk, and ends before that reads them."""
    begun, done = threading.Event(), threading.Event()

    def wait_once() -> None:
        if not begun.is_set():
            begun.set()
            assert done.wait(PATIENCE_S)

    monkeypatch.setattr(blob_job, "pause", wait_once)
    folders = [tmp_path / name for name in ("long", "short")]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor(1) as thread:
        long = thread.submit(run, folders[0])
        try:
            assert begun.wait(PATIENCE_S)
            short = run(folders[1], workers=workers)
        finally:
            done.set()
        assert [short["on_disk"], long.result()["on_disk"]] == [2 * ALL] * 2


def test_a_failed_run_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="no-such-folder"):
        run_local(blob_job.build(tmp_path / "no-such-folder" / "x"), shuffle_folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
