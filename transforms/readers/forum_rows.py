"""What every reader gives to the rest of the graph."""

from typing import NamedTuple

import apache_beam as beam

from schemas.audit import Rejected
from schemas.counts import RecordCount
from transforms.core.blocks import FactsBlock, PostBlock


class ForumRows(NamedTuple):
    """Collections of a reader; nothing in them depends on the kind of forum."""

    posts: beam.PCollection[tuple[int, PostBlock]]
    """By thread partition."""
    facts: beam.PCollection[tuple[int, FactsBlock]]
    """By thread partition."""
    links: beam.PCollection[bytes]
    """Threads that ask the same: int64[n, 2], hash63 of (duplicate, original), little-endian."""
    rejected: beam.PCollection[Rejected]
    tallies: beam.PCollection[RecordCount]
    """Stage 'read': Posts.rows = Posts.kept + rejects of posts. StackExchange has more tables, and
    counts the rejects of each as <table>.rejected."""
