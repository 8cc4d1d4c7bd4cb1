"""LoRA and QLoRA: what is trained and saved, resuming, several ranks, and what peft reads back."""

import hashlib
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.fresh_process import finish, start_python, torchrun
from tests.preference_data import make_model, make_pairs, write_dataset
from tests.test_models import bert
from training.commands import main
from training.config import DataConfig, LoraConfig, ModelConfig, convert, load_config
from training.errors import ConfigError
from training.evaluation.items import ChatMessage
from training.evaluation.models import find_model, open_scorer
from training.model.reward_model import LoadedModel, init_head, load_model
from training.model.save import save_model
from training.model.stored_weights import NotReadableInPartsError
from training.parallel.distributed import DistributedContext
from training.run.options import TrainOptions
from training.run.setup import set_up
from training.train import Interrupt, run_loop
from training.validation.score import score_texts

pytest.importorskip("peft")

CPU = torch.device("cpu")
SETTINGS = (
    "data.batch_pairs=16",
    "data.max_length=128",
    "model.micro_batch_tokens=700",
    "optim.lr=0.02",
    "optim.eps=0.0001",
    "run.trackers=[]",
    "run.eval_pairs=16",
    "run.max_steps=6",
    "lora.rank=4",
)
TEXTS = [
    ("Why slow bread?", "cold water thank"),
    ("Why slow bread?", "rubbish"),
    ("fold rest", "warm crust thank oven " * 6),
    ("a", "b " * 30),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lora")
    make_model(folder / "model", layers=2)
    write_dataset(folder / "data", make_pairs(50, "train") + make_pairs(8, "validation"))
    return folder


def arguments(folder: Path, output: Path, *settings: str, flags: tuple[str, ...] = ()) -> list[str]:
    found = ["train", "--dataset", str(folder / "data"), "--model", str(folder / "model")]
    found += ["--output", str(output), "--quiet", "--device", "cpu", *flags]
    for setting in (*SETTINGS, *settings):
        found += ["--set", setting]
    return found


def scores(loaded: LoadedModel) -> list[float]:
    prompts, responses = [p for p, _ in TEXTS], [[r] for _, r in TEXTS]
    loaded.model.eval()
    return [row[0] for row in score_texts(loaded, prompts, responses, device=CPU)]


def train_here(folder: Path, output: Path, *settings: str) -> LoadedModel:
    """Train in this process, and give the model that was trained, as it is in memory."""
    options = TrainOptions(
        dataset=str(folder / "data"),
        model=str(folder / "model"),
        output=output,
        config=load_config(None, (*SETTINGS, *settings)),
        quiet=True,
    )
    run = set_up(options, DistributedContext(0, 1, CPU))
    with Interrupt() as interrupt:
        assert run_loop(run, interrupt) == 0
    return run.loaded


@pytest.fixture(scope="module")
def trained(folder: Path) -> LoadedModel:
    return train_here(folder, folder / "run", "lora.save_merged=true")


@pytest.fixture(scope="module")
def adapter(folder: Path, trained: LoadedModel) -> Path:
    """The folder that a run wrote; tests must not change it."""
    return folder / "run" / "model"


def load(path: Path, **lora: Any) -> LoadedModel:
    data = DataConfig(max_length=128)
    config = LoraConfig(**lora) if lora else None
    return load_model(str(path), ModelConfig(), data, seed=0, lora=config)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def losses(output: Path) -> list[float]:
    text = (output / "metrics.jsonl").read_text(encoding="utf-8")
    return [one["loss"] for one in map(json.loads, text.splitlines()) if one["kind"] == "train"]


PLAIN_PEFT = """
import json, sys
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

base, adapter, merged, exchange = sys.argv[1:]
texts = json.load(open(exchange))
tokenizer = AutoTokenizer.from_pretrained(adapter)

def rendered(prompt, response):
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    return tokenizer.apply_chat_template(messages, tokenize=False)

def scores(model):
    model.eval()
    batch = tokenizer([rendered(*text) for text in texts], add_special_tokens=False, padding=True,
                      return_tensors="pt")
    with torch.no_grad():
        return model(**batch).logits[:, 0].tolist()

def base_model():
    torch.manual_seed(1)
    config = AutoConfig.from_pretrained(adapter)
    return AutoModelForSequenceClassification.from_pretrained(base, config=config,
                                                              dtype=torch.float32)

found = {"base": scores(base_model())}
found["peft"] = scores(PeftModel.from_pretrained(base_model(), adapter))
headless = base_model()
head = {name: value.clone() for name, value in headless.state_dict().items() if "score" in name}
headless = PeftModel.from_pretrained(headless, adapter)
with torch.no_grad():
    headless.base_model.model.score.modules_to_save["default"].weight.copy_(head["score.weight"])
found["headless"] = scores(headless)
found["unloaded"] = scores(PeftModel.from_pretrained(base_model(), adapter).merge_and_unload())
found["merged"] = scores(AutoModelForSequenceClassification.from_pretrained(merged))
found["parameters"] = sorted(
    name for name, one in PeftModel.from_pretrained(base_model(), adapter, is_trainable=True)
    .named_parameters() if one.requires_grad
)
json.dump(found, open(exchange, "w"))
"""


def plain_peft(
    base: Path, adapter: Path, merged: Path, work: Path, script: str = PLAIN_PEFT
) -> dict[str, Any]:
    """What other programs make of an adapter, in a process without ours."""
    (work / "texts.json").write_text(json.dumps(TEXTS))
    (work / "read.py").write_text(script)
    command = [str(work / "read.py"), str(base), str(adapter), str(merged)]
    process = start_python([*command, str(work / "texts.json")], work / "log")
    assert finish(process) == 0, (work / "log").read_text()
    found: dict[str, Any] = json.loads((work / "texts.json").read_text())
    return found


def apart(first: list[float], second: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(first, second, strict=True))


def test_scores_are_the_same_in_training_by_peft_and_merged(
    folder: Path, trained: LoadedModel, adapter: Path, tmp_path: Path
) -> None:
    merged = folder / "run" / "model-merged"
    found = plain_peft(folder / "model", adapter, merged, tmp_path)
    ours = scores(trained)
    assert apart(scores(load(adapter)), ours) <= 1e-6
    for way in ("peft", "unloaded", "merged"):
        assert apart(found[way], ours) <= 1e-6, way
    # Without the head, or without the matrices, it is another model: the test would see it.
    assert apart(found["headless"], ours) > 0.1
    assert apart(found["base"], ours) > 0.1
    kinds = {name.split(".")[-3] for name in found["parameters"]}
    assert kinds == {"lora_A", "lora_B", "modules_to_save"}
    assert sum("score.modules_to_save" in name for name in found["parameters"]) == 1
    assert not list(adapter.glob("model*.safetensors"))
    assert not (merged / "adapter_config.json").exists()


def test_a_resumed_run_ends_in_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    dropout = ("lora.dropout=0.2", "run.max_steps=4")
    train_here(folder, tmp_path / "straight", *dropout)
    assert main(arguments(folder, tmp_path / "run", *dropout, "run.max_steps=2")) == 0
    assert main(["train", "--output", str(tmp_path / "run"), "--resume", "--quiet", "--set",
                 "run.max_steps=4"]) == 0  # fmt: skip
    for name in (
        "model/adapter_model.safetensors",
        "checkpoints/step-00000004/optimizer.safetensors",
    ):
        assert digest(tmp_path / "run" / name) == digest(tmp_path / "straight" / name), name
    (checkpoint,) = (tmp_path / "run" / "checkpoints").glob("step-00000004")
    assert not list(checkpoint.glob("model*"))  # the base is named, not copied
    assert losses(tmp_path / "run") == losses(tmp_path / "straight")


def test_the_snippet_of_the_docs_gives_our_scores(folder: Path, adapter: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "lora.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    for name, path in (("runs/beer/model", adapter), ("Qwen/Qwen2.5-7B", folder / "model")):
        assert name in code
        code = code.replace(name, str(path))
    found: dict[str, Any] = {}
    exec(compile(code, "docs/lora.md", "exec"), found)
    ((ours,),) = score_texts(
        load(adapter), ["Why is my crust pale?"], [["The oven is too cold."]], device=CPU
    )
    assert abs(found["reward"] - ours) <= 1e-6


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_ranks_train_the_same_adapter(
    folder: Path, adapter: Path, tmp_path: Path, parallel: str
) -> None:
    output = tmp_path / "run"
    command = ["-m", "training.train", *arguments(folder, output, f"run.parallel={parallel}")[1:]]
    try:
        torchrun(2, command, tmp_path / "log")
    except Exception as error:
        raise AssertionError((tmp_path / "log").read_text()) from error
    assert losses(output) == pytest.approx(losses(folder / "run"), abs=1e-5)
    first = load_file(adapter / "adapter_model.safetensors")
    second = load_file(output / "model" / "adapter_model.safetensors")
    assert first.keys() == second.keys()
    assert all(torch.allclose(first[name], second[name], atol=2e-4) for name in first)


def test_a_new_adapter_changes_nothing_and_begins_as_the_seed_says(folder: Path) -> None:
    plain, adapted, again = (
        load(folder / "model"),
        *(load(folder / "model", rank=4) for _ in range(2)),
    )
    assert scores(adapted) == scores(plain)
    generator = torch.Generator().manual_seed(0)
    names = [name for name, _ in adapted.model.hf.named_parameters() if "lora_A" in name]
    assert len(names) == 2 * 7
    for name in names:
        found, other = (one.model.hf.get_parameter(name) for one in (adapted, again))
        bound = 1 / math.sqrt(found.shape[1])
        drawn = torch.rand(found.shape, generator=generator) * 2 * bound - bound
        assert torch.allclose(found, drawn, atol=1e-6)
        assert torch.equal(found, other)
    trained = {name for name, one in adapted.model.hf.named_parameters() if one.requires_grad}
    assert {name.split(".")[-3] for name in trained - {"score.weight"}} == {"lora_A", "lora_B"}


def test_layouts_agree_with_an_adapter(adapter: Path) -> None:
    loaded = load(adapter)
    found = []
    for layout in ("padded", "packed", "shared"):
        loaded.model.use_layout(layout)
        found.append(scores(loaded))
    assert apart(found[0], found[1]) <= 2e-6
    assert apart(found[0], found[2]) <= 2e-6


def test_an_adapter_is_scored_and_trained_on(folder: Path, adapter: Path, tmp_path: Path) -> None:
    scorer = open_scorer(find_model(str(folder / "run")), device=CPU)
    prompts = [(ChatMessage("user", prompt),) for prompt, _ in TEXTS]
    found = scorer.score(prompts, [[response] for _, response in TEXTS])
    assert apart([one[0].reward for one in found], scores(load(adapter))) <= 1e-6
    given = arguments(folder, tmp_path / "more", "run.max_steps=1", "optim.warmup=0")
    given[given.index("--model") + 1] = str(adapter)
    assert main(given) == 0
    record = json.loads((tmp_path / "more" / "model" / "adapter_base.json").read_text())
    assert record["name"] == str((folder / "model").resolve())  # its base, not the adapter
    assert load(tmp_path / "more" / "model").head_is_new is False


def test_frozen_weights_are_in_the_dtype_that_computes(folder: Path) -> None:
    from training.parallel.sharding import MasterWeights

    loaded = load(folder / "model", rank=4)
    weights = MasterWeights(loaded.model, torch.bfloat16, "ddp")
    kinds = {
        name: (parameter.dtype, parameter.requires_grad)
        for name, parameter in loaded.model.hf.named_parameters()
    }
    assert kinds.pop("score.weight") == (torch.float32, True)
    assert set(kinds.values()) == {(torch.bfloat16, False), (torch.bfloat16, True)}
    assert {name for name, (_, trained) in kinds.items() if trained} == weights.masters.keys() - {
        "score.weight"
    }
    assert {master.dtype for master in weights.masters.values()} == {torch.float32}


@pytest.mark.parametrize("precision", ["auto", "nf4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_base_is_never_whole_in_fp32(
    folder: Path, adapter: Path, precision: str, dtype: torch.dtype
) -> None:
    """It is read in the dtype that computes; what comes out is what a whole load gives."""
    from training.parallel.sharding import MasterWeights

    if precision == "nf4":
        pytest.importorskip("bitsandbytes", reason="the extra qlora is not installed")
    lora = LoraConfig(rank=4, base_precision=precision)  # type: ignore[arg-type]
    for path in (folder / "model", adapter)[: 2 if precision == "auto" else 1]:
        given: Any = (str(path), ModelConfig(layout="shared"), DataConfig(max_length=128))
        whole = load_model(*given, seed=3, lora=lora)
        MasterWeights(whole.model, dtype, "ddp")
        parts = load_model(*given, seed=3, lora=lora, in_parts=True)
        for name, one in parts.model.hf.named_parameters():
            is_read_later = one.is_floating_point() and not one.requires_grad
            assert one.is_meta == (is_read_later or (parts.head_is_new and name == "score.weight"))
        MasterWeights(parts.model, dtype, "ddp", stored=parts.stored, device=CPU)
        if parts.head_is_new:
            init_head(parts.model, None, 3)
        expected = dict(whole.model.hf.named_parameters())
        assert expected.keys() == dict(parts.model.hf.named_parameters()).keys()
        for name, one in parts.model.hf.named_parameters():
            assert one.dtype == expected[name].dtype
            assert one.requires_grad == expected[name].requires_grad
            assert torch.equal(one, expected[name]), name


def test_what_needs_whole_weights_says_so(folder: Path) -> None:
    given: Any = (str(folder / "model"), ModelConfig(), DataConfig(max_length=128))
    with pytest.raises(NotReadableInPartsError, match="norms of whole weights"):
        load_model(*given, seed=0, lora=LoraConfig(rank=4, dora=True), in_parts=True)


def test_a_base_of_4_bits_computes_in_bf16(folder: Path, tmp_path: Path) -> None:
    """bitsandbytes stays with the dtype of the first pass, which must not be a check in fp32."""
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="the extra qlora is not installed")
    settings = (*SETTINGS, "lora.base_precision=nf4", "model.precision=bf16")
    options = TrainOptions(
        dataset=str(folder / "data"),
        model=str(folder / "model"),
        output=tmp_path / "run",
        config=load_config(None, settings),
        quiet=True,
    )
    run = set_up(options, DistributedContext(0, 1, CPU))
    layers = [
        one for one in run.loaded.model.modules() if isinstance(one, bitsandbytes.nn.Linear4bit)
    ]
    assert {layer.compute_dtype for layer in layers} == {torch.bfloat16}


def other_weights(base: Path) -> None:
    tensors = load_file(base / "model.safetensors")
    name = next(name for name in tensors if "q_proj.weight" in name)
    tensors[name] = tensors[name] * 1.001
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})


