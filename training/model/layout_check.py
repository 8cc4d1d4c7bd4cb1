"""Whether a backbone gives the same states in every layout, tried before a run relies on it."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.data.collate import Layout, MicroBatch, micro_batches
from training.data.prompt_groups import PairOfGroup, PromptGroup
from training.data.tokenizer import Ids
from training.errors import ConfigError
from training.model.reward_model import LoadedModel

PROBE_WINDOW = 4
"""Keys that a query sees in the probe of a backbone with a sliding window."""
LAYOUT_TOLERANCE = 1e-2
"""Rounding in fp32 (on a GPU perhaps tf32) stays under 1e-3; a wrong mask gives 0.1 and more."""
LEAK_TOLERANCE = 1e-4
"""How much a sequence may change one that stands after it: the same kernels, the same shapes."""
PADDING_TOLERANCE = 1e-3
"""Between a text alone and in padded rows, which go through the same kernels."""
HALF_TOLERANCE = 5e-2
"""The same where the model computes in bf16, as one does that was never whole in memory."""
LONG_PROBE = 256
"""Tokens that a short text is filled up to: over the blocks in which some encoders read."""
_WINDOW = re.compile(r"(?!use_|max_|num_)\w*(window|attention_chunk|local_attention)\w*")
"""Names of settings that say how far a token sees."""


@torch.no_grad()
def check_layout(
    loaded: LoadedModel,
    layout: Layout,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Read a few tokens in padded rows and in a layout, before a run relies on it.

    ``dtype``: in which the model computes now; a model that FSDP has divided computes in that of
    its run, and every rank must call.

    A window that this run's texts can be longer than is made shorter than the text that is read
    here. Where that changes nothing in padded rows, because the backbone does not look at the
    setting any more, texts of the full length are read, too: what does not reach the window cannot
    show it.

    Padded rows themselves are compared with each text alone: some backbones read their padding.

    Raises ConfigError for a backbone whose states are not finite numbers, for one that mixes tokens
    outside its attention (a convolution, a recurrent state), where sequences laid end to end would
    reach into each other, and for one that keeps a window from our attention.
    """
    half = dtype != torch.float32
    longest = loaded.tokens.max_length
    windows = windows_of(loaded.model.hf, longest)
    if layout == "padded":
        _check_padding(loaded, longest if windows else min(longest, LONG_PROBE), device, half)
        return
    if kind := _recurrent_kind(loaded.model.hf):
        raise ConfigError(
            f"{type(loaded.model.hf).__name__} gives other states in the layout {layout!r} than in "
            f"padded rows: its {kind} layers carry a state from one sequence into the next; set "
            "model.layout=padded"
        )
    _check_leak(loaded, layout, device)
    probe = _probe(loaded, "padded")
    with short_windows(loaded.model.hf, windows):
        _compare(loaded, layout, device, half, length=None)
    whole = _read(loaded, "padded", probe, device) if windows else None
    for name in windows:
        with short_windows(loaded.model.hf, {name: windows[name]}):
            changed = _read(loaded, "padded", probe, device)
        if whole is not None and torch.equal(whole, changed):
            _compare(loaded, layout, device, half, length=longest)
            break
    if not loaded.model.is_encoder:
        loaded.model.use_layout(layout)


@torch.no_grad()
def rewards_are_finite(loaded: LoadedModel, device: torch.device) -> bool:
    """Whether a model still gives finite rewards to a short text; every rank must call."""
    rewards = loaded.model(_probe(loaded, loaded.model.layout).to(device))
    return bool(torch.isfinite(rewards).all())


def windows_of(hf: Any, longest: int) -> dict[str, int]:
    """Settings of a backbone that let a token see less than a text of ``longest`` tokens."""
    config = hf.config.get_text_config()
    names = sorted(
        name
        for name, value in config.to_dict().items()
        if _WINDOW.fullmatch(name) and isinstance(value, int) and not isinstance(value, bool)
    )
    found = {name: getattr(config, name) for name in names}
    return {name: value for name, value in found.items() if PROBE_WINDOW < value < longest}


@contextmanager
def short_windows(hf: Any, windows: Mapping[str, int]) -> Iterator[None]:
    """Make windows and chunks of attention shorter than a few tokens.

    Some backbones write their window into a mask and do not hand it to their attention, which a
    text within the window does not show.
    """
    config = hf.config.get_text_config()
    changed: list[tuple[Any, str, int]] = []
    for name, window in windows.items():
        layers = [one for one in hf.modules() if getattr(one, name, None) == window]
        changed += [(holder, name, window) for holder in (config, *layers)]
    try:
        for holder, name, _ in changed:
            setattr(holder, name, PROBE_WINDOW)
        yield
    finally:
        for holder, name, window in changed:
            setattr(holder, name, window)


def _compare(
    loaded: LoadedModel, layout: Layout, device: torch.device, half: bool, *, length: int | None
) -> None:
    """Raise ConfigError where a layout gives other states than padded rows."""
    names: tuple[Layout, ...] = ("padded", layout)
    padded, other = (_read(loaded, name, _probe(loaded, name, length), device) for name in names)
    difference = _difference(padded, other)
    if not difference < (HALF_TOLERANCE if half else LAYOUT_TOLERANCE):
        raise ConfigError(
            f"{type(loaded.model.hf).__name__} gives other states in the layout {layout!r} than in "
            f"padded rows (relative difference {difference:.1e}); set model.layout=padded"
        )


