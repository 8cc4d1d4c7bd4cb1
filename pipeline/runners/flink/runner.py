"""Run a pipeline on Flink: on one that this process starts, or on a cluster.

Beam's job server (a Java program) translates the graph and hands it to Flink; Python workers are
processes that Flink starts (``pipeline.runners.flink.worker``). Flink reports no counters of a
batch job before its end, so progress comes from two places: the files of counters that workers
leave in a folder they share with this process, and Flink's REST interface.
"""

import contextlib
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    JobServerOptions,
    PipelineOptions,
    PortableOptions,
)

from pipeline.console.progress import ProgressLine
from pipeline.errors import FlinkUnreachableError, JobServerError, PipelineError, UsageError
from pipeline.runners.beam_options import BeamOptions
from pipeline.runners.flink.job_server import (
    EMBEDDED_JVM,
    EMBEDDED_SETTINGS,
    find_jar,
    free_ports,
    job_server,
    last_words,
)
from pipeline.runners.flink.rest import ENDED, FlinkRest, JobState, check_cluster, root_cause
from pipeline.runners.flink.settings import EMBEDDED, FlinkSettings
from pipeline.runners.flink.worker import write_command
from pipeline.runners.watched import POLL_S, run_watched
from transforms.core.counters import PROGRESS_DIR_VARIABLE

REST_INTERVAL_S = 2.0
CANCEL_S = 15.0
"""How long a cluster may take to end a job that is cancelled; schedulers kill us after 30."""
APPEAR_S = 5.0
"""How long a job that was handed to Flink may take until Flink lists it."""
BUILDING = "building the job"
UNREACHABLE_S = 120.0
"""How long the REST interface may be silent before the run is given up."""

WORKER_CACHE_MS = 60_000
"""How long an idle worker is kept for the next step."""

STALL_ADVICE = (
    "The usual causes: a TaskManager was lost and jobmanager.execution.failover-strategy is not "
    "full; a worker is short of memory and swaps; a worker command that does not exist on the "
    "TaskManager's machine. docs/runners.md has the settings."
)


def run_flink(
    build: Callable[[beam.Pipeline], None],
    settings: FlinkSettings,
    folder: Path,
    *,
    name: str = "forumprefs",
    beam_arguments: Sequence[str] = (),
    input_bytes: int = 0,
    quiet: bool = True,
    verbose: bool = False,
) -> None:
    """Build and run a pipeline on Flink and wait for its end.

    ``folder``: an empty one that the workers can reach under the same path. Raises UsageError for
    what can be fixed before the run, and PipelineError, with Flink's own words, when it fails or
    stands still.
    """
    (folder / "progress").mkdir(parents=True)
    target = _embedded(folder, settings) if settings.is_embedded else _cluster(settings)
    jar = find_jar(settings.jar, target.version)
    server = PipelineOptions(list(beam_arguments)).view_as(JobServerOptions)
    log = folder / "job-server.log"
    try:
        with (
            ProgressLine(input_bytes, folder=folder / "progress", quiet=quiet) as progress,
            _quiet_threads() as stopped,
            job_server(
                jar,
                target.address,
                folder,
                settings=target.flink_settings,
                jvm_flags=server.job_server_jvm_properties or target.jvm_flags,
                java=server.job_server_java_launcher,
                waiting=lambda: progress.tick("starting Beam's job server for Flink"),
            ) as endpoint,
        ):
            job = _Job(target.rest, name=_job_name(name), progress=progress, settings=settings)
            options = _beam_options(
                beam_arguments,
                endpoint=endpoint,
                command=write_command(folder / "worker", folder / "workers.log"),
                progress=folder / "progress",
                parallelism=target.parallelism,
                job_name=job.name,
                embedded=settings.is_embedded,
            )
            try:
                job.run(build, options)
            except PipelineError as error:
                # The embedded Flink is gone when its job is, but its log is there.
                said = _cause_in(log) if settings.is_embedded and error.__cause__ else ""
                raise PipelineError(said or str(error)) from (error.__cause__ or error)
            finally:
                stopped.set()
    except (JobServerError, PipelineError) as error:
        words = last_words(folder / "workers.log") or last_words(log) if verbose else ""
        raise PipelineError(f"Flink: {error}{words}") from error


