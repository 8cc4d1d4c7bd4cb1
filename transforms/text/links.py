"""Links of posts made absolute: a text that has left its forum has no page to be relative to."""

import re
from typing import Final
from urllib.parse import urljoin

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")
_HOST_ALONE: Final = "www."
_TARGET_OR_CODE = re.compile(
    # code blocks and spans, which stay as they are; an indented item of a list is no code
    r"(?P<code>^[ \t>]*+(?P<fence>```++|~~~++)[^\n]*+\n(?s:.*?)(?:^[ \t>]*+(?P=fence)|\Z)"
    r"|^(?: {4}|\t)(?![ \t]*+(?:[-*+]|\d{1,9}[.)])[ \t])[^\n]*$"
    r"|(?<!`)(?P<ticks>`++)(?:[^`\n]++|(?!(?P=ticks)(?!`))`++)*+(?P=ticks)(?!`))"
    # the target of a link or image, and of a reference
    r"|(?P<before>\]\([ \t]*+<?|^(?: {0,3}>)*+ {0,3}\[[^\[\]\n]+\]:[ \t]*<?)"
    r"(?P<target>(?:/|\.\.?/|\?|www\.)[^\s<>()]*)",
    re.MULTILINE,
)


def absolute(target: str, page: str) -> str:
    """Return the address that a link on ``page`` leads to (RFC 3986, section 5).

    ``//host/x`` gets https where there is no page; all else then stays. An address without its
    scheme (``www.host/x``) is meant as one and gets it.
    """
    if _SCHEME.match(target):
        return target
    target = target.strip()
    if _SCHEME.match(target):
        return target
    if target[:4].lower() == _HOST_ALONE:
        return f"http://{target}"
    if target.startswith("//"):
        page = page or "https:"
    if not page or not target:
        return target
    try:
        return urljoin(page, target)
    except ValueError:  # brackets that are no IPv6 address
        return target


def absolute_links(markdown: str, page: str) -> str:
    """Make the links of a Markdown text absolute, but not what is in code."""
    if not page or ("](" not in markdown and "]:" not in markdown):
        return markdown
    return _TARGET_OR_CODE.sub(
        lambda found: (
            found[0] if found["code"] else found["before"] + absolute(found["target"], page)
        ),
        markdown,
    )
