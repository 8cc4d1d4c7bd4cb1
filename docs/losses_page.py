"""The table of losses in docs/losses.md, taken from the code; the rest of the page is by hand."""

from pathlib import Path

from training.losses.registry import LOSSES

PAGE = Path(__file__).with_name("losses.md")
BEGIN = "<!-- The table is written by `python -m docs.generate`, from training/losses/. -->\n\n"
END = "\n<!-- End of the table. -->"


def losses_page() -> str:
    """The page with a table of every loss."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + losses_table() + END + after


def losses_table() -> str:
    """A row for each loss."""
    default = next(iter(LOSSES))
    lines = [
        "| `loss.name` | formula | source | needs | settings | known failure |",
        "|---|---|---|---|---|---|",
    ]
    for loss in LOSSES.values():
        name = f"`{loss.name}`" + (" (default)" if loss.name == default else "")
        settings = ", ".join(f"`{setting}`" for setting in loss.settings) or "–"
        cells = (name, loss.formula, loss.source, loss.needs, settings, loss.known_failure)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
