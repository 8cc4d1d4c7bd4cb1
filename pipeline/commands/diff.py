"""``forumprefs diff``: what differs between two versions of a dataset."""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pipeline.console import printable, takes_all_characters
from pipeline.dataset.folder import DatasetFolder
from pipeline.diff.compare import DEFAULT_LIMIT, compare_datasets
from pipeline.diff.difference import (
    DatasetDifference,
    InputChange,
    ValueChange,
    input_name,
    kinds,
    value_text,
)
from pipeline.diff.outcomes import OUTCOME_DOCS
from pipeline.errors import UsageError
from pipeline.hub.client import call_hub, connect, quiet_client
from pipeline.hub.names import need_endpoint, split_spec
from pipeline.hub.repo_state import HubFolder, open_hub_folder
from pipeline.hub.retries import hub_retry_policy, retry_at_hub

SHOWN_CHANGES = 12
"""Maximum of options, inputs or packages that are listed; --json has all."""

DIFF_EPILOG = """\
examples:
  forumprefs diff out/beer-old out/beer
  forumprefs diff acme/beer-prefs@v1.0.0 out/beer
  forumprefs diff acme/beer-prefs@v1.0.0 acme/beer-prefs@v1.1.0

A pair is known by its thread and its two responses. `flipped`: chosen and rejected
changed places. `other columns`: authors, licences, tags, language and the like.

exit codes: 0 the comparison worked (with --exit-code: and nothing differs),
1 failed (with --exit-code: or the datasets differ), 2 usage error
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``forumprefs diff``."""
    parser.epilog = DIFF_EPILOG
    what = "folder, its URL, or a version at the Hub as OWNER/NAME@V"
    parser.add_argument("old", metavar="A", help=f"the older dataset: {what}")
    parser.add_argument("new", metavar="B", help="the newer dataset, named likewise")
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")
    parser.add_argument(
        "--limit",
        type=int,
        default=DEFAULT_LIMIT,
        metavar="N",
        help=f"ids shown of each kind of difference (default: {DEFAULT_LIMIT}; 0: counts only)",
    )
    parser.add_argument(
        "--exit-code", action="store_true", help="exit with 1 when the datasets differ"
    )
    parser.add_argument(
        "--endpoint", metavar="URL", help="another Hub than the client's own (HF_ENDPOINT)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Compare two datasets and print what differs; returns the exit code."""
    if arguments.limit < 0:
        raise UsageError(f"--limit {arguments.limit}: at least 0")
    endpoint = need_endpoint(arguments.endpoint)
    old, new = (open_version(spec, endpoint) for spec in (arguments.old, arguments.new))
    if any(isinstance(folder, HubFolder) for folder in (old, new)):
        with quiet_client():
            difference = call_hub(
                f"{old.location} and {new.location}",
                lambda: compare_datasets(old, new, arguments.limit),
            )
    else:
        difference = compare_datasets(old, new, arguments.limit)
    try:
        if arguments.json:
            plain = msgspec.to_builtins(difference)
            in_ascii = sys.stdout.isatty() or not takes_all_characters(sys.stdout)
            print(json.dumps(plain, indent=2, ensure_ascii=in_ascii))
        else:
            print_difference(difference, Console(highlight=False))
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    # As `diff` and `git diff --exit-code` have it.
    return 1 if arguments.exit_code and not difference.equal else 0


def open_version(spec: str, endpoint: str | None = None) -> DatasetFolder:
    """Open what a user names as a version: a folder, local or remote, or OWNER/NAME@VERSION.

    Raises DatasetError for what is not a dataset, and HubError.
    """
    found = None if Path(spec).is_dir() else split_spec(spec)
    if found is None:
        return DatasetFolder(spec)
    api = connect(endpoint)
    with quiet_client():
        return retry_at_hub(hub_retry_policy(say=_say), spec, lambda: open_hub_folder(api, *found))


def _say(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)


def print_difference(difference: DatasetDifference, console: Console) -> None:
    """Print a difference, readable from 80 columns on."""
    if difference.equal:
        console.print(f"equal: {difference.pairs_new:,} pairs, {difference.threads_new:,} threads")
        return
    _print_sizes(difference, console)
    _print_kinds(difference, console)
    _print_counts("Columns that differ, by pairs", difference.columns, console)
    for title, why in (
        ("Why pairs are gone: their posts in B", difference.why_gone),
        ("Why pairs are new: their posts in A", difference.why_added),
    ):
        if why.pairs:
            _print_reasons(title, why.pairs, why.posts, console)
    _print_values("Recipe", difference.recipe, console)
    _print_inputs(difference.inputs, console)
    _print_values("Packages", difference.versions, console)
    if difference.schema is not None:
        schema = difference.schema
        console.print(f"\n[bold]Schema[/bold]  {schema.old_version} → {schema.new_version}")
        for name, columns in (
            ("added", schema.added),
            ("gone", schema.gone),
            ("of another type", schema.retyped),
        ):
            if columns:
                console.print(Text(f"{name}: {printable(', '.join(columns))}"))
        if schema.renamed:
            names = (f"{old} → {new}" for old, new in schema.renamed.items())
            console.print(Text(f"renamed: {printable(', '.join(names))}"))
    console.print()
    for warning in difference.warnings:
        console.print(Text(f"warning: {printable(warning)}", style="yellow"))
    advice = difference.advice
    what = "equal" if advice.level == "none" else f"another {advice.level} number"
    console.print(Text(f"Version: {what}. {printable(advice.because)}"))


def _print_sizes(difference: DatasetDifference, console: Console) -> None:
    table = _table("", "A", "B", "change", right=(1, 2, 3))
    for name, old, new in (
        ("pairs", difference.pairs_old, difference.pairs_new),
        ("threads", difference.threads_old, difference.threads_new),
    ):
        table.add_row(name, f"{old:,}", f"{new:,}", f"{new - old:+,}")
    console.print(table)


def _print_kinds(difference: DatasetDifference, console: Console) -> None:
    table = _table("what", "count", "first ids", right=(1,))
    table.add_row("pairs that are equal", f"{difference.same:,}", "")
    for name, found in kinds(difference):
        if found.count:
            ids = "\n".join(printable(name) for name in found.examples)
            table.add_row(name, f"{found.count:,}", Text(ids, overflow="fold"))
    console.print()
    console.print(table)
    if difference.moves:
        moves = ", ".join(f"{move} {count:,}" for move, count in difference.moves.items())
        console.print(Text(f"Threads that moved: {printable(moves.replace('>', ' → '))}"))


def _print_counts(title: str, counts: Mapping[str, int], console: Console) -> None:
    if counts:
        listed = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        console.print(f"\n[bold]{title}[/bold]")
        console.print(Text(printable(listed)))


def _print_reasons(
    title: str, pairs: Mapping[str, int], posts: Mapping[str, int], console: Console
) -> None:
    table = _table("reason", "pairs", "posts", "meaning", right=(1, 2))
    for reason in [*pairs, *(reason for reason in posts if reason not in pairs)]:
        cells = [f"{counts[reason]:,}" if reason in counts else "–" for counts in (pairs, posts)]
        table.add_row(reason, *cells, OUTCOME_DOCS[reason])
    console.print(f"\n[bold]{title}[/bold]")
    console.print(table)


def _print_values(title: str, changes: Sequence[ValueChange], console: Console) -> None:
    if not changes:
        return
    table = _table(title, "A", "B")
    for change in changes[:SHOWN_CHANGES]:
        values = (printable(value_text(value)) for value in (change.old, change.new))
        table.add_row(
            Text(printable(change.name)), *(Text(value, overflow="fold") for value in values)
        )
    console.print()
    console.print(table)
    _print_rest(changes, console)


def _print_inputs(changes: Sequence[InputChange], console: Console) -> None:
    if not changes:
        return
    table = _table("Inputs", "", "A, bytes", "B, bytes", right=(2, 3))
    for change in changes[:SHOWN_CHANGES]:
        sizes = (
            "–" if size is None else f"{size:,}" for size in (change.old_bytes, change.new_bytes)
        )
        table.add_row(Text(printable(input_name(change)), overflow="fold"), change.change, *sizes)
    console.print()
    console.print(table)
    _print_rest(changes, console)


def _print_rest(changes: Sequence[object], console: Console) -> None:
    if len(changes) > SHOWN_CHANGES:
        console.print(f"and {len(changes) - SHOWN_CHANGES:,} more; --json lists all")


def _table(*headers: str, right: Iterable[int] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, header in enumerate(headers):
        table.add_column(escape(header), justify="right" if place in right else "left")
    return table
