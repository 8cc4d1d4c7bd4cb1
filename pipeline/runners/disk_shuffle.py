"""FnApiRunner with its shuffles on disk, so that memory does not grow with the input.

Beam's local runner keeps every shuffled byte in memory, and hands a stage all of its input at
once. Here what is shuffled goes into files, and a stage gets its input piece by piece, a bundle
each. Large blobs are in files with a name, which the workers write and read themselves
(pipeline/runners/blob_files.py); the rest goes through this process into files without one
(pipeline/runners/disk_buffers.py). The graph of the pipeline is the same.

Nothing of Beam is patched. Two methods of the runner are overridden: the one that makes stages of
a pipeline, where Flattens get no buffer of their own (flattens.py), and the one that is called
before each stage runs, to choose who runs it. There the empty buffers of the stage's outputs are
replaced by ours. These are internals of Beam 2.77, which setup.py pins; tests/test_disk_shuffle.py
fails when another version keeps its data elsewhere.
"""

import copy
import functools
import queue
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any

from apache_beam.metrics import monitoring_infos
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner import translations
from apache_beam.runners.portability.fn_api_runner.execution import GroupingBuffer, ListBuffer
from apache_beam.runners.portability.fn_api_runner.fn_runner import BundleManager, FnApiRunner
from apache_beam.runners.portability.fn_api_runner.translations import split_buffer_id
from apache_beam.runners.worker.data_plane import InMemoryDataChannel
from apache_beam.utils import thread_pool_executor

from pipeline.runners.blob_files import BlobFiles
from pipeline.runners.disk_buffers import (
    PIECE_BYTES,
    PIECES_PER_WORKER,
    GroupsInMemory,
    GroupsOnDisk,
    ListOnDisk,
)
from pipeline.runners.flattens import merge_flattens, read_flattened_directly, write_into_groups


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
        self._blobs = BlobFiles()

    def create_stages(self, pipeline_proto: Any) -> tuple[Any, list[Any]]:
        # As FnApiRunner does it, with three phases of ours.
        stages: tuple[Any, list[Any]] = translations.create_and_optimize_stages(
            copy.deepcopy(pipeline_proto),
            phases=[
                translations.annotate_downstream_side_inputs,
                translations.fix_side_input_pcoll_coders,
                translations.pack_combiners,
                translations.lift_combiners,
                translations.expand_sdf,
                translations.expand_gbk,
                merge_flattens,
                write_into_groups,
                translations.sink_flattens,
                read_flattened_directly,
                translations.greedily_fuse,
                translations.read_to_impulse,
                translations.impulse_to_input,
                translations.sort_stages,
                translations.add_impulse_to_dangling_transforms,
                translations.setup_timer_mapping,
                translations.populate_data_channel_coders,
            ],
            known_runner_urns=frozenset(
                [common_urns.primitives.FLATTEN.urn, common_urns.primitives.GROUP_BY_KEY.urn]
            ),
            use_state_iterables=self._use_state_iterables,
            is_drain=self._is_drain,
        )
        return stages

    def _get_bundle_manager(self, bundle_context_manager: Any) -> BundleManager:
        stage = bundle_context_manager
        context = stage.execution_context
        self._blobs.open_to(stage.worker_handlers)
        # What is read on the side goes from its buffer into a memory of Beam's.
        sides = context.side_input_descriptors_by_stage.get(stage.stage.name, {}).values()
        on_the_side = {buffer_id for buffer_id, _ in sides}
        if stage.stage.is_stateful() or stage.stage_timer_outputs:
            self._blobs.stop_sweeping()  # state and timers may refer to any
            manager: BundleManager = super()._get_bundle_manager(stage)
            return manager
        buffers = context.pcoll_buffers
        for transform, buffer_id in stage.stage_data_outputs.items():
            buffer = stage.get_buffer(buffer_id, transform)
            hold = functools.partial(self._blobs.held, lasting=buffer_id in on_the_side)
            # Windows other than the global one need Beam's own grouping.
            if type(buffer) is GroupingBuffer and buffer._windowing.is_default():
                buffers[buffer_id] = GroupsOnDisk(buffer, self._folder, hold)
            elif type(buffer) is ListBuffer:
                buffers[buffer_id] = ListOnDisk(buffer._coder_impl, self._folder, hold)
            elif type(buffer) is GroupingBuffer:
                buffers[buffer_id] = GroupsInMemory(buffer, hold)
        return _PieceByPiece(stage, self._piece_bytes, self._blobs, self._report)


class _PieceByPiece(BundleManager):
    """Runs a stage as several bundles, each on the next worker that is free."""

    def __init__(
        self,
        stage: Any,
        piece_bytes: int,
        blobs: BlobFiles,
        report: Callable[[StageReport], None] | None,
    ) -> None:
        super().__init__(stage, cache_token_generator=FnApiRunner.get_cache_token_generator(False))
        self._stage = stage
        self._piece_bytes = piece_bytes
        self._blobs = blobs
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
        self._blobs.sweep()
        handlers = self._stage.worker_handlers
        free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for handler in handlers:
            free.put(handler)

        def run(piece: dict[str, Any]) -> Any:
            handler = free.get()
            try:
                _send_straight(handler, self._stage, expected_outputs, dry_run)
                one = BundleManager(
                    _OnOneWorker(self._stage, handler),
                    cache_token_generator=self._cache_token_generator,
                )
                result, _ = one.process_bundle(piece, expected_outputs, {}, {}, dry_run)
                return result
            finally:
                free.put(handler)

        results = _merged(_map(run, self._pieces(inputs, len(handlers)), len(handlers)), report)
        for root in results.process_bundle.residual_roots:
            self._blobs.keep_all(root.application.element)
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
    """The inbox of the runner's end of an in-memory channel, whose letters go on immediately."""

    def __init__(self, deliver: Callable[[Any], None]) -> None:
        super().__init__()
        self._deliver = deliver

    def append(self, letter: Any) -> None:
        self._deliver(letter)


def _send_straight(handler: Any, stage: Any, outputs: Mapping[str, bytes], dry_run: bool) -> None:
    """Have a worker in this process write into the buffers while it works.

    Its channel would keep all output of a bundle until the end, which may be a whole file's.
    A worker in a process of its own has a channel of bounded size anyway. What a bundle gives that
    is only tried (``dry_run``) is dropped, as the runner drops it.
    """
    if isinstance(handler.data_conn, InMemoryDataChannel):

        def deliver(letter: Any) -> None:
            if letter.data and not dry_run:
                buffer = stage.get_buffer(outputs[letter.transform_id], letter.transform_id)
                with BundleManager._lock:  # as the runner itself: several workers share a buffer
                    buffer.append(letter.data)

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
