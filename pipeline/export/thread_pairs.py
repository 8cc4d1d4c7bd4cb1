"""The pairs of a dataset, thread by thread, with the columns that exports use."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from pipeline.dataset.folder import DatasetFolder
from schemas.pair import Message

BATCH_ROWS = 1024
"""Pairs that are held as objects at a time, beside those of one thread."""


class ThreadPair(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A pair as conversions see it; fields are the columns of :class:`schemas.pair.Pair`.

    Those that no export asked for has a use for may be left at their defaults.
    """

    thread_id: str
    prompt: str = ""
    chosen: str = ""
    rejected: str = ""
    prompt_turns: tuple[Message, ...] | None = None
    chosen_turns: tuple[Message, ...] | None = None
    rejected_turns: tuple[Message, ...] | None = None
    chosen_score: float = 1.0
    rejected_score: float = 0.0
    vote_margin: float = 1.0
    context_ids: tuple[str, ...] = ()
    chosen_id: str = ""
    rejected_id: str = ""
    chosen_created_at: int = 0
    rejected_created_at: int = 0


_SINCE_1_1 = ("prompt_turns", "chosen_turns", "rejected_turns", "context_ids")
"""Columns that datasets of an early version may lack; their defaults stand for them."""


def read_threads(
    folder: DatasetFolder, split: str, columns: Sequence[str]
) -> Iterator[list[ThreadPair]]:
    """Yield the pairs of each thread of a split, with ``columns`` and thread_id, in their order.

    Memory: a row group, a batch and one thread, whose pairs share the texts that they have in
    common: pairs may be as many as the square of the responses. Raises DatasetError as
    `DatasetFolder.read_columns` does.
    """
    schema = folder.schema("data")
    stored = schema.names if schema is not None else []
    wanted = list(
        dict.fromkeys(
            name for name in ("thread_id", *columns) if name in stored or name not in _SINCE_1_1
        )
    )
    batches = folder.read_columns("data", wanted, split, BATCH_ROWS)
    for _, pairs in itertools.groupby(_rows(batches), key=lambda pair: pair.thread_id):
        yield list(pairs)


def _rows(batches: Iterable[pa.RecordBatch]) -> Iterator[ThreadPair]:
    shared: dict[Any, Any] = {}
    thread = ""
    for batch in batches:
        rows = pairs_of(batch, shared)
        yield from rows
        if rows and rows[0].thread_id != thread:  # else the thread may go on in the next batch
            shared.clear()
            thread = rows[-1].thread_id


def pairs_of(batch: pa.RecordBatch, shared: dict[Any, Any]) -> list[ThreadPair]:
    """Return the rows of a batch whose columns are fields of :class:`ThreadPair`.

    Equal texts become one object, that in ``shared`` if there is one, to which new ones are added.
    """
    names = batch.schema.names
    columns = [
        [shared.setdefault(value, value) for value in _values(column)]
        if pa.types.is_string(column.type) or pa.types.is_list(column.type)
        else _values(column)
        for column in batch.columns
    ]
    return [ThreadPair(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]


def _values(column: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(column.type):  # milliseconds, as in rows
        return list(column.view(pa.int64()).to_pylist())
    if not pa.types.is_list(column.type):
        return list(column.to_pylist())
    read = _messages if pa.types.is_struct(column.type.value_type) else tuple
    return [None if value is None else read(value) for value in column.to_pylist()]


def _messages(values: list[dict[str, str]]) -> tuple[Message, ...]:
    return tuple(Message(role=value["role"], content=value["content"]) for value in values)


def conversations(pairs: Sequence[ThreadPair]) -> list[list[ThreadPair]]:
    """Divide the pairs of a thread by what is replied to: the prompt, or one of its responses."""
    found: dict[tuple[str, ...], list[ThreadPair]] = {}
    for pair in pairs:
        found.setdefault(pair.context_ids, []).append(pair)
    return list(found.values())
