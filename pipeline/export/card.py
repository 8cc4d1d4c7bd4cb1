"""The card of a folder of exports: what is in it, from what, and how it is loaded."""

from typing import Any, Final, get_args

import yaml

from pipeline.dataset.card import SIZE_CATEGORIES, make_front_matter
from pipeline.dataset.card_figures import markdown_text
from pipeline.dataset.folder import DatasetFolder
from pipeline.export.formats import FORMATS
from schemas.exports import (
    EXPORT_MANIFEST_NAME,
    EXPORTS,
    LEFT_OUT_DOCS,
    ExportCounts,
    ExportManifest,
)
from schemas.fields import TIMESTAMPS, field_docs
from schemas.pair import SPLITS, Message

_NAMES: Final = {str: "str", float: "float", int: "int", bool: "bool"}


def export_card(manifest: ExportManifest, folder: DatasetFolder, name: str) -> str:
    """Return the card of exports of the dataset ``name``: YAML front matter and Markdown.

    Raises DatasetError where the dataset's report.json cannot be read.
    """
    front = yaml.safe_dump(
        _front_matter(manifest, folder, name), sort_keys=False, allow_unicode=True, width=1000
    )
    sections = (
        _summary(manifest, name),
        *sections_of(manifest, "FOLDER"),
        _licence(manifest, folder, name),
    )
    return f"---\n{front}---\n\n" + "\n".join(sections)


def _front_matter(manifest: ExportManifest, folder: DatasetFolder, name: str) -> dict[str, Any]:
    rows = sum(shard.rows for shard in manifest.shards)
    front = make_front_matter(folder.manifest, folder.report, f"{name} for trainers")
    return front | {
        "size_categories": [next(label for limit, label in _SIZES if rows < limit)],
        "configs": configs_of(manifest),
    }


def configs_of(manifest: ExportManifest, folder: str = "") -> list[dict[str, Any]]:
    """Return what a card's front matter says of exports that lie below ``folder``, such as 'a/'."""
    return [
        {
            "config_name": counts.name,
            "data_files": [
                {"split": split, "path": f"{folder}{counts.name}/{split}-*.parquet"}
                for split in SPLITS
                if counts.rows.get(split)
            ],
        }
        for counts in manifest.exports
    ]


_SIZES: Final = (*SIZE_CATEGORIES, (float("inf"), "100M<n<1B"))


def _summary(manifest: ExportManifest, name: str) -> str:
    first = manifest.exports[0]
    split = next(split for split in SPLITS if first.rows.get(split))
    return f"""# {markdown_text(name)} for trainers

Preferences of the dataset {markdown_text(name)} in the columns that trainers read, made by
`forumprefs export` from the dataset whose `manifest.json` has the sha256
`{manifest.source_manifest_sha256}`. The same dataset and options give the same shards.

```python
from datasets import load_dataset

rows = load_dataset(FOLDER, "{first.name}", split="{split}")
```

`FOLDER` is where this card lies. `{EXPORT_MANIFEST_NAME}` has the checksum of each file.
"""


def sections_of(manifest: ExportManifest, place: str, revision: str = "") -> list[str]:
    """Return the sections of a card on each export, and on what is left out.

    ``place`` and ``revision``: what `load_dataset` takes for them, in Python.
    """
    at = f", revision={revision}" if revision else ""
    return [
        *(
            _export(
                counts,
                manifest.margin,
                f'load_dataset({place}, "{counts.name}"{at}, split="{next(iter(counts.rows))}")',
            )
            for counts in manifest.exports
        ),
        _left_out(manifest),
    ]


def _export(counts: ExportCounts, margin: str, load: str) -> str:
    """The section of one export."""
    splits = ", ".join(f"{split}: {rows:,}" for split, rows in counts.rows.items())
    total = sum(counts.rows.values())
    of = "" if counts.unit == "pairs" else f" from {counts.considered:,} {counts.unit}"
    use = FORMATS[counts.name].use
    lines = [
        f"## {counts.name}",
        "",
        f"For {use}. {total:,} rows ({splits}){of}.{_labels(counts)}",
        "",
        f"`{load}`",
        "",
        "| column | type | meaning |",
        "|---|---|---|",
        *columns_table(counts.name, with_margin=margin != "none"),
        "",
    ]
    return "\n".join(lines)


def _labels(counts: ExportCounts) -> str:
    if not counts.labels:
        return ""
    return f" {counts.labels['true']:,} responses are good and {counts.labels['false']:,} bad."


def columns_table(export: str, *, with_margin: bool) -> list[str]:
    """Return the lines of a table of an export's columns."""
    return [
        f"| `{name}` | {_type(annotation, meta.extra or {})} | {meta.description} |"
        for name, (annotation, meta) in field_docs(EXPORTS[export]).items()
        if with_margin or name != "margin"
    ]


def _type(annotation: Any, extra: dict[str, str]) -> str:
    if extra.get("arrow") == TIMESTAMPS:
        return "list of timestamp[ms, UTC]"
    if annotation in _NAMES:
        return _NAMES[annotation]
    item = get_args(annotation)[0]
    return "list of {role, content}" if item is Message else f"list of {_NAMES[item]}"


def _left_out(manifest: ExportManifest) -> str:
    lines = ["## What is left out", ""]
    if not any(counts.left_out for counts in manifest.exports):
        return "\n".join([*lines, "Nothing.", ""])
    lines += ["| export | left out | of | because |", "|---|---:|---:|---|"]
    for counts in manifest.exports:
        for reason, why in LEFT_OUT_DOCS.items():
            if amount := counts.left_out.get(reason):
                lines.append(
                    f"| {counts.name} | {amount:,} | {counts.considered:,} {counts.unit} "
                    f"| `{reason}`: {why.partition(': ')[2]} |"
                )
    return "\n".join([*lines, ""])


def _licence(manifest: ExportManifest, folder: DatasetFolder, name: str) -> str:
    counts = ", ".join(
        f"{markdown_text(license_id)}: {amount:,}"
        for license_id, amount in folder.report["texts_by_license"].items()
    )
    lines = [
        "## Licence and attribution",
        "",
        f"Every text keeps the licence it was published under ({counts or 'no texts'}). The rows "
        "here name no authors, because trainers would take such columns for theirs; author, link "
        f"and licence of each text are in the dataset {markdown_text(name)}. Whoever passes these "
        "files on passes it on with them.",
        "",
    ]
    if manifest.not_publishable_because:
        lines += [
            "**Not to be published:**",
            "",
            *(f"- {markdown_text(reason)}" for reason in manifest.not_publishable_because),
            "",
        ]
    return "\n".join(lines)
