"""The exports there are: for each, its columns, and what makes its rows."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import pyarrow as pa

from pipeline.export.pair_rows import chat_pairs, conversation_pairs, text_pairs, thread_prompts
from pipeline.export.response_rows import labelled_responses, rankings
from pipeline.export.thread_pairs import ThreadPair, conversations
from schemas.arrow import arrow_schema
from schemas.exports import EXPORT_VERSION, EXPORTS, LeftOut

_PROMPT: Final = ("context_ids", "prompt", "prompt_turns")
_TEXTS: Final = (
    *_PROMPT,
    *(f"{side}{end}" for side in ("chosen", "rejected") for end in ("", "_turns")),
)
_MARGIN: Final = "vote_margin"
_RESPONSES: Final = tuple(
    f"{side}_{what}" for side in ("chosen", "rejected") for what in ("id", "score")
)
_DATES: Final = ("chosen_created_at", "rejected_created_at")


class Converted(NamedTuple):
    """What an export makes of a thread."""

    rows: list[Any]
    considered: int
    """Units of the thread."""
    left_out: Counter[LeftOut]
    """Units that are in no row."""


class Convert(Protocol):
    """Makes the rows of a thread."""

    def __call__(self, pairs: Sequence[ThreadPair], /, *, by_pairs: bool = False) -> Converted:
        """``by_pairs``: the scores of different pairs are not to be compared."""


@dataclass(frozen=True)
class Export:
    """One export; its name and row type are in :data:`schemas.exports.EXPORTS`."""

    name: str
    unit: str
    """What is counted: 'pairs', 'responses' or 'prompts'."""
    columns: tuple[str, ...]
    """Columns of pairs that it needs."""
    convert: Convert
    use: str
    """Who reads it, as a sentence without a full stop."""
    distinct: Callable[[Any], Any] | None = None
    """What no two rows of a split share, where there is such a thing; the first of them is kept."""
    repeated: LeftOut = LeftOut.SAME_PROMPT
    """Why the others are left out."""
    units: Callable[[Any], int] = lambda row: 1
    """Units in a row."""
    label: Callable[[Any], bool] | None = None
    """Label of a row, where rows have one."""

    def schema(self, margin: str) -> pa.Schema:
        """Arrow schema of its rows; there is a column `margin` unless ``margin`` is 'none'."""
        schema = arrow_schema(EXPORTS[self.name], version=EXPORT_VERSION)
        if margin == "none" and "margin" in schema.names:
            schema = schema.remove(schema.get_field_index("margin"))
        return schema


def _each_pair(convert: Callable[[Sequence[ThreadPair]], list[Any]]) -> Convert:
    def converted(pairs: Sequence[ThreadPair], /, *, by_pairs: bool = False) -> Converted:
        return Converted(convert(pairs), len(pairs), Counter())

    return converted


def _prompts(pairs: Sequence[ThreadPair], /, *, by_pairs: bool = False) -> Converted:
    return Converted(thread_prompts(pairs), len(conversations(pairs)), Counter())


def _labelled(pairs: Sequence[ThreadPair], /, *, by_pairs: bool = False) -> Converted:
    rows, left_out = labelled_responses(pairs, by_pairs=by_pairs)
    return Converted(rows, count_responses(pairs), left_out)


def _ranked(pairs: Sequence[ThreadPair], /, *, by_pairs: bool = False) -> Converted:
    rows, left_out = rankings(pairs, by_pairs=by_pairs)
    return Converted(rows, count_responses(pairs), left_out)


def count_responses(pairs: Sequence[ThreadPair]) -> int:
    """Count the responses in the pairs of a thread, each once in a conversation."""
    return len(
        {(pair.context_ids, name) for pair in pairs for name in (pair.chosen_id, pair.rejected_id)}
    )


FORMATS: Final[dict[str, Export]] = {
    export.name: export
    for export in (
        Export(
            "trl-pairs",
            "pairs",
            (*_TEXTS, _MARGIN),
            _each_pair(text_pairs),
            "TRL's `RewardTrainer`, `DPOTrainer` and other preference trainers, without a chat "
            "template",
        ),
        Export(
            "trl-chat",
            "pairs",
            (*_TEXTS, _MARGIN),
            _each_pair(chat_pairs),
            "TRL's `RewardTrainer`, `DPOTrainer` and other preference trainers, with the chat "
            "template of the model",
        ),
        Export(
            "kto",
            "responses",
            (*_TEXTS, *_RESPONSES),
            _labelled,
            "TRL's `KTOTrainer`, and whatever wants good and bad responses rather than pairs",
            distinct=lambda row: (row.prompt, row.completion),
            repeated=LeftOut.SAME_RESPONSE,
            label=lambda row: bool(row.label),
        ),
        Export(
            "rankings",
            "responses",
            (*_TEXTS, *_RESPONSES, *_DATES),
            _ranked,
            "listwise losses, best-of-N, rejection sampling, analyses",
            units=lambda row: len(row.responses),
        ),
        Export(
            "prompts",
            "prompts",
            _PROMPT,
            _prompts,
            "TRL's `GRPOTrainer`, online DPO, and whatever else makes its own responses",
            distinct=lambda row: row.prompt,
        ),
        Export(
            "openrlhf",
            "pairs",
            (*_TEXTS, _MARGIN),
            _each_pair(conversation_pairs),
            "OpenRLHF's reward and DPO training, with `--data.apply_chat_template` and no prompt "
            "key",
        ),
    )
}
"""By name, in the order in which they are written."""
