"""``score.json``: what made the scores beside it."""

from pathlib import Path
from typing import Annotated

import msgspec

from schemas.fields import doc

RECORD_NAME = "score.json"
RECORD_VERSION = "1.0.0"


class ScoredBy(msgspec.Struct, frozen=True, kw_only=True):
    """A model that was asked."""

    model: Annotated[str, doc("as given")]
    fingerprint: Annotated[str, doc("of the weights and of how texts are read")]
    commit: Annotated[str | None, doc("of the model on the Hub; null: a folder")]
    reads: Annotated[str, doc("the text around prompt and response")]


class ScoredInput(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was read."""

    name: str
    rows: int
    responses: int
    sha256: str


class ScoredOutput(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was written."""

    path: Annotated[str, doc("in the folder")]
    bytes: int
    sha256: str


class ScoreRecord(msgspec.Struct, frozen=True, kw_only=True):
    """``score.json``: what made the scores beside it."""

    version: Annotated[str, doc("of this layout")] = RECORD_VERSION
    kind: Annotated[str, doc("'reward' or 'logprob'")]
    model: ScoredBy
    reference: ScoredBy | None
    beta: Annotated[float | None, doc("factor of the difference to the reference")]
    per_token: Annotated[bool, doc("whether the score is a mean over tokens")]
    inputs: tuple[ScoredInput, ...]
    outputs: tuple[ScoredOutput, ...]
    truncated: Annotated[int, doc("responses read without a part of them or of their prompt")]
    not_finite: Annotated[int, doc("responses whose score is no finite number: null")]


def summary(record: ScoreRecord, output: Path) -> str:
    """What is said at the end: counts, warnings, and what was written."""
    rows = sum(file.rows for file in record.inputs)
    responses = sum(file.responses for file in record.inputs)
    lines = [f"scored {responses:,} responses of {rows:,} rows, read with {record.model.reads}"]
    if record.truncated:
        lines.append(
            f"warning: {record.truncated:,} were read without a part of them or of their prompt "
            "(--max-length); they are marked as truncated"
        )
    if record.not_finite:
        lines.append(f"warning: {record.not_finite:,} scores are not finite numbers, and null")
    written = [file.path for file in record.outputs]
    shown = written if len(written) < 5 else [*written[:3], f"{len(written) - 3} more"]
    lines.append(f"written: {', '.join([*shown, RECORD_NAME])} in {output}")
    return "\n".join(lines)
