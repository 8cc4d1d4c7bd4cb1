"""What can be wrong with the files of a dataset folder that are whole."""

import io
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from schemas.audit import DUPLICATE_SCHEMA, REJECTED_SCHEMA
from schemas.manifest import MANIFEST_NAME, Manifest, Shard
from schemas.pair import PAIR_IDS_SCHEMA, PAIR_SCHEMA


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


def card_faults(content: bytes, card: str, shards: Sequence[Shard]) -> list[str]:
    """Say what is wrong with a card's front matter, by which the Hub loads the data.

    ``card`` is the file's name. The patterns of `data_files` must match shards, and those of the
    default configuration every shard of their split.
    """
    try:
        front = read_front_matter(content.decode("utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        return [f"{card}: its front matter is not valid YAML: {' '.join(str(error).split())}"]
    if front is None:
        return [f"{card}: does not begin with front matter (a YAML mapping between ---)"]
    try:
        patterns = [
            (config["config_name"], str(entry["split"]), str(entry["path"]))
            for config in front.get("configs") or []
            for entry in config["data_files"]
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
    """Parse the YAML block at the start of a card; None when there is no mapping."""
    lines = io.StringIO(card)
    if lines.readline().rstrip() != "---":
        return None
    block: list[str] = []
    for line in lines:
        if line.rstrip() == "---":
            front = yaml.safe_load("".join(block))
            return front if isinstance(front, dict) else None
        block.append(line)
    return None
