"""Writes the rows of the files with what the models said of their responses."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.checksums import sha256_of_file
from schemas.small_files import SmallFileError, decode_json, fault_of, read_small
from training.durable_files import write_file
from training.errors import SuiteError
from training.evaluation.models import Scored
from training.scoring.candidates import COLUMNS
from training.scoring.columns import (
    Measures,
    best_names,
    best_values,
    column_names,
    column_values,
)
from training.scoring.files import NewColumns, RowFile, write_rows
from training.scoring.record import (
    RECORD_NAME,
    ScoredBy,
    ScoredInput,
    ScoredOutput,
    ScoreRecord,
)
from training.scoring.score_log import read_scores

BEST_FOLDER = "best-of"


class Answers(msgspec.Struct, frozen=True):
    """A model, and where what it said of each file lies."""

    by: ScoredBy
    logs: list[Path]


def write_outputs(
    files: Sequence[RowFile],
    models: Sequence[Answers],
    measures: Measures,
    output: Path,
    *,
    best_of: bool,
) -> ScoreRecord:
    """Write the rows of all files with their scores, and the record of it.

    Args:
        models: one, or a language model and its reference.
        best_of: write the best response of each row, too.
    """
    record = former_record(output)
    former = [] if record is None else [output / one.path for one in record.outputs]
    written: list[Path] = []
    truncated = not_finite = 0
    for place, file in enumerate(files):
        target = output / file.path.name
        counted = _Counted(measures)
        scores = _scores([model.logs[place] for model in models])
        columns = NewColumns(
            column_names(file.form, measures),
            lambda _, scores=scores, counted=counted, file=file: column_values(  # type: ignore[misc]
                file.form, measures, counted.next(scores)
            ),
        )
        write_rows(file.path, target, columns)
        written.append(target)
        truncated += counted.truncated
        not_finite += counted.not_finite
        if best_of:
            target = output / BEST_FOLDER / file.path.name
            target.parent.mkdir(exist_ok=True)
            scores = _scores([model.logs[place] for model in models])
            write_rows(file.path, target, _best_columns(file, measures, scores))
            written.append(target)
    record = ScoreRecord(
        kind="logprob" if measures.logprob else "reward",
        model=models[0].by,
        reference=models[1].by if models[1:] else None,
        beta=measures.beta if measures.reference else None,
        per_token=measures.per_token,
        inputs=tuple(
            ScoredInput(
                name=file.path.name, rows=file.rows, responses=file.responses, sha256=file.sha256
            )
            for file in files
        ),
        outputs=tuple(
            ScoredOutput(
                path=path.relative_to(output).as_posix(),
                bytes=path.stat().st_size,
                sha256=sha256_of_file(path),
            )
            for path in written
        ),
        truncated=truncated,
        not_finite=not_finite,
    )
    # Other scores, or those of other inputs, which no record would name any more.
    for path in set(former) - set(written):
        path.unlink(missing_ok=True)
    write_file(output / RECORD_NAME, msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    return record


def former_record(output: Path) -> ScoreRecord | None:
    """What an earlier run wrote into the folder; None: there was none. Raises SuiteError."""
    path = output / RECORD_NAME
    if not path.exists():
        return None
    try:
        record = decode_json(read_small(path), ScoreRecord)
    except (OSError, SmallFileError) as error:
        raise SuiteError(f"{path}: {fault_of(error)}; name a new --output") from None
    names = [Path(one.path) for one in record.outputs]
    outside = [name for name in names if name.is_absolute() or ".." in name.parts]
    if outside:
        raise SuiteError(f"{path}: {outside[0]} is no file of the folder; name a new --output")
    return record


_Row = list[tuple[Scored, Scored | None]]


def _scores(logs: Sequence[Path]) -> Iterator[_Row]:
    """For each row its responses' scores by the model, and by the reference, if there is one."""
    if len(logs) == 1:
        for row in read_scores(logs[0]):
            yield [(one, None) for one in row]
        return
    for own, reference in zip(read_scores(logs[0]), read_scores(logs[1]), strict=True):
        yield list(zip(own, reference, strict=True))


class _Counted:
    """Counts what is to be warned of."""

    def __init__(self, measures: Measures) -> None:
        self._measures = measures
        self.truncated = self.not_finite = 0

    def next(self, scores: Iterator[_Row]) -> _Row:
        row = next(scores)
        for own, reference in row:
            values = self._measures.of(own, reference)
            self.truncated += bool(values["truncated"])
            self.not_finite += values["score"] is None
        return row


def _best_columns(file: RowFile, measures: Measures, scores: Iterator[_Row]) -> NewColumns:
    """A row has the best response in place of all of them, as it stands in the file."""
    columns = COLUMNS[file.form]

    def make(row: Any) -> list[Any]:
        best, *more = best_values(measures, next(scores))
        assert isinstance(best, int)
        chosen = row["responses"][best] if file.form == "responses" else row[columns[best]]
        return [chosen, best, *more]

    kind = pa.null()
    if file.path.suffix == ".parquet":
        kind = pq.read_schema(file.path).field(columns[0]).type
        kind = kind.value_type if file.form == "responses" else kind
    added = {"response": kind, **best_names(measures)}
    return NewColumns(added, make, dropped=columns, needs=columns)
