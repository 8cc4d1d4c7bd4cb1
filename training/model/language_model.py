"""A causal language model of transformers that says how probable a response is."""

import inspect
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from training.data.collate import Layout, MicroBatch, micro_batches
from training.data.prompt_groups import PairOfGroup, PromptGroup
from training.errors import ConfigError
from training.model import attention
from training.model.layout_check import short_windows, windows_of
from training.model.pretrained import read_language_model
from training.model.source import LocatedModel

MAX_LOGITS = 1 << 29
"""Logits that are in memory at once: 2 GiB in fp32, and a model of 152,000 tokens has as many for
each token of a response."""
CHUNK = 512
"""Tokens whose log-probabilities are worked out at once: a copy of their logits, in fp32."""
LEAK_TOLERANCE = 1e-4
"""How much a token may change what it must not reach; of random weights in bf16 it is 1e-2."""
TOLERANCE = 1e-3
"""Between layouts: rounding in fp32 stays under 1e-5."""
HALF_TOLERANCE = 1e-1
"""The same for weights in bf16."""


class Likelihood(NamedTuple):
    """How probable a response is after its prompt."""

    logprob: float
    """Sum of the log-probabilities of its tokens, natural logarithm."""
    tokens: int
    """How many they are, with what ends the response."""


class LanguageModel:
    """Log-probabilities of the responses of a :class:`MicroBatch`.

    ``hf`` is the unmodified causal language model of transformers, whose own head makes the logits.
    Prompts are encoded once where its attention allows it; ``layout`` says whether it does.
    """

    def __init__(self, hf: Any, *, longest: int) -> None:
        self.hf = hf
        self._own_attention = hf.config._attn_implementation
        self._keeps = "logits_to_keep" in inspect.signature(hf.forward).parameters
        self.layout: Layout = "padded"
        attention.register()
        self.layout = "shared" if self._can_share(longest) else "padded"
        attention.follow_layout(hf, self.layout, self._own_attention)

    @property
    def vocabulary(self) -> int:
        """Logits of a token."""
        return int(self.hf.get_input_embeddings().num_embeddings)

    @property
    def longest_short_text(self) -> int | None:
        """Tokens up to which a LongRoPE model reads a text with its factors for short ones.

        It picks one set for all of a batch by the longest, so those over it want batches of their
        own. None: its factors are always the same.
        """
        found: dict[str, Any] = (
            getattr(self.hf.config.get_text_config(), "rope_parameters", None) or {}
        )
        kinds = [found, *(one for one in found.values() if isinstance(one, dict))]
        limits = {
            one["original_max_position_embeddings"]
            for one in kinds  # of all layers, or of each kind of them
            if one.get("rope_type") == "longrope"
        }
        return min(limits) if limits else None

    def micro_batch_tokens(self, wanted: int) -> int:
        """Tokens of a micro-batch whose logits find room, at most ``wanted``."""
        return max(1, min(wanted, MAX_LOGITS // self.vocabulary))

    @torch.no_grad()
    def score(self, batch: MicroBatch, device: torch.device) -> list[Likelihood]:
        """The likelihood of each of the S sequences of a batch that lies on the CPU."""
        pieces = self._token_logprobs(batch, device)
        return [Likelihood(float(piece.double().sum()), len(piece)) for piece in pieces]

    def _token_logprobs(self, batch: MicroBatch, device: torch.device) -> list[Tensor]:
        """For each sequence the log-probabilities of its response's tokens, float32."""
        ends = zip(
            batch.prompt_end.tolist(), batch.first.tolist(), batch.last.tolist(), strict=True
        )
        # What predicts each token: the prompt's last one the first, and then each the next.
        readers = [[end, *range(first, last)] for end, first, last in ends]
        lengths = [len(one) for one in readers]
        places = torch.tensor([place for one in readers for place in one])
        rows, width = batch.input_ids.shape
        row, column = places // width, places % width
        # On a line of its own each token is kept; of padded rows, the columns that one needs.
        keep = column if rows == 1 else torch.arange(int(column.min()), width)
        targets = torch.cat(
            [
                batch.input_ids.flatten()[first : last + 1]
                for first, last in zip(batch.first.tolist(), batch.last.tolist(), strict=True)
            ]
        ).to(device)
        logits = self._logits(batch.to(device), keep.to(device))
        # [R, vocabulary]: what predicts each of the R tokens of all responses.
        kept = (row.to(device), (column - keep[0]).to(device))
        logits = logits[0] if rows == 1 else logits[kept]
        found = []
        for part, wanted in zip(logits.split(CHUNK), targets.split(CHUNK), strict=True):
            values = part.float()
            found.append(values.gather(1, wanted[:, None])[:, 0] - values.logsumexp(1))
        return list(torch.cat(found).cpu().split(lengths))

    def _logits(self, batch: MicroBatch, keep: Tensor) -> Tensor:
        """Logits after the tokens of some columns, [rows, kept, vocabulary]."""
        extra: dict[str, Any] = {} if batch.segments is None else {"segments": batch.segments}
        if self._keeps:
            extra["logits_to_keep"] = keep
        logits: Tensor = self.hf(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            attention_mask=batch.attention_mask,
            use_cache=False,
            **extra,
        ).logits
        return logits if self._keeps else logits[:, keep]

    @torch.no_grad()
    def _can_share(self, longest: int) -> bool:
        """Whether responses that share a prompt get what they get each in a row of its own.

        Not so where tokens mix outside of the attention (a convolution, a recurrent state), where
        the segments are not handed down, or where ours lacks what the model's own computes.
        """
        try:
            with short_windows(self.hf, windows_of(self.hf, longest)):
                padded = self._read_probe("padded", 31)
                shared, changed = (self._read_probe("shared", other) for other in (31, 37))
        except (ValueError, TypeError, ConfigError):
            return False
        half = next(self.hf.parameters()).dtype != torch.float32
        # Another first response changes nothing of the second, bit by bit: the shapes are the same.
        leak = _difference(shared[-1], changed[-1])
        apart = _difference(torch.cat(padded), torch.cat(shared))
        return leak < LEAK_TOLERANCE and apart < (HALF_TOLERANCE if half else TOLERANCE)

    def _read_probe(self, layout: Layout, other: int) -> list[Tensor]:
        """Log-probabilities of two responses to a prompt; ``other``: where the first begins."""
        attention.follow_layout(self.hf, layout, self._own_attention)
        ids = [
            np.array([number % self.vocabulary for number in numbers], dtype=np.int32)
            for numbers in (range(5, 14), range(other, other + 4), range(20, 28))
        ]
        pairs = (PairOfGroup(0, 1, 0, 1.0, 1.0, 1.0, ""),)
        group = PromptGroup(ids[0], (ids[1], ids[2]), pairs)
        (batch,) = micro_batches([group], layout, tokens=4096, pad_id=0, sites={})
        return self._token_logprobs(batch, next(self.hf.parameters()).device)


@torch.no_grad()
def _reads_one_direction(hf: Any) -> bool:
    """Whether no logit depends on a later token, without which it is no probability."""
    found = []
    for last in (3, 4):
        ids = torch.tensor([[1, 2, 3, last]]) % hf.get_input_embeddings().num_embeddings
        found.append(hf(input_ids=ids.to(hf.device), use_cache=False).logits[0, :3].float())
    return _difference(*found) < LEAK_TOLERANCE


def _difference(first: Tensor, second: Tensor) -> float:
    """Of log-probabilities or logits, in units of how much they differ among themselves."""
    return float((second - first).norm() / (first - first.mean()).norm().clamp(min=1e-30))


def load_language_model(
    located: LocatedModel, config: Any, *, longest: int, dtype: torch.dtype, device: torch.device
) -> LanguageModel:
    """Load a causal language model.

    Args:
        config: what ``read_language_config`` gave.
        longest: tokens of the sequences that will be scored.
        dtype: of the weights.
        device: where it is, and where it is tried.

    Raises ConfigError for one that reads both directions, or has no language-model head.
    """
    hf = read_language_model(located, config, dtype=dtype).to(device).eval()
    if not _reads_one_direction(hf):
        raise located.source.error(
            f"{type(hf).__name__} reads both directions, so it gives no probability of a response; "
            "name a causal language model"
        )
    return LanguageModel(hf, longest=longest)
