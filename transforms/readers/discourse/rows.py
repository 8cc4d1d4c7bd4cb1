"""Topics and posts of Discourse as plain values: one function per row, no files.

Field names: Discourse's serializers ``TopicViewSerializer`` and ``PostSerializer`` and the plugins
discourse-solved and discourse-post-voting.
"""

from collections.abc import Callable
from typing import Any, Final, TypeGuard
from urllib.parse import quote

import msgspec

from schemas.audit import Reason
from schemas.post import Post, RemovedAs
from transforms.readers.discourse.html import clean_cooked
from transforms.readers.formats.values import MAX_COUNT, natural, shown, time_ms

KIND: Final = "discourse"

MAX_ID: Final = (1 << 53) - 1
_LIKE: Final = 2
_INAPPROPRIATE, _SPAM = 4, 8
_REGULAR: Final = 1
_OTHER_POST_TYPES: Final = {
    2: "moderator action",
    3: "small action",
    4: "whisper among staff",
}


class Stream(msgspec.Struct):
    """The posts of one page."""

    posts: list[msgspec.Raw]


class Answer(msgspec.Struct):
    """What tells the answers of a forum apart."""

    post_stream: msgspec.Raw = msgspec.Raw(b"null")  # nearly all of a topic: not decoded twice
    latest_posts: list[msgspec.Raw] | None = None
    post_number: Any = None
    topic_id: Any = None


class Topic(msgspec.Struct):
    """A topic, or a page of further posts of one, which has an id and no title.

    Any: a bad value in a field that can be done without must not cost the topic.
    """

    post_stream: Stream
    id: Any = None
    title: Any = None
    slug: Any = None
    tags: Any = None
    archetype: Any = None
    pinned: Any = None
    pinned_globally: Any = None
    pinned_at: Any = None
    featured_link: Any = None
    deleted_at: Any = None
    accepted_answer: Any = None
    accepted_answers: Any = None


class TopicPost(msgspec.Struct):
    """One post of a topic."""

    topic_id: Any = None
    topic_slug: Any = None
    topic_title: Any = None
    post_number: Any = None
    post_type: Any = None
    reply_to_post_number: Any = None
    created_at: Any = None
    updated_at: Any = None
    version: Any = None
    cooked: Any = None
    raw: Any = None
    actions_summary: Any = None
    like_count: Any = None
    post_voting_vote_count: Any = None
    accepted_answer: Any = None
    user_id: Any = None
    username: Any = None
    name: Any = None
    staff: Any = None
    moderator: Any = None
    admin: Any = None
    hidden: Any = None
    cooked_hidden: Any = None
    deleted_at: Any = None
    user_deleted: Any = None


