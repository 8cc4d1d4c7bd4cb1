"""The output row: one (prompt, chosen, rejected) pair with everything needed to defend it."""

from typing import Annotated

import msgspec

from schemas.fields import arrow_schema, doc, timestamp

PAIR_SCHEMA_VERSION = "1.0.0"
"""Version of `Pair`: major for a removed, renamed or re-typed column, minor for a new one."""

SPLITS = ("train", "validation", "test")


class Pair(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A preference pair. `prompt`, `chosen`, `rejected` are TRL's implicit-prompt-free format."""

    pair_id: Annotated[str, doc("'<thread_id>/<chosen id>><rejected id>', ids without the site")]
    source: Annotated[str, doc("kind of forum, e.g. 'stackexchange'")]
    site: Annotated[str, doc("host name of the forum")]
    thread_id: Annotated[str, doc("'<site>:<question id>'")]
    split: Annotated[str, doc("'train', 'validation' or 'test'; equal over a question cluster")]
    language: Annotated[str, doc("language of the prompt, ISO 639 code by fastText lid.176")]
    prompt: Annotated[str, doc("title, blank line, body; Markdown")]
    chosen: Annotated[str, doc("preferred response, Markdown")]
    rejected: Annotated[str, doc("other response, Markdown")]
    chosen_score: Annotated[float, doc("score under the recipe's vote mode; any sign")]
    rejected_score: Annotated[float, doc("score under the recipe's vote mode; any sign")]
    margin: Annotated[float, doc("chosen_score − rejected_score, > 0")]
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
            "ahead; below 0.5 the votes, weighted by when they were cast, point against the label"
        ),
    ]
    chosen_is_accepted: Annotated[bool, doc("accepted by the prompt's author")]
    rejected_is_accepted: Annotated[bool, doc("accepted by the prompt's author")]
    tags: Annotated[tuple[str, ...], doc("topic tags of the prompt")]
    prompt_id: Annotated[str, doc("'<site>:<id>' of the prompt")]
    prompt_created_at: Annotated[int, timestamp("when the prompt was posted, UTC")]
    prompt_url: Annotated[str, doc("link to the prompt")]
    prompt_author: Annotated[str, doc("display name; '' when the source has none")]
    prompt_author_url: Annotated[str | None, doc("profile; null for deleted accounts")]
    prompt_license: Annotated[str, doc("licence of the prompt's text")]
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


PAIR_SCHEMA = arrow_schema(Pair, version=PAIR_SCHEMA_VERSION)
