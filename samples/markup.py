"""The small part of Markdown that the sample threads use, rendered as StackExchange renders it."""

import html
import re

LANGUAGE_CLASSES = {"python": "py", "sh": "bash"}
"""Fence names that StackExchange spells differently in its ``lang-…`` classes."""

_RAW_TAG = re.compile(r"&lt;(/?(?:sub|sup|kbd)|br)&gt;")
_ATOM = re.compile(r"(`+)(.+?)\1|\$\$.+?\$\$|\$[^$\n]+\$", re.S)
_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
_STRONG = re.compile(r"\*\*(.+?)\*\*", re.S)
_EMPHASIS = re.compile(r"\*(\S(?:.*?\S)?)\*", re.S)
_MARKER = re.compile(r"(?:(-)|(\d+)\.) +")
_RULE = re.compile(r"\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?")


def render(markdown: str) -> str:
    """Return the HTML of a post body: blocks separated by blank lines, final newline."""
    blocks = _blocks(markdown.splitlines())
    return "\n\n".join(blocks) + "\n" if blocks else ""


def _blocks(lines: list[str]) -> list[str]:
    """Render each block of ``lines``, dispatching on how its first line starts."""
    out: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            at += 1
        elif line.startswith("```"):
            end = lines.index("```", at + 1)
            out.append(_code(line[3:], lines[at + 1 : end]))
            at = end + 1
        elif line.startswith("#") and (title := re.match(r"(#{1,3}) (.+)", line)):
            level = len(title[1])
            out.append(f"<h{level}>{inline(title[2])}</h{level}>")
            at += 1
        elif line == "---":
            out.append("<hr />")
            at += 1
        elif line.startswith(">"):
            end = _run(lines, at, ">")
            out.append(_quote(lines[at:end]))
            at = end
        elif line.startswith("|"):
            end = _run(lines, at, "|")
            out.append(_table(lines[at:end]))
            at = end
        elif _MARKER.match(line):
            end = _list_end(lines, at)
            out.append(_list(lines[at:end]))
            at = end
        else:
            end = _paragraph_end(lines, at)
            out.append(f"<p>{inline(chr(10).join(lines[at:end]))}</p>")
            at = end
    return out


def _paragraph_end(lines: list[str], at: int) -> int:
    """Return the index of the blank line, or of the start of another block, after ``at``."""
    at += 1
    while at < len(lines) and lines[at].strip():
        if lines[at].startswith(("```", ">", "|")) or _MARKER.match(lines[at]):
            break
        at += 1
    return at


def _run(lines: list[str], at: int, prefix: str) -> int:
    """Return the index after the last of the consecutive lines that start with ``prefix``."""
    while at < len(lines) and lines[at].startswith(prefix):
        at += 1
    return at


def _list_end(lines: list[str], at: int) -> int:
    """Return the index after a list: items, indented lines, and blank lines between them."""
    ordered = lines[at][0] != "-"
    end = at
    while at < len(lines):
        marker = _MARKER.match(lines[at])
        if (marker and (marker[1] is None) == ordered) or lines[at].startswith("  "):
            end = at + 1
        elif lines[at].strip():
            break
        at += 1
    return end


def _list(lines: list[str]) -> str:
    """Render a list; an item with a blank line inside or before the next one is loose."""
    tag = "ul" if lines[0][0] == "-" else "ol"
    loose = any(not line.strip() for line in lines)
    items: list[list[str]] = []
    width = 0
    for line in lines:
        if marker := _MARKER.match(line):
            width = marker.end()
            items.append([line[width:]])
        else:
            items[-1].append(line[width:])
    rendered = "\n".join(f"<li>{_item(item, loose)}</li>" for item in items)
    return f"<{tag}>\n{rendered}\n</{tag}>"


def _item(lines: list[str], loose: bool) -> str:
    if loose:
        return "\n".join(_blocks(lines))
    first = next((i for i, line in enumerate(lines) if i and _MARKER.match(line)), len(lines))
    text = inline("\n".join(lines[:first]))
    return "\n".join([text, *_blocks(lines[first:])])


def _code(language: str, lines: list[str]) -> str:
    name = LANGUAGE_CLASSES.get(language, language)
    attribute = f' class="lang-{name} prettyprint-override"' if name else ""
    text = html.escape("\n".join(lines), quote=False)
    return f"<pre{attribute}><code>{text}\n</code></pre>"


def _quote(lines: list[str]) -> str:
    spoiler = lines[0].startswith(">!")
    inner = "\n".join(_blocks([re.sub(r"^>!? ?", "", line) for line in lines]))
    attribute = ' class="spoiler"' if spoiler else ""
    return f"<blockquote{attribute}>\n{inner}\n</blockquote>"


def _table(lines: list[str]) -> str:
    if len(lines) < 2 or not _RULE.fullmatch(lines[1]):
        raise ValueError(f"not a table: {lines[0]!r}")
    styles = [_alignment(cell) for cell in _cells(lines[1])]
    head = _row("th", _cells(lines[0]), styles)
    body = "\n".join(_row("td", _cells(line), styles) for line in lines[2:])
    return (
        '<div class="s-table-container">\n<table class="s-table">\n'
        f"<thead>\n{head}\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _alignment(rule: str) -> str:
    sides = (rule.startswith(":"), rule.endswith(":"))
    name = {(True, True): "center", (False, True): "right", (True, False): "left"}.get(sides)
    return f' style="text-align: {name};"' if name else ""


def _row(tag: str, cells: list[str], styles: list[str]) -> str:
    if len(cells) != len(styles):
        raise ValueError(f"{len(cells)} cells in a table of {len(styles)} columns: {cells}")
    columns = zip(cells, styles, strict=True)
    inner = "\n".join(f"<{tag}{style}>{inline(cell)}</{tag}>" for cell, style in columns)
    return f"<tr>\n{inner}\n</tr>"


def inline(text: str) -> str:
    """Render the inside of a paragraph; code spans and formulas are left as they are."""
    atoms: list[str] = []

    def protect(match: re.Match[str]) -> str:
        code = match[2]
        raw = f"<code>{html.escape(code, quote=False)}</code>" if code else _escape(match[0])
        atoms.append(raw)
        return f"\0{len(atoms) - 1}\0"

    out = _RAW_TAG.sub(r"<\1>", _escape(_ATOM.sub(protect, text)))
    out = _LINK.sub(r'<a href="\2">\1</a>', out)
    out = _STRONG.sub(r"<strong>\1</strong>", out)
    out = _EMPHASIS.sub(r"<em>\1</em>", out)
    return re.sub(r"\0(\d+)\0", lambda match: atoms[int(match[1])], out)


def _escape(text: str) -> str:
    return html.escape(text, quote=False)
