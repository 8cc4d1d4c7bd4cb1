"""How far deduplication goes: shuffled bytes per post, finisher's memory per duplicate, to 10⁹.

    python -m benchmarks.dedup_scale --posts 1000000

Makes bucket keys as MinHash would (posts of a group share some bands, others none), sends them
through the project's own steps without a runner, and counts. The table at the end is arithmetic:
measured bytes times the numbers of a billion posts.
"""

import argparse
import time
import tracemalloc

import numpy as np

from transforms.core import Blob
from transforms.dedup.components import (
    PENDING_ROWS,
    Forest,
    JoinBuckets,
    StarBuckets,
    partitions_of,
    unpack_rows,
)
from transforms.dedup.minhash import MinHashRules

SHARD_BYTES = 64 << 20
"""Of one unit of joining: what a small worker sorts in memory at ease."""

FINISHER_BYTES = 48 << 30
"""Memory of the one worker that joins the components, a large one that clouds rent out."""


def bucket_keys(posts: int, share: float, bands: int, random: np.random.Generator) -> np.ndarray:
    """(key, node) rows [posts * bands, 2]; ``share`` of the posts are like an earlier one."""
    nodes = random.permutation(posts).astype(np.int64) << 20 | 1
    keys = random.integers(0, 1 << 62, (posts, bands), np.int64)
    copies = np.flatnonzero(random.random(posts) < share)
    copies = copies[copies > 0]
    originals = (random.random(len(copies)) ** 2 * copies).astype(np.int64)  # some often
    for copy, original in zip(copies.tolist(), originals.tolist(), strict=True):
        shared = random.random(bands) < 0.5
        shared[random.integers(bands)] = True
        keys[copy, shared] = keys[original, shared]
    return np.stack([keys.ravel(), np.repeat(nodes, bands)], axis=1)


def main() -> None:
    """Measure and extrapolate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--posts", type=int, default=1_000_000)
    parser.add_argument("--duplicates", type=float, default=0.1, help="share of posts")
    arguments = parser.parse_args()
    random = np.random.default_rng(1)
    bands = MinHashRules().bands
    rows = bucket_keys(arguments.posts, arguments.duplicates, bands, random)
    began = time.process_time()
    partitions = max(1, rows.nbytes // SHARD_BYTES)
    shuffled, edges, shards = 0, [], {}
    star = StarBuckets(int(partitions))
    for start in range(0, len(rows), PENDING_ROWS):
        star.start_bundle()
        batch = rows[start : start + PENDING_ROWS]
        for output in list(star.process(Blob(batch.tobytes()))) + list(star.finish_bundle()):
            value = getattr(output, "value", output)
            value = getattr(value, "value", value)
            if isinstance(value, tuple):
                shards.setdefault(value[0], []).append(value[1])
                shuffled += len(value[1])
            else:
                edges.append(value)
    assert set(shards) <= set(partitions_of(rows[:, 0], int(partitions)).tolist())
    del rows
    largest = max(sum(map(len, chunks)) for chunks in shards.values())
    for item in sorted(shards.items()):
        edges += JoinBuckets().process(item)
    del shards
    sent = sum(map(len, edges))
    tracemalloc.start()
    forest = Forest()
    for chunk in edges:
        forest.add(unpack_rows(chunk))
    nodes = len(forest.components())
    peak = tracemalloc.get_traced_memory()[1]
    seconds = time.process_time() - began

    posts = arguments.posts
    print(f"{posts:,} posts, {bands} bands, {nodes:,} of them share a bucket with another\n")
    print(f"shuffled to the buckets   {shuffled / posts:8.1f} bytes a post")
    print(f"sent to the finisher      {sent / nodes:8.1f} bytes a post that shares a bucket")
    print(f"memory of the finisher    {peak / nodes:8.1f} bytes a post that shares a bucket")
    print(f"largest of {partitions} shards     {largest / 1e6:8.1f} MB")
    print(f"processor time            {seconds / posts * 1e6:8.1f} us a post, hashing left out\n")
    share = nodes / posts
    print("| posts | to the buckets | shards of 64 MB | finisher reads | finisher's memory |")
    print("|---:|---:|---:|---:|---:|")
    for size in (10**7, 10**8, 10**9):
        total = shuffled / posts * size
        print(
            f"| 10^{len(str(size)) - 1} | {total / 1e9:,.1f} GB | {total / SHARD_BYTES:,.0f} "
            f"| {sent / nodes * share * size / 1e9:,.1f} GB "
            f"| {peak / nodes * share * size / 1e9:,.1f} GB |"
        )
    most = FINISHER_BYTES / (peak / nodes) / share
    print(f"\nOne finisher with {FINISHER_BYTES >> 30} GiB ends at {most:,.0f} posts.")


if __name__ == "__main__":
    main()
