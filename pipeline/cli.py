"""The command ``forumprefs``."""

import argparse
import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from pipeline.console.logs import set_up_logs
from pipeline.console.text import printable

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NO_PAIRS = 4
EXIT_INTERRUPTED = 130

CURATE_EPILOG = """\
examples:
  forumprefs curate --input stackexchange=beer.stackexchange.com.7z --output out/beer
  forumprefs curate --input stackexchange=dumps/ai.stackexchange.com \\
      --input stackexchange='dumps/*.7z' --languages en,fr --votes common_window --output out/mix
  forumprefs curate --config out/beer/manifest.json --output out/again
  forumprefs curate --config recipe.yaml --output out/beer --publish acme/beer --version v1.1.0
  forumprefs curate --config recipe.yaml --output out/beer --runner flink --workers 4
  forumprefs curate --config recipe.yaml --output out/beer --runner flink \\
      --flink-master flink.example.org:8081

Options of Beam (--direct_num_workers and so on) are passed on to it.
exit codes: 0 finished, 1 failed, 2 wrong use, 3 publishing refused, 4 finished but no pair came
out, 130 interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    set_up_logs(verbose="-v" in given or "--verbose" in given)
    parser = make_parser(next((word for word in given if not word.startswith("-")), ""))
    namespace, rest = parser.parse_known_args(given)
    if not hasattr(namespace, "command"):
        parser.print_help()
        return EXIT_USAGE
    if rest and namespace.command is not _curate:
        parser.error(f"no option {rest[0]}; see forumprefs {namespace.name} --help")
    exit_code: int = namespace.command(namespace, rest)
    return exit_code


COMMANDS = {
    "inspect": ("pipeline.commands.inspect", "inspect", "look at pairs side by side"),
    "report": (
        "pipeline.report_page.command",
        "report",
        "write figures and a browser of rows as one HTML file",
    ),
    "validate-threads": (
        "pipeline.commands.validate",
        "validate",
        "say what is wrong in files of your own threads",
    ),
    "prepare": (
        "pipeline.commands.prepare",
        "prepare",
        "cut large archives into parts that are read in parallel",
    ),
    "hydrate": (
        "pipeline.commands.hydrate",
        "hydrate",
        "fill the texts into a dataset of ids and labels",
    ),
    "diff": (
        "pipeline.commands.diff",
        "diff",
        "say what is new, gone or changed between two versions of a dataset",
    ),
    "verify": (
        "pipeline.commands.verify",
        "verify",
        "check a dataset folder: files, books, leaks between splits, limits",
    ),
    "publish": (
        "pipeline.commands.publish",
        "publish",
        "make a dataset folder a version at the Hugging Face Hub",
    ),
    "pull": (
        "pipeline.commands.pull",
        "pull",
        "fetch a version from the Hugging Face Hub into a folder, and check it",
    ),
}
"""Commands besides curate: the module that has ``X`` and ``add_X_arguments``, X, and the help."""


def make_parser(only: str | None = None) -> argparse.ArgumentParser:
    """Build the parser of all commands.

    With ``only``, the other commands are named and get no options, so that their modules, and the
    two seconds of processor time that importing Beam takes, are spared.
    """
    parser = argparse.ArgumentParser(
        prog="forumprefs",
        description="Turn forum votes into preference data: dumps in, "
        "(prompt, chosen, rejected) pairs out.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"forumprefs {_version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    curate = commands.add_parser(
        "curate",
        help="make a dataset folder from forum dumps",
        description="Read forum dumps and write a dataset folder of deduplicated, "
        "language-filtered preference pairs.",
        epilog=CURATE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if only in (None, "curate"):
        from pipeline.curate.options import add_recipe_arguments, add_run_arguments

        add_run_arguments(curate)
        add_recipe_arguments(curate)
    curate.set_defaults(command=_curate, name="curate", parser=curate)
    for name, (module, function, text) in COMMANDS.items():
        added = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if only in (None, name):
            getattr(importlib.import_module(module), f"add_{function}_arguments")(added)
        added.set_defaults(command=_command, name=name)
    for entry in sorted(entry_points(group="forumprefs.commands"), key=lambda found: found.name):
        entry.load()(commands)
    return parser


def _version() -> str:
    try:
        return version("forumprefs")
    except PackageNotFoundError:
        return "(not installed)"


def _curate(namespace: argparse.Namespace, rest: list[str]) -> int:
    from pipeline.curate.options import parse
    from pipeline.curate.run import curate
    from pipeline.dataset.report import dataset_warnings
    from pipeline.errors import (
        AccountingError,
        BusyError,
        HubError,
        PipelineError,
        UsageError,
        WorkerDiedError,
    )

    errors = Console(stderr=True, highlight=False)
    # What schedulers send: end as after Ctrl-C, so that nothing is left behind.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        options = parse(namespace.parser, namespace, rest)
    except UsageError as error:
        return _fail(errors, error, EXIT_USAGE)
    if namespace.dry_run:
        from pipeline.commands.preflight import preflight

        return _run(lambda _: preflight(options), namespace)
    try:
        manifest = curate(options)
    except UsageError as error:
        return _fail(errors, error, EXIT_USAGE)
    except HubError as error:
        return _fail(errors, error, error.exit_code)
    except (AccountingError, OSError, BusyError) as error:  # the last is a PipelineError, too
        return _fail(errors, error, EXIT_FAILED)
    except PipelineError as error:
        if options.verbose:
            errors.print_exception()
        code = _fail(errors, f"{error}\nRun again with -v for the whole trace.", EXIT_FAILED)
        return _leave(code)
    except WorkerDiedError as error:
        return _leave(_fail(errors, error, EXIT_FAILED))
    except KeyboardInterrupt:
        return _leave(_fail(errors, "interrupted; nothing was written", EXIT_INTERRUPTED))
    for note in dataset_warnings(manifest):
        errors.print(escape(note), style="yellow", soft_wrap=True)
    if not options.quiet:
        _show(manifest, options.output)
    if options.report:
        try:
            _write_report(options.output, errors)
        except KeyboardInterrupt:
            said = f"interrupted; {options.output} is finished, its report is not"
            return _fail(errors, said, EXIT_INTERRUPTED)
    if not sum(manifest.accounting.pairs.values()):
        where = Path(options.output) / "rejected"
        return _fail(errors, f"no pair came out; {where} says why for each post", EXIT_NO_PAIRS)
    if options.publish is not None:
        from pipeline.commands.publish import publish_curated

        return _run(lambda _: publish_curated(options), namespace)
    return 0


def _show(manifest: object, output: str) -> None:
    from pipeline.dataset.report import print_funnel
    from schemas.manifest import Manifest

    assert isinstance(manifest, Manifest)
    console = Console(highlight=False)
    try:
        report = json.loads((Path(output) / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # an older dataset that --resume kept; its manifest is what counts
    print_funnel(manifest, report, console)
    if report["pairs"]["total"]:
        console.print(f"\n{escape(output)} is ready. Look: forumprefs inspect {escape(output)}")


def _write_report(output: str, errors: Console) -> None:
    """Make the report; the dataset is finished, so a report that fails is only said."""
    from pipeline.dataset.run_metadata import report_path
    from pipeline.report_page.command import write_report

    try:
        made = write_report(output)
    except Exception as error:
        said = " ".join(printable(f"{type(error).__name__}: {error}").split())
        text = (
            f"{report_path(Path(output).resolve())} was not written, the dataset is finished "
            f"({said}); the trace: forumprefs report {output} -v"
        )
        errors.print(escape(text), style="yellow", soft_wrap=True)
        return
    Console(highlight=False).print(escape(f"Figures and a browser of rows: {made}"), soft_wrap=True)


def _command(namespace: argparse.Namespace, rest: list[str]) -> int:
    module, function, _ = COMMANDS[namespace.name]
    return _run(getattr(importlib.import_module(module), function), namespace)


def _run(command: Callable[[argparse.Namespace], int], namespace: argparse.Namespace) -> int:
    """Run a command that is given its parsed flags, and turn its errors into exit codes."""
    from pipeline.errors import HubError, PipelineError, UsageError, WorkerDiedError

    errors = Console(stderr=True, highlight=False)
    try:
        return command(namespace)
    except UsageError as error:
        return _fail(errors, error, EXIT_USAGE)
    except HubError as error:
        return _fail(errors, error, error.exit_code)
    except OSError as error:
        return _fail(errors, error, EXIT_FAILED)
    except (PipelineError, WorkerDiedError) as error:
        return _leave(_fail(errors, error, EXIT_FAILED))
    except KeyboardInterrupt:
        return _leave(_fail(errors, "interrupted", EXIT_INTERRUPTED))


def _fail(console: Console, error: object, code: int) -> int:
    console.print(f"[red]error:[/red] {escape(printable(str(error)))}", soft_wrap=True)
    return code


def _leave(code: int) -> int:
    """Exit at once: the runner's threads may wait for ever for workers that are gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
