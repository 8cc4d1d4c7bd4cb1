"""Read topics of Discourse forums, as a forum serves them at ``/t/ID.json``.

Each post of a topic is ``<host>:<topic id>.<post number>``, the numbers in its URL, and post 1 is
the prompt. So a post from any page names its thread, the post it replies to and the accepted
answer without a look at the other pages. A post that its author wrote as a reply to another
post, not to the topic, is a reply to that response.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from schemas.audit import Reason, Rejected
from schemas.post import Post
from transforms.readers.base import ForumFile, Item, ReadRules, reject
from transforms.readers.discourse.rows import (
    KIND,
    Answer,
    Stream,
    Topic,
    TopicPost,
    UnusableError,
    accepted_number,
    parse_post,
    place_of,
)
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
from transforms.readers.formats.values import shown
from transforms.readers.source import FileSource, LineReader

_raw_decoder = msgspec.json.Decoder(msgspec.Raw)
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_answer_decoder = msgspec.json.Decoder(Answer)
_topic_decoder = msgspec.json.Decoder(Topic)
_post_decoder = msgspec.json.Decoder(TopicPost)

_Value = tuple[int | None, bytes] | Rejected
"""A JSON value with its line; None: the file is one value."""


def read_discourse(file: ForumFile, rules: ReadRules) -> Iterator[Item]:
    """Yield the posts of the topics in a file: one topic or page, a list of them, or one a line.

    In place of a topic there may be a post by itself, as ``/posts/ID.json`` serves it, or the
    latest posts of ``/posts.json``.

    Every element of ``post_stream.posts`` is one record; posts that only ``post_stream.stream``
    lists are none. A private message, a notice of the system and a whisper are rejected.
    """
    values = _lines(decode_lines(file, _raw_decoder)) if has_topic_lines(file) else _document(file)
    return _items(file, values, rules)


def read_discourse_block(
    file: ForumFile, block: LineBlock, rules: ReadRules
) -> Iterator[Post | Rejected]:
    """Yield what :func:`read_discourse` does of the lines that are in ``block`` of ``file``."""
    return _items(file, _lines(decode_block(file, block, _raw_decoder)), rules)


def has_topic_lines(file: ForumFile) -> bool:
    """Tell whether a file has one topic, list or post a line, by its name."""
    name = file.name.lower()
    for suffix in COMPRESSED_SUFFIXES:
        name = name.removesuffix(suffix)
    return not name.endswith(".json")


def _items(
    file: ForumFile, values: Iterator[_Value], rules: ReadRules
) -> Iterator[Post | Rejected]:
    for found in values:
        if isinstance(found, Rejected):
            yield found
            continue
        line, value = found
        for topic in _topics(file, line, value):
            if isinstance(topic, Rejected):
                yield topic
            else:
                yield from _posts(file, rules, line, topic)


def _document(file: ForumFile) -> Iterator[_Value]:
    document = read_document(file)
    yield document if isinstance(document, Rejected) else (None, document)


def _lines(lines: Iterator[tuple[int, msgspec.Raw] | Rejected]) -> Iterator[_Value]:
    for found in lines:
        yield found if isinstance(found, Rejected) else (found[0], bytes(found[1]))


def _topics(file: ForumFile, line: int | None, value: bytes) -> Iterator[Topic | Rejected]:
    try:
        several = value.lstrip(b" \t\r\n")[:1] == b"["
        values = (
            decode_value(value, _list_decoder, repair=False)
            if several
            else [decode_value(value, _raw_decoder, repair=False)]
        )
    except UndecodableError as error:
        yield (
            reject_document(file, error.problem)
            if line is None
            else reject(file, error.problem.reason, error.problem.detail, line=line)
        )
        return
    for one in values:
        try:
            yield _topic(one)
        except UndecodableError as error:
            # Discourse serves {"errors": …} in place of a topic that is gone.
            detail = f"not a topic: {error.problem.detail}"
            yield reject(file, error.problem.reason, detail, line=line)


def _topic(value: msgspec.Raw) -> Topic:
    """A topic; for posts by themselves one around them. Raises UndecodableError."""
    try:
        answer = _answer_decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        answer = Answer()
    if bytes(answer.post_stream) == b"null":
        if answer.latest_posts is not None:
            return Topic(post_stream=Stream(posts=answer.latest_posts))
        if answer.post_number is not None and answer.topic_id is not None:
            return Topic(post_stream=Stream(posts=[value]))
    return decode_value(value, _topic_decoder)


def _posts(
    file: ForumFile, rules: ReadRules, line: int | None, topic: Topic
) -> Iterator[Post | Rejected]:
    posts: list[TopicPost] = []
    for raw in topic.post_stream.posts:
        try:
            posts.append(decode_value(raw, _post_decoder))
        except UndecodableError as error:
            detail = f"topic {shown(topic.id)}: {error.problem.detail}"
            yield reject(file, error.problem.reason, detail, line=line)
    accepted = accepted_number(topic, posts)
    for row in posts:
        id = None
        try:
            topic_id, number = place_of(topic, row)
            id = f"{file.site}:{topic_id}.{number}"
            post = parse_post(topic, row, file.site, topic_id, number)
        except UnusableError as problem:
            yield reject(file, problem.reason, problem.detail, id=id, line=line)
            continue
        if post.parent_id is not None and rules.reply_depth < 2:
            detail = f"in reply to {post.parent_id}"
            yield reject(file, Reason.TOO_DEEP, detail, id=id, line=line)
            continue
        changes: dict[str, str] = {"license": rules.license_of(file)}
        if accepted == number and topic.id is None:
            # By itself: the prompt, in another file, does not say which answer is accepted.
            post = msgspec.structs.replace(post, accepted=True)
        if post.is_prompt and accepted is not None:
            changes["accepted_response_id"] = f"{file.site}:{topic_id}.{accepted}"
        yield msgspec.structs.replace(post, **changes)


DISCOURSE: Final = FileSource(
    kind=KIND,
    read_file=read_discourse,
    lines=LineReader(has_topic_lines, read_discourse_block),
    suffixes=tuple(
        name + end for name in (".json", ".jsonl", ".ndjson") for end in ("", *COMPRESSED_SUFFIXES)
    ),
    help="folder named by the forum's host, with topics as /t/ID.json serves them",
    has_sites=True,
)
