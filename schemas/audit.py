"""What happened to the records that did not become pairs: duplicates and rejects."""

from enum import StrEnum
from typing import Annotated

import msgspec

from schemas.fields import doc

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
    """The closed list of reasons for a reject: its value in the tables, and what it means.

    A new reason is added here or it does not exist.
    """

    meaning: str
    """One line for docs/schema.md and the report."""

    def __new__(cls, value: str, meaning: str = "") -> "Reason":
        """Make a member; ``Reason("edited")`` finds it by its value."""
        reason = str.__new__(cls, value)
        reason._value_ = value
        reason.meaning = meaning
        return reason

    # read
    UNREADABLE_FILE = (
        "unreadable_file",
        "the input cannot be used: damaged, not an archive, no Posts.xml",
    )
    TRUNCATED_FILE = "truncated_file", "the input ends in the middle; what came before is used"
    UNUSABLE_MONTH = (
        "unusable_month",
        "a month of Reddit whose dump was made before people had voted",
    )
    MALFORMED_ROW = "malformed_row", "no well-formed row of XML or JSON, or not in UTF-8"
    ROW_TOO_LARGE = "row_too_large", "larger than a row may be"
    MISSING_FIELD = "missing_field", "a required field is absent or null"
    BAD_VALUE = "bad_value", "a required field cannot be read"
    NOT_A_QUESTION_OR_ANSWER = (
        "not_a_question_or_answer",
        "tag wikis, nominations, notices of the system and such",
    )
    TOO_DEEP = "too_deep", "a reply to a response, deeper than the recipe's `reply_depth`"
    # assemble
    REPEATED_ID = "repeated_id", "another copy of this id in the same thread is used"
    CONTRADICTORY_LABEL = (
        "contradictory_label",
        "copies of it in a preference set are labelled both true and false",
    )
    ORPHAN_RESPONSE = (
        "orphan_response",
        "its prompt, or the response it replies to, is not in the input",
    )
    TOO_FEW_RESPONSES = (
        "too_few_responses",
        "fewer than two responses to the same post are left, so nothing can be paired",
    )
    # filter
    TAKEDOWN = "takedown", "named in the takedown list, or by an author who is"
    DELETED = "deleted", "its text was deleted by its author"
    REMOVED = "removed", "its text was removed by the forum"
    EMPTY = "empty", "no text"
    TOO_SHORT = "too_short", "fewer characters than the recipe asks for"
    TOO_LONG = "too_long", "more characters than the recipe allows"
    CLOSED = "closed", "closed for one of the recipe's `drop_closed` reasons"
    FLAGGED = "flagged", "more spam or offensive flags than allowed"
    NSFW = "nsfw", "marked as not safe for work"
    PINNED = "pinned", "put on top by the forum's staff"
    BOT = "bot", "posted by a program"
    SCORE_HIDDEN = "score_hidden", "the forum did not show its score yet"
    SCORE_IMMATURE = (
        "score_immature",
        "its score was read sooner than `min_score_age_hours` after it was posted",
    )
    CONTAMINATED = "contaminated", "13 words in a row are in a benchmark that `decontaminate` names"
    PROMPT_REJECTED = (
        "prompt_rejected",
        "its prompt, or the response it replies to, was rejected in this step",
    )
    # language
    LANGUAGE = "language", "not in a wanted language, or not surely in one"
    # dedup
    PROMPT_DUPLICATE = (
        "prompt_duplicate",
        "its prompt, or the response it replies to, is a duplicate of another",
    )
    # pair
    SCORE_TOO_LOW = "score_too_low", "below `min_response_score`"
    PROMPT_SCORE_TOO_LOW = "prompt_score_too_low", "below `min_prompt_score`"
    EDITED = "edited", "edited, and the recipe drops edited posts"
    DELETED_AUTHOR = "deleted_author", "by a deleted account, and the recipe drops these"
    PROMPT_AUTHOR = "prompt_author", "by the author of the prompt, and the recipe drops these"
    STAFF = "staff", "by staff, and the recipe drops these"
    TOO_NEW = "too_new", "not before `created_before`"
    LINK_POST = "link_post", "shares a link rather than a text, and the recipe drops these"
    UNDATED_VOTES = "undated_votes", "the vote mode needs dated votes, and the source has none"
    NOT_COMPARED = "not_compared", "the source states no preference between it and what is left"
    SAME_AUTHOR = "same_author", "could only be paired with a response by the same author"
    TIED = "tied", "equal in score to every response it was compared with"
    NOT_LATER = (
        "not_later",
        "the better response is the earlier one, which the recipe does not allow",
    )
    MARGIN_TOO_SMALL = "margin_too_small", "difference of scores below `min_margin`"
    MARGIN_TOO_LARGE = "margin_too_large", "difference of scores above `max_margin`"
    CONFIDENCE_TOO_LOW = "confidence_too_low", "confidence in the label below `min_confidence`"
    RATIO_TOO_SMALL = "ratio_too_small", "ratio of scores below `min_ratio`"
    GAP_TOO_LONG = "gap_too_long", "too many days between the responses"
    PAIR_CAP = (
        "pair_cap",
        "could be paired, but the thread has as many pairs or compared responses as allowed",
    )
    NO_PAIR = "no_pair", "a prompt none of whose responses could be paired"
    # hydrate
    TEXT_MISSING = "text_missing", "it is not in the input, or its text is gone there"
    NOT_FILLED = "not_filled", "its text is there, but no pair of it is whole and as it was"


REASON_DOCS: dict[Reason, str] = {reason: reason.meaning for reason in Reason}
"""What each reason means."""


class Rejected(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """A record that was read and is in no pair."""

    id: Annotated[
        str, doc("post id, or '<file>@<byte offset>' or '<file>:<line>' of a record without one")
    ]
    stage: Annotated[Stage, doc("step that rejected it")]
    reason: Annotated[Reason, doc("closed list, see Reason")]
    detail: Annotated[str, doc("what was found, e.g. the value against the limit; may be ''")] = ""
    record: Annotated[
        str,
        doc(
            "kind of record: 'post', 'vote', 'user', 'link', 'history', 'file'; 'preference': what "
            "the source says of two posts that are in other pairs"
        ),
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
