"""Checkpoints in shards, written while training goes on; model folders made from checkpoints."""

import hashlib
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from tests.fresh_process import torchrun
from tests.patience import PATIENCE_S
from tests.preference_data import make_model, make_pairs, write_dataset
from training.checkpoints import checkpoint as checkpoint_module
from training.checkpoints.checkpoint import checkpoints, find_checkpoint_damage
from training.commands import main
from training.evaluation.models import find_model, fingerprint_of
from training.model.source import ModelSource, locate_model
from training.run.state import TrainingRun
from training.train import train_step

SETTINGS = (
    "data.batch_pairs=8",
    "data.max_length=96",
    "model.micro_batch_tokens=300",
    "optim.lr=0.003",
    "optim.eps=0.0001",  # else AdamW makes a whole step out of rounding where gradients vanish
    "run.tensorboard=false",
    "run.eval_pairs=8",
    "run.save_every=1",
    "run.keep_checkpoints=3",
)


def arguments(folder: Path, output: Path, *settings: str) -> list[str]:
    given = ["--dataset", str(folder / "data"), "--model", str(folder / "model")]
    given += ["--output", str(output), "--device", "cpu", "--quiet"]
    for setting in (*SETTINGS, *settings):
        given += ["--set", setting]
    return given


def ranks(count: int, folder: Path, output: Path, *settings: str, resume: bool = False) -> Path:
    log = output.with_suffix(".log")
    given = arguments(folder, output, *settings)
    try:
        torchrun(count, ["-m", "training.train", *given, *["--resume"] * resume], log)
    except Exception as error:
        raise AssertionError(log.read_text()) from error
    return output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps by two processes with fsdp, and one that took the fourth, too."""
    folder = tmp_path_factory.mktemp("shards")
    make_model(folder / "model", layers=1)
    write_dataset(folder / "data", make_pairs(32, "train") + make_pairs(6, "validation"))
    ranks(2, folder, folder / "run", "run.parallel=fsdp", "run.max_steps=3")
    straight = Path(shutil.copytree(folder / "run", folder / "straight"))
    # From its first step on, so that no checkpoint of later ones is read.
    for path in checkpoints(straight / "checkpoints")[1:]:
        shutil.rmtree(path)
    ranks(2, folder, straight, "run.parallel=fsdp", "run.max_steps=4", resume=True)
    return folder


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder / "run", tmp_path / "run"))


def newest(run: Path) -> Path:
    return checkpoints(run / "checkpoints")[-1]


def weights(output: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(output / "model.safetensors")
    return found


def put_together(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The tensors in shards, with nothing but safetensors and the places that the files tell."""
    found: dict[str, torch.Tensor] = {}
    parts: dict[str, list[tuple[list[int], torch.Tensor]]] = {}
    for path in sorted((checkpoint / "shards").iterdir()):
        with safe_open(path, framework="pt") as file:
            places = json.loads(file.metadata()["DCP_SHARDING_INFO"])
            for name in file.keys():  # noqa: SIM118 - it is no dict
                place = places[name]["saved_offsets"]
                parts.setdefault(name, []).append((place, file.get_tensor(name)))
    for name, pieces in parts.items():
        sizes = [
            max(place[axis] + part.shape[axis] for place, part in pieces)
            for axis in range(pieces[0][1].dim())
        ]
        found[name] = torch.full(sizes, float("nan"))
        for place, part in pieces:
            where = tuple(slice(at, at + size) for at, size in zip(place, part.shape, strict=True))
            found[name][where] = part
    return found


def test_each_process_writes_its_own_part_and_none_of_it_is_a_pickle(folder: Path) -> None:
    saved = newest(folder / "run")
    assert sorted(path.name for path in saved.rglob("*") if path.suffix in ("", ".bin")) == [
        "shards"
    ]
    files = sorted((saved / "shards").iterdir())
    assert [path.name[:11] for path in files] == ["shard-00001", "shard-00002"]
    sizes = [path.stat().st_size for path in files]
    assert max(sizes) < 1.5 * min(sizes)
    listed = json.loads((saved / "checksums.json").read_text())["files"]
    there = {p.relative_to(saved).as_posix(): p for p in saved.rglob("*") if p.is_file()}
    assert listed.keys() == there.keys() - {"checksums.json"}
    for name, entry in listed.items():
        assert entry["sha256"] == hashlib.sha256(there[name].read_bytes()).hexdigest()
    found = put_together(saved)
    model = weights(folder / "run" / "model")  # gathered at the end of the same step
    assert {name for name in found if name.startswith("model.")} == {f"model.{n}" for n in model}
    for name, value in model.items():
        assert torch.equal(found[f"model.{name}"], value), name
        assert found[f"optimizer.exp_avg.{name}"].shape == value.shape
        assert float(found[f"optimizer.step.{name}"]) == 3


