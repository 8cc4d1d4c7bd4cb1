"""Damaged, half-written and foreign checkpoints, and runs that diverge or learn nothing."""

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.preference_data import make_model, make_pairs, write_dataset
from training import durable_files
from training.checkpoints.checkpoint import (
    checkpoints,
    find_checkpoint_damage,
    last_good,
    newest_whole,
    remove_partial,
)
from training.commands import main
from training.errors import ConfigError, DivergedError
from training.model.checksums import find_damage, write_checksums
from training.run import saving
from training.run.lock import RunLock
from training.train import check_rewards
from training.validation.baselines import report
from training.validation.metrics import ScoredPairs

SETTINGS = (
    "data.batch_pairs=8",
    "data.max_length=96",
    "optim.lr=0.003",
    "run.tensorboard=false",
    "run.eval_pairs=8",
    "run.save_every=1",
    "run.keep_checkpoints=3",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, a model, and a run that was stopped after three steps, a checkpoint of each."""
    folder = tmp_path_factory.mktemp("checkpoints")
    make_model(folder / "model", layers=1)
    pairs = make_pairs(24, "train") + make_pairs(6, "validation") + make_pairs(6, "test")
    write_dataset(folder / "data", pairs)
    assert train(folder, folder / "run", "run.max_steps=3") == 0
    assert train(folder, folder / "straight", "run.max_steps=4") == 0
    return folder


def train(folder: Path, output: Path, *settings: str, model: Path | None = None) -> int:
    given = ["train", "--dataset", str(folder / "data"), "--output", str(output), "--quiet"]
    given += ["--model", str(model or folder / "model"), "--device", "cpu"]
    for setting in (*SETTINGS, *settings):
        given += ["--set", setting]
    return main(given)


def resume(output: Path, *more: str) -> int:
    given = ["train", "--output", str(output), "--resume", "--quiet", "--device", "cpu"]
    return main([*given, "--set", "run.max_steps=4", *more])


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder / "run", tmp_path / "run"))


def flip(path: Path, place: int = -5) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def special(path: Path, make: Callable[[Path], Any]) -> None:
    path.unlink()
    make(path)


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a bit of the weights": (lambda c: flip(c / "model.safetensors"), "model.safetensors does not"),
    "a bit of AdamW": (lambda c: flip(c / "optimizer.safetensors"), "optimizer.safetensors does"),
    "a bit of the header": (lambda c: flip(c / "model.safetensors", 30), "model.safetensors does"),
    "the step": (lambda c: flip(c / "trainer.json", 30), "trainer.json does not"),
    "the tokenizer": (lambda c: flip(c / "tokenizer.json", 900), "tokenizer.json does not"),
    "the config": (lambda c: flip(c / "config.json", 60), "config.json does not"),
    "the template": (lambda c: flip(c / "reward_template.json", 40), "reward_template.json does"),
    "weights cut off": (lambda c: cut(c / "model.safetensors"), "model.safetensors has"),
    "weights gone": (lambda c: (c / "model.safetensors").unlink(), "model.safetensors is missing"),
    "state gone": (lambda c: (c / "trainer.json").unlink(), "trainer.json is missing"),
    "weights empty": (lambda c: (c / "model.safetensors").write_bytes(b""), "has 0 bytes"),
    "checksums gone": (lambda c: (c / "checksums.json").unlink(), "checksums.json is missing"),
    "checksums cut off": (lambda c: cut(c / "checksums.json"), "checksums.json cannot be read"),
    "checksums deep": (
        lambda c: (c / "checksums.json").write_text('{"files":' + "[" * 200_000),
        "checksums.json cannot be read",
    ),
    "checksums of nothing": (
        lambda c: (c / "checksums.json").write_text('{"files": {}}'),
        "names no file",
    ),
    "checksums elsewhere": (
        lambda c: (c / "checksums.json").write_text(
            '{"files": {"../x": {"bytes": 1, "sha256": ""}}}'
        ),
        "lies outside",
    ),
    "a pipe": (lambda c: special(c / "model.safetensors", os.mkfifo), "not a regular file"),
    "a device": (
        lambda c: special(c / "model.safetensors", lambda path: path.symlink_to("/dev/zero")),
        "not a regular file",
    ),
    "empty": (lambda c: [path.unlink() for path in c.iterdir()], "trainer.json"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_of_the_newest_is_told_and_the_one_before_is_taken(run: Path, case: str) -> None:
    spoil, told = DAMAGE[case]
    saved = checkpoints(run / "checkpoints")
    assert newest_whole(run / "checkpoints") == (saved[-1], [])
    spoil(saved[-1])
    chosen, damaged = newest_whole(run / "checkpoints")
    assert chosen == saved[-2]
    ((path, damage),) = damaged
    assert path == saved[-1]
    assert told in damage
    for other in saved[:-1]:
        spoil(other)
    with pytest.raises(ConfigError, match=r"every checkpoint .* is damaged.*--overwrite"):
        newest_whole(run / "checkpoints")


@pytest.mark.parametrize("case", DAMAGE)
def test_a_checkpoint_of_an_earlier_release_is_read_and_its_layout_checked(
    run: Path, case: str
) -> None:
    saved = checkpoints(run / "checkpoints")
    for path in saved:
        as_earlier(path)
    assert newest_whole(run / "checkpoints") == (saved[-1], [])
    if case.startswith(("checksums", "a bit of", "the")):
        return  # what has no checksums cannot be told
    DAMAGE[case][0](saved[-1])
    assert find_checkpoint_damage(saved[-1])


EARLIER = {
    "data": (
        "batch_pairs shuffle_row_groups max_length max_prompt_length template prompt_weights "
        "min_confidence max_pairs verify"
    ),
    "model": ("layout precision micro_batch_tokens activation_checkpointing compile head_init_std"),
    "loss": "name label_smoothing label_noise margin_scale centring lcpo_decay",
    "optim": ("lr head_lr_scale warmup schedule weight_decay beta1 beta2 eps clip spike_factor"),
    "run": (
        "epochs max_steps seed eval_every eval_pairs save_every keep_checkpoints log_every parallel"
    ),
}
"""Settings of the first release, in its order."""


def test_a_run_of_the_first_release_is_resumed_to_the_same_bytes(folder: Path, run: Path) -> None:
    """Its files lack the settings that came since, have ``run.tensorboard``, and null for some."""
    for path in checkpoints(run / "checkpoints"):
        as_earlier(path)
        state = json.loads((path / "trainer.json").read_text())
        state["config"] = as_first_release(state["config"])
        (path / "trainer.json").write_text(json.dumps(state))
    told = json.loads((run / "run.json").read_text())
    first = {"dataset": told["dataset"], "model_path": told["model_path"], "model_revision": None}
    (run / "run.json").write_text(json.dumps(first | as_first_release(told)))
    given = ["train", "--output", str(run), "--resume", "--quiet", "--device", "cpu"]
    assert main([*given, "--set", "run.max_steps=4"]) == 0
    name = "model/model.safetensors"
    assert (run / name).read_bytes() == (folder / "straight" / name).read_bytes()


def as_first_release(config: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        section: {name: config[section][name] for name in names.split()}
        for section, names in EARLIER.items()
    }
    found["run"]["tensorboard"] = False
    assert found["data"]["max_prompt_length"] is None
    return found


def as_earlier(checkpoint: Path) -> None:
    """Make a checkpoint what the release before checksums would have written."""
    (checkpoint / "checksums.json").unlink()
    state = json.loads((checkpoint / "trainer.json").read_text())
    state["version"] = 1
    del state["updates"], state["model"]
    (checkpoint / "trainer.json").write_text(json.dumps(state))


def weights(output: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(output / "model" / "model.safetensors")
    return found


def test_a_run_goes_round_a_damaged_checkpoint_and_ends_in_the_same_bytes(
    folder: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(run / "checkpoints" / "step-00000003" / "model.safetensors")
    (run / "checkpoints" / ".step-00000009.partial").mkdir()
    (run / "checkpoints" / ".step-00000003.before.partial").mkdir()
    as_earlier(run / "checkpoints" / "step-00000002")
    assert resume(run) == 0
    told = capsys.readouterr().err
    assert "step-00000003 is damaged: model.safetensors does not hold" in told
    assert "resuming from the checkpoint before, step 2" in told
    assert "step-00000002 has no checksums" in told
    straight = weights(folder / "straight")
    assert all(torch.equal(value, straight[name]) for name, value in weights(run).items())
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert names == ["step-00000002", "step-00000003", "step-00000004"]
    assert find_checkpoint_damage(run / "checkpoints" / "step-00000003") is None  # written again
    assert find_damage(run / "model") is None
    assert (run / "model" / "checksums.json").exists()


def test_a_run_without_a_whole_checkpoint_is_told_and_nothing_changes(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in checkpoints(run / "checkpoints"):
        cut(path / "optimizer.safetensors")
    before = sorted(run.rglob("*"))
    assert resume(run) == 2
    told = capsys.readouterr().err
    assert "every checkpoint" in told
    assert "step-00000001: optimizer.safetensors has" in told
    assert sorted(run.rglob("*")) == before


def other_shapes(checkpoint: Path) -> None:
    state = load_file(checkpoint / "optimizer.safetensors")
    state["exp_avg.model.norm.weight"] = torch.zeros(7)
    save_file(state, checkpoint / "optimizer.safetensors")


def other_names(checkpoint: Path) -> None:
    state = load_file(checkpoint / "optimizer.safetensors")
    save_file(
        {f"{name}.x": value for name, value in state.items()}, checkpoint / "optimizer.safetensors"
    )


def edit_state(**values: Any) -> Callable[[Path], None]:
    def edit(checkpoint: Path) -> None:
        state = json.loads((checkpoint / "trainer.json").read_text())
        (checkpoint / "trainer.json").write_text(json.dumps({**state, **values}))

    return edit


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (other_shapes, r"does not belong to the weights.*shape \[7\]"),
        (other_names, "of no weight of this model"),
        (edit_state(model="another/model"), "began with --model another/model"),
        (edit_state(guard={}), "does not belong"),
        (edit_state(guard={"norms": 3, "skipped": 0, "in_a_row": 0}), "does not belong"),
        (edit_state(manifest_sha256="0"), "another version of the dataset"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_in_a_sentence(
    run: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], None], message: str
) -> None:
    """As it may be where someone puts together folders and writes the checksums anew."""
    newest = checkpoints(run / "checkpoints")[-1]
    spoil(newest)
    write_checksums(newest)
    assert resume(run) == 2
    told = capsys.readouterr().err
    assert str(newest.parent.parent) in told
    assert re.search(message, told)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"dataset": 3}', "[" * 200_000])
def test_a_damaged_run_json_is_told(
    run: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (run / "run.json").write_text(content)
    assert resume(run) == 2
    told = capsys.readouterr().err
    assert f"{run / 'run.json'}: " in told and "put it back from a copy" in told


def test_what_another_process_writes_is_left_alone(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = run / "checkpoints" / ".step-00000004.partial"
    half.mkdir()
    with (run / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert resume(run) == 2
        assert "another process trains in it" in capsys.readouterr().err
        assert half.exists()
        assert len(checkpoints(run / "checkpoints")) == 3
    lock, other = RunLock(), RunLock()
    lock.take(run)
    with pytest.raises(ConfigError, match="another process"):
        other.take(run)
    lock.release()
    other.take(run)
    other.release()
    keep = run / "checkpoints" / ".step-notes"
    keep.mkdir()
    remove_partial(run / "checkpoints")
    assert not half.exists()
    assert keep.exists()


def test_all_is_on_the_disk_before_a_name_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(durable_files, "sync", lambda path: synced.append(path.name))
    replace = Path.replace
    renamed: list[tuple[str, list[str]]] = []

    def note(path: Path, target: Path) -> Path:
        renamed.append((Path(target).name, list(synced)))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", note)
    half = tmp_path / ".model.partial"
    half.mkdir()
    (half / "weights").write_text("new")
    (tmp_path / "model").mkdir()
    durable_files.publish_folder(half, tmp_path / "model")
    assert renamed[-1] == ("model", ["weights", ".model.partial"])
    assert synced[-1] == tmp_path.name
    assert (tmp_path / "model" / "weights").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
    synced.clear()
    durable_files.write_file(tmp_path / "run.json", b"{}")
    assert renamed[-1] == ("run.json", [".run.json.partial"])
    assert synced == [".run.json.partial", tmp_path.name]


@pytest.mark.parametrize(
    ("number", "stops"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.ENOSPC, True)]
)
def test_a_filesystem_that_cannot_sync_is_no_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, stops: bool
) -> None:
    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError) if stops else contextlib.nullcontext():
        durable_files.write_file(tmp_path / "run.json", b"{}")
    assert (tmp_path / "run.json").exists() is not stops


def test_a_run_that_is_cut_off_while_it_is_overwritten_stays_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.json", "run.json", "summary.json", "z.json"):
        (tmp_path / name).write_text("{}")
    gone: list[str] = []
    unlink = Path.unlink

    def note(path: Path, missing_ok: bool = False) -> None:
        gone.append(path.name)
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", note)
    monkeypatch.setattr(saving, "_description", lambda *_: {})
    options: Any = SimpleNamespace(output=tmp_path, on_existing="overwrite")
    loaded: Any = None
    lock = RunLock()
    saving.begin(options, loaded, lock)
    lock.release()
    assert gone[-1] == "run.json" and len(gone) == 4


def test_a_model_folder_that_was_being_replaced_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    for left in (model, durable_files.partial_of(model)):
        left.mkdir()
    rmtree = shutil.rmtree

    def killed(path: Path, ignore_errors: bool = False) -> None:
        if not Path(path).exists():
            return rmtree(path, ignore_errors=ignore_errors)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", killed)
        durable_files.publish_folder(durable_files.partial_of(model), model)
    assert len(list(tmp_path.iterdir())) == 2
    options: Any = SimpleNamespace(output=tmp_path, on_existing="resume")
    loaded: Any = None
    monkeypatch.setattr(saving, "_description", lambda *_: {})
    lock = RunLock()
    saving.begin(options, loaded, lock)
    lock.release()
    assert {path.name for path in tmp_path.iterdir()} == {"model", ".lock", "run.json"}


def test_damage_stops_evaluation_and_fine_tuning_before_they_begin(
    folder: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["evaluate", "--benchmark", f"held-out={folder / 'data'}", "--quiet"]
    given += ["--output", str(tmp_path / "eval"), "--device", "cpu"]
    flip(run / "checkpoints" / "step-00000002" / "model.safetensors")
    assert main([*given, "--model", str(run), "--checkpoints"]) == 2
    told = capsys.readouterr().err
    assert "step-00000002 is damaged (model.safetensors does not hold" in told
    assert not (tmp_path / "eval").exists()
    flip(run / "model" / "model.safetensors")
    assert main([*given, "--model", str(run)]) == 2
    assert "model.safetensors does not hold the bytes" in capsys.readouterr().err
    assert train(folder, tmp_path / "tuned", model=run / "model") == 2
    told = capsys.readouterr().err
    assert str(run / "model") in told
    assert "remove its checksums.json" in told
    assert not (tmp_path / "tuned").exists()


def spoiled(folder: Path, tmp_path: Path, of: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    target = Path(shutil.copytree(folder / "model", tmp_path / "model"))
    values = load_file(target / "model.safetensors")
    of(values)
    save_file(values, target / "model.safetensors", {"format": "pt"})
    return target


def test_a_run_that_diverges_fails_and_names_the_last_good_checkpoint(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    assert train(folder, output, "optim.lr=1e30", "optim.clip=0", "optim.warmup=0") == 1
    told = capsys.readouterr().err
    assert "finite" in told
    assert not (output / "summary.json").exists()
    assert not (output / "model").exists()
    for path in checkpoints(output / "checkpoints"):
        state = load_file(path / "model.safetensors")
        assert all(bool(value.isfinite().all()) for value in state.values())
    assert "a smaller optim.lr" in told
    assert main(["train", "--output", str(output), "--resume", "--quiet"]) == 1


def test_a_run_that_breaks_later_names_the_checkpoint_from_before(
    folder: Path, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = checkpoints(run / "checkpoints")
    monkeypatch.setattr("training.run.saving.rewards_are_finite", lambda *_: False)
    assert resume(run) == 1  # after its step 4, which was computed with the weights of step 3
    assert f"The last good checkpoint is {third}" in capsys.readouterr().err
    assert checkpoints(run / "checkpoints") == [first, second, third]
    assert last_good(run / "checkpoints", 3) == second
    flip(second / "model.safetensors")
    assert last_good(run / "checkpoints", 3) == first
    assert last_good(run / "checkpoints", 1) is None


@pytest.mark.parametrize("case", ["no gradient", "no pair"])
def test_a_run_that_learns_nothing_fails(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    model, settings, told = None, "data.min_confidence=1", "pairs below data.min_confidence"
    if case == "no gradient":  # all states are zero, so the head gets none, and no one else
        model = spoiled(folder, tmp_path, lambda values: values["model.norm.weight"].zero_())
        settings, told = "model.head_init_std=0", "every gradient was zero"
    output = tmp_path / "run"
    assert train(folder, output, settings, "run.max_steps=2", model=model) == 1
    error = capsys.readouterr().err
    assert "nothing was learned: none of 2 steps" in error
    assert told in error
    assert "optim.lr" not in error  # no rate of learning helps here
    assert not (output / "model").exists()
    assert not (output / "summary.json").exists()


def scored(rewards: list[float]) -> Any:
    count = len(rewards)
    ones = np_of([1.0] * count)
    times = np_of([1] * count)
    return report(
        ScoredPairs(
            prompt=times, site=np_of(["a"] * count), chosen=np_of(rewards), rejected=0 * ones,
            weight=ones, confidence=ones, margin=ones, chosen_length=times,
            rejected_length=times, chosen_created_at=times, rejected_created_at=times,
        )
    )  # fmt: skip


def np_of(values: list[Any]) -> Any:
    return np.array(values)


def test_rewards_that_are_no_numbers_end_a_run_at_its_ends_and_when_none_is_left() -> None:
    nan = float("nan")
    check_rewards(None, "x")
    check_rewards(scored([1.0, 2.0]), "x")
    check_rewards(scored([1.0, nan]), "x", whole=False)  # it may recover
    for rewards, whole in (([1.0, nan], True), ([nan, nan], False), ([float("inf")], True)):
        with pytest.raises(DivergedError, match=r"after step 7 the rewards of [12] of [12] valid"):
            check_rewards(scored(rewards), "after step 7", whole=whole)


def test_rewards_are_looked_at_before_the_first_and_after_the_last_step(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    monkeypatch.setattr("training.train.check_rewards", lambda _, when, **__: looked.append(when))
    assert resume(run) == 0
    assert looked == ["before step 4", "after step 4"]
