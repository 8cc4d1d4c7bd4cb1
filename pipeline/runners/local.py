"""Run a pipeline on this machine, and fail instead of hanging when a worker dies.

``local`` is Beam's FnApiRunner with its shuffles on disk (see disk_shuffle.py). A plain
DirectRunner of Beam 2.77 first tries to download another engine. With worker processes,
FnApiRunner waits for ever for a worker that has died (killed for memory, say); the watchdog here
ends the run with a clear error.
"""

import gc
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from pipeline.console.progress import ProgressLine
from pipeline.errors import PipelineError, WorkerDiedError
from pipeline.runners.beam_options import BeamOptions
from pipeline.runners.blob_files import blob_folder
from pipeline.runners.disk_shuffle import DiskShuffleRunner
from pipeline.runners.watched import run_watched
from pipeline.runners.worker import WORKER_MODULE, tune_gc, worker_command
from transforms.core.counters import PROGRESS_DIR_VARIABLE

WORKER_GRACE_S = 10.0
"""How long a run may continue after a worker ended without an error before it counts as dead."""

WORKER_THREAD = "run_worker"
"""Name that FnApiRunner gives to the thread that waits for a worker process."""


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
    with (
        blob_folder(shuffle_folder),
        tempfile.TemporaryDirectory(prefix="forumprefs-workers-") as folder,
    ):
        log = None if verbose else Path(folder) / "workers.log"
        arguments = [*beam_arguments]
        environment = None
        if workers > 1:
            os.environ[PROGRESS_DIR_VARIABLE] = folder
            environment = SubprocessSDKEnvironment.from_command_string(
                worker_command(WORKER_MODULE, log)
            )
            arguments.append(f"--direct_num_workers={workers}")
        runner = DiskShuffleRunner(
            str(shuffle_folder) if shuffle_folder else None, default_environment=environment
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

            with progress, _Watchdog(log) as watchdog:

                def look() -> None:
                    progress.tick()
                    watchdog.check()

                error = run_watched(run, look)
            if error is not None:
                raise PipelineError(str(error)) from error
            progress.tick()
            return progress.spans
        finally:
            gc.set_threshold(*threshold)
            os.environ.pop(PROGRESS_DIR_VARIABLE, None)


class _Watchdog:
    """Notices worker processes that end early."""

    def __init__(self, log: Path | None) -> None:
        self._log = log
        self._workers: set[threading.Thread] = set()
        self._error: str | None = None
        self._gone_since: float | None = None
        self._previous_hook: Any = None

    def __enter__(self) -> "_Watchdog":
        self._previous_hook = threading.excepthook
        threading.excepthook = self._hook
        return self

    def __exit__(self, *_: object) -> None:
        threading.excepthook = self._previous_hook

    def _hook(self, arguments: threading.ExceptHookArgs) -> None:
        if arguments.thread is not None and arguments.thread.name == WORKER_THREAD:
            self._error = str(arguments.exc_value)
        else:
            self._previous_hook(arguments)

    def check(self) -> None:
        """Raise WorkerDiedError when a worker has ended while the run continues."""
        self._workers |= {
            thread for thread in threading.enumerate() if thread.name == WORKER_THREAD
        }
        if self._error is not None:
            raise WorkerDiedError(
                f"a worker process died: {self._error}. {_ADVICE}{self._last_words()}"
            )
        if all(worker.is_alive() for worker in self._workers):
            self._gone_since = None
            return
        now = time.monotonic()
        self._gone_since = self._gone_since or now
        if now - self._gone_since > WORKER_GRACE_S:
            raise WorkerDiedError(
                f"a worker process ended before the run did. {_ADVICE}{self._last_words()}"
            )

    def _last_words(self) -> str:
        """End of the workers' log, without the lines of a healthy start."""
        if self._log is None or not self._log.is_file():
            return ""
        lines = self._log.read_text(errors="replace").splitlines()
        words = [line for line in lines if line and not line.startswith(("INFO", "WARNING"))][-8:]
        return "\nIts log ends with:\n  " + "\n  ".join(words) if words else ""


_ADVICE = (
    "The usual cause is memory: use fewer --workers, or more --partitions so that each unit of "
    "work is smaller. Nothing was written to the output folder."
)
