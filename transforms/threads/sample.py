"""A random sample of whole threads, votes and dates included, for the report of a run."""

from dataclasses import dataclass

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

from schemas.post import Thread
from transforms.threads.sample_file import SAMPLE_NAME, Entry, encode_sample, sample_entry

SAMPLE_THREADS = 2_000


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
