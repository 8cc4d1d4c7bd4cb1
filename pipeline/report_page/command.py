"""``forumprefs report``: read a dataset folder, write one HTML file."""

import argparse
import hashlib
from pathlib import Path

from pipeline.console import print_text, print_trace, readable_size
from pipeline.dataset.folder import REMEDY, REPORT_NAME, DatasetFolder
from pipeline.dataset.report_layout import missing_figures
from pipeline.dataset.run_metadata import RunMetadata, is_report, load_run_metadata, report_path
from pipeline.errors import DatasetError, UsageError
from pipeline.report_page.figures import read_figures
from pipeline.report_page.page import make_page
from pipeline.report_page.rows import browser_rows
from pipeline.report_page.votes import bias_by_mode, calibration

SHOWN_FIGURES = (
    *("pairs.total", "threads.total", "margin", "confidence"),
    *("characters.prompt", "characters.chosen", "characters.rejected"),
    *("pairs_by_site", "pairs_by_language", "pairs_by_source", "duplicates_by_rule"),
)
"""Of report.json."""

EPILOG = """\
examples:
  forumprefs report out/beer
  forumprefs report gs://bucket/beer --output beer.html

The file stands alone: it needs no network and loads nothing. It is also made at the end of
`forumprefs curate`, beside the dataset folder. On the machine where curate ran it shows more: the
texts of what was dropped, votes over time and timings, which are not part of the dataset.
exit codes: 0 written, 1 failed, 2 usage error, or a damaged folder; 130 interrupted
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``forumprefs report``."""
    parser.epilog = EPILOG
    parser.add_argument("folder", metavar="DIR", help="finished dataset folder, or its URL")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE.html",
        help="file to write, replaced if there (default: DIR.html, beside the folder)",
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="show the whole trace of an error"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run ``forumprefs report``; returns its exit code, raises UsageError."""
    try:
        output = write_report(arguments.folder, arguments.output)
    except Exception:
        if arguments.verbose:
            print_trace()
        raise
    size = readable_size(output.stat().st_size)
    print_text(f"{output} ({size}): open it in a browser")
    return 0


def write_report(location: str, output: Path | None = None) -> Path:
    """Write the report of a dataset folder and return its path; raises DatasetError, OSError."""
    folder = DatasetFolder(location)
    if missing := missing_figures(folder.report, SHOWN_FIGURES):
        # Of an older or a newer forumprefs, or written by hand.
        problem = f"{REPORT_NAME}: lacks what the page says ({', '.join(missing)})"
        raise DatasetError(folder.location, [problem], REMEDY)
    local = Path(folder.location).resolve() if folder.is_local else None
    name = folder.location.rpartition("/")[2] if local is None else local.name
    if output is None:
        output = report_path(Path(name) if local is None else local)
        if output.is_file() and not is_report(output):
            raise UsageError(
                f"{output}: exists and is not a report of forumprefs, so it is not replaced; "
                "give a file with --output"
            )
    if output.is_dir():
        raise UsageError(f"--output {output}: is a folder; give a file")
    metadata = RunMetadata()
    if local is not None:
        digest = hashlib.sha256(folder.manifest_bytes).hexdigest()
        metadata = load_run_metadata(local, digest)
    figures = read_figures(folder, str(folder.manifest.recipe.get("votes", "")))
    rows = browser_rows(folder, metadata.threads, figures.clusters)
    page = make_page(
        name,
        folder.manifest,
        folder.report,
        figures,
        rows,
        modes=bias_by_mode(metadata.threads, folder.manifest.vote_model),
        calibration=calibration(metadata.threads),
        sampled=len(metadata.threads),
        steps=metadata.steps,
    )
    partial = output.with_name(f".{output.name}.partial")
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        partial.write_text(page, encoding="utf-8", errors="replace")
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
    return output
