"""What ``forumprefs export`` writes: a row type for each export, and the manifest beside them.

The columns are those that trainers read, and no others: what a trainer finds besides, it may take
for something of its own.
"""

import re
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from schemas.fields import doc, timestamps
from schemas.manifest import Count
from schemas.pair import SPLITS, Message
from schemas.small_files import SmallFileError, decode_json

EXPORT_VERSION = "1.0.0"
"""Version of the columns below and of the manifest's layout."""

EXPORT_MANIFEST_NAME = "export.json"

MARGINS = ("none", "log")
"""What `--margin` can be: no column, or log(1 + vote_margin)."""

_Messages = tuple[Message, ...]
_PROMPT = "the prompt as messages: 'user' first and last, roles alternate"
_CHOSEN = "the preferred response as one 'assistant' message"
_REJECTED = "the other response as one 'assistant' message"
_MARGIN = "log(1 + vote_margin), natural, > 0, 6 digits; only with `--margin log`"


class TextPair(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A pair as text."""

    prompt: Annotated[
        str, doc("Markdown, ends in a blank line, so that prompt + response are two paragraphs")
    ]
    chosen: Annotated[str, doc("preferred response, Markdown")]
    rejected: Annotated[str, doc("other response, Markdown")]
    margin: Annotated[float, doc(_MARGIN)] = 0.0


class ChatPair(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A pair as messages."""

    prompt: Annotated[_Messages, doc(_PROMPT)]
    chosen: Annotated[_Messages, doc(_CHOSEN)]
    rejected: Annotated[_Messages, doc(_REJECTED)]
    margin: Annotated[float, doc(_MARGIN)] = 0.0


class LabelledResponse(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A response that is good or bad."""

    prompt: Annotated[_Messages, doc(_PROMPT)]
    completion: Annotated[_Messages, doc("the response as one 'assistant' message")]
    label: Annotated[bool, doc("true: among the better responses to its prompt; false: the worse")]


class Ranking(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """All responses to a prompt, best first; the lists of them are of one length, at least 2."""

    thread_id: Annotated[str, doc("the dataset's name for the thread, e.g. '<site>:<question id>'")]
    context_ids: Annotated[
        tuple[str, ...],
        doc(
            "responses between the thread's prompt and these, outermost first, by which rows of a "
            "thread differ; empty for most"
        ),
    ]
    prompt: Annotated[_Messages, doc(_PROMPT)]
    responses: Annotated[tuple[str, ...], doc("responses, Markdown, best first")]
    scores: Annotated[
        tuple[float, ...],
        doc(
            "score under the recipe's vote mode; where responses have none of their own, the tie "
            "groups below theirs"
        ),
    ]
    tie_groups: Annotated[
        tuple[int, ...], doc("0: best; equal for responses of which none is better; no gaps")
    ]
    response_ids: Annotated[tuple[str, ...], doc("'<site>:<id>' of each response")]
    created_at: Annotated[
        tuple[int, ...],
        timestamps("when each response was posted, UTC; 1970-01-01 where the source does not say"),
    ]


class DistinctPrompt(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A prompt by itself, once in a split."""

    prompt: Annotated[_Messages, doc(_PROMPT)]


class ConversationPair(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A pair as two whole conversations."""

    chosen: Annotated[_Messages, doc("the prompt's messages and the preferred response's")]
    rejected: Annotated[_Messages, doc("the prompt's messages and the other response's")]
    margin: Annotated[float, doc(_MARGIN)] = 0.0


EXPORTS: Final[dict[str, type[msgspec.Struct]]] = {
    "trl-pairs": TextPair,
    "trl-chat": ChatPair,
    "kto": LabelledResponse,
    "rankings": Ranking,
    "prompts": DistinctPrompt,
    "openrlhf": ConversationPair,
}
"""Rows of each export, by the name that `--to` takes."""


class LeftOut(StrEnum):
    """Why something of a dataset is not in an export."""

    MIDDLE = "middle"
    WON_AND_LOST = "won_and_lost"
    UNSUPPORTED = "unsupported"
    SAME_TEXT = "same_text"
    SAME_RESPONSE = "same_response"
    CIRCULAR = "circular"
    NO_COUNTERPART = "no_counterpart"
    SAME_PROMPT = "same_prompt"


LEFT_OUT_DOCS: Final[dict[LeftOut, str]] = {
    LeftOut.MIDDLE: "`kto`: its score is the median of its thread's, and there are better and "
    "worse ones",
    LeftOut.WON_AND_LOST: "`kto`: it is chosen in some pairs and rejected in others, and has no "
    "score of its own",
    LeftOut.UNSUPPORTED: "`kto`: its score is above the median, but no pair chooses it; or below, "
    "and no pair rejects it",
    LeftOut.SAME_TEXT: "`kto`: its text is that of another response to the prompt; where the two "
    "have different labels, both are left out",
    LeftOut.SAME_RESPONSE: "`kto`: the split has the prompt with this response already, from "
    "another thread; the label of the first in the dataset's order stands",
    LeftOut.CIRCULAR: "`rankings`: it is in a circle of preferences (a > b > c > a), which no "
    "order agrees with",
    LeftOut.NO_COUNTERPART: "`kto`, `rankings`: nothing is left that it is better or worse than",
    LeftOut.SAME_PROMPT: "`prompts`: the split has the prompt already",
}


class ExportShard(msgspec.Struct, frozen=True, kw_only=True):
    """One Parquet file of an export."""

    path: Annotated[str, doc("relative to the folder, with '/'")]
    export: Annotated[str, doc("name of the export")]
    split: Annotated[str, doc("'train', 'validation' or 'test'")]
    rows: Annotated[int, doc("rows in the file, > 0", ge=0)]
    bytes: Annotated[int, doc("size of the file", ge=0)]
    sha256: Annotated[str, doc("hex digest of the file")]


class ExportCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a dataset in an export: considered = written + sum(left_out)."""

    name: Annotated[str, doc("name of the export")]
    unit: Annotated[str, doc("what is counted: 'pairs', 'responses' or 'prompts'")]
    considered: Annotated[int, doc("units in the dataset's splits that were exported", ge=0)]
    written: Annotated[int, doc("units in the rows", ge=0)]
    left_out: Annotated[dict[str, Count], doc("units that are not, by LeftOut")]
    rows: Annotated[dict[str, Count], doc("rows by split")]
    labels: Annotated[dict[str, Count], doc("`kto`: rows by label; else empty")] = {}


class ExportManifest(msgspec.Struct, frozen=True, kw_only=True):
    """``export.json``. Holds no clock, name or path: equal inputs and options, equal bytes."""

    export_version: Annotated[str, doc("version of this layout and of the columns")]
    source_manifest_sha256: Annotated[str, doc("hex digest of the dataset's manifest.json")]
    source_pair_schema_version: Annotated[str, doc("version of the dataset's pair columns")]
    margin: Annotated[str, doc("'none' or 'log'")]
    splits: Annotated[tuple[str, ...], doc("splits that were exported")]
    versions: Annotated[dict[str, str], doc("packages whose version can change output bytes")]
    publishable: Annotated[bool, doc("as the dataset's manifest says")]
    not_publishable_because: Annotated[tuple[str, ...], doc("as the dataset's manifest says")]
    exports: Annotated[tuple[ExportCounts, ...], doc("what became of the dataset in each")]
    shards: Annotated[tuple[ExportShard, ...], doc("every Parquet file, ordered by path")]


_SHARD_PATH = re.compile(
    rf"({'|'.join(EXPORTS)})/({'|'.join(SPLITS)})-[0-9]{{5}}-of-[0-9]{{5}}\.parquet", re.ASCII
)


def decode_exports(content: bytes) -> ExportManifest:
    """Decode and check the bytes of ``export.json``; raises SmallFileError.

    It comes from outside, and the files that it names are sent to others.
    """
    manifest = decode_json(content, ExportManifest)
    if manifest.export_version.partition(".")[0] != EXPORT_VERSION.partition(".")[0]:
        raise SmallFileError(
            f"has version {manifest.export_version:.20}, and this forumprefs reads {EXPORT_VERSION}"
        )
    seen: set[str] = set()
    for shard in manifest.shards:
        match = _SHARD_PATH.fullmatch(shard.path)
        if match is None or match.groups() != (shard.export, shard.split) or shard.path in seen:
            raise SmallFileError(f"{shard.path!r:.60} is no valid path of a shard, or there twice")
        seen.add(shard.path)
    names = [counts.name for counts in manifest.exports]
    if set(names) != {shard.export for shard in manifest.shards} or len(set(names)) != len(names):
        raise SmallFileError("its exports are not those of its shards")
    rows: dict[tuple[str, str], int] = {}
    for shard in manifest.shards:
        key = shard.export, shard.split
        rows[key] = rows.get(key, 0) + shard.rows
    for counts in manifest.exports:
        if counts.rows != {split: n for (name, split), n in rows.items() if name == counts.name}:
            raise SmallFileError(f"the rows of {counts.name} are not those of its shards")
    return manifest
