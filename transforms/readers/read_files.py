"""Read files of any source into blocks of posts by thread, one file at a time."""

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
from transforms.core.blocks import BlockBuffer, FactsBlock, PostBlock, thread_partition
from transforms.core.coders import register
from transforms.core.counters import count
from transforms.readers.base import ForumFile, ReadRules, ThreadFacts
from transforms.readers.forum_rows import ForumRows, pack_links
from transforms.readers.registry import SOURCES

register(ForumFile, PostBlock, FactsBlock, Rejected, RecordCount)

FACT_BYTES = 200
"""What a row of facts takes in a block, roughly."""


@dataclass
class ReadFiles(beam.PTransform):
    """Read ``files`` into blocks for ``partitions`` thread partitions.

    Each file is read by one worker from its beginning to its end, and what comes out is spread
    over all of them.
    """

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
            >> beam.ParDo(_Read(self.rules, self.partitions)).with_outputs(
                "facts", "links", "rejected", "tallies", main="posts"
            )
        )
        return ForumRows(read.posts, read.facts, read.links, read.rejected, read.tallies)


@beam.typehints.with_input_types(ForumFile)
@beam.typehints.with_output_types(
    tuple[int, PostBlock],
    facts=tuple[int, FactsBlock],
    links=bytes,
    rejected=Rejected,
    tallies=RecordCount,
)
class _Read(beam.DoFn):
    COUNT_EVERY = 10_000

    def __init__(self, rules: ReadRules, partitions: int) -> None:
        self._rules = rules
        self._partitions = partitions

    def start_bundle(self) -> None:
        self._posts = BlockBuffer(PostBlock)
        self._facts = BlockBuffer(FactsBlock)

    def process(self, file: ForumFile) -> Iterator[Any]:
        tally: Counter[str] = Counter()
        links: list[tuple[int, int]] = []
        reported = 0
        for item in SOURCES[file.kind].read(file, self._rules):
            if isinstance(item, Post):
                tally["Posts.kept"] += 1
                partition = thread_partition(item.thread_id, self._partitions)
                yield from self._posts.add(partition, item, len(item.text))
                if tally["Posts.kept"] % self.COUNT_EVERY == 0:
                    count(ReadFiles, "out-posts", self.COUNT_EVERY)
                    reported += self.COUNT_EVERY
            elif isinstance(item, Rejected):
                if item.record == "post":
                    tally["Posts.rejected"] += 1
                yield beam.pvalue.TaggedOutput("rejected", item)
            elif isinstance(item, ThreadFacts):
                partition = thread_partition(item.thread_id, self._partitions)
                facts = msgspec.structs.replace(item.facts, thread_id=item.thread_id)
                for found in self._facts.add(partition, facts, FACT_BYTES):
                    yield beam.pvalue.TaggedOutput("facts", found)
            else:
                links.append((hash63(item.thread_id), hash63(item.other_thread_id)))
        count(ReadFiles, "out-posts", tally["Posts.kept"] - reported)
        for packed in pack_links(links):
            yield beam.pvalue.TaggedOutput("links", packed)
        tally["Posts.rows"] = tally["Posts.kept"] + tally["Posts.rejected"]
        for key, amount in sorted(tally.items()):
            yield beam.pvalue.TaggedOutput("tallies", RecordCount(Stage.READ, key, amount))

    def finish_bundle(self) -> Iterator[Any]:
        window = beam.transforms.window.GlobalWindows
        for block in self._posts.flush():
            yield window.windowed_value_at_end_of_window(block)
        for facts in self._facts.flush():
            yield beam.pvalue.TaggedOutput("facts", window.windowed_value_at_end_of_window(facts))
