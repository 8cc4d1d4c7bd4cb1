"""Metadata of posts that live in other files than the posts."""

from typing import Annotated

import msgspec

from schemas.fields import doc
from schemas.post import ClosedAs


class PostMetadata(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """What a source knows of a post from elsewhere: dated votes, flags, closing, author's name.

    A post may have several (one per file it was found in); assembly merges them, and a field
    that is None, empty or 0 says nothing.
    """

    id: Annotated[str, doc("id of the post")]
    thread_id: Annotated[
        str | None, doc("thread of the post it is about; None: the post has one thread only")
    ] = None
    up_days: Annotated[tuple[int, ...], doc("UTC day numbers of upvotes, any order")] = ()
    down_days: Annotated[tuple[int, ...], doc("UTC day numbers of downvotes, any order")] = ()
    accepted_day: Annotated[int | None, doc("UTC day number of the acceptance")] = None
    flags: Annotated[int, doc("spam and offensive flags, added up")] = 0
    closed_as: Annotated[ClosedAs | None, doc("why the prompt was closed")] = None
    author: Annotated[
        str | None, doc("current display name of the author; it goes before the post's own")
    ] = None
    preferred_to: Annotated[
        tuple[str, ...] | None,
        doc("responses it is stated to be better than, or as good as; None: not stated"),
    ] = None
