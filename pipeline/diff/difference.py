"""What a comparison of two datasets says, and the version number that follows from it."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from pipeline.diff.outcomes import Explanation
from schemas.fields import doc

INPUT_OPTIONS = ("input", "takedown", "decontaminate")
"""Options that name files: what counts is what is in these, which the manifest's inputs say."""

LAYOUT_OPTIONS = ("shard_bytes",)
"""Options that change files but no row."""


class CountedIds(msgspec.Struct, frozen=True, kw_only=True):
    """How many there are of a kind, and the first of them."""

    count: Annotated[int, doc("how many")] = 0
    examples: Annotated[tuple[str, ...], doc("ids of the first, in the order of the shards")] = ()


class ValueChange(msgspec.Struct, frozen=True, kw_only=True):
    """A named value that differs; ``old`` or ``new`` is absent where it does not exist."""

    name: Annotated[str, doc("option of the recipe, or package")]
    old: Annotated[Any, doc("value in the first dataset")] = msgspec.UNSET
    new: Annotated[Any, doc("value in the second dataset")] = msgspec.UNSET


class InputChange(msgspec.Struct, frozen=True, kw_only=True):
    """An input file that only one dataset was made from, or whose content differs."""

    site: Annotated[str, doc("forum it belongs to")]
    name: Annotated[str, doc("file name")]
    change: Annotated[Literal["new", "gone", "changed"], doc("what differs")]
    old_bytes: Annotated[int | None, doc("size in the first dataset; null: not there")] = None
    new_bytes: Annotated[int | None, doc("size in the second dataset; null: not there")] = None


class SchemaChange(msgspec.Struct, frozen=True, kw_only=True):
    """How the pair columns differ."""

    old_version: Annotated[str, doc("version of the first dataset's pair schema")]
    new_version: Annotated[str, doc("version of the second dataset's pair schema")]
    added: Annotated[tuple[str, ...], doc("columns that only the second has")] = ()
    gone: Annotated[tuple[str, ...], doc("columns that only the first has")] = ()
    retyped: Annotated[tuple[str, ...], doc("columns of another type")] = ()
    renamed: Annotated[
        dict[str, str], doc("columns that have another name in the second, by that in the first")
    ] = {}


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a semantic version the second dataset should raise."""

    level: Annotated[Literal["major", "minor", "patch", "none"], doc("part to raise")]
    because: Annotated[str, doc("one sentence")]


class DatasetDifference(msgspec.Struct, frozen=True, kw_only=True):
    """All that differs from an old dataset to a new one."""

    equal: Annotated[bool, doc("the manifests, and so all files of rows, are equal")]
    pairs_old: Annotated[int, doc("pairs in the old dataset")]
    pairs_new: Annotated[int, doc("pairs in the new dataset")]
    threads_old: Annotated[int, doc("threads with a pair in the old dataset")]
    threads_new: Annotated[int, doc("threads with a pair in the new dataset")]
    added_threads: Annotated[CountedIds, doc("threads only in the new dataset")] = CountedIds()
    gone_threads: Annotated[CountedIds, doc("threads only in the old dataset")] = CountedIds()
    moved_threads: Annotated[CountedIds, doc("threads that are in another split")] = CountedIds()
    moves: Annotated[dict[str, int], doc("moved threads by 'old split>new split'")] = {}
    same: Annotated[int, doc("pairs that are equal in every compared column")] = 0
    added: Annotated[CountedIds, doc("pairs only in the new dataset")] = CountedIds()
    gone: Annotated[CountedIds, doc("pairs only in the old dataset")] = CountedIds()
    flipped: Annotated[CountedIds, doc("pairs whose chosen and rejected changed places")] = (
        CountedIds()
    )
    rescored: Annotated[CountedIds, doc("pairs, not flipped, with another score or confidence")] = (
        CountedIds()
    )
    rewritten: Annotated[CountedIds, doc("pairs, not flipped, with another text")] = CountedIds()
    relabelled: Annotated[
        CountedIds, doc("pairs, not flipped, with another value in any other column but the split")
    ] = CountedIds()
    columns: Annotated[
        dict[str, int],
        doc("pairs, not flipped, by column that differs; texts by `text_hash` where both have it"),
    ] = {}
    why_gone: Annotated[Explanation, doc("what became of the gone pairs in the new dataset")] = (
        Explanation()
    )
    why_added: Annotated[Explanation, doc("what the added pairs were in the old dataset")] = (
        Explanation()
    )
    recipe: Annotated[tuple[ValueChange, ...], doc("options that differ")] = ()
    inputs: Annotated[tuple[InputChange, ...], doc("input files that differ")] = ()
    versions: Annotated[tuple[ValueChange, ...], doc("packages that differ")] = ()
    schema: Annotated[SchemaChange | None, doc("null when the columns are equal")] = None
    warnings: Annotated[tuple[str, ...], doc("what a user of both versions has to know")] = ()
    advice: Annotated[Advice, doc("version number to give the new dataset")]


def semantic_advice(
    schema: SchemaChange | None,
    recipe: Sequence[ValueChange],
    inputs: Sequence[InputChange],
    *,
    rows_differ: bool,
    files_differ: bool,
) -> Advice:
    """Say which part of the version number a dataset with these differences should raise."""
    options = [
        change.name for change in recipe if change.name not in INPUT_OPTIONS + LAYOUT_OPTIONS
    ]
    if schema is not None:
        old, new = schema.old_version, schema.new_version
        removed = (*schema.gone, *schema.retyped)
        if removed:
            return Advice(
                level="major",
                because=f"Columns that readers may use are gone or of another type: "
                f"{', '.join(removed)}.",
            )
        if schema.renamed:
            names = ", ".join(f"{before} is now {now}" for before, now in schema.renamed.items())
            return Advice(level="major", because=f"Columns have other names: {names}.")
        if old.partition(".")[0] != new.partition(".")[0]:
            return Advice(level="major", because=f"The pair schema went from {old} to {new}.")
    if options:
        return Advice(level="minor", because=f"The recipe differs in {', '.join(options)}.")
    if schema is not None:
        what = f"Columns were added: {', '.join(schema.added)}." if schema.added else ""
        because = what or f"The pair schema went from {old} to {new}."
        return Advice(level="minor", because=because)
    if inputs:
        return Advice(level="patch", because="The same recipe was run on other inputs.")
    if rows_differ:
        return Advice(
            level="minor",
            because="Recipe and inputs are equal and rows differ, so the software behaves "
            "differently.",
        )
    if files_differ:
        return Advice(level="patch", because="The pairs are equal; other files or tables differ.")
    return Advice(level="none", because="The files of rows are equal.")


def kinds(difference: DatasetDifference) -> tuple[tuple[str, CountedIds], ...]:
    """Name each kind of difference between rows, in the order of display."""
    return (
        ("new pairs", difference.added),
        ("gone pairs", difference.gone),
        ("flipped pairs", difference.flipped),
        ("re-scored pairs", difference.rescored),
        ("text changed", difference.rewritten),
        ("other columns", difference.relabelled),
        ("new threads", difference.added_threads),
        ("gone threads", difference.gone_threads),
        ("moved to another split", difference.moved_threads),
    )


def input_name(change: InputChange) -> str:
    """Name an input file with the forum it belongs to."""
    return f"{change.site}: {change.name}" if change.site else change.name


def value_text(value: Any) -> str:
    """Write a value of a recipe as JSON; an en dash where there is none."""
    if value is msgspec.UNSET:
        return "–"
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
