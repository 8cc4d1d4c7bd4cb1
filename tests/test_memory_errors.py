"""Memory that runs out is a sentence with a remedy, in every command that loads a model."""

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.preference_data import make_model, make_pairs, write_dataset
from training import train as loop
from training.commands import main
from training.evaluation import models
from training.memory_errors import what_ran_out

TOO_MUCH = 1 << 60


def fill_memory(*_: Any, **__: Any) -> Any:
    """What torch's allocator says on this machine."""
    return torch.empty(TOO_MUCH, dtype=torch.uint8)


@pytest.mark.parametrize(
    "ask",
    [fill_memory, lambda: np.empty(TOO_MUCH, np.uint8), lambda: bytearray(1 << 62)],
    ids=["torch", "numpy", "python"],
)
def test_every_allocator_is_understood(ask: Any) -> None:
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        ask()
    said = what_ran_out(caught.value)
    assert said is not None
    assert said.startswith("out of memory")
    assert "enforce fail" not in said


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (pa.ArrowMemoryError("malloc of size 8 failed"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_other_errors_stay_what_they_are(error: Exception, is_memory: bool) -> None:
    assert (what_ran_out(error) is not None) == is_memory


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("memory")
    make_model(folder / "model")
    write_dataset(folder / "data", make_pairs(20, "train") + make_pairs(10, "test"))
    return folder


def train(folder: Path, *more: str) -> int:
    command = ["train", "--dataset", str(folder / "data"), "--model", str(folder / "model")]
    command += ["--output", str(folder / "run"), "--device", "cpu", "--quiet", *more]
    return main([*command, "--set", "run.eval_pairs=0", "--set", "run.max_steps=1"])


def test_training_scoring_and_evaluating_say_what_helps(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(loop, "_forward_backward", fill_memory)
        assert train(folder) == 1
        said = capsys.readouterr().err
        assert "out of memory" in said
        assert "Try --set model.micro_batch_tokens=2048, or --set" in said
        recompute = ("--set", "model.activation_checkpointing=true")
        assert train(folder, "--overwrite", "--set", "model.micro_batch_tokens=16", *recompute) == 1
        assert "smaller model" in capsys.readouterr().err
    assert train(folder, "--overwrite") == 0
    rows = folder / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "Why?", "response": "So."}) + "\n")
    monkeypatch.setattr(models.TemplateScorer, "score", fill_memory)
    run = ["--model", str(folder / "run"), "--device", "cpu", "--quiet", "--batch-tokens", "512"]
    assert main(["score", str(rows), *run, "--output", str(folder / "scored")]) == 1
    said = capsys.readouterr().err
    assert "forumprefs score: out of memory" in said
    assert "Try --batch-tokens 256; scored rows are kept." in said
    held_out = f"held-out={folder / 'data'}"
    evaluate = ["evaluate", *run, "--benchmark", held_out, "--output", str(folder / "evaluated")]
    assert main(evaluate) == 1
    said = capsys.readouterr().err
    assert "forumprefs evaluate: out of memory" in said
    assert "Try --batch-tokens 256; figures stay the same." in said


def test_memory_that_runs_out_while_weights_load_is_no_fault_of_theirs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForSequenceClassification

    monkeypatch.setattr(AutoModelForSequenceClassification, "from_pretrained", fill_memory)
    assert train(folder, "--overwrite") == 1
    said = capsys.readouterr().err
    assert "out of memory" in said
    assert "cannot be loaded" not in said
