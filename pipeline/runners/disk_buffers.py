"""What a pipeline shuffles or keeps, in files: stand-ins for Beam's own buffers.

These files have no name, so the system takes them back when the process ends, however it ends.
Memory holds an index of them. Large blobs are not in them, only where they are: in the files with a
name of pipeline/runners/blob_files.py, which hold most of the bytes. A buffer keeps those, too, as
long as it is there. Buffers have the methods that Beam 2.77's runner calls, and ``pieces``.
"""

import errno
import os
import tempfile
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from apache_beam.coders.coder_impl import (
    BytesCoderImpl,
    create_InputStream,
    create_OutputStream,
)
from apache_beam.runners.portability.fn_api_runner.execution import GroupingBuffer, ListBuffer
from apache_beam.transforms.window import GlobalWindow, GlobalWindows
from apache_beam.utils.windowed_value import PaneInfo, PaneInfoTiming

from pipeline.runners.blob_files import BlobFiles, Held
from transforms.core.blobs import no_space

PIECE_BYTES: Final = 16 << 20
"""Input of one bundle. A key's values are never divided, so a piece may be larger."""

PIECES_PER_WORKER: Final = 4
"""Input is cut finer than that only to keep several workers busy."""

_ONLY_PANE = GlobalWindows.windowed_value(
    None,
    timestamp=GlobalWindow().max_timestamp(),
    pane_info=PaneInfo(True, True, PaneInfoTiming.ON_TIME, 0, 0),
)


class Store:
    """An unnamed file that values are added to and read back from, by place."""

    def __init__(self, folder: str | None, held: Held) -> None:
        self._folder = folder
        self.held = held
        """The blobs that the values refer to: in files that live as long as this one."""
        # Closed, and its bytes freed, when the buffer that owns it is gone.
        self._file = tempfile.TemporaryFile(prefix=".shuffle-", dir=folder, buffering=1 << 20)  # noqa: SIM115
        self.size = 0
        self._written = 0

    def add(self, value: bytes) -> int:
        """Append a value; returns where it begins."""
        start = self.size
        try:
            self._file.write(value)
        except OSError as error:
            raise self._explained(error) from error
        self.size += len(value)
        return start

    def read(self, start: int, size: int) -> bytes:
        """Return the ``size`` bytes at ``start``."""
        if self._written < self.size:
            try:
                self._file.flush()
            except OSError as error:
                raise self._explained(error) from error
            self._written = self.size
        value = os.pread(self._file.fileno(), size, start)
        if len(value) != size:
            raise OSError(errno.EIO, "shuffled data were cut off", self._folder)
        return value

    def _explained(self, error: OSError) -> OSError:
        return no_space(error, self._folder or tempfile.gettempdir())


@dataclass
class _Part:
    """The values of one buffer, or of one that was joined to it: a file and where things are."""

    store: Store
    places: "dict[bytes, array[int]]" = field(default_factory=dict)
    """By encoded key: start and size of each value, one after the other."""


class _Group:
    """The values of one key, each read when the coder of groups asks for it."""

    def __init__(
        self, decode: Callable[[bytes], Any] | None, places: "list[tuple[Store, array[int]]]"
    ) -> None:
        self._decode = decode
        self._places = places

    def __len__(self) -> int:
        return sum(len(place) for _, place in self._places) // 2

    def __iter__(self) -> Iterator[Any]:
        for store, place in self._places:
            for start, size in zip(place[::2], place[1::2], strict=True):
                value = store.read(start, size)
                yield value if self._decode is None else self._decode(value)


