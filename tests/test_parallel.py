"""Several processes on loopback: the model starts in shards, and every number stays the same."""

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

from tests.fresh_process import torchrun
from tests.parallel_job import digests
from tests.preference_data import make_model, make_tokenizer
from training.config import DataConfig, ModelConfig
from training.errors import ConfigError
from training.model.pretrained import is_of_head
from training.model.reward_model import load_model
from training.model.save import save_model
from training.model.shards import fill_from_shards, shapes_of_shards
from training.model.source import ModelSource
from training.model.stored_weights import NotReadableInPartsError

SEED = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parallel")


def job(what: str, ranks: int, model: Path, output: Path, *settings: str) -> list[dict[str, Any]]:
    """What every rank found."""
    output.mkdir()
    log = output / "log.txt"
    settings = ("data.max_length=128", f"run.seed={SEED}", *settings)
    try:
        torchrun(ranks, ["-m", "tests.parallel_job", what, str(model), str(output), *settings], log)
    except Exception as error:
        raise AssertionError(log.read_text()) from error
    return [json.loads((output / f"rank-{rank}.json").read_text()) for rank in range(ranks)]


def whole(model: Path) -> Any:
    """The ordinary load, all of it in this process."""
    config = ModelConfig(layout="padded")
    return load_model(str(model), config, DataConfig(max_length=128), seed=SEED).model.hf


def large_model(folder: Path) -> Path:
    """A model in several files, whose weights are much larger than what else a start allocates."""
    if not (folder / "large").exists():
        path = make_model(
            folder / "large",
            vocab_size=4099,  # no multiple of any number of ranks
            hidden_size=128,
            intermediate_size=1024,
            layers=3,
        )
        hf = whole_language_model(path)
        (path / "model.safetensors").unlink()
        hf.save_pretrained(path, max_shard_size="1MB")
    return folder / "large"


def whole_language_model(path: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path, trust_remote_code=False)


@pytest.mark.parametrize(
    ("ranks", "settings"),
    [(1, ()), (2, ()), (3, ()), (4, ("run.shard_degree=2", "run.cpu_offload=true"))],
)
def test_each_rank_reads_its_own_part_of_the_weights(
    folder: Path, tmp_path: Path, ranks: int, settings: tuple[str, ...]
) -> None:
    model = large_model(folder)
    found = job("start", ranks, model, tmp_path / "out", *settings)
    hf = whole(model)
    total = sum(p.numel() * 4 for p in hf.parameters())
    shards = 2 if settings else ranks
    one_row = 128 * 4 * len(list(hf.parameters()))  # what the first rank has more, at most
    for rank in found:
        assert rank["weights"] == digests(hf.state_dict())
        assert rank["buffers"] == digests(dict(hf.named_buffers()))
        assert rank["in_memory"] == 0  # before: the model has shapes alone
        assert rank["held"] <= total / shards + one_row
        # The new head is in no file; of it every rank draws the whole.
        assert rank["held"] - 128 * 4 <= rank["read"] <= rank["held"]
        # A file is mapped while its rows are copied, which counts though it takes no memory.
        largest = max(path.stat().st_size for path in model.glob("*.safetensors"))
        assert rank["held"] <= rank["peak"] < rank["held"] + largest + 100_000
    parts = found[:shards]
    assert sum(rank["held"] for rank in parts) == total


@pytest.fixture(scope="module")
def in_shards(folder: Path) -> Path:
    """The large model as two ranks save it."""
    return Path(job("save", 2, large_model(folder), folder / "saved")[0]["path"])


@pytest.mark.parametrize(
    ("ranks", "settings"),
    [(1, ()), (3, ()), (4, ("run.shard_degree=2", "run.cpu_offload=true"))],
)
def test_each_rank_reads_its_own_part_of_a_checkpoint_in_shards(
    in_shards: Path, folder: Path, tmp_path: Path, ranks: int, settings: tuple[str, ...]
) -> None:
    found = job("start", ranks, in_shards, tmp_path / "out", *settings)
    hf = whole(large_model(folder))
    total = sum(p.numel() * 4 for p in hf.parameters())
    largest = max(path.stat().st_size for path in in_shards.rglob("*.safetensors"))
    assert largest > total / 3  # so that a rank that read it all would be seen
    for rank in found:
        assert rank["weights"] == digests(hf.state_dict())
        assert rank["buffers"] == digests(dict(hf.named_buffers()))
        assert rank["in_memory"] == 0
        assert rank["read"] == rank["held"]
        assert rank["peak"] < rank["held"] + largest + 100_000
    assert sum(rank["held"] for rank in found[: 2 if settings else ranks]) == total


