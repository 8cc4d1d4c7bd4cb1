"""Conversions that keep every pair, and the prompts by themselves."""

import math
from collections.abc import Sequence

from pipeline.export.thread_pairs import ThreadPair, conversations
from schemas.exports import ChatPair, ConversationPair, DistinctPrompt, TextPair
from schemas.pair import Message

MARGIN_DIGITS = 6
"""Rounded, because the last bits of log differ between C libraries, and bytes must not."""


def log_margin(vote_margin: float) -> float:
    """Return log(1 + vote_margin): a lead of 1 vote is 0.69, one of 95 votes 4.56."""
    return round(math.log1p(vote_margin), MARGIN_DIGITS)


def prompt_messages(pair: ThreadPair) -> tuple[Message, ...]:
    """Return the prompt in turns, or as one of the user where the dataset has none."""
    return pair.prompt_turns or (Message(role="user", content=pair.prompt),)


def response_messages(text: str, turns: tuple[Message, ...] | None = None) -> tuple[Message, ...]:
    """Return a response as the assistant's turn."""
    return turns or (Message(role="assistant", content=text),)


def text_pairs(pairs: Sequence[ThreadPair]) -> list[TextPair]:
    """Return pairs as text: trainers join the prompt and a response, and put nothing between."""
    prompts = {text: f"{text.rstrip()}\n\n" for text in {pair.prompt for pair in pairs}}
    return [
        TextPair(
            prompt=prompts[pair.prompt],
            chosen=pair.chosen,
            rejected=pair.rejected,
            margin=log_margin(pair.vote_margin),
        )
        for pair in pairs
    ]


def chat_pairs(pairs: Sequence[ThreadPair]) -> list[ChatPair]:
    """Return pairs as messages, for a chat template."""
    return [
        ChatPair(
            prompt=prompt_messages(pair),
            chosen=response_messages(pair.chosen, pair.chosen_turns),
            rejected=response_messages(pair.rejected, pair.rejected_turns),
            margin=log_margin(pair.vote_margin),
        )
        for pair in pairs
    ]


def conversation_pairs(pairs: Sequence[ThreadPair]) -> list[ConversationPair]:
    """Return pairs as two whole conversations, for a chat template."""
    return [
        ConversationPair(
            chosen=row.prompt + row.chosen, rejected=row.prompt + row.rejected, margin=row.margin
        )
        for row in chat_pairs(pairs)
    ]


def thread_prompts(pairs: Sequence[ThreadPair]) -> list[DistinctPrompt]:
    """Return the prompt of each conversation of a thread, in the order of its pairs."""
    return [DistinctPrompt(prompt=prompt_messages(part[0])) for part in conversations(pairs)]
