"""The runners by name, and what each of them is given."""

import contextlib
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.console.progress import ProgressLine
from pipeline.errors import PipelineError, UsageError
from pipeline.runners.beam_options import BeamOptions
from pipeline.runners.flink.settings import JAR_VARIABLE
from pipeline.runners.local import run_local
from pipeline.runners.options import RunnerOptions
from pipeline.runners.watched import run_watched
from pipeline.runners.worker_count import choose_workers
from schemas.machine import usable_cores, usable_memory

PRISM_VARIABLE = "FORUMPREFS_PRISM"
"""Environment variable that names Prism's binary."""

SHUFFLED_SHARE = 1.0
"""Bytes on disk at a time per byte of input: the most that was seen (docs/design.md, "Memory of a
local run"). Most of it, for a short time, are pairs of texts that share a phrase."""


def run_on(
    build: Callable[[beam.Pipeline], None],
    options: RunnerOptions,
    *,
    work: Path,
    input_bytes: int,
    bytes_to_hold: int,
) -> dict[str, tuple[float, float]]:
    """Run a pipeline on the runner that ``options`` name, and wait.

    The local runner has as many workers as ``options`` say (None: one), which
    :func:`workers_for` chooses.
    ``work``: folder for what lives as long as the run, the shuffled data of the local runner among
    it; ``bytes_to_hold``: of the inputs, uncompressed. Returns when each stage was seen at work, by
    time.monotonic(); nothing on other runners. Raises UsageError, PipelineError and
    WorkerDiedError.
    """
    if options.is_local:
        if not options.quiet:
            print(shuffle_line(bytes_to_hold, work), file=sys.stderr, flush=True)
        return run_local(
            build,
            workers=options.workers or 1,
            beam_arguments=options.beam_arguments,
            input_bytes=input_bytes,
            quiet=options.quiet,
            verbose=options.verbose,
            shuffle_folder=work,
        )
    with _temporary_files_in(work):
        _run_elsewhere(build, options, work, input_bytes)
    return {}


def workers_for(options: RunnerOptions, bytes_to_hold: int, units: int) -> int | None:
    """Return how many workers a run is to have; None: its runner knows.

    Says so where it was for us to choose. ``bytes_to_hold``: of the inputs, uncompressed;
    ``units``: into how many pieces joined work is cut.
    """
    if options.workers is not None or not options.is_local:
        return options.workers
    if any("direct_num_workers" in argument for argument in options.beam_arguments):
        return 1
    chosen = choose_workers(
        bytes_to_hold,
        cores=usable_cores(),
        memory=usable_memory(),
        unit_bytes=bytes_to_hold // units,
    )
    if not options.quiet and (chosen.workers > 1 or chosen.short_of_memory):
        processes = "worker processes" if chosen.workers > 1 else "worker process"
        print(
            f"{chosen.workers} {processes} ({chosen.reason}), about "
            f"{chosen.worker_memory / 1e9:.1f} GB each; --workers N takes another number",
            file=sys.stderr,
            flush=True,
        )
    return chosen.workers


def _run_elsewhere(
    build: Callable[[beam.Pipeline], None], options: RunnerOptions, work: Path, input_bytes: int
) -> None:
    if options.runner_kind == "flink":
        from pipeline.runners.flink.runner import run_flink

        run_flink(
            build,
            options.flink_settings(),
            work / "flink",
            beam_arguments=options.beam_arguments,
            input_bytes=input_bytes,
            quiet=options.quiet,
            verbose=options.verbose,
        )
    else:
        with contextlib.ExitStack() as stack:
            arguments = list(options.beam_arguments)
            if options.runner_kind == "prism":
                arguments.append(f"--job_endpoint={stack.enter_context(prism(arguments))}")
            elif options.runner_kind == "dataflow":
                from pipeline.runners.dataflow import dataflow_arguments

                arguments = dataflow_arguments(arguments, options.work_dir or "")
            progress = stack.enter_context(ProgressLine(input_bytes, quiet=options.quiet))
            # Where the steps run elsewhere their counters are not seen here.
            note = f"{options.beam_runner} is at work"
            error = run_watched(
                lambda: run_beam(build, options.beam_runner, arguments),
                lambda: progress.tick(note),
            )
            if error is not None:
                raise PipelineError(f"{options.beam_runner}: {error}") from error


