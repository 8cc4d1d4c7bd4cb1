"""What each StackExchange table contributes: a collector per table that is fed batches of rows.

A collector yields (output, value): 'posts' (thread partition, PostBlock), 'by_post' and
'by_user' (join partition, JoinBlock), 'links' (Blob), 'rejected' (Rejected).
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from schemas.audit import Reason, Rejected, Stage
from schemas.ids import hash63
from transforms.core.blocks import BlockBuffer, PostBlock, thread_partition
from transforms.readers.forum_rows import pack_links
from transforms.readers.stackexchange.join_blocks import (
    event_parts,
    global_id,
    name_parts,
    reference_parts,
)
from transforms.readers.stackexchange.rows import (
    PLAIN_VOTE,
    Event,
    EventKind,
    RowError,
    parse_closing,
    parse_duplicate,
    parse_owner,
    parse_post,
    parse_user,
    parse_vote,
    place,
    plain_votes,
)
from transforms.readers.stackexchange.xml_rows import RowBatch

PART_ROWS = 1 << 19
"""Rows of a join's side that are packed at once, so that long ranges stay small in memory."""

_POST_BYTES = 400
"""About what a post takes in a block beside its text."""

_NO_EVENT = 0
_NO_EVENT_ROW = Event(0, _NO_EVENT, 0)
_EVENT_NAMES = {
    _NO_EVENT: "other",
    EventKind.UPVOTE: "up",
    EventKind.DOWNVOTE: "down",
    EventKind.ACCEPTANCE: "accepted",
    EventKind.FLAG: "flags",
}

Outputs = Iterator[tuple[str, Any]]
T = TypeVar("T")


@dataclass(frozen=True)
class SiteContext:
    """What a collector must know of the site and the run."""

    index: int
    """Number of the site in the run; with an id of the site it is unique."""
    name: str
    tables: frozenset[str]
    partitions: int
    """Of threads."""
    join_partitions: int


@dataclass
class Collector:
    """Base of the collectors: counts rows and rejects them."""

    context: SiteContext
    row_counts: Counter[str] = field(default_factory=Counter)

    table: ClassVar[str]
    record: ClassVar[str]
    containing: ClassVar[bytes] = b""
    """Rows without these bytes are not parsed."""
    pattern: ClassVar[re.Pattern[bytes] | None] = None
    """Rows that match are taken from its groups, where all of a chunk do (:func:`read_rows`)."""

    def take(self, batch: RowBatch) -> Outputs:
        """Yield what one batch completes."""
        self._count("rows", batch.seen)
        self._count("repaired", batch.repaired)
        for offset, reason, detail in batch.bad:
            yield self._reject(offset, reason, detail)
        yield from self._take_rows(batch)

    def finish(self) -> Outputs:
        """Yield what is left at the end of a range."""
        yield from ()

    def _take_rows(self, batch: RowBatch) -> Outputs:
        raise NotImplementedError

    def _count(self, what: str, amount: int = 1) -> None:
        if amount:
            self.row_counts[f"{self.table}.{what}"] += amount

    def _reject(self, offset: int, reason: Reason, detail: str) -> tuple[str, Rejected]:
        self._count("rejected")
        row_id = place(self.context.name, self.table, offset)
        return "rejected", Rejected(
            id=row_id, stage=Stage.READ, reason=reason, detail=detail, record=self.record
        )

    def _parsed(
        self, batch: RowBatch, parse: Callable[[Mapping[str, str]], T]
    ) -> Iterator[tuple[T, None] | tuple[None, tuple[str, Rejected]]]:
        """Parse rows; yield (value, None) or (None, reject)."""
        for row, offset in zip(batch.rows, batch.offsets, strict=True):
            try:
                yield parse(row), None
            except RowError as error:
                yield None, self._reject(offset, error.reason, error.detail)


@dataclass
class PostCollector(Collector):
    """Posts go into blocks, and a reference to each goes where metadata about it will come."""

    table = "Posts"
    record = "post"

    blocks: BlockBuffer[PostBlock] = field(default_factory=lambda: BlockBuffer(PostBlock))
    """Shared by the ranges of a bundle; whoever owns it flushes it."""
    _by_post: list[tuple[int, int]] = field(default_factory=list)
    _by_user: list[tuple[int, int, int]] = field(default_factory=list)

    def _take_rows(self, batch: RowBatch) -> Outputs:
        context, tables = self.context, self.context.tables
        has_votes, has_users = "Votes" in tables, "Users" in tables
        has_events = has_votes or "PostHistory" in tables
        kept = 0
        for row, offset in zip(batch.rows, batch.offsets, strict=True):
            post = parse_post(row, context.name, has_votes, offset)
            if isinstance(post, Rejected):
                self._count("rejected")
                yield "rejected", post
                continue
            kept += 1
            partition = thread_partition(post.thread_id, context.partitions)
            key = global_id(context.index, int(row["Id"]))
            if has_events:
                self._by_post.append((key, partition))
            owner = parse_owner(row) if has_users else None
            # The name in the post is from the time of posting, so that of Users.xml goes before it;
            # but where the site itself owns the post (an id below 1), it is all that is known.
            if owner is not None and (owner > 0 or not post.author):
                self._by_user.append((global_id(context.index, owner), key, partition))
            for block in self.blocks.add(partition, post, len(post.text) + _POST_BYTES):
                yield "posts", block
        self._count("kept", kept)
        if len(self._by_post) + len(self._by_user) >= PART_ROWS:
            yield from self.finish()

    def finish(self) -> Outputs:
        """Yield the references."""
        for part in reference_parts(self._by_post, self.context.join_partitions):
            yield "by_post", part
        for part in reference_parts(self._by_user, self.context.join_partitions):
            yield "by_user", part
        self._by_post.clear()
        self._by_user.clear()


