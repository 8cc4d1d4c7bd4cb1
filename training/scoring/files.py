"""Reads rows of JSON Lines and Parquet files, and writes them again with more columns."""

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.checksums import sha256_of_file
from schemas.manifest import MANIFEST_NAME, ManifestError, decode_manifest
from schemas.small_files import SmallFileError, decode_line, open_rows, read_lines, read_small
from training.durable_files import new_file
from training.errors import SuiteError
from training.evaluation.suites.rows import Row, as_row, file_errors
from training.scoring.candidates import (
    COLUMNS,
    Candidates,
    Form,
    find_form,
    read_candidates,
)

SUFFIXES: Final = (".jsonl", ".jsonl.gz", ".parquet")
BATCH_ROWS: Final = 256
"""Of a Parquet file, read at a time."""
GROUP_BYTES: Final = 64 << 20
"""Of a row group in memory, after which another one begins."""
_OF_ANOTHER_SCHEMA: Final = b"huggingface"
"""Metadata of a Parquet file in which `datasets` keeps the columns, which are more now."""

MakeValues = Callable[[Mapping[str, Any]], list[Any]]
"""From a row, as far as it was asked for, to the values of the columns that are added."""


@dataclass(frozen=True)
class RowFile:
    """A file that was read to its end."""

    path: Path
    form: Form
    columns: tuple[str, ...]
    """All of them; of JSON Lines, those of the first row."""
    rows: int
    responses: int
    sha256: str


@dataclass(frozen=True)
class NewColumns:
    """How rows are written again.

    Args:
        added: names and types of the columns at the end.
        make: their values of a row.
        dropped: columns that are left out.
        needs: columns that ``make`` reads.
    """

    added: Mapping[str, pa.DataType]
    make: MakeValues
    dropped: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


def input_files(location: str) -> list[Path]:
    """A file, or those in a folder; of a dataset folder of this project, those of its pairs.

    Raises SuiteError where there are none.
    """
    path = Path(location)
    if path.is_dir():
        folder = _pairs_of(path) if (path / MANIFEST_NAME).exists() else path
        found = sorted(
            one for one in folder.iterdir() if one.name.endswith(SUFFIXES) and one.name[0] != "."
        )
    else:
        folder, found = path, [path] if path.name.endswith(SUFFIXES) else []
    if not found:
        raise SuiteError(f"{folder}: {_why_none(folder)}")
    return found


def _pairs_of(dataset: Path) -> Path:
    """Where a dataset folder of this project has its pairs; raises SuiteError without texts."""
    try:
        manifest = decode_manifest(read_small(dataset / MANIFEST_NAME))
    except (OSError, SmallFileError, ManifestError) as error:
        raise SuiteError(f"{dataset}: {MANIFEST_NAME}: {error}") from None
    if manifest.ids_only:
        raise SuiteError(
            f"{dataset}: holds ids and labels without texts; fill them in first: "
            f"forumprefs hydrate {dataset} --input KIND=PATH --output DIR"
        )
    return dataset / "data"


def _why_none(path: Path) -> str:
    known = ", ".join(SUFFIXES)
    if not path.exists():
        return "no such file or folder"
    if not path.is_dir():
        return f"its name ends in none of {known}, which are what is read"
    below = sorted({one.parent.name for one in path.glob("*/*") if one.name.endswith(SUFFIXES)})
    hint = f"; there are some in {', '.join(below)}: give one of these" if below else ""
    return f"no file in it ends in {known}{hint}"


def look_through(path: Path) -> RowFile:
    """Read a file to its end, and all its candidates; raises SuiteError for what is wrong."""
    columns = _columns_of(path)
    form = find_form(columns, path)
    rows = responses = 0
    for candidates in candidates_of(path, form):
        rows += 1
        responses += len(candidates.responses)
    return RowFile(path, form, columns, rows, responses, sha256_of_file(path))


def _columns_of(path: Path) -> tuple[str, ...]:
    with file_errors(path), open_rows(path) as file:
        if path.suffix == ".parquet":
            with pq.ParquetFile(file) as parquet:
                if parquet.metadata.num_rows:
                    return tuple(parquet.schema_arrow.names)
        for number, line in () if path.suffix == ".parquet" else read_lines(file):
            return tuple(as_row(decode_line(number, line), path, number).values)
    raise SuiteError(f"{path}: no rows to score")


