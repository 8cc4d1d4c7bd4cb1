"""Settings that nobody gave, and the plan of memory and time, against what is really taken."""

import gc
import io
import json
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
    GPT2Config,
    Qwen2Config,
    RobertaConfig,
)

from tests.preference_data import make_model, make_pairs, make_tokenizer, write_dataset
from tests.test_training import lines
from training.commands import main
from training.config import LoraConfig, ModelConfig, TrainConfig, load_config
from training.data.collate import MicroBatch, micro_batches
from training.data.context_split import context_part
from training.data.dataset import PairDataset
from training.data.prompt_groups import PairOfGroup, PromptGroup, group_pairs, prompt_runs
from training.errors import ConfigError
from training.model.limits import longest_sequence
from training.model.reward_model import RewardModel, load_model, without_dropout
from training.model.source import ModelSource
from training.optimizer import make_optimizer
from training.parallel.distributed import DistributedContext
from training.parallel.sharding import MasterWeights
from training.planning import defaults
from training.planning.activations import count_backbone
from training.planning.batch_size import batch_pairs_for
from training.planning.hardware import Hardware, find_hardware
from training.planning.memory import (
    HEADROOM,
    activation_memory,
    choose_micro_batch,
    weight_memory,
)
from training.planning.plan import MFU, Plan, make_plan
from training.planning.show_plan import show_plan
from training.planning.tokens import sample_tokens

CPU = torch.device("cpu")
SIZES = {"vocab_size": 500, "pad_token_id": 0, "num_labels": 1}
CONFIGS: dict[str, Any] = {
    "qwen2": lambda: Qwen2Config(
        **SIZES, hidden_size=64, intermediate_size=176, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2,
    ),
    "gpt2": lambda: GPT2Config(
        **SIZES, n_embd=64, n_layer=3, n_head=4, bos_token_id=0, eos_token_id=0
    ),
    "bert": lambda: BertConfig(
        **SIZES, hidden_size=64, intermediate_size=256, num_hidden_layers=3,
        num_attention_heads=4,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planning")
    make_model(folder / "decoder")
    write_dataset(folder / "data", make_pairs(120, "train") + make_pairs(20, "validation"))
    return folder


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Path:
    """A real BERT of 128 positions, fewer than data.max_length was by default."""
    path = folder / "encoder"
    tokenizer = make_tokenizer(pad="<|fim_pad|>")
    tokenizer.cls_token, tokenizer.sep_token = "<|im_start|>", "<|im_end|>"
    tokenizer.save_pretrained(path)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
    )
    BertModel(config).save_pretrained(path)
    return path


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (1, 4),
        (191, 4),
        (48 * 8, 8),
        (2_299, 32),
        (48 * 2048 - 1, 1024),
        (48 * 2048, 2048),
        (14_999_999, 2048),
        (15_000_000, 10_000),
    ],
)
def test_batches_are_worldpms_where_there_are_pairs_for_them(pairs: int, expected: int) -> None:
    assert batch_pairs_for(pairs) == expected


