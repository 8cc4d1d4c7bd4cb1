"""Threads go into blocks before they are shuffled or kept."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from schemas.post import Thread
from transforms.blocks import BLOCK_BYTES, ThreadBlock, pack, thread_partition


def thread_chars(thread: Thread) -> int:
    """Characters of text in a thread, the cheap stand-in for its encoded size."""
    return len(thread.prompt.text) + sum(len(post.text) for post in thread.responses)


@dataclass
class PackThreads(beam.PTransform):
    """Thread → (partition, ThreadBlock), many threads of one partition in a block."""

    partitions: int

    def expand(self, threads: beam.PCollection) -> beam.PCollection:
        return threads | "Pack" >> beam.ParDo(_Pack(self.partitions)).with_output_types(
            tuple[int, ThreadBlock]
        )


class _Pack(beam.DoFn):
    # Threads come partition by partition, so few buffers are ever open at once; the limit on
    # all of them together is for the runner that deals them out differently.
    BUFFERED_CHARS = 64 * 1024 * 1024

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions

    def start_bundle(self) -> None:
        self._threads: dict[int, list[Thread]] = {}
        self._chars: dict[int, int] = {}
        self._total = 0

    def process(self, thread: Thread) -> Iterator[tuple[int, ThreadBlock]]:
        partition = thread_partition(thread.id, self._partitions)
        self._threads.setdefault(partition, []).append(thread)
        chars = thread_chars(thread)
        self._chars[partition] = self._chars.get(partition, 0) + chars
        self._total += chars
        if self._chars[partition] >= BLOCK_BYTES:
            yield self._flush(partition)
        elif self._total >= self.BUFFERED_CHARS:
            for key in sorted(self._threads):
                yield self._flush(key)

    def finish_bundle(self) -> Iterator[Any]:
        for partition in sorted(self._threads):
            yield beam.transforms.window.GlobalWindows.windowed_value_at_end_of_window(
                self._flush(partition)
            )

    def _flush(self, partition: int) -> tuple[int, ThreadBlock]:
        self._total -= self._chars.pop(partition)
        return partition, pack(ThreadBlock, self._threads.pop(partition))
