"""HTML as Discourse renders it, without what Discourse adds to the text of a post.

Quotes carry the avatar and name of who is quoted, links a preview of their target, images a
caption with their size, polls a count of voters. None of it was written by the author.
"""

import html as html_entities
from collections.abc import Collection
from typing import Final

from transforms.text.html_tokens import attributes, split_tags, tag_name

_TOUCHED: Final = frozenset(
    (
        *("a", "article", "aside", "blockquote", "code", "details", "div", "iframe", "img", "pre"),
        *("span", "svg"),
    )
)
_PREVIEWS: Final = frozenset(("lazy-video-container",))
_PREVIEW: Final = "onebox"
"""What Discourse calls the preview of a link; kinds of them end in it, as ``user-onebox``."""
_BARE_LINKS: Final = frozenset(("inline-onebox", "inline-onebox-loading"))
"""Links that stood in the text as their address, and show the title of the page instead."""
_DROPPED_BLOCKS: Final = frozenset(("poll-info", "poll-buttons", "elided"))
_UNLINKED: Final = frozenset(("mention", "mention-group", "hashtag", "hashtag-cooked", "anchor"))
_ORNAMENTS: Final = frozenset(("avatar", "site-icon"))
_NO_LANGUAGE: Final = frozenset(("lang-auto", "lang-nohighlight"))


def clean_cooked(html: str, host: str) -> str:
    """Return the HTML of ``cooked`` with only what its author wrote, and with absolute links.

    A quote keeps its text and loses its title line; the preview of a link or of a topic becomes
    the link, and so does the title of a page in the text; a
    magnified image becomes the image at full size; an emoji becomes its name (``:smile:``), a
    mention its text, a formula its LaTeX between dollar signs, a check box ``[x]`` or ``[ ]``.
    Never raises, and takes linear time.
    """
    pieces = split_tags(html)
    if len(pieces) == 1:
        return html
    return _Cleaner(pieces, host).run()


class _Cleaner:
    """Walks the pieces (text, tag, text, …, text) of one post."""

    def __init__(self, pieces: list[str], host: str) -> None:
        self._pieces = pieces
        self._host = host
        self._ends = _closing_tags(pieces)
        self._instead: dict[int, str] = {}  # of closing tags to come

    def run(self) -> str:
        pieces = self._pieces
        out = [pieces[0]]
        at = 1
        while at < len(pieces):
            html, at = self._rewrite(at)
            out += (html, pieces[at + 1])
            at += 2
        return "".join(out)

    def _rewrite(self, at: int) -> tuple[str, int]:
        """Return what stands for the tag at ``at``, and the index of the last tag it replaces."""
        tag = self._pieces[at]
        if at in self._instead:
            return self._instead[at], at
        name = tag_name(tag)
        if name not in _TOUCHED:
            return f"<{tag}>", at
        values = attributes(tag)
        classes = frozenset(values.get("class", "").split())
        if name == "img":
            return self._image(tag, values, classes), at
        if name in ("code", "pre"):
            return f"<{name}>" if classes & _NO_LANGUAGE else f"<{tag}>", at
        end = self._ends.get(at)
        if end is None:
            return f"<{tag}>", at
        if name == "a":
            return self._link(at, end, values, classes)
        if name == "svg" or classes & _DROPPED_BLOCKS:
            return "", end
        if _is_preview(classes):
            return self._preview(at, end, values), end
        if name == "aside" and "quote" in classes:
            # A quote names who is quoted; the preview of a topic here looks the same, and links it.
            if "data-topic" in values and not values.get("data-username"):
                target = self._first_link(at, end, before=("blockquote", "aside"))
                if target:
                    return f"<p>{self._bare_link(target)}</p>", end
            return f"<{tag}>", self._end_of_title(at)
        if "chcklst-box" in classes:
            return "[x]" if "checked" in classes else "[ ]", end
        if "math" in classes:
            opening, self._instead[end] = ("$", "$") if name == "span" else ("<p>$$", "$$</p>")
            return opening, at
        return f"<{tag}>", at

    def _link(
        self, at: int, end: int, values: dict[str, str], classes: frozenset[str]
    ) -> tuple[str, int]:
        target = values.get("href", "")
        if classes & _UNLINKED or target.startswith("#"):
            self._instead[end] = ""
            return "#" if "hashtag-cooked" in classes else "", at
        if "lightbox" in classes:
            inner = self._pieces[at + 2]  # the image comes first, then what describes it
            if tag_name(inner) == "img":
                return self._img(target, attributes(inner).get("alt", "")), end
        if classes & _BARE_LINKS and target:
            return self._bare_link(target), end
        if target.startswith("/"):
            return f'<a href="{html_entities.escape(self._absolute(target))}">', at
        return f"<{self._pieces[at]}>", at

    def _image(self, tag: str, values: dict[str, str], classes: frozenset[str]) -> str:
        if "emoji" in classes:
            return html_entities.escape(values.get("alt") or values.get("title", ""))
        if classes & _ORNAMENTS:
            return ""
        source = values.get("src", "")
        return self._img(source, values.get("alt", "")) if source.startswith("/") else f"<{tag}>"

    def _img(self, source: str, alt: str) -> str:
        escaped = html_entities.escape
        return f'<img src="{escaped(self._absolute(source))}" alt="{escaped(alt)}">'

    def _preview(self, at: int, end: int, values: dict[str, str]) -> str:
        target = values.get("data-onebox-src") or values.get("src") or self._first_link(at, end)
        return f"<p>{self._bare_link(target)}</p>" if target else ""

    def _first_link(self, at: int, end: int, before: Collection[str] = ()) -> str:
        """Target of the first link in an element, in front of any tag whose name is ``before``."""
        for place in range(at + 2, end, 2):
            inner = self._pieces[place]
            name = tag_name(inner)
            if name in before:
                break
            if name == "a" and (target := attributes(inner).get("href", "")):
                return target
        return ""

    def _bare_link(self, target: str) -> str:
        url = html_entities.escape(self._absolute(target))
        return f'<a href="{url}">{url}</a>'

    def _end_of_title(self, at: int) -> int:
        """Index of the last tag of the title of the quote that opens at ``at``."""
        first = at + 2
        if first < len(self._pieces) and tag_name(self._pieces[first]) == "div":
            classes = attributes(self._pieces[first]).get("class", "").split()
            if "title" in classes and not self._pieces[first - 1].strip():
                return self._ends.get(first, at)
        return at

    def _absolute(self, target: str) -> str:
        if target.startswith("//"):
            return f"https:{target}"
        return f"https://{self._host}{target}" if target.startswith("/") else target


def _is_preview(classes: frozenset[str]) -> bool:
    return bool(classes & _PREVIEWS) or any(
        name == _PREVIEW or name.endswith(f"-{_PREVIEW}") for name in classes
    )


def _closing_tags(pieces: list[str]) -> dict[int, int]:
    """Index of the closing tag by that of its opening tag, for the elements that are touched."""
    ends: dict[int, int] = {}
    opened: dict[str, list[int]] = {name: [] for name in _TOUCHED}
    for at in range(1, len(pieces), 2):
        name = tag_name(pieces[at])
        if name in _TOUCHED:
            opened[name].append(at)
        elif name.removeprefix("/") in _TOUCHED and opened[name[1:]]:
            ends[opened[name[1:]].pop()] = at
    return ends
