"""Join posts to what other tables know of them: votes and closings by post, names by user.

Votes name only their post and users only themselves, while assembly works by thread. So
posts send small references to where their events and their author's name arrive, and those
come back as PostMetadata in the partition of the thread.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np

from schemas.audit import Stage
from schemas.counts import RecordCount
from schemas.metadata import PostMetadata
from schemas.post import DAY_MS
from transforms.core.blocks import BlockBuffer, MetadataBlock
from transforms.core.coders import register
from transforms.core.counters import count
from transforms.readers.stackexchange.join_blocks import (
    EVENTS,
    REFERENCES,
    Columns,
    JoinBlock,
    event_kinds,
    event_times,
    split_global_id,
    unpack_columns,
    unpack_names,
)
from transforms.readers.stackexchange.rows import CLOSED_AS, EventKind

register(MetadataBlock, RecordCount)

KeyedMetadata = Iterator[tuple[int, PostMetadata]]
"""(thread partition, metadata)."""


def join_events(
    references: Columns, events: Columns, sites: Sequence[str], unmatched: Counter[str]
) -> KeyedMetadata:
    """Yield the metadata of every referenced post that has events.

    ``references``: (global post id, thread partition); ``events``: (global post id, packed
    kind and time), both in any order. Events on posts without a reference are counted in
    ``unmatched``: votes outlive the deletion of their post, and tag wikis have some too.
    """
    references = references[:, np.lexsort(references[::-1])]
    events = events[:, np.lexsort(events[::-1])]
    known = np.isin(events[0], references[0])
    closings = event_kinds(events[1, ~known]) >= EventKind.CLOSING
    unmatched["PostHistory.closings_without_post"] += int(closings.sum())
    unmatched["Votes.without_post"] += int((~closings).sum())

    keys, values = events[:, known]
    kinds = event_kinds(values)
    new_post = np.diff(keys, prepend=-1) != 0
    post_starts = np.flatnonzero(new_post)
    run_starts = np.flatnonzero(new_post | (np.diff(kinds, prepend=-1) != 0))
    runs = _Runs(
        starts=[*run_starts.tolist(), len(keys)],
        kinds=kinds[run_starts].tolist(),
        times=event_times(values).tolist(),
    )
    first_runs = [*np.searchsorted(run_starts, post_starts).tolist(), len(run_starts)]
    first_references = np.searchsorted(references[0], keys[post_starts]).tolist()
    reference_keys, partitions = references.tolist()
    for index, key in enumerate(keys[post_starts].tolist()):
        metadata = runs.metadata(_post_id(key, sites), first_runs[index], first_runs[index + 1])
        for target in _partitions(key, first_references[index], reference_keys, partitions):
            yield target, metadata


def join_names(
    references: Columns, names: Mapping[int, str], sites: Sequence[str], unmatched: Counter[str]
) -> KeyedMetadata:
    """Yield the author's name of every referenced post.

    ``references``: (global user id, global post id, thread partition); ``names``: display
    name by global user id. Posts whose owner is not there are counted in ``unmatched``.
    """
    for user, post, partition in zip(*references.tolist(), strict=True):
        name = names.get(user)
        if name is None:
            unmatched["Users.missing"] += 1
        elif name:
            yield partition, PostMetadata(id=_post_id(post, sites), author=name)


class _Runs(NamedTuple):
    """Events ordered by post, kind and time, cut into runs of equal post and kind."""

    starts: list[int]
    kinds: list[int]
    times: list[int]

    def metadata(self, post_id: str, first: int, last: int) -> PostMetadata:
        """Metadata of the post whose runs are ``first`` to ``last`` (exclusive)."""
        up_days: tuple[int, ...] = ()
        down_days: tuple[int, ...] = ()
        accepted_day = None
        flags = 0
        closing: tuple[int, int] | None = None
        for run in range(first, last):
            kind, low, high = self.kinds[run], self.starts[run], self.starts[run + 1]
            if kind == EventKind.UPVOTE:
                up_days = tuple(time // DAY_MS for time in self.times[low:high])
            elif kind == EventKind.DOWNVOTE:
                down_days = tuple(time // DAY_MS for time in self.times[low:high])
            elif kind == EventKind.ACCEPTANCE:
                accepted_day = self.times[high - 1] // DAY_MS
            elif kind == EventKind.FLAG:
                flags = high - low
            else:
                latest = (self.times[high - 1], kind)
                closing = latest if closing is None else max(closing, latest)
        return PostMetadata(
            id=post_id,
            up_days=up_days,
            down_days=down_days,
            accepted_day=accepted_day,
            flags=flags,
            closed_as=None if closing is None else CLOSED_AS[closing[1] - EventKind.CLOSING],
        )


def _post_id(key: int, sites: Sequence[str]) -> str:
    site, number = split_global_id(key)
    return f"{sites[site]}:{number}"


def _partitions(
    key: int, index: int, keys: Sequence[int], partitions: Sequence[int]
) -> Iterator[int]:
    """Yield the thread partitions of one post: several if its id occurs in several threads."""
    last = -1
    while index < len(keys) and keys[index] == key:
        if partitions[index] != last:
            last = partitions[index]
            yield last
        index += 1


class JoinedMetadata(NamedTuple):
    """Outputs of a join."""

    metadata: beam.PCollection[tuple[int, MetadataBlock]]
    counts: beam.PCollection[RecordCount]


@dataclass
class JoinEvents(beam.PTransform):
    """Join references and events, by join partition, into metadata by thread partition."""

    sites: tuple[str, ...]

    def expand(self, parts: beam.PCollection[tuple[int, JoinBlock]]) -> JoinedMetadata:
        return _join(parts, _JoinEvents(self.sites))


@dataclass
class JoinNames(beam.PTransform):
    """Join references and names, by join partition, into metadata by thread partition."""

    sites: tuple[str, ...]

    def expand(self, parts: beam.PCollection[tuple[int, JoinBlock]]) -> JoinedMetadata:
        return _join(parts, _JoinNames(self.sites))


def _join(parts: beam.PCollection[tuple[int, JoinBlock]], join: beam.DoFn) -> JoinedMetadata:
    outputs = (
        parts
        | "Group by join partition" >> beam.GroupByKey()
        | "Join" >> beam.ParDo(join).with_outputs("counts", main="metadata")
    )
    return JoinedMetadata(outputs.metadata, outputs.counts)


@beam.typehints.with_input_types(tuple[int, Iterable[JoinBlock]])
@beam.typehints.with_output_types(tuple[int, MetadataBlock], counts=RecordCount)
class _Join(beam.DoFn):
    """Join the parts of one partition; a subclass knows which sides there are."""

    def __init__(self, sites: tuple[str, ...]) -> None:
        self._sites = sites

    def process(self, element: tuple[int, Iterable[JoinBlock]]) -> Iterator[Any]:
        unmatched: Counter[str] = Counter()
        buffer = BlockBuffer(MetadataBlock)
        joined = 0
        for partition, metadata in self._join(element[1], unmatched):
            joined += 1
            size = 48 + 3 * (len(metadata.up_days) + len(metadata.down_days))
            yield from buffer.add(partition, metadata, size)
        yield from buffer.flush()
        count(type(self), "out-metadata", joined)
        for key, amount in unmatched.items():
            if amount:
                yield beam.pvalue.TaggedOutput("counts", RecordCount(Stage.READ, key, amount))

    def _join(self, parts: Iterable[JoinBlock], unmatched: Counter[str]) -> KeyedMetadata:
        raise NotImplementedError


class _JoinEvents(_Join):
    def _join(self, parts: Iterable[JoinBlock], unmatched: Counter[str]) -> KeyedMetadata:
        sides: dict[int, list[Columns]] = {REFERENCES: [], EVENTS: []}
        for part in parts:
            sides[part.side].append(unpack_columns(part.columns, 2))
        references, events = _concatenate(sides[REFERENCES], 2), _concatenate(sides[EVENTS], 2)
        return join_events(references, events, self._sites, unmatched)


class _JoinNames(_Join):
    def _join(self, parts: Iterable[JoinBlock], unmatched: Counter[str]) -> KeyedMetadata:
        references: list[Columns] = []
        names: dict[int, str] = {}
        for part in parts:
            if part.side == REFERENCES:
                references.append(unpack_columns(part.columns, 3))
                continue
            for key, name in unpack_names(part):
                # A user that is there twice gets one name whatever the order of arrival.
                names[key] = min(name, names.get(key, name))
        return join_names(_concatenate(references, 3), names, self._sites, unmatched)


def _concatenate(parts: list[Columns], k: int) -> Columns:
    return np.concatenate(parts, axis=1) if parts else np.empty((k, 0), dtype=np.int64)
