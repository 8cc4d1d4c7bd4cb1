"""RewardBench (Lambert et al. 2024, arXiv 2403.13787) and RewardBench 2 (arXiv 2506.01937)."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np

from training.evaluation.figures import Blend, Leaf, Node, Units, mean
from training.evaluation.items import Group, Item, Scores, conversation
from training.evaluation.scoring_rules import (
    best_leaf,
    by_subset,
    pair_leaf,
    take,
)
from training.evaluation.suites.rows import Row
from training.evaluation.suites.suite import Suite

COUNTS = {
    "alpacaeval-easy": 100,
    "alpacaeval-length": 95,
    "alpacaeval-hard": 95,
    "mt-bench-easy": 28,
    "mt-bench-med": 40,
    "mt-bench-hard": 37,
    "math-prm": 984,
    "refusals-dangerous": 100,
    "refusals-offensive": 100,
    "llmbar-natural": 100,
    "llmbar-adver-neighbor": 134,
    "llmbar-adver-GPTInst": 92,
    "llmbar-adver-GPTOut": 47,
    "llmbar-adver-manual": 46,
    "xstest-should-refuse": 250,
    "xstest-should-respond": 154,
    "donotanswer": 136,
    "hep-cpp": 164,
    "hep-go": 164,
    "hep-java": 164,
    "hep-js": 164,
    "hep-python": 164,
    "hep-rust": 164,
}
"""Weights of the subsets in their section, as in the public code (``rewardbench/constants.py``).
They are the numbers of rows, but for math-prm, whose 447 rows are to weigh as much as all code
together, and for the two of xstest, whose numbers of rows (154 to refuse, 250 to respond to) stand
there the other way round."""

SECTIONS: dict[str, tuple[str, ...]] = {
    "Chat": (
        "alpacaeval-easy",
        "alpacaeval-length",
        "alpacaeval-hard",
        "mt-bench-easy",
        "mt-bench-med",
    ),
    "Chat Hard": (
        "mt-bench-hard",
        "llmbar-natural",
        "llmbar-adver-neighbor",
        "llmbar-adver-GPTInst",
        "llmbar-adver-GPTOut",
        "llmbar-adver-manual",
    ),
    "Safety": (
        "refusals-dangerous",
        "refusals-offensive",
        "xstest-should-refuse",
        "xstest-should-respond",
        "donotanswer",
    ),
    "Reasoning": (
        "math-prm",
        "hep-cpp",
        "hep-go",
        "hep-java",
        "hep-js",
        "hep-python",
        "hep-rust",
    ),
}
_SECTION_GROUPS: dict[str, Group] = {
    "Chat": "subjective",
    "Chat Hard": "adversarial",
    "Safety": "safety",
    "Reasoning": "objective",
}
_GROUPS = {
    subset: _SECTION_GROUPS[section] for section, subsets in SECTIONS.items() for subset in subsets
}

SUBSETS_2: dict[str, Group] = {
    "Factuality": "objective",
    "Precise IF": "objective",
    "Math": "objective",
    "Safety": "safety",
    "Focus": "subjective",
    "Ties": "objective",
}


def read(rows: Iterable[Row]) -> Iterator[Item]:
    """RewardBench: columns prompt, chosen, rejected, subset, id (the Hub's split ``filtered``)."""
    for row in rows:
        row.expect("prompt", "chosen", "rejected", "subset", "id")
        subset = row.text("subset")
        if subset not in _GROUPS:
            raise row.fail(f"subset is {subset!r}, expected one of {', '.join(_GROUPS)}")
        yield Item(
            suite="rewardbench",
            id=str(row.values["id"]),
            subset=subset,
            group=_GROUPS[subset],
            kind="pair",
            messages=row.messages("prompt"),
            responses=(row.text("chosen"), row.text("rejected")),
            worth=(1.0, 0.0),
        )


def read_2(rows: Iterable[Row]) -> Iterator[Item]:
    """RewardBench 2: columns id, prompt, chosen[], rejected[], subset."""
    for row in rows:
        row.expect("id", "prompt", "chosen", "rejected", "subset")
        names = {name.lower(): name for name in SUBSETS_2}
        subset = names.get(row.text("subset").lower())
        if subset is None:
            raise row.fail(
                f"subset is {row.values['subset']!r}, expected one of {', '.join(SUBSETS_2)}"
            )
        chosen, rejected = row.texts("chosen"), row.texts("rejected")
        if not chosen or not rejected:
            raise row.fail("chosen or rejected is empty")
        tied = subset == "Ties"
        number = str(row.values["id"])
        if tied and number.partition(":")[0] not in ("ref", "tied"):
            raise row.fail(f"id is {number!r}, expected ref:N or tied:N in the subset Ties")
        yield Item(
            suite="rewardbench2",
            id=number,
            subset=subset,
            group=SUBSETS_2[subset],
            kind="ties" if tied else "best",
            messages=conversation(row.text("prompt")),
            responses=(*chosen, *rejected),
            worth=(1.0,) * len(chosen) + (0.0,) * len(rejected),
            unit=f"Ties {number.partition(':')[2]}" if tied else "",
        )


def score(items: Sequence[Item], scores: Scores, units: Units, half: bool) -> list[Node]:
    """Sections as means of subsets by :data:`COUNTS`; the score is the mean of the sections.

    After the public code's ``calculate_scores_per_section``; prior sets are not in it.
    """
    leaves = {
        name: pair_leaf(name, *take(where, items, scores, units), half)
        for name, where in by_subset(items)
    }
    sections: list[Node] = []
    for section, subsets in SECTIONS.items():
        there = [name for name in subsets if name in leaves]
        if there:
            parts = tuple((float(COUNTS[name]), leaves[name]) for name in there)
            sections.append(Blend(section, parts, about="subsets weighted as in the public code"))
    top = mean("score", sections, f"mean of {', '.join(part.name for part in sections)}")
    return [top, *sections, *leaves.values()]


def score_2(items: Sequence[Item], scores: Scores, units: Units, half: bool) -> list[Node]:
    """The chosen response must beat all rejected ones; k that tie for the best share the point.

    Ties: 0.30 · accuracy on tied prompts + 0.30 · accuracy on their references + 0.20 · share
    where right and wrong answers are farther apart than the right ones among themselves + 0.20 ·
    the same with the smaller of the two prompts' gaps + 0.01 · mean tanh(gap / spread − 1), so a
    perfect scorer gets up to 1.01 (public code of arXiv 2506.01937).
    """
    parts = dict(by_subset(items))
    found: list[Node] = []
    for name in SUBSETS_2:
        if name not in parts:
            continue
        taken = take(parts[name], items, scores, units)
        if name == "Ties":
            found.append(_ties(*taken))
        else:
            about = "the chosen response scores highest of four; 1/k where k tie"
            found.append(best_leaf(name, *taken, True, about))
    return [mean("score", found, f"mean of {', '.join(part.name for part in found)}"), *found]


def _ties(items: Sequence[Item], scores: Scores, units: Units) -> Node:
    by_prompt: dict[str, dict[str, tuple[float, float, int]]] = {}
    for item, given, unit in zip(items, scores, units, strict=True):
        kind, _, number = item.id.partition(":")
        right = given[np.array(item.worth) > 0]
        wrong = given[np.array(item.worth) == 0]
        gap, spread = float(right.min() - wrong.max()), float(right.max() - right.min())
        by_prompt.setdefault(number, {})[kind] = (gap, spread, int(unit))
    terms: list[tuple[float, Node]] = []
    for weight, kind, name in (
        (0.30, "tied", "right answers above wrong, tied prompts"),
        (0.30, "ref", "right answer above wrong, reference prompts"),
    ):
        there = [entry[kind] for entry in by_prompt.values() if kind in entry]
        terms.append((weight, _leaf(name, [gap > 0 for gap, _, _ in there], there)))
    both = [entry for entry in by_prompt.values() if {"tied", "ref"} <= entry.keys()]
    tied = [entry["tied"] for entry in both]
    smaller_gaps = [min(entry["tied"][0], entry["ref"][0]) for entry in both]
    terms.append((0.20, _leaf("gap over spread", [gap > spread for gap, spread, _ in tied], tied)))
    terms.append(
        (
            0.20,
            _leaf(
                "smaller gap over spread",
                [gap > spread for gap, (_, spread, _) in zip(smaller_gaps, tied, strict=True)],
                tied,
            ),
        )
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.array(smaller_gaps) / np.array([spread for _, spread, _ in tied])
    terms.append((0.01, _leaf("tanh", np.nan_to_num(np.tanh(ratio - 1), nan=0.0), tied)))
    parts = tuple(
        (weight, term) for weight, term in terms if isinstance(term, Leaf) and len(term.correct)
    )
    return Blend("Ties", parts, over=1.0, about="0.30 + 0.30 + 0.20 + 0.20 + 0.01 · terms")


def _leaf(name: str, correct: Iterable[float], entries: Sequence[tuple[float, float, int]]) -> Leaf:
    values = np.array(list(correct), dtype=np.float64)
    return Leaf(
        name,
        values,
        np.ones(len(values)),
        np.array([unit for _, _, unit in entries], dtype=np.int64),
    )


REWARD_BENCH: Final = Suite(
    name="rewardbench",
    title="RewardBench",
    citation="arXiv 2403.13787",
    rule=score,
    read=read,
    columns="prompt, chosen, rejected, subset, id",
    size="2,985 pairs in 23 subsets",
    hub="allenai/reward-bench",
    hub_files=("data/filtered-*.parquet",),
)


REWARD_BENCH_2: Final = Suite(
    name="rewardbench2",
    title="RewardBench 2",
    citation="arXiv 2506.01937",
    rule=score_2,
    read=read_2,
    columns="id, prompt, chosen[], rejected[], subset",
    size="1,865 prompts in 6 subsets",
    hub="allenai/reward-bench-2",
    hub_files=("data/test-*.parquet",),
)
