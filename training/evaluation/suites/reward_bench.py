"""RewardBench (Lambert et al. 2024, arXiv 2403.13787) and RewardBench 2 (arXiv 2506.01937)."""

from collections.abc import Iterable, Iterator

from training.evaluation.items import Group, Item, conversation
from training.evaluation.suites.rows import Row

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
