"""How many tokens a backbone can read, by its configuration."""

from typing import Any

POSITIONS_AFTER_PADDING = {
    "camembert",
    "data2vec-text",
    "esm",
    "ibert",
    "layoutlmv3",
    "lilt",
    "longformer",
    "luke",
    "markuplm",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}
"""Kinds whose first position has the number pad_token_id + 1, so that a table of 514 holds 512."""


def longest_sequence(config: Any) -> int | None:
    """Tokens of a sequence that a model can read; None where its configuration sets no limit."""
    text_config = config.get_text_config()
    positions = getattr(text_config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:  # -1: relative positions without an end
        return None
    if text_config.model_type in POSITIONS_AFTER_PADDING:
        # What was loaded: the pad token may be another one by now.
        positions -= (1 if text_config.model_type == "mpnet" else _padding(text_config)) + 1
    return positions


def _padding(text_config: Any) -> int:
    found = getattr(text_config, "pad_token_id", None)
    return found if isinstance(found, int) else 1