class GroupsOnDisk:
    """Stands in for Beam's GroupingBuffer: what goes through one GroupByKey."""

    cleared = False

    def __init__(
        self, like: GroupingBuffer, folder: str | None, hold: Callable[[], Held] | None = None
    ) -> None:
        self._like = like
        self._folder = folder
        self._hold = hold or BlobFiles().held
        self._pairs = like._pre_grouped_coder.get_impl()
        self._keys = like._pre_grouped_coder.key_coder().get_impl()
        self._values = like._pre_grouped_coder.value_coder().get_impl()
        # To the runner most values are bytes, whose coder is the worker's affair.
        self._bytes = isinstance(self._values, BytesCoderImpl)
        self._groups = like._post_grouped_coder.get_impl()
        self._parts: list[_Part] = []
        self._own: _Part | None = None

    def append(self, elements: bytes) -> None:
        """Take encoded (key, value) elements."""
        if self._own is None:
            self._own = _Part(Store(self._folder, self._hold()))
            self._parts.append(self._own)
        self._own.store.held.add(elements)
        store, places = self._own.store, self._own.places
        stream = create_InputStream(elements)
        while stream.size() > 0:
            key, value = self._pairs.decode_from_stream(stream, True).value
            encoded = value if self._bytes else self._values.encode_nested(value)
            place = places.get(name := self._keys.encode(key))
            if place is None:
                place = places[name] = array("q")
            place.extend((store.add(encoded), len(encoded)))

    def extend(self, other: Any) -> None:
        """Take over what another stage sent into the same GroupByKey."""
        if isinstance(other, ListBuffer):
            return  # filler, always empty
        self._parts += other._parts

    def copy(self) -> "GroupsOnDisk":
        """Return a buffer with the same groups; either may be extended."""
        new = GroupsOnDisk(self._like, self._folder, self._hold)
        new._parts = list(self._parts)
        self._own = None
        return new

    def pieces(self, piece_bytes: int, workers: int) -> Iterator[list[bytes]]:
        """Yield encoded groups in pieces of about ``piece_bytes``, read as they are asked for."""
        keys = dict.fromkeys(key for part in self._parts for key in part.places)
        maximum = -(-len(keys) // (workers * PIECES_PER_WORKER)) if workers > 1 else len(keys)
        blobs = sum(part.store.held.size for part in self._parts)
        if blobs:  # a reference is small, what it stands for is not
            maximum = min(maximum, max(1, len(keys) * piece_bytes // blobs))
        decode = None if self._bytes else self._values.decode_nested
        out, held = create_OutputStream(), 0
        for key in keys:
            group = (self._keys.decode(key), _Group(decode, self._places_of(key)))
            self._groups.encode_to_stream(_ONLY_PANE.with_value(group), out, True)
            held += 1
            if out.size() >= piece_bytes or held >= maximum:
                piece = [out.get()]
                # Gone before the piece is worked on: a large group is in memory once less.
                out, held = create_OutputStream(), 0
                yield piece
        if held:
            yield [out.get()]

    def _places_of(self, key: bytes) -> "list[tuple[Store, array[int]]]":
        return [(part.store, part.places[key]) for part in self._parts if key in part.places]

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces(PIECE_BYTES, 1):
            yield from piece

    @property
    def size(self) -> int:
        """Bytes of the values that were appended here."""
        return 0 if self._own is None else self._own.store.size


class GroupsInMemory(GroupingBuffer):
    """Beam's GroupingBuffer, for windows that only it can group; it holds the files of blobs."""

    def __init__(self, like: GroupingBuffer, hold: Callable[[], Held]) -> None:
        super().__init__(like._pre_grouped_coder, like._post_grouped_coder, like._windowing)
        self._held = [hold()]

    def append(self, elements: bytes) -> None:
        """Take encoded (key, value) elements."""
        self._held[0].add(elements)
        super().append(elements)

    def extend(self, other: Any) -> None:
        """Take over what another stage sent into the same GroupByKey."""
        super().extend(other)
        if isinstance(other, GroupsInMemory):
            self._held += other._held


class ListOnDisk:
    """Stands in for Beam's ListBuffer: a PCollection that is kept for a later stage."""

    cleared = False

    def __init__(
        self, coder: Any, folder: str | None, hold: Callable[[], Held] | None = None
    ) -> None:
        self._coder = coder
        self._folder = folder
        self._hold = hold or BlobFiles().held
        self._chunks: list[tuple[Store, int, int]] = []
        self._store: Store | None = None

    def append(self, elements: bytes) -> None:
        """Take encoded elements."""
        if not elements:
            return
        if self._store is None:
            self._store = Store(self._folder, self._hold())
        self._store.held.add(elements)
        self._chunks.append((self._store, self._store.add(elements), len(elements)))

    def extend(self, other: Any) -> None:
        """Take over what another stage sent into the same PCollection."""
        if isinstance(other, ListOnDisk):
            self._chunks += other._chunks
        else:
            for chunk in other:
                self.append(chunk)

    def copy(self) -> "ListOnDisk":
        """Return a buffer with the same elements; either may be extended."""
        new = ListOnDisk(self._coder, self._folder, self._hold)
        new._chunks = list(self._chunks)
        return new

    def pieces(self, piece_bytes: int, workers: int) -> Iterator[list[bytes]]:
        """Yield lists of encoded elements of about ``piece_bytes``, read as they are asked for."""
        if workers > 1 and sum(size for _, _, size in self._chunks) < piece_bytes * workers:
            small = ListBuffer(self._coder)
            for chunk in self:
                small.append(chunk)
            blobs = sum(store.held.size for store in {store for store, _, _ in self._chunks})
            parts = max(workers, -(-blobs // piece_bytes))
            yield from (part for part in small.partition(parts) if any(part))
            return
        piece, held = [], 0
        for chunk in self:
            piece.append(chunk)
            held += len(chunk)
            if held >= piece_bytes:
                yield piece
                piece, held = [], 0
        if piece:
            yield piece

    def __iter__(self) -> Iterator[bytes]:
        for store, start, size in self._chunks:
            yield store.read(start, size)

    @property
    def size(self) -> int:
        """Bytes that were appended here."""
        return 0 if self._store is None else self._store.size
