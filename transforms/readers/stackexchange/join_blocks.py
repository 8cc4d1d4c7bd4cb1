"""Packed pieces of posts, votes and users for the joins in ``join``.

Everything is int64 columns: one shuffled element costs as much as 10 us of work, so a range
of a table sends one piece per join partition. Ids stay the integers of the source below the
number of their site, which is unique: no hash can attach a vote to a wrong post.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Annotated, Final

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.fields import doc
from transforms.core.blobs import Blob
from transforms.core.blocks import compress, decompress
from transforms.core.coders import register

Columns = npt.NDArray[np.int64]
"""int64[k, n]: k columns of n rows."""

_ID_BITS: Final = 40
_ID_MASK: Final = (1 << _ID_BITS) - 1
_TIME_BITS: Final = 44
_TIME_MASK: Final = (1 << _TIME_BITS) - 1

REFERENCES: Final = 0
EVENTS: Final = 1
NAMES: Final = 2


class JoinBlock(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Some rows of one side of a join; all of one join partition."""

    side: Annotated[int, doc("REFERENCES, EVENTS or NAMES")]
    columns: Annotated[Blob, doc("packed int64 columns, the first is the join key")]
    names: Annotated[Blob, doc("zstd frame of a MessagePack array of strings")] = Blob(b"")


register(JoinBlock)

_names_decoder = msgspec.msgpack.Decoder(list[str])


def global_id(site: int, number: int) -> int:
    """Return one int in [0, 2**63) for an id, |number| < 2**39, of the site numbered ``site``."""
    return (site << _ID_BITS) | (number & _ID_MASK)


def split_global_id(key: int) -> tuple[int, int]:
    """Return (site, id) of a global id; the id must have been positive."""
    return key >> _ID_BITS, key & _ID_MASK


def event_kinds(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the EventKind of packed event values."""
    return values >> _TIME_BITS


def event_times(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the ms since epoch of packed event values."""
    return values & _TIME_MASK


def reference_parts(
    rows: Sequence[tuple[int, ...]], partitions: int
) -> Iterator[tuple[int, JoinBlock]]:
    """Yield (join partition, part) of reference rows, whose first value is the join key."""
    if rows:
        for partition, columns in _split(_to_columns(rows), partitions):
            yield partition, JoinBlock(REFERENCES, pack_columns(columns))


def event_parts(events: Columns, partitions: int) -> Iterator[tuple[int, JoinBlock]]:
    """Yield (join partition, part) of events [3, n]: global post id, EventKind, ms since epoch.

    Kind and time share a column, so that its order is by kind and then by time.
    """
    if events.size:
        keys, kinds, times = events
        columns = np.stack((keys, (kinds << _TIME_BITS) | times))
        for partition, some in _split(columns, partitions):
            yield partition, JoinBlock(EVENTS, pack_columns(some))


def name_parts(rows: Sequence[tuple[int, str]], partitions: int) -> Iterator[tuple[int, JoinBlock]]:
    """Yield (join partition, part) of rows (global user id, display name)."""
    if rows:
        keys = np.array([key for key, _ in rows], dtype=np.int64)
        columns = np.stack((keys, np.arange(len(rows), dtype=np.int64)))
        for partition, some in _split(columns, partitions):
            names = msgspec.msgpack.encode([rows[index][1] for index in some[1].tolist()])
            yield partition, JoinBlock(NAMES, pack_columns(some[:1]), Blob(compress(names)))


def unpack_names(part: JoinBlock) -> Iterator[tuple[int, str]]:
    """Yield (global user id, display name) of a part."""
    keys = unpack_columns(part.columns, 1)[0].tolist()
    return zip(keys, _names_decoder.decode(decompress(part.names.load())), strict=True)


def pack_columns(columns: Columns) -> Blob:
    """Compress int64[k, n]; bytes of equal significance lie together, which compresses ids."""
    planes = np.ascontiguousarray(columns).view(np.uint8).reshape(-1, 8).T
    return Blob(compress(planes.tobytes()))


def unpack_columns(blob: Blob, k: int) -> Columns:
    """Undo :func:`pack_columns` for ``k`` columns."""
    planes = np.frombuffer(decompress(blob.load()), dtype=np.uint8).reshape(8, -1)
    columns: Columns = np.ascontiguousarray(planes.T).view(np.int64).reshape(k, -1)
    return columns


def join_partition(keys: npt.NDArray[np.int64], partitions: int) -> npt.NDArray[np.int64]:
    """Spread int64[n] keys evenly over ``partitions``, the same way on every machine."""
    mixed = keys.astype(np.uint64)
    # The finaliser of splitmix64 (Steele, Lea and Flood 2014): consecutive ids spread too.
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return (mixed % np.uint64(partitions)).astype(np.int64)


def _to_columns(rows: Sequence[tuple[int, ...]]) -> Columns:
    return np.ascontiguousarray(np.array(rows, dtype=np.int64).T)


def _split(columns: Columns, partitions: int) -> Iterator[tuple[int, Columns]]:
    """Yield (partition, its rows ordered by key) for the partitions that have any."""
    targets = join_partition(columns[0], partitions)
    order = np.lexsort((columns[0], targets))
    columns, targets = columns[:, order], targets[order]
    bounds = np.flatnonzero(np.diff(targets, prepend=-1, append=partitions)).tolist()
    for low, high in itertools.pairwise(bounds):
        yield int(targets[low]), columns[:, low:high]
