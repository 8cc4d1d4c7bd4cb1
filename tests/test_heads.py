"""Heads beside the reward head: the length head, and what is kept and dropped of it."""

import hashlib
import json
from copy import deepcopy
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.fresh_process import torchrun
from tests.preference_data import make_model, make_pairs, sentence, write_dataset
from training.commands import main
from training.config import load_config
from training.data.collate import MicroBatch
from training.errors import ConfigError
from training.heads.length_module import LengthHead
from training.heads.registry import EXTRA_HEADS, HEADS
from training.heads.training_heads import HEADS_NAME, make_heads
from training.losses.base import Labels
from training.losses.pointwise import bradley_terry
from training.losses.settings import LossConfig
from training.parallel.distributed import start_distributed
from training.run.options import TrainOptions
from training.run.setup import set_up
from training.train import train_step

SETTINGS = (
    "model.extra_heads=[\"length\"]", "loss.length_correlation=2.0", "loss.head_orthogonality=0.5",
    "data.max_length=128", "data.batch_pairs=8", "optim.lr=1e-3", "optim.weight_decay=0.0",
    "optim.head_lr_scale=3.0", "optim.clip=0.0", "run.trackers=[]", "run.epochs=2",
    "run.save_every=3", "run.log_every=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs whose chosen response is the longer one four times in five, and a model."""
    folder = tmp_path_factory.mktemp("heads")
    rng = Random("heads")
    pairs = []
    for split, prompts in (("train", 40), ("validation", 10)):
        for pair in make_pairs(prompts, split):
            side = "chosen" if rng.random() < 0.8 else "rejected"
            more = f"{getattr(pair, side)} {sentence(rng, 10, 30)}"
            pairs.append(msgspec.structs.replace(pair, **{side: more}))
    write_dataset(folder / "data", pairs)
    make_model(folder / "model")
    return folder


def arguments(folder: Path, output: Path, *more: str) -> list[str]:
    command = ["train", "--dataset", str(folder / "data"), "--model", str(folder / "model")]
    command += ["--output", str(output), "--device", "cpu", "--quiet"]
    for setting in (*SETTINGS, *(one for one in more if "=" in one)):
        command += ["--set", setting]
    return command + [one for one in more if "=" not in one]


def train(folder: Path, output: Path, *more: str) -> Path:
    assert main(arguments(folder, output, *more)) == 0
    return output


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    return train(folder, folder / "run")


def last(run: Path) -> Path:
    return sorted((run / "checkpoints").iterdir())[-1]


def digest(run: Path) -> str:
    return hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest()


def logged(run: Path, kind: str = "train") -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def drawn(pairs: int) -> tuple[Tensor, Tensor, Labels]:
    generator = torch.Generator().manual_seed(1)
    q, own, x, weight = torch.randn(4, pairs, dtype=torch.float64, generator=generator)
    ones = torch.ones_like(x)
    none = torch.zeros(pairs, dtype=torch.int64)
    labels = Labels(weight.abs(), ones, ones, none, 10 * x.exp() - 1, 10 * ones - 1)
    return q + 0.5 * x, own + 0.8 * x, labels


def test_its_terms_have_value_and_gradient_of_the_correlations() -> None:
    """Against autograd through the correlations written out; the rewards' scale held."""
    q, own, labels = drawn(60)
    head = LengthHead(4, correlation=3.0, orthogonality=1.0, seed=0).double().train()
    assert head.pair_terms(q, own, labels).eq(0).all()  # nothing is known in the first step
    head.end_step()
    given = q.clone().requires_grad_(), own.clone().requires_grad_()
    ours = (labels.weight * head.pair_terms(*given, labels)).sum() / labels.weight.sum()
    again = q.clone().requires_grad_(), own.clone().requires_grad_()
    x = labels.chosen_length.log1p() - labels.rejected_length.log1p()
    w = labels.weight
    held = (w * q**2).sum().sqrt()
    rho_q = (w * again[0] * x).sum() / (held * (w * x * x).sum().sqrt())
    rho_l = (w * again[1] * x).sum() / ((w * again[1] ** 2).sum() * (w * x * x).sum()).sqrt()
    theirs = 3.0 * (rho_q.square() - rho_l)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)
    for mine, other in zip(
        torch.autograd.grad(ours, given), torch.autograd.grad(theirs, again), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-9)
    found = [value.item() for value in head.correlations()]
    assert found == pytest.approx([rho_q.item(), rho_l.item()], rel=1e-6)


def test_a_skipped_step_and_validation_leave_no_trace() -> None:
    q, own, labels = drawn(10)
    head = LengthHead(4, correlation=1.0, orthogonality=1.0, seed=0).double().train()
    head.pair_terms(q, own, labels)
    head.drop_step()
    head.eval().pair_terms(q, own, labels)
    head.end_step()
    assert head.moments.eq(0).all()


