"""Words of a text, the same wherever words are counted or compared.

A word is a run of letters, digits and underscores with the marks that belong to them, so that vowel
signs of Devanagari, points of Arabic and Hebrew and combining accents part nothing. In scripts that
are written without spaces, each character with its marks is a word. Everything else parts words,
apostrophes and hyphens too: ``l'homme`` is two, whichever apostrophe it is written with. Characters
that are not seen, such as soft hyphens and joiners, part nothing (Unicode Standard Annex 29, rule
WB4); the zero width space does, which is what it is for.
"""

import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

PARTING, LETTER, SINGLE, MARK, UNSEEN = range(5)
"""Kinds of characters: parts words; part of a word; word by itself; belongs to the character
before it; only says how others are to be drawn or joined."""

UNSPACED: Final = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x2E80, 0x312F),  # Han radicals, Hiragana, Katakana, Bopomofo
    (0x31A0, 0x31FF),
    (0x3400, 0x9FFF),  # Han
    (0xA9E0, 0xA9FF),  # Myanmar
    (0xAA60, 0xAADF),  # Myanmar, Tai Viet
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),  # half-width Katakana
    (0x11700, 0x1174F),  # Ahom
    (0x17000, 0x18D8F),  # Tangut, Khitan
    (0x1AFF0, 0x1B2FF),  # Kana, Nushu
)
"""First and last code point of scripts that are written without spaces: their letters are words by
themselves, as is all of `HAN_PLANES`."""

HAN_PLANES: Final = (0x20000, 0x3FFFF)

_OWN_MARKS: Final = (
    (0xFF9E, 0xFF9F),  # sound marks of half-width Katakana, letters to Unicode's categories
    (0x1F3FB, 0x1F3FF),  # skin tones
)
_NOT_DRAWN: Final = (
    (0x034F, 0x034F),  # combining grapheme joiner
    *((filler, filler) for filler in (0x115F, 0x1160, 0x3164, 0xFFA0)),  # Hangul
    (0x180B, 0x180F),  # variation selectors
    (0xFE00, 0xFE0F),
)
_TAGS_AND_SELECTORS: Final = (0xE0000, 0xE0FFF)
_ZERO_WIDTH_SPACE: Final = 0x200B


@functools.cache
def character_kinds() -> bytes:
    """Return the kind of each code point below `HAN_PLANES`, a byte each; takes some 30 ms once."""
    by_category = {"L": LETTER, "N": LETTER, "M": MARK}
    kinds = bytearray(
        UNSEEN if category == "Cf" else by_category.get(category[0], PARTING)
        for category in map(unicodedata.category, map(chr, range(HAN_PLANES[0])))
    )
    kinds[ord("_")] = LETTER
    kinds[_ZERO_WIDTH_SPACE] = PARTING
    letters_alone = bytes.maketrans(bytes([LETTER]), bytes([SINGLE]))
    for first, last in UNSPACED:
        kinds[first : last + 1] = kinds[first : last + 1].translate(letters_alone)
    for ranges, kind in ((_OWN_MARKS, MARK), (_NOT_DRAWN, UNSEEN)):
        for first, last in ranges:
            kinds[first : last + 1] = bytes([kind]) * (last + 1 - first)
    return bytes(kinds)


def _ranges(kind: int) -> Iterator[tuple[int, int]]:
    for run in re.finditer(re.escape(bytes([kind])) + b"+", character_kinds()):
        yield run.start(), run.end() - 1


def _characters(ranges: Iterable[tuple[int, int]]) -> str:
    """Ranges of code points as they stand between the brackets of a regular expression."""
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)


@functools.cache
def _expressions() -> dict[str, re.Pattern[str]]:
    unseen = _characters((*_ranges(UNSEEN), _TAGS_AND_SELECTORS))
    marks = _characters(_ranges(MARK))
    single = _characters((*_ranges(SINGLE), HAN_PLANES))
    attached = f"[{unseen}{marks}]"
    letters = rf"[^\W{single}{marks}{unseen}]+"
    # The first branch does nothing but save time.
    word = (
        r"[a-zA-Z0-9_]++(?![^\x00-\x7f])"
        rf"|{letters}(?:{attached}+(?:{letters})?)*+|[{single}]{attached}*+"
    )
    sign = rf"[^\w\s\x00-\x1f\x7f-\x9f\u200b{unseen}{marks}]"
    # Two letters that make a flag, and pictures with a joiner between them, are drawn as one.
    signs = (
        rf"(?:[\U0001f1e6-\U0001f1ff]{{2}}|{sign}){attached}*+"
        rf"(?:(?<=\u200d){sign}{attached}*+)*+"
    )
    return {
        "words": re.compile(word),
        "words and signs": re.compile(f"{word}|{signs}"),
        "unseen": re.compile(f"[{unseen}]+"),
    }


def comparable(text: str) -> str:
    """Return the form in which words are compared: without case, width and unseen characters.

    NFKC and full case folding: composed and decomposed accents, ligatures and full-width letters
    are alike, and so are `ß` and `SS`.
    """
    if text.isascii():
        return text.lower()
    seen = _expressions()["unseen"].sub("", text)
    # Folding can leave letters that have a composed form again.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())


def words_of(text: str) -> list[str]:
    """Return the words of a text in the form in which they are compared."""
    return _expressions()["words"].findall(comparable(text))


def count_words_and_signs(text: str) -> int:
    """Return how many words, punctuation marks and other signs a text has.

    An emoji that is made of several characters is one sign. Composed and decomposed letters count
    alike.
    """
    return sum(1 for _ in _expressions()["words and signs"].finditer(text))
