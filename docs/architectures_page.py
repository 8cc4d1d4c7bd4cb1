"""docs/architectures.md, from what ``python -m benchmarks.architectures`` has found."""

import json
from pathlib import Path
from typing import Any

from docs.tables import NOTE

TABLE = Path(__file__).with_name("architectures.json")
LAYOUTS = ("shared", "packed", "padded")
REASONS = {
    "makes its reward in a head of its own": (
        "own head",
        "the reward is made by a head that reads whole rows, as those of encoders do",
    ),
    "computes attention in a way of its own": (
        "own attention",
        "transformers lets nobody replace its attention",
    ),
    "gives other states in the layout": (
        "other states",
        "tokens mix outside of the attention that is replaced (a recurrent state, a convolution), "
        "or a window is kept in a mask",
    ),
    "has dropout, soft capping or sinks": (
        "soft caps or sinks",
        "its attention has terms that ours does not compute",
    ),
    "do not hand the segments down": (
        "not handed down",
        "its layers do not pass on what says which tokens belong together",
    ),
    "cannot read the layout": ("its own masks", "its code looks into a mask that is not there"),
    "when it is filled up": (
        "reads padding",
        "rewards depend on what else is in the batch, in transformers alone, too",
    ),
    "has no head that is known here": ("unknown head", "it has neither `score` nor `classifier`"),
    "embeddings": ("unknown embeddings", "it has no plain table of token embeddings"),
}
"""What is refused, by a part of the message: the cell, and what it means."""


def architectures_page() -> str:
    """The page with a row for each architecture and variant."""
    found = json.loads(TABLE.read_text(encoding="utf-8"))
    rows: list[dict[str, str]] = found["rows"]
    tried = [row for row in rows if "not built" not in row]
    lines = [
        "| `model_type` | variant | " + " | ".join(LAYOUTS) + " |",
        "|---|---|---|---|---|",
        *(
            f"| `{row['model']}` | {row['variant'].replace('_', ' ')} | "
            + " | ".join(cell(row[layout]) for layout in LAYOUTS)
            + " |"
            for row in tried
        ),
    ]
    legend = "\n".join(f"- *{name}*: {meaning}." for name, meaning in REASONS.values())
    pairs = sorted({row["model"] for row in rows if _is_encoder_decoder(row)})
    unbuilt = [
        f"`{row['model']}`"
        + (f" ({row['variant'].replace('_', ' ')})" if row["variant"] != "as it comes" else "")
        for row in rows
        if "not built" in row and not _is_encoder_decoder(row)
    ]
    models = len({row["model"] for row in rows})
    return (
        NOTE
        + f"""# Architectures and layouts

All {models} architectures of transformers {found["transformers"]} that have a sequence classifier,
built tiny with random weights: "as it comes", with a window of attention shorter than the texts,
and with windows in every other layer ("alternating"), where the config has such settings and they
change anything. The rewards of each layout are compared with those of transformers alone, a
sequence at a time; *equal* is a difference under a thousandth of how much the rewards differ among
themselves. `python -m benchmarks.architectures` makes the table; what is refused here is refused by
`train` before its first step, in a sentence. Other releases of transformers may differ, so `train`
tries every model anew.

{chr(10).join(lines)}

What is refused, and why:

{legend}

## Not tried

- Encoder-decoders, which `train` refuses: {", ".join(f"`{name}`" for name in pairs)}.
- What cannot be built small by the settings of this page, because a package is missing, images or
  boxes are read beside the text, or sizes have to fit together: {", ".join(unbuilt)}. The error of
  each is in `docs/architectures.json`.
"""
    )


def _is_encoder_decoder(row: dict[str, str]) -> bool:
    return "encoder-decoder" in row.get("not built", "")


def cell(found: str) -> str:
    """What is found of a layout, in a word or two."""
    kind, _, why = found.partition(": ")
    if kind != "refused":
        return f"{kind} {why}".strip()
    name = next((name for part, (name, _) in REASONS.items() if part in why), None)
    return f"refused, *{name}*" if name is not None else f"refused: {_plain(why)}"


def _plain(text: Any) -> str:
    """Text of an error that cannot break a table or a list."""
    return str(text).replace("|", "/").replace("<", "‹").replace("*", "∗").strip()
