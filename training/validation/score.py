"""Scores pairs and texts with a model, without gradients."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from training.data.collate import MicroBatch, micro_batches
from training.data.prompt_groups import PairOfGroup, PromptGroup
from training.data.tokenizer import Ids
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
    groups: list[PromptGroup] = []
    places: list[list[int]] = []
    for prompt, texts in zip(loaded.tokens.prompts(prompts), responses, strict=True):
        distinct: dict[bytes, int] = {}
        ids: list[Ids] = []
        place = []
        for sequence in loaded.tokens.responses(texts, len(prompt)):
            number = distinct.setdefault(sequence.tobytes(), len(ids))
            if number == len(ids):
                ids.append(sequence)
            place.append(number)
        places.append(place)
        # A response is paired with itself to name it: the pairs say which rewards are wanted.
        base = len(groups)
        pairs = tuple(
            PairOfGroup(i, i, (base << 32) + i, 1.0, 1.0, 1.0, "") for i in range(len(ids))
        )
        groups.append(PromptGroup(prompt, tuple(ids), pairs))
    batches = micro_batches(
        [group for group in groups if group.pairs],
        loaded.model.layout,
        tokens=micro_batch_tokens,
        pad_id=loaded.tokens.pad_id,
        sites={},
    )
    rewards: dict[int, float] = {}
    for batch in batches:
        scores = loaded.model(batch.to(device)).double().cpu()
        chosen = scores[batch.chosen.cpu()].tolist()
        rewards.update(zip(batch.rows.tolist(), chosen, strict=True))
    return [
        [rewards[(number << 32) + index] for index in place] for number, place in enumerate(places)
    ]
