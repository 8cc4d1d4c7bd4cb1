"""Read Reddit: dumps of Pushshift and Arctic Shift, by month or by subreddit, one JSON a line."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from schemas.audit import Reason, Rejected, Stage
from schemas.post import Post, RemovedAs
from transforms.readers.base import UNKNOWN_LICENSE, ForumFile, Item, ReadRules, SamePrompt, reject
from transforms.readers.formats.compressed import COMPRESSED_SUFFIXES
from transforms.readers.formats.json_faults import Fault, UndecodableError
from transforms.readers.formats.json_lines import (
    decode_block,
    decode_lines,
    read_document,
    reject_document,
)
from transforms.readers.formats.json_values import decode_value
from transforms.readers.formats.line_blocks import LineBlock
from transforms.readers.reddit.answers import RECORDS, is_answer, is_one_document, unfold
from transforms.readers.reddit.rows import (
    HOST,
    SITE_URL,
    STAFF,
    Record,
    Unusable,
    author_of,
    author_url_of,
    community_of,
    created_at_of,
    crossposted_text,
    edited_at_of,
    is_bot,
    is_nsfw,
    parent_of,
    record_id,
    removal_of,
    reply_id,
    required_id,
    score_of,
    score_seen_at_of,
    sentinel_of,
    submission_of,
    unescape,
    url_of,
)
from transforms.readers.source import FileSource, LineReader

LICENSE = "LicenseRef-Reddit-User-Agreement"
"""Reddit's texts stand under no public licence, but under the agreement of its users."""

_READ = Stage.READ
_TOO_DEEP = Reason.TOO_DEEP

_MONTH = re.compile(r"(RC|RS)_(\d{4}-\d{2})", re.IGNORECASE)
_UNUSABLE_MONTHS = frozenset(
    {
        *(
            f"{table}_{month}"
            for table in ("RC", "RS")
            for month in ("2023-08", "2023-09", "2023-10")
        ),
        "RS_2024-03",
    }
)


class _Identity(msgspec.Struct, gc=False):
    """As much of a record as names it, of any type: the rest of it could not be decoded."""

    id: object = None
    link_id: object = None
    body: object = None
    title: object = None


_IDENTITIES = msgspec.json.Decoder(_Identity)

_Value = tuple[int | None, Record | list[msgspec.Raw]] | Rejected
"""What a line or a document holds, with the line; None: the file is one document."""


def read_reddit(file: ForumFile, rules: ReadRules) -> Iterator[Item]:
    """Yield a Post or Rejected for every line of a dump, and SamePrompt for a crosspost.

    A comment is told from a submission by what is in it, not by the name of the file. Replies to
    comments are TOO_DEEP if only responses to the prompt are wanted, which most of a dump is.
    Raises OSError only if the disk or network fails.
    """
    return _items(file, _document(file) if is_one_document(file) else _lines(file), rules)


def read_reddit_block(file: ForumFile, block: LineBlock, rules: ReadRules) -> Iterator[Item]:
    """Yield what :func:`read_reddit` does of the lines that are in ``block`` of ``file``."""
    return _items(file, decode_block(file, block, RECORDS, identify=_identify), rules)


def has_reddit_lines(file: ForumFile) -> bool:
    """Tell whether a file has one record or answer a line, and is not one JSON document."""
    return not is_one_document(file)


def _items(file: ForumFile, values: Iterator[_Value], rules: ReadRules) -> Iterator[Item]:
    license = rules.license_of(file)
    if license == UNKNOWN_LICENSE:
        license = LICENSE
    flat = rules.reply_depth == 1
    for item in _records(file, values):
        if isinstance(item, Rejected):
            yield item
            continue
        line, record = item
        if flat and (id := reply_id(record)) is not None:
            yield Rejected(id=id, stage=_READ, reason=_TOO_DEEP)
            continue
        try:
            make = comment_post if record.is_comment else submission_post
            post = make(record, license)
        except Unusable as error:
            yield reject(file, error.reason, error.detail, id=record_id(record), line=line)
            continue
        yield post
        other = record.crosspost_parent
        if other is not None and other[:3] == "t3_" and f"{HOST}:{other}" != post.id:
            yield SamePrompt(post.id, f"{HOST}:{other}")


def _records(
    file: ForumFile, values: Iterator[_Value]
) -> Iterator[tuple[int | None, Record] | Rejected]:
    """Records with their line, those in answers of an API one by one; None: in one document."""
    for item in values:
        if isinstance(item, Rejected):
            yield item
            continue
        line, value = item
        if isinstance(value, Record) and not is_answer(value):
            yield line, value
            continue
        for found in unfold(value):
            if isinstance(found, Record):
                yield line, found
            else:
                yield reject(file, found.reason, found.detail, line=line)


def _lines(file: ForumFile) -> Iterator[_Value]:
    return decode_lines(file, RECORDS, identify=_identify)


def _document(file: ForumFile) -> Iterator[_Value]:
    content = read_document(file)
    if isinstance(content, Rejected):
        yield content
        return
    try:
        yield None, decode_value(content, RECORDS)
    except UndecodableError as error:
        if error.problem.fault is Fault.TRAILING:  # only the first line is a list
            yield from _lines(file)
        else:
            yield reject_document(file, error.problem)


def _identify(line: bytes) -> str | None:
    try:
        found = _IDENTITIES.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(found.id, str):
        return None
    is_comment = found.link_id is not None or (found.body is not None and found.title is None)
    # Only what says whether it is a comment goes on, not the values.
    return record_id(Record(id=found.id, link_id="" if is_comment else None))


