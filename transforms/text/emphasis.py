"""Marks of emphasis that every reader of Markdown takes for such, or none.

Which ``*`` opens and which closes depends on the characters beside it (CommonMark 0.31.2,
section 6.2): in ``word**(bold)**`` neither does, because of the parentheses, and in Chinese or
Japanese, which have no spaces, that is common. Such marks would be read as asterisks.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

_ROUNDS: Final = 4
"""After that many rounds in which marks went, all go; real texts need two."""
_BLANK_LINE = re.compile(r"\n[ \t]*\n")


class Delimiter(str):
    """``*``, ``**`` or ``~~`` at one end of an emphasis."""

    number: int
    """Of the emphasis within its text, from 1; negative at the closing end."""


def delimiter(mark: str, number: int) -> Delimiter:
    """Make one end of an emphasis."""
    made = Delimiter(mark)
    made.number = number
    return made


def join_pieces(pieces: Sequence[str]) -> str:
    """Join the texts and delimiters of a paragraph, without delimiters that would not work.

    Where an emphasis ends and one of the same kind begins, they become one.
    """
    left = _merged(pieces)
    for _ in range(_ROUNDS):
        useless = {abs(found.number) for found in _useless(left)}
        if not useless:
            return "".join(left)
        left = _merged(
            [p for p in left if type(p) is not Delimiter or abs(p.number) not in useless]
        )
    return "".join([piece for piece in left if type(piece) is not Delimiter])


def _merged(pieces: Sequence[str]) -> list[str]:
    merged: list[str] = []
    continues: dict[int, int] = {}  # an emphasis and the one before that it became part of
    for piece in pieces:
        if not piece:
            continue
        if type(piece) is Delimiter:
            last = merged[-1] if merged else ""
            number = piece.number
            if number < 0 and -number in continues:
                number = -continues[-number]
                piece = delimiter(piece, number)
            if type(last) is Delimiter and last == piece:
                if last.number < 0 < number:
                    continues[number] = -last.number
                    merged.pop()
                    continue
                if last.number == -number > 0:  # nothing between them
                    merged.pop()
                    continue
        merged.append(piece)
    return merged


def _useless(pieces: Sequence[str]) -> Iterator[Delimiter]:
    """Delimiters that do not open or close where they must, or not in the same paragraph."""
    paragraph = 0
    paragraphs: dict[int, int] = {}
    ends_line = False
    at = 0
    while at < len(pieces):
        piece = pieces[at]
        if type(piece) is not Delimiter:
            text = ("\n" if ends_line else "") + piece
            paragraph += len(_BLANK_LINE.findall(text))
            ends_line = not text.rpartition("\n")[2].strip() and "\n" in text
            at += 1
            continue
        end = at + 1
        while end < len(pieces) and type(pieces[end]) is Delimiter and pieces[end][0] == piece[0]:
            end += 1
        before = pieces[at - 1][-1] if at else "\n"
        after = pieces[end][0] if end < len(pieces) else "\n"
        opens, closes = _stands_before(after, before), _stands_before(before, after)
        escaped = before == "\\" and _ends_in_escape(pieces[at - 1])
        continued = before == "~" == piece[0]  # three or more open a code block
        crowded = (
            end - at > 2
        )  # readers differ on which of three ends or more that meet belong together
        for found in pieces[at:end]:
            assert isinstance(found, Delimiter)
            if (
                escaped
                or continued
                or (crowded and found.number > 0 > piece.number)
                or not (opens if found.number > 0 else closes)
            ):
                yield found
            elif found.number > 0:
                paragraphs[found.number] = paragraph
            elif paragraphs.get(-found.number) != paragraph:
                yield found
        ends_line = False
        at = end


def _ends_in_escape(text: str) -> bool:
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1


def _stands_before(inside: str, outside: str) -> bool:
    """Tell whether a delimiter between two characters can be an end of emphasis around the first.

    What counts as punctuation differs: symbols, such as emoji, do since CommonMark 0.31.
    """
    if inside.isspace():
        return False
    if unicodedata.category(inside)[0] not in "PS":
        return True
    return outside.isspace() or _is_punctuation(outside)


def _is_punctuation(character: str) -> bool:
    category = unicodedata.category(character)[0]
    return category == "P" or (category == "S" and character.isascii())
