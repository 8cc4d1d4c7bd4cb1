"""Read StackExchange dumps: posts by thread, and what other tables know of them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import apache_beam as beam
import msgspec

from schemas.audit import Rejected, Stage
from schemas.counts import RecordCount
from schemas.fields import doc
from transforms.core.blobs import Blob
from transforms.core.blocks import BlockBuffer, MetadataBlock, PostBlock
from transforms.core.coders import register
from transforms.core.counters import count
from transforms.readers.formats.filesystem import open_input
from transforms.readers.forum_rows import ForumRows
from transforms.readers.stackexchange.archives import Site
from transforms.readers.stackexchange.join import JoinEvents, JoinNames
from transforms.readers.stackexchange.join_blocks import JoinBlock
from transforms.readers.stackexchange.tables import (
    COLLECTORS,
    Collector,
    PostCollector,
    SiteContext,
)
from transforms.readers.stackexchange.xml_rows import (
    RANGE_BYTES,
    RowBatch,
    byte_ranges,
    check_table,
    read_rows,
)

JOIN_BYTES = 512 << 20
"""Input bytes per join partition: a few million packed references and events at most."""


MIN_JOIN_PARTITIONS = 4
"""Enough for a few local workers."""


class TableRange(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One piece of one table: the unit of parallel reading."""

    site: Annotated[int, doc("index of the site")]
    table: Annotated[str, doc("'Posts', 'Votes', …")]
    start: Annotated[int, doc("first byte")]
    end: Annotated[int, doc("byte after the last")]


register(TableRange, PostBlock, MetadataBlock, Rejected, RecordCount)


@dataclass
class ReadStackExchange(beam.PTransform):
    """Read the tables of ``sites`` into blocks for ``partitions`` thread partitions.

    A table that cannot be read to its end fails the run, so that no part of it passes for all.
    """

    sites: Sequence[Site]
    partitions: int
    range_bytes: int = RANGE_BYTES
    join_partitions: int | None = None
    """How many pieces the joins are cut into; None: by the size of the tables."""

    def expand(self, pipeline: beam.Pipeline) -> ForumRows:
        join_partitions = self.join_partitions or count_join_partitions(self.sites)
        names = tuple(site.name for site in self.sites)
        ranges = beam.Create(table_ranges(self.sites, self.range_bytes), reshuffle=False)
        read = (
            pipeline
            | "List ranges" >> ranges.with_output_types(TableRange)
            | "Spread ranges" >> beam.Reshuffle()
            | "Read tables"
            >> beam.ParDo(
                _ReadTables(tuple(self.sites), self.partitions, join_partitions)
            ).with_outputs("by_post", "by_user", "links", "rejected", "counts", main="posts")
        )
        events = read.by_post | "Join votes and closings" >> JoinEvents(names)
        authors = read.by_user | "Join names" >> JoinNames(names)
        return ForumRows(
            posts=read.posts,
            metadata=(events.metadata, authors.metadata) | "Collect metadata" >> beam.Flatten(),
            links=read.links,
            rejected=read.rejected,
            counts=(read.counts, events.counts, authors.counts)
            | "Collect counts" >> beam.Flatten(),
        )


def table_ranges(sites: Sequence[Site], range_bytes: int = RANGE_BYTES) -> list[TableRange]:
    """Cut every table of every site into ranges."""
    return [
        TableRange(index, table, start, end)
        for index, site in enumerate(sites)
        for table, file in site.tables.items()
        for start, end in byte_ranges(file.size, range_bytes)
    ]


def count_join_partitions(sites: Sequence[Site]) -> int:
    """Choose how many pieces the joins are cut into; changes no output byte."""
    total = sum(file.size for site in sites for file in site.tables.values())
    return max(MIN_JOIN_PARTITIONS, math.ceil(total / JOIN_BYTES))


@beam.typehints.with_input_types(TableRange)
@beam.typehints.with_output_types(
    tuple[int, PostBlock],
    by_post=tuple[int, JoinBlock],
    by_user=tuple[int, JoinBlock],
    links=Blob,
    rejected=Rejected,
    counts=RecordCount,
)
class _ReadTables(beam.DoFn):
    def __init__(self, sites: tuple[Site, ...], partitions: int, join_partitions: int) -> None:
        self._sites = sites
        self._partitions = partitions
        self._join_partitions = join_partitions

    def start_bundle(self) -> None:
        self._blocks = BlockBuffer(PostBlock)

    def process(self, piece: TableRange) -> Iterator[Any]:
        site = self._sites[piece.site]
        collector = self._collector(piece.site, site, piece.table)
        for output, value in _read(site.tables[piece.table].path, piece, collector):
            yield value if output == "posts" else beam.pvalue.TaggedOutput(output, value)
        for output, value in collector.finish():
            yield beam.pvalue.TaggedOutput(output, value)
        for key, amount in collector.row_counts.items():
            yield beam.pvalue.TaggedOutput("counts", RecordCount(Stage.READ, key, amount))
        count(ReadStackExchange, "out-posts", collector.row_counts["Posts.kept"])

    def finish_bundle(self) -> Iterator[Any]:
        for block in self._blocks.flush():
            yield beam.transforms.window.GlobalWindows.windowed_value_at_end_of_window(block)

    def _collector(self, index: int, site: Site, table: str) -> Collector:
        context = SiteContext(
            index, site.name, frozenset(site.tables), self._partitions, self._join_partitions
        )
        if table == "Posts":
            return PostCollector(context, blocks=self._blocks)
        return COLLECTORS[table](context)


def _read(path: str, piece: TableRange, collector: Collector) -> Iterator[tuple[str, Any]]:
    """Feed the rows of one range to its collector. Raises OSError."""
    for batch in _read_range(path, piece, collector):
        count(ReadStackExchange, "in-bytes", batch.size)
        yield from collector.take(batch)


def _read_range(path: str, piece: TableRange, collector: Collector) -> Iterator[RowBatch]:
    try:
        with open_input(path) as stream:
            # Checked before the run too, but the file may have changed since.
            required = piece.table == "Posts"
            problem = check_table(stream, piece.table.lower(), rows_required=required)
            if problem is not None:
                raise OSError(problem)
            yield from read_rows(
                stream,
                piece.start,
                piece.end,
                containing=collector.containing,
                pattern=collector.pattern,
            )
    except OSError as error:
        cause = error.strerror or error
        place = f"{path}, bytes {piece.start} to {piece.end}"
        raise OSError(f"{place}, cannot be read: {cause}") from error
