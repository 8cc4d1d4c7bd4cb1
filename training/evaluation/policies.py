"""Language models that score responses by how probable they are."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from schemas.post import TURN_BREAK
from training.data.template import load_template, paragraph_template
from training.data.tokenizer import Ids, PairTokenizer, without_middle
from training.evaluation.chat_template import ChatTemplate
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

_Prompt = tuple[ChatMessage, ...]
_Encoded = tuple[Ids, Ids, bool]
"""Ids of a prompt and of a response, and whether they are read without a part."""


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
    longest = getattr(config.get_text_config(), "max_position_embeddings", None)
    if longest is not None and length > longest:
        raise located.source.error(f"reads at most {longest} tokens; set --max-length {longest}")
    tokenizer = read_tokenizer(located, config)
    encoding: _Encoding = (
        _ChatEncoding(tokenizer, located.source.name, length)
        if tokenizer.chat_template
        else _ParagraphEncoding(tokenizer, length)
    )
    model = load_language_model(
        located, config, longest=length, dtype=torch.bfloat16 if half else torch.float32
    )
    return _PolicyScorer(model, encoding, located, device, length, half, batch_tokens)


class _Encoding(Protocol):
    reads: str

    def encode(self, prompt: _Prompt, responses: Sequence[str]) -> list[_Encoded]: ...


class _ParagraphEncoding:
    """A model without a chat template, as the datasets of this project are written."""

    def __init__(self, tokenizer: Any, length: int) -> None:
        self._tokens = PairTokenizer(tokenizer, paragraph_template(tokenizer), max_length=length)
        self.reads = f"prompt and response as two paragraphs, ended by {tokenizer.eos_token}"

    def encode(self, prompt: _Prompt, responses: Sequence[str]) -> list[_Encoded]:
        text = TURN_BREAK.join(turn.content for turn in prompt)
        (ids,) = self._tokens.prompts([text])
        missing, length = self._tokens.cut_of_prompt(text)
        over = self._tokens.cut_of_responses(responses, length)
        answers = self._tokens.responses(responses, length)
        return [
            (ids, answer, missing > 0 or more > 0)
            for answer, more in zip(answers, over, strict=True)
        ]


class _ChatEncoding:
    """A model with a chat template; what is too long is cut as everywhere else."""

    def __init__(self, tokenizer: Any, name: str, length: int) -> None:
        self._tokenizer = tokenizer
        self._chat = ChatTemplate(tokenizer, name)
        self._length = length
        self.reads = "its tokenizer's chat template"

    def encode(self, prompt: _Prompt, responses: Sequence[str]) -> list[_Encoded]:
        known: dict[str, Ids] = {}  # nearly always one, and long
        found = []
        for response in responses:
            text, answer = self._chat.parts(prompt, response)
            if text not in known:
                known[text] = self._ids(text)
            before = without_middle(known[text], self._length // 2)
            ids = self._ids(answer)
            room = self._length - len(before)
            found.append((before, ids[:room], len(ids) > room or len(before) < len(known[text])))
        return found

    def _ids(self, text: str) -> Ids:
        return np.array(self._tokenizer(text, add_special_tokens=False)["input_ids"], np.int32)


class _PolicyScorer:
    """Log-probabilities of responses; prompts are encoded once where the model allows it."""

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
        model.hf.to(device)
        self._model, self._encoding, self._device = model, encoding, device
        self._batch_tokens = batch_tokens
        self.reads = (
            f"log-probabilities of the response's tokens, {encoding.reads}, up to {length:,} "
            "tokens (longer prompts lose their middle, longer responses their end), "
            f"{'bf16' if half else 'fp32'}"
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
