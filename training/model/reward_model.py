"""A transformers backbone with a scalar head, and how it is loaded; ``save`` writes it."""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor, nn

from training.config import DataConfig, LoraConfig, ModelConfig
from training.data.collate import Layout, MicroBatch
from training.data.template import Template, choose_template, load_template
from training.data.tokenizer import PairTokenizer
from training.errors import ConfigError, TemplateError
from training.model import attention
from training.model.activations import ActivationOffload, checkpoint_selectively
from training.model.adapters import (
    Adapter,
    add_adapter,
    check_settings,
    modules_of,
    set_dropout,
)
from training.model.blocks import blocks_of
from training.model.context_parallel import ContextParallel
from training.model.limits import longest_sequence
from training.model.pretrained import (
    empty_classifier,
    read_classifier,
    read_config,
    read_tokenizer,
)
from training.model.source import LocatedModel, ModelSource, locate_model
from training.model.stored_weights import NotReadableInPartsError, StoredWeights

MAX_LENGTH = 2048
"""Tokens at most of a sequence where ``data.max_length`` is null; WorldPM's."""


class RewardModel(nn.Module):
    """Scores sequences: [S] rewards in fp32 of a :class:`MicroBatch` with S sequences.

    ``hf`` is the unmodified sequence classifier of transformers. A causal one is read at the
    reward token by indices that we keep ourselves; an encoder computes its own single logit.
    """

    def __init__(self, hf: Any, layout: Layout | Literal["auto"]) -> None:
        super().__init__()
        self.hf = hf
        self.layout: Layout = "padded" if layout == "auto" else layout
        self.offload: ActivationOffload | None = None
        """Where activations wait for the backward pass; None: where they were made."""
        self.context: ContextParallel | None = None
        """How micro-batches are shared with other ranks; None: this one has all of their tokens."""
        self._own_attention = hf.config._attn_implementation
        self.is_encoder = not isinstance(getattr(hf, "score", None), nn.Linear)
        if self.is_encoder and not isinstance(getattr(hf, "classifier", None), nn.Module):
            raise ConfigError(f"{type(hf).__name__} has no head that is known here")
        self.layout_reason = "as it was asked for"
        """Why the layout is this one, for people to read."""
        if self.is_encoder and layout == "auto":
            self.layout_reason = "an encoder reads both directions"
        elif self.is_encoder and layout != "padded":
            raise ConfigError(
                f"{type(hf).__name__} makes its reward in a head of its own, as encoders do, so "
                "sequences cannot be laid end to end; set model.layout=padded"
            )
        if self.is_encoder:
            self.head.register_forward_pre_hook(_in_fp32)
            return
        attention.register()
        if layout != "auto":
            self.use_layout(layout)
            return
        try:
            self.use_layout("shared")
            self.layout_reason = "each prompt is encoded once for all its responses"
        except ConfigError as error:
            self.use_layout("padded")
            self.layout_reason = str(error).partition("; set model.layout")[0]

    def use_layout(self, layout: Layout) -> None:
        """Have the backbone's attention follow a layout; raises ConfigError where it cannot."""
        self.layout = layout
        attention.follow_layout(self.hf, layout, self._own_attention)

    @property
    def backbone(self) -> Any:
        """The transformer without its head."""
        return getattr(self.hf, self.hf.base_model_prefix)

    @property
    def head(self) -> Any:
        """The module that makes a scalar; its parameters stay fp32."""
        return self.hf.classifier if self.is_encoder else self.hf.score

    def checkpoint_activations(self, *, selective: bool = False) -> None:
        """Recompute the blocks' activations in the backward pass; ``selective``: the cheap ones."""
        if selective:
            checkpoint_selectively(self.blocks)
            return
        name = "activation_checkpointing_enable"  # its name from transformers 5.20 on
        if not hasattr(self.hf, name):
            name = "gradient_checkpointing_enable"
        getattr(self.hf, name)({"use_reentrant": False})

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks."""
        return blocks_of(self.hf)

    @property
    def is_adapted(self) -> bool:
        """Whether LoRA matrices and the head are trained, and the rest is frozen."""
        return hasattr(self.hf, "peft_config")

    def forward(self, batch: MicroBatch, *, with_states: bool = False) -> Any:
        """Return the reward of each sequence, float32 [S].

        ``with_states``: and what the head read, [S, hidden size]; only of a causal backbone whose
        tokens are all here.
        """
        if with_states:
            assert not self.is_encoder and self.context is None
            states = self._read(batch)
            scores: Tensor = self.head(states.float())
            return scores[:, 0].clone(), states
        if self.is_encoder:
            with self._activations():
                logits: Tensor = self.hf(
                    batch.input_ids, attention_mask=batch.attention_mask
                ).logits
            return logits[:, 0].float()
        # In bf16 the head would round rewards near 10 to multiples of 1/16, which makes ties.
        if self.context is None:
            rewards: Tensor = self.head(self._read(batch).float())
            return rewards[:, 0].clone()  # FSDP wants no view here
        part, held = self.context.part(batch)
        rewards = self.head(self._read(part).float())
        return self.context.gather_rewards(rewards[:, 0], held)

    def read(self, batch: MicroBatch) -> Tensor:
        """Return the hidden state of each sequence's reward token, [S, hidden size]."""
        return self._read(batch)  # FSDP gathers weights around forward, and around this one alone

    def _activations(self) -> AbstractContextManager[Any]:
        return self.offload if self.offload is not None else nullcontext()

    def _read(self, batch: MicroBatch) -> Tensor:
        extra: dict[str, Any] = {} if batch.segments is None else {"segments": batch.segments}
        with self._activations():
            hidden: Tensor = self.backbone(
                input_ids=batch.input_ids,
                position_ids=batch.position_ids,
                attention_mask=batch.attention_mask,
                use_cache=False,
                **extra,
            ).last_hidden_state
        return hidden.flatten(0, 1)[batch.last]


