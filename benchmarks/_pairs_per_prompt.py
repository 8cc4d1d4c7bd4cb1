"""The same dataset with fewer pairs of each prompt."""

import hashlib
from collections import defaultdict
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.ids import hash63
from schemas.manifest import MANIFEST_NAME, Manifest, Shard


def write_subset(source: Path, target: Path, per_prompt: int) -> int:
    """Keep at most ``per_prompt`` pairs of each thread of the train split; return how many pairs.

    Kept are those with the smallest hashes of their ids, as `--max-pairs-per-thread` does it.
    """
    manifest = msgspec.json.decode((source / MANIFEST_NAME).read_bytes(), type=Manifest)
    (target / "data").mkdir(parents=True)
    shards: list[Shard] = []
    for shard in manifest.shards:
        if shard.table != "data" or shard.split != "train":
            continue
        file = pq.ParquetFile(source / shard.path)
        rows = 0
        with pq.ParquetWriter(target / shard.path, file.schema_arrow) as writer:
            for number in range(file.num_row_groups):
                table = file.read_row_group(number)
                kept = table.take(pa.array(_kept(table, per_prompt)))
                writer.write_table(kept, row_group_size=max(len(kept), 1))
                rows += len(kept)
        content = (target / shard.path).read_bytes()
        shards.append(
            msgspec.structs.replace(
                shard, rows=rows, bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
            )
        )
    changed = msgspec.structs.replace(manifest, shards=tuple(shards))
    (target / MANIFEST_NAME).write_bytes(msgspec.json.encode(changed))
    return sum(shard.rows for shard in shards)


def _kept(table: pa.Table, per_prompt: int) -> list[int]:
    places: dict[str, list[int]] = defaultdict(list)
    for row, thread in enumerate(table["thread_id"].to_pylist()):
        places[thread].append(row)
    names = table["pair_id"].to_pylist()
    kept = []
    for rows in places.values():
        kept += sorted(rows, key=lambda row: (hash63(f"0/{names[row]}"), names[row]))[:per_prompt]
    return sorted(kept)
