"""Texts of benchmark files, whatever their columns are called."""

import glob
import gzip
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UsageError
from transforms.dedup.minhash import MinHashRules
from transforms.filters.decontaminate import Benchmarks, read_texts

SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".parquet", ".txt", ".md")


def find_benchmark_files(places: tuple[str, ...]) -> list[Path]:
    """List the files at each place: a file, a folder or a pattern.

    Raises UsageError for a place without any.
    """
    found: list[Path] = []
    for place in places:
        path = Path(place)
        if path.is_dir():
            names = [file for file in path.rglob("*") if file.is_file()]
        elif path.is_file():
            names = [path]
        else:
            names = [Path(name) for name in glob.glob(place, recursive=True)]  # noqa: PTH207
        files = sorted(file for file in names if file.name.endswith(SUFFIXES))
        if not files:
            raise UsageError(
                f"--decontaminate {place}: no file there ends in {', '.join(SUFFIXES)}"
            )
        found += files
    return sorted(set(found))


def read_benchmarks(places: tuple[str, ...], rules: MinHashRules) -> Benchmarks | None:
    """Read every text in the files at some places; None: there are no places.

    Raises UsageError naming the file.
    """
    if not places:
        return None
    paths = find_benchmark_files(places)
    return read_texts(
        ((name, texts_of(path)) for name, path in zip(names_of(paths), paths, strict=True)), rules
    )


def names_of(paths: Sequence[Path]) -> list[str]:
    """A name for each file, with its folder where several are called the same."""
    counts = Counter(path.name for path in paths)
    return [
        path.name if counts[path.name] == 1 else f"{path.parent.name}/{path.name}" for path in paths
    ]


def texts_of(path: Path) -> Iterator[str]:
    """Every string in a file: prompts, responses, and whatever else stands there."""
    try:
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as table:
                for batch in table.iter_batches(256):
                    yield from _strings(batch.to_pylist())
            return
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8") as file:
            name = path.name.removesuffix(".gz")
            if name.endswith(".jsonl"):
                for line in file:
                    if line.strip():
                        yield from _strings(json.loads(line))
            elif name.endswith(".json"):
                yield from _strings(json.load(file))
            else:
                yield file.read()
    except (OSError, EOFError, ValueError, pa.ArrowInvalid) as error:
        raise UsageError(f"--decontaminate {path}: {error}") from None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