@dataclass
class EventCollector(Collector):
    """Base of the tables that hold dated events on posts."""

    _events: list[npt.NDArray[np.int64]] = field(default_factory=list)
    """(global post id, EventKind, ms since epoch) [3, n] of each batch."""
    _event_rows: int = 0

    def _take_rows(self, batch: RowBatch) -> Outputs:
        events: list[Event] = []
        for event, reject in self._parsed(batch, self._parse):
            if reject is not None:
                yield reject
            else:
                events.append(event or _NO_EVENT_ROW)
        columns = [np.array(events, np.int64).reshape(-1, 3).T]
        if batch.matches:
            columns.append(self._take_matches(batch.matches))
        self._add(np.concatenate(columns, axis=1))
        self._count("other", batch.skipped)
        if self._event_rows >= PART_ROWS:
            yield from self.finish()

    def _add(self, events: npt.NDArray[np.int64]) -> None:
        """Count events by kind and keep them; those of no kind are only counted."""
        for kind, amount in enumerate(np.bincount(events[1]).tolist()):
            self._count(_EVENT_NAMES.get(kind, "closings"), amount)
        events = events[:, events[1] != _NO_EVENT]
        events[0] |= global_id(self.context.index, 0)
        self._events.append(events)
        self._event_rows += events.shape[1]

    def finish(self) -> Outputs:
        """Yield the events."""
        if self._events:
            columns = np.concatenate(self._events, axis=1)
            for part in event_parts(columns, self.context.join_partitions):
                yield "by_post", part
        self._events.clear()
        self._event_rows = 0

    def _parse(self, row: Mapping[str, str]) -> Event | None:
        raise NotImplementedError

    def _take_matches(self, matches: Sequence[tuple[bytes, ...]]) -> npt.NDArray[np.int64]:
        """Return (post id, EventKind or 0, ms since epoch) [3, n] of the rows that matched."""
        raise NotImplementedError


@dataclass
class VoteCollector(EventCollector):
    """Upvotes, downvotes, acceptances and flags."""

    table = "Votes"
    record = "vote"
    pattern = PLAIN_VOTE

    def _parse(self, row: Mapping[str, str]) -> Event | None:
        return parse_vote(row)

    def _take_matches(self, matches: Sequence[tuple[bytes, ...]]) -> npt.NDArray[np.int64]:
        _, posts, types, days = zip(*matches, strict=True)
        return plain_votes(posts, types, days)


@dataclass
class HistoryCollector(EventCollector):
    """Closings of questions."""

    table = "PostHistory"
    record = "history"
    containing = b'PostHistoryTypeId="10"'

    def _parse(self, row: Mapping[str, str]) -> Event | None:
        return parse_closing(row)


@dataclass
class LinkCollector(Collector):
    """Links from a duplicate question to the original."""

    table = "PostLinks"
    record = "link"

    _links: list[tuple[int, int]] = field(default_factory=list)

    def _take_rows(self, batch: RowBatch) -> Outputs:
        for link, reject in self._parsed(batch, parse_duplicate):
            if reject is not None:
                yield reject
            elif link is None:
                self._count("other")
            else:
                duplicate, original = (hash63(f"{self.context.name}:{number}") for number in link)
                self._links.append((duplicate, original))
                self._count("duplicates")

    def finish(self) -> Outputs:
        """Yield the links."""
        for packed in pack_links(self._links):
            yield "links", packed
        self._links.clear()


@dataclass
class UserCollector(Collector):
    """Display names."""

    table = "Users"
    record = "user"

    _names: list[tuple[int, str]] = field(default_factory=list)

    def _take_rows(self, batch: RowBatch) -> Outputs:
        for user, reject in self._parsed(batch, parse_user):
            if reject is not None:
                yield reject
            elif user is not None:
                self._names.append((global_id(self.context.index, user[0]), user[1]))
        if len(self._names) >= PART_ROWS:
            yield from self.finish()

    def finish(self) -> Outputs:
        """Yield the names."""
        for part in name_parts(self._names, self.context.join_partitions):
            yield "by_user", part
        self._names.clear()


COLLECTORS: Mapping[str, type[Collector]] = {
    collector.table: collector
    for collector in (
        PostCollector,
        VoteCollector,
        UserCollector,
        LinkCollector,
        HistoryCollector,
    )
}