def test_a_broken_weight_in_the_shards_ends_all_ranks(in_shards: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(in_shards, tmp_path / "broken"))
    (path / "checksums.json").unlink()
    last = sorted((path / "shards").iterdir())[-1]
    with safe_open(last, framework="pt") as file:
        state, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    state["model.model.layers.1.mlp.up_proj.weight"][-1, -1] = float("nan")
    save_file(state, last, metadata=metadata)
    for rank in job("start", 2, path, tmp_path / "out"):
        assert "finite numbers in model.layers.1.mlp.up_proj.weight" in rank["error"]


def test_shards_that_cannot_be_read_are_told(
    in_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk went away")

    name = "model.score.weight"
    shape = shapes_of_shards(in_shards)[name]
    monkeypatch.setattr(HuggingFaceStorageReader, "read_data", fail)
    with pytest.raises(ConfigError, match="shards cannot be read: the disk went away"):
        fill_from_shards(in_shards, {name: torch.zeros(shape)})


def stored_as(kind: str, path: Path) -> Path:
    """A model of some kind, as its files may be written."""
    from transformers import AutoModel, BertConfig, BertModel, Qwen2MoeConfig, Qwen2MoeForCausalLM

    if kind == "encoder":
        tokenizer = make_tokenizer()
        tokenizer.add_special_tokens(
            {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
        )
        tokenizer.save_pretrained(path)
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=128,
            pad_token_id=tokenizer.pad_token_id,
        )
        BertModel(config).save_pretrained(path)
    elif kind == "experts":
        make_tokenizer().save_pretrained(path)
        config = Qwen2MoeConfig(
            vocab_size=len(make_tokenizer()),
            hidden_size=32,
            moe_intermediate_size=16,
            shared_expert_intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            num_experts=4,
            num_experts_per_tok=2,
            pad_token_id=0,
        )
        Qwen2MoeForCausalLM(config).save_pretrained(path)
    else:
        make_model(path)
        if kind == "backbone":  # names without the prefix of a language model
            AutoModel.from_pretrained(path, trust_remote_code=False).save_pretrained(path)
        elif kind == "bf16":
            whole_language_model(path).bfloat16().save_pretrained(path)
        elif kind == "reward model":
            config = ModelConfig()
            loaded = load_model(str(path), config, DataConfig(max_length=128), seed=8)
            save_model(path, loaded)
    return path


@pytest.mark.parametrize("kind", ["language model", "backbone", "bf16", "reward model", "encoder"])
def test_weights_are_found_in_their_files(tmp_path: Path, kind: str) -> None:
    path = stored_as(kind, tmp_path / "model")
    layout: Any = "padded" if kind == "encoder" else "shared"
    given = ModelConfig(layout=layout), DataConfig(max_length=128)
    ordinary = load_model(str(path), *given, seed=SEED)
    found = load_model(str(path), *given, seed=SEED, in_parts=True)
    assert found.stored is not None
    assert all(p.is_meta for p in found.model.parameters())
    assert found.head_is_new == ordinary.head_is_new == (kind != "reward model")
    read = 0
    for name, value in ordinary.model.hf.state_dict().items():
        if name in found.stored.places:
            place, key = found.stored.places[name]
            assert torch.equal(load_file(place)[key].float(), value), name
            read += 1
        else:
            assert name in found.stored.missing
            assert is_of_head(name)
    assert read >= 20
    ours, theirs = (dict(one.model.hf.named_buffers()) for one in (found, ordinary))
    assert digests(ours) == digests(theirs)
    assert found.model.hf.config.to_dict() == ordinary.model.hf.config.to_dict()


def test_what_has_to_be_read_whole_says_why(tmp_path: Path) -> None:
    path = stored_as("experts", tmp_path / "experts")
    given = ModelConfig(), DataConfig(max_length=128)
    assert load_model(str(path), *given, seed=0).stored is None
    with pytest.raises(NotReadableInPartsError, match=r"makes model\.layers\.0.* from other weig"):
        load_model(str(path), *given, seed=0, in_parts=True)
    code = ModelSource.of(str(stored_as("plain", tmp_path / "plain")), trust_remote_code=True)
    with pytest.raises(NotReadableInPartsError, match="code of its own"):
        load_model(code, *given, seed=0, in_parts=True)


def test_faults_of_the_files_are_told_as_by_the_ordinary_load(tmp_path: Path) -> None:
    path = stored_as("plain", tmp_path / "model")
    state = load_file(path / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    given = ModelConfig(), DataConfig(max_length=128)
    lacks = {key: value for key, value in state.items() if key != name}
    shape = {**state, name: state[name][:-1].contiguous()}
    for broken, message in ((lacks, f"lacks weights.*{name}"), (shape, f"{name} has the shape")):
        save_file(broken, path / "model.safetensors", metadata={"format": "pt"})
        for in_parts in (False, True):
            with pytest.raises(ConfigError, match=message):
                load_model(str(path), *given, seed=0, in_parts=in_parts)


def test_a_broken_weight_of_one_rank_ends_all_ranks(folder: Path, tmp_path: Path) -> None:
    path = stored_as("plain", tmp_path / "model")
    state = load_file(path / "model.safetensors")
    state["model.layers.1.mlp.up_proj.weight"][-1, -1] = float("nan")  # among the last rank's rows
    save_file(state, path / "model.safetensors", metadata={"format": "pt"})
    for rank in job("start", 2, path, tmp_path / "out"):
        assert "finite numbers in model.layers.1.mlp.up_proj.weight" in rank["error"]


@pytest.fixture(scope="module")
def long_model(folder: Path) -> Path:
    """A toy that reads 16,384 tokens."""
    return make_model(folder / "long", max_position_embeddings=32_768, heads=2, layers=2)


@pytest.fixture(scope="module")
def alone(
    folder: Path, long_model: Path
) -> Callable[[str, int], tuple[dict[str, Any], dict[str, Any]]]:
    """Of one process, by layout and tokens: what it found, and its gradients."""

    @cache
    def found(layout: str, tokens: int) -> tuple[dict[str, Any], dict[str, Any]]:
        output = folder / f"alone-{layout}-{tokens}"
        (one,) = job("gradients", 1, long_model, output, *of_case(layout, tokens))
        return one, torch.load(output / "gradients-0.pt", weights_only=True)

    return found


def of_case(layout: str, tokens: int) -> tuple[str, ...]:
    return (
        f"model.micro_batch_tokens={tokens}",
        f"model.layout={layout}",
        "model.head_init_std=1.0",
    )


@pytest.mark.parametrize(
    ("ranks", "layout", "tokens", "settings"),
    [
        (2, "shared", 16_384, ()),
        (2, "packed", 2000, ()),
        (3, "shared", 2000, ("run.context_parallel_degree=3",)),
        (2, "shared", 2000, ("model.activation_checkpointing=true",)),
        (2, "shared", 2000, ("model.activation_checkpointing=selective", "run.parallel=fsdp")),
        (4, "shared", 2000, ("run.parallel=fsdp",)),
        (4, "packed", 2000, ("run.parallel=fsdp", "run.shard_degree=2")),
    ],
)
def test_ranks_that_share_tokens_have_the_gradients_of_one(
    tmp_path: Path,
    long_model: Path,
    alone: Callable[[str, int], tuple[dict[str, Any], dict[str, Any]]],
    ranks: int,
    layout: str,
    tokens: int,
    settings: tuple[str, ...],
) -> None:
    output = tmp_path / "out"
    given = ("run.context_parallel_degree=2", *of_case(layout, tokens), *settings)
    found = job("gradients", ranks, long_model, output, *given)
    one, reference = alone(layout, tokens)
    shared_by = 3 if ranks == 3 else 2
    for rank, ours in enumerate(found):
        assert ours["loss"] == pytest.approx(one["loss"], rel=1e-6)
        assert ours["norm"] == pytest.approx(one["norm"], rel=1e-5)
        theirs = one["rewards"][rank // shared_by :: ranks // shared_by]
        assert len(ours["rewards"]) == len(theirs)
        for mine, its in zip(ours["rewards"], theirs, strict=True):
            assert mine == pytest.approx(its, rel=1e-5, abs=1e-5)
        gradients = torch.load(output / f"gradients-{rank}.pt", weights_only=True)
        assert gradients.keys() == reference.keys()
        for name, gradient in gradients.items():
            error = (gradient - reference[name]).norm() / reference[name].norm()
            assert error < 1e-5, (name, error)
