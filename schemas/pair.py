"""The output row: one (prompt, chosen, rejected) pair with everything needed to defend it."""

from typing import Annotated

import msgspec

from schemas.fields import doc, timestamp
from schemas.ids import hash63

PAIR_SCHEMA_VERSION = "2.1.0"
"""Version of `Pair`: major for a removed, renamed or re-typed column, minor for a new one."""

READ_MAJOR_VERSIONS = (1, 2)
"""Major versions of `Pair` that are read: what was renamed since is found under its former name."""

SPLITS = ("train", "validation", "test")


class Message(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One turn of a conversation, in the form chat templates take."""

    role: Annotated[str, doc("'user' or 'assistant'")]
    content: Annotated[str, doc("Markdown")]


class Pair(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A preference pair.

    No column has a name that a trainer takes for one of its own, but for `prompt`, `chosen` and
    `rejected`, which they take for what these are (docs/trainers.md).
    """

    pair_id: Annotated[str, doc("'<thread_id>/<chosen id>><rejected id>', ids without the site")]
    source: Annotated[str, doc("kind of forum, e.g. 'stackexchange'")]
    site: Annotated[str, doc("host name of the forum, with the community where it has many")]
    thread_id: Annotated[str, doc("'<site>:<question id>'")]
    split: Annotated[
        str, doc("'train', 'validation' or 'test'; equal over threads that share text")
    ]
    language: Annotated[str, doc("language of the prompt, ISO 639 code by fastText lid.176")]
    prompt: Annotated[
        str,
        doc(
            "title, blank line, body; Markdown. Where the responses reply to a response, the "
            "conversation above them follows, turns divided by a line '---'"
        ),
    ]
    chosen: Annotated[str, doc("preferred response, Markdown")]
    rejected: Annotated[str, doc("other response, Markdown")]
    prompt_turns: Annotated[
        tuple[Message, ...] | None,
        doc(
            "the prompt in turns: begins and ends with 'user', roles alternate, so a first reply "
            "is joined to the prompt where the number of turns asks for it; null unless the "
            "recipe's `conversational` is on"
        ),
    ] = None
    chosen_turns: Annotated[
        tuple[Message, ...] | None, doc("`chosen` as one 'assistant' turn; null as above")
    ] = None
    rejected_turns: Annotated[
        tuple[Message, ...] | None, doc("`rejected` as one 'assistant' turn; null as above")
    ] = None
    text_hash: Annotated[
        int, doc("63-bit XXH3 of prompt, chosen and rejected, each ended by a zero byte")
    ]
    chosen_score: Annotated[float, doc("score under the recipe's vote mode; any sign")]
    rejected_score: Annotated[float, doc("score under the recipe's vote mode; any sign")]
    vote_margin: Annotated[float, doc("chosen_score − rejected_score, > 0")]
    window_chosen_score: Annotated[
        int | None,
        doc("votes dated after both responses existed (up − down); null without dated votes"),
    ]
    window_rejected_score: Annotated[
        int | None,
        doc("votes dated after both responses existed (up − down); null without dated votes"),
    ]
    confidence: Annotated[
        float,
        doc(
            "probability, 0 to 1, from the votes alone, that later votes put the chosen response "
            "ahead; below 0.5 the votes, weighted by when they were cast, point against the label; "
            "1 where the source states the preference and has no votes; under `votes: debiased` "
            "the probability that the chosen response is better, by the vote model"
        ),
    ]
    debiased_margin: Annotated[
        float | None,
        doc(
            "how much better the chosen response is by the vote model, in log-odds "
            "(docs/labels.md); below 0 it points against the label; null where the run has no vote "
            "model, or the source states the preference"
        ),
    ] = None
    debiased_standard_error: Annotated[
        float | None, doc("standard deviation of `debiased_margin` in the posterior; null as above")
    ] = None
    chosen_is_accepted: Annotated[bool, doc("accepted by the prompt's author")]
    rejected_is_accepted: Annotated[bool, doc("accepted by the prompt's author")]
    tags: Annotated[tuple[str, ...], doc("topic tags of the prompt")]
    prompt_id: Annotated[str, doc("'<site>:<id>' of the prompt")]
    prompt_created_at: Annotated[int, timestamp("when the prompt was posted, UTC")]
    prompt_url: Annotated[str, doc("link to the prompt")]
    prompt_author: Annotated[str, doc("display name; '' when the source has none")]
    prompt_author_url: Annotated[str | None, doc("profile; null for deleted accounts")]
    prompt_license: Annotated[str, doc("licence of the prompt's text")]
    context_ids: Annotated[
        tuple[str, ...],
        doc("responses between the prompt and these two, outermost first; empty for most pairs"),
    ] = ()
    context_urls: Annotated[tuple[str, ...], doc("links to them")] = ()
    context_authors: Annotated[tuple[str, ...], doc("their display names")] = ()
    context_licenses: Annotated[tuple[str, ...], doc("licences of their texts")] = ()
    chosen_id: Annotated[str, doc("'<site>:<id>' of the chosen response")]
    chosen_created_at: Annotated[int, timestamp("when the chosen response was posted, UTC")]
    chosen_url: Annotated[str, doc("link to the chosen response")]
    chosen_author: Annotated[str, doc("display name; '' when the source has none")]
    chosen_author_url: Annotated[str | None, doc("profile; null for deleted accounts")]
    chosen_license: Annotated[str, doc("licence of the chosen response's text")]
    rejected_id: Annotated[str, doc("'<site>:<id>' of the rejected response")]
    rejected_created_at: Annotated[int, timestamp("when the rejected response was posted, UTC")]
    rejected_url: Annotated[str, doc("link to the rejected response")]
    rejected_author: Annotated[str, doc("display name; '' when the source has none")]
    rejected_author_url: Annotated[str | None, doc("profile; null for deleted accounts")]
    rejected_license: Annotated[str, doc("licence of the rejected response's text")]


FORMER_NAMES = {
    "margin": "vote_margin",
    "prompt_messages": "prompt_turns",
    "chosen_messages": "chosen_turns",
    "rejected_messages": "rejected_turns",
}
"""Columns of version 1, and what they are called now: trainers took them for columns of theirs."""

SINCE_1_1 = (
    *("prompt_turns", "chosen_turns", "rejected_turns", "text_hash"),
    *("context_ids", "context_urls", "context_authors", "context_licenses"),
)
"""Columns that version 1.0 did not have."""

SINCE_2_1 = ("debiased_margin", "debiased_standard_error")
"""Columns that versions before 2.1 did not have."""

TEXT_COLUMNS = (
    "prompt",
    "chosen",
    "rejected",
    "prompt_turns",
    "chosen_turns",
    "rejected_turns",
)
"""What a dataset of ids and labels does not have."""


def stored_columns(version: str) -> dict[str, str]:
    """Return what the columns of a version are called there, by their names now.

    Raises ValueError where ``version`` does not begin with two numbers, as in '1.0.0'.
    """
    major, minor = map(int, version.split(".")[:2])
    former = {new: old for old, new in FORMER_NAMES.items()} if major == 1 else {}
    return {
        name: former.get(name, name)
        for name in Pair.__struct_fields__
        if ((major, minor) >= (1, 1) or name not in SINCE_1_1)
        and ((major, minor) >= (2, 1) or name not in SINCE_2_1)
    }


def text_hash(prompt: str, chosen: str, rejected: str) -> int:
    """Return the hash that says whether two rows hold the same three texts."""
    return hash63(f"{prompt}\0{chosen}\0{rejected}\0")
