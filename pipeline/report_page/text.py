"""Forum text, which nobody vouches for, as HTML that may stand in our page."""

import re
from typing import Any

import nh3
from markdown_it import MarkdownIt
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from pipeline.console.text import printable

MAX_CHARACTERS = 12_000
"""Longer posts are cut in the page; the link leads to the whole."""

TAGS = {
    *("p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "code", "em"),
    *("strong", "s", "a", "ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "span"),
}
ATTRIBUTES = {"a": {"href"}, "ol": {"start"}}
CLASSES = re.compile(r"[a-z][a-z0-9]{0,3}|image", re.ASCII)
"""Short names that Pygments gives to tokens, and ours for a picture that is not loaded."""

SCHEMES = {"https", "http", "mailto"}
LANGUAGE = re.compile(r"[\w+#.-]{1,24}", re.ASCII)

_FORMATTER = HtmlFormatter(nowrap=True)


def render(markdown: str) -> str:
    """Return sanitised HTML of Markdown text.

    Raw HTML is shown as text; links go to http, https and mailto alone; pictures become their
    description, so nothing is loaded; characters that reorder text become U+FFFD.
    """
    clean = printable(markdown)
    rest = len(clean) - MAX_CHARACTERS
    if rest > 0:
        clean = clean[:MAX_CHARACTERS]
    made = _sanitise(_PARSER.render(clean))
    if rest > 0:
        made += f"<p><em>[cut here; {rest:,} more characters at the source]</em></p>"
    return made


def safe_url(url: str | None) -> str:
    """Return a link of http or https as it is, anything else as ''."""
    url = printable(url or "")
    return url if re.match(r"https?://[^\s\"'<>\\]+$", url) else ""


def _sanitise(made: str) -> str:
    return nh3.clean(
        made,
        tags=TAGS,
        attributes={**ATTRIBUTES, "span": {"class"}},
        attribute_filter=_keep,
        url_schemes=SCHEMES,
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )


def _keep(tag: str, name: str, value: str) -> str | None:
    if name == "class":
        return value if CLASSES.fullmatch(value) else None
    # A link without a scheme would point into the reader's own files.
    if name == "href" and not re.match(r"(https?://|mailto:)", value, re.IGNORECASE):
        return None
    return value


def _code(code: str, language: str, _: Any) -> str:
    """Highlighted code; '' lets the parser escape it where the language is not named."""
    if not LANGUAGE.fullmatch(language):
        return ""
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return ""
    found: str = highlight(code, lexer, _FORMATTER)
    return f"<pre><code>{found}</code></pre>\n"


def _image(renderer: Any, tokens: Any, place: int, options: Any, env: Any) -> str:
    described = renderer.renderInlineAsText(tokens[place].children or [], options, env)
    escaped = nh3.clean_text(described) if described else ""
    return f'<span class="image">picture{": " if escaped else ""}{escaped}</span>'


def _parser() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False, "highlight": _code})
    made.enable(["table", "strikethrough"])
    made.add_render_rule("image", _image)
    return made


_PARSER = _parser()
