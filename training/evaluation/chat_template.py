"""What the chat template of someone else's tokenizer makes of a prompt and a response."""

from typing import Any

from schemas.post import TURN_BREAK
from training.errors import ConfigError
from training.evaluation.items import ChatMessage

_Turns = list[dict[str, str]]


class ChatTemplate:
    """A tokenizer's chat template.

    Args:
        tokenizer: of transformers, with a chat template.
        name: of the model, for messages.
    """

    def __init__(self, tokenizer: Any, name: str) -> None:
        self._tokenizer = tokenizer
        self._name = name

    def whole(self, prompt: tuple[ChatMessage, ...], response: str) -> str:
        """The conversation with the response as its last turn; raises ConfigError."""
        turns, answer = _turns(prompt), {"role": "assistant", "content": response}
        try:
            return self._render([*turns, answer])
        except ConfigError:  # many templates know no system turn, or want turns to alternate
            return self._render([*_one_turn(prompt), answer])

    def parts(self, prompt: tuple[ChatMessage, ...], response: str) -> tuple[str, str]:
        """The same as two texts: the prompt, which no response changes, and the response.

        The prompt goes up to where the assistant begins to write, where the template writes that
        the same before a response; else up to the end of its last turn. Raises ConfigError.
        """
        whole = self.whole(prompt, response)
        for opened in (True, False):
            for turns in (_turns(prompt), _one_turn(prompt)):
                try:
                    text = self._render(turns, opened=opened)
                except ConfigError:
                    continue
                if whole.startswith(text) and len(whole) > len(text):
                    return text, whole.removeprefix(text)
        raise ConfigError(
            f"model {self._name}: its chat template writes a prompt in another way when a response "
            "follows, so a response has no probability of its own; take its chat template away to "
            "have prompt and response read as two paragraphs"
        )

    def _render(self, turns: _Turns, *, opened: bool = False) -> str:
        """``opened``: with what comes before the assistant's words."""
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    turns, tokenize=False, add_generation_prompt=opened
                )
            )
        except Exception as error:  # a program of a stranger, in transformers' sandbox
            raise ConfigError(
                f"model {self._name}: its chat template fails on a prompt and a response: {error}"
            ) from None


def _turns(prompt: tuple[ChatMessage, ...]) -> _Turns:
    return [{"role": turn.role, "content": turn.content} for turn in prompt]


def _one_turn(prompt: tuple[ChatMessage, ...]) -> _Turns:
    return [{"role": "user", "content": TURN_BREAK.join(turn.content for turn in prompt)}]