def test_a_run_without_settings_finds_its_own(
    folder: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = sum(PairDataset(str(folder / "data"), "train").rows)
    for model, layout, length, lr in (
        (folder / "decoder", "shared", 512, 3e-6),
        (encoder, "padded", 128, 2e-5),
    ):
        output = tmp_path / model.name
        command = ["train", "--dataset", str(folder / "data"), "--output", str(output)]
        stops = ["--set", "run.max_steps=2", "--device", "cpu"]
        assert main([*command, "--model", str(model), *stops]) == 0
        said = capsys.readouterr().err
        started = json.loads((output / "run.json").read_text())
        assert started["data"]["batch_pairs"] == batch_pairs_for(rows) == 4
        assert started["data"]["max_length"] == length
        assert started["model"]["layout"] == layout
        assert started["model"]["micro_batch_tokens"] == 4096
        assert started["optim"]["lr"] == lr
        for line in started["chosen"]:
            name, _, reason = line.partition(": ")
            assert f"chosen: {name} ({reason})" in said
        assert len(started["chosen"]) == 5
        assert said.index("to go: 2 steps") < said.index("step 0/2  validation: micro-batch")
        # A resumed run has what its beginning chose, and says so nowhere anew.
        assert main(["train", "--output", str(output), "--resume", "--set", "run.max_steps=3"]) == 0
        resumed = json.loads((output / "run.json").read_text())
        assert resumed["model"] == started["model"]
        assert resumed["chosen"] == started["chosen"]
        assert "chosen:" not in capsys.readouterr().err
        (checkpoint,) = (output / "checkpoints").glob("step-*3")
        state = json.loads((checkpoint / "trainer.json").read_text())
        assert state["config"]["model"]["layout"] == layout
        assert (output / "curves.png").exists()


def test_a_backbone_that_no_shared_layout_fits_gets_padded_rows(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.model import choose_layout

    real = choose_layout.check_layout

    def refuse(loaded: Any, layout: str, device: torch.device, dtype: torch.dtype) -> None:
        if layout != "padded":
            raise ConfigError("Mixer gives other states; set model.layout=padded")
        real(loaded, "padded", device, dtype)

    monkeypatch.setattr(choose_layout, "check_layout", refuse)
    config = TrainConfig()
    loaded = load_model(str(folder / "decoder"), config.model, config.data, seed=0)
    choose_layout.settle_layout(loaded, config.model, CPU)
    assert (loaded.model.layout, loaded.model.layout_reason) == (
        "padded",
        "Mixer gives other states",
    )


def test_a_table_of_positions_after_the_padding_is_read_to_its_end() -> None:
    config = RobertaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=34, pad_token_id=1,
    )  # fmt: skip
    longest = longest_sequence(config)
    assert longest == 32
    model = AutoModelForSequenceClassification.from_config(config).eval()
    model(torch.full((1, longest), 5))
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, longest + 1), 5))


