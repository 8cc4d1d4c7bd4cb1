"""What is kept for the backward pass may be recomputed or wait elsewhere: no gradient changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.preference_data import make_model
from training.config import DataConfig, ModelConfig
from training.data.collate import Layout, MicroBatch, micro_batches
from training.data.prompt_groups import PairOfGroup, PromptGroup
from training.model import activations
from training.model.activations import ActivationOffload
from training.model.reward_model import LoadedModel, load_model

MATMULS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("activations")
    make_model(folder / "model")
    return folder


def load(folder: Path, layout: Layout) -> LoadedModel:
    loaded = load_model(
        str(folder / "model"),
        ModelConfig(layout=layout, head_init_std=1.0),
        DataConfig(max_length=256),
        seed=0,
    )
    loaded.model.train()
    return loaded


def one_batch(loaded: LoadedModel, layout: Layout) -> MicroBatch:
    tokens = loaded.tokens
    (prompt,) = tokens.prompts(["Which bread is best?"])
    responses = tokens.responses(["slow bread, thank you " * 6, "fast", "warm water"], len(prompt))
    pairs = tuple(PairOfGroup(row, 0, row + 1, 1.0, 1.0, 1.0, "") for row in range(2))
    group = PromptGroup(prompt, tuple(responses), pairs)
    (batch,) = micro_batches([group], layout, tokens=4096, pad_id=tokens.pad_id, sites={})
    return batch


class Counted(TorchDispatchMode):
    """How often each operator ran."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[Any, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[func] = self.calls.get(func, 0) + 1
        return func(*args, **(kwargs or {}))

    def matmuls(self) -> int:
        return sum(self.calls.get(operator, 0) for operator in MATMULS)


def gradients(loaded: LoadedModel, layout: Layout) -> tuple[Tensor, Counted]:
    """The gradient of all rewards, and what the backward pass computed."""
    rewards = loaded.model(one_batch(loaded, layout))
    with Counted() as counted:
        rewards.sum().backward()
    return torch.cat([p.grad.flatten() for p in loaded.model.parameters()]), counted


@pytest.mark.parametrize("layout", ["shared", "packed", "padded"])
def test_checkpointing_changes_no_gradient_and_recomputes_what_it_should(
    folder: Path, layout: Layout
) -> None:
    found = {}
    for kind in ("none", "selective", "whole"):
        loaded = load(folder, layout)
        if kind != "none":
            loaded.model.checkpoint_activations(selective=kind == "selective")
        found[kind] = gradients(loaded, layout)
    for kind in ("selective", "whole"):
        assert torch.equal(found[kind][0], found["none"][0])
    # The model of the tests has two blocks of seven products each; the last product of a block is
    # not needed for its own gradient, so nobody computes it again.
    again = {
        kind: counted.matmuls() - found["none"][1].matmuls() for kind, (_, counted) in found.items()
    }
    assert again == {"none": 0, "selective": 6, "whole": 12}
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
    if layout == "packed":  # the other layouts have masks, which take another kernel on a CPU
        assert found["selective"][1].calls.get(attention, 0) == 0
        assert found["whole"][1].calls[attention] == 2 * 3


def waiting(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Have activations copied as on a GPU, and note what was."""
    copied: list[Tensor] = []

    def away(tensor: Tensor) -> Tensor:
        copied.append(tensor)
        return tensor.clone()

    monkeypatch.setattr(activations, "SMALLEST_OFFLOADED", 1)
    loaded.model.offload = ActivationOffload(away)
    return copied


@pytest.mark.parametrize("kind", ["none", "selective", "whole"])
def test_activations_that_wait_elsewhere_change_no_gradient(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    reference, _ = gradients(load(folder, "shared"), "shared")
    loaded = load(folder, "shared")
    if kind != "none":
        loaded.model.checkpoint_activations(selective=kind == "selective")
    copied = waiting(loaded, monkeypatch)
    found, _ = gradients(loaded, "shared")
    assert torch.equal(found, reference)
    assert copied
    weights = {p.untyped_storage().data_ptr() for p in loaded.model.parameters()}
    assert not any(tensor.untyped_storage().data_ptr() in weights for tensor in copied)
    inputs = [tensor for tensor in copied if tensor.shape[-1] == loaded.model.hf.config.hidden_size]
    assert len(inputs) >= len(loaded.model.blocks)
    with torch.no_grad():  # and nothing is copied where nothing is learned
        before = len(copied)
        loaded.model(one_batch(loaded, "shared"))
    assert len(copied) == before


def test_on_a_cpu_nothing_is_copied() -> None:
    tensor = torch.randn(1 << 17, requires_grad=True)
    kept: list[Tensor] = []

    class Kept(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, given: Tensor) -> Tensor:
            context.save_for_backward(given.detach())
            return given * 2

        @staticmethod
        def backward(context: Any, gradient: Tensor) -> Tensor:
            kept.extend(context.saved_tensors)
            return gradient * 2

    double: Callable[[Tensor], Tensor] = Kept.apply
    with ActivationOffload():
        double(tensor).sum().backward()
    assert kept[0].data_ptr() == tensor.data_ptr()


def test_compiled_blocks_may_checkpoint_and_wait(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, _ = gradients(load(folder, "packed"), "packed")
    loaded = load(folder, "packed")
    loaded.model.checkpoint_activations(selective=True)
    waiting(loaded, monkeypatch)
    for block in loaded.model.blocks:
        assert isinstance(block, nn.Module)
        block.compile(backend="aot_eager", dynamic=True)
    rewards = loaded.model(one_batch(loaded, "packed"))
    rewards.sum().backward()
    found = torch.cat([p.grad.flatten() for p in loaded.model.parameters()])
    torch.testing.assert_close(found, reference, rtol=1e-4, atol=1e-5)
