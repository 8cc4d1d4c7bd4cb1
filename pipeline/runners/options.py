"""Where and how a pipeline runs: the options of every runner, and which go together.

None of them changes an output byte.
"""

import argparse
import contextlib
import difflib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import UsageError
from pipeline.runners.flink.settings import (
    DEFAULT_STALL_MINUTES,
    EMBEDDED,
    JAR_VARIABLE,
    FlinkSettings,
)

RUNNERS = {
    "local": ("local", "FnApiRunner"),
    "direct": ("local", "FnApiRunner"),
    "flink": ("flink", "FlinkRunner"),
    "prism": ("prism", "PrismRunner"),
    "portable": ("portable", "PortableRunner"),
    "dataflow": ("dataflow", "DataflowRunner"),
    "fnapi": ("local", "FnApiRunner"),
}
"""Our kind of runner and Beam's class, by the name given (without ``runner`` at its end)."""


@dataclass(frozen=True, kw_only=True)
class RunnerOptions:
    """Which runner a pipeline runs on, and what that runner is told."""

    runner: str = "local"
    workers: int | None = None
    work_dir: str | None = None
    beam_arguments: tuple[str, ...] = ()
    flink_master: str | None = None
    flink_job_server_jar: str | None = None
    flink_stall_minutes: float = DEFAULT_STALL_MINUTES
    quiet: bool = False
    verbose: bool = False

    @property
    def runner_kind(self) -> str:
        """``local``, ``flink`` and so on, or ``other`` for a runner that only Beam knows."""
        return runner_of(self.runner)[0]

    @property
    def beam_runner(self) -> str:
        """Beam's name of the runner."""
        return runner_of(self.runner)[1]

    @property
    def local_work_dir(self) -> str | None:
        """Folder of this machine for what is unpacked, or None: beside the output."""
        return None if self.work_dir is None or "://" in self.work_dir else self.work_dir

    @property
    def is_local(self) -> bool:
        """Whether the pipeline runs inside this process and its children."""
        return self.runner_kind == "local"

    def flink_settings(self) -> FlinkSettings:
        """Where the run goes when the runner is Flink."""
        return FlinkSettings(
            master=self.flink_master or EMBEDDED,
            jar=self.flink_job_server_jar or os.environ.get(JAR_VARIABLE) or None,
            workers=self.workers,
            stall_minutes=self.flink_stall_minutes,
        )


def runner_of(name: str) -> tuple[str, str]:
    """Return our kind of runner and Beam's name for what ``--runner`` says."""
    return RUNNERS.get(name.lower().removesuffix("runner"), ("other", name))


def add_runner_arguments(group: argparse._ArgumentGroup) -> None:
    """Add the options of the runners to a group of a parser."""
    group.add_argument(
        "--runner",
        help="'local' (default: Beam's FnApiRunner, its shuffles on disk), 'flink', 'dataflow', "
        "'prism', 'portable', or the name of another Beam runner; docs/runners.md says which "
        "one when",
    )
    group.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="worker processes of the local runner (default: one for each core where the input is "
        "worth it and memory allows) or parallel steps on Flink (default: 1, on a cluster all its "
        "slots)",
    )
    group.add_argument(
        "--work-dir",
        metavar="DIR",
        help="where archives are unpacked, shuffled data kept and workers write: a folder that all "
        "of them can reach, such as gs://bucket/tmp (default: beside the output)",
    )
    group.add_argument(
        "--flink-master",
        "--flink_master",
        metavar="HOST:PORT",
        help="REST address of a Flink cluster, such as localhost:8081 (default: '[local]', a "
        "Flink that is started for this run)",
    )
    group.add_argument(
        "--flink-job-server-jar",
        "--flink_job_server_jar",
        metavar="JAR",
        help="Beam's job server for your version of Flink (default: "
        f"${JAR_VARIABLE}, or else the one that Beam fetches)",
    )
    group.add_argument(
        "--flink-stall-minutes",
        type=float,
        metavar="N",
        help="end a run on Flink that makes no progress for N minutes "
        f"(default: {DEFAULT_STALL_MINUTES:g})",
    )


