"""``forumprefs curate``: forum dumps become a dataset folder, a report and, if asked, a version."""

import argparse
import json
import signal
import threading
from pathlib import Path
from typing import Any

from pipeline.console import print_error, print_text, print_warning
from pipeline.curate.options import CurateOptions, add_recipe_arguments, add_run_arguments, parse
from schemas.exit_codes import ExitCode
from schemas.manifest import Manifest

EPILOG = """\
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
exit codes: 0 finished, 1 failed, 2 usage error, 3 refused (it may not be published, or an entry of
the takedown list names no post), 4 finished but no pairs were produced, 130 interrupted
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``forumprefs curate``."""
    parser.epilog = EPILOG
    add_run_arguments(parser)
    add_recipe_arguments(parser)
    parser.set_defaults(parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Run ``forumprefs curate``; returns its exit code, raises what `curate` and publishing do."""
    # What schedulers send: end as after Ctrl-C, so that nothing is left behind.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = parse(arguments.parser, arguments, arguments.rest)
    # Here and below: `curate --help` waits for none of what a run needs.
    if arguments.dry_run:
        from pipeline.commands.preflight import preflight

        return preflight(options)
    from pipeline.curate.run import curate
    from pipeline.dataset.report import dataset_warnings, undated_labels

    try:
        manifest = curate(options)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; nothing was written") from None
    report = _read_report(options.output)
    notes = dataset_warnings(manifest)
    if report is not None:
        notes += undated_labels(manifest, report)
    for note in notes:
        print_warning(note)
    if report is not None and not options.quiet:
        _show(manifest, report, options.output)
    if options.report:
        try:
            _make_report(options.output)
        except KeyboardInterrupt:
            print_error(f"interrupted; {options.output} is finished, its report is not")
            return ExitCode.INTERRUPTED
    if not sum(manifest.accounting.pairs.values()):
        rejected = Path(options.output) / "rejected"
        why = (
            f"{rejected} says why for each post"
            if rejected.is_dir()
            else "the inputs hold no posts"
        )
        print_error(f"no pairs were produced; {why}")
        return ExitCode.NO_PAIRS
    if options.publish is not None:
        _publish(options)
    return ExitCode.FINISHED


def _read_report(output: str) -> dict[str, Any] | None:
    """Of the dataset; None for an older one that --resume kept: its manifest is what counts."""
    from pipeline.dataset.folder import REPORT_NAME

    try:
        report: dict[str, Any] = json.loads(
            (Path(output) / REPORT_NAME).read_text(encoding="utf-8")
        )
    except (OSError, ValueError):
        return None
    return report


def _show(manifest: Manifest, report: dict[str, Any], output: str) -> None:
    from rich.console import Console

    from pipeline.dataset.report import print_funnel

    print_funnel(manifest, report, Console(highlight=False))
    if report["pairs"]["total"]:
        print_text(f"\n{output} is ready. Look: forumprefs inspect {output}")


def _make_report(output: str) -> None:
    """Make the report; the dataset is finished, so a report that fails is only said."""
    from pipeline.dataset.run_metadata import report_path
    from pipeline.report_page.command import write_report

    try:
        made = write_report(output)
    except Exception as error:  # whatever it is, `forumprefs report -v` shows it
        said = " ".join(f"{type(error).__name__}: {error}".split())
        print_warning(
            f"{report_path(Path(output).resolve())} was not written, the dataset is finished "
            f"({said}); the trace: forumprefs report {output} -v"
        )
    else:
        print_text(f"Figures and a browser of rows: {made}")


def _publish(options: CurateOptions) -> None:
    from pipeline.commands.publish import publish_folder
    from pipeline.dataset.folder import DatasetFolder
    from pipeline.hub.publish_request import PublishRequest

    target = options.publish
    assert target is not None
    request = PublishRequest(
        folder=DatasetFolder(options.output),
        repo=target.repo,
        version=target.version,
        private=target.private,
        allow_shrink=target.allow_shrink,
    )
    publish_folder(request, target.endpoint, quiet=options.quiet, verbose=options.verbose)
