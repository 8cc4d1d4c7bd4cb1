"""The file with a random sample of threads, which the report of a run reads; needs no Beam."""

import msgspec

from schemas.ids import hash63
from schemas.post import Thread

SAMPLE_NAME = "threads.msgpack"
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
