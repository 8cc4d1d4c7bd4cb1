"""``forumprefs inspect``: pairs side by side in the terminal."""

import argparse
import functools
import json
import operator
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from pipeline.console import print_text, printable, takes_all_characters
from pipeline.dataset.checks import pair_faults, value_fault
from pipeline.dataset.folder import REMEDY
from pipeline.errors import DatasetError, UsageError
from schemas.arrow import PAIR_SCHEMA, current_names, current_schema, stored_names
from schemas.pair import SPLITS
from schemas.small_files import fault_of, open_regular

SHOWN_OF_POSTS = ("url", "author", "created_at")
DEFAULT_LIMIT = 3
NEEDED = (
    *("pair_id", "split", "site", "thread_id", "language", "vote_margin", "confidence"),
    *(f"{side}_{what}" for side in ("chosen", "rejected") for what in ("score", "is_accepted")),
    *(f"{side}_{what}" for side in ("prompt", "chosen", "rejected") for what in SHOWN_OF_POSTS),
    *("window_chosen_score", "window_rejected_score"),
)
"""Columns that a pair is shown by; texts may be missing."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``forumprefs inspect``."""
    parser.add_argument("dataset", type=Path, metavar="DIR", help="finished dataset folder")
    parser.add_argument("--split", choices=SPLITS, help="only this split")
    parser.add_argument("--site", help="only this site, e.g. beer.stackexchange.com")
    parser.add_argument("--language", help="only prompts in this language, e.g. en")
    parser.add_argument("--thread", metavar="ID", help="only this thread, e.g. SITE:123")
    parser.add_argument("--min-margin", type=float, metavar="N", help="minimum margin of votes")
    parser.add_argument("--max-margin", type=float, metavar="N", help="maximum margin of votes")
    parser.add_argument("--min-confidence", type=float, metavar="P", help="minimum confidence")
    parser.add_argument("--max-confidence", type=float, metavar="P", help="maximum confidence")
    parser.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help=f"show N pairs (default: {DEFAULT_LIMIT}, or page through all on a terminal)",
    )
    parser.add_argument("--raw", action="store_true", help="Markdown source, not rendered")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")


def run(arguments: argparse.Namespace) -> int:
    """Print the pairs that pass the filters; page through them on a terminal."""
    pairs = select_pairs(arguments)
    if arguments.limit is not None and arguments.limit < 1:
        raise UsageError(f"--limit {arguments.limit}: at least 1")
    paging = sys.stdin.isatty() and sys.stdout.isatty() and arguments.limit is None
    paging = paging and not arguments.json
    limit = arguments.limit or (None if paging else DEFAULT_LIMIT)
    console = Console(highlight=False)
    in_ascii = sys.stdout.isatty() or not takes_all_characters(sys.stdout)
    shown = 0
    try:
        for row in pairs:
            if arguments.json:
                print(json.dumps(row, default=str, ensure_ascii=in_ascii))
            else:
                console.print(render_pair(row, console.width, raw=arguments.raw))
            shown += 1
            if shown == limit:
                break
            if paging and console.input("[dim]Enter: next, q: quit[/dim] ").strip() == "q":
                break
    except (KeyboardInterrupt, EOFError):
        console.print()
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not shown:
        hint = (
            "; --thread takes SITE:ID" if arguments.thread and ":" not in arguments.thread else ""
        )
        print_text(f"no pair passes these filters{hint}", stream=sys.stderr)
    return 0


