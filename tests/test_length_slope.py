"""The loss `length`: a second head that takes up length, and rewards that are kept away from it."""

import hashlib
import json
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from schemas.words import count_words_and_signs
from tests.preference_data import make_model, make_pairs, sentence, write_dataset
from training.commands import main
from training.data.dataset import PairDataset
from training.data.prompt_groups import group_pairs, prompt_runs
from training.losses.base import Labels, weighted_sum
from training.losses.length_slope import LengthSlope
from training.losses.pointwise import bradley_terry


def labels(x: Tensor, weight: Tensor | None = None) -> Labels:
    """Labels whose log ratio of lengths is x."""
    ones = torch.ones_like(x)
    return Labels(
        weight=ones if weight is None else weight,
        confidence=ones,
        margin=ones,
        site=torch.zeros(len(x), dtype=torch.int64),
        chosen_length=10 * x.exp() - 1,
        rejected_length=10 * ones - 1,
    )


def drawn(pairs: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    d, x, weight = torch.randn(3, pairs, dtype=torch.float64, generator=generator)
    return d + 0.5 * x, x, weight.abs()


def step(head: LengthSlope, d: Tensor, known: Labels) -> None:
    head(d, torch.zeros_like(d), known)
    head.end_step()


def test_the_penalty_has_the_gradient_of_the_correlation() -> None:
    """Against autograd through the correlation of all pairs, written out, its scale held."""
    d, x, weight = drawn(50)
    head = LengthSlope(3.0).double().train()
    step(head, d, labels(x, weight))
    head.beta.zero_()
    given = d.clone().requires_grad_()
    with_penalty = weighted_sum(head(given, torch.zeros_like(d), labels(x, weight)), weight)
    (ours,) = torch.autograd.grad(with_penalty / weight.sum(), given)
    again = d.clone().requires_grad_()
    scale = ((weight * again**2).sum() * (weight * x**2).sum()).sqrt().detach()
    rho = (weight * again * x).sum() / scale
    plain = (weight * torch.nn.functional.softplus(-again)).sum() / weight.sum()
    (theirs,) = torch.autograd.grad(plain + 3.0 * rho.square(), again)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)
    assert head.correlation.item() == pytest.approx(rho.item(), rel=1e-6)


def test_beta_goes_to_what_plain_numpy_fits() -> None:
    d, x, weight = drawn(400, 1)
    head = LengthSlope(0.0).double().train()
    for _ in range(100):
        step(head, d, labels(x, weight))
    beta = 0.0
    for _ in range(50):  # Newton on the loss of all pairs
        p = 1 / (1 + np.exp(-(d + beta * x).numpy()))
        gradient = (weight.numpy() * (1 - p) * x.numpy()).sum()
        beta += gradient / (weight.numpy() * p * (1 - p) * x.numpy() ** 2).sum()
    assert head.beta.item() == pytest.approx(beta, abs=1e-4)


def put(total: Tensor, sums: Tensor) -> None:
    sums.copy_(total)


def test_micro_batches_ranks_and_skipped_steps() -> None:
    d, x, weight = drawn(12)
    known = labels(x, weight)
    whole, parts = LengthSlope(1.0).double().train(), LengthSlope(1.0).double().train()
    ranks = [LengthSlope(1.0).double().train() for _ in range(2)]
    for _ in range(3):
        loss = weighted_sum(whole(d, torch.zeros_like(d), known), weight)
        cut = [slice(0, 1), slice(1, 8), slice(8, 12)]
        pieces = [
            weighted_sum(
                parts(d[one], torch.zeros_like(d[one]), Labels(*(c[one] for c in known))),
                weight[one],
            )
            for one in cut
        ]
        torch.testing.assert_close(sum(pieces), loss)
        for rank, head in enumerate(ranks):
            head(d[rank::2], torch.zeros(6), Labels(*(c[rank::2] for c in known)))
        total = ranks[0].sums + ranks[1].sums
        for head in ranks:
            head.end_step(all_reduce=partial(put, total))
        whole.end_step()
        parts.end_step()
        for head in (parts, *ranks):
            torch.testing.assert_close(head.state_dict(), whole.state_dict())
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    whole(d, torch.zeros_like(d), known)
    whole.drop_step()
    whole.eval()(d, torch.zeros_like(d), known)
    whole.train().end_step()
    torch.testing.assert_close(whole.state_dict(), before)


