"""What happened to the records that did not become pairs: duplicates and rejects."""

from enum import StrEnum
from typing import Annotated

import msgspec

from schemas.fields import arrow_schema, doc

AUDIT_SCHEMA_VERSION = "1.2.0"


class Stage(StrEnum):
    """Steps that can end a record's way, in the order they run."""

    READ = "read"
    ASSEMBLE = "assemble"
    FILTER = "filter"
    LANGUAGE = "language"
    DEDUP = "dedup"
    PAIR = "pair"
    HYDRATE = "hydrate"
    """Only where texts were filled into a dataset of ids and labels."""


class Reason(StrEnum):
    """The closed list of reasons for a reject. A new reason is added here or it does not exist."""

    # read
    UNREADABLE_FILE = "unreadable_file"
    TRUNCATED_FILE = "truncated_file"
    UNUSABLE_MONTH = "unusable_month"
    MALFORMED_ROW = "malformed_row"
    ROW_TOO_LARGE = "row_too_large"
    MISSING_FIELD = "missing_field"
    BAD_VALUE = "bad_value"
    NOT_A_QUESTION_OR_ANSWER = "not_a_question_or_answer"
    TOO_DEEP = "too_deep"
    # assemble
    REPEATED_ID = "repeated_id"
    ORPHAN_RESPONSE = "orphan_response"
    TOO_FEW_RESPONSES = "too_few_responses"
    # filter
    TAKEDOWN = "takedown"
    DELETED = "deleted"
    REMOVED = "removed"
    EMPTY = "empty"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    CLOSED = "closed"
    FLAGGED = "flagged"
    NSFW = "nsfw"
    PINNED = "pinned"
    BOT = "bot"
    SCORE_HIDDEN = "score_hidden"
    SCORE_IMMATURE = "score_immature"
    CONTAMINATED = "contaminated"
    PROMPT_REJECTED = "prompt_rejected"
    # language
    LANGUAGE = "language"
    # dedup
    PROMPT_DUPLICATE = "prompt_duplicate"
    # pair
    SCORE_TOO_LOW = "score_too_low"
    PROMPT_SCORE_TOO_LOW = "prompt_score_too_low"
    EDITED = "edited"
    DELETED_AUTHOR = "deleted_author"
    PROMPT_AUTHOR = "prompt_author"
    STAFF = "staff"
    TOO_NEW = "too_new"
    LINK_POST = "link_post"
    UNDATED_VOTES = "undated_votes"
    NOT_COMPARED = "not_compared"
    SAME_AUTHOR = "same_author"
    TIED = "tied"
    NOT_LATER = "not_later"
    MARGIN_TOO_SMALL = "margin_too_small"
    RATIO_TOO_SMALL = "ratio_too_small"
    GAP_TOO_LONG = "gap_too_long"
    PAIR_CAP = "pair_cap"
    NO_PAIR = "no_pair"
    # hydrate
    TEXT_MISSING = "text_missing"
    NOT_FILLED = "not_filled"