def select_pairs(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Read the pairs of a dataset folder that pass the filters, in the order of the files."""
    folder = arguments.dataset / "data"
    files = [
        str(path)
        for split in ([arguments.split] if arguments.split else SPLITS)
        for path in sorted(folder.glob(f"{split}-*.parquet"))
    ]
    if not files:
        what = f"{arguments.split} shards" if arguments.split else "data shards"
        raise UsageError(f"{arguments.dataset}: no {what} there; is it a finished dataset?")
    return _rows(arguments.dataset, files, _filters(arguments))


_Filter = tuple[str, Callable[[Any, Any], Any], Any]
"""Column, comparison, value."""


def _filters(arguments: argparse.Namespace) -> list[_Filter]:
    wanted: list[_Filter] = [
        (column, operator.eq, value)
        for column, value in (
            ("site", arguments.site),
            ("language", arguments.language),
            ("thread_id", arguments.thread),
        )
    ]
    for column, option in (("vote_margin", "margin"), ("confidence", "confidence")):
        wanted.append((column, operator.ge, getattr(arguments, f"min_{option}")))
        wanted.append((column, operator.le, getattr(arguments, f"max_{option}")))
    return [term for term in wanted if term[2] is not None]


def _condition(filters: Sequence[_Filter], schema: pa.Schema) -> Any:
    """The filters as an expression of Arrow for a file of ``schema``; None: there are none."""
    if not filters:
        return None
    import pyarrow.compute as pc

    columns = stored_names((column for column, _, _ in filters), schema)
    terms = [
        compare(pc.field(column), value)
        for column, (_, compare, value) in zip(columns, filters, strict=True)
    ]
    return functools.reduce(operator.and_, terms)


def _file_fault(file: str, name: str) -> str | None:
    """Say that a file is not Parquet from its beginning to its end."""
    try:
        with open_regular(file) as opened:
            ends = [opened.read(4)]
            if opened.seek(0, os.SEEK_END) >= 12:
                opened.seek(-4, os.SEEK_END)
                ends.append(opened.read(4))
    except OSError as error:
        return f"{name}: cannot be read: {fault_of(error)}"
    return None if ends == [b"PAR1", b"PAR1"] else f"{name}: is not a complete Parquet file"


def _rows(
    folder: Path, files: Sequence[str], filters: Sequence[_Filter]
) -> Iterator[dict[str, Any]]:
    """Rows of the files, one after the other; raises DatasetError that names the damaged one."""
    names = {file: Path(file).relative_to(folder).as_posix() for file in files}
    # All of them first: who looks at three pairs should hear that a file is damaged.
    if faults := [fault for file, name in names.items() if (fault := _file_fault(file, name))]:
        raise DatasetError(str(folder), faults, REMEDY)
    for file, name in names.items():
        try:
            with pq.ParquetFile(file) as parquet:
                stored = parquet.schema_arrow
                if faults := pair_faults(name, current_schema(stored), NEEDED):
                    raise DatasetError(str(folder), faults, REMEDY)
            for batch in _batches(file, _condition(filters, stored)):
                batch = batch.rename_columns(current_names(batch.schema.names))
                if fault := value_fault(name, batch, PAIR_SCHEMA):
                    raise DatasetError(str(folder), [fault], REMEDY)
                yield from batch.to_pylist()
        except pa.ArrowMemoryError:  # of which the file may be innocent
            raise
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(
                str(folder), [f"{name}: cannot be read: {fault_of(error)}"], REMEDY
            ) from None


def _batches(file: str, condition: Any) -> Iterator[pa.RecordBatch]:
    if condition is None:
        with pq.ParquetFile(file) as parquet:
            yield from parquet.iter_batches(batch_size=64)
        return
    import pyarrow.dataset  # here, because without a filter there is no need to wait for it

    dataset = pyarrow.dataset.dataset([file], format="parquet")
    yield from dataset.to_batches(filter=condition, batch_size=64)


def render_pair(row: dict[str, Any], width: int, *, raw: bool = False) -> RenderableType:
    """Lay out one pair: the prompt above, the two responses side by side when they fit."""
    header = Text.assemble(
        (printable(row["pair_id"]), "bold"),
        f"  {printable(row['split'])}, {printable(row['language'])}, "
        f"margin {row['vote_margin']:g}, confidence {row['confidence']:.2f}",
    )
    prompt = Panel(
        _body(row, "prompt", raw),
        title=_title(row, "prompt"),
        subtitle=printable(row["prompt_url"]),
        title_align="left",
        border_style="blue",
    )
    wide = width >= 100
    answers = [
        Panel(
            _body(row, side, raw),
            title=_title(row, side),
            subtitle=printable(row[f"{side}_url"]),
            title_align="left",
            border_style=colour,
            width=(width - 1) // 2 if wide else None,
        )
        for side, colour in (("chosen", "green"), ("rejected", "red"))
    ]
    return Group(header, prompt, Columns(answers) if wide else Group(*answers), Text())


def _title(row: dict[str, Any], side: str) -> Text:
    parts = [side]
    if side != "prompt":
        parts.append(f"score {row[f'{side}_score']:g}")
        if row[f"{side}_is_accepted"]:
            parts.append("accepted")
        window = row[f"window_{side}_score"]
        if window is not None:
            parts.append(f"in window {window:+d}")
    return Text(" · ".join(parts))


def _body(row: dict[str, Any], side: str, raw: bool) -> RenderableType:
    author = printable(row[f"{side}_author"]) or "unknown or deleted account"
    created: datetime = row[f"{side}_created_at"]
    # 0 is how a source without dates is written down.
    date = f"{created:%Y-%m-%d %H:%M}" if created.timestamp() else "date unknown"
    if side not in row:
        return Text(f"by {author}, {date}; no text, see forumprefs hydrate", style="dim")
    clean = printable(row[side])
    if raw:
        text: RenderableType = Text(clean)
    else:
        from rich.markdown import Markdown  # which --raw and --json do without

        text = Markdown(clean, hyperlinks=False)
    return Group(Text(f"by {author}, {date}", style="dim"), text)