@dataclass(frozen=True)
class _Target:
    """The Flink that a job goes to, and what the job server has to know of it."""

    rest: FlinkRest
    address: str
    """What the job server calls it."""
    parallelism: int
    version: str | None = None
    """Minor version; None: the one that Beam's job server holds."""
    flink_settings: Mapping[str, str] = field(default_factory=dict)
    jvm_flags: Sequence[str] = ()


def _embedded(folder: Path, settings: FlinkSettings) -> _Target:
    """A Flink inside the job server, its files in ``folder``."""
    (port,) = free_ports(1)
    return _Target(
        FlinkRest(f"http://localhost:{port}"),
        EMBEDDED,
        settings.workers or 1,
        flink_settings=EMBEDDED_SETTINGS
        | {"rest.bind-port": str(port), "rest.port": str(port), "io.tmp.dirs": str(folder)},
        jvm_flags=EMBEDDED_JVM,
    )


def _cluster(settings: FlinkSettings) -> _Target:
    """A cluster that is there; raises UsageError for one that cannot run the job."""
    rest = FlinkRest(settings.master)
    parallelism, version = look_at_cluster(rest, settings)
    return _Target(rest, rest.url.partition("://")[2], parallelism, version)


@contextlib.contextmanager
def _quiet_threads() -> Iterator[threading.Event]:
    """Yield an event; once it is set, Beam's threads do not print that the job server is gone."""
    previous = threading.excepthook
    stopped = threading.Event()

    def hook(given: threading.ExceptHookArgs) -> None:
        if not (stopped.is_set() and isinstance(given.exc_value, grpc.RpcError)):
            previous(given)

    threading.excepthook = hook
    try:
        yield stopped
    finally:
        threading.excepthook = previous


