"""Texts of benchmark files, whatever their columns are called."""

import glob
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UsageError
from schemas.small_files import (
    SmallFileError,
    decode_lenient_json,
    decode_text,
    fault_of,
    is_utf8,
    open_rows,
    read_json_lines,
    read_stream,
)
from transforms.dedup.minhash import MinHashRules
from transforms.filters.decontaminate import Benchmarks, read_texts

MAX_BYTES = 256 << 20
"""Of a file that has to be held whole, after decompression."""

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
        for file in files:
            if not is_utf8(str(file)):
                raise UsageError(f"--decontaminate {str(file)!r}: its name is not UTF-8; rename it")
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
    """Every string in a file: prompts, responses, and whatever else stands there.

    Raises UsageError that names the file, and the line where it has lines.
    """
    try:
        with open_rows(path) as file:
            name = path.name.removesuffix(".gz")
            if path.suffix == ".parquet":
                with pq.ParquetFile(file) as table:
                    for batch in table.iter_batches(256):
                        batch.validate(full=True)
                        yield from _strings(batch.to_pylist())
            elif name.endswith(".jsonl"):
                for _, value in read_json_lines(file):
                    yield from _strings(value)
            elif name.endswith(".json"):
                content = read_stream(file, MAX_BYTES)
                yield from _strings(decode_lenient_json(content, max_values=None))
            else:
                yield decode_text(read_stream(file, MAX_BYTES))
    except (OSError, SmallFileError) as error:
        raise UsageError(f"--decontaminate {path}: {fault_of(error)}") from None
    except pa.ArrowMemoryError:  # of which the file may be innocent
        raise
    # What Arrow raises for values that Python has not, such as dates after the year 9999.
    except (ValueError, OverflowError, pa.ArrowException) as error:
        raise UsageError(f"--decontaminate {path}: {error}") from None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        # JSON may escape halves of surrogate pairs, which nothing can be compared with.
        yield value.encode("utf-8", "replace").decode()
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)
