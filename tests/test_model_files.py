"""Models of other people: none of their code runs, and what cannot be trained is told in a sentence
that names the folder, before the training starts."""

import ast
import io
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.preference_data import make_model, make_pairs, make_tokenizer, write_dataset
from training.commands import main
from training.config import DataConfig, ModelConfig
from training.errors import ConfigError, TemplateError
from training.evaluation.models import find_model, open_scorer
from training.model.layout_check import check_layout
from training.model.reward_model import LoadedModel, load_model
from training.model.source import ModelSource

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("causal") / "model")


def load(folder: Path | str, **options: Any) -> LoadedModel:
    return load_model(
        ModelSource.of(str(folder), **options), ModelConfig(), DataConfig(max_length=128), seed=0
    )


def change(folder: Path, name: str = "config.json", **values: Any) -> None:
    """Lay values over a JSON object; ... removes one."""
    found = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
    found |= values
    found = {key: value for key, value in found.items() if value is not ...}
    (folder / name).write_text(json.dumps(found))


def classifier(folder: Path, labels: int) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(folder, num_labels=labels, trust_remote_code=False)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)


def as_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def in_shards(folder: Path, lost: int = 0) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"model-1.safetensors": names[:5], "model-2.safetensors": names[5:]}
    for shard, inside in list(parts.items())[lost:]:
        save_file({name: weights[name] for name in inside}, folder / shard, {"format": "pt"})
    index = {name: shard for shard, inside in parts.items() for name in inside}
    content = json.dumps({"metadata": {}, "weight_map": index})
    (folder / "model.safetensors.index.json").write_text(content)


def with_weights(folder: Path, of: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(folder / "model.safetensors")
    of(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def not_a_number(weights: dict[str, torch.Tensor]) -> None:
    weights["model.norm.weight"][3] = float("nan")


def infinite_half(weights: dict[str, torch.Tensor]) -> None:
    weights["model.norm.weight"] = (weights["model.norm.weight"] * 1e38).half()


def cut(folder: Path, name: str, to: int) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:to])


def without(folder: Path, pattern: str) -> None:
    for path in folder.glob(pattern):
        path.unlink()


