"""A random sample of whole threads, votes and dates included, for the report of a run."""

from dataclasses import dataclass

import apache_beam as beam
import msgspec
from apache_beam.io.filesystems import FileSystems

from schemas.ids import hash63
from schemas.post import Thread

SAMPLE_NAME = "threads.msgpack"
SAMPLE_THREADS = 2_000
MAX_THREAD_BYTES = 128 * 1024
"""Larger threads are passed over, so that a sample stays small enough for one machine."""

Entry = tuple[int, bytes]


def sample_entry(thread: Thread) -> Entry | None:
    """Return (place in a random order, encoded thread); None for a thread that is too large.

    The place is a hash of the thread's id, so the threads with the smallest places are a random
    sample that no order of arrival changes.
    """
    encoded = msgspec.msgpack.encode(thread)
    if len(encoded) > MAX_THREAD_BYTES:
        return None
    return hash63(f"report/{thread.id}"), encoded


def encode_sample(entries: list[Entry]) -> bytes:
    """Return the content of the file: threads in the order of their places."""
    return msgspec.msgpack.encode([msgspec.Raw(encoded) for _, encoded in sorted(entries)])


def decode_sample(content: bytes) -> list[Thread]:
    """Read what :func:`encode_sample` wrote; raises msgspec.DecodeError for anything else."""
    return msgspec.msgpack.decode(content, type=list[Thread])


@dataclass
class SampleThreads(beam.PTransform):
    """Threads → ``folder/threads.msgpack`` with at most ``size`` of them."""

    folder: str
    size: int = SAMPLE_THREADS

    def expand(self, threads: beam.PCollection) -> beam.PCollection:
        return (
            threads
            | "Encode" >> beam.FlatMap(_entries)
            | "Smallest places" >> beam.combiners.Top.Smallest(self.size)
            | "Save" >> beam.Map(_save, self.folder)
        )


def _entries(thread: Thread) -> list[Entry]:
    entry = sample_entry(thread)
    return [] if entry is None else [entry]


def _save(entries: list[Entry], folder: str) -> None:
    with FileSystems.create(FileSystems.join(folder, SAMPLE_NAME)) as file:
        file.write(encode_sample(entries))
