"""Which posts a takedown list names: by their ids, their authors', or links to either."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from schemas.audit import Rejected
from schemas.counts import RecordCount
from schemas.post import Post
from transforms.core.outcomes import ThreadOutcome
from transforms.threads.links import UnclearLinkError, names_of_link, normal_name

TakedownIndex = Mapping[str, tuple[int, ...]]
"""By name (`transforms.threads.links.normal_name`), the numbers of the entries that give it."""

PostKey = tuple[str, str]
"""Thread and id: what tells posts apart, as one may be in several threads."""

TAKEDOWN_STAGE: Final = "takedown"
"""``stage`` of the counts of what entries have found: ``NUMBER:posts``, ``NUMBER:others`` and
``NUMBER:unread``."""


def names_of_post(post: Post) -> set[str]:
    """Return the names by which a list may name the post or its author."""
    names = {normal_name(post.id)}
    if post.author_id:
        names.add(normal_name(post.author_id))
    for link in (post.url, post.author_url):
        if link:
            try:
                names |= names_of_link(link)
            except UnclearLinkError:  # of a post that has no link of its own
                continue
    return names


def entries_naming(names: Iterable[str], takedown: TakedownIndex) -> frozenset[int]:
    """Return the numbers of the entries that give any of the names."""
    return frozenset(number for name in names for number in takedown.get(name, ()))


def named_posts(posts: Iterable[Post], takedown: TakedownIndex) -> dict[PostKey, frozenset[int]]:
    """Return the posts that entries name, and which do; any copy of a post may show its author."""
    named: dict[PostKey, frozenset[int]] = {}
    for post in posts if takedown else ():
        if found := entries_naming(names_of_post(post), takedown):
            key = post.thread_id, post.id
            named[key] = named.get(key, frozenset()) | found
    return named


def count_found(
    named: Mapping[PostKey, frozenset[int]],
    without: Iterable[ThreadOutcome],
    within: Iterable[ThreadOutcome],
) -> list[RecordCount]:
    """Count what each entry has found among the posts of whole threads.

    ``posts``: those that it named. ``others``: posts of the same threads that stay in ``without``
    (the threads as they are without the list) and are not in ``within`` (as they are with it),
    though no entry names them: they lost their prompt, or what they could be compared with.
    """
    counts: Counter[str] = Counter()
    by_thread: dict[str, frozenset[int]] = {}
    for (thread, _), entries in named.items():
        by_thread[thread] = by_thread.get(thread, frozenset()) | entries
        counts.update(f"{number}:posts" for number in entries)
    for thread, _ in _kept(without) - _kept(within) - named.keys():
        counts.update(f"{number}:others" for number in by_thread.get(thread, ()))
    return [RecordCount(TAKEDOWN_STAGE, key, amount) for key, amount in sorted(counts.items())]


def _kept(outcomes: Iterable[ThreadOutcome]) -> set[PostKey]:
    return {
        (outcome.thread.id, post.id)
        for outcome in outcomes
        if outcome.thread is not None
        for post in (outcome.thread.prompt, *outcome.thread.responses)
    }


def count_unread(rejected: Rejected, takedown: TakedownIndex) -> list[RecordCount]:
    """Count the entries that name, by its id, a post of which its reader could not make one."""
    if rejected.record != "post":
        return []
    return [
        RecordCount(TAKEDOWN_STAGE, f"{number}:unread", 1)
        for number in sorted(entries_naming([normal_name(rejected.id)], takedown))
    ]
