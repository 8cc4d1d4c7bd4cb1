"""Rows with two responses in an order of their own, and a column that says which is better."""

from typing import Final

from transforms.readers.formats.numbers import whole
from transforms.readers.preferences.conversations import split_response
from transforms.readers.preferences.rows import (
    Origin,
    Row,
    StatedPair,
    need,
    prompt_post,
    rating,
    response_post,
    stated,
)

COLUMNS: Final = frozenset(
    (
        *("prompt", "response_1", "response_2", "preference_strength"),
        *("context", "response1", "response2", "overall_preference"),
        *("input", "output_1", "output_2", "label"),
    )
)
"""Columns that are read."""


def read_strength(row: Row, origin: Origin) -> StatedPair:
    """HelpSteer2 and HelpSteer3 of NVIDIA: how much better the second response is, or the first.

    ``preference_strength`` (HelpSteer3: ``overall_preference``) is below 0 where response 1 is
    better, above 0 where response 2 is, and 0 for a tie. The better one is worth its amount, the
    other one 0.
    """
    third = "response1" in row and "response_1" not in row
    names = ("response1", "response2") if third else ("response_1", "response_2")
    prompt = row.get("context" if third and row.get("prompt") is None else "prompt")
    strength = need(row, "overall_preference" if third else "preference_strength", rating)
    return _of_two(row, origin, prompt, names, strength)


def read_better_of_two(row: Row, origin: Origin) -> StatedPair:
    """LLMBar: ``input``, ``output_1`` and ``output_2``; ``label`` is the number of the better."""
    label = need(row, "label", whole)
    if label not in (1, 2):
        raise ValueError(f"label: {label}: must be 1 or 2")
    return _of_two(row, origin, row.get("input"), ("output_1", "output_2"), 2 * label - 3)


def _of_two(
    row: Row, origin: Origin, asked: object, names: tuple[str, str], strength: float
) -> StatedPair:
    first, second = (split_response(asked, row.get(name), name) for name in names)
    if first.turns != second.turns:
        raise ValueError(f"{names[0]} and {names[1]} answer different prompts")
    if first.response.strip() == second.response.strip():
        raise ValueError(f"{names[0]} and {names[1]} are the same text")
    better, worse = (second, first) if strength > 0 else (first, second)
    prompt = prompt_post(row, origin, first.turns)
    pair = stated(
        prompt,
        response_post(prompt, better.response, worth=abs(strength)),
        response_post(prompt, worse.response),
    )
    return pair._replace(tie=not strength)
