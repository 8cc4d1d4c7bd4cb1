"""The tokens of a response as those that go on after its prompt, in the text of both."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from training.data.tokenizer import Ids, without_middle


class Continuation(NamedTuple):
    """Token ids of a prompt and of a response that follows it."""

    before: Ids
    after: Ids
    """Never empty."""
    cut: bool
    """Whether they lack a part of prompt or response."""


class ContinuationTokenizer:
    """Tokenises prompt and response as the one text that a model reads.

    Tokenised apart they can be tokens that the model never sees: a tokenizer of SentencePiece
    begins each text with a space, and many others join a full stop and the blank line after it.

    Args:
        tokenizer: of transformers.
        max_length: tokens of prompt and response together; a prompt takes half at most.
        first: ids in front of every text.
        last: ids after every response, which count as its own.
        split_special: read text that looks like a special token as text.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        max_length: int,
        first: Sequence[int] = (),
        last: Sequence[int] = (),
        split_special: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._first, self._last = [*first], [*last]
        self._settings = {"add_special_tokens": False, "split_special_tokens": split_special}

    def encode(self, prompt: str, responses: Sequence[str]) -> list[Continuation]:
        """Ids of a prompt with each response right after it.

        A long prompt loses its middle, and a long response its end.
        """
        if not responses:
            return []
        texts = [prompt, *(prompt + response for response in responses)]
        alone, *whole = self._tokenizer(texts, **self._settings)["input_ids"]
        found = []
        for text, ids in zip(texts[1:], whole, strict=True):
            place = len(alone)
            if ids[:place] != alone:  # a token reaches over the end of the prompt
                place = self._place(text, len(prompt), ids, alone)
            ids = [*self._first, *ids, *self._last]
            # The very first token follows nothing, so it has no probability.
            found.append(self._cut(ids, max(1, place + len(self._first))))
        return found

    def _place(self, text: str, end: int, ids: list[int], alone: list[int]) -> int:
        """How many tokens of a text lie before a character; one that reaches over it does not."""
        if not self._tokenizer.is_fast:  # gives no offsets: up to where they part
            same = (one == other for one, other in zip(ids, alone, strict=False))
            return next((place for place, equal in enumerate(same) if not equal), len(ids))
        encoded = self._tokenizer(text, return_offsets_mapping=True, **self._settings)
        ends = (last for _, last in encoded["offset_mapping"])
        return next((place for place, last in enumerate(ends) if last > end), len(ids))

    def _cut(self, ids: list[int], place: int) -> Continuation:
        before = without_middle(np.array(ids[:place], np.int32), self._max_length // 2)
        after = np.array(ids[place:][: self._max_length - len(before)], np.int32)
        return Continuation(before, after, len(before) + len(after) < len(ids))