def test_the_same_processes_resume_to_the_same_bytes(
    folder: Path, tmp_path: Path, run: Path
) -> None:
    ranks(2, folder, run, "run.parallel=fsdp", "run.max_steps=4", resume=True)
    straight = weights(folder / "straight" / "model")  # saved and resumed elsewhere
    assert all(torch.equal(value, straight[name]) for name, value in weights(run / "model").items())


@pytest.mark.parametrize(
    ("count", "settings"),
    [(1, ()), (2, ("run.parallel=ddp",)), (3, ("run.parallel=fsdp",))],
    ids=["one process", "ddp", "three processes"],
)
def test_any_number_of_processes_resumes(
    folder: Path, run: Path, count: int, settings: tuple[str, ...]
) -> None:
    settings = (*settings, "run.max_steps=4")
    if count == 1:
        assert main(["train", *arguments(folder, run, *settings), "--resume"]) == 0
    else:
        ranks(count, folder, run, *settings, resume=True)
    straight = weights(folder / "straight" / "model")
    for name, value in weights(run / "model").items():
        assert torch.allclose(value, straight[name], atol=2e-4), name
    form = "shards" if "run.parallel=fsdp" in settings else "model.safetensors"
    assert (newest(run) / form).exists()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def test_damage_is_told_and_gone_round(
    folder: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = checkpoints(run / "checkpoints")
    flip(sorted((third / "shards").iterdir())[1])
    sorted((second / "shards").iterdir())[0].unlink()
    assert "does not hold the bytes" in str(find_checkpoint_damage(third))
    assert "is missing" in str(find_checkpoint_damage(second))
    given = ["export-model", str(third), "--output", str(run / "made")]
    assert main(given) == 2
    assert "shards/shard-00002" in capsys.readouterr().err
    assert main(["export-model", str(run), "--average", "2", "--output", str(run / "made")]) == 2
    assert "holds 1 whole checkpoints, not 2" in capsys.readouterr().err
    assert main(["train", *arguments(folder, run, "run.max_steps=2"), "--resume"]) == 0
    assert "resuming from the checkpoint before, step 1" in capsys.readouterr().err
    shutil.rmtree(first / "shards")
    assert find_checkpoint_damage(first)


FULL_DISK = """
import os, sys
from training.checkpoints import background, sharded
from training.commands import main

def fail(*_):
    raise OSError(28, "No space left on device")

if os.environ["RANK"] == "1":
    sharded.checksums_of = fail
else:  # as if the thread had not ended yet
    background.BackgroundJob.has_failed = lambda _: False
sys.exit(main(["train", *sys.argv[1:]]))
"""


def test_a_full_disk_ends_all_processes_at_the_same_step(folder: Path, tmp_path: Path) -> None:
    """None goes on to a step for which it would wait for the others."""
    (tmp_path / "job.py").write_text(FULL_DISK)
    settings = ("run.parallel=fsdp", "run.max_steps=500", "run.save_every=9")
    given = arguments(folder, tmp_path / "run", *settings)
    with pytest.raises(ChildFailedError):
        torchrun(2, [str(tmp_path / "job.py"), *given], tmp_path / "log")
    told = (tmp_path / "log").read_text()
    assert told.count("forumprefs train: ") == 2, told
    assert told.count("No space left on device") == 2
    assert "can no longer reach" not in told


def test_each_process_looks_at_its_share_of_a_checkpoint(folder: Path, tmp_path: Path) -> None:
    (newest,) = checkpoints(folder / "run" / "checkpoints")[-1:]
    copy = Path(shutil.copytree(newest, tmp_path / newest.name))
    assert [find_checkpoint_damage(copy, part, 3) for part in range(3)] == [None] * 3
    flip(sorted((copy / "shards").iterdir())[1])
    found = [find_checkpoint_damage(copy, part, 3) for part in range(3)]
    assert [one is None for one in found].count(False) == 1
    assert next(filter(None, found)) == find_checkpoint_damage(copy)


def test_a_checkpoint_is_a_model_and_another_one_is_another(folder: Path, tmp_path: Path) -> None:
    """As --model of every command; scores are kept by the fingerprint of the weights."""
    first, *_, last = checkpoints(folder / "run" / "checkpoints")
    prints = set()
    for path in (first, last):
        place = find_model(str(path)).path
        prints.add(fingerprint_of(locate_model(ModelSource.of(place)), "x"))
    assert len(prints) == 2
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "Which?", "response": "The first one."}) + "\n")
    scores = []
    for model in (last, folder / "run" / "model"):
        output = tmp_path / f"scores-{model.name}"
        assert main(["score", str(rows), "--model", str(model), "--output", str(output)]) == 0
        (made,) = output.glob("rows*")
        scores.append(made.read_bytes())
    assert scores[0] == scores[1]


