"""One row of the schema of custom threads becomes posts, or a list of what is wrong with it.

The reader and ``forumprefs validate-threads`` both work through :func:`parse_thread`, so what
the one calls valid the other accepts. The fields are those of :mod:`schemas.custom_thread`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from schemas.audit import Reason
from schemas.custom_thread import THREAD_FORMAT, CustomResponse, CustomThread, VoteCount
from schemas.post import DAY_MS, Post
from transforms.readers.base import SamePrompt
from transforms.readers.formats import values
from transforms.readers.formats.fields import MAX_PROBLEMS, Problem, RowFields

KIND: Final = "threads"
MAX_VOTES: Final = 1_000_000
"""Dated votes on one response, so that one number in a row cannot fill the memory."""

_THREAD_FIELDS: Final = frozenset(CustomThread.__struct_fields__)
_RESPONSE_FIELDS: Final = frozenset(CustomResponse.__struct_fields__)
_VOTE_FIELDS: Final = frozenset(VoteCount.__struct_fields__)
_CIRCLE: Final = -1
"""Depth of responses that reply to themselves through others."""


class BadResponse(NamedTuple):
    """A response that cannot be used."""

    place: int
    """In the row's list, from 0."""
    id: str | None
    """Post id, where it has one and the thread has."""
    problems: list[Problem]


class ParsedThread(NamedTuple):
    """What is in a row. A row with ``problems`` of its own gives no posts at all."""

    prompt: Post | None
    responses: list[tuple[Post, int]]
    """Those that can be used, with their depth: 1 for a response to the prompt itself."""
    same_prompt: SamePrompt | None
    problems: list[Problem]
    bad_responses: list[BadResponse]


def parse_thread(row: Mapping[str, Any]) -> ParsedThread:
    """Turn a row into posts; names every problem of the row, up to MAX_PROBLEMS a post."""
    fields = RowFields(row, "")
    fields.refuse_unknown(_THREAD_FIELDS)
    form = fields.take("format", values.text, THREAD_FORMAT)
    if form != THREAD_FORMAT:
        fields.report("format", form, f"this version reads {THREAD_FORMAT!r}")
    site = fields.need("site", values.site)
    prefix = f"{site or '?'}:"
    thread_id = prefix + (fields.need("id", values.key) or "?")
    common = _common(fields, prefix, fields.need("license", values.license_id) or "")
    duplicate_of = fields.take("duplicate_of", values.key, None)
    accepted = fields.take("accepted", values.key, None)
    prompt_fields = {
        "title": fields.take("title", values.text, ""),
        "tags": fields.take("tags", values.texts, ()),
        "score": fields.take("score", values.whole, 0),
        "nsfw": fields.take("nsfw", values.flag, False),
    }
    rows = fields.need("responses", values.sequence) or ()
    replies = _Replies(rows)
    if accepted is not None and accepted not in replies.parents:
        fields.report("accepted", accepted, "must be the id of one of the responses")

    responses: list[tuple[Post, int]] = []
    bad: list[BadResponse] = []
    seen: set[str] = set()
    for index, item in enumerate(rows):
        parsed = RowFields(item, f"responses[{index}].")
        post = _response(parsed, thread_id, prefix, site or "", common["license"], accepted)
        own_id = replies.ids[index]
        if own_id is not None:
            if own_id in seen:
                parsed.report("id", own_id, "another response has this id", Reason.REPEATED_ID)
            seen.add(own_id)
        depth = replies.depth(index, parsed)
        if parsed.problems:
            known = own_id is not None and not fields.problems
            post_id = f"{thread_id}#{own_id}" if known else None
            bad.append(BadResponse(index, post_id, parsed.problems))
        else:
            responses.append((post, depth))
    if fields.problems:
        return ParsedThread(None, [], None, fields.problems, bad)
    chosen = [post.id for post, _ in responses if post.accepted]
    prompt = Post(
        id=thread_id,
        thread_id=thread_id,
        source=KIND,
        site=site or "",
        accepted_response_id=chosen[0] if len(chosen) == 1 else None,
        **prompt_fields,
        **common,
    )
    same = None if duplicate_of is None else SamePrompt(thread_id, prefix + duplicate_of)
    return ParsedThread(prompt, responses, same, [], bad)


def _response(
    fields: RowFields,
    thread_id: str,
    prefix: str,
    site: str,
    thread_license: str,
    accepted: str | None,
) -> Post:
    fields.refuse_unknown(_RESPONSE_FIELDS)
    own_id = fields.need("id", values.key)
    parent = fields.take("parent", values.key, None)
    flagged = fields.take("accepted", values.flag, False)
    return Post(
        id=f"{thread_id}#{own_id}",
        thread_id=thread_id,
        parent_id=None if parent is None else f"{thread_id}#{parent}",
        source=KIND,
        site=site,
        accepted=flagged or (accepted is not None and own_id == accepted),
        **_common(fields, prefix, fields.take("license", values.license_id, thread_license)),
        **_votes(fields),
    )


