"""Whole runs on a CPU: learning, resuming, several ranks, and what transformers reads back."""

import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.fresh_process import finish, start_python, torchrun
from tests.preference_data import (
    make_model,
    make_pairs,
    make_tokenizer,
    one_pair,
    write_dataset,
)
from training.commands import main
from training.config import TrainConfig, convert
from training.data.dataset import PairDataset
from training.data.loader import DataLoader
from training.data.sampler import BatchSampler
from training.data.selection import Selection
from training.errors import ConfigError
from training.model.reward_model import load_model
from training.validation.score import score_texts

SMALL = (
    "data.batch_pairs=16",
    "data.max_length=128",
    "model.micro_batch_tokens=700",
    "optim.lr=0.003",
    "optim.eps=0.0001",  # else AdamW makes a whole step out of rounding where gradients vanish
    "run.tensorboard=false",
    "run.eval_pairs=60",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    make_model(folder / "model")
    pairs = make_pairs(120, "train") + make_pairs(40, "validation")
    write_dataset(folder / "data", pairs)
    return folder


def arguments(folder: Path, output: Path, *settings: str, flags: tuple[str, ...] = ()) -> list[str]:
    found = ["train", "--dataset", str(folder / "data"), "--model", str(folder / "model")]
    found += ["--output", str(output), "--quiet", "--device", "cpu", *flags]
    for setting in (*SMALL, *settings):
        found += ["--set", setting]
    return found


def run(folder: Path, output: Path, *settings: str, flags: tuple[str, ...] = ()) -> Path:
    assert main(arguments(folder, output, *settings, flags=flags)) == 0
    return output


def lines(output: Path, kind: str) -> list[dict[str, Any]]:
    text = (output / "metrics.jsonl").read_text(encoding="utf-8")
    return [found for found in map(json.loads, text.splitlines()) if found["kind"] == kind]


def weights(output: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = load_file(output / "model" / "model.safetensors")
    return state


def largest_difference(a: Path, b: Path) -> float:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.fixture(scope="module")
def finished(folder: Path) -> Path:
    return run(folder, folder / "finished", "run.eval_every=4")


def test_a_planted_preference_is_learned(finished: Path) -> None:
    first, *_, last = lines(finished, "validation")
    assert first["step"] == 0
    assert 0.3 < first["accuracy"] < 0.7
    assert last["accuracy"] > 0.9
    assert last["loss"] < 0.4 < first["loss"]
    assert last["baselines"]["longer"] < 0.7  # length does not give it away


def test_a_run_folder_tells_everything(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text(encoding="utf-8"))
    dataset = PairDataset(str(finished.parent / "data"), "train")
    assert summary["pairs"] == sum(dataset.rows)
    assert summary["dataset"]["manifest_sha256"] == dataset.manifest_sha256
    assert summary["steps"] == -(-sum(dataset.rows) // 16) == lines(finished, "train")[-1]["step"]
    assert summary["validation"]["accuracy"] == lines(finished, "validation")[-1]["accuracy"]
    for line in lines(finished, "train"):
        assert line["loss"] > 0
        assert line["gradient_norm"] > 0
        assert line["tokens_per_second"] > 0
    assert [line["step"] for line in lines(finished, "validation")][:2] == [0, 4]


@pytest.mark.parametrize("stops", [(1,), (3, 4), (2, 5, 6)])
def test_a_resumed_run_ends_in_the_same_bytes(
    folder: Path, finished: Path, tmp_path: Path, stops: tuple[int, ...]
) -> None:
    for stop in stops:
        flags = ("--resume",) if stop != stops[0] else ()
        run(folder, tmp_path / "run", f"run.max_steps={stop}", flags=flags)
    assert main(["train", "--output", str(tmp_path / "run"), "--resume", "--quiet", "--set",
                 "run.max_steps=null"]) == 0  # fmt: skip
    assert weights(tmp_path / "run").keys() == weights(finished).keys()
    assert largest_difference(tmp_path / "run", finished) == 0
    steps = [line["step"] for line in lines(tmp_path / "run", "train")]
    assert steps == [line["step"] for line in lines(finished, "train")]


@pytest.mark.parametrize(
    "settings",
    [
        ("loss.name=lcpo", "loss.lcpo_decay=0.5"),
        ("optim.spike_factor=0.1", "run.epochs=3", "data.max_pairs=160"),
        ("optim.schedule=cosine", "optim.warmup=0.3", "optim.clip=0.1"),
    ],
    ids=["loss", "guard and epochs", "schedule"],
)
def test_all_state_is_resumed(folder: Path, tmp_path: Path, settings: tuple[str, ...]) -> None:
    straight = run(folder, tmp_path / "straight", *settings)
    stop = 20 if "run.epochs=3" in settings else 5  # the guard judges from the 16th on
    run(folder, tmp_path / "run", *settings, f"run.max_steps={stop}")
    run(folder, tmp_path / "run", *settings, "run.max_steps=null", flags=("--resume",))
    assert largest_difference(tmp_path / "run", straight) == 0
    again, before = lines(tmp_path / "run", "train"), lines(straight, "train")
    for name in ("step", "loss", "lr", "gradient_norm", "skipped_steps"):
        assert [line[name] for line in again] == [line[name] for line in before]
    steps = [line["step"] for line in lines(tmp_path / "run", "validation")]
    assert len(steps) == len(set(steps))
    if "optim.spike_factor=0.1" in settings:
        assert before[-1]["skipped_steps"] > 0


def test_a_finished_run_that_is_resumed_is_validated_once(folder: Path, tmp_path: Path) -> None:
    found = run(folder, tmp_path / "run", "run.max_steps=2")
    before = (found / "metrics.jsonl").read_text(encoding="utf-8")
    assert [line["step"] for line in lines(found, "validation")] == [0, 2]
    run(folder, tmp_path / "run", "run.max_steps=2", flags=("--resume",))
    assert (found / "metrics.jsonl").read_text(encoding="utf-8") == before


def test_an_epoch_is_counted_once(folder: Path, tmp_path: Path) -> None:
    found = run(folder, tmp_path / "run", "run.epochs=3", "data.max_pairs=48")
    summary = json.loads((found / "summary.json").read_text(encoding="utf-8"))
    assert summary["pairs_seen"] == 3 * summary["pairs"]
    found = run(folder, tmp_path / "part", "run.epochs=3", "data.max_pairs=48", "run.max_steps=2")
    summary = json.loads((found / "summary.json").read_text(encoding="utf-8"))
    assert summary["pairs_seen"] == summary["pairs"]


def test_sigterm_saves_and_exits_0_and_the_run_continues(folder: Path, tmp_path: Path) -> None:
    output, long = tmp_path / "run", "run.epochs=40"
    command = ["-m", "training.train", *arguments(folder, output, long)[1:]]
    process = start_python(command, tmp_path / "log")
    while process.is_alive() and not (output / "metrics.jsonl").exists():
        time.sleep(0.05)
    while process.is_alive() and not lines(output, "train"):
        time.sleep(0.01)
    process.terminate()
    assert finish(process) == 0, (tmp_path / "log").read_text()
    assert not (output / "summary.json").exists()
    (checkpoint,) = (output / "checkpoints").iterdir()
    step = int(checkpoint.name.removeprefix("step-"))
    assert step == lines(output, "train")[-1]["step"] < 300
    run(folder, output, long, f"run.max_steps={step + 2}", flags=("--resume",))
    run(folder, tmp_path / "straight", long, f"run.max_steps={step + 2}")
    assert largest_difference(output, tmp_path / "straight") == 0


def test_checkpoints_are_kept_to_the_newest_and_partial_ones_are_ignored(
    folder: Path, tmp_path: Path
) -> None:
    output = run(folder, tmp_path / "run", "run.save_every=2", "run.max_steps=6")
    names = sorted(path.name for path in (output / "checkpoints").iterdir())
    assert names == ["step-00000004", "step-00000006"]
    (output / "checkpoints" / ".step-00000099.partial").mkdir()
    run(folder, output, "run.max_steps=7", flags=("--resume",))
    assert lines(output, "train")[-1]["step"] == 7


def ranks(folder: Path, output: Path, count: int, *settings: str) -> Path:
    """Run with torchrun, as users do."""
    log = output.with_suffix(".log")
    command = ["-m", "training.train", *arguments(folder, output, *settings)[1:]]
    try:
        torchrun(count, command, log)
    except Exception as error:
        raise AssertionError(log.read_text()) from error
    return output


@pytest.fixture(scope="module")
def sharded(folder: Path) -> Path:
    """A run of two ranks that ended, with a checkpoint of its step 4; tests must not change it."""
    settings = ("run.parallel=fsdp", "run.eval_every=4", "run.save_every=4")
    return ranks(folder, folder / "sharded", 2, *settings, "run.keep_checkpoints=9")


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_ranks_train_the_same_model(
    folder: Path,
    finished: Path,
    tmp_path: Path,
    parallel: str,
    request: pytest.FixtureRequest,
) -> None:
    if parallel == "fsdp":
        output = request.getfixturevalue("sharded")
    else:
        output = ranks(folder, tmp_path / "run", 2, "run.parallel=ddp", "run.eval_every=4")
    # AdamW divides by gradients near zero, so rounding shows at the scale of one lr.
    assert largest_difference(output, finished) < 2e-3
    for ours, theirs in zip(lines(output, "train"), lines(finished, "train"), strict=True):
        assert ours["pairs"] == theirs["pairs"]
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=2e-3)
        assert ours["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=2e-2)
    ours, theirs = lines(output, "validation")[0], lines(finished, "validation")[0]
    assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-6)
    assert ours["validation_pairs"] == theirs["validation_pairs"]


@pytest.mark.parametrize("count", [1, 2])
def test_an_altered_shard_ends_every_rank_before_anything_is_saved(
    folder: Path, tmp_path: Path, count: int, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder / "data", tmp_path / "data")
    (tmp_path / "model").symlink_to(folder / "model")
    manifest = tmp_path / "data" / "manifest.json"
    altered = re.sub(r'(train-00001[^}]*"sha256":")..', r"\g<1>00", manifest.read_text())
    manifest.write_text(altered)
    output = tmp_path / "run"
    if count == 1:
        assert main(arguments(tmp_path, output)) == 2
        said = capfd.readouterr().err
    else:
        with pytest.raises(AssertionError):
            ranks(tmp_path, output, count, "run.save_every=1")
        said = output.with_suffix(".log").read_text()
    assert len(re.findall(r"train-00001.*fetch or make the dataset again", said)) == count
    assert "Traceback" not in said or count > 1  # torchrun shows one of its own
    assert not (output / "model").exists()
    assert not list((output / "checkpoints").glob("*"))


def test_four_ranks_that_shard_share_and_offload_train_the_same_model(
    folder: Path, finished: Path, tmp_path: Path
) -> None:
    """Two groups that hold copies of each other, each pair of ranks with the same micro-batches."""
    output = ranks(
        folder,
        tmp_path / "run",
        4,
        *("run.parallel=fsdp", "run.shard_degree=2", "run.cpu_offload=true"),
        *("run.context_parallel_degree=2", "model.activation_checkpointing=selective"),
        *("model.activation_offload=true", "run.eval_every=4"),
    )
    assert largest_difference(output, finished) < 2e-3
    for ours, theirs in zip(lines(output, "train"), lines(finished, "train"), strict=True):
        assert (ours["pairs"], ours["tokens"]) == (theirs["pairs"], theirs["tokens"])
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=2e-3)
        assert ours["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=2e-2)
    ours, theirs = lines(output, "validation")[0], lines(finished, "validation")[0]
    assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-6)
    assert ours["validation_pairs"] == theirs["validation_pairs"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("run.shard_degree=2", "run.shard_degree needs run.parallel=fsdp"),
        ("run.cpu_offload=true", "run.cpu_offload needs run.parallel=fsdp"),
        ("run.context_parallel_degree=2", "does not divide the 1 processes"),
    ],
)
def test_what_one_process_cannot_divide_is_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, message: str
) -> None:
    assert main(arguments(folder, tmp_path / "run", setting)) == 2
    assert message in capsys.readouterr().err


