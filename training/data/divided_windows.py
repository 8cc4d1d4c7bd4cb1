"""The rows of a step where each rank reads its own row groups only, and gets the rest from others.

Of R ranks, rank r reads the row groups at the positions r, r + R, r + 2 R … of the epoch's order.
Once a window, the ranks tell each other a light index of it (which rows share a prompt, how long
the texts are), from which every rank computes the same shuffled order and the same balanced shards
as a process that has read it all: the batches are the same for any number of ranks. Once a step,
each rank sends the texts that it read to the ranks that train on them.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.ids import content_hash
from training.data.dataset import PairDataset, PairRows, blank_rows
from training.data.exchange import RankExchange
from training.data.prompt_groups import balanced, equal_runs
from training.data.sampler import BatchSampler, WindowSlice, window_order
from training.errors import TrainingDatasetError

INDEX = np.dtype(
    [
        ("prompt", "V16"),
        ("chosen", "V16"),
        ("rejected", "V16"),
        ("prompt_length", "<i4"),
        ("chosen_length", "<i4"),
        ("rejected_length", "<i4"),
    ]
)
"""What every rank knows of each row of a window: digests of the prompt (with its thread) and of the
responses, and their characters; 60 bytes."""

Index = npt.NDArray[Any]


class _Packed(msgspec.Struct):
    """Rows on their way: columns of texts as places in ``texts``, each of which is there once."""

    texts: list[str]
    columns: dict[str, list[int]]
    numbers: dict[str, bytes]


@dataclass(frozen=True)
class _Window:
    index: Index
    """Of all its rows, in shuffled order."""
    place: npt.NDArray[np.int64]
    """Of each of them, its number in the window as it is read."""
    owner: npt.NDArray[np.int64]
    """Of each of them, the rank that read it."""
    rows: dict[int, tuple[int, PairRows]]
    """Row groups of this rank: the number of its first row in the window, and its rows."""

    def read_here(self, number: int) -> tuple[PairRows, int]:
        """Rows that hold the row ``number`` of the window, and its place among them."""
        for first, rows in self.rows.values():
            if first <= number < first + len(rows):
                return rows, number - first
        raise IndexError(number)


class DividedWindows:
    """The part of each batch that is this rank's; every rank must ask for the same steps."""

    def __init__(self, dataset: PairDataset, exchange: RankExchange) -> None:
        self._dataset = dataset
        self._exchange = exchange
        # A step can lie in two. The calls are the same on all ranks, so all keep the same ones.
        self._windows = lru_cache(maxsize=2)(self._read)

    def part(self, sampler: BatchSampler, step: int) -> tuple[PairRows, list[range]]:
        """Rows of a step in the sampler's order, those of other ranks blank; and this rank's runs.

        Raises TrainingDatasetError, on every rank, where one could not read its row groups.
        """
        pieces = [
            (self._windows(piece.row_groups, piece.key, piece.position), piece)
            for piece in sampler.slices(step)
        ]
        index = np.concatenate([window.index[p.begin : p.end] for window, p in pieces])
        owner = np.concatenate([window.owner[p.begin : p.end] for window, p in pieces])
        runs = equal_runs(index["prompt"].tolist())
        shards = balanced(runs, text_sizes(index, runs), self._exchange.ranks)
        wanted = [[row for run in shard for row in run] for shard in shards]
        mine = self._exchange.rank
        payloads = [_pack(pieces, [row for row in rows if owner[row] == mine]) for rows in wanted]
        rows = blank_rows(len(index))
        for rank, payload in enumerate(self._exchange.all_to_all(payloads)):
            places = [row for row in wanted[mine] if owner[row] == rank]
            _unpack(payload, rows, places)
        return rows, shards[mine]

    def _read(self, row_groups: tuple[int, ...], key: str, position: int) -> _Window:
        ranks, mine = self._exchange.ranks, self._exchange.rank
        owners = [(position + place) % ranks for place in range(len(row_groups))]
        own = [place for place, rank in enumerate(owners) if rank == mine]
        try:
            with ThreadPoolExecutor(4) as pool:
                read = dict(
                    zip(
                        own,
                        pool.map(self._dataset.read, [row_groups[place] for place in own]),
                        strict=True,
                    )
                )
        except Exception as error:  # the others wait for this rank, whatever it is
            message = str(error)
            if not isinstance(error, TrainingDatasetError):
                message = f"{self._dataset.location}: rank {mine}: {type(error).__name__}: {error}"
            self._exchange.fail(message)
            raise
        told = b"".join(index_of(read[place]).tobytes() for place in own)
        indexes = [
            np.frombuffer(content, dtype=INDEX)
            for content in self._exchange.all_to_all([told] * ranks)
        ]
        sizes = [self._dataset.rows[number] for number in row_groups]
        parts, taken = [], [0] * ranks
        for rank, size in zip(owners, sizes, strict=True):
            parts.append(indexes[rank][taken[rank] : taken[rank] + size])
            taken[rank] += size
        index = np.concatenate(parts)
        order = np.array(window_order(index["prompt"].tolist(), key), dtype=np.int64)
        firsts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return _Window(
            index=index[order],
            place=order,
            owner=np.repeat(np.array(owners, dtype=np.int64), sizes)[order],
            rows={place: (int(firsts[place]), rows) for place, rows in read.items()},
        )


