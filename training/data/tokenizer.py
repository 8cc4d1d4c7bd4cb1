"""From texts to token ids: the one place for training, evaluation and serving.

A sequence is ``before + prompt + between`` (the *prompt ids*, the same for every response to
one prompt) and ``response + after + reward token`` (the *response ids*). The two are tokenised
apart, so responses can share their prompt; user text never yields a special token.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from training.data.template import Template
from training.errors import TemplateError

Ids = npt.NDArray[np.int32]


def without_middle(ids: Ids, room: int) -> Ids:
    """At most ``room`` ids: the first and the last of those that are more."""
    if len(ids) <= room:
        return ids
    tail = room // 2
    return np.concatenate([ids[: room - tail], ids[len(ids) - tail :]])


class PairTokenizer:
    """Makes prompt ids and response ids.

    Args:
        tokenizer: a fast tokenizer of transformers.
        template: the text around prompt and response.
        max_length: tokens of a whole sequence.
        max_prompt_length: tokens of the prompt ids; None: half of ``max_length``.

    Raises TemplateError when the template does not fit the tokenizer or the limits.
    """

    def __init__(
        self,
        tokenizer: Any,
        template: Template,
        *,
        max_length: int,
        max_prompt_length: int | None = None,
    ) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise TemplateError("a fast tokenizer is needed (tokenizer.json)")
        self.template = template
        self.max_length = max_length
        self.max_prompt_length = max_prompt_length or max_length // 2
        # A copy: the settings below must not reach the caller's tokenizer.
        self._backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._backend.no_truncation()
        self._backend.no_padding()
        self._before = self._fixed(template.before)
        self._between = self._fixed(template.between)
        self._after = self._fixed(template.after)
        if template.reward_token:
            self._after = np.append(self._after, self._special(template.reward_token))
        self.pad_id = int(self._special(template.pad_token))
        if self.pad_id in {*self._before, *self._between, *self._after}:
            raise TemplateError(f"the pad token {template.pad_token!r} occurs in the template")
        bos = tokenizer.bos_token_id
        if bos is not None and list(self._before[:2]) == [bos, bos]:
            raise TemplateError("the template begins with two BOS tokens")
        # From here on text that looks like a special token is text.
        self._backend.encode_special_tokens = True
        fixed = len(self._before) + len(self._between)
        if (
            self.max_prompt_length < fixed + 2
            or max_length < self.max_prompt_length + len(self._after) + 1
        ):
            raise TemplateError(
                f"max_length {max_length} and max_prompt_length {self.max_prompt_length} leave no "
                f"room: the template alone takes {fixed} and {len(self._after)} tokens"
            )

    @property
    def fixed_ids(self) -> set[int]:
        """Ids that the template puts into every sequence."""
        return {*map(int, self._before), *map(int, self._between), *map(int, self._after)}

    def prompts(self, texts: Sequence[str]) -> list[Ids]:
        """Token ids of each prompt with the template around it.

        A prompt over the limit loses its middle: its head holds the title, its tail the last
        turn of a conversation. The cut depends on the prompt alone, so all its responses are
        judged on the same prompt.
        """
        room = self.max_prompt_length - len(self._before) - len(self._between)
        return [
            np.concatenate([self._before, without_middle(ids, room), self._between])
            for ids in self._texts(texts)
        ]

    def responses(self, texts: Sequence[str], prompt_length: int) -> list[Ids]:
        """Token ids of responses to a prompt of ``prompt_length`` ids; a long one loses its end.

        The last id is always the reward token's (encoders: the separator's).
        """
        room = self.max_length - prompt_length - len(self._after)
        return [np.concatenate([ids[:room], self._after]) for ids in self._texts(texts)]

    def cut_of_prompt(self, text: str) -> tuple[int, int]:
        """Tokens that :meth:`prompts` cuts out of a text, and length of what it gives."""
        (ids,) = self._texts([text])
        fixed = len(self._before) + len(self._between)
        missing = max(0, len(ids) + fixed - self.max_prompt_length)
        return missing, len(ids) + fixed - missing

    def cut_of_responses(self, texts: Sequence[str], prompt_length: int) -> list[int]:
        """Tokens that :meth:`responses` cuts off each text."""
        room = self.max_length - prompt_length - len(self._after)
        return [max(0, len(ids) - room) for ids in self._texts(texts)]

    def sequence(self, prompt: str, response: str) -> Ids:
        """Token ids of one whole sequence, for serving."""
        (prompt_ids,) = self.prompts([prompt])
        (response_ids,) = self.responses([response], len(prompt_ids))
        return np.concatenate([prompt_ids, response_ids])

    def _texts(self, texts: Sequence[str]) -> list[Ids]:
        encoded = self._backend.encode_batch_fast(
            [text.strip() for text in texts], add_special_tokens=False
        )
        return [np.array(encoding.ids, dtype=np.int32) for encoding in encoded]

    def _fixed(self, text: str) -> Ids:
        return np.array(self._backend.encode(text, add_special_tokens=False).ids, dtype=np.int32)

    def _special(self, token: str) -> np.int32:
        found = self._backend.token_to_id(token)
        if found is None:
            raise TemplateError(f"the tokenizer has no token {token!r}")
        return np.int32(found)
