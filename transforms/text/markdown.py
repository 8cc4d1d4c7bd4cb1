"""Rendered HTML of a forum post to Markdown, with code and formulas left as they are."""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from transforms.text.emphasis import Delimiter, delimiter, join_pieces
from transforms.text.html_tokens import attributes, decode, split_tags, tag_name
from transforms.text.links import absolute

MAX_INDENT: Final = 64
"""Characters before a line beyond which deeper quotes and lists add none, so that the output
of a post with 100,000 nested quotes stays proportional to its input."""

_LANGUAGE = re.compile(r"(?:^|\s)(?:lang|language)-([a-zA-Z0-9_+#.-]+)")
_BACKTICKS = re.compile(r"`+")
_LINK_DELIMITERS = re.compile(r"[\s<>()]")
_PLAIN_LINK = re.compile(r'a href="([^"&]*)"')
_AUTOLINK = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]{1,31}:[^\s<>]*")
_BLANK_LINES = re.compile(r"\n{3,}")
_PIPES = re.compile(r"(\\*)\|")
_ALIGN = re.compile(r"align\s*[:=]\s*[\"']?(left|right|center)")

_MARKS: Final = {
    "em": "*", "i": "*", "strong": "**", "b": "**", "del": "~~", "s": "~~", "strike": "~~",
    "sup": "<sup>", "sub": "<sub>", "kbd": "<kbd>",
}  # fmt: skip
_DELIMITERS: Final = frozenset(("*", "**", "~~"))
_CLOSING: Final = {"<sup>": "</sup>", "<sub>": "</sub>", "<kbd>": "</kbd>"}
_IMAGE_PLACEHOLDERS: Final = frozenset(("enter image description here", "image", "alt text"))
_LINK_PLACEHOLDER: Final = "enter link description here"
"""What editors of forums put in place of a text, and people leave there."""
_UNSAFE_SCHEMES: Final = ("javascript:", "vbscript:", "data:")
_RULES: Final = {"left": ":---", "right": "---:", "center": ":---:", "": "---"}


def html_to_markdown(html: str, page: str = "") -> str:
    r"""Convert the HTML body of a post to Markdown; never raises, and takes linear time.

    ``page`` is the address of the post, from which its relative links become absolute ones; ''
    where it has none, and they stay.

    The text of ``<pre>``, outside tables, is kept byte for byte in a fence longer than any run
    of backticks in it, and carries the language that the post declares. In an inline code
    span a line break becomes a space, which is how it is rendered. ``sup``, ``sub`` and
    ``kbd`` stay HTML, because Markdown has no other form for them.

    Plain text is not escaped. The formulas that forums render with MathJax are plain text
    here, so a backslash before ``_``, ``*`` or ``\`` would change them, and a model would
    learn ``snake\_case`` from text that nobody wrote. The price is that text which looks
    like Markdown (a line that begins with ``#``) reads as Markdown.

    Line breaks are "\n" only. ``<br>`` is a line break, runs of blank lines become one blank
    line, and no line outside code ends in a space. Link titles, comments, scripts and styles
    are dropped. Tables become pipe tables, whose cells hold one line each.

    Bold, emphasised and deleted text keeps its marks where a reader of Markdown would take them
    for such, and has none elsewhere: ``word<b>(x)</b>word`` would show its asterisks. The texts
    that editors put in for a missing description of an image or a link are dropped.
    """
    writer = _Writer(split_tags(html), page)
    writer.run()
    return "".join(writer.out)


class _Container(NamedTuple):
    """An open list, item or quote, and what to return to when it closes."""

    kind: str
    prefix: str
    first: str | None


class _Mark(NamedTuple):
    """An open inline element, whose opening text is `buffer[start]`."""

    kind: str
    start: int
    target: str


