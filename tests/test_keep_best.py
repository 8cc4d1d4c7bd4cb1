"""run.keep_best: model/ is that of the lowest validation loss."""

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from tests.preference_data import make_model, make_pairs, write_dataset
from training.commands import main

SETTINGS = (
    "data.batch_pairs=16",
    "data.max_length=128",
    "model.micro_batch_tokens=700",
    "optim.lr=0.003",
    "optim.eps=0.0001",
    "run.trackers=[]",
    "run.eval_pairs=30",
    "run.eval_every=2",
    "run.save_every=3",
    "run.keep_checkpoints=1",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is learned from the training pairs is wrong for the validation pairs."""
    folder = tmp_path_factory.mktemp("keep_best")
    make_model(folder / "model")
    turned = [
        msgspec.structs.replace(pair, chosen=pair.rejected, rejected=pair.chosen)
        for pair in make_pairs(20, "validation")
    ]
    write_dataset(folder / "data", make_pairs(60, "train") + turned)
    return folder


def arguments(folder: Path, output: Path, *settings: str, resume: bool = False) -> list[str]:
    found = ["train", "--dataset", str(folder / "data"), "--model", str(folder / "model")]
    found += ["--output", str(output), "--device", "cpu", *(["--resume"] if resume else [])]
    for setting in (*SETTINGS, *settings):
        found += ["--set", setting]
    return found


def run(folder: Path, output: Path, *settings: str, resume: bool = False) -> dict[str, Any]:
    """Train; what the summary says."""
    assert main(arguments(folder, output, *settings, resume=resume)) == 0
    found: dict[str, Any] = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    return found


def validations(output: Path) -> dict[int, float]:
    lines = map(json.loads, (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return {line["step"]: line["loss"] for line in lines if line["kind"] == "validation"}


def weights(model: Path) -> dict[str, torch.Tensor]:
    return load_file(model / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


@pytest.fixture(scope="module")
def best(folder: Path) -> tuple[Path, dict[str, Any]]:
    output = folder / "best"
    return output, run(folder, output, "run.keep_best=true")


def test_the_model_is_that_of_the_lowest_validation_loss(
    folder: Path, best: tuple[Path, dict[str, Any]]
) -> None:
    output, summary = best
    found = validations(output)
    judged = {step: loss for step, loss in found.items() if step}
    step = min(judged, key=judged.__getitem__)
    last = max(judged)
    assert step == 2 < last
    assert summary["steps"] == last
    assert summary["best"] == {"step": step, "loss": found[step]}
    assert summary["validation"]["loss"] == found[step]
    assert summary["validation_last"]["loss"] == found[last]
    # Its checkpoint outlives the newest ones, and the model is that one, byte for byte.
    names = sorted(path.name for path in (output / "checkpoints").iterdir())
    assert names == [f"step-{step:08d}", f"step-{last:08d}"]
    assert same(output / "model", output / "checkpoints" / f"step-{step:08d}")
    assert not same(output / "model", output / "checkpoints" / f"step-{last:08d}")
    there = {path.name for path in (output / "model").iterdir()}
    assert {"reward_template.json", "checksums.json", "tokenizer.json"} <= there
    assert not {"trainer.json", "optimizer.safetensors"} & there
    straight = run(folder, folder / "until", "run.max_steps=2")
    assert straight["validation"]["loss"] == pytest.approx(found[step], abs=1e-6)


@pytest.mark.parametrize("stops", [(1,), (2,), (5,)])
def test_a_stopped_run_finds_the_same_model(
    folder: Path, best: tuple[Path, dict[str, Any]], tmp_path: Path, stops: tuple[int, ...]
) -> None:
    """Also where it stopped at a step with a validation, or at one without."""
    keep = "run.keep_best=true"
    for number, stop in enumerate(stops):
        run(folder, tmp_path / "run", keep, f"run.max_steps={stop}", resume=number > 0)
    summary = run(folder, tmp_path / "run", keep, "run.max_steps=null", resume=True)
    assert summary["best"] == best[1]["best"]
    assert summary["validation"] == best[1]["validation"]
    assert same(tmp_path / "run" / "model", best[0] / "model")


def test_where_the_last_step_is_the_best_the_model_is_that_one(
    folder: Path, tmp_path: Path
) -> None:
    pairs = make_pairs(60, "train") + make_pairs(20, "validation")
    write_dataset(tmp_path / "data", pairs)
    (tmp_path / "model").symlink_to(folder / "model")
    output = tmp_path / "run"
    summary = run(tmp_path, output, "run.keep_best=true")
    assert summary["best"]["step"] == summary["steps"]
    assert summary["validation"] == summary["validation_last"]
    last = output / "checkpoints" / f"step-{summary['steps']:08d}"
    assert same(output / "model", last)


def test_a_damaged_best_checkpoint_is_told(
    folder: Path,
    best: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "run"
    shutil.copytree(best[0], output)
    shutil.rmtree(output / "checkpoints" / "step-00000002")
    again = arguments(folder, output, "run.keep_best=true", resume=True)
    assert main(again) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "step-00000002 is damaged: it is missing" in said
    assert "export-model" in said


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("run.eval_every=0",), "set run.eval_every"),
        (("run.eval_pairs=0",), "run.eval_pairs above 0"),
        (("run.eval_pairs=29",), "was started with run.eval_pairs=30"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    folder: Path,
    best: tuple[Path, dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    settings: tuple[str, ...],
    message: str,
) -> None:
    assert main(arguments(folder, best[0], "run.keep_best=true", *settings, resume=True)) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_without_validation_pairs_there_is_nothing_to_compare(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dataset(tmp_path / "data", make_pairs(20, "train"))
    (tmp_path / "model").symlink_to(folder / "model")
    assert main(arguments(tmp_path, tmp_path / "run", "run.keep_best=true")) == 2
    assert "has no validation pairs" in " ".join(capsys.readouterr().err.split())
