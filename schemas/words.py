"""Words of a text, the same wherever words are counted or compared."""

import re
from typing import Final

UNSPACED: Final = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x312F),  # Han radicals, Hiragana, Katakana, Bopomofo
    (0x31A0, 0x31FF),
    (0x3400, 0x9FFF),  # Han
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),  # half-width Katakana
)
"""First and last code point of scripts that are written without spaces: there each character counts
as a word, as do the Han characters from 0x20000 on."""

_SINGLE: Final = "".join(
    f"{chr(first)}-{chr(last)}" for first, last in (*UNSPACED, (0x20000, 0x3FFFF))
)
WORD: Final = rf"[{_SINGLE}]|[^\W{_SINGLE}]+"
"""Regular expression of a word."""
WORDS: Final = re.compile(WORD)
WORDS_AND_MARKS: Final = re.compile(rf"{WORD}|[^\w\s]")
"""Words and punctuation marks."""
