"""The texts of a chosen and a rejected response, and the turns before them."""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from schemas.audit import Reason
from transforms.readers.formats import values

_TURN: Final = re.compile(r"(?:^\s*|\n\n)(Human|Assistant):[ \t]?")
_ANSWER: Final = re.compile(r"\s*Assistant:[ \t]?")
_HELPSTEER_TURN: Final = re.compile(r"\n?<extra_id_1>(Assistant|User)\n")
"""Between the turns of a prompt of HelpSteer2, of which the first is the user's."""
_ASSISTANTS: Final = ("assistant", "model", "gpt")
"""Roles of the one who answers."""


class SetRowError(Exception):
    """A row of a preference set that cannot be used."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Conversation(NamedTuple):
    """What two responses answer, and the two."""

    turns: list[str]
    """Texts from the first to the last before the responses, without the names of the roles."""
    chosen: str
    rejected: str


class Answered(NamedTuple):
    """What one response answers, and the response."""

    turns: list[str]
    """As in Conversation."""
    response: str


class _Turn(NamedTuple):
    role: str
    text: str


def split_conversation(prompt: Any, chosen: Any, rejected: Any) -> Conversation:
    """Separate what comes before two responses from the responses.

    ``chosen`` and ``rejected`` are texts, transcripts with ``Human:`` and ``Assistant:`` before
    the turns, or lists of messages. Transcripts and lists may hold the turns before the response
    too, which must then be equal in both; these are the prompt, and ``prompt`` (text, transcript
    or messages) is used where there are none, or before them if it is messages that they do not
    begin with. Beside a prompt, a text that begins with the name of a role is a transcript only
    where it goes on with the prompt or repeats it: a response may be a dialogue. Raises
    SetRowError.
    """
    before, better = _split(prompt, chosen, "chosen")
    before_worse, worse = _split(prompt, rejected, "rejected")
    if before != before_worse:
        raise _bad("chosen and rejected answer different prompts")
    return Conversation(_texts_before(prompt, before), better, worse)


def split_response(prompt: Any, response: Any, name: str) -> Answered:
    """Separate what comes before one response from it, as `split_conversation` does of two.

    ``name``: what messages call the response. Raises SetRowError.
    """
    before, text = _split(prompt, response, name)
    return Answered(_texts_before(prompt, before), text)


def response_text(prompt: Any, response: Any, name: str) -> str:
    """Return the response alone, without what comes before it; raises SetRowError."""
    return _split(prompt, response, name)[1]


def prompt_texts(prompt: Any) -> list[str]:
    """Texts of the turns of a prompt that has a column of its own; raises SetRowError."""
    return _texts_before(prompt, [])


def _texts_before(prompt: Any, before: list[_Turn]) -> list[str]:
    """Texts of the turns before the responses, of a column and of what is before them there."""
    turns = [] if prompt is None else _turns(prompt, "prompt")
    if before and before[: len(turns)] != turns and isinstance(prompt, list):
        before = turns + before
    # Not the empty ones: 'Assistant:' with nothing behind it only asks for the response.
    texts = [turn.text for turn in before or turns if turn.text]
    if not texts:
        detail = "there is no prompt: neither a column, nor turns before the responses"
        raise SetRowError(Reason.MISSING_FIELD, detail)
    return texts


def _split(prompt: Any, value: Any, name: str) -> tuple[list[_Turn], str]:
    """Turns before the response, and the response."""
    if value is None:
        raise SetRowError(Reason.MISSING_FIELD, f"{name} is missing, and is needed")
    turns = _said_after(prompt, value, name) if isinstance(value, str) else _turns(value, name)
    if not turns:
        raise _bad(f"{name} is empty")
    last = turns[-1]
    if last.role not in _ASSISTANTS:
        raise _bad(f"{name} does not end with a turn of the assistant, but of {last.role[:30]!r}")
    return turns[:-1], last.text


def _said_after(prompt: Any, value: str, name: str) -> list[_Turn]:
    """Turns of a text that answers ``prompt``; blank or absent, it is in the text."""
    if not _TURN.match(value) or not (prompt.strip() if isinstance(prompt, str) else prompt):
        return _turns(value, name)
    text = _text(value, name)
    asked = [_Turn(turn.role, turn.text.strip()) for turn in _turns(prompt, "prompt")]
    if asked[-1] == _Turn("assistant", ""):  # 'Assistant:' only asks for the response
        del asked[-1]
    elif isinstance(prompt, str) and _TURN.match(prompt) and (name_of_role := _ANSWER.match(text)):
        return [_Turn("assistant", text[name_of_role.end() :].strip())]
    whole = _transcript(text)
    return whole if asked and whole[: len(asked)] == asked else [_Turn("assistant", text)]


def _turns(value: Any, name: str) -> list[_Turn]:
    if isinstance(value, str):
        text = _text(value, name)
        if _TURN.match(text):
            return _transcript(text)
        if name == "prompt":
            return _prompt_turns(text)
        return [_Turn("assistant", text)]
    if not isinstance(value, list):
        raise _bad(f"{name} is {values.shown(value)}, not text or a list of messages")
    turns = []
    for message in value:
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise _bad(f"{name} holds {values.shown(message)}, not a message with a role")
        turns.append(_Turn(message["role"].lower(), _content(message.get("content"), name)))
    return turns


def _transcript(text: str) -> list[_Turn]:
    parts = _TURN.split(text)[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [_Turn("user" if role == "Human" else "assistant", said.strip()) for role, said in pairs]


def _prompt_turns(text: str) -> list[_Turn]:
    first, *more = _HELPSTEER_TURN.split(text)
    return [
        _Turn("user", first),
        *(_Turn(role.lower(), said) for role, said in zip(more[::2], more[1::2], strict=True)),
    ]


def _content(content: Any, name: str) -> str:
    if isinstance(content, list):  # parts, as multimodal models take them
        parts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
        if not parts or not all(isinstance(part, str) for part in parts):
            raise _bad(f"{name} holds a message with other content than text")
        content = "\n\n".join(part for part in parts if isinstance(part, str))
    return _text(content, name)


def _text(value: Any, name: str) -> str:
    try:
        return values.text(value)
    except ValueError as error:
        raise _bad(f"{name}: {values.shown(value)}: {error}") from None


def _bad(detail: str) -> SetRowError:
    return SetRowError(Reason.BAD_VALUE, detail)
