"""The command line of ``forumprefs curate``: recipe options, run options, Beam's options."""

import argparse
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pipeline.curate import recipe as recipes
from pipeline.curate.recipe import Recipe
from pipeline.curate.set_rules import FILTER_OPTIONS, LABEL_OPTIONS, with_flags
from pipeline.errors import RecipeError, UsageError
from pipeline.hub.publish_target import PublishTarget, add_target_arguments, target_of
from pipeline.runners.options import (
    RunnerOptions,
    add_runner_arguments,
    check_beam_arguments,
    runner_options,
)
from schemas.fields import field_docs, unwrap_optional

GROUPS: dict[str, tuple[str, ...]] = {
    "what to read": (
        "input",
        "include_meta",
        "takedown",
        "decontaminate",
        "reply_depth",
        "licenses",
        "pairs_columns",
        "pairs_rules",
    ),
    "filters": tuple(str(option.option) for option in FILTER_OPTIONS),
    "language": ("languages", "language_model", "min_language_probability", "min_prose_chars"),
    "deduplication": ("dedup", "dedup_threshold"),
    "votes and pairs": (
        "pairing",
        "vote_model",
        *(str(option.option) for option in LABEL_OPTIONS),
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
    "allow_unmatched": bool,
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


@dataclass(frozen=True, kw_only=True)
class CurateOptions(RunnerOptions):
    """Everything ``forumprefs curate`` was told."""

    recipe: Recipe
    output: str
    on_existing: Literal["refuse", "resume", "overwrite"] = "refuse"
    partitions: int | None = None
    publish: PublishTarget | None = None
    allow_unmatched: bool = False
    """Whether entries of the takedown list may name no post in the inputs."""
    report: bool = False
    """Whether to make the HTML report, and to keep what only the run knows for it."""


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
        help="refuse a --config that holds anything beyond the recipe, such as a publish target",
    )
    parser.add_argument("--output", metavar="DIR", help="dataset folder to make")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument(
        "--resume",
        action="store_true",
        help="do nothing if DIR is already finished from the same recipe and inputs",
    )
    existing.add_argument("--overwrite", action="store_true", help="replace a finished DIR")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check options, inputs and the publish target in seconds; read and change nothing",
    )
    group = parser.add_argument_group("how to run (changes no output byte)")
    add_runner_arguments(group)
    group.add_argument(
        "--partitions",
        type=int,
        metavar="N",
        help="units of parallel work (default: chosen from the size of the inputs)",
    )
    group.add_argument(
        "--allow-unmatched",
        action="store_true",
        help="go on where entries of the takedown list name no post in the inputs",
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
                raise RecipeError(f"{arguments.config}: {more[0]} is not an option of the recipe")
            _set_run_options(arguments, values)
        recipe = recipes.make(with_flags(values, flags))
    except RecipeError as error:
        raise UsageError(str(error)) from None
    if not recipe.input:
        raise UsageError("nothing to read: give --input KIND=PATH, e.g. stackexchange=PATH")
    if not arguments.output:
        raise UsageError("where to write? give --output DIR")
    if arguments.partitions is not None and arguments.partitions < 1:
        raise UsageError(f"--partitions {arguments.partitions}: at least 1")
    runner = runner_options(arguments, check_beam_arguments(parser, rest))
    on_existing: Literal["refuse", "resume", "overwrite"] = "refuse"
    if arguments.resume or arguments.overwrite:
        on_existing = "resume" if arguments.resume else "overwrite"
    return CurateOptions(
        recipe=recipe,
        output=arguments.output,
        on_existing=on_existing,
        partitions=arguments.partitions,
        publish=target_of(arguments),
        allow_unmatched=arguments.allow_unmatched,
        report=not (arguments.quiet or arguments.no_report),
        **vars(runner),
    )


def _set_run_options(arguments: argparse.Namespace, values: dict[str, Any]) -> None:
    """Move the run options of a config file to where the flags are, which override them."""
    recipes.check_values(values)
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
