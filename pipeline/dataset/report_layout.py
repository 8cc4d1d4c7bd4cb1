"""The layout of ``report.json``, against which one that comes from outside is checked.

`pipeline.dataset.report` writes it. Every figure may be missing, because older releases wrote
fewer; who needs one says so. Those that are there have the types that pages and cards expect.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from schemas.manifest import Count
from schemas.small_files import convert, decode_json
from schemas.vote_model import VoteModel

Counts = dict[str, Count]
Bin = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,15}(–[0-9]{1,15}|\+)?$")]
"""Of a histogram of whole numbers: ``3``, ``3–5`` or ``101+``."""
Histogram = dict[Bin, Count]
Share = Annotated[str, msgspec.Meta(pattern=r"^[01]\.[0-9]–[01]\.[0-9]$")]


class _Stage(msgspec.Struct):
    stage: str = ""
    entered: Count = 0
    left: Count = 0
    duplicates: Count = 0
    rejected: Counts = {}


class _Report(msgspec.Struct):
    posts: Counts = {}
    funnel: list[_Stage] = []
    pairs: Counts = {}
    threads: Counts = {}
    pairs_by_source: Counts = {}
    pairs_by_site: Counts = {}
    pairs_by_language: Counts = {}
    texts_by_license: Counts = {}
    multi_turn_pairs: Count = 0
    margin: Histogram = {}
    confidence: dict[Share, Count] = {}
    noise_ceiling: dict[str, float | None] = {}
    characters: dict[str, Histogram] = {}
    mean_characters: dict[str, float | None] = {}
    bias: Counts = {}
    vote_model: VoteModel | None = None
    window_votes: Counts = {}
    duplicates_by_rule: Counts = {}
    duplicate_similarity: Counts = {}
    other_records: Counts = {}


def decode_report(content: bytes) -> dict[str, Any]:
    """Decode the bytes of ``report.json``; raises SmallFileError."""
    report = decode_json(content, dict[str, Any])
    convert(report, _Report)
    return report


def missing_figures(report: dict[str, Any], names: Sequence[str]) -> list[str]:
    """Return those of some figures that a report has not; 'a.b' is a figure inside of another."""
    missing = []
    for name in names:
        found: Any = report
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found is None:
            missing.append(name)
    return missing
