"""The running average of the weights: its numbers, resuming, sharded, and the folder it becomes."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.fresh_process import torchrun
from tests.preference_data import make_model, make_pairs, write_dataset
from training.commands import main

DECAY = 0.5
SETTINGS = (
    "data.batch_pairs=8",
    "data.max_length=96",
    "optim.lr=0.01",
    "optim.eps=0.0001",
    f"optim.ema_decay={DECAY}",
    "run.trackers=[]",
    "run.eval_pairs=8",
    "run.save_every=1",
    "run.keep_checkpoints=9",
    "run.max_steps=4",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("average")
    make_model(folder / "model", layers=1)
    write_dataset(folder / "data", make_pairs(24, "train") + make_pairs(6, "validation"))
    assert main(["train", *arguments(folder, folder / "run")]) == 0
    return folder


def arguments(folder: Path, output: Path, *settings: str) -> list[str]:
    found = ["--dataset", str(folder / "data"), "--model", str(folder / "model")]
    found += ["--output", str(output), "--quiet", "--device", "cpu"]
    for setting in (*SETTINGS, *settings):
        found += ["--set", setting]
    return found


def weights(path: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(path / "model.safetensors")
    return found


def test_it_is_the_average_of_the_weights_of_the_steps(folder: Path) -> None:
    steps = [weights(folder / "run" / "checkpoints" / f"step-{n:08d}") for n in (1, 2, 3, 4)]
    found, last = weights(folder / "run" / "model-ema"), weights(folder / "run" / "model")
    assert found.keys() == last.keys()
    for name, average in found.items():
        expected = steps[0][name].double()
        for number, step in enumerate(steps[1:], start=2):
            kept = min(DECAY, (1 + number) / (10 + number))
            expected = kept * expected + (1 - kept) * step[name].double()
        assert torch.allclose(average.double(), expected, atol=1e-6), name
        assert torch.equal(last[name], steps[-1][name])  # the weights themselves are as they were
    assert any(not torch.equal(found[name], last[name]) for name in found)


def test_it_is_validated_beside_the_model(folder: Path) -> None:
    summary = json.loads((folder / "run" / "summary.json").read_text())
    text = (folder / "run" / "metrics.jsonl").read_text()
    lines = [one for one in map(json.loads, text.splitlines()) if one["kind"] == "validation_ema"]
    assert [line["step"] for line in lines] == [4]
    assert summary["validation_ema"]["loss"] == lines[0]["loss"] != summary["validation"]["loss"]


def test_a_resumed_run_ends_in_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    assert main(["train", *arguments(folder, tmp_path / "run", "run.max_steps=2")]) == 0
    again = ["train", "--output", str(tmp_path / "run"), "--resume", "--quiet"]
    assert main([*again, "--set", "run.max_steps=4"]) == 0
    for name in ("model", "model-ema"):
        first, second = ((run / name / "model.safetensors").read_bytes()
                         for run in (folder / "run", tmp_path / "run"))  # fmt: skip
        assert first == second


def test_it_is_the_same_divided_over_two_ranks(folder: Path, tmp_path: Path) -> None:
    given = arguments(folder, tmp_path / "run", "run.parallel=fsdp")
    torchrun(2, ["-m", "training.train", *given], tmp_path / "log")
    first, second = weights(folder / "run" / "model-ema"), weights(tmp_path / "run" / "model-ema")
    assert first.keys() == second.keys()
    assert all(torch.allclose(first[name], second[name], atol=2e-4) for name in first)
    # And it was the average that was validated, embeddings included, which fsdp keeps gathered.
    one, two = (
        json.loads((run / "summary.json").read_text()) for run in (folder / "run", tmp_path / "run")
    )
    assert two["validation_ema"]["loss"] == pytest.approx(one["validation_ema"]["loss"], abs=1e-4)
