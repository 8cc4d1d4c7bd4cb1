"""The changelog of a dataset version, a section of its card: no figure typed."""

from collections.abc import Mapping, Sequence

from pipeline.dataset.card_figures import markdown_text as _text
from pipeline.diff.difference import (
    DatasetDifference,
    InputChange,
    SchemaChange,
    ValueChange,
    input_name,
    kinds,
    value_text,
)
from pipeline.diff.outcomes import OUTCOME_DOCS, Explanation

LISTED = 50
"""Maximum number of inputs and options that are listed."""


def make_changelog(difference: DatasetDifference, old_name: str, new_name: str) -> str:
    """Return a Markdown section on what changed from version ``old_name`` to ``new_name``."""
    old, new = _text(old_name), _text(new_name)
    lines = [f"## Changes from {old} to {new}", ""]
    if difference.equal:
        return "\n".join([*lines, f"None: {new} holds what {old} holds.", ""])
    lines += [
        _text(difference.advice.because),
        "",
        *_table(("", f"{old}", f"{new}"), _sizes(difference)),
        *_table(
            ("difference", "count"),
            [
                ("pairs that are equal", f"{difference.same:,}"),
                *((name, f"{found.count:,}") for name, found in kinds(difference) if found.count),
            ],
        ),
    ]
    for warning in difference.warnings:
        lines += [f"**Note:** {_text(warning)}.", ""]
    lines += _reasons("Why pairs are gone", f"{new}", difference.why_gone)
    lines += _reasons("Why pairs are new", f"{old}", difference.why_added)
    if difference.columns:
        rows = [(_text(name), f"{count:,}") for name, count in difference.columns.items()]
        lines += ["### Columns that differ", "", *_table(("column", "pairs"), rows)]
    lines += _values("Recipe", "option", old, new, difference.recipe)
    lines += _inputs(old, new, difference.inputs)
    lines += _values("Packages", "package", old, new, difference.versions)
    lines += _schema(difference.schema)
    return "\n".join(lines)


def _sizes(difference: DatasetDifference) -> list[tuple[str, str, str]]:
    return [
        ("pairs", f"{difference.pairs_old:,}", f"{difference.pairs_new:,}"),
        ("threads", f"{difference.threads_old:,}", f"{difference.threads_new:,}"),
    ]


def _reasons(title: str, where: str, why: Explanation) -> list[str]:
    """Tell of the pairs that a version does not have what became of their posts there."""
    if not why.pairs:
        return []
    names = [*why.pairs, *(name for name in why.posts if name not in why.pairs)]
    rows = [
        (f"`{name}`", _count(why.pairs, name), _count(why.posts, name), OUTCOME_DOCS[name])
        for name in names
    ]
    return [
        f"### {title}",
        "",
        f"What became of their posts in {where}.",
        "",
        *_table(("reason", "pairs", "posts", "meaning"), rows),
    ]


def _count(counts: Mapping[str, int], name: str) -> str:
    return f"{counts[name]:,}" if name in counts else "–"


def _values(title: str, kind: str, old: str, new: str, changes: Sequence[ValueChange]) -> list[str]:
    if not changes:
        return []
    rows = [
        (_text(change.name), _text(value_text(change.old)), _text(value_text(change.new)))
        for change in changes[:LISTED]
    ]
    return [f"### {title}", "", *_table((kind, old, new), rows), *_rest(changes)]


def _inputs(old: str, new: str, changes: Sequence[InputChange]) -> list[str]:
    if not changes:
        return []
    rows = [
        (_text(input_name(change)), change.change, _size(change.old_bytes), _size(change.new_bytes))
        for change in changes[:LISTED]
    ]
    headers = ("input", "", f"bytes in {old}", f"bytes in {new}")
    return ["### Inputs", "", *_table(headers, rows), *_rest(changes)]


def _size(size: int | None) -> str:
    return "–" if size is None else f"{size:,}"


def _rest(changes: Sequence[object]) -> list[str]:
    return [f"And {len(changes) - LISTED:,} more.", ""] if len(changes) > LISTED else []


def _schema(schema: SchemaChange | None) -> list[str]:
    if schema is None:
        return []
    lines = ["### Schema", "", f"From {_text(schema.old_version)} to {_text(schema.new_version)}."]
    for what, columns in (
        ("Added", schema.added),
        ("Gone", schema.gone),
        ("Of another type", schema.retyped),
    ):
        if columns:
            lines.append(f"{what}: {', '.join(_text(name) for name in columns)}.")
    if schema.renamed:
        names = (f"{_text(old)} is now {_text(new)}" for old, new in schema.renamed.items())
        lines.append(f"Renamed: {', '.join(names)}.")
    return [*lines, ""]


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Write a Markdown table; its cells are escaped already."""
    marks = ["---:" if _is_figure(rows, place) else "---" for place in range(len(headers))]
    lines = [headers, marks, *rows]
    return [*(f"| {' | '.join(cells)} |" for cells in lines), ""]


def _is_figure(rows: Sequence[Sequence[str]], place: int) -> bool:
    return all(row[place].replace(",", "").isdecimal() or row[place] == "–" for row in rows)
