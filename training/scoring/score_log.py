"""What a model said of the responses of a file, kept part by part, so that a stop loses little."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from schemas.small_files import SmallFileError, decode_json, open_regular
from training.evaluation.models import Scored


class _Response(msgspec.Struct, frozen=True, array_like=True):
    """What was said of a response; null: not a finite number."""

    reward: float | None
    cut: bool
    tokens: int
    deviation: float | None = None
    """None also where it was not asked for."""


class _Part(msgspec.Struct, frozen=True, array_like=True):
    """A line of the log."""

    rows: list[list[_Response]]
    """For each row and response."""


class ScoreLog:
    """A line per part of a file, in its order. A line that a kill has cut off is dropped."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("ab")
        self.rows = 0
        """How many are scored; they end where a part ends."""
        whole = 0
        for line, part in _lines(path):
            self.rows += len(part.rows)
            whole += len(line)
        self._file.truncate(whole)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, rows: Sequence[Sequence[Scored]]) -> None:
        """Keep the scores of the next part, on disk before the part after it."""
        part = _Part([[_Response(*one) for one in row] for row in rows])
        self._file.write(msgspec.json.encode(part) + b"\n")  # which writes null for nan
        self._file.flush()
        self.rows += len(rows)


def read_scores(path: Path) -> Iterator[list[Scored]]:
    """The scores of each row, in the order of the file that they are of."""
    for _, part in _lines(path):
        for row in part.rows:
            yield [
                Scored(
                    float("nan") if one.reward is None else one.reward,
                    one.cut,
                    one.tokens,
                    one.deviation,
                )
                for one in row
            ]


def _lines(path: Path) -> Iterator[tuple[bytes, _Part]]:
    with open_regular(path) as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                yield line, decode_json(line, _Part, max_values=None)
            except SmallFileError:
                return
