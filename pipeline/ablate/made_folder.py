"""Writes what was made of a dataset as a dataset folder that trains and is not for publishing."""

import shutil
from collections import Counter
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dataset import DatasetFolder, replace_folder
from schemas.checksums import sha256_of_file
from schemas.manifest import MANIFEST_NAME, Shard
from schemas.pair import SPLITS
from transforms.writers.tables import ROW_GROUP_ROWS, parquet_writer


def read_table(folder: str | Path, split: str | None = None) -> pa.Table:
    """Read all pairs of a dataset folder into memory; raises DatasetError."""
    dataset = DatasetFolder(str(folder))
    schema = dataset.schema("data")
    if schema is None:
        return pa.table({})
    batches = dataset.read_columns("data", schema.names, split)
    return pa.Table.from_batches(list(batches), schema)


def write_made(table: pa.Table, source: str | Path, output: Path, why: str) -> str:
    """Write pairs as the folder ``output``, whole or not at all; returns the manifest's sha256.

    Its manifest is that of ``source`` with other shards and counts of pairs, and says in
    ``not_publishable_because`` what the rows are: ``why``. It has no card and no tables of
    rejects, so ``forumprefs verify`` and ``publish`` refuse it, too.
    """
    staging = output.with_name(f".{output.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    (staging / "data").mkdir(parents=True)
    manifest = DatasetFolder(str(source)).manifest
    shards, pairs, threads = [], {}, {}
    for split in SPLITS:
        part = table.filter(pc.equal(table["split"], split))
        if not part.num_rows:
            continue
        path = f"data/{split}-00000-of-00001.parquet"
        with parquet_writer(staging / path, table.schema) as writer:
            for start in range(0, part.num_rows, ROW_GROUP_ROWS):
                writer.write_table(part.slice(start, ROW_GROUP_ROWS).combine_chunks())
        pairs[split] = part.num_rows
        threads[split] = len(Counter(part["thread_id"].to_pylist()))
        shards.append(
            Shard(
                path=path,
                table="data",
                split=split,
                rows=part.num_rows,
                bytes=(staging / path).stat().st_size,
                sha256=sha256_of_file(staging / path),
            )
        )
    made = msgspec.structs.replace(
        manifest,
        shards=tuple(shards),
        accounting=msgspec.structs.replace(manifest.accounting, pairs=pairs, threads=threads),
        publishable=False,
        not_publishable_because=(why,),
    )
    content = msgspec.json.format(msgspec.json.encode(made)) + b"\n"
    (staging / MANIFEST_NAME).write_bytes(content)
    replace_folder(staging, output)
    return sha256_of_file(output / MANIFEST_NAME)
