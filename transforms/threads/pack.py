"""Threads go into blocks before they are shuffled or kept."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from schemas.post import Thread
from transforms.core.blocks import BlockBuffer, ThreadBlock, thread_partition
from transforms.core.outcomes import thread_chars


@dataclass
class PackThreads(beam.PTransform):
    """Thread → (partition, ThreadBlock), many threads of one partition in a block."""

    partitions: int

    def expand(self, threads: beam.PCollection) -> beam.PCollection:
        return threads | "Pack" >> beam.ParDo(_Pack(self.partitions)).with_output_types(
            tuple[int, ThreadBlock]
        )


class _Pack(beam.DoFn):
    def __init__(self, partitions: int) -> None:
        self._partitions = partitions

    def start_bundle(self) -> None:
        self._blocks = BlockBuffer(ThreadBlock)

    def process(self, thread: Thread) -> Iterator[tuple[int, ThreadBlock]]:
        partition = thread_partition(thread.id, self._partitions)
        yield from self._blocks.add(partition, thread, thread_chars(thread))

    def finish_bundle(self) -> Iterator[Any]:
        for block in self._blocks.flush():
            yield beam.transforms.window.GlobalWindows.windowed_value_at_end_of_window(block)