@contextlib.contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Have Beam put what it stages into a folder that goes: it leaves that behind."""
    previous = tempfile.tempdir
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = previous


def check_runner(options: RunnerOptions) -> None:
    """Raise UsageError for what a runner lacks and that can be known before anything is read."""
    check_work_dir(options.work_dir)
    if options.runner_kind == "dataflow":
        from pipeline.runners.dataflow import dataflow_arguments

        dataflow_arguments(list(options.beam_arguments), options.work_dir or "")
    binary = os.environ.get(PRISM_VARIABLE)
    if options.runner_kind == "prism" and binary and not Path(binary).is_file():
        raise UsageError(f"${PRISM_VARIABLE} is {binary}: there is no such file")
    if options.runner_kind == "flink":
        settings = options.flink_settings()
        jar = settings.jar
        if jar is not None and "://" not in jar and not Path(jar).is_file():
            source = f"--flink-job-server-jar (or ${JAR_VARIABLE})"
            raise UsageError(f"{source} {jar}: there is no such file")
        if not settings.is_embedded:
            from pipeline.runners.flink.rest import FlinkRest
            from pipeline.runners.flink.runner import look_at_cluster

            look_at_cluster(FlinkRest(settings.master), settings, warn=False)


def check_work_dir(work_dir: str | None) -> None:
    """Raise UsageError for a folder that is not there or a filesystem that is not installed."""
    if work_dir is None:
        return
    if "://" not in work_dir:
        if not Path(work_dir).is_dir():
            raise UsageError(f"--work-dir {work_dir}: there is no such folder")
        return
    try:
        FileSystems.get_filesystem(work_dir)
    except ValueError:
        extra = "pip install 'forumprefs[gcp]'" if work_dir.startswith("gs:") else "its package"
        raise UsageError(
            f"--work-dir {work_dir}: no filesystem for such places is installed; it needs {extra}"
        ) from None


def shuffle_line(input_bytes: int, folder: Path) -> str:
    """Say where shuffled data go and whether there is room for them."""
    needed = input_bytes * SHUFFLED_SHARE
    free = shutil.disk_usage(folder).free
    size = f"{needed / 1e9:,.1f} GB" if needed >= 1e9 else f"{math.ceil(needed / 1e6)} MB"
    line = f"shuffling through files in {folder.parent}, up to about {size}"
    if free < needed:
        return f"{line}: only {free / 1e9:.1f} GB are free there; name another --work-dir"
    return line


def run_beam(build: Callable[[beam.Pipeline], None], runner: str, arguments: Sequence[str]) -> None:
    """Run a pipeline on one of Beam's runners and wait; raises whatever the runner does."""
    first = [f"--runner={runner}"]
    if runner == "PortableRunner" and not any("job_endpoint" in given for given in arguments):
        # Beam's own job service in this process: the way of the portable runners, cheaply.
        first += ["--job_endpoint=embed", "--environment_type=LOOPBACK"]
    pipeline = beam.Pipeline(options=BeamOptions([*first, *arguments]))
    build(pipeline)
    pipeline.run().wait_until_finish()


@contextlib.contextmanager
def prism(arguments: Sequence[str]) -> Iterator[str]:
    """Start Prism and yield its address; raises PipelineError.

    Left to itself Beam keeps one running until the interpreter exits in the usual way.
    """
    from apache_beam.runners.portability.prism_runner import PrismJobServer
    from apache_beam.utils.subprocess_server import pick_port

    (port,) = pick_port(None)
    location = os.environ.get(PRISM_VARIABLE)
    first = [f"--prism_location={location}"] if location else []  # what was said later counts
    server = PrismJobServer(PipelineOptions([*first, *arguments, f"--job_port={port}"]))
    try:
        server.start()
    except Exception as error:
        raise PipelineError(
            f"Prism did not start: {error}; --prism_location or ${PRISM_VARIABLE} names its binary"
        ) from error
    try:
        yield f"localhost:{port}"
    finally:
        server.stop()