class _Writer:
    """Walks the pieces (text, tag, text, tag, …, text) of one post and writes blocks."""

    def __init__(self, pieces: list[str], page: str) -> None:
        self.pieces = pieces
        self.page = page
        self.at = 1  # index of the next tag in `pieces`
        self.out: list[str] = []
        self.handlers = _HANDLERS
        # The paragraph that is being read: its pieces, and the inline elements open in it.
        self.buffer: list[str] = []
        self.marks: list[_Mark] = []
        self.emphases = 0
        self.depth: dict[str, int] = {}
        self.heading = ""
        # What the next block is set off by: 1 line break, 2 blank line, 3 blank line unless it
        # is a list item. `first` starts its first line, `prefix` the others, `blank` blank ones.
        self.gap = 2
        self.first: str | None = None
        self.prefix = ""
        self.blank = ""
        self.containers: list[_Container] = []
        self.open: dict[str, int] = {}
        self.counters: list[int | None] = []
        # For each open list, how far its last closed item was indented, and len(`out`) after it.
        self.last_items: list[tuple[int, int]] = []
        # Code languages declared by comments, for the next block and for all.
        self.language = ""
        self.default_language = ""
        self.rows: list[list[list[str]]] = []  # rows of cells of the texts in them
        self.aligns: list[str] = []
        self.tables = 0

    def run(self) -> None:
        pieces = self.pieces
        buffer = self.buffer
        end = len(pieces)
        text = pieces[0]
        while True:
            if text and (buffer or not text.isspace()):
                buffer.append(decode(text) if "&" in text else text)
            at = self.at
            if at >= end:
                break
            self.at = at + 2
            name = tag = pieces[at]
            handler = self.handlers.get(tag)
            if handler is None:
                name = tag_name(tag)
                handler = self.handlers.get(name)
            if handler is not None:
                handler(self, name, tag)
            text = pieces[self.at - 1]
        if self.tables:
            self.end_table()
        self.flush()

    # Blocks

    def flush(self) -> None:
        """End the current paragraph and write it if it has any text."""
        while self.marks:
            self.end_mark()
        text = self.join_buffer().strip()
        if not text:
            return
        if self.heading:
            text = self.heading + _one_line(text)
            self.heading = ""
        elif "\n" in text:
            text = _tidy(text)
        self.emit(text)

    def join_buffer(self) -> str:
        text = join_pieces(self.buffer) if self.emphases else "".join(self.buffer)
        self.emphases = 0
        self.buffer.clear()
        return text

    def emit(self, text: str) -> None:
        """Write one block, set off from the one before and indented into its containers."""
        out = self.out
        prefix = self.prefix
        if out:
            out.append("\n" + self.blank.rstrip() + "\n" if self.gap > 1 else "\n")
        if prefix:
            out.append(prefix if self.first is None else self.first)
            if "\n" in text:
                bare = prefix.rstrip()
                first, *rest = text.split("\n")
                text = "\n".join([first, *[prefix + line if line else bare for line in rest]])
        elif self.first is not None:
            out.append(self.first)
        out.append(text)
        self.first = None
        self.blank = prefix
        self.gap = 1

    def block(self, name: str, tag: str) -> None:
        if self.buffer:
            self.flush()
        self.gap = 2

    def start_heading(self, name: str, tag: str) -> None:
        self.block(name, tag)
        self.heading = "#" * int(name[1]) + " "

    def end_heading(self, name: str, tag: str) -> None:
        self.block(name, tag)
        self.heading = ""

    def rule(self, name: str, tag: str) -> None:
        self.block(name, tag)
        # After the marker of an empty item, "- ---" would be one rule and no item.
        self.emit("---" if self.first is None else "***")
        self.gap = 2

    def line_break(self, name: str, tag: str) -> None:
        # The source has its own line break after most <br>; both together are one.
        self.buffer.append("\n")
        self.pieces[self.at - 1] = self.pieces[self.at - 1].lstrip()

    # Containers

    def push(self, kind: str, prefix: str, marker: str) -> None:
        self.containers.append(_Container(kind, self.prefix, self.first))
        self.open[kind] = self.open.get(kind, 0) + 1
        if marker and len(self.prefix) < MAX_INDENT:
            self.first = (self.prefix if self.first is None else self.first) + marker
            self.prefix += prefix

    def pop(self, kind: str) -> bool:
        """Close the innermost `kind` and all that is open in it; False if there is none."""
        if not self.open.get(kind):
            return False
        while True:
            container = self.containers.pop()
            self.open[container.kind] -= 1
            if container.kind == "list":
                self.counters.pop()
                self.last_items.pop()
            elif container.kind == "item" and self.last_items and self.first is None:
                self.last_items[-1] = (len(self.prefix) - len(container.prefix), len(self.out))
            self.prefix = container.prefix
            if self.first is not None:  # nothing was written in it
                self.first = container.first
            if len(self.prefix) < len(self.blank):
                self.blank = self.prefix
            if container.kind == kind:
                return True

    def start_quote(self, name: str, tag: str) -> None:
        self.block(name, tag)
        spoiler = len(tag) > len(name) and "spoiler" in attributes(tag).get("class", "")
        marker = ">! " if spoiler else "> "
        self.push("quote", marker, marker)

    def end_quote(self, name: str, tag: str) -> None:
        self.block(name, tag)
        self.pop("quote")

    def start_list(self, name: str, tag: str) -> None:
        self.flush()
        if self.containers and self.containers[-1].kind == "list":
            self.reopen_item()
        if not (self.containers and self.containers[-1].kind == "item"):
            self.gap = 2
        number = None
        if name == "ol":
            start = attributes(tag).get("start", "1") if len(tag) > 2 else "1"
            # CommonMark takes at most nine digits.
            number = int(start) if start.isascii() and start.isdigit() and len(start) < 9 else 1
        self.push("list", "", "")
        self.counters.append(number)
        self.last_items.append((0, 0))

    def reopen_item(self) -> None:
        """Go back into the item just closed: a list right in a list is shown as part of that."""
        width, written = self.last_items[-1]
        if width and written == len(self.out):
            self.push("item", "", "")
            self.prefix += " " * width
            self.gap = 1

    def end_list(self, name: str, tag: str) -> None:
        self.flush()
        if self.pop("list"):
            inside = bool(self.containers) and self.containers[-1].kind == "item"
            self.gap = 3 if inside and self.gap != 2 else 2

    def start_item(self, name: str, tag: str) -> None:
        self.flush()
        if self.containers and self.containers[-1].kind == "item":
            self.pop("item")
        if self.gap == 3:
            self.gap = 1
        marker = "- "
        if self.counters and (number := self.counters[-1]) is not None:
            marker = f"{number}. "
            self.counters[-1] = number + 1
        self.push("item", " " * len(marker), marker)

    def end_item(self, name: str, tag: str) -> None:
        self.flush()
        self.pop("item")

    # Code

    def take_text(self, ends: frozenset[str]) -> str:
        """Return the text up to the first tag in `ends`, and stop before that tag."""
        pieces = self.pieces
        taken = []
        at = self.at
        while True:
            taken.append(pieces[at - 1])
            if at >= len(pieces):
                break
            name = tag_name(pieces[at])
            if name in ends:
                break
            if name == "br":
                taken.append("\n")
            at += 2
        # The text before the tag at `at` is taken; the walk goes on with nothing, then the tag.
        pieces[at - 1] = ""
        self.at = at
        return decode("".join(taken))

    def code_span(self, name: str, tag: str) -> None:
        code = self.take_text(_CODE_ENDS)
        if self.pieces[self.at + 1 : self.at + 3] == ["", "code"]:
            code = self.adjoining_spans(code)
        if "\n" in code:
            code = _one_line(code)
        if not code:
            return
        fence = "`"
        if "`" in code:
            fence = "`" * (1 + max(map(len, _BACKTICKS.findall(code))))
        padded = code[0] == "`" or code[-1] == "`" or (code[0] == code[-1] == " " and code.strip())
        span = f"{fence} {code} {fence}" if padded else fence + code + fence
        # In a cell, a backslash before a pipe goes before code is read.
        self.buffer.append(_CodeSpan(span.replace("|", "\\|") if self.in_cell() else span))

    def adjoining_spans(self, code: str) -> str:
        """Add the code of the spans that follow without anything between: their backticks would
        be read as one longer fence."""
        parts = [code]
        while self.pieces[self.at : self.at + 3] == ["/code", "", "code"]:
            self.at += 4
            parts.append(self.take_text(_CODE_ENDS))
        return "".join(parts)

    def code_block(self, name: str, tag: str) -> None:
        at = self.at
        # HTML gives no meaning to a line break that directly follows <pre>.
        self.pieces[at - 1] = self.pieces[at - 1].removeprefix("\n")
        code = self.take_text(_PRE_ENDS)
        language = self.language or self.default_language
        self.language = ""
        inner = self.pieces[at] if at < len(self.pieces) else ""
        for declared in (tag, inner if inner.startswith("code ") else ""):
            if "class" in declared and (found := _code_language(declared)):
                language = found
        self.block(name, tag)
        if not code.strip():
            return
        longest = max(map(len, _BACKTICKS.findall(code)), default=0)
        fence = "`" * max(3, longest + 1)
        end = "" if code[-1] == "\n" else "\n"
        self.emit(f"{fence}{'' if language == 'none' else language}\n{code}{end}{fence}")
        self.gap = 2

    def comment(self, name: str, tag: str) -> None:
        key, _, value = tag[3:-2].strip().partition(":")
        language = value.strip().removeprefix("lang-")
        if not re.fullmatch(r"[a-zA-Z0-9_+#.-]+", language):
            return
        if key == "language-all":
            self.default_language = language
        else:
            self.language = language

    def skip(self, name: str, tag: str) -> None:
        self.take_text(frozenset(("/" + name,)))

    # Inline

    def start_mark(self, name: str, tag: str) -> None:
        self.open_mark(_MARKS[name], "")

    def open_mark(self, kind: str, target: str) -> None:
        # <b><strong> is one emphasis: four asterisks would be none.
        depth = self.depth.get(kind, 0)
        self.depth[kind] = depth + 1
        if not depth:
            self.marks.append(_Mark(kind, len(self.buffer), target))
            if kind in _DELIMITERS:
                self.emphases += 1
                self.buffer.append(delimiter(kind, self.emphases))
            else:
                self.buffer.append(kind)

    def finish_mark(self, name: str, tag: str) -> None:
        kind = "[" if name == "/a" else _MARKS[name[1:]]
        depth = self.depth.get(kind, 0)
        if depth > 1:
            self.depth[kind] = depth - 1
        elif depth:
            while self.end_mark() != kind:
                pass

    def end_mark(self) -> str:
        """Close the innermost inline element and return its kind."""
        kind, start, target = self.marks.pop()
        self.depth[kind] = 0
        buffer = self.buffer
        inside = start + 1
        if kind != "[":
            opening = buffer[start]
            if isinstance(opening, Delimiter):
                closing: str = delimiter(kind, -opening.number)
            else:
                closing = _CLOSING[kind]
        elif not target:
            buffer[start] = ""
            return kind
        else:
            if len(buffer) == inside + 1 and buffer[inside].strip().lower() == _LINK_PLACEHOLDER:
                buffer[inside] = target
            if (
                len(buffer) == inside + 1
                and buffer[inside] == target
                and _AUTOLINK.fullmatch(target)
            ):
                buffer[start:] = ["<" + target + ">"]
                return kind
            closing = "](" + _destination(target) + ")"
            self.keep_from_escape()
            if any(map(str.strip, buffer[inside:])):
                self.keep_from_image(start)
        head, tail = (buffer[inside], buffer[-1]) if inside < len(buffer) else ("", "")
        if not head or not tail or head[0].isspace() or tail[-1].isspace():
            self.trim_mark(start, closing)
        else:
            buffer.append(closing)
        return kind

    def keep_from_image(self, start: int) -> None:
        """Escape an exclamation mark right before a link, with which it would be an image."""
        before = start - 1
        while before > 0 and not self.buffer[before]:
            before -= 1
        if before >= 0 and self.buffer[before].endswith("!"):
            self.buffer[before] = self.buffer[before][:-1] + "\\!"

    def keep_from_escape(self) -> None:
        """Double a backslash right before the end of a link, with which it would be no link."""
        last = self.buffer[-1]
        if type(last) is str and (len(last) - len(last.rstrip("\\"))) % 2:
            self.buffer[-1] = last + "\\"

    def trim_mark(self, start: int, closing: str) -> None:
        """Close a mark whose white space at the edges goes outside: "** a **" is not emphasis."""
        buffer = self.buffer
        inside = [at for at in range(start + 1, len(buffer)) if buffer[at].strip()]
        if not inside:
            buffer[start] = ""
            return
        first, last = inside[0], inside[-1]
        if lead := buffer[first][: -len(buffer[first].lstrip())]:
            buffer[first] = buffer[first].lstrip()
        if trail := buffer[last][len(buffer[last].rstrip()) :]:
            buffer[last] = buffer[last].rstrip()
        buffer[start:first] = ["".join(buffer[start + 1 : first]) + lead, buffer[start]]
        last += start + 2 - first
        buffer[last + 1 : last + 1] = [closing, trail]

    def start_link(self, name: str, tag: str) -> None:
        plain = _PLAIN_LINK.match(tag)
        target = plain[1] if plain else attributes(tag).get("href", "")
        self.open_mark("[", "" if _is_unsafe(target) else absolute(target, self.page))

    def image(self, name: str, tag: str) -> None:
        values = attributes(tag)
        alt = " ".join(values.get("alt", "").split())
        if alt.lower() in _IMAGE_PLACEHOLDERS:
            alt = ""
        source = values.get("src", "")
        if source and not _is_unsafe(source):
            source = absolute(source, self.page)
            self.buffer.append(f"![{alt}]({_destination(source)})")
        else:
            self.buffer.append(alt)

    # Tables: until the table ends, other blocks only separate words in a cell

    def start_table(self, name: str, tag: str) -> None:
        if not self.tables:
            self.block(name, tag)
            self.rows, self.aligns = [], []
            self.handlers = _TABLE_HANDLERS
        self.tables += 1

    def start_row(self, name: str, tag: str) -> None:
        self.end_cell(name, tag)
        self.rows.append([])

    def start_cell(self, name: str, tag: str) -> None:
        self.end_cell(name, tag)
        if not self.rows:
            self.rows.append([])
        self.rows[-1].append([])
        if len(self.rows) == 1:
            align = _ALIGN.search(tag)
            self.aligns.append(align[1] if align else "")

    def end_cell(self, name: str, tag: str) -> None:
        while self.marks:
            self.end_mark()
        in_cell = self.in_cell()
        if in_cell:
            self.buffer[:] = [_cell_piece(piece) for piece in self.buffer]
        text = self.join_buffer().strip()
        if not text:
            return
        if not in_cell:
            self.emit(_tidy(text))  # text outside any cell
            self.gap = 2
            return
        self.rows[-1][-1].append(_one_line(text))

    def in_cell(self) -> bool:
        return bool(self.tables and self.rows and self.rows[-1])

    def finish_table(self, name: str, tag: str) -> None:
        self.tables -= 1
        if not self.tables:
            self.end_table()

    def end_table(self) -> None:
        self.end_cell("", "")
        self.tables = 0
        self.handlers = _HANDLERS
        rows = [[" ".join(cell) for cell in row] for row in self.rows if row]
        if not any(map(any, rows)):
            return
        columns = max(map(len, rows))
        rows[0] += [""] * (columns - len(rows[0]))
        aligns = (self.aligns + [""] * columns)[:columns]
        lines = [" | ".join(row) for row in rows]
        lines.insert(1, " | ".join(_RULES[align] for align in aligns))
        self.emit("\n".join(f"| {line} |" for line in lines))
        self.gap = 2

    def cell_space(self, name: str, tag: str) -> None:
        self.buffer.append(" ")

    def cell_break(self, name: str, tag: str) -> None:
        self.buffer.append("<br>")