def _common(fields: RowFields, prefix: str, license_id: str) -> dict[str, Any]:
    """Fields of schemas.custom_thread.CustomPost, as a Post calls them."""
    author = fields.take("author", values.text, "")
    account = fields.take("author_id", values.key, None) or author or None
    markup = fields.take("markup", values.text, "markdown")
    if markup not in ("markdown", "html"):
        fields.report("markup", markup, "must be 'markdown' or 'html'")
    return {
        "text": fields.need("text", values.text) or "",
        "markup": markup,
        "url": fields.take("url", values.url, ""),
        "created_at": fields.take("created_at", values.time_ms, 0),
        "edited_at": fields.take("edited_at", values.time_ms, None),
        "author": author,
        "author_id": None if account is None else f"{prefix}u{account}",
        "author_url": fields.take("author_url", values.url, None) or None,
        "by_staff": fields.take("by_staff", values.flag, False),
        "by_bot": fields.take("by_bot", values.flag, False),
        "license": license_id,
    }


def _votes(fields: RowFields) -> dict[str, Any]:
    """Score, undated and dated votes of a response; those that are given must agree."""
    score = fields.take("score", values.whole, None)
    ups = fields.take("upvotes", values.natural, None)
    downs = fields.take("downvotes", values.natural, None)
    rows = fields.take("votes", values.sequence, None)
    sums: dict[str, tuple[int | None, int | None]] = {
        "score": (score, None),
        "upvotes": (ups, None),
        "downvotes": (downs, None),
    }
    if rows is not None:
        known = len(fields.problems)
        up_days, down_days = _vote_days(fields, rows)
        net = len(up_days) - len(down_days)
        if len(fields.problems) == known:
            sums = {
                "score": (score, net),
                "upvotes": (ups, len(up_days)),
                "downvotes": (downs, len(down_days)),
            }
        found: dict[str, Any] = {"score": net, "up_days": up_days, "down_days": down_days}
    elif ups is not None:
        downs = downs or 0
        sums["score"] = (score, ups - downs)
        found = {"score": ups - downs, "upvotes": ups, "downvotes": downs}
    elif downs is not None:
        fields.report("downvotes", downs, "must come with upvotes")
        found = {"score": 0}
    else:
        if score is None and not fields.has_any("score", "upvotes", "downvotes", "votes"):
            expected = "is missing, and so are upvotes and votes: one of them is needed"
            fields.add(Problem("score", Reason.MISSING_FIELD, "", expected))
        found = {"score": score or 0}
    for name, (given, counted) in sums.items():
        if given is not None and counted is not None and given != counted:
            fields.report(name, given, f"the votes add up to {counted}; drop one of them")
    return found


def _vote_days(
    fields: RowFields, rows: Sequence[object]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    days: dict[int, list[int]] = {1: [], -1: []}
    total = 0
    for index, item in enumerate(rows):
        vote = RowFields(item, f"{fields.path}votes[{index}].")
        vote.refuse_unknown(_VOTE_FIELDS)
        day = (vote.need("date", values.time_ms) or 0) // DAY_MS
        value = vote.need("value", values.whole)
        count = vote.take("count", values.natural, 1)
        if value not in (None, 1, -1):
            vote.report("value", value, "must be 1 or -1")
        if count == 0:
            vote.report("count", count, "must be 1 or more")
        total += count
        if total > MAX_VOTES:
            vote.report("count", count, f"a response may have at most {MAX_VOTES:,} dated votes")
        fields.problems += vote.problems
        if len(fields.problems) >= MAX_PROBLEMS or total > MAX_VOTES:
            break
        if value in days:
            days[value] += [day] * count
    return tuple(sorted(days[1])), tuple(sorted(days[-1]))


class _Replies:
    """Who replies to whom in one row."""

    def __init__(self, rows: Sequence[object]) -> None:
        self.ids = [_key_of(row, "id") for row in rows]
        self.parents: dict[str, str | None] = {}
        for row, own_id in zip(rows, self.ids, strict=True):
            if own_id is not None:
                self.parents.setdefault(own_id, _key_of(row, "parent"))
        self._depths: dict[str, int] = {}

    def depth(self, index: int, fields: RowFields) -> int:
        """Number of responses from the prompt to this one; reports a parent that cannot be."""
        own_id = self.ids[index]
        if own_id is None:
            return 1
        above: dict[str, None] = {}
        at: str | None = own_id
        while at in self.parents and at not in self._depths and at not in above:
            above[at] = None
            at = self.parents[at]
        if at in above:
            self._depths.update(dict.fromkeys(above, _CIRCLE))
        elif above:
            start = 0 if at is None else self._depths.get(at, 0)
            names = reversed(above)
            self._depths.update(
                (name, _CIRCLE if start == _CIRCLE else start + steps)
                for steps, name in enumerate(names, 1)
            )
        parent = self.parents[own_id]
        if self._depths[own_id] == _CIRCLE:
            fields.report("parent", parent, "replies in a circle")
        elif parent is not None and parent not in self.parents:
            expected = (
                "must be the id of one of the responses; omit it for a response to the "
                "prompt itself"
            )
            fields.report("parent", parent, expected)
        return self._depths[own_id]


def _key_of(row: object, name: str) -> str | None:
    if not isinstance(row, Mapping) or row.get(name) is None:
        return None
    try:
        return values.key(row[name])
    except ValueError:
        return None
