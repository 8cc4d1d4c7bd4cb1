"""Whether a post is named in a takedown list: by its id, its author's, or a link to either."""

import re
from typing import Final

from schemas.post import Post

_LINK: Final = re.compile(r"^https?://(?:www\.)?([^/\s?#]+)(/[^\s?#]*)?([?#]\S*)?$", re.IGNORECASE)


def link_key(link: str) -> str | None:
    """Return a link without what does not matter: scheme, www, case; None: not a link."""
    match = _LINK.match(link)
    if match is None:
        return None
    return f"//{match[1]}{(match[2] or '').rstrip('/')}{match[3] or ''}".lower()


def is_taken_down(post: Post, takedown: frozenset[str]) -> bool:
    """Tell whether ``takedown``, lower-case ids and :func:`link_key` links, names the post."""
    if not takedown:
        return False
    names = (post.id.lower(), (post.author_id or "").lower())
    links = (link_key(post.url), link_key(post.author_url or ""))
    return any(name in takedown for name in (*names, *links))
