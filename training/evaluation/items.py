"""The one row type of all suites: a prompt, responses to it, and what each is worth."""

import hashlib
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.post import TURN_BREAK
from training.data.context_line import ContextKind, with_context

Group: TypeAlias = Literal["adversarial", "objective", "subjective", "safety", "held-out"]
"""The first three are WorldPM's (arXiv 2505.10527, section 3.1); it, too, reports safety apart
(appendix B.1). ``held-out``: pairs of the user's own."""

GROUPS: tuple[Group, ...] = ("adversarial", "objective", "subjective", "safety", "held-out")

Kind: TypeAlias = Literal["pair", "matrix", "best", "ties", "samples", "thread"]


class ChatMessage(NamedTuple):
    """A turn before the response."""

    role: str
    """'user', 'assistant' or 'system'."""
    content: str


class Label(NamedTuple):
    """One comparison that the votes decided, as positions in ``Item.responses``."""

    better: int
    worse: int
    weight: float = 1.0
    margin: float = float("nan")
    """ModelDifference in votes; nan: unknown."""
    confidence: float = 1.0


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt with R responses."""

    suite: str
    id: str
    subset: str
    group: Group
    kind: Kind
    """pair: two responses; matrix: chosen and rejected in the same styles, in order; best: the
    one of most worth must beat all others; ties: several are equally right; samples: right and
    wrong answers drawn from one model; thread: answers of a forum thread."""
    messages: tuple[ChatMessage, ...]
    responses: tuple[str, ...]
    worth: tuple[float, ...]
    """[R], the higher the better; equal: no preference."""
    labels: tuple[Label, ...] | None = None
    """The comparisons, where they are not simply all those of different worth."""
    unit: str = ""
    """What is drawn as a whole in the bootstrap; '': the prompt."""
    order_is_free: bool = False
    """Whether the order of the responses was not made by the label: then it can be a baseline."""
    times: tuple[int, ...] = ()
    """[R] milliseconds since 1970, 0 for unknown; () where responses have no time."""
    annotators: tuple[int, ...] = ()
    """Votes of people on a pair: 1 for the first response, -1 for the second, 0 for a tie."""
    language: str = ""
    site: str = ""
    tags: tuple[str, ...] = ()
    """Of the prompt."""
    written_by: str = ""
    """The model that wrote the responses, where a suite is published by it."""

    @property
    def prompt(self) -> str:
        """The prompt as one text, turns joined as in the datasets of this project."""
        return TURN_BREAK.join(message.content for message in self.messages)

    @property
    def drawn(self) -> str:
        """Key of the bootstrap's unit."""
        return self.unit or self.prompt

    def comparisons(self) -> tuple[Label, ...]:
        """Every pair of responses with a preference between them."""
        if self.labels is not None:
            return self.labels
        return tuple(
            Label(a, b)
            for a, high in enumerate(self.worth)
            for b, low in enumerate(self.worth)
            if high > low
        )

    def key(self, response: str) -> str:
        """Name of (prompt, response) in a cache of scores: hex, 32 digits."""
        digest = hashlib.blake2b(digest_size=16)
        for part in (*(text for message in self.messages for text in message), response):
            encoded = part.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "little") + encoded)
        return digest.hexdigest()


Scores: TypeAlias = list[npt.NDArray[np.float64]]
"""For each item an array [R]."""


def item_with_context(item: Item, kind: ContextKind) -> Item:
    """The item as a model reads it that was trained with a line of site and tags."""
    messages = messages_with_context(item.messages, item.site, item.tags, kind)
    return item if messages is item.messages else msgspec.structs.replace(item, messages=messages)


def messages_with_context(
    messages: tuple[ChatMessage, ...], site: str, tags: Sequence[str], kind: ContextKind
) -> tuple[ChatMessage, ...]:
    """The messages with the line before the first one; the same ones where there is no line."""
    if kind == "none" or not site or not messages:
        return messages
    first, *rest = messages
    return (first._replace(content=with_context(first.content, site, tags, kind)), *rest)


def conversation(prompt: str) -> tuple[ChatMessage, ...]:
    """A prompt of a single turn."""
    return (ChatMessage("user", prompt),)
