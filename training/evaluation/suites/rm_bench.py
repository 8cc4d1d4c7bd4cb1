"""RM-Bench (Liu et al. 2024, arXiv 2410.16184): a right and a wrong answer in three styles each."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np

from training.evaluation.figures import Leaf, Node, Units, mean
from training.evaluation.items import Group, Item, Scores, conversation
from training.evaluation.scoring_rules import (
    beats,
)
from training.evaluation.suites.rows import Row
from training.evaluation.suites.suite import Suite

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


def score(items: Sequence[Item], scores: Scores, units: Units, half: bool) -> list[Node]:
    """Chosen style i against rejected style j over all nine pairs (arXiv 2410.16184, section 3.4).

    easy: the chosen response is in the fancier style (i > j); normal: i = j; hard: i < j. The
    average of a domain is that of the three; refusals and responses are pooled into safety; the
    overall figure is the mean of the domains. Ties count as wrong.
    """
    parts: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        parts.setdefault(item.subset.partition("-")[0], []).append(place)
    averages: list[Node] = []
    levels: dict[str, list[Node]] = {"easy": [], "normal": [], "hard": []}
    rows: list[Node] = []
    for domain in sorted(parts):
        chosen, wrong, unit = [], [], []
        for place in parts[domain]:
            chosen.append(scores[place][:STYLES])
            wrong.append(scores[place][STYLES:])
            unit.append(units[place])
        matrix = beats(np.array(chosen)[:, :, None], np.array(wrong)[:, None, :], half=half)
        i, j = np.indices((STYLES, STYLES))
        leaves: list[Node] = []
        for level, where in (("easy", i > j), ("normal", i == j), ("hard", i < j)):
            correct = matrix[:, where].mean(axis=1)
            leaf = Leaf(
                f"{domain} {level}", correct, np.ones(len(correct)), np.array(unit, dtype=np.int64)
            )
            levels[level].append(leaf)
            leaves.append(leaf)
        averages.append(mean(f"{domain}", leaves, "mean of easy, normal and hard"))
        rows += [averages[-1], *leaves]
    about = f"mean of {', '.join(sorted(parts))}"
    whole = len(parts) > 1
    top: list[Node] = [mean("overall", averages, about)] if whole else []
    if whole:
        top += [mean(level, leaves, about) for level, leaves in levels.items()]
    return top + rows


RM_BENCH: Final = Suite(
    name="rm-bench",
    title="RM-Bench",
    citation="arXiv 2410.16184",
    rule=score,
    read=read,
    columns="id, prompt, chosen[3], rejected[3]",
    size="1,327 prompts × 9 pairs",
    hub="THU-KEG/RM-Bench",
    hub_files=("total_dataset.json",),
    local_files=("total_dataset.json", "*_filtered.json"),
)
