"""Text from outside, made safe to print."""

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Replace characters that could drive a terminal or reorder its text by U+FFFD."""
    return _CONTROL.sub("\ufffd", text)