def index_of(rows: PairRows) -> Index:
    """The index of rows, an entry of :data:`INDEX` each."""
    known: dict[str, bytes] = {}

    def digest(text: str) -> bytes:
        found = known.get(text)
        if found is None:
            found = known[text] = content_hash(text)
        return found

    found = np.zeros(len(rows), dtype=INDEX)
    threads = zip(rows.thread_id, rows.prompt, strict=True)
    found["prompt"] = [digest(f"{len(thread)} {thread}{prompt}") for thread, prompt in threads]
    found["chosen"] = [digest(text) for text in rows.chosen]
    found["rejected"] = [digest(text) for text in rows.rejected]
    for name in ("prompt", "chosen", "rejected"):
        found[f"{name}_length"] = [len(text) for text in getattr(rows, name)]
    return found


def text_sizes(index: Index, runs: Sequence[range]) -> list[int]:
    """Characters of each run's prompt and distinct responses."""
    sides = [
        list(zip(index[side].tolist(), index[f"{side}_length"].tolist(), strict=True))
        for side in ("chosen", "rejected")
    ]
    prompts = index["prompt_length"].tolist()
    sizes = []
    for run in runs:
        texts = {side[row] for row in run for side in sides}
        sizes.append(prompts[run.start] + sum(length for _, length in texts))
    return sizes


def _pack(pieces: Sequence[tuple[_Window, WindowSlice]], wanted: Sequence[int]) -> bytes:
    """Encode rows of a batch, of those that were read here."""
    if not wanted:
        return b""
    ends = np.cumsum([piece.end - piece.begin for _, piece in pieces]).tolist()
    found = []
    for row in wanted:
        number = next(at for at, end in enumerate(ends) if row < end)
        window, piece = pieces[number]
        inside = row - (ends[number - 1] if number else 0) + piece.begin
        found.append(window.read_here(int(window.place[inside])))
    places: dict[str, int] = {}
    columns: dict[str, list[int]] = {}
    numbers: dict[str, bytes] = {}
    for column in fields(PairRows):
        values = [getattr(rows, column.name)[at] for rows, at in found]
        if column.type == list[str]:
            columns[column.name] = [places.setdefault(text, len(places)) for text in values]
        else:
            numbers[column.name] = np.array(values).tobytes()
    return msgspec.msgpack.encode(_Packed(list(places), columns, numbers))


def _unpack(payload: bytes, rows: PairRows, places: Sequence[int]) -> None:
    """Fill rows of a batch in from what :func:`_pack` gave on another rank."""
    if not places:
        return
    packed = msgspec.msgpack.decode(payload, type=_Packed)
    for name, texts in packed.columns.items():
        column = getattr(rows, name)
        for place, text in zip(places, texts, strict=True):
            column[place] = packed.texts[text]
    for name, content in packed.numbers.items():
        column = getattr(rows, name)
        column[list(places)] = np.frombuffer(content, dtype=column.dtype)