def _in_fp32(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.float() for tensor in inputs)


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to be trained or to score."""

    model: RewardModel
    tokenizer: Any
    template: Template
    tokens: PairTokenizer
    head_is_new: bool
    commit: str | None = None
    """On the Hub; None for a folder."""
    stored: StoredWeights | None = None
    """Where the weights lie of a model whose parameters are on the meta device; None: they are in
    memory."""
    adapter: Adapter | None = None
    """Its LoRA matrices; None for a model that is trained whole."""


def load_model(
    source: str | ModelSource,
    model_config: ModelConfig,
    data_config: DataConfig,
    *,
    seed: int,
    verify: bool = True,
    in_parts: bool = False,
    lora: LoraConfig | None = None,
) -> LoadedModel:
    """Load a backbone, or a reward model, in fp32 on the CPU.

    Args:
        source: a folder, or NAME[@REVISION] on the Hub; a causal language model, an encoder, or a
            sequence classifier with one label. A checkpoint of ours brings its template.
        seed: of a new head.
        verify: compare a folder of ours with its checksums; False where that was just done.
        in_parts: leave the weights in their files (``LoadedModel.stored``), so that each rank can
            read its own part; of an adapter, what is trained is in memory.
        lora: what is to be trained; None: only to score, with an adapter as it is.

    Raises ConfigError or TemplateError when the model cannot be a reward model, and with
    ``in_parts`` NotReadableInPartsError for one that has to be read whole.
    """
    if isinstance(source, str):
        source = ModelSource.of(source)
    located = locate_model(source, verify=verify)
    return load_located(located, model_config, data_config, seed=seed, in_parts=in_parts, lora=lora)


def load_located(
    located: LocatedModel,
    model_config: ModelConfig,
    data_config: DataConfig,
    *,
    seed: int,
    in_parts: bool = False,
    lora: LoraConfig | None = None,
    dequantise: bool = False,
) -> LoadedModel:
    """The same, of a model whose files were found already.

    ``dequantise``: have an adapter's base of 4 bits in full precision, after it was rounded.
    """
    config = read_config(located)
    tokenizer = read_tokenizer(located, config)
    torch.manual_seed(seed)  # of whatever transformers draws because the folder lacks it
    stored: StoredWeights | None = None
    adapter: Adapter | None = None
    missing: Collection[str]
    if in_parts:
        hf, stored, adapter = empty_classifier(located, config, dtype=torch.float32)
        missing = stored.missing
    else:
        hf, missing, adapter = read_classifier(
            located, config, dtype=torch.float32, dequantise=dequantise
        )
    rows = hf.get_input_embeddings().num_embeddings
    try:
        loaded = wrap_model(
            hf,
            tokenizer,
            load_template(located.folder),
            model_config,
            data_config,
            new_head_seed=seed if missing else None,
            name=located.source.name,
        )
    except TemplateError as error:
        raise TemplateError(f"--model {located.source.name}: {error}") from None
    if stored is not None and (drawn := stored.missing - _names_of_head(loaded.model)):
        raise NotReadableInPartsError(f"transformers draws {min(drawn)}, which they lack")
    if adapter is not None and lora is not None:
        check_settings(adapter, lora, located.source)
        set_dropout(hf, lora.dropout)
    elif lora is not None and lora.rank is not None:
        if hf.get_input_embeddings().num_embeddings != rows:
            raise located.source.error(
                "its embedding lacks a row for the pad token, which an adapter cannot bring; train "
                "it without lora.rank, or add the row and save the model first "
                "(resize_token_embeddings of transformers)"
            )
        head = {name for name, one in hf.named_modules() if one is loaded.model.head}
        kept = tuple(sorted(head | modules_of({name for name in missing if not _in(name, head)})))
        if stored is not None and stored.shards is not None:
            raise NotReadableInPartsError("the base is a checkpoint in shards")
        before = hf.state_dict(keep_vars=True)
        adapter = add_adapter(
            hf, loaded.model.blocks, kept, located, lora, seed=seed, stored=stored
        )
        if stored is not None:
            stored = stored.renamed(hf, before)
    return replace(loaded, commit=located.commit, stored=stored, adapter=adapter)


def _names_of_head(model: RewardModel) -> set[str]:
    of_head = {id(parameter) for parameter in model.head.parameters()}
    return {name for name, one in model.hf.named_parameters() if id(one) in of_head}


def _in(name: str, modules: set[str]) -> bool:
    return any(name.startswith(f"{module}.") for module in modules)


def wrap_model(
    hf: Any,
    tokenizer: Any,
    template: Template | None,
    model_config: ModelConfig,
    data_config: DataConfig,
    *,
    new_head_seed: int | None,
    name: str,
) -> LoadedModel:
    """Make a sequence classifier of transformers ready to be trained or to score.

    Args:
        template: that of a checkpoint of ours; None: one is chosen.
        new_head_seed: draw a new head; None: it is trained already.
        name: of the model, for messages.
    """
    model = RewardModel(hf, model_config.layout)
    if template is None:
        template = choose_template(tokenizer, data_config.template, encoder=model.is_encoder)
    if data_config.context_line != "auto":
        template = msgspec.structs.replace(template, context=data_config.context_line)
    tokenizer.pad_token = template.pad_token
    longest = longest_sequence(hf.config)
    max_length = data_config.max_length or min(longest or MAX_LENGTH, MAX_LENGTH)
    if longest is not None and max_length > longest:
        raise ConfigError(
            f"--model {name} reads at most {longest} tokens; set data.max_length={longest} or less"
        )
    tokens = PairTokenizer(
        tokenizer,
        template,
        max_length=max_length,
        max_prompt_length=data_config.max_prompt_length,
    )
    _fit_embedding(hf, tokenizer, tokens, name)
    _prepare_config(hf, template, tokens)
    if new_head_seed is not None:
        init_head(model, model_config.head_init_std, new_head_seed)
    without_dropout(hf)
    return LoadedModel(model, tokenizer, template, tokens, new_head_seed is not None)


def _fit_embedding(hf: Any, tokenizer: Any, tokens: PairTokenizer, name: str) -> None:
    """Give special tokens that are never read, the pad token for one, the rows that they lack.

    Raises ConfigError where a token that is read lacks one: its row would be drawn at random.
    """
    rows = getattr(_input_embeddings(hf, name), "num_embeddings", None)
    if not isinstance(rows, int):
        raise ConfigError(
            f"--model {name}: {type(hf).__name__} keeps its embeddings in a form of its own, which "
            "is not supported; name another backbone"
        )
    beyond = {token: number for token, number in tokenizer.get_vocab().items() if number >= rows}
    if not beyond:
        return
    unread = {
        number: token
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.special and number not in tokens.fixed_ids
    }
    if read := sorted(token for token, number in beyond.items() if number not in unread):
        raise ConfigError(
            f"--model {name}: its tokenizer has {len(tokenizer):,} tokens, its embedding only "
            f"{rows:,} rows, so {len(read):,} tokens ({', '.join(map(repr, read[:3]))}) have "
            "none; take the tokenizer that belongs to the weights"
        )
    if hf.get_input_embeddings().weight.is_meta:
        raise NotReadableInPartsError("its embedding lacks rows for tokens of its tokenizer")
    hf.resize_token_embeddings(max(beyond.values()) + 1)


def _input_embeddings(hf: Any, name: str) -> Any:
    try:
        return hf.get_input_embeddings()
    except NotImplementedError:  # a model that reads characters has no table of tokens
        raise ConfigError(
            f"--model {name}: {type(hf).__name__} has no table of token embeddings; name another "
            "backbone"
        ) from None


def _prepare_config(hf: Any, template: Template, tokens: PairTokenizer) -> None:
    """Write into the model's config what transformers needs to read the right token."""
    config = hf.config
    text_config = config.get_text_config()
    config.pad_token_id = text_config.pad_token_id = tokens.pad_id
    embedding = hf.get_input_embeddings()
    if getattr(embedding, "padding_idx", None) is not None:
        # It gets no gradient; where it was the end token, the reward token would have had none.
        embedding.padding_idx = tokens.pad_id
    config.problem_type = "regression"
    config.id2label, config.label2id = {0: "reward"}, {"reward": 0}
    config.architectures = [type(hf).__name__]
    config.dtype = "float32"
    config.use_cache = False
    if template.pad_token == template.reward_token:
        raise TemplateError(
            f"pad token and reward token are both {template.pad_token!r}: transformers would read "
            "the token before it"
        )


def init_head(
    model: RewardModel,
    std: float | None,
    seed: int,
    put: Callable[[Any, Tensor], object] = Tensor.copy_,
) -> None:
    """Draw a new head's weights from N(0, std²); std is 1 / (hidden size + 1) by default.

    So small that rewards begin near zero and the loss near log 2, and not zero, so that the
    backbone learns from the first step. ``put`` writes a value into a parameter.
    """
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.head.parameters():
        with torch.no_grad():
            if parameter.dim() < 2:
                parameter.zero_()
                continue
            scale = std if std is not None else 1.0 / (parameter.shape[-1] + 1)
            put(parameter, torch.randn(parameter.shape, generator=generator) * scale)


def without_dropout(hf: nn.Module) -> None:
    """One epoch over far more data than parameters can learn by heart needs no dropout."""
    for module in hf.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in list(vars(module).items()):  # the rate, under whatever name
            if isinstance(value, float) and "drop" in name:
                setattr(module, name, 0.0)
