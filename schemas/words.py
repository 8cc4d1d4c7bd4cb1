"""Words of a text, the same wherever words are counted or compared."""

import re
from typing import Final

UNSPACED: Final = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f"  # Myanmar
    "\u1780-\u17ff"  # Khmer
    "\u2e80-\u312f\u31a0-\u31ff\u3400-\u9fff\uf900-\ufaff"  # Han, Hiragana, Katakana, Bopomofo
    "\uff66-\uff9f"  # half-width Katakana
    "\U00020000-\U0003ffff"  # rare Han
)
"""Scripts that are written without spaces: each character counts as a word, as it does in the
deduplication."""

WORD: Final = rf"[{UNSPACED}]|[^\W{UNSPACED}]+"
"""Regular expression of a word."""
WORDS: Final = re.compile(WORD)
WORDS_AND_MARKS: Final = re.compile(rf"{WORD}|[^\w\s]")
"""Words and punctuation marks."""
