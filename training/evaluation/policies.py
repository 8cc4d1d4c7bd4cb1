"""Language models that score responses by how probable they are."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from schemas.post import TURN_BREAK
from training.data.context_line import ContextKind
from training.data.template import load_template
from training.data.tokenizer import Ids
from training.errors import TemplateError
from training.evaluation.chat_template import ChatTemplate
from training.evaluation.continuation import Continuation, ContinuationTokenizer
from training.evaluation.items import ChatMessage
from training.evaluation.models import (
    ModelLocation,
    Precision,
    Scored,
    Scorer,
    fingerprint_of,
    longest_of,
)
from training.model.language_model import LanguageModel, load_language_model
from training.model.pretrained import read_language_config, read_tokenizer
from training.model.source import LocatedModel, ModelSource, locate_model
from training.validation.score import score_likelihoods

MIN_LENGTH = 16
"""Tokens of a prompt and a response, with the special tokens around them."""
_Prompt = tuple[ChatMessage, ...]


def open_policy(
    found: ModelLocation,
    *,
    device: torch.device,
    max_length: int | None = None,
    precision: Precision = "auto",
    batch_tokens: int = 16_384,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    option: str = "--model",
) -> Scorer:
    """Load a causal language model, whose scores are log π(response | prompt).

    Prompt and response are read with the tokenizer's chat template, or, where it has none, as two
    paragraphs that end with its end-of-text token. All tokens of the response count, also those
    that end it. Raises ConfigError or TemplateError; ``option`` names the model in them.
    """
    half = precision == "bf16" or (precision == "auto" and device.type == "cuda")
    located = locate_model(
        ModelSource.of(
            found.path,
            trust_remote_code=trust_remote_code,
            allow_pickle=allow_pickle,
            option=option,
        )
    )
    if load_template(located.folder) is not None:
        raise located.source.error(
            "is a reward model of forumprefs train, which gives no probabilities; name a causal "
            "language model, or score it with --kind reward"
        )
    config = read_language_config(located)
    length = max_length or found.max_length or longest_of(config)
    if length < MIN_LENGTH:
        raise located.source.error(
            f"--max-length {length} leaves no room for prompt and response; at least {MIN_LENGTH}"
        )
    longest = getattr(config.get_text_config(), "max_position_embeddings", None)
    if longest is not None and length > longest:
        raise located.source.error(f"reads at most {longest} tokens; set --max-length {longest}")
    tokenizer = read_tokenizer(located, config)
    encoding: _Encoding = (
        _ChatEncoding(tokenizer, located.source.name, length)
        if tokenizer.chat_template
        else _ParagraphEncoding(tokenizer, located.source.name, length)
    )
    dtype = torch.bfloat16 if half else torch.float32
    model = load_language_model(located, config, longest=length, dtype=dtype, device=device)
    return _PolicyScorer(model, encoding, located, device, length, half, batch_tokens)


class _Encoding(Protocol):
    reads: str

    def encode(self, prompt: _Prompt, responses: Sequence[str]) -> list[Continuation]: ...


class _ParagraphEncoding:
    """A model without a chat template, as the datasets of this project are written."""

    def __init__(self, tokenizer: Any, name: str, length: int) -> None:
        if tokenizer.eos_token is None:
            raise TemplateError(
                f"model {name}: its tokenizer has no end-of-text token, with which a response ends"
            )
        begins = tokenizer("x")["input_ids"][:1] == [tokenizer.bos_token_id]
        self._tokens = ContinuationTokenizer(
            tokenizer,
            max_length=length,
            first=[tokenizer.bos_token_id] if begins else [],
            last=[tokenizer.eos_token_id],
            split_special=True,
        )
        self.reads = f"prompt and response as two paragraphs, ended by {tokenizer.eos_token}"

    def encode(self, prompt: _Prompt, responses: Sequence[str]) -> list[Continuation]:
        text = TURN_BREAK.join(turn.content for turn in prompt).strip()
        return self._tokens.encode(text + "\n\n", [response.strip() for response in responses])


class _ChatEncoding:
    """A model with a chat template."""

    def __init__(self, tokenizer: Any, name: str, length: int) -> None:
        self._chat = ChatTemplate(tokenizer, name)
        self._tokens = ContinuationTokenizer(tokenizer, max_length=length)
        self.reads = "its tokenizer's chat template"

    def encode(self, prompt: _Prompt, responses: Sequence[str]) -> list[Continuation]:
        parts = [self._chat.parts(prompt, response) for response in responses]
        places: dict[str, list[int]] = {}  # nearly always one text of the prompt
        for place, (text, _) in enumerate(parts):
            places.setdefault(text, []).append(place)
        found: dict[int, Continuation] = {}
        for text, same in places.items():
            encoded = self._tokens.encode(text, [parts[place][1] for place in same])
            found.update(zip(same, encoded, strict=True))
        return [found[place] for place in range(len(parts))]


class _PolicyScorer:
    """Log-probabilities of responses; prompts are encoded once where the model allows it."""

    context: ContextKind = "none"

    def __init__(
        self,
        model: LanguageModel,
        encoding: _Encoding,
        located: LocatedModel,
        device: torch.device,
        length: int,
        half: bool,
        batch_tokens: int,
    ) -> None:
        self._model, self._encoding, self._device = model, encoding, device
        self._batch_tokens = batch_tokens
        self.reads = (
            f"log-probabilities of the response's tokens, {encoding.reads}, tokenised as one text, "
            f"up to {length:,} tokens (longer prompts lose their middle, longer responses their "
            f"end), {'bf16' if half else 'fp32'}"
        )
        self.fingerprint, self.commit = fingerprint_of(located, self.reads), located.commit

    def score(
        self, prompts: Sequence[_Prompt], responses: Sequence[Sequence[str]]
    ) -> list[list[Scored]]:
        groups: dict[tuple[int, bytes], int] = {}
        before: list[Ids] = []
        after: list[list[Ids]] = []
        places: list[list[tuple[int, int, bool]]] = []
        for number, (prompt, texts) in enumerate(zip(prompts, responses, strict=True)):
            places.append([])
            for start, ids, cut in self._encoding.encode(prompt, texts):
                group = groups.setdefault((number, start.tobytes()), len(before))
                if group == len(before):
                    before.append(start)
                    after.append([])
                places[-1].append((group, len(after[group]), cut))
                after[group].append(ids)
        found = score_likelihoods(
            self._model,
            before,
            after,
            device=self._device,
            micro_batch_tokens=self._batch_tokens,
        )
        return [
            [
                Scored(found[group][index].logprob, cut, found[group][index].tokens)
                for group, index, cut in row
            ]
            for row in places
        ]
