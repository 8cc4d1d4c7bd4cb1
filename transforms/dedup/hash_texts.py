"""What all texts are compared by, for deduplication and for splits, in one pass over them."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import numpy.typing as npt
from apache_beam.transforms.window import GlobalWindows

from transforms.core import Blob, ThreadBlock, count, unpack
from transforms.dedup.components import (
    PENDING_ROWS,
    no_rows,
    pack_rows,
    partitions_of,
    route_rows,
)
from transforms.dedup.find_duplicates import hashed_bucket_rows, text_for_words
from transforms.dedup.minhash import MinHashRules, word_hashes
from transforms.dedup.overlaps import SHINGLES, same_words, sample_rows
from transforms.dedup.sequels import sequel_rows


class HashedTexts(NamedTuple):
    """Collections of packed rows; what is in a row, its function says."""

    buckets: beam.PCollection[Blob]
    """:func:`transforms.dedup.bucket_rows`."""
    samples: beam.PCollection[tuple[int, Blob]]
    """:func:`transforms.dedup.sample_rows`, by shard of the shingle."""
    prompts: beam.PCollection[Blob]
    """:func:`transforms.dedup.same_words` and :func:`transforms.dedup.sequel_rows`."""


@dataclasses.dataclass
class HashTexts(beam.PTransform):
    """(partition, threads) -> HashedTexts."""

    rules: MinHashRules | None
    """None: duplicates are not looked for, so there are no buckets."""
    partitions: int

    def expand(self, threads: beam.PCollection[tuple[int, ThreadBlock]]) -> HashedTexts:
        hash_texts = beam.ParDo(_HashTexts(self.rules, self.partitions)).with_output_types(
            Blob, samples=tuple[int, Blob], prompts=Blob
        )
        hashed = threads | "Hash" >> hash_texts.with_outputs("samples", "prompts", main="buckets")
        return HashedTexts(hashed.buckets, hashed.samples, hashed.prompts)


class _HashTexts(beam.DoFn):
    def __init__(self, rules: MinHashRules | None, partitions: int) -> None:
        self._rules = rules
        self._partitions = partitions

    def start_bundle(self) -> None:
        self._samples: list[npt.NDArray[np.int64]] = []
        self._rows = 0

    def process(self, element: tuple[int, ThreadBlock]) -> Iterable[Any]:
        threads = unpack(element[1])
        posts = [post for thread in threads for post in (thread.prompt, *thread.responses)]
        count(HashTexts, "in-posts", len(posts))
        hashes = word_hashes([text_for_words(post) for post in posts], SHINGLES)
        if self._rules is not None:
            yield from pack_rows(hashed_bucket_rows(posts, hashes, self._rules))
        prompts = np.concatenate([same_words(posts, hashes), sequel_rows(posts)])
        for chunk in pack_rows(prompts):
            yield beam.pvalue.TaggedOutput("prompts", chunk)
        self._samples.append(sample_rows(posts, hashes))
        self._rows += len(self._samples[-1])
        if self._rows >= PENDING_ROWS:
            for shard in self._flush():
                yield beam.pvalue.TaggedOutput("samples", shard)

    def finish_bundle(self) -> Iterable[Any]:
        at_end = GlobalWindows.windowed_value_at_end_of_window
        for shard in self._flush():
            yield beam.pvalue.TaggedOutput("samples", at_end(shard))

    def _flush(self) -> Iterator[tuple[int, Blob]]:
        # Together, for a chunk to every shard from every block of threads would be tiny.
        rows = np.concatenate([no_rows(), *self._samples])
        self.start_bundle()
        count(HashTexts, "out-samples", len(rows))
        yield from route_rows(rows, partitions_of(rows[:, 0], self._partitions))