def test_the_first_steps_are_those_of_plain_torch(folder: Path, tmp_path: Path) -> None:
    """The run's weights and losses, from transformers' model, autograd and torch's AdamW alone."""
    config = load_config(None, [*SETTINGS, "optim.warmup=0.0", "model.layout=padded"])
    options = TrainOptions(
        dataset=str(folder / "data"), model=str(folder / "model"), output=tmp_path / "out",
        config=config, device="cpu",
    )  # fmt: skip
    run = set_up(options, start_distributed("cpu"))
    hf = run.loaded.model.hf
    plain = deepcopy(hf)
    assert run.heads is not None
    length = torch.nn.Parameter(run.heads.heads["length"].weight.detach().clone())
    of_head = list(plain.score.parameters())
    rest = list(plain.model.parameters())
    adamw = torch.optim.AdamW(
        [{"params": rest, "lr": 1e-3}, {"params": [*of_head, length], "lr": 3e-3}],
        betas=(config.optim.beta1, config.optim.beta2), eps=config.optim.eps, weight_decay=0.0,
    )  # fmt: skip
    moments = np.zeros(6)
    for batch in run.loader.batches(0, 3):
        total = sum(float(part.labels.weight.sum()) for part in batch.micro)
        loss, seen = torch.zeros(()), np.zeros(6)
        for part in batch.micro:
            states = states_of(plain, part)
            rewards, lengths = plain.score(states)[:, 0], states @ length[0]
            both = rewards + lengths
            c, r, w = part.chosen, part.rejected, part.labels.weight
            q, own = rewards[c] - rewards[r], lengths[c] - lengths[r]
            x = ((1 + part.labels.chosen_length) / (1 + part.labels.rejected_length)).log()
            loss = loss + (w * torch.nn.functional.softplus(both[r] - both[c])).sum()
            if moments[5]:
                qq, ll, xx, qx, lx, _ = moments / moments[5]
                rho_q, rho_l = qx / (qq * xx) ** 0.5, lx / (ll * xx) ** 0.5
                away = 2 * rho_q * q * x / (qq * xx) ** 0.5 - rho_q**2
                pull = max(rho_l, 0) / 2 * (own**2 / ll - 1) - own * x / (ll * xx) ** 0.5
                loss = loss + 2.0 * (w * (away + pull)).sum()
            products = (q * q, own * own, x * x, q * x, own * x, torch.ones_like(x))
            seen += np.array([float((w * one).sum().detach()) for one in products])
        a, b = plain.score.weight[0], length[0]
        loss = loss / total + 0.5 * (a @ b) ** 2 / ((a @ a) * (b @ b))
        adamw.zero_grad()
        loss.backward()
        adamw.step()
        moments = 0.8 * moments + 0.2 * seen
        sums = train_step(run, batch)
        assert sums is not None
        assert sums.loss / sums.weight == pytest.approx(float(loss.detach()), rel=1e-5)
    torch.testing.assert_close(run.heads.heads["length"].weight, length, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(hf.score.weight, plain.score.weight, rtol=1e-4, atol=1e-6)
    for mine, other in zip(hf.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-5)


def states_of(hf: Any, part: MicroBatch) -> Tensor:
    """The state at the reward token of each sequence, [S, d], by plain transformers."""
    hidden: Tensor = hf.model(part.input_ids, attention_mask=part.attention_mask).last_hidden_state
    return hidden.flatten(0, 1)[part.last]


def test_a_resumed_run_ends_in_the_same_bytes(folder: Path, tmp_path: Path, run: Path) -> None:
    train(folder, tmp_path / "parts", "run.max_steps=5")
    train(folder, tmp_path / "parts", "--resume", "run.max_steps=null")
    assert digest(tmp_path / "parts") == digest(run)
    names = [HEADS_NAME, "optimizer.safetensors"]
    for name in names:
        assert (last(tmp_path / "parts") / name).read_bytes() == (last(run) / name).read_bytes()
    assert logged(tmp_path / "parts")[-1]["loss"] == logged(run)[-1]["loss"]


def test_only_the_reward_head_is_saved(run: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    assert load_file(last(run) / HEADS_NAME)["heads.length.weight"].shape == (1, 32)
    assert not (run / "model" / HEADS_NAME).exists()
    _, report = AutoModelForSequenceClassification.from_pretrained(
        run / "model", output_loading_info=True
    )
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def fitted(correlation: float, orthogonality: float) -> tuple[float, float, float]:
    """Heads on states of a content that is seen with noise, and of length, from votes that follow
    both: correlations of the reward and of the other head with length, the reward's with content.
    """
    generator = torch.Generator().manual_seed(3)
    content, x, noise = torch.randn(3, 4000, generator=generator)
    wins = torch.rand(4000, generator=generator) < torch.sigmoid(content + 1.5 * x)
    states = torch.stack([content + 0.3 * noise, x, content - x, torch.zeros(4000)], 1)
    config = LossConfig(length_correlation=correlation, head_orthogonality=orthogonality)
    heads = make_heads(["length"], 4, config, seed=0, betas=(0.9, 0.95), eps=1e-8)
    assert heads is not None
    reward = torch.nn.Parameter(torch.zeros(1, 4) + 0.01)
    adamw = torch.optim.AdamW([reward], lr=0.02, weight_decay=0.0)
    ones, none = torch.ones(400), torch.zeros(400, dtype=torch.int64)
    both = torch.cat([torch.arange(400), torch.arange(400, 800)]).view(2, 400)
    for step in range(200):
        rows = slice(step * 400 % 4000, step * 400 % 4000 + 400)
        sign = torch.where(wins[rows], 1.0, -1.0)
        lengths = 10 * (x[rows] * sign).exp() - 1
        part = SimpleNamespace(
            chosen=both[0], rejected=both[1],
            labels=Labels(ones, ones, ones, none, lengths, 10 * ones - 1),
        )  # fmt: skip
        given = torch.cat([states[rows] * sign[:, None], torch.zeros(400, 4)])
        heads.loss(bradley_terry, given @ reward[0], given, part).mean().backward()
        _, gradient = heads.sum_gradients(lambda _: None, reward)
        assert reward.grad is not None
        reward.grad += gradient
        adamw.step()
        adamw.zero_grad()
        heads.end_step(lambda _: None, lr=0.02)
    outputs = states @ torch.stack([reward[0], heads.heads["length"].weight[0]], 1).detach()
    found = np.corrcoef(torch.cat([outputs, x[:, None], content[:, None]], 1).numpy().T)
    return found[0, 2], found[1, 2], found[0, 3]


def test_the_rewards_are_kept_from_length_and_keep_their_content() -> None:
    rho, _, content = fitted(0.0, 0.0)
    assert rho > 0.6  # without its terms it is a second head like the first
    kept, other, content_kept = fitted(1.0, 1.0)
    assert abs(kept) < 0.1
    assert other > 0.9
    assert content_kept > 0.9 > content


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_ranks_have_the_losses_of_one(
    folder: Path, tmp_path: Path, run: Path, parallel: str
) -> None:
    output = tmp_path / "out"
    command = ["-m", "training.train", *arguments(folder, output, f"run.parallel={parallel}")[1:]]
    torchrun(2, [*command, "--set", "run.max_steps=5"], tmp_path / "log.txt")
    torchrun(2, [*command, "--resume", "--set", "run.max_steps=null"], tmp_path / "log2.txt")
    ours = [line["loss"] for line in logged(output)]
    assert ours == pytest.approx([line["loss"] for line in logged(run)], rel=2e-4)
    mine, alone = load_file(last(output) / HEADS_NAME), load_file(last(run) / HEADS_NAME)
    torch.testing.assert_close(mine, alone, rtol=2e-2, atol=2e-4)


def test_what_cannot_be_is_said(folder: Path, tmp_path: Path) -> None:
    for names, words in (('["lenght"]', "did you mean length"), ('["length", "length"]', "twice")):
        with pytest.raises(ConfigError, match=words):
            load_config(None, [f"model.extra_heads={names}"])
    assert list(HEADS) == ["reward", *EXTRA_HEADS]


def test_an_encoder_has_no_state_for_it(tmp_path: Path, folder: Path, capsys: Any) -> None:
    from tests.test_parallel import stored_as

    stored_as("encoder", tmp_path / "encoder")
    given = arguments(folder, tmp_path / "out")
    given[given.index("--model") + 1] = str(tmp_path / "encoder")
    assert main(given) == 2
    assert "is an encoder, which has none" in capsys.readouterr().err


def test_with_an_adapter(folder: Path, tmp_path: Path) -> None:
    """LoRA: its head is a copy that peft keeps; resumed, the bytes are the same."""
    whole = train(folder, tmp_path / "whole", "lora.rank=2", "run.epochs=1")
    parts = train(folder, tmp_path / "parts", "lora.rank=2", "run.epochs=1", "run.max_steps=3")
    train(
        folder, tmp_path / "parts", "--resume", "lora.rank=2", "run.epochs=1", "run.max_steps=null"
    )
    for name in ("adapter_model.safetensors", HEADS_NAME):
        assert (last(parts) / name).read_bytes() == (last(whole) / name).read_bytes()
    assert not (whole / "model" / HEADS_NAME).exists()
