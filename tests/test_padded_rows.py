"""The padded layout: distinct sequences once, the numbers of plain transformers, few cells."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from tests.preference_data import make_model
from training.config import DataConfig, ModelConfig
from training.data.collate import MicroBatch, micro_batches
from training.data.padded_rows import cheapest_cuts, padded_chunks
from training.data.prompt_groups import PairOfGroup, PromptGroup
from training.losses import bradley_terry
from training.losses.base import weighted_sum
from training.model.reward_model import LoadedModel, load_model

LENGTHS = ((9, (4, 30, 11, 4)), (20, (5, 6)), (3, (60, 7, 8)))
"""Tokens of each prompt, and of its responses."""


def some_groups(seed: int = 0) -> list[PromptGroup]:
    draw = np.random.default_rng(seed)
    groups, row = [], 0
    for prompt, lengths in LENGTHS:
        pairs = []
        for chosen in range(len(lengths)):
            for rejected in range(chosen + 1, len(lengths)):
                weight = float(draw.uniform(0.2, 1))
                pairs.append(PairOfGroup(chosen, rejected, row, weight, 1.0, 1.0, ""))
                row += 1
        ids = [draw.integers(5, 60, length).astype(np.int32) for length in (prompt, *lengths)]
        groups.append(PromptGroup(ids[0], tuple(ids[1:]), tuple(pairs)))
    return groups


def laid_out(groups: list[PromptGroup], tokens: int) -> list[MicroBatch]:
    return micro_batches(groups, "padded", tokens=tokens, pad_id=0, sites={})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("padded")
    make_model(folder)
    layout = ModelConfig(layout="padded", head_init_std=1.0)
    return load_model(str(folder), layout, DataConfig(max_length=256), seed=0)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory, model: LoadedModel) -> LoadedModel:
    from transformers import BertConfig, BertForSequenceClassification

    from training.model.reward_model import RewardModel

    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    # With smaller weights all rewards are nearly equal, and a gradient is what rounding left.
    config = BertConfig(
        vocab_size=64, intermediate_size=64, num_labels=1, initializer_range=0.2, **shape
    )
    hf = BertForSequenceClassification(config).eval()
    return LoadedModel(RewardModel(hf, "padded"), None, model.template, model.tokens, False)


@pytest.mark.parametrize("kind", ["model", "encoder"])
@pytest.mark.parametrize("tokens", [140, 100_000])
def test_losses_and_gradients_are_those_of_each_sequence_alone(
    kind: str, tokens: int, request: pytest.FixtureRequest
) -> None:
    """Against plain transformers, that reads one unpadded sequence after the other."""
    reward_model = request.getfixturevalue(kind).model
    hf = reward_model.hf
    groups = some_groups()

    def gradient() -> torch.Tensor:
        found = [p.grad.flatten() for p in hf.parameters() if p.grad is not None]
        hf.zero_grad()
        return torch.cat(found).double()

    expected = torch.zeros(())
    for group in groups:
        alone = [
            hf(torch.tensor(np.concatenate([group.prompt, ids]), dtype=torch.int64)[None]).logits
            for ids in group.responses
        ]
        for pair in group.pairs:
            gap = alone[pair.chosen][0, 0] - alone[pair.rejected][0, 0]
            expected = expected - pair.weight * functional.logsigmoid(gap)
    total = expected.item()
    expected.backward()
    reference = gradient()

    found = 0.0
    for micro in laid_out(groups, tokens):
        rewards = reward_model(micro)
        losses = bradley_terry(rewards[micro.chosen], rewards[micro.rejected], micro.labels)
        loss = weighted_sum(losses, micro.labels.weight)
        loss.backward()
        found += loss.item()
    assert found == pytest.approx(total, rel=1e-6)
    # In fp32 their order of adding leaves 1.4e-6.
    assert float((gradient() - reference).norm() / reference.norm()) < 5e-6


def test_a_sequence_of_several_pairs_is_a_row_once() -> None:
    (micro,) = laid_out(some_groups(), 100_000)
    assert len(micro.last) == sum(len(lengths) for _, lengths in LENGTHS)
    assert len(micro.rows) == 6 + 1 + 3
    for group in some_groups():
        for pair in group.pairs:
            (at,) = (micro.rows == pair.row).nonzero()[0].tolist()
            for side, response in (("chosen", pair.chosen), ("rejected", pair.rejected)):
                row = int(getattr(micro, side)[at])
                first, last = int(micro.first[row]), int(micro.last[row])
                ids = micro.input_ids.flatten()[first : last + 1]
                assert ids.tolist() == group.responses[response].tolist()
                begin = int(micro.prompt_end[row]) + 1 - len(group.prompt)
                assert begin % micro.input_ids.shape[1] == 0
                assert micro.input_ids.flatten()[begin:first].tolist() == group.prompt.tolist()


@pytest.mark.parametrize("tokens", [1, 64, 150, 300, 100_000])
def test_pairs_keep_their_numbers_and_weights_within_the_budget(tokens: int) -> None:
    groups = some_groups()
    micro = laid_out(groups, tokens)
    weights = {pair.row: pair.weight for group in groups for pair in group.pairs}
    found: dict[int, float] = {}
    for part in micro:
        assert part.input_ids.numel() <= tokens or len(part.rows) == 1
        found |= dict(zip(part.rows.tolist(), part.labels.weight.tolist(), strict=True))
    assert found == pytest.approx(weights)
    assert sum(len(part.rows) for part in micro) == len(weights)


def test_one_long_response_does_not_widen_the_short_ones() -> None:
    pairs = tuple(PairOfGroup(0, 1 + n, n, 1.0, 1.0, 1.0, "") for n in range(3))
    ids = [np.arange(length, dtype=np.int32) for length in (2, 10, 10, 10, 500)]
    chunks = padded_chunks([PromptGroup(ids[0], tuple(ids[1:]), pairs)], 16_384)
    assert [[len(group.responses) for group in chunk] for chunk in chunks] == [[2], [3]]


def test_without_weight_no_gradient_is_added(model: LoadedModel) -> None:
    micro = laid_out(some_groups(), 300)[0].without_weight()
    rewards = model.model(micro)
    losses = bradley_terry(rewards[micro.chosen], rewards[micro.rejected], micro.labels)
    weighted_sum(losses, micro.labels.weight).backward()
    gradients = [p.grad for p in model.model.parameters() if p.grad is not None]
    assert gradients
    assert all(not gradient.any() for gradient in gradients)
    model.model.zero_grad()


@given(
    st.lists(
        st.tuples(st.integers(1, 40), st.sets(st.integers(0, 5), min_size=1, max_size=2)),
        min_size=1,
        max_size=7,
    ),
    st.integers(1, 200),
    st.integers(0, 30),
)
def test_no_other_cuts_are_cheaper(
    items: list[tuple[int, set[int]]], limit: int, pass_cost: int
) -> None:
    """Against all ways to cut, one by one."""
    items = sorted(items, key=lambda item: -item[0])
    widths = [width for width, _ in items]
    rows = [{(0, row) for row in names} for _, names in items]

    def cost(cuts: list[range]) -> int | None:
        total = 0
        for cut in cuts:
            cells = widths[cut.start] * len(set().union(*rows[cut.start : cut.stop]))
            if len(cut) > 1 and cells > limit:
                return None
            total += cells + pass_cost
        return total

    every = []
    for mask in range(1 << (len(items) - 1)):
        at = [0, *(n + 1 for n in range(len(items) - 1) if mask >> n & 1), len(items)]
        every.append(cost([range(a, b) for a, b in pairwise(at)]))
    found = cheapest_cuts(widths, rows, limit, pass_cost=pass_cost)
    assert [row for run in found for row in run] == list(range(len(items)))
    assert cost(found) == min(total for total in every if total is not None)