REASON_DOCS: dict[Reason, str] = {
    Reason("unreadable_file"): "the input cannot be used: damaged, not an archive, no Posts.xml",
    Reason("truncated_file"): "the input ends in the middle; what came before is used",
    Reason("unusable_month"): "a month of Reddit whose dump was made before people had voted",
    Reason("malformed_row"): "no well-formed row of XML or JSON, or not in UTF-8",
    Reason("row_too_large"): "larger than a row may be",
    Reason("missing_field"): "a required field is absent or null",
    Reason("bad_value"): "a required field cannot be read",
    Reason("not_a_question_or_answer"): "tag wikis, nominations, notices of the system and such",
    Reason("too_deep"): "a reply to a response, deeper than the recipe's `reply_depth`",
    Reason("repeated_id"): "another copy of this id in the same thread is used",
    Reason("orphan_response"): "its prompt, or the response it replies to, is not in the input",
    Reason(
        "too_few_responses"
    ): "fewer than two responses to the same post are left, so nothing can be paired",
    Reason("takedown"): "named in the takedown list, or by an author who is",
    Reason("deleted"): "its text was deleted by its author",
    Reason("removed"): "its text was removed by the forum",
    Reason("empty"): "no text",
    Reason("too_short"): "fewer characters than the recipe asks for",
    Reason("too_long"): "more characters than the recipe allows",
    Reason("closed"): "closed for one of the recipe's `drop_closed` reasons",
    Reason("flagged"): "more spam or offensive flags than allowed",
    Reason("nsfw"): "marked as not safe for work",
    Reason("pinned"): "put on top by the forum's staff",
    Reason("bot"): "posted by a program",
    Reason("score_hidden"): "the forum did not show its score yet",
    Reason(
        "score_immature"
    ): "its score was read sooner than `min_score_age_hours` after it was posted",
    Reason("contaminated"): "13 words in a row are in a benchmark that `decontaminate` names",
    Reason(
        "prompt_rejected"
    ): "its prompt, or the response it replies to, was rejected in this step",
    Reason("language"): "not in a wanted language, or not surely in one",
    Reason(
        "prompt_duplicate"
    ): "its prompt, or the response it replies to, is a duplicate of another",
    Reason("score_too_low"): "below `min_response_score`",
    Reason("prompt_score_too_low"): "below `min_prompt_score`",
    Reason("edited"): "edited, and the recipe drops edited posts",
    Reason("deleted_author"): "by a deleted account, and the recipe drops these",
    Reason("prompt_author"): "by the author of the prompt, and the recipe drops these",
    Reason("staff"): "by staff, and the recipe drops these",
    Reason("too_new"): "not before `created_before`",
    Reason("link_post"): "shares a link rather than a text, and the recipe drops these",
    Reason("undated_votes"): "the vote mode needs dated votes, and the source has none",
    Reason("not_compared"): "the source states no preference between it and what is left",
    Reason("same_author"): "could only be paired with a response by the same author",
    Reason("tied"): "equal in score to every response it was compared with",
    Reason("not_later"): "the better response is the earlier one, which the recipe does not allow",
    Reason("margin_too_small"): "difference of scores below `min_margin`",
    Reason("ratio_too_small"): "ratio of scores below `min_ratio`",
    Reason("gap_too_long"): "too many days between the responses",
    Reason(
        "pair_cap"
    ): "could be paired, but the thread has as many pairs or compared responses as allowed",
    Reason("no_pair"): "a prompt none of whose responses could be paired",
    Reason("text_missing"): "it is not in the input, or its text is gone there",
    Reason("not_filled"): "its text is there, but no pair of it is whole and as it was",
}
"""What each reason means, for docs/schema.md."""


class Rejected(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """A record that was read and is in no pair."""

    id: Annotated[
        str, doc("post id, or '<file>@<byte offset>' or '<file>:<line>' of a record without one")
    ]
    stage: Annotated[Stage, doc("step that rejected it")]
    reason: Annotated[Reason, doc("closed list, see Reason")]
    detail: Annotated[str, doc("what was found, e.g. the value against the limit; may be ''")] = ""
    record: Annotated[
        str, doc("kind of record: 'post', 'vote', 'user', 'link', 'history', 'file'")
    ] = "post"


class DuplicateRule(StrEnum):
    """How a duplicate was recognised."""

    EXACT = "exact"
    NEAR = "near"
    NEAR_CHAIN = "near_chain"


class Duplicate(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """A post that was removed because another post says the same."""

    removed_id: Annotated[str, doc("post that was removed")]
    kept_id: Annotated[str, doc("post that stays in its place")]
    similarity: Annotated[
        float, doc("exact Jaccard similarity of the two posts' shingle sets, 0 to 1")
    ]
    rule: Annotated[
        DuplicateRule,
        doc(
            "'exact': equal normalised text; 'near': similarity >= threshold; 'near_chain': "
            "linked to the kept post through other near-duplicates"
        ),
    ]


REJECTED_SCHEMA = arrow_schema(Rejected, version=AUDIT_SCHEMA_VERSION)
DUPLICATE_SCHEMA = arrow_schema(Duplicate, version=AUDIT_SCHEMA_VERSION)
