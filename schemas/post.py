"""The source-neutral rows between reader and pairing: a Post, and a Thread of them.

Every forum reader produces these and nothing after the reader knows which forum a row
came from. If a later step needs to, a field is missing here.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import msgspec

from schemas.fields import doc, timestamp

DAY_MS = 86_400_000
"""Milliseconds per day: ``created_at // DAY_MS`` is the UTC day number of vote dates."""

WITHOUT_LICENSE = ("NOASSERTION", "NONE", "LicenseRef-Reddit-User-Agreement")
"""Values of ``license`` by which a text may not be published: SPDX's words for a licence that
nobody has stated and for none at all, and an agreement between a forum and its users."""


class ClosedAs(StrEnum):
    """Why a prompt was closed by its forum."""

    DUPLICATE = "duplicate"
    OFF_TOPIC = "off_topic"
    UNCLEAR = "unclear"
    TOO_BROAD = "too_broad"
    OPINION = "opinion"
    TOO_LOCALIZED = "too_localized"
    SPAM = "spam"
    UNKNOWN = "unknown"


class RemovedAs(StrEnum):
    """Why the text of a post is no longer there."""

    DELETED = "deleted"
    """By its author."""
    REMOVED = "removed"
    """By the forum."""


class Post(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """One prompt (a question, a submission) or one response to it (an answer, a comment)."""

    id: Annotated[str, doc("'<host>:<id in the source>', unique over all sources")]
    thread_id: Annotated[str, doc("id of the thread's prompt; equal to `id` for a prompt")]
    parent_id: Annotated[
        str | None,
        doc("for a reply to a response: id of that response; None: answers the prompt itself"),
    ] = None
    source: Annotated[str, doc("kind of forum, e.g. 'stackexchange'")]
    site: Annotated[
        str,
        doc("host name, with the community where a host has many, e.g. 'reddit.com/r/AskMen'"),
    ]
    url: Annotated[str, doc("public link to the post; '' when there is none")]
    title: Annotated[str, doc("title of a prompt, plain text; '' for a response")] = ""
    text: Annotated[str, doc("body in `markup`; Markdown after the text step")]
    markup: Annotated[str, doc("'html' or 'markdown': what `text` is written in")] = "html"
    tags: Annotated[tuple[str, ...], doc("topic tags of a prompt; () for a response")] = ()
    is_link: Annotated[bool, doc("prompt that shares a link rather than a text")] = False
    created_at: Annotated[
        int, timestamp("when it was posted, ms since epoch, UTC; 0: the source does not say")
    ]
    edited_at: Annotated[int | None, timestamp("last edit of the text; None: never edited")] = None
    score: Annotated[int, doc("upvotes − downvotes as the source reports it; may be negative")]
    upvotes: Annotated[
        int | None, doc("undated upvotes; None: only the score, or `up_days`, is known")
    ] = None
    downvotes: Annotated[
        int | None, doc("undated downvotes; None exactly when `upvotes` is None")
    ] = None
    score_hidden: Annotated[bool, doc("the forum did not show the score yet")] = False
    score_seen_at: Annotated[
        int | None, timestamp("when the score was read, ms since epoch, UTC; None: unknown")
    ] = None
    preferred_to: Annotated[
        tuple[str, ...] | None,
        doc(
            "ids of the responses that the source itself says this one is better than, and of "
            "those that it says are as good; None: the source gives votes or ratings instead"
        ),
    ] = None
    rating: Annotated[
        float | None,
        doc(
            "how good the source itself says a response is, on any scale of its own, which "
            "`score` rounds; None: the source does not rate"
        ),
    ] = None
    accepted: Annotated[bool, doc("response accepted by the prompt's author")] = False
    accepted_day: Annotated[
        int | None, doc("UTC day number of the acceptance; None: unknown or not accepted")
    ] = None
    up_days: Annotated[
        tuple[int, ...] | None,
        doc("sorted UTC day numbers of the upvotes; None: the source has no dated votes"),
    ] = None
    down_days: Annotated[
        tuple[int, ...] | None,
        doc("sorted UTC day numbers of the downvotes; None exactly when `up_days` is None"),
    ] = None
    flags: Annotated[int, doc("spam and offensive flags that the source reports, >= 0")] = 0
    author_id: Annotated[
        str | None, doc("'<host>:u<id>'; None: account deleted or never known")
    ] = None
    author: Annotated[str, doc("display name; '' when the source has none")] = ""
    author_url: Annotated[str | None, doc("public profile; None without an account")] = None
    by_staff: Annotated[bool, doc("posted in a moderator's or employee's role")] = False
    by_bot: Annotated[bool, doc("posted by a program")] = False
    pinned: Annotated[bool, doc("put on top by the forum's staff")] = False
    nsfw: Annotated[bool, doc("marked as not safe for work")] = False
    removed_as: Annotated[RemovedAs | None, doc("why the text is gone; None: it is there")] = None
    license: Annotated[
        str, doc("licence of the text, SPDX id where one exists; 'NOASSERTION': unknown")
    ]
    closed_as: Annotated[ClosedAs | None, doc("why a prompt was closed; None: open")] = None
    accepted_response_id: Annotated[
        str | None, doc("for a prompt: id of the response its author accepted")
    ] = None
    language: Annotated[str, doc("ISO 639 code from the language step; '' before it")] = ""

    @property
    def is_prompt(self) -> bool:
        return self.id == self.thread_id

    @property
    def is_judged(self) -> bool:
        """Whether the source itself says how good it is, beside or instead of votes."""
        return self.preferred_to is not None or self.rating is not None


class Thread(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """A prompt with its responses, ordered by (created_at, id)."""

    prompt: Annotated[Post, doc("the question or submission")]
    responses: Annotated[
        tuple[Post, ...],
        doc("responses and, with `parent_id`, replies to them, ordered by (created_at, id)"),
    ]

    @property
    def id(self) -> str:
        return self.prompt.id


def prompt_text(prompt: Post) -> str:
    """Title and body as one prompt: WorldPM's form (arXiv 2505.10527, appendix E)."""
    return f"{prompt.title}\n\n{prompt.text}" if prompt.title else prompt.text


TURN_BREAK = "\n\n---\n\n"
"""Between the turns of a conversation in one string: a Markdown thematic break."""


def conversation_text(prompt: Post, context: Sequence[Post]) -> str:
    """The prompt and the responses below it that lead to a reply, outermost first, as one text."""
    return TURN_BREAK.join([prompt_text(prompt), *(post.text for post in context)])
