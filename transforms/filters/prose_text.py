"""The words of a post as an identifier of languages gets them."""

import re
import unicodedata

SAMPLE_CHARS = 600
"""Prose beyond this many characters is sampled; see :func:`sample`."""

FIRST_SAMPLE_CHARS = 201
"""What is looked at first; most posts are decided by it, the others by :data:`SAMPLE_CHARS`."""

SAMPLE_PIECES = 3

# Every alternative begins with a literal character, which keeps the search fast, and none can
# be tried from many starts over the same long stretch, which keeps it linear.
_MARKUP = (
    # fenced code blocks and code spans
    r"`(?<!``)(?P<fence>``+)[^`\n]*(?![^\n])(?s:.*?)(?:\n[ \t>!]*`(?P=fence)`*[ \t]*(?![^\n])|\Z)"
    r"|~~~[^~\n]*(?![^\n])(?s:.*?)(?:\n[ \t>!]*~~~|\Z)"
    r"|`(?<!``)(?P<ticks>`*+)[^\n]*?[^`\n]`(?P=ticks)(?!`)"
    # formulas; "$5 and $10" is none
    r"|\$\$[^$]*\$\$|\$(?=[^\s$])[^$\n]*(?<=[^\s\\])\$(?!\d)"
    r"|\\\[(?:[^\\]|\\(?!\[))*?\\\]|\\\((?:[^\\\n]|\\(?!\())*?\\\)"
    r"|\\begin\{(?P<environment>\w+\*?)\}(?s:.{0,1000}?)\\end\{(?P=environment)\}"
    # images, link targets, tags
    r"|!\[[^\[\]\n]*\]\([^()\s\]]*(?:\([^()\s\]]*\)[^()\s\]]*)*\)"
    r"|\]\((?:<[^<>\n]*>|[^()\s\]]*(?:\([^()\s\]]*\)[^()\s\]]*)*)\)"
    r"|<(?:https?:|ftp:|mailto:|/?[a-zA-Z])[^<>\n]*>"
)
_MARKUP_PATTERN = re.compile(_MARKUP)
# Letters begin the URLs, so a search for them stops at every tenth character of English.
_MARKUP_OR_URL_PATTERN = re.compile(_MARKUP + r"|https?://\S+|ftp://\S+|www\.\S+")
# Combining marks, which are part of words in many scripts, are not \w: they must not match.
# White space does not match either, because most matches would be single spaces.
_NOT_LETTERS = re.compile(
    r"[\x00-\x08\x0e-\x1b!-&(-@\[-`{-\x84\x86-\x9f\xa1-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf×÷"
    r"\u200b\u2010-\u2018\u201a-\u2027\u202a-\u202e\u2030-\u205e\u2060-\u206f\u20a0-\u20cf"
    r"\u20dd-\u20e4\u2190-\u2bff\u3001-\u3004\u3008-\u3020\ufe00-\ufe0f\uff01-\uff20\uff3b-\uff40"
    r"\uff5b-\uff65\ud800-\uf8ff\U0001f000-\U0001faff\U000e0000-\U000e01ef]+"
)
_APOSTROPHES = re.compile("[\u2018\u2019\u02bc\u00b4\u2032\uff07]")
# Soft hyphen, zero-width space, word joiner, byte order mark, marks of direction.
_INVISIBLE = "[\u00ad\u200b\u2060\ufeff\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]"
_INVISIBLE_PATTERN = re.compile(_INVISIBLE)
_INVISIBLE_OR_JOINER_PATTERN = re.compile(
    # Joiners say how to write the letters of some scripts; in Latin and beside emoji, nothing.
    _INVISIBLE + "|(?<![^\\W\\da-zA-Z_])[\u200c\u200d](?!\\w)|(?<=[a-zA-Z])[\u200c\u200d]"
)
_DENSE_LETTERS = re.compile("[\u3041-\u30ff\u3400-\u9fff\uac00-\ud7a3\U00020000-\U0003ffff]+")
# All but a single one between letters.
_NOT_AN_APOSTROPHE = re.compile(r"'(?!(?<=\w')\w)'*")
_QUOTED_LINES = re.compile(r"^[ \t]*(?:(?:[-*+]|[0-9]{1,9}[.)])[ \t]+)*>(?!!)[^\n]*$", re.MULTILINE)
_CODE_SIGN = re.compile(r"[_=\\{}@|]")


