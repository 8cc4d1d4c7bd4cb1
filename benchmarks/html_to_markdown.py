"""Compare HTML to Markdown converters on the posts of real StackExchange dumps.

    python -m benchmarks.html_to_markdown PATH [PATH ...]

A PATH is a Posts.xml, a folder that holds some, or a .7z archive of a site. Needs
markdown-it-py, which reads the Markdown back; html-to-markdown is compared if it is installed.

The judge is the way back: the Markdown is parsed as CommonMark with tables, and what comes
out is compared with what an independent parser finds in the HTML. Each share is over the
posts that have the construct at all.
"""

import argparse
import difflib
import importlib
import itertools
import re
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from markdown_it import MarkdownIt

from transforms.text.markdown import html_to_markdown

try:
    library: Any = importlib.import_module("html_to_markdown")
except ImportError:
    library = None

Converter = Callable[[str], str]

FORMULA = re.compile(
    r"\$\$.+?\$\$|\$[^$\n]*?[\\^_{}=][^$\n]*?\$|\\\(.+?\\\)|\\\[.+?\\\]"
    r"|\\begin\{(\w+\*?)\}.*?\\end\{\1\}",
    re.DOTALL,
)
CODE_OR_TAG = re.compile(r"(<pre\b.*?</pre>|<code\b.*?</code>|<[^<>]*>)", re.DOTALL | re.IGNORECASE)
COMMONMARK = MarkdownIt("commonmark").enable(["table", "strikethrough"])
TIMED_CHUNK = 500
INLINE = frozenset(
    "a b big code del em i kbd s small span strike strong sub sup u".split()  # noqa: SIM905
)


class Content(NamedTuple):
    """What a reader must find in a post, in the order of the post."""

    code_blocks: list[str]
    code_spans: list[str]
    links: list[str]
    images: list[str]
    words: list[str]