def comment_post(record: Record, license: str) -> Post:
    """Turn a comment into a Post; raises Unusable."""
    id = required_id(record)
    link = submission_of(record)
    parent = parent_of(record, link)
    body = record.body
    if body is None:
        raise Unusable(Reason.MISSING_FIELD, "no body")
    community = community_of(record)
    author = author_of(record)
    removed_as = removal_of(record, body)
    post = Post(
        id=f"{HOST}:t1_{id}",
        thread_id=f"{HOST}:{link}",
        parent_id=None if parent is None else f"{HOST}:{parent}",
        source="reddit",
        site=f"{HOST}/r/{community}",
        url=url_of(record.permalink) or f"{SITE_URL}/r/{community}/comments/{link[3:]}/_/{id}/",
        text=unescape(body) if removed_as is None else "",
        markup="markdown",
        created_at=created_at_of(record),
        score=score_of(record),
        score_seen_at=score_seen_at_of(record),
        author_id=f"{HOST}:u{author}" if author else None,
        author=author,
        author_url=author_url_of(author) if author else None,
        license=license,
    )
    return _with_rare_fields(post, record, removed_as)


def submission_post(record: Record, license: str) -> Post:
    """Turn a submission into a Post; raises Unusable.

    What was removed loses its text even if the dump still has it, and what its author deleted its
    title too: newer dumps keep what people took back, and it is theirs to take back.
    """
    id = required_id(record)
    if record.title is None:
        detail = "neither a comment (link_id, body) nor a submission (title)"
        raise Unusable(Reason.MISSING_FIELD, detail)
    if record.promoted:
        raise Unusable(Reason.NOT_A_QUESTION_OR_ANSWER, "an advertisement")
    community = community_of(record)
    author = author_of(record)
    removed_as = removal_of(record, record.selftext or "") or sentinel_of(record.title)
    text, is_link = (
        _submission_text(record) if removed_as is None else ("", record.is_self is False)
    )
    post = Post(
        id=f"{HOST}:t3_{id}",
        thread_id=f"{HOST}:t3_{id}",
        source="reddit",
        site=f"{HOST}/r/{community}",
        url=url_of(record.permalink) or f"{SITE_URL}/r/{community}/comments/{id}/",
        title=unescape(record.title) if removed_as is not RemovedAs.DELETED else "",
        text=text,
        markup="markdown",
        created_at=created_at_of(record),
        score=score_of(record),
        score_seen_at=score_seen_at_of(record),
        author_id=f"{HOST}:u{author}" if author else None,
        author=author,
        author_url=author_url_of(author) if author else None,
        license=license,
    )
    flair = unescape(record.link_flair_text or "").strip()
    if flair or is_link:
        post = replace(post, tags=(flair,) if flair else (), is_link=is_link)
    return _with_rare_fields(post, record, removed_as)


def _submission_text(record: Record) -> tuple[str, bool]:
    """Text of a submission, and whether it is a link to something else.

    A crosspost has no text of its own, and what it asks is in the submission that it repeats.
    """
    text = unescape(record.selftext or "")
    if not text.strip() and (original := unescape(crossposted_text(record))).strip():
        return original, False
    if record.is_self is not False:
        return text, False
    if not record.url:
        return text, True
    link = unescape(record.url)
    return (f"{link}\n\n{text}" if text else link), True


def _with_rare_fields(post: Post, record: Record, removed_as: RemovedAs | None) -> Post:
    """Set what few posts have.

    A call with more than 15 keyword arguments takes CPython four times as long, so those that
    nearly always have their default are not given with the others.
    """
    fields: dict[str, Any] = {}
    if (edited_at := edited_at_of(record)) is not None:
        fields["edited_at"] = edited_at
    if record.score_hidden or record.hide_score:
        fields["score_hidden"] = True
    if record.distinguished in STAFF:
        fields["by_staff"] = True
    if is_bot(post.author):
        fields["by_bot"] = True
    if record.stickied:
        fields["pinned"] = True
    if is_nsfw(record):
        fields["nsfw"] = True
    if removed_as is not None:
        fields["removed_as"] = removed_as
    return replace(post, **fields) if fields else post


def unusable_month(name: str) -> str | None:
    """Say why a file of this name must not be used, or None.

    Its scores were read minutes after posting: the mean score of a comment in RC 2023-08 to -10 is
    1.01, in later months 6. RS 2024-03 has 97 % of its scores hidden. Of 2023-07 only a part is
    so, which ``min_score_age_hours`` finds.
    """
    found = _MONTH.match(name)
    if found is None or f"{found[1].upper()}_{found[2]}" not in _UNUSABLE_MONTHS:
        return None
    return (
        f"the scores in the dumps of {found[2]} were read before people had voted, so they say "
        "nothing; exclude this file, or use one whose scores were read days later"
    )


REDDIT = FileSource(
    kind="reddit",
    read_file=read_reddit,
    lines=LineReader(has_reddit_lines, read_reddit_block),
    suffixes=(*COMPRESSED_SUFFIXES, ".ndjson", ".jsonl", ".json"),
    help=(
        "dump of Pushshift or Arctic Shift, by month (RC_2015-01.zst, RS_2015-01.zst) or by "
        "subreddit (AskMen_comments.zst, AskMen_submissions.zst), or a folder of them"
    ),
    refuse=unusable_month,
    refused_as=Reason.UNUSABLE_MONTH,
)
