"""Run a pipeline on this machine, and fail instead of hanging when a worker dies.

``local`` is Beam's FnApiRunner with its shuffles on disk (see disk_shuffle.py) and with worker
processes of ours (see worker_processes.py). A plain DirectRunner of Beam 2.77 first tries to
download another engine.
"""

import contextlib
import gc
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import apache_beam as beam

from pipeline.console.progress import ProgressLine
from pipeline.errors import PipelineError
from pipeline.runners.beam_options import BeamOptions
from pipeline.runners.blob_files import blob_folder
from pipeline.runners.disk_shuffle import DiskShuffleRunner
from pipeline.runners.watched import run_watched
from pipeline.runners.worker import tune_gc
from pipeline.runners.worker_processes import WorkerProcesses
from transforms.core.blobs import SHUFFLE_DIR_VARIABLE
from transforms.core.counters import PROGRESS_DIR_VARIABLE


def run_local(
    build: Callable[[beam.Pipeline], None],
    *,
    workers: int = 1,
    beam_arguments: Sequence[str] = (),
    input_bytes: int = 0,
    quiet: bool = True,
    verbose: bool = False,
    shuffle_folder: Path | None = None,
) -> dict[str, tuple[float, float]]:
    """Build and run a pipeline on this machine and wait for its end.

    Shuffled data are files in ``shuffle_folder`` (None: the system's folder for temporary files).

    Returns when each stage was seen at work (`ProgressLine.spans`); nothing where ``quiet``.

    Raises PipelineError with the pipeline's own error as cause, or WorkerDiedError. After either,
    and after KeyboardInterrupt, threads of the runner may still be waiting in this process.
    """
    with contextlib.ExitStack() as stack:
        blobs = stack.enter_context(blob_folder(shuffle_folder))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="forumprefs-workers-"))
        arguments = [*beam_arguments]
        processes = None
        if workers > 1:
            log = None if verbose else Path(folder) / "workers.log"
            variables = {PROGRESS_DIR_VARIABLE: folder, SHUFFLE_DIR_VARIABLE: blobs}
            processes = stack.enter_context(WorkerProcesses(log, variables))
            arguments.append(f"--direct_num_workers={workers}")
        runner = DiskShuffleRunner(
            str(shuffle_folder) if shuffle_folder else None,
            default_environment=processes.environment if processes else None,
        )
        threshold = gc.get_threshold()
        tune_gc()
        try:
            progress = ProgressLine(
                input_bytes, folder=Path(folder) if workers > 1 else None, quiet=quiet
            )

            def run() -> None:
                pipeline = beam.Pipeline(runner=runner, options=BeamOptions(arguments))
                build(pipeline)
                pipeline.run().wait_until_finish()

            def look() -> None:
                progress.tick()
                if processes is not None:
                    processes.check()

            with progress:
                error = run_watched(run, look)
            if error is not None:
                raise PipelineError(str(error)) from error
            progress.tick()
            return progress.spans
        finally:
            gc.set_threshold(*threshold)
