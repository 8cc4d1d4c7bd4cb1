"""Read files of a kind of forum into blocks of posts by thread, one file at a time."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import msgspec

from schemas.audit import Rejected, Stage
from schemas.counts import RecordCount
from schemas.ids import hash63
from schemas.post import Post
from transforms.core.blobs import Blob
from transforms.core.blocks import BlockBuffer, MetadataBlock, PostBlock, thread_partition
from transforms.core.coders import register
from transforms.core.counters import count
from transforms.readers.base import ForumFile, Reader, ReadRules, ThreadMetadata
from transforms.readers.forum_rows import ForumRows, pack_links

register(ForumFile, PostBlock, MetadataBlock, Rejected, RecordCount)

METADATA_BYTES = 200
"""What a row of metadata takes in a block, roughly."""


@dataclass
class ReadFiles(beam.PTransform):
    """Read ``files`` with ``read_file`` into blocks for ``partitions`` thread partitions.

    Each file is read by one worker from its beginning to its end, and what comes out is spread
    over all of them.
    """

    read_file: Reader
    files: Sequence[ForumFile]
    rules: ReadRules
    partitions: int

    def expand(self, pipeline: beam.Pipeline) -> ForumRows:
        # The largest first, so that no worker begins a long file when the others are done.
        files = sorted(self.files, key=lambda file: (-file.size, file.path))
        read = (
            pipeline
            | "List files" >> beam.Create(files, reshuffle=False).with_output_types(ForumFile)
            | "Spread files" >> beam.Reshuffle()
            | "Read"
            >> beam.ParDo(_Read(self.read_file, self.rules, self.partitions)).with_outputs(
                "metadata", "links", "rejected", "counts", main="posts"
            )
        )
        return ForumRows(read.posts, read.metadata, read.links, read.rejected, read.counts)


@beam.typehints.with_input_types(ForumFile)
@beam.typehints.with_output_types(
    tuple[int, PostBlock],
    metadata=tuple[int, MetadataBlock],
    links=Blob,
    rejected=Rejected,
    counts=RecordCount,
)
class _Read(beam.DoFn):
    COUNT_EVERY = 10_000

    def __init__(self, read_file: Reader, rules: ReadRules, partitions: int) -> None:
        self._read_file = read_file
        self._rules = rules
        self._partitions = partitions

    def start_bundle(self) -> None:
        self._posts = BlockBuffer(PostBlock)
        self._metadata = BlockBuffer(MetadataBlock)

    def process(self, file: ForumFile) -> Iterator[Any]:
        row_counts: Counter[str] = Counter()
        links: list[tuple[int, int]] = []
        reported = 0
        for item in self._read_file(file, self._rules):
            if isinstance(item, Post):
                row_counts["Posts.kept"] += 1
                partition = thread_partition(item.thread_id, self._partitions)
                yield from self._posts.add(partition, item, len(item.text))
                if row_counts["Posts.kept"] % self.COUNT_EVERY == 0:
                    count(ReadFiles, "out-posts", self.COUNT_EVERY)
                    reported += self.COUNT_EVERY
            elif isinstance(item, Rejected):
                if item.record == "post":
                    row_counts["Posts.rejected"] += 1
                yield beam.pvalue.TaggedOutput("rejected", item)
            elif isinstance(item, ThreadMetadata):
                partition = thread_partition(item.thread_id, self._partitions)
                metadata = msgspec.structs.replace(item.metadata, thread_id=item.thread_id)
                for found in self._metadata.add(partition, metadata, METADATA_BYTES):
                    yield beam.pvalue.TaggedOutput("metadata", found)
            else:
                links.append((hash63(item.thread_id), hash63(item.other_thread_id)))
        count(ReadFiles, "out-posts", row_counts["Posts.kept"] - reported)
        for packed in pack_links(links):
            yield beam.pvalue.TaggedOutput("links", packed)
        row_counts["Posts.rows"] = row_counts["Posts.kept"] + row_counts["Posts.rejected"]
        for key, amount in sorted(row_counts.items()):
            yield beam.pvalue.TaggedOutput("counts", RecordCount(Stage.READ, key, amount))

    def finish_bundle(self) -> Iterator[Any]:
        window = beam.transforms.window.GlobalWindows
        for block in self._posts.flush():
            yield window.windowed_value_at_end_of_window(block)
        for metadata in self._metadata.flush():
            yield beam.pvalue.TaggedOutput(
                "metadata", window.windowed_value_at_end_of_window(metadata)
            )
