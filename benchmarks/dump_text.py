"""Titles and bodies of generated posts, and copies of them with a known similarity."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np

from benchmarks.dump_phrases import Phrasebook

SHINGLE_WORDS = 5
MIN_WORDS_TO_EDIT = 60
"""Shorter posts are only copied exactly: one edit would take them below every threshold."""

FEW_SENTENCES = 4

NEWLINE = "&#xA;"
_WORD = re.compile(r"\w+")
_MARKUP = re.compile(r"&lt;.*?&gt;|&(?:amp;)?#?\w+;")


# What a body has besides, or in place of, paragraphs: bits of `extras`.
CODE: Final = 1
LIST: Final = 2
QUOTE: Final = 4
TABLE: Final = 8
ONLY_CODE: Final = 16
ONE_LINE: Final = 32

Block = tuple[str, list[str]]
"""A part of a body: tag as in HTML, and sentences, lines or cells."""


class Kind(StrEnum):
    """How a planted copy differs from its original."""

    EXACT = "exact"
    RESTYLED = "restyled"
    NEAR = "near"
    BELOW = "below"


@dataclass(frozen=True, slots=True)
class Draft:
    """A title ('' for an answer) and a body in blocks, escaped for a row."""

    title: str
    blocks: list[Block]

    @property
    def body(self) -> str:
        parts = [
            f"&lt;p&gt;{' '.join(items)}&lt;/p&gt;" if tag == "p" else _render(tag, items)
            for tag, items in self.blocks
        ]
        return (NEWLINE * 2).join(parts) + NEWLINE


def visible_words(title: str, body: str) -> list[str]:
    """Return the words a reader sees; both texts as escaped in a row."""
    return _WORD.findall(_MARKUP.sub(" ", f"{title} {body}"))


def _render(tag: str, items: list[str]) -> str:
    if tag == "pre":
        return f"&lt;pre&gt;&lt;code&gt;{NEWLINE.join(items)}{NEWLINE}&lt;/code&gt;&lt;/pre&gt;"
    if tag == "blockquote":
        inner = f"&lt;p&gt;{' '.join(items)}&lt;/p&gt;"
    elif tag == "table":
        cells = [f"&lt;td&gt;{item}&lt;/td&gt;" for item in items]
        pairs = zip(cells[::2], cells[1::2], strict=False)
        inner = NEWLINE.join([f"&lt;tr&gt;{left}{right}&lt;/tr&gt;" for left, right in pairs])
    else:
        inner = NEWLINE.join([f"&lt;li&gt;{item}&lt;/li&gt;" for item in items])
    return f"&lt;{tag}&gt;{NEWLINE}{inner}{NEWLINE}&lt;/{tag}&gt;"


def compose(book: Phrasebook, *, question: bool, sentences: int, shape: int, extras: int) -> Draft:
    """Write a post of ``sentences`` sentences; the bits of ``shape`` divide it into paragraphs."""
    title = book.titles.take(1)[0] if question else ""
    if extras & ONE_LINE:
        return Draft(title, [("p", book.one_liners.take(1))])
    if extras & ONLY_CODE:
        return Draft(title, [("pre", book.code.take(3 + (shape & 15)))])
    pool = book.sentences if sentences > FEW_SENTENCES else book.fresh_sentences
    text = pool.take(sentences)
    blocks: list[Block] = []
    at = 0
    bits = shape
    while at < sentences:
        end = at + 2 + (bits & 3)
        bits >>= 2
        blocks.append(("p", text[at:end]))
        at = end
    if extras:
        _decorate(blocks, book, shape, extras)
    return Draft(title, blocks)


def _decorate(blocks: list[Block], book: Phrasebook, shape: int, extras: int) -> None:
    if extras & LIST:
        blocks[-1] = ("ul" if shape & 4 else "ol", blocks[-1][1])
    if extras & QUOTE:
        blocks.insert(0, ("blockquote", book.sentences.take(1)))
    if extras & CODE:
        blocks.insert(1, ("pre", book.code.take(2 + (shape & 7))))
    if extras & TABLE:
        blocks.insert(1, ("table", book.code.take(2 * (2 + (shape & 3)))))


class Copy(NamedTuple):
    """A copy of a draft and its similarity: Jaccard of the sets of 5-word shingles."""

    draft: Draft
    kind: Kind
    similarity: float


def copy_draft(
    draft: Draft, kind: Kind, book: Phrasebook, random: np.random.Generator
) -> Copy | None:
    """Return a copy of ``kind``, None when the original is too short for it.

    A NEAR copy has a similarity of 0.82 to 0.99, BELOW one of 0.5 to 0.75; RESTYLED differs only
    in case and punctuation.
    """
    if kind is Kind.EXACT:
        return Copy(draft, kind, 1.0)
    if kind is Kind.RESTYLED:
        blocks = [_restyle(block) for block in draft.blocks]
        return Copy(Draft(draft.title, blocks), kind, 1.0) if blocks != draft.blocks else None
    shingles = len(visible_words(draft.title, draft.body)) - SHINGLE_WORDS + 1
    if shingles < MIN_WORDS_TO_EDIT:
        return None
    low, high = (0.82, 0.97) if kind is Kind.NEAR else (0.52, 0.72)
    target = float(random.uniform(low, high))
    if random.random() < 0.3:
        copy = _append(draft, kind, target, shingles, book)
    else:
        copy = _replace_words(draft, kind, target, shingles, book, random)
    fits = copy.similarity >= low if kind is Kind.NEAR else copy.similarity <= 0.75
    # A short post may find no word to replace.
    return copy if fits and copy.draft != draft else None


def _restyle(block: Block) -> Block:
    tag, items = block
    return (tag, [_louder(item) for item in items]) if tag in ("p", "ol", "ul") else block


def _louder(sentence: str) -> str:
    # Not upper(): it turns one letter, such as the German sharp s, into two.
    plain = sentence if "&" in sentence else sentence.title()
    return f"{plain[:-1]}!" if plain.endswith(".") else plain


def _append(draft: Draft, kind: Kind, target: float, shingles: int, book: Phrasebook) -> Copy:
    """Add sentences at the end: n of n + added shingles are shared."""
    wanted = shingles * (1 / target - 1)
    added: list[str] = []
    words = 0
    while words < wanted:
        added += book.sentences.take(1)
        words = len(visible_words("", " ".join(added)))
    blocks = [*draft.blocks, ("p", added)]
    return Copy(Draft(draft.title, blocks), kind, shingles / (shingles + words))


def _replace_words(
    draft: Draft,
    kind: Kind,
    target: float,
    shingles: int,
    book: Phrasebook,
    random: np.random.Generator,
) -> Copy:
    """Replace words that are at least five words apart: each takes five shingles along."""
    places = [
        (block, item)
        for block, (tag, items) in enumerate(draft.blocks)
        if tag in ("p", "ul", "ol")
        for item, sentence in enumerate(items)
        if "&" not in sentence and len(sentence.split()) > 2 * SHINGLE_WORDS
    ]
    wanted = shingles * (1 - target) / (SHINGLE_WORDS * (1 + target))
    edits = min(len(places), max(1, math.floor(wanted)))
    chosen = sorted(random.permutation(len(places))[:edits].tolist())
    blocks = [(tag, list(items)) for tag, items in draft.blocks]
    names: Sequence[str] = book.slots["i"]
    for place in chosen:
        block, item = places[place]
        words = blocks[block][1][item].split(" ")
        words[len(words) // 2] = names[int(random.integers(len(names)))]
        blocks[block][1][item] = " ".join(words)
    lost = SHINGLE_WORDS * edits
    return Copy(Draft(draft.title, blocks), kind, (shingles - lost) / (shingles + lost))
