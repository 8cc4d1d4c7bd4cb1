"""A small job whose elements are blobs, importable by worker processes."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam

from transforms.core import Blob, shuffle_dir

BLOBS = 40
SIZE = 10_000
KEYS = 8


def build(output: Path, *, aside: bool = False, again: bool = False):
    """Blobs → groups, three times → a Flatten that only passes on → groups → what came.

    ``aside``: also read blobs on the side, in the last step, which an earlier one reads as its
    rows. ``again``: also send them through Reshuffles, whose buffers are Beam's own.
    """

    def add(pipeline: beam.Pipeline) -> None:
        made = pipeline | "Numbers" >> beam.Create(range(BLOBS)) | "Make" >> beam.FlatMap(make)
        first = made
        turns = []
        for turn in range(3):  # what a turn reads is used up
            grouped = first | f"Group {turn}" >> beam.GroupByKey()
            first = grouped | f"Reverse {turn}" >> beam.FlatMap(reverse)
            turns.append(first)
            if again:
                first = first | f"Again {turn}" >> beam.Reshuffle()
        branches = [first, made]
        if aside:
            some = turns[0] | "Take some" >> beam.FlatMap(take_some)
            count = some | "Count" >> beam.combiners.Count.Globally()
            # Uses up the buffer of what is read on the side, whose files nobody else holds then.
            used = some | "Use" >> beam.FlatMap(use, count=beam.pvalue.AsSingleton(count))
            branches.append(used)
            named = {"some": beam.pvalue.AsList(some)}
        else:
            named = {}
        alike = branches | "Both" >> beam.Flatten() | "Alike" >> beam.Map(key_alike)
        grouped = alike | "Together" >> beam.GroupByKey()
        _ = grouped | "Save" >> beam.FlatMap(save, path=str(output), **named)

    return add


def make(number: int) -> Iterator[tuple[int, Blob]]:
    yield number % KEYS, Blob(number.to_bytes(2, "little") * (SIZE // 2))


def reverse(element: tuple[int, Iterable[Blob]]) -> Iterator[tuple[int, Blob]]:
    for blob in element[1]:
        yield element[0], Blob(blob.load()[::-1])


def key_alike(element: tuple[int, Blob]) -> tuple[int, Blob]:
    pause()
    return 0, element[1]


def pause() -> None:
    """Do nothing; here a test has a run wait for another one."""


def take_some(element: tuple[int, Blob]) -> Iterator[Blob]:
    if element[0] == 0:
        yield element[1]


def use(blob: Blob, count: int) -> Iterator[tuple[int, Blob]]:
    assert count == BLOBS // KEYS
    yield from ()


def save(
    element: tuple[int, Iterable[Blob]], path: str = "", some: list[Blob] | None = None
) -> Iterator[None]:
    folder = Path(shuffle_dir() or "")
    found: dict[str, Any] = {
        "blobs": sorted(blob.load()[:2].hex() for blob in element[1]),
        "aside": sorted(blob.load()[:2].hex() for blob in some or []),
        "on_disk": sum(file.stat().st_size for file in folder.iterdir()),
    }
    Path(path).write_text(json.dumps(found))
    yield from ()
