"""``forumprefs export``: a dataset in the columns that trainers read."""

import argparse

from pipeline.console import print_text, print_warning
from pipeline.errors import UsageError
from schemas.exit_codes import ExitCode
from schemas.exports import EXPORTS, MARGINS, ExportCounts, ExportManifest
from schemas.pair import SPLITS

EPILOG = """\
what --to takes, each with these columns and no others:
  trl-pairs  prompt, chosen, rejected as text
  trl-chat   prompt, chosen, rejected as messages
  kto        prompt, completion, label: one row for each response that is good or bad
  rankings   prompt, responses (best first), scores, tie groups, ids, dates: one row a prompt
  prompts    prompt: each once
  openrlhf   chosen, rejected as whole conversations

examples:
  forumprefs export out/beer --to trl-chat --output out/beer-trl
  forumprefs export out/beer --to kto,prompts --split train --output out/beer-kto

and in Python:
  rows = datasets.load_dataset("out/beer-trl", "trl-chat", split="train")

DIR2 appears complete, under its name, at the very end; its export.json says what was left out, and
why. The same dataset and options give the same files.

exit codes: 0 finished; 1 failed, run it again; 2 usage error, or a damaged folder; 130 interrupted
"""


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in EXPORTS:
            raise argparse.ArgumentTypeError(f"no export {name!r}; there are {', '.join(EXPORTS)}")
    return names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``forumprefs export``."""
    parser.epilog = EPILOG
    parser.add_argument("dataset", metavar="DIR", help="finished dataset folder, or its URL")
    parser.add_argument(
        "--to",
        type=_names,
        action="extend",
        required=True,
        metavar="NAME[,NAME…]",
        help=f"what to write, several in one reading: {', '.join(EXPORTS)}",
    )
    parser.add_argument("--output", metavar="DIR2", required=True, help="folder to make")
    parser.add_argument(
        "--margin",
        choices=MARGINS,
        default=MARGINS[0],
        help="none: pairs have no margin, which the usual loss is; log: they have a column "
        "`margin`, log(1 + difference of votes), which trainers subtract in their loss "
        "(default: none)",
    )
    parser.add_argument(
        "--split",
        action="append",
        choices=SPLITS,
        default=[],
        help="only this split, repeatable (default: all that have pairs)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace exports in DIR2")
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")


def run(arguments: argparse.Namespace) -> int:
    """Run ``forumprefs export``; raises as export_dataset does."""
    from pipeline.export import ExportOptions, export_dataset  # loads Arrow

    takes_margin = [name for name, row in EXPORTS.items() if "margin" in row.__struct_fields__]
    if arguments.margin != "none" and not set(takes_margin) & set(arguments.to):
        raise UsageError(
            f"--margin {arguments.margin}: none of these has a column for it; "
            f"{', '.join(takes_margin)} have"
        )
    options = ExportOptions(
        dataset=arguments.dataset,
        output=arguments.output,
        exports=tuple(arguments.to),
        margin=arguments.margin,
        splits=tuple(arguments.split),
        overwrite=arguments.overwrite,
        quiet=arguments.quiet,
    )
    manifest = export_dataset(options)
    for reason in manifest.not_publishable_because:
        print_warning(f"not to be published: {reason}")
    if not arguments.quiet:
        for counts in manifest.exports:
            print_text(describe(counts))
        print_text(_how_to_load(manifest, arguments.output))
    return ExitCode.FINISHED


def describe(counts: ExportCounts) -> str:
    """Say in a line what was written of an export, and what was left out."""
    splits = ", ".join(f"{split} {rows:,}" for split, rows in counts.rows.items())
    rows = sum(counts.rows.values())
    text = f"{counts.name}: {rows:,} rows ({splits})"
    if counts.labels:
        text += f", {counts.labels['true']:,} good and {counts.labels['false']:,} bad"
    if counts.unit != "pairs":
        text += f", from {counts.considered:,} {counts.unit}"
    left_out = ", ".join(f"{reason} {amount:,}" for reason, amount in counts.left_out.items())
    return f"{text}; left out: {left_out or 'nothing'}"


def _how_to_load(manifest: ExportManifest, output: str) -> str:
    first = manifest.exports[0]
    split = next(iter(first.rows))
    return (
        f"{output} is ready. Load: "
        f'datasets.load_dataset("{output}", "{first.name}", split="{split}")'
    )