def _recurrent_kind(hf: Any) -> str | None:
    """The kind of a backbone's layers that are no attention; None where all are.

    A few tokens do not show every leak of a recurrent state, so its kind decides.
    """
    config = hf.config.get_text_config()
    kinds = getattr(config, "layers_block_type", None) or getattr(config, "layer_types", None) or ()
    marks = ("mamba", "linear", "recurrent", "conv", "hybrid")
    return next((str(kind) for kind in kinds if any(mark in str(kind) for mark in marks)), None)


def _check_leak(loaded: LoadedModel, layout: Layout, device: torch.device) -> None:
    """Raise ConfigError where another first response, as long, changes the state of the second."""
    prompt, (long, short) = _texts(loaded, None)
    turned = np.concatenate([long[-2::-1], long[-1:]])
    found = []
    for first in (long, turned):
        pair = PairOfGroup(0, 1, 0, 1.0, 1.0, 1.0, "")
        group = PromptGroup(prompt, (first, short), (pair,))
        (batch,) = micro_batches(
            [group], layout, tokens=4096, pad_id=loaded.tokens.pad_id, sites={}
        )
        found.append(_read(loaded, layout, batch, device)[1])
    if not (difference := _difference(*found)) < LEAK_TOLERANCE:
        raise ConfigError(
            f"{type(loaded.model.hf).__name__} gives other states in the layout {layout!r} than in "
            "padded rows: a sequence reaches into the one after it (relative difference "
            f"{difference:.1e}); set model.layout=padded"
        )


def _difference(expected: Tensor, found: Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp(min=1e-30))


def _check_padding(loaded: LoadedModel, length: int, device: torch.device, half: bool) -> None:
    """Raise ConfigError where two short texts read otherwise alone than beside one of ``length``.

    Two, with an even and an odd number of tokens: some encoders pool neighbours.
    """
    prompt, (long, short) = _texts(loaded, length)
    responses = (long, short, np.concatenate([short[:1], short]))

    def read(*ends: tuple[int, int]) -> Tensor:
        """Of the rejected response of each pair."""
        pairs = tuple(PairOfGroup(*end, row, 1.0, 1.0, 1.0, "") for row, end in enumerate(ends))
        (batch,) = micro_batches(
            [PromptGroup(prompt, responses, pairs)],
            "padded",
            tokens=8 * max(length, 512),
            pad_id=loaded.tokens.pad_id,
            sites={},
        )
        found = _read(loaded, "padded", batch, device)
        return found[batch.rejected.to(device)][batch.rows.argsort().to(device)]

    together = read((0, 1), (0, 2))
    alone = torch.cat([read((1, 1)), read((2, 2))])
    difference = _difference(alone, together)
    if not difference < (HALF_TOLERANCE if half else PADDING_TOLERANCE):
        raise ConfigError(
            f"{type(loaded.model.hf).__name__} gives a text other rewards when it is filled up "
            f"beside a longer one (relative difference {difference:.1e}), so they would depend on "
            "what is in the batch; name another backbone"
        )


def _read(loaded: LoadedModel, layout: Layout, batch: MicroBatch, device: torch.device) -> Tensor:
    """States (encoders: rewards) of a batch in a layout; raises ConfigError."""
    model = loaded.model
    batch = batch.to(device)
    try:
        if model.is_encoder:
            found: Tensor = model(batch)
        else:
            model.use_layout(layout)
            found = model.read(batch).float()
    except torch.OutOfMemoryError:
        raise
    except ValueError as error:  # attention that ours does not compute, or never hears of
        raise ConfigError(f"{type(model.hf).__name__}, layout {layout!r}: {error}") from None
    except (TypeError, AttributeError, LookupError, RuntimeError) as error:
        if layout == "padded":
            raise
        raise ConfigError(  # code of the backbone that expects the mask or the rows it makes
            f"{type(model.hf).__name__} cannot read the layout {layout!r} ({type(error).__name__}: "
            f"{error}); set model.layout=padded"
        ) from None
    if not bool(torch.isfinite(found).all()):
        raise ConfigError(
            f"{type(model.hf).__name__} makes values that are not finite numbers of a short "
            f"text, layout {layout!r}: its weights have diverged or are damaged"
        )
    return found


def _probe(loaded: LoadedModel, layout: Layout, length: int | None = None) -> MicroBatch:
    """Two responses to a prompt: of a few tokens each, or such that the first fills ``length``."""
    prompt, responses = _texts(loaded, length)
    group = PromptGroup(prompt, responses, (PairOfGroup(0, 1, 0, 1.0, 1.0, 1.0, ""),))
    size = 4 * max(loaded.tokens.max_length, 512)
    (batch,) = micro_batches([group], layout, tokens=size, pad_id=loaded.tokens.pad_id, sites={})
    return batch


def _texts(loaded: LoadedModel, length: int | None) -> tuple[Ids, tuple[Ids, Ids]]:
    tokens = loaded.tokens
    (prompt,) = tokens.prompts(["Which of the two?"])
    long, short = tokens.responses(["The first one, I should say.", "No."], len(prompt))
    if length is not None:
        words = np.resize(long[: max(1, len(long) // 2)], max(0, length - len(prompt) - len(long)))
        long = np.concatenate([words, long])
    return prompt, (long, short)