def test_equal_lengths_teach_it_nothing_and_are_plain_bradley_terry() -> None:
    d, _, weight = drawn(8)
    head = LengthSlope(5.0).double().train()
    for _ in range(3):
        step(head, d, labels(torch.zeros_like(d), weight))
    loss = head(d, torch.zeros_like(d), labels(torch.zeros_like(d), weight))
    torch.testing.assert_close(loss, torch.nn.functional.softplus(-d))
    assert head.beta.item() == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs whose chosen response is the longer one four times in five, and a model."""
    folder = tmp_path_factory.mktemp("length")
    rng = Random("length")
    pairs = []
    for split, prompts in (("train", 60), ("validation", 20)):
        for pair in make_pairs(prompts, split):
            side = "chosen" if rng.random() < 0.8 else "rejected"
            more = f"{getattr(pair, side)} {sentence(rng, 10, 30)}"
            pairs.append(msgspec.structs.replace(pair, **{side: more}))
    write_dataset(folder / "data", pairs)
    make_model(folder / "model")
    return folder


def train(folder: Path, output: Path, *more: str, loss: str = "length") -> Path:
    command = ["train", "--dataset", str(folder / "data"), "--model", str(folder / "model")]
    command += ["--output", str(output), "--device", "cpu", "--quiet"]
    for setting in (
        f"loss.name={loss}", "data.max_length=128", "data.batch_pairs=8", "optim.lr=1e-3",
        "run.tensorboard=false", "run.epochs=2", "run.save_every=3",
    ):  # fmt: skip
        command += ["--set", setting]
    assert main([*command, *more]) == 0
    return output


def test_lengths_are_those_of_the_uncut_texts(folder: Path) -> None:
    from training.config import DataConfig, ModelConfig
    from training.model.reward_model import load_model

    loaded = load_model(str(folder / "model"), ModelConfig(), DataConfig(max_length=64), seed=0)
    rows = PairDataset(str(folder / "data"), "train").read(0)
    found: dict[int, tuple[int, int]] = {}
    for group in group_pairs(rows, prompt_runs(rows), loaded.tokens, lengths=True).groups:
        found |= {pair.row: (pair.chosen_length, pair.rejected_length) for pair in group.pairs}
    assert found
    for row, pair in found.items():
        texts = rows.chosen[row], rows.rejected[row]
        assert pair == tuple(count_words_and_signs(text) for text in texts)
    for group in group_pairs(rows, prompt_runs(rows), loaded.tokens).groups:
        assert {(pair.chosen_length, pair.rejected_length) for pair in group.pairs} == {(0, 0)}


def state(run: Path) -> dict[str, Any]:
    (*_, last) = sorted((run / "checkpoints").iterdir())
    found: dict[str, Any] = json.loads((last / "trainer.json").read_text())["loss"]
    return found


def test_a_resumed_run_ends_in_the_same_bytes_and_the_head_is_dropped(
    folder: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file
    from transformers import AutoModelForSequenceClassification

    whole = train(folder, tmp_path / "whole")
    parts = train(folder, tmp_path / "parts", "--set", "run.max_steps=5")
    train(folder, tmp_path / "parts", "--resume", "--set", "run.max_steps=null")

    def digest(run: Path) -> str:
        return hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest()

    assert digest(parts) == digest(whole)
    assert state(parts) == state(whole)
    assert state(whole)["loss.beta"] > 0  # the longer one won four times in five
    assert set(load_file(whole / "model" / "model.safetensors")) == set(
        load_file(train(folder, tmp_path / "bt", loss="bt") / "model" / "model.safetensors")
    )
    AutoModelForSequenceClassification.from_pretrained(whole / "model")


def fitted(loss: Any) -> tuple[float, float, float]:
    """A linear reward of a noisy content feature and of the length, trained by a loss on votes that
    follow both: its weights of content and length, and its correlation with length."""
    generator = torch.Generator().manual_seed(3)
    content, x, noise = torch.randn(3, 4000, generator=generator)
    wins = torch.rand(4000, generator=generator) < torch.sigmoid(content + 1.5 * x)
    sign = torch.where(wins, 1.0, -1.0)
    features = torch.stack([content + 0.3 * noise, x], 1) * sign[:, None]
    known = labels(x * sign)
    weights = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.SGD([weights], lr=0.5)
    for start in range(0, 40_000, 400):
        rows = slice(start % 4000, start % 4000 + 400)
        part = Labels(*(column[rows] for column in known))
        d = features[rows] @ weights
        optimizer.zero_grad()
        loss(d, torch.zeros_like(d), part).mean().backward()
        optimizer.step()
        if isinstance(loss, LengthSlope):
            loss.end_step()
    d = (features @ weights).detach()
    rho = (d @ (x * sign)) / (d.square().sum() * x.square().sum()).sqrt()
    return float(weights[0].detach()), float(weights[1].detach()), float(rho)


def test_rewards_are_kept_away_from_length_and_keep_their_content() -> None:
    content, length, rho = fitted(bradley_terry)
    assert length > 1.0 and rho > 0.7
    content_beside, length_beside, rho_beside = fitted(LengthSlope(0.0).train())
    assert length_beside < 0.7 * length and rho_beside < rho - 0.1
    content_away, _, rho_away = fitted(LengthSlope(0.3).train())
    assert abs(rho_away) < 0.15
    for found in (content_beside, content_away):
        assert found == pytest.approx(content, rel=0.25)
