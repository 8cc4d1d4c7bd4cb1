"""Read saved answers of the API of Lemmy, a federated forum with communities and nested comments.

Shapes: versions 0.18 (dates without zone, `creator.admin`), 0.19 (dates in UTC,
`creator_is_admin`) and 1.0 (`published_at`, actor addresses as `ap_id`, votes inside the post or
comment, lists called `items`), by the types in LemmyNet/lemmy-js-client.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Final

import msgspec

from schemas.audit import Reason, Rejected
from schemas.post import Post, RemovedAs
from transforms.readers.base import ForumFile, Item, ReadRules, SamePrompt, reject
from transforms.readers.formats.compressed import COMPRESSED_SUFFIXES
from transforms.readers.formats.json_faults import UndecodableError
from transforms.readers.formats.json_lines import (
    decode_block,
    decode_lines,
    read_document,
    reject_document,
)
from transforms.readers.formats.json_values import decode_value
from transforms.readers.formats.line_blocks import LineBlock
from transforms.readers.formats.values import MAX_COUNT, time_ms
from transforms.readers.source import FileSource, LineReader

_Id = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
_Score = Annotated[int, msgspec.Meta(ge=-MAX_COUNT, le=MAX_COUNT)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]

_ABSENT: Final = msgspec.Raw()


class _Person(msgspec.Struct):
    id: _Id
    name: str
    display_name: str | None = None
    actor_id: str = ""
    ap_id: str = ""
    bot_account: bool = False
    deleted: bool = False


class _Community(msgspec.Struct):
    name: str
    actor_id: str = ""
    ap_id: str = ""
    local: bool | None = None
    nsfw: bool = False


class _Votes(msgspec.Struct):
    score: _Score
    upvotes: _Count | None = None
    downvotes: _Count | None = None


class _Entry(msgspec.Struct, kw_only=True):
    """What posts and comments have in common."""

    id: _Id
    published: str | None = None
    published_at: str | None = None
    updated: str | None = None
    updated_at: str | None = None
    deleted: bool = False
    removed: bool = False
    ap_id: str = ""
    score: _Score | None = None
    upvotes: _Count | None = None
    downvotes: _Count | None = None


class _Post(_Entry, kw_only=True):
    name: str
    url: str | None = None
    body: str | None = None
    nsfw: bool = False
    featured_community: bool = False
    featured_local: bool = False


class _Comment(_Entry, kw_only=True):
    post_id: _Id
    content: str
    path: str
    distinguished: bool = False


class _View(msgspec.Struct, kw_only=True):
    """PostView, or CommentView when it has a comment; the post is then the one commented on."""

    post: _Post
    comment: _Comment | None = None
    creator: _Person
    community: _Community
    counts: _Votes | None = None


class _Answer(msgspec.Struct):
    """An answer of the API, or a view by itself."""

    posts: list[msgspec.Raw] | None = None
    comments: list[msgspec.Raw] | None = None
    items: list[msgspec.Raw] | None = None
    post_view: msgspec.Raw = _ABSENT
    comment_view: msgspec.Raw = _ABSENT
    cross_posts: list[msgspec.Raw] | None = None
    post: msgspec.Raw = _ABSENT
    comment: msgspec.Raw = _ABSENT


class _Identified(msgspec.Struct):
    id: _Id


class _PostReference(msgspec.Struct):
    post: _Identified


_raw: Final = msgspec.json.Decoder(msgspec.Raw)
_list: Final = msgspec.json.Decoder(list[msgspec.Raw])
_answer: Final = msgspec.json.Decoder(_Answer)
_view: Final = msgspec.json.Decoder(_View)
_reference: Final = msgspec.json.Decoder(_PostReference)

_PATH: Final = re.compile(r"0(\.[0-9]{1,19})+")
_HOST: Final = re.compile(r"https?://([^/:?#@]+)", re.IGNORECASE)
_LINES: Final = re.compile(r"\.(jsonl|ndjson)(\.\w+)?$", re.IGNORECASE)


def read_lemmy(file: ForumFile, rules: ReadRules) -> Iterator[Item]:
    """Yield the posts and comments of one file of API answers.

    A name in .jsonl or .ndjson has one answer or view a line; any other is one JSON document, an
    answer or a list of answers. Cross-posts, which Lemmy finds by their equal link, yield
    `SamePrompt` and are not read as posts.
    """
    if has_lemmy_lines(file):
        yield from _read_lines(decode_lines(file, _raw), file, rules)
        return
    content = read_document(file)
    if isinstance(content, Rejected):
        yield content
        return
    try:
        several = content.lstrip(b" \t\r\n")[:1] == b"["
        answers = (
            decode_value(content, _list, repair=False)
            if several
            else [decode_value(content, _raw, repair=False)]
        )
    except UndecodableError as error:
        yield reject_document(file, error.problem)
        return
    for answer in answers:
        yield from _read_answer(answer, file, rules, None)


def has_lemmy_lines(file: ForumFile) -> bool:
    """Tell whether a file has one answer or view a line, by its name."""
    return _LINES.search(file.name) is not None


def read_lemmy_block(file: ForumFile, block: LineBlock, rules: ReadRules) -> Iterator[Item]:
    """Yield what :func:`read_lemmy` does of the lines that are in ``block`` of ``file``."""
    return _read_lines(decode_block(file, block, _raw), file, rules)


def _read_lines(
    lines: Iterator[tuple[int, msgspec.Raw] | Rejected], file: ForumFile, rules: ReadRules
) -> Iterator[Item]:
    for found in lines:
        if isinstance(found, Rejected):
            yield found
        else:
            yield from _read_answer(found[1], file, rules, found[0])


def _read_answer(
    raw: msgspec.Raw, file: ForumFile, rules: ReadRules, line: int | None
) -> Iterator[Item]:
    try:
        answer = decode_value(raw, _answer)
    except UndecodableError as error:
        yield reject(file, _reason(error, raw), error.problem.detail, line=line)
        return
    views = [
        (f"{name}[{index}]", view)
        for name in ("posts", "comments", "items")
        for index, view in enumerate(getattr(answer, name) or ())
    ]
    for name in ("post_view", "comment_view"):
        if (view := getattr(answer, name)) is not _ABSENT:
            views.append((name, view))
    if answer.post is not _ABSENT or answer.comment is not _ABSENT:
        views.append(("view", raw))
    if not views and answer.posts is answer.comments is answer.items is None:
        yield reject(file, Reason.MISSING_FIELD, "no posts and no comments", line=line)
    for place, view in views:
        try:
            yield _read_view(decode_value(view, _view), file, rules)
        except UndecodableError as error:
            detail = f"{place}: {error.problem.detail}"
            yield reject(file, _reason(error, view), detail, line=line)
    for other in answer.cross_posts or ():
        try:
            ids = [decode_value(view, _reference).post.id for view in (answer.post_view, other)]
        except UndecodableError as error:
            detail = f"cross_posts: {error.problem.detail}"
            yield reject(file, _reason(error, other), detail, line=line, record="link")
        else:
            yield SamePrompt(f"{file.site}:p{ids[0]}", f"{file.site}:p{ids[1]}")


def _reason(error: UndecodableError, raw: msgspec.Raw) -> Reason:
    return Reason.MISSING_FIELD if bytes(raw) == b"null" else error.problem.reason


def _read_view(view: _View, file: ForumFile, rules: ReadRules) -> Post | Rejected:
    host, creator = file.site, view.creator
    entry, word, letter = (
        (view.post, "post", "p") if view.comment is None else (view.comment, "comment", "c")
    )
    id = f"{host}:{letter}{entry.id}"
    parent_id = None
    if view.comment is not None:
        above = _ids_above(view.comment)
        if above is None:
            return reject(file, Reason.BAD_VALUE, f"path {view.comment.path[:100]!r}", id=id)
        if len(above) >= rules.reply_depth:
            depth = f"{len(above) + 1} > {rules.reply_depth}"
            return reject(file, Reason.TOO_DEEP, depth, id=id)
        parent_id = f"{host}:c{above[-1]}" if above else None
    published, updated = entry.published or entry.published_at, entry.updated or entry.updated_at
    votes = view.counts or entry
    if published is None or votes.score is None:
        missing = "published" if published is None else "score"
        return reject(file, Reason.MISSING_FIELD, missing, id=id)
    try:
        created_at, edited_at = time_ms(published), time_ms(updated) if updated else None
    except ValueError as error:
        detail = f"published {published[:40]!r}, updated {(updated or '')[:40]!r}: a date {error}"
        return reject(file, Reason.BAD_VALUE, detail, id=id)
    counted = votes.upvotes is not None and votes.downvotes is not None
    post = Post(
        id=id,
        thread_id=id if view.comment is None else f"{host}:p{view.comment.post_id}",
        parent_id=parent_id,
        source=file.kind,
        site=_site(host, view.community),
        url=_link(entry.ap_id) or f"https://{host}/{word}/{entry.id}",
        text=_post_text(view.post) if view.comment is None else view.comment.content,
        markup="markdown",
        created_at=created_at,
        edited_at=edited_at,
        score=votes.score,
        upvotes=votes.upvotes if counted else None,
        downvotes=votes.downvotes if counted else None,
        author_id=None if creator.deleted else f"{host}:u{creator.id}",
        author="" if creator.deleted else (creator.display_name or "").strip() or creator.name,
        author_url=None if creator.deleted else _link(creator.actor_id or creator.ap_id),
        # Not every comment of an admin: only what is marked as said in that role.
        by_staff=view.comment is not None and view.comment.distinguished,
        by_bot=creator.bot_account,
        nsfw=view.post.nsfw or view.community.nsfw,
        license=rules.license_of(file),
    )
    if view.comment is None:
        post = msgspec.structs.replace(
            post,
            title=view.post.name.strip(),
            is_link=bool(view.post.url) and not (view.post.body or "").strip(),
            pinned=view.post.featured_community or view.post.featured_local,
        )
    if entry.deleted or entry.removed:
        # Versions 0.19.0 to 0.19.3 send the text along (LemmyNet/lemmy issue 4663).
        removed_as = RemovedAs.DELETED if entry.deleted else RemovedAs.REMOVED
        post = msgspec.structs.replace(post, title="", text="", removed_as=removed_as)
    return post


def _post_text(post: _Post) -> str:
    """The link that a post shares, if any, and its body."""
    return "\n\n".join(part for part in (post.url, post.body) if part)


def _ids_above(comment: _Comment) -> list[int] | None:
    """Ids of the comments that a comment is below, outermost first; None: its path is wrong."""
    if not _PATH.fullmatch(comment.path):
        return None
    *above, own = (int(part) for part in comment.path.split(".")[1:])
    return above if own == comment.id else None


def _link(url: str) -> str | None:
    return url if _HOST.match(url) else None


def _site(host: str, community: _Community) -> str:
    """``<host>/c/<name>``, with ``@<instance>`` for a community of another instance."""
    home = _HOST.match(community.actor_id or community.ap_id)
    instance = home[1].lower() if home else host
    is_local = instance == host if community.local is None else community.local
    suffix = "" if is_local or instance == host else f"@{instance}"
    return f"{host}/c/{community.name}{suffix}"


LEMMY: Final = FileSource(
    kind="lemmy",
    read_file=read_lemmy,
    lines=LineReader(has_lemmy_lines, read_lemmy_block),
    suffixes=tuple(
        f".{name}{compression}"
        for name in ("json", "jsonl", "ndjson")
        for compression in ("", *COMPRESSED_SUFFIXES)
    ),
    help="folder named by the instance (lemmy.example/) with saved answers of its API in JSON",
    has_sites=True,
)
