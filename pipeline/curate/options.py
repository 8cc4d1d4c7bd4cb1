"""The command line of ``forumprefs curate``: recipe options, run options, Beam's options."""

import argparse
import contextlib
import difflib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from pipeline.curate import recipe as recipes
from pipeline.curate.recipe import Recipe
from pipeline.errors import RecipeError
from pipeline.errors import UsageError as UsageError
from pipeline.hub.publish_target import PublishTarget, add_target_arguments, target_of
from pipeline.runners.flink.settings import (
    DEFAULT_STALL_MINUTES,
    EMBEDDED,
    JAR_VARIABLE,
    FlinkSettings,
)
from schemas.fields import field_docs, unwrap_optional

RUNNERS = {
    "local": ("local", "FnApiRunner"),
    "direct": ("local", "FnApiRunner"),
    "flink": ("flink", "FlinkRunner"),
    "prism": ("prism", "PrismRunner"),
    "portable": ("portable", "PortableRunner"),
    "dataflow": ("dataflow", "DataflowRunner"),
    "fnapi": ("local", "FnApiRunner"),
}
"""What a name (a ``runner`` at its end is left out) means to us, and what it is called in Beam."""

GROUPS: dict[str, tuple[str, ...]] = {
    "what to read": (
        "input",
        "include_meta",
        "takedown",
        "decontaminate",
        "reply_depth",
        "licenses",
        "pairs_columns",
    ),
    "filters": tuple(str(option.option) for option in recipes.FILTER_OPTIONS),
    "language": ("languages", "language_model", "min_language_probability", "min_prose_chars"),
    "deduplication": ("dedup", "dedup_threshold"),
    "votes and pairs": (
        "pairing",
        *(str(option.option) for option in recipes.LABEL_OPTIONS),
    ),
    "splits and shards": ("split", "seed", "shard_bytes", "conversational", "ids_only"),
}
"""Options of the recipe by heading, in the order of ``--help`` and docs/recipe.md."""


ALIASES = {"reply_depth": ("--reddit-depth",), "licenses": ("--license",)}
"""Other names of flags."""


RUN_OPTIONS: dict[str, type] = {
    "output": str,
    "runner": str,
    "workers": int,
    "flink_master": str,
    "flink_job_server_jar": str,
    "flink_stall_minutes": float,
    "partitions": int,
    "work_dir": str,
    "resume": bool,
    "overwrite": bool,
    "quiet": bool,
    "no_report": bool,
    "verbose": bool,
    "publish": str,
    "version": str,
    "private": bool,
    "endpoint": str,
    "allow_shrink": bool,
}
"""Options that a config file may also hold and that change no output byte."""