def candidates_of(path: Path, form: Form) -> Iterator[Candidates]:
    """The candidates of each row; raises SuiteError."""
    for row in _rows(path, ("prompt", *COLUMNS[form], "site", "tags")):
        yield read_candidates(row, form)


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[Row]:
    """Rows with at least some columns, as far as the file has them."""
    with file_errors(path), open_rows(path) as file:
        if path.suffix != ".parquet":
            for number, line in read_lines(file):
                yield as_row(decode_line(number, line), path, number)
            return
        place = 0
        with pq.ParquetFile(file) as parquet:
            there = [name for name in columns if name in parquet.schema_arrow.names]
            for batch in parquet.iter_batches(BATCH_ROWS, columns=there):
                batch.validate(full=True)
                for values in batch.to_pylist():
                    place += 1
                    yield Row(values, path, place)


def write_rows(path: Path, target: Path, columns: NewColumns) -> None:
    """Write the rows of a file in their order, with other columns; it appears when it is whole.

    Lines of JSON keep their bytes where no column is dropped. Raises SuiteError for a row that has
    a column of a name that is added.
    """
    with new_file(target) as file:
        if path.suffix == ".parquet":
            _write_parquet(path, file, columns)
            return
        with _compressed(file, target) as opened:
            for number, line in _lines(path):
                row = as_row(decode_line(number, line), path, number)
                opened.write(_line(row, line, columns))


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with file_errors(path), open_rows(path) as file:
        yield from read_lines(file)


@contextmanager
def _compressed(file: BinaryIO, target: Path) -> Iterator[BinaryIO]:
    """The file, through gzip where its name says so; without a time, for equal bytes."""
    if not target.name.endswith(".gz"):
        yield file
        return
    with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as zipped:
        yield cast(BinaryIO, zipped)


def _line(row: Row, line: bytes, columns: NewColumns) -> bytes:
    kept = {name: value for name, value in row.values.items() if name not in columns.dropped}
    if twice := [name for name in columns.added if name in kept]:
        raise row.fail(f"has a column {twice[0]} already; choose another --name")
    added = dict(zip(columns.added, columns.make(row.values), strict=True))
    if columns.dropped:
        return _as_read({**kept, **added}) + b"\n"
    # What comes before the last bracket stays as it was written: numbers, order, spaces.
    return line.rstrip()[:-1].rstrip() + b", " + _json(added)[1:] + b"\n"


def _as_read(values: Mapping[str, Any]) -> bytes:
    """Also NaN, infinities and halves of surrogate pairs as they stood; msgspec writes null."""
    try:
        return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(values, separators=(",", ":")).encode()


def _json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (ValueError, TypeError, OverflowError):  # half a surrogate pair in some other column
        return json.dumps(value).encode()


def _write_parquet(path: Path, file: BinaryIO, columns: NewColumns) -> None:
    with file_errors(path), open_rows(path) as opened, pq.ParquetFile(opened) as parquet:
        names = [one for one in parquet.schema_arrow.names if one not in columns.dropped]
        if twice := [name for name in columns.added if name in names]:
            raise SuiteError(f"{path}: has a column {twice[0]} already; choose another --name")
        whole: pa.Schema = parquet.schema_arrow
        metadata = {k: v for k, v in (whole.metadata or {}).items() if k != _OF_ANOTHER_SCHEMA}
        added = [pa.field(name, kind) for name, kind in columns.added.items()]
        schema = pa.schema([*(whole.field(name) for name in names), *added], metadata)
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            waiting: list[pa.Table] = []
            size = 0
            for batch in parquet.iter_batches(BATCH_ROWS):
                values = [columns.make(row) for row in batch.select(columns.needs).to_pylist()]
                made = [
                    pa.array([row[place] for row in values], field.type)
                    for place, field in enumerate(added)
                ]
                kept = [batch.column(name) for name in names]
                waiting.append(pa.Table.from_arrays([*kept, *made], schema=schema))
                size += waiting[-1].nbytes
                if size >= GROUP_BYTES:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting, size = [], 0
            if waiting:
                writer.write_table(pa.concat_tables(waiting))