def test_a_run_continues_with_another_number_of_ranks(
    folder: Path, finished: Path, sharded: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"  # as two ranks would have left it that died after their step 4
    shutil.copytree(sharded, output)
    first, *later = sorted((output / "checkpoints").iterdir())
    assert first.name == "step-00000004"
    for path in (*later, output / "model"):
        shutil.rmtree(path)
    (output / "summary.json").unlink()
    run(folder, output, flags=("--resume",))
    assert largest_difference(output, finished) < 2e-3
    steps = [line["step"] for line in lines(output, "train")]
    assert steps == [line["step"] for line in lines(finished, "train")]


def loaders(folder: Path, count: int) -> list[DataLoader]:
    settled = {"layout": "shared", "micro_batch_tokens": 16_384}
    config = convert({"data": {"batch_pairs": 16, "max_length": 128}, "model": settled})
    loaded = load_model(str(folder / "model"), config.model, config.data, seed=0)
    dataset = PairDataset(str(folder / "data"), "train")
    sampler = BatchSampler(rows=dataset.rows, batch_rows=16, window=3, seed=0)
    return [
        DataLoader(dataset, sampler, loaded.tokens, config, rank=rank, ranks=count)
        for rank in range(count)
    ]


def test_any_number_of_ranks_sees_the_same_global_batches(folder: Path) -> None:
    """Byte by byte: prompts, responses, pairs and weights of a step, however it is sharded."""
    (alone,) = loaders(folder, 1)
    for count in (2, 3, 8):
        parts = loaders(folder, count)
        for step in (0, 5, 2):
            whole = sorted(_bytes(group) for group in alone.grouped(step).groups)
            sharded = [[_bytes(group) for group in loader.grouped(step).groups] for loader in parts]
            assert sorted(one for rank in sharded for one in rank) == whole
            assert sum(loader.batch(step).pairs for loader in parts) == alone.batch(step).pairs


def _bytes(group: Any) -> bytes:
    ids = b"|".join([group.prompt.tobytes(), *(r.tobytes() for r in group.responses)])
    return ids + repr(group.pairs).encode()


def test_batches_made_ahead_are_those_made_alone(folder: Path) -> None:
    (loader,) = loaders(folder, 1)
    for step, batch in zip(range(3, 9), loader.batches(3, 9), strict=True):
        (fresh,) = loaders(folder, 1)
        again = fresh.batch(step)
        assert batch.step == step
        for a, b in zip(batch.micro, again.micro, strict=True):
            assert torch.equal(a.input_ids, b.input_ids)
            assert torch.equal(a.labels.weight, b.labels.weight)


READ_BACK = """
import json, sys
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
folder, out = sys.argv[1:]
model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
texts = json.load(open(out))
rendered = [tokenizer.apply_chat_template(
    [{"role": "user", "content": p}, {"role": "assistant", "content": r}], tokenize=False)
    for p, r in texts]
found = {"labels": model.config.num_labels, "score": list(model.score.weight.shape)}
with torch.no_grad():
    found["single"] = [float(model(**tokenizer(t, add_special_tokens=False, return_tensors="pt"))
                             .logits[0, 0]) for t in rendered]
    for side in ("left", "right"):
        tokenizer.padding_side = side
        batch = tokenizer(rendered, add_special_tokens=False, padding=True, return_tensors="pt")
        assert (batch["attention_mask"] == 0).any()
        found[side] = model(**batch).logits[:, 0].tolist()
json.dump(found, open(out, "w"))
"""


def test_transformers_in_a_fresh_process_gives_our_scores(finished: Path, tmp_path: Path) -> None:
    config = TrainConfig()
    loaded = load_model(
        str(finished / "model"), config.model, convert({"data": {"max_length": 128}}).data, seed=9
    )
    assert not loaded.head_is_new
    texts = [
        ("Why slow bread?", "cold water thank"),
        ("Why slow bread?", "rubbish"),
        ("a", "b " * 30),
    ]
    grouped = score_texts(
        loaded,
        [prompt for prompt, _ in texts],
        [[response] for _, response in texts],
        device=torch.device("cpu"),
    )
    ours = [row[0] for row in grouped]
    assert ours[0] > ours[1] + 0.5  # it has learned something, so equality says something
    exchange = tmp_path / "texts.json"
    exchange.write_text(json.dumps(texts))
    (tmp_path / "read.py").write_text(READ_BACK)
    command = [str(tmp_path / "read.py"), str(finished / "model"), str(exchange)]
    assert finish(start_python(command, tmp_path / "log")) == 0, (tmp_path / "log").read_text()
    found = json.loads(exchange.read_text())
    assert found["labels"] == 1
    assert found["score"] == [1, 32]
    for way in ("single", "left", "right"):
        assert found[way] == pytest.approx(ours, abs=2e-5), way


def test_equal_texts_are_scored_once_and_alike(folder: Path) -> None:
    config = convert({"data": {"max_length": 128}})
    loaded = load_model(str(folder / "model"), config.model, config.data, seed=0)
    device = torch.device("cpu")
    (one, two, again), empty = score_texts(
        loaded, ["p", "q"], [["x", "y", "x "], []], device=device
    )
    assert one == again != two
    assert empty == []


def test_fine_tuning_starts_from_a_checkpoint_with_its_template(
    folder: Path, finished: Path, tmp_path: Path
) -> None:
    write_dataset(tmp_path / "other", make_pairs(30, "train", seed=5, site="other.example"))
    found = ["train", "--dataset", str(tmp_path / "other"), "--model", str(finished / "model")]
    found += ["--output", str(tmp_path / "tuned"), "--quiet"]
    for setting in (*SMALL, "data.template=plain", "optim.lr=1e-5"):
        found += ["--set", setting]
    assert main(found) == 0
    ours = (tmp_path / "tuned" / "model" / "reward_template.json").read_text()
    assert ours == (finished / "model" / "reward_template.json").read_text()
    assert lines(tmp_path / "tuned", "train")[0]["accuracy"] > 0.9  # it knew the preference


def test_pairs_that_become_identical_are_excluded_and_counted(folder: Path, tmp_path: Path) -> None:
    long = "bread " * 300
    pairs = make_pairs(10, "train")
    pairs.append(one_pair("f:t", "train", "f", "Same?", (0, long + "a"), (1, long + "b")))
    write_dataset(tmp_path / "data", pairs)
    (tmp_path / "model").symlink_to(folder / "model")
    output = run(tmp_path, tmp_path / "run")
    summary = json.loads((output / "summary.json").read_text())
    assert summary["excluded"]["identical_when_cut"] == 1
    assert summary["pairs"] == len(pairs) - 1


def test_pairs_are_selected_by_confidence_and_margin_and_counted(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = make_pairs(10, "train")
    odd = [
        one_pair("f:t", "train", "f", "Why?", (0, "a"), (1, "b"), confidence=0.4, vote_margin=90.0),
        one_pair("f:u", "train", "f", "Who?", (0, "c"), (1, "d"), vote_margin=50.5),
        one_pair("f:v", "train", "f", "How?", (0, "e"), (1, "f"), vote_margin=50.0),
    ]
    write_dataset(tmp_path / "data", [*pairs, *odd])
    (tmp_path / "model").symlink_to(folder / "model")
    told = arguments(tmp_path, tmp_path / "run", "data.min_confidence=0.5", "data.max_margin=50")
    told.remove("--quiet")
    assert main(told) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    counts = {"below_min_confidence": 1, "above_max_margin": 1}
    assert summary["selected"] == {"pairs": len(pairs) + 3, **counts}
    assert {name: summary["excluded"][name] for name in counts} == counts
    assert summary["pairs_seen"] == len(pairs) + 1
    said = " ".join(capsys.readouterr().err.split())
    assert f"{len(pairs) + 1} of the {len(pairs) + 3} training pairs" in said
    assert "1 by data.min_confidence, 1 by data.max_margin" in said


def test_bf16_copies_learn_though_a_step_is_smaller_than_their_grid(
    folder: Path, tmp_path: Path
) -> None:
    """lr 2e-5 moves no bf16 weight near 0.15, whose neighbours are 1e-3 apart: masters do."""
    output = run(
        folder, tmp_path / "run", "model.precision=bf16", "optim.lr=2e-5", "run.max_steps=4"
    )
    before = load_file(folder / "model" / "model.safetensors")["model.embed_tokens.weight"]
    after = weights(output)["model.embed_tokens.weight"]
    moved = (after - before).abs()
    assert after.dtype == torch.float32
    assert 0 < float(moved.max()) < 2e-4
    assert float((moved > 0).float().mean()) > 0.1


@pytest.mark.parametrize(
    ("settings", "flags", "message"),
    [
        (("optim.lr=0.5",), ("--resume",), "optim.lr=0.003"),
        ((), (), "--resume continues it, --overwrite starts again"),
        (("optim.lrr=1",), (), "did you mean optim.lr?"),
        (("data.max_length=4096",), ("--overwrite",), "reads at most 512 tokens"),
    ],
)
def test_wrong_use_is_refused_with_the_way_out(
    folder: Path,
    finished: Path,
    capsys: pytest.CaptureFixture[str],
    settings: tuple[str, ...],
    flags: tuple[str, ...],
    message: str,
) -> None:
    output = finished if "--overwrite" not in flags else folder / "wrong"
    assert main(arguments(folder, output, *settings, flags=flags)) == 2
    assert message in capsys.readouterr().err
    assert (finished / "summary.json").exists()


def test_only_a_run_is_ever_overwritten(
    folder: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text("a model of transformers, say")
    assert main(arguments(folder, tmp_path, flags=("--overwrite",))) == 2
    assert "not a run folder" in capsys.readouterr().err
    assert (tmp_path / "config.json").exists()
    for inside in (folder, folder / "model", folder / "model" / "run"):
        assert main(arguments(folder, inside, flags=("--overwrite",))) == 2
        assert "contain one another" in capsys.readouterr().err
    wrong = [*arguments(folder, finished, flags=("--overwrite",)), "--dataset", str(tmp_path / "x")]
    assert main(wrong) == 2
    assert (finished / "summary.json").exists()  # a slip elsewhere costs no run


def test_what_a_run_was_started_with_stays(
    folder: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments(folder, finished, flags=("--resume",))
    given[given.index("--model") + 1] = str(tmp_path)
    assert main(given) == 2
    assert "started with --model" in capsys.readouterr().err


def test_a_wrong_choice_is_told_with_the_choices() -> None:
    from training.config import load_config

    for setting, told in (
        ("model.layout=sideways", "it may be auto, shared, packed, padded"),
        ("optim.schedule=linear", "it may be constant, cosine"),
        ("run.parallel=tp", "it may be ddp, fsdp"),
    ):
        with pytest.raises(ConfigError, match=told):
            load_config(None, [setting])
    with pytest.raises(ConfigError, match="lcpo"):
        load_config(None, ["loss.name=dpo"])


def test_settings_in_yaml_are_those_in_toml(tmp_path: Path) -> None:
    from training.config import load_config

    (tmp_path / "c.toml").write_text("[optim]\nlr = 1e-5\n[model]\nlayout = 'packed'\n")
    (tmp_path / "c.yaml").write_text("optim:\n  lr: 1.0e-5\nmodel: {layout: packed}\n")
    assert load_config(str(tmp_path / "c.yaml")) == load_config(str(tmp_path / "c.toml"))
    for content in ("- optim\n", "1: {lr: 2}\n", "optim: [1\n"):
        (tmp_path / "bad.yml").write_text(content)
        with pytest.raises(ConfigError, match=r"--config .*bad\.yml: "):
            load_config(str(tmp_path / "bad.yml"))


def test_a_prompt_weighs_one_whatever_confidence_leaves_of_it(tmp_path: Path) -> None:
    """Three of its four pairs are unsure: the one that is left weighs 1, not a quarter."""
    from training.data.dataset import PairDataset
    from training.data.prompt_groups import group_pairs, prompt_runs
    from training.data.template import choose_template
    from training.data.tokenizer import PairTokenizer

    pairs = [
        one_pair(
            f"f:{thread}", "train", "f", f"Why {thread}?", (0, "bread"), (number, "oven " * number),
            confidence=0.9 if number <= sure else 0.4,
        )
        for thread, sure in enumerate((1, 2, 4, 0))
        for number in range(1, 5)
    ]  # fmt: skip
    write_dataset(tmp_path / "data", pairs)
    tokenizer = make_tokenizer()
    template = choose_template(tokenizer, "auto", encoder=False)
    tokens = PairTokenizer(tokenizer, template, max_length=128)
    for least, left in ((0.5, (1, 2, 4)), (0.0, (4, 4, 4, 4))):
        dataset = PairDataset(str(tmp_path / "data"), "train", selection=Selection(least))
        weights: dict[str, list[float]] = {}
        for number in range(len(dataset.rows)):
            rows = dataset.read(number)
            batch = group_pairs(rows, prompt_runs(rows), tokens, selection=Selection(least))
            for group in batch.groups:
                for pair in group.pairs:
                    weights.setdefault(rows.thread_id[pair.row], []).append(pair.weight)
        assert {name: pytest.approx(sum(found)) for name, found in weights.items()} == {
            f"f:{thread}": 1.0 for thread in range(len(left))
        }
        assert tuple(len(weights[f"f:{thread}"]) for thread in range(len(left))) == left


def test_settings_come_from_a_file_and_are_overridden(tmp_path: Path) -> None:
    from training.config import load_config

    (tmp_path / "c.toml").write_text("[optim]\nlr = 1e-5\nclip = 2.0\n[loss]\nname = 'soft'\n")
    found = load_config(str(tmp_path / "c.toml"), ["optim.lr=3e-4"])
    assert (found.optim.lr, found.optim.clip, found.loss.name) == (3e-4, 2.0, "soft")
    (tmp_path / "bad.toml").write_text("[optim]\nlearning_rate = 1\n")
    with pytest.raises(ConfigError, match=r"optim\.learning_rate"):
        load_config(str(tmp_path / "bad.toml"))
    with pytest.raises(ConfigError, match=r"section\.name=value"):
        load_config(None, ["lr=1"])