def kept_bytes(model: RewardModel, batch: MicroBatch) -> int:
    """What autograd keeps of a real forward pass, weights not counted."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(batch)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize(
    ("kind", "layout"),
    [("qwen2", "shared"), ("qwen2", "packed"), ("gpt2", "shared"), ("bert", "padded")],
)
def test_what_is_counted_without_weights_is_what_a_real_pass_keeps(
    folder: Path, encoder: Path, kind: str, layout: Any
) -> None:
    hf = AutoModelForSequenceClassification.from_config(CONFIGS[kind]())
    without_dropout(hf)
    model = RewardModel(hf, layout)
    loaded = load_model(
        str(encoder if kind == "bert" else folder / "decoder"),
        TrainConfig().model,
        TrainConfig().data,
        seed=0,
    )
    rows = PairDataset(str(folder / "data"), "train").read(0)
    groups = group_pairs(rows, prompt_runs(rows), loaded.tokens).groups
    batch = max(
        micro_batches(groups, layout, tokens=2000, pad_id=0, sites={}),
        key=lambda batch: batch.input_ids.numel(),
    )
    tokens = batch.input_ids.numel()
    keys = 0.0
    if batch.segments is not None and batch.segments.key_index is not None:
        keys = batch.segments.key_index.numel() / tokens
    count = count_backbone(CONFIGS[kind](), layout, torch.float32, gathered_keys=keys)
    assert count.parameters == sum(parameter.numel() for parameter in hf.parameters())
    assert tokens * count.kept_per_token() == pytest.approx(kept_bytes(model, batch), rel=0.08)


def profile_memory() -> Any:
    return torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    )


def batch_of(folder: Path, tokens: int) -> MicroBatch:
    loaded = load_model(str(folder / "decoder"), ModelConfig(), TrainConfig().data, seed=0)
    rows = PairDataset(str(folder / "data"), "train").read(0)
    groups = group_pairs(rows, prompt_runs(rows), loaded.tokens).groups
    batches = micro_batches(groups, "shared", tokens=tokens, pad_id=0, sites={})
    return max(batches, key=lambda batch: batch.input_ids.numel())


def allocated(profile: Any) -> int:
    """Bytes that were allocated while a profile ran and are there at its end."""
    events = profile.profiler.kineto_results.events()
    return sum(event.nbytes() for event in events if event.name() == "[memory]")


def test_selective_checkpointing_keeps_what_is_counted(folder: Path) -> None:
    """A real forward pass, by torch's allocator: with plain checkpointing it keeps much less."""
    batch = batch_of(folder, 2000)
    tokens = batch.input_ids.numel()
    assert batch.segments is not None and batch.segments.key_index is not None
    keys = batch.segments.key_index.numel() / tokens
    count = count_backbone(CONFIGS["qwen2"](), "shared", torch.float32, gathered_keys=keys)
    for selective in (True, False):
        model = RewardModel(
            AutoModelForSequenceClassification.from_config(CONFIGS["qwen2"]()), "shared"
        )
        without_dropout(model.hf)
        model.train().checkpoint_activations(selective=selective)
        model(batch)  # makes what is made once
        with profile_memory() as found:
            rewards = model(batch)
        # What is computed again, of a block, is not there yet.
        planned = count.offloaded_per_token(True) + sum(count.selective) * selective
        assert allocated(found) == pytest.approx(tokens * planned, rel=0.12)
        assert planned < count.kept_per_token() / 2
        del rewards  # not within the next profile
        gc.collect()


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("layout", ["shared", "packed"])
def test_a_rank_of_a_shared_micro_batch_keeps_what_is_counted(
    folder: Path, ranks: int, layout: Any
) -> None:
    """The tokens of each rank, and the keys that it gathers, of the micro-batch it would get."""
    prompt, responses, vocabulary = 600, (200, 120), 500
    generator = np.random.default_rng(0)
    group = PromptGroup(
        generator.integers(5, vocabulary, prompt).astype(np.int32),
        tuple(generator.integers(5, vocabulary, n).astype(np.int32) for n in responses),
        (PairOfGroup(0, 0, 1, 1.0, 1.0, 1.0, ""),),
    )
    (batch,) = micro_batches([group], layout, tokens=2000, pad_id=0, sites={})
    assert batch.segments is not None
    tokens = batch.input_ids.numel()
    gathered = 0.0
    if batch.segments.key_index is not None and layout == "shared":
        gathered = batch.segments.key_index.numel() / tokens
    count = count_backbone(CONFIGS["qwen2"](), layout, torch.float32, gathered_keys=gathered)
    divided = count.divided(ranks)
    keys = []
    for rank in range(ranks):
        part = context_part(batch.segments, rank, ranks)
        assert len(part.token_index) == pytest.approx(tokens / ranks, rel=0.05)
        assert part.segments.key_index is not None
        keys.append(part.segments.key_index.numel() / tokens)
    # Of the rank that has most; the two chunks in the middle are one where a rank has both.
    assert 0.75 * divided.gathered_keys < max(keys) <= divided.gathered_keys
    assert divided.kept_per_token() < count.kept_per_token()
    assert divided.kept_per_token(True) < count.kept_per_token(True) / ranks * 1.7


def test_what_is_offloaded_is_not_on_the_device() -> None:
    count = count_backbone(CONFIGS["qwen2"](), "shared", torch.bfloat16)
    for checkpointing in (False, "selective", True):
        there = count.kept_per_token(checkpointing, offloaded=True)
        assert 0 < there < count.kept_per_token(checkpointing)
    assert count.offloaded_per_token() > count.offloaded_per_token(True)
    sizes = [
        choose_micro_batch(
            count,
            weight_memory(count, torch.bfloat16),
            "cuda",
            free=weight_memory(count, torch.bfloat16).total + activation_memory(count, 6000),
            offloaded=offloaded,
        ).tokens
        for offloaded in (False, True)
    ]
    assert sizes[0] < sizes[1]