def _as_prose(character: str) -> str:
    """A character of Latin-1 as prose has it: small letter, space, "_" a code sign, "." others."""
    if _CODE_SIGN.match(character):
        return "_"
    if character.isspace():
        return " "
    return "." if _NOT_LETTERS.match(character) else character.lower()


_LATIN_1_AS_PROSE = "".join(_as_prose(chr(code)) for code in range(256)).encode("latin-1")


def prose(markdown: str) -> str:
    """Return the words of a Markdown text in small letters on one line, with single spaces.

    Code, formulas, URLs, link targets, images and HTML tags are excluded, and so are all
    characters but letters, their marks and apostrophes: none of them says what language the
    author writes.

    The same words give the same prose however they are typed. What an identifier learned from
    has straight apostrophes, composed accents and few capitals: a typographic apostrophe takes
    a short English sentence from 0.95 to 0.48, and in capitals half of all English is taken for
    something else. So apostrophes become ``'``, letters take their NFKC form (wide, bold
    and accented ones), and characters that are not seen, such as soft hyphens, go.
    """
    has_url = "://" in markdown or "www." in markdown
    text = (_MARKUP_OR_URL_PATTERN if has_url else _MARKUP_PATTERN).sub(" ", markdown)
    if not text.isascii():
        has_joiner = "\u200c" in text or "\u200d" in text
        invisible = _INVISIBLE_OR_JOINER_PATTERN if has_joiner else _INVISIBLE_PATTERN
        text = _APOSTROPHES.sub("'", invisible.sub("", text))
        if not unicodedata.is_normalized("NFKC", text):
            text = unicodedata.normalize("NFKC", text)
    try:
        latin_1 = text.encode("latin-1")
    except UnicodeEncodeError:
        return _words(text)
    # The same as below by one table, several times as fast.
    text = latin_1.translate(_LATIN_1_AS_PROSE).decode("latin-1")
    if "_" in text:
        text = " ".join([word for word in text.split() if "_" not in word])
    if "'" in text:
        text = _NOT_AN_APOSTROPHE.sub(" ", text)
    return " ".join(text.replace(".", " ").split())


def _words(text: str) -> str:
    """Small words, without those that have signs of code, of text whose markup has gone."""
    if _CODE_SIGN.search(text):
        text = " ".join([word for word in text.split() if not _CODE_SIGN.search(word)])
    words = _NOT_LETTERS.sub(" ", text)
    if "'" in words:
        words = _NOT_AN_APOSTROPHE.sub(" ", words)
    return " ".join(words.lower().split())


def prose_chars(words: str) -> int:
    """Characters of prose; one of Chinese, Japanese or Korean, which says as much, counts as 3."""
    if words.isascii():
        return len(words)
    return len(words) + 2 * sum(map(len, _DENSE_LETTERS.findall(words)))


def has_prose(words: str, enough: int) -> bool:
    """Whether :func:`prose_chars` are ``enough``."""
    return len(words) >= enough or prose_chars(words) >= enough


def own_prose(markdown: str, enough: int) -> str:
    """Return the prose that is not quoted, or all if that is less than ``enough`` characters.

    An answer in English about a passage in French is in English.
    """
    if ">" in markdown:
        own = _QUOTED_LINES.sub("", markdown)
        if len(own) < len(markdown) and has_prose(words := prose(own), enough):
            return words
    return prose(markdown)


def sample(words: str, chars: int = SAMPLE_CHARS) -> str:
    """Return ``words``, or three pieces of them (start, middle, end) of ``chars`` in all.

    Identification takes time in proportion to the text. Three pieces of 200 characters differ from
    the whole text on 11 of 753 posts of a forum full of bilingual posts and on 7 of 60,388 posts
    elsewhere (``python -m benchmarks.language``); the first 600 characters alone differ on 77 of
    the bilingual ones.
    """
    if len(words) <= chars:
        return words
    piece = chars // SAMPLE_PIECES
    last = len(words) - piece
    starts = [last * index // (SAMPLE_PIECES - 1) for index in range(SAMPLE_PIECES)]
    return " ".join([words[start : start + piece] for start in starts])
