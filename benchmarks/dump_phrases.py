"""Sentences, titles and lines of code in endless variety, escaped for a row's attribute."""

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks.dump_words import BOLD, CODE_LINES, FORMULAS, LANGUAGES, SYLLABLES

POOL_SIZE = 40_000
"""Sentences made at a time for a language that makes up all of a dump."""

REUSE = 10
"""Times a made sentence is used in long posts, each time next to different ones."""

PLAIN_MORE = 3
"""Sentences with code, formulas, links or emphasis are this much rarer again than others."""

_NAMES = 20_000
_SLOT_VALUES = 4_000
_MARKUP_SLOT = re.compile(r"\{[cflb]\}")
_SLOT = re.compile(r"\{(\w)\}")

Slots = dict[str, Sequence[Any]]


def escape(text: str) -> str:
    """Escape plain text for HTML inside an XML attribute."""
    return html.escape(html.escape(text, quote=False))


class Pattern:
    """Text with ``{x}`` slots that is filled many times at once; ``{d}`` is a number."""

    def __init__(self, text: str) -> None:
        self._slots: list[str] = _SLOT.findall(text)
        self._format = _SLOT.sub("%s", text.replace("%", "%%"))

    def fill(self, slots: Slots, count: int, random: np.random.Generator) -> list[str]:
        columns = []
        for slot in self._slots:
            if slot == "d":
                columns.append(random.integers(2, 10_000, count).tolist())
            else:
                values = slots[slot]
                columns.append([values[i] for i in random.integers(0, len(values), count).tolist()])
        return [self._format % row for row in zip(*columns, strict=True)]


def fill_all(
    patterns: Iterable[Pattern], slots: Slots, count: int, random: np.random.Generator
) -> list[str]:
    """Return at least ``count`` fillings, in random order, of all patterns equally often."""
    patterns = list(patterns)
    share = -(-count // len(patterns))
    filled = [text for pattern in patterns for text in pattern.fill(slots, share, random)]
    return [filled[i] for i in random.permutation(len(filled)).tolist()]


class Pool:
    """Endless supply of fillings, each taken ``reuse`` times, next to different ones."""

    def __init__(
        self,
        patterns: Iterable[Pattern],
        slots: Slots,
        size: int,
        reuse: int,
        random: np.random.Generator,
    ) -> None:
        self._patterns = list(patterns)
        self._slots = slots
        self._size = size
        self._reuse = reuse
        self._random = random
        self._items: list[str] = []
        self._at = 0
        self._rounds = reuse

    def take(self, count: int) -> list[str]:
        """Return the next ``count`` items."""
        end = self._at + count
        if end > len(self._items):
            self._refill()
            end = count
        taken = self._items[end - count : end]
        self._at = end
        return taken

    def _refill(self) -> None:
        if self._rounds == self._reuse:
            self._items = fill_all(self._patterns, self._slots, self._size, self._random)
            self._rounds = 0
        order = self._random.permutation(len(self._items)).tolist()
        self._items = [self._items[i] for i in order]
        self._rounds += 1
        self._at = 0


class Inventions:
    """Slot values that belong to no language: names, code, formulas and links."""

    def __init__(self, random: np.random.Generator) -> None:
        self.names = invented_names(random)
        self.code = [_tagged("code", text) for text in self._some(_INLINE_CODE, random)]
        self.formulas = [escape(text) for text in self._some(FORMULAS, random)]
        self.links = [_link(text) for text in self._some(["{i}/{i}/{d}"], random)]

    def _some(self, texts: Iterable[str], random: np.random.Generator) -> list[str]:
        return fill_all(map(Pattern, texts), {"i": self.names}, _SLOT_VALUES, random)


class Phrasebook:
    """Pools of sentences, titles, lines of code and one-line answers of one language."""

    def __init__(
        self, code: str, share: float, inventions: Inventions, random: np.random.Generator
    ) -> None:
        language = LANGUAGES[code]
        self.slots: Slots = {
            "n": noun_phrases(code),
            "v": language.verbs,
            "p": [name.capitalize() for name in inventions.names],
            "t": language.durations,
            "w": language.adverbs,
            "i": inventions.names,
            "c": inventions.code,
            "f": inventions.formulas,
            "l": inventions.links,
            "b": [_tagged(tag, text) for tag in ("strong", "em") for text in BOLD[code]],
        }
        size = max(2_000, int(POOL_SIZE * share))
        plain = [text for text in language.patterns if not _MARKUP_SLOT.search(text)]
        patterns = [*language.patterns, *plain * PLAIN_MORE]
        self.sentences = self._pool(patterns, size, REUSE, random)
        # A post of few sentences would equal another one if these were used again.
        self.fresh_sentences = self._pool(patterns, size // 20, 1, random)
        self.titles = self._pool(language.titles, size // 8, 1, random)
        self.code = self._pool([escape(line) for line in CODE_LINES], size // 4, 1, random)
        self.one_liners = self._pool(_ONE_LINERS, size // 20, 1, random)

    def _pool(
        self, texts: Iterable[str], size: int, reuse: int, random: np.random.Generator
    ) -> Pool:
        return Pool([Pattern(text) for text in texts], self.slots, size, reuse, random)


_INLINE_CODE = ("{i}({i}, {d})", "{i}.{i}", "{i}_{d}", "{i}[{d}]", "{i} && {i} < {d}")
_ONE_LINERS = ("{p} {d}!", "+1 {p} {d}", "{p}, {p}?", "{p} {d} {p}.")


def invented_names(random: np.random.Generator) -> list[str]:
    """Return names of three syllables that are words of no language, in lower case."""
    picks = random.integers(0, len(SYLLABLES), (_NAMES, 3)).tolist()
    return ["".join([SYLLABLES[i] for i in row]) for row in picks]


def noun_phrases(code: str) -> list[str]:
    """Return every noun of a language with every modifier."""
    language = LANGUAGES[code]
    phrases = []
    for noun in language.nouns:
        article, _, bare = noun.partition(" ")
        parts = {"noun": noun, "article": article, "bare": bare}
        phrases += [
            language.noun_phrase.format(modifier=modifier, **parts)
            for modifier in language.modifiers
        ]
    return phrases


def _tagged(tag: str, text: str) -> str:
    return f"&lt;{tag}&gt;{escape(text)}&lt;/{tag}&gt;"


def _link(path: str) -> str:
    text = path.rsplit("/", 1)[0].replace("/", " ")
    return f"&lt;a href=&quot;https://example.org/{path}&quot;&gt;{text}&lt;/a&gt;"
