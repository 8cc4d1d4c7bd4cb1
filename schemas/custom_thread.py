"""The input schema for anyone's own forum: one row per thread, as JSON Lines or Parquet.

These structs say what the fields are called and mean; docs/threads.md is made from them, and
:mod:`transforms.readers.custom_threads.rows` turns rows into posts and says what is wrong with
a row.
"""

from typing import Annotated

import msgspec

from schemas.fields import STRING, doc, stored_as, timestamp

THREAD_FORMAT = "forumprefs.thread/1"
"""Name and version; the number grows when a row that was valid no longer is, or changes meaning."""

FREE_PREFIX = "x_"
"""Fields whose names begin so are the user's own: never read, never an error."""

Time = str | int | float
"""ISO 8601, UTC unless it has an offset, or a number of seconds, or thousandths, millionths or
billionths of one, since 1970-01-01 UTC."""

Key = str | int
"""An id as a database has it; 7.0 and decimals are integers."""

_TIME = "ISO 8601 (UTC unless it has an offset), or a number since 1970"


def _key(description: str) -> msgspec.Meta:
    return stored_as(STRING, description)


class VoteCount(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Votes of one day on one response."""

    date: Annotated[Time, timestamp(f"when they were cast; the UTC day counts; {_TIME}")]
    value: Annotated[int, doc("1: upvotes, -1: downvotes")]
    count: Annotated[int, doc("how many, 1 or more")] = 1


class CustomPost(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What prompts and responses have in common."""

    id: Annotated[Key, _key("id in your database, text or integer; without `#`")]
    text: Annotated[str, doc("body, in `markup`")]
    markup: Annotated[str, doc("'markdown' (plain text too) or 'html'")] = "markdown"
    url: Annotated[str, doc("public link to the post")] = ""
    created_at: Annotated[
        Time | None, timestamp(f"when it was posted: {_TIME}; absent: unknown")
    ] = None
    edited_at: Annotated[Time | None, timestamp("last edit of the text, as `created_at`")] = None
    author: Annotated[str, doc("display name")] = ""
    author_id: Annotated[
        Key | None,
        _key("account, text or integer; absent: `author`. Neither: the account is gone"),
    ] = None
    author_url: Annotated[str | None, doc("public profile")] = None
    by_staff: Annotated[bool, doc("posted in a moderator's or employee's role")] = False
    by_bot: Annotated[bool, doc("posted by a program")] = False


class CustomResponse(CustomPost, frozen=True, gc=False, kw_only=True):
    """One response of a thread. Its id must be unique in its thread.

    Its votes are one of `score`, `upvotes` with `downvotes`, and `votes`; what is given
    besides must agree.
    """

    license: Annotated[
        str | None, doc("SPDX id or 'NOASSERTION'; absent: the thread's licence")
    ] = None
    parent: Annotated[
        Key | None, _key("id of the response it replies to; absent: it answers the prompt")
    ] = None
    accepted: Annotated[bool, doc("accepted by the author of the prompt")] = False
    score: Annotated[int | None, doc("upvotes − downvotes")] = None
    upvotes: Annotated[int | None, doc("number of upvotes, or of likes")] = None
    downvotes: Annotated[int | None, doc("number of downvotes; absent: 0")] = None
    votes: Annotated[
        tuple[VoteCount, ...] | None, doc("dated votes, all of them; an empty list: no votes yet")
    ] = None


class CustomThread(CustomPost, frozen=True, gc=False, kw_only=True):
    """A prompt with its responses. Its id must be unique in its site."""

    site: Annotated[
        str,
        doc(
            "host name of the forum, with the community where it has several: 'forum.example.com', "
            "'example.com/cooking'"
        ),
    ]
    license: Annotated[
        str, doc("licence of the texts: SPDX id such as 'CC-BY-4.0', or 'NOASSERTION'")
    ]
    format: Annotated[str, doc(f"'{THREAD_FORMAT}'")] = THREAD_FORMAT
    title: Annotated[str, doc("title, plain text")] = ""
    tags: Annotated[tuple[str, ...], doc("topics")] = ()
    score: Annotated[int, doc("upvotes − downvotes of the prompt; absent: 0")] = 0
    nsfw: Annotated[bool, doc("not safe for work")] = False
    accepted: Annotated[
        Key | None, _key("id of the accepted response, if the responses do not say")
    ] = None
    duplicate_of: Annotated[
        Key | None, _key("id of a thread of the same site that asks the same")
    ] = None
    responses: Annotated[
        tuple[CustomResponse, ...], doc("responses and replies to them, in any order")
    ]
