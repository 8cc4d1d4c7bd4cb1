"""Read files of a kind of forum into blocks of posts by thread.

A file is read by one worker. One that would keep it busy when all others are done is cut into
blocks of lines, and its lines are parsed by all of them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import apache_beam as beam
import msgspec

from schemas.audit import Rejected, Stage
from schemas.counts import RecordCount
from schemas.fields import doc
from schemas.ids import hash63
from schemas.post import Post
from transforms.core.blobs import Blob
from transforms.core.blocks import BlockBuffer, MetadataBlock, PostBlock, thread_partition
from transforms.core.coders import register
from transforms.core.counters import count
from transforms.readers.base import ForumFile, Item, Reader, ReadRules, ThreadMetadata
from transforms.readers.formats.line_blocks import LineBlock, cut_lines
from transforms.readers.forum_rows import ForumRows, pack_links
from transforms.readers.source import LineReader


class FilePart(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one worker reads at a time: a file, or some lines of it."""

    file: Annotated[ForumFile, doc("the file")]
    block: Annotated[LineBlock | None, doc("lines of it; None: the file is read whole")] = None


register(ForumFile, FilePart, PostBlock, MetadataBlock, Rejected, RecordCount)

MIN_CUT_BYTES = 1 << 20
"""Smaller files are read faster than cut and sent on."""

MANY_WORKERS = 64
"""Taken where their number is not known: the job then waits for no file that has 1/64 of all
bytes."""

METADATA_BYTES = 200
"""What a row of metadata takes in a block, roughly."""


def bytes_to_cut(sizes: Iterable[int], workers: int | None) -> int:
    """Return the size from which a file is cut: more than its worker's share of all bytes.

    With one worker no file is, as the copies would bring nothing.
    """
    share = -(-sum(sizes) // (workers or MANY_WORKERS))
    return max(share + 1, MIN_CUT_BYTES)


@dataclass
class ReadFiles(beam.PTransform):
    """Read ``files`` with ``read_file`` into blocks for ``partitions`` thread partitions.

    Large ones are cut into blocks, which ``lines`` reads, as :func:`bytes_to_cut` says for
    ``workers``. What comes out is spread over all of them.
    """

    read_file: Reader
    lines: LineReader | None
    files: Sequence[ForumFile]
    rules: ReadRules
    partitions: int
    workers: int | None = None

    def expand(self, pipeline: beam.Pipeline) -> ForumRows:
        # The largest first, so that no worker begins a long file when the others are done.
        files = sorted(self.files, key=lambda file: (-file.size, file.path))
        cut_from = bytes_to_cut((file.size for file in files), self.workers)
        read = (
            pipeline
            | "List files" >> beam.Create(files, reshuffle=False).with_output_types(ForumFile)
            | "Spread files" >> beam.Reshuffle()
            | "Cut large files" >> beam.ParDo(_Cut(self.lines, cut_from))
            | "Spread lines" >> beam.Reshuffle()
            | "Read"
            >> beam.ParDo(
                _Read(self.read_file, self.lines, self.rules, self.partitions)
            ).with_outputs("metadata", "links", "rejected", "counts", main="posts")
        )
        return ForumRows(read.posts, read.metadata, read.links, read.rejected, read.counts)


@beam.typehints.with_input_types(ForumFile)
@beam.typehints.with_output_types(FilePart)
class _Cut(beam.DoFn):
    def __init__(self, lines: LineReader | None, cut_from: int) -> None:
        self._lines = lines
        self._cut_from = cut_from

    def process(self, file: ForumFile) -> Iterator[FilePart]:
        if self._lines is None or file.size < self._cut_from or not self._lines.has_lines(file):
            yield FilePart(file)
            return
        for block in cut_lines(file):
            yield FilePart(file, block)


@beam.typehints.with_input_types(FilePart)
@beam.typehints.with_output_types(
    tuple[int, PostBlock],
    metadata=tuple[int, MetadataBlock],
    links=Blob,
    rejected=Rejected,
    counts=RecordCount,
)
class _Read(beam.DoFn):
    COUNT_EVERY = 10_000

    def __init__(
        self, read_file: Reader, lines: LineReader | None, rules: ReadRules, partitions: int
    ) -> None:
        self._read_file = read_file
        self._lines = lines
        self._rules = rules
        self._partitions = partitions

    def start_bundle(self) -> None:
        self._posts = BlockBuffer(PostBlock)
        self._metadata = BlockBuffer(MetadataBlock)
        self._row_counts: Counter[str] = Counter()
        self._reported = 0

    def process(self, part: FilePart) -> Iterator[Any]:
        row_counts = self._row_counts
        links: list[tuple[int, int]] = []
        for item in self._items(part):
            if isinstance(item, Post):
                row_counts["Posts.kept"] += 1
                partition = thread_partition(item.thread_id, self._partitions)
                yield from self._posts.add(partition, item, len(item.text))
                if row_counts["Posts.kept"] % self.COUNT_EVERY == 0:
                    count(ReadFiles, "out-posts", self.COUNT_EVERY)
                    self._reported += self.COUNT_EVERY
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
        for packed in pack_links(links):
            yield beam.pvalue.TaggedOutput("links", packed)

    def _items(self, part: FilePart) -> Iterator[Item]:
        if part.block is None:
            return self._read_file(part.file, self._rules)
        assert self._lines is not None  # or nothing would have been cut
        return self._lines.read_block(part.file, part.block, self._rules)

    def finish_bundle(self) -> Iterator[Any]:
        window = beam.transforms.window.GlobalWindows
        for block in self._posts.flush():
            yield window.windowed_value_at_end_of_window(block)
        for metadata in self._metadata.flush():
            yield beam.pvalue.TaggedOutput(
                "metadata", window.windowed_value_at_end_of_window(metadata)
            )
        row_counts = self._row_counts
        count(ReadFiles, "out-posts", row_counts["Posts.kept"] - self._reported)
        row_counts["Posts.rows"] = row_counts["Posts.kept"] + row_counts["Posts.rejected"]
        for key, amount in sorted(row_counts.items()):
            record = RecordCount(Stage.READ, key, amount)
            yield beam.pvalue.TaggedOutput("counts", window.windowed_value_at_end_of_window(record))