@dataclass(frozen=True)
class CurateOptions:
    """Everything ``forumprefs curate`` was told."""

    recipe: Recipe
    output: str
    runner: str
    workers: int | None
    partitions: int | None
    work_dir: str | None
    on_existing: Literal["refuse", "resume", "overwrite"]
    quiet: bool
    verbose: bool
    beam_arguments: tuple[str, ...]
    publish: PublishTarget | None = None
    flink_master: str | None = None
    flink_job_server_jar: str | None = None
    flink_stall_minutes: float = DEFAULT_STALL_MINUTES
    report: bool = False
    """Whether to make the HTML report, and to keep what only the run knows for it."""

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


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one flag per recipe field, typed and documented by the field."""
    docs = field_docs(Recipe)
    for heading, names in GROUPS.items():
        group = parser.add_argument_group(heading)
        for name in names:
            annotation, meta = docs[name]
            base, _ = unwrap_optional(annotation)
            flag = "--" + name.replace("_", "-")
            default = Recipe.__struct_defaults__[Recipe.__struct_fields__.index(name)]
            text = f"{meta.description}{_default_text(default)}".replace("%", "%%")
            arguments: dict[str, Any] = {"dest": name, "default": None, "help": text}
            if base is bool:
                arguments["action"] = argparse.BooleanOptionalAction
            elif name == "input":
                arguments |= {"action": "append", "metavar": "KIND=PATH"}
            elif get_origin(base) is Literal:
                arguments["choices"] = get_args(base)
            elif get_origin(base) is tuple:
                arguments["metavar"] = "A,B,…"
            elif base in (int, float):
                arguments |= {"type": base, "metavar": "N"}
            else:
                arguments["metavar"] = name.upper()
            group.add_argument(flag, *ALIASES.get(name, ()), **arguments)


def _default_text(default: Any) -> str:
    if default is None:
        return ""
    if isinstance(default, tuple):
        return f" (default: {','.join(default)})" if default else ""
    if isinstance(default, bool):
        return f" (default: {'yes' if default else 'no'})"
    return f" (default: {default})"


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how to run and change no output byte."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help="YAML with any of the options below, or a manifest.json; flags override it",
    )
    parser.add_argument(
        "--recipe-only",
        action="store_true",
        help="refuse a --config that says more than the recipe, such as where to publish",
    )
    parser.add_argument("--output", metavar="DIR", help="dataset folder to make")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument(
        "--resume", action="store_true", help="if DIR is finished and equal: nothing to do"
    )
    existing.add_argument("--overwrite", action="store_true", help="replace a finished DIR")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check options, inputs and where to publish in seconds; read and change nothing",
    )
    group = parser.add_argument_group("how to run (changes no output byte)")
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
        help="worker processes of the local runner (default: 1) or parallel steps on Flink "
        "(default: 1, on a cluster all its slots)",
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
        help="end a run on Flink that gets no further for so long "
        f"(default: {DEFAULT_STALL_MINUTES:g})",
    )
    group.add_argument(
        "--partitions", type=int, metavar="N", help="units of parallel work (default: by size)"
    )
    group.add_argument(
        "--work-dir",
        metavar="DIR",
        help="where archives are unpacked, shuffled data kept and workers write: a folder that all "
        "of them can reach, such as gs://bucket/tmp (default: beside the output)",
    )
    group.add_argument("--quiet", action="store_true", help="no progress, no summary, no report")
    group.add_argument(
        "--no-report", action="store_true", help="do not make the HTML report beside DIR"
    )
    group.add_argument("-v", "--verbose", action="store_true", help="show logs")
    add_target_arguments(parser)


def parse(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace, rest: Sequence[str]
) -> CurateOptions:
    """Turn parsed flags and what argparse left over into options; raises UsageError."""
    known = {name for names in GROUPS.values() for name in names}
    flags = {
        name: value
        for name, value in vars(arguments).items()
        if name in known and value is not None
    }
    values: dict[str, Any] = {}
    try:
        if arguments.config is not None:
            values = recipes.load(arguments.config)
            _check_names(values, known | RUN_OPTIONS.keys(), str(arguments.config))
            more = sorted(values.keys() & RUN_OPTIONS.keys())
            if arguments.recipe_only and more:
                raise RecipeError(f"{arguments.config}: {more[0]} is no option of the recipe")
            _set_run_options(arguments, values)
        recipe = recipes.make(values | flags)
    except RecipeError as error:
        raise UsageError(str(error)) from None
    if not recipe.input:
        raise UsageError("nothing to read: give --input KIND=PATH, e.g. stackexchange=PATH")
    if not arguments.output:
        raise UsageError("where to write? give --output DIR")
    arguments.runner = arguments.runner or "local"
    _check_runner(arguments)
    if arguments.partitions is not None and arguments.partitions < 1:
        raise UsageError(f"--partitions {arguments.partitions}: at least 1")
    beam_arguments = _beam_arguments(parser, rest)
    return CurateOptions(
        recipe=recipe,
        output=arguments.output,
        runner=arguments.runner,
        workers=arguments.workers,
        partitions=arguments.partitions,
        work_dir=arguments.work_dir,
        on_existing="resume"
        if arguments.resume
        else "overwrite"
        if arguments.overwrite
        else "refuse",
        quiet=arguments.quiet,
        report=not (arguments.quiet or arguments.no_report),
        verbose=arguments.verbose,
        beam_arguments=beam_arguments,
        publish=target_of(arguments),
        flink_master=arguments.flink_master,
        flink_job_server_jar=arguments.flink_job_server_jar,
        flink_stall_minutes=_stall_minutes(arguments),
    )


def _stall_minutes(arguments: argparse.Namespace) -> float:
    given: float | None = arguments.flink_stall_minutes
    return DEFAULT_STALL_MINUTES if given is None else given


def _check_runner(arguments: argparse.Namespace) -> None:
    """Refuse options that the runner cannot heed."""
    kind = runner_of(arguments.runner)[0]
    if kind == "other" and "." not in arguments.runner:
        known = {name.lower() for name in StandardOptions.KNOWN_RUNNER_NAMES}
        if arguments.runner.lower() not in known:
            close = difflib.get_close_matches(arguments.runner.lower(), RUNNERS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(RUNNERS)}"
            raise UsageError(
                f"--runner {arguments.runner}: no such runner; {hint} (Beam's others go by their "
                "class, such as SparkRunner)"
            )
    if kind == "local" and arguments.workers is None:
        arguments.workers = 1
    if arguments.workers is not None and arguments.workers < 1:
        raise UsageError(f"--workers {arguments.workers}: at least 1")
    if (arguments.workers or 1) > 1 and kind not in ("local", "flink"):
        raise UsageError(
            f"--workers {arguments.workers} is for the local runner and Flink; "
            f"{arguments.runner} has options of its own for that"
        )
    if kind == "dataflow" and "://" not in (arguments.work_dir or ""):
        raise UsageError(
            f"--runner {arguments.runner} needs --work-dir gs://bucket/folder: its workers cannot "
            "reach the disk of this machine"
        )
    if kind != "flink":
        for name in ("flink_master", "flink_job_server_jar", "flink_stall_minutes"):
            if getattr(arguments, name) is not None:
                raise UsageError(f"--{name.replace('_', '-')} needs --runner flink")
    elif not _stall_minutes(arguments) > 0:  # so not for nan either
        raise UsageError(f"--flink-stall-minutes {arguments.flink_stall_minutes:g}: more than 0")


def _set_run_options(arguments: argparse.Namespace, values: dict[str, Any]) -> None:
    """Move the run options of a config file to where the flags are, which override them."""
    for name, kind in RUN_OPTIONS.items():
        if name not in values:
            continue
        value = values.pop(name)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise RecipeError(f"{name}: {value!r} is not of type {kind.__name__}")
        if getattr(arguments, name) in (None, False):
            setattr(arguments, name, value)


def _check_names(values: dict[str, Any], known: set[str], where: str) -> None:
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise RecipeError(f"{where}: no option {name!r}{hint}")


def _beam_arguments(parser: argparse.ArgumentParser, rest: Sequence[str]) -> tuple[str, ...]:
    """Accept what Beam knows, refuse the rest by name."""
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
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    pending = list(PipelineOptions.__subclasses__())
    while pending:
        options = pending.pop()
        pending += options.__subclasses__()
        add = getattr(options, "_add_argparse_args", None)
        if add is not None:
            add(parser)
    return parser