class _CodeSpan(str):
    """A code span; in a cell of a table, its pipes are escaped."""


def _cell_piece(piece: str) -> str:
    r"""Escape the pipes in a cell, and the backslashes before one, which are read twice."""
    if isinstance(piece, (_CodeSpan, Delimiter)) or "|" not in piece:
        return piece
    return _PIPES.sub(r"\1\1\\|", piece)


def _code_language(tag: str) -> str:
    match = _LANGUAGE.search(attributes(tag).get("class", ""))
    return match[1] if match else ""


def _is_unsafe(url: str) -> bool:
    return url.lstrip().lower().startswith(_UNSAFE_SCHEMES)


def _destination(url: str) -> str:
    """Write a link target so that its own spaces and parentheses do not end it."""
    if not _LINK_DELIMITERS.search(url):
        return url
    url = url.replace("\n", "").strip()
    depth = 0
    for character in url:
        depth += (character == "(") - (character == ")")
        if depth < 0 or character in " \t<>":
            break
    else:
        if not depth:
            return url
    return "<" + url.replace("<", "%3C").replace(">", "%3E") + ">"


def _one_line(text: str) -> str:
    return " ".join(filter(None, map(str.strip, text.split("\n"))))


def _tidy(text: str) -> str:
    """Trim the lines of a paragraph; display formulas keep their indentation."""
    lines = text.split("\n")
    if "$$" in text or "\\begin" in text:
        lines = [line.rstrip() for line in lines]
    else:
        lines = [line.strip() for line in lines]
    return _BLANK_LINES.sub("\n\n", "\n".join(lines))