def test_an_adapter_is_refused_without_the_base_it_was_trained_on(
    folder: Path, adapter: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(folder / "model", tmp_path / "base"))
    copy = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    (copy / "checksums.json").unlink()
    table = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(
        json.dumps({**table, "base_model_name_or_path": str(base)})
    )
    assert apart(scores(load(copy)), scores(load(adapter))) == 0
    other_weights(base)
    with pytest.raises(ConfigError, match=r"base .* has other weights"):
        load(copy)
    shutil.rmtree(base)
    with pytest.raises(ConfigError, match=r"LoRA adapter of .*base, which cannot be loaded: no "):
        load(copy)


def test_an_adapter_without_its_head_has_none(folder: Path, adapter: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    (copy / "checksums.json").unlink()
    tensors = load_file(copy / "adapter_model.safetensors")
    del tensors["base_model.model.score.weight"]
    save_file(tensors, copy / "adapter_model.safetensors")
    assert load(copy).head_is_new
    with pytest.raises(ConfigError, match="no trained reward head"):
        open_scorer(find_model(str(copy)), device=CPU)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"rank": None}, "adapter of rank 4: set lora.rank=4"),
        ({"rank": 8}, "adapter with lora.rank 4, which cannot be changed"),
        ({"rank": 4, "alpha": 5}, "adapter with lora.alpha 8"),
        ({"rank": 4, "dora": True}, "adapter with lora.dora False"),
        ({"rank": 4, "target_modules": ("q_proj",)}, "adapter with lora.target_modules"),
    ],
)
def test_an_adapter_keeps_its_shape(adapter: Path, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load(adapter, **settings)


def test_layers_that_are_not_there_are_told_with_those_that_are(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"no linear layer 'query'; they have down_proj, gate_"):
        load(folder / "model", rank=4, target_modules=("q_proj", "query"))
    loaded = load(folder / "model", rank=4, target_modules=("q_proj", "v_proj"))
    names = {name for name, _ in loaded.model.hf.named_parameters() if "lora_B" in name}
    assert len(names) == 2 * 2


def test_what_an_encoder_lacks_beside_its_head_is_trained_and_saved_whole(tmp_path: Path) -> None:
    from safetensors.torch import load_file as read

    base = bert(tmp_path)
    tensors = {name: one for name, one in read(base / "model.safetensors").items()
               if "pooler" not in name and "classifier" not in name}  # fmt: skip
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    data, config = DataConfig(max_length=64), ModelConfig(layout="padded")
    loaded = load_model(str(base), config, data, seed=3, lora=LoraConfig(rank=2))
    save_model(tmp_path / "adapter", loaded)
    table = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert table["modules_to_save"] == ["bert.pooler.dense", "classifier"]
    assert not any("pooler" in name for name in table["target_modules"])
    back = load_model(str(tmp_path / "adapter"), config, data, seed=4)
    assert not back.head_is_new
    found = score_texts(back, ["a b?"], [["c d e"]], device=CPU)
    assert found == score_texts(loaded, ["a b?"], [["c d e"]], device=CPU)


@pytest.mark.parametrize("variant", ["rslora", "dora"])
def test_variants_are_saved_and_merged(folder: Path, tmp_path: Path, variant: str) -> None:
    loaded = load(folder / "model", rank=2, **{variant: True})
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in loaded.model.hf.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    save_model(tmp_path / "adapter", loaded)
    assert main(["export-model", str(tmp_path / "adapter"),
                 "--output", str(tmp_path / "merged")]) == 0  # fmt: skip
    ours = scores(loaded)
    assert apart(scores(load(tmp_path / "adapter")), ours) <= 1e-6
    assert apart(scores(load(tmp_path / "merged")), ours) <= 3e-6
    assert apart(scores(load(folder / "model")), ours) > 0.01


QUANTISED_BY_OTHERS = """
import json, sys
import torch
from peft import PeftModel
from transformers import (AutoConfig, AutoModelForSequenceClassification, AutoTokenizer,
                          BitsAndBytesConfig)

base, adapter, merged, exchange = sys.argv[1:]
texts = json.load(open(exchange))
tokenizer = AutoTokenizer.from_pretrained(adapter)
config = AutoConfig.from_pretrained(adapter)
few_bits = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",
                              bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32,
                              llm_int8_skip_modules=["score"])
model = AutoModelForSequenceClassification.from_pretrained(
    base, config=config, dtype=torch.float32, quantization_config=few_bits, device_map={"": "cpu"}
)
kinds = sorted({type(one).__name__ for one in model.modules()})
model = PeftModel.from_pretrained(model, adapter).eval()
rendered = [
    tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}],
        tokenize=False)
    for prompt, response in texts
]
batch = tokenizer(rendered, add_special_tokens=False, padding=True, return_tensors="pt")
with torch.no_grad():
    json.dump({"kinds": kinds, "scores": model(**batch).logits[:, 0].tolist()},
              open(exchange, "w"))
"""


def test_a_base_of_4_bits_trains_resumes_and_merges(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="the extra qlora is not installed")
    few_bits = "lora.base_precision=nf4"
    trained = train_here(folder, tmp_path / "run", few_bits, "lora.save_merged=true")
    ours, adapter = scores(trained), tmp_path / "run" / "model"
    assert apart(scores(load(adapter)), ours) <= 1e-6
    # fp32 sums in another order.
    assert apart(scores(load(tmp_path / "run" / "model-merged")), ours) <= 5e-6
    found = plain_peft(folder / "model", adapter, folder, tmp_path, QUANTISED_BY_OTHERS)
    assert "Linear4bit" in found["kinds"]
    assert apart(found["scores"], ours) <= 2e-6
    # Upon the base before it was rounded it is another model, which is why the record tells.
    copy = Path(shutil.copytree(adapter, tmp_path / "copy"))
    (copy / "checksums.json").unlink()
    record = json.loads((copy / "adapter_base.json").read_text())
    assert record["precision"] == "nf4"
    (copy / "adapter_base.json").write_text(json.dumps({**record, "precision": "full"}))
    assert apart(scores(load(copy)), ours) > 0.01
    assert main(arguments(folder, tmp_path / "stop", few_bits, "run.max_steps=3")) == 0
    assert main(["train", "--output", str(tmp_path / "stop"), "--resume", "--quiet", "--set",
                 "run.max_steps=6"]) == 0  # fmt: skip
    name = "model/adapter_model.safetensors"
    assert digest(tmp_path / "stop" / name) == digest(tmp_path / "run" / name)


def test_a_base_of_4_bits_without_bitsandbytes_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigError, match=r"pip install 'forumprefs\[qlora\]'"):
        load(folder / "model", rank=4, base_precision="nf4")