def _cause_in(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    return root_cause("\n".join(line for line in lines if line.startswith("Caused by: ")))


def look_at_cluster(
    rest: FlinkRest, settings: FlinkSettings, *, warn: bool = True
) -> tuple[int, str]:
    """Check a cluster before anything is sent to it; returns parallelism and minor version.

    Raises UsageError for one that cannot run the job.
    """
    try:
        for warning in check_cluster(rest, settings.workers):
            if warn:
                print(f"warning: Flink: {warning}", file=sys.stderr, flush=True)
        total, _ = rest.slots()
        version = ".".join(rest.version().split(".")[:2])
    except FlinkUnreachableError as error:
        raise UsageError(
            f"--flink-master {settings.master}: {error}; HOST:PORT of its REST interface is "
            "wanted, usually port 8081"
        ) from None
    except ValueError as error:
        raise UsageError(str(error)) from None
    if settings.jar is None and version not in FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS:
        raise UsageError(
            f"--flink-master {settings.master} runs Flink {version}, for which this Beam has no "
            f"job server; it has {', '.join(FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS)}"
        )
    built = re.search(r"flink-(\d+\.\d+)", Path(settings.jar).name) if settings.jar else None
    if built is not None and built[1] != version:
        raise UsageError(
            f"--flink-master {settings.master} runs Flink {version}, and {settings.jar} is for "
            f"{built[1]}; both must be the same"
        )
    return settings.workers or total, version


def _job_name(name: str) -> str:
    """A name that tells this job from others on the cluster; it reaches no output."""
    return f"{name}-{time.time_ns():x}"


def _beam_options(
    given: Sequence[str],
    *,
    endpoint: str,
    command: Path,
    progress: Path,
    parallelism: int,
    job_name: str,
    embedded: bool,
) -> PipelineOptions:
    """Beam's options of the job; what the user gave is left as it is."""
    seen = PipelineOptions(list(given))
    arguments = [
        "--runner=PortableRunner",
        f"--job_endpoint={endpoint}",
        f"--job_name={job_name}",
        f"--environment_cache_millis={WORKER_CACHE_MS}",
        # Beam would ask pip for all packages here, to log them where a container lacks some.
        "--experiments=disable_logging_submission_environment",
    ]
    if seen.view_as(FlinkRunnerOptions).parallelism < 1:
        arguments.append(f"--parallelism={parallelism}")
    if seen.view_as(PortableOptions).environment_type is None:
        environment = {"command": str(command), "env": {PROGRESS_DIR_VARIABLE: str(progress)}}
        arguments += [
            "--environment_type=PROCESS",
            f"--environment_config={json.dumps(environment)}",
        ]
        if embedded:
            # One TaskManager; a cluster has a worker for each of its own.
            arguments.append(f"--sdk_worker_parallelism={parallelism}")
    return BeamOptions([*arguments, *given])


class _Job:
    """One job from submission to its end, watched."""

    def __init__(
        self, rest: FlinkRest, *, name: str, progress: ProgressLine, settings: FlinkSettings
    ) -> None:
        self.name = name
        self._rest = rest
        self._progress = progress
        self._settings = settings
        self._id: str | None = None
        self._state: JobState | None = None
        self._phase = ""
        self._given_up = False
        self._signature: object = None
        self._moved = self._answered = time.monotonic()
        self._next_look = 0.0

    def run(self, build: Callable[[beam.Pipeline], None], options: PipelineOptions) -> None:
        """Submit and wait; raises PipelineError."""

        def submit() -> None:
            self._phase = BUILDING
            pipeline = beam.Pipeline(options=options)
            build(pipeline)
            if self._given_up:
                return
            self._phase = "handing the job to Flink"
            result = pipeline.run()
            self._phase = "waiting for Flink to begin"
            result.wait_until_finish()

        try:
            error = run_watched(submit, self._look)
        except BaseException:
            self._cancel()
            raise
        if error is not None:
            text = self._explain(error)
            with contextlib.suppress(FlinkUnreachableError, KeyError):
                if self._id is None:
                    self._ask()
            if self._id is not None:  # what failed may be the job server, and the job continues
                self._cancel()
            raise PipelineError(text) from error

    def _look(self) -> None:
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + REST_INTERVAL_S
            try:
                self._ask()
                self._answered = now
            except (FlinkUnreachableError, KeyError) as error:
                # The embedded one is up only while it has a job.
                if self._id is not None and now - self._answered > UNREACHABLE_S:
                    raise PipelineError(str(error)) from None
        self._progress.tick(self._state.describe() if self._state else self._phase)
        self._check_stall(now)

    def _ask(self) -> None:
        if self._id is None:
            self._id = next((i for i, name in self._rest.jobs().items() if name == self.name), None)
        if self._id is None:
            return
        state = self._rest.job_state(self._id)
        if self._state is not None and state.restarts > self._state.restarts:
            self._progress.begin_again()
            why = self._rest.last_error(self._id) or "no reason is known"
            print(f"Flink starts the job again: {why}", file=sys.stderr, flush=True)
        self._state = state

    def _check_stall(self, now: float) -> None:
        signature = (self._state and self._state.signature, self._progress.signature())
        if signature != self._signature:
            self._signature, self._moved = signature, now
        ended = self._state is not None and self._state.name in ENDED
        if now - self._moved > self._settings.stall_minutes * 60 and not ended:
            at = ", ".join(self._state.running[:3]) if self._state else "before it had begun"
            raise PipelineError(
                f"no progress for {self._settings.stall_minutes:g} minutes ({at[:300]}); the job "
                f"was cancelled. {STALL_ADVICE}"
            )

    def _explain(self, error: BaseException) -> str:
        """Flink's root cause where it has one, Beam's words otherwise."""
        text = str(error)
        with contextlib.suppress(FlinkUnreachableError, KeyError):
            if self._id is not None:
                text = self._rest.last_error(self._id) or text
        return text

    def _cancel(self) -> None:
        """Ask a cluster to end the job and wait until it has, as its workers use this run's folder.

        An embedded Flink ends with its job server.
        """
        self._given_up = True
        if self._settings.is_embedded:
            return
        began = time.monotonic()
        asked = False
        while time.monotonic() - began < CANCEL_S:
            # Silent for once, it may answer the next time.
            with contextlib.suppress(FlinkUnreachableError, KeyError):
                if self._id is None:  # looks are seconds apart: it may have begun since
                    self._ask()
                if self._id is None:
                    if not self._is_handed_over or time.monotonic() - began > APPEAR_S:
                        break
                elif self._rest.job_state(self._id).name in ENDED:
                    return
                elif not asked:
                    self._rest.cancel(self._id)
                    asked = True
                    print("Flink: cancelling the job", file=sys.stderr, flush=True)
            time.sleep(POLL_S)
        if self._id is None and not self._is_handed_over:
            return
        state = "was cancelled and continues" if asked else "could not be cancelled"
        waited = f"after {time.monotonic() - began:.0f} s"
        print(
            f"warning: Flink: the job {self.name} {state} {waited}; look at {self._rest.url}",
            file=sys.stderr,
            flush=True,
        )

    @property
    def _is_handed_over(self) -> bool:
        return self._phase not in ("", BUILDING)
