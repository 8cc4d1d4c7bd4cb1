"""What can be wrong with the files of a dataset folder that are whole."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.arrow import DUPLICATE_SCHEMA, PAIR_IDS_SCHEMA, PAIR_SCHEMA, REJECTED_SCHEMA
from schemas.manifest import EXPORTS_TABLE, MANIFEST_NAME, Manifest, Shard, major
from schemas.pair import READ_MAJOR_VERSIONS, SPLITS
from schemas.small_files import SmallFileError, decode_text

_OURS = {"data": PAIR_SCHEMA, "duplicates": DUPLICATE_SCHEMA, "rejected": REJECTED_SCHEMA}
_WORD = re.compile(r"[^:]{1,100}")
_VOCABULARY: Mapping[str, Callable[[str], object]] = {
    "split": SPLITS.__contains__,
    # Other releases have others.
    **dict.fromkeys(("stage", "reason", "record", "rule"), _WORD.fullmatch),
}
"""Columns whose values are words, and which are."""
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999, which Python's dates have."""


def figure_faults(manifest: Manifest) -> list[str]:
    """Say which figures of a manifest do not add up."""
    accounting = manifest.accounting
    faults = []
    left = accounting.posts_kept + accounting.duplicates + accounting.rejected
    if accounting.posts_read != left:
        faults.append(
            f"the accounting does not add up: {accounting.posts_read:,} posts read, {left:,} "
            "accounted for"
        )
    pairs = sum(accounting.pairs.values())
    rows = sum(shard.rows for shard in manifest.shards if shard.table == "data")
    if rows != pairs:
        faults.append(f"the shards hold {rows:,} pairs, and the accounting says {pairs:,}")
    return faults


def table_faults(shard: Shard, parquet: pq.ParquetFile, manifest: Manifest) -> list[str]:
    """Compare a shard's footer with what its rows and columns should be."""
    faults = []
    rows = parquet.metadata.num_rows
    if rows != shard.rows:
        faults.append(f"{shard.path}: has {rows:,} rows, {MANIFEST_NAME} says {shard.rows:,}")
    schema = parquet.schema_arrow
    data = PAIR_IDS_SCHEMA if manifest.ids_only else PAIR_SCHEMA
    ours = {"data": data, "duplicates": DUPLICATE_SCHEMA, "rejected": REJECTED_SCHEMA}[shard.table]
    label, our_label = _label(schema), _label(ours)
    kind = our_label.partition("/")[0]
    is_data = shard.table == "data"
    wanted = f"{kind}/{manifest.pair_schema_version}" if is_data else kind
    if (label if is_data else label.partition("/")[0]) != wanted:
        faults.append(f"{shard.path}: holds rows of {label or 'an unknown kind'}, not {wanted}")
    elif label == our_label and not schema.equals(ours):
        changed = [
            field.name
            for field in ours
            if field.name not in schema.names or not schema.field(field.name).equals(field)
        ]
        more = sorted(set(schema.names) - set(ours.names))
        what = ", ".join([*changed, *more]) or "the order of its columns"
        faults.append(f"{shard.path}: its columns are not those of {label}: {what}")
    return faults


def column_faults(
    shard: Shard, schema: pa.Schema, columns: Sequence[str], pair_schema_version: str
) -> list[str]:
    """Say which of some columns a shard lacks, or has with another type than ours.

    Types are compared where the version of the pairs' schema promises that they are ours.
    """
    is_ours = shard.table != "data" or major(pair_schema_version) in READ_MAJOR_VERSIONS
    ours = _OURS[shard.table] if is_ours else pa.schema([])
    absent = sorted(set(columns) - set(schema.names))
    if absent:
        return [f"{shard.path}: has no column {', '.join(absent)}"]
    twice = sorted(name for name in set(columns) if schema.names.count(name) > 1)
    if twice:
        return [f"{shard.path}: has two columns {', '.join(twice)}"]
    return _type_faults(shard.path, schema, ours, columns)


def row_fault(shard: Shard, batch: pa.RecordBatch) -> str | None:
    """Say which value of a batch no writer of ours writes; None where there is none."""
    return value_fault(shard.path, batch, _OURS[shard.table])


