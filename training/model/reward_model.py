"""A transformers backbone with a scalar head, and its way to and from disk.

A checkpoint is an ordinary folder of transformers: ``AutoModelForSequenceClassification
.from_pretrained(folder)`` in another process gives the same scores.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from training.config import DataConfig, ModelConfig
from training.data.collate import Layout, MicroBatch, micro_batches
from training.data.prompt_groups import PairOfGroup, PromptGroup
from training.data.template import Template, chat_template, choose_template, load_template
from training.data.tokenizer import PairTokenizer
from training.errors import ConfigError, TemplateError
from training.model import attention
from training.model.limits import longest_sequence
from training.model.pretrained import read_classifier, read_config, read_tokenizer
from training.model.source import LocatedModel, ModelSource, locate_model

MAX_FILE_SIZE = "5GB"
MAX_LENGTH = 2048
"""Tokens at most of a sequence where ``data.max_length`` is null; WorldPM's."""
PROBES = (("Why?", "So."), ("flour", "water"), ("Is it?\n\nYes.", "- a\n- b"), ("é", "1"))
"""Texts on which a chat template is tried before it is saved."""
PROBE_WINDOW = 4
"""Keys that a query sees in the probe of a backbone with a sliding window."""
LAYOUT_TOLERANCE = 1e-2
"""Rounding in fp32 (on a GPU perhaps tf32) stays under 1e-3; a wrong mask gives 0.1 and more."""


class RewardModel(nn.Module):
    """Scores sequences: [S] rewards in fp32 of a :class:`MicroBatch` with S sequences.

    ``hf`` is the unmodified sequence classifier of transformers. A causal one is read at the
    reward token by indices that we keep ourselves; an encoder computes its own single logit.
    """

    def __init__(self, hf: Any, layout: Layout | Literal["auto"]) -> None:
        super().__init__()
        self.hf = hf
        self.layout: Layout = "padded" if layout == "auto" else layout
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
                f"{type(hf).__name__} reads both directions, so responses cannot share a prompt; "
                "set model.layout=padded"
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

    def checkpoint_activations(self) -> None:
        """Recompute the blocks' activations in the backward pass."""
        name = "activation_checkpointing_enable"  # its name from transformers 5.20 on
        if not hasattr(self.hf, name):
            name = "gradient_checkpointing_enable"
        getattr(self.hf, name)({"use_reentrant": False})

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks: the first list of modules in the backbone, seen from outside."""
        for module in self.backbone.modules():  # outer modules come first
            if isinstance(module, nn.ModuleList):
                return module
        raise ConfigError(f"{type(self.hf).__name__} has no list of blocks")

    def forward(self, batch: MicroBatch) -> Tensor:
        """Return the reward of each sequence, float32 [S]."""
        if self.is_encoder:
            logits: Tensor = self.hf(batch.input_ids, attention_mask=batch.attention_mask).logits
            return logits[:, 0].float()
        # In bf16 the head would round rewards near 10 to multiples of 1/16, which makes ties.
        rewards: Tensor = self.head(self.read(batch).float())
        return rewards[:, 0].clone()  # FSDP wants no view here

    def read(self, batch: MicroBatch) -> Tensor:
        """Return the hidden state of each sequence's reward token, [S, hidden size]."""
        extra: dict[str, Any] = {} if batch.segments is None else {"segments": batch.segments}
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


def load_model(
    source: str | ModelSource,
    model_config: ModelConfig,
    data_config: DataConfig,
    *,
    seed: int,
    verify: bool = True,
) -> LoadedModel:
    """Load a backbone, or a reward model, in fp32 on the CPU.

    Args:
        source: a folder, or NAME[@REVISION] on the Hub; a causal language model, an encoder, or a
            sequence classifier with one label. A checkpoint of ours brings its template.
        seed: of a new head.
        verify: compare a folder of ours with its checksums; False where that was just done.

    Raises ConfigError or TemplateError when the model cannot be a reward model.
    """
    if isinstance(source, str):
        source = ModelSource.of(source)
    return load_located(locate_model(source, verify=verify), model_config, data_config, seed=seed)


def load_located(
    located: LocatedModel, model_config: ModelConfig, data_config: DataConfig, *, seed: int
) -> LoadedModel:
    """The same, of a model whose files were found already."""
    config = read_config(located)
    tokenizer = read_tokenizer(located, config)
    torch.manual_seed(seed)  # of whatever transformers draws because the folder lacks it
    hf, missing = read_classifier(located, config, dtype=torch.float32)
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
    return replace(loaded, commit=located.commit)


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
    rows = hf.get_input_embeddings().num_embeddings
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
    hf.resize_token_embeddings(max(beyond.values()) + 1)


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


