"""FnApiRunner with its shuffles on disk, so that memory does not grow with the input.

Beam's local runner keeps every shuffled byte in memory, and hands a stage all of its input at
once. Here what is shuffled goes into files without a name, of which memory holds an index, and
a stage gets its input piece by piece, a bundle each. The graph of the pipeline is the same.

Nothing of Beam is patched. One method of the runner is overridden: the one that is called before
each stage runs, to choose who runs it. There the empty buffers of the stage's outputs are replaced
by ours. These are internals of Beam 2.77, which setup.py pins; tests/test_disk_shuffle.py fails
when another version keeps its data elsewhere.
"""

import errno
import os
import queue
import tempfile
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any, Final

from apache_beam.coders.coder_impl import create_InputStream, create_OutputStream
from apache_beam.metrics import monitoring_infos
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner.execution import GroupingBuffer, ListBuffer
from apache_beam.runners.portability.fn_api_runner.fn_runner import BundleManager, FnApiRunner
from apache_beam.runners.portability.fn_api_runner.translations import split_buffer_id
from apache_beam.runners.worker.data_plane import InMemoryDataChannel
from apache_beam.transforms.window import GlobalWindow, GlobalWindows
from apache_beam.utils import thread_pool_executor
from apache_beam.utils.windowed_value import PaneInfo, PaneInfoTiming

PIECE_BYTES: Final = 16 << 20
"""Input of one bundle. A key's values are never divided, so a piece may be larger."""

PIECES_PER_WORKER: Final = 4
"""Input is cut finer than that only to keep several workers busy."""

_ONLY_PANE = GlobalWindows.windowed_value(
    None,
    timestamp=GlobalWindow().max_timestamp(),
    pane_info=PaneInfo(True, True, PaneInfoTiming.ON_TIME, 0, 0),
)