def value_fault(name: str, batch: pa.RecordBatch, ours: pa.Schema) -> str | None:
    """Say which value of a batch of a file is none that columns of ours have; None: none is.

    What Parquet takes and rows cannot hold: nulls where our column has none, bytes that are not
    UTF-8, dates that no calendar has, NaN. Raises ArrowInvalid for a batch that is broken in
    itself.
    """
    batch.validate(full=True)
    for column_name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column_name not in ours.names:
            continue
        what = f"{name}: its column {column_name}"
        if _has_nulls_in_lists(column) or (
            column.null_count and not ours.field(column_name).nullable
        ):
            return f"{what} lacks a value"
        if pa.types.is_timestamp(column.type) and column.null_count < len(column):
            # Nulls become NaN, and what a double rounds lies far outside.
            times = column.view(pa.int64()).to_numpy(zero_copy_only=False)
            if np.nanmin(times) < _FIRST_MS or np.nanmax(times) > _LAST_MS:
                return f"{what} holds a date outside of the calendar"
        if pa.types.is_floating(column.type) and _has_unusual_floats(column):
            return f"{what} holds what is no finite number"
        is_known = _VOCABULARY.get(column_name)
        if is_known is not None:
            strays = [word for word in set(column.to_pylist()) if not is_known(word)]
            if strays:
                return f"{what} holds {min(strays)!r:.40}"
    return None


def _has_nulls_in_lists(column: pa.Array) -> bool:
    # What lists out of the batch hold counts in `values`, too, but `flatten` loads all of Arrow's
    # functions, which takes longer than `inspect` does otherwise.
    is_list = pa.types.is_list(column.type)
    return bool(is_list and column.values.null_count and column.flatten().null_count)


def _has_unusual_floats(column: pa.Array) -> bool:
    """Whether there is an infinity or NaN, which nulls become, too."""
    # numpy is loaded anyway, Arrow's functions are not.
    values = column.to_numpy(zero_copy_only=False)
    return bool(np.count_nonzero(~np.isfinite(values)) > column.null_count)


def pair_faults(name: str, schema: pa.Schema, needed: Sequence[str]) -> list[str]:
    """Say what is wrong with the columns of a file of pairs, some of which are needed."""
    absent = sorted(set(needed) - set(schema.names))
    if absent:
        return [f"{name}: has no column {', '.join(absent)}"]
    known = [column for column in PAIR_SCHEMA.names if column in schema.names]
    twice = [column for column in known if schema.names.count(column) > 1]
    if twice:
        return [f"{name}: has two columns {', '.join(twice)}"]
    return _type_faults(name, schema, PAIR_SCHEMA, known)


def _type_faults(
    name: str, schema: pa.Schema, ours: pa.Schema, columns: Sequence[str]
) -> list[str]:
    return [
        f"{name}: its column {column} is of type {schema.field(column).type}, not {wanted}"
        for column in columns
        if column in ours.names
        and not schema.field(column).type.equals(wanted := ours.field(column).type)
    ]


def card_faults(content: bytes, card: str, shards: Sequence[Shard]) -> list[str]:
    """Say what is wrong with a card's front matter, by which the Hub loads the data.

    ``card`` is the file's name. The patterns of `data_files` must match shards, and those of the
    default configuration every shard of their split.
    """
    try:
        front = read_front_matter(decode_text(content))
    except SmallFileError as error:
        return [f"{card}: its front matter {error}"]
    if front is None:
        return [f"{card}: does not begin with front matter (a YAML mapping between ---)"]
    try:
        patterns = [
            (config["config_name"], str(entry["split"]), str(entry["path"]))
            for config in front.get("configs") or []
            for entry in config["data_files"]
            # Published beside a dataset, and in no folder of one.
            if not str(entry["path"]).startswith(f"{EXPORTS_TABLE}/")
        ]
    except (TypeError, KeyError):
        return [f"{card}: `configs` is not a list of config_name and data_files"]
    faults = [
        f"{card}: no file is named {pattern}, which its front matter gives as data"
        for _, _, pattern in patterns
        if not any(fnmatchcase(shard.path, pattern) for shard in shards)
    ]
    default = [(split, pattern) for name, split, pattern in patterns if name == "default"]
    return faults + [
        f"{card}: its front matter does not list {shard.path} in the split {shard.split}"
        for shard in shards
        if shard.table == "data"
        and not any(shard.split == s and fnmatchcase(shard.path, p) for s, p in default)
    ]


def _label(schema: pa.Schema) -> str:
    """Return the name that our schemas carry, '<kind of row>/<version>'; '' for others."""
    found: bytes = (schema.metadata or {}).get(b"forumprefs.schema", b"")
    return found.decode("utf-8", "replace")


def read_front_matter(card: str) -> dict[str, Any] | None:
    """Parse the YAML block at the start of a card; None when there is no mapping.

    Raises SmallFileError.
    """
    from schemas.small_yaml import decode_yaml  # loads PyYAML, which only cards need

    lines = io.StringIO(card)
    if lines.readline().rstrip() != "---":
        return None
    block: list[str] = []
    for line in lines:
        if line.rstrip() == "---":
            front = decode_yaml("".join(block))
            return front if isinstance(front, dict) else None
        block.append(line)
    return None
