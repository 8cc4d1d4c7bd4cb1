"""A small job with every kind of shuffle, importable by worker processes."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import apache_beam as beam

ROWS = 4_000


def build(output: Path):
    """Two branches into one group, a group used twice, a side input, a tag, nothing at all."""

    def add(pipeline: beam.Pipeline) -> None:
        numbers = (
            pipeline
            | "Numbers" >> beam.Create(range(ROWS))
            | "Spread" >> beam.Reshuffle()
            | "Divide" >> beam.ParDo(Divide()).with_outputs("odd", main="even")
        )
        nothing = pipeline | "Nothing" >> beam.Create([]).with_output_types(tuple[int, bytes])
        again = numbers.odd | "Group odd" >> beam.GroupByKey() | "Ungroup" >> beam.FlatMap(ungroup)
        grouped = (
            (numbers.even, again, nothing) | "Both" >> beam.Flatten() | "Group" >> beam.GroupByKey()
        )
        total = (
            numbers.even | "Sizes" >> beam.MapTuple(size_of) | "Sum" >> beam.CombineGlobally(sum)
        )
        summed = grouped | "Sums" >> beam.MapTuple(sums, total=beam.pvalue.AsSingleton(total))
        keys = grouped | "Keys" >> beam.MapTuple(first)
        _ = (
            (summed, keys)
            | "All" >> beam.Flatten()
            | "Text" >> beam.Map(repr)
            | "Key" >> beam.Map(alike)
            | "Together" >> beam.GroupByKey()
            | "Save" >> beam.MapTuple(save, path=str(output))
        )

    return add


def build_flattens(output: Path):
    """A Flatten of a Flatten, one that two steps read of which one waits for the other, a group."""

    def add(pipeline: beam.Pipeline) -> None:
        low = pipeline | "Low" >> beam.Create(range(100))
        high = pipeline | "High" >> beam.Create(range(100, 200))
        inner = (low, high) | "Inner" >> beam.Flatten()
        every = (
            inner,
            low,
            pipeline | "All" >> beam.Create(range(300)),
        ) | "Outer" >> beam.Flatten()
        count = every | "Count" >> beam.combiners.Count.Globally()
        again = every | "Counted" >> beam.Map(only_if, count=beam.pvalue.AsSingleton(count))
        _ = (
            (every | "Key" >> beam.Map(keyed), again | "Key again" >> beam.Map(keyed))
            | "Both" >> beam.Flatten()
            | "Group" >> beam.GroupByKey()
            | "Save" >> beam.MapTuple(save_numbers, path=str(output))
        )

    return add


def build_waiting(output: Path, steps: Callable[..., Any]):
    """A Flatten with a reader that waits for a group that another reader is not alone to write."""

    def add(pipeline: beam.Pipeline) -> None:
        low = pipeline | "Low" >> beam.Create(range(100))
        high = pipeline | "High" >> beam.Create(range(100, 200))
        more = pipeline | "More" >> beam.Create(range(400))
        every = (low, high) | "Every" >> beam.Flatten()
        count = (
            (every | "Key" >> beam.Map(keyed), more | "Key more" >> beam.Map(keyed))
            | "Both" >> beam.Flatten()
            | "Group" >> beam.GroupByKey()
            | "Count" >> beam.MapTuple(count_of)
        )
        odd = every | "Odd" >> beam.Filter(is_odd)
        total = odd | "Total" >> beam.combiners.Count.Globally()
        _ = (
            steps(every, beam.pvalue.AsSingleton(count), beam.pvalue.AsSingleton(total))
            | "Key again" >> beam.Map(keyed)
            | "Group again" >> beam.GroupByKey()
            | "Save" >> beam.MapTuple(save_numbers, path=str(output))
        )

    return add


def known_first(every: Any, count: Any, total: Any) -> Any:
    known = every | "Known" >> beam.Map(only_if, count=count)
    return known | "Twice" >> beam.Map(twice, count=total)


def total_first(every: Any, count: Any, total: Any) -> Any:
    doubled = every | "Twice" >> beam.Map(twice, count=total)
    return doubled | "Known" >> beam.Map(only_if, count=count)


def is_odd(value: int) -> bool:
    return value % 2 == 1


def twice(value: int, count: int) -> int:
    assert count == 100
    return 2 * value


def count_of(key: int, values: Iterable[int]) -> int:
    return len(list(values))


def only_if(value: int, count: int) -> int:
    assert count == 600
    return value


def keyed(value: int) -> tuple[int, int]:
    return 0, value


def save_numbers(key: int, values: Iterable[int], path: str = "") -> None:
    Path(path).write_text(repr(sorted(values)), encoding="utf-8")


class Divide(beam.DoFn):
    """Number -> (its last digit, some hundred bytes), odd ones apart."""

    def process(self, number: int) -> Iterable[Any]:
        pair = number % 10, str(number).encode() * 100
        yield beam.pvalue.TaggedOutput("odd", pair) if number % 2 else pair


def ungroup(element: tuple[int, Iterable[bytes]]) -> Iterable[tuple[int, bytes]]:
    for value in element[1]:
        yield element[0] // 2, value


def size_of(key: int, value: bytes) -> int:
    return len(value)


def sums(key: int, values: Iterable[bytes], total: int = 0) -> tuple[int, int, int]:
    held = list(values)
    return key, sum(map(len, held)) * 1_000 + len(set(held)), total


def first(key: int, values: Iterable[bytes]) -> tuple[int, bytes]:
    return key, min(values)


def alike(text: str) -> tuple[int, str]:
    return 0, text


def save(key: int, texts: Iterable[str], path: str = "") -> None:
    Path(path).write_text("\n".join(sorted(texts)), encoding="utf-8")
