"""Whether a finished dataset leaks: the same question in two of its splits.

Splits are made by question cluster (`transforms.dedup.split`); this reads what came of it from the
rows alone, without the clusters, so a fault there or in what was merged later shows.
"""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pipeline.dataset.folder import DatasetFolder
from schemas.ids import hash63
from schemas.pair import SPLITS
from transforms.dedup.minhash import normalise

EXAMPLES = 5
"""Threads that are named of each kind of leak."""

Hashes: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Leak:
    """Threads or prompts that two splits have in common."""

    what: str
    """'thread' (its id) or 'prompt' (its text as deduplication compares it, blanks as one)."""
    splits: tuple[str, str]
    count: int
    """Different threads or prompts."""
    examples: tuple[str, ...]
    """Ids of threads in the second split, at most `EXAMPLES`."""

    def __str__(self) -> str:
        names = ", ".join(self.examples)
        same = "threads" if self.what == "thread" else "prompts of equal text"
        return f"{' and '.join(self.splits)} share {self.count:,} {same}: {names}"


def find_leaks(folder: DatasetFolder) -> tuple[Leak, ...]:
    """Compare every split with every other; empty when nothing is shared.

    Memory: about 25 bytes per prompt of two splits. Datasets of ids have no prompts to compare,
    only threads. Raises DatasetError for shards that cannot be read.
    """
    splits = [split for split in SPLITS if folder.shards("data", split)]
    schema = folder.schema("data")
    has_text = schema is not None and "prompt" in schema.names
    found = []
    for what in ("thread", "prompt") if has_text else ("thread",):
        by_split = {
            split: _distinct(key for _, key in _keys(folder, split, what)) for split in splits
        }
        for first, second in combinations(splits, 2):
            shared = np.intersect1d(by_split[first], by_split[second], assume_unique=True)
            if len(shared):
                names = _threads_of(folder, second, what, set(shared.tolist()))
                found.append(Leak(what, (first, second), len(shared), names))
    return tuple(found)


def text_key(text: str) -> int:
    """Hash by which two texts count as equal: as deduplication compares them, blanks as one."""
    return hash63(normalise(text))


def _keys(folder: DatasetFolder, split: str, what: str) -> Iterator[tuple[str, int]]:
    """Yield (thread, hash of what is compared), once for pairs of one thread that lie together."""
    columns = ["thread_id"] if what == "thread" else ["thread_id", "prompt"]
    last: tuple[Any, ...] | None = None
    for batch in folder.read_columns("data", columns, split):
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if row != last:
                last = row
                yield row[0], hash63(row[0]) if what == "thread" else text_key(row[1])


def _distinct(keys: Iterable[int]) -> Hashes:
    found = np.frombuffer(array("q", keys), dtype=np.int64)  # half of what np.unique needs
    found.sort()
    return found[np.append(True, found[1:] != found[:-1])] if len(found) else found


def _threads_of(folder: DatasetFolder, split: str, what: str, wanted: set[int]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for thread, key in _keys(folder, split, what):
        if key in wanted:
            names[thread] = None
            if len(names) == EXAMPLES:
                break
    return tuple(names)