class Judge(HTMLParser):
    """Collects the content of HTML: the original's, and that of rendered Markdown."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.content = Content([], [], [], [], [])
        self.in_pre = 0
        self.code: list[str] | None = None
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(reversed(attrs))
        if tag == "pre":
            self.in_pre, self.code = 1, []
        elif tag == "code" and not self.in_pre:
            self.code = []
        elif tag == "a" and values.get("href"):
            self.content.links.append(unquote(values["href"] or ""))
        elif tag == "img" and values.get("src"):
            self.content.images.append(unquote(values["src"] or ""))
        if tag not in INLINE:
            self.text.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag == "pre" and self.code is not None:
            self.content.code_blocks.append("".join(self.code).removesuffix("\n"))
            self.in_pre, self.code = 0, None
        elif tag == "code" and not self.in_pre and self.code is not None:
            if span := " ".join("".join(self.code).split()):
                self.content.code_spans.append(span)
            self.code = None
        if tag not in INLINE:
            self.text.append(" ")

    def handle_data(self, data: str) -> None:
        if self.code is not None:
            self.code.append(data)
        self.text.append(data)


def content_of(html: str) -> Content:
    judge = Judge()
    judge.feed(html.replace("\r\n", "\n").replace("\r", "\n"))
    judge.close()
    judge.content.words.extend("".join(judge.text).split())
    return judge.content


def formulas_of(html: str) -> list[str]:
    """Formulas in the text of a post; as the reader sees them, without code and tags."""
    judge = Judge()
    judge.feed(CODE_OR_TAG.sub("\n\n", html.replace("\r\n", "\n")))
    judge.close()
    return [match[0] for match in FORMULA.finditer("".join(judge.text))]


def with_library(html: str) -> str:
    """The html-to-markdown library, with formulas kept from it, as it escapes them."""
    formulas: list[str] = []

    def hide(match: re.Match[str]) -> str:
        formulas.append(match[0])
        return f"XMATHX{len(formulas) - 1}X"

    if "$" in html or "\\(" in html or "\\begin" in html:
        pieces = CODE_OR_TAG.split(html)
        pieces[::2] = [FORMULA.sub(hide, piece) for piece in pieces[::2]]
        html = "".join(pieces)
    markdown = str(library.convert(html).content)
    for number, formula in enumerate(formulas):
        markdown = markdown.replace(f"XMATHX{number}X", unescape(formula))
    return markdown


def bodies(path: Path) -> Iterator[str]:
    """Bodies of the posts in a Posts.xml, in all under a folder, or in a .7z archive."""
    if path.is_dir():
        for inner in sorted(path.rglob("Posts.xml")):
            yield from bodies(inner)
    elif path.suffix == ".7z":
        import py7zr

        with tempfile.TemporaryDirectory() as folder, py7zr.SevenZipFile(path) as archive:
            archive.extract(folder, targets=["Posts.xml"])
            yield from bodies(Path(folder))
    else:
        for _, row in ET.iterparse(path):
            if row.tag == "row" and row.get("Body"):
                yield row.attrib["Body"]
            row.clear()


def posts_per_second(converters: dict[str, Converter], posts: list[str], rounds: int) -> None:
    """Time the converters in turns on the same chunks, so that both meet the same noise."""
    spent = dict.fromkeys(converters, 0.0)
    for _ in range(rounds):
        for at in range(0, len(posts), TIMED_CHUNK):
            for name, convert in converters.items():
                start = time.process_time()
                for post in posts[at : at + TIMED_CHUNK]:
                    convert(post)
                spent[name] += time.process_time() - start
    print(f"{'posts/s of CPU time':<28}", end="")
    for name in converters:
        print(f"{rounds * len(posts) / spent[name]:>20,.0f}", end="")
    print()


def score(markdown: str, html: str) -> dict[str, bool]:
    """For each construct that the post has: whether it is all there, in order."""
    before, after = content_of(html), content_of(COMMONMARK.render(markdown))
    found = {
        name: getattr(before, name) == getattr(after, name)
        for name in Content._fields
        if getattr(before, name)
    }
    if formulas := formulas_of(html):
        # Trailing spaces in a formula's lines mean nothing.
        flat = re.sub(r"\s+", " ", markdown)
        found["formulas"] = all(re.sub(r"\s+", " ", formula) in flat for formula in formulas)
    found["no trailing spaces"] = not re.search(
        r"[ \t]+$", re.sub(r"(?ms)^[ >]*(`{3,}).*?\1", "", markdown), re.MULTILINE
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path, help="Posts.xml, folder or .7z archive")
    parser.add_argument("--rounds", type=int, default=3, help="times each post is timed")
    parser.add_argument("--samples", type=int, default=3, help="differences to print")
    options = parser.parse_args()

    posts = [body for path in options.paths for body in bodies(path)]
    converters: dict[str, Converter] = {"html_to_markdown": html_to_markdown}
    if library is not None:
        converters["library"] = with_library
    print(f"{len(posts):,} posts, {sum(map(len, posts)) / len(posts):,.0f} characters on average")
    print(f"{'':<28}" + "".join(f"{name:>20}" for name in converters))
    posts_per_second(converters, posts, options.rounds)

    kept = {name: dict.fromkeys(CONSTRUCTS, 0) for name in converters}
    having = dict.fromkeys(CONSTRUCTS, 0)
    differing = []
    for post in posts:
        results = {name: convert(post) for name, convert in converters.items()}
        for number, (name, markdown) in enumerate(results.items()):
            for construct, whole in score(markdown, post).items():
                having[construct] += number == 0
                kept[name][construct] += whole
        if len({tuple(markdown.split()) for markdown in results.values()}) > 1:
            differing.append((post, results))
    for construct in CONSTRUCTS:
        print(f"{construct + f' ({having[construct]:,})':<28}", end="")
        for name in converters:
            print(f"{kept[name][construct] / max(1, having[construct]):>20.2%}", end="")
        print()

    step = max(1, len(differing) // max(1, options.samples))
    for post, results in differing[::step][: options.samples]:
        print("\n--- difference, of", post[:60].replace("\n", " "), "…")
        ours, *others = ((name, markdown.split("\n")) for name, markdown in results.items())
        for other in others:
            lines = difflib.unified_diff(ours[1], other[1], ours[0], other[0], n=0, lineterm="")
            print("\n".join(itertools.islice(lines, 12)))


CONSTRUCTS = (*Content._fields, "formulas", "no trailing spaces")

if __name__ == "__main__":
    main()
