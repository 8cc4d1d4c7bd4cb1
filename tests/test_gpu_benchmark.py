"""The GPU benchmark at toy size, so that it runs when there is a GPU."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, gpu_memory
from tests.fresh_process import torchrun
from tests.preference_data import make_pairs, make_tokenizer, write_dataset
from training.config import load_config


def test_it_measures_every_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dataset(tmp_path / "data", make_pairs(40, "train"))
    make_tokenizer().save_pretrained(tmp_path / "tokenizer")
    given = ["--dataset", str(tmp_path / "data"), "--tokenizer", str(tmp_path / "tokenizer")]
    given += ["--toy", "--seconds", "0", "--variants", "padded,packed,shared"]
    gpu.main([*given, "--output", str(tmp_path / "figures.json")])
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert max(figures["attention"].values()) < 1e-5
    tokens = [figures[name]["tokens_per_pair"] for name in ("padded", "packed", "shared")]
    assert tokens == sorted(tokens, reverse=True)
    assert figures["padded"]["loss"] == pytest.approx(figures["shared"]["loss"], abs=1e-3)
    assert "MFU" in capsys.readouterr().out


def test_memory_is_measured_in_every_case_on_two_ranks(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    write_dataset(tmp_path / "data", make_pairs(20, "train"))
    make_tokenizer().save_pretrained(tmp_path / "tokenizer")
    gpu_memory.write_model(tmp_path / "toy", "toy", str(tmp_path / "tokenizer"))
    cases = list(gpu_memory.CASES)
    given = ["--dataset", str(tmp_path / "data"), "--model", str(tmp_path / "toy")]
    given += ["--shape", "toy", "--tokens", "512", "--result", str(tmp_path)]
    command = ["-m", "benchmarks.gpu_memory", *given, "--case", "+".join(cases)]
    try:
        torchrun(2, command, tmp_path / "log")
    except Exception as error:
        raise AssertionError((tmp_path / "log").read_text()) from error
    found = {name: gpu_memory.largest_of_ranks(tmp_path, name) for name in cases}
    weights = {name: one["weights"] for name, one in found.items()}
    assert weights["QLoRA, recomputed"] < weights["LoRA"] < weights["16K"]
    assert weights["all weights, sharded"] < weights["16K"]
    activations = {name: one["activations"] for name, one in found.items()}
    half = activations["16K"] / 2
    assert half < activations["16K, context parallel"] < 1.5 * half
    assert activations["16K"] < activations["16K, selective"] < activations["LoRA"]
    assert activations["LoRA, recomputed"] < activations["LoRA"]
    line = gpu_memory.show("LoRA", "toy", {**found["LoRA"], "training": 2e9}, on_gpu=True)
    assert line.startswith("LoRA")


def test_the_largest_size_that_fits_is_found_by_the_plan() -> None:
    config = load_config(None, ("run.parallel=fsdp", "model.activation_checkpointing=true"))
    device = torch.device("cuda")
    sizes = [gpu_memory.largest_shape(config, devices, device, 80e9) for devices in (1, 8)]
    assert sizes == ["3B", "14B"]
