"""Bytes that a backbone keeps for its backward pass, counted on tensors without memory.

The backbone is built on torch's meta device, where shapes are computed and nothing else, and one
forward pass notes what autograd would keep. So any architecture and any size can be counted on a
laptop, from ``config.json`` alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from training.config import LoraConfig
from training.data.collate import Layout
from training.model.activations import MATRIX_PRODUCTS
from training.model.reward_model import RewardModel, without_dropout


class UncountableError(Exception):
    """A backbone whose forward pass cannot be followed without weights."""


ATTENTION = "forumprefs_planned"
"""Name under which transformers knows :func:`planned_attention`."""
COUNTED_TOKENS = 512
"""Tokens of the forward pass that is counted; what is kept grows in proportion to them."""


@dataclass(frozen=True)
class BackboneCount:
    """A backbone's weights, and what it keeps of each token for the backward pass."""

    parameters: int
    block_parameters: tuple[int, ...]
    """Weights of each block; the others are the embedding, the last norm and the head."""
    attention_channels: int
    """Heads times their size, over all layers."""
    head_parameters: int
    outside: float
    """Bytes kept per token outside the blocks."""
    blocks: tuple[float, ...]
    """Bytes kept per token in each block."""
    is_encoder: bool
    state: float
    """Bytes per token of the state between two blocks."""
    linear_layers: tuple[tuple[str, int, int], ...] = ()
    """Those of the blocks: name, inputs and outputs."""
    selective: tuple[float, ...] = ()
    """Bytes per token of the outputs in each block that selective checkpointing keeps."""
    key_bytes: float = 0.0
    """Bytes of a key and its value in one block."""
    gathered_keys: float = 0.0
    """Keys over tokens that attention keeps beside those of the tokens (layout shared)."""

    def adapter_parameters(self, lora: LoraConfig) -> int:
        """Weights of LoRA's matrices beside the linear layers; 0 without a rank."""
        if lora.rank is None:
            return 0
        wanted = lora.target_modules
        return sum(
            lora.rank * (inputs + outputs) + (outputs if lora.dora else 0)
            for name, inputs, outputs in self.linear_layers
            if wanted is None or any(name == one or name.endswith(f".{one}") for one in wanted)
        )

    def kept_per_token(
        self, checkpointing: bool | str = False, *, offloaded: bool = False
    ) -> float:
        """Bytes of the device that are kept per token until the backward pass.

        Args:
            checkpointing: True keeps the states between blocks, "selective" the outputs of
                attention and of every second matrix product, too; one block at a time is computed
                again, and then kept.
            offloaded: what autograd keeps waits in the host's memory; outputs that selective
                checkpointing keeps do not.
        """
        waits = self.offloaded_per_token(checkpointing)
        if checkpointing == "selective":
            again = max(b - kept for b, kept in zip(self.blocks, self.selective, strict=True))
            return (0.0 if offloaded else waits) + sum(self.selective) + again
        if checkpointing:
            return (0.0 if offloaded else waits) + max(self.blocks)
        return max(self.blocks) if offloaded else waits

    def offloaded_per_token(self, checkpointing: bool | str = False) -> float:
        """Bytes per token that wait for the backward pass where they are offloaded."""
        between = self.state * len(self.blocks)
        return self.outside + (between if checkpointing else sum(self.blocks))

    def divided(self, ranks: int) -> "BackboneCount":
        """The same on one of several ranks that share each micro-batch, per token of all of it.

        A rank gathers the keys that its two chunks of each text see, in every block; of a text with
        a prompt before it both chunks see the whole prompt (``training.data.context_split``).
        """
        if ranks == 1:
            return self
        prompts = max(self.gathered_keys - 1, 0.0)
        keys = self.key_bytes * (1 + 1 / (2 * ranks) + 2 * prompts)
        before = self.key_bytes * self.gathered_keys
        return replace(
            self,
            outside=self.outside / ranks,
            state=self.state / ranks,
            blocks=tuple((kept - before) / ranks + keys for kept in self.blocks),
            selective=tuple(kept / ranks for kept in self.selective),
            gathered_keys=keys / self.key_bytes if self.key_bytes else 0.0,
        )