@dataclass
class StageReport:
    """What one stage did; for the benchmarks."""

    name: str
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of this process: all there is when the run has no worker processes."""
    bundles: int = 0
    written: dict[str, int] = field(default_factory=dict)
    """Bytes that the stage wrote, by the name of the shuffle or of the kept PCollection."""


class DiskShuffleRunner(FnApiRunner):
    """FnApiRunner that keeps shuffled data in files in ``folder`` (None: the system's)."""

    def __init__(
        self,
        folder: str | None = None,
        *,
        default_environment: Any = None,
        piece_bytes: int = PIECE_BYTES,
        report: Callable[[StageReport], None] | None = None,
    ) -> None:
        super().__init__(default_environment=default_environment)
        self._folder = folder
        self._piece_bytes = piece_bytes
        self._report = report

    def _get_bundle_manager(self, bundle_context_manager: Any) -> BundleManager:
        stage = bundle_context_manager
        if stage.stage.is_stateful() or stage.stage_timer_outputs:
            manager: BundleManager = super()._get_bundle_manager(stage)
            return manager
        buffers = stage.execution_context.pcoll_buffers
        for transform, buffer_id in stage.stage_data_outputs.items():
            buffer = stage.get_buffer(buffer_id, transform)
            # Windows other than the global one need Beam's own grouping.
            if type(buffer) is GroupingBuffer and buffer._windowing.is_default():
                buffers[buffer_id] = GroupsOnDisk(buffer, self._folder)
            elif type(buffer) is ListBuffer:
                buffers[buffer_id] = ListOnDisk(buffer._coder_impl, self._folder)
        return _PieceByPiece(stage, self._piece_bytes, self._report)


class _Store:
    """An unnamed file that values are added to and read back from, by place."""

    def __init__(self, folder: str | None) -> None:
        self._folder = folder
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
        folder = self._folder or tempfile.gettempdir()
        if error.errno == errno.ENOSPC:
            advice = f"no space left for shuffled data in {folder}; name another --work-dir"
            return OSError(error.errno, advice)
        return error


@dataclass
class _Part:
    """The values of one buffer, or of one that was joined to it: a file and where things are."""

    store: _Store
    places: "dict[bytes, array[int]]" = field(default_factory=dict)
    """By encoded key: start and size of each value, one after the other."""


class _Group:
    """The values of one key, each read when the coder of groups asks for it."""

    def __init__(self, coder: Any, places: "list[tuple[_Store, array[int]]]") -> None:
        self._coder = coder
        self._places = places

    def __len__(self) -> int:
        return sum(len(place) for _, place in self._places) // 2

    def __iter__(self) -> Iterator[Any]:
        for store, place in self._places:
            for start, size in zip(place[::2], place[1::2], strict=True):
                yield self._coder.decode_nested(store.read(start, size))


class GroupsOnDisk:
    """Stands in for Beam's GroupingBuffer: what goes through one GroupByKey."""

    cleared = False

    def __init__(self, like: GroupingBuffer, folder: str | None) -> None:
        self._like = like
        self._folder = folder
        self._pairs = like._pre_grouped_coder.get_impl()
        self._keys = like._pre_grouped_coder.key_coder().get_impl()
        self._values = like._pre_grouped_coder.value_coder().get_impl()
        self._groups = like._post_grouped_coder.get_impl()
        self._parts: list[_Part] = []
        self._own: _Part | None = None

    def append(self, elements: bytes) -> None:
        """Take encoded (key, value) elements."""
        if self._own is None:
            self._own = _Part(_Store(self._folder))
            self._parts.append(self._own)
        store, places = self._own.store, self._own.places
        stream = create_InputStream(elements)
        while stream.size() > 0:
            key, value = self._pairs.decode_from_stream(stream, True).value
            encoded = self._values.encode_nested(value)
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
        new = GroupsOnDisk(self._like, self._folder)
        new._parts = list(self._parts)
        self._own = None
        return new

    def pieces(self, piece_bytes: int, workers: int) -> Iterator[list[bytes]]:
        """Yield encoded groups in pieces of about ``piece_bytes``, read as they are asked for."""
        keys = dict.fromkeys(key for part in self._parts for key in part.places)
        most = -(-len(keys) // (workers * PIECES_PER_WORKER)) if workers > 1 else len(keys)
        out, held = create_OutputStream(), 0
        for key in keys:
            group = (self._keys.decode(key), _Group(self._values, self._places_of(key)))
            self._groups.encode_to_stream(_ONLY_PANE.with_value(group), out, True)
            held += 1
            if out.size() >= piece_bytes or held >= most:
                piece = [out.get()]
                # Gone before the piece is worked on: a large group is in memory once less.
                out, held = create_OutputStream(), 0
                yield piece
        if held:
            yield [out.get()]

    def _places_of(self, key: bytes) -> "list[tuple[_Store, array[int]]]":
        return [(part.store, part.places[key]) for part in self._parts if key in part.places]

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces(PIECE_BYTES, 1):
            yield from piece

    @property
    def size(self) -> int:
        """Bytes of the values that were appended here."""
        return 0 if self._own is None else self._own.store.size


class ListOnDisk:
    """Stands in for Beam's ListBuffer: a PCollection that is kept for a later stage."""

    cleared = False

    def __init__(self, coder: Any, folder: str | None) -> None:
        self._coder = coder
        self._folder = folder
        self._chunks: list[tuple[_Store, int, int]] = []
        self._store: _Store | None = None

    def append(self, elements: bytes) -> None:
        """Take encoded elements."""
        if not elements:
            return
        if self._store is None:
            self._store = _Store(self._folder)
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
        new = ListOnDisk(self._coder, self._folder)
        new._chunks = list(self._chunks)
        return new

    def pieces(self, piece_bytes: int, workers: int) -> Iterator[list[bytes]]:
        """Yield lists of encoded elements of about ``piece_bytes``, read as they are asked for."""
        if workers > 1 and sum(size for _, _, size in self._chunks) < piece_bytes * workers:
            small = ListBuffer(self._coder)
            for chunk in self:
                small.append(chunk)
            yield from (part for part in small.partition(workers) if any(part))
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


class _PieceByPiece(BundleManager):
    """Runs a stage as several bundles, each on the next worker that is free."""

    def __init__(
        self, stage: Any, piece_bytes: int, report: Callable[[StageReport], None] | None
    ) -> None:
        super().__init__(stage, cache_token_generator=FnApiRunner.get_cache_token_generator(False))
        self._stage = stage
        self._piece_bytes = piece_bytes
        self._report = report

    def process_bundle(
        self,
        inputs: Mapping[str, Any],
        expected_outputs: Mapping[str, bytes],
        fired_timers: Mapping[Any, Any],
        expected_output_timers: Mapping[Any, Any],
        dry_run: bool = False,
    ) -> Any:
        report = StageReport(self._stage.stage.name)
        began, began_cpu = time.perf_counter(), time.process_time()
        handlers = self._stage.worker_handlers
        free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for handler in handlers:
            free.put(handler)

        def run(piece: dict[str, Any]) -> Any:
            handler = free.get()
            try:
                _send_straight(handler, self._stage, expected_outputs)
                one = BundleManager(
                    _OnOneWorker(self._stage, handler),
                    cache_token_generator=self._cache_token_generator,
                )
                result, _ = one.process_bundle(piece, expected_outputs, {}, {}, dry_run)
                return result
            finally:
                free.put(handler)

        results = _merged(_map(run, self._pieces(inputs, len(handlers)), len(handlers)), report)
        if self._report is not None:
            report.seconds = time.perf_counter() - began
            report.cpu_seconds = time.process_time() - began_cpu
            for transform, buffer_id in expected_outputs.items():
                buffer = self._stage.get_buffer(buffer_id, transform)
                name = ":".join(split_buffer_id(buffer_id))
                report.written[name] = getattr(buffer, "size", 0)
            self._report(report)
        return results, []

    def _pieces(self, inputs: Mapping[str, Any], workers: int) -> Iterator[dict[str, Any]]:
        none: dict[str, Any] = {name: [] for name in inputs}
        empty = True
        for name, buffer in inputs.items():
            cut = getattr(buffer, "pieces", None)
            if cut is not None:
                parts = cut(self._piece_bytes, workers)
            else:
                # A buffer of Beam's own: the first input, what a source puts off, a Reshuffle,
                # whose windows are special and whose elements are file ranges in our pipelines.
                parts = buffer.partition(1 if workers == 1 else workers * PIECES_PER_WORKER)
            for part in filter(any, parts):
                empty = False
                yield none | {name: part}
        if empty:
            yield none


class _OnOneWorker:
    """A stage's context that knows only one of the workers."""

    def __init__(self, stage: Any, handler: Any) -> None:
        self._stage = stage
        self.worker_handlers = [handler]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage, name)


class _Straight(list[Any]):
    """The inbox of the runner's end of an in-memory channel, whose letters go on at once."""

    def __init__(self, deliver: Callable[[Any], None]) -> None:
        super().__init__()
        self._deliver = deliver

    def append(self, letter: Any) -> None:
        self._deliver(letter)


def _send_straight(handler: Any, stage: Any, outputs: Mapping[str, bytes]) -> None:
    """Have a worker in this process write into the buffers while it works.

    Its channel would keep all output of a bundle until the end, which may be a whole file's.
    A worker in a process of its own has a channel of bounded size anyway.
    """
    if isinstance(handler.data_conn, InMemoryDataChannel):

        def deliver(letter: Any) -> None:
            if letter.data:
                stage.get_buffer(outputs[letter.transform_id], letter.transform_id).append(
                    letter.data
                )

        handler.data_conn._inputs = _Straight(deliver)


def _map(run: Callable[[Any], Any], pieces: Iterable[Any], workers: int) -> Iterator[Any]:
    """Run the pieces on ``workers`` threads; a piece is read when a thread is free for it."""
    if workers == 1:
        yield from map(run, pieces)
        return
    pending: set[Future[Any]] = set()
    # Beam's threads are daemons: a worker that died must not keep this process from ending.
    with thread_pool_executor.shared_unbounded_instance() as executor:
        for piece in pieces:
            if len(pending) == workers:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
            pending.add(executor.submit(run, piece))
        yield from (future.result() for future in pending)


def _merged(results: Iterable[Any], report: StageReport) -> Any:
    """Join the answers to several bundles of a stage to one."""
    infos: list[Any] = []
    residuals: list[Any] = []
    for result in results:
        report.bundles += 1
        residuals += result.process_bundle.residual_roots
        infos = list(
            monitoring_infos.consolidate([*infos, *result.process_bundle.monitoring_infos])
        )
    return beam_fn_api_pb2.InstructionResponse(
        process_bundle=beam_fn_api_pb2.ProcessBundleResponse(
            monitoring_infos=infos, residual_roots=residuals
        )
    )
