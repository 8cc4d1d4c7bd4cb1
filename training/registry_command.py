"""``forumprefs promote``: its arguments; what it reads with waits until it runs."""

import argparse
import sys
from pathlib import Path

from schemas.exit_codes import ExitCode
from training.errors import RegistryError

MAX_DROP = 0.02
"""Largest fall of a suite's headline that may be put down to chance, as a fraction."""

EPILOG = f"""\
The results must come from `forumprefs evaluate --model NEW --compare PROMOTED`, so that both were
scored on the same items. With d = new − promoted on a suite's headline figure, and its 95 %
interval over the same resampled prompts, a model is worse when on any suite
  the whole interval of d is below 0, or
  d itself is below −D (--max-drop, default {MAX_DROP:g}), however wide the interval, or
  one of its rewards is not a finite number.
Otherwise it must be shown to be better than the promoted one on some suite (the whole interval of
d above 0), or to be better than every scorer that reads no text ("longer", "earlier", chance, …) by
the whole interval: on held-out votes, or, where none were scored, on every suite. That is what the
first model has to do, too. A run that has not finished is refused. --force promotes in spite of all
that. The entry is written in any case, with the decision and why.

example:
  forumprefs evaluate --model runs/v2 --compare runs/v1 --benchmark held-out=acme/prefs@v2.0.0 \\
      --output eval/v2
  forumprefs promote runs/v2 --name v2 --results eval/v2 --registry models

exit codes: 0 it is promoted, now or before; 2 usage error, or results that do not compare with the
promoted model; 3 refused: worse, not shown to be better than the baselines, or unfinished
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``forumprefs promote``."""
    parser.epilog = EPILOG
    parser.add_argument("model", metavar="RUN", help="run folder, as it was given to evaluate")
    parser.add_argument("--name", required=True, help="what the registry calls it")
    parser.add_argument(
        "--results", required=True, metavar="DIR", help="output of forumprefs evaluate"
    )
    parser.add_argument("--registry", required=True, metavar="DIR", help="made if missing")
    parser.add_argument("--commit", metavar="ID", help="commit of the dataset's version, to record")
    parser.add_argument(
        "--max-drop",
        type=float,
        default=MAX_DROP,
        metavar="D",
        help="fall of a headline, as a fraction, from which a model is worse even if its "
        f"interval holds 0 (default: {MAX_DROP:g})",
    )
    parser.add_argument(
        "--force", action="store_true", help="promote it whatever the decision; the entry says so"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run ``forumprefs promote``; returns the exit code."""
    from training.registry import describe, judge_and_register, read_results

    try:
        entry = judge_and_register(
            arguments.model,
            name=arguments.name,
            results=read_results(Path(arguments.results)),
            registry=Path(arguments.registry),
            commit=arguments.commit,
            max_drop=arguments.max_drop,
            force=arguments.force,
        )
    except RegistryError as error:
        print(f"forumprefs promote: {error}", file=sys.stderr)
        return ExitCode.USAGE
    for line in describe(entry):
        print(line)
    return ExitCode.FINISHED if entry.is_promoted else ExitCode.REFUSED
