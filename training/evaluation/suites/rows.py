"""Rows of JSON, JSON Lines (also gzipped) and Parquet files; errors name file, row and column."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.small_files import (
    LineError,
    SmallFileError,
    decode_lenient_json,
    fault_of,
    open_rows,
    read_json_lines,
    read_stream,
)
from training.errors import SuiteError
from training.evaluation.items import ChatMessage

MAX_FILE_BYTES: Final = 512 << 20
"""Of a JSON file, which is held whole."""

SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".parquet")

_TURN = re.compile(r"(?:^\s*|\n\n)(Human|Assistant):[ \t]?")
_SHOWN = 12


class Row:
    """One row of a file.

    Args:
        values: by column.
        path: of the file.
        place: number of the row, from 1, or its key.
    """

    def __init__(self, values: Mapping[str, Any], path: Path, place: int | str) -> None:
        self.values = values
        self.path = path
        self.place = place

    def fail(self, why: str) -> SuiteError:
        """An error that names this row."""
        return SuiteError(f"{self.path}: row {self.place}: {why}")

    def expect(self, *names: str) -> None:
        """Raise SuiteError unless the row has all these columns."""
        missing = [name for name in names if name not in self.values]
        if missing:
            found = ", ".join(sorted(map(str, self.values))[:_SHOWN]) or "none"
            raise self.fail(
                f"no column {', '.join(missing)}; expected {', '.join(names)}, found {found}"
            )

    def get(self, name: str, default: Any = None) -> Any:
        """A column as it is; ``default`` where it is missing or null."""
        value = self.values.get(name)
        return default if value is None else value

    def text(self, name: str) -> str:
        """A column of text."""
        self.expect(name)
        value = self.values[name]
        if not isinstance(value, str):
            raise self.fail(f"{name} is {shown(value)}, expected text")
        return value

    def texts(self, name: str, count: int | None = None) -> list[str]:
        """A column of a list of texts, ``count`` of them."""
        self.expect(name)
        value = self.values[name]
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            raise self.fail(f"{name} is {shown(value)}, expected a list of texts")
        if count is not None and len(value) != count:
            raise self.fail(f"{name} has {len(value)} texts, expected {count}")
        return value

    def number(self, name: str) -> float:
        """A column of a number, also one written as text."""
        self.expect(name)
        value = self.values[name]
        try:
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                raise ValueError
            return float(value)
        except ValueError:
            raise self.fail(f"{name} is {shown(value)}, expected a number") from None

    def choice(self, name: str, meaning: Mapping[str, Any]) -> Any:
        """What a column's value means, by a table of all values that it may have."""
        self.expect(name)
        value = self.values[name]
        found = str(value)
        if found not in meaning:
            raise self.fail(f"{name} is {shown(value)}, expected {' or '.join(meaning)}")
        return meaning[found]

    def messages(self, name: str) -> tuple[ChatMessage, ...]:
        """A column of text, of a transcript, or of messages with role and content."""
        self.expect(name)
        return self.as_messages(self.values[name], name)

    def as_messages(self, value: Any, name: str) -> tuple[ChatMessage, ...]:
        """Turns of a text, of a transcript with ``Human:``, or of a list of messages."""
        if isinstance(value, str):
            return _transcript(value) if _TURN.match(value) else (ChatMessage("user", value),)
        if not isinstance(value, list) or not value:
            raise self.fail(f"{name} is {shown(value)}, expected text or a list of messages")
        found = []
        for turn in value:
            role = turn.get("role") if isinstance(turn, Mapping) else None
            content = turn.get("content") if isinstance(turn, Mapping) else None
            if not isinstance(role, str) or not isinstance(content, str):
                raise self.fail(
                    f"{name} holds {shown(turn)}, expected a message with role and content"
                )
            found.append(ChatMessage(role, content))
        return tuple(found)

    def conversation(self, name: str) -> tuple[tuple[ChatMessage, ...], str]:
        """Turns before the last one, and the text of the last one, which is the assistant's."""
        turns = self.messages(name)
        if len(turns) > 1 and turns[-1].role == "user":
            raise self.fail(f"{name} ends with a turn of the user, expected the assistant's")
        return turns[:-1], turns[-1].content


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of a file by its suffix.

    A JSON file may hold a list of rows, or an object of such lists (their key becomes the
    column ``_key``). Raises SuiteError.
    """
    with file_errors(path), open_rows(path) as file:
        if path.suffix == ".parquet":
            yield from _parquet(file, path)
        elif path.name.removesuffix(".gz").endswith(".jsonl"):
            for place, values in read_json_lines(file):
                yield as_row(values, path, place)
        else:
            content = read_stream(file, MAX_FILE_BYTES)
            yield from _lists(decode_lenient_json(content, max_values=None), path)


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn what reading a file raises into a SuiteError that names it."""
    try:
        yield
    except LineError as error:
        raise SuiteError(f"{path}: row {error.line}: {error.why}") from None
    except (OSError, SmallFileError) as error:
        raise SuiteError(f"{path}: {fault_of(error)}") from None
    except pa.ArrowMemoryError:  # of which the file may be innocent
        raise
    # What Arrow raises for values that Python has not, such as dates after the year 9999.
    except (ValueError, OverflowError, pa.ArrowException) as error:
        raise SuiteError(f"{path}: {error}") from None


def _parquet(file: BinaryIO, path: Path) -> Iterator[Row]:
    place = 0
    with pq.ParquetFile(file) as parquet:
        for batch in parquet.iter_batches(256):
            batch.validate(full=True)
            for values in batch.to_pylist():
                place += 1
                yield Row(values, path, place)


def _lists(content: Any, path: Path) -> Iterator[Row]:
    if isinstance(content, Mapping) and all(isinstance(rows, list) for rows in content.values()):
        for key, rows in content.items():
            for place, values in enumerate(rows, start=1):
                row = as_row(values, path, f"{key}[{place}]")
                yield Row({"_key": key, **row.values}, path, row.place)
        return
    if not isinstance(content, list):
        raise SuiteError(f"{path}: {shown(content)}, expected a list of rows")
    for place, values in enumerate(content, start=1):
        yield as_row(values, path, place)


def as_row(values: Any, path: Path, place: int | str) -> Row:
    """A row of a file; raises SuiteError where its JSON is no object."""
    if not isinstance(values, Mapping):
        raise SuiteError(f"{path}: row {place}: {shown(values)}, expected an object")
    return Row(values, path, place)


def _transcript(text: str) -> tuple[ChatMessage, ...]:
    parts: Sequence[str] = _TURN.split(text)[1:]
    roles = {"Human": "user", "Assistant": "assistant"}
    return tuple(
        ChatMessage(roles[role], said.strip())
        for role, said in zip(parts[::2], parts[1::2], strict=True)
    )


def shown(value: Any) -> str:
    """The beginning of a value, for messages."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:59]}…"
