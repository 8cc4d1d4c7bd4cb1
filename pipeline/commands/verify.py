"""``forumprefs verify``: whether a dataset folder is whole, adds up, is leak-free and usual."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.console import print_text
from pipeline.dataset.checks import figure_faults
from pipeline.dataset.folder import DatasetFolder, verify_folder
from pipeline.dataset.leaks import find_leaks
from pipeline.errors import RefusedError, UsageError
from schemas.audit import Reason, Stage
from schemas.manifest import Accounting, Manifest

EPILOG = """\
examples:
  forumprefs verify out/beer
  forumprefs verify out/beer --max-rejected 80 --max-unreadable 2 --min-pairs 10000

It checks every file against its checksum, that posts read = kept + duplicates + rejected, that no
two splits share a thread or a prompt, and the limits. Whether a version has far fewer pairs than
the one before is checked by `forumprefs publish --dry-run`.

exit codes: 0 all is well; 1 failed, run it again; 2 usage error, or a damaged folder;
3 a limit is exceeded or the splits leak: running it again changes nothing
"""


@dataclass(frozen=True)
class Limits:
    """What a dataset has to keep to."""

    min_pairs: int = 1
    max_rejected: float = 100.0
    """Per cent of the posts read that may be rejected, in any step."""
    max_unreadable: float = 5.0
    """Per cent of the posts read that may be rejected while they are read."""
    damaged_files: bool = False
    """Whether input files may be missing, damaged or broken off."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``forumprefs verify``."""
    defaults = Limits()
    parser.epilog = EPILOG
    parser.add_argument("folder", metavar="DIR", help="finished dataset folder, or its URL")
    parser.add_argument(
        "--min-pairs",
        type=int,
        default=defaults.min_pairs,
        metavar="N",
        help=f"minimum number of pairs (default: {defaults.min_pairs})",
    )
    parser.add_argument(
        "--max-rejected",
        type=float,
        default=defaults.max_rejected,
        metavar="PERCENT",
        help="maximum share of the posts read that may be rejected (default: no limit, as "
        "forums differ)",
    )
    parser.add_argument(
        "--max-unreadable",
        type=float,
        default=defaults.max_unreadable,
        metavar="PERCENT",
        help="maximum share of the posts read that may be rejected during reading: malformed "
        f"or of an unrecognised layout (default: {defaults.max_unreadable:g})",
    )
    parser.add_argument(
        "--allow-damaged-files",
        action="store_true",
        help="accept input files that are damaged, truncated or of no known layout",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one machine-readable JSON object"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")


def run(arguments: argparse.Namespace) -> int:
    """Run ``forumprefs verify``; raises UsageError, DatasetError and RefusedError."""
    for name in ("max_rejected", "max_unreadable"):
        if not 0 <= getattr(arguments, name) <= 100:
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} {getattr(arguments, name):g}: between 0 and 100")
    if arguments.min_pairs < 0:
        raise UsageError(f"--min-pairs {arguments.min_pairs}: at least 0")
    quiet = arguments.quiet or arguments.json
    folder = DatasetFolder(arguments.folder)
    verify_folder(folder, quiet=quiet)
    limits = Limits(
        arguments.min_pairs,
        arguments.max_rejected,
        arguments.max_unreadable,
        arguments.allow_damaged_files,
    )
    faults = [*faults_of_figures(folder.manifest, limits), *map(str, find_leaks(folder))]
    if faults:
        raise RefusedError("\n  ".join((f"{folder.location}: has faults:", *faults)))
    accounting = folder.manifest.accounting
    figures = {
        "pairs": sum(accounting.pairs.values()),
        "posts_read": accounting.posts_read,
        "rejected_percent": round(percent(accounting.rejected, accounting.posts_read), 2),
        "unreadable_percent": round(percent(unreadable(accounting), accounting.posts_read), 2),
        "shards": len(folder.manifest.shards),
    }
    if arguments.json:
        print(json.dumps(figures))
    elif not arguments.quiet:
        print_text(
            f"{folder.location}: every checksum right, every post accounted for, no thread and no "
            f"prompt in two splits; {figures['pairs']:,} pairs, "
            f"{figures['rejected_percent']} % of the posts rejected, "
            f"{figures['unreadable_percent']} % while they were read"
        )
    return 0


def faults_of_figures(manifest: Manifest, limits: Limits) -> Iterator[str]:
    """Say what is wrong with the manifest's figures."""
    accounting = manifest.accounting
    read = accounting.posts_read
    yield from figure_faults(manifest)
    pairs = sum(accounting.pairs.values())
    damaged = sum(
        amount
        for key, amount in accounting.other_records.items()
        if key.startswith("rejected:file:")
    )
    if damaged and not limits.damaged_files:
        names = [item.name for item in manifest.inputs if not item.used and not item.sha256]
        named = f" ({', '.join(names[:5])})" if names else ""
        yield (
            f"{damaged:,} input files could not be read, or not to their end{named}; the rejected "
            "table says why; --allow-damaged-files lets it pass"
        )
    if pairs < limits.min_pairs:
        yield f"{pairs:,} pairs, the minimum is {limits.min_pairs:,}"
    for name, posts, maximum in (
        ("rejected", accounting.rejected, limits.max_rejected),
        ("rejected while they were read", unreadable(accounting), limits.max_unreadable),
    ):
        if percent(posts, read) > maximum:
            yield (
                f"{percent(posts, read):.1f} % of the posts were {name}, the maximum is "
                f"{maximum:g} % (rejected/ has the reasons)"
            )


def unreadable(accounting: Accounting) -> int:
    """Posts of which the reader could make nothing."""
    # Read, and known not to be wanted.
    told = (Reason.NOT_A_QUESTION_OR_ANSWER, Reason.TOO_DEEP)
    return sum(
        count
        for stage in accounting.stages
        if stage.stage == Stage.READ
        for reason, count in stage.rejected.items()
        if reason not in told
    )


def percent(part: int, whole: int) -> float:
    """Per cent; 0 of nothing."""
    return 100 * part / whole if whole else 0.0
