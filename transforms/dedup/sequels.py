"""Questions of one author that belong together: sequels, and links to earlier questions.

Only an author's own questions are joined. Links between questions of any authors would join too
many: on a site where every second question links another, a quarter of all hang together. Threads
that bots and staff open week by week under one title are no sequels either.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.ids import hash63
from schemas.post import Post
from schemas.words import words_of

_ADDRESS: Final = re.compile(
    r"https?://(?:www\.|old\.)?([^/\s]+)/"
    r"(?:r/\w+/comments/([a-z0-9]+)|(?!u/|users/)(?:[^/\s?#]+/){1,2}?(\d+))(?![\w-])",
    re.IGNORECASE,
)
"""A link to a question, whatever else is in it: the host, and Reddit's id or the first number."""

_NUMBER: Final = r"(?:\d{1,3}|[ivx]{1,4}|one|two|three|four|five)"
_SEQUEL: Final = re.compile(
    rf"[\[(]?\b(?:part|pt)\b\.?[ #]*{_NUMBER}\b(?:\s*(?:of|/)\s*{_NUMBER}\b)?[\])]?"
    rf"|[\[(]\s*{_NUMBER}\s*(?:of|/)\s*{_NUMBER}\s*[\])]"
    r"|\bfollow(?:ing|ed)?[- ]?up\b(?:[ -]questions?\b)?(?:\s+(?:to|on|for|of)\b)?"
    r"|\b(?:sequel|continuation)(?:\s+(?:to|of)\b)?|\bcontinued\b",
    re.IGNORECASE,
)
"""How a title says that it is one of several, after which the titles of all are the same."""

_MIN_TITLE_WORDS: Final = 3
"""Shorter titles, such as "Help please", say too little of what a question is about."""


def sequel_rows(posts: Sequence[Post]) -> npt.NDArray[np.int64]:
    """Return (key, thread) rows of prompts: questions that share a key belong together.

    Keys are of one author: the question's own address, the addresses on its host that its text
    links to, and its title without case, punctuation and what makes it a sequel, such as "part 2"
    or "follow-up to" (English only).
    """
    rows = [
        (hash63(f"{post.author_id}\n{key}"), hash63(post.thread_id))
        for post in posts
        if post.is_prompt
        and post.author_id is not None
        and not (post.by_bot or post.by_staff or post.pinned)
        for key in _keys(post)
    ]
    return np.array(rows, np.int64).reshape(-1, 2)


def _keys(prompt: Post) -> Iterator[str]:
    own = _ADDRESS.match(prompt.url)
    if own is not None:
        host = own[1].lower()
        addresses = {own[2] or own[3]}
        if host in prompt.text.lower():
            addresses |= {
                found[2] or found[3]
                for found in _ADDRESS.finditer(prompt.text)
                if found[1].lower() == host
            }
        yield from sorted(f"{host}/{place}" for place in addresses)
    words = words_of(_SEQUEL.sub(" ", prompt.title))
    if len(words) >= _MIN_TITLE_WORDS:
        yield "\t".join(words)
