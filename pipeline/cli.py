"""The command ``forumprefs``: it finds the commands, runs one, and turns errors into exit codes."""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version

from pipeline.console.logs import set_up_logs
from pipeline.console.output import GuardedStream, OutputError, ReaderGoneError, guarded_output
from pipeline.console.text import print_error, print_trace, print_warning
from pipeline.errors import (
    AccountingError,
    BusyError,
    HubError,
    HydrateError,
    InputChangedError,
    PipelineError,
    UsageError,
    WorkerDiedError,
)
from pipeline.runners.unused_packages import skip_packages
from schemas.command import ENTRY_POINTS, Command
from schemas.exit_codes import ExitCode
from schemas.small_files import is_utf8

NOT_UTF8 = (
    "and manifests, cards and logs are; rename the file or folder, or go into it and name it by "
    "another path"
)

_NO_ROOM_TO_LOAD = "failed to map segment"
"""What glibc's loader says of a library for which there is no address space."""
NO_MEMORY = (
    "there is not enough memory; allow more (ulimit -v, the limit of the container), or use fewer "
    "--workers or more --partitions"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    with guarded_output() as output:
        for word in given:
            if not is_utf8(word):
                return _fail(f"the argument {word!r} is not UTF-8, {NOT_UTF8}", ExitCode.USAGE)
        set_up_logs(verbose="-v" in given or "--verbose" in given)
        try:
            parser = make_parser(next((word for word in given if not word.startswith("-")), ""))
        except UsageError as error:
            return _fail(error, ExitCode.USAGE)
        try:
            namespace, rest = parser.parse_known_args(given)
        except SystemExit as left:  # of --help, of which nothing else is left to do
            if left.code == 0 and _has_failed(output):
                raise SystemExit(_fail_to_print(output)) from None
            raise
        command: Command | None = getattr(namespace, "command", None)
        if command is None:
            parser.print_help()
            return ExitCode.USAGE
        if rest and not command.takes_rest:
            parser.error(f"no option {rest[0]}; see forumprefs {command.name} --help")
        namespace.rest = rest
        if arguments is None:  # else the process may be somebody's who uses them
            skip_packages(command.unused)
        is_result = command.prints or bool(getattr(namespace, "json", False))
        output.strict = is_result
        try:
            code = run(command, namespace)
        except SystemExit:
            if not output.is_broken_pipe:
                raise
            code = ExitCode.FINISHED  # rich leaves so where nobody reads what it prints
        output.strict = False
        if _has_failed(output) and not output.is_broken_pipe:
            if is_result:
                return code or _fail_to_print(output)
            print_warning(
                f"stdout could not be written: {output.failure}; the work is not affected"
            )
        return code


def _has_failed(output: GuardedStream) -> bool:
    output.flush()
    return bool(output.failure)


def _fail_to_print(output: GuardedStream) -> int:
    return _fail(f"the output could not be written: {output.failure}", ExitCode.FAILED)


def find_commands(entries: Iterable[EntryPoint]) -> list[Command]:
    """Return the commands of all layers, by name; raises UsageError where installing was missed."""
    commands = []
    for entry in entries:
        try:
            command = entry.load()
        except (ImportError, AttributeError):
            command = None
        if not isinstance(command, Command):
            raise UsageError(
                f"the command {entry.name} is installed as {entry.value}, which is not a command "
                "of these sources; install them again: pip install -e ."
            )
        commands.append(command)
    if not commands:
        raise UsageError("forumprefs is not installed; in its folder: pip install -e .")
    return sorted(commands, key=lambda command: command.name)


def make_parser(only: str | None = None) -> argparse.ArgumentParser:
    """Build the parser of all commands that are installed; raises UsageError.

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
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in find_commands(entry_points(group=ENTRY_POINTS)):
        command.add_to(subparsers, with_arguments=only in (None, command.name))
    return parser


def _version() -> str:
    try:
        return version("forumprefs")
    except PackageNotFoundError:
        return "(not installed)"


def run(command: Command, namespace: argparse.Namespace) -> int:
    """Run a command that is given its parsed arguments, and turn its errors into exit codes."""
    try:
        return command.run(namespace)
    except UsageError as error:
        return _fail(error, ExitCode.USAGE)
    except HubError as error:
        return _fail(error, error.exit_code)
    except (OutputError, ReaderGoneError):
        # Of stdout, whose reader has seen enough, or which main() says is broken.
        return ExitCode.FINISHED
    except (AccountingError, BusyError, HydrateError, InputChangedError, OSError) as error:
        # BusyError is a PipelineError, too, but no thread of a runner is there to be left.
        return _fail(error, ExitCode.FAILED)
    except PipelineError as error:
        hint = ""
        if getattr(namespace, "verbose", None):
            print_trace()
        elif hasattr(namespace, "verbose"):
            hint = "\nRun again with -v for the whole trace."
        said = NO_MEMORY if isinstance(error.__cause__, MemoryError) else str(error)
        if not said.strip():  # some errors are nothing but their kind
            said = type(error.__cause__ or error).__name__
        return _leave(_fail(f"{said}{hint}", ExitCode.FAILED))
    except WorkerDiedError as error:
        return _leave(_fail(error, ExitCode.FAILED))
    except MemoryError:
        return _fail(NO_MEMORY, ExitCode.FAILED)
    except ImportError as error:
        if _NO_ROOM_TO_LOAD not in str(error):
            raise
        return _fail(NO_MEMORY, ExitCode.FAILED)
    except KeyboardInterrupt as error:
        return _leave(_fail(str(error) or "interrupted", ExitCode.INTERRUPTED))


def _fail(error: object, code: int) -> int:
    print_error(str(error))
    return code


def _leave(code: int) -> int:
    """Exit at once: the runner's threads may wait for ever for workers that are gone."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
