"""Attention over many sequences laid end to end, for any unmodified transformers backbone.

What each token may attend to is said by :class:`~training.data.segments.AttentionSegments`.
"""

import inspect
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from training.data.collate import Layout
from training.data.segments import AttentionSegments
from training.errors import ConfigError
from training.model.context_parallel import gather_tokens

try:
    from torch.nn.attention import varlen
except ImportError:  # a torch without it still has the loop below
    varlen = None  # type: ignore[assignment]

NAME = "forumprefs_segments"
"""Name under which transformers knows this attention."""


def segment_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    segments: AttentionSegments | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    dropout: float = 0.0,
    **others: Any,
) -> tuple[Tensor, None]:
    """The attention function that transformers calls in every layer.

    Args:
        query: [1, heads, T, d].
        key, value: [1, key heads, T, d]; key heads divide heads.
        segments: which keys each query sees.
        sliding_window: keys a query sees at most, itself included.

    Returns [1, T, heads, d] and None for the attention weights. Raises ValueError for what it
    does not compute.
    """
    if segments is None:
        raise ValueError("its layers do not hand the segments down; use model.layout=padded")
    if dropout or others.get("softcap") is not None or others.get("s_aux") is not None:
        raise ValueError(
            "this backbone's attention has dropout, soft capping or sinks, which packed layouts do "
            "not compute; use model.layout=padded"
        )
    query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    if segments.group is not None:
        key, value = gather_tokens(key, value, segments.group)
    if segments.key_index is not None:
        key = key.index_select(0, segments.key_index)
        value = value.index_select(0, segments.key_index)
    if query.is_cuda and varlen is not None and query.dtype in (torch.bfloat16, torch.float16):
        left = -1 if sliding_window is None else sliding_window - 1
        gqa: Any = {} if key.shape[1] == query.shape[1] else _GQA
        output: Any = varlen.varlen_attn(
            query.contiguous(),
            key.contiguous(),
            value.contiguous(),
            segments.query_starts,
            segments.key_starts,
            segments.longest,
            segments.longest,
            scale=scaling,
            window_size=(left, 0),
            **gqa,
        )
    else:
        output = loop_attention(
            query, key, value, segments, scaling=scaling, sliding_window=sliding_window
        )
    return output.unsqueeze(0), None


# Newer releases ask for it; older ones take fewer key heads as they are.
_GQA = (
    {"enable_gqa": True}
    if varlen is not None and "enable_gqa" in inspect.signature(varlen.varlen_attn).parameters
    else {}
)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # thousands of spans: no unrolling
def loop_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: AttentionSegments,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
) -> Tensor:
    """The same, one segment after the other: on a CPU, and as the reference in tests.

    Shapes: query [T, heads, d], key and value [K, key heads, d] → [T, heads, d].
    """
    # Spans follow each other without gaps. One split, because the gradient of a slice is as large
    # as what it was cut from, and there would be three for each span.
    queries_of = [q1 - q0 for q0, q1, _, _ in segments.spans]
    keys_of = [k1 - k0 for _, _, k0, k1 in segments.spans]
    outputs = []
    for queries, keys, q, k, v in zip(
        queries_of,
        keys_of,
        query.split(queries_of),
        key.split(keys_of),
        value.split(keys_of),
        strict=True,
    ):
        mask = None
        if queries != keys or sliding_window is not None:
            mask = torch.ones(queries, keys, dtype=torch.bool, device=query.device)
            mask = mask.tril(keys - queries)
            if sliding_window is not None:
                mask = mask.triu(keys - queries - sliding_window + 1)
        outputs.append(
            functional.scaled_dot_product_attention(
                q.transpose(0, 1).unsqueeze(0),
                k.transpose(0, 1).unsqueeze(0),
                v.transpose(0, 1).unsqueeze(0),
                attn_mask=mask,
                is_causal=mask is None,
                scale=scaling,
                enable_gqa=key.shape[1] != query.shape[1],
            )[0].transpose(0, 1)
        )
    return torch.cat(outputs)


def register() -> None:
    """Make transformers know :func:`segment_attention` under :data:`NAME`."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, segment_attention)
    AttentionMaskInterface.register(NAME, _no_mask)


def follow_layout(hf: Any, layout: Layout, own_attention: str) -> None:
    """Have a backbone's attention follow a layout; raises ConfigError where it cannot.

    Args:
        own_attention: the implementation that transformers gave it, which padded rows take.
    """
    name = own_attention if layout == "padded" else NAME
    if hf.config._attn_implementation != name:
        hf.set_attn_implementation(name)
    if hf.config._attn_implementation != name:
        raise ConfigError(
            f"{type(hf).__name__} computes attention in a way of its own, so sequences cannot be "
            "laid end to end; set model.layout=padded"
        )


def _no_mask(*_: Any, **__: Any) -> None:
    """The segments say it all."""
