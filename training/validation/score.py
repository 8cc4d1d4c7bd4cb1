"""Scores pairs and texts with a model, without gradients."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.data.collate import MicroBatch, micro_batches
from training.data.prompt_groups import PairOfGroup, PromptGroup
from training.data.tokenizer import Ids
from training.model.language_model import LanguageModel, Likelihood
from training.model.reward_model import LoadedModel


@torch.no_grad()
def score_pairs(
    loaded: LoadedModel, batches: Iterable[MicroBatch], device: torch.device
) -> dict[str, npt.NDArray[np.float64]]:
    """Score micro-batches: a dict of arrays of P, one entry per pair, in any order.

    Keys: ``row``, the number of the pair in its batch, and ``chosen``, ``rejected``: rewards.
    """
    found: dict[str, list[npt.NDArray[np.float64]]] = {"row": [], "chosen": [], "rejected": []}
    for batch in batches:
        rewards = loaded.model(batch.to(device)).double().cpu()
        found["row"].append(batch.rows.double().cpu().numpy())
        found["chosen"].append(rewards[batch.chosen.cpu()].numpy())
        found["rejected"].append(rewards[batch.rejected.cpu()].numpy())
    return {key: np.concatenate(parts) if parts else np.zeros(0) for key, parts in found.items()}


@torch.no_grad()
def score_texts(
    loaded: LoadedModel,
    prompts: Sequence[str],
    responses: Sequence[Sequence[str]],
    *,
    device: torch.device,
    micro_batch_tokens: int = 16_384,
) -> list[list[float]]:
    """Return the reward of each response to each prompt; equal texts get equal rewards.

    ``responses[i]`` are responses to ``prompts[i]``.
    """
    found = measure_texts(
        loaded,
        prompts,
        responses,
        lambda batch: loaded.model(batch)[:, None],
        device=device,
        micro_batch_tokens=micro_batch_tokens,
    )
    return [[reward for (reward,) in row] for row in found]


@torch.no_grad()
def measure_texts(
    loaded: LoadedModel,
    prompts: Sequence[str],
    responses: Sequence[Sequence[str]],
    measure: Callable[[MicroBatch], Tensor],
    *,
    device: torch.device,
    micro_batch_tokens: int = 16_384,
) -> list[list[tuple[float, ...]]]:
    """Return what ``measure`` makes of each response to each prompt; equal texts get equal values.

    ``measure`` takes a micro-batch of S sequences, on the device, and gives [S, k] numbers.
    """
    encoded = loaded.tokens.prompts(prompts)
    sequences = [
        loaded.tokens.responses(texts, len(prompt))
        for prompt, texts in zip(encoded, responses, strict=True)
    ]
    groups, places = single_responses(encoded, sequences)
    batches = micro_batches(
        groups,
        loaded.model.layout,
        tokens=micro_batch_tokens,
        pad_id=loaded.tokens.pad_id,
        sites={},
    )
    found: dict[int, tuple[float, ...]] = {}
    for batch in batches:
        values = measure(batch.to(device)).double().cpu()
        chosen = map(tuple, values[batch.chosen.cpu()].tolist())
        found.update(zip(batch.rows.tolist(), chosen, strict=True))
    return [[found[name] for name in names] for names in places]


def score_likelihoods(
    model: LanguageModel,
    prompts: Sequence[Ids],
    responses: Sequence[Sequence[Ids]],
    *,
    device: torch.device,
    micro_batch_tokens: int = 16_384,
) -> list[list[Likelihood]]:
    """Return how probable each response is after its prompt; equal ids get equal values.

    ``responses[i]`` are the token ids of responses to ``prompts[i]``, of which none is empty.
    """
    groups, places = single_responses(prompts, responses)
    found: dict[int, Likelihood] = {}
    batches = (
        batch
        for part in apart_by_length(groups, model.longest_short_text)
        for batch in micro_batches(
            part,
            model.layout,
            tokens=model.micro_batch_tokens(micro_batch_tokens),
            pad_id=0,  # a causal model reads what is filled up after the response, and so never
            sites={},
        )
    )
    for batch in batches:
        scores = model.score(batch, device)
        found.update(
            (name, scores[place])
            for name, place in zip(batch.rows.tolist(), batch.chosen.tolist(), strict=True)
        )
    return [[found[name] for name in names] for names in places]


def apart_by_length(groups: list[PromptGroup], limit: int | None) -> list[list[PromptGroup]]:
    """The groups of :func:`single_responses`, those of sequences over a limit apart from others."""
    if limit is None:
        return [groups]
    parts: list[list[PromptGroup]] = [[], []]
    for group in groups:
        for part, over in zip(parts, (False, True), strict=True):
            kept = [
                place
                for place, ids in enumerate(group.responses)
                if (len(group.prompt) + len(ids) > limit) is over
            ]
            pairs = tuple(
                replace(group.pairs[place], chosen=new, rejected=new)
                for new, place in enumerate(kept)
            )
            if kept:
                responses = tuple(group.responses[place] for place in kept)
                part.append(PromptGroup(group.prompt, responses, pairs))
    return [part for part in parts if part]


def single_responses(
    prompts: Sequence[Ids], responses: Sequence[Sequence[Ids]]
) -> tuple[list[PromptGroup], list[list[int]]]:
    """Groups in which each distinct response is to be scored once, and which number each gets.

    A response is paired with itself to name it: the row of the pair is its number.
    """
    groups: list[PromptGroup] = []
    places: list[list[int]] = []
    for number, (prompt, sequences) in enumerate(zip(prompts, responses, strict=True)):
        distinct: dict[bytes, int] = {}
        ids: list[Ids] = []
        place = []
        for sequence in sequences:
            index = distinct.setdefault(sequence.tobytes(), len(ids))
            if index == len(ids):
                ids.append(sequence)
            place.append((number << 32) + index)
        places.append(place)
        if ids:
            pairs = tuple(
                PairOfGroup(i, i, (number << 32) + i, 1.0, 1.0, 1.0, "") for i in range(len(ids))
            )
            groups.append(PromptGroup(prompt, tuple(ids), pairs))
    return groups, places