def test_a_model_folder_from_shards_is_that_of_the_run(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    made = tmp_path / "made"
    assert main(["export-model", str(folder / "run"), "--output", str(made)]) == 0
    theirs, info = AutoModelForSequenceClassification.from_pretrained(
        made, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    ours = weights(folder / "run" / "model")
    assert all(torch.equal(value, ours[name]) for name, value in theirs.state_dict().items())
    for name in ("config.json", "tokenizer.json", "reward_template.json"):
        assert (made / name).read_bytes() == (folder / "run" / "model" / name).read_bytes()
    assert not (made / "trainer.json").exists()


def test_the_mean_of_checkpoints_is_that_of_every_weight(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "made"
    given = ["export-model", str(folder / "run"), "--output", str(made)]
    assert main([*given, "--average", "2"]) == 0
    assert "the mean of step-00000003, step-00000002" in capsys.readouterr().out
    last, before = (
        put_together(path) for path in checkpoints(folder / "run" / "checkpoints")[:0:-1]
    )
    found = weights(made)
    assert any("score" in name for name in found)
    for name, value in found.items():
        mean = (last[f"model.{name}"].double() + before[f"model.{name}"].double()) / 2
        assert torch.equal(value, mean.float()), name
        assert not torch.equal(value, last[f"model.{name}"])
    assert main(given) == 2
    assert "is there already" in capsys.readouterr().err
    assert main([*given[:2], "--output", str(tmp_path / "x"), "--average", "9"]) == 2
    assert "run.keep_checkpoints" in capsys.readouterr().err
    assert main(["export-model", str(tmp_path), "--output", str(tmp_path / "x")]) == 2
    assert "has no config.json" in capsys.readouterr().err


@pytest.mark.parametrize("fails", [False, True], ids=["slow", "full"])
def test_training_goes_on_while_a_disk_is_slow(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fails: bool,
) -> None:
    """The first checkpoint is held up until two more steps are done; one more waits for it."""
    settings = ("run.save_every=2", "run.max_steps=4", "run.keep_checkpoints=9")
    later = threading.Event()
    written: list[int] = []
    checksums = checkpoint_module.write_checksums

    def slow(partial: Path) -> None:
        if not written:
            assert later.wait(PATIENCE_S), "training waited for the disk"
            if fails:
                raise OSError(28, "No space left on device", str(partial))
        checksums(partial)
        written.append(int(json.loads((partial / "trainer.json").read_text())["step"]))

    def step(run: TrainingRun, *given: Any, **more: Any) -> Any:
        sums = train_step(run, *given, **more)
        if run.step == 4:
            assert not list((run.options.output / "checkpoints").glob("step-*"))
            later.set()
        return sums

    monkeypatch.setattr(checkpoint_module, "write_checksums", slow)
    monkeypatch.setattr("training.train.train_step", step)
    output = tmp_path / "run"
    if fails:
        assert main(["train", *arguments(folder, output, *settings)]) == 1
        told = capsys.readouterr().err
        assert "No space left on device" in told and "--resume continues" in told
        assert not checkpoints(output / "checkpoints")
        assert not (output / "summary.json").exists()
        return
    assert main(["train", *arguments(folder, output, *settings)]) == 0
    assert written == [2, 4]
    monkeypatch.undo()
    # What was written is what the weights were then, not what they became meanwhile.
    plain = tmp_path / "plain"
    more = (*settings, "run.async_checkpoints=false")
    assert main(["train", *arguments(folder, plain, *more)]) == 0
    for number in (2, 4):
        name = f"checkpoints/step-{number:08d}"
        for file in ("model.safetensors", "optimizer.safetensors"):
            assert (output / name / file).read_bytes() == (plain / name / file).read_bytes()
