"""What every reader gives to the rest of the graph."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import apache_beam as beam
import numpy as np

from schemas.audit import Rejected
from schemas.counts import RecordCount
from transforms.core.blobs import Blob
from transforms.core.blocks import MetadataBlock, PostBlock


class ForumRows(NamedTuple):
    """Collections of a reader; nothing in them depends on the kind of forum."""

    posts: beam.PCollection[tuple[int, PostBlock]]
    """By thread partition."""
    metadata: beam.PCollection[tuple[int, MetadataBlock]]
    """By thread partition."""
    links: beam.PCollection[Blob]
    """Threads that ask the same, as their forum says: int64[n, 2], hash63 of (duplicate, original),
    little-endian."""
    rejected: beam.PCollection[Rejected]
    counts: beam.PCollection[RecordCount]
    """Stage 'read': Posts.rows = Posts.kept + rejects of posts. StackExchange has more tables, and
    counts the rejects of each as <table>.rejected."""


LINKS_PER_CHUNK = 1 << 16
"""1 MB."""


def pack_links(links: Sequence[tuple[int, int]]) -> Iterator[Blob]:
    """Yield pairs of hashed thread ids (`schemas.ids.hash63`) as :attr:`ForumRows.links` holds
    them.
    """
    for start in range(0, len(links), LINKS_PER_CHUNK):
        yield Blob(np.array(links[start : start + LINKS_PER_CHUNK], dtype="<i8").tobytes())
