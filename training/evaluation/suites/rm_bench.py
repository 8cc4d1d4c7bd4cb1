"""RM-Bench (Liu et al. 2024, arXiv 2410.16184): a right and a wrong answer in three styles each."""

from collections.abc import Iterable, Iterator

from training.evaluation.items import Group, Item, conversation
from training.evaluation.suites.rows import Row

STYLES = 3
"""Concise, detailed plain text, detailed Markdown, in this order."""
DOMAINS: dict[str, Group] = {
    "chat": "adversarial",
    "code": "objective",
    "math": "objective",
    "safety-refuse": "safety",
    "safety-response": "safety",
}


def read(rows: Iterable[Row]) -> Iterator[Item]:
    """Columns id, prompt, chosen[3], rejected[3]; the domain is a column or in the file's name."""
    for row in rows:
        row.expect("id", "prompt", "chosen", "rejected")
        domain = _domain(row)
        yield Item(
            suite="rm-bench",
            id=f"{domain}/{row.values['id']}",
            subset=domain,
            group=DOMAINS[domain],
            kind="matrix",
            messages=conversation(row.text("prompt")),
            responses=(*row.texts("chosen", STYLES), *row.texts("rejected", STYLES)),
            worth=(1.0,) * STYLES + (0.0,) * STYLES,
        )


def _domain(row: Row) -> str:
    named = str(row.get("domain", row.path.name.partition("_filtered")[0])).lower()
    for domain in DOMAINS:
        if named.startswith(domain):
            return domain
    raise row.fail(
        f"no column domain, and {row.path.name} does not begin with {' or '.join(DOMAINS)}"
    )