@torch.no_grad()
def check_layout(loaded: LoadedModel, layout: Layout, device: torch.device) -> None:
    """Read a few tokens, in fp32, in padded rows and in a layout, before a run relies on it.

    Raises ConfigError for a backbone whose states are not finite numbers, and for one that mixes
    tokens outside its attention (a convolution, a recurrent state), where sequences laid end to end
    would reach into each other.
    """
    model = loaded.model
    found = []
    layouts: tuple[Layout, ...] = ("padded",) if layout == "padded" else ("padded", layout)
    for name in layouts:
        batch = _probe(loaded, name).to(device)
        try:
            if not model.is_encoder:
                model.use_layout(name)
            with short_window(model.hf, loaded.tokens.max_length):
                found.append(model(batch) if model.is_encoder else model.read(batch).float())
        except ValueError as error:  # attention that ours does not compute, or never hears of
            raise ConfigError(f"{type(model.hf).__name__}, layout {name!r}: {error}") from None
        if not bool(torch.isfinite(found[-1]).all()):
            raise ConfigError(
                f"{type(model.hf).__name__} makes values that are not finite numbers of a short "
                f"text, layout {name!r}: its weights have diverged or are damaged"
            )
    if len(found) == 1:
        return
    difference = float((found[1] - found[0]).norm() / found[0].norm().clamp(min=1e-30))
    if not difference < LAYOUT_TOLERANCE:
        raise ConfigError(
            f"{type(model.hf).__name__} gives other states in the layout {layout!r} than in padded "
            f"rows (relative difference {difference:.1e}); set model.layout=padded"
        )


@contextmanager
def short_window(hf: Any, longest: int) -> Iterator[None]:
    """Make windows and chunks of attention shorter than a few tokens, where texts can be longer.

    Some backbones write their window into a mask and do not hand it to their attention, which a
    text within the window does not show.
    """
    config = hf.config.get_text_config()
    changed: list[tuple[Any, str, int]] = []
    for name in ("sliding_window", "attention_chunk_size"):
        window = getattr(config, name, None)
        if isinstance(window, int) and PROBE_WINDOW < window < longest:
            layers = [one for one in hf.modules() if getattr(one, name, None) == window]
            changed += [(holder, name, window) for holder in (config, *layers)]
    try:
        for holder, name, _ in changed:
            setattr(holder, name, PROBE_WINDOW)
        yield
    finally:
        for holder, name, window in changed:
            setattr(holder, name, window)


@torch.no_grad()
def rewards_are_finite(loaded: LoadedModel, device: torch.device) -> bool:
    """Whether a model still gives finite rewards to a short text; every rank must call."""
    rewards = loaded.model(_probe(loaded, loaded.model.layout).to(device))
    return bool(torch.isfinite(rewards).all())


def _probe(loaded: LoadedModel, layout: Layout) -> MicroBatch:
    """Two responses to a prompt, a few tokens each."""
    tokens = loaded.tokens
    (prompt,) = tokens.prompts(["Which of the two?"])
    responses = tokens.responses(["The first one, I should say.", "No."], len(prompt))
    pair = PairOfGroup(0, 1, 0, 1.0, 1.0, 1.0, "")
    group = PromptGroup(prompt, tuple(responses), (pair,))
    (batch,) = micro_batches([group], layout, tokens=4096, pad_id=tokens.pad_id, sites={})
    return batch


def init_head(model: RewardModel, std: float | None, seed: int) -> None:
    """Draw a new head's weights from N(0, std²); std is 1 / (hidden size + 1) by default.

    So small that rewards begin near zero and the loss near log 2, and not zero, so that the
    backbone learns from the first step.
    """
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.head.parameters():
        with torch.no_grad():
            if parameter.dim() < 2:
                parameter.zero_()
                continue
            scale = std if std is not None else 1.0 / (parameter.shape[-1] + 1)
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)


def without_dropout(hf: nn.Module) -> None:
    """One epoch over far more data than parameters can learn by heart needs no dropout."""
    for module in hf.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in list(vars(module).items()):  # the rate, under whatever name
            if isinstance(value, float) and "drop" in name:
                setattr(module, name, 0.0)


def save_model(
    folder: Path, loaded: LoadedModel, state: Mapping[str, Tensor] | None = None
) -> None:
    """Write a folder that transformers loads as a sequence classifier with our scores.

    ``state``: the weights in fp32, by the names of ``loaded.model.hf``; None: those it has.
    """
    hf = loaded.model.hf
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: tensor.detach().to("cpu", torch.float32 if tensor.is_floating_point() else None)
        for name, tensor in (state if state is not None else hf.state_dict()).items()
    }
    # transformers writes the weights under the names that other programs know.
    hf.save_pretrained(folder, state_dict=weights, max_shard_size=MAX_FILE_SIZE)
    hf.config.dtype = "float32"  # it noted that of the copies that compute
    hf.config.save_pretrained(folder)
    _check_config(folder, loaded)
    tokenizer = loaded.tokenizer
    tokenizer.pad_token = loaded.template.pad_token
    if loaded.model.is_encoder:
        # Trained without segment ids, so transformers' tokenizer must not make any either.
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    else:
        tokenizer.chat_template = chat_template(loaded.template)
        if not _renders_our_ids(loaded):
            tokenizer.chat_template = None  # better none than one that gives other tokens
    tokenizer.save_pretrained(folder)
    loaded.template.save(folder)


def _renders_our_ids(loaded: LoadedModel) -> bool:
    """Whether the chat template of the tokenizer gives the ids of :class:`PairTokenizer`."""
    for prompt, response in PROBES:
        messages = [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": response},
        ]
        text = loaded.tokenizer.apply_chat_template(messages, tokenize=False)
        ids = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
        if ids != loaded.tokens.sequence(prompt, response).tolist():
            return False
    return True


def _check_config(folder: Path, loaded: LoadedModel) -> None:
    """Read back what transformers will go by: trap 1 of reward models is a wrong pad id."""
    written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if written.get("pad_token_id") != loaded.tokens.pad_id:
        raise TemplateError(f"{folder}/config.json has lost the pad token id")