def test_a_gpu_that_is_not_known_gets_no_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that of another one."""
    plan = replace(plan_of(folder, 1), hardware=Hardware(1, "Abacus 7", 80e9))
    assert plan.hours(recomputes=False) is None
    console = Console(record=True, width=200, file=io.StringIO())
    show_plan(plan, console)
    said = console.export_text()
    assert "the peak of Abacus 7 is not known here; --gpu plans for one of a100" in said
    assert "of the peak, which we measured" not in said
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Abacus 7")
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda *_: SimpleNamespace(total_memory=5e9)
    )
    assert find_hardware(None, None) == Hardware(3, "Abacus 7", 5e9, None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_gradients_and_adam_take_what_is_planned(dtype: torch.dtype) -> None:
    hf = AutoModelForSequenceClassification.from_config(CONFIGS["qwen2"]())
    weights = MasterWeights(RewardModel(hf, "padded"), dtype, "ddp")
    from training.config import OptimConfig

    optimizer = make_optimizer(weights, OptimConfig(lr=1e-3))
    for master in weights.masters.values():
        master.grad = torch.zeros_like(master)
    optimizer.step()
    held = [
        *weights.masters.values(),
        *(m.grad for m in weights.masters.values()),
        *hf.parameters(),
    ]
    for state in optimizer.state.values():
        held += [value for value in state.values() if value.dim()]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in held}
    planned = weight_memory(count_backbone(CONFIGS["qwen2"](), "padded", dtype), dtype)
    assert planned.total == sum(storages.values())


def test_sharding_divides_all_but_what_is_gathered() -> None:
    count = count_backbone(CONFIGS["qwen2"](), "shared", torch.bfloat16)
    whole = weight_memory(count, torch.bfloat16)
    eight, hsdp = (
        weight_memory(
            count, torch.bfloat16, devices=64, parallel="fsdp", shard_degree=degree
        )
        for degree in (None, 8)
    )  # fmt: skip
    for name in ("weights", "gradients", "optimizer"):
        assert getattr(eight, name) == getattr(whole, name) / 64
        assert getattr(hsdp, name) == getattr(whole, name) / 8
    off = weight_memory(count, torch.bfloat16, devices=8, parallel="fsdp", cpu_offload=True)
    assert (off.weights, off.gradients, off.optimizer) == (0, 0, 0)
    assert off.copies > 0
    lora = weight_memory(count, torch.bfloat16, trained=1000)
    assert lora.total < whole.total / 5


def test_a_micro_batch_is_as_large_as_the_memory_that_is_left() -> None:
    count = count_backbone(CONFIGS["qwen2"](), "shared", torch.float32)
    weights = weight_memory(count, torch.float32)

    def tokens(free: float, **given: Any) -> int:
        size = choose_micro_batch(count, weights, "cuda", free=free, **given)
        if size.tokens > 512:
            assert weights.total + activation_memory(count, size.tokens, **given) <= free
        return size.tokens

    enough = (weights.total + activation_memory(count, 16_384)) / (1 - HEADROOM)
    assert tokens(enough * 1.01) == 16_384
    assert tokens(enough * 0.98) == 8192
    assert tokens(enough * 0.98, checkpointing=True) == 16_384
    assert tokens(weights.total) == 512


def test_what_cannot_fit_is_refused_before_it_is_loaded(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(defaults, "free_memory", lambda *_: 100_000)
    command = ["train", "--dataset", str(folder / "data"), "--model", str(folder / "decoder")]
    assert main([*command, "--output", str(tmp_path / "run"), "--device", "cpu"]) == 1
    said = capsys.readouterr().err
    assert "out of memory before it begins" in said
    assert "--dry-run" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


def test_the_tokens_of_a_plan_are_those_of_the_run(folder: Path, tmp_path: Path) -> None:
    dataset = PairDataset(str(folder / "data"), "train")
    config = TrainConfig()
    loaded = load_model(str(folder / "decoder"), config.model, config.data, seed=0)
    found = sample_tokens(dataset, loaded.tokens, "packed", micro_batch_tokens=4096)
    assert found.low == found.tokens == found.high  # all were read
    command = ["train", "--dataset", str(folder / "data"), "--model", str(folder / "decoder")]
    command += ["--output", str(tmp_path / "run"), "--quiet", "--device", "cpu"]
    for setting in ("model.layout=packed", "data.batch_pairs=1000", "run.eval_pairs=0"):
        command += ["--set", setting]
    assert main(command) == 0
    (step,) = lines(tmp_path / "run", "train")
    assert step["tokens"] == pytest.approx(found.tokens * found.pairs)


def test_the_interval_of_a_sample_holds_the_mean_of_all(tmp_path: Path) -> None:
    pairs = make_pairs(2500, "train", responses=4)
    dataset = PairDataset(str(write_dataset(tmp_path / "data", pairs, row_group=400)), "train")
    make_model(tmp_path / "model")
    config = TrainConfig()
    tokens = load_model(str(tmp_path / "model"), config.model, config.data, seed=0).tokens
    found = sample_tokens(dataset, tokens, "shared", micro_batch_tokens=4096)
    total = count = 0
    for number in range(len(dataset.rows)):
        rows = dataset.read(number)
        for group in group_pairs(rows, prompt_runs(rows), tokens).groups:
            total += group.shared_tokens
            count += len(group.pairs)
    assert found.low < found.tokens < found.high
    assert found.low <= total / count <= found.high
    assert found.high - found.low < 0.2 * found.tokens


def test_72b_is_planned_from_its_configuration_alone(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "huge"
    AutoTokenizer.from_pretrained(folder / "decoder").save_pretrained(path)
    Qwen2Config(
        vocab_size=152_064, hidden_size=8192, intermediate_size=29_568, num_hidden_layers=80,
        num_attention_heads=64, num_key_value_heads=8, max_position_embeddings=32_768,
    ).save_pretrained(path)  # fmt: skip
    plan = make_plan(
        TrainConfig(),
        str(folder / "data"),
        ModelSource.of(str(path)),
        find_hardware(64, "h100"),
        pairs=15_000_000,
    )
    h, i, kv = 8192, 29_568, 1024
    block = 2 * h * h + 2 * h * kv + h + 2 * kv + 3 * h * i + 2 * h
    assert plan.count.parameters == 80 * block + 152_064 * h + h + h
    assert (plan.batch_pairs, plan.steps) == (10_000, 1500)
    ways = {(way.name, way.recomputes): way for way in plan.divisions}
    assert not ways["ddp", True].fits
    assert ways["fsdp", True].fits
    assert ways["fsdp", True].weights.weights == 4 * plan.count.parameters / 64
    hours = plan.hours(recomputes=False)
    assert hours is not None
    dense = 6 * 80 * block * plan.sample.tokens * 15e6
    assert hours[0] * 3600 * 64 * 989e12 * MFU["shared"] == pytest.approx(dense, rel=0.02)
    command = ["train", "--dry-run", "--dataset", str(folder / "data"), "--model", str(path)]
    assert main([*command, "--gpus", "64", "--pairs", "15000000"]) == 0
    assert "hsdp 8" in capsys.readouterr().out
    assert main([*command, "--gpu", "abacus"]) == 2
    shutil.rmtree(path)


QWEN_BLOCK = [
    ("q_proj", 64, 64), ("k_proj", 64, 32), ("v_proj", 64, 32), ("o_proj", 64, 64),
    ("gate_proj", 64, 176), ("up_proj", 64, 176), ("down_proj", 176, 64),
]  # fmt: skip


@pytest.mark.parametrize("dora", [False, True])
def test_lora_is_planned_with_the_weights_that_peft_trains(folder: Path, dora: bool) -> None:
    peft = pytest.importorskip("peft")
    count = count_backbone(CONFIGS["qwen2"](), "shared", torch.float32)
    hf = AutoModelForSequenceClassification.from_config(CONFIGS["qwen2"]())
    for names in (None, ("q_proj", "down_proj")):
        settings = LoraConfig(rank=4, dora=dora, target_modules=names)
        used = list(names or (name for name, _, _ in QWEN_BLOCK))
        found = peft.get_peft_model(
            deepcopy(hf), peft.LoraConfig(r=4, use_dora=dora, target_modules=used)
        )
        real = sum(p.numel() for p in found.parameters() if p.requires_grad)
        assert count.adapter_parameters(settings) == real
        assert real >= 3 * 4 * sum(i + o for name, i, o in QWEN_BLOCK if name in used)


def plan_of(folder: Path, gpus: int, *settings: str, **given: Any) -> Plan:
    config = load_config(None, settings)
    source = ModelSource.of(str(folder / "decoder"))
    return make_plan(config, str(folder / "data"), source, find_hardware(gpus, "h100"), **given)


def test_a_plan_is_of_the_settings_that_are_asked_for(folder: Path) -> None:
    plain = plan_of(folder, 16)
    ways = {way.name: way.weights for way in plain.divisions}
    assert list(ways) == ["ddp", "fsdp", "hsdp 8"]
    n = plain.count.parameters
    assert (ways["ddp"].saving, ways["fsdp"].saving) == (12 * n, 12 * n / 16)

    fewer = {way.name: way.weights for way in plan_of(folder, 16, "run.shard_degree=4").divisions}
    assert fewer["hsdp 4"].optimizer == 8 * n / 4
    with pytest.raises(ConfigError, match="shard_degree=3 does not divide the 16"):
        plan_of(folder, 16, "run.shard_degree=3")

    off = {way.name: way.weights for way in plan_of(folder, 16, "run.cpu_offload=true").divisions}
    assert off["fsdp"].optimizer == 0
    assert off["ddp"].optimizer == 8 * n
    average = plan_of(folder, 1, "optim.ema_decay=0.9").divisions[0].weights
    assert (average.optimizer, average.saving) == (12 * n, 16 * n)

    lora = plan_of(folder, 2, "lora.rank=4")
    assert lora.learning_rate == 10 * plain.learning_rate
    assert 2 / 3 < lora.flops / plain.flops < 1
    weights = lora.divisions[0].weights
    assert weights.saving == 12 * lora.trained < 2 * n
    assert weights.start == 0
    dora = plan_of(folder, 2, "lora.rank=4", "lora.dora=true").divisions[0].weights
    assert dora.start == 4 * n  # whole and in fp32, before it is cast or divided
    four = plan_of(folder, 2, "lora.rank=4", "lora.base_precision=nf4")
    assert {way.name for way in four.divisions} == {"ddp"}  # fsdp refuses it
    assert four.divisions[0].weights.total < weights.total


def test_a_plan_says_what_it_does_not_count(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--dry-run", "--dataset", str(folder / "data"), "--gpus", "4"]
    command += ["--model", str(folder / "decoder")]
    assert main(command) == 0
    assert "not counted" not in capsys.readouterr().out
    for setting, words in (
        ("model.activation_checkpointing=selective", "selective: its time lies between"),
        ("model.activation_offload=true", "are not in the time"),
        ("run.context_parallel_degree=2", "a micro-batch is that of 2 devices"),
        ("run.cpu_offload=true", "lies in the host's memory"),
    ):
        assert main([*command, "--set", setting]) == 0
        assert words in capsys.readouterr().out


def test_fsdp_counts_as_present_what_this_rank_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight ranks that each hold an eighth: the rest is no memory that becomes free."""
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore

    hf = AutoModelForSequenceClassification.from_config(CONFIGS["qwen2"]())
    loaded: Any = SimpleNamespace(model=RewardModel(hf, "shared"))
    config = load_config(None, ["run.parallel=fsdp"])
    context = DistributedContext(0, 8, CPU)
    count = count_backbone(CONFIGS["qwen2"](), "shared", torch.float32)
    weights = weight_memory(count, torch.float32, devices=8, parallel="fsdp")
    here = weights.weights
    room = activation_memory(count, 1024) - 3 * here  # seven eighths would be enough
    free = int((room + weights.total - here) / (1 - HEADROOM))
    monkeypatch.setattr(defaults, "free_memory", lambda *_: free)
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=8)
    try:
        whole, _ = defaults._micro_batch(config, loaded, torch.float32, context)
        MasterWeights(loaded.model, torch.float32, "fsdp")
        divided, _ = defaults._micro_batch(config, loaded, torch.float32, context)
    finally:
        dist.destroy_process_group()
    assert (whole, divided) == (1024, 512)