def test_checkpoints_of_an_adapter_are_exported_as_whole_models(
    folder: Path, trained: LoadedModel, tmp_path: Path
) -> None:
    """The mean is that of the merged weights, not of the two matrices."""
    output = tmp_path / "run"
    train_here(folder, output, "run.save_every=3", "run.max_steps=6")
    made = [tmp_path / "newest", tmp_path / "mean"]
    assert main(["export-model", str(output), "--output", str(made[0])]) == 0
    assert main(["export-model", str(output), "--average", "2", "--output", str(made[1])]) == 0
    assert not (made[0] / "adapter_config.json").exists()
    assert apart(scores(load(made[0])), scores(trained)) <= 3e-6
    before = tmp_path / "before"
    step = output / "checkpoints" / "step-00000003"
    assert main(["export-model", str(step), "--output", str(before)]) == 0
    first, second, mean = (
        load_file(one / "model.safetensors") for one in (made[0], before, made[1])
    )
    for name, value in mean.items():
        expected = (first[name].double() + second[name].double()) / 2
        assert torch.allclose(value, expected.float(), atol=1e-6), name
    assert not torch.equal(mean["score.weight"], first["score.weight"])


def test_merging_refuses_what_it_would_spoil(
    folder: Path, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model, output, told in (
        (folder / "model", tmp_path / "new", "no LoRA adapter"),
        (adapter, folder, "is there already"),
    ):
        assert main(["export-model", str(model), "--output", str(output)]) == 2
        assert told in capsys.readouterr().err


def test_settings_of_the_section_are_checked() -> None:
    assert convert({"lora": {"rank": None}}).lora.rank is None
    for wrong in ({"rank": 0}, {"dropout": 1.0}, {"base_precision": "int8"}):
        with pytest.raises(ConfigError):
            convert({"lora": wrong})