_Handler = Callable[[_Writer, str, str], None]

_INLINE: Final[dict[str, _Handler]] = {
    "a": _Writer.start_link,
    "/a": _Writer.finish_mark,
    "code": _Writer.code_span,
    "img": _Writer.image,
    "script": _Writer.skip,
    "style": _Writer.skip,
    "!--": _Writer.comment,
    **dict.fromkeys(_MARKS, _Writer.start_mark),
    **dict.fromkeys(("/" + name for name in _MARKS), _Writer.finish_mark),
}
_BLOCK_NAMES: Final = (
    "p", "div", "section", "article", "header", "footer", "details", "summary", "figure",
    "figcaption", "dl", "dt", "dd", "center", "address", "form", "fieldset",
)  # fmt: skip
_HEADINGS: Final = ("h1", "h2", "h3", "h4", "h5", "h6")
_TABLE_BLOCKS: Final = (
    *("table", "/table", "caption", "/caption", "thead", "/thead", "tbody", "/tbody"),
    *("tfoot", "/tfoot", "tr", "/tr", "td", "/td", "th", "/th"),
)
_HANDLERS: Final[dict[str, _Handler]] = {
    **_INLINE,
    **dict.fromkeys(_BLOCK_NAMES, _Writer.block),
    **dict.fromkeys(("/" + name for name in _BLOCK_NAMES), _Writer.block),
    **dict.fromkeys(_HEADINGS, _Writer.start_heading),
    **dict.fromkeys(("/" + name for name in _HEADINGS), _Writer.end_heading),
    "br": _Writer.line_break,
    "hr": _Writer.rule,
    "blockquote": _Writer.start_quote,
    "/blockquote": _Writer.end_quote,
    "ul": _Writer.start_list,
    "ol": _Writer.start_list,
    "/ul": _Writer.end_list,
    "/ol": _Writer.end_list,
    "li": _Writer.start_item,
    "/li": _Writer.end_item,
    "pre": _Writer.code_block,
    "table": _Writer.start_table,
}
_CODE_ENDS: Final = frozenset(
    set(_HANDLERS) - set(_INLINE) - {"br"} | {"/code", "/pre", *_TABLE_BLOCKS}
)
_PRE_ENDS: Final = frozenset(("/pre",))
_TABLE_HANDLERS: Final[dict[str, _Handler]] = {
    **dict.fromkeys(_HANDLERS, _Writer.cell_space),
    **_INLINE,
    "pre": _Writer.code_span,
    "br": _Writer.cell_break,
    "table": _Writer.start_table,
    "/table": _Writer.finish_table,
    "tr": _Writer.start_row,
    "/tr": _Writer.end_cell,
    "td": _Writer.start_cell,
    "th": _Writer.start_cell,
    **dict.fromkeys(("/td", "/th", "/caption"), _Writer.end_cell),
}
