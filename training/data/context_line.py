"""A line before the prompt that says where it was asked: site and tags.

After WorldPM (arXiv 2505.10527, appendix E), whose training texts name the site of a query. Whether
a model was trained with the line is frozen in its template, and :func:`with_context` writes it
wherever the model reads: training, validation, ``evaluate`` and ``score``.
"""

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

ContextKind: TypeAlias = Literal["none", "site", "site_tags"]
"""What the line names."""

MOST_TAGS: Final = 8
"""Tags that are named, the first ones."""


def context_line(site: str, tags: Sequence[str] = (), kind: ContextKind = "site_tags") -> str:
    """E.g. "(From beer.stackexchange.com, tags: hops, ipa)"; '' for no site, or kind 'none'.

    The first of the tags are named, without the white space in them that would end the line.
    """
    site = " ".join(site.split())
    if kind == "none" or not site:
        return ""
    named = [" ".join(tag.split()) for tag in tags][:MOST_TAGS] if kind == "site_tags" else []
    told = f", tags: {', '.join(named)}" if named else ""
    return f"(From {site}{told})"


def with_context(
    prompt: str, site: str, tags: Sequence[str] = (), kind: ContextKind = "site_tags"
) -> str:
    """The prompt after the line and an empty line; the prompt alone where there is no line."""
    line = context_line(site, tags, kind)
    return f"{line}\n\n{prompt.strip()}" if line else prompt


CONTEXT_JINJA: Final = (
    "{%- if site is defined and site -%}{{ '(From ' + site }}TAGS{{ ')\\n\\n' }}{%- endif -%}"
)
"""The same for a chat template, where ``apply_chat_template`` is told ``site=`` and ``tags=``."""

_TAGS_JINJA: Final = (
    "{%- if tags is defined and tags -%}"
    f"{{{{ ', tags: ' + tags[:{MOST_TAGS}] | join(', ') }}}}"
    "{%- endif -%}"
)


def context_jinja(kind: ContextKind) -> str:
    """What a chat template writes before the first message; '' for 'none'."""
    if kind == "none":
        return ""
    return CONTEXT_JINJA.replace("TAGS", _TAGS_JINJA if kind == "site_tags" else "")