def pipe(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "two labels": (lambda f: classifier(f, 2), "has 2 labels; a reward model has one"),
    "five labels": (lambda f: classifier(f, 5), "has 5 labels"),
    "a lora adapter": (lambda f: change(f, "adapter_config.json"), "LoRA adapter; merge it"),
    "an adapter alone": (
        lambda f: (change(f, "adapter_config.json"), without(f, "config.json")),
        "LoRA adapter",
    ),
    "no config": (lambda f: without(f, "config.json"), "has no config.json"),
    "a gguf": (
        lambda f: (without(f, "config.json"), (f / "m.gguf").write_bytes(b"GGUF")),
        "GGUF",
    ),
    "config cut off": (lambda f: cut(f, "config.json", 90), "config.json is damaged"),
    "config empty": (lambda f: cut(f, "config.json", 0), "config.json is damaged"),
    "config a list": (lambda f: (f / "config.json").write_text("[1]"), "config.json is damaged"),
    "config deep": (
        lambda f: (f / "config.json").write_text('{"a":' + "[" * 200_000),
        "config.json is damaged",
    ),
    "config a pipe": (lambda f: pipe(f, "config.json"), "config.json cannot be read: is a pipe"),
    "config not utf-8": (
        lambda f: (f / "config.json").write_bytes(b'{"a": "\xff"}'),
        "config.json is damaged",
    ),
    "no kind": (lambda f: change(f, model_type=...), "names no model_type"),
    "kind a number": (lambda f: change(f, model_type=5), "names no model_type"),
    "unknown kind": (lambda f: change(f, model_type="none-such"), "'none-such'"),
    "a vision model": (
        lambda f: (f / "config.json").write_text('{"model_type": "vit"}'),
        "no sequence classifier of the kind vit",
    ),
    "speech": (
        lambda f: (f / "config.json").write_text('{"model_type": "whisper"}'),
        "encoder-decoder",
    ),
    "other shapes": (lambda f: change(f, vocab_size=10), r"\[323, 32\] in the weights and \[10"),
    "more layers": (
        lambda f: change(f, num_hidden_layers=3, layer_types=...),
        "lacks weights that config.json",
    ),
    "sizes of another type": (lambda f: change(f, hidden_size="x"), "config.json cannot be used"),
    "sizes below zero": (lambda f: change(f, hidden_size=-8), "weights cannot be loaded"),
    "no such dtype": (lambda f: change(f, dtype="xx"), "config.json cannot be used"),
    "quantised": (
        lambda f: change(f, quantization_config={"quant_method": "gptq", "bits": 4}),
        r"is quantised \(gptq\)",
    ),
    "no tokenizer": (lambda f: without(f, "tokenizer*"), "has no tokenizer"),
    "tokenizer cut off": (lambda f: cut(f, "tokenizer.json", 500), "tokenizer.json is damaged"),
    "tokenizer of other fields": (
        lambda f: (f / "tokenizer.json").write_text('{"version": "1.0"}'),
        "tokenizer.json is damaged",
    ),
    "tokenizer config cut off": (
        lambda f: cut(f, "tokenizer_config.json", 20),
        "tokenizer_config.json is damaged",
    ),
    "no weights": (lambda f: without(f, "model.safetensors"), "has no weights"),
    "of another program": (
        lambda f: (without(f, "model.safetensors"), (f / "tf_model.h5").write_bytes(b"x")),
        "must be converted",
    ),
    "weights cut off": (lambda f: cut(f, "model.safetensors", 30_000), "damaged or cut off"),
    "header cut off": (lambda f: cut(f, "model.safetensors", 5), "damaged or cut off"),
    "weights empty": (lambda f: cut(f, "model.safetensors", 0), "damaged or cut off"),
    "weights are text": (
        lambda f: (f / "model.safetensors").write_text("version https://git-lfs.github.com/spec"),
        "damaged or cut off",
    ),
    "weights of another model": (
        lambda f: save_file({"x": torch.zeros(2)}, f / "model.safetensors", {"format": "pt"}),
        "lacks weights",
    ),
    "a shard is lost": (lambda f: in_shards(f, lost=1), "lacks 1 of 2 files.*model-1.safetensors"),
    "an index of nothing": (
        lambda f: (in_shards(f), (f / "model.safetensors.index.json").write_text("{}")),
        "names no weights",
    ),
    "an index that leaves the folder": (
        lambda f: (
            in_shards(f),
            change(f, "model.safetensors.index.json", weight_map={"x": "../model.safetensors"}),
        ),
        "which is no file beside it",
    ),
    "not a number": (lambda f: with_weights(f, not_a_number), "not finite numbers in model.norm"),
    "infinite": (lambda f: with_weights(f, infinite_half), "not finite numbers in model.norm"),
    "a pickle": (as_pickle, "pickle.*can run code.*save_pretrained"),
    "a pickle by another name": (
        lambda f: (as_pickle(f), (f / "pytorch_model.bin").rename(f / "model.pt")),
        r"pickle \(model.pt\)",
    ),
    "a pickle that config names": (
        lambda f: (as_pickle(f), change(f, transformers_weights="adapter_model.bin")),
        "transformers_weights does not name safetensors",
    ),
    "weights elsewhere": (
        lambda f: change(f, transformers_weights="../model.safetensors"),
        "transformers_weights does not name safetensors",
    ),
    "code of a repository": (
        lambda f: change(f, attn_implementation="someone/attention"),
        "'someone/attention' of the Hub, which is not run",
    ),
    "auto_map a number": (lambda f: change(f, auto_map=3), "auto_map is not a table"),
    "auto_map of numbers": (lambda f: change(f, auto_map={"AutoConfig": 3}), "not a table"),
    "auto_map of the tokenizer": (
        lambda f: change(f, "tokenizer_config.json", auto_map=[None, None]),
        "not a table",
    ),
    "template deep": (
        lambda f: (f / "reward_template.json").write_text("[" * 200_000),
        "reward_template.json",
    ),
    "template of other fields": (
        lambda f: (f / "reward_template.json").write_text('{"name": 1}'),
        "reward_template.json",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_trained_is_told_by_name(causal: Path, tmp_path: Path, case: str) -> None:
    spoil, message = REFUSED[case]
    folder = tmp_path / "model"
    shutil.copytree(causal, folder)
    spoil(folder)
    with pytest.raises((ConfigError, TemplateError), match=f"(?s){message}") as caught:
        load(folder)
    assert str(folder) in str(caught.value)
    assert len(str(caught.value)) < 700


def test_a_file_and_a_run_folder_are_no_models(causal: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a folder; name the folder"):
        load(causal / "model.safetensors")
    shutil.copytree(causal, tmp_path / "run" / "model")
    with pytest.raises(ConfigError, match=f"did you mean {tmp_path / 'run' / 'model'}"):
        load(tmp_path / "run")
    with pytest.raises(ConfigError, match="no such folder"):
        load(tmp_path / "none")
    with pytest.raises(ConfigError, match="--revision"):
        load(causal, revision="v1")
    with pytest.raises(ConfigError, match="--revision"):
        load("org/name@v1", revision="v2")
    found = ModelSource.of("org/name@v1")
    assert (found.name, found.revision) == ("org/name", "v1")
    odd = tmp_path / "a@b"
    odd.symlink_to(causal)
    assert ModelSource.of(str(odd)).revision is None


def test_halves_shards_and_an_auto_map_that_is_not_needed_are_read(
    causal: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(causal, folder)
    whole = load(folder).model.backbone.norm.weight
    with_weights(folder, lambda weights: weights.update({n: w.half() for n, w in weights.items()}))
    in_shards(folder)
    change(folder, auto_map={"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"})
    loaded = load(folder)
    assert loaded.model.backbone.norm.weight.dtype == torch.float32
    assert torch.equal(loaded.model.backbone.norm.weight, whole)
    classifier(causal_copy := Path(shutil.copytree(causal, tmp_path / "one")), 1)
    assert not load(causal_copy).head_is_new


def test_a_tokenizer_larger_than_the_embedding_is_refused_unless_none_of_it_is_read(
    causal: Path, tmp_path: Path
) -> None:
    from tokenizers import AddedToken

    def saved(name: str, *, special: bool) -> Path:
        folder = Path(shutil.copytree(causal, tmp_path / name))
        tokenizer = make_tokenizer()
        tokenizer.add_tokens([AddedToken("<extra>", special=special)], special_tokens=special)
        tokenizer.save_pretrained(folder)
        return folder

    with pytest.raises(ConfigError, match=r"324 tokens.*only 323 rows.*'<extra>'"):
        load(saved("word", special=False))
    loaded = load(saved("mark", special=True))
    assert loaded.model.hf.get_input_embeddings().num_embeddings == 324


def test_an_encoder_without_a_pad_token_is_told(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(["[UNK]", "[CLS]", "[SEP]", "a"])}
    backend = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=backend, cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    ).save_pretrained(tmp_path)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = BertConfig(vocab_size=4, intermediate_size=8, num_labels=1, **sizes)
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    with pytest.raises(TemplateError, match=f"{tmp_path}: the tokenizer has no pad token"):
        load_model(str(tmp_path), ModelConfig(layout="padded"), DataConfig(max_length=64), seed=0)


def test_a_model_that_overflows_is_refused_before_it_is_trained(
    causal: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(causal, tmp_path / "model"))
    with_weights(folder, lambda weights: weights["model.norm.weight"].mul_(3e38))
    loaded = load(folder)
    for layout in ("padded", "shared"):
        with pytest.raises(ConfigError, match="not finite numbers of a short text"):
            check_layout(loaded, layout, CPU)  # type: ignore[arg-type]


CODE = """
from pathlib import Path
from transformers import AutoModel, PreTrainedTokenizerFast, Qwen2Config, Qwen2Model
from transformers import Qwen2ForSequenceClassification
Path({marker!r}).touch()
class Config(Qwen2Config):
    model_type = "made-up"
class Base(Qwen2Model):
    config_class = Config
AutoModel.register(Config, Base, exist_ok=True)
class Model(Qwen2ForSequenceClassification):
    config_class = Config
class Words(PreTrainedTokenizerFast):
    pass
"""


def with_code(folder: Path, marker: Path, kind: str) -> Path:
    """Give a model code of its own, which touches ``marker`` when it runs."""
    (folder / "own.py").write_text(CODE.format(marker=str(marker)))
    classes = {
        "AutoConfig": "own.Config",
        "AutoModelForSequenceClassification": "own.Model",
        "AutoTokenizer": ["own.Words", "own.Words"],
    }
    if "model" in kind:
        change(folder, model_type="made-up", auto_map=classes)
    if "known" in kind:
        change(folder, auto_map=classes)
    if "tokenizer" in kind:
        change(
            folder,
            "tokenizer_config.json",
            tokenizer_class="Words",
            auto_map={"AutoTokenizer": ["own.Words", "own.Words"]},
        )
    if "processor" in kind:
        change(folder, "processor_config.json", auto_map={"AutoProcessor": "own.Words"})
        change(folder, "generation_config.json", auto_map={"AutoConfig": "own.Config"})
    if "generation" in kind:
        (folder / "custom_generate").mkdir()
        shutil.copy(folder / "own.py", folder / "custom_generate" / "generate.py")
    return folder


@pytest.mark.parametrize(
    "kind", ["model", "tokenizer", "model and tokenizer", "known", "processor, generation"]
)
def test_no_code_of_a_model_runs_also_when_someone_says_yes(
    causal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    marker = tmp_path / "ran"
    folder = with_code(Path(shutil.copytree(causal, tmp_path / "model")), marker, kind)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    try:
        load(folder)
    except ConfigError as error:
        assert "--trust-remote-code" in str(error) or kind == "tokenizer"
    with pytest.raises((ConfigError, TemplateError)):  # it has no head in any case
        open_scorer(find_model(str(folder)), device=CPU)
    assert not marker.exists()


def test_the_command_line_never_runs_code_unless_told(
    causal: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not by a file of settings either, nor because the run before was told."""
    marker = tmp_path / "ran"
    write_dataset(tmp_path / "data", make_pairs(6, "train"))
    folder = Path(shutil.copytree(causal, tmp_path / "model"))
    classifier(folder, 1)
    with_code(folder, marker, "model")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", tmp_path / "modules")
    run = tmp_path / "run"
    given = ["train", "--model", str(folder), "--dataset", str(tmp_path / "data")]
    given += ["--output", str(run), "--quiet", "--device", "cpu"]
    for setting in ("data.max_length=128", "data.batch_pairs=4", "run.tensorboard=false"):
        given += ["--set", setting]
    (tmp_path / "set.json").write_text('{"trust_remote_code": true, "allow_pickle": true}')
    for more in ([], ["--config", str(tmp_path / "set.json")]):
        assert main([*given, *more]) == 2
        assert "say --trust-remote-code" in capsys.readouterr().err
        assert not run.exists()
    assert main([*given, "--set", "model.trust_remote_code=true"]) == 2
    assert "no setting" in capsys.readouterr().err
    assert not marker.exists()
    assert main([*given, "--trust-remote-code", "--set", "run.max_steps=1"]) == 0
    assert marker.exists()
    started = json.loads((run / "run.json").read_text())
    assert started["trust_remote_code"] is True
    assert started["model_commit"] is None
    marker.unlink()
    for again in (["train", "--output", str(run), "--resume", "--quiet"], given):
        there = ["--output", str(run)] if again is given else []
        there += ["--config", str(run / "run.json"), "--overwrite"] if again is given else []
        assert main([*again, *there]) == 2
        assert "say --trust-remote-code" in capsys.readouterr().err
    assert not marker.exists()


class Runs:
    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> Any:
        return (open, (self.marker, "w"))


@pytest.mark.parametrize("allowed", [False, True])
def test_a_pickle_does_not_run_and_weights_in_one_are_read_when_told(
    causal: Path, tmp_path: Path, allowed: bool
) -> None:
    marker = tmp_path / "ran"
    folder = Path(shutil.copytree(causal, tmp_path / "model"))
    as_pickle(folder)
    if allowed:
        loaded = load(folder, allow_pickle=True)
        assert torch.equal(
            loaded.model.backbone.norm.weight, load(causal).model.backbone.norm.weight
        )
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"x": Runs(marker)}))
    with pytest.raises(ConfigError, match=r"pickle|cannot be loaded"):
        load(folder, allow_pickle=allowed)
    # Beside safetensors it is never looked at.
    shutil.copy(causal / "model.safetensors", folder)
    load(folder, allow_pickle=allowed)
    assert not marker.exists()


def test_a_chat_template_cannot_leave_its_sandbox(causal: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(causal, tmp_path / "model"))
    classifier(folder, 1)
    for number, text in enumerate(
        (
            "{{ ''.__class__.__mro__[1].__subclasses__() }}",
            "{{ messages.append.__globals__ }}{{ 1 / 0 }}",
            "{% for a in range(10 ** 9) %}{% endfor %}",
            "{{ messages | nonesuch }}",
            "{{ messages[7].content.x.y }}",
        )
    ):
        (folder / "chat_template.jinja").write_text(text)
        try:
            scorer: Any = open_scorer(find_model(str(folder)), device=CPU, max_length=64)
        except ConfigError as error:
            assert "chat template fails" in str(error), number
        else:
            assert "<class" not in scorer._tokenizer.decode(scorer._ids((), "b")), number


@pytest.mark.parametrize("trusted", [False, True])
def test_transformers_is_always_told_whether_code_may_run(
    causal: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    """Where it is not told, it asks on the terminal."""
    import transformers

    told = {}
    for name in ("AutoConfig", "AutoTokenizer", "AutoModelForSequenceClassification"):
        of = getattr(transformers, name)

        def note(
            *given: Any, _read: Any = of.from_pretrained, _name: str = name, **more: Any
        ) -> Any:
            told[_name] = more["trust_remote_code"], more.get("use_safetensors", True)
            return _read(*given, **more)

        monkeypatch.setattr(of, "from_pretrained", note)
    load(causal, trust_remote_code=trusted)
    assert len(told) == 3
    assert set(told.values()) == {(trusted, True)}


def calls(path: Path) -> list[ast.Call]:
    text = path.read_text(encoding="utf-8")
    if not any(word in text for word in ("from_pretrained", "torch", "pickle")):
        return []
    tree = ast.parse(text)
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]


def test_models_are_read_in_one_place_and_pickles_nowhere() -> None:
    """In benchmarks, which have environments of their own, at least without their code."""
    layers = ("schemas", "transforms", "pipeline", "dags", "training", "benchmarks", "samples")
    readers = set()
    for layer in layers:
        for path in sorted((ROOT / layer).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            for call in calls(path):
                assert isinstance(call.func, ast.Attribute)
                owner = call.func.value.id if isinstance(call.func.value, ast.Name) else ""
                words = {word.arg: word.value for word in call.keywords}
                if call.func.attr == "from_pretrained":
                    readers.add(name)
                    trust = words.get("trust_remote_code")
                    told = isinstance(trust, ast.Constant) and trust.value is False
                    assert told or name == "training/model/pretrained.py", name
                if call.func.attr in ("load", "Unpickler") and owner in ("torch", "pickle"):
                    safe = words.get("weights_only")
                    assert isinstance(safe, ast.Constant) and safe.value is True, name
    assert {name for name in readers if not name.startswith("benchmarks/")} == {
        "training/model/pretrained.py"
    }
    read = calls(ROOT / "training/model/pretrained.py")
    made = [call for call in read if ast.unparse(call.func).endswith(".from_pretrained")]
    assert made
    for call in made:
        spread = [ast.unparse(word.value) for word in call.keywords if word.arg is None]
        assert spread == ["_flags(located)"]


@pytest.fixture
def hub(causal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the Hub without a network: org/name in two versions, the newer one a pickle's."""
    cache = tmp_path / "cache"
    repository = cache / "models--org--name"
    for commit, label in (("1" * 40, "v1"), ("2" * 40, "main")):
        (repository / "refs").mkdir(parents=True, exist_ok=True)
        (repository / "refs" / label).write_text(commit)
        shutil.copytree(causal, repository / "snapshots" / commit)
    with_weights(repository / "snapshots" / ("2" * 40), lambda w: w["model.norm.weight"].mul_(2))
    classifier(repository / "snapshots" / ("1" * 40), 1)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return repository


def test_a_revision_of_the_hub_is_pinned_and_its_commit_told(hub: Path, tmp_path: Path) -> None:
    newest, first = load("org/name"), load("org/name@v1")
    assert (newest.commit, first.commit) == ("2" * 40, "1" * 40)
    assert newest.head_is_new
    assert not first.head_is_new
    again = load("org/name", revision="1" * 40)
    assert again.commit == first.commit
    assert not torch.equal(first.model.backbone.norm.weight, newest.model.backbone.norm.weight)
    scorer = open_scorer(find_model("org/name@v1"), device=CPU, max_length=64)
    assert scorer.commit == first.commit
    (hub / "snapshots" / ("3" * 40)).symlink_to("1" * 40)
    other = open_scorer(find_model(f"org/name@{'3' * 40}"), device=CPU, max_length=64)
    assert other.fingerprint != scorer.fingerprint  # scores of one commit are not another's
    for name in ("org/name@v9", "org/other", "nothing"):
        with pytest.raises(ConfigError, match=f"(?s)--model {name.partition('@')[0]}: "):
            load(name)
    as_pickle(hub / "snapshots" / ("2" * 40))
    with pytest.raises(ConfigError, match=r"pickle \(pytorch_model.bin\)"):
        load("org/name")
    with_code(hub / "snapshots" / ("1" * 40), tmp_path / "ran", "model and tokenizer")
    with pytest.raises(ConfigError, match="--trust-remote-code"):
        load("org/name@v1")
    assert not (tmp_path / "ran").exists()


def test_a_setting_that_is_null_is_none(causal: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(causal, tmp_path / "model"))
    (folder / "checksums.json").unlink(missing_ok=True)
    change(folder, transformers_weights=None)
    assert load(folder).head_is_new


def test_a_mistyped_folder_is_told_at_once(
    causal: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked(*_: Any, **__: Any) -> None:
        raise AssertionError("the Hub was asked")

    monkeypatch.setattr("huggingface_hub.snapshot_download", asked)
    monkeypatch.chdir(causal.parent.parent)
    mistyped = f"{causal.parent.name}/modle"
    for name in (mistyped, f"./{mistyped}", str(causal.with_name("modle")), "a/b/modle"):
        with pytest.raises(ConfigError, match=f"--model {name}: no such folder"):
            load(name)
    with pytest.raises(ConfigError, match=r"did you mean .*/model\?"):
        load(mistyped)
    with pytest.raises(ConfigError, match="the Hub was asked"):
        load("acme/modle")
    for command in ("evaluate", "score"):
        assert main([command, "--model", mistyped, *_elsewhere(command, causal.parent)]) == 2
        assert "no such folder" in capsys.readouterr().err


def _elsewhere(command: str, folder: Path) -> list[str]:
    rows = folder / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"}) + "\n")
    out = ["--output", str(folder / f"out-{command}")]
    return [*(["--benchmark", f"pairs={rows}"] if command == "evaluate" else [str(rows)]), *out]


def test_two_labels_come_with_the_way_out(causal: Path, tmp_path: Path) -> None:
    """The command in the message makes a model that is taken."""
    folder = shutil.copytree(causal, tmp_path / "two")
    classifier(folder, 2)
    with pytest.raises(ConfigError, match="has 2 labels; a reward model has one") as caught:
        load(folder)
    command = str(caught.value).partition('python -c "')[2].partition('"')[0]
    assert "num_labels=1" in command
    monkey = tmp_path / "made"
    exec(command.replace("'one-label'", repr(str(monkey))), {})
    make_tokenizer().save_pretrained(monkey)
    assert load(monkey).model.head.weight.shape[0] == 1
