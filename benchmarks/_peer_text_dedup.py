"""text-dedup's side of benchmarks/peers.py: `dedup` INPUT OUTPUT, in the peers' environment.

Its own command line in this process, at the threshold of 0.8, with the faster of its hashes.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

from datasets import load_from_disk
from text_dedup import minhash
from text_dedup.utils import UnionFind


def main() -> None:
    _, source, output = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    arguments = ["--path", "parquet", "--data_files", str(source), "--split", "train"]
    arguments += ["--cache_dir", str(output / "cache"), "--output", str(output / "kept")]
    arguments += ["--column", "text", "--threshold", "0.8", "--hash_func", "xxh3"]
    minhash.main([*arguments, "--num_proc", "1"], standalone_mode=False)
    groups: UnionFind = minhash.uf
    import pyarrow.parquet as pq

    names = pq.read_table(source, columns=["id"])["id"].to_pylist()
    kept = set(load_from_disk(str(output / "kept"))["id"])
    roots = {place: groups.find(place) for place in list(groups.parent)}
    result = {
        "clusters": {names[place]: names[root] for place, root in roots.items()},
        # What its output lacks: also the texts under its least length.
        "removed": [name for name in names if name not in kept],
        "versions": {"text-dedup": version("text-dedup"), "datasets": version("datasets")},
    }
    (output / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
