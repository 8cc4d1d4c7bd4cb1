"""``forumprefs hydrate``: its arguments, and what it says at the end."""

import argparse
from pathlib import Path

from pipeline.console import print_text, print_warning
from pipeline.errors import UsageError

EPILOG = """\
examples:
  forumprefs hydrate ids/askmen --input reddit=dumps/reddit --output out/askmen
  forumprefs hydrate ids/beer --output out/beer

The folder is what `curate` without --ids-only would have written, byte for byte, from the dumps
that the labels were made from. Each row is checked against its text_hash.
exit codes: 0 finished, 1 failed or rows that cannot be filled, 2 usage error
"""


def _local_folder(text: str) -> Path:
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text}: hydrate runs on this machine and needs its disk")
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text}: there is no such folder")
    return Path(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``forumprefs hydrate``."""
    parser.epilog = EPILOG
    parser.add_argument("dataset", metavar="DIR", type=Path, help="dataset made with --ids-only")
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="KIND=PATH",
        help="dump with the texts, repeatable (default: the inputs that the manifest names)",
    )
    parser.add_argument("--output", metavar="DIR2", required=True, help="dataset folder to make")
    parser.add_argument(
        "--allow-missing",
        action="store_true",
        help="exclude rows whose texts are missing or have changed, instead of failing",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a finished DIR2")
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="worker processes (default: one for each core where the input is worth it and memory "
        "allows)",
    )
    parser.add_argument(
        "--work-dir",
        type=_local_folder,
        metavar="DIR",
        help="where archives are unpacked (default: beside the output)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")
    parser.add_argument("-v", "--verbose", action="store_true", help="show logs")


def run(arguments: argparse.Namespace) -> int:
    """Run ``forumprefs hydrate`` and return its exit code; raises as hydrate_dataset does."""
    if arguments.workers is not None and arguments.workers < 1:
        raise UsageError(f"--workers {arguments.workers}: at least 1")
    from pipeline.commands.hydrate import HydrateOptions, hydrate_dataset  # loads Beam

    options = HydrateOptions(
        dataset=arguments.dataset,
        input=tuple(arguments.input),
        output=arguments.output,
        workers=arguments.workers,
        work_dir=arguments.work_dir,
        allow_missing=arguments.allow_missing,
        overwrite=arguments.overwrite,
        quiet=arguments.quiet,
        verbose=arguments.verbose,
    )
    manifest, notes = hydrate_dataset(options)
    for note in notes:
        print_warning(note)
    if not options.quiet:
        pairs = sum(manifest.accounting.pairs.values())
        print_text(f"{pairs:,} pairs with their texts, each as it was labelled.")
        print_text(f"{options.output} is ready. Look: forumprefs inspect {options.output}")
    return 0