def runner_options(
    arguments: argparse.Namespace, beam_arguments: tuple[str, ...] = ()
) -> RunnerOptions:
    """Turn parsed arguments into options; raises UsageError for what the runner cannot heed."""
    runner = arguments.runner or "local"
    kind = runner_of(runner)[0]
    if kind == "other":
        _check_name(runner)
    workers = arguments.workers
    if workers is not None and workers < 1:
        raise UsageError(f"--workers {workers}: at least 1")
    if (workers or 1) > 1 and kind not in ("local", "flink"):
        raise UsageError(
            f"--workers {workers} is for the local runner and Flink; "
            f"{runner} has options of its own for that"
        )
    if kind == "dataflow" and "://" not in (arguments.work_dir or ""):
        raise UsageError(
            f"--runner {runner} needs --work-dir gs://bucket/folder: its workers cannot "
            "reach the disk of this machine"
        )
    if kind != "flink":
        for name in ("flink_master", "flink_job_server_jar", "flink_stall_minutes"):
            if getattr(arguments, name) is not None:
                raise UsageError(f"--{name.replace('_', '-')} needs --runner flink")
    stall_minutes = arguments.flink_stall_minutes
    if stall_minutes is None:
        stall_minutes = DEFAULT_STALL_MINUTES
    if not stall_minutes > 0:  # so not for nan either
        raise UsageError(f"--flink-stall-minutes {stall_minutes:g}: more than 0")
    return RunnerOptions(
        runner=runner,
        workers=workers,
        work_dir=arguments.work_dir,
        beam_arguments=beam_arguments,
        flink_master=arguments.flink_master,
        flink_job_server_jar=arguments.flink_job_server_jar,
        flink_stall_minutes=stall_minutes,
        quiet=arguments.quiet,
        verbose=arguments.verbose,
    )


def _check_name(runner: str) -> None:
    """Refuse a runner that neither we nor Beam know; a path of a class is taken as it is."""
    from apache_beam.options.pipeline_options import StandardOptions  # so not for --help

    known = {name.lower() for name in StandardOptions.KNOWN_RUNNER_NAMES}
    if "." in runner or runner.lower() in known:
        return
    close = difflib.get_close_matches(runner.lower(), RUNNERS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(RUNNERS)}"
    raise UsageError(
        f"--runner {runner}: no such runner; {hint} (Beam's others go by their "
        "class, such as SparkRunner)"
    )


def check_beam_arguments(parser: argparse.ArgumentParser, rest: Sequence[str]) -> tuple[str, ...]:
    """Check what ``parser`` did not know: Beam's options are accepted.

    Raises UsageError for others, with the option of ``parser`` or Beam that comes closest.
    """
    if not rest:  # then Beam need not be loaded yet, nor its hundreds of options gathered
        return ()
    beam_parser = _beam_parser()
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            _, unknown = beam_parser.parse_known_args(list(rest))
        except SystemExit:
            raise UsageError(errors.getvalue().strip().splitlines()[-1]) from None
    if unknown:
        name = unknown[0].split("=")[0]
        ours = [flag for action in parser._actions for flag in action.option_strings]
        beams = [flag for action in beam_parser._actions for flag in action.option_strings]
        close = difflib.get_close_matches(name, [*ours, *beams], n=1)
        hint = f"; did you mean {close[0]}?" if close else "; see forumprefs curate --help"
        raise UsageError(f"no option {name}{hint}")
    return tuple(rest)


def _beam_parser() -> argparse.ArgumentParser:
    from apache_beam.options.pipeline_options import PipelineOptions

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    pending = list(PipelineOptions.__subclasses__())
    while pending:
        options = pending.pop()
        pending += options.__subclasses__()
        add = getattr(options, "_add_argparse_args", None)
        if add is not None:
            add(parser)
    return parser
