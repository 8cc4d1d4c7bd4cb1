"""Padded, packed and shared: the same scores and gradients, from an unmodified backbone."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.preference_data import make_model, make_pairs, write_dataset
from training.config import DataConfig, ModelConfig, TrainConfig
from training.data.collate import MicroBatch, first_fit, micro_batches
from training.data.dataset import PairDataset
from training.data.loader import DataLoader
from training.data.prompt_groups import PromptGroup, split_group
from training.data.sampler import BatchSampler
from training.losses import bradley_terry
from training.model.attention import AttentionSegments, loop_attention
from training.model.reward_model import LoadedModel, load_model

LAYOUTS = ("shared", "packed", "padded")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layouts")
    make_model(folder / "model")
    make_model(folder / "sliding", use_sliding_window=True, sliding_window=9, max_window_layers=1)
    write_dataset(folder / "data", make_pairs(40, "train", responses=4))
    return folder


def load(folder: Path, layout: str, name: str = "model", **data: int) -> LoadedModel:
    return load_model(
        str(folder / name),
        ModelConfig(layout=layout, head_init_std=1.0),  # type: ignore[arg-type]
        DataConfig(max_length=256, **data),
        seed=0,
    )


def batches(folder: Path, loaded: LoadedModel, layout: str, tokens: int = 600) -> list[MicroBatch]:
    config = TrainConfig(
        data=DataConfig(max_length=256, batch_pairs=1000),
        model=ModelConfig(layout=layout, micro_batch_tokens=tokens),  # type: ignore[arg-type]
    )
    dataset = PairDataset(str(folder / "data"), "train")
    sampler = BatchSampler(rows=dataset.rows, batch_rows=1000, window=4, seed=0)
    return DataLoader(dataset, sampler, loaded.tokens, config).batch(0).micro


def rewards_by_row(loaded: LoadedModel, micro: list[MicroBatch]) -> tuple[Tensor, Tensor]:
    """Rewards of chosen and rejected in the order of the rows, with their graph."""
    rows, chosen, rejected = [], [], []
    for batch in micro:
        rewards = loaded.model(batch)
        rows.append(batch.rows)
        chosen.append(rewards[batch.chosen])
        rejected.append(rewards[batch.rejected])
    order = torch.cat(rows).argsort()
    return torch.cat(chosen)[order], torch.cat(rejected)[order]


@pytest.mark.parametrize("name", ["model", "sliding"])
def test_layouts_give_the_same_scores_and_gradients(folder: Path, name: str) -> None:
    found = {}
    for layout in LAYOUTS:
        loaded = load(folder, layout, name)
        chosen, rejected = rewards_by_row(loaded, batches(folder, loaded, layout))
        labels = batches(folder, loaded, layout)[0].labels
        bradley_terry(chosen, rejected, labels).mean().backward()
        gradient = torch.cat([p.grad.flatten() for p in loaded.model.parameters()])
        found[layout] = chosen.detach(), rejected.detach(), gradient
    reference = found["padded"]
    assert reference[0].std() > 0.3  # a constant would be equal, too
    for layout in ("shared", "packed"):
        for ours, theirs in zip(found[layout], reference, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-5)


def test_a_micro_batch_of_one_scores_as_one_of_many(folder: Path) -> None:
    for layout in LAYOUTS:
        loaded = load(folder, layout)
        with torch.no_grad():
            many, _ = rewards_by_row(loaded, batches(folder, loaded, layout, tokens=4000))
            few, _ = rewards_by_row(loaded, batches(folder, loaded, layout, tokens=150))
        torch.testing.assert_close(many, few, rtol=1e-4, atol=1e-5)


def test_every_layout_encodes_every_response_once_and_shared_every_prompt(folder: Path) -> None:
    loaded = load(folder, "shared")
    shared = batches(folder, loaded, "shared", tokens=100_000)
    packed = batches(folder, loaded, "packed", tokens=100_000)
    padded = batches(folder, loaded, "padded", tokens=100_000)
    sequences = sum(len(batch.last) for batch in shared)
    assert sequences == sum(len(batch.last) for batch in packed)
    assert sequences == sum(len(batch.last) for batch in padded) < 2 * len(padded[0].rows)
    assert shared[0].segments is not None
    own_keys = [k1 - k0 == q1 - q0 for q0, q1, k0, k1 in shared[0].segments.spans]
    assert sum(own_keys) == 40  # a prompt's keys are itself; a response has its prompt before it
    assert shared[0].tokens < packed[0].tokens == padded[0].tokens


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_pair_is_laid_out_once_and_bins_keep_their_size(folder: Path, layout: str) -> None:
    loaded = load(folder, layout)
    micro = batches(folder, loaded, layout, tokens=150)
    dataset = PairDataset(str(folder / "data"), "train")
    rows = torch.cat([batch.rows for batch in micro])
    assert sorted(rows.tolist()) == list(range(sum(dataset.rows)))
    for batch in micro:
        assert batch.input_ids.numel() <= 150 or len(batch.rows) == 1
    total = sum(float(batch.labels.weight.sum()) for batch in micro)
    assert total == pytest.approx(40)  # each prompt weighs one


def test_activation_checkpointing_changes_no_gradient(folder: Path) -> None:
    gradients = []
    for checkpointing in (False, True):
        loaded = load(folder, "shared")
        loaded.model.train()
        if checkpointing:
            loaded.model.checkpoint_activations()
        chosen, rejected = rewards_by_row(loaded, batches(folder, loaded, "shared"))
        (chosen - rejected).sigmoid().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in loaded.model.parameters()]))
    torch.testing.assert_close(*gradients)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(0, 7)), min_size=1, max_size=5),
    st.sampled_from([None, 1, 3]),
    st.integers(0, 1000),
)
def test_loop_attention_is_softmax_over_the_visible_keys(
    shapes: list[tuple[int, int]], window: int | None, seed: int
) -> None:
    """Against the definition, for segments of q queries whose keys are p others and their own."""
    generator = torch.Generator().manual_seed(seed)
    total, keys = sum(q for q, _ in shapes), sum(q + p for q, p in shapes)
    query = torch.randn(total, 4, 8, generator=generator)
    key, value = (torch.randn(keys, 2, 8, generator=generator) for _ in range(2))
    spans, at, key_at = [], 0, 0
    for q, p in shapes:
        spans.append((at, at + q, key_at, key_at + p + q))
        at, key_at = at + q, key_at + p + q
    segments = AttentionSegments(torch.tensor([0]), torch.tensor([0]), None, 0, tuple(spans))
    found = loop_attention(query, key, value, segments, scaling=0.5, sliding_window=window)
    for q0, q1, k0, k1 in spans:
        for i in range(q1 - q0):
            last = (k1 - k0) - (q1 - q0) + i
            first = 0 if window is None else max(0, last - window + 1)
            for head in range(4):
                seen = slice(k0 + first, k0 + last + 1)
                weights = (key[seen, head // 2] @ query[q0 + i, head] * 0.5).softmax(0)
                torch.testing.assert_close(found[q0 + i, head], weights @ value[seen, head // 2])


def some_group(prompt: int, lengths: list[int]) -> PromptGroup:
    import numpy as np

    from training.data.prompt_groups import PairOfGroup

    pairs = tuple(
        PairOfGroup(a, b, a * 100 + b, 1.0, 1.0, 1.0, "")
        for a in range(len(lengths))
        for b in range(a + 1, len(lengths))
    )
    ids = tuple(np.full(length, number, dtype=np.int32) for number, length in enumerate(lengths))
    return PromptGroup(np.arange(prompt, dtype=np.int32), ids, pairs)


@given(
    st.integers(1, 30), st.lists(st.integers(1, 30), min_size=2, max_size=8), st.integers(20, 120)
)
def test_a_split_group_keeps_every_pair_and_its_texts(
    prompt: int, lengths: list[int], tokens: int
) -> None:
    group = some_group(prompt, lengths)
    parts = split_group(group, tokens)
    found = {}
    for part in parts:
        assert part.shared_tokens <= tokens or len(part.pairs) == 1
        for pair in part.pairs:
            chosen, rejected = part.responses[pair.chosen], part.responses[pair.rejected]
            found[pair.row] = (chosen.tolist(), rejected.tolist())
    assert found == {
        pair.row: (group.responses[pair.chosen].tolist(), group.responses[pair.rejected].tolist())
        for pair in group.pairs
    }


def test_packed_groups_over_the_limit_are_cut() -> None:
    group = some_group(50, [10] * 6)
    micro = micro_batches([group], "packed", tokens=150, pad_id=0, sites={"": 0})
    assert max(batch.tokens for batch in micro) <= 150
    assert sorted(torch.cat([b.rows for b in micro]).tolist()) == [p.row for p in group.pairs]


def test_first_fit_fills_the_first_bin_with_room() -> None:
    a, b, c, d = (some_group(1, [1, 1]) for _ in range(4))
    assert first_fit([(3, a), (6, b), (5, c), (4, d)], 10) == [[b, d], [c, a]]
