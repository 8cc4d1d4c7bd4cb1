"""Which posts the rows of shards without texts refer to, found by the hashes of their ids."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.fields import doc
from schemas.ids import hash63
from schemas.manifest import Shard
from schemas.post import Post

_ID_COLUMNS: Final = ("thread_id", "prompt_id", "context_ids", "chosen_id", "rejected_id")


class IdsShard(msgspec.Struct, frozen=True, kw_only=True):
    """One data shard without texts, and which posts its rows refer to."""

    shard: Annotated[Shard, doc("the file, as its manifest describes it")]
    file: Annotated[str, doc("where it is on this machine")]
    needed: Annotated[str, doc("NumPy file: sorted int64 of post_key of every post in a row")]
    start: Annotated[int, doc("hash63 of the first row's thread; rows are ordered by it")]


def post_key(thread_id: str, post_id: str) -> int:
    """Hash by which a needed post is recognised; copies in two threads are two posts."""
    return hash63(f"{thread_id}\n{post_id}")


def row_posts(table: pa.Table) -> list[tuple[str, tuple[str, ...]]]:
    """Return (thread id, ids of prompt, context, chosen, rejected) of every row."""
    columns = (table[name].to_pylist() for name in _ID_COLUMNS)
    return [
        (thread, (prompt, *context, chosen, rejected))
        for thread, prompt, context, chosen, rejected in zip(*columns, strict=True)
    ]


def needed_posts(file: str) -> tuple[int, npt.NDArray[np.int64]]:
    """Return hash63 of the first thread of a shard, and the sorted keys of its posts.

    Memory: the ids of one row group and 8 bytes per post.
    """
    keys: set[int] = set()
    start = 0
    with pq.ParquetFile(file) as shard:
        for group in range(shard.num_row_groups):
            rows = row_posts(shard.read_row_group(group, columns=list(_ID_COLUMNS)))
            if group == 0 and rows:
                start = hash63(rows[0][0])
            keys.update(post_key(thread, post) for thread, posts in rows for post in posts)
    return start, np.sort(np.fromiter(keys, np.int64, len(keys)))


class NeededPosts:
    """Tells to which shards a post belongs.

    A thread is in one split, which only its rows tell; in each split, its hash names the shard
    it would be in, and that shard's sorted keys say whether it is there. The keys stay on disk
    and are mapped into memory, so that all workers share them.
    """

    def __init__(self, shards: Sequence[IdsShard]) -> None:
        self._keys = [np.load(shard.needed, mmap_mode="r") for shard in shards]
        by_split: dict[str | None, list[int]] = {}
        for index, shard in enumerate(shards):
            by_split.setdefault(shard.shard.split, []).append(index)
        self._splits: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
        for indexes in by_split.values():
            indexes.sort(key=lambda index: shards[index].start)
            starts = np.array([shards[index].start for index in indexes], np.int64)
            self._splits.append((starts, np.array(indexes, np.int64)))

    def find(self, posts: Sequence[Post]) -> Iterator[tuple[int, Post]]:
        """Yield (index of a shard, post) for every post that a shard needs."""
        threads = np.array([hash63(post.thread_id) for post in posts], np.int64)
        keys = np.array([post_key(post.thread_id, post.id) for post in posts], np.int64)
        for starts, indexes in self._splits:
            places = np.searchsorted(starts, threads, side="right") - 1
            for place in np.unique(places[places >= 0]).tolist():
                shard = int(indexes[place])
                members = np.flatnonzero(places == place)
                for position in members[_are_in(keys[members], self._keys[shard])].tolist():
                    yield shard, posts[position]


def _are_in(keys: npt.NDArray[np.int64], ordered: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    places = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    found: npt.NDArray[np.bool_] = ordered[places] == keys
    return found