class UnusableError(Exception):
    """A post that cannot be used, and why."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def place_of(topic: Topic, post: TopicPost) -> tuple[int, int]:
    """Return topic id and post number. Raises UnusableError."""
    ids = [value for value in (post.topic_id, topic.id) if value is not None]
    if not ids:
        raise UnusableError(Reason.MISSING_FIELD, "topic_id")
    topic_id = _number(ids[0], "topic_id")
    if ids[-1] != topic_id:
        raise UnusableError(Reason.BAD_VALUE, f"topic_id {topic_id} in topic {shown(ids[-1])}")
    return topic_id, _number(post.post_number, "post_number")


def parse_post(topic: Topic, post: TopicPost, host: str, topic_id: int, number: int) -> Post:
    """Turn post ``number`` of a topic into a Post, its licence still to be filled in.

    Likes are the score, unless the forum votes on posts, up and down, of which it tells the
    difference. Raises UnusableError.
    """
    _check_kind(topic, post)
    prompt = number == 1
    title = (_text_or_empty(topic.title) or _text_or_empty(post.topic_title)) if prompt else ""
    if prompt and not title:
        raise UnusableError(Reason.MISSING_FIELD, "title; the topic's own JSON has it")
    created_at = _time(post.created_at, "created_at")
    likes, flags = _actions(post)
    votes = post.post_voting_vote_count
    signed = _is_int(votes) and abs(votes) <= MAX_COUNT
    removed_as = _removed_as(topic, post, prompt)
    text, markup = _text(post, host, removed_as)
    slug = _text_or_empty(post.topic_slug) or _text_or_empty(topic.slug)
    place = f"{quote(slug, safe='')}/{topic_id}" if slug else str(topic_id)
    account = post.user_id if _is_int(post.user_id) and 0 < post.user_id <= MAX_ID else None
    username = _text_or_empty(post.username)
    parent = post.reply_to_post_number
    return Post(
        id=f"{host}:{topic_id}.{number}",
        thread_id=f"{host}:{topic_id}.1",
        parent_id=f"{host}:{topic_id}.{parent}"
        if _is_int(parent) and 1 < parent < number
        else None,
        source=KIND,
        site=host,
        url=f"https://{host}/t/{place}/{number}",
        title=title,
        text=text,
        markup=markup,
        tags=_tags(topic.tags) if prompt else (),
        is_link=prompt and bool(_text_or_empty(topic.featured_link)),
        created_at=created_at,
        edited_at=_edited_at(post, created_at),
        score=votes if signed else likes,
        upvotes=None if signed else likes,
        downvotes=None if signed else 0,
        flags=flags,
        author_id=f"{host}:u{account}" if account is not None else None,
        author=_text_or_empty(post.name) or username,
        author_url=f"https://{host}/u/{quote(username, safe='')}"
        if account is not None and username
        else None,
        by_staff=True in (post.staff, post.moderator, post.admin),
        pinned=prompt and _is_pinned(topic),
        removed_as=removed_as,
        license="",
    )


def _check_kind(topic: Topic, post: TopicPost) -> None:
    """Refuse what is neither a question nor an answer."""
    why = ""
    if topic.archetype == "private_message":
        why = "private message"
    elif post.post_type is not None and post.post_type != _REGULAR:
        kind = _OTHER_POST_TYPES.get(post.post_type) if _is_int(post.post_type) else None
        why = f"post_type {shown(post.post_type)} ({kind or 'not known'})"
    elif _is_int(post.user_id) and post.user_id < 0:
        why = f"user_id {shown(post.user_id)} (the forum's own program)"
    if why:
        raise UnusableError(Reason.NOT_A_QUESTION_OR_ANSWER, why)


def _actions(post: TopicPost) -> tuple[int, int]:
    """Likes, and flags for spam and offence. Discourse omits a count of 0."""
    if post.actions_summary is None:
        return _count(post.like_count, "actions_summary"), 0
    if not isinstance(post.actions_summary, list):
        raise UnusableError(Reason.BAD_VALUE, f"actions_summary {shown(post.actions_summary)}")
    counts = {_LIKE: 0, _INAPPROPRIATE: 0, _SPAM: 0}
    for action in post.actions_summary:
        kind = action.get("id") if isinstance(action, dict) else None
        if _is_int(kind) and kind in counts:
            counts[kind] = _count(action.get("count", 0), "count of actions")
    return counts[_LIKE], counts[_INAPPROPRIATE] + counts[_SPAM]


def _removed_as(topic: Topic, post: TopicPost, prompt: bool) -> RemovedAs | None:
    if post.user_deleted is True:
        return RemovedAs.DELETED
    gone = post.deleted_at or (prompt and topic.deleted_at)
    return RemovedAs.REMOVED if gone or True in (post.hidden, post.cooked_hidden) else None


def _text(post: TopicPost, host: str, removed_as: RemovedAs | None) -> tuple[str, str]:
    """Text and its markup; a notice in place of a removed text is none."""
    if removed_as is not None:
        return "", "html"
    # The rendered form first: in the source, quotes, images and polls are Discourse's own syntax.
    if isinstance(post.cooked, str):
        return clean_cooked(post.cooked, host), "html"
    if isinstance(post.raw, str):
        return post.raw, "markdown"
    raise UnusableError(Reason.MISSING_FIELD, "cooked")


def accepted_number(topic: Topic, posts: list[TopicPost]) -> int | None:
    """Return the number of the post that solves the topic, the first of several."""
    several = topic.accepted_answers if isinstance(topic.accepted_answers, list) else []
    for answer in (topic.accepted_answer, *several):
        number = answer.get("post_number") if isinstance(answer, dict) else None
        if _is_int(number) and 1 < number <= MAX_ID:
            return int(number)
    flagged = [
        post.post_number
        for post in posts
        if post.accepted_answer is True and _is_int(post.post_number) and post.post_number > 1
    ]
    return min(flagged, default=None)


def _edited_at(post: TopicPost, created_at: int) -> int | None:
    """When the text last changed; ``updated_at`` also moves for other reasons."""
    if not _is_int(post.version) or post.version <= 1:
        return None
    try:
        return max(created_at, _time(post.updated_at, "updated_at"))
    except UnusableError:
        return created_at


def _is_pinned(topic: Topic) -> bool:
    # `pinned` is false for a viewer who has dismissed the topic; `pinned_at` stays.
    pinned = True in (topic.pinned, topic.pinned_globally) or bool(topic.pinned_at)
    return pinned or topic.archetype == "banner"


def _tags(tags: Any) -> tuple[str, ...]:
    """Names of the tags: texts, in newer versions objects with a name."""
    names = [tag.get("name") if isinstance(tag, dict) else tag for tag in _list_or_empty(tags)]
    return tuple(name for name in names if isinstance(name, str) and name)


def _time(value: Any, name: str) -> int:
    return _checked(time_ms, value, name)


def _count(value: Any, name: str) -> int:
    return _checked(natural, value, name)


def _number(value: Any, name: str) -> int:
    """An id of a topic, or the number of a post in it."""
    if value is not None and not (_is_int(value) and 0 < value <= MAX_ID):
        raise UnusableError(Reason.BAD_VALUE, f"{name} {shown(value)}")
    return _checked(natural, value, name)


def _checked(check: Callable[[object], int], value: Any, name: str) -> int:
    if value is None:
        raise UnusableError(Reason.MISSING_FIELD, name)
    try:
        return check(value)
    except ValueError as error:
        raise UnusableError(Reason.BAD_VALUE, f"{name} {shown(value)}: {error}") from None


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _text_or_empty(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _list_or_empty(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