class _Attention(torch.autograd.Function):
    """Keeps what fused attention keeps: its inputs, its output, and a number per query and head."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, gathered: float) -> Tensor:
        """[rows, heads, T, d] each; ``gathered``: keys over tokens, where keys are gathered."""
        output = query.new_empty(query.shape).transpose(1, 2)
        norm = torch.empty(query.shape[:3], dtype=torch.float32, device=query.device)
        more = []
        if gathered:
            size = (key.shape[1], round(gathered * key.shape[0] * key.shape[2]), key.shape[3])
            more = [key.new_empty(size), value.new_empty(size)]
        ctx.save_for_backward(query, key, value, output, norm, *more)
        return output

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        """Never called."""
        raise NotImplementedError


def planned_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *_: Any, **others: Any
) -> tuple[Tensor, None]:
    """An attention that computes nothing and keeps what a fused one keeps."""
    output: Tensor = _Attention.apply(query, key, value, _gathered_keys)
    norms = 4 * query.shape[:3].numel()
    _attentions.append((key.nbytes + value.nbytes, output.nbytes + norms))
    return output, None


_gathered_keys = 0.0
_attentions: list[tuple[int, int]] = []
"""Of each call: bytes of keys and values, and of what comes out."""


def count_backbone(
    config: Any, layout: Layout, dtype: torch.dtype, *, gathered_keys: float = 1.7
) -> BackboneCount:
    """Count a sequence classifier of transformers, without weights.

    Args:
        config: of the backbone; stays as it is.
        layout: in ``shared`` keys are gathered.
        dtype: in which the backbone computes.
        gathered_keys: of the shared layout, keys over tokens (1.7 on our forums, docs/training.md).

    Raises ConfigError as RewardModel does, and UncountableError for code that looks into tensors.
    """
    global _gathered_keys
    from transformers import AttentionInterface, AutoModelForSequenceClassification
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(ATTENTION, planned_attention)
    AttentionMaskInterface.register(ATTENTION, lambda *_, **__: None)
    config = deepcopy(config)
    config.num_labels = 1
    with torch.device("meta"):
        hf = AutoModelForSequenceClassification.from_config(config, dtype=dtype)
    model = RewardModel(hf, "padded")
    without_dropout(hf)
    if hf.config._attn_implementation != "eager":  # which keeps more, and is counted as it is
        hf.set_attn_implementation(ATTENTION)
    rows = 4 if layout == "padded" else 1
    ids = torch.zeros(rows, COUNTED_TOKENS // rows, dtype=torch.int64, device="meta")
    mask = torch.ones_like(ids)  # without one, transformers would look into the positions
    counter, products = _KeptBytes(model), _MatrixProducts(model)
    _gathered_keys = gathered_keys if layout == "shared" else 0.0
    _attentions.clear()
    try:
        with counter.counting(), products.counting():
            if model.is_encoder:
                hf(ids, attention_mask=mask)
            else:
                states = model.backbone(input_ids=ids, attention_mask=mask, use_cache=False)
                model.head(states.last_hidden_state.float())
    except Exception as error:  # whatever code that was never meant for it runs into
        raise UncountableError(f"{type(hf).__name__}: {error}") from error
    text_config = config.get_text_config()
    head_size = getattr(text_config, "head_dim", None) or (
        text_config.hidden_size // text_config.num_attention_heads
    )
    return BackboneCount(
        parameters=_parameters(model),
        block_parameters=tuple(map(_parameters, model.blocks)),
        attention_channels=(
            text_config.num_hidden_layers * text_config.num_attention_heads * head_size
        ),
        head_parameters=_parameters(model.head),
        outside=(counter.total - sum(counter.blocks)) / ids.numel(),
        blocks=tuple(kept / ids.numel() for kept in counter.blocks),
        is_encoder=model.is_encoder,
        state=text_config.hidden_size * dtype.itemsize,
        linear_layers=tuple(_linear_layers(model)),
        selective=tuple(
            (kept + sum(out for _, out in _attentions) / len(products.kept)) / ids.numel()
            for kept in products.kept
        ),
        key_bytes=sum(keys for keys, _ in _attentions) / len(products.kept) / ids.numel(),
        gathered_keys=_gathered_keys,
    )


def _linear_layers(model: RewardModel) -> Iterator[tuple[str, int, int]]:
    from transformers.pytorch_utils import Conv1D

    inside = {id(module) for module in model.blocks.modules()}
    for name, module in model.hf.named_modules():
        if id(module) not in inside:
            continue
        if isinstance(module, nn.Linear):
            yield name, module.in_features, module.out_features
        elif isinstance(module, Conv1D):
            yield name, module.nx, module.nf


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


class _KeptBytes:
    """Counts each storage that autograd keeps once, weights not, by the block that keeps it."""

    def __init__(self, model: RewardModel) -> None:
        self.total = 0
        self.blocks = [0] * len(model.blocks)
        self._blocks = model.blocks
        self._seen = {p.untyped_storage()._cdata for p in model.parameters()}
        self._held: list[Tensor] = []  # else another storage would get the same number

    @contextmanager
    def counting(self) -> Iterator[None]:
        handles = []
        for number, block in enumerate(self._blocks):
            handles.append(block.register_forward_pre_hook(self._enter(number)))
            handles.append(block.register_forward_hook(self._leave(number)))
        try:
            with torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor):
                yield
        finally:
            for handle in handles:
                handle.remove()
            self._held.clear()

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self._held.append(tensor)
            self.total += storage.nbytes()
        return tensor

    def _enter(self, number: int) -> Any:
        def hook(*_: Any) -> None:
            self.blocks[number] -= self.total

        return hook

    def _leave(self, number: int) -> Any:
        def hook(*_: Any) -> None:
            self.blocks[number] += self.total

        return hook


class _MatrixProducts(TorchDispatchMode):
    """Bytes of every second matrix product's output in each block, as selective checkpointing
    keeps them."""

    def __init__(self, model: RewardModel) -> None:
        super().__init__()
        self.kept = [0] * len(model.blocks)
        self._blocks = model.blocks
        self._block: int | None = None
        self._products = 0

    def __torch_dispatch__(
        self, operator: Any, _: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        found = operator(*arguments, **(named or {}))
        if operator in MATRIX_PRODUCTS and self._block is not None:
            self._products += 1
            if self._products % 2 == 1:
                self.kept[self._block] += found.nbytes
        return found

    @contextmanager
    def counting(self) -> Iterator[None]:
        handles = []
        for number, block in enumerate(self._blocks):
            handles.append(block.register_forward_pre_hook(self._enter(number)))
            handles.append(block.register_forward_hook(self._enter(None)))
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, number: int | None) -> Any:
        def hook(*_: Any) -> None:
            self._block, self._products = number, 0

        return hook
