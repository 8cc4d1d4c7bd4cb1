"""datatrove's side of benchmarks/peers.py: JOB INPUT OUTPUT, in the peers' environment.

Its own blocks in its own executor, one task in one process, with the settings of its MinHash
example (14 buckets of 8 hashes, 64 bits) and the faster of its hashes.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.filters import LanguageFilter
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.hashing import HashConfig
from datatrove.utils.logging import logger

CONFIG = MinhashConfig(hash_config=HashConfig(precision=64, hash_fc="xxhash"))


def reader(source: Path) -> ParquetReader:
    return ParquetReader(str(source.parent), glob_pattern=source.name, doc_progress=False)


def writer(folder: Path) -> JsonlWriter:
    return JsonlWriter(str(folder), output_filename="${rank}.jsonl", compression=None)


def written(folder: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]


def run(steps: list[Any], logs: Path, tasks: int = 1) -> None:
    LocalPipelineExecutor(steps, tasks=tasks, workers=1, logging_dir=str(logs)).run()


def language(source: Path, output: Path) -> dict[str, Any]:
    """Ids that stay."""
    only_english = LanguageFilter("en", exclusion_writer=writer(output / "excluded"))
    run([reader(source), only_english, writer(output / "kept")], output / "logs")
    return {"kept": [document["id"] for document in written(output / "kept")]}


def dedup(source: Path, output: Path) -> dict[str, Any]:
    """Groups and removed ids, by its four stages."""
    signatures, buckets, removals = (output / name for name in ("signatures", "buckets", "ids"))
    run([reader(source), MinhashDedupSignature(str(signatures), CONFIG)], output / "logs1")
    run(
        [MinhashDedupBuckets(str(signatures), str(buckets), config=CONFIG)],
        output / "logs2",
        CONFIG.num_buckets,
    )
    run(
        [MinhashDedupCluster(str(buckets), str(removals), CONFIG, save_cluster_id=True)],
        output / "logs3",
    )
    drop = MinhashDedupFilter(
        str(removals), exclusion_writer=writer(output / "excluded"), load_cluster_ids=True
    )
    run([reader(source), drop, writer(output / "kept")], output / "logs4")
    excluded, kept = written(output / "excluded"), written(output / "kept")
    return {
        "clusters": {
            document["id"]: document["metadata"]["minhash_cluster_id"]
            for document in (*kept, *excluded)
            if document["metadata"].get("minhash_cluster_id", -1) >= 0
        },
        "removed": [document["id"] for document in excluded],
    }


def main() -> None:
    logger.remove()
    job, source, output = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    result = {"language": language, "dedup": dedup}[job](source, output)
    result["versions"] = {name: version(name) for name in ("datatrove", "spacy")}
    (output / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
